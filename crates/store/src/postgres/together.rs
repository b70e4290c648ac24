//! Steps that end at the same moment, written by one statement.
//!
//! Most of what a statement costs is setting it up, so under load it pays to let steps that end while another statement runs
//! wait for it and share the next. An idle database gets each at once. Only what is always the same is shared: a step that goes
//! on to the next stage, with a small blob, and writes nothing to its volume. What the shared statement leaves out (a stale
//! claim, a row that somebody else holds just now) is done by itself, and says then what is the matter.

use super::{
    Inner,
    connect::{Session, Values},
    fault::Fault,
    row::{bits, from_bits, from_json, stage_number},
    tasks,
};
use crate::{StepOutcome, StoreError, Task, TaskState, task::transition::Next};
use bytes::Bytes;
use coprocessor_types::{BlobDigest, TaskId};
use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};
use tokio::sync::oneshot;

/// Steps in one statement.
const MOST: usize = 64;

const FINISH: &str = "
WITH held AS MATERIALIZED (
    SELECT step.* FROM unnest($1::bytea[], $2::bigint[], $3::text[], $4::text[], $5::smallint[], $6::text[], $7::text[],
            $8::bytea[], $9::bytea[], $10::boolean[], $11::bytea[])
        AS step (id, fence, expected, state, stage, name, detail, digest, content, proof, output)
    JOIN tasks ON tasks.id = step.id
    WHERE tasks.fence = step.fence AND tasks.worker IS NOT NULL AND tasks.state = step.expected
    FOR NO KEY UPDATE OF tasks SKIP LOCKED
), moved AS (
    UPDATE tasks SET state = held.state, stage = held.stage, ready_at = 0, worker = NULL, attempts = 0, not_before = NULL,
        witness = CASE WHEN held.proof THEN tasks.witness ELSE held.digest END,
        proof = CASE WHEN held.proof THEN held.digest ELSE tasks.proof END, updated_at = micros()
    FROM held WHERE tasks.id = held.id RETURNING tasks.*
), stored AS (
    INSERT INTO blobs (digest, size, content, put_at, suspect)
    SELECT DISTINCT ON (digest) digest, octet_length(content), content, micros(), false FROM held ORDER BY digest
    ON CONFLICT (digest) DO NOTHING
), named AS (
    INSERT INTO task_blobs (digest, task, proof) SELECT digest, id, proof FROM held ON CONFLICT DO NOTHING
), content AS (
    UPDATE task_content SET output = held.output FROM held WHERE held.proof AND task_content.task = held.id
), told AS (
    INSERT INTO events (task, owner, at, state, name, detail)
    SELECT held.id, moved.owner, moved.updated_at, moved.state, held.name, held.detail FROM held JOIN moved USING (id)
    RETURNING seq, task
)
SELECT moved.*, args, payload, task_content.output, result, failure, told.seq
FROM moved JOIN told ON told.task = moved.id JOIN task_content ON task_content.task = moved.id";

/// A step that may share a statement.
#[derive(Debug)]
pub(super) struct Step {
    task: TaskId,
    fence: u64,
    expected: TaskState,
    next: Next,
    name: String,
    detail: String,
    blob: (BlobDigest, Bytes),
    /// Of a proof.
    output: Option<Bytes>,
}

/// A step and who waits for it. The answer is the task as it is then with its event's number; `None` when nothing was written.
type Waiting = (Step, oneshot::Sender<Option<(Task, u64)>>);

/// Where steps wait for each other.
#[derive(Default)]
pub(super) struct Together {
    waiting: Mutex<Vec<Waiting>>,
    /// Held by whoever writes what waits.
    leading: tokio::sync::Mutex<()>,
}

impl Step {
    /// `None` when the outcome has to be written by itself.
    pub(super) fn of(
        (task, fence, expected): (TaskId, u64, TaskState),
        next: Next,
        outcome: &StepOutcome,
        inline: impl Fn(usize) -> bool,
    ) -> Result<Option<Self>, Fault> {
        let (content, event, output) = match outcome {
            StepOutcome::Executed { witness, volume, event } if volume.is_empty() => (witness, event, None),
            StepOutcome::Proved { proof, output, event } => (proof, event, Some(output.clone())),
            StepOutcome::Executed { .. }
            | StepOutcome::Delivered { .. }
            | StepOutcome::Postponed { .. }
            | StepOutcome::Failed { .. } => return Ok(None),
        };
        if !inline(content.len()) {
            return Ok(None);
        }
        let (name, detail) = (event.name.clone(), from_json(&event.detail)?);
        let blob = (BlobDigest::of(content), content.clone());
        Ok(Some(Self { task, fence, expected, next, name, detail, blob, output }))
    }
}

impl Together {
    fn waiting(&self) -> MutexGuard<'_, Vec<Waiting>> {
        // Nothing that is done under the lock can leave it half changed.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those to write now, no task twice.
    fn take(&self) -> Vec<Waiting> {
        let mut waiting = self.waiting();
        let mut taken: Vec<Waiting> = Vec::new();
        let mut left = Vec::new();
        for step in waiting.drain(..) {
            // Whoever no longer waits has given up.
            if step.1.is_closed() {
                continue;
            }
            let room = taken.len() < MOST && taken.iter().all(|(other, _)| other.task != step.0.task);
            if room { taken.push(step) } else { left.push(step) }
        }
        *waiting = left;
        taken
    }
}

impl Inner {
    /// Writes a step with those that end just now. `None` when it was not written and is to be tried by itself.
    pub(super) async fn finish_together(&self, step: Step) -> Result<Option<(Task, u64)>, Fault> {
        let (answer, mut answered) = oneshot::channel();
        self.together.waiting().push((step, answer));
        loop {
            let leading = tokio::select! {
                biased;
                answered = &mut answered => return answered.map_err(|_| unknown()),
                leading = self.together.leading.lock() => leading,
            };
            // Those that are about to come, come along.
            tokio::task::yield_now().await;
            let steps = self.together.take();
            if !steps.is_empty() {
                self.write_together(steps).await?;
            }
            drop(leading);
        }
    }

    /// Answers all of them, but where nobody knows whether they were written.
    async fn write_together(&self, steps: Vec<Waiting>) -> Result<(), Fault> {
        let session = self.quick.take().await?;
        let mut written = match finish(&session, &steps).await {
            Ok(written) => written,
            Err(fault) if fault.is_lost() => return Err(fault),
            // Nothing was written. Whose fault it is shows when each is tried.
            Err(fault) => {
                tracing::debug!(?fault, steps = steps.len(), "steps are written one by one");
                HashMap::new()
            }
        };
        drop(session);
        for (step, answer) in steps {
            // Whoever has given up meanwhile finds the step done when it asks.
            let _ = answer.send(written.remove(&step.task));
        }
        Ok(())
    }
}

async fn finish(session: &Session, steps: &[Waiting]) -> Result<HashMap<TaskId, (Task, u64)>, Fault> {
    fn each<'a, T>(steps: &'a [Waiting], part: impl Fn(&'a Step) -> T) -> Vec<T> {
        steps.iter().map(|(step, _)| part(step)).collect()
    }
    let values: Values<'_> = &[
        &each(steps, |step| step.task.0.as_bytes().as_slice()),
        &each(steps, |step| from_bits(step.fence)),
        &each(steps, |step| step.expected.as_str()),
        &each(steps, |step| step.next.state.as_str()),
        &each(steps, |step| step.next.state.stage().map(stage_number)),
        &each(steps, |step| step.name.as_str()),
        &each(steps, |step| step.detail.as_str()),
        &each(steps, |step| step.blob.0.as_bytes().as_slice()),
        &each(steps, |step| step.blob.1.as_ref()),
        &each(steps, |step| step.output.is_some()),
        &each(steps, |step| step.output.as_deref()),
    ];
    let mut written = HashMap::new();
    for row in session.query(FINISH, values).await? {
        let mut task = tasks::read(&row)?;
        // The statement shows the content as it was before it.
        if let Some((step, _)) = steps.iter().find(|(step, _)| step.task == task.id)
            && let Some(output) = &step.output
        {
            task.output = Some(output.clone());
        }
        written.insert(task.id, (task, bits(&row, "seq")?));
    }
    Ok(written)
}

/// Whoever wrote the step has ended before it could tell.
fn unknown() -> Fault {
    StoreError::Unavailable("the connection was lost while the step was written; ask again".into()).into()
}
