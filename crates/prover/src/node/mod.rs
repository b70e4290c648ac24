//! The node: queues jobs for its backends. Bounded, idempotent, cancellable; a backend that panics costs its job and nothing
//! else.
//!
//! A job is executed first, at once, so that a bad witness fails in milliseconds; then it waits for a slot and for its
//! memory, and is proved on a thread of its own. What has ended is kept for a while, so that an answer lost on its way is
//! fetched again and not proved again.

mod circuits;
mod config;
mod directory;
mod job;
mod queue;
pub(crate) mod thread;

pub mod machine;

use async_trait::async_trait;
use bytes::Bytes;
use coprocessor_types::{Backend, BlobDigest, TaskId};
use futures::stream::BoxStream;
use std::{sync::Arc, time::Duration};
use tokio::sync::watch;

use crate::{
    BackendInfo, Execution, ExecutionLimits, Job, JobEvent, JobKey, NodeError, NodeInfo, ProverNode, ProvingBackend,
    Setup,
};
use circuits::Circuits;
use queue::Core;

pub use config::{CircuitStore, NodeConfig};

/// A node in this process. Clones are the same node; when the last is dropped, what it runs is cancelled.
#[derive(Clone)]
pub struct Node(Arc<Owner>);

/// Ends the work when nobody is left to ask for it. The work itself holds only the core.
struct Owner {
    core: Arc<Core>,
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.core.stop_taking();
        self.core.cut(&NodeError::Draining);
    }
}

/// Whether a node can be given work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// It can.
    Ready,
    /// It takes work, but its backends are getting ready, at first or after one was killed: the next job will wait.
    WarmingUp,
    /// None of its backends can prove, for now at least; [`NodeInfo`] says why.
    Unfit,
    /// It takes nothing new.
    Draining,
}

impl Node {
    /// A node over those backends. It is ready at once; [`warm_up`](Self::warm_up) makes its first proof quick.
    pub fn new(backends: Vec<Arc<dyn ProvingBackend>>, config: NodeConfig) -> Self {
        Self(Arc::new(Owner { core: Core::new(backends, config) }))
    }

    /// Gets the backends ready, one after the other; [`Readiness::WarmingUp`] from this call on. A backend that cannot be
    /// made ready offers nothing from then on, and [`NodeInfo`] says why.
    pub fn warm_up(&self) -> impl Future<Output = ()> + Send + use<> {
        let node = self.clone();
        node.0.core.set_readiness(Readiness::WarmingUp);
        async move {
            let core = &node.0.core;
            for (index, backend) in core.backends.iter().enumerate() {
                let backend = Arc::clone(backend);
                let warming = move || backend.prepare().and_then(|()| backend.warm_up());
                let warmed = thread::run("warm-up", warming).await;
                if let Err(error) = warmed {
                    tracing::error!(backend = core.backends[index].info().version, %error, "a backend cannot prove");
                    core.mark_unfit(index, error.to_string());
                }
            }
            core.keep_judging();
        }
    }

    /// Whether it can be given work, now and whenever that changes.
    pub fn readiness(&self) -> watch::Receiver<Readiness> {
        self.0.core.readiness.subscribe()
    }

    /// How it was set up.
    pub fn config(&self) -> &NodeConfig {
        &self.0.core.config
    }

    /// Takes nothing new, gives back what still waits ([`NodeError::Draining`]), and lets what runs finish for at most
    /// `limit`; then cancels it. Gives the number of jobs that were cut short.
    pub async fn drain(&self, limit: Duration) -> u32 {
        let core = &self.0.core;
        core.stop_taking();
        let given_back = core.cut_waiting(&NodeError::Draining);
        if given_back > 0 {
            tracing::info!(jobs = given_back, "what waited is given back");
        }
        let mut running = core.running.subscribe();
        let finished = tokio::time::timeout(limit, running.wait_for(|count| *count == 0)).await;
        if finished.is_ok() { 0 } else { core.cut(&NodeError::Draining) }
    }

    fn infos(&self) -> Vec<BackendInfo> {
        self.0.core.infos()
    }

    async fn circuit(&self, digest: BlobDigest) -> Result<Arc<circuits::Circuit>, NodeError> {
        let core = Arc::clone(&self.0.core);
        if let Some(circuit) = core.circuits.cached(digest) {
            return Ok(circuit);
        }
        let loaded = thread::run_io(move || core.circuits.load(digest)).await?;
        loaded?.ok_or(NodeError::UnknownCircuit(digest))
    }
}

#[async_trait]
impl ProverNode for Node {
    fn address(&self) -> &str {
        "in-process"
    }

    async fn describe(&self) -> Result<NodeInfo, NodeError> {
        let core = &self.0.core;
        Ok(NodeInfo {
            version: core.config.version.clone(),
            backends: self.infos(),
            build: machine::CpuBuild::here().to_string(),
            slots: core.slots(),
            memory: core.config.memory,
        })
    }

    async fn has_circuit(&self, circuit: BlobDigest) -> Result<bool, NodeError> {
        match self.circuit(circuit).await {
            Ok(_) => Ok(true),
            Err(NodeError::UnknownCircuit(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn upload_circuit(&self, backend: Backend, circuit: Bytes) -> Result<BlobDigest, NodeError> {
        let core = Arc::clone(&self.0.core);
        thread::run_io(move || core.circuits.add(backend, circuit)).await?
    }

    async fn set_up(&self, circuit: BlobDigest) -> Result<Setup, NodeError> {
        let circuit = self.circuit(circuit).await?;
        let core = Arc::clone(&self.0.core);
        let index = core.backend_for(circuit.backend)?;
        if let Some(setup) = circuit.keys(index) {
            return Ok(setup);
        }
        let _permit = core.set_ups.acquire().await.expect("the semaphore is never closed");
        let backend = Arc::clone(&core.backends[index]);
        thread::run("set-up", move || circuit.set_up(index, &*backend)).await
    }

    async fn execute(
        &self,
        circuit: BlobDigest,
        input: Bytes,
        limits: ExecutionLimits,
    ) -> Result<Execution, NodeError> {
        let circuit = self.circuit(circuit).await?;
        let core = &self.0.core;
        let index = core.backend_for(circuit.backend)?;
        core.check_input(&input).map_err(|reason| NodeError::Failed { reason })?;
        let limits = ExecutionLimits { cycles: limits.cycles.min(core.config.max_cycles) };
        core.execute(index, circuit, input, limits).await
    }

    async fn prove(&self, job: Job) -> Result<BoxStream<'static, Result<JobEvent, NodeError>>, NodeError> {
        let circuit = self.circuit(job.circuit).await?;
        Arc::clone(&self.0.core).submit(job, circuit)
    }

    async fn has_job(&self, task: TaskId) -> Result<bool, NodeError> {
        Ok(self.0.core.has_job(task))
    }

    async fn cancel(&self, job: JobKey) -> Result<(), NodeError> {
        self.0.core.cancel(job)
    }
}
