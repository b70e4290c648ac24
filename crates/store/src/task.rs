//! Tasks, their events, and the steps that move them on.

pub(crate) mod fairness;
pub(crate) mod transition;

use crate::VolumeWrite;
use bytes::Bytes;
use coprocessor_types::{BlobDigest, OwnerId, ProgramId, ProofKind, Root, TaskId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Where a task is in its life.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskState {
    /// Admitted; no controller has run yet.
    Queued,
    /// The controller makes the witness.
    Executing,
    /// The witness is there; the circuit is to be proved.
    Proving,
    /// A verified proof is there; the controller is to receive it.
    Delivering,
    /// Finished: the controller has received the proof.
    Delivered,
    /// Finished: see the task's failure.
    Failed,
    /// Finished: cancelled.
    Cancelled,
}

impl TaskState {
    /// Every state, in the order of a task's life.
    pub const ALL: [Self; 7] = [
        Self::Queued,
        Self::Executing,
        Self::Proving,
        Self::Delivering,
        Self::Delivered,
        Self::Failed,
        Self::Cancelled,
    ];

    /// The name in JSON and in the store.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Executing => "executing",
            Self::Proving => "proving",
            Self::Delivering => "delivering",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// The state with that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }

    /// Whether nothing more will happen.
    pub const fn is_finished(self) -> bool {
        self.stage().is_none()
    }

    /// The stage a task in this state waits for or is in; `None` when it is finished.
    pub const fn stage(self) -> Option<Stage> {
        match self {
            Self::Queued | Self::Executing => Some(Stage::Execute),
            Self::Proving => Some(Stage::Prove),
            Self::Delivering => Some(Stage::Deliver),
            Self::Delivered | Self::Failed | Self::Cancelled => None,
        }
    }
}

impl fmt::Display for TaskState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A kind of work on tasks. Stages are claimed apart, so that none starves another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Run the controller's `get_witnesses`: tasks `queued`, or `executing` without a live lease.
    Execute,
    /// Prove and verify: tasks `proving`.
    Prove,
    /// Run the controller's `entrypoint` with the proof: tasks `delivering`.
    Deliver,
}

impl Stage {
    /// Every stage, in order.
    pub const ALL: [Self; 3] = [Self::Execute, Self::Prove, Self::Deliver];

    /// The name in JSON and in the store.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Execute => "execute",
            Self::Prove => "prove",
            Self::Deliver => "deliver",
        }
    }
}

/// A request to prove, checked and ready to be written.
#[derive(Clone, PartialEq, Debug)]
pub struct NewTask {
    /// Its id.
    pub id: TaskId,
    /// The program.
    pub program: ProgramId,
    /// Who asks.
    pub owner: OwnerId,
    /// The controller it will run, whatever the program's is later.
    pub controller: BlobDigest,
    /// The circuit it will prove.
    pub circuit: BlobDigest,
    /// The form of proof asked for.
    pub kind: ProofKind,
    /// The root it is pinned to.
    pub root: Root,
    /// Arguments for `get_witnesses`.
    pub args: serde_json::Value,
    /// Handed to `entrypoint` with the proof.
    pub payload: serde_json::Value,
    /// Its place among its owner's tasks: higher goes first; -[`MAX_PRIORITY`] to [`MAX_PRIORITY`].
    pub priority: i16,
    /// When it fails unless it has finished.
    pub deadline: Option<Timestamp>,
    /// Whether its controller's runs are to be recorded.
    pub record: bool,
    /// Makes a repeated request the same task.
    pub idempotency: Option<Idempotency>,
}

/// The highest and, negated, the lowest priority.
pub const MAX_PRIORITY: i16 = 100;

/// How many unfinished tasks there may be, the new one included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Backlog {
    /// Everybody's.
    pub total: u64,
    /// The new task's owner's.
    pub owner: u64,
}

/// An idempotency key, in the scope of one owner and program.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Idempotency {
    /// What the client sent.
    pub key: String,
    /// Digest of the request it belongs to.
    pub request: BlobDigest,
}

/// What admission came to.
#[derive(Clone, PartialEq, Debug)]
pub enum Admission {
    /// A new task.
    Admitted(Task),
    /// The same request with the same key came before; this is its task.
    Repeated(Task),
    /// Another request used that key.
    KeyReused(TaskId),
    /// Refused: there are as many unfinished tasks as there may be.
    BacklogFull,
    /// Refused: the owner has as many unfinished tasks as it may have.
    OwnerBacklogFull,
}

/// A task and all that is known of it.
#[derive(Clone, PartialEq, Debug)]
pub struct Task {
    /// Its id.
    pub id: TaskId,
    /// The program.
    pub program: ProgramId,
    /// Who asked.
    pub owner: OwnerId,
    /// The controller it runs.
    pub controller: BlobDigest,
    /// The circuit it proves.
    pub circuit: BlobDigest,
    /// The form of proof asked for.
    pub kind: ProofKind,
    /// The root it is pinned to.
    pub root: Root,
    /// Arguments for `get_witnesses`.
    pub args: serde_json::Value,
    /// Handed to `entrypoint` with the proof.
    pub payload: serde_json::Value,
    /// Where it is in its life.
    pub state: TaskState,
    /// Grows with every claim; a write under an older one changes nothing.
    pub fence: u64,
    /// How often the current stage was tried and failed in a way that may pass.
    pub attempts: u32,
    /// Its place among its owner's tasks.
    pub priority: i16,
    /// When it fails unless it has finished.
    pub deadline: Option<Timestamp>,
    /// Whether its controller's runs are to be recorded.
    pub record: bool,
    /// The prover node that was given it last.
    pub node: Option<String>,
    /// When it was admitted.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// Not to be claimed before.
    pub not_before: Option<Timestamp>,
    /// The circuit's input ([`coprocessor_types::CircuitInput`]), once made and until it has aged out.
    pub witness: Option<BlobDigest>,
    /// The verified proof in its backend's encoding, once made and until it has aged out.
    pub proof: Option<BlobDigest>,
    /// The circuit's output (public inputs without the root), once proved.
    pub output: Option<Bytes>,
    /// What `entrypoint` returned, once delivered.
    pub result: Option<serde_json::Value>,
    /// Why it failed.
    pub failure: Option<Failure>,
}

/// A recording of what a task's controller asked and was answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TaskRecording {
    /// The stage whose run it is of.
    pub stage: Stage,
    /// The recording.
    pub digest: BlobDigest,
    /// Its size.
    pub bytes: u64,
    /// When it was made.
    pub made_at: Timestamp,
}

/// Why a task failed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Failure {
    /// The stage it failed in.
    pub stage: Stage,
    /// A stable code in snake case.
    pub code: String,
    /// What went wrong, for people.
    pub message: String,
    /// Whether trying again can help.
    pub retryable: bool,
}

/// Something that happened to a task.
#[derive(Clone, PartialEq, Debug)]
pub struct Event {
    /// Grows with every event of the store.
    pub seq: u64,
    /// The task.
    pub task: TaskId,
    /// When.
    pub at: Timestamp,
    /// The task's state after it.
    pub state: TaskState,
    /// What happened.
    pub kind: EventKind,
}

/// What an event says: a name in snake case, and particulars as a JSON object.
///
/// Names the store itself writes: `admitted`, `claimed` (`worker`, `stage`, `fence`), `cancelled`, `retried` (`stage`), and
/// `failed` (`stage`, `code`, `message`) of a task whose deadline has passed.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct EventKind {
    /// What happened.
    pub name: String,
    /// Particulars: a JSON object.
    pub detail: serde_json::Value,
}

/// A task held for one stage by one worker.
#[derive(Clone, PartialEq, Debug)]
pub struct Claim {
    /// The task as it is now; its `fence` is this claim's.
    pub task: Task,
    /// What it was claimed for.
    pub stage: Stage,
    /// When the lease runs out unless prolonged.
    pub expires_at: Timestamp,
}

/// What a step came to. Ends the claim.
#[derive(Clone, PartialEq, Debug)]
pub enum StepOutcome {
    /// The witness is made: `executing → proving`.
    Executed {
        /// The circuit's input.
        witness: Bytes,
        /// What the controller wrote.
        volume: VolumeWrite,
        /// The event.
        event: EventKind,
    },
    /// The proof is made and verified: `proving → delivering`.
    Proved {
        /// The proof in its backend's encoding.
        proof: Bytes,
        /// The circuit's output.
        output: Bytes,
        /// The event.
        event: EventKind,
    },
    /// The controller has received the proof: `delivering → delivered`.
    Delivered {
        /// What the controller wrote.
        volume: VolumeWrite,
        /// What `entrypoint` returned.
        result: serde_json::Value,
        /// The event.
        event: EventKind,
    },
    /// To be tried again: the state stays (`executing` goes back to `queued`).
    Postponed {
        /// Not before.
        until: Timestamp,
        /// Whether it counts as an attempt; waiting for a prover does not.
        counts: bool,
        /// The event.
        event: EventKind,
    },
    /// Finished: any unfinished state `→ failed`.
    Failed {
        /// Why.
        failure: Failure,
        /// The event.
        event: EventKind,
    },
}

/// What cancelling came to.
#[derive(Clone, PartialEq, Debug)]
pub enum Cancelled {
    /// It is cancelled now.
    Cancelled(Task),
    /// It had finished before.
    Finished(Task),
    /// There is no such task.
    Unknown,
}

/// What asking for a retry came to.
#[derive(Clone, PartialEq, Debug)]
pub enum Retried {
    /// It is waiting to be tried again.
    Retried(Task),
    /// It has not failed, or retrying cannot help.
    Refused(Task),
    /// There is no such task.
    Unknown,
}

/// Which tasks to list.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TaskFilter {
    /// Only of this program.
    pub program: Option<ProgramId>,
    /// Only of this owner.
    pub owner: Option<OwnerId>,
    /// Only in this state.
    pub state: Option<TaskState>,
}

/// Number of tasks by state.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TaskCounts(pub Vec<(TaskState, u64)>);
