//! The seam to a proving system.

use bytes::Bytes;
use coprocessor_types::{Backend, ProofKind};
use tokio::sync::watch;

use crate::{Cancellation, Proof};

/// One proving system on this machine. Every method blocks and may take long; the node calls them on threads of its own.
pub trait ProvingBackend: Send + Sync + 'static {
    /// What it offers here and now, and what it does not and why.
    fn info(&self) -> BackendInfo;

    /// Gets ready what set-up and execution need, and nothing that only proofs need. Called once, before anything else.
    ///
    /// # Errors
    /// What keeps it from either.
    fn prepare(&self) -> Result<(), BackendError> {
        Ok(())
    }

    /// Gets ready what every proof needs (allocations, tables), so that the first job does not wait for it. Called
    /// once, before any proof.
    ///
    /// # Errors
    /// What keeps it from proving.
    fn warm_up(&self) -> Result<(), BackendError>;

    /// Checks a circuit and makes its keys; they are kept, so that a second call costs nothing.
    ///
    /// # Errors
    /// [`BackendError::BadCircuit`].
    fn set_up(&self, circuit: &Bytes) -> Result<Setup, BackendError>;

    /// Runs a circuit without proving it.
    ///
    /// # Errors
    /// [`BackendError::BadCircuit`], [`BackendError::CircuitFailed`], [`BackendError::CycleLimit`].
    fn execute(&self, circuit: &Bytes, input: &[u8], limits: ExecutionLimits) -> Result<Execution, BackendError>;

    /// Proves; makes the keys when they are not there. `input` is the circuit's encoded
    /// [`coprocessor_types::CircuitInput`]. The node has executed the circuit before, with success,
    /// and fills in the cycles it took.
    ///
    /// # Errors
    /// Any; [`BackendError::Cancelled`] when `cancellation` was raised and it could stop.
    fn prove(
        &self,
        circuit: &Bytes,
        input: &[u8],
        kind: ProofKind,
        progress: &Progress<'_>,
        cancellation: &Cancellation,
    ) -> Result<Proof, BackendError>;

    /// How able it is to prove, now and whenever that changes. `None`, the default: once it is warm it always is.
    fn state(&self) -> Option<watch::Receiver<BackendState>> {
        None
    }
}

/// How able a backend is to prove that does so in processes of its own.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct BackendState {
    /// Processes that prove, or could at once.
    pub ready: u32,
    /// Processes that are being started: a proof that needs one waits for it.
    pub starting: u32,
    /// Why there are none, and none is to be expected soon.
    pub down: Option<String>,
}

/// What a backend can do on this machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BackendInfo {
    /// Whose circuits it proves. The mock backend takes circuits of any backend: `None`.
    pub backend: Option<Backend>,
    /// Its name and version, such as `sp1 6.10.0 (cpu, native)`.
    pub version: String,
    /// The kinds it makes.
    pub offers: Vec<KindOffer>,
    /// Kinds it could make but does not here, each with the reason and what would change it.
    pub missing: Vec<(ProofKind, String)>,
}

/// A kind of proof that a backend makes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KindOffer {
    /// The kind.
    pub kind: ProofKind,
    /// Memory to set aside for one such proof, in bytes; zero when it is not worth counting.
    pub memory: u64,
}

/// A circuit's verifying key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Setup {
    /// The key in its backend's encoding: for SP1, bincode of the SDK's `SP1VerifyingKey`. Empty for mock.
    pub verifying_key: Bytes,
}

/// Bounds of an execution.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ExecutionLimits {
    /// Most cycles it may take.
    pub cycles: u64,
}

impl Default for ExecutionLimits {
    fn default() -> Self {
        Self { cycles: 1 << 32 }
    }
}

/// What an execution came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Execution {
    /// `root ‖ output` as the circuit committed it.
    pub public_inputs: Bytes,
    /// Cycles it took.
    pub cycles: u64,
}

/// Where a backend says what it is doing.
#[derive(Clone, Copy)]
pub struct Progress<'a>(pub &'a (dyn Fn(&str) + Sync));

impl Progress<'_> {
    /// Says that a step has begun: `executing`, `setting up`, `proving`, …
    pub fn step(&self, name: &str) {
        (self.0)(name);
    }
}

/// Every way a backend can fail.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BackendError {
    /// Not a circuit of this backend.
    #[error("not a circuit this backend can prove: {reason}")]
    BadCircuit {
        /// What is wrong with it.
        reason: String,
    },
    /// The circuit ended with a panic or a non-zero exit code. Deterministic.
    #[error("the circuit failed: {message}")]
    CircuitFailed {
        /// The circuit's own message.
        message: String,
    },
    /// The execution took more cycles than allowed. Deterministic.
    #[error("the circuit took more than {limit} cycles")]
    CycleLimit {
        /// The limit.
        limit: u64,
    },
    /// It does not make that kind here.
    #[error("{kind} proofs are not made here: {reason}")]
    Unsupported {
        /// The kind.
        kind: ProofKind,
        /// Why, and what would change it.
        reason: String,
    },
    /// It was cancelled.
    #[error("cancelled")]
    Cancelled,
    /// Anything else; trying again may help.
    #[error("proving failed: {reason}")]
    Failed {
        /// What the proving system said.
        reason: String,
    },
}
