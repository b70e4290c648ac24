//! Groth16 over circuits of circom, behind the seams of the prover.
//!
//! - [`Groth16Backend`] is what a prover node runs: takes bundles, makes witnesses in the sandbox, proves.
//! - [`Groth16Verifier`] is what a coprocessor checks proofs with; it needs nothing of the former.
//!
//! A circuit is a [`coprocessor_groth16::Bundle`]; its verifying key and its proofs are snarkjs's JSON. A witness of its controller is one datum: the JSON
//! of the circuit's inputs, without `root`, which is given here.

mod backend;
mod circuit;
mod verifier;

pub use backend::{Groth16Backend, Groth16Config};
pub use verifier::Groth16Verifier;
