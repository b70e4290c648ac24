//! Leases: kept alive by a thread of its own, so that a busy service does not lose its claims.

use coprocessor_store::{Store, StoreError};
use coprocessor_types::TaskId;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
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
}

struct Held {
    fence: u64,
    ended: CancellationToken,
}

/// A claim that is kept alive until dropped.
pub(crate) struct HeldClaim {
    shared: Arc<Shared>,
    task: TaskId,
    fence: u64,
    ended: CancellationToken,
}

impl Claims {
    pub(crate) fn new(store: Arc<dyn Store>, lease: Duration) -> Self {
        Self { shared: Arc::new(Shared { store, lease, held: Mutex::default() }) }
    }

    /// Starts the thread; it ends when `stop` is cancelled.
    pub(crate) fn start(&self, stop: CancellationToken) -> std::io::Result<()> {
        let shared = Arc::clone(&self.shared);
        let runtime = tokio::runtime::Handle::current();
        std::thread::Builder::new().name("lease-heartbeat".into()).spawn(move || {
            let pause = shared.lease / 3;
            while !stop.is_cancelled() {
                runtime.block_on(async {
                    tokio::select! {
                        () = stop.cancelled() => {}
                        () = tokio::time::sleep(pause) => shared.beat().await,
                    }
                });
            }
        })?;
        Ok(())
    }

    /// Keeps a claim alive from now on.
    pub(crate) fn hold(&self, task: TaskId, fence: u64) -> HeldClaim {
        let ended = CancellationToken::new();
        self.shared.held().insert(task, Held { fence, ended: ended.clone() });
        HeldClaim { shared: Arc::clone(&self.shared), task, fence, ended }
    }

    /// Tells whoever works on the task in this process that its claim is over.
    pub(crate) fn end(&self, task: TaskId) {
        if let Some(held) = self.shared.held().get(&task) {
            held.ended.cancel();
        }
    }
}

impl Shared {
    fn held(&self) -> MutexGuard<'_, HashMap<TaskId, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn beat(&self) {
        let claims: Vec<(TaskId, u64)> = self.held().iter().map(|(task, held)| (*task, held.fence)).collect();
        for (task, fence) in claims {
            match self.store.heartbeat(task, fence, self.lease).await {
                Ok(()) => {}
                Err(StoreError::StaleFence { .. }) => {
                    if let Some(held) = self.held().get(&task).filter(|held| held.fence == fence) {
                        held.ended.cancel();
                    }
                }
                Err(error) => tracing::warn!(%task, %error, "a lease could not be prolonged; will try again"),
            }
        }
    }
}

impl HeldClaim {
    /// Resolves when the claim is over: cancelled, or taken by another worker.
    pub(crate) async fn ended(&self) {
        self.ended.cancelled().await;
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
