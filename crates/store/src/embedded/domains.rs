//! Domains and their blocks.

use super::{
    EmbeddedStore, blobs, cursor,
    fault::Fault,
    readers::off_thread,
    roots::{self, Rows},
    row::{corrupt, from_json, from_sorted, from_time, json, now, owner, text, to_bits, to_sorted, to_time},
    writer::Durability::Synced,
};
use crate::{
    AddDomain, AppendBlocks, Block, Change, Cursor, Domain, Domains, NewBlock, NewDomain, OpenedBlock, Page,
    RootRecord, StoreError, TrustPolicy,
    domain::{
        check_size, named_twice,
        trees::{self, Appended, Cache, Tip, TreeVersion},
    },
};
use async_trait::async_trait;
use coprocessor_merkle::{BlockAppend, Value, block_value};
use coprocessor_types::{BlobDigest, BlockNumber, DomainId, InstanceId, Root, TrustId};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::ops::RangeInclusive;

/// Bits of a block's key that are the version of its domain's tree.
const VERSION_BITS: u32 = 40;

#[async_trait]
impl Domains for EmbeddedStore {
    async fn add_domain(&self, domain: NewDomain) -> Result<AddDomain, StoreError> {
        let add = move |db: &Connection, changes: &mut Vec<Change>| {
            let added = insert(db, &domain, now())?;
            changes.extend(matches!(added, AddDomain::Added(_)).then_some(Change::Domains));
            Ok(added)
        };
        self.write(Synced, add).await
    }

    async fn domain(&self, id: DomainId) -> Result<Option<Domain>, StoreError> {
        self.read(move |db| find(db, id)).await
    }

    async fn domains(&self, after: Option<Cursor>, limit: usize) -> Result<Page<Domain>, StoreError> {
        self.read(move |db| list(db, after.as_ref(), limit)).await
    }

    async fn set_domain_controller(&self, id: DomainId, controller: BlobDigest) -> Result<Option<Domain>, StoreError> {
        let set = move |db: &Connection, changes: &mut Vec<Change>| {
            let domain = set_controller(db, id, controller, now())?;
            changes.extend(domain.is_some().then_some(Change::Domains));
            Ok(domain)
        };
        self.write(Synced, set).await
    }

    async fn append_blocks(&self, domain: DomainId, blocks: Vec<NewBlock>) -> Result<AppendBlocks, StoreError> {
        check_size(&blocks)?;
        // Payloads are hashed before others have to wait.
        let blocks = off_thread(move || Ok(blocks.into_iter().map(|block| (value(&block), block)).collect())).await?;
        let (instance, trees) = (self.instance, self.trees.clone());
        let append = move |db: &Connection, changes: &mut Vec<Change>| {
            let (outcome, appended) = append(db, &instance, &trees, domain, blocks)?;
            changes.extend((!appended.is_empty()).then_some(Change::Domains));
            Ok((outcome, appended))
        };
        // All that can be refused is, before anything is written.
        let (outcome, appended) = self.writer.write_bare(Synced, append).await?;
        self.trees.keep_appended(appended);
        Ok(outcome)
    }

    async fn block(&self, domain: DomainId, number: BlockNumber) -> Result<Option<Block>, StoreError> {
        self.read(move |db| match seq(db, domain)? {
            Some(seq) => block(db, seq, number),
            None => Ok(None),
        })
        .await
    }

    async fn blocks(&self, domain: DomainId, after: Option<Cursor>, limit: usize) -> Result<Page<Block>, StoreError> {
        self.read(move |db| list_blocks(db, domain, after.as_ref(), limit)).await
    }

    async fn latest_block(&self, domain: DomainId, at: Root) -> Result<Option<Block>, StoreError> {
        let instance = self.instance;
        self.read(move |db| latest(db, &instance, domain, at)).await
    }

    async fn current_root(&self) -> Result<RootRecord, StoreError> {
        let instance = self.instance;
        self.read(move |db| roots::current(db, &instance)).await
    }

    async fn root(&self, root: Root) -> Result<Option<RootRecord>, StoreError> {
        let instance = self.instance;
        self.read(move |db| roots::find(db, &instance, root)).await
    }

    async fn roots(&self, after: Option<u64>, limit: usize) -> Result<Vec<RootRecord>, StoreError> {
        let instance = self.instance;
        self.read(move |db| roots::list(db, &instance, after, limit)).await
    }

    async fn open_block(&self, root: Root, domain: DomainId, number: BlockNumber) -> Result<OpenedBlock, StoreError> {
        let (instance, trees) = (self.instance, self.trees.clone());
        self.read(move |db| roots::open_block(db, &instance, &trees, (root, domain, number))).await
    }

    async fn open_instance(&self, root: Root) -> Result<Vec<Root>, StoreError> {
        let (instance, trees) = (self.instance, self.trees.clone());
        self.read(move |db| roots::open_instance(db, &instance, &trees, root)).await
    }

    async fn transitions(&self, from: u64, to: u64, limit: usize) -> Result<Vec<BlockAppend>, StoreError> {
        let (instance, trees) = (self.instance, self.trees.clone());
        self.read(move |db| roots::transitions(db, &instance, &trees, (from, to), limit)).await
    }

    async fn prune_roots(&self, before: Timestamp, limit: usize) -> Result<(u64, bool), StoreError> {
        let (instance, trees) = (self.instance, self.trees.clone());
        self.write(Synced, move |db, _| roots::prune(db, &instance, &trees, before, limit)).await
    }
}

/// The key of the block that made that version of its domain's tree.
pub(super) fn key(put: TreeVersion) -> i64 {
    put.tree << VERSION_BITS | put.version.cast_signed()
}

pub(super) fn from_key(key: i64) -> TreeVersion {
    TreeVersion { tree: key >> VERSION_BITS, version: to_bits(key) & ((1 << VERSION_BITS) - 1) }
}

pub(super) fn require_seq(db: &Connection, id: DomainId) -> Result<i64, Fault> {
    seq(db, id)?.ok_or_else(|| StoreError::UnknownDomain(id).into())
}

/// Every block's columns, from these tables.
macro_rules! block_sql {
    ($rest:literal) => {
        concat!(
            "SELECT domains.id AS domain_id, number, state_root, trust, payload, made, roots.root, roots.at FROM blocks \
             JOIN roots ON roots.version = blocks.made JOIN domains ON domains.seq = blocks.domain ",
            $rest
        )
    };
}

/// The block that made that version of its domain's tree.
pub(super) fn block_at(db: &Connection, put: TreeVersion) -> Result<Block, Fault> {
    let mut statement = db.prepare_cached(block_sql!("WHERE blocks.key = ?1"))?;
    let found = statement.query_and_then([key(put)], read_block)?.next().transpose()?;
    found.ok_or_else(|| corrupt("a block", format_args!("there is none with key {}", key(put))))
}

fn insert(db: &Connection, new: &NewDomain, now: Timestamp) -> Result<AddDomain, Fault> {
    if let Some(domain) = find(db, new.id)? {
        return Ok(AddDomain::Exists(domain));
    }
    blobs::require(db, new.controller)?;
    let seq = db
        .prepare_cached(
            "INSERT INTO domains (id, name, owner, controller, settings, policy, created_at, updated_at) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7)",
        )?
        .insert(params![
            new.id.as_bytes(),
            new.name,
            new.owner.as_str(),
            new.controller.as_bytes(),
            from_json(&new.settings)?,
            new.policy.as_str(),
            from_time(now),
        ])?;
    blobs::name_for_domain(db, seq, new.controller)?;
    Ok(AddDomain::Added(find(db, new.id)?.ok_or(StoreError::UnknownDomain(new.id))?))
}

fn find(db: &Connection, id: DomainId) -> Result<Option<Domain>, Fault> {
    let mut statement = db.prepare_cached("SELECT * FROM domains WHERE id = ?1")?;
    let found = statement.query_and_then([id.as_bytes()], |row| read(db, row))?.next();
    Ok(found.transpose()?.map(|(_, domain)| domain))
}

fn list(db: &Connection, after: Option<&Cursor>, limit: usize) -> Result<Page<Domain>, Fault> {
    let above = after.map(cursor::to_domain).transpose()?.unwrap_or(0);
    let mut statement = db.prepare_cached("SELECT * FROM domains WHERE seq > ?1 ORDER BY seq LIMIT ?2")?;
    let found = statement.query_and_then(params![above, cursor::rows_for(limit)], |row| read(db, row))?;
    let page = cursor::page(found.collect::<Result<_, _>>()?, limit, |(seq, _)| cursor::after_domain(*seq));
    Ok(Page { items: page.items.into_iter().map(|(_, domain)| domain).collect(), next: page.next })
}

fn set_controller(
    db: &Connection,
    id: DomainId,
    controller: BlobDigest,
    now: Timestamp,
) -> Result<Option<Domain>, Fault> {
    let Some(seq) = seq(db, id)? else { return Ok(None) };
    blobs::name_for_domain(db, seq, controller)?;
    db.prepare_cached("UPDATE domains SET controller = ?2, updated_at = ?3 WHERE seq = ?1")?.execute(params![
        seq,
        controller.as_bytes(),
        from_time(now)
    ])?;
    find(db, id)
}

fn seq(db: &Connection, id: DomainId) -> Result<Option<i64>, Fault> {
    let mut statement = db.prepare_cached("SELECT seq FROM domains WHERE id = ?1")?;
    Ok(statement.query_row([id.as_bytes()], |row| row.get(0)).optional()?)
}

fn read(db: &Connection, row: &Row<'_>) -> Result<(i64, Domain), Fault> {
    let seq = row.get("seq")?;
    let (tip, latest) = tip(db, seq)?;
    let policy = text("a trust policy", row, "policy")?;
    let domain = Domain {
        id: DomainId(row.get("id")?),
        name: row.get("name")?,
        owner: owner(row)?,
        controller: BlobDigest(row.get("controller")?),
        settings: json("a domain's settings", row, "settings")?.unwrap_or_default(),
        policy: TrustPolicy::from_name(policy).ok_or_else(|| corrupt("a trust policy", policy))?,
        blocks: tip.version,
        latest,
        created_at: to_time(row.get("created_at")?)?,
        updated_at: to_time(row.get("updated_at")?)?,
    };
    Ok((seq, domain))
}

/// Keys of a domain's blocks.
fn keys(seq: i64) -> RangeInclusive<i64> {
    key(TreeVersion { tree: seq, version: 1 })..=key(TreeVersion { tree: seq + 1, version: 0 }) - 1
}

/// The newest version of a domain's tree, and its highest number.
fn tip(db: &Connection, seq: i64) -> Result<(TreeVersion, Option<BlockNumber>), Fault> {
    let sql = "SELECT key, latest FROM blocks WHERE key BETWEEN ?1 AND ?2 ORDER BY key DESC LIMIT 1";
    let keys = keys(seq);
    let found: Option<(i64, i64)> = db
        .prepare_cached(sql)?
        .query_row([keys.start(), keys.end()], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let none = TreeVersion { tree: seq, version: 0 };
    Ok(found.map_or((none, None), |(key, latest)| (from_key(key), Some(to_sorted(latest)))))
}

fn value(block: &NewBlock) -> Value {
    block_value(block.number, &block.state_root, &block.payload, &block.trust)
}

/// Appends all or none; what was appended is for the cache, once it is committed.
fn append(
    db: &Connection,
    instance: &InstanceId,
    cache: &Cache,
    domain: DomainId,
    blocks: Vec<(Value, NewBlock)>,
) -> Result<(AppendBlocks, Vec<(Tip, Appended)>), Fault> {
    let seq = require_seq(db, domain)?;
    if let Some(taken) = taken(db, seq, &blocks)? {
        return Ok((taken, Vec::new()));
    }
    let newest = roots::newest(db, instance)?;
    let (held, mut latest) = tip(db, seq)?;
    let mut tip = Tip { root: newest.version, domain: held };
    let mut rows = Rows::uncommitted(db, cache);
    trees::require_tip(&mut rows, tip, &newest.root, &domain).map_err(trees::damaged)?;
    let at = now().max(newest.at);
    let mut appended = Vec::with_capacity(blocks.len());
    for (value, block) in &blocks {
        let writes = trees::append(&mut rows, tip, &domain, (block.number, *value)).map_err(trees::damaged)?;
        tip = tip.next();
        rows.add(tip, &writes);
        appended.push((tip, writes));
    }
    let mut put = Vec::with_capacity(blocks.len());
    for ((tip, writes), (_, block)) in appended.iter().zip(blocks) {
        latest = latest.max(Some(block.number));
        insert_block(db, *tip, writes, &block, latest.unwrap_or(block.number))?;
        let root = roots::insert(db, *tip, writes, at)?;
        put.push(Block {
            domain,
            number: block.number,
            state_root: block.state_root,
            payload: block.payload,
            trust: block.trust,
            root,
            version: tip.root,
            appended_at: at,
        });
    }
    Ok((AppendBlocks::Appended(put), appended))
}

/// The first number that is there already, or is named twice.
fn taken(db: &Connection, seq: i64, blocks: &[(Value, NewBlock)]) -> Result<Option<AppendBlocks>, Fault> {
    let mut statement = db.prepare_cached("SELECT 1 FROM blocks WHERE domain = ?1 AND number = ?2")?;
    for (_, new) in blocks {
        if statement.exists(params![seq, from_sorted(new.number)])? {
            let block = block(db, seq, new.number)?.map(Box::new);
            return Ok(Some(AppendBlocks::Taken { number: new.number, block }));
        }
    }
    let twice = named_twice(blocks.iter().map(|(_, block)| block.number));
    Ok(twice.map(|number| AppendBlocks::Taken { number, block: None }))
}

fn insert_block(
    db: &Connection,
    tip: Tip,
    writes: &Appended,
    block: &NewBlock,
    latest: BlockNumber,
) -> Result<(), Fault> {
    let write = &writes.block.write;
    db.prepare_cached(
        "INSERT INTO blocks (key, domain, number, made, latest, depth, value, siblings, state_root, trust, payload) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
    )?
    .execute(params![
        key(tip.domain),
        tip.domain.tree,
        from_sorted(block.number),
        tip.root.cast_signed(),
        from_sorted(latest),
        write.depth() as i64,
        write.value().0,
        write.siblings_to_bytes(),
        block.state_root,
        block.trust.as_bytes(),
        block.payload.as_ref(),
    ])?;
    Ok(())
}

fn block(db: &Connection, seq: i64, number: BlockNumber) -> Result<Option<Block>, Fault> {
    let mut statement = db.prepare_cached(block_sql!("WHERE blocks.domain = ?1 AND blocks.number = ?2"))?;
    statement.query_and_then(params![seq, from_sorted(number)], read_block)?.next().transpose()
}

fn list_blocks(db: &Connection, domain: DomainId, after: Option<&Cursor>, limit: usize) -> Result<Page<Block>, Fault> {
    // `None` after number 0: there is nothing below.
    let highest =
        after.map_or(Ok(Some(u64::MAX)), |after| cursor::to_block(after).map(|above| above.checked_sub(1)))?;
    let (Some(highest), Some(seq)) = (highest, seq(db, domain)?) else {
        return Ok(Page { items: Vec::new(), next: None });
    };
    let mut statement = db.prepare_cached(block_sql!(
        "WHERE blocks.domain = ?1 AND blocks.number <= ?2 ORDER BY blocks.number DESC LIMIT ?3"
    ))?;
    let found = statement.query_and_then(params![seq, from_sorted(highest), cursor::rows_for(limit)], read_block)?;
    Ok(cursor::page(found.collect::<Result<_, _>>()?, limit, |block| cursor::after_block(block.number)))
}

fn latest(db: &Connection, instance: &InstanceId, domain: DomainId, at: Root) -> Result<Option<Block>, Fault> {
    let version = roots::require_version(db, instance, at)?;
    let Some(seq) = seq(db, domain)? else { return Ok(None) };
    let mut statement = db.prepare_cached("SELECT made, latest FROM blocks WHERE key = ?1")?;
    // The highest number at a version of the domain's tree, if the root is no older than that one.
    let mut within = |tree_version| -> Result<Option<i64>, Fault> {
        let key = key(TreeVersion { tree: seq, version: tree_version });
        let (made, latest) = statement.query_row([key], |row| Ok((to_bits(row.get(0)?), row.get(1)?)))?;
        Ok((made <= version).then_some(latest))
    };
    let newest = tip(db, seq)?.0.version;
    let mut highest = if newest == 0 { None } else { within(newest)? };
    if highest.is_none() {
        // Each version of the domain's tree made a later root than the one before.
        let (mut held, mut beyond) = (0, newest);
        while held + 1 < beyond {
            let middle = held.midpoint(beyond);
            match within(middle)? {
                Some(latest) => (held, highest) = (middle, Some(latest)),
                None => beyond = middle,
            }
        }
    }
    match highest {
        Some(number) => block(db, seq, to_sorted(number)),
        None => Ok(None),
    }
}

fn read_block(row: &Row<'_>) -> Result<Block, Fault> {
    Ok(Block {
        domain: DomainId(row.get("domain_id")?),
        number: to_sorted(row.get("number")?),
        state_root: row.get("state_root")?,
        payload: row.get::<_, Vec<u8>>("payload")?.into(),
        trust: TrustId(row.get("trust")?),
        root: Root(row.get("root")?),
        version: to_bits(row.get("made")?),
        appended_at: to_time(row.get("at")?)?,
    })
}
