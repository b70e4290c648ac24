//! Prover nodes that were registered through the API.

use coprocessor_types::OwnerId;
use jiff::Timestamp;
use secrecy::SecretString;

/// A node: where it is, and whose.
#[derive(Clone, Debug)]
pub struct ProverRecord {
    /// Its address, such as `http://127.0.0.1:37282`.
    pub address: String,
    /// Who brought it.
    pub owner: OwnerId,
    /// Whether it proves for everybody; else for its owner alone.
    pub shared: bool,
    /// Whether an administrator brought it: then it is reached wherever it is, else at public addresses alone.
    pub trusted: bool,
    /// The node's shared secret. Never printed.
    pub secret: Option<SecretString>,
    /// When it was registered.
    pub added_at: Timestamp,
}
