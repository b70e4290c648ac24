//! Admission, order, slots and memory.

use bytes::Bytes;
use coprocessor_types::{Backend, ProofKind, TaskId};
use futures::stream::BoxStream;
use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Instant,
};
use tokio::sync::{Semaphore, watch};

use super::{Circuits, NodeConfig, Readiness, circuits::Circuit, job::Record, machine, thread};
use crate::{
    BackendInfo, BackendState, Execution, ExecutionLimits, Job, JobEvent, JobKey, NodeError, Progress, Proof,
    ProvingBackend, SlotUse,
};

/// How often a job may be passed by later ones that fit into the memory that is free, before it is waited for.
const MAX_PASSED: u32 = 8;
/// Executions that may wait; more are refused.
const MAX_WAITING_EXECUTIONS: u32 = 1024;
/// Key set-ups at once: one of them uses the whole machine.
const SET_UPS: usize = 2;

type Events = BoxStream<'static, Result<JobEvent, NodeError>>;

pub(super) struct Core {
    pub(super) backends: Vec<Arc<dyn ProvingBackend>>,
    /// By backend: how able it is, where that changes.
    states: Vec<Option<watch::Receiver<BackendState>>>,
    pub(super) config: NodeConfig,
    pub(super) circuits: Circuits,
    pub(super) readiness: watch::Sender<Readiness>,
    /// Jobs on a slot.
    pub(super) running: watch::Sender<u32>,
    pub(super) set_ups: Semaphore,
    executions: Semaphore,
    waiting_executions: AtomicU32,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    jobs: HashMap<TaskId, Entry>,
    /// Executed, in the order in which they will be proved.
    ready: VecDeque<Waiting>,
    /// Being executed, or waiting for that.
    executing: u32,
    running: u32,
    /// Set aside for what runs.
    memory: u64,
    /// Ended, the oldest first.
    finished: VecDeque<(Instant, Arc<Record>)>,
    /// Bytes of proofs that those hold.
    held: usize,
    draining: bool,
    /// By backend: why it cannot prove.
    unfit: HashMap<usize, String>,
}

struct Entry {
    fence: u64,
    record: Arc<Record>,
}

struct Waiting {
    record: Arc<Record>,
    circuit: Arc<Circuit>,
    input: Bytes,
    cycles: u64,
    passed: u32,
}

impl Core {
    pub(super) fn new(backends: Vec<Arc<dyn ProvingBackend>>, config: NodeConfig) -> Arc<Self> {
        Arc::new(Self {
            circuits: Circuits::new(&config, backends.len()),
            readiness: watch::Sender::new(Readiness::Ready),
            running: watch::Sender::new(0),
            set_ups: Semaphore::new(SET_UPS),
            executions: Semaphore::new(config.executions.get() as usize),
            waiting_executions: AtomicU32::new(0),
            state: Mutex::default(),
            states: backends.iter().map(|backend| backend.state()).collect(),
            backends,
            config,
        })
    }

    /// The backends as they are here: without what cannot be made ready or needs more memory than there is.
    pub(super) fn infos(&self) -> Vec<BackendInfo> {
        let unfit = self.state().unfit.clone();
        let mut infos: Vec<_> = self.backends.iter().map(|backend| backend.info()).collect();
        for (index, info) in infos.iter_mut().enumerate() {
            let missing = &mut info.missing;
            info.offers.retain(|offer| {
                let down = || self.states[index].as_ref().and_then(|state| state.borrow().down.clone());
                let reason = match unfit.get(&index).cloned().or_else(down) {
                    Some(reason) => reason,
                    None if offer.memory > self.config.memory => self.too_big(offer.memory),
                    None => return true,
                };
                missing.push((offer.kind, reason));
                false
            });
        }
        infos
    }

    pub(super) fn slots(&self) -> SlotUse {
        let state = self.state();
        SlotUse {
            slots: self.config.slots.get(),
            starting: self.states.iter().flatten().map(|state| state.borrow().starting).sum(),
            running: state.running,
            queue: self.config.queue,
            waiting: state.waiting(),
        }
    }

    pub(super) fn set_readiness(&self, readiness: Readiness) {
        // Once draining, always draining.
        self.readiness.send_if_modified(|now| {
            let changes = *now != Readiness::Draining && *now != readiness;
            if changes {
                *now = readiness;
            }
            changes
        });
    }

    /// Whether a backend can prove now, once all of them have been warmed up.
    pub(super) fn judge(&self) {
        let able = |(index, _): &(usize, BackendInfo)| {
            self.states[*index].as_ref().is_none_or(|state| state.borrow().ready > 0)
        };
        let offering: Vec<_> =
            self.infos().into_iter().enumerate().filter(|(_, info)| !info.offers.is_empty()).collect();
        self.set_readiness(match &offering[..] {
            [] => Readiness::Unfit,
            offering if offering.iter().any(able) => Readiness::Ready,
            _ => Readiness::WarmingUp,
        });
    }

    /// Judges again whenever a backend's state changes, for as long as there is a node.
    pub(super) fn keep_judging(self: &Arc<Self>) {
        for mut state in self.states.iter().flatten().cloned() {
            let core = Arc::downgrade(self);
            tokio::spawn(async move {
                while state.changed().await.is_ok() {
                    let Some(core) = core.upgrade() else { return };
                    core.judge();
                }
            });
        }
        self.judge();
    }

    /// From now on it offers nothing; unless it is one that says itself when it is down, and may recover.
    pub(super) fn mark_unfit(&self, backend: usize, reason: String) {
        if self.states[backend].as_ref().is_none_or(|state| state.borrow().down.is_none()) {
            self.state().unfit.insert(backend, reason);
        }
    }

    /// The backend that knows circuits of that kind best: one of their own before the mock.
    pub(super) fn backend_for(&self, circuit: Backend) -> Result<usize, NodeError> {
        let infos: Vec<_> = self.backends.iter().map(|backend| backend.info().backend).collect();
        let own = infos.iter().position(|backend| *backend == Some(circuit));
        own.or_else(|| infos.iter().position(Option::is_none)).ok_or_else(|| NodeError::BadCircuit {
            reason: format!("this node has no backend for circuits of {circuit}"),
        })
    }

    pub(super) fn check_input(&self, input: &Bytes) -> Result<(), String> {
        let limit = self.config.input_limit;
        if input.len() > limit {
            return Err(format!("the input has {} bytes, this node takes at most {limit}", input.len()));
        }
        Ok(())
    }

    pub(super) async fn execute(
        &self,
        index: usize,
        circuit: Arc<Circuit>,
        input: Bytes,
        limits: ExecutionLimits,
    ) -> Result<Execution, NodeError> {
        let waiting = self.waiting_executions.fetch_add(1, Ordering::Relaxed);
        let permit = if waiting < MAX_WAITING_EXECUTIONS {
            Ok(self.executions.acquire().await.expect("the semaphore is never closed"))
        } else {
            Err(NodeError::QueueFull { waiting })
        };
        self.waiting_executions.fetch_sub(1, Ordering::Relaxed);
        let _permit = permit?;
        let backend = Arc::clone(&self.backends[index]);
        thread::run("execute", move || backend.execute(&circuit.bytes, &input, limits)).await
    }

    /// Takes a job, or joins the one that is there.
    pub(super) fn submit(self: Arc<Self>, job: Job, circuit: Arc<Circuit>) -> Result<Events, NodeError> {
        let Job { key, kind, input, .. } = job;
        let (backend, memory) = self.offer(circuit.backend, kind)?;
        self.check_input(&input).map_err(|reason| NodeError::Unsupported { kind, reason })?;
        let record = Arc::new(Record::new(key.task, circuit.digest, kind, &input, backend, memory));
        let mut state = self.state();
        state.forget_old(&self.config);
        if let Some(events) = state.join(key, &record)? {
            return Ok(events);
        }
        if state.draining {
            return Err(NodeError::Draining);
        }
        let waiting = state.waiting();
        if state.running + waiting >= self.config.slots.get().saturating_add(self.config.queue) {
            return Err(NodeError::QueueFull { waiting });
        }
        state.replace(key, &record);
        state.executing += 1;
        drop(state);
        record.tell(JobEvent::Queued { ahead: waiting });
        let events = record.follow();
        tracing::debug!(task = %key.task, fence = key.fence, %kind, "job accepted");
        tokio::spawn(self.prepare(record, circuit, input));
        Ok(events)
    }

    /// Whether there is a job of that task that can be joined.
    pub(super) fn has_job(&self, task: TaskId) -> bool {
        let mut state = self.state();
        state.forget_old(&self.config);
        state.jobs.get(&task).is_some_and(|entry| !entry.record.has_failed_by_chance())
    }

    pub(super) fn cancel(&self, key: JobKey) -> Result<(), NodeError> {
        let mut state = self.state();
        match state.jobs.get(&key.task) {
            None => Ok(()),
            Some(entry) if key.fence < entry.fence => Err(NodeError::StaleFence),
            Some(_) => {
                state.abandon(key.task, &NodeError::Cancelled);
                Ok(())
            }
        }
    }

    pub(super) fn stop_taking(&self) {
        self.state().draining = true;
        self.readiness.send_replace(Readiness::Draining);
    }

    /// Ends what has no slot yet, whether it waits for one or is executed; gives the number of such jobs.
    pub(super) fn cut_waiting(&self, reason: &NodeError) -> u32 {
        self.cut_where(reason, |record| !record.on_slot.load(Ordering::Relaxed))
    }

    /// Ends everything; gives the number of jobs that had not ended.
    pub(super) fn cut(&self, reason: &NodeError) -> u32 {
        self.cut_where(reason, |_| true)
    }

    fn cut_where(&self, reason: &NodeError, wanted: impl Fn(&Record) -> bool) -> u32 {
        let mut state = self.state();
        let open = |record: &Record| !record.has_ended() && wanted(record);
        let open: Vec<_> = state.jobs.iter().filter(|(_, entry)| open(&entry.record)).map(|(task, _)| *task).collect();
        for task in &open {
            state.abandon(*task, reason);
        }
        u32::try_from(open.len()).unwrap_or(u32::MAX)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing under the lock calls foreign code; should it panic all the same, the counts are still those of jobs.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The backend for such a proof, and the memory to set aside.
    fn offer(&self, circuit: Backend, kind: ProofKind) -> Result<(usize, u64), NodeError> {
        let infos = self.infos();
        let able = |info: &BackendInfo| info.backend.is_none_or(|own| own == circuit);
        for (index, info) in infos.iter().enumerate().filter(|(_, info)| able(info)) {
            if let Some(offer) = info.offers.iter().find(|offer| offer.kind == kind) {
                return Ok((index, offer.memory));
            }
        }
        let mut reasons = infos.iter().filter(|info| able(info)).flat_map(|info| &info.missing);
        let reason = match reasons.find(|(missing, _)| *missing == kind) {
            Some((_, reason)) => reason.clone(),
            None => format!("it has no backend that makes them for circuits of {circuit}"),
        };
        Err(NodeError::Unsupported { kind, reason })
    }

    fn too_big(&self, needed: u64) -> String {
        let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
        format!(
            "it needs {:.1} GiB of memory, this node may use {:.1} GiB; give it more, or use a larger machine",
            gib(needed),
            gib(self.config.memory)
        )
    }

    /// Executes a job, and puts it in line when that went well.
    async fn prepare(self: Arc<Self>, record: Arc<Record>, circuit: Arc<Circuit>, input: Bytes) {
        record.tell(JobEvent::Step { name: "executing".into() });
        let limits = ExecutionLimits { cycles: self.config.max_cycles };
        let executed = if record.has_ended() {
            Err(NodeError::Cancelled)
        } else {
            self.execute(record.backend, Arc::clone(&circuit), input.clone(), limits).await
        };
        let mut state = self.state();
        state.executing -= 1;
        match executed {
            Err(error) => {
                drop(state);
                self.finish(&record, Err(error), None);
            }
            // Where it has ended, its task may have another job by now.
            Ok(_) if state.draining && !record.has_ended() => state.abandon(record.task, &NodeError::Draining),
            Ok(execution) => {
                if !record.has_ended() {
                    let cycles = execution.cycles;
                    state.ready.push_back(Waiting { record, circuit, input, cycles, passed: 0 });
                }
                drop(state);
                self.start_what_fits();
            }
        }
    }

    /// Gives slots to jobs as long as there are some.
    fn start_what_fits(self: &Arc<Self>) {
        loop {
            let mut state = self.state();
            let Some(Waiting { record, circuit, input, cycles, .. }) = state.next(&self.config) else { return };
            record.on_slot.store(true, Ordering::Relaxed);
            state.running += 1;
            state.memory += record.memory;
            self.running.send_replace(state.running);
            drop(state);
            let slot = Slot { core: Arc::clone(self), memory: record.memory, held: true };
            let job = Arc::clone(&record);
            if let Err(error) = thread::spawn("prove", move || slot.prove(&job, &circuit, &input, cycles)) {
                self.finish(&record, Err(error), None);
            }
        }
    }

    fn prove(&self, record: &Record, circuit: &Circuit, input: &[u8], cycles: u64) -> Result<Proof, NodeError> {
        let backend = &*self.backends[record.backend];
        let step = |name: &str| record.tell(JobEvent::Step { name: name.into() });
        thread::catch(|| {
            let progress = Progress(&step);
            let mut proof = backend.prove(&circuit.bytes, input, record.kind, &progress, &record.cancellation)?;
            if proof.peak_memory == 0 {
                proof.peak_memory = machine::recent_peak_memory();
            }
            proof.cycles = cycles;
            Ok(proof)
        })
    }

    /// Ends a job, says so in the log, and keeps the result. A slot is free before anyone hears of the end.
    fn finish(&self, record: &Arc<Record>, result: Result<Proof, NodeError>, slot: Option<&mut Slot>) {
        let told = result.as_ref().map(|proof| (proof.bytes.len(), proof.proving)).map_err(Clone::clone);
        let mut state = self.state();
        if let Some(slot) = slot {
            slot.release(&mut state);
        }
        if !record.end(result.map(JobEvent::Done)) {
            return;
        }
        if state.jobs.get(&record.task).is_some_and(|entry| Arc::ptr_eq(&entry.record, record)) {
            state.held += record.held();
            state.finished.push_back((Instant::now(), Arc::clone(record)));
        }
        state.forget_old(&self.config);
        drop(state);
        let (task, kind) = (record.task, record.kind);
        match told {
            Ok((bytes, proving)) => tracing::info!(%task, %kind, bytes, ?proving, "proof made"),
            Err(error) => tracing::warn!(%task, %kind, code = error.code(), %error, "job failed"),
        }
    }
}

impl State {
    fn waiting(&self) -> u32 {
        self.executing + u32::try_from(self.ready.len()).unwrap_or(u32::MAX)
    }

    /// The events of the job that `record` would repeat, if there is one.
    fn join(&mut self, key: JobKey, record: &Record) -> Result<Option<Events>, NodeError> {
        let Some(entry) = self.jobs.get_mut(&key.task) else { return Ok(None) };
        if key.fence < entry.fence {
            return Err(NodeError::StaleFence);
        }
        let same = entry.record.is(record.circuit, record.kind, record.input_digest);
        let higher = key.fence > entry.fence;
        if !same {
            return if higher { Ok(None) } else { Err(NodeError::StaleFence) };
        }
        // A new claim of a job that failed by chance is a new attempt.
        if higher && entry.record.has_failed_by_chance() {
            return Ok(None);
        }
        entry.fence = key.fence;
        Ok(Some(entry.record.follow()))
    }

    /// Enters a job in the place of what its task had before.
    fn replace(&mut self, key: JobKey, record: &Arc<Record>) {
        self.abandon(key.task, &NodeError::StaleFence);
        self.jobs.insert(key.task, Entry { fence: key.fence, record: Arc::clone(record) });
    }

    /// Forgets a task's job; ends it when it hasn't ended. A backend that doesn't stop at once keeps its slot until it does.
    fn abandon(&mut self, task: TaskId, reason: &NodeError) {
        let Some(Entry { record, .. }) = self.jobs.remove(&task) else { return };
        record.cancellation.cancel();
        if record.end(Err(reason.clone())) {
            tracing::info!(%task, kind = %record.kind, %reason, "job ended early");
        }
        self.ready.retain(|waiting| !Arc::ptr_eq(&waiting.record, &record));
        let kept = self.finished.iter().position(|(_, finished)| Arc::ptr_eq(finished, &record));
        if let Some((_, finished)) = kept.and_then(|place| self.finished.remove(place)) {
            self.held -= finished.held();
        }
    }

    /// The job whose turn it is: the first that fits, unless the one at the head has been passed too often.
    fn next(&mut self, config: &NodeConfig) -> Option<Waiting> {
        if self.running >= config.slots.get() {
            return None;
        }
        let free = config.memory.saturating_sub(self.memory);
        let patient = self.ready.front()?.passed < MAX_PASSED;
        let candidates = if patient { self.ready.len() } else { 1 };
        let index = self.ready.iter().take(candidates).position(|waiting| waiting.record.memory <= free)?;
        if index > 0 {
            self.ready[0].passed += 1;
        }
        self.ready.remove(index)
    }

    /// Drops results beyond their time, number and size.
    fn forget_old(&mut self, config: &NodeConfig) {
        while let Some((since, record)) = self.finished.front() {
            let fresh = since.elapsed() < config.keep_finished;
            if fresh && self.finished.len() <= config.keep_finished_jobs && self.held <= config.keep_finished_bytes {
                return;
            }
            self.held -= record.held();
            let task = record.task;
            self.jobs.remove(&task);
            self.finished.pop_front();
        }
    }
}

/// A slot and its memory; given back when dropped, or before.
struct Slot {
    core: Arc<Core>,
    memory: u64,
    held: bool,
}

impl Slot {
    fn prove(mut self, record: &Arc<Record>, circuit: &Circuit, input: &[u8], cycles: u64) {
        if record.has_ended() {
            return;
        }
        record.tell(JobEvent::Started);
        let core = Arc::clone(&self.core);
        let result = core.prove(record, circuit, input, cycles);
        core.finish(record, result, Some(&mut self));
    }

    fn release(&mut self, state: &mut State) {
        if std::mem::take(&mut self.held) {
            state.running -= 1;
            state.memory -= self.memory;
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let core = Arc::clone(&self.core);
        let mut state = core.state();
        self.release(&mut state);
        core.running.send_replace(state.running);
        drop(state);
        core.start_what_fits();
    }
}
