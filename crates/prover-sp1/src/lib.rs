//! SP1: the only crate that knows its SDK.
//!
//! - [`Circuits`] needs no prover and is ready at once: checks ELFs, makes verifying keys, executes, verifies. The
//!   coprocessor links this much, because core proofs are verified by the SDK alone.
//! - [`Sp1Backend`] (feature `prove`) proves, on the CPU by default; it is what a prover node runs.

mod circuits;
mod elf;
mod verifier;

#[cfg(feature = "prove")]
mod backend;
#[cfg(feature = "prove")]
mod engine;

pub use circuits::Circuits;
pub use verifier::Sp1CoreVerifier;

#[cfg(feature = "prove")]
pub use backend::{Sp1Backend, Sp1Config};
#[cfg(feature = "prove")]
pub use engine::Device;

/// The SDK's circuit version: proofs of another do not verify.
pub fn circuit_version() -> &'static str {
    sp1_sdk::SP1_CIRCUIT_VERSION
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_small_verifier_is_of_the_same_circuit_version() {
        assert_eq!(super::circuit_version(), coprocessor_prover::verify::CIRCUIT_VERSION);
    }
}
