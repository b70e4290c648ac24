//! Every way the engine can refuse or fail a request.

use coprocessor_prover::NodeError;
use coprocessor_prover::verify::VerifyError;
use coprocessor_store::StoreError;
use coprocessor_types::{Backend, ProgramId, ProofKind, Root, TaskId};
use coprocessor_vfs::VfsError;

/// Why a request was not done. Nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// No such program.
    #[error("there is no program {0}; deploy it first")]
    UnknownProgram(ProgramId),
    /// No such task.
    #[error("there is no task {0}")]
    UnknownTask(TaskId),
    /// A root that is none of this instance's.
    #[error("{0} is no root of this instance")]
    UnknownRoot(Root),
    /// No such node.
    #[error("no prover node is registered at {0}")]
    UnknownProver(String),
    /// Not a controller.
    #[error("the controller cannot be used: {0}")]
    InvalidController(String),
    /// Not a circuit.
    #[error("the circuit cannot be used: {0}")]
    InvalidCircuit(String),
    /// A setting of a request outside its bounds.
    #[error("{0}")]
    InvalidRequest(String),
    /// The program is there with another controller or volume size.
    #[error(
        "program {0} exists with another {1}; replace the controller with PUT /api/v1/programs/{0}/controller, or deploy \
         under another nonce"
    )]
    ProgramExists(ProgramId, &'static str),
    /// The program has unfinished tasks.
    #[error("program {program} has {unfinished} unfinished tasks; cancel them or wait")]
    ProgramBusy {
        /// The program.
        program: ProgramId,
        /// How many.
        unfinished: u64,
    },
    /// That kind of proof cannot be had.
    #[error("{kind} proofs of {backend} circuits are not offered here: {reason}")]
    UnsupportedKind {
        /// The circuit's proving system.
        backend: Backend,
        /// The form of proof.
        kind: ProofKind,
        /// Why not.
        reason: String,
    },
    /// The idempotency key belongs to another request.
    #[error("the idempotency key was used for task {0} with another request")]
    IdempotencyKeyReused(TaskId),
    /// The task has finished.
    #[error("task {0} has finished as {1}")]
    TaskFinished(TaskId, coprocessor_store::TaskState),
    /// Retrying cannot help.
    #[error("task {0} cannot be retried: {1}")]
    NotRetryable(TaskId, String),
    /// There is no proof yet.
    #[error("task {0} is {1} and has no proof yet")]
    NoProof(TaskId, coprocessor_store::TaskState),
    /// The verifying key is not known.
    #[error("the verifying key of program {0} is not known yet: no prover node has set its circuit up")]
    NoVerifyingKey(ProgramId),
    /// A guest failed: controller or circuit.
    #[error("{message}")]
    Guest {
        /// A stable code of the sandbox or the prover.
        code: &'static str,
        /// What went wrong.
        message: String,
        /// What the controller logged.
        log: Vec<String>,
    },
    /// A witness of a domain that is not registered.
    #[error("the witness has a state proof of a domain this instance does not have ({0})")]
    UnknownDomain(coprocessor_types::DomainId),
    /// A file operation was refused.
    #[error(transparent)]
    Volume(#[from] VfsError),
    /// Others kept writing to the volume.
    #[error("the volume of program {0} kept changing; try again")]
    VolumeBusy(ProgramId),
    /// No node can do it now.
    #[error("{0}")]
    NoProver(String),
    /// A node refused or failed.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// The proof cannot be checked here.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A bug, or a thread that died.
    #[error("internal error: {0}")]
    Internal(String),
}
