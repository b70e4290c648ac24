//! `/api/v1/roots`: roots, and what is shown at them.
//!
//! Openings and transitions are checked where they arrive, against what the reader trusts: a root, and what was asked for. What
//! the service says of them beside that is not believed.

use crate::BlockView;
use coprocessor_merkle::{
    AppendError, BlockAppend, DOMAIN_DEPTH, Key, Opening, OpeningError, Place, ROOT_DEPTH, Value, block_key,
    domain_key, domain_value, verify_block, verify_instance,
};
use coprocessor_types::{BlockNumber, BlockOpening, DomainId, InstanceId, ParseIdError, Root, StateProof, TrustId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A coprocessor root.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct RootView {
    /// The root.
    pub root: String,
    /// How many blocks of all domains it commits to; the first root has 0.
    pub version: u64,
    /// The identity of the instance that it commits to.
    pub instance: String,
    /// The block that made it; null for the first.
    pub block: Option<RootBlock>,
    /// When it was made.
    pub at: Timestamp,
}

/// Names a block.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct RootBlock {
    /// The domain's id.
    pub domain: String,
    /// The block's number.
    pub number: u64,
}

/// A page of roots, oldest first.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct RootList {
    /// The roots.
    pub items: Vec<RootView>,
    /// `after` of the next page; null at the end.
    pub next: Option<u64>,
}

/// What a root commits to under a number of a domain, shown at that root.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(tag = "shows", rename_all = "snake_case")]
pub enum OpeningView {
    /// The block.
    Block {
        /// The root.
        root: String,
        /// The block.
        block: BlockView,
        /// Leads from the block to the domain's root; from the leaf up.
        domain_siblings: Vec<String>,
        /// Leads from the domain to the root; from the leaf up.
        root_siblings: Vec<String>,
    },
    /// That the domain has no block of that number.
    NoBlock {
        /// The root.
        root: String,
        /// The root of the domain's tree.
        domain_root: String,
        /// The number's place in the domain's tree, where it is absent.
        in_domain: PathView,
        /// The domain's place in the root tree, where it is a member.
        in_root: PathView,
    },
    /// That it has no block of that domain at all.
    NoDomain {
        /// The root.
        root: String,
        /// The domain's place in the root tree, where it is absent.
        in_root: PathView,
    },
}

/// What a tree holds under a key.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct PathView {
    /// What stands at the end of the key's path.
    pub place: PlaceView,
    /// Roots of the subtrees beside the path, from the place up.
    pub siblings: Vec<String>,
}

/// What stands at the end of a key's path.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum PlaceView {
    /// The key's own leaf.
    Member {
        /// Its value.
        value: String,
    },
    /// Nothing.
    Empty,
    /// The only leaf of the subtree that the path leads into, which is another key's.
    OtherLeaf {
        /// That key.
        key: String,
        /// Its value.
        value: String,
    },
}

/// That a root is of an instance.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct InstanceView {
    /// The root.
    pub root: String,
    /// The instance's identity.
    pub instance: String,
    /// Leads from the instance's leaf to the root; from the leaf up.
    pub siblings: Vec<String>,
}

/// A step from a root to the next: the same with one more block, and nothing else changed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct TransitionView {
    /// The root before.
    pub from: String,
    /// The root after.
    pub to: String,
    /// The version of the root after.
    pub version: u64,
    /// The block's domain.
    pub domain: String,
    /// Its number.
    pub number: u64,
    /// Its state root.
    pub state_root: String,
    /// SHA-256 of its payload.
    pub payload_hash: String,
    /// What it was checked by.
    pub trust: String,
    /// The number's place in the domain's tree before, where it is absent.
    pub in_domain: PathView,
    /// The domain's place in the root tree before.
    pub in_root: PathView,
}

/// Steps from one root to a later one, in their order.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct TransitionList {
    /// The steps.
    pub items: Vec<TransitionView>,
    /// `from` of the next page; null at the end.
    pub next: Option<String>,
}

/// Why something that was shown at a root is not so.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RootCheckError {
    /// A text that is no hash.
    #[error("{what}: {reason}")]
    Malformed {
        /// Which.
        what: &'static str,
        /// What is wrong with it.
        reason: ParseIdError,
    },
    /// An opening that does not lead there.
    #[error("{0}")]
    Opening(#[from] OpeningError),
    /// A transition that does not lead there.
    #[error("{0}")]
    Append(#[from] AppendError),
    /// Said to be absent, and shown to be there.
    #[error("{what} is said to be absent, and is there")]
    Present {
        /// The block, or the domain.
        what: &'static str,
    },
    /// The root tree holds another tree for the domain.
    #[error("the root holds another tree for the domain than the one the block is absent from")]
    OtherDomainTree,
    /// Another block than the one that was asked for.
    #[error("it is about block {got_number} of domain {got_domain}, not {number} of {domain}")]
    OtherBlock {
        /// The domain asked for.
        domain: DomainId,
        /// The number asked for.
        number: BlockNumber,
        /// The domain of the block shown.
        got_domain: String,
        /// Its number.
        got_number: BlockNumber,
    },
}

impl OpeningView {
    /// Checks it against a root, a domain and a number that the caller trusts to be the ones meant: gives the block, or `None`
    /// where the root commits to none of that number. Of the block given, domain, number, state root, payload and trust are
    /// shown; when it was appended, and with which root, is the service's word.
    ///
    /// # Errors
    /// See [`RootCheckError`].
    pub fn verify(
        &self,
        root: &Root,
        domain: DomainId,
        number: BlockNumber,
    ) -> Result<Option<&BlockView>, RootCheckError> {
        match self {
            Self::Block { block, domain_siblings, root_siblings, .. } => {
                let named = parse::<DomainId>("the block's domain", &block.domain)?;
                if (named, block.number) != (domain, number) {
                    let (got_domain, got_number) = (block.domain.clone(), block.number);
                    return Err(RootCheckError::OtherBlock { domain, number, got_domain, got_number });
                }
                let proof = StateProof {
                    domain,
                    number,
                    state_root: parse::<Root>("the block's state root", &block.state_root)?.0,
                    payload: block.payload.0.clone(),
                    proof: Vec::new(),
                };
                let opening = BlockOpening {
                    trust: parse::<TrustId>("the block's trust", &block.trust)?,
                    domain_siblings: hashes(domain_siblings)?,
                    root_siblings: hashes(root_siblings)?,
                };
                verify_block(root, &proof, &opening)?;
                Ok(Some(block))
            }
            Self::NoBlock { domain_root, in_domain, in_root, .. } => {
                let domain_root = parse::<Root>("the domain's root", domain_root)?;
                let held = in_root.to_opening()?.verify(root, &domain_key(&domain), ROOT_DEPTH)?;
                if held != Some(domain_value(&domain_root)) {
                    return Err(RootCheckError::OtherDomainTree);
                }
                let held = in_domain.to_opening()?.verify(&domain_root, &block_key(number), DOMAIN_DEPTH)?;
                absent("the block", held)
            }
            Self::NoDomain { in_root, .. } => {
                absent("the domain", in_root.to_opening()?.verify(root, &domain_key(&domain), ROOT_DEPTH)?)
            }
        }
    }
}

impl InstanceView {
    /// Checks that a root that the caller trusts is of this instance.
    ///
    /// # Errors
    /// See [`RootCheckError`].
    pub fn verify(&self, root: &Root) -> Result<InstanceId, RootCheckError> {
        let instance = parse("the instance", &self.instance)?;
        verify_instance(root, &instance, &hashes(&self.siblings)?)?;
        Ok(instance)
    }
}

impl TransitionView {
    /// Checks that `to` is `from`, which the caller trusts, with this block and no other change.
    ///
    /// # Errors
    /// See [`RootCheckError`].
    pub fn verify(&self, from: &Root, to: &Root) -> Result<(), RootCheckError> {
        Ok(self.to_append()?.verify(from, to)?)
    }

    /// The proof itself.
    ///
    /// # Errors
    /// [`RootCheckError::Malformed`].
    pub fn to_append(&self) -> Result<BlockAppend, RootCheckError> {
        Ok(BlockAppend {
            domain: parse("the domain", &self.domain)?,
            number: self.number,
            state_root: parse::<Root>("the state root", &self.state_root)?.0,
            payload_hash: parse::<Root>("the payload's hash", &self.payload_hash)?.0,
            trust: parse("the trust", &self.trust)?,
            in_domain: self.in_domain.to_opening()?,
            in_root: self.in_root.to_opening()?,
        })
    }
}

impl PathView {
    /// The opening itself.
    ///
    /// # Errors
    /// [`RootCheckError::Malformed`].
    pub fn to_opening(&self) -> Result<Opening, RootCheckError> {
        let value = |text: &str| parse::<Root>("a leaf's value", text).map(|value| Value(value.0));
        let place = match &self.place {
            PlaceView::Member { value: text } => Place::Member(value(text)?),
            PlaceView::Empty => Place::Empty,
            PlaceView::OtherLeaf { key, value: text } => {
                Place::OtherLeaf(Key(parse::<Root>("a leaf's key", key)?.0), value(text)?)
            }
        };
        Ok(Opening { place, siblings: hashes(&self.siblings)? })
    }
}

fn absent(what: &'static str, held: Option<Value>) -> Result<Option<&'static BlockView>, RootCheckError> {
    if held.is_some() { Err(RootCheckError::Present { what }) } else { Ok(None) }
}

fn hashes(texts: &[String]) -> Result<Vec<Root>, RootCheckError> {
    texts.iter().map(|text| parse("a sibling", text)).collect()
}

fn parse<T: std::str::FromStr<Err = ParseIdError>>(what: &'static str, text: &str) -> Result<T, RootCheckError> {
    text.parse().map_err(|reason| RootCheckError::Malformed { what, reason })
}
