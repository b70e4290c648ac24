//! Leases: kept alive by a thread of its own, so that a busy service does not lose its claims.

use coprocessor_store::Store;
use coprocessor_types::TaskId;
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// The claims this process holds.
#[derive(Clone)]
pub(crate) struct Claims {
    shared: Arc<Shared>,
}

struct Shared {
    store: Arc<dyn Store>,
    lease: Duration,
    held: Mutex<HashMap<TaskId, Held>>,
    /// Somebody heard that a claim may be over.
    suspicion: Notify,
}

struct Held {
    fence: u64,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    ended: CancellationToken,
    /// The step's end is being written: that the task moves on is what it is waiting for.
    ending: AtomicBool,
}

/// A claim that is kept alive until dropped.
pub(crate) struct HeldClaim {
    shared: Arc<Shared>,
    task: TaskId,
    fence: u64,
    state: Arc<State>,
}

impl Claims {
    pub(crate) fn new(store: Arc<dyn Store>, lease: Duration) -> Self {
        let shared = Shared { store, lease, held: Mutex::default(), suspicion: Notify::new() };
        Self { shared: Arc::new(shared) }
    }

    /// Starts the thread; it ends when `stop` is cancelled. It has a runtime of its own: leases are prolonged even while all of
    /// the service's threads are taken.
    pub(crate) fn start(&self, stop: CancellationToken) -> std::io::Result<()> {
        let shared = Arc::clone(&self.shared);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new()
            .name("lease-heartbeat".into())
            .spawn(move || runtime.block_on(stop.run_until_cancelled(shared.keep_alive())))?;
        Ok(())
    }

    /// Keeps a claim alive from now on.
    pub(crate) fn hold(&self, task: TaskId, fence: u64) -> HeldClaim {
        let state = Arc::<State>::default();
        self.shared.held().insert(task, Held { fence, state: Arc::clone(&state) });
        HeldClaim { shared: Arc::clone(&self.shared), task, fence, state }
    }

    /// Tells whoever works on the task in this process that its claim is over. For who knows.
    pub(crate) fn end(&self, task: TaskId) {
        if let Some(held) = self.shared.held().get(&task) {
            held.state.ended.cancel();
        }
    }

    /// Asks the store at once whether the claim is over. For who heard that the task has finished: that may have been under an
    /// earlier claim.
    pub(crate) fn suspect(&self, task: TaskId) {
        let held = self.shared.held().get(&task).is_some_and(|held| !held.state.ending.load(Ordering::Acquire));
        if held {
            self.shared.suspicion.notify_one();
        }
    }

    /// Asks the store at once which claims are over.
    pub(crate) fn suspect_all(&self) {
        self.shared.suspicion.notify_one();
    }

    /// What is held now, each task with its fence.
    pub(crate) fn all(&self) -> Vec<(TaskId, u64)> {
        self.shared.all()
    }
}

impl Shared {
    fn held(&self) -> MutexGuard<'_, HashMap<TaskId, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn all(&self) -> Vec<(TaskId, u64)> {
        self.held().iter().map(|(task, held)| (*task, held.fence)).collect()
    }

    async fn keep_alive(&self) {
        let mut pause = self.lease / 3;
        loop {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.suspicion.notified() => {}
            }
            // A store that fails is asked more often, so that leases hold as soon as it is back.
            pause = if self.beat().await { self.lease / 3 } else { self.lease / 10 };
        }
    }

    /// Prolongs every lease. False when the store did not answer.
    async fn beat(&self) -> bool {
        let claims = self.all();
        if claims.is_empty() {
            return true;
        }
        let beat = tokio::time::timeout(self.lease / 3, self.store.heartbeat(&claims, self.lease));
        match beat.await {
            Ok(Ok(over)) => {
                self.end(&over);
                true
            }
            Ok(Err(error)) => {
                tracing::warn!(claims = claims.len(), %error, "leases could not be prolonged; will try again");
                false
            }
            Err(_) => {
                tracing::warn!(claims = claims.len(), "leases could not be prolonged in time; will try again");
                false
            }
        }
    }

    fn end(&self, over: &[(TaskId, u64)]) {
        let held = self.held();
        for (task, fence) in over {
            // A claim that was taken since the store was asked is another one.
            if let Some(held) = held.get(task).filter(|held| held.fence == *fence) {
                held.state.ended.cancel();
            }
        }
    }
}

impl HeldClaim {
    /// Resolves when the claim is over: the task finished or was cancelled, or another worker has it.
    pub(crate) async fn ended(&self) {
        self.state.ended.cancelled().await;
    }

    /// Whether it is over.
    pub(crate) fn has_ended(&self) -> bool {
        self.state.ended.is_cancelled()
    }

    /// Whether the step's end is being written.
    pub(crate) fn set_ending(&self, ending: bool) {
        self.state.ending.store(ending, Ordering::Release);
    }
}

impl Drop for HeldClaim {
    fn drop(&mut self) {
        let mut held = self.shared.held();
        if held.get(&self.task).is_some_and(|held| held.fence == self.fence) {
            held.remove(&self.task);
        }
    }
}
