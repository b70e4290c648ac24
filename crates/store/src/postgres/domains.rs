//! Domains and their blocks.

use super::{
    Inner, blobs,
    connect::Session,
    cursor,
    fault::Fault,
    roots::{self, Reading},
    row::{
        self, array, bits, bytes, corrupt, from_json, from_sorted, from_time, get, owner, sorted, text, text_json, time,
    },
};
use crate::{
    AddDomain, AppendBlocks, Block, Change, Cursor, Domain, NewBlock, NewDomain, Page, StoreError, TrustPolicy,
    domain::{
        named_twice,
        trees::{self, Appended, Tip, TreeVersion},
    },
};
use coprocessor_merkle::{block_value, instance_root};
use coprocessor_types::{BlobDigest, BlockNumber, DomainId, Root, TrustId};
use jiff::Timestamp;
use tokio_postgres::Row;

/// Holds everybody else who would change domains, blocks or roots.
pub(super) const LOCK: &str = "SELECT oldest_root FROM line FOR UPDATE";

/// Domains, each with the newest of its blocks.
const DOMAIN: &str = "SELECT domains.*, tip.version AS blocks, tip.latest FROM domains LEFT JOIN LATERAL \
     (SELECT version, latest FROM blocks WHERE domain = domains.seq ORDER BY version DESC LIMIT 1) AS tip ON true";

/// Blocks, each with the root it made.
const BLOCK: &str = "SELECT domains.id AS domain_id, blocks.number, blocks.state_root, blocks.trust, blocks.payload, \
     blocks.made, roots.root, roots.at FROM domains JOIN blocks ON blocks.domain = domains.seq \
     JOIN roots ON roots.version = blocks.made";

/// The first of these numbers that a domain has. The inner limit has each looked up by itself: PostgreSQL would rather join all blocks
/// where it does not know yet how many there are.
const TAKEN: &str = "SELECT number FROM unnest($2::bigint[]) WITH ORDINALITY AS wanted (number, place), \
     LATERAL (SELECT FROM blocks WHERE domain = $1 AND blocks.number = wanted.number LIMIT 1) AS there ORDER BY place LIMIT 1";

/// The blocks' rows, and their roots'.
const INSERT_BLOCKS: &str = "INSERT INTO blocks \
     (domain, version, number, made, latest, depth, value, siblings, state_root, trust, payload) \
     SELECT $1, * FROM unnest($2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::smallint[], $7::bytea[], \
         $8::bytea[], $9::bytea[], $10::bytea[], $11::bytea[])";
const INSERT_ROOTS: &str = "INSERT INTO roots (domain, at, version, root, domain_version, depth, value, siblings) \
     SELECT $1, $2, * FROM unnest($3::bigint[], $4::bytea[], $5::bigint[], $6::smallint[], $7::bytea[], $8::bytea[])";

/// Blocks in one statement.
const ROWS: usize = 1000;

impl Inner {
    pub(super) async fn add_domain(&self, new: &NewDomain) -> Result<AddDomain, Fault> {
        let session = self.durable.take().await?;
        // One after the other, so that their numbers are in the order in which they appear.
        session.begin_with("", LOCK, &[]).await?;
        let added = insert(&session, new).await;
        if matches!(added, Ok(AddDomain::Added(_))) {
            session.commit().await?;
            self.tell([Change::Domains]);
        } else if !added.as_ref().is_err_and(Fault::is_lost) {
            session.rollback().await?;
        }
        added
    }

    pub(super) async fn domain(&self, id: DomainId) -> Result<Option<Domain>, Fault> {
        find(&self.quick.take().await?, id).await
    }

    pub(super) async fn domains(&self, after: Option<&Cursor>, limit: usize) -> Result<Page<Domain>, Fault> {
        let above = cursor::above_domain(after)?;
        let sql = format!("{DOMAIN} WHERE domains.seq > $1 ORDER BY domains.seq LIMIT $2");
        let rows = self.quick.take().await?.query(&sql, &[&above, &cursor::rows_for(limit)]).await?;
        let items = rows.iter().map(|row| Ok((cursor::after_domain(get(row, "seq")?), read(row)?)));
        Ok(cursor::page(items.collect::<Result<_, Fault>>()?, limit))
    }

    pub(super) async fn set_domain_controller(
        &self,
        id: DomainId,
        controller: BlobDigest,
    ) -> Result<Option<Domain>, Fault> {
        let session = self.durable.take().await?;
        session.begin_with("", LOCK, &[]).await?;
        let set = async {
            if find(&session, id).await?.is_none() {
                return Ok(None);
            }
            name(&session, id, controller).await?;
            let sql = "UPDATE domains SET controller = $2, updated_at = micros() WHERE id = $1";
            session.execute(sql, &[&id.as_bytes().as_slice(), &controller.as_bytes().as_slice()]).await?;
            find(&session, id).await
        };
        let set = set.await;
        if matches!(set, Ok(Some(_))) {
            session.commit().await?;
            self.tell([Change::Domains]);
        } else if !set.as_ref().is_err_and(Fault::is_lost) {
            session.rollback().await?;
        }
        set
    }

    pub(super) async fn append_blocks(&self, domain: DomainId, blocks: &[NewBlock]) -> Result<AppendBlocks, Fault> {
        let _alone = self.appending.lock().await;
        let session = self.durable.take().await?;
        session.begin_with("", LOCK, &[]).await?;
        let appended = self.append_on(&session, domain, blocks).await;
        match appended {
            Ok((outcome, appended)) if !appended.is_empty() => {
                session.commit().await?;
                self.trees.keep_appended(appended);
                self.tell([Change::Domains]);
                Ok(outcome)
            }
            Ok((outcome, _)) => {
                session.rollback().await?;
                Ok(outcome)
            }
            Err(fault) => {
                if !fault.is_lost() {
                    session.rollback().await?;
                }
                Err(fault)
            }
        }
    }

    async fn append_on(
        &self,
        session: &Session,
        domain: DomainId,
        blocks: &[NewBlock],
    ) -> Result<(AppendBlocks, Vec<(Tip, Appended)>), Fault> {
        let start = start(session, domain).await?;
        if let Some(taken) = taken(session, start.tip.domain.tree, blocks).await? {
            return Ok((taken, Vec::new()));
        }
        let mut reading = Reading::new(session, &self.trees, blocks.len());
        let mut tip = start.tip;
        let root = start.root.unwrap_or_else(|| instance_root(&self.instance));
        reading.walk(|held| trees::require_tip(held, tip, &root, &domain)).await.map_err(trees::damaged)?;
        let mut appended = Vec::with_capacity(blocks.len());
        for block in blocks {
            let value = block_value(block.number, &block.state_root, &block.payload, &block.trust);
            let put = (block.number, value);
            let writes = reading.walk(|held| trees::append(held, tip, &domain, put)).await.map_err(trees::damaged)?;
            tip = tip.next();
            reading.add(tip, &writes);
            appended.push((tip, writes));
        }
        let mut latest = start.latest;
        let mut put = Vec::with_capacity(blocks.len());
        for (appended, blocks) in appended.chunks(ROWS).zip(blocks.chunks(ROWS)) {
            let highest = blocks.iter().map(|block| {
                latest = latest.max(Some(block.number));
                from_sorted(latest.unwrap_or(block.number))
            });
            let highest: Vec<_> = highest.collect();
            insert_blocks(session, appended, blocks, &highest).await?;
            insert_roots(session, appended, start.at).await?;
            put.extend(appended.iter().zip(blocks).map(|((tip, writes), block)| Block {
                domain,
                number: block.number,
                state_root: block.state_root,
                payload: block.payload.clone(),
                trust: block.trust,
                root: writes.root.write.root(),
                version: tip.root,
                appended_at: start.at,
            }));
        }
        Ok((AppendBlocks::Appended(put), appended))
    }

    pub(super) async fn block(&self, domain: DomainId, number: BlockNumber) -> Result<Option<Block>, Fault> {
        let sql = format!("{BLOCK} WHERE domains.id = $1 AND blocks.number = $2");
        let session = self.quick.take().await?;
        let row = session.query_opt(&sql, &[&domain.as_bytes().as_slice(), &from_sorted(number)]).await?;
        row.as_ref().map(read_block).transpose()
    }

    pub(super) async fn blocks(
        &self,
        domain: DomainId,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<Page<Block>, Fault> {
        // `None` after number 0: there is nothing below.
        let highest =
            after.map_or(Ok(Some(u64::MAX)), |after| cursor::to_block(after).map(|above| above.checked_sub(1)))?;
        let Some(highest) = highest else { return Ok(Page { items: Vec::new(), next: None }) };
        let sql = format!("{BLOCK} WHERE domains.id = $1 AND blocks.number <= $2 ORDER BY blocks.number DESC LIMIT $3");
        let values: super::connect::Values<'_> =
            &[&domain.as_bytes().as_slice(), &from_sorted(highest), &cursor::rows_for(limit)];
        let rows = self.quick.take().await?.query(&sql, values).await?;
        let items = rows.iter().map(|row| read_block(row).map(|block| (cursor::after_block(block.number), block)));
        Ok(cursor::page(items.collect::<Result<_, Fault>>()?, limit))
    }

    pub(super) async fn latest_block(&self, domain: DomainId, at: Root) -> Result<Option<Block>, Fault> {
        let session = self.quick.take().await?;
        let version = roots::place(&session, &self.instance, at).await?.version;
        let Some(row) = session.query_opt(LATEST, &[&domain.as_bytes().as_slice(), &version.cast_signed()]).await?
        else {
            return Ok(None);
        };
        let Some(number) = get::<Option<i64>>(&row, "latest")? else { return Ok(None) };
        let sql = format!("{BLOCK} WHERE domains.id = $1 AND blocks.number = $2");
        let row = session.query_opt(&sql, &[&domain.as_bytes().as_slice(), &number]).await?;
        row.as_ref().map(read_block).transpose()
    }
}

/// The highest number that a root of that version has of a domain: at the last version of the domain's tree that made no later
/// root. Each made a later one than the version before, so it is found by halving.
const LATEST: &str = "
WITH RECURSIVE this AS (SELECT seq FROM domains WHERE id = $1),
newest AS (SELECT version FROM blocks WHERE domain = (SELECT seq FROM this) ORDER BY version DESC LIMIT 1),
search (held, beyond) AS (
    SELECT 0::bigint, coalesce((SELECT version FROM newest), 0) + 1
    UNION ALL
    SELECT CASE WHEN made <= $2 THEN middle ELSE held END, CASE WHEN made <= $2 THEN beyond ELSE middle END
    FROM (SELECT held, beyond, (held + beyond) / 2 AS middle FROM search WHERE held + 1 < beyond) AS halves
    JOIN blocks ON blocks.domain = (SELECT seq FROM this) AND blocks.version = middle
)
SELECT latest FROM search JOIN blocks ON blocks.domain = (SELECT seq FROM this) AND blocks.version = held
WHERE held + 1 = beyond";

/// The block that made that version of its domain's tree.
pub(super) async fn block_at(session: &Session, put: TreeVersion) -> Result<Block, Fault> {
    let sql = format!("{BLOCK} WHERE blocks.domain = $1 AND blocks.version = $2");
    let row = session.query_opt(&sql, &[&put.tree, &put.version.cast_signed()]).await?;
    let none = || corrupt("a block", format_args!("there is none of version {} of tree {}", put.version, put.tree));
    read_block(&row.ok_or_else(none)?)
}

/// Where blocks are appended.
struct Start {
    tip: Tip,
    root: Option<Root>,
    latest: Option<BlockNumber>,
    at: Timestamp,
}

async fn start(session: &Session, domain: DomainId) -> Result<Start, Fault> {
    let sql = "SELECT domains.seq, coalesce(tip.version, 0) AS held, tip.latest, coalesce(newest.version, 0) AS newest, \
         newest.root, greatest(micros(), newest.at) AS at \
         FROM domains \
         LEFT JOIN LATERAL (SELECT version, latest FROM blocks WHERE domain = domains.seq \
             ORDER BY version DESC LIMIT 1) AS tip ON true \
         LEFT JOIN LATERAL (SELECT version, root, at FROM roots ORDER BY version DESC LIMIT 1) AS newest ON true \
         WHERE domains.id = $1";
    let row = session.query_opt(sql, &[&domain.as_bytes().as_slice()]).await?;
    let row = row.ok_or(StoreError::UnknownDomain(domain))?;
    let held = TreeVersion { tree: get(&row, "seq")?, version: bits(&row, "held")? };
    let latest = get::<Option<i64>>(&row, "latest")?.map(|_| sorted(&row, "latest")).transpose()?;
    let root = get::<Option<&[u8]>>(&row, "root")?.map(|bytes| array(bytes).map(Root)).transpose()?;
    Ok(Start { tip: Tip { root: bits(&row, "newest")?, domain: held }, root, latest, at: time(&row, "at")? })
}

/// The first number that is there already, or is named twice.
async fn taken(session: &Session, tree: i64, blocks: &[NewBlock]) -> Result<Option<AppendBlocks>, Fault> {
    let numbers: Vec<_> = blocks.iter().map(|block| from_sorted(block.number)).collect();
    if let Some(row) = session.query_opt(TAKEN, &[&tree, &numbers]).await? {
        let number: i64 = get(&row, "number")?;
        let sql = format!("{BLOCK} WHERE blocks.domain = $1 AND blocks.number = $2");
        let block = session.query_opt(&sql, &[&tree, &number]).await?.map(|row| read_block(&row)).transpose()?;
        return Ok(Some(AppendBlocks::Taken { number: sorted(&row, "number")?, block: block.map(Box::new) }));
    }
    let twice = named_twice(blocks.iter().map(|block| block.number));
    Ok(twice.map(|number| AppendBlocks::Taken { number, block: None }))
}

async fn insert_blocks(
    session: &Session,
    appended: &[(Tip, Appended)],
    blocks: &[NewBlock],
    latest: &[i64],
) -> Result<(), Fault> {
    let Some((Tip { domain: TreeVersion { tree, .. }, .. }, _)) = appended.first() else { return Ok(()) };
    let writes = || appended.iter().map(|(_, writes)| &writes.block.write);
    let versions: Vec<_> = appended.iter().map(|(tip, _)| tip.domain.version.cast_signed()).collect();
    let made: Vec<_> = appended.iter().map(|(tip, _)| tip.root.cast_signed()).collect();
    let numbers: Vec<_> = blocks.iter().map(|block| from_sorted(block.number)).collect();
    let depths: Vec<_> = writes().map(|write| write.depth() as i16).collect();
    let values: Vec<_> = writes().map(|write| write.value().0.as_slice()).collect();
    let siblings: Vec<_> = writes().map(|write| write.siblings_to_bytes()).collect();
    let state_roots: Vec<_> = blocks.iter().map(|block| block.state_root.as_slice()).collect();
    let trusts: Vec<_> = blocks.iter().map(|block| block.trust.as_bytes().as_slice()).collect();
    let payloads: Vec<_> = blocks.iter().map(|block| block.payload.as_ref()).collect();
    session
        .execute(
            INSERT_BLOCKS,
            &[tree, &versions, &numbers, &made, &latest, &depths, &values, &siblings, &state_roots, &trusts, &payloads],
        )
        .await
        .map(drop)
}

async fn insert_roots(session: &Session, appended: &[(Tip, Appended)], at: Timestamp) -> Result<(), Fault> {
    let Some((Tip { domain: TreeVersion { tree, .. }, .. }, _)) = appended.first() else { return Ok(()) };
    let writes = || appended.iter().map(|(_, writes)| &writes.root.write);
    let versions: Vec<_> = appended.iter().map(|(tip, _)| tip.root.cast_signed()).collect();
    let held: Vec<_> = appended.iter().map(|(tip, _)| tip.domain.version.cast_signed()).collect();
    let roots: Vec<_> = writes().map(|write| write.root().0.to_vec()).collect();
    let depths: Vec<_> = writes().map(|write| write.depth() as i16).collect();
    let values: Vec<_> = writes().map(|write| write.value().0.as_slice()).collect();
    let siblings: Vec<_> = writes().map(|write| write.siblings_to_bytes()).collect();
    session
        .execute(INSERT_ROOTS, &[tree, &from_time(at), &versions, &roots, &held, &depths, &values, &siblings])
        .await
        .map(drop)
}

async fn insert(session: &Session, new: &NewDomain) -> Result<AddDomain, Fault> {
    if let Some(domain) = find(session, new.id).await? {
        return Ok(AddDomain::Exists(domain));
    }
    blobs::require(session, &[new.controller]).await?;
    session
        .execute(
            "INSERT INTO domains (id, name, owner, controller, settings, policy, created_at, updated_at) \
             VALUES ($1, $2, $3, $4, $5, $6, micros(), micros())",
            &[
                &new.id.as_bytes().as_slice(),
                &new.name.as_bytes(),
                &new.owner.as_str(),
                &new.controller.as_bytes().as_slice(),
                &from_json(&new.settings)?,
                &new.policy.as_str(),
            ],
        )
        .await?;
    name(session, new.id, new.controller).await?;
    let added = find(session, new.id).await?;
    Ok(AddDomain::Added(added.ok_or_else(|| corrupt("a domain", "it is not there after it was written"))?))
}

/// Notes that a domain names a blob.
async fn name(session: &Session, domain: DomainId, digest: BlobDigest) -> Result<(), Fault> {
    blobs::require(session, &[digest]).await?;
    let sql = "INSERT INTO domain_blobs (domain, digest) VALUES ($1, $2) ON CONFLICT DO NOTHING";
    session.execute(sql, &[&domain.as_bytes().as_slice(), &digest.as_bytes().as_slice()]).await.map(drop)
}

async fn find(session: &Session, id: DomainId) -> Result<Option<Domain>, Fault> {
    let sql = format!("{DOMAIN} WHERE domains.id = $1");
    session.query_opt(&sql, &[&id.as_bytes().as_slice()]).await?.as_ref().map(read).transpose()
}

fn read(row: &Row) -> Result<Domain, Fault> {
    let policy = get::<&str>(row, "policy")?;
    Ok(Domain {
        id: DomainId(bytes(row, "id")?),
        name: text(row, "name")?,
        owner: owner(row)?,
        controller: BlobDigest(bytes(row, "controller")?),
        settings: text_json("a domain's settings", row, "settings")?,
        policy: TrustPolicy::from_name(policy).ok_or_else(|| corrupt("a trust policy", policy))?,
        blocks: get::<Option<i64>>(row, "blocks")?.map_or(0, i64::cast_unsigned),
        latest: get::<Option<i64>>(row, "latest")?.map(|_| sorted(row, "latest")).transpose()?,
        created_at: time(row, "created_at")?,
        updated_at: time(row, "updated_at")?,
    })
}

fn read_block(row: &Row) -> Result<Block, Fault> {
    Ok(Block {
        domain: DomainId(bytes(row, "domain_id")?),
        number: sorted(row, "number")?,
        state_root: bytes(row, "state_root")?,
        payload: get::<Vec<u8>>(row, "payload")?.into(),
        trust: TrustId(bytes(row, "trust")?),
        root: Root(bytes(row, "root")?),
        version: bits(row, "made")?,
        appended_at: row::time(row, "at")?,
    })
}
