//! Append proofs: one root follows from another by one new block and nothing else.

use coprocessor_types::{BlockNumber, DomainId, TrustId};

use crate::Opening;

/// Shows that a coprocessor root is another one with exactly one more block.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BlockAppend {
    /// The new block's domain.
    pub domain: DomainId,
    /// Its number.
    pub number: BlockNumber,
    /// Its state root.
    pub state_root: [u8; 32],
    /// SHA-256 of its payload.
    pub payload_hash: [u8; 32],
    /// What it was checked by.
    pub trust: TrustId,
    /// The absence of the block's number in the domain's tree before.
    pub in_domain: Opening,
    /// The domain's place in the root tree before: a member, or absent when this is its first block.
    pub in_root: Opening,
}
