//! A history done to a store and to the model, which must agree after each operation and at the end.

use super::{
    super::{
        Backing,
        fixture::{HOUR, ROOM, by, event, failure, in_an_hour, owner, postponed, volume},
    },
    operation::{Aged, ClaimOf, Fence, How, KEYS, OWNERS, Operation, PROGRAMS, Submit, Which},
    reference::{Admitted, Hold, Model, ModelEvent, ModelProgram, ModelTask, Remembered, waiting},
};
use bytes::Bytes;
use coprocessor_store::{
    Admission, Backlog, Cancelled, Collected, DeleteProgram, Event, Idempotency, InsertProgram, MAX_PRIORITY,
    NewProgram, NewTask, Owner, Quotas, Retention, Retried, Stage, StepOutcome, Store, StoreError, Task, TaskFilter,
    TaskState, VolumeWrite,
};
use coprocessor_types::{Backend, BlobDigest, OwnerId, ProgramId, ProofKind, Root, TaskId};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use std::{collections::BTreeMap, time::Duration};

const OWNER_NAMES: [&str; OWNERS] = ["alice", "bob", "carol"];
const PAGE: u32 = 3;
/// After how many operations all is looked at, and not just tasks and events. Histories end anywhere, and are looked at
/// then too.
const CHECK_REST: usize = 5;

/// Where the store and the model part.
#[derive(Debug)]
pub(super) struct Deviation(pub(super) String);

impl From<StoreError> for Deviation {
    fn from(error: StoreError) -> Self {
        Self(format!("the store failed, which the model does not: {error:?}"))
    }
}

macro_rules! agree {
    ($got:expr, $expected:expr, $($what:tt)+) => {{
        let (got, expected) = (&$got, &$expected);
        if got != expected {
            return Err(Deviation(format!("{}: the store says {got:?}, the model {expected:?}", format_args!($($what)+))));
        }
    }};
}

macro_rules! require {
    ($condition:expr, $($what:tt)+) => {
        if !$condition {
            return Err(Deviation(format!($($what)+)));
        }
    };
}

type Agreed = Result<(), Deviation>;

/// Empties a store and does a history to it. With two processes on it, they take turns.
pub(super) async fn replay<B: Backing>(backing: &mut B, history: &[Operation]) -> Agreed {
    backing.clear().await;
    let second = backing.second().await;
    // Deadlines are hours after this, and each task's is its own.
    let mut replay = Replay { epoch: in_an_hour(), model: Model::default(), events: Vec::new() };
    for program in 0..PROGRAMS {
        replay.deploy(&*backing.store(), program).await?;
    }
    for (index, operation) in history.iter().enumerate() {
        let context = |Deviation(what)| Deviation(format!("after operation {index}, {operation:?}: {what}"));
        if matches!(operation, Operation::Reopen) {
            backing.reopen().await;
            replay.model.reopen(B::VOIDS_LEASES);
        }
        let process = index % 2;
        let store = second.as_ref().filter(|_| process == 1).cloned().unwrap_or_else(|| backing.store());
        let process = if second.is_some() { process } else { 0 };
        replay.apply(&*store, process, index, operation).await.map_err(context)?;
        replay.check_tasks(&*store).await.map_err(context)?;
        replay.check_events(&*store).await.map_err(context)?;
        if index % CHECK_REST == 0 {
            replay.check_rest(&*store).await.map_err(context)?;
        }
    }
    replay.check_rest(&*backing.store()).await?;
    replay.check_keys(&*backing.store()).await?;
    replay.collect(&*backing.store(), Aged::Blobs, 0).await?;
    replay.check_history(&*backing.store()).await?;
    replay.check_end(&*backing.store()).await
}

struct Replay {
    epoch: Timestamp,
    model: Model,
    /// All that were ever appended, with the model's number of their tasks.
    events: Vec<(usize, Event)>,
}

impl Replay {
    async fn apply(&mut self, store: &dyn Store, process: usize, index: usize, operation: &Operation) -> Agreed {
        match *operation {
            Operation::Submit(ref submit) => self.submit(store, submit).await,
            Operation::Claim { worker, stage, limit, lapsed } => {
                let stage = self.stage(stage);
                self.claim(store, process, worker, stage, limit, lapsed).await
            }
            Operation::Heartbeat { worker, lapsed } => self.heartbeat(store, worker, lapsed).await,
            Operation::Crash { worker } => {
                self.heartbeat(store, worker, true).await?;
                self.model.workers[worker].clear();
                Ok(())
            }
            Operation::Assign { claim, node } => self.assign(store, claim, node).await,
            Operation::Progress { claim } => self.progress(store, claim).await,
            Operation::Finish { claim, how } => self.finish(store, index, claim, how).await,
            Operation::Cancel { task } => self.cancel(store, task).await,
            Operation::Retry { task, failed, deadline } => self.retry(store, task, failed, deadline).await,
            Operation::Expire { hours, limit } => self.expire(store, hours, limit).await,
            Operation::Deploy { program } => self.deploy(store, program).await,
            Operation::SetController { program, version } => self.set_controller(store, program, version).await,
            Operation::Delete { program } => self.delete(store, program).await,
            Operation::WriteVolume { program, outdated } => self.write_volume(store, index, program, outdated).await,
            Operation::SetWeight { owner, weight } => self.set_weight(store, owner, weight).await,
            Operation::Collect { what, up_to } => self.collect(store, what, up_to).await,
            Operation::Reopen => Ok(()),
        }
    }

    async fn submit(&mut self, store: &dyn Store, submit: &Submit) -> Agreed {
        let Submit { owner, program, key, priority, deadline, total, of_owner } = *submit;
        let Some(known) = &self.model.programs[program] else {
            let new = NewTask { program: program_id(program), ..template() };
            let got = store.admit(new, ROOM).await;
            require!(matches!(got, Err(StoreError::UnknownProgram(_))), "a task of no program: {got:?}");
            return Ok(());
        };
        let controller = known.program.controller;
        let number = self.model.tasks.len();
        let new = NewTask {
            owner: name(owner),
            priority: priority * MAX_PRIORITY,
            deadline: deadline.map(|hours| self.deadline(hours, number)),
            record: false,
            idempotency: key
                .map(|(key, request)| Idempotency { key: key.to_string(), request: BlobDigest([request; 32]) }),
            program: program_id(program),
            controller,
            circuit: known.program.circuit,
            ..template()
        };
        let (total, of_owner) = (total.unwrap_or(u64::MAX), of_owner.unwrap_or(u64::MAX));
        let expected = self.model.admission(owner, program, key, total, of_owner);
        match (store.admit(new.clone(), Backlog { total, owner: of_owner }).await?, expected) {
            (Admission::Admitted(task), Admitted::New) => {
                agree!(task.id, new.id, "the new task");
                self.admitted(&new, owner, program, controller);
                if let Some((key, request)) = key {
                    self.model.keys.insert((owner, program, key), (request, number));
                }
            }
            (Admission::Repeated(task), Admitted::Repeated(before)) => {
                agree!(task.id, self.model.tasks[before].id, "the repeated task");
            }
            (Admission::KeyReused(task), Admitted::KeyReused(before)) => {
                agree!(task, self.model.tasks[before].id, "the task with that key");
            }
            (Admission::BacklogFull, Admitted::Refused { total: true, .. })
            | (Admission::OwnerBacklogFull, Admitted::Refused { of_owner: true, .. }) => {}
            (got, expected) => return Err(Deviation(format!("the store says {got:?}, the model {expected:?}"))),
        }
        Ok(())
    }

    fn admitted(&mut self, new: &NewTask, owner: usize, program: usize, controller: BlobDigest) {
        let number = self.model.tasks.len();
        self.model.tasks.push(ModelTask {
            id: new.id,
            program,
            owner,
            controller,
            priority: new.priority,
            deadline: new.deadline,
            state: TaskState::Queued,
            fence: 0,
            attempts: 0,
            hold: Hold::Nobody,
            later: None,
            node: None,
            witness: None,
            proof: None,
            output: None,
            result: None,
            failure: None,
            finished_at: None,
            gone: false,
        });
        self.model.append(number, "admitted");
    }

    async fn claim(
        &mut self,
        store: &dyn Store,
        process: usize,
        worker: usize,
        stage: Stage,
        limit: usize,
        lapsed: bool,
    ) -> Agreed {
        let lease = if lapsed { Duration::ZERO } else { HOUR };
        let claims = store.claim(stage, &format!("worker {worker}"), lease, limit).await?;
        let ready: usize = (0..OWNERS).map(|owner| self.model.ready(stage, owner).len()).sum();
        agree!(claims.len(), limit.min(ready), "the number of claims");
        // Those of this batch are held from then on, even where their leases run out at once.
        let mut lapsing = Vec::new();
        for claim in claims {
            let number = self.number(claim.task.id)?;
            let owner = self.model.tasks[number].owner;
            let ready = [0, 1, 2].map(|owner| self.model.ready(stage, owner));
            agree!(Some(&number), ready[owner].first(), "the next task of {}", OWNER_NAMES[owner]);
            let passed_over = self.model.turns.serve(process, stage, owner, ready.map(|ready| !ready.is_empty()));
            require!(passed_over.is_none(), "owner {passed_over:?} is passed over for {owner}");
            self.model.claim(number, stage, false);
            lapsing.extend(lapsed.then_some(number));
            agree!(claim.stage, stage, "the claim's stage");
            agree!(claim.task.fence, self.model.tasks[number].fence, "the claim's fence");
            self.model.remember(worker, number, claim.task.fence);
        }
        for number in lapsing {
            self.model.tasks[number].hold = Hold::Lapsed;
        }
        Ok(())
    }

    async fn heartbeat(&mut self, store: &dyn Store, worker: usize, lapsed: bool) -> Agreed {
        let claims = &self.model.workers[worker];
        let asked: Vec<_> = claims.iter().map(|claim| (self.model.tasks[claim.task].id, claim.fence)).collect();
        let holds = |claim: &Remembered| self.model.tasks[claim.task].is_held_under(claim.fence);
        let (held, over): (Vec<Remembered>, Vec<Remembered>) = claims.iter().partition(|claim| holds(claim));
        let mut expected: Vec<_> =
            over.into_iter().map(|claim| (self.model.tasks[claim.task].id, claim.fence)).collect();
        let mut got = store.heartbeat(&asked, if lapsed { Duration::ZERO } else { HOUR }).await?;
        expected.sort_unstable();
        got.sort_unstable();
        agree!(got, expected, "claims that are over");
        for claim in held {
            self.model.tasks[claim.task].hold = if lapsed { Hold::Lapsed } else { Hold::Leased };
        }
        Ok(())
    }

    /// The claim meant, and the fence given for it; `None` where none is remembered.
    fn remembered(&self, claim: ClaimOf) -> Option<Remembered> {
        let mut claims: Vec<_> = self.model.workers.iter().flatten().collect();
        claims.sort_by_key(|claim| std::cmp::Reverse(claim.number));
        let &&Remembered { task, fence, number } = claims.get(claim.claim.checked_rem(claims.len())?)?;
        let fence = match claim.fence {
            Fence::Its => fence,
            Fence::OneLess => fence - 1,
            Fence::OneMore => fence + 1,
        };
        Some(Remembered { task, fence, number })
    }

    fn stage(&self, which: Which) -> Stage {
        let mut ready = Stage::ALL.into_iter().filter(|stage| self.model.any_ready(*stage));
        match which {
            Which::Ready { latest } => if latest { ready.next_back() } else { ready.next() }.unwrap_or(Stage::Execute),
            Which::Of(stage) => stage,
        }
    }

    /// Whether a write under a claim should be done; where it should not, `got` must say why.
    fn is_allowed<T: std::fmt::Debug>(
        &self,
        claim: Remembered,
        got: &Result<T, StoreError>,
    ) -> Result<bool, Deviation> {
        let task = &self.model.tasks[claim.task];
        if task.is_held_under(claim.fence) {
            return Ok(true);
        }
        let refused = match got {
            Err(StoreError::StaleFence { task: id, fence }) => !task.gone && *id == task.id && *fence == claim.fence,
            Err(StoreError::UnknownTask(id)) => task.gone && *id == task.id,
            _ => false,
        };
        require!(refused, "a write under fence {} of {task:?} came to {got:?}", claim.fence);
        Ok(false)
    }

    async fn assign(&mut self, store: &dyn Store, claim: ClaimOf, node: u8) -> Agreed {
        let Some(claim) = self.remembered(claim) else { return Ok(()) };
        let node = format!("http://node-{node}");
        let got = store.assign(self.model.tasks[claim.task].id, claim.fence, &node, event("assigned")).await;
        if self.is_allowed(claim, &got)? {
            got?;
            self.model.tasks[claim.task].node = Some(node);
            self.model.append(claim.task, "assigned");
        }
        Ok(())
    }

    async fn progress(&mut self, store: &dyn Store, claim: ClaimOf) -> Agreed {
        let Some(claim) = self.remembered(claim) else { return Ok(()) };
        let got = store.progress(self.model.tasks[claim.task].id, claim.fence, event("progress")).await;
        if self.is_allowed(claim, &got)? {
            got?;
            self.model.append(claim.task, "progress");
        }
        Ok(())
    }

    async fn finish(&mut self, store: &dyn Store, index: usize, claim: ClaimOf, how: How) -> Agreed {
        let Some(claim) = self.remembered(claim) else { return Ok(()) };
        let task = &self.model.tasks[claim.task];
        let (id, program) = (task.id, task.program);
        let stage = task.state.stage().unwrap_or(Stage::Execute);
        let (writes, outdated) =
            if let How::Succeed { writes, outdated } = how { (writes, outdated) } else { (false, false) };
        let mark = format!("{index}:{}/{};", claim.task, claim.fence);
        let write = if writes { self.write(program, outdated, &mark) } else { VolumeWrite::default() };
        let outcome = match how {
            How::Succeed { .. } => success(stage, &mark, write),
            How::As(other) => success(other, &mark, write),
            How::Postpone { later, counts } => {
                postponed(if later { self.epoch } else { Timestamp::UNIX_EPOCH }, counts)
            }
            How::Fail { retryable } => {
                StepOutcome::Failed { failure: failure(stage, retryable), event: event("failed") }
            }
        };
        let got = store.finish_step(id, claim.fence, outcome.clone()).await;
        if !self.is_allowed(claim, &got)? {
            return Ok(());
        }
        if matches!(how, How::As(other) if other != stage) {
            require!(matches!(got, Err(StoreError::WrongState { .. })), "an outcome of another stage: {got:?}");
            return Ok(());
        }
        let writes = writes && stage != Stage::Prove;
        if writes && outdated {
            require!(matches!(got, Err(StoreError::VolumeConflict { .. })), "an outdated write: {got:?}");
            return Ok(());
        }
        let after = got?;
        if writes {
            self.written(program, &mark);
        }
        self.finished(claim.task, outcome, &after);
        Ok(())
    }

    fn finished(&mut self, number: usize, outcome: StepOutcome, after: &Task) {
        let task = &mut self.model.tasks[number];
        let stage = task.state.stage().expect("a task that is held is not finished");
        let (state, name) = match outcome {
            StepOutcome::Executed { witness, .. } => {
                task.witness = Some(BlobDigest::of(&witness));
                (TaskState::Proving, "executed")
            }
            StepOutcome::Proved { proof, output, .. } => {
                (task.proof, task.output) = (Some(BlobDigest::of(&proof)), Some(output.to_vec()));
                (TaskState::Delivering, "proved")
            }
            StepOutcome::Delivered { result, .. } => {
                task.result = Some(result);
                (TaskState::Delivered, "delivered")
            }
            StepOutcome::Postponed { until, counts, .. } => {
                task.attempts += u32::from(counts);
                self.model.advance(number, waiting(stage), "postponed");
                self.model.tasks[number].later = (until > Timestamp::UNIX_EPOCH).then_some(until);
                return;
            }
            StepOutcome::Failed { failure, .. } => {
                task.failure = Some(failure);
                (TaskState::Failed, "failed")
            }
        };
        if state != TaskState::Failed {
            task.attempts = 0;
        }
        task.finished_at = state.is_finished().then_some(after.updated_at);
        self.model.advance(number, state, name);
    }

    async fn cancel(&mut self, store: &dyn Store, task: usize) -> Agreed {
        let Some(number) = self.any_task(task) else { return Ok(()) };
        let task = &mut self.model.tasks[number];
        match store.cancel(task.id).await? {
            Cancelled::Unknown => require!(task.gone, "the store knows no task {}", task.id),
            Cancelled::Finished(_) => require!(!task.gone && task.state.is_finished(), "{task:?} is not finished"),
            Cancelled::Cancelled(after) => {
                require!(!task.gone && !task.state.is_finished(), "{task:?} is not cancelled");
                task.fence += 1;
                task.finished_at = Some(after.updated_at);
                self.model.advance(number, TaskState::Cancelled, "cancelled");
            }
        }
        Ok(())
    }

    async fn retry(&mut self, store: &dyn Store, task: usize, failed: bool, deadline: Option<u8>) -> Agreed {
        let have_failed = self.model.failed();
        let number = if failed {
            task.checked_rem(have_failed.len()).map(|index| have_failed[index])
        } else {
            self.any_task(task)
        };
        let Some(number) = number else { return Ok(()) };
        let deadline = deadline.map(|hours| self.deadline(hours, number));
        let (id, gone) = (self.model.tasks[number].id, self.model.tasks[number].gone);
        let got = store.retry(id, deadline).await?;
        let expected = !gone && self.model.retry(number, deadline);
        let agreed = match got {
            Retried::Unknown => gone,
            Retried::Refused(_) => !gone && !expected,
            Retried::Retried(_) => expected,
        };
        require!(agreed, "a retry came to {got:?}");
        Ok(())
    }

    async fn expire(&mut self, store: &dyn Store, hours: u8, limit: usize) -> Agreed {
        // All of that hour's, however many tasks there are.
        let now = self.epoch + SignedDuration::from_hours(i64::from(hours)) + SignedDuration::from_mins(59);
        let mut got = store.expire(now, limit).await?;
        let mut expected = self.model.expired(now);
        expected.truncate(limit);
        let mut ids: Vec<_> = expected.iter().map(|&number| self.model.tasks[number].id).collect();
        got.sort_unstable();
        ids.sort_unstable();
        agree!(got, ids, "tasks past their deadline");
        for number in expected {
            let after = store.task(self.model.tasks[number].id).await?;
            let Some(Task { fence, failure: Some(failure), updated_at, .. }) = after else {
                return Err(Deviation(format!("a task past its deadline is {after:?}")));
            };
            let task = &mut self.model.tasks[number];
            agree!(Some(failure.stage), task.state.stage(), "the stage it failed in");
            agree!((failure.code.as_str(), failure.retryable), ("deadline_exceeded", true), "its failure");
            require!(fence == task.fence || fence == task.fence + 1, "fence {fence} after {}", task.fence);
            (task.fence, task.failure, task.finished_at) = (fence, Some(failure), Some(updated_at));
            self.model.advance(number, TaskState::Failed, "failed");
        }
        Ok(())
    }

    async fn deploy(&mut self, store: &dyn Store, program: usize) -> Agreed {
        let circuit = Bytes::from(format!("circuit {program}"));
        let new = NewProgram {
            id: program_id(program),
            owner: name(program),
            key: None,
            name: String::new(),
            public: true,
            backend: Backend::Sp1,
            controller: store.put_blob(Bytes::from_static(b"first controller")).await?,
            circuit: store.put_blob(circuit).await?,
            verifying_key: None,
            nonce: 1,
            volume_size: 1 << 20,
        };
        match (store.insert_program(new, u64::MAX).await?, &mut self.model.programs[program]) {
            (InsertProgram::Exists(got), Some(known)) => agree!(got, known.program, "the program that is there"),
            (InsertProgram::Inserted(program), slot @ None) => {
                let named = [program.controller, program.circuit].into();
                *slot = Some(ModelProgram { program, named, version: 0, page: Vec::new() });
            }
            (got, expected) => return Err(Deviation(format!("{got:?}, but there is {expected:?}"))),
        }
        Ok(())
    }

    async fn set_controller(&mut self, store: &dyn Store, program: usize, version: u8) -> Agreed {
        let controller = store.put_blob(Bytes::from(format!("controller {version}"))).await?;
        let got = store.set_controller(program_id(program), controller, by("alice"), u64::MAX).await?;
        agree!(got.is_some(), self.model.programs[program].is_some(), "whether the program is there");
        if let (Some(got), Some(known)) = (got, &mut self.model.programs[program]) {
            known.named.insert(controller);
            known.program = got;
        }
        Ok(())
    }

    async fn delete(&mut self, store: &dyn Store, program: usize) -> Agreed {
        let known = self.model.programs[program].is_some();
        let expected = match self.model.delete(program) {
            _ if !known => DeleteProgram::Unknown,
            0 => DeleteProgram::Deleted,
            unfinished => DeleteProgram::Busy { unfinished },
        };
        agree!(store.delete_program(program_id(program)).await?, expected, "deleting");
        Ok(())
    }

    async fn write_volume(&mut self, store: &dyn Store, index: usize, program: usize, outdated: bool) -> Agreed {
        let mark = format!("{index};");
        let write = self.write(program, outdated, &mark);
        match (store.write_volume(program_id(program), write).await, &self.model.programs[program]) {
            (Err(StoreError::UnknownProgram(_)), None) => {}
            (Err(StoreError::VolumeConflict { .. }), Some(_)) if outdated => {}
            (Ok(version), Some(known)) if !outdated => {
                agree!(version, known.version + 1, "the volume's version");
                self.written(program, &mark);
            }
            (got, known) => return Err(Deviation(format!("a write came to {got:?}, there is {known:?}"))),
        }
        Ok(())
    }

    /// What a controller does: it adds its mark to what it read, or read once.
    fn write(&self, program: usize, outdated: bool, mark: &str) -> VolumeWrite {
        let (version, page) =
            self.model.programs[program].as_ref().map_or((0, &[][..]), |known| (known.version, &known.page));
        let based_on = if outdated { version.checked_sub(1).unwrap_or(9) } else { version };
        VolumeWrite { based_on, pages: vec![(PAGE, Some([page, mark.as_bytes()].concat()))], ..VolumeWrite::default() }
    }

    fn written(&mut self, program: usize, mark: &str) {
        let known = self.model.programs[program].as_mut().expect("a volume is written with its program");
        known.version += 1;
        known.page.extend(mark.as_bytes());
    }

    async fn set_weight(&mut self, store: &dyn Store, owner: usize, weight: u32) -> Agreed {
        let settings = Owner { id: name(owner), weight, quotas: Quotas::default(), created_at: self.epoch };
        agree!(store.put_owner(settings).await?.weight, weight, "the weight");
        self.model.turns.set_weight(owner, weight);
        Ok(())
    }

    async fn collect(&mut self, store: &dyn Store, what: Aged, up_to: usize) -> Agreed {
        let all = Retention {
            witnesses: None,
            proofs: None,
            recordings: None,
            tasks: None,
            deliveries: None,
            unnamed_blobs: HOUR,
        };
        let age = |of: Aged| (what == of).then_some(HOUR);
        let retention =
            Retention { witnesses: age(Aged::Witnesses), proofs: age(Aged::Proofs), tasks: age(Aged::Tasks), ..all };
        let up_to = self.any_task(up_to).and_then(|number| self.model.tasks[number].finished_at);
        if let Some(up_to) = up_to.filter(|_| what != Aged::Blobs) {
            let now = up_to + SignedDuration::from_hours(1) + SignedDuration::from_micros(1);
            let got = store.collect(&retention, now, usize::MAX).await?;
            let count = self.model.collect(what, up_to);
            let of = |kind: Aged| if what == kind { count } else { 0 };
            agree!(
                (got.witnesses, got.proofs, got.tasks),
                (of(Aged::Witnesses), of(Aged::Proofs), of(Aged::Tasks)),
                "what aged out"
            );
        }
        if what == Aged::Blobs {
            let now = self.epoch + SignedDuration::from_hours(1);
            while store.collect(&retention, now, usize::MAX).await? != Collected::default() {}
            let named = self.model.named_blobs();
            agree!(store.usage().await?.blobs, named.len() as u64, "blobs that are left");
            for blob in named {
                store.blob(blob).await?;
            }
        }
        Ok(())
    }
}

/// What must hold after an operation, and at the end.
impl Replay {
    async fn check_rest(&self, store: &dyn Store) -> Agreed {
        for (state, count) in store.task_counts().await?.0 {
            let there = |task: &&ModelTask| !task.gone && task.state == state;
            agree!(count, self.model.tasks.iter().filter(there).count() as u64, "the number of tasks {state}");
        }
        agree!(store.next_deadline().await?, self.model.next_deadline(), "the next deadline");
        let now = Timestamp::now();
        for stage in Stage::ALL {
            let next = store.next_ready(stage).await?;
            // What is ready already may be among them or not.
            let agreed = match (self.model.any_ready(stage), self.model.any_waits(stage)) {
                (false, false) => next.is_none(),
                (false, true) => next.is_some_and(|next| next > now),
                (true, false) => next.is_none_or(|next| next <= now),
                (true, true) => next.is_some(),
            };
            require!(agreed, "{stage:?} is ready next at {next:?}");
        }
        for (program, known) in self.model.programs.iter().enumerate() {
            let there = store.program(program_id(program)).await?;
            agree!(there.as_ref(), known.as_ref().map(|known| &known.program), "program {program}");
            if let Some(known) = known {
                let page = Some(known.page.clone()).filter(|page| !page.is_empty());
                agree!(volume(store, known.program.id, [PAGE]), (known.version, [page]), "the volume of {program}");
            }
        }
        Ok(())
    }

    async fn check_tasks(&self, store: &dyn Store) -> Agreed {
        let listed = store.tasks(TaskFilter::default(), None, usize::MAX).await?.items;
        let there: Vec<_> = self.model.tasks.iter().rev().filter(|task| !task.gone).collect();
        let ids = |ids: &mut dyn Iterator<Item = TaskId>| ids.collect::<Vec<_>>();
        agree!(
            ids(&mut listed.iter().map(|task| task.id)),
            ids(&mut there.iter().map(|task| task.id)),
            "tasks that are there"
        );
        for (task, expected) in listed.iter().zip(there) {
            let owner = OWNER_NAMES[expected.owner];
            let agreed = expected.agrees_with(task, owner) && task.program == program_id(expected.program);
            require!(agreed, "a task of {owner}: the store says {task:?}, the model {expected:?}");
        }
        Ok(())
    }

    /// What was appended since the last check is what the model says.
    async fn check_events(&mut self, store: &dyn Store) -> Agreed {
        let after = self.events.last().map_or(0, |(_, event)| event.seq);
        let mut got = Vec::new();
        let mut expected = std::mem::take(&mut self.model.appended);
        for event in store.owner_events(None, after, usize::MAX).await? {
            require!(event.seq > self.events.last().map_or(0, |(_, last)| last.seq), "{event:?} is out of order");
            let task = self.number(event.task)?;
            got.push(ModelEvent { task, name: event.kind.name.clone(), state: event.state });
            self.events.push((task, event));
        }
        got.sort();
        expected.sort();
        agree!(got, expected, "new events");
        let last = store.last_event().await?;
        let there = self.events.iter().rfind(|(task, _)| !self.model.tasks[*task].gone);
        let range = there.map_or(0, |(_, event)| event.seq)..=self.events.last().map_or(0, |(_, event)| event.seq);
        require!(range.contains(&last), "the last event is {last}, not in {range:?}");
        Ok(())
    }

    /// Every key is that of the request it was used for, or free: then there is no room, so that asking changes nothing.
    async fn check_keys(&mut self, store: &dyn Store) -> Agreed {
        for (owner, program) in (0..OWNERS).flat_map(|owner| (0..PROGRAMS).map(move |program| (owner, program))) {
            for key in 0..KEYS {
                let (key, total) = (Some((key, 0)), Some(0));
                let ask = Submit { owner, program, key, priority: 0, deadline: None, total, of_owner: None };
                self.submit(store, &ask).await?;
            }
        }
        Ok(())
    }

    /// Each task's history is whole, owners' are made of them, fences only grow, and each delivery has left one mark.
    async fn check_history(&self, store: &dyn Store) -> Agreed {
        let mut of_owners = BTreeMap::<usize, Vec<Event>>::new();
        let there = self.events.iter().filter(|(task, _)| !self.model.tasks[*task].gone);
        for (task, event) in there.clone() {
            of_owners.entry(self.model.tasks[*task].owner).or_default().push(event.clone());
        }
        agree!(
            store.owner_events(None, 0, usize::MAX).await?,
            there.clone().map(|(_, event)| event.clone()).collect::<Vec<_>>(),
            "all events"
        );
        for owner in 0..OWNERS {
            let expected = of_owners.remove(&owner).unwrap_or_default();
            agree!(store.owner_events(Some(name(owner)), 0, usize::MAX).await?, expected, "events of {owner}");
        }
        for (number, task) in self.model.tasks.iter().enumerate().filter(|(_, task)| !task.gone) {
            let expected: Vec<_> =
                there.clone().filter(|(of, _)| *of == number).map(|(_, event)| event.clone()).collect();
            let events = store.events(task.id, 0, usize::MAX).await?;
            agree!(events, expected, "events of {task:?}");
            let fences = events.iter().filter_map(|event| event.kind.detail["fence"].as_u64());
            require!(fences.clone().is_sorted_by(|one, next| one < next), "fences of {task:?} do not grow");
            require!(fences.clone().all(|fence| fence <= task.fence), "{task:?} has an older fence");
            for blob in [task.witness, task.proof].into_iter().flatten() {
                store.blob(blob).await?;
            }
        }
        agree!(store.contradictions().await?, Vec::<String>::new(), "what the rows contradict each other in");
        Ok(())
    }

    /// All can be taken away again, and leaves nothing behind.
    async fn check_end(&mut self, store: &dyn Store) -> Agreed {
        for number in 0..self.model.tasks.len() {
            self.cancel(store, number).await?;
        }
        self.check_events(store).await?;
        for program in 0..PROGRAMS {
            self.delete(store, program).await?;
        }
        self.collect(store, Aged::Blobs, 0).await?;
        self.check_tasks(store).await?;
        agree!(store.contradictions().await?, Vec::<String>::new(), "what the rows contradict each other in");
        self.check_rest(store).await
    }

    fn number(&self, id: TaskId) -> Result<usize, Deviation> {
        let number = self.model.tasks.iter().position(|task| task.id == id && !task.gone);
        number.ok_or_else(|| Deviation(format!("the model knows no task {id}")))
    }

    fn any_task(&self, task: usize) -> Option<usize> {
        task.checked_rem(self.model.tasks.len())
    }

    fn deadline(&self, hours: u8, number: usize) -> Timestamp {
        self.epoch + SignedDuration::from_hours(i64::from(hours)) + SignedDuration::from_secs(number as i64)
    }
}

/// A request, but for what it is about.
fn template() -> NewTask {
    NewTask {
        id: TaskId::now(),
        program: program_id(0),
        owner: name(0),
        controller: BlobDigest([0; 32]),
        circuit: BlobDigest([0; 32]),
        kind: ProofKind::Mock,
        root: Root([7; 32]),
        args: json!({}),
        payload: json!(null),
        priority: 0,
        deadline: None,
        record: false,
        idempotency: None,
    }
}

fn name(owner: usize) -> OwnerId {
    self::owner(OWNER_NAMES[owner])
}

fn program_id(program: usize) -> ProgramId {
    ProgramId::derive(format!("circuit {program}").as_bytes(), 1)
}

/// What a stage asks for, with content of its own.
fn success(stage: Stage, mark: &str, volume: VolumeWrite) -> StepOutcome {
    match stage {
        Stage::Execute => {
            StepOutcome::Executed { witness: Bytes::from(format!("witness {mark}")), volume, event: event("executed") }
        }
        Stage::Prove => StepOutcome::Proved {
            proof: Bytes::from(format!("proof {mark}")),
            output: Bytes::from(format!("output {mark}")),
            event: event("proved"),
        },
        Stage::Deliver => StepOutcome::Delivered { volume, result: json!(mark), event: event("delivered") },
    }
}
