//! Claims tasks for each stage as places and work allow.

use coprocessor_store::{Change, Claim, EventKind, Stage, StepOutcome, StoreError};
use jiff::Timestamp;
use serde_json::json;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore, broadcast::error::RecvError},
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{Engine, EngineError, Inner, owners::watch_accounts, place::Place, step, webhooks::spawn_webhooks};

/// Longest sleep of a stage that has nothing to do: work is announced, this is for announcements that were lost.
const LOST_WAKE_UP: Duration = Duration::from_secs(5);

/// Wait after the store failed to give work.
const STORE_TROUBLE: Duration = Duration::from_secs(1);

/// After a claim the next one waits for so many times as long as that one took: the dearer claims are, the more tasks share one.
/// An idle worker is not held up by it.
const GATHER: u32 = 4;
const LONGEST_GATHER: Duration = Duration::from_millis(20);

/// A stage without work asks what will be due only when none was announced for this long.
const SETTLE: Duration = Duration::from_millis(20);

/// Tasks claimed for each controller that can run at once, as long as their steps are quick: while one is being written, the
/// next one runs.
const CLAIMED_AHEAD: usize = 8;

/// Steps that take longer than this on average are not claimed ahead: another coprocessor may have a place for them.
const QUICK: Duration = Duration::from_millis(50);

/// How long handing unfinished tasks back may take at the end.
const HAND_BACK: Duration = Duration::from_secs(2);

/// An engine at work.
pub struct Running {
    inner: Arc<Inner>,
    stop: CancellationToken,
    /// Stops later than the rest: leases hold until the last step has ended.
    stop_heartbeat: CancellationToken,
    steps: TaskTracker,
}

impl Engine {
    /// Begins to work on tasks: those left by an earlier process first.
    ///
    /// # Errors
    /// The heartbeat's thread could not be started, or no client for outgoing requests could be made.
    pub fn start(&self) -> Result<Running, EngineError> {
        let inner = &self.inner;
        let running = Running {
            inner: Arc::clone(inner),
            stop: CancellationToken::new(),
            stop_heartbeat: CancellationToken::new(),
            steps: TaskTracker::new(),
        };
        let heartbeat = inner.claims.start(running.stop_heartbeat.clone());
        heartbeat
            .map_err(|error| EngineError::Internal(format!("the heartbeat's thread cannot be started: {error}")))?;
        spawn_webhooks(inner, running.stop.clone(), running.steps.clone())?;
        watch_accounts(Arc::clone(inner), running.stop.clone());
        let wakers: Wakers = Arc::new(std::array::from_fn(|_| Notify::new()));
        let until = |work| running.stop.clone().run_until_cancelled_owned(work);
        tokio::spawn(until(Box::pin(listen(Arc::clone(inner), Arc::clone(&wakers))) as Loop));
        tokio::spawn(until(Box::pin(inner.provers.clone().keep_fresh())));
        tokio::spawn(until(Box::pin(Arc::clone(inner).collect_regularly())));
        tokio::spawn(until(Box::pin(Arc::clone(inner).watch_storage())));
        tokio::spawn(until(Box::pin(Arc::clone(inner).end_overdue())));
        for stage in Stage::ALL.into_iter().filter(|_| inner.config.works) {
            let dispatcher = Dispatcher::new(inner, stage, &wakers, &running);
            tokio::spawn(dispatcher.run());
        }
        Ok(running)
    }
}

/// One for each stage.
pub(crate) type Wakers = Arc<[Notify; 3]>;

type Loop = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

impl Running {
    /// Claims nothing more and waits for the steps that run, but not longer than `patience`. What is not finished by then
    /// is handed back: another coprocessor goes on with it at once, or this one after its restart.
    pub async fn stop(self, patience: Duration) {
        self.stop.cancel();
        self.steps.close();
        if tokio::time::timeout(patience, self.steps.wait()).await.is_err() {
            tracing::info!(steps = self.steps.len(), "stopping with steps unfinished; their tasks are handed back");
            if tokio::time::timeout(HAND_BACK, self.hand_back()).await.is_err() {
                tracing::warn!("not all tasks could be handed back in time; their leases run out");
            }
        }
        self.stop_heartbeat.cancel();
    }

    async fn hand_back(&self) {
        let detail = json!({"worker": self.inner.config.worker});
        let back = self.inner.claims.all().into_iter().map(|(task, fence)| {
            let event = EventKind { name: "handed_back".into(), detail: detail.clone() };
            let outcome = StepOutcome::Postponed { until: Timestamp::now(), counts: false, event };
            self.inner.store.finish_step(task, fence, outcome)
        });
        for result in futures::future::join_all(back).await {
            // A stale fence: its step ended just now.
            if let Err(error) = result
                && !matches!(error, StoreError::StaleFence { .. })
            {
                tracing::warn!(%error, "a task could not be handed back; its lease runs out");
            }
        }
    }
}

/// Hands what the store announces to those who wait for it.
async fn listen(inner: Arc<Inner>, wakers: Wakers) {
    let mut changes = inner.store.changes();
    loop {
        match changes.recv().await {
            Ok(Change::Work(stage)) => wakers[place(stage)].notify_one(),
            Ok(Change::Event { task, state, .. }) if state.is_finished() => inner.claims.suspect(task),
            Ok(Change::Provers) => inner.provers.reload_soon(),
            Ok(Change::Domains) => inner.newest.forget(),
            Ok(Change::Event { .. } | Change::Accounts | Change::Delivery) => {}
            Err(RecvError::Lagged(_)) => {
                wakers.iter().for_each(Notify::notify_one);
                inner.claims.suspect_all();
                inner.provers.reload_soon();
                inner.newest.forget();
            }
            Err(RecvError::Closed) => return,
        }
    }
}

/// Has the stage's dispatcher look whether there is something to do.
pub(crate) fn wake(wakers: &Wakers, stage: Stage) {
    wakers[place(stage)].notify_one();
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
    /// One for each task that may be claimed at once.
    places: Arc<Semaphore>,
    /// How many there are.
    all_places: usize,
    /// How many are given out while steps are slow.
    slow_places: usize,
    pace: Arc<Pace>,
    wakers: Wakers,
    stop: CancellationToken,
    steps: TaskTracker,
}

impl Dispatcher {
    fn new(inner: &Arc<Inner>, stage: Stage, wakers: &Wakers, running: &Running) -> Self {
        let workers = inner.config.workers;
        let (all_places, slow_places) = match stage {
            Stage::Execute | Stage::Deliver => (workers.controllers * CLAIMED_AHEAD, workers.controllers),
            // Proofs are made elsewhere: here they only wait.
            Stage::Prove => (workers.proofs, workers.proofs),
        };
        Self {
            inner: Arc::clone(inner),
            stage,
            places: Arc::new(Semaphore::new(all_places)),
            all_places,
            slow_places,
            pace: Arc::default(),
            wakers: Arc::clone(wakers),
            stop: running.stop.clone(),
            steps: running.steps.clone(),
        }
    }

    async fn run(self) {
        while !self.stop.is_cancelled() {
            let Some(mut places) = self.free_places().await else {
                self.pause(LOST_WAKE_UP).await;
                continue;
            };
            let wanted = places.num_permits();
            let began = Instant::now();
            match self.claim(wanted).await {
                Ok(claims) => {
                    let ended = Instant::now();
                    let more = claims.len() == wanted;
                    for claim in claims {
                        if let Some(place) = places.split(1) {
                            self.begin(claim, place);
                        }
                    }
                    drop(places);
                    if !more {
                        self.idle().await;
                    }
                    // What comes meanwhile, and what room is made, is for one claim.
                    let gathered = ended + ((ended - began) * GATHER).min(LONGEST_GATHER);
                    self.stop.run_until_cancelled(tokio::time::sleep_until(gathered)).await;
                }
                Err(error) => {
                    tracing::error!(stage = self.stage.as_str(), %error, "no work can be claimed; will try again");
                    drop(places);
                    self.pause(STORE_TROUBLE).await;
                }
            }
        }
    }

    /// All places that may be taken now, at least one; `None` when that is to be asked again once a step has ended.
    async fn free_places(&self) -> Option<OwnedSemaphorePermit> {
        let mut places = tokio::select! {
            () = self.stop.cancelled() => return None,
            place = Arc::clone(&self.places).acquire_owned() => place.ok()?,
        };
        let allowed = if self.pace.is_quick() { self.all_places } else { self.slow_places };
        let taken = self.all_places - self.places.available_permits() - 1;
        let more = allowed.checked_sub(taken + 1)?;
        if let Ok(rest) = Arc::clone(&self.places).try_acquire_many_owned(u32::try_from(more).unwrap_or(u32::MAX)) {
            places.merge(rest);
        }
        Some(places)
    }

    fn begin(&self, claim: Claim, place: OwnedSemaphorePermit) {
        let (inner, places) = (Arc::clone(&self.inner), Arc::clone(&self.places));
        let place = Place::new(self.stage, place, places, Arc::clone(&self.pace), Arc::clone(&self.wakers));
        self.steps.spawn(async move {
            let began = Instant::now();
            step::run(&inner, claim, &place).await;
            place.end(began.elapsed());
        });
    }

    async fn claim(&self, limit: usize) -> Result<Vec<Claim>, StoreError> {
        let config = &self.inner.config;
        self.inner.store.claim(self.stage, &config.worker, config.lease, limit).await
    }

    /// Waits until there may be work.
    async fn idle(&self) {
        if !self.pause(SETTLE).await {
            let pause = self.until_ready().await;
            self.pause(pause).await;
        }
    }

    /// Waits until work is announced (true) or the time is over.
    async fn pause(&self, longest: Duration) -> bool {
        tokio::select! {
            () = self.stop.cancelled() => true,
            () = self.wakers[place(self.stage)].notified() => true,
            () = tokio::time::sleep(longest) => false,
        }
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

/// How long a stage's steps take of late.
#[derive(Default)]
pub(crate) struct Pace {
    /// The moving average in microseconds.
    micros: AtomicU64,
}

impl Pace {
    /// Two at once may lose one of them: it is only an estimate.
    pub(crate) fn add(&self, took: Duration) {
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let average = self.micros.load(Ordering::Relaxed);
        self.micros.store(average - average / 8 + took / 8, Ordering::Relaxed);
    }

    pub(crate) fn is_quick(&self) -> bool {
        u128::from(self.micros.load(Ordering::Relaxed)) < QUICK.as_micros()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_follows_what_steps_take() {
        let pace = Pace::default();
        assert!(pace.is_quick());
        (0..8).for_each(|_| pace.add(Duration::from_millis(200)));
        assert!(!pace.is_quick());
        (0..64).for_each(|_| pace.add(Duration::from_millis(1)));
        assert!(pace.is_quick());
    }
}
