//! Append proofs: one root follows from another by one new block and nothing else.

use crate::{
    Opening, Place, Value,
    hash::{EMPTY, block_key, block_value_of, domain_key, domain_value, instance_key},
    opening::{DOMAIN_DEPTH, OpeningError, ROOT_DEPTH},
};
use coprocessor_types::{BlockNumber, DomainId, Root, TrustId};

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

/// Why an append proof shows nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AppendError {
    /// The opening in the domain's tree leads nowhere.
    #[error("in the domain's tree: {0}")]
    Domain(#[source] OpeningError),
    /// The opening in the root tree leads nowhere.
    #[error("in the root tree: {0}")]
    Root(#[source] OpeningError),
    /// The block's number is in the domain's tree before; blocks are never replaced.
    #[error("block {number} is in the domain's tree already")]
    Taken {
        /// The number.
        number: BlockNumber,
    },
    /// The root tree holds another domain tree than the one the number is absent from.
    #[error("the root tree holds another tree for the domain than the one whose root is {domain_root}")]
    OtherDomainTree {
        /// The root that the opening in the domain's tree leads to; 32 zero bytes for a tree without blocks.
        domain_root: Root,
    },
    /// It appends to another root.
    #[error("it appends to root {got}, expected {expected}")]
    From {
        /// The root it was checked against.
        expected: Root,
        /// The root it appends to.
        got: Root,
    },
    /// It makes another root.
    #[error("it makes root {got}, expected {expected}")]
    To {
        /// The root it was checked against.
        expected: Root,
        /// The root it makes.
        got: Root,
    },
}

impl BlockAppend {
    /// Checks that `to` is `from` with this block and no other change.
    ///
    /// An attacker who chooses the proof and `to`, but not `from`, cannot change, add or take away any other block, domain or the
    /// instance, replace a block that is there, or add the block anywhere but in its one place, without a SHA-256 collision: when
    /// `from` was built by the rules, so is `to`. He cannot cost more than four climbs of the trees' depths.
    ///
    /// # Errors
    /// See [`AppendError`].
    pub fn verify(&self, from: &Root, to: &Root) -> Result<(), AppendError> {
        let (got_from, got_to) = self.roots()?;
        if got_from != *from {
            return Err(AppendError::From { expected: *from, got: got_from });
        }
        if got_to != *to {
            return Err(AppendError::To { expected: *to, got: got_to });
        }
        Ok(())
    }

    /// The root it appends to and the root that makes. Compare them with roots you trust: on their own they show nothing.
    ///
    /// # Errors
    /// [`AppendError`], other than `From` and `To`.
    pub fn roots(&self) -> Result<(Root, Root), AppendError> {
        let (domain_before, domain_after) = self.domain_roots()?;
        let key = domain_key(&self.domain);
        // The instance's leaf holds an identity that someone drew; nothing keeps it from being `domain_value` of a tree of his.
        if key == instance_key() {
            return Err(AppendError::Root(OpeningError::InstancePlace));
        }
        let held = match self.in_root.place {
            Place::Member(value) => Some(value),
            Place::Empty | Place::OtherLeaf(..) => None,
        };
        // A domain enters the root tree with its first block, so none is there with an empty tree.
        let expected = (domain_before != EMPTY).then(|| domain_value(&domain_before));
        if held != expected {
            return Err(AppendError::OtherDomainTree { domain_root: domain_before });
        }
        let from = self.in_root.root(&key, ROOT_DEPTH).map_err(AppendError::Root)?;
        let to = self.in_root.root_with(&key, &domain_value(&domain_after), ROOT_DEPTH).map_err(AppendError::Root)?;
        Ok((from, to))
    }

    /// The domain tree's root before and after.
    fn domain_roots(&self) -> Result<(Root, Root), AppendError> {
        let key = block_key(self.number);
        if let Place::Member(_) = self.in_domain.place {
            return Err(AppendError::Taken { number: self.number });
        }
        let value = self.value();
        let before = self.in_domain.root(&key, DOMAIN_DEPTH).map_err(AppendError::Domain)?;
        let after = self.in_domain.root_with(&key, &value, DOMAIN_DEPTH).map_err(AppendError::Domain)?;
        Ok((before, after))
    }

    fn value(&self) -> Value {
        block_value_of(self.number, &self.state_root, &self.payload_hash, &self.trust)
    }
}
