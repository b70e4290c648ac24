//! For tests: an engine over a real store, with prover nodes that do as they are told.

use async_trait::async_trait;
use bytes::Bytes;
use coprocessor_prover::{
    BackendInfo, Execution, ExecutionLimits, Job, JobEvent, JobKey, KindOffer, NodeError, NodeInfo, Proof, ProverNode,
    Setup, SlotUse, mock, testing, verify::Verifiers,
};
use coprocessor_sandbox::{Sandbox, SandboxConfig};
use coprocessor_store::{
    Claim, EmbeddedConfig, EmbeddedStore, EventKind, InsertProgram, NewProgram, Program, Stage, StepOutcome, Store,
    Task, TaskState, VolumeWrite,
};
use coprocessor_types::{
    Backend, BlobDigest, CircuitInput, OpenedWitness, OwnerId, ProgramId, ProofKind, PublicInputs, Root, TaskId,
};
use futures::{StreamExt, stream, stream::BoxStream};
use serde_json::json;
use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use crate::{Caller, Engine, EngineConfig, Parts, PoolSettings, ProverPool, ProverSource, TaskRequest, Workers};

/// How long a test waits for what must happen.
const PATIENCE: Duration = Duration::from_secs(30);

/// `get_witnesses` gives one datum; `entrypoint` adds a byte to the program's raw storage.
const CONTROLLER: &str = r#"(module
    (import "valence" "ret" (func $ret (param i32 i32) (result i32)))
    (import "valence" "get_raw_storage" (func $get_raw (param i32) (result i32)))
    (import "valence" "set_raw_storage" (func $set_raw (param i32 i32) (result i32)))
    (memory (export "memory") 1)
    (data (i32.const 0) "[{\"Data\":[7]}]")
    (func (export "get_witnesses") (drop (call $ret (i32.const 0) (i32.const 14))))
    (func (export "entrypoint") (local $length i32)
        (local.set $length (call $get_raw (i32.const 4096)))
        (if (i32.lt_s (local.get $length) (i32.const 0)) (then (local.set $length (i32.const 0))))
        (drop (call $set_raw (i32.const 4096) (i32.add (local.get $length) (i32.const 1))))))"#;

/// What becomes of a job.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// It is not taken.
    Refuse(NodeError),
    /// It begins and never ends.
    Hang,
    /// The connection breaks.
    Lose,
    /// The connection breaks while the job waits.
    LoseWaiting,
    /// The proof is another circuit's.
    Forge,
    /// The circuit commits another root, and the proof says so truly.
    WrongRoot,
}

/// A node that proves at once, unless told otherwise.
pub(crate) struct FakeNode {
    address: String,
    state: Mutex<FakeState>,
}

#[derive(Default)]
pub(crate) struct FakeState {
    /// It cannot be reached.
    pub(crate) offline: bool,
    /// Jobs it says it runs.
    pub(crate) running: u32,
    /// Times it was asked what it can do.
    pub(crate) described: u32,
    /// What becomes of the next jobs.
    pub(crate) acts: VecDeque<Act>,
    /// Jobs it was given or offered.
    pub(crate) jobs: Vec<JobKey>,
    pub(crate) cancelled: Vec<JobKey>,
    /// Tasks it says it has jobs of.
    pub(crate) held: HashSet<TaskId>,
    pub(crate) circuits: HashSet<BlobDigest>,
}

impl FakeNode {
    pub(crate) fn new(address: &str) -> Arc<Self> {
        Arc::new(Self { address: address.into(), state: Mutex::default() })
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, FakeState> {
        self.state.lock().unwrap()
    }

    pub(crate) fn act(&self, act: Act) {
        self.state().acts.push_back(act);
    }

    fn unreachable(&self) -> NodeError {
        NodeError::Unreachable { address: self.address.clone(), reason: "nobody there".into() }
    }

    fn reached(&self) -> Result<MutexGuard<'_, FakeState>, NodeError> {
        let state = self.state();
        if state.offline { Err(self.unreachable()) } else { Ok(state) }
    }
}

#[async_trait]
impl ProverNode for FakeNode {
    fn address(&self) -> &str {
        &self.address
    }

    async fn describe(&self) -> Result<NodeInfo, NodeError> {
        self.state().described += 1;
        let running = self.reached()?.running;
        let offers = vec![KindOffer { kind: ProofKind::Mock, memory: 0 }];
        let backend = BackendInfo { backend: None, version: "fake".into(), offers, missing: Vec::new() };
        Ok(NodeInfo {
            version: "fake".into(),
            backends: vec![backend],
            build: "fake".into(),
            slots: SlotUse { slots: 4, running, queue: 64, ..SlotUse::default() },
            memory: 0,
        })
    }

    async fn has_circuit(&self, circuit: BlobDigest) -> Result<bool, NodeError> {
        Ok(self.reached()?.circuits.contains(&circuit))
    }

    async fn upload_circuit(&self, _: Backend, circuit: Bytes) -> Result<BlobDigest, NodeError> {
        let digest = BlobDigest::of(&circuit);
        self.reached()?.circuits.insert(digest);
        Ok(digest)
    }

    async fn set_up(&self, _: BlobDigest) -> Result<Setup, NodeError> {
        self.reached().map(|_| Setup { verifying_key: Bytes::new() })
    }

    async fn execute(&self, _: BlobDigest, _: Bytes, _: ExecutionLimits) -> Result<Execution, NodeError> {
        Err(NodeError::Failed { reason: "not in these tests".into() })
    }

    async fn prove(&self, job: Job) -> Result<BoxStream<'static, Result<JobEvent, NodeError>>, NodeError> {
        let act = {
            let mut state = self.reached()?;
            if !state.circuits.contains(&job.circuit) {
                return Err(NodeError::UnknownCircuit(job.circuit));
            }
            state.jobs.push(job.key);
            state.acts.pop_front()
        };
        let root = CircuitInput::from_bytes(&job.input).unwrap().root;
        let end = match act {
            Some(Act::Refuse(error)) => return Err(error),
            Some(Act::Hang) => {
                return Ok(stream::iter([Ok(JobEvent::Started)]).chain(stream::pending()).boxed());
            }
            Some(Act::LoseWaiting) => {
                return Ok(stream::iter([Ok(JobEvent::Queued { ahead: 1 }), Err(self.unreachable())]).boxed());
            }
            Some(Act::Lose) => Err(self.unreachable()),
            Some(Act::Forge) => Ok(JobEvent::Done(proof(BlobDigest::default(), root))),
            Some(Act::WrongRoot) => Ok(JobEvent::Done(proof(job.circuit, Root([9; 32])))),
            None => Ok(JobEvent::Done(proof(job.circuit, root))),
        };
        Ok(stream::iter([Ok(JobEvent::Started), end]).boxed())
    }

    async fn has_job(&self, task: TaskId) -> Result<bool, NodeError> {
        Ok(self.reached()?.held.contains(&task))
    }

    async fn cancel(&self, job: JobKey) -> Result<(), NodeError> {
        self.reached()?.cancelled.push(job);
        Ok(())
    }
}

fn proof(circuit: BlobDigest, root: Root) -> Proof {
    let public_inputs: Bytes = PublicInputs { root, output: b"out".to_vec() }.to_bytes().into();
    Proof {
        kind: ProofKind::Mock,
        bytes: mock::proof::encode(circuit, &public_inputs).into(),
        public_inputs,
        cycles: 1,
        proving: Duration::ZERO,
        set_up: Duration::ZERO,
        peak_memory: 0,
    }
}

/// An engine over a store in a directory of its own, with one program.
pub(crate) struct Bench {
    pub(crate) engine: Engine,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) program: Program,
    _directory: Option<tempfile::TempDir>,
}

pub(crate) fn config() -> EngineConfig {
    EngineConfig { workers: Workers { controllers: 2, proofs: 8 }, min_free_bytes: 0, ..EngineConfig::default() }
}

pub(crate) fn event() -> EventKind {
    EventKind { name: "tested".into(), detail: json!({}) }
}

impl Bench {
    pub(crate) async fn new(nodes: &[&Arc<FakeNode>]) -> Self {
        Self::with(config(), nodes).await
    }

    pub(crate) async fn with(config: EngineConfig, nodes: &[&Arc<FakeNode>]) -> Self {
        Self::running(CONTROLLER, config, nodes).await
    }

    /// With a program that has another controller.
    pub(crate) async fn running(controller: &str, config: EngineConfig, nodes: &[&Arc<FakeNode>]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> = Arc::new(EmbeddedStore::open(directory.path(), EmbeddedConfig::default()).unwrap());
        let controller = store.put_blob(wat::parse_str(controller).unwrap().into()).await.unwrap();
        let circuit = store.put_blob(testing::echo()).await.unwrap();
        let program = NewProgram {
            id: ProgramId::derive(&testing::echo(), 0),
            owner: OwnerId::anonymous(),
            key: None,
            name: "echo".into(),
            public: false,
            backend: Backend::Sp1,
            controller,
            circuit,
            verifying_key: None,
            nonce: 0,
            volume_size: coprocessor_vfs::DEFAULT_VOLUME_SIZE,
        };
        let InsertProgram::Inserted(program) = store.insert_program(program, 10).await.unwrap() else {
            panic!("the store is new")
        };
        let engine = engine(&store, config, nodes).await;
        Self { engine, store, program, _directory: Some(directory) }
    }

    /// Another coprocessor on the same store.
    pub(crate) async fn another(&self, config: EngineConfig, nodes: &[&Arc<FakeNode>]) -> Self {
        let (store, program) = (Arc::clone(&self.store), self.program.clone());
        Self { engine: engine(&store, config, nodes).await, store, program, _directory: None }
    }

    /// Another coprocessor on the same store, without nodes, that runs its controllers in this sandbox.
    pub(crate) async fn with_sandbox(&self, sandbox: Sandbox, config: EngineConfig) -> Self {
        let (store, program) = (Arc::clone(&self.store), self.program.clone());
        Self { engine: engine_in(sandbox, &store, config, &[]).await, store, program, _directory: None }
    }

    pub(crate) fn request(&self) -> TaskRequest {
        TaskRequest {
            program: self.program.id,
            caller: Caller::anonymous(),
            args: json!(null),
            payload: json!(null),
            kind: Some(ProofKind::Mock),
            root: None,
            priority: 0,
            deadline: None,
            record: false,
            idempotency_key: None,
        }
    }

    pub(crate) async fn admit(&self) -> Task {
        self.engine.admit(self.request()).await.unwrap()
    }

    /// A new task, claimed to be proved.
    pub(crate) async fn to_be_proved(&self) -> Task {
        self.admit().await;
        let claim = self.claim(Stage::Execute).await;
        let witness = CircuitInput { root: claim.task.root, witnesses: vec![OpenedWitness::Data(vec![7])] }.to_bytes();
        let outcome = StepOutcome::Executed { witness: witness.into(), volume: VolumeWrite::default(), event: event() };
        self.store.finish_step(claim.task.id, claim.task.fence, outcome).await.unwrap();
        self.claim(Stage::Prove).await.task
    }

    /// Gives a claim back and takes it again.
    pub(crate) async fn claimed_again(&self, task: &Task) -> Task {
        let outcome = StepOutcome::Postponed { until: jiff::Timestamp::now(), counts: false, event: event() };
        self.store.finish_step(task.id, task.fence, outcome).await.unwrap();
        self.claim(Stage::Prove).await.task
    }

    pub(crate) async fn claim(&self, stage: Stage) -> Claim {
        let work = async {
            loop {
                let claims = self.store.claim(stage, "test", Duration::from_secs(30), 1).await.unwrap();
                if let Some(claim) = claims.into_iter().next() {
                    return claim;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(PATIENCE, work).await.expect("there is work")
    }

    pub(crate) async fn task(&self, id: TaskId) -> Task {
        self.store.task(id).await.unwrap().unwrap()
    }

    /// The task once it is in that state.
    pub(crate) async fn reaches(&self, id: TaskId, state: TaskState) -> Task {
        let mut watch = self.engine.watch_task(id);
        let reached = async {
            loop {
                let task = self.task(id).await;
                if task.state == state {
                    return task;
                }
                watch.changed().await;
            }
        };
        tokio::time::timeout(PATIENCE, reached).await.expect("it gets there")
    }

    /// How often an entrypoint's effect is there.
    pub(crate) fn effects(&self) -> usize {
        self.store.volume_snapshot(self.program.id).unwrap().raw().unwrap().map_or(0, |raw| raw.len())
    }
}

async fn engine(store: &Arc<dyn Store>, config: EngineConfig, nodes: &[&Arc<FakeNode>]) -> Engine {
    let sandbox = SandboxConfig { threads: config.workers.controllers, ..SandboxConfig::default() };
    engine_in(Sandbox::new(sandbox).unwrap(), store, config, nodes).await
}

async fn engine_in(sandbox: Sandbox, store: &Arc<dyn Store>, config: EngineConfig, nodes: &[&Arc<FakeNode>]) -> Engine {
    let nodes = nodes.iter().map(|node| (Arc::clone(*node) as Arc<dyn ProverNode>, ProverSource::Configured)).collect();
    let provers = ProverPool::load(Arc::clone(store), nodes, PoolSettings::default()).await.unwrap();
    let store = Arc::clone(store);
    Engine::new(Parts { store, sandbox, provers, verifiers: Verifiers::small(), setups: BTreeMap::new(), config })
}

/// Waits until something holds.
pub(crate) async fn until(holds: impl Fn() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("it happens");
}
