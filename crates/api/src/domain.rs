//! `/api/v1/domains`: the chains that roots commit to, and their blocks.

use crate::{Base64, SandboxUsage};
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// A domain to register.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DomainRequest {
    /// Its name: 1 to 64 characters of `a-z A-Z 0-9 - _ . :`, the first a letter or a digit, and no 64 hexadecimal digits. Its
    /// id follows from it.
    pub name: String,
    /// Its controller: a WebAssembly module that exports `validate_block` and `get_state_proof`.
    pub controller: Base64,
    /// Who may append its blocks; the caller's owner by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// What the controller is told with every call, as `{"settings": …, "args": …}`. Where this is null, the default, it is
    /// called with the arguments as they are. The same ever after.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub settings: Value,
    /// What its blocks have to be checked by.
    #[serde(default)]
    pub trust: TrustPolicy,
}

/// What a domain's blocks have to be checked by.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TrustPolicy {
    /// Nothing but the domain's controller; blocks have the trust of 32 zero bytes.
    #[default]
    ControllerOnly,
}

/// A domain.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct DomainView {
    /// 64 hexadecimal digits: `BLAKE3(0x00 ‖ "domain" ‖ name)`.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Who may append its blocks, beside administrators.
    pub owner: String,
    /// SHA-256 of the controller that checks new blocks.
    pub controller: String,
    /// What the controller is told with every call.
    pub settings: Value,
    /// What its blocks have to be checked by.
    pub trust: TrustPolicy,
    /// How many blocks it has.
    pub blocks: u64,
    /// The highest number among them; null before the first.
    pub latest: Option<u64>,
    /// When it was registered.
    pub created_at: Timestamp,
    /// When its controller was last set.
    pub updated_at: Timestamp,
}

/// A page of domains, in the order they were registered.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct DomainList {
    /// The domains.
    pub items: Vec<DomainView>,
    /// `cursor` of the next page; null at the end.
    pub next: Option<String>,
}

/// Blocks to append: either `args` of one, or `blocks` with the arguments of each. All are appended, in their order, or none.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AppendRequest {
    /// Arguments for the domain's `validate_block`.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub args: Option<Value>,
    /// Arguments for each of several blocks, at most 1000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocks: Option<Vec<Value>>,
    /// Whether what the controller asks of the service and is answered is recorded, to be replayed. With `args` alone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub record: bool,
}

/// Null is as good an argument as any.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// A block of a domain.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct BlockView {
    /// The domain's id.
    pub domain: String,
    /// Its number.
    pub number: u64,
    /// Its state root, 64 hexadecimal digits.
    pub state_root: String,
    /// What the domain's controller keeps of it.
    pub payload: Base64,
    /// What it was checked by; 64 zeros: nothing but the domain's controller.
    pub trust: String,
    /// The first root that commits to it.
    pub root: String,
    /// That root's version.
    pub version: u64,
    /// When it was appended.
    pub appended_at: Timestamp,
}

/// A page of a domain's blocks, highest number first.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct BlockList {
    /// The blocks.
    pub items: Vec<BlockView>,
    /// `cursor` of the next page; null at the end.
    pub next: Option<String>,
}

/// What appending came to.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct AppendView {
    /// The domain's id.
    pub domain: String,
    /// The root before the first of the blocks.
    pub previous_root: String,
    /// The root that commits to all of them.
    pub root: String,
    /// The blocks, in the order given.
    pub blocks: Vec<AppendedBlockView>,
}

/// A block that was appended.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct AppendedBlockView {
    /// The block.
    pub block: BlockView,
    /// What `validate_block` logged.
    pub log: Vec<String>,
    /// What it used.
    pub usage: SandboxUsage,
    /// The recording of its run, where it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recording: Option<Base64>,
}

/// What to have a domain's controller prove.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StateRequest {
    /// Arguments for the controller's `get_state_proof`.
    #[serde(default)]
    pub args: Value,
    /// The root to pin to; the current one by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<String>,
    /// Whether what the controller asks of the service and is answered is recorded, to be replayed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub record: bool,
}

/// What a domain's controller proved.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct StateView {
    /// The root that the run was pinned to. The proof was not compared with it.
    pub root: String,
    /// The state proof, an element of a witness in the JSON that controllers write.
    pub witness: Value,
    /// What the controller logged.
    pub log: Vec<String>,
    /// What it used.
    pub usage: SandboxUsage,
    /// The recording of its run, where it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recording: Option<Base64>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn null_is_an_argument_and_nothing_is_none() {
        let read = |body: Value| serde_json::from_value::<AppendRequest>(body).unwrap();
        assert_eq!(read(json!({"args": null})), AppendRequest { args: Some(Value::Null), ..AppendRequest::default() });
        assert_eq!(read(json!({})), AppendRequest::default());
        assert_eq!(read(json!({"blocks": [null]})).blocks, Some(vec![Value::Null]));
        assert!(serde_json::from_value::<AppendRequest>(json!({"arg": 1})).is_err());
    }
}
