//! Verification of proofs in snarkjs's JSON.

use coprocessor_groth16::{Proof, PublicValues, VerifyingKey};
use coprocessor_prover::verify::{Claim, ProofVerifier, VerifyError};
use coprocessor_types::{Backend, ProofKind, PublicInputs};

/// Checks Groth16 proofs of circom circuits.
#[derive(Clone, Copy, Debug, Default)]
pub struct Groth16Verifier;

impl ProofVerifier for Groth16Verifier {
    fn verifies(&self, backend: Backend, kind: ProofKind) -> bool {
        backend == Backend::Groth16 && kind == ProofKind::Groth16
    }

    fn verify(&self, claim: &Claim<'_>) -> Result<(), VerifyError> {
        if !self.verifies(claim.backend, claim.kind) {
            return Err(VerifyError::Unsupported { backend: claim.backend, kind: claim.kind });
        }
        let key = VerifyingKey::from_json(claim.verifying_key);
        let key = key.map_err(|error| VerifyError::BadKey { reason: error.to_string() })?;
        let malformed = |reason: String| VerifyError::Malformed { kind: claim.kind, reason };
        let proof = Proof::from_json(claim.proof).map_err(|error| malformed(error.to_string()))?;
        // Values that are not canonical are no values: none of them passes as another.
        let values = PublicInputs::from_bytes(claim.public_inputs).map_err(|_| VerifyError::PublicInputs)?;
        let values = PublicValues::from_public_inputs(&values).map_err(|_| VerifyError::PublicInputs)?;
        key.verify(&proof, &values).map_err(|error| VerifyError::Rejected { reason: error.to_string() })
    }
}
