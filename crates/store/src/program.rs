//! Programs.

use crate::KeyId;
use coprocessor_types::{Backend, BlobDigest, OwnerId, ProgramId};
use jiff::Timestamp;

/// A program to register.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewProgram {
    /// [`ProgramId::derive`] of circuit and nonce.
    pub id: ProgramId,
    /// Who deploys it.
    pub owner: OwnerId,
    /// With which key, if with one.
    pub key: Option<KeyId>,
    /// A label for people; not unique. May be empty.
    pub name: String,
    /// Whether others may see it and ask for its proofs.
    pub public: bool,
    /// What proves its circuit.
    pub backend: Backend,
    /// The controller's WebAssembly.
    pub controller: BlobDigest,
    /// The circuit.
    pub circuit: BlobDigest,
    /// The circuit's verifying key in its backend's encoding; `None` while no real prover has set it up (mock only).
    pub verifying_key: Option<BlobDigest>,
    /// Tells apart programs of one circuit.
    pub nonce: u64,
    /// Size of its volume in bytes.
    pub volume_size: u64,
}

/// A registered program.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Program {
    /// Its id.
    pub id: ProgramId,
    /// Who deployed it.
    pub owner: OwnerId,
    /// A label for people; may be empty.
    pub name: String,
    /// Whether others may see it and ask for its proofs.
    pub public: bool,
    /// What proves its circuit.
    pub backend: Backend,
    /// The controller that new tasks use.
    pub controller: BlobDigest,
    /// The circuit.
    pub circuit: BlobDigest,
    /// The circuit's verifying key in its backend's encoding, once known.
    pub verifying_key: Option<BlobDigest>,
    /// Tells apart programs of one circuit.
    pub nonce: u64,
    /// Size of its volume in bytes.
    pub volume_size: u64,
    /// When it was deployed.
    pub created_at: Timestamp,
    /// When its controller was last set.
    pub updated_at: Timestamp,
}

/// Who sets a controller.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Setter {
    /// In whose name.
    pub owner: OwnerId,
    /// With which key, if with one.
    pub key: Option<KeyId>,
}

/// One of the controllers that a program has or had.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ControllerVersion {
    /// Its number: 1 for the one that was deployed. Never used again.
    pub number: u64,
    /// The WebAssembly.
    pub digest: BlobDigest,
    /// Its size.
    pub bytes: u64,
    /// When it was last made the current one.
    pub set_at: Timestamp,
    /// Who did that.
    pub set_by: Setter,
    /// Whether new tasks use it.
    pub current: bool,
}

/// What registering a program came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum InsertProgram {
    /// It is new.
    Inserted(Program),
    /// A program with that id is there already, as it was; nothing changed.
    Exists(Program),
    /// Refused: its owner has as many as it may have.
    QuotaFull,
}

/// What deleting a program came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DeleteProgram {
    /// It is gone, with its volume and its tasks.
    Deleted,
    /// There is no such program.
    Unknown,
    /// Refused: this many of its tasks are not finished.
    Busy {
        /// Number of unfinished tasks.
        unfinished: u64,
    },
}
