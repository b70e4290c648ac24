//! Ageing out, and measuring.

use super::{
    Inner, blobs,
    connect::Session,
    fault::Fault,
    row::{bits, bounded, from_time, get},
};
use crate::{Collected, Retention, StorageUsage};
use jiff::{SignedDuration, Timestamp};
use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio_postgres::Row;

/// How long the database's size is remembered: asking costs a look at each of its files.
const SIZE_KEPT: Duration = Duration::from_secs(5);

/// How often the objects are compared with the rows: it lists all of them.
const SWEPT: Duration = Duration::from_secs(6 * 3600);

/// One process collects at a time; others leave it to that one. The lock ends with the transaction.
const ALONE: &str = "SELECT pg_try_advisory_xact_lock(7165068321902031973) AS alone";

/// What was measured or done not long ago.
#[derive(Debug, Default)]
pub(super) struct Measured {
    size: Mutex<Option<(Instant, u64)>>,
    swept: Mutex<Option<Instant>>,
}

/// Finished longer ago than $1: those whose witness, or proof, or all goes, up to $2, oldest first.
const WITNESSES: &str = "
WITH old AS MATERIALIZED (
    SELECT id, witness AS digest FROM tasks
    WHERE stage IS NULL AND witness IS NOT NULL AND state <> 'failed' AND updated_at <= $1
    ORDER BY updated_at LIMIT $2 FOR UPDATE SKIP LOCKED
), cleared AS (
    UPDATE tasks SET witness = NULL WHERE id = ANY (ARRAY(SELECT id FROM old))
), unnamed AS (
    DELETE FROM task_blobs
    WHERE digest = ANY (ARRAY(SELECT digest FROM old)) AND task = ANY (ARRAY(SELECT id FROM old)) AND NOT proof
)
SELECT digest FROM old";
const PROOFS: &str = "
WITH old AS MATERIALIZED (
    SELECT id, proof AS digest FROM tasks
    WHERE stage IS NULL AND proof IS NOT NULL AND state <> 'failed' AND updated_at <= $1
    ORDER BY updated_at LIMIT $2 FOR UPDATE SKIP LOCKED
), cleared AS (
    UPDATE tasks SET proof = NULL WHERE id = ANY (ARRAY(SELECT id FROM old))
), unnamed AS (
    DELETE FROM task_blobs
    WHERE digest = ANY (ARRAY(SELECT digest FROM old)) AND task = ANY (ARRAY(SELECT id FROM old)) AND proof
)
SELECT digest FROM old";
const OLD_TASKS: &str = "SELECT id, witness, proof FROM tasks WHERE stage IS NULL AND updated_at <= $1 \
     ORDER BY updated_at LIMIT $2 FOR UPDATE SKIP LOCKED";
const OLD_DELIVERIES: &str = "DELETE FROM deliveries WHERE id = ANY (ARRAY(\
     SELECT id FROM deliveries WHERE next_at IS NULL AND created_at <= $1 ORDER BY created_at LIMIT $2 \
     FOR UPDATE SKIP LOCKED))";

/// There are few, so no index has them by age.
const OLD_RECORDINGS: &str = "DELETE FROM recordings WHERE (task, stage) IN (\
     SELECT task, stage FROM recordings WHERE made_at <= $1 ORDER BY made_at LIMIT $2 FOR UPDATE SKIP LOCKED) \
     RETURNING digest";

/// Locked first: whoever names one from then on waits, and finds it gone; whoever has named one before shows in the next
/// statement, or still holds it and makes it be skipped here.
const SUSPECTS: &str = "SELECT digest FROM blobs WHERE suspect AND put_at <= $1 ORDER BY put_at LIMIT $2 \
     FOR UPDATE SKIP LOCKED";
const ACQUIT: &str = "UPDATE blobs SET suspect = false WHERE digest = ANY ($1) AND (\
     EXISTS (SELECT FROM program_blobs WHERE program_blobs.digest = blobs.digest) OR \
     EXISTS (SELECT FROM domain_blobs WHERE domain_blobs.digest = blobs.digest) OR \
     EXISTS (SELECT FROM recordings WHERE recordings.digest = blobs.digest) OR \
     EXISTS (SELECT FROM task_blobs WHERE task_blobs.digest = blobs.digest))";
const REMOVE: &str = "DELETE FROM blobs WHERE digest = ANY ($1) AND suspect RETURNING size, object";

/// Pages under a number that is no volume's go before the number itself: whoever still writes under it finds it locked, then gone.
const LOOSE: &str = "SELECT number FROM loose_volumes WHERE at <= $1 ORDER BY at LIMIT 1 FOR UPDATE SKIP LOCKED";
const LOOSE_PAGES: &str = "DELETE FROM pages WHERE volume = $1 AND index = ANY (ARRAY(\
     SELECT index FROM pages WHERE volume = $1 ORDER BY index LIMIT $2))";
const TIDIED: &str = "DELETE FROM loose_volumes WHERE number = $1";

impl Inner {
    pub(super) async fn usage(&self) -> Result<StorageUsage, Fault> {
        let session = self.quick.take().await?;
        let (blobs, blob_bytes) = blobs::totals(&session).await?;
        let kept = *self.measured.size.lock().unwrap_or_else(PoisonError::into_inner);
        let database_bytes = match kept.filter(|(at, _)| at.elapsed() < SIZE_KEPT) {
            Some((_, size)) => size,
            None => {
                let sql = "SELECT pg_database_size(current_database()) AS size";
                let size = bits(&session.query_one(sql, &[]).await?, "size")?;
                *self.measured.size.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), size));
                size
            }
        };
        Ok(StorageUsage { database_bytes, blobs, blob_bytes, free_bytes: self.blobs.free_bytes()? })
    }

    pub(super) async fn collect(
        &self,
        retention: &Retention,
        now: Timestamp,
        limit: usize,
    ) -> Result<Collected, Fault> {
        let mut collected = Collected::default();
        if limit == 0 {
            return Ok(collected);
        }
        let rows = bounded(limit as u64);
        if let Some(before) = before(now, retention.tasks) {
            collected.tasks = self.collect_tasks(before, rows).await?;
        }
        if let Some(before) = before(now, retention.witnesses) {
            collected.witnesses = self.clear(WITNESSES, before, rows).await?;
        }
        if let Some(before) = before(now, retention.proofs) {
            collected.proofs = self.clear(PROOFS, before, rows).await?;
        }
        if let Some(before) = before(now, retention.recordings) {
            collected.recordings = self.clear(OLD_RECORDINGS, before, rows).await?;
        }
        if let Some(before) = before(now, retention.deliveries) {
            let session = self.quick.take().await?;
            collected.deliveries = session.execute(OLD_DELIVERIES, &[&before, &rows]).await?;
        }
        if let Some(before) = before(now, Some(retention.unnamed_blobs)) {
            while collected.pages < limit as u64 && self.collect_pages(before, rows, &mut collected).await? {}
            // Those that turn out to be named are suspects no more.
            while collected.blobs < limit as u64 {
                let wanted = rows - bounded(collected.blobs);
                if self.collect_blobs(before, wanted, &mut collected).await? < wanted {
                    break;
                }
            }
        }
        let Collected { witnesses, proofs, recordings, tasks, deliveries, pages, blobs, .. } = collected;
        let most = [witnesses, proofs, recordings, tasks, deliveries, pages, blobs];
        collected.more = most.contains(&(limit as u64)) | self.sweep(retention, now, limit).await?;
        Ok(collected)
    }

    /// Removes old tasks with all that is theirs but their blobs.
    async fn collect_tasks(&self, before: i64, limit: i64) -> Result<u64, Fault> {
        let session = self.quick.take().await?;
        if !alone(&session).await? {
            return Ok(0);
        }
        let rows = session.query(OLD_TASKS, &[&before, &limit]).await?;
        let tasks = rows.iter().map(|row| get(row, "id")).collect::<Result<Vec<&[u8]>, _>>()?;
        let named = |column| rows.iter().filter_map(move |row| get::<Option<&[u8]>>(row, column).transpose());
        let mut digests = named("witness").chain(named("proof")).collect::<Result<Vec<_>, _>>()?;
        let unnamed = "DELETE FROM task_blobs WHERE digest = ANY ($1) AND task = ANY ($2)";
        session.execute(unnamed, &[&digests, &tasks]).await?;
        let unrecorded = "DELETE FROM recordings WHERE task = ANY ($1) RETURNING digest";
        let recordings = session.query(unrecorded, &[&tasks]).await?;
        for row in &recordings {
            digests.push(get(row, "digest")?);
        }
        for sql in [
            "DELETE FROM events WHERE task = ANY ($1)",
            "DELETE FROM task_content WHERE task = ANY ($1)",
            "DELETE FROM idempotency WHERE task = ANY ($1)",
            "DELETE FROM tasks WHERE id = ANY ($1)",
        ] {
            session.execute(sql, &[&tasks]).await?;
        }
        suspect(&session, &digests).await?;
        session.commit().await?;
        Ok(tasks.len() as u64)
    }

    /// Has what is old name a blob no more.
    async fn clear(&self, sql: &str, before: i64, limit: i64) -> Result<u64, Fault> {
        let session = self.quick.take().await?;
        if !alone(&session).await? {
            return Ok(0);
        }
        let rows: Vec<Row> = session.query(sql, &[&before, &limit]).await?;
        let digests = rows.iter().map(|row| get(row, "digest")).collect::<Result<Vec<&[u8]>, _>>()?;
        suspect(&session, &digests).await?;
        session.commit().await?;
        Ok(rows.len() as u64)
    }

    /// Removes blobs that nothing names. Returns how many were looked at.
    async fn collect_blobs(&self, before: i64, limit: i64, collected: &mut Collected) -> Result<i64, Fault> {
        let session = self.durable.take().await?;
        if !alone(&session).await? {
            return Ok(0);
        }
        let suspects = session.query(SUSPECTS, &[&before, &limit]).await?;
        let digests = suspects.iter().map(|row| get(row, "digest")).collect::<Result<Vec<&[u8]>, _>>()?;
        session.execute(ACQUIT, &[&digests]).await?;
        let removed = session.query(REMOVE, &[&digests]).await?;
        session.commit().await?;
        drop(session);
        for row in &removed {
            collected.blobs += 1;
            collected.blob_bytes += bits(row, "size")?;
        }
        let objects = removed.iter().filter_map(|row| get::<Option<String>>(row, "object").transpose());
        self.blobs.remove(objects.collect::<Result<_, _>>()?).await;
        Ok(bounded(suspects.len() as u64))
    }

    /// Removes pages under one number that is no volume's. False: there is none.
    async fn collect_pages(&self, before: i64, limit: i64, collected: &mut Collected) -> Result<bool, Fault> {
        let session = self.quick.take().await?;
        if !alone(&session).await? {
            return Ok(false);
        }
        let Some(loose) = session.query_opt(LOOSE, &[&before]).await? else {
            session.rollback().await?;
            return Ok(false);
        };
        let (number, wanted): (i64, _) = (get(&loose, "number")?, limit - bounded(collected.pages));
        let removed = session.execute(LOOSE_PAGES, &[&number, &wanted]).await?;
        if bounded(removed) < wanted {
            session.execute(TIDIED, &[&number]).await?;
        }
        session.commit().await?;
        collected.pages += removed;
        Ok(true)
    }

    /// Now and then, removes objects that no row ever named. Whether there is more to do at once.
    async fn sweep(&self, retention: &Retention, now: Timestamp, limit: usize) -> Result<bool, Fault> {
        let swept = *self.measured.swept.lock().unwrap_or_else(PoisonError::into_inner);
        if swept.is_some_and(|at| at.elapsed() < SWEPT) {
            return Ok(false);
        }
        // Objects are as old as the world says, whatever the caller takes for now: one that is on its way has no row yet.
        let now = now.min(Timestamp::now());
        let Some(before) = before(now, Some(retention.unnamed_blobs)) else { return Ok(false) };
        let before = super::row::to_time(before)?;
        let more = self.sweep_objects(before, limit).await?;
        if !more {
            *self.measured.swept.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        }
        Ok(more)
    }
}

/// Notes that perhaps nothing names these blobs any more. In the order of their digests, as others lock them.
pub(super) async fn suspect(session: &Session, digests: &[&[u8]]) -> Result<(), Fault> {
    let sql = "UPDATE blobs SET suspect = true WHERE digest = ANY (ARRAY(\
         SELECT digest FROM blobs WHERE digest = ANY ($1) AND NOT suspect ORDER BY digest FOR NO KEY UPDATE))";
    session.execute(sql, &[&digests]).await.map(drop)
}

/// Begins a transaction of whoever collects alone; false, and none begun, when another does.
async fn alone(session: &Session) -> Result<bool, Fault> {
    let rows = session.begin_with("", ALONE, &[]).await?;
    let alone = rows.first().map_or(Ok(false), |row| get(row, "alone"))?;
    if !alone {
        session.rollback().await?;
    }
    Ok(alone)
}

/// The time before which something is too old, in microseconds; `None`: nothing is.
fn before(now: Timestamp, kept: Option<Duration>) -> Option<i64> {
    let kept = SignedDuration::try_from(kept?).ok()?;
    now.checked_sub(kept).ok().map(from_time)
}
