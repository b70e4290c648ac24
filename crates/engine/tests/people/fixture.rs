//! An engine over a store in a directory of its own, with the mock prover inside.

use bytes::Bytes;
use coprocessor_engine::{
    Caller, Deployed, Deployment, Engine, EngineConfig, EngineError, Parts, PoolSettings, ProverPool, ProverSource,
    Scopes, TaskRequest, WebhookSettings,
};
use coprocessor_prover::{
    ProverNode,
    mock::{MockBackend, MockConfig},
    node::{Node, NodeConfig},
    verify::Verifiers,
};
use coprocessor_sandbox::{Sandbox, SandboxConfig};
use coprocessor_store::{EmbeddedConfig, EmbeddedStore, Program, Scope, Store, Task};
use coprocessor_types::{Backend, ProgramId, ProofKind};
use serde_json::json;
use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tempfile::TempDir;

/// How long a test waits for what must happen.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Fixture {
    pub(crate) engine: Engine,
    pub(crate) store: Arc<dyn Store>,
    nonces: AtomicU64,
    directory: TempDir,
}

impl Fixture {
    /// Loopback is allowed for what is sent out.
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(set: impl FnOnce(&mut EngineConfig)) -> Self {
        let directory = TempDir::new().unwrap();
        let store = open(directory.path());
        let engine = engine(&store, set).await;
        Self { engine, store, nonces: AtomicU64::new(0), directory }
    }

    /// The directory, for whoever opens it next; nobody has it open any more.
    pub(crate) async fn close(self) -> TempDir {
        let Self { engine, store, directory, .. } = self;
        drop(engine);
        // What an engine that was stopped began ends by itself.
        eventually("the end of its work", || async { (Arc::strong_count(&store) == 1).then_some(()) }).await;
        directory
    }

    /// The directory again, as another process would find it.
    pub(crate) async fn reopened(directory: TempDir, set: impl FnOnce(&mut EngineConfig)) -> Self {
        let store = open(directory.path());
        let engine = engine(&store, set).await;
        Self { engine, store, nonces: AtomicU64::new(1000), directory }
    }

    /// What deploys the hello program under a nonce of its own.
    pub(crate) fn deployment(&self, public: bool) -> Deployment {
        Deployment {
            name: "hello".into(),
            public,
            backend: Backend::Sp1,
            controller: artifact("controller.wasm"),
            circuit: artifact("circuit.elf"),
            nonce: self.nonces.fetch_add(1, Ordering::Relaxed),
            volume_size: None,
        }
    }

    pub(crate) async fn deploy(&self, caller: &Caller, public: bool) -> Program {
        match self.engine.deploy(caller, self.deployment(public)).await.unwrap() {
            Deployed::New(program) => program,
            Deployed::Same(program) => panic!("{} was there already", program.id),
        }
    }

    pub(crate) async fn ask(&self, caller: &Caller, program: ProgramId) -> Result<Task, EngineError> {
        self.engine.admit(request(caller, program)).await
    }
}

pub(crate) fn request(caller: &Caller, program: ProgramId) -> TaskRequest {
    TaskRequest {
        program,
        caller: caller.clone(),
        args: json!({"name": "World"}),
        payload: json!(null),
        // Whatever nodes there are.
        kind: Some(ProofKind::Mock),
        root: None,
        priority: 0,
        deadline: None,
        record: false,
        idempotency_key: None,
    }
}

/// Another engine on a store, as another coprocessor would be.
pub(crate) async fn engine(store: &Arc<dyn Store>, set: impl FnOnce(&mut EngineConfig)) -> Engine {
    let webhooks = WebhookSettings { allow: vec!["127.0.0.1".parse().unwrap()], ..WebhookSettings::default() };
    let mut config = EngineConfig { webhooks, ..EngineConfig::default() };
    // What the machine's disk has left is not what is tested.
    config.min_free_bytes = 0;
    set(&mut config);
    let node = Node::new(vec![Arc::new(MockBackend::new(MockConfig::default()))], NodeConfig::default());
    let nodes: Vec<(Arc<dyn ProverNode>, ProverSource)> = vec![(Arc::new(node), ProverSource::InProcess)];
    let reaching = PoolSettings { allow: config.webhooks.allow.clone(), ..PoolSettings::default() };
    let provers = ProverPool::load(Arc::clone(store), nodes, reaching).await.unwrap();
    let sandbox = Sandbox::new(SandboxConfig::default()).unwrap();
    let verifiers = Verifiers::small();
    Engine::new(Parts { store: Arc::clone(store), sandbox, provers, verifiers, setups: BTreeMap::new(), config })
}

pub(crate) fn caller(owner: &str, scopes: &[Scope]) -> Caller {
    Caller { owner: owner.parse().unwrap(), key: None, scopes: scopes.iter().copied().collect() }
}

/// An owner who may do everything with what is its own.
pub(crate) fn user(owner: &str) -> Caller {
    caller(owner, &[Scope::Read, Scope::Deploy, Scope::Prove])
}

pub(crate) fn admin() -> Caller {
    Caller { owner: "root".parse().unwrap(), key: None, scopes: Scopes::NONE.with(Scope::Admin) }
}

/// Asks again and again until there is an answer.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut ask: impl FnMut() -> F) -> T {
    let asked = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asked).await.unwrap_or_else(|_| panic!("{what} did not happen"))
}

fn open(directory: &Path) -> Arc<dyn Store> {
    Arc::new(EmbeddedStore::open(directory, EmbeddedConfig::default()).unwrap())
}

fn artifact(name: &str) -> Bytes {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../guests/hello/artifacts").join(name);
    std::fs::read(path).unwrap().into()
}
