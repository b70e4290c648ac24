//! One host call as a recording has it.

use super::redact;
use crate::host::HostError;
use crate::limits::Usage;
use crate::network::{
    BlockProof, HttpAnswer, HttpRequest, LatestBlock, NetworkReply, RootUpdate, RpcRequest, StateProofReply,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use coprocessor_types::{BlobDigest, BlockNumber, BlockOpening, DomainId, Root, StateProof, TrustId};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::{Map, Value};
use std::fmt;

/// A host call and what came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exchange {
    /// What was asked.
    pub asked: Asked,
    /// What was answered; `None` where the run ended before it was.
    pub answer: Option<Answer>,
}

/// What a controller asked of its host, without its secrets; of what it sends or writes, the digest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[allow(missing_docs)] // The fields are those of the methods of `Host`.
pub enum Asked {
    /// [`crate::Host::read_file`].
    ReadFile { path: String },
    /// [`crate::Host::write_file`].
    WriteFile { path: String, content: Sent },
    /// [`crate::Host::raw_storage`].
    RawStorage,
    /// [`crate::Host::set_raw_storage`].
    SetRawStorage { content: Sent },
    /// [`crate::Host::volume_image`].
    VolumeImage,
    /// [`crate::Host::set_volume_image`].
    SetVolumeImage { image: Sent },
    /// [`crate::Host::http`].
    Http {
        method: String,
        url: String,
        query: Vec<(String, String)>,
        headers: Vec<(String, String)>,
        authorization: Option<String>,
        body: Option<Sent>,
    },
    /// [`crate::Host::rpc`]. `params` is JSON.
    Rpc { chain: String, method: String, params: String },
    /// [`crate::Host::state_proof`]. `args` is JSON.
    StateProof { domain: String, args: String },
    /// [`crate::Host::latest_block`].
    LatestBlock { domain: String },
    /// [`crate::Host::block_proof`].
    BlockProof { domain: String, number: BlockNumber },
    /// [`crate::Host::root_update`].
    RootUpdate { root: Root },
}

/// Bytes that went out: known again, and not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sent {
    /// How many.
    pub bytes: u64,
    /// Their SHA-256.
    pub sha256: BlobDigest,
}

/// What a host answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Answer {
    /// To reading: the content, if there is any.
    Content(Said<Option<Bytes>>),
    /// To writing.
    Written(Said<()>),
    /// To an HTTP request.
    Http(Network<Received>),
    /// To an RPC call: the result.
    Rpc(Network<Json>),
    /// To asking a domain for its state.
    StateProof(Proved),
    /// To asking for the latest block.
    LatestBlock(Said<Option<Block>>),
    /// To asking for a block's opening.
    BlockProof(Said<Opening>),
    /// To asking how a root came about.
    RootUpdate(Said<Option<Update>>),
}

/// What was said, or why nothing was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Said<T> {
    /// It was done.
    Ok(T),
    /// [`HostError::Refused`].
    Refused(String),
    /// [`HostError::Unanswered`].
    Unanswered(String),
    /// [`HostError::TooLarge`].
    TooLarge(u64),
    /// [`HostError::Failed`].
    Failed(String),
}

/// An answer from the network, and what it took.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network<T> {
    /// The answer.
    pub answer: Said<T>,
    /// Bytes sent.
    pub sent_bytes: u64,
    /// Bytes received.
    pub received_bytes: u64,
}

/// An answer to an HTTP request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Received {
    /// The status.
    pub status: u16,
    /// Names and values.
    pub headers: Vec<(String, String)>,
    /// The whole body.
    pub body: Bytes,
}

/// A proof of state, and what it took.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proved {
    /// The block, and the proof.
    pub answer: Said<(Block, Bytes)>,
    /// What the domain's controller used.
    pub usage: Usage,
}

/// A block of a domain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Block {
    /// The domain.
    pub domain: DomainId,
    /// The block's number.
    pub number: BlockNumber,
    /// Its state root.
    pub state_root: Root,
    /// Its payload.
    pub payload: Bytes,
}

/// What leads from a block to a root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Opening {
    /// The block's key in its domain's tree.
    pub block_key: Root,
    /// The domain's key in the root tree.
    pub domain_key: Root,
    /// What the block was checked by.
    pub trust: TrustId,
    /// Siblings in the domain's tree.
    pub domain_siblings: Vec<Root>,
    /// Siblings in the root tree.
    pub root_siblings: Vec<Root>,
}

/// How a root came from the one before it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Update {
    /// Names it.
    pub id: [u8; 16],
    /// The root.
    pub root: Root,
    /// The one before.
    pub previous: Root,
    /// The block it has more.
    pub block: Block,
    /// What that was checked by.
    pub trust: TrustId,
}

/// Base64 in JSON.
#[derive(Clone, PartialEq, Eq)]
pub struct Bytes(pub Vec<u8>);

/// A value that comes back to the last bit.
#[derive(Clone, Debug, PartialEq)]
pub struct Json(pub Value);

impl Asked {
    pub(super) fn http(request: &HttpRequest) -> Self {
        Self::Http {
            method: request.method.clone(),
            url: redact::url(&request.url),
            query: redact::pairs(&request.query),
            headers: redact::pairs(&request.headers),
            authorization: redact::authorization(request),
            body: request.body.as_deref().map(Sent::of),
        }
    }

    pub(super) fn rpc(request: &RpcRequest) -> Self {
        let RpcRequest { chain, method, params } = request;
        Self::Rpc { chain: chain.clone(), method: method.clone(), params: params.to_string() }
    }

    /// Bytes it takes, roughly.
    pub(super) fn size(&self) -> usize {
        let pairs =
            |pairs: &[(String, String)]| pairs.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
        let text = match self {
            Self::ReadFile { path } | Self::WriteFile { path, .. } => path.len(),
            Self::RawStorage | Self::SetRawStorage { .. } | Self::RootUpdate { .. } => 0,
            Self::VolumeImage | Self::SetVolumeImage { .. } => 0,
            Self::Http { url, query, headers, .. } => url.len() + pairs(query) + pairs(headers),
            Self::Rpc { params, .. } => params.len(),
            Self::StateProof { args, .. } => args.len(),
            Self::LatestBlock { domain } | Self::BlockProof { domain, .. } => domain.len(),
        };
        text + OVERHEAD
    }

    /// Whether that is an answer to this.
    pub(super) fn is_answered_by(&self, answer: &Answer) -> bool {
        matches!(
            (self, answer),
            (Self::ReadFile { .. } | Self::RawStorage | Self::VolumeImage, Answer::Content(_))
                | (
                    Self::WriteFile { .. } | Self::SetRawStorage { .. } | Self::SetVolumeImage { .. },
                    Answer::Written(_)
                )
                | (Self::Http { .. }, Answer::Http(_))
                | (Self::Rpc { .. }, Answer::Rpc(_))
                | (Self::StateProof { .. }, Answer::StateProof(_))
                | (Self::LatestBlock { .. }, Answer::LatestBlock(_))
                | (Self::BlockProof { .. }, Answer::BlockProof(_))
                | (Self::RootUpdate { .. }, Answer::RootUpdate(_))
        )
    }
}

/// Names of fields, and what has a fixed size, in bytes.
const OVERHEAD: usize = 256;

impl fmt::Display for Asked {
    /// In a line, for people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ReadFile { path } => write!(f, "get_storage_file {path:?}"),
            Self::WriteFile { path, content } => write!(f, "set_storage_file {path:?} ({content})"),
            Self::RawStorage => write!(f, "get_raw_storage"),
            Self::SetRawStorage { content } => write!(f, "set_raw_storage ({content})"),
            Self::VolumeImage => write!(f, "get_storage"),
            Self::SetVolumeImage { image } => write!(f, "set_storage ({image})"),
            Self::Http { method, url, query, headers, authorization, body } => {
                write!(f, "http {method} {url}")?;
                query.iter().try_for_each(|(name, value)| write!(f, " ?{name}={value}"))?;
                headers.iter().try_for_each(|(name, value)| write!(f, " {name}: {value}"))?;
                authorization.iter().try_for_each(|shown| write!(f, " authorization: {shown}"))?;
                body.iter().try_for_each(|body| write!(f, " ({body})"))
            }
            Self::Rpc { chain, method, params } => write!(f, "alchemy {chain} {method} {params}"),
            Self::StateProof { domain, args } => write!(f, "get_state_proof {domain} {args}"),
            Self::LatestBlock { domain } => write!(f, "get_latest_block {domain}"),
            Self::BlockProof { domain, number } => write!(f, "get_block_proof {domain} {number}"),
            Self::RootUpdate { root } => write!(f, "get_historical_update {root}"),
        }
    }
}

impl Sent {
    /// What bytes are known by.
    pub fn of(bytes: &[u8]) -> Self {
        Self { bytes: bytes.len() as u64, sha256: BlobDigest::of(bytes) }
    }
}

impl fmt::Display for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes, SHA-256 {}", self.bytes, &self.sha256.to_string()[..12])
    }
}

impl Answer {
    /// Bytes it takes in a recording, roughly.
    pub(super) fn size(&self) -> usize {
        let base64 = |bytes: usize| bytes.div_ceil(3).saturating_mul(4);
        let content = match self {
            Self::Content(said) => said.size(|content| content.as_ref().map_or(0, |bytes| base64(bytes.0.len()))),
            Self::Written(said) => said.size(|()| 0),
            Self::Http(reply) => reply.answer.size(|received| {
                let headers = received.headers.iter().map(|(name, value)| name.len() + value.len() + 8);
                base64(received.body.0.len()) + headers.sum::<usize>()
            }),
            Self::Rpc(reply) => reply.answer.size(|result| result.0.to_string().len()),
            Self::StateProof(proved) => {
                proved.answer.size(|(block, proof)| base64(block.payload.0.len()) + base64(proof.0.len()))
            }
            Self::LatestBlock(said) => {
                said.size(|block| block.as_ref().map_or(0, |block| base64(block.payload.0.len())))
            }
            Self::BlockProof(said) => {
                said.size(|opening| 68 * (opening.domain_siblings.len() + opening.root_siblings.len()))
            }
            Self::RootUpdate(said) => {
                said.size(|update| update.as_ref().map_or(0, |update| base64(update.block.payload.0.len())))
            }
        };
        content + 2 * OVERHEAD
    }
}

impl<T> Said<T> {
    pub(super) fn of<U>(said: &Result<U, HostError>, keep: impl FnOnce(&U) -> T) -> Self {
        match said {
            Ok(said) => Self::Ok(keep(said)),
            Err(HostError::Refused { reason }) => Self::Refused(reason.clone()),
            Err(HostError::Unanswered { reason }) => Self::Unanswered(reason.clone()),
            Err(HostError::TooLarge { len }) => Self::TooLarge(*len),
            Err(HostError::Failed { reason }) => Self::Failed(reason.clone()),
        }
    }

    pub(super) fn again<U>(self, give: impl FnOnce(T) -> U) -> Result<U, HostError> {
        match self {
            Self::Ok(said) => Ok(give(said)),
            Self::Refused(reason) => Err(HostError::Refused { reason }),
            Self::Unanswered(reason) => Err(HostError::Unanswered { reason }),
            Self::TooLarge(len) => Err(HostError::TooLarge { len }),
            Self::Failed(reason) => Err(HostError::Failed { reason }),
        }
    }

    fn size(&self, of: impl FnOnce(&T) -> usize) -> usize {
        match self {
            Self::Ok(said) => of(said),
            Self::Refused(reason) | Self::Unanswered(reason) | Self::Failed(reason) => reason.len(),
            Self::TooLarge(_) => 0,
        }
    }
}

impl<T> Network<T> {
    pub(super) fn of<U>(reply: &NetworkReply<U>, keep: impl FnOnce(&U) -> T) -> Self {
        let NetworkReply { answer, sent_bytes, received_bytes } = reply;
        Self { answer: Said::of(answer, keep), sent_bytes: *sent_bytes, received_bytes: *received_bytes }
    }

    pub(super) fn again<U>(self, give: impl FnOnce(T) -> U) -> NetworkReply<U> {
        let Self { answer, sent_bytes, received_bytes } = self;
        NetworkReply { answer: answer.again(give), sent_bytes, received_bytes }
    }
}

impl Received {
    pub(super) fn of(answer: &HttpAnswer) -> Self {
        let HttpAnswer { status, headers, body } = answer;
        Self { status: *status, headers: headers.clone(), body: Bytes(body.clone()) }
    }

    pub(super) fn again(self) -> HttpAnswer {
        HttpAnswer { status: self.status, headers: self.headers, body: self.body.0 }
    }
}

impl Proved {
    pub(super) fn of(reply: &StateProofReply) -> Self {
        let keep = |proof: &StateProof| {
            let StateProof { domain, number, state_root, payload, proof } = proof;
            let payload = Bytes(payload.clone());
            let block = Block { domain: *domain, number: *number, state_root: Root(*state_root), payload };
            (block, Bytes(proof.clone()))
        };
        Self { answer: Said::of(&reply.answer, keep), usage: reply.usage.clone() }
    }

    pub(super) fn again(self) -> StateProofReply {
        let give = |(block, proof): (Block, Bytes)| {
            let Block { domain, number, state_root, payload } = block;
            StateProof { domain, number, state_root: state_root.0, payload: payload.0, proof: proof.0 }
        };
        StateProofReply { answer: self.answer.again(give), usage: self.usage }
    }
}

impl Block {
    pub(super) fn of(block: &LatestBlock) -> Self {
        let LatestBlock { domain, number, state_root, payload } = block;
        Self { domain: *domain, number: *number, state_root: Root(*state_root), payload: Bytes(payload.clone()) }
    }

    pub(super) fn again(self) -> LatestBlock {
        let Self { domain, number, state_root, payload } = self;
        LatestBlock { domain, number, state_root: state_root.0, payload: payload.0 }
    }
}

impl Opening {
    pub(super) fn of(proof: &BlockProof) -> Self {
        let BlockProof { block_key, domain_key, opening } = proof;
        let BlockOpening { trust, domain_siblings, root_siblings } = opening.clone();
        Self { block_key: Root(*block_key), domain_key: Root(*domain_key), trust, domain_siblings, root_siblings }
    }

    pub(super) fn again(self) -> BlockProof {
        let Self { block_key, domain_key, trust, domain_siblings, root_siblings } = self;
        let opening = BlockOpening { trust, domain_siblings, root_siblings };
        BlockProof { block_key: block_key.0, domain_key: domain_key.0, opening }
    }
}

impl Update {
    pub(super) fn of(update: &RootUpdate) -> Self {
        let RootUpdate { id, root, previous, block, trust } = update;
        Self { id: *id, root: *root, previous: *previous, block: Block::of(block), trust: *trust }
    }

    pub(super) fn again(self) -> RootUpdate {
        let Self { id, root, previous, block, trust } = self;
        RootUpdate { id, root, previous, block: block.again(), trust }
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map(Self).map_err(de::Error::custom)
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&exact(&self.0).to_string())
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let value = serde_json::from_str(&text).map_err(de::Error::custom)?;
        inexact(value).map(Self).map_err(de::Error::custom)
    }
}

/// The one field of what stands for a number that is no integer.
const FLOAT: &str = "$f64";

/// Numbers that are no integers as their bits. A name that begins with `$` gets another one, so that nothing else looks like it.
fn exact(value: &Value) -> Value {
    match value {
        Value::Number(number) if number.is_f64() => {
            let bits = number.as_f64().unwrap_or_default().to_bits();
            Value::Object(Map::from_iter([(FLOAT.to_owned(), Value::String(format!("{bits:016x}")))]))
        }
        Value::Array(items) => Value::Array(items.iter().map(exact).collect()),
        Value::Object(fields) => {
            let escaped = |name: &str| if name.starts_with('$') { format!("${name}") } else { name.to_owned() };
            Value::Object(fields.iter().map(|(name, value)| (escaped(name), exact(value))).collect())
        }
        other => other.clone(),
    }
}

/// What [`exact`] was made of.
fn inexact(value: Value) -> Result<Value, String> {
    match value {
        Value::Array(items) => items.into_iter().map(inexact).collect::<Result<_, _>>().map(Value::Array),
        Value::Object(fields) => {
            if let (1, Some(bits)) = (fields.len(), fields.get(FLOAT)) {
                return float(bits);
            }
            let field = |(name, value): (String, Value)| {
                let name = match name.strip_prefix('$') {
                    None => name,
                    Some(rest) if rest.starts_with('$') => rest.to_owned(),
                    Some(_) => return Err(format!("a field is called `{name}`, which nothing is in a recording")),
                };
                Ok((name, inexact(value)?))
            };
            fields.into_iter().map(field).collect::<Result<_, _>>().map(Value::Object)
        }
        other => Ok(other),
    }
}

fn float(bits: &Value) -> Result<Value, String> {
    let digits =
        bits.as_str().filter(|digits| digits.len() == 16 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
    let bits = digits.and_then(|digits| u64::from_str_radix(digits, 16).ok());
    let number = bits.and_then(|bits| serde_json::Number::from_f64(f64::from_bits(bits)));
    number.map(Value::Number).ok_or_else(|| "a number's bits are not 16 hexadecimal digits of one".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn back(value: &Value) -> Value {
        let text = serde_json::to_string(&Json(value.clone())).unwrap();
        serde_json::from_str::<Json>(&text).unwrap().0
    }

    #[test]
    fn values_come_back_to_the_last_bit() {
        for bits in [0, 1 << 63, 0x3fb9_9999_9999_999a, 1, 0x7fef_ffff_ffff_ffff, 0x4340_0000_0000_0001] {
            let value = json!({"a": [f64::from_bits(bits)]});
            let got = back(&value)["a"][0].as_f64().unwrap();
            assert_eq!(got.to_bits(), bits);
        }
        for value in [
            json!(null),
            json!([1, -1, u64::MAX, i64::MIN, true, "x"]),
            json!({"$f64": "3fb999999999999a", "$": {"$$f64": 1}, "": 0.5}),
            json!({"$f64": 1}),
        ] {
            assert_eq!(back(&value), value);
        }
    }

    #[test]
    fn what_no_recording_has_is_refused() {
        for text in [
            r#"{"$f64":"7ff0000000000000"}"#,
            r#"{"$f64":"1"}"#,
            r#"{"$f64":3}"#,
            r#"{"$x":1}"#,
            r#"{"$f64":"+000000000000001","b":1}"#,
        ] {
            assert!(serde_json::from_value::<Json>(json!(text)).is_err(), "{text}");
        }
        let deep = format!("{}{}", "[".repeat(1000), "]".repeat(1000));
        assert!(serde_json::from_value::<Json>(json!(deep)).is_err());
    }
}
