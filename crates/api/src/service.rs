//! The service itself: prover nodes, storage, health.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The service's name and version.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct ServiceInfo {
    /// `coprocessor`.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The instance's identity.
    pub instance: String,
}

/// Where a prover node's registration comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProverSource {
    /// The service's flags.
    Configured,
    /// The API.
    Registered,
    /// The mock prover inside the service.
    InProcess,
}

/// A prover node.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct ProverView {
    /// Its address.
    pub address: String,
    /// Where its registration comes from.
    pub source: ProverSource,
    /// Who brought it; none where it comes from the service's flags.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Whether it proves for everybody; else for its owner alone.
    #[serde(default = "yes")]
    pub shared: bool,
    /// When it was registered through the API.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub added_at: Option<Timestamp>,
    /// Whether it answered just now.
    pub reachable: bool,
    /// Why it did not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Its version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Kinds of proof it makes.
    #[serde(default)]
    pub kinds: Vec<String>,
    /// Kinds it could make but does not, each with the reason.
    #[serde(default)]
    pub missing: std::collections::BTreeMap<String, String>,
    /// Jobs running.
    #[serde(default)]
    pub running: u32,
    /// Jobs waiting.
    #[serde(default)]
    pub waiting: u32,
    /// Failures in a row.
    #[serde(default)]
    pub failures: u32,
    /// Gets no tasks before then, because it kept failing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set_aside_until: Option<Timestamp>,
    /// Its last failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

const fn yes() -> bool {
    true
}

/// Every prover node the service knows.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct ProverList {
    /// The nodes.
    pub items: Vec<ProverView>,
}

/// A prover node to register.
#[derive(Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ProverRequest {
    /// Its address: `http://…` on loopback, `https://…` elsewhere.
    pub address: String,
    /// Its shared secret. Never shown again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// Whether it will prove for everybody, which takes the scope `admin` to say; else for its owner alone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shared: bool,
}

impl std::fmt::Debug for ProverRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProverRequest").field("address", &self.address).finish_non_exhaustive()
    }
}

/// How large the store is, and how long things are kept.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct StorageView {
    /// Bytes of the database, with its log and the blobs inside it.
    pub database_bytes: u64,
    /// Number of blobs.
    pub blobs: u64,
    /// Bytes of all blobs, wherever they are.
    pub blob_bytes: u64,
    /// Bytes left on the disk that fills first; null where the service does not know its disk.
    pub free_bytes: Option<u64>,
    /// Why nothing new is taken for now; null while there is room.
    pub low: Option<String>,
    /// How long things are kept.
    pub retention: RetentionView,
    /// What was removed last because of its age, by this process.
    pub last_collected: Option<CollectedView>,
    /// Compiled controllers, which each process keeps for itself.
    #[serde(default)]
    pub compiled: CompiledView,
}

/// Where a process had compiled controllers from since it was started, and what it keeps of them on its disk.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize, ToSchema)]
pub struct CompiledView {
    /// How many were compiled.
    pub compiled: u64,
    /// How many were read from the disk.
    pub loaded: u64,
    /// How often one was in memory when it was asked for.
    pub found: u64,
    /// How many are on the disk.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Most bytes there; 0: none are kept.
    pub limit: u64,
    /// Why what is on the disk is not used, or why nothing can be written there; null while all is well.
    pub problem: Option<String>,
}

/// How many seconds things are kept; null: for ever.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct RetentionView {
    /// Witnesses of delivered and cancelled tasks, since the task finished.
    pub witnesses: Option<u64>,
    /// Proofs, since the task finished.
    pub proofs: Option<u64>,
    /// Recordings of controllers' runs, since they were made.
    #[serde(default)]
    pub recordings: Option<u64>,
    /// Finished tasks with their events.
    pub tasks: Option<u64>,
    /// Finished deliveries of webhooks.
    pub deliveries: Option<u64>,
    /// Roots that are not the newest, to be opened.
    #[serde(default)]
    pub roots: Option<u64>,
}

/// What ageing out removed.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct CollectedView {
    /// When.
    pub at: Timestamp,
    /// Witnesses.
    pub witnesses: u64,
    /// Proofs.
    pub proofs: u64,
    /// Recordings of controllers' runs.
    #[serde(default)]
    pub recordings: u64,
    /// Tasks with their events.
    pub tasks: u64,
    /// Deliveries of webhooks.
    pub deliveries: u64,
    /// Blobs that nothing named.
    pub blobs: u64,
    /// Bytes of those blobs.
    pub blob_bytes: u64,
    /// Roots that can no longer be opened.
    #[serde(default)]
    pub roots: u64,
}

/// Whether the service can work.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct HealthView {
    /// `ok`; `degraded` while it answers but takes nothing new; else what is wrong.
    pub status: String,
    /// What is wrong, where it is degraded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
    /// Number of tasks by state, for callers that may read.
    #[serde(default)]
    pub tasks: std::collections::BTreeMap<String, u64>,
}
