//! The trees of blocks and roots, as every store walks them: what appending, opening and pruning make of their logs, and what
//! is kept of the logs in memory.
//!
//! There is one log of writes for each domain and one for the root tree. Write 1 of the root tree is the instance's leaf, which no
//! store keeps as a row; so the root of version `v` is what write `v + 1` made.

use crate::StoreError;
use coprocessor_merkle::{
    BlockAppend, Key, Opening, Place, Tree, Value, block_key, domain_key, domain_value,
    history::{self, HistoryError, Opened, Superseded, Write, Writes},
    instance_key,
};
use coprocessor_types::{BlockNumber, DomainId, InstanceId, Root, TrustId};
use lru::LruCache;
use std::{
    collections::BTreeMap,
    fmt,
    num::NonZeroUsize,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Writes kept in memory: some 30 MB, in trees of a million leaves. All that is near the roots of recent versions fits.
const KEPT: NonZeroUsize = NonZeroUsize::new(1 << 14).expect("it is not zero");

/// A write that was asked for so often is near its tree's root, and is hashed whole once for all; others are gone into near their leaf,
/// where few hashes are needed.
const OFTEN: u8 = 4;

/// Writes of the root tree kept of one call: its blocks are all of one domain, whose place alone changes with them.
const RECENT_ROOTS: u64 = 64;

/// A version of one tree: the root tree's number is 0, a domain's is its own.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct TreeVersion {
    pub(crate) tree: i64,
    pub(crate) version: u64,
}

impl TreeVersion {
    /// The root tree as the root of that version commits to it.
    pub(crate) const fn of_root(version: u64) -> Self {
        Self { tree: 0, version: version + 1 }
    }

    /// The version of the root that made it, if it is one of the root tree.
    pub(crate) const fn root(self) -> Option<u64> {
        if self.tree == 0 { self.version.checked_sub(1) } else { None }
    }
}

/// A write, and in the root tree what it took in.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) write: Arc<Write>,
    /// The version of the domain's tree whose root it set; `None` in a domain's tree, and of the instance's leaf.
    pub(crate) holds: Option<TreeVersion>,
}

/// Where the logs are read from.
pub(crate) trait Logs {
    type Error;

    /// The write that made that version, which is 1 or more.
    fn entry(&mut self, at: TreeVersion) -> Result<Entry, Self::Error>;
}

/// One of the logs.
struct Log<'a, L> {
    logs: &'a mut L,
    tree: i64,
}

impl<L: Logs> Writes for Log<'_, L> {
    type Error = L::Error;

    fn write(&mut self, version: u64) -> Result<Arc<Write>, L::Error> {
        Ok(self.logs.entry(TreeVersion { tree: self.tree, version })?.write)
    }
}

/// What a root holds of a block.
pub(crate) enum Found {
    /// The version of the domain's tree that put it there, and the siblings in both trees.
    Member { put: TreeVersion, domain_siblings: Vec<Root>, root_siblings: Vec<Root> },
    /// The domain is there, without a block of that number.
    Absent { root: Opening, domain: Opening, domain_root: Root },
    /// No block of the domain is there.
    NoDomain(Opening),
    /// The id is the instance's own place, which no domain has.
    Instance,
}

/// Opens a block at a root, given its version.
pub(crate) fn find<L: Logs>(
    logs: &mut L,
    (version, root): (u64, &Root),
    domain: &DomainId,
    number: BlockNumber,
) -> Result<Found, HistoryError<L::Error>> {
    require(logs, TreeVersion::of_root(version), root)?;
    let in_root = open(logs, TreeVersion::of_root(version), domain_key(domain))?;
    let (Some(written), Place::Member(value)) = (in_root.version, in_root.opening.place) else {
        return Ok(Found::NoDomain(in_root.opening));
    };
    let Some(held) = logs.entry(TreeVersion { tree: 0, version: written })?.holds else { return Ok(Found::Instance) };
    let domain_root = logs.entry(held)?.write.root();
    if domain_value(&domain_root) != value {
        return Err(HistoryError::Damaged { version: written });
    }
    let in_domain = open(logs, held, block_key(number))?;
    Ok(match in_domain.version {
        Some(version) => Found::Member {
            put: TreeVersion { version, ..held },
            domain_siblings: in_domain.opening.siblings,
            root_siblings: in_root.opening.siblings,
        },
        None => Found::Absent { root: in_root.opening, domain: in_domain.opening, domain_root },
    })
}

/// The siblings of the instance's leaf at a root, given its version.
pub(crate) fn find_instance<L: Logs>(
    logs: &mut L,
    (version, root): (u64, &Root),
) -> Result<Vec<Root>, HistoryError<L::Error>> {
    require(logs, TreeVersion::of_root(version), root)?;
    Ok(open(logs, TreeVersion::of_root(version), instance_key())?.opening.siblings)
}

/// A root, and the block that made it.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) version: u64,
    pub(crate) root: Root,
    /// The version of the domain's tree that the block made.
    pub(crate) put: TreeVersion,
    pub(crate) domain: DomainId,
    pub(crate) number: BlockNumber,
    pub(crate) state_root: [u8; 32],
    pub(crate) payload_hash: [u8; 32],
    pub(crate) trust: TrustId,
}

/// Shows how the root before led to this one.
pub(crate) fn transition<L: Logs>(
    logs: &mut L,
    from: &Root,
    step: &Step,
) -> Result<BlockAppend, HistoryError<L::Error>> {
    let in_domain = TreeVersion { version: step.put.version - 1, ..step.put };
    let in_root = TreeVersion::of_root(step.version - 1);
    let append = BlockAppend {
        domain: step.domain,
        number: step.number,
        state_root: step.state_root,
        payload_hash: step.payload_hash,
        trust: step.trust,
        in_domain: open(logs, in_domain, block_key(step.number))?.opening,
        in_root: open(logs, in_root, domain_key(&step.domain))?.opening,
    };
    match append.verify(from, &step.root) {
        Ok(()) => Ok(append),
        Err(_) => Err(HistoryError::Damaged { version: TreeVersion::of_root(step.version).version }),
    }
}

/// Refuses a write that is not the one that made that root of its tree, whole.
fn require<L: Logs>(logs: &mut L, at: TreeVersion, root: &Root) -> Result<(), HistoryError<L::Error>> {
    let write = logs.entry(at)?.write;
    if write.siblings().len() < write.depth() {
        return Err(HistoryError::Pruned { version: at.version });
    }
    if write.root() != *root {
        return Err(HistoryError::Damaged { version: at.version });
    }
    Ok(())
}

fn open<L: Logs>(logs: &mut L, at: TreeVersion, key: Key) -> Result<Opened, HistoryError<L::Error>> {
    history::open(&mut Log { logs, tree: at.tree }, at.version, &key)
}

/// Where blocks are appended: the newest root, and the newest version of their domain's tree.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tip {
    pub(crate) root: u64,
    pub(crate) domain: TreeVersion,
}

impl Tip {
    /// After one more block.
    pub(crate) const fn next(self) -> Self {
        let TreeVersion { tree, version } = self.domain;
        Self { root: self.root + 1, domain: TreeVersion { tree, version: version + 1 } }
    }
}

/// Refuses to go on where the tip's writes are not those of that root.
pub(crate) fn require_tip<L: Logs>(
    logs: &mut L,
    tip: Tip,
    root: &Root,
    domain: &DomainId,
) -> Result<(), HistoryError<L::Error>> {
    require(logs, TreeVersion::of_root(tip.root), root)?;
    let place = open(logs, TreeVersion::of_root(tip.root), domain_key(domain))?.opening.place;
    let held = match tip.domain.version {
        0 => None,
        _ => Some(domain_value(&logs.entry(tip.domain)?.write.root())),
    };
    let found = match place {
        Place::Member(value) => Some(value),
        Place::Empty | Place::OtherLeaf(..) => None,
    };
    if held == found { Ok(()) } else { Err(HistoryError::Damaged { version: TreeVersion::of_root(tip.root).version }) }
}

/// A block's writes in the two trees. They make the versions of the tip after the one they were appended to.
#[derive(Clone, Debug)]
pub(crate) struct Appended {
    pub(crate) block: Entry,
    pub(crate) root: Entry,
}

/// Puts a block on top. The domain must not have its number yet.
pub(crate) fn append<L: Logs>(
    logs: &mut L,
    tip: Tip,
    domain: &DomainId,
    (number, value): (BlockNumber, Value),
) -> Result<Appended, HistoryError<L::Error>> {
    let mut log = Log { logs, tree: tip.domain.tree };
    let block = history::put(&mut log, tip.domain.version, block_key(number), value)?;
    let (key, held) = (domain_key(domain), domain_value(&block.root()));
    let mut log = Log { logs: log.logs, tree: 0 };
    let root = history::put(&mut log, TreeVersion::of_root(tip.root).version, key, held)?;
    let root = Entry { write: Arc::new(root), holds: Some(tip.next().domain) };
    Ok(Appended { block: Entry { write: Arc::new(block), holds: None }, root })
}

/// What the root of that version, the one that `held` of a domain's tree made, replaced of older writes in both trees.
pub(crate) fn superseded<L: Logs>(
    logs: &mut L,
    root: u64,
    held: TreeVersion,
) -> Result<Vec<(TreeVersion, usize)>, HistoryError<L::Error>> {
    let mut cuts = Vec::new();
    for at in [TreeVersion::of_root(root), held] {
        let of_tree = history::superseded(&mut Log { logs, tree: at.tree }, at.version)?;
        cuts.extend(of_tree.into_iter().map(|Superseded { version, keep }| (TreeVersion { version, ..at }, keep)));
    }
    Ok(cuts)
}

/// Roots that a check of the store follows back from the newest one.
pub(crate) const FOLLOWED: u64 = 2000;

/// Blocks that a check of the store builds the newest root from anew; with more it does not.
pub(crate) const REBUILT: u64 = 100_000;

/// The root of all those blocks, in its plainest form.
#[derive(Default)]
pub(crate) struct Rebuilt {
    domains: BTreeMap<DomainId, Tree>,
}

impl Rebuilt {
    pub(crate) fn add(&mut self, domain: DomainId, number: BlockNumber, value: Value) {
        self.domains.entry(domain).or_default().insert(block_key(number), value);
    }

    pub(crate) fn root(&self, instance: &InstanceId) -> Root {
        let held = self.domains.iter().map(|(domain, tree)| (domain_key(domain), domain_value(&tree.root())));
        held.chain([(instance_key(), Value(instance.0))]).collect::<Tree>().root()
    }
}

/// What a check says of a newest root that is not that of the blocks.
pub(crate) fn other_root(newest: &Root, rebuilt: &Root) -> Option<String> {
    (newest != rebuilt).then(|| format!("the newest root is {newest}, and that of all blocks is {rebuilt}"))
}

/// What a check says of roots that do not follow from each other.
pub(crate) fn not_followed(from: u64, to: u64, error: &StoreError) -> String {
    format!("the roots from version {from} to {to} do not follow from their blocks: {error}")
}

/// Bytes of so many siblings as they are stored.
pub(crate) const fn siblings_len(siblings: usize) -> usize {
    siblings * 40
}

/// A failure that nothing but damage explains, whatever could not be read apart.
pub(crate) fn damaged<E: From<StoreError>>(error: HistoryError<E>) -> E {
    let reason = match error {
        HistoryError::Writes(error) => return error,
        HistoryError::Pruned { version } => format!("version {version} lacks what it needs and was not pruned"),
        HistoryError::Damaged { version } => format!("write {version} is not what the writes after it say of it"),
    };
    StoreError::Corrupt { what: "the history of a tree", reason }.into()
}

/// Writes in memory. They never change but for pruning, which takes away what no version that can be opened needs: a copy from
/// before it is as good. Only what is committed may be kept.
pub(crate) struct Cache {
    instance: Entry,
    writes: Mutex<LruCache<TreeVersion, Kept>>,
}

/// One of them, and how often it was asked for.
struct Kept {
    entry: Entry,
    asked: u8,
}

impl From<Entry> for Kept {
    fn from(entry: Entry) -> Self {
        Self { entry, asked: 0 }
    }
}

impl Cache {
    pub(crate) fn new(instance: InstanceId) -> Self {
        let leaf =
            Write::from_parts(instance_key(), Value(instance.0), 0, &[]).expect("a leaf alone is a write").hashed();
        Self { instance: Entry { write: Arc::new(leaf), holds: None }, writes: Mutex::new(LruCache::new(KEPT)) }
    }

    pub(crate) fn get(&self, at: TreeVersion) -> Option<Entry> {
        if at == TreeVersion::of_root(0) {
            return Some(self.instance.clone());
        }
        let mut writes = self.writes();
        let Kept { entry, asked } = writes.get_mut(&at)?;
        *asked = asked.saturating_add(1);
        if *asked < OFTEN || entry.write.is_hashed() {
            return Some(entry.clone());
        }
        let entry = entry.clone();
        drop(writes);
        let hashed = Entry { write: Arc::new(Write::clone(&entry.write).hashed()), ..entry };
        self.keep(at, hashed.clone());
        Some(hashed)
    }

    /// Keeps what is committed.
    pub(crate) fn keep(&self, at: TreeVersion, entry: Entry) {
        self.writes().put(at, entry.into());
    }

    /// Keeps what a commit made that has just been answered: each block's writes with the tip they made. Of the root tree only the
    /// last: the next append goes on from there.
    pub(crate) fn keep_appended(&self, appended: Vec<(Tip, Appended)>) {
        let Some((Tip { root: newest, .. }, _)) = appended.last() else { return };
        let recent = newest.saturating_sub(RECENT_ROOTS);
        let mut writes = self.writes();
        for (tip, Appended { block, root }) in appended {
            writes.put(tip.domain, block.into());
            if tip.root > recent {
                writes.put(TreeVersion::of_root(tip.root), root.into());
            }
        }
    }

    /// Forgets all.
    pub(crate) fn clear(&self) {
        self.writes().clear();
    }

    fn writes(&self) -> MutexGuard<'_, LruCache<TreeVersion, Kept>> {
        // Nothing that is done under the lock can leave the list half changed.
        self.writes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").field("writes", &self.writes().len()).finish_non_exhaustive()
    }
}
