//! What holds for a node in this process holds for the same node over a socket: the same functions test both.

mod backend;
mod isolated;
mod loss;
mod wire;

use backend::*;
use bytes::Bytes;
use coprocessor_prover::{
    ExecutionLimits, Job, JobEvent, JobKey, NodeError, Proof, ProverNode, SlotUse,
    node::{CircuitStore, Node, NodeConfig},
    remote::RemoteNode,
    server::{ServeConfig, serve},
    testing,
};
use coprocessor_types::{Backend, BlobDigest, ProofKind, TaskId};
use futures::{StreamExt, future::BoxFuture, stream::BoxStream};
use secrecy::SecretString;
use std::{
    num::NonZeroU32,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::net::TcpListener;

pub(crate) const SECRET: &str = "hush, in a test";
const PATIENCE: Duration = Duration::from_secs(20);

type Events = BoxStream<'static, Result<JobEvent, NodeError>>;

/// A node under test, and the backend behind it.
struct Bench {
    node: Arc<dyn ProverNode>,
    inner: Node,
    backend: Arc<TestBackend>,
    circuit: BlobDigest,
}

fn config() -> NodeConfig {
    NodeConfig { queue: 2, memory: 10 << 30, ..NodeConfig::default() }
}

pub(crate) async fn serve_node(node: Node) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let config = ServeConfig { secret: Some(SecretString::from(SECRET)), ..ServeConfig::default() };
    tokio::spawn(async move { serve(node, listener, config, std::future::pending()).await.unwrap() });
    address
}

/// Runs a test on a node in this process, and on one over a socket.
async fn on_both(config: impl Fn() -> NodeConfig, test: impl Fn(Bench) -> BoxFuture<'static, ()>) {
    for remote in [false, true] {
        let backend = Arc::new(TestBackend::default());
        let inner = Node::new(vec![backend.clone()], config());
        let node: Arc<dyn ProverNode> = if remote {
            let address = serve_node(inner.clone()).await;
            Arc::new(RemoteNode::new(&address, Some(SecretString::from(SECRET)), false).unwrap())
        } else {
            Arc::new(inner.clone())
        };
        let circuit = node.upload_circuit(Backend::Sp1, testing::echo()).await.unwrap();
        let bench = Bench { node, inner, backend, circuit };
        tokio::time::timeout(PATIENCE, test(bench)).await.unwrap_or_else(|_| panic!("hangs, remote: {remote}"));
    }
}

impl Bench {
    fn job(&self, task: TaskId, fence: u64, input: &[u8]) -> Job {
        Job {
            key: JobKey { task, fence },
            circuit: self.circuit,
            kind: ProofKind::Core,
            input: Bytes::copy_from_slice(input),
        }
    }

    async fn start(&self, task: TaskId, fence: u64, input: &[u8]) -> Result<Events, NodeError> {
        self.node.prove(self.job(task, fence, input)).await
    }

    async fn prove(&self, task: TaskId, fence: u64, input: &[u8]) -> Result<Proof, NodeError> {
        end(self.start(task, fence, input).await?).await
    }

    async fn proving(&self, count: u32) {
        while self.backend.at_once.load(Ordering::SeqCst) != count {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

async fn end(events: Events) -> Result<Proof, NodeError> {
    let events: Vec<_> = events.collect().await;
    match events.into_iter().last() {
        Some(Ok(JobEvent::Done(proof))) => Ok(proof),
        Some(Err(error)) => Err(error),
        other => panic!("ended with {other:?}"),
    }
}

/// Waits for the job to be on a slot.
async fn started(events: &mut Events) {
    while events.next().await.expect("it goes on").unwrap() != JobEvent::Started {}
}

macro_rules! contract {
    ($(#[$doc:meta])* $name:ident, |$bench:ident| $body:block) => {
        contract!($(#[$doc])* $name, config(), |$bench| $body);
    };
    ($(#[$doc:meta])* $name:ident, $config:expr, |$bench:ident| $body:block) => {
        $(#[$doc])*
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            on_both(|| $config, |$bench| Box::pin(async move { $body })).await;
        }
    };
}

contract!(a_job_tells_its_story_and_yields_its_proof, |bench| {
    let events: Vec<_> = bench.start(TaskId::now(), 1, &[PROVE, 7]).await.unwrap().collect().await;
    let mut events: Vec<_> = events.into_iter().map(Result::unwrap).collect();
    let Some(JobEvent::Done(proof)) = events.pop() else { panic!("{events:?}") };
    let step = |name: &str| JobEvent::Step { name: name.into() };
    let expected = [JobEvent::Queued { ahead: 0 }, step("executing"), JobEvent::Started, step("proving")];
    assert_eq!(events, expected);
    assert_eq!(proof.bytes.len(), PROOF_LENGTH);
    assert!(proof.bytes.iter().enumerate().all(|(i, byte)| *byte == (i / 7) as u8));
    assert_eq!((&proof.public_inputs[..], proof.cycles, proof.kind), (&[PROVE, 7][..], 10, ProofKind::Core));
    assert_eq!(proof.proving, Duration::from_millis(3));
    assert!(proof.set_up == SET_UP && proof.peak_memory > 0);
});

contract!(it_says_what_it_offers, |bench| {
    let info = bench.node.describe().await.unwrap();
    assert!(info.offers(Backend::Sp1, ProofKind::Core) && !info.offers(Backend::Groth16, ProofKind::Core));
    assert!(!info.offers(Backend::Sp1, ProofKind::Compressed), "more memory than there is");
    let reasons: Vec<_> = info.backends[0].missing.iter().map(|(kind, reason)| format!("{kind}: {reason}")).collect();
    assert!(reasons.contains(&"plonk: no circuit artifacts".into()), "{reasons:?}");
    assert!(reasons.iter().any(|text| text.contains("100.0 GiB") && text.contains("10.0 GiB")), "{reasons:?}");
    assert_eq!((info.slots.slots, info.slots.queue, info.slots.running, info.slots.waiting), (1, 2, 0, 0));
    assert!(info.version.starts_with("coprocessor-prover "));
});

contract!(a_kind_it_cannot_make_is_refused_with_the_reason, |bench| {
    for (kind, expected) in [
        (ProofKind::Plonk, "no circuit artifacts"),
        (ProofKind::Compressed, "needs 100.0 GiB of memory, this node may use 10.0 GiB"),
        (ProofKind::Mock, "no backend"),
    ] {
        let job = Job { kind, ..bench.job(TaskId::now(), 1, &[PROVE]) };
        let Err(NodeError::Unsupported { kind: refused, reason }) = bench.node.prove(job).await.map(drop) else {
            panic!("{kind}");
        };
        assert!(refused == kind && reason.contains(expected), "{kind}: {reason}");
    }
});

contract!(circuits_are_known_by_their_digest, |bench| {
    assert_eq!(bench.circuit, BlobDigest::of(&testing::echo()));
    assert_eq!(bench.node.upload_circuit(Backend::Sp1, testing::echo()).await, Ok(bench.circuit));
    assert_eq!(bench.node.has_circuit(bench.circuit).await, Ok(true));
    let unknown = BlobDigest([9; 32]);
    assert_eq!(bench.node.has_circuit(unknown).await, Ok(false));
    assert_eq!(bench.node.set_up(unknown).await, Err(NodeError::UnknownCircuit(unknown)));
    let execution = bench.node.execute(unknown, Bytes::new(), ExecutionLimits::default()).await;
    assert_eq!(execution, Err(NodeError::UnknownCircuit(unknown)));
    let job = Job { circuit: unknown, ..bench.job(TaskId::now(), 1, &[PROVE]) };
    assert_eq!(bench.node.prove(job).await.map(drop), Err(NodeError::UnknownCircuit(unknown)));
    // Larger than a message, and then larger than what is taken.
    let mut large = testing::echo().to_vec();
    large.resize(20 << 20, 0);
    assert_eq!(bench.node.upload_circuit(Backend::Sp1, large.clone().into()).await, Ok(BlobDigest::of(&large)));
    large.resize((64 << 20) + 1, 0);
    assert!(bench.node.upload_circuit(Backend::Sp1, large.into()).await.is_err());
    let text = bench.node.upload_circuit(Backend::Sp1, Bytes::from_static(b"text")).await;
    assert!(matches!(text, Err(NodeError::BadCircuit { .. })), "{text:?}");
});

contract!(keys_are_made_once_however_many_ask, |bench| {
    let asked = (0..8).map(|_| bench.node.set_up(bench.circuit));
    for setup in futures::future::join_all(asked).await {
        assert_eq!(setup.unwrap().verifying_key, &b"\x7fELF"[..]);
    }
    assert_eq!(bench.backend.set_ups.load(Ordering::SeqCst), 1);
});

contract!(executing_needs_no_slot_and_tells_what_went_wrong, |bench| {
    let mut held = bench.start(TaskId::now(), 1, &[GATED]).await.unwrap();
    started(&mut held).await;
    let input = Bytes::from(vec![PROVE; 5 << 20]);
    let execute = |input: Bytes, cycles| bench.node.execute(bench.circuit, input, ExecutionLimits { cycles });
    let execution = execute(input.clone(), 100).await.unwrap();
    assert_eq!((execution.cycles, execution.public_inputs), (10, input));
    let message = "no such name: Zoë".to_owned();
    assert_eq!(
        execute(vec![FAIL_CIRCUIT].into(), 100).await,
        Err(NodeError::CircuitFailed { message: message.clone() })
    );
    assert_eq!(execute(vec![PROVE].into(), 9).await, Err(NodeError::CycleLimit { limit: 9 }));
    let failed = tokio::time::timeout(Duration::from_secs(2), bench.prove(TaskId::now(), 1, &[FAIL_CIRCUIT])).await;
    assert_eq!(failed.expect("it waits for no slot"), Err(NodeError::CircuitFailed { message }));
    bench.backend.open_gate();
    end(held).await.unwrap();
    assert_eq!(bench.backend.proofs.load(Ordering::SeqCst), 1);
});

contract!(a_panic_costs_its_job_and_nothing_else, |bench| {
    for (input, expected) in [(PANIC_PROVING, "proving went wrong"), (PANIC_EXECUTING, "executing went wrong")] {
        let Err(NodeError::Failed { reason }) = bench.prove(TaskId::now(), 1, &[input]).await else {
            panic!("{input}")
        };
        assert!(reason.contains(expected), "{reason}");
    }
    bench.prove(TaskId::now(), 1, &[PROVE]).await.unwrap();
    let info = bench.node.describe().await.unwrap();
    assert_eq!((info.slots.running, info.slots.waiting), (0, 0));
});

contract!(the_queue_refuses_instead_of_growing, |bench| {
    let mut first = bench.start(TaskId::now(), 1, &[GATED]).await.unwrap();
    started(&mut first).await;
    let mut waiting = Vec::new();
    for _ in 0..2 {
        waiting.push(bench.start(TaskId::now(), 1, &[PROVE]).await.unwrap());
    }
    let refused = bench.start(TaskId::now(), 1, &[PROVE]).await.map(drop);
    assert_eq!(refused, Err(NodeError::QueueFull { waiting: 2 }));
    let slots = bench.node.describe().await.unwrap().slots;
    assert_eq!((slots.running, slots.waiting), (1, 2));
    bench.backend.open_gate();
    end(first).await.unwrap();
    for events in waiting {
        end(events).await.unwrap();
    }
    assert_eq!(bench.backend.most_at_once.load(Ordering::SeqCst), 1);
});

contract!(memory_bounds_what_runs_at_once, NodeConfig { slots: NonZeroU32::new(8).unwrap(), ..config() }, |bench| {
    let mut jobs = Vec::new();
    for _ in 0..4 {
        jobs.push(bench.start(TaskId::now(), 1, &[GATED]).await.unwrap());
    }
    bench.proving(2).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let slots = bench.node.describe().await.unwrap().slots;
    assert_eq!((slots.running, slots.waiting), (2, 2), "twice 4 GiB fit into 10");
    bench.backend.open_gate();
    for events in jobs {
        end(events).await.unwrap();
    }
    assert_eq!(bench.backend.most_at_once.load(Ordering::SeqCst), 2);
});

contract!(a_caller_who_does_not_read_holds_up_nobody, |bench| {
    let mut unread = Vec::new();
    for _ in 0..3 {
        unread.push(bench.start(TaskId::now(), 1, &[PROVE]).await.unwrap());
    }
    while bench.node.describe().await.unwrap().slots != (SlotUse { slots: 1, queue: 2, ..SlotUse::default() }) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    bench.prove(TaskId::now(), 1, &[PROVE]).await.unwrap();
    for events in unread {
        end(events).await.unwrap();
    }
});

contract!(the_same_work_is_done_once, |bench| {
    let task = TaskId::now();
    let mut first = bench.start(task, 1, &[GATED]).await.unwrap();
    started(&mut first).await;
    // While it runs: under the same fence, and under a higher one; dropping a stream cancels nothing.
    drop(bench.start(task, 1, &[GATED]).await.unwrap());
    let joined = bench.start(task, 5, &[GATED]).await.unwrap();
    drop(first);
    bench.backend.open_gate();
    let proof = end(joined).await.unwrap();
    // After its end: the answer is fetched again.
    assert_eq!(bench.prove(task, 5, &[GATED]).await, Ok(proof.clone()));
    assert_eq!(bench.prove(task, 6, &[GATED]).await, Ok(proof));
    assert_eq!(bench.backend.proofs.load(Ordering::SeqCst), 1);
    // The claim has moved on.
    assert_eq!(bench.start(task, 5, &[GATED]).await.map(drop), Err(NodeError::StaleFence));
    assert_eq!(bench.start(task, 6, &[PROVE]).await.map(drop), Err(NodeError::StaleFence), "other work");
    assert_eq!(bench.node.cancel(JobKey { task, fence: 5 }).await, Err(NodeError::StaleFence));
});

contract!(it_says_whether_it_has_a_job_of_a_task, |bench| {
    let (running, waiting, failed, panicked) = (TaskId::now(), TaskId::now(), TaskId::now(), TaskId::now());
    let has = |task| bench.node.has_job(task);
    assert_eq!(has(running).await, Ok(false));
    bench.prove(failed, 1, &[FAIL_CIRCUIT]).await.unwrap_err();
    bench.prove(panicked, 1, &[PANIC_PROVING]).await.unwrap_err();
    let mut first = bench.start(running, 1, &[GATED]).await.unwrap();
    started(&mut first).await;
    let second = bench.start(waiting, 1, &[GATED]).await.unwrap();
    assert_eq!((has(running).await, has(waiting).await), (Ok(true), Ok(true)));
    assert_eq!(has(failed).await, Ok(true), "what is deterministic is a result");
    assert_eq!(has(panicked).await, Ok(false), "a new claim would begin anew");
    bench.node.cancel(JobKey { task: waiting, fence: 1 }).await.unwrap();
    assert_eq!(has(waiting).await, Ok(false));
    drop(second);
    bench.backend.open_gate();
    end(first).await.unwrap();
    assert_eq!(has(running).await, Ok(true), "its result is kept");
});

contract!(a_result_no_longer_kept_is_not_held, NodeConfig { keep_finished: Duration::ZERO, ..config() }, |bench| {
    let task = TaskId::now();
    bench.prove(task, 1, &[PROVE]).await.unwrap();
    assert_eq!(bench.node.has_job(task).await, Ok(false));
});

contract!(other_work_under_a_higher_fence_replaces_what_runs, |bench| {
    let task = TaskId::now();
    let mut first = bench.start(task, 1, &[GATED]).await.unwrap();
    started(&mut first).await;
    let proof = bench.prove(task, 2, &[PROVE, 2]).await.unwrap();
    assert_eq!(&proof.public_inputs[..], [PROVE, 2]);
    assert_eq!(end(first).await, Err(NodeError::StaleFence));
});

contract!(a_failure_by_chance_is_tried_again_by_a_new_claim_only, |bench| {
    let task = TaskId::now();
    let failed = Err(NodeError::Failed { reason: "by chance".into() });
    assert_eq!(bench.prove(task, 1, &[FAIL_PROVING]).await, failed);
    assert_eq!(bench.prove(task, 1, &[FAIL_PROVING]).await, failed);
    assert_eq!(bench.backend.proofs.load(Ordering::SeqCst), 1, "the same claim hears the same answer");
    assert_eq!(bench.prove(task, 2, &[FAIL_PROVING]).await, failed);
    assert_eq!(bench.backend.proofs.load(Ordering::SeqCst), 2);
    let task = TaskId::now();
    for fence in 1..4 {
        assert!(matches!(bench.prove(task, fence, &[FAIL_CIRCUIT]).await, Err(NodeError::CircuitFailed { .. })));
    }
    assert_eq!(bench.backend.executions.load(Ordering::SeqCst), 3, "what is deterministic is not tried again");
});

contract!(cancelling_ends_what_runs_and_what_waits, |bench| {
    let (running, waiting) = (TaskId::now(), TaskId::now());
    let mut first = bench.start(running, 1, &[GATED]).await.unwrap();
    started(&mut first).await;
    bench.proving(1).await;
    let second = bench.start(waiting, 1, &[GATED]).await.unwrap();
    for task in [waiting, running] {
        bench.node.cancel(JobKey { task, fence: 1 }).await.unwrap();
    }
    assert_eq!(end(second).await, Err(NodeError::Cancelled));
    assert_eq!(end(first).await, Err(NodeError::Cancelled));
    bench.proving(0).await;
    bench.node.cancel(JobKey { task: TaskId::now(), fence: 1 }).await.expect("there is no such job");
    assert_eq!(bench.backend.proofs.load(Ordering::SeqCst), 1, "what waited never ran");
    // Forgotten: asked for again, it begins anew.
    bench.backend.open_gate();
    bench.prove(running, 1, &[GATED]).await.unwrap();
    assert_eq!(bench.backend.proofs.load(Ordering::SeqCst), 2);
});

contract!(a_backend_that_cannot_stop_keeps_its_slot, |bench| {
    let task = TaskId::now();
    let mut first = bench.start(task, 1, &[STUBBORN]).await.unwrap();
    started(&mut first).await;
    bench.node.cancel(JobKey { task, fence: 1 }).await.unwrap();
    assert_eq!(end(first).await, Err(NodeError::Cancelled), "the caller need not wait for it");
    assert_eq!(bench.node.describe().await.unwrap().slots.running, 1);
    let next = bench.start(TaskId::now(), 1, &[PROVE]).await.unwrap();
    bench.backend.open_gate();
    end(next).await.unwrap();
    assert_eq!(bench.backend.most_at_once.load(Ordering::SeqCst), 1);
});

contract!(draining_finishes_what_runs_and_gives_back_the_rest, |bench| {
    let task = TaskId::now();
    let mut running = bench.start(task, 1, &[GATED]).await.unwrap();
    started(&mut running).await;
    let waiting = bench.start(TaskId::now(), 1, &[PROVE]).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let draining = tokio::spawn({
        let node = bench.inner.clone();
        async move { node.drain(PATIENCE).await }
    });
    assert_eq!(end(waiting).await, Err(NodeError::Draining));
    assert_eq!(bench.start(TaskId::now(), 1, &[PROVE]).await.map(drop), Err(NodeError::Draining));
    let again = bench.start(task, 1, &[GATED]).await.expect("what runs can still be followed");
    bench.backend.open_gate();
    assert_eq!(draining.await.unwrap(), 0);
    assert_eq!(end(running).await, end(again).await);
});

contract!(
    draining_gives_back_at_once_what_is_still_executed,
    NodeConfig { executions: NonZeroU32::MIN, ..config() },
    |bench| {
        let mut held = bench.start(TaskId::now(), 1, &[GATED]).await.unwrap();
        started(&mut held).await;
        let executed = bench.start(TaskId::now(), 1, &[GATED_EXECUTING]).await.unwrap();
        let behind = bench.start(TaskId::now(), 1, &[PROVE]).await.unwrap();
        let draining = tokio::spawn({
            let node = bench.inner.clone();
            async move { node.drain(PATIENCE).await }
        });
        assert_eq!(end(executed).await, Err(NodeError::Draining));
        assert_eq!(end(behind).await, Err(NodeError::Draining));
        bench.backend.open_gate();
        assert_eq!(draining.await.unwrap(), 0);
        end(held).await.unwrap();
    }
);

contract!(draining_has_an_end, |bench| {
    let mut running = bench.start(TaskId::now(), 1, &[STUBBORN]).await.unwrap();
    started(&mut running).await;
    assert_eq!(bench.inner.drain(Duration::from_millis(20)).await, 1);
    assert_eq!(end(running).await, Err(NodeError::Draining));
    bench.backend.open_gate();
});

contract!(
    results_are_kept_within_bounds,
    NodeConfig { keep_finished_bytes: 2 * PROOF_LENGTH + 100, ..config() },
    |bench| {
        let tasks: Vec<_> = (0..3).map(|_| TaskId::now()).collect();
        for task in &tasks {
            bench.prove(*task, 1, &[PROVE]).await.unwrap();
        }
        bench.prove(tasks[2], 1, &[PROVE]).await.unwrap();
        assert_eq!(bench.backend.proofs.load(Ordering::SeqCst), 3);
        bench.prove(tasks[0], 1, &[PROVE]).await.unwrap();
        assert_eq!(bench.backend.proofs.load(Ordering::SeqCst), 4, "the oldest was dropped");
    }
);

contract!(results_are_kept_for_their_time, NodeConfig { keep_finished: Duration::ZERO, ..config() }, |bench| {
    let task = TaskId::now();
    for count in 1..3 {
        bench.prove(task, 1, &[PROVE]).await.unwrap();
        assert_eq!(bench.backend.proofs.load(Ordering::SeqCst), count);
    }
});

contract!(an_input_beyond_the_limit_is_refused, NodeConfig { input_limit: 100, ..config() }, |bench| {
    let refused = bench.start(TaskId::now(), 1, &[PROVE; 101]).await.map(drop);
    let Err(NodeError::Unsupported { reason, .. } | NodeError::Failed { reason }) = refused else {
        panic!("{refused:?}")
    };
    assert!(reason.contains("101 bytes") && reason.contains("at most 100"), "{reason}");
    bench.prove(TaskId::now(), 1, &[PROVE; 100]).await.unwrap();
});

#[tokio::test]
async fn a_directory_of_circuits_outlives_the_node() {
    let directory = tempfile::tempdir().unwrap();
    let node = || {
        let circuits = CircuitStore::Directory(directory.path().join("circuits"));
        Node::new(vec![Arc::new(TestBackend::default())], NodeConfig { circuits, ..config() })
    };
    let digest = node().upload_circuit(Backend::Sp1, testing::echo()).await.unwrap();
    let again = node();
    assert_eq!(again.has_circuit(digest).await, Ok(true));
    assert_eq!(again.set_up(digest).await.unwrap().verifying_key, &b"\x7fELF"[..]);
}

#[tokio::test]
async fn the_work_ends_with_the_last_handle() {
    let backend = Arc::new(TestBackend::default());
    let node = Node::new(vec![backend.clone()], config());
    let circuit = node.upload_circuit(Backend::Sp1, testing::echo()).await.unwrap();
    let key = JobKey { task: TaskId::now(), fence: 1 };
    let job = Job { key, circuit, kind: ProofKind::Core, input: vec![GATED].into() };
    let mut events = node.prove(job).await.unwrap();
    started(&mut events).await;
    drop(node);
    assert_eq!(end(events).await, Err(NodeError::Draining));
    while backend.at_once.load(Ordering::SeqCst) > 0 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
