//! Block headers.

use crate::{
    B256, State, StateWitness,
    node::{Item, list},
    state::number,
};
use alloc::vec::Vec;
use alloy_primitives::keccak256;

/// Longest header in bytes. Ethereum's have some 600; chains that keep signatures in `extraData` have more.
pub const MAX_HEADER: usize = 16 << 10;

/// Fields that every header has: up to the nonce, the first release's last.
const FIRST_FIELDS: usize = 15;
/// Most fields after those. Six are in use.
const MAX_LATER_FIELDS: usize = 32;

/// Why bytes are no header.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HeaderError {
    /// Too long to be read.
    #[error("the header has {got} bytes, at most {MAX_HEADER}")]
    TooLong {
        /// Its length.
        got: usize,
    },
    /// Not one RLP list, all of it.
    #[error("the header is not one list in canonical RLP: truncated, followed by something, or of another kind")]
    NotAList,
    /// A field that is not what its place says.
    #[error("the header's field {index} ({name}) is missing or is not what this field holds")]
    Field {
        /// Its place, from 0.
        index: usize,
        /// What is there in a header.
        name: &'static str,
    },
    /// More fields than any header has.
    #[error("the header has more than {} fields", FIRST_FIELDS + MAX_LATER_FIELDS)]
    TooManyFields,
}

/// A block's header, read from its RLP, with the hash of exactly those bytes.
///
/// Fields are read by their place. What forks after the first release appended (base fee, withdrawals, blobs, requests, and
/// what comes next) is checked to be well formed, covered by the hash and otherwise not looked at, so a fork that appends a
/// field needs no new circuit. `alloy-consensus` knows each fork's fields and refuses a header with one more.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Header {
    hash: B256,
    parent_hash: B256,
    state_root: B256,
    transactions_root: B256,
    receipts_root: B256,
    number: u64,
    timestamp: u64,
}

impl Header {
    /// Reads a header.
    ///
    /// # Errors
    /// See [`HeaderError`].
    pub fn from_rlp(rlp: &[u8]) -> Result<Self, HeaderError> {
        if rlp.len() > MAX_HEADER {
            return Err(HeaderError::TooLong { got: rlp.len() });
        }
        let mut fields = Fields { rest: list(rlp).ok_or(HeaderError::NotAList)?, index: 0 };
        let parent_hash = fields.hash("parentHash")?;
        fields.hash("sha3Uncles")?;
        fields.array::<20>("miner")?;
        let state_root = fields.hash("stateRoot")?;
        let transactions_root = fields.hash("transactionsRoot")?;
        let receipts_root = fields.hash("receiptsRoot")?;
        fields.array::<256>("logsBloom")?;
        fields.next("difficulty", number)?;
        let number = fields.integer("number")?;
        fields.integer("gasLimit")?;
        fields.integer("gasUsed")?;
        let timestamp = fields.integer("timestamp")?;
        fields.next("extraData", Some)?;
        fields.hash("mixHash")?;
        fields.array::<8>("nonce")?;
        while !fields.rest.is_empty() {
            if fields.index == FIRST_FIELDS + MAX_LATER_FIELDS {
                return Err(HeaderError::TooManyFields);
            }
            fields.next("of a later fork", Some)?;
        }
        let hash = keccak256(rlp);
        Ok(Self { hash, parent_hash, state_root, transactions_root, receipts_root, number, timestamp })
    }

    /// Keccak-256 of the RLP: the block's hash.
    pub fn hash(&self) -> B256 {
        self.hash
    }

    /// The hash of the block before.
    pub fn parent_hash(&self) -> B256 {
        self.parent_hash
    }

    /// Root of the state after the block.
    pub fn state_root(&self) -> B256 {
        self.state_root
    }

    /// Root of the block's transactions.
    pub fn transactions_root(&self) -> B256 {
        self.transactions_root
    }

    /// Root of the block's receipts.
    pub fn receipts_root(&self) -> B256 {
        self.receipts_root
    }

    /// The block's number.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// When the block was made, in seconds since 1970.
    pub fn timestamp(&self) -> u64 {
        self.timestamp
    }

    /// The state after the block, as far as a witness leads into it. As true as the header is.
    pub fn state<'a>(&self, witness: StateWitness<'a>) -> State<'a> {
        State::new(self.state_root, witness)
    }
}

struct Fields<'a> {
    rest: &'a [u8],
    index: usize,
}

impl<'a> Fields<'a> {
    fn next<T>(&mut self, name: &'static str, read: impl FnOnce(&'a [u8]) -> Option<T>) -> Result<T, HeaderError> {
        let error = HeaderError::Field { index: self.index, name };
        self.index += 1;
        Item::take_string(&mut self.rest).and_then(read).ok_or(error)
    }

    fn array<const N: usize>(&mut self, name: &'static str) -> Result<[u8; N], HeaderError> {
        self.next(name, |bytes| bytes.try_into().ok())
    }

    fn hash(&mut self, name: &'static str) -> Result<B256, HeaderError> {
        self.array(name).map(B256::new)
    }

    fn integer(&mut self, name: &'static str) -> Result<u64, HeaderError> {
        self.next(name, |bytes| number(bytes)?.try_into().ok())
    }
}

/// Writes strings as the list that a header is.
pub(crate) fn to_rlp(fields: &[&[u8]]) -> Vec<u8> {
    use alloy_rlp::Encodable;
    let payload_length = fields.iter().map(|field| field.length()).sum();
    let mut rlp = Vec::new();
    alloy_rlp::Header { list: true, payload_length }.encode(&mut rlp);
    for field in fields {
        field.encode(&mut rlp);
    }
    rlp
}
