//! A backend in a process of its own. The process is this test program again, running the test [`worker_process`] alone.
#![cfg(target_os = "linux")]

use bytes::Bytes;
use coprocessor_prover::{
    BackendError, BackendInfo, BackendState, Cancellation, Execution, ExecutionLimits, JobEvent, JobKey, KindOffer,
    NodeError, Progress, Proof, ProverNode, ProvingBackend, Setup,
    isolated::{IsolatedBackend, IsolatedConfig, run_worker},
    node::{Node, NodeConfig, Readiness},
    testing,
};
use coprocessor_types::{Backend, ProofKind, TaskId};
use futures::StreamExt;
use std::{
    num::NonZeroU32,
    path::Path,
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// Set for worker processes: what goes wrong while they start.
const VARIABLE: &str = "COPROCESSOR_TEST_WORKER";
const LONG: Duration = Duration::from_secs(600);
const PROOF_LENGTH: usize = 3 << 20;

/// What a proof's input makes its process do.
const PROVE: u8 = 0;
const FAIL: u8 = 1;
const PANIC: u8 = 2;
const ABORT: u8 = 3;
const EXIT: u8 = 4;
/// Takes memory, lets it be seen, and is killed.
const STARVE: u8 = 5;
/// Never ends, and does not look at its cancellation.
const HANG: u8 = 6;

/// The backend on both sides. Public inputs are the number of the process that made them.
struct Isolated;

impl ProvingBackend for Isolated {
    fn info(&self) -> BackendInfo {
        let offers = vec![KindOffer { kind: ProofKind::Core, memory: 0 }];
        BackendInfo { backend: Some(Backend::Sp1), version: "isolated 1".into(), offers, missing: Vec::new() }
    }

    fn warm_up(&self) -> Result<(), BackendError> {
        match std::env::var(VARIABLE).unwrap().as_str() {
            "unfit" => Err(BackendError::Failed { reason: "no device".into() }),
            "dies" => std::process::abort(),
            "slow" => {
                std::thread::sleep(LONG);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn set_up(&self, _: &Bytes) -> Result<Setup, BackendError> {
        Ok(Setup { verifying_key: Bytes::new() })
    }

    fn execute(&self, _: &Bytes, input: &[u8], _: ExecutionLimits) -> Result<Execution, BackendError> {
        Ok(Execution { public_inputs: Bytes::copy_from_slice(input), cycles: 10 })
    }

    #[allow(clippy::print_stdout, reason = "as libraries do")]
    fn prove(
        &self,
        _: &Bytes,
        input: &[u8],
        kind: ProofKind,
        progress: &Progress<'_>,
        _: &Cancellation,
    ) -> Result<Proof, BackendError> {
        println!("a library's talk");
        progress.step("proving");
        match input[0] {
            FAIL => return Err(BackendError::Failed { reason: "by chance".into() }),
            PANIC => panic!("proving went wrong"),
            ABORT => std::process::abort(),
            EXIT => std::process::exit(3),
            STARVE => {
                let memory = vec![1_u8; 300 << 20];
                std::thread::sleep(Duration::from_millis(1200));
                assert_eq!(std::hint::black_box(&memory)[299 << 20], 1);
                let own = rustix::process::getpid();
                rustix::process::kill_process(own, rustix::process::Signal::KILL).unwrap();
            }
            HANG => std::thread::sleep(LONG),
            _ => {}
        }
        Ok(Proof {
            kind,
            bytes: vec![7; PROOF_LENGTH].into(),
            public_inputs: std::process::id().to_string().into(),
            cycles: 0,
            proving: Duration::from_millis(3),
            set_up: Duration::ZERO,
            peak_memory: 0,
        })
    }
}

#[test]
#[ignore = "the process that the other tests start"]
fn worker_process() {
    std::process::exit(i32::from(run_worker(&Isolated).is_err()));
}

fn worker(mode: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--ignored", "--exact", "isolated::worker_process", "--nocapture", "--quiet"]);
    command.env(VARIABLE, mode).env("RUST_BACKTRACE", "0");
    command
}

fn config() -> IsolatedConfig {
    IsolatedConfig { first_pause: Duration::from_millis(10), ..IsolatedConfig::default() }
}

fn isolated() -> IsolatedBackend {
    IsolatedBackend::new(Arc::new(Isolated), config(), || worker("works"))
}

fn prove(backend: &IsolatedBackend, behaviour: u8) -> Result<Proof, BackendError> {
    let cancellation = Cancellation::default();
    backend.prove(&testing::echo(), &[behaviour], ProofKind::Core, &Progress(&|_| ()), &cancellation)
}

/// The process that made a proof.
fn maker(proof: &Proof) -> u32 {
    std::str::from_utf8(&proof.public_inputs).unwrap().parse().unwrap()
}

fn lives(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

/// Waits until the backend's state is as wanted.
fn wait_for(backend: &IsolatedBackend, wanted: impl FnMut(&BackendState) -> bool) -> BackendState {
    let mut state = backend.state().unwrap();
    let waiting = async { state.wait_for(wanted).await.unwrap().clone() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(super::PATIENCE, waiting).await.expect("never") })
}

#[test]
fn one_process_makes_proof_after_proof() {
    let backend = isolated();
    assert_eq!(*backend.state().unwrap().borrow(), BackendState::default(), "nothing is started yet");
    backend.warm_up().unwrap();
    assert_eq!(*backend.state().unwrap().borrow(), BackendState { ready: 1, starting: 0, down: None });
    let steps = Mutex::new(Vec::new());
    let step = |name: &str| steps.lock().unwrap().push(name.to_owned());
    let input = vec![PROVE; 2 << 20];
    let first =
        backend.prove(&testing::echo(), &input, ProofKind::Core, &Progress(&step), &Cancellation::default()).unwrap();
    assert_eq!(*steps.lock().unwrap(), ["proving"]);
    assert_eq!((first.kind, first.proving), (ProofKind::Core, Duration::from_millis(3)));
    assert!(first.bytes.len() == PROOF_LENGTH && first.bytes.iter().all(|byte| *byte == 7));
    assert!(first.peak_memory > 1 << 20, "{}", first.peak_memory);
    assert_ne!(maker(&first), std::process::id());
    assert_eq!(prove(&backend, FAIL), Err(BackendError::Failed { reason: "by chance".into() }));
    assert_eq!(maker(&prove(&backend, PROVE).unwrap()), maker(&first), "a failure costs no process");
    drop(backend);
    while lives(maker(&first)) {
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn cancelling_kills_the_process_and_another_is_started() {
    let backend = isolated();
    let first = maker(&prove(&backend, PROVE).unwrap());
    let cancellation = Cancellation::default();
    let proving = |name: &str| {
        assert_eq!(name, "proving");
        cancellation.cancel();
    };
    let circuit = testing::echo();
    let cancelled = backend.prove(&circuit, &[HANG], ProofKind::Core, &Progress(&proving), &cancellation);
    assert_eq!(cancelled, Err(BackendError::Cancelled));
    assert!(!lives(first), "its memory is free before the slot is");
    let second = maker(&prove(&backend, PROVE).unwrap());
    assert_ne!(second, first);
    // A cancellation that comes too late kills nobody's proof.
    let late = Cancellation::default();
    backend.prove(&circuit, &[PROVE], ProofKind::Core, &Progress(&|_| ()), &late).unwrap();
    late.cancel();
    assert_eq!(maker(&prove(&backend, PROVE).unwrap()), second);
}

#[test]
fn a_process_that_dies_costs_its_proof_alone_and_says_why() {
    let backend = isolated();
    let mut before = maker(&prove(&backend, PROVE).unwrap());
    let cases: [(u8, &[&str]); 4] = [
        (ABORT, &["SIGABRT"]),
        (EXIT, &["exited with status 3"]),
        (STARVE, &["SIGKILL", "when memory runs out", "its memory had reached 0.3"]),
        (PANIC, &["the backend panicked: proving went wrong"]),
    ];
    for (behaviour, expected) in cases {
        let Err(BackendError::Failed { reason }) = prove(&backend, behaviour) else { panic!("{behaviour}") };
        assert!(expected.iter().all(|expected| reason.contains(expected)), "{reason}");
        let after = maker(&prove(&backend, PROVE).unwrap());
        assert_ne!(after, before, "{behaviour}");
        before = after;
    }
}

#[test]
fn a_process_that_dies_with_nothing_to_do_is_replaced() {
    let backend = isolated();
    let first = maker(&prove(&backend, PROVE).unwrap());
    let pid = rustix::process::Pid::from_raw(i32::try_from(first).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    while lives(first) {
        std::thread::sleep(Duration::from_millis(2));
    }
    assert_ne!(maker(&prove(&backend, PROVE).unwrap()), first);
}

#[test]
fn a_proof_that_takes_too_long_is_killed() {
    let proof_limit = Some(Duration::from_millis(100));
    let backend =
        IsolatedBackend::new(Arc::new(Isolated), IsolatedConfig { proof_limit, ..config() }, || worker("works"));
    let Err(BackendError::Failed { reason }) = prove(&backend, HANG) else { panic!("it has no end") };
    assert!(reason.contains("longer than 100ms"), "{reason}");
    prove(&backend, PROVE).unwrap();
}

#[test]
fn what_cannot_be_started_says_so_and_is_tried_again() {
    for (broken, expected) in [
        ("", "/nonexistent/worker cannot be started"),
        ("unfit", "no device"),
        ("dies", "died before it was ready: it was ended by SIGABRT"),
    ] {
        let repaired = Arc::new(AtomicBool::new(false));
        let command = {
            let repaired = Arc::clone(&repaired);
            move || match (repaired.load(Ordering::SeqCst), broken) {
                (true, _) => worker("works"),
                (false, "") => Command::new("/nonexistent/worker"),
                (false, mode) => worker(mode),
            }
        };
        let backend = IsolatedBackend::new(Arc::new(Isolated), config(), command);
        let Err(BackendError::Failed { reason }) = backend.warm_up() else { panic!("{broken}") };
        assert!(reason.contains(expected), "{reason}");
        assert_eq!(prove(&backend, PROVE), Err(BackendError::Failed { reason: reason.clone() }), "without waiting");
        let state = wait_for(&backend, |_| true);
        assert_eq!((state.ready, state.down), (0, Some(reason)));
        repaired.store(true, Ordering::SeqCst);
        wait_for(&backend, |state| state.ready == 1 && state.down.is_none());
        prove(&backend, PROVE).unwrap();
    }
}

#[test]
fn waiting_for_a_process_can_be_cancelled_and_has_an_end() {
    let start_limit = Duration::from_secs(2);
    let backend =
        IsolatedBackend::new(Arc::new(Isolated), IsolatedConfig { start_limit, ..config() }, || worker("slow"));
    let cancellation = Cancellation::default();
    let step = |name: &str| {
        assert_eq!(name, "starting the prover");
        cancellation.cancel();
    };
    let cancelled = backend.prove(&testing::echo(), &[PROVE], ProofKind::Core, &Progress(&step), &cancellation);
    assert_eq!(cancelled, Err(BackendError::Cancelled));
    let Err(BackendError::Failed { reason }) = backend.warm_up() else { panic!("it is never ready") };
    assert!(reason.contains("not ready within 2s"), "{reason}");
}

#[test]
fn as_many_prove_at_once_as_there_are_processes() {
    let workers = NonZeroU32::new(2).unwrap();
    let backend = IsolatedBackend::new(Arc::new(Isolated), IsolatedConfig { workers, ..config() }, || worker("works"));
    backend.warm_up().unwrap();
    wait_for(&backend, |state| state.ready == 2);
    let cancellation = Cancellation::default();
    std::thread::scope(|scope| {
        let (sender, proving) = std::sync::mpsc::channel();
        let (backend, cancellation) = (&backend, &cancellation);
        let hanging = scope.spawn(move || {
            let step = |_: &str| sender.send(()).unwrap();
            backend.prove(&testing::echo(), &[HANG], ProofKind::Core, &Progress(&step), cancellation)
        });
        proving.recv().unwrap();
        prove(backend, PROVE).unwrap();
        cancellation.cancel();
        assert_eq!(hanging.join().unwrap(), Err(BackendError::Cancelled));
    });
}

#[tokio::test]
async fn a_node_cancels_what_runs_and_says_that_it_is_getting_ready_again() {
    let node = Node::new(vec![Arc::new(isolated())], NodeConfig::default());
    node.warm_up().await;
    let mut readiness = node.readiness();
    assert_eq!(*readiness.borrow_and_update(), Readiness::Ready);
    let circuit = node.upload_circuit(Backend::Sp1, testing::echo()).await.unwrap();
    let job = |fence, behaviour| coprocessor_prover::Job {
        key: JobKey { task: TaskId::now(), fence },
        circuit,
        kind: ProofKind::Core,
        input: vec![behaviour].into(),
    };
    let hanging = job(1, HANG);
    let key = hanging.key;
    let mut events = node.prove(hanging).await.unwrap();
    while events.next().await.unwrap().unwrap() != (JobEvent::Step { name: "proving".into() }) {}
    node.cancel(key).await.unwrap();
    assert_eq!(events.next().await, Some(Err(NodeError::Cancelled)));
    readiness.wait_for(|readiness| *readiness == Readiness::WarmingUp).await.unwrap();
    let mut events = node.prove(job(1, PROVE)).await.unwrap();
    let mut last = None;
    while let Some(event) = events.next().await {
        last = Some(event.unwrap());
    }
    assert!(matches!(last, Some(JobEvent::Done(proof)) if proof.cycles == 10));
    assert_eq!(*readiness.borrow_and_update(), Readiness::Ready);
    assert_eq!(node.describe().await.unwrap().slots.starting, 0);
}

#[tokio::test]
async fn a_node_whose_process_cannot_be_started_offers_nothing_until_it_can() {
    let repaired = Arc::new(AtomicBool::new(false));
    let command = {
        let repaired = Arc::clone(&repaired);
        move || worker(if repaired.load(Ordering::SeqCst) { "works" } else { "unfit" })
    };
    let backend = IsolatedBackend::new(Arc::new(Isolated), config(), command);
    let node = Node::new(vec![Arc::new(backend)], NodeConfig::default());
    node.warm_up().await;
    let mut readiness = node.readiness();
    assert_eq!(*readiness.borrow_and_update(), Readiness::Unfit);
    let info = node.describe().await.unwrap();
    assert!(info.backends[0].offers.is_empty() && info.backends[0].missing[0].1.contains("no device"));
    repaired.store(true, Ordering::SeqCst);
    let ready = readiness.wait_for(|readiness| *readiness == Readiness::Ready);
    tokio::time::timeout(super::PATIENCE, ready).await.expect("never ready").unwrap();
    assert!(node.describe().await.unwrap().offers(Backend::Sp1, ProofKind::Core));
}
