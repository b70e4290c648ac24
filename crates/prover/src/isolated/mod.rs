//! A backend in processes of its own.
//!
//! Some proving systems cannot be stopped once they have begun, take the memory of the whole machine, and abort where others
//! answer. In a process of its own such a proof is cancelled by killing the process, and a process that dies costs its
//! proof alone: another one is started in the background.
//!
//! - [`IsolatedBackend`] is the node's side: it keeps the workers, and has one of them make each proof.
//! - [`run_worker`] is the other side: the whole of a worker process, around the backend that proves.
//!
//! The two talk over a socket that is the worker's standard input: what the worker's libraries print does not get in between,
//! and the worker learns at once that its node is gone. What one says to the other is bounded and checked on both sides.

mod frame;
mod message;
mod pool;
mod process;
mod worker;

use bytes::Bytes;
use coprocessor_types::ProofKind;
use std::{
    num::NonZeroU32,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::watch;

use crate::{
    BackendError, BackendInfo, BackendState, Cancellation, Execution, ExecutionLimits, Progress, Proof, ProvingBackend,
    Setup,
};
use message::Word;
use pool::{Pool, Worker};

pub use worker::{WorkerError, run_worker};

/// How workers are kept.
#[derive(Clone, Debug)]
pub struct IsolatedConfig {
    /// Worker processes, and so proofs at once.
    pub workers: NonZeroU32,
    /// How long a worker may take to be ready.
    pub start_limit: Duration,
    /// How long a proof may take; one that takes longer is killed.
    pub proof_limit: Option<Duration>,
    /// Pause before a worker is started after one that was of no use; doubled with each in a row.
    pub first_pause: Duration,
    /// The longest such pause.
    pub longest_pause: Duration,
}

/// A backend whose proofs are made in processes of their own. Set-up and execution, which are light, stay in this one.
pub struct IsolatedBackend {
    front: Arc<dyn ProvingBackend>,
    proof_limit: Option<Duration>,
    pool: Arc<Pool>,
}

impl IsolatedBackend {
    /// `front` is the same backend in this process: it says what is offered, makes keys and executes, and is never warmed
    /// up nor asked for a proof. `worker` makes the command that starts a worker, which calls [`run_worker`]; the
    /// command's arguments and environment are the caller's, its standard input and output are not.
    ///
    /// Cheap; the workers are started by [`ProvingBackend::warm_up`] or by the first proof.
    pub fn new(
        front: Arc<dyn ProvingBackend>,
        config: IsolatedConfig,
        worker: impl Fn() -> Command + Send + Sync + 'static,
    ) -> Self {
        let proof_limit = config.proof_limit;
        Self { front, proof_limit, pool: Pool::new(config, Box::new(worker)) }
    }

    fn order(
        &self,
        worker: &Worker,
        (circuit, input, kind): (&Bytes, &[u8], ProofKind),
        progress: &Progress<'_>,
    ) -> Result<Ended, String> {
        let mut connection = &worker.connection;
        message::write_order(&mut connection, kind, circuit, input).map_err(|error| error.to_string())?;
        loop {
            match message::read_word(&mut connection) {
                Ok(Some(Word::Step(name))) => progress.step(&name),
                Ok(Some(Word::Ended { result, ends })) => return Ok(Ended { result, ends }),
                Ok(Some(Word::Other(report))) => return Err(format!("it says what does not belong here: {report:?}")),
                Ok(None) => return Err("it hung up".into()),
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    /// Why an order came to no end: the worker's own end says more than the connection's.
    fn loss(&self, worker: &Worker, cancellation: &Cancellation, said: &str) -> BackendError {
        let end = worker.process.bury();
        let reason = if cancellation.is_cancelled() {
            return BackendError::Cancelled;
        } else if let (true, Some(limit)) = (worker.process.is_overdue(), self.proof_limit) {
            format!("it took longer than {limit:?}, this node's limit for a proof, and was killed")
        } else {
            format!("the process that proved ended: {end} ({said})")
        };
        BackendError::Failed { reason }
    }
}

/// How an order ended.
struct Ended {
    result: Result<Proof, BackendError>,
    /// The worker ends with it.
    ends: bool,
}

impl ProvingBackend for IsolatedBackend {
    fn info(&self) -> BackendInfo {
        self.front.info()
    }

    fn prepare(&self) -> Result<(), BackendError> {
        self.front.prepare()
    }

    fn warm_up(&self) -> Result<(), BackendError> {
        self.pool.warm_up()
    }

    fn set_up(&self, circuit: &Bytes) -> Result<Setup, BackendError> {
        self.front.set_up(circuit)
    }

    fn execute(&self, circuit: &Bytes, input: &[u8], limits: ExecutionLimits) -> Result<Execution, BackendError> {
        self.front.execute(circuit, input, limits)
    }

    fn prove(
        &self,
        circuit: &Bytes,
        input: &[u8],
        kind: ProofKind,
        progress: &Progress<'_>,
        cancellation: &Cancellation,
    ) -> Result<Proof, BackendError> {
        let worker = self.pool.take(cancellation, || progress.step("starting the prover"))?;
        worker.process.set_deadline(self.proof_limit.and_then(|limit| Instant::now().checked_add(limit)));
        let process = Arc::clone(&worker.process);
        let killing = cancellation.on_cancel(move || process.kill());
        let ended = self.order(&worker, (circuit, input, kind), progress);
        // From here on this proof's cancellation kills nothing: the worker may be another's.
        drop(killing);
        worker.process.set_deadline(None);
        match ended {
            Ok(Ended { result, ends: false }) if !worker.process.is_doomed() => {
                self.pool.give_back(worker);
                result
            }
            Ok(Ended { result, .. }) => {
                worker.process.bury();
                self.pool.look();
                result
            }
            Err(said) => {
                let error = self.loss(&worker, cancellation, &said);
                self.pool.look();
                Err(error)
            }
        }
    }

    fn state(&self) -> Option<watch::Receiver<BackendState>> {
        Some(self.pool.told())
    }
}

impl Drop for IsolatedBackend {
    fn drop(&mut self) {
        self.pool.close();
    }
}
