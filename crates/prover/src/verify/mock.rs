//! Mock proofs: see [`crate::mock::proof`].

use coprocessor_types::{Backend, ProofKind};

use super::{Claim, ProofVerifier, VerifyError};
use crate::mock::proof;

/// Takes mock proofs where a mock proof was asked for, and nothing else. It shows that the bytes belong to the circuit and
/// the public inputs; that the circuit ever ran it cannot show.
#[derive(Clone, Copy, Debug, Default)]
pub struct MockVerifier;

impl ProofVerifier for MockVerifier {
    fn verifies(&self, _backend: Backend, kind: ProofKind) -> bool {
        kind == ProofKind::Mock
    }

    fn verify(&self, claim: &Claim<'_>) -> Result<(), VerifyError> {
        if claim.kind != ProofKind::Mock {
            return Err(VerifyError::Unsupported { backend: claim.backend, kind: claim.kind });
        }
        match proof::matches(claim.proof, claim.circuit, claim.public_inputs) {
            Ok(true) => Ok(()),
            Ok(false) => {
                Err(VerifyError::Rejected { reason: "it is of another circuit or binds other public inputs".into() })
            }
            Err(error) => Err(VerifyError::Malformed { kind: claim.kind, reason: error.to_string() }),
        }
    }
}
