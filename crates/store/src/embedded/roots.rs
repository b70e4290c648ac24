//! Roots: their line, what they are opened by, and pruning.

use super::{
    domains::{block_at, from_key, key},
    fault::Fault,
    row::{corrupt, from_time, to_bits, to_limit, to_sorted, to_time},
};
use crate::{
    OpenedBlock, RootRecord, StoreError,
    domain::trees::{self, Appended, Cache, Entry, Found, Logs, Step, Tip, TreeVersion, siblings_len},
};
use coprocessor_merkle::{
    BlockAppend, Key, Value, block_key, domain_key,
    history::{HistoryError, Write},
    instance_root,
};
use coprocessor_types::{BlockNumber, BlockOpening, DomainId, InstanceId, Root, TrustId};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};
use sha2::{Digest, Sha256};
use std::{collections::HashMap, sync::Arc};

/// Writes out of memory or out of their rows.
pub(super) struct Rows<'a> {
    db: &'a Connection,
    cache: &'a Cache,
    /// Those that are not written yet.
    new: HashMap<TreeVersion, Entry>,
    /// Whether what is read is kept in memory.
    keeps: bool,
}

impl<'a> Rows<'a> {
    /// As a connection reads them that only reads.
    pub(super) fn committed(db: &'a Connection, cache: &'a Cache) -> Self {
        Self { db, cache, new: HashMap::new(), keeps: true }
    }

    /// As the connection that writes reads them, in a transaction that may yet be taken back. What appends read is far from what
    /// was appended last, and of no use to the next.
    pub(super) fn uncommitted(db: &'a Connection, cache: &'a Cache) -> Self {
        Self { keeps: false, ..Self::committed(db, cache) }
    }

    /// Takes in what was appended and will be written.
    pub(super) fn add(&mut self, tip: Tip, appended: &Appended) {
        self.new.insert(tip.domain, appended.block.clone());
        self.new.insert(TreeVersion::of_root(tip.root), appended.root.clone());
    }
}

impl Logs for Rows<'_> {
    type Error = Fault;

    fn entry(&mut self, at: TreeVersion) -> Result<Entry, Fault> {
        if let Some(entry) = self.new.get(&at).cloned().or_else(|| self.cache.get(at)) {
            return Ok(entry);
        }
        let entry = match at.root() {
            Some(version) => read_root_write(self.db, version)?,
            None => read_block_write(self.db, at)?,
        };
        if self.keeps {
            self.cache.keep(at, entry.clone());
        }
        Ok(entry)
    }
}

fn read_root_write(db: &Connection, version: u64) -> Result<Entry, Fault> {
    let mut statement = db.prepare_cached(
        "SELECT value, depth, siblings, domains.id, block FROM roots JOIN domains ON domains.seq = block >> 40 \
         WHERE version = ?1",
    )?;
    let read = |row: &Row<'_>| -> Result<_, Fault> {
        let key = domain_key(&DomainId(row.get(3)?));
        Ok(Entry { write: read_write(key, row)?, holds: Some(from_key(row.get(4)?)) })
    };
    let found = statement.query_and_then([version.cast_signed()], read)?.next().transpose()?;
    found.ok_or_else(|| corrupt("a root", format_args!("there is none of version {version}")))
}

fn read_block_write(db: &Connection, at: TreeVersion) -> Result<Entry, Fault> {
    let mut statement = db.prepare_cached("SELECT value, depth, siblings, number FROM blocks WHERE key = ?1")?;
    let read = |row: &Row<'_>| -> Result<_, Fault> {
        Ok(Entry { write: read_write(block_key(to_sorted(row.get(3)?)), row)?, holds: None })
    };
    let found = statement.query_and_then([key(at)], read)?.next().transpose()?;
    found.ok_or_else(|| corrupt("a block", format_args!("there is none with key {}", key(at))))
}

fn read_write(key: Key, row: &Row<'_>) -> Result<Arc<Write>, Fault> {
    let siblings = row.get_ref(2)?.as_blob().map_err(|error| corrupt("siblings", error))?;
    let depth = row.get::<_, u16>(1)?.into();
    let write = Write::from_parts(key, Value(row.get(0)?), depth, siblings);
    write.map(Arc::new).map_err(|error| corrupt("a write of a tree", error))
}

/// The newest root, and its version.
pub(super) struct Newest {
    pub(super) version: u64,
    pub(super) root: Root,
    pub(super) at: Timestamp,
}

pub(super) fn newest(db: &Connection, instance: &InstanceId) -> Result<Newest, Fault> {
    let mut statement = db.prepare_cached("SELECT version, root, at FROM roots ORDER BY version DESC LIMIT 1")?;
    let read = |row: &Row<'_>| {
        Ok(Newest { version: to_bits(row.get(0)?), root: Root(row.get(1)?), at: to_time(row.get(2)?)? })
    };
    match statement.query_and_then([], read)?.next() {
        Some(newest) => newest,
        None => first(db, instance).map(|RootRecord { version, root, at, .. }| Newest { version, root, at }),
    }
}

/// Writes the root that a block made.
pub(super) fn insert(db: &Connection, tip: Tip, writes: &Appended, at: Timestamp) -> Result<Root, Fault> {
    let write = &writes.root.write;
    let root = write.root();
    db.prepare_cached(
        "INSERT INTO roots (version, root, block, at, depth, value, siblings) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute(params![
        tip.root.cast_signed(),
        root.as_bytes(),
        key(tip.domain),
        from_time(at),
        write.depth() as i64,
        write.value().0,
        write.siblings_to_bytes(),
    ])?;
    Ok(root)
}

/// The records' columns, from these tables.
macro_rules! record_sql {
    ($rest:literal) => {
        concat!(
            "SELECT roots.version, roots.root, roots.at, domains.id, blocks.number FROM roots \
             JOIN blocks ON blocks.key = roots.block JOIN domains ON domains.seq = blocks.domain ",
            $rest
        )
    };
}

pub(super) fn current(db: &Connection, instance: &InstanceId) -> Result<RootRecord, Fault> {
    let mut statement = db.prepare_cached(record_sql!("ORDER BY roots.version DESC LIMIT 1"))?;
    match statement.query_and_then([], read_record)?.next() {
        Some(record) => record,
        None => first(db, instance),
    }
}

pub(super) fn find(db: &Connection, instance: &InstanceId, root: Root) -> Result<Option<RootRecord>, Fault> {
    match version(db, instance, root)? {
        Some(0) => first(db, instance).map(Some),
        Some(version) => {
            let mut statement = db.prepare_cached(record_sql!("WHERE roots.version = ?1"))?;
            statement.query_and_then([version.cast_signed()], read_record)?.next().transpose()
        }
        None => Ok(None),
    }
}

pub(super) fn list(
    db: &Connection,
    instance: &InstanceId,
    after: Option<u64>,
    limit: usize,
) -> Result<Vec<RootRecord>, Fault> {
    let mut records = Vec::new();
    if after.is_none() && limit > 0 {
        records.push(first(db, instance)?);
    }
    let Ok(above) = i64::try_from(after.unwrap_or(0)) else { return Ok(records) };
    let mut statement = db.prepare_cached(record_sql!("WHERE roots.version > ?1 ORDER BY roots.version LIMIT ?2"))?;
    for record in statement.query_and_then(params![above, to_limit(limit - records.len())], read_record)? {
        records.push(record?);
    }
    Ok(records)
}

/// The root without blocks.
fn first(db: &Connection, instance: &InstanceId) -> Result<RootRecord, Fault> {
    let at = db.prepare_cached("SELECT made_at FROM instance")?.query_row([], |row| row.get(0))?;
    Ok(RootRecord { version: 0, root: instance_root(instance), block: None, at: to_time(at)? })
}

fn read_record(row: &Row<'_>) -> Result<RootRecord, Fault> {
    Ok(RootRecord {
        version: to_bits(row.get(0)?),
        root: Root(row.get(1)?),
        block: Some((DomainId(row.get(3)?), to_sorted(row.get(4)?))),
        at: to_time(row.get(2)?)?,
    })
}

fn version(db: &Connection, instance: &InstanceId, root: Root) -> Result<Option<u64>, Fault> {
    if root == instance_root(instance) {
        return Ok(Some(0));
    }
    let sql = "SELECT version FROM roots WHERE substr(root, 1, 8) = substr(?1, 1, 8) AND root = ?1";
    let version: Option<i64> = db.prepare_cached(sql)?.query_row([root.as_bytes()], |row| row.get(0)).optional()?;
    Ok(version.map(to_bits))
}

/// # Errors
/// [`StoreError::UnknownRoot`].
pub(super) fn require_version(db: &Connection, instance: &InstanceId, root: Root) -> Result<u64, Fault> {
    version(db, instance, root)?.ok_or_else(|| StoreError::UnknownRoot(root).into())
}

/// # Errors
/// [`StoreError::RootPruned`]. What is no root of this instance keeps nothing, and was not pruned.
pub(super) fn require_whole(db: &Connection, instance: &InstanceId, root: Root) -> Result<(), Fault> {
    match oldest(db)? {
        0 => Ok(()),
        oldest if version(db, instance, root)?.is_some_and(|version| version < oldest) => {
            Err(StoreError::RootPruned { root, oldest }.into())
        }
        _ => Ok(()),
    }
}

/// The oldest version that can be opened.
pub(super) fn oldest(db: &Connection) -> Result<u64, Fault> {
    let mut statement = db.prepare_cached("SELECT oldest_root FROM instance")?;
    Ok(to_bits(statement.query_row([], |row| row.get(0))?))
}

/// Has all statements of `work` read one moment's rows: they lock the database once, and agree.
fn in_snapshot<T>(db: &Connection, work: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    db.prepare_cached("BEGIN")?.execute([])?;
    let done = work();
    end_snapshot(db)?;
    done
}

fn end_snapshot(db: &Connection) -> Result<(), Fault> {
    if !db.is_autocommit() {
        db.prepare_cached("COMMIT")?.execute([])?;
    }
    Ok(())
}

/// Does what needs the root of a version to be whole.
fn at_root<T>(
    db: &Connection,
    cache: &Cache,
    (root, version): (Root, u64),
    work: impl FnOnce(&mut Rows<'_>) -> Result<T, HistoryError<Fault>>,
) -> Result<T, Fault> {
    let require_whole = || match oldest(db)? {
        oldest if version < oldest => Err(Fault::from(StoreError::RootPruned { root, oldest })),
        _ => Ok(()),
    };
    require_whole()?;
    work(&mut Rows::committed(db, cache)).map_err(|error| match error {
        // Perhaps in the meantime: what is kept in memory may have been read later than this moment.
        HistoryError::Pruned { .. } => {
            end_snapshot(db).and_then(|()| require_whole()).err().unwrap_or_else(|| trees::damaged(error))
        }
        error => trees::damaged(error),
    })
}

pub(super) fn open_block(
    db: &Connection,
    instance: &InstanceId,
    cache: &Cache,
    (root, domain, number): (Root, DomainId, BlockNumber),
) -> Result<OpenedBlock, Fault> {
    in_snapshot(db, || {
        let version = require_version(db, instance, root)?;
        let found = at_root(db, cache, (root, version), |rows| trees::find(rows, (version, &root), &domain, number))?;
        Ok(match found {
            Found::Member { put, domain_siblings, root_siblings } => {
                let block = block_at(db, put)?;
                let trust = block.trust;
                OpenedBlock::Member(block, BlockOpening { trust, domain_siblings, root_siblings })
            }
            Found::Absent { root, domain, domain_root } => OpenedBlock::Absent { root, domain, domain_root },
            Found::NoDomain(opening) => OpenedBlock::NoDomain(opening),
            Found::Instance => return Err(StoreError::UnknownDomain(domain).into()),
        })
    })
}

pub(super) fn open_instance(
    db: &Connection,
    instance: &InstanceId,
    cache: &Cache,
    root: Root,
) -> Result<Vec<Root>, Fault> {
    in_snapshot(db, || {
        let version = require_version(db, instance, root)?;
        at_root(db, cache, (root, version), |rows| trees::find_instance(rows, (version, &root)))
    })
}

pub(super) fn transitions(
    db: &Connection,
    instance: &InstanceId,
    cache: &Cache,
    (from, to): (u64, u64),
    limit: usize,
) -> Result<Vec<BlockAppend>, Fault> {
    let Some(before) = list(db, instance, from.checked_sub(1), 1)?.pop().filter(|before| before.version == from) else {
        return Ok(Vec::new());
    };
    let to = to.min(i64::MAX.cast_unsigned());
    let mut statement = db.prepare_cached(
        "SELECT roots.version, roots.block, domains.id, blocks.number, blocks.state_root, blocks.trust, blocks.payload, root \
         FROM roots JOIN blocks ON blocks.key = roots.block JOIN domains ON domains.seq = blocks.domain \
         WHERE roots.version > ?1 AND roots.version <= ?2 ORDER BY roots.version LIMIT ?3",
    )?;
    let range = params![from.cast_signed(), to.cast_signed(), to_limit(limit)];
    let steps: Vec<Step> = statement.query_and_then(range, read_step)?.collect::<Result<_, Fault>>()?;
    let mut appends = Vec::with_capacity(steps.len());
    let mut last = before.root;
    for step in steps {
        appends.push(at_root(db, cache, (before.root, from), |rows| trees::transition(rows, &last, &step))?);
        last = step.root;
    }
    Ok(appends)
}

fn read_step(row: &Row<'_>) -> Result<Step, Fault> {
    let payload = row.get_ref(6)?.as_blob().map_err(|error| corrupt("a payload", error))?;
    Ok(Step {
        version: to_bits(row.get(0)?),
        root: Root(row.get(7)?),
        put: from_key(row.get(1)?),
        domain: DomainId(row.get(2)?),
        number: to_sorted(row.get(3)?),
        state_root: row.get(4)?,
        payload_hash: Sha256::digest(payload).into(),
        trust: TrustId(row.get(5)?),
    })
}

/// See [`crate::Domains::prune_roots`].
pub(super) fn prune(
    db: &Connection,
    instance: &InstanceId,
    cache: &Cache,
    before: Timestamp,
    limit: usize,
) -> Result<(u64, bool), Fault> {
    let oldest = oldest(db)?;
    let most = pinned(db, instance)?.unwrap_or(u64::MAX);
    // Each root from the one after the oldest on, which becomes the oldest when what it replaced is taken. The root before it was
    // the current one until then.
    let later: Vec<(i64, i64)> = db
        .prepare_cached("SELECT version, block FROM roots WHERE version > ?1 AND at < ?2 ORDER BY version LIMIT ?3")?
        .query_map(params![oldest.cast_signed(), from_time(before), to_limit(limit.saturating_add(1))], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?
        .collect::<Result<_, _>>()?;
    let later: Vec<_> = later.into_iter().filter(|(version, _)| to_bits(*version) <= most).collect();
    let mut rows = Rows::uncommitted(db, cache);
    for (version, block) in later.iter().take(limit) {
        let cuts = trees::superseded(&mut rows, to_bits(*version), from_key(*block)).map_err(trees::damaged)?;
        for (at, keep) in cuts {
            cut(db, at, keep)?;
        }
    }
    let pruned = later.len().min(limit);
    if let Some((version, _)) = later[..pruned].last() {
        db.prepare_cached("UPDATE instance SET oldest_root = ?1")?.execute([version])?;
    }
    Ok((pruned as u64, later.len() > limit))
}

/// The oldest root that an unfinished task is pinned to.
fn pinned(db: &Connection, instance: &InstanceId) -> Result<Option<u64>, Fault> {
    let mut statement = db.prepare_cached("SELECT DISTINCT root FROM tasks WHERE stage IS NOT NULL")?;
    let mut oldest = None;
    for root in statement.query_map([], |row| row.get(0).map(Root))? {
        // Those of no block that is here keep nothing.
        if let Some(version) = version(db, instance, root?)? {
            oldest = Some(oldest.map_or(version, |oldest: u64| oldest.min(version)));
        }
    }
    Ok(oldest)
}

/// Keeps so many of a write's siblings.
fn cut(db: &Connection, at: TreeVersion, keep: usize) -> Result<(), Fault> {
    let (sql, row) = match at.root() {
        Some(version) => (
            "UPDATE roots SET siblings = substr(siblings, 1, ?2) WHERE version = ?1 AND length(siblings) > ?2",
            version.cast_signed(),
        ),
        None => {
            ("UPDATE blocks SET siblings = substr(siblings, 1, ?2) WHERE key = ?1 AND length(siblings) > ?2", key(at))
        }
    };
    db.prepare_cached(sql)?.execute(params![row, siblings_len(keep) as i64])?;
    Ok(())
}
