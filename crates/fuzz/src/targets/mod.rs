//! One file for each parser.

pub(crate) mod api;
pub(crate) mod append;
pub(crate) mod circuit;
pub(crate) mod circuit_input;
pub(crate) mod component_calls;
pub(crate) mod cursor;
pub(crate) mod groth16_json;
pub(crate) mod guest;
pub(crate) mod header;
pub(crate) mod history;
pub(crate) mod host_calls;
pub(crate) mod image;
pub(crate) mod node_answers;
pub(crate) mod node_requests;
pub(crate) mod opening;
pub(crate) mod path;
pub(crate) mod proof;
pub(crate) mod r1cs;
pub(crate) mod settings;
pub(crate) mod solidity;
pub(crate) mod state;
pub(crate) mod trie;
pub(crate) mod types;
pub(crate) mod volume;
pub(crate) mod zkey;

mod circom;
mod edit;
mod rlp;
mod world;
