//! The list of what is owed to whom.

use crate::tree::{self, Node, Opening, Statement};
use alloc::{
    string::{String, ToString},
    vec::Vec,
};

/// Longest account id, in bytes.
pub const MAX_ID: usize = 64;

/// What is owed to one account, in the smallest unit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Account {
    /// Who: 1 to [`MAX_ID`] bytes of UTF-8.
    pub id: String,
    /// How much. Unsigned: a negative balance, which would hide another's, can't be written.
    pub balance: u128,
}

impl Account {
    /// An account.
    pub fn new(id: &str, balance: u128) -> Self {
        Self { id: id.to_string(), balance }
    }
}

/// Why a list of accounts is no ledger.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LedgerError {
    /// Nobody is owed anything.
    #[error("no accounts")]
    NoAccounts,
    /// An id that is empty or too long.
    #[error("an account id has 1 to {MAX_ID} bytes, got {got}")]
    IdLength {
        /// Its length.
        got: usize,
    },
    /// An id that is no text.
    #[error("an account id is not UTF-8")]
    IdNotUtf8,
    /// One id, two entries.
    #[error("account {id:?} is listed twice")]
    Duplicate {
        /// The account.
        id: String,
    },
    /// Not ascending by id.
    #[error("account {id:?} comes after {after:?}; accounts ascend by their id's bytes")]
    OutOfOrder {
        /// The account.
        id: String,
        /// The one before it.
        after: String,
    },
    /// The sum of all balances has no 128-bit number.
    #[error("the total exceeds 128 bits at account {id:?}")]
    Overflow {
        /// Where it does.
        id: String,
    },
    /// The bytes end early.
    #[error("truncated: {needed} bytes needed, {left} left")]
    Truncated {
        /// Bytes the next field needs.
        needed: usize,
        /// Bytes there are.
        left: usize,
    },
    /// Bytes follow the last account.
    #[error("{left} bytes left over after the last account")]
    LeftOver {
        /// Number of them.
        left: usize,
    },
}

/// At least one account, each id once, ascending by id, with a total of at most 128 bits.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ledger {
    accounts: Vec<Account>,
}

impl Ledger {
    /// Puts accounts in order.
    ///
    /// # Errors
    /// See [`LedgerError`].
    pub fn new(mut accounts: Vec<Account>) -> Result<Self, LedgerError> {
        accounts.sort_by(|a, b| a.id.cmp(&b.id));
        Self::checked(accounts)
    }

    /// Reads what [`to_bytes`](Self::to_bytes) writes, and nothing else.
    ///
    /// # Errors
    /// See [`LedgerError`].
    pub fn from_bytes(mut bytes: &[u8]) -> Result<Self, LedgerError> {
        let count = u32::from_le_bytes(array(&mut bytes)?);
        let mut accounts = Vec::new();
        for _ in 0..count {
            let [length] = array(&mut bytes)?;
            let id = take(&mut bytes, usize::from(length))?;
            let id = core::str::from_utf8(id).map_err(|_| LedgerError::IdNotUtf8)?;
            accounts.push(Account::new(id, u128::from_le_bytes(array(&mut bytes)?)));
        }
        match bytes.len() {
            0 => Self::checked(accounts),
            left => Err(LedgerError::LeftOver { left }),
        }
    }

    /// Integers little-endian: count (u32), then per account the id's length (u8), the id, the balance (u128).
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = (self.accounts.len() as u32).to_le_bytes().to_vec();
        for account in &self.accounts {
            bytes.push(account.id.len() as u8);
            bytes.extend_from_slice(account.id.as_bytes());
            bytes.extend_from_slice(&account.balance.to_le_bytes());
        }
        bytes
    }

    /// The accounts, ascending by id.
    pub fn accounts(&self) -> &[Account] {
        &self.accounts
    }

    /// What is proved of this ledger.
    pub fn statement(&self) -> Statement {
        let Node { hash, sum } = tree::root(self.leaves());
        Statement { root: hash, total: sum, accounts: self.accounts.len() as u64 }
    }

    /// Shows that an account was counted; `None` when it is not in the ledger.
    pub fn open(&self, id: &str) -> Option<Opening> {
        let index = self.accounts.binary_search_by(|account| account.id.as_str().cmp(id)).ok()?;
        Some(tree::open(self.leaves(), index))
    }

    fn checked(accounts: Vec<Account>) -> Result<Self, LedgerError> {
        if accounts.is_empty() {
            return Err(LedgerError::NoAccounts);
        }
        let mut total = 0u128;
        for (index, Account { id, balance }) in accounts.iter().enumerate() {
            if id.is_empty() || id.len() > MAX_ID {
                return Err(LedgerError::IdLength { got: id.len() });
            }
            match index.checked_sub(1).map(|before| &accounts[before].id) {
                Some(before) if before == id => return Err(LedgerError::Duplicate { id: id.clone() }),
                Some(before) if before > id => {
                    return Err(LedgerError::OutOfOrder { id: id.clone(), after: before.clone() });
                }
                _ => {}
            }
            total = total.checked_add(*balance).ok_or_else(|| LedgerError::Overflow { id: id.clone() })?;
        }
        Ok(Self { accounts })
    }

    fn leaves(&self) -> Vec<Node> {
        self.accounts.iter().map(Node::leaf).collect()
    }
}

fn take<'a>(bytes: &mut &'a [u8], needed: usize) -> Result<&'a [u8], LedgerError> {
    let (taken, rest) = bytes.split_at_checked(needed).ok_or(LedgerError::Truncated { needed, left: bytes.len() })?;
    *bytes = rest;
    Ok(taken)
}

fn array<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], LedgerError> {
    let (taken, rest) = bytes.split_first_chunk().ok_or(LedgerError::Truncated { needed: N, left: bytes.len() })?;
    *bytes = rest;
    Ok(*taken)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn reads_back_what_it_writes_and_no_part_of_it() {
        let ledger = Ledger::new(vec![Account::new("b", 2), Account::new("a", u128::MAX - 2)]).unwrap();
        let bytes = ledger.to_bytes();
        assert_eq!(Ledger::from_bytes(&bytes), Ok(ledger));
        for cut in 0..bytes.len() {
            assert!(matches!(Ledger::from_bytes(&bytes[..cut]), Err(LedgerError::Truncated { .. })), "{cut}");
        }
    }

    #[test]
    fn what_is_no_ledger_says_why() {
        let refused = |accounts| Ledger::new(accounts).unwrap_err();
        assert_eq!(refused(vec![]), LedgerError::NoAccounts);
        assert_eq!(refused(vec![Account::new("", 1)]), LedgerError::IdLength { got: 0 });
        assert_eq!(refused(vec![Account::new(&"x".repeat(65), 1)]), LedgerError::IdLength { got: 65 });
        let twice = vec![Account::new("a", 1), Account::new("b", 1), Account::new("a", 2)];
        assert_eq!(refused(twice), LedgerError::Duplicate { id: "a".into() });
        let huge = vec![Account::new("a", u128::MAX), Account::new("b", 1)];
        assert_eq!(refused(huge), LedgerError::Overflow { id: "b".into() });
        assert_eq!(
            Ledger::from_bytes(&[1, 0, 0, 0, 1, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
            Err(LedgerError::IdNotUtf8)
        );
    }
}
