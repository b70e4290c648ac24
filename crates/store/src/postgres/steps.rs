//! How a task moves on: steps that end, and what ends a task from outside. The rules are in [`transition`].

use super::{
    Inner,
    blobs::StagedBlob,
    connect::{Session, Sessions},
    fault::Fault,
    row::{
        self, bits, bounded, bytes, from_bits, from_deadline, from_json, from_time, get, json_or_none, small,
        stage_number, task_id, time,
    },
    tasks::{self, require},
    together::steps::Step,
    volumes,
};
use crate::{
    Cancelled, Change, EventKind, Failure, Retried, StepOutcome, StoreError, Task, TaskState, VolumeWrite,
    task::transition::{self, Next, Standing},
};
use coprocessor_types::{OwnerId, ProgramId, TaskId};
use jiff::Timestamp;
use serde_json::json;
use std::collections::BTreeMap;
use tokio_postgres::Row;

/// What the rules and the writes need of a task, without its content.
pub(super) struct Found {
    program: ProgramId,
    owner: OwnerId,
    failure: Option<Failure>,
    pub(super) standing: Standing,
}

const FOUND: &str = "SELECT tasks.id, program, owner, state, fence, attempts, deadline, worker IS NOT NULL AS claimed, \
     (SELECT failure FROM task_content WHERE task = tasks.id) AS failure FROM tasks";

/// Writes where a task goes, with its event.
const ADVANCE: &str = "
WITH moved AS (
    UPDATE tasks SET state = $2, stage = $3, worker = NULL, fence = $4, attempts = $5, not_before = $6,
        ready_at = CASE WHEN $3::smallint IS NULL THEN NULL WHEN $6::bigint > micros() THEN greatest($6, 1) ELSE 0 END,
        updated_at = micros()
    WHERE id = $1 RETURNING id, owner, ready_at
), content AS (
    UPDATE task_content SET failure = $7 FROM moved WHERE task = $1
), told AS (
    INSERT INTO events (task, owner, at, state, name, detail)
    SELECT id, owner, micros(), $2, $8, $9 FROM moved RETURNING seq
)
SELECT moved.ready_at, told.seq FROM moved, told";

/// Where a task goes, and what is said of it.
struct Move<'a> {
    next: Next,
    failure: Option<&'a Failure>,
    event: &'a EventKind,
}

impl Inner {
    pub(super) async fn finish_step(&self, task: TaskId, fence: u64, outcome: &StepOutcome) -> Result<Task, Fault> {
        let (content, expected) = match outcome {
            StepOutcome::Executed { witness, .. } => (Some(witness), TaskState::Executing),
            StepOutcome::Proved { proof, .. } => (Some(proof), TaskState::Proving),
            StepOutcome::Delivered { .. } => (None, TaskState::Delivering),
            StepOutcome::Postponed { .. } | StepOutcome::Failed { .. } => {
                return self.leave(task, fence, outcome).await;
            }
        };
        // What the rules say of the one state this outcome can follow. The statement asks whether that is how it is.
        let standing = Standing { task, state: expected, fence, attempts: 0, claimed: true };
        let next = transition::finish(&standing, fence, outcome)?;
        let inline = |size| !self.blobs.is_large(size);
        if let Some(step) = Step::of((task, fence, expected), next, outcome, inline)?
            && let Some((task, seq)) = self.steps.write(&self.quick, step).await?
        {
            self.tell_moved(&task, seq, true);
            return Ok(task);
        }
        loop {
            let blob = match content {
                Some(content) => {
                    if self.blobs.is_large(content.len()) {
                        // One of a stale step is not even written.
                        let session = self.quick.take().await?;
                        transition::finish(&find(&session, task, "").await?.standing, fence, outcome)?;
                    }
                    Some(self.stage_blob(content.clone()).await?)
                }
                None => None,
            };
            let session = self.quick.take().await?;
            match finish_once(&session, (task, fence, expected), next, outcome, blob.as_ref()).await {
                Ok(Some((finished, seq))) => {
                    drop(session);
                    if let Some(blob) = blob {
                        self.settle_blob(blob, finished.stored).await;
                    }
                    self.tell_moved(&finished.task, seq, true);
                    return Ok(finished.task);
                }
                // Nothing was as it had to be: the rules say what to tell.
                Ok(None) => {
                    let found = find(&session, task, "").await?;
                    transition::finish(&found.standing, fence, outcome)?;
                    if let Some(blob) = blob {
                        self.settle_blob(blob, false).await;
                    }
                    let refusal = refusal(&session, found.program, outcome).await?;
                    return Err(refusal.map_or_else(|| changing(task), Fault::from));
                }
                // A blob that was there a moment ago has been collected meanwhile: it is put again.
                Err(fault) if fault.breaks("task_blobs_digest_fkey") => {}
                Err(fault) => return Err(fault),
            }
        }
    }

    /// Ends a step without going on.
    async fn leave(&self, task: TaskId, fence: u64, outcome: &StepOutcome) -> Result<Task, Fault> {
        let decide = |found: &Found| {
            let next = transition::finish(&found.standing, fence, outcome)?;
            Ok(Some(match outcome {
                StepOutcome::Failed { failure, event } => (next, Some(failure.clone()), event.clone()),
                StepOutcome::Postponed { event, .. }
                | StepOutcome::Executed { event, .. }
                | StepOutcome::Proved { event, .. }
                | StepOutcome::Delivered { event, .. } => (next, None, event.clone()),
            }))
        };
        let (task, _) = self.move_on(&self.quick, task, decide, None).await?;
        Ok(task)
    }

    pub(super) async fn cancel(&self, task: TaskId) -> Result<Cancelled, Fault> {
        let decide = |found: &Found| {
            let event = EventKind { name: "cancelled".to_owned(), detail: json!({}) };
            Ok(transition::cancel(&found.standing).map(|next| (next, None, event)))
        };
        match self.move_on(&self.durable, task, decide, None).await {
            Ok((task, true)) => Ok(Cancelled::Cancelled(task)),
            Ok((task, false)) => Ok(Cancelled::Finished(task)),
            Err(Fault::Store(StoreError::UnknownTask(_))) => Ok(Cancelled::Unknown),
            Err(fault) => Err(fault),
        }
    }

    pub(super) async fn retry(&self, task: TaskId, deadline: Option<Timestamp>) -> Result<Retried, Fault> {
        let decide = |found: &Found| {
            let retried = transition::retry(&found.standing, found.failure.as_ref());
            Ok(retried.map(|(stage, next)| {
                let detail = json!({ "stage": stage.as_str() });
                (next, None, EventKind { name: "retried".to_owned(), detail })
            }))
        };
        match self.move_on(&self.durable, task, decide, Some(deadline)).await {
            Ok((task, true)) => Ok(Retried::Retried(task)),
            Ok((task, false)) => Ok(Retried::Refused(task)),
            Err(Fault::Store(StoreError::UnknownTask(_))) => Ok(Retried::Unknown),
            Err(fault) => Err(fault),
        }
    }

    pub(super) async fn expire(&self, now: Timestamp, limit: usize) -> Result<Vec<TaskId>, Fault> {
        let session = self.durable.take().await?;
        let sql = format!(
            "{FOUND} WHERE stage IS NOT NULL AND deadline <= $1 ORDER BY deadline, id LIMIT $2 \
             FOR NO KEY UPDATE OF tasks SKIP LOCKED"
        );
        let rows = session.begin_with("", &sql, &[&from_time(now), &bounded(limit as u64)]).await?;
        let (mut expired, mut changes) = (Vec::new(), Vec::new());
        for row in &rows {
            let found = read_found(row)?;
            let Some((failure, next)) = transition::expire(&found.standing, time(row, "deadline")?) else { continue };
            let detail = json!({ "stage": failure.stage.as_str(), "code": failure.code, "message": failure.message });
            let event = EventKind { name: "failed".to_owned(), detail };
            let (seq, _) =
                advance(&session, found.standing.task, &Move { next, failure: Some(&failure), event: &event }).await?;
            let task = found.standing.task;
            changes.push(Change::Event { task, owner: found.owner, seq, state: next.state });
            expired.push(task);
        }
        session.commit().await?;
        self.tell(changes);
        Ok(expired)
    }

    /// Looks at a task, decides, and writes it, in one transaction. False: nothing was to be written.
    async fn move_on(
        &self,
        sessions: &Sessions,
        task: TaskId,
        decide: impl FnOnce(&Found) -> Result<Option<(Next, Option<Failure>, EventKind)>, StoreError>,
        deadline: Option<Option<Timestamp>>,
    ) -> Result<(Task, bool), Fault> {
        let session = sessions.take().await?;
        let sql = format!("{FOUND} WHERE id = $1 FOR NO KEY UPDATE OF tasks");
        let rows = session.begin_with("", &sql, &[&task.0.as_bytes().as_slice()]).await?;
        let decided = match rows.first() {
            Some(row) => decide(&read_found(row)?),
            None => Err(StoreError::UnknownTask(task)),
        };
        match decided {
            Ok(Some((next, failure, event))) => {
                let (seq, ready) =
                    advance(&session, task, &Move { next, failure: failure.as_ref(), event: &event }).await?;
                if let Some(deadline) = deadline {
                    let sql = "UPDATE tasks SET deadline = $2 WHERE id = $1";
                    session.execute(sql, &[&task.0.as_bytes().as_slice(), &deadline.map(from_deadline)]).await?;
                }
                let moved = require(&session, task).await?;
                session.commit().await?;
                self.tell_moved(&moved, seq, ready);
                Ok((moved, true))
            }
            Ok(None) => {
                let unmoved = require(&session, task).await?;
                session.rollback().await?;
                Ok((unmoved, false))
            }
            Err(error) => {
                session.rollback().await?;
                Err(error.into())
            }
        }
    }

    fn tell_moved(&self, task: &Task, seq: u64, ready: bool) {
        self.tell([Change::Event { task: task.id, owner: task.owner.clone(), seq, state: task.state }]);
        self.tell(task.state.stage().filter(|_| ready).map(Change::Work));
    }
}

/// A step that has ended.
struct Finished {
    task: Task,
    /// Whether the outcome's blob is in the row that was written with it.
    stored: bool,
}

/// Ends a step that goes on, in one statement; `None`, and nothing written, when the task is not held under that fence in
/// that state, or its volume has another version or no more room in its owner's quota.
async fn finish_once(
    session: &Session,
    (task, fence, expected): (TaskId, u64, TaskState),
    next: Next,
    outcome: &StepOutcome,
    blob: Option<&StagedBlob>,
) -> Result<Option<(Finished, u64)>, Fault> {
    let (event, volume) = match outcome {
        StepOutcome::Executed { event, volume, .. } | StepOutcome::Delivered { event, volume, .. } => {
            (event, Some(volume).filter(|volume| !volume.is_empty()))
        }
        StepOutcome::Proved { event, .. }
        | StepOutcome::Postponed { event, .. }
        | StepOutcome::Failed { event, .. } => (event, None),
    };
    let detail = from_json(&event.detail)?;
    let (stage, fence, attempts) = (next.state.stage().map(stage_number), from_bits(fence), i64::from(next.attempts));
    let (id, expected, state) = (task.0.as_bytes().as_slice(), expected.as_str(), next.state.as_str());
    let mut values: Vec<&(dyn tokio_postgres::types::ToSql + Sync)> =
        vec![&id, &fence, &expected, &state, &stage, &attempts, &event.name, &detail];

    let blob_values = blob.map(StagedBlob::values);
    let digest = blob.map(|blob| blob.digest.as_bytes().as_slice());
    let result = match outcome {
        StepOutcome::Delivered { result, .. } => Some(from_json(result)?),
        _ => None,
    };
    let output = match outcome {
        StepOutcome::Proved { output, .. } => Some(output.as_ref()),
        _ => None,
    };
    if let (Some(digest), Some(blob)) = (&digest, &blob_values) {
        values.extend([digest as &(dyn tokio_postgres::types::ToSql + Sync), &blob.size, &blob.content, &blob.object]);
    }
    // Not both, so both have the same place.
    if let Some(result) = &result {
        values.push(result);
    }
    if let Some(output) = &output {
        values.push(output);
    }
    let pages = volume.map(Pages::of);
    let places = values.len();
    if let Some(pages) = &pages {
        values.extend(pages.values());
    }
    let sql = finish_sql(outcome, pages.is_some().then_some(places));
    let Some(row) = session.query_opt(&sql, &values).await? else { return Ok(None) };
    let mut task = tasks::read(&row)?;
    // The statement shows the content as it was before it.
    match outcome {
        StepOutcome::Proved { output, .. } => task.output = Some(output.clone()),
        StepOutcome::Delivered { result, .. } => task.result = Some(result.clone()),
        StepOutcome::Executed { .. } | StepOutcome::Postponed { .. } | StepOutcome::Failed { .. } => {}
    }
    Ok(Some((Finished { task, stored: get(&row, "stored")? }, bits(&row, "seq")?)))
}

/// A step's statement. Where it writes to the volume, `volume` is the number of parameters before those of the write.
fn finish_sql(outcome: &StepOutcome, volume: Option<usize>) -> String {
    let held = "tasks.id = $1 AND tasks.fence = $2 AND tasks.worker IS NOT NULL AND tasks.state = $3";
    let (column, blob) = match outcome {
        StepOutcome::Executed { .. } => (", witness = $9", Some(false)),
        StepOutcome::Proved { .. } => (", proof = $9", Some(true)),
        StepOutcome::Delivered { .. } | StepOutcome::Postponed { .. } | StepOutcome::Failed { .. } => ("", None),
    };
    let moved = format!(
        "UPDATE tasks SET state = $4, stage = $5, ready_at = CASE WHEN $5::smallint IS NULL THEN NULL ELSE 0 END, \
         worker = NULL, attempts = $6, not_before = NULL, updated_at = micros(){column}"
    );
    let mut sql = match volume {
        None => format!("WITH moved AS ({moved} WHERE {held} RETURNING tasks.*)"),
        Some(before) => {
            let written = volumes::written_sql("(SELECT program FROM held)", before);
            // The task first, then the volume: whatever is not as it must be, nothing is written.
            format!(
                "WITH held AS MATERIALIZED (SELECT id, program FROM tasks WHERE {held} FOR NO KEY UPDATE), {written}, \
                 moved AS ({moved} FROM volume WHERE {held} RETURNING tasks.*)"
            )
        }
    };
    if let Some(proof) = blob {
        sql += &format!(
            ", stored AS (INSERT INTO blobs (digest, size, content, object, put_at, suspect) \
                 SELECT $9, $10, $11, $12, micros(), false FROM moved \
                 WHERE $11::bytea IS NOT NULL OR $12::text IS NOT NULL ON CONFLICT (digest) DO NOTHING RETURNING digest), \
             named AS (INSERT INTO task_blobs (digest, task, proof) SELECT $9, id, {proof} FROM moved \
                 ON CONFLICT DO NOTHING)"
        );
    }
    sql += match outcome {
        StepOutcome::Proved { .. } => {
            ", content AS (UPDATE task_content SET output = $13 FROM moved WHERE task_content.task = $1)"
        }
        StepOutcome::Delivered { .. } => {
            ", content AS (UPDATE task_content SET result = $9 FROM moved WHERE task_content.task = $1)"
        }
        StepOutcome::Executed { .. } | StepOutcome::Postponed { .. } | StepOutcome::Failed { .. } => "",
    };
    let stored = if blob.is_some() { "EXISTS (SELECT FROM stored)" } else { "false" };
    sql += &format!(
        ", told AS (INSERT INTO events (task, owner, at, state, name, detail) \
             SELECT id, owner, updated_at, state, $7, $8 FROM moved RETURNING seq) \
         SELECT moved.*, args, payload, output, result, failure, told.seq, {stored} AS stored \
         FROM moved, told, task_content WHERE task_content.task = $1"
    );
    sql
}

/// A volume's write as a statement takes it.
pub(super) struct Pages<'a> {
    based_on: i64,
    raw: Option<&'a [u8]>,
    written: Vec<i64>,
    contents: Vec<&'a [u8]>,
    cleared: Vec<i64>,
    quota: Option<i64>,
}

impl<'a> Pages<'a> {
    pub(super) fn of(write: &'a VolumeWrite) -> Self {
        // One statement can write a page once: of several writes of one, the last counts.
        let last: BTreeMap<_, _> = write.pages.iter().map(|(index, content)| (i64::from(*index), content)).collect();
        let mut pages = Self {
            based_on: from_bits(write.based_on),
            raw: write.raw.as_deref(),
            written: Vec::new(),
            contents: Vec::new(),
            cleared: Vec::new(),
            quota: write.quota.map(bounded),
        };
        for (index, content) in last {
            match content {
                Some(content) => {
                    pages.written.push(index);
                    pages.contents.push(content);
                }
                None => pages.cleared.push(index),
            }
        }
        pages
    }

    /// Pages with their new content.
    pub(super) fn put(&self) -> impl Iterator<Item = (i64, &'a [u8])> {
        self.written.iter().copied().zip(self.contents.iter().copied())
    }

    /// Pages that are all zeros now.
    pub(super) fn cleared(&self) -> &[i64] {
        &self.cleared
    }

    pub(super) fn values(&self) -> [&(dyn tokio_postgres::types::ToSql + Sync); 6] {
        [&self.based_on, &self.raw, &self.written, &self.contents, &self.cleared, &self.quota]
    }
}

/// What kept a step from being written, if that is the volume.
async fn refusal(session: &Session, program: ProgramId, outcome: &StepOutcome) -> Result<Option<StoreError>, Fault> {
    match outcome {
        StepOutcome::Executed { volume, .. } | StepOutcome::Delivered { volume, .. } if !volume.is_empty() => {
            volumes::refusal(session, program, volume).await
        }
        _ => Ok(None),
    }
}

/// A task that was not as a statement needed it, and is a moment later.
pub(super) fn changing(task: TaskId) -> Fault {
    StoreError::Unavailable(format!("task {task} changed while it was written; ask again").into()).into()
}

pub(super) async fn find(session: &Session, task: TaskId, lock: &str) -> Result<Found, Fault> {
    let sql = format!("{FOUND} WHERE id = $1 {lock}");
    let row = session.query_opt(&sql, &[&task.0.as_bytes().as_slice()]).await?;
    read_found(&row.ok_or(StoreError::UnknownTask(task))?)
}

fn read_found(row: &Row) -> Result<Found, Fault> {
    Ok(Found {
        program: ProgramId(bytes(row, "program")?),
        owner: row::owner(row)?,
        failure: json_or_none("a task's failure", row, "failure")?,
        standing: Standing {
            task: task_id(row, "id")?,
            state: row::state(row, "state")?,
            fence: bits(row, "fence")?,
            attempts: small(row, "attempts")?,
            claimed: get(row, "claimed")?,
        },
    })
}

/// Returns the event's number, and whether the task may be claimed at once.
async fn advance(session: &Session, task: TaskId, to: &Move<'_>) -> Result<(u64, bool), Fault> {
    let row = session
        .query_one(
            ADVANCE,
            &[
                &task.0.as_bytes().as_slice(),
                &to.next.state.as_str(),
                &to.next.state.stage().map(stage_number),
                &from_bits(to.next.fence),
                &i64::from(to.next.attempts),
                &to.next.not_before.map(from_deadline),
                &to.failure.map(from_json).transpose()?,
                &to.event.name,
                &from_json(&to.event.detail)?,
            ],
        )
        .await?;
    Ok((bits(&row, "seq")?, get::<Option<i64>>(&row, "ready_at")? == Some(0)))
}
