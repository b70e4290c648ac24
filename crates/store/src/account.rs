//! Owners and their keys.

use crate::{Cursor, Page, StoreError};
use async_trait::async_trait;
use coprocessor_types::OwnerId;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// What an owner may use, where it differs from what the operator gives everybody.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Owner {
    /// Its name.
    pub id: OwnerId,
    /// Its share of each stage's work while others wait too: tasks claimed in a row before the next owner's turn, 1 to
    /// [`MAX_WEIGHT`].
    pub weight: u32,
    /// Its quotas.
    pub quotas: Quotas,
    /// When it was first set.
    pub created_at: Timestamp,
}

/// The largest [`Owner::weight`].
pub const MAX_WEIGHT: u32 = 1000;

/// Bounds of what one owner may use; `None`: the operator's default.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Quotas {
    /// Tasks that are not finished.
    pub unfinished_tasks: Option<u64>,
    /// Registered programs.
    pub programs: Option<u64>,
    /// Bytes that its programs' volumes hold together: pages that are not all zeros, and raw storage.
    pub volume_bytes: Option<u64>,
    /// Requests a second that change something, sustained.
    pub requests_per_second: Option<u32>,
    /// Requests that change something at once.
    pub burst: Option<u32>,
    /// What each call of one of its programs' and domains' controllers may use.
    pub controllers: ControllerQuotas,
}

/// Bounds of one controller call; `None`: the operator's default. Kept as JSON.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ControllerQuotas {
    /// WebAssembly instructions, roughly one each.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fuel: Option<u64>,
    /// Time from begin to end, waiting included, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wall_clock_ms: Option<u64>,
    /// Linear memory, in bytes; no more than the operator has set apart for each run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// The result, in bytes of JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_bytes: Option<u64>,
    /// The log, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_bytes: Option<u64>,
    /// Host calls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_calls: Option<u64>,
    /// Network calls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_calls: Option<u64>,
    /// Time of each network call, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_call_ms: Option<u64>,
    /// What network calls send, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_sent_bytes: Option<u64>,
    /// What network calls receive, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_received_bytes: Option<u64>,
}

/// Names a key, openly: the part of it that is no secret. 16 hexadecimal digits as text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct KeyId(pub [u8; 8]);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A text that is no [`KeyId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a key's id is 16 hexadecimal digits")]
pub struct KeyIdError;

impl FromStr for KeyId {
    type Err = KeyIdError;

    fn from_str(text: &str) -> Result<Self, KeyIdError> {
        let digits = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = digits.then(|| u64::from_str_radix(text, 16).ok()).flatten();
        number.map(|number| Self(number.to_be_bytes())).ok_or(KeyIdError)
    }
}

/// Something a key may do.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
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

    /// The name in JSON and in the store.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Deploy => "deploy",
            Self::Prove => "prove",
            Self::Admin => "admin",
        }
    }

    /// The scope with that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == name)
    }
}

/// An API key, without its secret: that is nowhere but with its holder.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ApiKey {
    /// Its open part.
    pub id: KeyId,
    /// Whose it is.
    pub owner: OwnerId,
    /// A label for people; may be empty.
    pub name: String,
    /// SHA-256 of the whole key as its holder sends it.
    pub hash: [u8; 32],
    /// What it may do; sorted, each once.
    pub scopes: Vec<Scope>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends by itself.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

/// Owners and keys.
#[async_trait]
pub trait Accounts {
    /// An owner's settings; `None` where nothing was set.
    async fn owner(&self, id: &OwnerId) -> Result<Option<Owner>, StoreError>;

    /// Every owner with settings, by name; at most `limit`.
    ///
    /// # Errors
    /// [`StoreError::BadCursor`].
    async fn owners(&self, after: Option<Cursor>, limit: usize) -> Result<Page<Owner>, StoreError>;

    /// Sets an owner's settings; `created_at` stays what it was. The weight counts from the next claim on.
    async fn put_owner(&self, owner: Owner) -> Result<Owner, StoreError>;

    /// Bytes that the volumes of an owner's programs hold together: pages that are not all zeros, and raw storage.
    async fn volume_bytes(&self, owner: &OwnerId) -> Result<u64, StoreError>;

    /// Keeps a new key; false, and nothing changed, when there is one with its id.
    async fn add_key(&self, key: ApiKey) -> Result<bool, StoreError>;

    /// A key, whether it is still good or not.
    async fn key(&self, id: KeyId) -> Result<Option<ApiKey>, StoreError>;

    /// Keys, newest first (by `created_at`, then id); of one owner, or everybody's; at most `limit`.
    ///
    /// # Errors
    /// [`StoreError::BadCursor`].
    async fn keys(
        &self,
        owner: Option<OwnerId>,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Page<ApiKey>, StoreError>;

    /// Revokes a key: from now on, or since it was revoked first. `None` when there is none.
    async fn revoke_key(&self, id: KeyId, now: Timestamp) -> Result<Option<ApiKey>, StoreError>;

    /// Whether any key was ever made, revoked ones too.
    async fn has_keys(&self) -> Result<bool, StoreError>;
}
