//! The traits of the seam, as operations of [`Inner`].
//!
//! What reads, and what is the same done twice, is begun anew when its connection is lost.

use super::PostgresStore;
use crate::{
    Accounts, AddDomain, Admission, ApiKey, AppendBlocks, Backlog, Block, Cancelled, Change, Claim, Collected,
    ControllerVersion, Cursor, DeleteProgram, Delivery, DeliveryId, DeliveryOutcome, Domain, Domains, Event, EventKind,
    InsertProgram, KeyId, NewBlock, NewDomain, NewProgram, NewTask, OpenedBlock, Owner, Page, Program, ProverRecord,
    Retention, Retried, RootRecord, Setter, Stage, StepOutcome, StorageUsage, Store, StoreError, Task, TaskCounts,
    TaskFilter, TaskRecording, Upkeep, VolumeContent, VolumeSnapshot, VolumeWrite, Webhook, WebhookId, Webhooks,
    domain::check_size,
};
use async_trait::async_trait;
use bytes::Bytes;
use coprocessor_merkle::BlockAppend;
use coprocessor_types::{BlobDigest, BlockNumber, DomainId, InstanceId, OwnerId, ProgramId, Root, TaskId};
use jiff::Timestamp;
use std::{sync::Arc, time::Duration};
use tokio::sync::broadcast;

/// An operation's future: it owns what it works with, so that it goes on without its caller.
macro_rules! operation {
    ($store:ident.$how:ident, $inner:ident($($shared:ident),*) => $work:expr) => {{
        $(let $shared = Arc::new($shared);)*
        $store
            .$how(move |$inner| {
                $(let $shared = $shared.clone();)*
                async move { $work.await }
            })
            .await
    }};
}

#[async_trait]
impl Store for PostgresStore {
    fn instance(&self) -> InstanceId {
        self.inner.instance
    }

    fn changes(&self) -> broadcast::Receiver<Change> {
        self.inner.announcer.subscribe()
    }

    async fn flush(&self) -> Result<(), StoreError> {
        operation!(self.call_again, inner() => inner.flush())
    }

    async fn health(&self) -> Result<(), StoreError> {
        operation!(self.call, inner() => inner.health())
    }

    async fn put_blob(&self, content: Bytes) -> Result<BlobDigest, StoreError> {
        operation!(self.call_again, inner(content) => inner.put_blob(&content))
    }

    async fn blob(&self, digest: BlobDigest) -> Result<Bytes, StoreError> {
        operation!(self.call_again, inner() => inner.blob(digest))
    }

    async fn insert_program(&self, program: NewProgram, quota: u64) -> Result<InsertProgram, StoreError> {
        operation!(self.call, inner(program) => inner.insert_program(&program, quota))
    }

    async fn program(&self, id: ProgramId) -> Result<Option<Program>, StoreError> {
        operation!(self.call_again, inner() => inner.program(id))
    }

    async fn programs(
        &self,
        reader: Option<OwnerId>,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Page<Program>, StoreError> {
        operation!(self.call_again, inner(reader, after) => inner.programs((*reader).as_ref(), (*after).as_ref(), limit))
    }

    async fn set_controller(
        &self,
        id: ProgramId,
        controller: BlobDigest,
        by: Setter,
        keep: u64,
    ) -> Result<Option<Program>, StoreError> {
        operation!(self.call_again, inner(by) => inner.set_controller(id, controller, &by, keep))
    }

    async fn controller_versions(
        &self,
        id: ProgramId,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Page<ControllerVersion>, StoreError> {
        operation!(self.call_again, inner(after) => inner.controller_versions(id, (*after).as_ref(), limit))
    }

    async fn controller_version(&self, id: ProgramId, number: u64) -> Result<Option<ControllerVersion>, StoreError> {
        operation!(self.call_again, inner() => inner.controller_version(id, number))
    }

    async fn set_verifying_key(&self, id: ProgramId, key: BlobDigest) -> Result<Option<Program>, StoreError> {
        operation!(self.call_again, inner() => inner.set_verifying_key(id, key))
    }

    async fn delete_program(&self, id: ProgramId) -> Result<DeleteProgram, StoreError> {
        operation!(self.call, inner() => inner.delete_program(id))
    }

    async fn admit(&self, task: NewTask, backlog: Backlog) -> Result<Admission, StoreError> {
        operation!(self.call_again, inner(task) => inner.admit(&task, backlog))
    }

    async fn task(&self, id: TaskId) -> Result<Option<Task>, StoreError> {
        operation!(self.call_again, inner() => inner.task(id))
    }

    async fn tasks(&self, filter: TaskFilter, after: Option<Cursor>, limit: usize) -> Result<Page<Task>, StoreError> {
        operation!(self.call_again, inner(filter, after) => inner.tasks(&filter, (*after).as_ref(), limit))
    }

    async fn events(&self, task: TaskId, after: u64, limit: usize) -> Result<Vec<Event>, StoreError> {
        operation!(self.call_again, inner() => inner.events(task, after, limit))
    }

    async fn owner_events(&self, owner: Option<OwnerId>, after: u64, limit: usize) -> Result<Vec<Event>, StoreError> {
        operation!(self.call_again, inner(owner) => inner.owner_events((*owner).as_ref(), after, limit))
    }

    async fn last_event(&self) -> Result<u64, StoreError> {
        operation!(self.call_again, inner() => inner.last_event())
    }

    async fn task_counts(&self) -> Result<TaskCounts, StoreError> {
        operation!(self.call_again, inner() => inner.task_counts())
    }

    async fn claim(&self, stage: Stage, worker: &str, lease: Duration, limit: usize) -> Result<Vec<Claim>, StoreError> {
        let worker = worker.to_owned();
        operation!(self.call, inner(worker) => inner.claim(stage, &worker, lease, limit))
    }

    async fn next_ready(&self, stage: Stage) -> Result<Option<Timestamp>, StoreError> {
        operation!(self.call_again, inner() => inner.next_ready(stage))
    }

    async fn heartbeat(&self, claims: &[(TaskId, u64)], lease: Duration) -> Result<Vec<(TaskId, u64)>, StoreError> {
        let claims = claims.to_vec();
        operation!(self.call_again, inner(claims) => inner.heartbeat(&claims, lease))
    }

    async fn assign(&self, task: TaskId, fence: u64, node: &str, event: EventKind) -> Result<(), StoreError> {
        let node = node.to_owned();
        operation!(self.call, inner(node, event) => inner.assign(task, fence, &node, &event))
    }

    async fn progress(&self, task: TaskId, fence: u64, event: EventKind) -> Result<(), StoreError> {
        operation!(self.call, inner(event) => inner.progress(task, fence, &event))
    }

    async fn finish_step(&self, task: TaskId, fence: u64, outcome: StepOutcome) -> Result<Task, StoreError> {
        operation!(self.call, inner(outcome) => inner.finish_step(task, fence, &outcome))
    }

    async fn keep_recording(&self, task: TaskId, fence: u64, stage: Stage, recording: Bytes) -> Result<(), StoreError> {
        operation!(self.call_again, inner(recording) => inner.keep_recording((task, fence), stage, &recording))
    }

    async fn recording(&self, task: TaskId, stage: Option<Stage>) -> Result<Option<TaskRecording>, StoreError> {
        operation!(self.call_again, inner() => inner.recording(task, stage))
    }

    async fn cancel(&self, task: TaskId) -> Result<Cancelled, StoreError> {
        operation!(self.call, inner() => inner.cancel(task))
    }

    async fn retry(&self, task: TaskId, deadline: Option<Timestamp>) -> Result<Retried, StoreError> {
        operation!(self.call, inner() => inner.retry(task, deadline))
    }

    async fn expire(&self, now: Timestamp, limit: usize) -> Result<Vec<TaskId>, StoreError> {
        operation!(self.call, inner() => inner.expire(now, limit))
    }

    async fn next_deadline(&self) -> Result<Option<Timestamp>, StoreError> {
        operation!(self.call_again, inner() => inner.next_deadline())
    }

    fn volume_snapshot(&self, program: ProgramId) -> Result<Box<dyn VolumeSnapshot>, StoreError> {
        Ok(Box::new(self.inner.volume_snapshot(program)?))
    }

    async fn write_volume(&self, program: ProgramId, write: VolumeWrite) -> Result<u64, StoreError> {
        operation!(self.call, inner(write) => inner.write_volume(program, &write))
    }

    async fn replace_volume(&self, program: ProgramId, content: VolumeContent) -> Result<u64, StoreError> {
        self.replace(program, content).await
    }

    async fn provers(&self) -> Result<Vec<ProverRecord>, StoreError> {
        operation!(self.call_again, inner() => inner.provers())
    }

    async fn add_prover(&self, prover: ProverRecord) -> Result<bool, StoreError> {
        operation!(self.call, inner(prover) => inner.add_prover(&prover))
    }

    async fn remove_prover(&self, owner: &OwnerId, address: &str) -> Result<bool, StoreError> {
        let (owner, address) = (owner.clone(), address.to_owned());
        operation!(self.call, inner(owner, address) => inner.remove_prover(&owner, &address))
    }
}

#[async_trait]
impl Accounts for PostgresStore {
    async fn owner(&self, id: &OwnerId) -> Result<Option<Owner>, StoreError> {
        let id = id.clone();
        operation!(self.call_again, inner(id) => inner.owner(&id))
    }

    async fn owners(&self, after: Option<Cursor>, limit: usize) -> Result<Page<Owner>, StoreError> {
        operation!(self.call_again, inner(after) => inner.owners((*after).as_ref(), limit))
    }

    async fn put_owner(&self, owner: Owner) -> Result<Owner, StoreError> {
        operation!(self.call_again, inner(owner) => inner.put_owner(&owner))
    }

    async fn volume_bytes(&self, owner: &OwnerId) -> Result<u64, StoreError> {
        let owner = owner.clone();
        operation!(self.call_again, inner(owner) => inner.volume_bytes(&owner))
    }

    async fn add_key(&self, key: ApiKey) -> Result<bool, StoreError> {
        operation!(self.call, inner(key) => inner.add_key(&key))
    }

    async fn key(&self, id: KeyId) -> Result<Option<ApiKey>, StoreError> {
        operation!(self.call_again, inner() => inner.key(id))
    }

    async fn keys(
        &self,
        owner: Option<OwnerId>,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Page<ApiKey>, StoreError> {
        operation!(self.call_again, inner(owner, after) => inner.keys((*owner).as_ref(), (*after).as_ref(), limit))
    }

    async fn revoke_key(&self, id: KeyId, now: Timestamp) -> Result<Option<ApiKey>, StoreError> {
        operation!(self.call_again, inner() => inner.revoke_key(id, now))
    }

    async fn has_keys(&self) -> Result<bool, StoreError> {
        operation!(self.call_again, inner() => inner.has_keys())
    }
}

#[async_trait]
impl Webhooks for PostgresStore {
    async fn add_webhook(&self, webhook: Webhook) -> Result<bool, StoreError> {
        operation!(self.call, inner(webhook) => inner.add_webhook(&webhook))
    }

    async fn webhook(&self, id: WebhookId) -> Result<Option<Webhook>, StoreError> {
        operation!(self.call_again, inner() => inner.webhook(id))
    }

    async fn webhooks(
        &self,
        owner: Option<OwnerId>,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Page<Webhook>, StoreError> {
        operation!(self.call_again, inner(owner, after) => inner.webhooks((*owner).as_ref(), (*after).as_ref(), limit))
    }

    async fn remove_webhook(&self, id: WebhookId) -> Result<bool, StoreError> {
        operation!(self.call, inner() => inner.remove_webhook(id))
    }

    async fn queue_deliveries(&self, limit: usize) -> Result<(usize, bool), StoreError> {
        operation!(self.call, inner() => inner.queue_deliveries(limit))
    }

    async fn claim_deliveries(
        &self,
        lease: Duration,
        limit: usize,
        except: &[WebhookId],
    ) -> Result<Vec<(Delivery, Webhook)>, StoreError> {
        let except = except.to_vec();
        operation!(self.call, inner(except) => inner.claim_deliveries(lease, limit, &except))
    }

    async fn next_delivery(&self) -> Result<Option<Timestamp>, StoreError> {
        operation!(self.call_again, inner() => inner.next_delivery())
    }

    async fn finish_delivery(&self, id: DeliveryId, fence: u64, outcome: DeliveryOutcome) -> Result<bool, StoreError> {
        operation!(self.call, inner(outcome) => inner.finish_delivery(id, fence, &outcome))
    }

    async fn deliveries(
        &self,
        webhook: WebhookId,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Page<Delivery>, StoreError> {
        operation!(self.call_again, inner(after) => inner.deliveries(webhook, (*after).as_ref(), limit))
    }

    async fn redeliver(&self, webhook: WebhookId, delivery: DeliveryId) -> Result<Option<Delivery>, StoreError> {
        operation!(self.call_again, inner() => inner.redeliver(webhook, delivery))
    }
}

#[async_trait]
impl Domains for PostgresStore {
    async fn add_domain(&self, domain: NewDomain) -> Result<AddDomain, StoreError> {
        operation!(self.call, inner(domain) => inner.add_domain(&domain))
    }

    async fn domain(&self, id: DomainId) -> Result<Option<Domain>, StoreError> {
        operation!(self.call_again, inner() => inner.domain(id))
    }

    async fn domains(&self, after: Option<Cursor>, limit: usize) -> Result<Page<Domain>, StoreError> {
        operation!(self.call_again, inner(after) => inner.domains((*after).as_ref(), limit))
    }

    async fn set_domain_controller(&self, id: DomainId, controller: BlobDigest) -> Result<Option<Domain>, StoreError> {
        operation!(self.call_again, inner() => inner.set_domain_controller(id, controller))
    }

    async fn append_blocks(&self, domain: DomainId, blocks: Vec<NewBlock>) -> Result<AppendBlocks, StoreError> {
        check_size(&blocks)?;
        operation!(self.call, inner(blocks) => inner.append_blocks(domain, &blocks))
    }

    async fn block(&self, domain: DomainId, number: BlockNumber) -> Result<Option<Block>, StoreError> {
        operation!(self.call_again, inner() => inner.block(domain, number))
    }

    async fn blocks(&self, domain: DomainId, after: Option<Cursor>, limit: usize) -> Result<Page<Block>, StoreError> {
        operation!(self.call_again, inner(after) => inner.blocks(domain, (*after).as_ref(), limit))
    }

    async fn latest_block(&self, domain: DomainId, at: Root) -> Result<Option<Block>, StoreError> {
        operation!(self.call_again, inner() => inner.latest_block(domain, at))
    }

    async fn current_root(&self) -> Result<RootRecord, StoreError> {
        operation!(self.call_again, inner() => inner.current_root())
    }

    async fn root(&self, root: Root) -> Result<Option<RootRecord>, StoreError> {
        operation!(self.call_again, inner() => inner.root(root))
    }

    async fn roots(&self, after: Option<u64>, limit: usize) -> Result<Vec<RootRecord>, StoreError> {
        operation!(self.call_again, inner() => inner.roots(after, limit))
    }

    async fn open_block(&self, root: Root, domain: DomainId, number: BlockNumber) -> Result<OpenedBlock, StoreError> {
        operation!(self.call_again, inner() => inner.open_block(root, domain, number))
    }

    async fn open_instance(&self, root: Root) -> Result<Vec<Root>, StoreError> {
        operation!(self.call_again, inner() => inner.open_instance(root))
    }

    async fn transitions(&self, from: u64, to: u64, limit: usize) -> Result<Vec<BlockAppend>, StoreError> {
        operation!(self.call_again, inner() => inner.transitions((from, to), limit))
    }

    async fn prune_roots(&self, before: Timestamp, limit: usize) -> Result<(u64, bool), StoreError> {
        operation!(self.call, inner() => inner.prune_roots(before, limit))
    }
}

#[async_trait]
impl Upkeep for PostgresStore {
    async fn usage(&self) -> Result<StorageUsage, StoreError> {
        operation!(self.call_again, inner() => inner.usage())
    }

    async fn collect(&self, retention: &Retention, now: Timestamp, limit: usize) -> Result<Collected, StoreError> {
        let retention = *retention;
        operation!(self.call, inner() => inner.collect(&retention, now, limit))
    }

    async fn contradictions(&self) -> Result<Vec<String>, StoreError> {
        operation!(self.call_again, inner() => inner.contradictions())
    }
}
