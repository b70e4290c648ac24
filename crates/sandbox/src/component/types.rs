//! The records and variants of `wit/controller.wit`.

use crate::host::HostError;
use crate::network::{self, BlockProof, HttpAnswer, HttpRequest, LatestBlock};
use coprocessor_types::{DomainId, Root, StateProof, Witness};
use serde::Serialize;
use wasmtime::component::{ComponentType, Lift, Lower};

/// 32 bytes; a list of any other length is refused where it is read.
pub(super) type Hash = Vec<u8>;

/// Pairs of names and values.
type Pairs = Vec<(String, String)>;

/// `types.failure`.
#[derive(Clone, Debug, PartialEq, Eq, ComponentType, Lift, Lower)]
#[component(variant)]
pub(super) enum Failure {
    #[component(name = "refused")]
    Refused(String),
    #[component(name = "unanswered")]
    Unanswered(String),
    #[component(name = "too-large")]
    TooLarge(String),
}

/// `types.state-proof`.
#[derive(Clone, Debug, ComponentType, Lift, Lower)]
#[component(record)]
pub(super) struct WitStateProof {
    domain: Hash,
    number: u64,
    #[component(name = "state-root")]
    state_root: Hash,
    payload: Vec<u8>,
    proof: Vec<u8>,
}

/// `types.witness`.
#[derive(Clone, Debug, ComponentType, Lift)]
#[component(variant)]
pub(super) enum WitWitness {
    #[component(name = "data")]
    Data(Vec<u8>),
    #[component(name = "state-proof")]
    StateProof(WitStateProof),
}

/// `types.validated-block`.
#[derive(Clone, Debug, ComponentType, Lift)]
#[component(record)]
pub(super) struct WitValidatedBlock {
    number: u64,
    root: Hash,
    payload: Vec<u8>,
}

/// `http.basic-authorization`.
#[derive(Clone, Debug, ComponentType, Lift)]
#[component(record)]
pub(super) struct BasicAuthorization {
    username: String,
    password: Option<String>,
}

/// `http.authorization`.
#[derive(Clone, Debug, ComponentType, Lift)]
#[component(variant)]
pub(super) enum Authorization {
    #[component(name = "bearer")]
    Bearer(String),
    #[component(name = "basic")]
    Basic(BasicAuthorization),
}

/// `http.request`.
#[derive(Clone, Debug, ComponentType, Lift)]
#[component(record)]
pub(super) struct Request {
    method: String,
    url: String,
    query: Pairs,
    headers: Pairs,
    authorization: Option<Authorization>,
    body: Option<Vec<u8>>,
}

/// `http.response`.
#[derive(Clone, Debug, ComponentType, Lower)]
#[component(record)]
pub(super) struct Response {
    status: u16,
    headers: Pairs,
    body: Vec<u8>,
}

/// `chain.block`.
#[derive(Clone, Debug, ComponentType, Lower)]
#[component(record)]
pub(super) struct Block {
    domain: Hash,
    number: u64,
    #[component(name = "state-root")]
    state_root: Hash,
    payload: Vec<u8>,
}

/// `chain.opening`.
#[derive(Clone, Debug, ComponentType, Lower)]
#[component(record)]
pub(super) struct Opening {
    trust: Hash,
    #[component(name = "block-key")]
    block_key: Hash,
    #[component(name = "domain-siblings")]
    domain_siblings: Vec<Hash>,
    #[component(name = "domain-key")]
    domain_key: Hash,
    #[component(name = "root-siblings")]
    root_siblings: Vec<Hash>,
}

/// `chain.update`.
#[derive(Clone, Debug, ComponentType, Lower)]
#[component(record)]
pub(super) struct Update {
    id: Vec<u8>,
    root: Hash,
    previous: Hash,
    block: Block,
    trust: Hash,
}

/// What a domain keeps of a block, in the JSON of the other interface.
#[derive(Serialize)]
pub(super) struct ValidatedBlock {
    number: u64,
    root: [u8; 32],
    payload: Vec<u8>,
}

/// The bytes of a hash.
///
/// # Errors
/// Another length than 32, in words that name what it is of.
pub(super) fn hash(name: &str, bytes: Vec<u8>) -> Result<[u8; 32], String> {
    bytes.try_into().map_err(|bytes: Vec<u8>| format!("`{name}` has {} bytes, expected 32", bytes.len()))
}

impl Failure {
    /// Only what the controller goes on from: what ends the run never gets here.
    pub(super) fn of(error: &HostError) -> Self {
        let reason = error.to_string();
        match error {
            HostError::Unanswered { .. } => Self::Unanswered(reason),
            HostError::TooLarge { .. } => Self::TooLarge(reason),
            HostError::Refused { .. } | HostError::Failed { .. } => Self::Refused(reason),
        }
    }
}

impl TryFrom<WitStateProof> for StateProof {
    type Error = String;

    fn try_from(proof: WitStateProof) -> Result<Self, String> {
        let WitStateProof { domain, number, state_root, payload, proof } = proof;
        let (domain, state_root) = (DomainId(hash("domain", domain)?), hash("state-root", state_root)?);
        Ok(Self { domain, number, state_root, payload, proof })
    }
}

impl From<StateProof> for WitStateProof {
    fn from(proof: StateProof) -> Self {
        let StateProof { domain, number, state_root, payload, proof } = proof;
        Self { domain: domain.0.to_vec(), number, state_root: state_root.to_vec(), payload, proof }
    }
}

impl TryFrom<WitWitness> for Witness {
    type Error = String;

    fn try_from(witness: WitWitness) -> Result<Self, String> {
        match witness {
            WitWitness::Data(bytes) => Ok(Self::Data(bytes)),
            WitWitness::StateProof(proof) => proof.try_into().map(Self::StateProof),
        }
    }
}

impl TryFrom<WitValidatedBlock> for ValidatedBlock {
    type Error = String;

    fn try_from(block: WitValidatedBlock) -> Result<Self, String> {
        Ok(Self { number: block.number, root: hash("root", block.root)?, payload: block.payload })
    }
}

impl From<Request> for HttpRequest {
    fn from(request: Request) -> Self {
        let Request { method, url, query, headers, authorization, body } = request;
        let authorization = authorization.map(|authorization| match authorization {
            Authorization::Bearer(token) => network::Authorization::Bearer(token),
            Authorization::Basic(BasicAuthorization { username, password }) => {
                network::Authorization::Basic { username, password }
            }
        });
        Self { method: method.to_ascii_uppercase(), url, query, headers, authorization, body }
    }
}

impl From<HttpAnswer> for Response {
    fn from(answer: HttpAnswer) -> Self {
        Self { status: answer.status, headers: answer.headers, body: answer.body }
    }
}

impl From<LatestBlock> for Block {
    fn from(block: LatestBlock) -> Self {
        let LatestBlock { domain, number, state_root, payload } = block;
        Self { domain: domain.0.to_vec(), number, state_root: state_root.to_vec(), payload }
    }
}

impl From<BlockProof> for Opening {
    fn from(proof: BlockProof) -> Self {
        let hashes = |roots: Vec<Root>| roots.into_iter().map(|root| root.0.to_vec()).collect();
        Self {
            trust: proof.opening.trust.0.to_vec(),
            block_key: proof.block_key.to_vec(),
            domain_siblings: hashes(proof.opening.domain_siblings),
            domain_key: proof.domain_key.to_vec(),
            root_siblings: hashes(proof.opening.root_siblings),
        }
    }
}

impl From<network::RootUpdate> for Update {
    fn from(update: network::RootUpdate) -> Self {
        let network::RootUpdate { id, root, previous, block, trust } = update;
        Self {
            id: id.to_vec(),
            root: root.0.to_vec(),
            previous: previous.0.to_vec(),
            block: block.into(),
            trust: trust.0.to_vec(),
        }
    }
}
