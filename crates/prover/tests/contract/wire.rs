//! What only the wire has: the secret, health, reflection, TLS, and a node that is not there.

use super::{SECRET, TestBackend, config, serve_node};
use coprocessor_prover::{
    BackendError, NodeError, ProverNode, ProvingBackend,
    mock::{MockBackend, MockConfig},
    node::Node,
    remote::RemoteNode,
    server::{ServeConfig, ServeError, Tls, serve},
};
use coprocessor_types::BlobDigest;
use secrecy::SecretString;
use std::{sync::Arc, time::Duration};
use tokio::net::TcpListener;
use tonic::{Code, transport::Endpoint};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

const CERTIFICATE: &[u8] = include_bytes!("localhost.crt");
const KEY: &str = include_str!("localhost.key");
const SERVICE: &str = "coprocessor.prover.v1.Prover";

fn node() -> Node {
    Node::new(vec![Arc::new(MockBackend::new(MockConfig::default()))], config())
}

async fn health(address: &str, service: &str) -> ServingStatus {
    let channel = Endpoint::from_shared(address.to_owned()).unwrap().connect().await.unwrap();
    let request = HealthCheckRequest { service: service.into() };
    HealthClient::new(channel).check(request).await.unwrap().into_inner().status()
}

#[tokio::test]
async fn a_wrong_or_missing_secret_is_refused_by_every_method() {
    let address = serve_node(node()).await;
    for secret in [None, Some(SecretString::from("hush")), Some(SecretString::from(format!("{SECRET}!")))] {
        let node = RemoteNode::new(&address, secret, false).unwrap();
        let refused = NodeError::Unauthorized { address: address.clone() };
        let digest = BlobDigest([0; 32]);
        assert_eq!(node.describe().await, Err(refused.clone()));
        assert_eq!(node.has_circuit(digest).await, Err(refused.clone()));
        assert_eq!(node.set_up(digest).await, Err(refused.clone()));
        let circuit = vec![0; 3 << 20].into();
        assert_eq!(node.upload_circuit(coprocessor_types::Backend::Sp1, circuit).await, Err(refused.clone()));
        let input = vec![0; 3 << 20].into();
        assert_eq!(node.execute(digest, input, Default::default()).await, Err(refused.clone()));
        let key = coprocessor_prover::JobKey { task: coprocessor_types::TaskId::now(), fence: 1 };
        let kind = coprocessor_types::ProofKind::Mock;
        let job = coprocessor_prover::Job { key, circuit: digest, kind, input: vec![0; 3 << 20].into() };
        assert_eq!(node.prove(job).await.map(drop), Err(refused.clone()));
        assert_eq!(node.has_job(key.task).await, Err(refused.clone()));
        assert_eq!(node.cancel(key).await, Err(refused));
    }
}

#[tokio::test]
async fn health_needs_no_secret_and_follows_the_node() {
    struct Broken;
    impl ProvingBackend for Broken {
        fn info(&self) -> coprocessor_prover::BackendInfo {
            TestBackend::default().info()
        }
        fn warm_up(&self) -> Result<(), BackendError> {
            Err(BackendError::Failed { reason: "no memory for its tables".into() })
        }
        fn set_up(&self, _: &bytes::Bytes) -> Result<coprocessor_prover::Setup, BackendError> {
            Err(BackendError::Cancelled)
        }
        fn execute(
            &self,
            _: &bytes::Bytes,
            _: &[u8],
            _: coprocessor_prover::ExecutionLimits,
        ) -> Result<coprocessor_prover::Execution, BackendError> {
            Err(BackendError::Cancelled)
        }
        fn prove(
            &self,
            _: &bytes::Bytes,
            _: &[u8],
            _: coprocessor_types::ProofKind,
            _: &coprocessor_prover::Progress<'_>,
            _: &coprocessor_prover::Cancellation,
        ) -> Result<coprocessor_prover::Proof, BackendError> {
            Err(BackendError::Cancelled)
        }
    }
    let unfit = Node::new(vec![Arc::new(Broken)], config());
    let address = serve_node(unfit.clone()).await;
    unfit.warm_up().await;
    wait_for(&address, ServingStatus::NotServing).await;
    let info = unfit.describe().await.unwrap();
    assert!(info.backends[0].offers.is_empty());
    assert!(info.backends[0].missing.iter().any(|(_, reason)| reason.contains("no memory for its tables")));

    let node = node();
    let address = serve_node(node.clone()).await;
    wait_for(&address, ServingStatus::Serving).await;
    node.warm_up().await;
    wait_for(&address, ServingStatus::Serving).await;
    node.drain(Duration::ZERO).await;
    wait_for(&address, ServingStatus::NotServing).await;
    assert_eq!(health(&address, SERVICE).await, ServingStatus::NotServing);
}

async fn wait_for(address: &str, status: ServingStatus) {
    for _ in 0..500 {
        if health(address, "").await == status {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never {status:?}");
}

#[tokio::test]
async fn reflection_tells_the_protocol_to_who_has_the_secret() {
    let address = serve_node(node()).await;
    let channel = Endpoint::from_shared(address).unwrap().connect().await.unwrap();
    let ask = |secret: Option<&str>| {
        let list = ServerReflectionRequest {
            host: String::new(),
            message_request: Some(MessageRequest::ListServices(String::new())),
        };
        let mut request = tonic::Request::new(futures::stream::iter([list]));
        if let Some(secret) = secret {
            request.metadata_mut().insert("authorization", format!("Bearer {secret}").parse().unwrap());
        }
        let mut client = ServerReflectionClient::new(channel.clone());
        async move { client.server_reflection_info(request).await }
    };
    assert_eq!(ask(None).await.unwrap_err().code(), Code::Unauthenticated);
    let answer = ask(Some(SECRET)).await.unwrap().into_inner().message().await.unwrap().unwrap();
    let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else { panic!("{answer:?}") };
    assert!(list.service.iter().any(|service| service.name == SERVICE), "{list:?}");
}

#[tokio::test]
async fn over_tls_the_certificate_counts() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    let tls = Some(Tls { certificate: CERTIFICATE.into(), key: SecretString::from(KEY) });
    let config = ServeConfig { secret: Some(SecretString::from(SECRET)), tls, ..ServeConfig::default() };
    tokio::spawn(serve(node(), listener, config, std::future::pending()));
    let secret = || Some(SecretString::from(SECRET));
    let trusting = RemoteNode::with_roots(&address, secret(), CERTIFICATE).unwrap();
    assert!(trusting.describe().await.is_ok());
    // The machine's roots did not sign it. A machine may have none at all.
    if let Ok(strict) = RemoteNode::new(&address, secret(), false) {
        assert!(matches!(strict.describe().await, Err(NodeError::Unreachable { .. })));
    }
    let clear = RemoteNode::new(&address.replace("https", "http"), secret(), false).unwrap();
    assert!(matches!(clear.describe().await, Err(NodeError::Unreachable { .. })));
}

#[tokio::test]
async fn a_broken_certificate_is_said_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let tls = Some(Tls { certificate: b"none".to_vec(), key: SecretString::from("none") });
    let served = serve(node(), listener, ServeConfig { tls, ..ServeConfig::default() }, std::future::pending()).await;
    assert!(matches!(served, Err(ServeError::Tls(_))), "{served:?}");
}

#[tokio::test]
async fn a_node_that_is_not_there_is_unreachable_until_it_is() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let local = listener.local_addr().unwrap();
    drop(listener);
    let remote = RemoteNode::new(&local.to_string(), None, false).unwrap();
    let Err(NodeError::Unreachable { address, .. }) = remote.describe().await else { panic!("reached") };
    assert_eq!(address, format!("http://{local}"));
    let listener = TcpListener::bind(local).await.unwrap();
    tokio::spawn(serve(node(), listener, ServeConfig::default(), std::future::pending()));
    assert!(remote.describe().await.is_ok());
}

#[tokio::test]
async fn shutting_down_ends_the_server() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let shutdown = async {
        let _ = stopped.await;
    };
    let serving = tokio::spawn(serve(node(), listener, ServeConfig::default(), shutdown));
    stop.send(()).unwrap();
    serving.await.unwrap().unwrap();
}
