//! Core proofs, by the SDK's own verifier.

use crate::Circuits;
use coprocessor_prover::verify::{Claim, ProofVerifier, VerifyError};
use coprocessor_types::{Backend, ProofKind};
use sp1_sdk::{SP1_CIRCUIT_VERSION, SP1Proof, SP1ProofWithPublicValues, SP1VerifyingKey};

/// Verifies SP1 core proofs. An attacker who chooses the proof's bytes cannot have it accepted for another circuit, another
/// root or another output: all three come from the claim, and the proof must bind them.
#[derive(Clone, Default)]
pub struct Sp1CoreVerifier {
    circuits: Circuits,
}

impl Sp1CoreVerifier {
    /// Shares the SDK's tables with `circuits`.
    pub fn new(circuits: Circuits) -> Self {
        Self { circuits }
    }
}

impl ProofVerifier for Sp1CoreVerifier {
    fn verifies(&self, backend: Backend, kind: ProofKind) -> bool {
        backend == Backend::Sp1 && kind == ProofKind::Core
    }

    fn verify(&self, claim: &Claim<'_>) -> Result<(), VerifyError> {
        if !self.verifies(claim.backend, claim.kind) {
            return Err(VerifyError::Unsupported { backend: claim.backend, kind: claim.kind });
        }
        let key: SP1VerifyingKey = read_all(claim.verifying_key).map_err(|reason| VerifyError::BadKey { reason })?;
        let proof: SP1ProofWithPublicValues =
            read_all(claim.proof).map_err(|reason| VerifyError::Malformed { kind: claim.kind, reason })?;
        if !matches!(proof.proof, SP1Proof::Core(_)) {
            return Err(VerifyError::Malformed { kind: claim.kind, reason: "it has another form".into() });
        }
        if proof.sp1_version != SP1_CIRCUIT_VERSION {
            return Err(VerifyError::Version { got: proof.sp1_version, expected: SP1_CIRCUIT_VERSION.into() });
        }
        if proof.public_values.as_slice() != claim.public_inputs {
            return Err(VerifyError::PublicInputs);
        }
        self.circuits.verify(&proof, &key).map_err(|reason| VerifyError::Rejected { reason })
    }
}

/// Bincode of exactly these bytes: nothing left over, and no allocation beyond their number.
fn read_all<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    use bincode::Options;
    bincode::DefaultOptions::new()
        .with_fixint_encoding()
        .with_limit(bytes.len() as u64)
        .reject_trailing_bytes()
        .deserialize(bytes)
        .map_err(|error| error.to_string())
}
