//! `/api/v1/programs` and what hangs below one program, but its tasks.

use crate::Base64;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A program to deploy, as JSON. As `multipart/form-data` the same fields are parts, `controller` and `circuit` raw.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeployRequest {
    /// A label for people; up to 128 characters.
    #[serde(default)]
    pub name: String,
    /// The controller: a WebAssembly module.
    pub controller: Base64,
    /// The circuit: an SP1 ELF.
    pub circuit: Base64,
    /// `sp1` (the default).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    /// Tells apart programs of one circuit; 0 by default.
    #[serde(default)]
    pub nonce: u64,
    /// Size of its volume in bytes; 64 MiB by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume_size: Option<u64>,
    /// Whether others may see it, read its files and ask for its proofs.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub public: bool,
}

/// A program.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct ProgramView {
    /// 64 hexadecimal digits: `BLAKE3(0x00 ‖ "controller" ‖ circuit ‖ nonce)`.
    pub id: String,
    /// A label for people; may be empty.
    pub name: String,
    /// Who deployed it.
    pub owner: String,
    /// Whether others may see it, read its files and ask for its proofs.
    #[serde(default)]
    pub public: bool,
    /// `sp1` or `groth16`.
    pub backend: String,
    /// SHA-256 of the controller that new tasks use.
    pub controller: String,
    /// SHA-256 of the circuit.
    pub circuit: String,
    /// SHA-256 of the verifying key; null while it is not known.
    pub verifying_key: Option<String>,
    /// Tells apart programs of one circuit.
    pub nonce: u64,
    /// Size of its volume in bytes.
    pub volume_size: u64,
    /// When it was deployed.
    pub created_at: Timestamp,
    /// When it last got another controller.
    pub updated_at: Timestamp,
}

/// A page of programs, newest first.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct ProgramList {
    /// The programs.
    pub items: Vec<ProgramView>,
    /// `cursor` of the next page; null at the end.
    pub next: Option<String>,
}

/// One of the controllers that a program has or had.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct ControllerVersionView {
    /// 1 for the controller that was deployed. A number is never used again.
    pub version: u64,
    /// SHA-256 of the WebAssembly.
    pub digest: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// When it was last made the current one.
    pub set_at: Timestamp,
    /// The owner in whose name that was done.
    pub set_by: String,
    /// The id of the key with which it was done; null without one, and for others than the program's owner.
    pub set_with: Option<String>,
    /// Whether new tasks use it.
    pub current: bool,
}

/// A page of a program's controllers, newest first.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct ControllerVersionList {
    /// The versions.
    pub items: Vec<ControllerVersionView>,
    /// `cursor` of the next page; null at the end.
    pub next: Option<String>,
}

/// Which controller to go back to.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RollbackRequest {
    /// Its number.
    pub version: u64,
}

/// A verifying key.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct VerifyingKeyView {
    /// `sp1` or `groth16`.
    pub backend: String,
    /// The key in its backend's encoding. For SP1: bincode of the SDK's `SP1VerifyingKey`.
    pub verifying_key: Base64,
    /// SHA-256 of those bytes.
    pub digest: String,
    /// SP1 only: the key's hash as on-chain verifiers know it, `0x` and 64 hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sp1_vkey_hash: Option<String>,
}

/// Arguments of a dry run.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExecuteRequest {
    /// Arguments for the controller's `get_witnesses`.
    #[serde(default)]
    pub args: serde_json::Value,
    /// The root to pin to; the current one by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<String>,
    /// Whether what the controller asks of the service and is answered is recorded, to be replayed. For the program's owner.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub record: bool,
}

/// What a controller used.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct SandboxUsage {
    /// Fuel (about one per WebAssembly instruction).
    pub fuel: u64,
    /// Wall-clock time in microseconds.
    pub wall_clock_us: u64,
    /// Peak linear memory in bytes.
    pub memory_bytes: u64,
    /// Number of host calls.
    pub host_calls: u64,
    /// Its result, in bytes of JSON.
    #[serde(default)]
    pub output_bytes: u64,
    /// Its log, in bytes, one more for each line.
    #[serde(default)]
    pub log_bytes: u64,
    /// Number of network calls.
    #[serde(default)]
    pub network_calls: u64,
    /// How many of them got no answer for reasons that may pass.
    #[serde(default)]
    pub network_failures: u64,
    /// Of the wall-clock time, how much was spent waiting for them, in microseconds.
    #[serde(default)]
    pub network_us: u64,
    /// What network calls sent, in bytes.
    #[serde(default)]
    pub network_sent_bytes: u64,
    /// What network calls received, in bytes.
    #[serde(default)]
    pub network_received_bytes: u64,
}

/// The witness a controller made.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct WitnessView {
    /// The root it is pinned to.
    pub root: String,
    /// The witness, in the JSON that controllers write.
    pub witnesses: Vec<serde_json::Value>,
    /// What the controller logged.
    pub log: Vec<String>,
    /// What the controller used.
    pub usage: SandboxUsage,
    /// The recording of the controller's run, where it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recording: Option<Base64>,
}

/// A circuit's execution without a proof.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct ExecutionView {
    /// The root it is pinned to.
    pub root: String,
    /// The circuit's output.
    pub output: Base64,
    /// Cycles it took.
    pub cycles: u64,
    /// What the controller logged.
    pub log: Vec<String>,
    /// What the controller used.
    pub usage: SandboxUsage,
    /// The recording of the controller's run, where it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recording: Option<Base64>,
}

/// What a call of `entrypoint` came to.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct CallView {
    /// What it returned; null when it returned nothing.
    pub result: serde_json::Value,
    /// What it logged.
    pub log: Vec<String>,
    /// What it used.
    pub usage: SandboxUsage,
    /// The recording of the controller's run, where it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recording: Option<Base64>,
}
