//! A tree's history: every version of it, as a log of writes that share what they did not change.
//!
//! Versions count from 1; version 0 is the empty tree. Version `v` is what [`Write`] `v` made of version `v - 1`: one key
//! set to one value. A write keeps its leaf and what stood beside the leaf's path right after it: each [`Sibling`]'s hash,
//! and the write that made that subtree what it was. So a version costs one row of about log2 n siblings, and any version
//! is opened by walking from its own write into older ones, wherever the wanted key leaves their paths.
//!
//! Rows are read through [`Writes`]. Nothing here trusts them further than it must: a walk goes to ever older versions, so it
//! ends; and each write it goes into has to hash to what the newer one says stands there.

use crate::{
    Key, Opening, Place, Value,
    hash::{EMPTY, leaf_hash, node_hash},
    opening::ROOT_DEPTH,
};
use alloc::{sync::Arc, vec::Vec};
use coprocessor_types::Root;
use core::ops::Range;

/// Bytes of a sibling: its hash, then its version, big-endian.
const SIBLING_LEN: usize = 40;

/// The subtree beside a path, as it was right after the write whose path it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sibling {
    /// The subtree's root.
    pub hash: Root,
    /// The last version that wrote into it; 0 when it is empty.
    pub version: u64,
}

/// One version's change: a key set to a value, and the siblings of its path right after.
#[derive(Clone, Debug)]
pub struct Write {
    key: Key,
    value: Value,
    depth: usize,
    /// From the leaf up. All `depth` of them, or only the deepest after pruning.
    siblings: Vec<Sibling>,
    /// The path's own nodes, from the leaf up, as far as they were hashed. A write just made has them all, as it is what the
    /// next walks begin with; of one that was stored, a walk hashes those it needs: it comes in far below the root.
    nodes: Vec<Root>,
}

/// Why stored parts are no write.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum WriteError {
    /// The bytes are no whole number of siblings.
    #[error("{got} bytes of siblings; each takes {SIBLING_LEN}")]
    Length {
        /// Number of bytes.
        got: usize,
    },
    /// A path longer than a key has bits.
    #[error("a path of depth {depth}; keys have {ROOT_DEPTH} bits")]
    TooDeep {
        /// The depth.
        depth: usize,
    },
    /// More siblings than the path is deep.
    #[error("{got} siblings on a path of depth {depth}")]
    TooMany {
        /// Number of siblings.
        got: usize,
        /// The path's depth.
        depth: usize,
    },
    /// An empty subtree that some version wrote into, or a subtree that none did.
    #[error("sibling {index} from the leaf has hash {hash} and version {version}; both or neither must be zero")]
    HalfEmpty {
        /// Its position from the leaf, from 0.
        index: usize,
        /// Its hash.
        hash: Root,
        /// Its version.
        version: u64,
    },
    /// The deepest sibling is empty: a tree puts a lone leaf higher up.
    #[error("the deepest sibling is empty")]
    LoneLeaf,
}

impl Write {
    /// A write from what was stored of it: `siblings` as [`siblings_to_bytes`](Self::siblings_to_bytes) gave them, or their
    /// first [`keep`](Superseded::keep) after pruning, and the depth that its path had when it was written.
    ///
    /// # Errors
    /// Parts that no write has. Allocates no more than a path of 256 siblings takes.
    pub fn from_parts(key: Key, value: Value, depth: usize, siblings: &[u8]) -> Result<Self, WriteError> {
        if depth > ROOT_DEPTH {
            return Err(WriteError::TooDeep { depth });
        }
        let (siblings, []) = siblings.as_chunks::<SIBLING_LEN>() else {
            return Err(WriteError::Length { got: siblings.len() });
        };
        if siblings.len() > depth {
            return Err(WriteError::TooMany { got: siblings.len(), depth });
        }
        let siblings: Vec<Sibling> = siblings.iter().map(Sibling::from_bytes).collect();
        for (index, &Sibling { hash, version }) in siblings.iter().enumerate() {
            if (hash == EMPTY) != (version == 0) {
                return Err(WriteError::HalfEmpty { index, hash, version });
            }
        }
        if siblings.first().is_some_and(|deepest| deepest.version == 0) {
            return Err(WriteError::LoneLeaf);
        }
        Ok(Self { key, value, depth, siblings, nodes: Vec::new() })
    }

    /// The siblings in bytes, from the leaf up, 40 each: hash, then version big-endian.
    pub fn siblings_to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.siblings.len() * SIBLING_LEN);
        for sibling in &self.siblings {
            bytes.extend_from_slice(&sibling.hash.0);
            bytes.extend_from_slice(&sibling.version.to_be_bytes());
        }
        bytes
    }

    /// The tree's root right after this write; of a write that pruning has cut, the root of the subtree it still has.
    pub fn root(&self) -> Root {
        self.node_above(self.siblings.len())
    }

    /// The key it set.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// The value it set the key to.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// How deep its leaf stood right after: how many siblings it had then. To be stored beside them.
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// What stood beside its path, from the leaf up; only the deepest after pruning.
    pub fn siblings(&self) -> &[Sibling] {
        &self.siblings
    }

    /// Whether walks find all its hashes ready.
    pub fn is_hashed(&self) -> bool {
        self.nodes.len() > self.siblings.len()
    }

    /// The same write with all its hashes ready: worth it for one that many walks go into near its tree's root.
    pub fn hashed(mut self) -> Self {
        if !self.is_hashed() {
            let mut nodes = Vec::with_capacity(self.siblings.len() + 1);
            let mut node = self.leaf();
            nodes.push(node);
            for index in 0..self.siblings.len() {
                node = self.parent(index, &node);
                nodes.push(node);
            }
            self.nodes = nodes;
        }
        self
    }

    fn new(key: Key, value: Value, siblings: Vec<Sibling>) -> Self {
        Self { key, value, depth: siblings.len(), siblings, nodes: Vec::new() }.hashed()
    }

    /// The node of its path so many levels above the leaf, which its siblings must reach.
    fn node_above(&self, levels: usize) -> Root {
        match self.nodes.get(levels) {
            Some(node) => *node,
            None => self.climb(self.leaf(), 0..levels),
        }
    }

    /// Two nodes of its path, the lower one first, each at so many levels above the leaf; `lower` is no more than `upper`.
    fn nodes_above(&self, lower: usize, upper: usize) -> (Root, Root) {
        let node = self.node_above(lower);
        let above = self.nodes.get(upper).copied().unwrap_or_else(|| self.climb(node, lower..upper));
        (node, above)
    }

    /// From a node of its path up past those siblings.
    fn climb(&self, node: Root, siblings: Range<usize>) -> Root {
        siblings.fold(node, |node, index| self.parent(index, &node))
    }

    /// What a node of its path and the sibling beside it hang from.
    fn parent(&self, index: usize, node: &Root) -> Root {
        let sibling = &self.siblings[index].hash;
        match self.key.turns_right(self.depth - 1 - index) {
            true => node_hash(sibling, node),
            false => node_hash(node, sibling),
        }
    }

    fn leaf(&self) -> Root {
        leaf_hash(&self.key, &self.value)
    }

    /// The sibling that hangs from the node at `level`, which must be one that the write still has.
    fn sibling(&self, level: usize) -> Sibling {
        self.siblings[self.depth - 1 - level]
    }
}

impl PartialEq for Write {
    fn eq(&self, other: &Self) -> bool {
        // The nodes follow from the rest.
        (&self.key, &self.value, self.depth, &self.siblings) == (&other.key, &other.value, other.depth, &other.siblings)
    }
}

impl Eq for Write {}

impl Sibling {
    const EMPTY: Self = Self { hash: EMPTY, version: 0 };

    fn from_bytes(bytes: &[u8; SIBLING_LEN]) -> Self {
        let (hash, version) = bytes.split_at(32);
        Self {
            hash: Root(hash.try_into().expect("40 bytes less 8 are 32")),
            version: u64::from_be_bytes(version.try_into().expect("40 bytes less 32 are 8")),
        }
    }
}

/// Where writes are read from.
pub trait Writes {
    /// Why a write can't be read.
    type Error;

    /// The write that made `version`, which is 1 or more. A version that there is not is an error.
    ///
    /// # Errors
    /// What the implementation says.
    fn write(&mut self, version: u64) -> Result<Arc<Write>, Self::Error>;
}

/// Why a history can't be walked.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HistoryError<E> {
    /// A write could not be read.
    #[error(transparent)]
    Writes(#[from] E),
    /// Pruning has taken what the version asked for needs.
    #[error("version {version} is pruned: open a later one")]
    Pruned {
        /// The version asked for.
        version: u64,
    },
    /// Stored writes contradict each other.
    #[error("the history is damaged: write {version} is not what the writes after it say of it; restore from a backup")]
    Damaged {
        /// The write that is not what it should be.
        version: u64,
    },
}

/// What a version of a tree holds under a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Opened {
    /// Shows it at the version's root.
    pub opening: Opening,
    /// The version that set the key to its value; `None` when the key is absent.
    pub version: Option<u64>,
}

/// A write of which a later version has replaced the upper part.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Superseded {
    /// The write.
    pub version: u64,
    /// How many of its siblings, from the leaf up, later versions still need: the first `keep * 40` bytes.
    pub keep: usize,
}

/// Opens `key` at `version`.
///
/// The opening verifies at the root that write `version` has, or the history is found damaged: a store that gives wrong rows
/// can make this fail, never give an opening of something else at that root, nor run on.
///
/// # Errors
/// [`HistoryError`].
pub fn open<W: Writes>(writes: &mut W, version: u64, key: &Key) -> Result<Opened, HistoryError<W::Error>> {
    let Walk { end, siblings, .. } = walk(writes, version, key)?;
    let siblings = siblings.iter().rev().map(|sibling| sibling.hash).collect();
    let (place, version) = match end {
        None => (Place::Empty, None),
        Some((version, leaf)) if leaf.key == *key => (Place::Member(leaf.value), Some(version)),
        Some((_, leaf)) => (Place::OtherLeaf(leaf.key, leaf.value), None),
    };
    Ok(Opened { opening: Opening { place, siblings }, version })
}

/// The write of version `tip + 1`, which sets `key` to `value`, whether the key is there or not. It is not stored.
///
/// # Errors
/// [`HistoryError`].
pub fn put<W: Writes>(writes: &mut W, tip: u64, key: Key, value: Value) -> Result<Write, HistoryError<W::Error>> {
    let Walk { end, mut siblings, .. } = walk(writes, tip, &key)?;
    if let Some((version, leaf)) = end
        && leaf.key != key
    {
        // Both leaves go down to where their paths part.
        siblings.resize(key.shared_bits(&leaf.key), Sibling::EMPTY);
        siblings.push(Sibling { hash: leaf.leaf(), version });
    }
    siblings.reverse();
    Ok(Write::new(key, value, siblings))
}

/// What `version` replaced of older writes: no version from `version` on goes through it.
///
/// To prune all versions before `first`, take those not yet pruned in order up to and including `first`, and cut each write named.
/// Versions before `first` can't be opened from then on; later ones open as before.
///
/// # Errors
/// [`HistoryError`].
pub fn superseded<W: Writes>(writes: &mut W, version: u64) -> Result<Vec<Superseded>, HistoryError<W::Error>> {
    if version < 2 {
        return Ok(Vec::new());
    }
    let key = writes.write(version)?.key;
    Ok(walk(writes, version - 1, &key)?.left)
}

/// The way from a version's root to the end of a key's path.
struct Walk {
    /// The leaf the path ends at and the version that wrote it; `None` when it ends at nothing.
    end: Option<(u64, Arc<Write>)>,
    /// What stands beside the path, from the root down.
    siblings: Vec<Sibling>,
    /// What each write on the way would still be needed for if the whole path were replaced; those already cut so far are not named.
    left: Vec<Superseded>,
}

fn walk<W: Writes>(writes: &mut W, version: u64, key: &Key) -> Result<Walk, HistoryError<W::Error>> {
    let mut walk = Walk { end: None, siblings: Vec::new(), left: Vec::new() };
    let mut expected = None;
    let mut next = version;
    while next != 0 {
        let at = next;
        let write = writes.write(at)?;
        let entry = walk.siblings.len();
        let shared = key.shared_bits(&write.key);
        // Below the depth it was written at is the leaf, as a later split moves it down.
        let above = |depth: usize| write.depth.saturating_sub(depth);
        if above(entry) > write.siblings.len() {
            return Err(HistoryError::Pruned { version });
        }
        if shared < entry {
            return Err(HistoryError::Damaged { version: at });
        }
        let (left_behind, node) = write.nodes_above(above(shared + 1), above(entry));
        if expected.is_some_and(|hash| hash != node) {
            return Err(HistoryError::Damaged { version: at });
        }
        walk.siblings.extend((entry..shared.min(write.depth)).map(|level| write.sibling(level)));
        let keep = above(shared + 1);
        if keep < write.siblings.len() {
            walk.left.push(Superseded { version: at, keep });
        }
        if shared >= write.depth {
            walk.end = Some((at, write));
            break;
        }
        let beside = write.sibling(shared);
        if beside.version >= at {
            return Err(HistoryError::Damaged { version: at });
        }
        walk.siblings.push(Sibling { hash: left_behind, version: at });
        expected = Some(beside.hash);
        next = beside.version;
    }
    Ok(walk)
}
