//! The service itself: roots, prover nodes, health.

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

/// A coprocessor root.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct RootView {
    /// The root.
    pub root: String,
    /// The identity of the instance that it commits to.
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
}

impl std::fmt::Debug for ProverRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProverRequest").field("address", &self.address).finish_non_exhaustive()
    }
}

/// Whether the service can work.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct HealthView {
    /// `ok`, or what is wrong.
    pub status: String,
    /// Number of tasks by state.
    #[serde(default)]
    pub tasks: std::collections::BTreeMap<String, u64>,
}
