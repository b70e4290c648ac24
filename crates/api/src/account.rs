//! `/api/v1/keys`, `/api/v1/owners`, `/api/v1/whoami`.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Something a key may do.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Read programs, tasks, files and events.
    Read,
    /// Register, change and delete programs and their files; register prover nodes and webhooks of one's own.
    Deploy,
    /// Ask for proofs, cancel and retry them.
    Prove,
    /// All of it for every owner, and keys, owners and shared nodes.
    Admin,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 4] = [Self::Read, Self::Deploy, Self::Prove, Self::Admin];

    /// The name in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Deploy => "deploy",
            Self::Prove => "prove",
            Self::Admin => "admin",
        }
    }
}

/// A key to make.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyRequest {
    /// Whose it will be: 1 to 64 of `a-z 0-9 - _ .`; the caller's own by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// A label for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// What it may do; at least one.
    pub scopes: Vec<Scope>,
    /// When it ends by itself; never by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

/// A key, without its secret.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct KeyView {
    /// 16 hexadecimal digits, the open part of the key.
    pub id: String,
    /// Whose it is.
    pub owner: String,
    /// A label for people; may be empty.
    pub name: String,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends by itself.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

/// A key that was just made. Its secret is shown here and never again.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NewKeyView {
    /// The key.
    #[serde(flatten)]
    pub key: KeyView,
    /// What its holder sends as `Authorization: Bearer …`: `cpk_<id>_<43 characters>`.
    pub secret: String,
}

impl std::fmt::Debug for NewKeyView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewKeyView").field("key", &self.key).finish_non_exhaustive()
    }
}

/// A page of keys, newest first.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct KeyList {
    /// The keys, revoked and expired ones too.
    pub items: Vec<KeyView>,
    /// `cursor` of the next page; null at the end.
    pub next: Option<String>,
}

/// Bounds of what one owner may use; null: the operator's default.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Quotas {
    /// Tasks that are not finished.
    #[serde(default)]
    pub unfinished_tasks: Option<u64>,
    /// Registered programs.
    #[serde(default)]
    pub programs: Option<u64>,
    /// Bytes that its programs' volumes hold together: pages of 4096 that are not all zeros, and raw storage.
    #[serde(default)]
    pub volume_bytes: Option<u64>,
    /// Requests a second that change something (`POST`, `PUT`, `DELETE`), sustained.
    #[serde(default)]
    pub requests_per_second: Option<u32>,
    /// Requests at once that change something.
    #[serde(default)]
    pub burst: Option<u32>,
    /// What each call of one of its programs' and domains' controllers may use.
    #[serde(default)]
    pub controllers: ControllerQuotas,
}

/// Bounds of one controller call; null: the operator's default.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ControllerQuotas {
    /// WebAssembly instructions, roughly one each.
    pub fuel: Option<u64>,
    /// Time from begin to end, waiting included, in milliseconds.
    pub wall_clock_ms: Option<u64>,
    /// Linear memory, in bytes; no more than the operator has set apart for each run.
    pub memory_bytes: Option<u64>,
    /// The result, in bytes of JSON.
    pub output_bytes: Option<u64>,
    /// The log, in bytes.
    pub log_bytes: Option<u64>,
    /// Host calls.
    pub host_calls: Option<u64>,
    /// Network calls.
    pub network_calls: Option<u64>,
    /// Time of each network call, in milliseconds.
    pub network_call_ms: Option<u64>,
    /// What network calls send, in bytes.
    pub network_sent_bytes: Option<u64>,
    /// What network calls receive, in bytes.
    pub network_received_bytes: Option<u64>,
}

/// What an owner may use after all: its own quotas, and the operator's defaults where it has none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Limits {
    /// Tasks that are not finished.
    pub unfinished_tasks: u64,
    /// Registered programs.
    pub programs: u64,
    /// Bytes that its programs' volumes hold together.
    #[serde(default)]
    pub volume_bytes: u64,
    /// Requests a second that change something, sustained.
    pub requests_per_second: u32,
    /// Requests at once that change something.
    pub burst: u32,
}

/// An owner's settings. What is left out goes back to its default.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OwnerRequest {
    /// Its share of the work while others wait too, 1 to 1000; 1 by default. An owner of weight 2 gets twice as many turns as one of
    /// weight 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
    /// Its quotas.
    #[serde(default)]
    pub quotas: Quotas,
}

/// An owner.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct OwnerView {
    /// Its name.
    pub owner: String,
    /// Its share of the work while others wait too.
    pub weight: u32,
    /// What was set for it.
    pub quotas: Quotas,
    /// What it may use after all.
    pub limits: Limits,
    /// Bytes that its programs' volumes hold together now.
    #[serde(default)]
    pub volume_bytes: u64,
    /// When something was set for it first.
    pub created_at: Timestamp,
}

/// A page of the owners for whom something was set, by name.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct OwnerList {
    /// The owners.
    pub items: Vec<OwnerView>,
    /// `cursor` of the next page; null at the end.
    pub next: Option<String>,
}

/// Who the service takes the caller for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct WhoamiView {
    /// On whose behalf requests are made; `anonymous` without a key.
    pub owner: String,
    /// The key's id; null without a key.
    pub key: Option<String>,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// What its owner may use.
    pub limits: Limits,
    /// Bytes that its owner's programs' volumes hold together now.
    #[serde(default)]
    pub volume_bytes: u64,
}
