//! Every way the store can fail.

use coprocessor_types::{BlobDigest, DomainId, OwnerId, ProgramId, Root, TaskId};
use std::path::PathBuf;

/// Why the store could not do what it was asked. Whatever failed has changed nothing; only after a failed fsync
/// ([`Self::Io`], and [`Self::Closed`] from then on) or a lost connection ([`Self::Unavailable`]) does nobody know, until the
/// store is asked again.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has the directory open.
    #[error("{path} is in use by another coprocessor; stop it, or give this one a directory of its own")]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// The store was written by a later version.
    #[error("{store} has schema version {got}, this coprocessor knows up to {expected}; run the newer coprocessor")]
    Schema {
        /// The directory, or the database.
        store: String,
        /// The version found.
        got: i64,
        /// The newest version known.
        expected: i64,
    },
    /// No space left.
    #[error("no space left for the store; free some and try again")]
    Full,
    /// The claim has ended: the lease ran out, or the task was cancelled or claimed again.
    #[error("task {task} is no longer claimed under fence {fence}")]
    StaleFence {
        /// The task.
        task: TaskId,
        /// The fence given.
        fence: u64,
    },
    /// A state that the step's outcome does not follow.
    #[error("task {task} is {state}, which {outcome} does not follow")]
    WrongState {
        /// The task.
        task: TaskId,
        /// The state it is in.
        state: String,
        /// The outcome given.
        outcome: &'static str,
    },
    /// Somebody else wrote to the volume since the snapshot.
    #[error("the volume of program {program} is at version {got}, the write is based on {expected}")]
    VolumeConflict {
        /// The program.
        program: ProgramId,
        /// The version the write is based on.
        expected: u64,
        /// The version there is.
        got: u64,
    },
    /// The owner's volumes may not hold that much together.
    #[error(
        "the volumes of owner {owner} would hold {got} bytes together, at most {limit} are allowed; remove files, raw storage or \
         programs, or ask who runs the service for more"
    )]
    VolumeQuota {
        /// Whose program the volume is.
        owner: OwnerId,
        /// What they would hold.
        got: u64,
        /// What they may hold.
        limit: u64,
    },
    /// What a volume was to hold could not be read.
    #[error("what the volume was to hold could not be read: {0}")]
    Content(std::io::Error),
    /// No such program.
    #[error("there is no program {0}")]
    UnknownProgram(ProgramId),
    /// No such task.
    #[error("there is no task {0}")]
    UnknownTask(TaskId),
    /// No such domain.
    #[error("there is no domain {0}")]
    UnknownDomain(DomainId),
    /// A root that this instance never had.
    #[error("{0} is no root of this instance")]
    UnknownRoot(Root),
    /// A root that is too old to be opened: what only old roots needed has been taken.
    #[error("root {root} was pruned; the oldest that can be opened is version {oldest}")]
    RootPruned {
        /// The root.
        root: Root,
        /// The oldest version that is whole.
        oldest: u64,
    },
    /// More than the store takes at once, or at all.
    #[error("{what} is limited to {limit}; got {got}")]
    TooLarge {
        /// What is limited.
        what: &'static str,
        /// How much was given.
        got: usize,
        /// How much may be given.
        limit: usize,
    },
    /// A digest that names nothing.
    #[error("there is no blob {0}")]
    BlobMissing(BlobDigest),
    /// A blob whose content is not what its digest says.
    #[error("blob {expected} has content with digest {got}: the disk or somebody changed it")]
    BlobCorrupt {
        /// The name.
        expected: BlobDigest,
        /// The content's digest.
        got: BlobDigest,
    },
    /// A cursor that this store did not make.
    #[error("not a cursor of this list")]
    BadCursor,
    /// The database cannot be reached. What was asked may have been done all the same: when only the answer was lost.
    #[error("the database cannot be reached: {0}")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The database failed.
    #[error("the database failed: {0}")]
    Database(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The blob store failed.
    #[error("the blob store failed: {0}")]
    Blobs(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A file of the store could not be used.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A directory that is to be written and has something in it already.
    #[error("{path} is not empty; name a directory that is empty or not there")]
    NotEmpty {
        /// The directory.
        path: PathBuf,
    },
    /// A backup that is not whole.
    #[error("the backup in {path} cannot be used: {reason}")]
    BadBackup {
        /// The backup's directory.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A row that holds what this code never writes.
    #[error("{what} in the store cannot be read: {reason}")]
    Corrupt {
        /// The kind of thing.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The store is shutting down, or has stopped because what it wrote could not be made durable.
    #[error("the store is closed; if nobody is shutting down, see the failure before this one and restart")]
    Closed,
}
