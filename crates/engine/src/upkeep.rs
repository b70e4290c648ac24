//! What goes on beside the tasks: ageing out, looking at the disk, ending what is overdue.

use coprocessor_prover::JobKey;
use coprocessor_store::{Collected, Retention, StorageUsage, StoreError, Task};
use coprocessor_types::TaskId;
use jiff::Timestamp;
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::{CompiledReport, Engine, EngineError, Inner, config::EngineConfig, turns::jitter};

/// From the start to the first pass of ageing out.
const FIRST_COLLECTION: Duration = Duration::from_secs(20);

/// Between two passes.
const COLLECTION: Duration = Duration::from_secs(5 * 60);

/// Things of each kind removed at once, and the rest between two such bites: others write too.
const BITE: usize = 500;
const BREATH: Duration = Duration::from_millis(100);

/// Between two looks at the disk.
const LOOK: Duration = Duration::from_secs(5);

/// Longest time between two looks for tasks that are overdue.
const OVERDUE: Duration = Duration::from_secs(1);

/// Overdue tasks ended at once.
const OVERDUE_BITE: usize = 200;

/// How much better than its bounds storage must be before it is no longer low: one part in this many.
const MARGIN: u64 = 16;

/// How the store stands.
#[derive(Clone, PartialEq, Debug)]
pub struct StorageReport {
    /// How large it is.
    pub usage: StorageUsage,
    /// Why nothing new is taken; `None` while there is room.
    pub low: Option<String>,
    /// How long things are kept.
    pub retention: Retention,
    /// How long roots can be opened after there is a newer one; `None`: for ever.
    pub keep_roots: Option<Duration>,
    /// The last pass of ageing out in this process.
    pub last_collected: Option<Collection>,
    /// Compiled controllers, which are not part of the store.
    pub compiled: CompiledReport,
}

/// A pass of ageing out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Collection {
    /// When it ended.
    pub at: Timestamp,
    /// What it removed.
    pub removed: Collected,
    /// How many roots it pruned.
    pub roots: u64,
}

/// What upkeep knows.
#[derive(Default)]
pub(crate) struct Upkeep(Mutex<State>);

#[derive(Default)]
struct State {
    low: Option<Low>,
    last_collected: Option<Collection>,
}

#[derive(Clone)]
struct Low {
    free: Option<u64>,
    reason: String,
}

impl Engine {
    /// How large the store is, what is kept, and whether there is room.
    ///
    /// # Errors
    /// The store's.
    pub async fn storage(&self) -> Result<StorageReport, EngineError> {
        let inner = &self.inner;
        let usage = inner.store.usage().await?;
        inner.judge(&usage);
        let state = inner.upkeep.state();
        let low = state.low.as_ref().map(|low| low.reason.clone());
        let EngineConfig { retention, keep_roots, .. } = inner.config;
        let compiled = inner.compiled.report();
        Ok(StorageReport { usage, low, retention, keep_roots, last_collected: state.last_collected, compiled })
    }
}

impl Upkeep {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Refuses while storage is low: for everything that brings something new. What was taken before may be finished.
    ///
    /// # Errors
    /// [`EngineError::StorageLow`].
    pub(crate) fn check_room(&self) -> Result<(), EngineError> {
        match &self.upkeep.state().low {
            None => Ok(()),
            Some(Low { free, reason }) => Err(EngineError::StorageLow { free: *free, reason: reason.clone() }),
        }
    }

    /// The store said that it is full: nothing new is taken until it was looked at again.
    pub(crate) fn storage_is_full(&self) {
        let reason = "the store's disk is full; free some space".to_owned();
        self.set_low(Some(Low { free: Some(0), reason }));
    }

    /// Removes what is too old, for ever.
    pub(crate) async fn collect_regularly(self: Arc<Self>) {
        // Several processes that were started together shouldn't all do it at the same moment.
        tokio::time::sleep(FIRST_COLLECTION.mul_f64(0.5 + jitter())).await;
        loop {
            self.collect().await;
            tokio::time::sleep(COLLECTION.mul_f64(0.75 + jitter() / 2.0)).await;
        }
    }

    async fn collect(&self) {
        let mut removed = Collected::default();
        loop {
            match self.store.collect(&self.config.retention, Timestamp::now(), BITE).await {
                Ok(bite) => {
                    add(&mut removed, &bite);
                    if !bite.more {
                        break;
                    }
                    tokio::time::sleep(BREATH).await;
                }
                Err(error) => {
                    tracing::warn!(%error, "what is too old could not be removed; will try again");
                    return;
                }
            }
        }
        if removed != Collected::default() {
            let Collected { witnesses, proofs, recordings, tasks, deliveries, pages, blobs, blob_bytes, .. } = removed;
            tracing::info!(
                witnesses,
                proofs,
                recordings,
                tasks,
                deliveries,
                pages,
                blobs,
                blob_bytes,
                "removed what was too old"
            );
        }
        let roots = match self.prune_roots().await {
            Ok(roots) => roots,
            Err(error) => {
                tracing::warn!(%error, "old roots could not be pruned; will try again");
                return;
            }
        };
        self.upkeep.state().last_collected = Some(Collection { at: Timestamp::now(), removed, roots });
    }

    /// Takes what only roots need that are older than is kept.
    pub(crate) async fn prune_roots(&self) -> Result<u64, StoreError> {
        let Some(before) = self.config.keep_roots.and_then(|kept| Timestamp::now().checked_sub(kept).ok()) else {
            return Ok(0);
        };
        let mut pruned = 0;
        loop {
            let (bite, more) = self.store.prune_roots(before, BITE).await?;
            pruned += bite;
            if !more {
                break;
            }
            tokio::time::sleep(BREATH).await;
        }
        if pruned > 0 {
            tracing::info!(roots = pruned, "pruned old roots");
        }
        Ok(pruned)
    }

    /// Looks at the disk, for ever.
    pub(crate) async fn watch_storage(self: Arc<Self>) {
        loop {
            match self.store.usage().await {
                Ok(usage) => self.judge(&usage),
                Err(error) => tracing::debug!(%error, "the store's size could not be looked up"),
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    fn judge(&self, usage: &StorageUsage) {
        let was_low = self.upkeep.state().low.is_some();
        self.set_low(low(&self.config, usage, was_low));
    }

    /// Says so in the log when it begins and when it is over.
    fn set_low(&self, low: Option<Low>) {
        let mut state = self.upkeep.state();
        match (&state.low, &low) {
            (None, Some(low)) => tracing::error!(reason = low.reason, "storage is low: nothing new is taken"),
            (Some(_), None) => tracing::info!("there is room in the store again"),
            (None, None) | (Some(_), Some(_)) => {}
        }
        state.low = low;
    }

    /// Ends tasks whose deadline has passed, for ever.
    pub(crate) async fn end_overdue(self: Arc<Self>) {
        loop {
            let pause = match self.store.next_deadline().await {
                Ok(Some(deadline)) if deadline <= Timestamp::now() => {
                    self.expire().await;
                    Duration::from_millis(10)
                }
                // A deadline may be set any time, here or by another process.
                Ok(Some(deadline)) => deadline.duration_since(Timestamp::now()).unsigned_abs().min(OVERDUE),
                Ok(None) => OVERDUE,
                Err(error) => {
                    tracing::debug!(%error, "the next deadline could not be looked up");
                    OVERDUE
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    async fn expire(self: &Arc<Self>) {
        match self.store.expire(Timestamp::now(), OVERDUE_BITE).await {
            Ok(expired) => {
                for task in expired {
                    tracing::info!(%task, "the task's deadline has passed");
                    self.claims.suspect(task);
                    self.stop_job_of(task).await;
                }
            }
            Err(error) => {
                tracing::warn!(%error, "overdue tasks could not be ended; will try again");
                tokio::time::sleep(OVERDUE).await;
            }
        }
    }

    async fn stop_job_of(self: &Arc<Self>, task: TaskId) {
        match self.store.task(task).await {
            Ok(Some(task)) => self.stop_job(&task),
            Ok(None) => {}
            Err(error) => tracing::warn!(%task, %error, "a job could not be looked up to be stopped"),
        }
    }

    /// Tells the node that was given a task last that nobody waits for its proof any more. For a task that has finished:
    /// whoever held it may be another process, or gone. Does not wait for the node.
    pub(crate) fn stop_job(self: &Arc<Self>, task: &Task) {
        let Some(node) = task.node.as_deref().and_then(|address| self.provers.at(address, &task.owner)) else { return };
        let key = JobKey { task: task.id, fence: task.fence };
        tokio::spawn(async move {
            if let Err(error) = node.cancel(key).await {
                let node = node.address();
                tracing::debug!(task = %key.task, node, %error, "a job could not be cancelled on its node");
            }
        });
    }
}

/// Why storage is low. Once it is, it must get better than its bounds by a margin: else it would go back and forth.
fn low(config: &EngineConfig, usage: &StorageUsage, was_low: bool) -> Option<Low> {
    let mib = |bytes: u64| bytes >> 20;
    let more = |bound: u64| if was_low { bound.saturating_add(bound / MARGIN) } else { bound };
    let less = |bound: u64| if was_low { bound - bound / MARGIN } else { bound };
    if let Some(free) = usage.free_bytes.filter(|free| *free < more(config.min_free_bytes)) {
        let reason = format!(
            "{} MiB are free on the store's disk, {} MiB are kept free; free some, or keep things for a shorter time",
            mib(free),
            mib(config.min_free_bytes)
        );
        return Some(Low { free: Some(free), reason });
    }
    let size = usage.database_bytes.saturating_add(usage.blob_bytes);
    let bound = config.max_store_bytes.filter(|bound| size > less(*bound))?;
    let reason = format!(
        "the store has {} MiB and may have {}; keep things for a shorter time, or allow it more",
        mib(size),
        mib(bound)
    );
    Some(Low { free: usage.free_bytes, reason })
}

fn add(sum: &mut Collected, bite: &Collected) {
    sum.witnesses += bite.witnesses;
    sum.proofs += bite.proofs;
    sum.recordings += bite.recordings;
    sum.tasks += bite.tasks;
    sum.deliveries += bite.deliveries;
    sum.pages += bite.pages;
    sum.blobs += bite.blobs;
    sum.blob_bytes += bite.blob_bytes;
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn usage(store: u64, free: u64) -> StorageUsage {
        StorageUsage { database_bytes: store, blobs: 0, blob_bytes: 0, free_bytes: Some(free) }
    }

    #[test]
    fn storage_is_low_below_what_is_kept_free_and_above_what_the_store_may_have() {
        let config =
            EngineConfig { min_free_bytes: 512 * MIB, max_store_bytes: Some(100 * MIB), ..EngineConfig::default() };
        assert!(low(&config, &usage(10 * MIB, 512 * MIB), false).is_none());
        let disk = low(&config, &usage(10 * MIB, 511 * MIB), false).unwrap();
        assert!(disk.reason.contains("511 MiB are free"), "{}", disk.reason);
        assert!(low(&config, &usage(100 * MIB, 1024 * MIB), false).is_none());
        let store = low(&config, &usage(101 * MIB, 1024 * MIB), false).unwrap();
        assert!(store.reason.contains("101 MiB and may have 100"), "{}", store.reason);
    }

    #[test]
    fn room_must_be_more_than_just_enough_to_end_it() {
        let config =
            EngineConfig { min_free_bytes: 512 * MIB, max_store_bytes: Some(160 * MIB), ..EngineConfig::default() };
        assert!(low(&config, &usage(0, 520 * MIB), true).is_some());
        assert!(low(&config, &usage(0, 544 * MIB), true).is_none());
        assert!(low(&config, &usage(155 * MIB, 600 * MIB), true).is_some());
        assert!(low(&config, &usage(150 * MIB, 600 * MIB), true).is_none());
    }

    #[test]
    fn a_store_that_does_not_know_its_disk_is_not_low_for_that() {
        let unknown = StorageUsage { free_bytes: None, ..usage(MIB, 0) };
        assert!(low(&EngineConfig::default(), &unknown, false).is_none());
    }
}
