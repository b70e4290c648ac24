//! `/api/v1/tasks`.

use crate::Base64;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A request to prove. The header `Idempotency-Key` (1 to 255 visible ASCII characters) makes a repeated request the same
/// task.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TaskRequest {
    /// Arguments for the controller's `get_witnesses`.
    #[serde(default)]
    pub args: serde_json::Value,
    /// Handed to the controller's `entrypoint` with the proof, such as `{"cmd": "store", "path": "/proof.bin"}`.
    #[serde(default)]
    pub payload: serde_json::Value,
    /// `core`, `compressed`, `groth16`, `plonk` or `mock`. By default `core` where a real prover is configured, else `mock`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The root to pin to; the current one by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<String>,
    /// Its place among its owner's tasks, -100 to 100: higher goes first. 0 by default.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub priority: i16,
    /// Fails unless it has finished this many seconds from now. The operator's default and longest time apply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_seconds: Option<u64>,
    /// Whether what its controller asks of the service and is answered is recorded, to be replayed. For the program's owner.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub record: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's signature.
fn is_zero(priority: &i16) -> bool {
    *priority == 0
}

/// Where a task is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum TaskState {
    /// Admitted; no controller has run yet.
    Queued,
    /// The controller makes the witness.
    Executing,
    /// The circuit is being proved, or waits for a prover.
    Proving,
    /// The verified proof is being handed to the controller.
    Delivering,
    /// Finished: delivered.
    Delivered,
    /// Finished: see `failure`.
    Failed,
    /// Finished: cancelled.
    Cancelled,
}

impl TaskState {
    /// Whether nothing more will happen.
    pub const fn is_finished(self) -> bool {
        matches!(self, Self::Delivered | Self::Failed | Self::Cancelled)
    }

    /// The name in JSON.
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
}

/// A task.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct TaskView {
    /// A UUID version 7.
    pub id: String,
    /// The program.
    pub program: String,
    /// Who asked.
    pub owner: String,
    /// The form of proof asked for.
    pub kind: String,
    /// The root it is pinned to.
    pub root: String,
    /// Where it is in its life.
    pub state: TaskState,
    /// Arguments for `get_witnesses`.
    pub args: serde_json::Value,
    /// Handed to `entrypoint` with the proof.
    pub payload: serde_json::Value,
    /// SHA-256 of the controller it runs.
    pub controller: String,
    /// SHA-256 of the circuit it proves.
    pub circuit: String,
    /// How often the current stage was tried in vain.
    pub attempts: u32,
    /// Its place among its owner's tasks: higher goes first.
    #[serde(default)]
    pub priority: i16,
    /// When it fails unless it has finished.
    #[serde(default)]
    pub deadline: Option<Timestamp>,
    /// Whether its controller's runs are recorded.
    #[serde(default)]
    pub record: bool,
    /// The prover node that was given it last.
    #[serde(default)]
    pub node: Option<String>,
    /// When it was admitted.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// When the current stage will be tried again, if it is waiting for a time.
    pub not_before: Option<Timestamp>,
    /// The circuit's output, once proved.
    pub output: Option<Base64>,
    /// Whether there is a verified proof to fetch.
    pub has_proof: bool,
    /// What `entrypoint` returned, once delivered.
    pub result: Option<serde_json::Value>,
    /// Why it failed.
    pub failure: Option<FailureView>,
}

impl TaskView {
    /// Whether nothing more will happen to it.
    pub const fn is_finished(&self) -> bool {
        self.state.is_finished()
    }
}

/// Why a task failed.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct FailureView {
    /// `execute`, `prove` or `deliver`.
    pub stage: String,
    /// A stable code in snake case.
    pub code: String,
    /// What went wrong.
    pub message: String,
    /// Whether `POST /api/v1/tasks/{id}/retry` can help.
    pub retryable: bool,
}

/// A page of tasks, newest first.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct TaskList {
    /// The tasks.
    pub items: Vec<TaskView>,
    /// `cursor` of the next page; null at the end.
    pub next: Option<String>,
}

/// Something that happened to a task. As a server-sent event: `id` is `seq`, `event` is `name`, `data` is this.
///
/// Names: `admitted`, `claimed`, `witness_ready` (log, usage), `node_chosen`, `node_queued` and `proof_step` (neither of the
/// three for mock proofs), `waiting` and `retrying` (reason), `proof_verified` (cycles, times, memory, node), `delivered` (log,
/// usage), `failed`, `cancelled`, `retried`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct EventView {
    /// Grows with every event of the service.
    pub seq: u64,
    /// The task.
    pub task: String,
    /// When.
    pub at: Timestamp,
    /// The task's state after it.
    pub state: TaskState,
    /// What happened.
    pub name: String,
    /// Particulars.
    pub detail: serde_json::Value,
}

/// Events, oldest first.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct EventList {
    /// The events.
    pub items: Vec<EventView>,
}
