//! One step of one task, from claim to end.

use coprocessor_store::{Claim, Stage, StepOutcome, StoreError, Task};
use serde_json::Value;
use std::{sync::Arc, time::Duration};
use tokio::sync::OwnedMutexGuard;

use crate::{
    Inner, failure,
    failure::StepError,
    heartbeat::HeldClaim,
    place::Place,
    turns::{conflict_pause, jitter},
};

/// Times a step is done again at once because its volume was written to meanwhile.
const CONFLICTS: u32 = 8;

/// How long an entrypoint waits for those before it on its volume, before it may have to make place for another program's.
const TURN: Duration = Duration::from_millis(500);

/// First wait before an end is written again that the store did not take; doubles up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// Does what the task was claimed for and writes what came of it.
pub(crate) async fn run(inner: &Arc<Inner>, claim: Claim, place: &Place) {
    let Claim { task, stage, .. } = claim;
    let held = inner.claims.hold(task.id, task.fence);
    let mut conflicts = 0;
    let error = loop {
        match attempt(inner, &task, stage, &held, place).await {
            Ok(()) => return,
            // Somebody else was faster; nothing was written, and the claim still holds.
            Err(StepError::VolumeConflict) if conflicts < CONFLICTS && !held.has_ended() => {
                conflicts += 1;
                conflict_pause(conflicts).await;
            }
            Err(error) => break error,
        }
    };
    report(&task, stage, &error);
    let Some(outcome) = failure::outcome(&task, stage, &error, &inner.config.retry) else { return };
    match inner.finish(&task, &held, outcome).await {
        Ok(_) | Err(StoreError::StaleFence { .. } | StoreError::UnknownTask(_)) => {}
        Err(error) => {
            tracing::error!(
                task = %task.id, stage = stage.as_str(), %error,
                "the end of a step could not be written; its lease will run out"
            );
        }
    }
}

async fn attempt(
    inner: &Arc<Inner>,
    task: &Task,
    stage: Stage,
    held: &HeldClaim,
    place: &Place,
) -> Result<(), StepError> {
    let _turn = match stage {
        // Until its writes are in, no other entrypoint of the program needs to begin.
        Stage::Deliver => Some(turn(inner, task, held, place).await?),
        Stage::Execute | Stage::Prove => None,
    };
    let outcome = match stage {
        Stage::Execute => inner.execute(task, held, place).await,
        Stage::Prove => inner.prove(task, held).await,
        Stage::Deliver => inner.deliver(task, held, place).await,
    }?;
    inner.handover.keep(task.id, &outcome);
    let account = account(&outcome);
    match inner.finish(task, held, outcome).await.map_err(StepError::from) {
        Ok(_) => Ok(()),
        Err(StepError::NoRoom(reason)) => {
            let kept = ["log", "usage"].into_iter().filter(|key| account.get(key).is_some());
            Err(StepError::NoRoom(kept.fold(reason, |reason, key| reason.with(key, account[key].clone()))))
        }
        Err(error) => Err(error),
    }
}

/// What is told of a run that wrote to its volume, which may yet be refused for that.
fn account(outcome: &StepOutcome) -> Value {
    match outcome {
        StepOutcome::Executed { volume, event, .. } | StepOutcome::Delivered { volume, event, .. }
            if !volume.is_empty() =>
        {
            event.detail.clone()
        }
        _ => Value::Null,
    }
}

/// Waits for the task's turn on its program's volume; not for long where tasks of other programs may wait for its place.
async fn turn(
    inner: &Arc<Inner>,
    task: &Task,
    held: &HeldClaim,
    place: &Place,
) -> Result<OwnedMutexGuard<()>, StepError> {
    let mut turn = std::pin::pin!(inner.turns.take(task.program));
    loop {
        tokio::select! {
            () = held.ended() => return Err(StepError::Superseded),
            turn = turn.as_mut() => return Ok(turn),
            () = tokio::time::sleep(TURN) => {
                if place.is_wanted() {
                    return Err(StepError::VolumeBusy);
                }
            }
        }
    }
}

impl Inner {
    /// Writes the end of a step, and again while the store cannot take it: what was done need not be done again. An end that was
    /// written but whose answer was lost shows as a stale fence.
    pub(crate) async fn finish(&self, task: &Task, held: &HeldClaim, outcome: StepOutcome) -> Result<Task, StoreError> {
        held.set_ending(true);
        let written = self.write_end(task, held, outcome).await;
        held.set_ending(false);
        written
    }

    async fn write_end(&self, task: &Task, held: &HeldClaim, outcome: StepOutcome) -> Result<Task, StoreError> {
        let mut wait = FIRST_WAIT;
        loop {
            let error = match self.store.finish_step(task.id, task.fence, outcome.clone()).await {
                Ok(task) => return Ok(task),
                Err(error) if matches!(error, StoreError::Closed) || !failure::passes(&error) => return Err(error),
                Err(error) => error,
            };
            if held.has_ended() {
                return Err(StoreError::StaleFence { task: task.id, fence: task.fence });
            }
            if matches!(error, StoreError::Full) {
                self.storage_is_full();
            }
            tracing::debug!(task = %task.id, %error, "the end of a step was not taken; it will be written again");
            tokio::time::sleep(wait.mul_f64(0.5 + jitter() / 2.0)).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }
}

fn report(task: &Task, stage: Stage, error: &StepError) {
    let (task, stage) = (task.id, stage.as_str());
    match error {
        StepError::Deterministic(reason) | StepError::NoRoom(reason) => {
            tracing::info!(%task, stage, code = reason.code, message = reason.message, "task failed");
        }
        StepError::Transient(reason) | StepError::Slow(reason) => {
            tracing::warn!(%task, stage, code = reason.code, message = reason.message, "step failed; may be tried again");
        }
        StepError::Waiting(reason) => {
            tracing::debug!(%task, stage, code = reason.code, message = reason.message, "task waits");
        }
        StepError::VolumeConflict | StepError::VolumeBusy => {
            tracing::debug!(%task, stage, "others write to the volume; the task waits");
        }
        StepError::Superseded => tracing::debug!(%task, stage, "claim superseded; nothing written"),
        StepError::Store(error) if failure::passes(error) => {
            tracing::debug!(%task, stage, %error, "the store is away; the task waits");
        }
        StepError::Store(error) => tracing::error!(%task, stage, %error, "step failed in the store"),
    }
}
