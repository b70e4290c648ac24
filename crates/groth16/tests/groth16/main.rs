//! The crate by its public interface: the example circuits that are kept beside it, files that were tampered with, and snarkjs.
#![allow(missing_docs)]

mod examples;
mod file;
mod proofs;
mod r1cs;
mod snarkjs;
mod zkey;
