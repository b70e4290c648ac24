//! A node on the wire: gRPC, with the standard health and reflection services.
//!
//! Every method but health takes the shared secret. Sizes are bounded by the node's configuration, messages by
//! the protocol's chunks.

mod service;

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use std::{io, time::Duration};
use subtle::ConstantTimeEq;
use tokio::net::TcpListener;
use tonic::{
    Request, Status,
    server::NamedService,
    service::interceptor::InterceptedService,
    transport::{Identity, Server, ServerTlsConfig, server::TcpIncoming},
};
use tonic_health::{ServingStatus, server::HealthReporter};

use crate::{
    mock::MockFailures,
    node::{Node, Readiness},
    wire::{
        MAX_MESSAGE,
        pb::{self, prover_server::ProverServer},
    },
};
use service::Service;

/// How often an idle connection is asked whether it still lives, and how long it has to answer.
const KEEPALIVE: Duration = Duration::from_secs(20);
/// Streams of one connection at once: a coprocessor has one per job it follows.
const MAX_STREAMS: u32 = 1024;

/// Who may talk to a node, and how.
#[derive(Clone, Default)]
pub struct ServeConfig {
    /// The shared secret; without one, whoever can connect may do everything.
    pub secret: Option<SecretString>,
    /// Certificate and key; without them the wire is in clear text.
    pub tls: Option<Tls>,
    /// Streams of jobs that break off on purpose, for chaos tests: the n-th one after a number of messages that is drawn. The
    /// kinds do not matter.
    pub lost_streams: MockFailures,
}

/// A certificate chain and its private key, both in PEM.
#[derive(Clone)]
pub struct Tls {
    /// The certificate, then those that lead to its root.
    pub certificate: Vec<u8>,
    /// The private key.
    pub key: SecretString,
}

/// Why a node could not be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The certificate or its key is not one, or they don't belong together.
    #[error("the TLS certificate or key cannot be used: {0}")]
    Tls(#[source] tonic::transport::Error),
    /// The protocol's own description is broken: a fault of this build.
    #[error("reflection: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The server broke down.
    #[error("serving failed: {0}")]
    Transport(#[source] tonic::transport::Error),
    /// The socket cannot be used.
    #[error("the listening socket: {0}")]
    Socket(#[from] io::Error),
}

/// Serves a node until `shutdown` ends; then takes no new calls and waits for those that run. Call
/// [`Node::drain`] first to have the jobs end.
///
/// The health service says NOT_SERVING while the node warms up, drains, or cannot prove.
///
/// # Errors
/// [`ServeError`].
pub async fn serve(
    node: Node,
    listener: TcpListener,
    config: ServeConfig,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let mut server = Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE))
        .max_concurrent_streams(MAX_STREAMS);
    if let Some(tls) = &config.tls {
        let identity = Identity::from_pem(&tls.certificate, tls.key.expose_secret());
        server = server.tls_config(ServerTlsConfig::new().identity(identity)).map_err(ServeError::Tls)?;
    }
    let check = Check::new(config.secret.as_ref());
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(pb::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()?;
    let (reporter, health) = tonic_health::server::health_reporter();
    let readiness = node.readiness();
    let prover = ProverServer::new(Service::new(node, config.lost_streams)).max_decoding_message_size(MAX_MESSAGE);
    let check_reflection = check.clone();
    let served = server
        .add_service(health)
        .add_service(InterceptedService::new(prover, move |request| check.admit(request)))
        .add_service(InterceptedService::new(reflection, move |request| check_reflection.admit(request)))
        .serve_with_incoming_shutdown(TcpIncoming::from(listener).with_nodelay(Some(true)), shutdown);
    tokio::select! {
        result = served => result.map_err(ServeError::Transport),
        never = report(readiness, reporter) => match never {},
    }
}

/// Keeps the health service up to date.
async fn report(
    mut readiness: tokio::sync::watch::Receiver<Readiness>,
    reporter: HealthReporter,
) -> std::convert::Infallible {
    loop {
        let status = match *readiness.borrow_and_update() {
            Readiness::Ready => ServingStatus::Serving,
            Readiness::WarmingUp | Readiness::Unfit | Readiness::Draining => ServingStatus::NotServing,
        };
        for service in ["", <ProverServer<Service> as NamedService>::NAME] {
            reporter.set_service_status(service, status).await;
        }
        if readiness.changed().await.is_err() {
            // The node is gone; the server ends with its last call.
            std::future::pending::<()>().await;
        }
    }
}

/// Compares secrets by their digests and in constant time: neither length nor content shows in how long it takes.
#[derive(Clone)]
struct Check(Option<[u8; 32]>);

impl Check {
    fn new(secret: Option<&SecretString>) -> Self {
        Self(secret.map(|secret| Sha256::digest(secret.expose_secret()).into()))
    }

    fn admit(&self, request: Request<()>) -> Result<Request<()>, Status> {
        let Some(expected) = &self.0 else { return Ok(request) };
        let given = request.metadata().get("authorization").and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
        let matches = given.is_some_and(|given| <[u8; 32]>::from(Sha256::digest(given)).ct_eq(expected).into());
        if matches {
            Ok(request)
        } else {
            Err(Status::unauthenticated("the secret is missing or wrong; set VALENCE_PROVER_SECRET to the node's"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_secret_is_admitted() {
        let check = Check::new(Some(&SecretString::from("hush")));
        let admitted = |value: Option<&str>| {
            let mut request = Request::new(());
            if let Some(value) = value {
                request.metadata_mut().insert("authorization", value.parse().unwrap());
            }
            check.admit(request).is_ok()
        };
        assert!(admitted(Some("Bearer hush")));
        for wrong in [
            None,
            Some(""),
            Some("hush"),
            Some("Bearer "),
            Some("Bearer hus"),
            Some("Bearer hush!"),
            Some("bearer hush"),
        ] {
            assert!(!admitted(wrong), "{wrong:?}");
        }
        assert!(Check::new(None).admit(Request::new(())).is_ok());
    }
}
