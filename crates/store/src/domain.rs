//! Domains, their blocks, and the roots that commit to them.

pub(crate) mod trees;

use async_trait::async_trait;
use bytes::Bytes;
use coprocessor_merkle::{BlockAppend, Opening};
use coprocessor_types::{BlobDigest, BlockNumber, BlockOpening, DomainId, OwnerId, Root, TrustId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;

use crate::{Cursor, Page, StoreError};

/// A domain to register.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewDomain {
    /// [`DomainId::derive`] of its name.
    pub id: DomainId,
    /// Its name; one domain has it.
    pub name: String,
    /// Who registers it; its blocks are appended by this owner and by administrators.
    pub owner: OwnerId,
    /// Its controller's WebAssembly, put before.
    pub controller: BlobDigest,
    /// What the controller is told with every call: which chain it is, say. The same ever after; JSON null for nothing.
    pub settings: serde_json::Value,
    /// What its blocks have to be checked by.
    pub policy: TrustPolicy,
}

/// What a domain's blocks have to be checked by.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrustPolicy {
    /// Nothing but the domain's controller: blocks have the trust of 32 zero bytes.
    ControllerOnly,
}

impl TrustPolicy {
    /// The name in JSON and in the store.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ControllerOnly => "controller_only",
        }
    }

    /// The policy of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::ControllerOnly].into_iter().find(|policy| policy.as_str() == name)
    }
}

/// A registered domain. None is ever removed, as roots commit to its blocks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Domain {
    /// Its id.
    pub id: DomainId,
    /// Its name.
    pub name: String,
    /// Who registered it.
    pub owner: OwnerId,
    /// The controller that checks new blocks.
    pub controller: BlobDigest,
    /// What the controller is told with every call.
    pub settings: serde_json::Value,
    /// What its blocks have to be checked by.
    pub policy: TrustPolicy,
    /// How many blocks it has; the version of its tree.
    pub blocks: u64,
    /// The highest number among its blocks; `None` before the first.
    pub latest: Option<BlockNumber>,
    /// When it was registered.
    pub created_at: Timestamp,
    /// When its controller was last set.
    pub updated_at: Timestamp,
}

/// What registering a domain came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AddDomain {
    /// A new domain.
    Added(Domain),
    /// There is one with that id already; it is as it was.
    Exists(Domain),
}

/// A block to append, as its domain's controller has checked it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewBlock {
    /// Its number.
    pub number: BlockNumber,
    /// Its state root.
    pub state_root: [u8; 32],
    /// What the domain's controller keeps of it; at most [`MAX_PAYLOAD`] bytes.
    pub payload: Bytes,
    /// What it was checked by.
    pub trust: TrustId,
}

/// Longest payload of a block, in bytes. Circuits hash it with every opening.
pub const MAX_PAYLOAD: usize = 64 * 1024;

/// Most blocks of one call to [`append_blocks`](Domains::append_blocks): others who write wait for as long as it takes.
pub const MAX_BATCH: usize = 10_000;

/// Most bytes that the payloads of one call may have together.
pub const MAX_BATCH_PAYLOADS: usize = 64 * 1024 * 1024;

/// Refuses what is more than one call may append.
pub(crate) fn check_size(blocks: &[NewBlock]) -> Result<(), StoreError> {
    let at_most = |what, got, limit| if got > limit { Err(StoreError::TooLarge { what, got, limit }) } else { Ok(()) };
    at_most("the number of blocks in one call", blocks.len(), MAX_BATCH)?;
    let longest = blocks.iter().map(|block| block.payload.len()).max();
    at_most("the payload of a block, in bytes,", longest.unwrap_or(0), MAX_PAYLOAD)?;
    let together = blocks.iter().map(|block| block.payload.len()).sum();
    at_most("the payloads of the blocks in one call, in bytes together,", together, MAX_BATCH_PAYLOADS)
}

/// The first number that the call names twice.
pub(crate) fn named_twice(mut numbers: impl Iterator<Item = BlockNumber>) -> Option<BlockNumber> {
    let mut named = HashSet::new();
    numbers.find(|&number| !named.insert(number))
}

/// A block of a domain.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Block {
    /// The domain.
    pub domain: DomainId,
    /// Its number.
    pub number: BlockNumber,
    /// Its state root.
    pub state_root: [u8; 32],
    /// What the domain's controller keeps of it.
    pub payload: Bytes,
    /// What it was checked by.
    pub trust: TrustId,
    /// The root that it made: the first that commits to it.
    pub root: Root,
    /// That root's version.
    pub version: u64,
    /// When it was appended.
    pub appended_at: Timestamp,
}

/// What appending came to. All blocks of a call are appended, in their order, or none.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AppendBlocks {
    /// The blocks, each with the root it made.
    Appended(Vec<Block>),
    /// The domain has a block with that number already, or the call names it twice: nothing was appended. The block that is there
    /// is given; `None` when it is of this very call.
    Taken {
        /// The number.
        number: BlockNumber,
        /// The block that has it.
        block: Option<Box<Block>>,
    },
}

/// A root in the history: the one before it with one more block.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RootRecord {
    /// How many blocks of all domains it commits to. The instance's first root, of no block, has 0.
    pub version: u64,
    /// The root.
    pub root: Root,
    /// The block that made it; `None` in version 0.
    pub block: Option<(DomainId, BlockNumber)>,
    /// When; of version 0, when the store was made.
    pub at: Timestamp,
}

/// What a root holds of a block.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum OpenedBlock {
    /// It commits to the block; with what [`coprocessor_merkle::verify_block`] needs beside it.
    Member(Block, BlockOpening),
    /// It commits to the domain and to no block of it with that number: the domain's place in the root tree, and the number's in the
    /// domain's tree.
    Absent {
        /// In the root tree; a member.
        root: Opening,
        /// In the domain's tree.
        domain: Opening,
        /// The root of the domain's tree.
        domain_root: Root,
    },
    /// It commits to no block of that domain.
    NoDomain(Opening),
}

/// Domains and roots, part of the store so that a block, the trees and the history change in one transaction.
///
/// Roots are numbered from 0, the root of an instance without blocks, and each appended block makes the next one. A root that
/// [`prune_roots`](Self::prune_roots) has taken is known still, and opens nothing.
#[async_trait]
pub trait Domains {
    /// Registers a domain.
    ///
    /// # Errors
    /// [`StoreError::BlobMissing`].
    async fn add_domain(&self, domain: NewDomain) -> Result<AddDomain, StoreError>;

    /// A domain.
    async fn domain(&self, id: DomainId) -> Result<Option<Domain>, StoreError>;

    /// Domains in the order they were registered, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError::BadCursor`].
    async fn domains(&self, after: Option<Cursor>, limit: usize) -> Result<Page<Domain>, StoreError>;

    /// Gives a domain another controller, for the blocks to come. `None` when there is no such domain.
    ///
    /// # Errors
    /// [`StoreError::BlobMissing`].
    async fn set_domain_controller(&self, id: DomainId, controller: BlobDigest) -> Result<Option<Domain>, StoreError>;

    /// Appends blocks to a domain, each making a root; durable when this returns. Callers at the same time, here and in other
    /// processes, come one after the other.
    ///
    /// # Errors
    /// [`StoreError::UnknownDomain`]; [`StoreError::TooLarge`] beyond [`MAX_PAYLOAD`], [`MAX_BATCH`] or [`MAX_BATCH_PAYLOADS`].
    async fn append_blocks(&self, domain: DomainId, blocks: Vec<NewBlock>) -> Result<AppendBlocks, StoreError>;

    /// A block.
    async fn block(&self, domain: DomainId, number: BlockNumber) -> Result<Option<Block>, StoreError>;

    /// A domain's blocks, highest number first, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError::BadCursor`].
    async fn blocks(&self, domain: DomainId, after: Option<Cursor>, limit: usize) -> Result<Page<Block>, StoreError>;

    /// The highest block of a domain that a root commits to; `None` for a domain without blocks at that root.
    ///
    /// # Errors
    /// [`StoreError::UnknownRoot`].
    async fn latest_block(&self, domain: DomainId, at: Root) -> Result<Option<Block>, StoreError>;

    /// The newest root.
    async fn current_root(&self) -> Result<RootRecord, StoreError>;

    /// A root of this instance.
    async fn root(&self, root: Root) -> Result<Option<RootRecord>, StoreError>;

    /// Roots with versions above `after`, oldest first, at most `limit`; from version 0 on with `None`.
    async fn roots(&self, after: Option<u64>, limit: usize) -> Result<Vec<RootRecord>, StoreError>;

    /// What a root holds under a number of a domain, shown at that root.
    ///
    /// # Errors
    /// [`StoreError::UnknownRoot`], [`StoreError::RootPruned`]; [`StoreError::UnknownDomain`] for the id that is the instance's own
    /// place in the root tree, which no domain has. Any other id that nobody registered is [`OpenedBlock::NoDomain`].
    async fn open_block(&self, root: Root, domain: DomainId, number: BlockNumber) -> Result<OpenedBlock, StoreError>;

    /// The siblings that lead from the instance's leaf to a root, for [`coprocessor_merkle::verify_instance`].
    ///
    /// # Errors
    /// [`StoreError::UnknownRoot`], [`StoreError::RootPruned`].
    async fn open_instance(&self, root: Root) -> Result<Vec<Root>, StoreError>;

    /// The steps that lead from the root of version `from` to that of version `to`, the first being `from + 1`; at most `limit`
    /// of them. Each verifies by [`BlockAppend::verify`].
    ///
    /// # Errors
    /// [`StoreError::RootPruned`] when what they are shown by is gone.
    async fn transitions(&self, from: u64, to: u64, limit: usize) -> Result<Vec<BlockAppend>, StoreError>;

    /// Takes what only roots older than `before` need, at most `limit` roots' worth, oldest first. The current root always stays
    /// whole, and so do those that unfinished tasks are pinned to with all after them, and all blocks. Gives how many roots were
    /// pruned, and whether more are left to do.
    async fn prune_roots(&self, before: Timestamp, limit: usize) -> Result<(u64, bool), StoreError>;
}
