//! What ends a step or a task: outcomes, cancelling, retrying, deadlines. The rules are in [`transition`].

use super::{
    blobs::{self, StagedBlob},
    fault::Fault,
    queue::ready_at,
    row::{from_bits, from_deadline, from_json, from_time, kept, to_limit, to_task, to_time},
    tasks::{self, append_event, stage_number},
    volumes,
};
use crate::{
    Cancelled, Change, EventKind, Failure, Retried, StepOutcome, Task, VolumeWrite,
    task::transition::{self, Next},
};
use coprocessor_types::{BlobDigest, ProgramId, TaskId};
use jiff::Timestamp;
use rusqlite::{Connection, ToSql, params};
use serde_json::json;

/// `blob` is that of the outcome, if it has one.
pub(super) fn finish(
    db: &Connection,
    (task, fence): (TaskId, u64),
    outcome: StepOutcome,
    blob: Option<&StagedBlob>,
    now: Timestamp,
    changes: &mut Vec<Change>,
) -> Result<Task, Fault> {
    let found = tasks::require(db, task)?;
    let next = transition::finish(&found.standing(), fence, &outcome)?;
    let mut task = found.task;
    // First, as it may be refused, and then nothing may have been written.
    if let StepOutcome::Executed { volume, .. } | StepOutcome::Delivered { volume, .. } = &outcome {
        apply_volume(db, task.program, volume)?;
    }
    if let Some(blob) = blob {
        blobs::insert(db, blob, 1, now)?;
    }
    let digest = blob.map(|blob| blob.digest);
    let event = match outcome {
        StepOutcome::Executed { event, .. } => {
            unname(db, std::mem::replace(&mut task.witness, digest))?;
            event
        }
        StepOutcome::Proved { output, event, .. } => {
            unname(db, std::mem::replace(&mut task.proof, digest))?;
            set_content(db, "UPDATE task_content SET output = ?2 WHERE task = ?1", task.id, &output.as_ref())?;
            task.output = Some(output);
            event
        }
        StepOutcome::Delivered { result, event, .. } => {
            let text = from_json(&result)?;
            set_content(db, "UPDATE task_content SET result = ?2 WHERE task = ?1", task.id, &text)?;
            task.result = Some(result);
            event
        }
        StepOutcome::Postponed { event, .. } => event,
        StepOutcome::Failed { failure, event } => {
            set_failure(db, &mut task, Some(failure))?;
            event
        }
    };
    end(db, task, next, &event, now, changes)
}

pub(super) fn cancel(
    db: &Connection,
    task: TaskId,
    now: Timestamp,
    changes: &mut Vec<Change>,
) -> Result<Cancelled, Fault> {
    let Some(found) = tasks::find(db, task)? else { return Ok(Cancelled::Unknown) };
    let Some(next) = transition::cancel(&found.standing()) else { return Ok(Cancelled::Finished(found.task)) };
    let event = EventKind { name: "cancelled".to_owned(), detail: json!({}) };
    Ok(Cancelled::Cancelled(end(db, found.task, next, &event, now, changes)?))
}

pub(super) fn retry(
    db: &Connection,
    task: TaskId,
    deadline: Option<Timestamp>,
    now: Timestamp,
    changes: &mut Vec<Change>,
) -> Result<Retried, Fault> {
    let Some(found) = tasks::find(db, task)? else { return Ok(Retried::Unknown) };
    let Some((stage, next)) = transition::retry(&found.standing(), found.task.failure.as_ref()) else {
        return Ok(Retried::Refused(found.task));
    };
    let mut task = found.task;
    set_failure(db, &mut task, None)?;
    task.deadline = deadline.map(|deadline| kept(deadline, from_deadline));
    let event = EventKind { name: "retried".to_owned(), detail: json!({ "stage": stage.as_str() }) };
    Ok(Retried::Retried(end(db, task, next, &event, now, changes)?))
}

/// Fails tasks whose deadline is not after `due`, the earliest first.
pub(super) fn expire(
    db: &Connection,
    due: Timestamp,
    limit: usize,
    now: Timestamp,
    changes: &mut Vec<Change>,
) -> Result<Vec<TaskId>, Fault> {
    let overdue = overdue(db, due, limit)?;
    for &task in &overdue {
        let found = tasks::require(db, task)?;
        let (mut task, standing) = (found.task.clone(), found.standing());
        let deadline = task.deadline.unwrap_or(due);
        let Some((failure, next)) = transition::expire(&standing, deadline) else { continue };
        let detail = json!({ "stage": failure.stage.as_str(), "code": failure.code.as_str(), "message": failure.message.as_str() });
        set_failure(db, &mut task, Some(failure))?;
        end(db, task, next, &EventKind { name: "failed".to_owned(), detail }, now, changes)?;
    }
    Ok(overdue)
}

/// Unfinished tasks whose deadline is not after `due`.
pub(super) fn overdue(db: &Connection, due: Timestamp, limit: usize) -> Result<Vec<TaskId>, Fault> {
    let mut statement = db.prepare_cached(
        "SELECT id FROM tasks WHERE stage IS NOT NULL AND deadline IS NOT NULL AND deadline <= ?1 \
         ORDER BY deadline LIMIT ?2",
    )?;
    let rows = statement.query_map(params![from_time(due), to_limit(limit)], |row| row.get(0).map(to_task))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn next_deadline(db: &Connection) -> Result<Option<Timestamp>, Fault> {
    let next: Option<i64> = db
        .prepare_cached("SELECT min(deadline) FROM tasks WHERE stage IS NOT NULL AND deadline IS NOT NULL")?
        .query_row([], |row| row.get(0))?;
    next.map(to_time).transpose()
}

/// Writes where a task goes and what changed with it, appends the event, and tells those who may be waiting.
fn end(
    db: &Connection,
    mut task: Task,
    next: Next,
    event: &EventKind,
    now: Timestamp,
    changes: &mut Vec<Change>,
) -> Result<Task, Fault> {
    let stage = next.state.stage();
    let wait_until = next.not_before.filter(|&until| until > now);
    task.state = next.state;
    task.fence = next.fence;
    task.attempts = next.attempts;
    task.not_before = next.not_before.map(|until| kept(until, from_deadline));
    task.updated_at = now;
    db.prepare_cached(
        "UPDATE tasks SET state = ?2, stage = ?3, ready_at = ?4, worker = NULL, fence = ?5, attempts = ?6, \
         not_before = ?7, updated_at = ?8, deadline = ?9, witness = ?10, proof = ?11 WHERE id = ?1",
    )?
    .execute(params![
        task.id.0.as_bytes(),
        task.state.as_str(),
        stage.map(stage_number),
        stage.map(|_| wait_until.map_or(0, ready_at)),
        from_bits(task.fence),
        task.attempts,
        task.not_before.map(from_time),
        from_time(now),
        task.deadline.map(from_time),
        task.witness.as_ref().map(BlobDigest::as_bytes),
        task.proof.as_ref().map(BlobDigest::as_bytes),
    ])?;
    if let Some(stage) = stage.filter(|_| wait_until.is_none()) {
        changes.push(Change::Work(stage));
    }
    append_event(db, (task.id, &task.owner), task.state, event, now, changes)?;
    Ok(task)
}

fn apply_volume(db: &Connection, program: ProgramId, write: &VolumeWrite) -> Result<(), Fault> {
    if write.is_empty() { Ok(()) } else { volumes::apply(db, program, write).map(drop) }
}

fn unname(db: &Connection, digest: Option<BlobDigest>) -> Result<(), Fault> {
    digest.map_or(Ok(()), |digest| blobs::unname(db, digest))
}

fn set_content(db: &Connection, sql: &str, task: TaskId, content: &dyn ToSql) -> Result<(), Fault> {
    db.prepare_cached(sql)?.execute(params![task.0.as_bytes(), content])?;
    Ok(())
}

fn set_failure(db: &Connection, task: &mut Task, failure: Option<Failure>) -> Result<(), Fault> {
    let text = failure.as_ref().map(from_json).transpose()?;
    set_content(db, "UPDATE task_content SET failure = ?2 WHERE task = ?1", task.id, &text)?;
    task.failure = failure;
    Ok(())
}
