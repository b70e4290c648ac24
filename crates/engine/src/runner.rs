//! Claims tasks for each stage as places and work allow, and gives every step its lease and its end.

use coprocessor_store::{Change, Claim, Stage, StoreError, Task};
use jiff::Timestamp;
use std::{sync::Arc, time::Duration};
use tokio::sync::{Notify, Semaphore, broadcast::error::RecvError};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{Engine, Inner, failure, failure::StepError, heartbeat::HeldClaim};

/// Longest sleep of a stage that has nothing to do: work is announced, this is for announcements that were lost.
const LOST_WAKE_UP: Duration = Duration::from_secs(5);

/// Wait after the store failed to give work.
const STORE_TROUBLE: Duration = Duration::from_secs(1);

/// Times a step is done again at once because its volume was written to meanwhile.
const CONFLICTS: u32 = 8;

/// An engine at work.
pub struct Running {
    stop: CancellationToken,
    steps: TaskTracker,
}

impl Engine {
    /// Begins to work on tasks: those left by an earlier process first.
    ///
    /// # Errors
    /// The heartbeat's thread could not be started.
    pub fn start(&self) -> std::io::Result<Running> {
        let running = Running { stop: CancellationToken::new(), steps: TaskTracker::new() };
        self.inner.claims.start(running.stop.clone())?;
        let wakers: Arc<[Notify; 3]> = Arc::new(std::array::from_fn(|_| Notify::new()));
        tokio::spawn(listen(Arc::clone(&self.inner), Arc::clone(&wakers), running.stop.clone()));
        let workers = self.inner.config.workers;
        for (stage, places) in [
            (Stage::Execute, workers.controllers),
            (Stage::Prove, workers.proofs),
            (Stage::Deliver, workers.controllers),
        ] {
            let dispatcher = Dispatcher {
                inner: Arc::clone(&self.inner),
                stage,
                places: Arc::new(Semaphore::new(places)),
                wakers: Arc::clone(&wakers),
                stop: running.stop.clone(),
                steps: running.steps.clone(),
            };
            tokio::spawn(dispatcher.run());
        }
        Ok(running)
    }
}

impl Running {
    /// Claims nothing more and waits for the steps that run, but not longer than `patience`. What is not finished by then
    /// is left to its lease and goes on in the next process.
    pub async fn stop(self, patience: Duration) {
        self.stop.cancel();
        self.steps.close();
        if tokio::time::timeout(patience, self.steps.wait()).await.is_err() {
            tracing::info!(steps = self.steps.len(), "stopping with steps unfinished; they go on after the restart");
        }
    }
}

async fn listen(inner: Arc<Inner>, wakers: Arc<[Notify; 3]>, stop: CancellationToken) {
    let mut changes = inner.store.changes();
    loop {
        let change = tokio::select! {
            () = stop.cancelled() => return,
            change = changes.recv() => change,
        };
        match change {
            Ok(Change::Work(stage)) => wakers[place(stage)].notify_one(),
            Ok(Change::Event { .. }) => {}
            Err(RecvError::Lagged(_)) => wakers.iter().for_each(Notify::notify_one),
            Err(RecvError::Closed) => return,
        }
    }
}

const fn place(stage: Stage) -> usize {
    match stage {
        Stage::Execute => 0,
        Stage::Prove => 1,
        Stage::Deliver => 2,
    }
}

struct Dispatcher {
    inner: Arc<Inner>,
    stage: Stage,
    places: Arc<Semaphore>,
    wakers: Arc<[Notify; 3]>,
    stop: CancellationToken,
    steps: TaskTracker,
}

impl Dispatcher {
    async fn run(self) {
        loop {
            let place = tokio::select! {
                () = self.stop.cancelled() => return,
                place = Arc::clone(&self.places).acquire_owned() => place,
            };
            let Ok(place) = place else { return };
            let Some(claim) = self.next().await else { return };
            let inner = Arc::clone(&self.inner);
            self.steps.spawn(async move {
                step(&inner, claim).await;
                drop(place);
            });
        }
    }

    /// The next task, as soon as there is one; `None` when stopping.
    async fn next(&self) -> Option<Claim> {
        loop {
            if self.stop.is_cancelled() {
                return None;
            }
            let pause = match self.claim().await {
                Ok(Some(claim)) => return Some(claim),
                Ok(None) => self.until_ready().await,
                Err(error) => {
                    tracing::error!(stage = self.stage.as_str(), %error, "no work can be claimed; will try again");
                    STORE_TROUBLE
                }
            };
            tokio::select! {
                () = self.stop.cancelled() => return None,
                () = self.wakers[place(self.stage)].notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    async fn claim(&self) -> Result<Option<Claim>, StoreError> {
        let config = &self.inner.config;
        self.inner.store.claim(self.stage, &config.worker, config.lease).await
    }

    /// How long until a postponed task or an expired lease is due.
    async fn until_ready(&self) -> Duration {
        match self.inner.store.next_ready(self.stage).await {
            Ok(Some(ready)) => {
                let left = ready.duration_since(Timestamp::now());
                if left.is_negative() { Duration::from_millis(1) } else { left.unsigned_abs().min(LOST_WAKE_UP) }
            }
            Ok(None) => LOST_WAKE_UP,
            Err(_) => STORE_TROUBLE,
        }
    }
}

/// One step of one task, from claim to end.
async fn step(inner: &Arc<Inner>, claim: Claim) {
    let Claim { task, stage, .. } = claim;
    let held = inner.claims.hold(task.id, task.fence);
    let mut conflicts = 0;
    let error = loop {
        match attempt(inner, &task, stage, &held).await {
            Ok(()) => return,
            // Somebody else was faster; nothing was written, and the claim still holds.
            Err(StepError::VolumeConflict) if conflicts < CONFLICTS => conflicts += 1,
            Err(error) => break error,
        }
    };
    report(&task, stage, &error);
    if let Some(outcome) = failure::outcome(&task, stage, &error, &inner.config.retry)
        && let Err(error) = inner.store.finish_step(task.id, task.fence, outcome).await
        && !matches!(error, StoreError::StaleFence { .. })
    {
        tracing::error!(task = %task.id, stage = stage.as_str(), %error, "the end of a step could not be written; its lease will run out");
    }
}

/// Does what the stage is for, and writes what came of it.
async fn attempt(inner: &Arc<Inner>, task: &Task, stage: Stage, held: &HeldClaim) -> Result<(), StepError> {
    let _turn = match stage {
        // Until its writes are in, no other entrypoint of the program needs to begin.
        Stage::Deliver => Some(tokio::select! {
            () = held.ended() => return Err(StepError::Superseded),
            turn = inner.turns.take(task.program) => turn,
        }),
        Stage::Execute | Stage::Prove => None,
    };
    let outcome = match stage {
        Stage::Execute => inner.execute(task, held).await,
        Stage::Prove => inner.prove(task, held).await,
        Stage::Deliver => inner.deliver(task, held).await,
    }?;
    inner.store.finish_step(task.id, task.fence, outcome).await?;
    Ok(())
}

fn report(task: &Task, stage: Stage, error: &StepError) {
    let (task, stage) = (task.id, stage.as_str());
    match error {
        StepError::Deterministic(reason) => {
            tracing::info!(%task, stage, code = reason.code, message = reason.message, "task failed");
        }
        StepError::Transient(reason) => {
            tracing::warn!(%task, stage, code = reason.code, message = reason.message, "step failed; may be tried again");
        }
        StepError::Waiting(reason) => {
            tracing::debug!(%task, stage, code = reason.code, message = reason.message, "task waits");
        }
        StepError::VolumeConflict => tracing::debug!(%task, stage, "the volume kept changing; the task waits"),
        StepError::Superseded => tracing::debug!(%task, stage, "claim superseded; nothing written"),
        StepError::Store(error) => tracing::error!(%task, stage, %error, "step failed in the store"),
    }
}
