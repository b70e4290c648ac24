//! Roots: their line, what they are opened by, and pruning.
//!
//! Walks are done in memory, over writes that are there; where one is missing, the walk stops, it is fetched, and the walk is
//! done anew. Openings at recent roots, and appends, need few that are not in memory.

use super::{
    Inner,
    connect::Session,
    domains::{self, block_at},
    fault::Fault,
    row::{bits, bounded, bytes, corrupt, from_time, get, sorted, time},
};
use crate::{
    OpenedBlock, RootRecord, StoreError,
    domain::trees::{self, Appended, Cache, Entry, Found, Logs, Step, Tip, TreeVersion, siblings_len},
};
use coprocessor_merkle::{
    BlockAppend, Value, block_key, domain_key,
    history::{HistoryError, Write},
    instance_root,
};
use coprocessor_types::{BlockNumber, BlockOpening, DomainId, InstanceId, Root, TrustId};
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use std::{collections::HashMap, sync::Arc};
use tokio_postgres::Row;

/// Most writes fetched at once: of many walks one after the other, each needs the write after the one that the walk before
/// needed, in several places.
const AHEAD: usize = 256;

const ROOT_WRITES: &str = "SELECT roots.version, value, depth, siblings, domains.id, domain, domain_version \
     FROM roots JOIN domains ON domains.seq = domain WHERE roots.version >= $1 ORDER BY roots.version LIMIT $2";
const BLOCK_WRITES: &str = "SELECT version, value, depth, siblings, number FROM blocks \
     WHERE domain = $1 AND version >= $2 ORDER BY version LIMIT $3";

/// Roots, each with the block that made it.
const RECORD: &str = "SELECT roots.version, roots.root, roots.at, domains.id, blocks.number FROM roots \
     JOIN blocks ON blocks.domain = roots.domain AND blocks.version = roots.domain_version \
     JOIN domains ON domains.seq = roots.domain";

const STEPS: &str = "SELECT roots.version, roots.root, roots.domain, roots.domain_version, domains.id, blocks.number, \
         blocks.state_root, blocks.trust, blocks.payload FROM roots \
     JOIN blocks ON blocks.domain = roots.domain AND blocks.version = roots.domain_version \
     JOIN domains ON domains.seq = roots.domain \
     WHERE roots.version > $1 AND roots.version <= $2 ORDER BY roots.version LIMIT $3";

/// The roots of unfinished tasks: all of those are in one of these two indexes.
const PINS: &str = "SELECT DISTINCT root FROM (SELECT root FROM tasks WHERE ready_at = 0 \
     UNION ALL SELECT root FROM tasks WHERE ready_at > 0) AS unfinished";

/// As the function `pin` takes it, but alone: nobody is admitted from here on until the transaction ends.
const PINNING: &str = "SELECT pg_advisory_xact_lock(7165068321902031974)";

/// Steps whose rows, with payloads, are fetched at once.
const STEPS_AT_ONCE: usize = 100;

/// Writes that are in memory.
pub(super) struct Held<'a> {
    cache: &'a Cache,
    new: &'a HashMap<TreeVersion, Entry>,
}

/// One that is not.
pub(super) struct Missing(TreeVersion);

impl Logs for Held<'_> {
    type Error = Missing;

    fn entry(&mut self, at: TreeVersion) -> Result<Entry, Missing> {
        self.new.get(&at).cloned().or_else(|| self.cache.get(at)).ok_or(Missing(at))
    }
}

/// Walks, with what they lack fetched.
pub(super) struct Reading<'a> {
    session: &'a Session,
    cache: &'a Cache,
    /// Those that are not written yet.
    new: HashMap<TreeVersion, Entry>,
    /// Writes fetched at once.
    ahead: i64,
    doubted: bool,
}

impl<'a> Reading<'a> {
    /// For so many walks, of which each goes on where the one before ended.
    pub(super) fn new(session: &'a Session, cache: &'a Cache, walks: usize) -> Self {
        let ahead = walks.clamp(1, AHEAD) as i64;
        Self { session, cache, new: HashMap::new(), ahead, doubted: false }
    }

    /// Takes in what was appended and will be written.
    pub(super) fn add(&mut self, tip: Tip, appended: &Appended) {
        self.new.insert(tip.domain, appended.block.clone());
        self.new.insert(TreeVersion::of_root(tip.root), appended.root.clone());
    }

    pub(super) async fn walk<T>(
        &mut self,
        walk: impl Fn(&mut Held<'_>) -> Result<T, HistoryError<Missing>>,
    ) -> Result<T, HistoryError<Fault>> {
        loop {
            match walk(&mut Held { cache: self.cache, new: &self.new }) {
                Ok(done) => return Ok(done),
                Err(HistoryError::Writes(Missing(at))) => self.fetch(at).await.map_err(HistoryError::Writes)?,
                // A standby that took over may lack what this process remembers, and have gone on otherwise.
                Err(HistoryError::Damaged { version }) if self.doubted => {
                    return Err(HistoryError::Damaged { version });
                }
                Err(HistoryError::Damaged { .. }) => {
                    self.doubted = true;
                    self.cache.clear();
                }
                Err(HistoryError::Pruned { version }) => return Err(HistoryError::Pruned { version }),
            }
        }
    }

    async fn fetch(&self, at: TreeVersion) -> Result<(), Fault> {
        let rows = match at.root() {
            Some(version) => self.session.query(ROOT_WRITES, &[&version.cast_signed(), &self.ahead]).await?,
            None => self.session.query(BLOCK_WRITES, &[&at.tree, &at.version.cast_signed(), &self.ahead]).await?,
        };
        let mut found = false;
        for row in &rows {
            let (version, entry) = read_write(row, at.tree)?;
            found |= version == at;
            self.cache.keep(version, entry);
        }
        let missing = || corrupt("a tree", format_args!("tree {} has no write {}", at.tree, at.version));
        if found { Ok(()) } else { Err(missing()) }
    }
}

fn read_write(row: &Row, tree: i64) -> Result<(TreeVersion, Entry), Fault> {
    let version = bits(row, "version")?;
    let (at, key, holds) = if tree == 0 {
        let holds = TreeVersion { tree: get(row, "domain")?, version: bits(row, "domain_version")? };
        (TreeVersion::of_root(version), domain_key(&DomainId(bytes(row, "id")?)), Some(holds))
    } else {
        (TreeVersion { tree, version }, block_key(sorted(row, "number")?), None)
    };
    let depth = usize::try_from(get::<i16>(row, "depth")?).map_err(|error| corrupt("a depth", error))?;
    let write = Write::from_parts(key, Value(bytes(row, "value")?), depth, get(row, "siblings")?);
    Ok((at, Entry { write: Arc::new(write.map_err(|error| corrupt("a write of a tree", error))?), holds }))
}

/// Where a root is in the line, and where the line begins that can be opened.
pub(super) struct Place {
    pub(super) version: u64,
    pub(super) oldest: u64,
}

/// # Errors
/// [`StoreError::UnknownRoot`].
pub(super) async fn place(session: &Session, instance: &InstanceId, root: Root) -> Result<Place, Fault> {
    let sql = "SELECT oldest_root, (SELECT version FROM roots WHERE root = $1) AS version FROM line";
    let row = session.query_one(sql, &[&root.as_bytes().as_slice()]).await?;
    let version = match get::<Option<i64>>(&row, "version")? {
        Some(version) => version.cast_unsigned(),
        None if root == instance_root(instance) => 0,
        None => return Err(StoreError::UnknownRoot(root).into()),
    };
    Ok(Place { version, oldest: bits(&row, "oldest_root")? })
}

impl Place {
    fn require_whole(&self, root: Root) -> Result<(), Fault> {
        let Self { version, oldest } = *self;
        if version < oldest { Err(StoreError::RootPruned { root, oldest }.into()) } else { Ok(()) }
    }
}

pub(super) async fn current(session: &Session, instance: &InstanceId) -> Result<RootRecord, Fault> {
    let sql = format!("{RECORD} ORDER BY roots.version DESC LIMIT 1");
    match session.query_opt(&sql, &[]).await? {
        Some(row) => read_record(&row),
        None => first(session, instance).await,
    }
}

async fn list(
    session: &Session,
    instance: &InstanceId,
    after: Option<u64>,
    limit: usize,
) -> Result<Vec<RootRecord>, Fault> {
    let mut records = Vec::new();
    if after.is_none() && limit > 0 {
        records.push(first(session, instance).await?);
    }
    let sql = format!("{RECORD} WHERE roots.version > $1 ORDER BY roots.version LIMIT $2");
    let left = bounded((limit - records.len()) as u64);
    for row in &session.query(&sql, &[&bounded(after.unwrap_or(0)), &left]).await? {
        records.push(read_record(row)?);
    }
    Ok(records)
}

/// The root without blocks.
async fn first(session: &Session, instance: &InstanceId) -> Result<RootRecord, Fault> {
    let row = session.query_one("SELECT made_at FROM line", &[]).await?;
    Ok(RootRecord { version: 0, root: instance_root(instance), block: None, at: time(&row, "made_at")? })
}

impl Inner {
    pub(super) async fn current_root(&self) -> Result<RootRecord, Fault> {
        current(&self.quick.take().await?, &self.instance).await
    }

    pub(super) async fn root(&self, root: Root) -> Result<Option<RootRecord>, Fault> {
        let session = self.quick.take().await?;
        if root == instance_root(&self.instance) {
            return first(&session, &self.instance).await.map(Some);
        }
        let sql = format!("{RECORD} WHERE roots.root = $1");
        session.query_opt(&sql, &[&root.as_bytes().as_slice()]).await?.as_ref().map(read_record).transpose()
    }

    pub(super) async fn roots(&self, after: Option<u64>, limit: usize) -> Result<Vec<RootRecord>, Fault> {
        list(&self.quick.take().await?, &self.instance, after, limit).await
    }

    pub(super) async fn open_block(
        &self,
        root: Root,
        domain: DomainId,
        number: BlockNumber,
    ) -> Result<OpenedBlock, Fault> {
        let session = self.quick.take().await?;
        let find = |held: &mut Held<'_>, version| trees::find(held, (version, &root), &domain, number);
        Ok(match self.at_root(&session, root, find).await? {
            Found::Member { put, domain_siblings, root_siblings } => {
                let block = block_at(&session, put).await?;
                let trust = block.trust;
                OpenedBlock::Member(block, BlockOpening { trust, domain_siblings, root_siblings })
            }
            Found::Absent { root, domain, domain_root } => OpenedBlock::Absent { root, domain, domain_root },
            Found::NoDomain(opening) => OpenedBlock::NoDomain(opening),
            Found::Instance => return Err(StoreError::UnknownDomain(domain).into()),
        })
    }

    pub(super) async fn open_instance(&self, root: Root) -> Result<Vec<Root>, Fault> {
        let session = self.quick.take().await?;
        self.at_root(&session, root, |held, version| trees::find_instance(held, (version, &root))).await
    }

    /// Walks from a root, given its version, which must be whole.
    async fn at_root<T>(
        &self,
        session: &Session,
        root: Root,
        walk: impl Fn(&mut Held<'_>, u64) -> Result<T, HistoryError<Missing>>,
    ) -> Result<T, Fault> {
        let place = place(session, &self.instance, root).await?;
        place.require_whole(root)?;
        let mut reading = Reading::new(session, &self.trees, 1);
        match reading.walk(|held| walk(held, place.version)).await {
            Ok(done) => Ok(done),
            Err(error) => Err(self.explain(session, root, error).await),
        }
    }

    /// What lacks something now may have been pruned in the meantime.
    async fn explain(&self, session: &Session, root: Root, error: HistoryError<Fault>) -> Fault {
        if let HistoryError::Pruned { .. } = error {
            let pruned = place(session, &self.instance, root).await.and_then(|place| place.require_whole(root));
            if let Err(pruned) = pruned {
                return pruned;
            }
        }
        trees::damaged(error)
    }

    pub(super) async fn transitions(&self, range: (u64, u64), limit: usize) -> Result<Vec<BlockAppend>, Fault> {
        self.transitions_on(&self.quick.take().await?, &self.trees, range, limit).await
    }

    pub(super) async fn transitions_on(
        &self,
        session: &Session,
        cache: &Cache,
        (from, to): (u64, u64),
        limit: usize,
    ) -> Result<Vec<BlockAppend>, Fault> {
        let before = list(session, &self.instance, from.checked_sub(1), 1).await?.pop();
        let Some(before) = before.filter(|before| before.version == from) else { return Ok(Vec::new()) };
        place(session, &self.instance, before.root).await?.require_whole(before.root)?;
        let mut reading = Reading::new(session, cache, limit);
        let mut appends = Vec::new();
        let (mut last, mut version) = (before.root, from);
        while appends.len() < limit {
            let more = (limit - appends.len()).min(STEPS_AT_ONCE) as i64;
            let rows = session.query(STEPS, &[&bounded(version), &bounded(to), &more]).await?;
            for row in &rows {
                let step = read_step(row)?;
                match reading.walk(|held| trees::transition(held, &last, &step)).await {
                    Ok(append) => appends.push(append),
                    Err(error) => return Err(self.explain(session, before.root, error).await),
                }
                (last, version) = (step.root, step.version);
            }
            if (rows.len() as i64) < more {
                break;
            }
        }
        Ok(appends)
    }

    /// Takes nothing, and says that there is more, where a task was pinned meanwhile to what was to be taken.
    pub(super) async fn prune_roots(&self, before: Timestamp, limit: usize) -> Result<(u64, bool), Fault> {
        let session = self.durable.take().await?;
        let line = session.begin_with("", domains::LOCK, &[]).await?;
        let pruned = match line.first().map(|row| bits(row, "oldest_root")) {
            Some(Ok(oldest)) => self.prune(&session, oldest, before, limit).await,
            Some(Err(fault)) => Err(fault),
            None => Err(corrupt("the line of roots", "its row is missing")),
        };
        if matches!(pruned, Ok((1.., _))) {
            session.commit().await?;
        } else if !pruned.as_ref().is_err_and(Fault::is_lost) {
            session.rollback().await?;
        }
        pruned
    }

    async fn prune(
        &self,
        session: &Session,
        oldest: u64,
        before: Timestamp,
        limit: usize,
    ) -> Result<(u64, bool), Fault> {
        let most = self.pinned(session).await?.unwrap_or(i64::MAX);
        // Each becomes the oldest when what it replaced is taken; the one before it was the current root until then.
        let sql = "SELECT version, domain, domain_version FROM roots WHERE version > $1 AND at < $2 \
             ORDER BY version LIMIT $3";
        let (rows, wanted) = (bounded(limit as u64).saturating_add(1), from_time(before));
        let later = session.query(sql, &[&oldest.cast_signed(), &wanted, &rows]).await?;
        let later = later.iter().map(|row| {
            let put = TreeVersion { tree: get(row, "domain")?, version: bits(row, "domain_version")? };
            Ok((get(row, "version")?, put))
        });
        let later = later.filter(|root| root.as_ref().is_ok_and(|(version, _)| *version <= most) || root.is_err());
        let later: Vec<(i64, TreeVersion)> = later.collect::<Result<_, Fault>>()?;
        let pruned = later.len().min(limit);
        let Some((newest, _)) = later[..pruned].last() else { return Ok((0, !later.is_empty())) };
        // Nothing but what is in the database now may say what goes.
        let cache = Cache::new(self.instance);
        let mut reading = Reading::new(session, &cache, pruned);
        let mut cuts: HashMap<TreeVersion, usize> = HashMap::new();
        for (version, put) in &later[..pruned] {
            let superseded = reading.walk(|held| trees::superseded(held, version.cast_unsigned(), *put)).await;
            for (at, keep) in superseded.map_err(trees::damaged)? {
                cuts.entry(at).and_modify(|least| *least = keep.min(*least)).or_insert(keep);
            }
        }
        cut(session, &cuts).await?;
        // Somebody may have been admitted since the pins were looked at. Not held up before now: all of the above takes a while.
        session.query(PINNING, &[]).await?;
        if self.pinned(session).await?.is_some_and(|pinned| pinned < *newest) {
            return Ok((0, true));
        }
        session.execute("UPDATE line SET oldest_root = $1", &[newest]).await?;
        Ok((pruned as u64, later.len() > limit))
    }

    /// The oldest root that an unfinished task is pinned to.
    async fn pinned(&self, session: &Session) -> Result<Option<i64>, Fault> {
        let rows = session.query(PINS, &[]).await?;
        let pins = rows.iter().map(|row| get(row, "root")).collect::<Result<Vec<&[u8]>, _>>()?;
        if pins.contains(&instance_root(&self.instance).as_bytes().as_slice()) {
            return Ok(Some(0));
        }
        // Those of no block that is here keep nothing.
        let row =
            session.query_one("SELECT min(version) AS version FROM roots WHERE root = ANY ($1)", &[&pins]).await?;
        get(&row, "version")
    }
}

/// Keeps so many siblings of each write.
async fn cut(session: &Session, cuts: &HashMap<TreeVersion, usize>) -> Result<(), Fault> {
    let (mut trees, mut versions, mut lengths) = (Vec::new(), Vec::new(), Vec::new());
    let (mut roots, mut root_lengths) = (Vec::new(), Vec::new());
    for (at, keep) in cuts {
        let length = siblings_len(*keep) as i32;
        match at.root() {
            // The instance's leaf has no row, and no siblings.
            Some(version) => {
                roots.push(version.cast_signed());
                root_lengths.push(length);
            }
            None => {
                trees.push(at.tree);
                versions.push(at.version.cast_signed());
                lengths.push(length);
            }
        }
    }
    let blocks = "UPDATE blocks SET siblings = substr(siblings, 1, cut.length) \
         FROM unnest($1::bigint[], $2::bigint[], $3::integer[]) AS cut (domain, version, length) \
         WHERE blocks.domain = cut.domain AND blocks.version = cut.version AND length(siblings) > cut.length";
    session.execute(blocks, &[&trees, &versions, &lengths]).await?;
    let of_roots = "UPDATE roots SET siblings = substr(siblings, 1, cut.length) \
         FROM unnest($1::bigint[], $2::integer[]) AS cut (version, length) \
         WHERE roots.version = cut.version AND length(siblings) > cut.length";
    session.execute(of_roots, &[&roots, &root_lengths]).await.map(drop)
}

fn read_record(row: &Row) -> Result<RootRecord, Fault> {
    Ok(RootRecord {
        version: bits(row, "version")?,
        root: Root(bytes(row, "root")?),
        block: Some((DomainId(bytes(row, "id")?), sorted(row, "number")?)),
        at: time(row, "at")?,
    })
}

fn read_step(row: &Row) -> Result<Step, Fault> {
    Ok(Step {
        version: bits(row, "version")?,
        root: Root(bytes(row, "root")?),
        put: TreeVersion { tree: get(row, "domain")?, version: bits(row, "domain_version")? },
        domain: DomainId(bytes(row, "id")?),
        number: sorted(row, "number")?,
        state_root: bytes(row, "state_root")?,
        payload_hash: Sha256::digest(get::<&[u8]>(row, "payload")?).into(),
        trust: TrustId(bytes(row, "trust")?),
    })
}
