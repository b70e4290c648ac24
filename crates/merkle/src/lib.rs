//! The tree the coprocessor root is the root of: openings and their verification.
//!
//! `no_std` with `alloc`; the very same code runs in the service that makes openings and in the circuits that check
//! them. All hashes are SHA-256, which both the zkVM and the EVM have a precompile for:
//!
//! ```text
//! empty subtree   0^32
//! leaf            H(0x00 ‖ key ‖ value)
//! node            H(0x01 ‖ left ‖ right)
//! ```
//!
//! A subtree that holds one leaf is that leaf's hash, so an opening has about log2 n siblings. A key's bits, from the
//! most significant of its first byte on, lead from the root down: 0 is left, 1 is right.
//!
//! There are two kinds of tree. A domain's tree holds its blocks under [`block_key`]; the root tree holds each domain
//! under its id and this instance under [`instance_key`].
//!
//! | tree | key | value |
//! |---|---|---|
//! | domain | the block number's 64 bits, least significant first, zeros after | `H(0x02 ‖ number ‖ state_root ‖ H(payload) ‖ trust)` |
//! | root | domain id | `H(0x03 ‖ domain_root)` |
//! | root | `H("coprocessor/instance")` | the instance's random identity |
//!
//! [`history`] keeps every version of a tree; [`BlockAppend`] shows that one root is another with one more block.
//!
//! What a verifier here takes on trust is the root, and that whoever made the root built the tree after these rules.
#![no_std]

extern crate alloc;

mod append;
mod block;
mod hash;
pub mod history;
mod opening;
mod tree;

pub use append::{AppendError, BlockAppend};
pub use block::{instance_root, verify_block, verify_instance};
pub use hash::{
    EMPTY, Key, Value, block_key, block_value, domain_key, domain_value, instance_key, leaf_hash, node_hash,
};
pub use opening::{DOMAIN_DEPTH, Opening, OpeningError, Place, ROOT_DEPTH, opened_root};
pub use tree::Tree;
