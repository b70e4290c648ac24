//! Verification: the one place that decides whether a proof is one.

mod mock;
mod sp1;

use coprocessor_types::{Backend, ProofKind};
use std::sync::Arc;

pub use mock::MockVerifier;
pub use sp1::{CIRCUIT_VERSION, Sp1OnChain, Sp1SmallVerifier, sp1_on_chain, sp1_vkey_hash};

/// Checks proofs of some kinds.
pub trait ProofVerifier: Send + Sync + 'static {
    /// Whether it can check that kind for circuits of that backend.
    fn verifies(&self, backend: Backend, kind: ProofKind) -> bool;

    /// Whether `proof` proves, under `verifying_key`, exactly `public_inputs` (`root ‖ output`). Sizes and versions are taken
    /// from what is trusted (the key, this build), never from the proof. `circuit` is the circuit's digest, which only mock
    /// proofs need.
    ///
    /// # Errors
    /// Why it does not.
    fn verify(&self, claim: &Claim<'_>) -> Result<(), VerifyError>;
}

/// Several verifiers as one: each claim goes to the first that knows its kind.
#[derive(Clone, Default)]
pub struct Verifiers(Vec<Arc<dyn ProofVerifier>>);

impl Verifiers {
    /// These, in this order.
    pub fn new(verifiers: Vec<Arc<dyn ProofVerifier>>) -> Self {
        Self(verifiers)
    }

    /// What needs no SP1 SDK: [`MockVerifier`] and [`Sp1SmallVerifier`].
    pub fn small() -> Self {
        Self(vec![Arc::new(Sp1SmallVerifier::default()), Arc::new(MockVerifier)])
    }

    /// Adds one behind the others.
    #[must_use]
    pub fn and(mut self, verifier: Arc<dyn ProofVerifier>) -> Self {
        self.0.push(verifier);
        self
    }

    fn find(&self, backend: Backend, kind: ProofKind) -> Option<&dyn ProofVerifier> {
        self.0.iter().find(|verifier| verifier.verifies(backend, kind)).map(AsRef::as_ref)
    }
}

impl ProofVerifier for Verifiers {
    fn verifies(&self, backend: Backend, kind: ProofKind) -> bool {
        self.find(backend, kind).is_some()
    }

    fn verify(&self, claim: &Claim<'_>) -> Result<(), VerifyError> {
        match self.find(claim.backend, claim.kind) {
            Some(verifier) => verifier.verify(claim),
            None => Err(VerifyError::Unsupported { backend: claim.backend, kind: claim.kind }),
        }
    }
}

/// What a proof is claimed to prove.
#[derive(Clone, Copy, Debug)]
pub struct Claim<'a> {
    /// The circuit's proving system.
    pub backend: Backend,
    /// The form of proof that was asked for. A proof of another form is refused.
    pub kind: ProofKind,
    /// The circuit's digest.
    pub circuit: coprocessor_types::BlobDigest,
    /// The circuit's verifying key in its backend's encoding; empty for mock.
    pub verifying_key: &'a [u8],
    /// The proof in its backend's encoding.
    pub proof: &'a [u8],
    /// `root ‖ output`.
    pub public_inputs: &'a [u8],
}

/// Why a proof is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// Nothing here can check it.
    #[error("this build cannot verify {kind} proofs of {backend} circuits")]
    Unsupported {
        /// The circuit's proving system.
        backend: Backend,
        /// The form.
        kind: ProofKind,
    },
    /// The bytes are not a proof of that form.
    #[error("the bytes are not a {kind} proof: {reason}")]
    Malformed {
        /// The form expected.
        kind: ProofKind,
        /// What is wrong.
        reason: String,
    },
    /// The verifying key cannot be read.
    #[error("the verifying key cannot be read: {reason}")]
    BadKey {
        /// What is wrong.
        reason: String,
    },
    /// The proof was made by another version of the proving system.
    #[error("the proof was made by version {got}, this build verifies {expected}")]
    Version {
        /// The proof's.
        got: String,
        /// This build's.
        expected: String,
    },
    /// The public inputs are not those the proof binds.
    #[error("the proof binds other public inputs")]
    PublicInputs,
    /// The proof does not hold.
    #[error("the proof does not hold: {reason}")]
    Rejected {
        /// What the verifier said.
        reason: String,
    },
}
