//! Recordings of what tasks' controllers asked and were answered.

use super::{
    blobs::{self, StagedBlob},
    fault::Fault,
    queue,
    row::{from_time, to_bits, to_limit, to_time},
    tasks::stage_number,
};
use crate::{Stage, TaskRecording};
use coprocessor_types::{BlobDigest, TaskId};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

/// Keeps a recording in the place of the stage's earlier one.
pub(super) fn keep(
    db: &Connection,
    (task, fence): (TaskId, u64),
    stage: Stage,
    blob: &StagedBlob,
    now: Timestamp,
) -> Result<(), Fault> {
    queue::check_claim(db, task, fence)?;
    let (id, stage) = (task.0.as_bytes(), stage_number(stage));
    let earlier: Option<[u8; 32]> = db
        .prepare_cached("SELECT digest FROM recordings WHERE task = ?1 AND stage = ?2")?
        .query_row(params![id, stage], |row| row.get(0))
        .optional()?;
    blobs::insert(db, blob, 1, now)?;
    if let Some(earlier) = earlier {
        blobs::unname(db, BlobDigest(earlier))?;
    }
    db.prepare_cached("INSERT OR REPLACE INTO recordings (task, stage, digest, made_at) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![id, stage, blob.digest.as_bytes(), from_time(now)])?;
    Ok(())
}

/// That of a stage, or of the last that has one.
pub(super) fn find(db: &Connection, task: TaskId, stage: Option<Stage>) -> Result<Option<TaskRecording>, Fault> {
    let mut statement = db.prepare_cached(
        "SELECT stage, digest, size, made_at FROM recordings JOIN blobs USING (digest) \
         WHERE task = ?1 AND (?2 IS NULL OR stage = ?2) ORDER BY made_at DESC, stage DESC LIMIT 1",
    )?;
    let mut rows = statement.query(params![task.0.as_bytes(), stage.map(stage_number)])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let number: i64 = row.get(0)?;
    let stage = Stage::ALL.into_iter().find(|stage| stage_number(*stage) == number);
    Ok(Some(TaskRecording {
        stage: stage.ok_or_else(|| super::row::corrupt("a recording's stage", number))?,
        digest: BlobDigest(row.get(1)?),
        bytes: to_bits(row.get(2)?),
        made_at: to_time(row.get(3)?)?,
    }))
}

/// Removes those made at `before` or earlier. There are few, so no index has them by age.
pub(super) fn collect(db: &Connection, before: Timestamp, limit: usize) -> Result<u64, Fault> {
    let digests: Vec<BlobDigest> = db
        .prepare_cached(
            "DELETE FROM recordings WHERE (task, stage) IN \
             (SELECT task, stage FROM recordings WHERE made_at <= ?1 ORDER BY made_at LIMIT ?2) RETURNING digest",
        )?
        .query_map(params![from_time(before), to_limit(limit)], |row| row.get(0).map(BlobDigest))?
        .collect::<Result<_, _>>()?;
    digests.iter().try_for_each(|digest| blobs::unname(db, *digest))?;
    Ok(digests.len() as u64)
}

/// Removes those of a task.
pub(super) fn forget(db: &Connection, task: &[u8; 16]) -> Result<(), Fault> {
    let digests: Vec<BlobDigest> = db
        .prepare_cached("DELETE FROM recordings WHERE task = ?1 RETURNING digest")?
        .query_map([task], |row| row.get(0).map(BlobDigest))?
        .collect::<Result<_, _>>()?;
    digests.into_iter().try_for_each(|digest| blobs::unname(db, digest))
}
