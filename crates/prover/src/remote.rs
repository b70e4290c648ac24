//! A node on another machine, or in another process.

mod address;
mod dial;

use async_trait::async_trait;
use bytes::Bytes;
use coprocessor_types::{Backend, BlobDigest, TaskId};
use futures::{StreamExt, stream, stream::BoxStream};
use secrecy::{ExposeSecret, SecretString};
use std::{sync::OnceLock, time::Duration};
use tokio::sync::mpsc;
use tonic::{
    Request, Status, Streaming,
    metadata::{Ascii, MetadataValue},
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint},
};

use crate::{
    Execution, ExecutionLimits, Job, JobEvent, JobKey, NodeError, NodeInfo, Proof, ProverNode, Setup,
    wire::{
        self, Assembly, MAX_MESSAGE, chunks, from_status,
        pb::{self, execute_response, prove_response, prover_client::ProverClient},
    },
};
use address::Address;
use dial::Connector;

pub use dial::Dial;

const CONNECT: Duration = Duration::from_secs(5);
/// For calls that only look something up.
const SHORT: Duration = Duration::from_secs(15);
/// For calls that run a circuit or make its keys, and for uploads.
const LONG: Duration = Duration::from_secs(10 * 60);
/// A connection on which a job is followed is silent for minutes: it is asked this often whether it lives, and has as long
/// to answer.
const KEEPALIVE: Duration = Duration::from_secs(10);
/// Bounds what a node can make this process hold.
const MAX_PROOF: usize = 1 << 30;
const MAX_PUBLIC_INPUTS: usize = 64 << 20;

/// A node reached over gRPC. Connects when it is first used, and again whenever the connection is lost.
pub struct RemoteNode {
    address: String,
    endpoint: Endpoint,
    /// What connects; else it is connected to wherever its name leads.
    dial: Option<Dial>,
    secret: Option<MetadataValue<Ascii>>,
    /// Made within the runtime that uses it.
    channel: OnceLock<Channel>,
}

impl RemoteNode {
    /// A node at `http://host:port`, `https://host:port` or `host:port`. Without a scheme, loopback is reached by http and
    /// any other host by https, or by http as well when `insecure`. Without a port it is 37282. Certificates are checked
    /// against the machine's roots (`SSL_CERT_FILE` names others).
    ///
    /// # Errors
    /// [`NodeError::Insecure`] when the secret would go to another machine in clear text and `insecure` does not allow it;
    /// [`NodeError::BadAddress`].
    pub fn new(address: &str, secret: Option<SecretString>, insecure: bool) -> Result<Self, NodeError> {
        Self::build(address, secret, insecure, None)
    }

    /// The same, trusting the certificates signed by `roots` (PEM) and no others.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_roots(address: &str, secret: Option<SecretString>, roots: &[u8]) -> Result<Self, NodeError> {
        Self::build(address, secret, false, Some(roots))
    }

    fn build(
        address: &str,
        secret: Option<SecretString>,
        insecure: bool,
        roots: Option<&[u8]>,
    ) -> Result<Self, NodeError> {
        let Address { url, tls, loopback } = Address::parse(address, insecure)?;
        if secret.is_some() && !tls && !loopback && !insecure {
            return Err(NodeError::Insecure { address: url });
        }
        let bad = |error: tonic::transport::Error| {
            let reason = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
            NodeError::BadAddress { address: url.clone(), reason }
        };
        let mut endpoint = Endpoint::from_shared(url.clone())
            .map_err(bad)?
            .connect_timeout(CONNECT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(KEEPALIVE)
            .keep_alive_while_idle(true);
        if tls {
            let config = ClientTlsConfig::new();
            let config = match roots {
                Some(roots) => config.ca_certificate(Certificate::from_pem(roots)),
                None => config.with_native_roots(),
            };
            endpoint = endpoint.tls_config(config).map_err(bad)?;
        }
        let secret = secret.as_ref().map(bearer).transpose()?;
        Ok(Self { address: url, endpoint, dial: None, secret, channel: OnceLock::new() })
    }

    /// The same, over connections that `dial` makes. TLS, where the address asks for it, is spoken over them all the same.
    #[must_use]
    pub fn through(self, dial: Dial) -> Self {
        Self { dial: Some(dial), channel: OnceLock::new(), ..self }
    }

    fn client(&self) -> ProverClient<Channel> {
        let channel = self.channel.get_or_init(|| match &self.dial {
            None => self.endpoint.connect_lazy(),
            Some(dial) => self.endpoint.connect_with_connector_lazy(Connector(dial.clone())),
        });
        ProverClient::new(channel.clone()).max_decoding_message_size(MAX_MESSAGE)
    }

    fn request<T>(&self, message: T, deadline: Option<Duration>) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(deadline) = deadline {
            request.set_timeout(deadline);
        }
        if let Some(secret) = &self.secret {
            request.metadata_mut().insert("authorization", secret.clone());
        }
        request
    }

    fn failure(&self, status: &Status) -> NodeError {
        from_status(status, &self.address)
    }
}

#[async_trait]
impl ProverNode for RemoteNode {
    fn address(&self) -> &str {
        &self.address
    }

    async fn describe(&self) -> Result<NodeInfo, NodeError> {
        let request = self.request(pb::DescribeRequest {}, Some(SHORT));
        let answer = self.client().describe(request).await.map_err(|status| self.failure(&status))?;
        Ok(wire::node_info(answer.into_inner()))
    }

    async fn has_circuit(&self, circuit: BlobDigest) -> Result<bool, NodeError> {
        let request = self.request(pb::HasCircuitRequest { circuit: bytes_of(circuit) }, Some(SHORT));
        let answer = self.client().has_circuit(request).await.map_err(|status| self.failure(&status))?;
        Ok(answer.into_inner().held)
    }

    async fn upload_circuit(&self, backend: Backend, circuit: Bytes) -> Result<BlobDigest, NodeError> {
        use pb::upload_circuit_request::Part;
        let head = pb::UploadCircuitHead { backend: backend.to_string(), length: circuit.len() as u64 };
        let parts = std::iter::once(Part::Head(head)).chain(chunks(circuit).map(Part::Chunk));
        let messages = stream::iter(parts.map(|part| pb::UploadCircuitRequest { part: Some(part) }));
        let answer = self.client().upload_circuit(self.request(messages, Some(LONG))).await;
        let answer = answer.map_err(|status| self.failure(&status))?;
        wire::digest(&answer.into_inner().circuit).map_err(nonsense)
    }

    async fn set_up(&self, circuit: BlobDigest) -> Result<Setup, NodeError> {
        let request = self.request(pb::SetUpRequest { circuit: bytes_of(circuit) }, Some(LONG));
        let answer = self.client().set_up(request).await.map_err(|status| self.failure(&status))?;
        Ok(Setup { verifying_key: answer.into_inner().verifying_key })
    }

    async fn execute(
        &self,
        circuit: BlobDigest,
        input: Bytes,
        limits: ExecutionLimits,
    ) -> Result<Execution, NodeError> {
        use pb::execute_request::Part;
        let head = pb::ExecuteHead { circuit: bytes_of(circuit), cycles: limits.cycles, length: input.len() as u64 };
        let parts = std::iter::once(Part::Head(head)).chain(chunks(input).map(Part::Chunk));
        let messages = stream::iter(parts.map(|part| pb::ExecuteRequest { part: Some(part) }));
        let answer = self.client().execute(self.request(messages, Some(LONG))).await;
        let mut answer = answer.map_err(|status| self.failure(&status))?.into_inner();
        let first = answer.message().await.map_err(|status| self.failure(&status))?.and_then(|message| message.part);
        let Some(execute_response::Part::Execution(pb::Execution { cycles, length })) = first else {
            return Err(nonsense("its answer has no head"));
        };
        let mut assembly = Assembly::new("public inputs", length, MAX_PUBLIC_INPUTS).map_err(nonsense)?;
        while !assembly.is_whole() {
            match answer.message().await.map_err(|status| self.failure(&status))?.and_then(|message| message.part) {
                Some(execute_response::Part::Chunk(chunk)) => assembly.add(&chunk).map_err(nonsense)?,
                Some(execute_response::Part::Execution(_)) | None => break,
            }
        }
        Ok(Execution { public_inputs: assembly.finish().map_err(nonsense)?, cycles })
    }

    async fn prove(&self, job: Job) -> Result<BoxStream<'static, Result<JobEvent, NodeError>>, NodeError> {
        use pb::prove_request::Part;
        let head = pb::ProveHead {
            task: Bytes::copy_from_slice(job.key.task.0.as_bytes()),
            fence: job.key.fence,
            circuit: bytes_of(job.circuit),
            kind: job.kind.to_string(),
            length: job.input.len() as u64,
        };
        let parts = std::iter::once(Part::Head(head)).chain(chunks(job.input).map(Part::Chunk));
        let messages = stream::iter(parts.map(|part| pb::ProveRequest { part: Some(part) }));
        // Only until the job is accepted: how long it then takes is not known here.
        let accepted = tokio::time::timeout(LONG, self.client().prove(self.request(messages, None))).await;
        let late = |_| NodeError::Unreachable { address: self.address.clone(), reason: "no answer in time".into() };
        let answers = accepted.map_err(late)?.map_err(|status| self.failure(&status))?.into_inner();
        let following = Following { answers, address: self.address.clone() };
        let (sender, receiver) = mpsc::unbounded_channel();
        tokio::spawn(following.forward(sender));
        Ok(stream::unfold(receiver, async |mut receiver| Some((receiver.recv().await?, receiver))).boxed())
    }

    async fn has_job(&self, task: TaskId) -> Result<bool, NodeError> {
        let task = Bytes::copy_from_slice(task.0.as_bytes());
        let request = self.request(pb::HasJobRequest { task }, Some(SHORT));
        let answer = self.client().has_job(request).await.map_err(|status| self.failure(&status))?;
        Ok(answer.into_inner().held)
    }

    async fn cancel(&self, job: JobKey) -> Result<(), NodeError> {
        let task = Bytes::copy_from_slice(job.task.0.as_bytes());
        let request = self.request(pb::CancelRequest { task, fence: job.fence }, Some(SHORT));
        self.client().cancel(request).await.map(drop).map_err(|status| self.failure(&status))
    }
}

/// A job's events as they arrive.
struct Following {
    answers: Streaming<pb::ProveResponse>,
    address: String,
}

impl Following {
    /// Reads to the end, whether or not the caller keeps up: what lies unread on one stream takes from the window that all
    /// streams of a connection share, so a caller who waits would hold up the others. What is held is one proof.
    async fn forward(mut self, events: mpsc::UnboundedSender<Result<JobEvent, NodeError>>) {
        loop {
            let event = tokio::select! {
                event = self.event() => event,
                () = events.closed() => return,
            };
            let last = matches!(event, Ok(JobEvent::Done(_)) | Err(_));
            if events.send(event).is_err() || last {
                return;
            }
        }
    }

    async fn event(&mut self) -> Result<JobEvent, NodeError> {
        Ok(match self.message().await? {
            prove_response::Event::Queued(ahead) => JobEvent::Queued { ahead },
            prove_response::Event::Started(_) => JobEvent::Started,
            prove_response::Event::Step(name) => JobEvent::Step { name },
            prove_response::Event::Proof(head) => JobEvent::Done(self.proof(head).await?),
            prove_response::Event::Chunk(_) => return Err(nonsense("a chunk without a proof")),
        })
    }

    async fn message(&mut self) -> Result<prove_response::Event, NodeError> {
        let message = self.answers.message().await.map_err(|status| from_status(&status, &self.address))?;
        let ended = || NodeError::Unreachable {
            address: self.address.clone(),
            reason: "it hung up before the job's end".into(),
        };
        message.ok_or_else(ended)?.event.ok_or_else(|| nonsense("an event this build does not know"))
    }

    async fn proof(&mut self, head: pb::Proof) -> Result<Proof, NodeError> {
        let bytes = self.bytes("proof", head.proof_length, MAX_PROOF).await?;
        let public_inputs = self.bytes("public inputs", head.public_inputs_length, MAX_PUBLIC_INPUTS).await?;
        Ok(Proof {
            kind: wire::kind(&head.kind).map_err(nonsense)?,
            bytes,
            public_inputs,
            cycles: head.cycles,
            proving: Duration::from_nanos(head.proving_nanoseconds),
            set_up: Duration::from_nanos(head.set_up_nanoseconds),
            peak_memory: head.peak_memory,
        })
    }

    async fn bytes(&mut self, what: &'static str, length: u64, limit: usize) -> Result<Bytes, NodeError> {
        let mut assembly = Assembly::new(what, length, limit).map_err(nonsense)?;
        while !assembly.is_whole() {
            match self.message().await? {
                prove_response::Event::Chunk(chunk) => assembly.add(&chunk).map_err(nonsense)?,
                _ => return Err(nonsense("a proof without its chunks")),
            }
        }
        assembly.finish().map_err(nonsense)
    }
}

fn bearer(secret: &SecretString) -> Result<MetadataValue<Ascii>, NodeError> {
    let mut value = MetadataValue::try_from(format!("Bearer {}", secret.expose_secret())).map_err(|_| {
        NodeError::Failed { reason: "the secret holds characters that cannot be sent; use visible ASCII".into() }
    })?;
    value.set_sensitive(true);
    Ok(value)
}

fn bytes_of(digest: BlobDigest) -> Bytes {
    Bytes::copy_from_slice(digest.as_bytes())
}

/// For what no node of ours answers.
fn nonsense(reason: impl ToString) -> NodeError {
    NodeError::Failed { reason: format!("it does not keep to the protocol: {}", reason.to_string()) }
}
