//! Proving: what a backend is, the node that runs backends, the wire to nodes elsewhere, and the verification of what comes
//! back.
//!
//! - [`ProvingBackend`] is one proving system on this machine; blocking. [`mock`] is here; SP1 has a crate of its own, because of its weight.
//! - [`isolated`] runs a backend in a process of its own, which can be killed in the middle of a proof.
//! - [`node::Node`] queues jobs for its backends: bounded, idempotent, cancellable.
//! - [`ProverNode`] is a node as the coprocessor sees it: a [`node::Node`] in this process, or a [`remote::RemoteNode`] over gRPC.
//! - [`verify`] checks a proof against verifying key and public inputs. Nothing a node says is believed without it.

mod backend;
mod cancellation;
mod error;
mod job;
mod wire;

#[cfg(unix)]
pub mod isolated;
pub mod mock;
pub mod node;
pub mod remote;
pub mod server;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod verify;

use async_trait::async_trait;
use bytes::Bytes;
use coprocessor_types::{Backend, BlobDigest, TaskId};
use futures::stream::BoxStream;

pub use backend::{
    BackendError, BackendInfo, BackendState, Execution, ExecutionLimits, KindOffer, Progress, ProvingBackend, Setup,
};
pub use cancellation::{Cancellation, OnCancel};
pub use error::NodeError;
pub use job::{Job, JobEvent, JobKey, NodeInfo, Proof, SlotUse};

/// A prover node as the coprocessor sees it.
#[async_trait]
pub trait ProverNode: Send + Sync + 'static {
    /// Where it is, for people: a URL, or `in-process`.
    fn address(&self) -> &str;

    /// What it can do and how busy it is.
    async fn describe(&self) -> Result<NodeInfo, NodeError>;

    /// Whether it holds that circuit.
    async fn has_circuit(&self, circuit: BlobDigest) -> Result<bool, NodeError>;

    /// Gives it a circuit. The node computes the digest itself and answers with it; giving the same again is no error.
    async fn upload_circuit(&self, backend: Backend, circuit: Bytes) -> Result<BlobDigest, NodeError>;

    /// Makes the circuit's keys, or finds them made: answers with the verifying key in its backend's encoding.
    ///
    /// # Errors
    /// [`NodeError::UnknownCircuit`]: upload it first.
    async fn set_up(&self, circuit: BlobDigest) -> Result<Setup, NodeError>;

    /// Runs the circuit without proving.
    ///
    /// # Errors
    /// [`NodeError::UnknownCircuit`]; [`NodeError::CircuitFailed`] with the circuit's own message when it panics.
    async fn execute(&self, circuit: BlobDigest, input: Bytes, limits: ExecutionLimits)
    -> Result<Execution, NodeError>;

    /// Starts a job, or finds it: the same task with an equal or higher fence and the same work joins the job that runs or
    /// has ended. The stream tells what happens and ends with [`JobEvent::Done`] or an error. Dropping the stream does not
    /// cancel the job.
    ///
    /// # Errors
    /// [`NodeError::QueueFull`], [`NodeError::UnknownCircuit`], [`NodeError::Unsupported`], [`NodeError::StaleFence`].
    async fn prove(&self, job: Job) -> Result<BoxStream<'static, Result<JobEvent, NodeError>>, NodeError>;

    /// Whether it runs, waits with, or keeps the result of a job of that task: where it does, [`prove`](Self::prove) with the
    /// same work and an equal or higher fence joins that job instead of proving again. A job that failed by chance counts no
    /// more: a new claim of it would begin anew.
    async fn has_job(&self, task: TaskId) -> Result<bool, NodeError>;

    /// Ends a job as soon as its backend can, and forgets its result. No error when there is no such job.
    ///
    /// # Errors
    /// [`NodeError::StaleFence`]: the job is under a higher fence by now, and goes on.
    async fn cancel(&self, job: JobKey) -> Result<(), NodeError>;
}
