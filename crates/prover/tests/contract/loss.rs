//! Answers that are lost on their way: whoever asks again, under a new claim, gets the same proof, and it is made once.

use super::*;
use coprocessor_prover::mock::MockFailures;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::watch,
};

/// A way to a node that breaks when it is told to, or once so many bytes have come back on one connection.
struct Proxy {
    address: String,
    broken: watch::Sender<bool>,
}

impl Proxy {
    async fn start(to: &str, answer_limit: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let to = to.trim_start_matches("http://").to_owned();
        let (broken, breaks) = watch::channel(false);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let node = TcpStream::connect(&to).await.unwrap();
                let mut breaks = breaks.clone();
                tokio::spawn(async move {
                    tokio::select! {
                        () = pass(client, node, answer_limit) => {}
                        _ = breaks.wait_for(|broken| *broken) => {}
                    }
                });
            }
        });
        Self { address, broken }
    }

    fn node(&self) -> RemoteNode {
        RemoteNode::new(&self.address, Some(SecretString::from(SECRET)), false).unwrap()
    }
}

async fn pass(client: TcpStream, node: TcpStream, answer_limit: usize) {
    let (mut client_in, mut client_out) = client.into_split();
    let (node_in, mut node_out) = node.into_split();
    let mut answers = node_in.take(answer_limit as u64);
    let asking = async { tokio::io::copy(&mut client_in, &mut node_out).await };
    let answering = async {
        tokio::io::copy(&mut answers, &mut client_out).await?;
        client_out.shutdown().await
    };
    tokio::select! {
        _ = asking => {}
        _ = answering => {}
    }
}

/// A node behind a socket; its backend, and a circuit.
async fn remote() -> (String, Arc<TestBackend>, BlobDigest) {
    let backend = Arc::new(TestBackend::default());
    let node = Node::new(vec![backend.clone()], config());
    let circuit = node.upload_circuit(Backend::Sp1, testing::echo()).await.unwrap();
    (serve_node(node).await, backend, circuit)
}

fn job(circuit: BlobDigest, task: TaskId, fence: u64, input: u8) -> Job {
    Job { key: JobKey { task, fence }, circuit, kind: ProofKind::Core, input: vec![input].into() }
}

#[tokio::test]
async fn a_connection_that_breaks_while_a_proof_is_made_costs_no_proof() {
    let (address, backend, circuit) = remote().await;
    let (first, second) = (Proxy::start(&address, usize::MAX).await, Proxy::start(&address, usize::MAX).await);
    let task = TaskId::now();
    let mut events = first.node().prove(job(circuit, task, 1, GATED)).await.unwrap();
    started(&mut events).await;
    first.broken.send_replace(true);
    let lost = end(events).await;
    assert!(matches!(lost, Err(NodeError::Unreachable { .. })), "{lost:?}");
    let node = second.node();
    assert_eq!(node.has_job(task).await, Ok(true));
    let mut events = node.prove(job(circuit, task, 2, GATED)).await.unwrap();
    started(&mut events).await;
    backend.open_gate();
    assert_eq!(end(events).await.unwrap().bytes.len(), PROOF_LENGTH);
    assert_eq!(backend.proofs.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_connection_that_breaks_in_the_middle_of_an_answer_costs_no_proof() {
    let (address, backend, circuit) = remote().await;
    let task = TaskId::now();
    for (fence, limit) in [(1, 100_000), (2, PROOF_LENGTH / 2), (3, PROOF_LENGTH)] {
        let proxy = Proxy::start(&address, limit).await;
        let lost = match proxy.node().prove(job(circuit, task, fence, PROVE)).await {
            Ok(events) => end(events).await,
            Err(error) => Err(error),
        };
        assert!(matches!(lost, Err(NodeError::Unreachable { .. })), "{limit}: {lost:?}");
    }
    let proxy = Proxy::start(&address, usize::MAX).await;
    let proof = end(proxy.node().prove(job(circuit, task, 4, PROVE)).await.unwrap()).await.unwrap();
    assert!(proof.bytes.iter().enumerate().all(|(i, byte)| *byte == (i / 7) as u8));
    assert_eq!(backend.proofs.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn streams_are_lost_on_purpose_and_the_proof_is_fetched_again() {
    let backend = Arc::new(TestBackend::default());
    let inner = Node::new(vec![backend.clone()], config());
    let circuit = inner.upload_circuit(Backend::Sp1, testing::echo()).await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let lost_streams = MockFailures { rate: 0.8, seed: 5, ..MockFailures::default() };
    tokio::spawn(serve(
        inner,
        listener,
        ServeConfig { lost_streams, ..ServeConfig::default() },
        std::future::pending(),
    ));
    let node = RemoteNode::new(&address, None, false).unwrap();
    let mut lost = 0;
    for count in 1..=8 {
        let task = TaskId::now();
        let mut fence = 1;
        loop {
            match end(node.prove(job(circuit, task, fence, PROVE)).await.unwrap()).await {
                Ok(proof) => {
                    assert_eq!(proof.bytes.len(), PROOF_LENGTH);
                    break;
                }
                Err(NodeError::Unreachable { reason, .. }) => assert!(reason.contains("on purpose"), "{reason}"),
                Err(other) => panic!("{other}"),
            }
            (lost, fence) = (lost + 1, fence + 1);
        }
        assert_eq!(backend.proofs.load(Ordering::SeqCst), count);
    }
    assert!(lost > 8, "{lost}");
}

/// What is kept of ended jobs is bounded by the proofs' bytes, which is what they hold: not their circuits, nor their inputs.
#[tokio::test]
async fn a_kept_result_holds_neither_circuit_nor_input() {
    let backend = Arc::new(TestBackend::default());
    let node = Node::new(vec![backend], NodeConfig { circuit_cache: 1, ..config() });
    let freed = Arc::new(());
    let held = |bytes: Bytes| {
        /// Counted while it lives.
        struct Owner(Bytes, #[allow(dead_code, reason = "it is counted")] Arc<()>);
        impl AsRef<[u8]> for Owner {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }
        Bytes::from_owner(Owner(bytes, Arc::clone(&freed)))
    };
    let circuit = node.upload_circuit(Backend::Sp1, held(testing::echo())).await.unwrap();
    let task = TaskId::now();
    let key = JobKey { task, fence: 1 };
    let kind = ProofKind::Core;
    let job = Job { key, circuit, kind, input: held(vec![PROVE].into()) };
    end(node.prove(job).await.unwrap()).await.unwrap();
    assert_eq!(node.has_job(task).await, Ok(true));
    // Another circuit takes the first one's place in the cache.
    node.upload_circuit(Backend::Sp1, testing::endless()).await.unwrap();
    while Arc::strong_count(&freed) > 1 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert_eq!(node.has_job(task).await, Ok(true));
}
