//! A Merkle-sum tree: each node carries the sum of what is below it, and the hash above covers both children's sums, so
//! nobody can be shown a smaller one.
//!
//! ```text
//! leaf   hash = H(0x00 ‖ id length (u8) ‖ id ‖ balance (u128))          sum = balance
//! node   hash = H(0x01 ‖ left hash ‖ left sum (u128) ‖ right hash ‖ right sum (u128))   sum = left + right
//! ```
//!
//! Integers in hashes are big-endian. A level's odd last node moves up as it is: nothing is counted twice.

use crate::Account;
use alloc::vec::Vec;
use sha2::{Digest, Sha256};

/// A subtree: its hash, and the sum of the balances in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Node {
    /// Covers ids, balances and sums below.
    pub hash: [u8; 32],
    /// What is owed below.
    pub sum: u128,
}

/// Shows that one account was counted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Opening {
    /// The account's position, from 0.
    pub index: u64,
    /// The nodes beside the path, from the leaf up.
    pub siblings: Vec<Node>,
}

/// What is proved: 96 bytes that Solidity's `abi.decode(output, (bytes32, uint256, uint256))` reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Statement {
    /// Hash of the tree's root.
    pub root: [u8; 32],
    /// All that is owed.
    pub total: u128,
    /// To how many accounts.
    pub accounts: u64,
}

/// Bytes that are no statement.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a number in the statement is larger than its field")]
pub struct StatementError;

/// Why an opening shows nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum OpeningError {
    /// No such position.
    #[error("position {index} of {accounts} accounts")]
    Index {
        /// The opening's.
        index: u64,
        /// The statement's.
        accounts: u64,
    },
    /// The path has another length for this position.
    #[error("{got} siblings, expected {expected}")]
    Siblings {
        /// The opening's.
        got: usize,
        /// The tree's.
        expected: usize,
    },
    /// The sums along the path overflow.
    #[error("the sums along the path exceed 128 bits")]
    Overflow,
    /// Another account, balance or tree.
    #[error("the opening leads to another root or total")]
    OtherRoot,
}

impl Node {
    /// An account's node.
    pub fn leaf(account: &Account) -> Self {
        let id = account.id.as_bytes();
        let hash = hash(&[&[0, id.len() as u8], id, &account.balance.to_be_bytes()]);
        Self { hash, sum: account.balance }
    }

    /// `None` when the sum exceeds 128 bits.
    fn above(left: &Self, right: &Self) -> Option<Self> {
        let sum = left.sum.checked_add(right.sum)?;
        let parts = [&[1][..], &left.hash, &left.sum.to_be_bytes(), &right.hash, &right.sum.to_be_bytes()];
        Some(Self { hash: hash(&parts), sum })
    }
}

impl Statement {
    /// Length of the encoding.
    pub const LEN: usize = 96;

    /// Root, total and number of accounts, each in 32 bytes, big-endian.
    pub fn to_bytes(&self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[..32].copy_from_slice(&self.root);
        bytes[48..64].copy_from_slice(&self.total.to_be_bytes());
        bytes[88..].copy_from_slice(&self.accounts.to_be_bytes());
        bytes
    }

    /// Reads the encoding.
    ///
    /// # Errors
    /// A total beyond 128 bits or a number of accounts beyond 64.
    pub fn from_bytes(bytes: &[u8; Self::LEN]) -> Result<Self, StatementError> {
        let (root, numbers) = bytes.split_at(32);
        let (total, accounts) = numbers.split_at(32);
        let zero = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
        if !zero(&total[..16]) || !zero(&accounts[..24]) {
            return Err(StatementError);
        }
        Ok(Self {
            root: root.try_into().map_err(|_| StatementError)?,
            total: u128::from_be_bytes(total[16..].try_into().map_err(|_| StatementError)?),
            accounts: u64::from_be_bytes(accounts[24..].try_into().map_err(|_| StatementError)?),
        })
    }

    /// Checks that `account`, with this balance, is counted in the total.
    ///
    /// Whoever makes the opening can't show an account or balance that was not counted, nor one account's place to two
    /// customers with different ids. The path's length follows from the statement, not from the opening.
    ///
    /// # Errors
    /// See [`OpeningError`].
    pub fn verify(&self, account: &Account, opening: &Opening) -> Result<(), OpeningError> {
        let (mut index, siblings) = (opening.index, &opening.siblings);
        if index >= self.accounts {
            return Err(OpeningError::Index { index, accounts: self.accounts });
        }
        let mut width = self.accounts;
        let mut node = Node::leaf(account);
        let mut rest = siblings.iter();
        let mut needed = 0;
        while width > 1 {
            // The odd last node of a level has no sibling and moves up.
            if index ^ 1 < width {
                needed += 1;
                if let Some(sibling) = rest.next() {
                    let (left, right) = if index % 2 == 0 { (&node, sibling) } else { (sibling, &node) };
                    node = Node::above(left, right).ok_or(OpeningError::Overflow)?;
                }
            }
            index /= 2;
            width = width.div_ceil(2);
        }
        if siblings.len() != needed {
            return Err(OpeningError::Siblings { got: siblings.len(), expected: needed });
        }
        match node == (Node { hash: self.root, sum: self.total }) {
            true => Ok(()),
            false => Err(OpeningError::OtherRoot),
        }
    }
}

/// The root over a ledger's leaves: at least one, and their sum is within 128 bits.
pub(crate) fn root(mut level: Vec<Node>) -> Node {
    while level.len() > 1 {
        level = level_above(&level);
    }
    level[0]
}

pub(crate) fn open(mut level: Vec<Node>, index: usize) -> Opening {
    let mut siblings = Vec::new();
    let mut at = index;
    while level.len() > 1 {
        siblings.extend(level.get(at ^ 1));
        level = level_above(&level);
        at /= 2;
    }
    Opening { index: index as u64, siblings }
}

fn level_above(level: &[Node]) -> Vec<Node> {
    let pair = |pair: &[Node]| match pair {
        [left, right] => Node::above(left, right).expect("a ledger's total is within 128 bits"),
        lone => lone[0],
    };
    level.chunks(2).map(pair).collect()
}

fn hash(parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Ledger;
    use alloc::format;
    use proptest::prelude::*;

    fn ledger(balances: &[u64]) -> Ledger {
        let account = |(index, balance): (usize, &u64)| Account::new(&format!("{index:04}"), u128::from(*balance));
        Ledger::new(balances.iter().enumerate().map(account).collect()).unwrap()
    }

    proptest! {
        #[test]
        fn every_account_is_counted_and_none_else(balances in prop::collection::vec(any::<u64>(), 1..40)) {
            let ledger = ledger(&balances);
            let statement = ledger.statement();
            prop_assert_eq!(statement.total, balances.iter().map(|balance| u128::from(*balance)).sum::<u128>());
            for account in ledger.accounts() {
                let opening = ledger.open(&account.id).unwrap();
                prop_assert_eq!(statement.verify(account, &opening), Ok(()));
                let less = Account { balance: account.balance ^ 1, ..account.clone() };
                prop_assert!(statement.verify(&less, &opening).is_err());
                let other = Account { id: "other".into(), ..account.clone() };
                prop_assert!(statement.verify(&other, &opening).is_err());
            }
            prop_assert_eq!(ledger.open("other"), None);
        }

        #[test]
        fn statements_read_back(root in any::<[u8; 32]>(), total in any::<u128>(), accounts in any::<u64>()) {
            let statement = Statement { root, total, accounts };
            prop_assert_eq!(Statement::from_bytes(&statement.to_bytes()), Ok(statement));
        }
    }

    #[test]
    fn forged_openings_fail() {
        let ledger = ledger(&[10, 20, 30, 40, 50]);
        let statement = ledger.statement();
        let account = &ledger.accounts()[2];
        let honest = ledger.open("0002").unwrap();
        let check = |forge: fn(&mut Opening)| {
            let mut opening = honest.clone();
            forge(&mut opening);
            assert_ne!(opening, honest);
            statement.verify(account, &opening)
        };
        assert_eq!(check(|opening| opening.siblings[0].sum = 0), Err(OpeningError::OtherRoot));
        assert_eq!(check(|opening| opening.siblings[0].sum = u128::MAX), Err(OpeningError::Overflow));
        assert_eq!(check(|opening| opening.siblings[1].hash[0] ^= 1), Err(OpeningError::OtherRoot));
        assert_eq!(check(|opening| opening.index = 3), Err(OpeningError::OtherRoot));
        assert_eq!(check(|opening| opening.index = 5), Err(OpeningError::Index { index: 5, accounts: 5 }));
        assert_eq!(check(|opening| opening.index = 4), Err(OpeningError::Siblings { got: 3, expected: 1 }));
        let short = check(|opening| {
            opening.siblings.pop();
        });
        assert_eq!(short, Err(OpeningError::Siblings { got: 2, expected: 3 }));
        let long = check(|opening| opening.siblings.push(opening.siblings[0]));
        assert_eq!(long, Err(OpeningError::Siblings { got: 4, expected: 3 }));
    }

    /// Sums that could be moved between two children would let a liability be shown smaller to each customer.
    #[test]
    fn sums_can_not_be_moved_between_children() {
        let ledger = ledger(&[10, 20]);
        let mut statement = ledger.statement();
        let opening = ledger.open("0001").unwrap();
        let mut forged = opening.clone();
        forged.siblings[0].sum = 0;
        statement.total = 20;
        assert_eq!(statement.verify(&ledger.accounts()[1], &forged), Err(OpeningError::OtherRoot));
    }

    #[test]
    fn a_statement_larger_than_its_fields_is_refused() {
        let mut bytes = ledger(&[1]).statement().to_bytes();
        bytes[47] = 1;
        assert_eq!(Statement::from_bytes(&bytes), Err(StatementError));
        let mut bytes = ledger(&[1]).statement().to_bytes();
        bytes[87] = 1;
        assert_eq!(Statement::from_bytes(&bytes), Err(StatementError));
    }

    #[test]
    fn a_fixture_holds_the_format() {
        let statement = ledger(&[1, 2, 3]).statement();
        let leaf = |id: &[u8], balance: u128| hash(&[&[0, 4], id, &balance.to_be_bytes()]);
        let one = 1u128.to_be_bytes();
        let two = 2u128.to_be_bytes();
        let three = 3u128.to_be_bytes();
        let pair = hash(&[&[1], &leaf(b"0000", 1), &one, &leaf(b"0001", 2), &two]);
        assert_eq!(statement.root, hash(&[&[1], &pair, &three, &leaf(b"0002", 3), &three]));
        let expected = [&statement.root[..], &[0; 31], &[6], &[0; 31], &[3]].concat();
        assert_eq!(statement.to_bytes()[..], expected);
    }
}
