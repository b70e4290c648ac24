//! What a state root commits to.

use crate::{
    Address, B256, Slot, StateWitness, TrieError, U256,
    layout::{LayoutError, Text},
    node::{Item, list},
    trie,
};
use alloc::{boxed::Box, vec::Vec};
use alloy_primitives::keccak256;

/// Why an account or a slot can't be read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StateError {
    /// The witness is of another account.
    #[error("the state witness is of account {got}, expected {expected}")]
    OtherAccount {
        /// Whose account was asked for.
        expected: Address,
        /// Whose it is.
        got: Address,
    },
    /// The witness does not lead to that slot.
    #[error("the state witness has no proof of slot {slot} of {address}: ask for the proof with this slot")]
    NoProof {
        /// The account.
        address: Address,
        /// The slot.
        slot: B256,
    },
    /// The account's nodes don't lead from the state root to its place.
    #[error("account {address} is not proved: {error}")]
    Account {
        /// The account.
        address: Address,
        /// What is wrong with its nodes.
        error: Box<TrieError>,
    },
    /// The slot's nodes don't lead from the account's storage root to its place.
    #[error("slot {slot} of {address} is not proved: {error}")]
    Slot {
        /// The account.
        address: Address,
        /// The slot.
        slot: B256,
        /// What is wrong with its nodes.
        error: Box<TrieError>,
    },
    /// What is at the account's place is no account.
    #[error("what the state has of {address} is not an account: nonce, balance, storage root, code hash")]
    NotAnAccount {
        /// The account.
        address: Address,
    },
    /// What is at the slot's place is no number a slot holds.
    #[error("what {address} has in slot {slot} is not a number from 1 to 2^256 - 1 in RLP")]
    NotANumber {
        /// The account.
        address: Address,
        /// The slot.
        slot: B256,
    },
    /// The slots don't hold what the layout says.
    #[error(transparent)]
    Layout(#[from] LayoutError),
}

/// The state after a block, as far as a witness leads into it. Made from a block ([`Block::state`](crate::Block::state))
/// or a header ([`Header::state`](crate::Header::state)), whose state root it keeps.
#[derive(Clone, Debug)]
pub struct State<'a> {
    root: B256,
    witness: StateWitness<'a>,
}

/// An account that is in the state.
#[derive(Clone, Debug)]
pub struct Account<'s, 'a> {
    address: Address,
    nonce: u64,
    balance: U256,
    storage_root: B256,
    code_hash: B256,
    witness: &'s StateWitness<'a>,
}

impl<'a> State<'a> {
    pub(crate) fn new(root: B256, witness: StateWitness<'a>) -> Self {
        Self { root, witness }
    }

    /// What leads into the state.
    pub fn witness(&self) -> &StateWitness<'a> {
        &self.witness
    }

    /// The account at an address; `None` is proof that there is none: no code, no storage, balance and nonce zero.
    ///
    /// # Errors
    /// A witness that does not lead to that address in this state.
    pub fn account(&self, address: Address) -> Result<Option<Account<'_, 'a>>, StateError> {
        let got = self.witness.address();
        if got != address {
            return Err(StateError::OtherAccount { expected: address, got });
        }
        let value = trie::get(&self.root, &keccak256(address), self.witness.account_path())
            .map_err(|error| StateError::Account { address, error: error.into() })?;
        let Some(value) = value else { return Ok(None) };
        let read = Account::read(address, value, &self.witness).ok_or(StateError::NotAnAccount { address })?;
        Ok(Some(read))
    }
}

impl<'s, 'a> Account<'s, 'a> {
    fn read(address: Address, value: &[u8], witness: &'s StateWitness<'a>) -> Option<Self> {
        let mut rest = list(value)?;
        let nonce = u64::try_from(number(Item::take_string(&mut rest)?)?).ok()?;
        let balance = number(Item::take_string(&mut rest)?)?;
        let storage_root = B256::new(Item::take_array(&mut rest)?);
        let code_hash = B256::new(Item::take_array(&mut rest)?);
        rest.is_empty().then_some(Self { address, nonce, balance, storage_root, code_hash, witness })
    }

    /// Its address.
    pub fn address(&self) -> Address {
        self.address
    }

    /// Transactions it sent, or contracts it made.
    pub fn nonce(&self) -> u64 {
        self.nonce
    }

    /// What it holds of the chain's own currency, in wei.
    pub fn balance(&self) -> U256 {
        self.balance
    }

    /// Root of its storage.
    pub fn storage_root(&self) -> B256 {
        self.storage_root
    }

    /// Keccak-256 of its code.
    pub fn code_hash(&self) -> B256 {
        self.code_hash
    }

    /// What a slot holds; zero is proof that it was never set, or set back.
    ///
    /// # Errors
    /// A witness that does not lead to that slot of this account.
    pub fn slot(&self, slot: Slot) -> Result<U256, StateError> {
        let (address, slot) = (self.address, slot.key());
        let path = self.witness.slot_path(&slot).ok_or(StateError::NoProof { address, slot })?;
        let value = trie::get(&self.storage_root, &keccak256(slot), path).map_err(|error| StateError::Slot {
            address,
            slot,
            error: error.into(),
        })?;
        let Some(mut value) = value else { return Ok(U256::ZERO) };
        let value = Item::take_string(&mut value).filter(|_| value.is_empty()).and_then(number);
        value.filter(|value| !value.is_zero()).ok_or(StateError::NotANumber { address, slot })
    }

    /// What a `string` or `bytes` holds whose length is in `slot`, of at most `most` bytes. The witness must lead to
    /// `slot` and, where there are more than 31 bytes, to [`Slot::text_slots`].
    ///
    /// # Errors
    /// As [`slot`](Self::slot), and slots that don't hold such a text, or a longer one.
    pub fn text(&self, slot: Slot, most: usize) -> Result<Vec<u8>, StateError> {
        match Text::read(self.slot(slot)?, most)? {
            Text::Short(bytes) => Ok(bytes),
            Text::Long { length } => {
                let mut bytes = Vec::with_capacity(length.next_multiple_of(32));
                for part in slot.text_slots(length) {
                    bytes.extend(self.slot(part)?.to_be_bytes::<32>());
                }
                bytes.truncate(length);
                Ok(bytes)
            }
        }
    }
}

/// A number as RLP has it: big-endian without leading zeros, at most 32 bytes.
pub(crate) fn number(bytes: &[u8]) -> Option<U256> {
    match bytes.first() {
        Some(0) => None,
        _ if bytes.len() > 32 => None,
        _ => U256::try_from_be_slice(bytes),
    }
}
