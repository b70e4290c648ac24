//! Everything that must survive: programs, tasks and their events, the queue, volumes' pages, blobs, domains and roots.
//!
//! [`Store`] is the seam; its callers know no SQL and no database. The queue is part of the store, so that a task's state
//! and its place in the queue change in one transaction. [`embedded`] is the implementation that needs no set-up: one
//! directory, SQLite in WAL mode with full sync. [`postgres`] is the one for many coprocessors on many machines.

mod account;
mod domain;
mod error;
mod program;
mod prover;
mod task;
mod upkeep;
mod volume;
mod webhook;

pub mod embedded;
pub mod postgres;

use async_trait::async_trait;
use bytes::Bytes;
use coprocessor_types::{BlobDigest, InstanceId, OwnerId, ProgramId, TaskId};
use jiff::Timestamp;
use std::time::Duration;
use tokio::sync::broadcast;

pub use account::{Accounts, ApiKey, ControllerQuotas, KeyId, KeyIdError, MAX_WEIGHT, Owner, Quotas, Scope};
pub use domain::{
    AddDomain, AppendBlocks, Block, Domain, Domains, MAX_BATCH, MAX_BATCH_PAYLOADS, MAX_PAYLOAD, NewBlock, NewDomain,
    OpenedBlock, RootRecord, TrustPolicy,
};
pub use embedded::{EmbeddedConfig, EmbeddedStore};
pub use error::StoreError;
pub use program::{ControllerVersion, DeleteProgram, InsertProgram, NewProgram, Program, Setter};
pub use prover::ProverRecord;
pub use task::{
    Admission, Backlog, Cancelled, Claim, Event, EventKind, Failure, Idempotency, MAX_PRIORITY, NewTask, Retried,
    Stage, StepOutcome, Task, TaskCounts, TaskFilter, TaskRecording, TaskState,
};
pub use upkeep::{Collected, Retention, StorageUsage, Upkeep};
pub use volume::{VolumeContent, VolumePages, VolumeSnapshot, VolumeWrite};
pub use webhook::{
    Delivery, DeliveryAttempt, DeliveryId, DeliveryOutcome, DeliveryState, Webhook, WebhookId, Webhooks,
};

/// Something other parts may be waiting for has been committed, by this process or by another on the same store. Sent after
/// the commit, never before.
///
/// A hint, not a record: whoever lags reads the store again, and whoever relies on one looks now and then without it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// A task may now be claimed for that stage.
    Work(Stage),
    /// A task has a new event.
    Event {
        /// The task.
        task: TaskId,
        /// The task's owner.
        owner: OwnerId,
        /// The event's sequence number.
        seq: u64,
        /// The state after it. In a finished one, whoever holds a claim of the task holds it no longer.
        state: TaskState,
    },
    /// A key was made or revoked, or an owner's settings changed.
    Accounts,
    /// A prover node was registered or forgotten.
    Provers,
    /// A delivery may now be claimed.
    Delivery,
    /// A domain was registered or has another controller, or blocks were appended and there is a new root.
    Domains,
}

/// Where to go on reading a list. Opaque: only the store that made it can read it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cursor(pub String);

/// One page of a list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Page<T> {
    /// The items, in the list's order.
    pub items: Vec<T>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<Cursor>,
}

/// The store. Every method changes everything it says or nothing, and what it has changed, every later call sees.
///
/// # Durability
/// What a client may be told survives the loss of power: methods that change something return after an fsync. The steps
/// of a task, [`claim`](Self::claim), [`heartbeat`](Self::heartbeat), [`progress`](Self::progress) and
/// [`finish_step`](Self::finish_step), return once they are committed: they outlive the process from then on (kill -9),
/// and reach the disk a moment later or with the next fsync, whichever is first. Losing power can take back the last
/// steps, latest first and each as a whole (its volume writes too), so the task goes on from an earlier step; it never
/// takes back an admission. A step that is to be relied upon outside of the store, by a prover node that knows jobs by
/// their fence, say, needs a [`flush`](Self::flush) first.
#[async_trait]
pub trait Store: Accounts + Webhooks + Domains + Upkeep + Send + Sync + 'static {
    /// This instance's identity: drawn at random when the store was made, the same ever after.
    fn instance(&self) -> InstanceId;

    /// What has been committed, from now on.
    fn changes(&self) -> broadcast::Receiver<Change>;

    /// Returns when all that was committed before is durable.
    async fn flush(&self) -> Result<(), StoreError>;

    /// Checks that the store can be read and written.
    async fn health(&self) -> Result<(), StoreError>;

    /// Keeps a blob under its digest; durable when this returns. Putting the same content again is no error.
    async fn put_blob(&self, content: Bytes) -> Result<BlobDigest, StoreError>;

    /// A blob's content, checked against its digest.
    ///
    /// # Errors
    /// [`StoreError::BlobMissing`], [`StoreError::BlobCorrupt`].
    async fn blob(&self, digest: BlobDigest) -> Result<Bytes, StoreError>;

    /// Registers a program, unless its owner has `quota` of them already. Its blobs must have been put.
    ///
    /// # Errors
    /// [`StoreError::BlobMissing`].
    async fn insert_program(&self, program: NewProgram, quota: u64) -> Result<InsertProgram, StoreError>;

    /// A program.
    async fn program(&self, id: ProgramId) -> Result<Option<Program>, StoreError>;

    /// Programs, newest first; those that `reader` may see (its own and public ones), or everybody's; at most `limit`.
    ///
    /// # Errors
    /// [`StoreError::BadCursor`].
    async fn programs(
        &self,
        reader: Option<OwnerId>,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Page<Program>, StoreError>;

    /// Gives a program another controller, a new one or one that it had. `None` when there is no such program. Admitted tasks keep
    /// theirs. Changes nothing where it is the current one already.
    ///
    /// A controller that the program never had, or no more, is a new version. At most `keep` versions stay, at least one: those
    /// that were current longest ago go, but none that an unfinished or a failed task of the program has, which may yet need it.
    ///
    /// # Errors
    /// [`StoreError::BlobMissing`].
    async fn set_controller(
        &self,
        id: ProgramId,
        controller: BlobDigest,
        by: Setter,
        keep: u64,
    ) -> Result<Option<Program>, StoreError>;

    /// A program's controllers, newest number first; at most `limit`. None of a program that there is not.
    ///
    /// # Errors
    /// [`StoreError::BadCursor`].
    async fn controller_versions(
        &self,
        id: ProgramId,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Page<ControllerVersion>, StoreError>;

    /// One of a program's controllers.
    async fn controller_version(&self, id: ProgramId, number: u64) -> Result<Option<ControllerVersion>, StoreError>;

    /// Records a program's verifying key, when it is known only after deployment. Changes nothing where one is recorded
    /// already. Returns the program as it is then; `None` when there is none.
    ///
    /// # Errors
    /// [`StoreError::BlobMissing`].
    async fn set_verifying_key(&self, id: ProgramId, key: BlobDigest) -> Result<Option<Program>, StoreError>;

    /// Removes a program, its volume, and its tasks with their events; refused while a task is not finished.
    async fn delete_program(&self, id: ProgramId) -> Result<DeleteProgram, StoreError>;

    /// Admits a task: one transaction writes it, its first event and its idempotency key. A repeated request gets its task
    /// even when the backlog is full.
    ///
    /// The bounds are exact for one process. Several that admit at the same moment can each go over by what they have in
    /// flight, never by more.
    ///
    /// # Errors
    /// [`StoreError::UnknownProgram`], [`StoreError::BlobMissing`]; [`StoreError::RootPruned`], even where the root is pruned at this
    /// moment: once a task is admitted, its root stays until it is finished.
    async fn admit(&self, task: NewTask, backlog: Backlog) -> Result<Admission, StoreError>;

    /// A task.
    async fn task(&self, id: TaskId) -> Result<Option<Task>, StoreError>;

    /// Tasks, newest first; at most `limit`. None that was there at the first page is left out or listed twice because of others
    /// that are admitted meanwhile.
    ///
    /// # Errors
    /// [`StoreError::BadCursor`].
    async fn tasks(&self, filter: TaskFilter, after: Option<Cursor>, limit: usize) -> Result<Page<Task>, StoreError>;

    /// A task's events with a sequence number above `after`, oldest first; at most `limit`.
    async fn events(&self, task: TaskId, after: u64, limit: usize) -> Result<Vec<Event>, StoreError>;

    /// Events of all tasks of an owner, or of everybody, with a sequence number above `after`, oldest first; at most `limit`.
    /// Whoever goes on from the last one's number misses none: an event shows only once no lower number can still appear.
    async fn owner_events(&self, owner: Option<OwnerId>, after: u64, limit: usize) -> Result<Vec<Event>, StoreError>;

    /// The highest sequence number of [`owner_events`](Self::owner_events) now; zero before the first event.
    async fn last_event(&self) -> Result<u64, StoreError>;

    /// How many tasks are in each state.
    async fn task_counts(&self) -> Result<TaskCounts, StoreError>;

    /// Claims up to `limit` tasks that are ready for `stage`, in the order that fairness gives: takes a lease for `worker` and
    /// raises the fence of each. A claim for [`Stage::Execute`] moves the task to `executing`.
    async fn claim(&self, stage: Stage, worker: &str, lease: Duration, limit: usize) -> Result<Vec<Claim>, StoreError>;

    /// When the next task that waits for a time, or whose lease runs out, could be claimed for `stage`.
    async fn next_ready(&self, stage: Stage) -> Result<Option<Timestamp>, StoreError>;

    /// Prolongs leases, each of a task under a fence. Returns those claims that are over: finished, cancelled, or another's. A
    /// lease that ran out is prolonged as long as nobody else has claimed the task. Does not wait behind other work.
    async fn heartbeat(&self, claims: &[(TaskId, u64)], lease: Duration) -> Result<Vec<(TaskId, u64)>, StoreError>;

    /// Records which prover node is given a claimed task, and appends `event`. Durable when this returns.
    ///
    /// # Errors
    /// [`StoreError::StaleFence`].
    async fn assign(&self, task: TaskId, fence: u64, node: &str, event: EventKind) -> Result<(), StoreError>;

    /// Appends an event to a claimed task without changing its state.
    ///
    /// # Errors
    /// [`StoreError::StaleFence`].
    async fn progress(&self, task: TaskId, fence: u64, event: EventKind) -> Result<(), StoreError>;

    /// Ends a step: blobs, volume, state, queue and event in one transaction, and the lease is given back.
    ///
    /// # Errors
    /// [`StoreError::StaleFence`]; [`StoreError::WrongState`] when the outcome is not one of the stage the task is in;
    /// [`StoreError::VolumeConflict`] when the volume has changed since its snapshot; [`StoreError::VolumeQuota`]. All change
    /// nothing.
    async fn finish_step(&self, task: TaskId, fence: u64, outcome: StepOutcome) -> Result<Task, StoreError>;

    /// Keeps the recording of the run that a claimed task's stage came to, in the place of that stage's earlier one.
    ///
    /// # Errors
    /// [`StoreError::StaleFence`].
    async fn keep_recording(&self, task: TaskId, fence: u64, stage: Stage, recording: Bytes) -> Result<(), StoreError>;

    /// The recording of that stage of a task, or of the last one that has any.
    async fn recording(&self, task: TaskId, stage: Option<Stage>) -> Result<Option<TaskRecording>, StoreError>;

    /// Cancels a task in any unfinished state; a step that is running finds its fence stale.
    async fn cancel(&self, task: TaskId) -> Result<Cancelled, StoreError>;

    /// Puts a failed task back to the stage it failed in, if its failure says that retrying can help, with a new deadline.
    async fn retry(&self, task: TaskId, deadline: Option<Timestamp>) -> Result<Retried, StoreError>;

    /// Fails up to `limit` unfinished tasks whose deadline has passed, whoever holds them: code `deadline_exceeded`, retryable,
    /// in the stage they are in. Returns them.
    async fn expire(&self, now: Timestamp, limit: usize) -> Result<Vec<TaskId>, StoreError>;

    /// The earliest deadline of an unfinished task.
    async fn next_deadline(&self) -> Result<Option<Timestamp>, StoreError>;

    /// A consistent view of a program's volume and raw storage. Blocks: not for async threads.
    ///
    /// # Errors
    /// [`StoreError::UnknownProgram`].
    fn volume_snapshot(&self, program: ProgramId) -> Result<Box<dyn VolumeSnapshot>, StoreError>;

    /// Writes to a volume outside of a task's step. Returns the new version.
    ///
    /// # Errors
    /// [`StoreError::VolumeConflict`], [`StoreError::VolumeQuota`], [`StoreError::UnknownProgram`].
    async fn write_volume(&self, program: ProgramId, write: VolumeWrite) -> Result<u64, StoreError>;

    /// Replaces a volume as a whole, whatever version it has; raw storage stays. Returns the new version. Writes that are based
    /// on what was there before are refused from then on.
    ///
    /// # Errors
    /// [`StoreError::UnknownProgram`]; [`StoreError::VolumeQuota`]; [`StoreError::Content`] when the pages could not be read to
    /// their end. Nothing has changed then.
    async fn replace_volume(&self, program: ProgramId, content: VolumeContent) -> Result<u64, StoreError>;

    /// Prover nodes registered through the API.
    async fn provers(&self) -> Result<Vec<ProverRecord>, StoreError>;

    /// Registers a node; false when that owner has that address already.
    async fn add_prover(&self, prover: ProverRecord) -> Result<bool, StoreError>;

    /// Forgets a node; false when there was none.
    async fn remove_prover(&self, owner: &OwnerId, address: &str) -> Result<bool, StoreError>;
}
