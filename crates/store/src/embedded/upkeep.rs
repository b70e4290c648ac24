//! Ageing out, and how large the store is.

use super::{
    EmbeddedStore,
    blobs::{self, Blobs},
    check,
    fault::{Fault, io_error},
    recordings,
    row::{from_time, to_bits, to_limit},
    webhooks,
    writer::Durability::Synced,
};
use crate::{Collected, Retention, StorageUsage, StoreError, Upkeep};
use async_trait::async_trait;
use coprocessor_types::BlobDigest;
use jiff::Timestamp;
use rusqlite::{Connection, params};
use std::{path::Path, time::Duration};

#[async_trait]
impl Upkeep for EmbeddedStore {
    async fn usage(&self) -> Result<StorageUsage, StoreError> {
        let (root, log) = (self.directory.root().to_owned(), self.directory.log());
        let limit = self.max_database_size;
        self.read(move |db| usage(db, &root, &log, limit)).await
    }

    async fn collect(&self, retention: &Retention, now: Timestamp, limit: usize) -> Result<Collected, StoreError> {
        let (retention, noted) = (*retention, self.blobs.take_abandoned());
        let kept = noted.clone();
        let pass = self.write(Synced, move |db, _| collect(db, &retention, now, limit, noted)).await;
        match pass {
            // Durable now: a file that is gone can't be a row's after the loss of power.
            Ok((collected, files)) => {
                self.blobs.remove(files).await?;
                Ok(collected)
            }
            Err(error) => {
                self.blobs.put_back_abandoned(kept);
                Err(error)
            }
        }
    }

    async fn contradictions(&self) -> Result<Vec<String>, StoreError> {
        self.read(check::contradictions).await
    }
}

fn usage(db: &Connection, root: &Path, log: &Path, limit: Option<u64>) -> Result<StorageUsage, Fault> {
    let pragma = |name: &str| -> Result<u64, Fault> {
        let mut statement = db.prepare_cached(&format!("PRAGMA {name}"))?;
        Ok(to_bits(statement.query_row([], |row| row.get(0))?))
    };
    let page_size = pragma("page_size")?;
    let database = page_size * pragma("page_count")?;
    let log = std::fs::metadata(log).map_or(0, |log| log.len());
    let disk = rustix::fs::statvfs(root).map_err(|error| io_error(root, error.into()))?;
    let mut free = disk.f_bavail.saturating_mul(disk.f_frsize);
    if let Some(limit) = limit {
        let inside = page_size * pragma("freelist_count")?;
        free = free.min(limit.saturating_sub(database).saturating_add(inside));
    }
    let (blobs, blob_bytes) = db
        .prepare_cached("SELECT blobs, bytes FROM blob_totals")?
        .query_row([], |row| Ok((to_bits(row.get(0)?), to_bits(row.get(1)?))))?;
    Ok(StorageUsage { database_bytes: database + log, blobs, blob_bytes, free_bytes: Some(free) })
}

/// One pass, and the files that are to be removed once it is durable.
pub(super) fn collect(
    db: &Connection,
    retention: &Retention,
    now: Timestamp,
    limit: usize,
    noted: Vec<String>,
) -> Result<(Collected, Vec<String>), Fault> {
    let mut collected = Collected::default();
    let before = |age: Duration| now.saturating_sub(age).unwrap_or(Timestamp::MIN);
    if let Some(age) = retention.tasks {
        collected.tasks = remove_tasks(db, before(age), limit)?;
    }
    if let Some(age) = retention.witnesses {
        collected.witnesses = drop_blobs(db, &WITNESSES, before(age), limit)?;
    }
    if let Some(age) = retention.proofs {
        collected.proofs = drop_blobs(db, &PROOFS, before(age), limit)?;
    }
    if let Some(age) = retention.recordings {
        collected.recordings = recordings::collect(db, before(age), limit)?;
    }
    if let Some(age) = retention.deliveries {
        collected.deliveries = webhooks::collect(db, before(age), limit)?;
    }
    let unnamed = blobs::collect(db, before(retention.unnamed_blobs), limit)?;
    collected.blobs = unnamed.blobs;
    collected.blob_bytes = unnamed.bytes;
    let Collected { tasks, witnesses, proofs, recordings, deliveries, blobs, .. } = collected;
    let counts = [tasks, witnesses, proofs, recordings, deliveries, blobs];
    collected.more = counts.iter().any(|&count| count >= limit as u64 && count > 0);
    let mut files = unnamed.files;
    files.extend(Blobs::abandoned(db, noted)?);
    Ok((collected, files))
}

/// The statements by which tasks forget a blob.
struct Forgetting {
    find: &'static str,
    forget: &'static str,
}

const WITNESSES: Forgetting = Forgetting {
    find: "SELECT id, witness FROM tasks WHERE stage IS NULL AND witness IS NOT NULL AND state <> 'failed' \
           AND updated_at <= ?1 ORDER BY updated_at LIMIT ?2",
    forget: "UPDATE tasks SET witness = NULL WHERE id = ?1",
};

const PROOFS: Forgetting = Forgetting {
    find: "SELECT id, proof FROM tasks WHERE stage IS NULL AND proof IS NOT NULL AND state <> 'failed' \
           AND updated_at <= ?1 ORDER BY updated_at LIMIT ?2",
    forget: "UPDATE tasks SET proof = NULL WHERE id = ?1",
};

fn drop_blobs(db: &Connection, of: &Forgetting, before: Timestamp, limit: usize) -> Result<u64, Fault> {
    let found: Vec<([u8; 16], [u8; 32])> = db
        .prepare_cached(of.find)?
        .query_map(params![from_time(before), to_limit(limit)], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    let mut forget = db.prepare_cached(of.forget)?;
    for (task, digest) in &found {
        forget.execute([task])?;
        blobs::unname(db, BlobDigest(*digest))?;
    }
    Ok(found.len() as u64)
}

fn remove_tasks(db: &Connection, before: Timestamp, limit: usize) -> Result<u64, Fault> {
    type Found = ([u8; 16], Option<[u8; 32]>, Option<[u8; 32]>);
    let found: Vec<Found> = db
        .prepare_cached(
            "SELECT id, witness, proof FROM tasks WHERE stage IS NULL AND updated_at <= ?1 \
             ORDER BY updated_at LIMIT ?2",
        )?
        .query_map(params![from_time(before), to_limit(limit)], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<Result<_, _>>()?;
    for (task, witness, proof) in &found {
        for digest in [witness, proof].into_iter().flatten() {
            blobs::unname(db, BlobDigest(*digest))?;
        }
        recordings::forget(db, task)?;
        for sql in [
            "DELETE FROM events WHERE task = ?1",
            "DELETE FROM task_content WHERE task = ?1",
            "DELETE FROM idempotency WHERE task = ?1",
            "DELETE FROM tasks WHERE id = ?1",
        ] {
            db.prepare_cached(sql)?.execute([task])?;
        }
    }
    Ok(found.len() as u64)
}
