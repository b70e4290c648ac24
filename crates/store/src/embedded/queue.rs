//! The queue: claims, leases, and the steps that end them. The rules are in [`transition`].

use super::{
    blobs::{self, StagedBlob},
    fault::Fault,
    row::{from_bits, from_deadline, from_json, from_time, to_bits, to_json, to_task, to_time},
    tasks::{self, append_event, parse_state, stage_number},
    volumes,
};
use crate::{
    Cancelled, Change, Claim, EventKind, Failure, Retried, Stage, StepOutcome, StoreError, Task, VolumeWrite,
    task::transition::{self, Next, Standing},
};
use coprocessor_types::{BlobDigest, ProgramId, TaskId};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};
use serde_json::json;
use std::time::Duration;

pub(super) fn claim(
    db: &Connection,
    stage: Stage,
    worker: &str,
    lease: Duration,
    now: Timestamp,
    changes: &mut Vec<Change>,
) -> Result<Option<Claim>, Fault> {
    // Those whose time has come join the ready ones. Each does so once, so the index of the ready is all a claim reads.
    db.prepare_cached("UPDATE tasks SET ready_at = 0 WHERE stage = ?1 AND ready_at > 0 AND ready_at <= ?2")?
        .execute(params![stage_number(stage), from_time(now)])?;
    let expires_at = lease_end(now, lease);
    let state = transition::claimed_state(stage);
    let claimed: Option<[u8; 16]> = db
        .prepare_cached(
            "UPDATE tasks SET state = ?2, worker = ?3, ready_at = ?4, fence = fence + 1, not_before = NULL, \
             updated_at = ?5 \
             WHERE id = (SELECT id FROM tasks WHERE stage = ?1 AND ready_at = 0 ORDER BY id LIMIT 1) RETURNING id",
        )?
        .query_row(params![stage_number(stage), state.as_str(), worker, ready_at(expires_at), from_time(now)], |row| {
            row.get(0)
        })
        .optional()?;
    let Some(id) = claimed.map(to_task) else { return Ok(None) };
    let task = tasks::require(db, id)?;
    let detail = json!({ "worker": worker, "stage": stage.as_str(), "fence": task.fence });
    append_event(db, id, state, &EventKind { name: "claimed".to_owned(), detail }, now, changes)?;
    Ok(Some(Claim { task, stage, expires_at }))
}

pub(super) fn next_ready(db: &Connection, stage: Stage) -> Result<Option<Timestamp>, Fault> {
    let next: Option<i64> = db
        .prepare_cached("SELECT min(ready_at) FROM tasks WHERE stage = ?1 AND ready_at > 0")?
        .query_row([stage_number(stage)], |row| row.get(0))?;
    next.map(to_time).transpose()
}

/// Gives back every lease. Only for who knows that nobody else is alive.
pub(super) fn void_leases(db: &Connection) -> Result<usize, Fault> {
    Ok(db.execute("UPDATE tasks SET worker = NULL, ready_at = 0 WHERE worker IS NOT NULL", [])?)
}

pub(super) fn heartbeat(
    db: &Connection,
    task: TaskId,
    fence: u64,
    lease: Duration,
    now: Timestamp,
) -> Result<(), Fault> {
    transition::check_claim(&find(db, task)?.standing, fence)?;
    db.prepare_cached("UPDATE tasks SET ready_at = ?2 WHERE id = ?1")?
        .execute(params![task.0.as_bytes(), ready_at(lease_end(now, lease))])?;
    Ok(())
}

pub(super) fn progress(
    db: &Connection,
    task: TaskId,
    fence: u64,
    event: &EventKind,
    now: Timestamp,
    changes: &mut Vec<Change>,
) -> Result<(), Fault> {
    let standing = find(db, task)?.standing;
    transition::check_claim(&standing, fence)?;
    append_event(db, task, standing.state, event, now, changes)
}

/// Whether a step may still be written, to find out before anything large is.
pub(super) fn check_claim(db: &Connection, task: TaskId, fence: u64) -> Result<(), Fault> {
    Ok(transition::check_claim(&find(db, task)?.standing, fence)?)
}

/// `blob` is that of the outcome, if it has one.
pub(super) fn finish_step(
    db: &Connection,
    task: TaskId,
    fence: u64,
    outcome: &StepOutcome,
    blob: Option<&StagedBlob>,
    now: Timestamp,
    changes: &mut Vec<Change>,
) -> Result<Task, Fault> {
    let found = find(db, task)?;
    let next = transition::finish(&found.standing, fence, outcome)?;
    if let Some(blob) = blob {
        blobs::insert(db, blob)?;
    }
    let digest = blob.map(|blob| blob.digest);
    let key = task.0.as_bytes();
    let event = match outcome {
        StepOutcome::Executed { volume, event, .. } => {
            apply_volume(db, found.program, volume)?;
            set_blob(db, "UPDATE tasks SET witness = ?2 WHERE id = ?1", task, digest)?;
            event
        }
        StepOutcome::Proved { output, event, .. } => {
            set_blob(db, "UPDATE tasks SET proof = ?2 WHERE id = ?1", task, digest)?;
            db.prepare_cached("UPDATE task_content SET output = ?2 WHERE task = ?1")?
                .execute(params![key, output.as_ref()])?;
            event
        }
        StepOutcome::Delivered { volume, result, event } => {
            apply_volume(db, found.program, volume)?;
            db.prepare_cached("UPDATE task_content SET result = ?2 WHERE task = ?1")?
                .execute(params![key, from_json(result)?])?;
            event
        }
        StepOutcome::Postponed { event, .. } => event,
        StepOutcome::Failed { failure, event } => {
            set_failure(db, task, Some(failure))?;
            event
        }
    };
    advance(db, task, next, now, changes)?;
    append_event(db, task, next.state, event, now, changes)?;
    tasks::require(db, task)
}

pub(super) fn cancel(
    db: &Connection,
    task: TaskId,
    now: Timestamp,
    changes: &mut Vec<Change>,
) -> Result<Cancelled, Fault> {
    let found = match find(db, task) {
        Err(Fault::Store(StoreError::UnknownTask(_))) => return Ok(Cancelled::Unknown),
        found => found?,
    };
    let Some(next) = transition::cancel(&found.standing) else {
        return Ok(Cancelled::Finished(tasks::require(db, task)?));
    };
    advance(db, task, next, now, changes)?;
    let event = EventKind { name: "cancelled".to_owned(), detail: json!({}) };
    append_event(db, task, next.state, &event, now, changes)?;
    Ok(Cancelled::Cancelled(tasks::require(db, task)?))
}

pub(super) fn retry(
    db: &Connection,
    task: TaskId,
    now: Timestamp,
    changes: &mut Vec<Change>,
) -> Result<Retried, Fault> {
    let found = match find(db, task) {
        Err(Fault::Store(StoreError::UnknownTask(_))) => return Ok(Retried::Unknown),
        found => found?,
    };
    let Some((stage, next)) = transition::retry(&found.standing, found.failure.as_ref()) else {
        return Ok(Retried::Refused(tasks::require(db, task)?));
    };
    set_failure(db, task, None)?;
    advance(db, task, next, now, changes)?;
    let event = EventKind { name: "retried".to_owned(), detail: json!({ "stage": stage.as_str() }) };
    append_event(db, task, next.state, &event, now, changes)?;
    Ok(Retried::Retried(tasks::require(db, task)?))
}

/// What the rules and the writes need of a task, without its content.
struct Found {
    program: ProgramId,
    failure: Option<Failure>,
    standing: Standing,
}

fn find(db: &Connection, task: TaskId) -> Result<Found, Fault> {
    let mut statement = db.prepare_cached(
        "SELECT program, state, fence, attempts, worker IS NOT NULL AS claimed, \
         (SELECT failure FROM task_content WHERE task = id) AS failure FROM tasks WHERE id = ?1",
    )?;
    let mut rows = statement.query_and_then([task.0.as_bytes()], |row| {
        let failure: Option<String> = row.get("failure")?;
        Ok::<_, Fault>(Found {
            program: ProgramId(row.get("program")?),
            failure: failure.map(|text| to_json("a task's failure", &text)).transpose()?,
            standing: Standing {
                task,
                state: parse_state(row)?,
                fence: to_bits(row.get("fence")?),
                attempts: row.get("attempts")?,
                claimed: row.get("claimed")?,
            },
        })
    })?;
    rows.next().unwrap_or_else(|| Err(StoreError::UnknownTask(task).into()))
}

/// Writes where a task goes, and tells those who may be waiting for it there.
fn advance(db: &Connection, task: TaskId, next: Next, now: Timestamp, changes: &mut Vec<Change>) -> Result<(), Fault> {
    let stage = next.state.stage();
    let wait_until = next.not_before.filter(|&until| until > now);
    db.prepare_cached(
        "UPDATE tasks SET state = ?2, stage = ?3, ready_at = ?4, worker = NULL, fence = ?5, attempts = ?6, \
         not_before = ?7, updated_at = ?8 WHERE id = ?1",
    )?
    .execute(params![
        task.0.as_bytes(),
        next.state.as_str(),
        stage.map(stage_number),
        stage.map(|_| wait_until.map_or(0, ready_at)),
        from_bits(next.fence),
        next.attempts,
        next.not_before.map(from_deadline),
        from_time(now),
    ])?;
    if let Some(stage) = stage.filter(|_| wait_until.is_none()) {
        changes.push(Change::Work(stage));
    }
    Ok(())
}

fn apply_volume(db: &Connection, program: ProgramId, write: &VolumeWrite) -> Result<(), Fault> {
    if write.is_empty() { Ok(()) } else { volumes::apply(db, program, write).map(drop) }
}

fn set_blob(db: &Connection, sql: &str, task: TaskId, digest: Option<BlobDigest>) -> Result<(), Fault> {
    db.prepare_cached(sql)?.execute(params![task.0.as_bytes(), digest.as_ref().map(BlobDigest::as_bytes)])?;
    Ok(())
}

fn set_failure(db: &Connection, task: TaskId, failure: Option<&Failure>) -> Result<(), Fault> {
    db.prepare_cached("UPDATE task_content SET failure = ?2 WHERE task = ?1")?
        .execute(params![task.0.as_bytes(), failure.map(from_json).transpose()?])?;
    Ok(())
}

fn lease_end(now: Timestamp, lease: Duration) -> Timestamp {
    now.saturating_add(lease).unwrap_or(Timestamp::MAX)
}

/// A time as the column `ready_at` has it, where zero has another meaning.
fn ready_at(time: Timestamp) -> i64 {
    from_deadline(time).max(1)
}
