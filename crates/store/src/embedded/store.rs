//! [`Store`] as jobs for the writer and reads for the pool.

use super::{
    EmbeddedStore,
    blobs::{self, StagedBlob},
    fault::Fault,
    programs, provers, queue,
    readers::off_thread,
    tasks, volumes,
    writer::Durability::{Committed, Synced},
};
use crate::{
    Admission, Cancelled, Change, Claim, Cursor, DeleteProgram, Event, EventKind, InsertProgram, NewProgram, NewTask,
    Page, Program, ProverRecord, Retried, Stage, StepOutcome, Store, StoreError, Task, TaskCounts, TaskFilter,
    VolumeSnapshot, VolumeWrite,
};
use async_trait::async_trait;
use bytes::Bytes;
use coprocessor_types::{BlobDigest, InstanceId, OwnerId, ProgramId, TaskId};
use jiff::Timestamp;
use rusqlite::Connection;
use std::time::Duration;
use tokio::sync::broadcast;

impl EmbeddedStore {
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, StoreError> {
        let readers = self.readers.clone();
        off_thread(move || Ok(read(&*readers.take()?)?)).await
    }

    /// The outcome's blob, if it has one, ready for its row. A large one of a stale step is not even written.
    async fn stage_blob(
        &self,
        task: TaskId,
        fence: u64,
        outcome: &StepOutcome,
    ) -> Result<Option<StagedBlob>, StoreError> {
        let content = match outcome {
            StepOutcome::Executed { witness, .. } => witness,
            StepOutcome::Proved { proof, .. } => proof,
            StepOutcome::Delivered { .. } | StepOutcome::Postponed { .. } | StepOutcome::Failed { .. } => {
                return Ok(None);
            }
        };
        if self.blobs.is_large(content.len()) {
            self.read(move |db| queue::check_claim(db, task, fence)).await?;
        }
        self.blobs.stage(content.clone()).await.map(Some)
    }
}

#[async_trait]
impl Store for EmbeddedStore {
    fn instance(&self) -> InstanceId {
        self.instance
    }

    fn changes(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }

    async fn flush(&self) -> Result<(), StoreError> {
        self.writer.write(Synced, |_, _| Ok(())).await
    }

    async fn health(&self) -> Result<(), StoreError> {
        let probe = |db: &Connection, _: &mut _| Ok(db.execute("UPDATE instance SET probes = probes + 1", [])?);
        self.writer.write(Synced, probe).await?;
        self.read(|db| Ok(db.query_row("SELECT probes FROM instance", [], |row| row.get::<_, i64>(0))?)).await.map(drop)
    }

    async fn put_blob(&self, content: Bytes) -> Result<BlobDigest, StoreError> {
        let digest = self.blobs.digest(&content).await?;
        if self.blobs.has(digest).await? {
            // Whoever put it may still be waiting for it to be durable.
            self.flush().await?;
            return Ok(digest);
        }
        let blob = self.blobs.stage(content).await?;
        self.writer.write(Synced, move |db, _| blobs::insert(db, &blob)).await?;
        Ok(digest)
    }

    async fn blob(&self, digest: BlobDigest) -> Result<Bytes, StoreError> {
        self.blobs.read(digest).await
    }

    async fn insert_program(&self, program: NewProgram) -> Result<InsertProgram, StoreError> {
        self.writer.write(Synced, move |db, _| programs::insert(db, &program, Timestamp::now())).await
    }

    async fn program(&self, id: ProgramId) -> Result<Option<Program>, StoreError> {
        self.read(move |db| programs::find(db, id)).await
    }

    async fn programs(&self, after: Option<Cursor>, limit: usize) -> Result<Page<Program>, StoreError> {
        self.read(move |db| programs::list(db, after.as_ref(), limit)).await
    }

    async fn set_controller(&self, id: ProgramId, controller: BlobDigest) -> Result<Option<Program>, StoreError> {
        self.writer.write(Synced, move |db, _| programs::set_controller(db, id, controller, Timestamp::now())).await
    }

    async fn set_verifying_key(&self, id: ProgramId, key: BlobDigest) -> Result<Option<Program>, StoreError> {
        self.writer.write(Synced, move |db, _| programs::set_verifying_key(db, id, key)).await
    }

    async fn delete_program(&self, id: ProgramId) -> Result<DeleteProgram, StoreError> {
        self.writer.write(Synced, move |db, _| programs::delete(db, id)).await
    }

    async fn admit(&self, task: NewTask) -> Result<Admission, StoreError> {
        self.writer.write(Synced, move |db, changes| tasks::admit(db, &task, Timestamp::now(), changes)).await
    }

    async fn task(&self, id: TaskId) -> Result<Option<Task>, StoreError> {
        self.read(move |db| tasks::find(db, id)).await
    }

    async fn tasks(&self, filter: TaskFilter, after: Option<Cursor>, limit: usize) -> Result<Page<Task>, StoreError> {
        self.read(move |db| tasks::list(db, &filter, after.as_ref(), limit)).await
    }

    async fn events(&self, task: TaskId, after: u64, limit: usize) -> Result<Vec<Event>, StoreError> {
        self.read(move |db| tasks::events(db, task, after, limit)).await
    }

    async fn task_counts(&self) -> Result<TaskCounts, StoreError> {
        self.read(tasks::counts).await
    }

    async fn claim(&self, stage: Stage, worker: &str, lease: Duration) -> Result<Option<Claim>, StoreError> {
        let worker = worker.to_owned();
        let claim =
            move |db: &Connection, changes: &mut _| queue::claim(db, stage, &worker, lease, Timestamp::now(), changes);
        self.writer.write(Committed, claim).await
    }

    async fn next_ready(&self, stage: Stage) -> Result<Option<Timestamp>, StoreError> {
        self.read(move |db| queue::next_ready(db, stage)).await
    }

    async fn heartbeat(&self, task: TaskId, fence: u64, lease: Duration) -> Result<(), StoreError> {
        self.writer.write(Committed, move |db, _| queue::heartbeat(db, task, fence, lease, Timestamp::now())).await
    }

    async fn progress(&self, task: TaskId, fence: u64, event: EventKind) -> Result<(), StoreError> {
        let progress =
            move |db: &Connection, changes: &mut _| queue::progress(db, task, fence, &event, Timestamp::now(), changes);
        self.writer.write(Committed, progress).await
    }

    async fn finish_step(&self, task: TaskId, fence: u64, outcome: StepOutcome) -> Result<Task, StoreError> {
        let blob = self.stage_blob(task, fence, &outcome).await?;
        let finish = move |db: &Connection, changes: &mut _| {
            queue::finish_step(db, task, fence, &outcome, blob.as_ref(), Timestamp::now(), changes)
        };
        self.writer.write(Committed, finish).await
    }

    async fn cancel(&self, task: TaskId) -> Result<Cancelled, StoreError> {
        self.writer.write(Synced, move |db, changes| queue::cancel(db, task, Timestamp::now(), changes)).await
    }

    async fn retry(&self, task: TaskId) -> Result<Retried, StoreError> {
        self.writer.write(Synced, move |db, changes| queue::retry(db, task, Timestamp::now(), changes)).await
    }

    fn volume_snapshot(&self, program: ProgramId) -> Result<Box<dyn VolumeSnapshot>, StoreError> {
        Ok(Box::new(volumes::Snapshot::open(self.readers.take()?, program)?))
    }

    async fn write_volume(&self, program: ProgramId, write: VolumeWrite) -> Result<u64, StoreError> {
        self.writer.write(Synced, move |db, _| volumes::apply(db, program, &write)).await
    }

    async fn provers(&self) -> Result<Vec<ProverRecord>, StoreError> {
        self.read(provers::list).await
    }

    async fn add_prover(&self, prover: ProverRecord) -> Result<bool, StoreError> {
        self.writer.write(Synced, move |db, _| provers::add(db, &prover)).await
    }

    async fn remove_prover(&self, owner: &OwnerId, address: &str) -> Result<bool, StoreError> {
        let (owner, address) = (owner.clone(), address.to_owned());
        self.writer.write(Synced, move |db, _| provers::remove(db, &owner, &address)).await
    }
}
