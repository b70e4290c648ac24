//! [`Store`] as jobs for the writer and reads for the pool.

use super::{
    EmbeddedStore, admission,
    blobs::{self, StagedBlob},
    controllers,
    fault::Fault,
    programs, provers,
    queue::{self, Wanted},
    readers::off_thread,
    recordings,
    row::now,
    steps, tasks, volumes,
    writer::Durability::{self, Committed, Synced},
};
use crate::{
    Admission, Backlog, Cancelled, Change, Claim, ControllerVersion, Cursor, DeleteProgram, Event, EventKind,
    InsertProgram, NewProgram, NewTask, Page, Program, ProverRecord, Retried, Setter, Stage, StepOutcome, Store,
    StoreError, Task, TaskCounts, TaskFilter, TaskRecording, VolumeContent, VolumeSnapshot, VolumeWrite,
};
use async_trait::async_trait;
use bytes::Bytes;
use coprocessor_types::{BlobDigest, InstanceId, OwnerId, ProgramId, TaskId};
use jiff::Timestamp;
use rusqlite::Connection;
use std::{sync::PoisonError, time::Duration};
use tokio::sync::broadcast;

impl EmbeddedStore {
    pub(super) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, StoreError> {
        let readers = self.readers.clone();
        off_thread(move || Ok(read(&*readers.take()?)?)).await
    }

    /// Runs `work` in the writer's next transaction.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        durability: Durability,
        work: impl FnOnce(&Connection, &mut Vec<Change>) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.writer.write(durability, work).await
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
        self.writer.write_bare(Synced, |_, _| Ok(())).await
    }

    async fn health(&self) -> Result<(), StoreError> {
        let probe = |db: &Connection, _: &mut _| Ok(db.execute("UPDATE instance SET probes = probes + 1", [])?);
        self.write(Synced, probe).await?;
        self.read(|db| Ok(db.query_row("SELECT probes FROM instance", [], |row| row.get::<_, i64>(0))?)).await.map(drop)
    }

    async fn put_blob(&self, content: Bytes) -> Result<BlobDigest, StoreError> {
        let digest = self.blobs.digest(&content).await?;
        // A large one's file is not written again for nothing. Between the look and the renewal it may be collected.
        if self.blobs.is_large(content.len())
            && self.blobs.has(digest).await?
            && self.write(Synced, move |db, _| blobs::renew(db, digest, now())).await?
        {
            return Ok(digest);
        }
        let blob = self.blobs.stage(content).await?;
        let staged = blob.clone();
        let put = self.write(Synced, move |db, _| blobs::insert(db, &staged, 0, now())).await;
        put.inspect_err(|_| blob.lost()).map(|()| digest)
    }

    async fn blob(&self, digest: BlobDigest) -> Result<Bytes, StoreError> {
        self.blobs.read(digest).await
    }

    async fn insert_program(&self, program: NewProgram, quota: u64) -> Result<InsertProgram, StoreError> {
        self.write(Synced, move |db, _| programs::insert(db, &program, quota, now())).await
    }

    async fn program(&self, id: ProgramId) -> Result<Option<Program>, StoreError> {
        self.read(move |db| programs::find(db, id)).await
    }

    async fn programs(
        &self,
        reader: Option<OwnerId>,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Page<Program>, StoreError> {
        self.read(move |db| programs::list(db, reader.as_ref(), after.as_ref(), limit)).await
    }

    async fn set_controller(
        &self,
        id: ProgramId,
        controller: BlobDigest,
        by: Setter,
        keep: u64,
    ) -> Result<Option<Program>, StoreError> {
        self.write(Synced, move |db, _| programs::set_controller(db, id, controller, &by, keep, now())).await
    }

    async fn controller_versions(
        &self,
        id: ProgramId,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Page<ControllerVersion>, StoreError> {
        self.read(move |db| controllers::list(db, id, after.as_ref(), limit)).await
    }

    async fn controller_version(&self, id: ProgramId, number: u64) -> Result<Option<ControllerVersion>, StoreError> {
        self.read(move |db| controllers::find(db, id, number)).await
    }

    async fn set_verifying_key(&self, id: ProgramId, key: BlobDigest) -> Result<Option<Program>, StoreError> {
        self.write(Synced, move |db, _| programs::set_verifying_key(db, id, key)).await
    }

    async fn delete_program(&self, id: ProgramId) -> Result<DeleteProgram, StoreError> {
        self.write(Synced, move |db, _| programs::delete(db, id)).await
    }

    async fn admit(&self, task: NewTask, backlog: Backlog) -> Result<Admission, StoreError> {
        let instance = self.instance;
        let admit = move |db: &Connection, changes: &mut Vec<Change>| {
            admission::admit(db, &instance, task, backlog, now(), changes)
        };
        self.writer.write_bare(Synced, admit).await
    }

    async fn task(&self, id: TaskId) -> Result<Option<Task>, StoreError> {
        self.read(move |db| Ok(tasks::find(db, id)?.map(|found| found.task))).await
    }

    async fn tasks(&self, filter: TaskFilter, after: Option<Cursor>, limit: usize) -> Result<Page<Task>, StoreError> {
        self.read(move |db| tasks::list(db, &filter, after.as_ref(), limit)).await
    }

    async fn events(&self, task: TaskId, after: u64, limit: usize) -> Result<Vec<Event>, StoreError> {
        self.read(move |db| tasks::events(db, task, after, limit)).await
    }

    async fn owner_events(&self, owner: Option<OwnerId>, after: u64, limit: usize) -> Result<Vec<Event>, StoreError> {
        self.read(move |db| tasks::owner_events(db, owner.as_ref(), after, limit)).await
    }

    async fn last_event(&self) -> Result<u64, StoreError> {
        self.read(tasks::last_event).await
    }

    async fn task_counts(&self) -> Result<TaskCounts, StoreError> {
        self.read(tasks::counts).await
    }

    async fn claim(&self, stage: Stage, worker: &str, lease: Duration, limit: usize) -> Result<Vec<Claim>, StoreError> {
        let (turns, wanted) = (self.turns.clone(), Wanted { stage, worker: worker.to_owned(), lease, limit });
        let claim = move |db: &Connection, changes: &mut Vec<Change>| {
            // A turn that a failed transaction leaves as it was given is only a turn.
            let mut turns = turns[stage as usize].lock().unwrap_or_else(PoisonError::into_inner);
            queue::claim(db, &wanted, &mut turns, now(), changes)
        };
        self.write(Committed, claim).await
    }

    async fn next_ready(&self, stage: Stage) -> Result<Option<Timestamp>, StoreError> {
        self.read(move |db| queue::next_ready(db, stage)).await
    }

    async fn heartbeat(&self, claims: &[(TaskId, u64)], lease: Duration) -> Result<Vec<(TaskId, u64)>, StoreError> {
        let claims = claims.to_vec();
        self.writer.write_first(move |db, _| queue::heartbeat(db, &claims, lease, now())).await
    }

    async fn assign(&self, task: TaskId, fence: u64, node: &str, event: EventKind) -> Result<(), StoreError> {
        let node = node.to_owned();
        let assign = move |db: &Connection, changes: &mut Vec<Change>| {
            queue::progress(db, (task, fence), Some(&node), &event, now(), changes)
        };
        self.write(Synced, assign).await
    }

    async fn progress(&self, task: TaskId, fence: u64, event: EventKind) -> Result<(), StoreError> {
        let progress = move |db: &Connection, changes: &mut Vec<Change>| {
            queue::progress(db, (task, fence), None, &event, now(), changes)
        };
        self.writer.write_bare(Committed, progress).await
    }

    async fn finish_step(&self, task: TaskId, fence: u64, outcome: StepOutcome) -> Result<Task, StoreError> {
        let blob = self.stage_blob(task, fence, &outcome).await?;
        let staged = blob.clone();
        let finish = move |db: &Connection, changes: &mut Vec<Change>| {
            steps::finish(db, (task, fence), outcome, staged.as_ref(), now(), changes)
        };
        let finished = self.writer.write_bare(Committed, finish).await;
        finished.inspect_err(|_| blob.iter().for_each(StagedBlob::lost))
    }

    async fn keep_recording(&self, task: TaskId, fence: u64, stage: Stage, recording: Bytes) -> Result<(), StoreError> {
        let blob = self.blobs.stage(recording).await?;
        let staged = blob.clone();
        let keep =
            move |db: &Connection, _: &mut Vec<Change>| recordings::keep(db, (task, fence), stage, &staged, now());
        self.write(Committed, keep).await.inspect_err(|_| blob.lost())
    }

    async fn recording(&self, task: TaskId, stage: Option<Stage>) -> Result<Option<TaskRecording>, StoreError> {
        self.read(move |db| recordings::find(db, task, stage)).await
    }

    async fn cancel(&self, task: TaskId) -> Result<Cancelled, StoreError> {
        self.write(Synced, move |db, changes| steps::cancel(db, task, now(), changes)).await
    }

    async fn retry(&self, task: TaskId, deadline: Option<Timestamp>) -> Result<Retried, StoreError> {
        self.write(Synced, move |db, changes| steps::retry(db, task, deadline, now(), changes)).await
    }

    async fn expire(&self, due: Timestamp, limit: usize) -> Result<Vec<TaskId>, StoreError> {
        // Asked for every second, and mostly for nothing: then no transaction is made.
        if self.read(move |db| Ok(steps::overdue(db, due, 1)?.is_empty())).await? {
            return Ok(Vec::new());
        }
        self.write(Synced, move |db, changes| steps::expire(db, due, limit, now(), changes)).await
    }

    async fn next_deadline(&self) -> Result<Option<Timestamp>, StoreError> {
        self.read(steps::next_deadline).await
    }

    fn volume_snapshot(&self, program: ProgramId) -> Result<Box<dyn VolumeSnapshot>, StoreError> {
        Ok(Box::new(volumes::Snapshot::open(self.readers.take()?, program)?))
    }

    async fn write_volume(&self, program: ProgramId, write: VolumeWrite) -> Result<u64, StoreError> {
        self.write(Synced, move |db, _| volumes::apply(db, program, &write)).await
    }

    async fn replace_volume(&self, program: ProgramId, content: VolumeContent) -> Result<u64, StoreError> {
        self.write(Synced, move |db, _| volumes::replace(db, program, &content)).await
    }

    async fn provers(&self) -> Result<Vec<ProverRecord>, StoreError> {
        self.read(provers::list).await
    }

    async fn add_prover(&self, prover: ProverRecord) -> Result<bool, StoreError> {
        let add = move |db: &Connection, changes: &mut Vec<Change>| {
            let added = provers::add(db, &prover)?;
            changes.extend(added.then_some(Change::Provers));
            Ok(added)
        };
        self.write(Synced, add).await
    }

    async fn remove_prover(&self, owner: &OwnerId, address: &str) -> Result<bool, StoreError> {
        let (owner, address) = (owner.clone(), address.to_owned());
        let remove = move |db: &Connection, changes: &mut Vec<Change>| {
            let removed = provers::remove(db, &owner, &address)?;
            changes.extend(removed.then_some(Change::Provers));
            Ok(removed)
        };
        self.write(Synced, remove).await
    }
}
