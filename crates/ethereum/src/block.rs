//! A block of an Ethereum chain's domain.

use crate::{B256, Header, State, StateWitness, WitnessError};
use alloc::{format, string::String, vec::Vec};
use circuit_sdk::{DomainId, StateProof, TrustId, Witnesses};

/// Why a witness element is no block of an Ethereum chain.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BlockError {
    /// The payload has another length.
    #[error(
        "the block's payload has {got} bytes, expected {}: is it a block of an Ethereum chain's domain?",
        BlockPayload::LEN
    )]
    PayloadLength {
        /// Its length.
        got: usize,
    },
    /// The payload names another chain than the domain.
    #[error("the block is of chain {got}, expected {expected}")]
    OtherChain {
        /// The chain asked for.
        expected: u64,
        /// The chain that the payload names.
        got: u64,
    },
    /// The payload has another version.
    #[error("the block's payload has version {got}, expected {}", BlockPayload::VERSION)]
    PayloadVersion {
        /// Its first byte.
        got: u8,
    },
}

/// The name of the domain that keeps a chain's blocks, such as `eip155:1` for Ethereum's main net: its id by CAIP-2.
///
/// A circuit that takes its domain from here and commits the chain's number has named the domain to whoever verifies.
pub fn chain_domain(chain_id: u64) -> String {
    format!("eip155:{chain_id}")
}

/// What an Ethereum chain's domain keeps of a block beside number and state root, in the block's payload. It is in the root
/// like those, so a circuit may commit it.
///
/// ```text
/// version     u8 = 1
/// chain id    u64 big-endian
/// timestamp   u64 big-endian       seconds since 1970
/// hash        32 bytes
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BlockPayload {
    /// Which chain, as EIP-155 numbers them.
    pub chain_id: u64,
    /// When the block was made, in seconds since 1970.
    pub timestamp: u64,
    /// The block's hash.
    pub hash: B256,
}

impl BlockPayload {
    /// Length in bytes.
    pub const LEN: usize = 49;
    const VERSION: u8 = 1;

    /// The payload of the block with that header.
    pub fn of(chain_id: u64, header: &Header) -> Self {
        Self { chain_id, timestamp: header.timestamp(), hash: header.hash() }
    }

    /// The encoding above.
    pub fn to_bytes(&self) -> Vec<u8> {
        [&[Self::VERSION][..], &self.chain_id.to_be_bytes(), &self.timestamp.to_be_bytes(), self.hash.as_slice()]
            .concat()
    }

    /// Reads the encoding above.
    ///
    /// # Errors
    /// Another length or version.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BlockError> {
        let bytes: &[u8; Self::LEN] = bytes.try_into().map_err(|_| BlockError::PayloadLength { got: bytes.len() })?;
        let ([version], rest) = bytes.split_first_chunk().expect("49 bytes");
        if *version != Self::VERSION {
            return Err(BlockError::PayloadVersion { got: *version });
        }
        let (chain_id, rest) = rest.split_first_chunk().expect("48 bytes");
        let (timestamp, hash) = rest.split_first_chunk().expect("40 bytes");
        Ok(Self {
            chain_id: u64::from_be_bytes(*chain_id),
            timestamp: u64::from_be_bytes(*timestamp),
            hash: B256::from_slice(hash),
        })
    }
}

/// A block that is in the root of the circuit's run, of the domain and with the trust that the circuit named.
#[derive(Clone, Debug)]
pub struct Block {
    payload: BlockPayload,
    proof: StateProof,
}

impl Block {
    /// Takes the next witness element, which the circuit SDK has found in the root.
    ///
    /// The domain is that of the chain ([`chain_domain`]), and the block's payload has to name the same chain.
    ///
    /// # Errors
    /// A payload that is not that chain's.
    ///
    /// # Panics
    /// As [`Witnesses::state_proof`] does: no element, or data, or another domain or trust.
    #[track_caller]
    pub fn take(witnesses: &mut Witnesses, chain_id: u64, trust: TrustId) -> Result<Self, BlockError> {
        let proof = witnesses.state_proof(DomainId::derive(&chain_domain(chain_id)), trust);
        let payload = BlockPayload::from_bytes(&proof.payload)?;
        match payload.chain_id == chain_id {
            true => Ok(Self { payload, proof }),
            false => Err(BlockError::OtherChain { expected: chain_id, got: payload.chain_id }),
        }
    }

    /// Which chain, as EIP-155 numbers them.
    pub fn chain_id(&self) -> u64 {
        self.payload.chain_id
    }

    /// The block's number.
    pub fn number(&self) -> u64 {
        self.proof.number
    }

    /// The block's hash.
    pub fn hash(&self) -> B256 {
        self.payload.hash
    }

    /// When the block was made, in seconds since 1970.
    pub fn timestamp(&self) -> u64 {
        self.payload.timestamp
    }

    /// The state after the block, as far as the element's proof leads into it.
    ///
    /// # Errors
    /// A proof that is no [`StateWitness`].
    pub fn state(&self) -> Result<State<'_>, WitnessError> {
        let witness = StateWitness::from_bytes(&self.proof.proof)?;
        Ok(State::new(B256::new(self.proof.state_root), witness))
    }
}
