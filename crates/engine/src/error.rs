//! Every way the engine can refuse or fail a request.

use bytes::Bytes;
use coprocessor_prover::NodeError;
use coprocessor_prover::verify::VerifyError;
use coprocessor_store::{Block, DeliveryId, KeyId, MAX_PAYLOAD, Scope, StoreError, WebhookId};
use coprocessor_types::{Backend, BlockNumber, DomainId, OwnerId, ProgramId, ProofKind, Root, TaskId};
use coprocessor_vfs::VfsError;
use std::time::Duration;

use crate::ImageRefusal;

/// Why a request was not done. Nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// No key, or none that is good now.
    #[error("no such API key, or it has expired or was revoked; ask who runs this service for one")]
    Unauthenticated,
    /// The caller may not do that.
    #[error("this needs a key with the scope `{}`", scope.as_str())]
    Forbidden {
        /// What is missing.
        scope: Scope,
    },
    /// No such key, or another owner's.
    #[error("there is no key {0}")]
    UnknownKey(KeyId),
    /// No settings of that owner, or another owner.
    #[error("nothing was set for owner {0}; the service's defaults hold")]
    UnknownOwner(OwnerId),
    /// No such webhook, or another owner's.
    #[error("there is no webhook {}", .0.0)]
    UnknownWebhook(WebhookId),
    /// No such delivery of that webhook.
    #[error("there is no delivery {} of that webhook", .0.0)]
    UnknownDelivery(DeliveryId),
    /// No such program.
    #[error("there is no program {0}; deploy it first")]
    UnknownProgram(ProgramId),
    /// No such version of a program's controller, or not any more.
    #[error(
        "program {program} has no version {number} of its controller; GET /api/v1/programs/{program}/controller/versions \
         lists those that are kept"
    )]
    UnknownVersion {
        /// The program.
        program: ProgramId,
        /// The version asked for.
        number: u64,
    },
    /// No such task.
    #[error("there is no task {0}")]
    UnknownTask(TaskId),
    /// A root that is none of this instance's.
    #[error("{0} is no root of this instance")]
    UnknownRoot(Root),
    /// A root that is too old to be opened.
    #[error(
        "root {root} was pruned: nothing is shown at it any more; the oldest that can be opened is version {oldest}"
    )]
    RootPruned {
        /// The root.
        root: Root,
        /// The oldest version that can.
        oldest: u64,
    },
    /// No such domain.
    #[error("there is no domain {0}; GET /api/v1/domains lists them")]
    UnknownDomain(DomainId),
    /// No such block.
    #[error("domain {domain} has no block{}{}", numbered(*number), at(*root))]
    UnknownBlock {
        /// The domain's name.
        domain: String,
        /// The block's number; `None` where any would do.
        number: Option<BlockNumber>,
        /// The root that was to commit to it; `None` for the current one.
        root: Option<Root>,
    },
    /// A domain of that name is there, and differs.
    #[error(
        "domain {name} exists with {other}; choose another name, or replace its controller with PUT /api/v1/domains/{name}/controller"
    )]
    DomainExists {
        /// Its name.
        name: String,
        /// What differs.
        other: &'static str,
    },
    /// The caller may not append to the domain.
    #[error("blocks of domain {domain} are appended by its owner or by a key with the scope `admin`")]
    NotDomainOwner {
        /// The domain's name.
        domain: String,
    },
    /// The domain's controller does not let the block pass.
    #[error("domain {domain} takes no such block: {reason}")]
    BlockRefused {
        /// The domain's name.
        domain: String,
        /// What its controller said, or what is wrong with that.
        reason: String,
        /// What it logged.
        log: Vec<String>,
        /// The recording of its run, where it was asked for.
        recording: Option<Bytes>,
    },
    /// The block's payload is too long.
    #[error("the payload of block {number} of domain {domain} has {got} bytes, at most {MAX_PAYLOAD} are kept")]
    PayloadTooLarge {
        /// The domain's name.
        domain: String,
        /// The block's number.
        number: BlockNumber,
        /// Its payload's length in bytes.
        got: usize,
    },
    /// The domain has a block of that number.
    #[error("{}; a block is never replaced", taken(domain, *number, block.is_some()))]
    BlockTaken {
        /// The domain's name.
        domain: String,
        /// The number.
        number: BlockNumber,
        /// The block that has it; `None` when the request itself names it twice.
        block: Option<Box<Block>>,
    },
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
    /// A program that the caller does not see has that circuit and nonce.
    #[error("another program of this circuit has nonce {nonce} already; deploy under another nonce")]
    NonceTaken {
        /// The nonce.
        nonce: u64,
    },
    /// The owner has as many programs as it may have.
    #[error("there are {limit} programs of this owner, as many as it may have; delete one or ask for more")]
    ProgramQuota {
        /// How many it may have.
        limit: u64,
    },
    /// The owner's volumes may not hold that much together.
    #[error(
        "the volumes of owner {owner} would hold {got} bytes together, at most {limit} are allowed; remove files, raw storage or \
         programs, or ask for more"
    )]
    VolumeQuota {
        /// Whose volumes.
        owner: OwnerId,
        /// What they would hold.
        got: u64,
        /// What they may hold.
        limit: u64,
    },
    /// There are as many unfinished tasks as there may be.
    #[error("the service has as many unfinished tasks as it takes; try again in {} s", retry_after.as_secs())]
    BacklogFull {
        /// When to try again.
        retry_after: Duration,
    },
    /// The owner has as many unfinished tasks as it may have.
    #[error(
        "there are {limit} unfinished tasks of this owner, as many as it may have; wait for some to finish, or cancel some"
    )]
    OwnerBacklogFull {
        /// How many it may have.
        limit: u64,
        /// When to try again.
        retry_after: Duration,
    },
    /// There is no room for anything new.
    #[error("nothing new is taken: {reason}")]
    StorageLow {
        /// Bytes left on the store's disk, where that is known.
        free: Option<u64>,
        /// What is short, for people.
        reason: String,
    },
    /// A deadline later than the operator allows.
    #[error("a deadline is at most {} s from now", limit.as_secs())]
    DeadlineTooLong {
        /// The longest.
        limit: Duration,
    },
    /// A priority outside its bounds.
    #[error("a priority is from -{max} to {max}, got {got}", max = coprocessor_store::MAX_PRIORITY)]
    Priority {
        /// The one asked for.
        got: i16,
    },
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
    /// There was a proof, and it has been kept for as long as proofs are kept here.
    #[error("the proof of task {0} has aged out; ask for it again")]
    ProofExpired(TaskId),
    /// Nothing was recorded of the task, or it is not kept any more.
    #[error(
        "there is no recording of task {0}: runs are recorded where the task asks for it with `record`, and kept for as long as \
         recordings are kept here"
    )]
    NoRecording(TaskId),
    /// The operator wants nothing recorded.
    #[error("this service records no runs; who runs it can allow it with --record")]
    RecordingsOff,
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
        /// The recording of the controller's run, where it was asked for.
        recording: Option<Bytes>,
    },
    /// A file operation was refused.
    #[error(transparent)]
    Volume(#[from] VfsError),
    /// An image is not what may take a volume's place.
    #[error(transparent)]
    InvalidImage(Box<ImageRefusal>),
    /// An image is larger than a volume may be.
    #[error("the image is larger than a volume may be here, which is {limit} bytes")]
    ImageTooLarge {
        /// The most bytes of a volume.
        limit: u64,
    },
    /// Raw storage is larger than a controller could be given.
    #[error("raw storage of {got} bytes is over the limit of {limit}, which is what a controller can be given")]
    RawTooLarge {
        /// The bytes to be kept.
        got: usize,
        /// The most.
        limit: usize,
    },
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
    Store(StoreError),
    /// A bug, or a thread that died.
    #[error("internal error: {0}")]
    Internal(String),
}

impl From<StoreError> for EngineError {
    /// What a request asked for and is not there is the request's; anything else is the store's.
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::UnknownDomain(domain) => Self::UnknownDomain(domain),
            StoreError::UnknownRoot(root) => Self::UnknownRoot(root),
            StoreError::RootPruned { root, oldest } => Self::RootPruned { root, oldest },
            StoreError::VolumeQuota { owner, got, limit } => Self::VolumeQuota { owner, got, limit },
            other => Self::Store(other),
        }
    }
}

fn numbered(number: Option<BlockNumber>) -> String {
    number.map(|number| format!(" {number}")).unwrap_or_default()
}

fn at(root: Option<Root>) -> String {
    root.map(|root| format!(" at root {root}")).unwrap_or_default()
}

fn taken(domain: &str, number: BlockNumber, there: bool) -> String {
    if there {
        format!("domain {domain} has a block {number} already")
    } else {
        format!("the request names block {number} of domain {domain} twice")
    }
}
