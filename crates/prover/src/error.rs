//! Every way a node can fail a caller.

use coprocessor_types::{BlobDigest, ProofKind};

use crate::BackendError;

/// Why a node did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NodeError {
    /// No answer: not there, or the connection broke.
    #[error("prover node {address} cannot be reached: {reason}")]
    Unreachable {
        /// Where it should be.
        address: String,
        /// What the network said.
        reason: String,
    },
    /// The secret is wrong or missing.
    #[error("prover node {address} refused the secret; set VALENCE_PROVER_SECRET to the node's")]
    Unauthorized {
        /// Where it is.
        address: String,
    },
    /// The secret would have to be sent in clear text to another machine.
    #[error("the secret is sent only over https or to loopback, not to {address}; use https or say --insecure")]
    Insecure {
        /// Where it is.
        address: String,
    },
    /// Not an address of a node.
    #[error("{address} is not an address of a prover node: {reason}")]
    BadAddress {
        /// What was given.
        address: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Its queue is full.
    #[error("the prover node's queue is full ({waiting} waiting)")]
    QueueFull {
        /// Jobs waiting.
        waiting: u32,
    },
    /// It does not hold the circuit.
    #[error("the prover node does not hold circuit {0}")]
    UnknownCircuit(BlobDigest),
    /// It has seen that task under a higher fence, or with other work under this one.
    #[error("the job's claim has been superseded")]
    StaleFence,
    /// It does not make that kind.
    #[error("{kind} proofs are not made by this node: {reason}")]
    Unsupported {
        /// The kind.
        kind: ProofKind,
        /// Why, and what would change it.
        reason: String,
    },
    /// Not a circuit.
    #[error("not a circuit: {reason}")]
    BadCircuit {
        /// What is wrong with it.
        reason: String,
    },
    /// The circuit panicked or exited with a failure. Deterministic.
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
    /// The job was cancelled.
    #[error("the job was cancelled")]
    Cancelled,
    /// The node is about to stop and takes nothing new.
    #[error("the prover node is shutting down")]
    Draining,
    /// Anything else.
    #[error("the prover node failed: {reason}")]
    Failed {
        /// What it said.
        reason: String,
    },
}

impl NodeError {
    /// Whether the same request would fail the same way everywhere: then it is not tried again.
    pub fn is_deterministic(&self) -> bool {
        matches!(self, Self::BadCircuit { .. } | Self::CircuitFailed { .. } | Self::CycleLimit { .. })
    }

    /// A stable code in snake case.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => "prover_unreachable",
            Self::Unauthorized { .. } => "prover_unauthorized",
            Self::Insecure { .. } => "prover_insecure",
            Self::BadAddress { .. } => "prover_bad_address",
            Self::QueueFull { .. } => "prover_queue_full",
            Self::UnknownCircuit(_) => "prover_unknown_circuit",
            Self::StaleFence => "prover_stale_fence",
            Self::Unsupported { .. } => "prover_unsupported_kind",
            Self::BadCircuit { .. } => "circuit_invalid",
            Self::CircuitFailed { .. } => "circuit_failed",
            Self::CycleLimit { .. } => "circuit_cycle_limit",
            Self::Cancelled => "job_cancelled",
            Self::Draining => "prover_draining",
            Self::Failed { .. } => "prover_failed",
        }
    }
}

impl From<BackendError> for NodeError {
    fn from(error: BackendError) -> Self {
        match error {
            BackendError::BadCircuit { reason } => Self::BadCircuit { reason },
            BackendError::CircuitFailed { message } => Self::CircuitFailed { message },
            BackendError::CycleLimit { limit } => Self::CycleLimit { limit },
            BackendError::Unsupported { kind, reason } => Self::Unsupported { kind, reason },
            BackendError::Cancelled => Self::Cancelled,
            BackendError::Failed { reason } => Self::Failed { reason },
        }
    }
}
