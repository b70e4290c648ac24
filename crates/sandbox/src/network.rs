//! What a controller asks of the world beyond its host, and what comes back.

use serde_json::Value;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use crate::host::HostError;
use crate::limits::Usage;
use coprocessor_types::{BlockNumber, BlockOpening, DomainId, Root, StateProof, TrustId};

/// An answer that has to be waited for. The run waits without a thread; dropping it gives the call up.
pub type Remote<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// An HTTP request as a controller wrote it: nothing in it is checked but its form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpRequest {
    /// In upper case.
    pub method: String,
    /// Where to, as the controller wrote it.
    pub url: String,
    /// Appended to the address, names and values to be escaped.
    pub query: Vec<(String, String)>,
    /// Header names as the controller wrote them, and values.
    pub headers: Vec<(String, String)>,
    /// What to prove the right to ask with.
    pub authorization: Option<Authorization>,
    /// The body; `None` for a request without one.
    pub body: Option<Vec<u8>>,
}

/// Credentials of a controller's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authorization {
    /// `Authorization: Bearer …`.
    Bearer(String),
    /// `Authorization: Basic …`.
    Basic {
        /// The name.
        username: String,
        /// The password; may be absent.
        password: Option<String>,
    },
}

/// The answer to an HTTP request, whatever its status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpAnswer {
    /// The status.
    pub status: u16,
    /// Names in lower case, and values. A value that is no text is left out.
    pub headers: Vec<(String, String)>,
    /// The whole body.
    pub body: Vec<u8>,
}

/// A JSON-RPC call on a chain that the operator has an endpoint for.
#[derive(Clone, Debug, PartialEq)]
pub struct RpcRequest {
    /// The chain's name, such as `eth-mainnet`.
    pub chain: String,
    /// The method.
    pub method: String,
    /// Its parameters.
    pub params: Value,
}

/// What a network call may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetworkAllowance {
    /// From its begin to its end, redirects included.
    pub time: Duration,
    /// Bytes to send: address, headers and body. A call that needs more is not made.
    pub sent_bytes: u64,
    /// Bytes to receive: headers and body. A call is ended at the first byte too many.
    pub received_bytes: u64,
}

/// What became of a network call, and what it used, also if it failed.
#[derive(Clone, Debug, PartialEq)]
pub struct NetworkReply<T> {
    /// [`HostError::Refused`] for what is not allowed, [`HostError::Unanswered`] for what did not come,
    /// [`HostError::TooLarge`] for an answer longer than a controller can be given.
    pub answer: Result<T, HostError>,
    /// Bytes sent, or that would have been: more than allowed ends the run.
    pub sent_bytes: u64,
    /// Bytes received: more than allowed ends the run.
    pub received_bytes: u64,
}

/// What became of a domain's controller that was asked to prove state, and what it used, also if it failed.
#[derive(Clone, Debug, PartialEq)]
pub struct StateProofReply {
    /// [`HostError::Refused`] for what can't be proved, [`HostError::Unanswered`] where the controller's own network failed.
    pub answer: Result<StateProof, HostError>,
    /// Counted as the asking run's own.
    pub usage: Usage,
}

/// A block of a domain: the highest that a root commits to, or the one that made a root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LatestBlock {
    /// The domain.
    pub domain: DomainId,
    /// The block's number.
    pub number: BlockNumber,
    /// Its state root.
    pub state_root: [u8; 32],
    /// What the domain's controller kept of it.
    pub payload: Vec<u8>,
}

/// Leads from a block to the run's root, through the domain's tree and the root tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockProof {
    /// The block's key in its domain's tree: the bits of the path.
    pub block_key: [u8; 32],
    /// The domain's key in the root tree.
    pub domain_key: [u8; 32],
    /// The siblings along both, and what the block was checked by.
    pub opening: BlockOpening,
}

/// A root and the one before it, which has all of its blocks but one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootUpdate {
    /// Names the update; as a number, later ones are greater.
    pub id: [u8; 16],
    /// The root.
    pub root: Root,
    /// The root before.
    pub previous: Root,
    /// The block that the root has and the one before has not.
    pub block: LatestBlock,
    /// What the block was checked by.
    pub trust: TrustId,
}

impl StateProofReply {
    /// Nothing ran.
    pub fn refused(reason: impl Into<String>) -> Self {
        Self { answer: Err(HostError::Refused { reason: reason.into() }), usage: Usage::default() }
    }
}

impl<T> NetworkReply<T> {
    /// Nothing was sent.
    pub fn refused(reason: impl Into<String>) -> Self {
        Self { answer: Err(HostError::Refused { reason: reason.into() }), sent_bytes: 0, received_bytes: 0 }
    }
}
