//! The methods.

use bytes::Bytes;
use futures::{Stream, StreamExt, stream, stream::BoxStream};
use std::{
    pin::pin,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};
use tonic::{Request, Response, Status, Streaming};

use crate::{
    ExecutionLimits, Job, JobEvent, JobKey, NodeError, ProverNode,
    mock::MockFailures,
    node::Node,
    wire::{
        self, Assembly, chunks,
        pb::{self, execute_request, execute_response, prove_request, prove_response, upload_circuit_request},
        to_status,
    },
};

/// How long a caller has to send all of its chunks.
const UPLOAD_TIME: Duration = Duration::from_secs(10 * 60);

/// Most messages that come before a stream breaks off on purpose: enough to reach into a proof.
const BEFORE_LOSS: f64 = 6.0;

pub(super) struct Service {
    node: Node,
    lost_streams: MockFailures,
    streams: AtomicU64,
}

impl Service {
    pub(super) fn new(node: Node, lost_streams: MockFailures) -> Self {
        Self { node, lost_streams, streams: AtomicU64::new(0) }
    }

    /// After how many messages the next stream breaks off on purpose, when it does.
    fn loss(&self) -> Option<usize> {
        let number = self.streams.fetch_add(1, Ordering::Relaxed);
        let lost = self.lost_streams.fails(number);
        lost.then(|| (self.lost_streams.share(number) * BEFORE_LOSS) as usize)
    }
}

#[tonic::async_trait]
impl pb::prover_server::Prover for Service {
    type ExecuteStream = BoxStream<'static, Result<pb::ExecuteResponse, Status>>;
    type ProveStream = BoxStream<'static, Result<pb::ProveResponse, Status>>;

    async fn describe(&self, _: Request<pb::DescribeRequest>) -> Result<Response<pb::DescribeResponse>, Status> {
        answer(self.node.describe().await.map(Into::into))
    }

    async fn has_circuit(
        &self,
        request: Request<pb::HasCircuitRequest>,
    ) -> Result<Response<pb::HasCircuitResponse>, Status> {
        let circuit = wire::digest(&request.get_ref().circuit).map_err(bad)?;
        answer(self.node.has_circuit(circuit).await.map(|held| pb::HasCircuitResponse { held }))
    }

    async fn upload_circuit(
        &self,
        request: Request<Streaming<pb::UploadCircuitRequest>>,
    ) -> Result<Response<pb::UploadCircuitResponse>, Status> {
        use upload_circuit_request::Part;
        let limit = self.node.config().circuit_limit;
        let parts = request.into_inner().map(|message| match message?.part {
            Some(Part::Head(head)) => Ok(Piece::Head(head)),
            Some(Part::Chunk(chunk)) => Ok(Piece::Chunk(chunk)),
            None => Err(bad("an empty message")),
        });
        let (head, circuit) = receive(parts, "circuit", limit, |head: &pb::UploadCircuitHead| head.length).await?;
        let backend = wire::backend(&head.backend).map_err(bad)?;
        let uploaded = self.node.upload_circuit(backend, circuit).await;
        answer(uploaded.map(|digest| pb::UploadCircuitResponse { circuit: Bytes::copy_from_slice(digest.as_bytes()) }))
    }

    async fn set_up(&self, request: Request<pb::SetUpRequest>) -> Result<Response<pb::SetUpResponse>, Status> {
        let circuit = wire::digest(&request.get_ref().circuit).map_err(bad)?;
        answer(self.node.set_up(circuit).await.map(|setup| pb::SetUpResponse { verifying_key: setup.verifying_key }))
    }

    async fn execute(
        &self,
        request: Request<Streaming<pb::ExecuteRequest>>,
    ) -> Result<Response<Self::ExecuteStream>, Status> {
        use execute_request::Part;
        let limit = self.node.config().input_limit;
        let parts = request.into_inner().map(|message| match message?.part {
            Some(Part::Head(head)) => Ok(Piece::Head(head)),
            Some(Part::Chunk(chunk)) => Ok(Piece::Chunk(chunk)),
            None => Err(bad("an empty message")),
        });
        let (head, input) = receive(parts, "input", limit, |head: &pb::ExecuteHead| head.length).await?;
        let circuit = wire::digest(&head.circuit).map_err(bad)?;
        let limits = ExecutionLimits { cycles: head.cycles };
        let execution = self.node.execute(circuit, input, limits).await.map_err(|error| to_status(&error))?;
        let length = execution.public_inputs.len() as u64;
        let first = execute_response::Part::Execution(pb::Execution { cycles: execution.cycles, length });
        let rest = chunks(execution.public_inputs).map(execute_response::Part::Chunk);
        let parts = std::iter::once(first).chain(rest);
        Ok(Response::new(stream::iter(parts.map(|part| Ok(pb::ExecuteResponse { part: Some(part) }))).boxed()))
    }

    async fn prove(
        &self,
        request: Request<Streaming<pb::ProveRequest>>,
    ) -> Result<Response<Self::ProveStream>, Status> {
        use prove_request::Part;
        let limit = self.node.config().input_limit;
        let parts = request.into_inner().map(|message| match message?.part {
            Some(Part::Head(head)) => Ok(Piece::Head(head)),
            Some(Part::Chunk(chunk)) => Ok(Piece::Chunk(chunk)),
            None => Err(bad("an empty message")),
        });
        let (head, input) = receive(parts, "input", limit, |head: &pb::ProveHead| head.length).await?;
        let job = Job {
            key: JobKey { task: wire::task(&head.task).map_err(bad)?, fence: head.fence },
            circuit: wire::digest(&head.circuit).map_err(bad)?,
            kind: wire::kind(&head.kind).map_err(bad)?,
            input,
        };
        let events = self.node.prove(job).await.map_err(|error| to_status(&error))?;
        let messages = events.flat_map(|event| stream::iter(messages(event)));
        Ok(Response::new(match self.loss() {
            None => messages.boxed(),
            Some(count) => {
                let lost = Status::unavailable("a stream lost on purpose, as the mock backend was told to");
                messages.take(count).chain(stream::once(async { Err(lost) })).boxed()
            }
        }))
    }

    async fn has_job(&self, request: Request<pb::HasJobRequest>) -> Result<Response<pb::HasJobResponse>, Status> {
        let task = wire::task(&request.get_ref().task).map_err(bad)?;
        answer(self.node.has_job(task).await.map(|held| pb::HasJobResponse { held }))
    }

    async fn cancel(&self, request: Request<pb::CancelRequest>) -> Result<Response<pb::CancelResponse>, Status> {
        let pb::CancelRequest { task, fence } = request.get_ref();
        let job = JobKey { task: wire::task(task).map_err(bad)?, fence: *fence };
        answer(self.node.cancel(job).await.map(|()| pb::CancelResponse {}))
    }
}

/// A message of a stream that carries bytes.
enum Piece<H> {
    Head(H),
    Chunk(Bytes),
}

/// Reads a head and the bytes it announces. What else the caller sends is not read.
async fn receive<H>(
    parts: impl Stream<Item = Result<Piece<H>, Status>>,
    what: &'static str,
    limit: usize,
    length: impl Fn(&H) -> u64,
) -> Result<(H, Bytes), Status> {
    let mut parts = pin!(parts);
    let reading = async {
        let head = match parts.next().await.transpose()? {
            Some(Piece::Head(head)) => head,
            Some(Piece::Chunk(_)) | None => return Err(bad("the first message is not the head")),
        };
        let mut assembly = Assembly::new(what, length(&head), limit).map_err(bad)?;
        while !assembly.is_whole() {
            match parts.next().await.transpose()? {
                Some(Piece::Chunk(chunk)) => assembly.add(&chunk).map_err(bad)?,
                Some(Piece::Head(_)) => return Err(bad("a second head")),
                None => break,
            }
        }
        Ok((head, assembly.finish().map_err(bad)?))
    };
    let late = |_| Status::deadline_exceeded("the chunks did not arrive in time");
    tokio::time::timeout(UPLOAD_TIME, reading).await.map_err(late)?
}

fn messages(event: Result<JobEvent, NodeError>) -> Vec<Result<pb::ProveResponse, Status>> {
    use prove_response::Event;
    let message = |event| Ok(pb::ProveResponse { event: Some(event) });
    match event {
        Ok(JobEvent::Queued { ahead }) => vec![message(Event::Queued(ahead))],
        Ok(JobEvent::Started) => vec![message(Event::Started(pb::Started {}))],
        Ok(JobEvent::Step { name }) => vec![message(Event::Step(name))],
        Ok(JobEvent::Done(proof)) => {
            let head = Event::Proof(wire::proof_head(&proof));
            let rest = chunks(proof.bytes).chain(chunks(proof.public_inputs)).map(Event::Chunk);
            std::iter::once(head).chain(rest).map(message).collect()
        }
        Err(error) => vec![Err(to_status(&error))],
    }
}

fn answer<T>(result: Result<T, NodeError>) -> Result<Response<T>, Status> {
    result.map(Response::new).map_err(|error| to_status(&error))
}

/// For what no client of ours sends.
fn bad(reason: impl ToString) -> Status {
    Status::invalid_argument(reason.to_string())
}
