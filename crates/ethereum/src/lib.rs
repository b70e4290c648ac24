//! Ethereum's state, for circuits and controllers: from a block to a storage slot, with nothing in between that could be
//! swapped.
//!
//! ```text
//! Block (in the coprocessor root)  ─┐
//! Header (its hash is known)       ─┴→ State → Account → slot
//! ```
//!
//! A circuit takes a [`Block`] from its witnesses, which the circuit SDK has found in the root, and goes on from there:
//!
//! ```no_run
//! use circuit_sdk::{CONTROLLER_ONLY, Witnesses};
//! use coprocessor_ethereum::{Address, Block, Slot, U256};
//!
//! /// Commits how much of the token an account holds, if its balances are the mapping in slot 0.
//! fn circuit(mut witnesses: Witnesses) -> [u8; 32] {
//!     let block = Block::take(&mut witnesses, 1, CONTROLLER_ONLY).unwrap();
//!     let state = block.state().unwrap();
//!     let token = state.account(Address::repeat_byte(0x11)).unwrap().expect("there is no such contract");
//!     let holder = Address::repeat_byte(0x22);
//!     token.slot(Slot::new(U256::ZERO).entry(holder)).unwrap().to_be_bytes()
//! }
//! ```
//!
//! # What whoever makes a proof can't do
//!
//! - Show an account or a slot of another block: a [`State`] has its root from a [`Block`] or a [`Header`], and there is no
//!   other way to make one.
//! - Show a slot of another account: a slot is read from an [`Account`], against the storage root proved of that account.
//! - Show another value, or hide one: what a slot holds, and that it holds nothing, both follow from nodes whose hashes
//!   lead to the root. Nodes that are missing, are left over or have another order than the path's are errors.
//! - Make the reader work without bounds: sizes are checked before anything is kept (see [`StateWitness`]).
//!
//! A [`Header`] says what it hashes to, not that it is a header of the chain: compare [`Header::hash`] with a hash that
//! is trusted.
//!
//! # Keccak
//!
//! In the zkVM `alloy_primitives::keccak256` (here [`keccak256`]) runs on SP1's Keccak permutation, for the whole circuit,
//! whoever calls it; elsewhere it is the crate `sha3`. A circuit that turns on `alloy-primitives`' features `tiny-keccak`
//! or `sha3-keccak` gets the same hashes, slowly.
//!
//! # Formats
//!
//! [`StateWitness`] is the proof inside a `StateProof`, [`BlockPayload`] the payload of a block, [`json`] what the service
//! `state-proof` answers and a controller takes in, [`rpc`] what a node answers.
#![no_std]

extern crate alloc;

mod block;
mod header;
mod hex;
pub mod json;
#[cfg(target_os = "zkvm")]
mod keccak;
mod layout;
mod node;
pub mod rpc;
mod state;
mod trie;
mod witness;

pub use alloy_primitives::{Address, B256, FixedBytes, I256, U256, keccak256};
pub use block::{Block, BlockError, BlockPayload, chain_domain};
pub use header::{Header, HeaderError, MAX_HEADER};
pub use hex::HexBytes;
pub use layout::{Key, LayoutError, Packed, Slot};
pub use state::{Account, State, StateError};
pub use trie::TrieError;
pub use witness::{MAX_NODE, MAX_NODES, MAX_PATH, MAX_SLOTS, StateWitness, WitnessError};
