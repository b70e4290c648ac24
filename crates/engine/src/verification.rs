//! Proofs handed out, and proofs brought back to be verified.

use bytes::Bytes;
use coprocessor_prover::verify::{Claim, ProofVerifier, VerifyError};
use coprocessor_store::{Program, Task};
use coprocessor_types::{Backend, BlobDigest, ProgramId, ProofKind, PublicInputs, Root, TaskId};
use std::sync::Arc;

use crate::{Engine, EngineError, controllers::blocking};

/// A verified proof with all that a verifier needs.
#[derive(Clone, PartialEq, Debug)]
pub struct ProofBundle {
    /// The task.
    pub task: Task,
    /// The program.
    pub program: Program,
    /// `root ‖ output`.
    pub public_inputs: PublicInputs,
    /// The proof in its backend's encoding.
    pub proof: Bytes,
    /// The verifying key in its backend's encoding, where there is one.
    pub verifying_key: Option<Bytes>,
}

/// A proof to verify.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProofClaim {
    /// Against what.
    pub key: ClaimKey,
    /// The form it must have.
    pub kind: ProofKind,
    /// The proof in its backend's encoding.
    pub proof: Bytes,
    /// `root ‖ output` that it must bind.
    pub public_inputs: Bytes,
}

/// What a proof is verified against.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ClaimKey {
    /// A program of this service.
    Program(ProgramId),
    /// A verifying key that comes along.
    Key(Backend, Bytes),
}

/// What verification came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// Why the proof does not hold; `None` when it does.
    pub refused: Option<VerifyError>,
    /// The root in the public inputs.
    pub root: Root,
    /// Whether that root is this instance's own.
    pub own_root: bool,
}

impl Engine {
    /// A task's verified proof.
    ///
    /// # Errors
    /// No such task; no proof yet.
    pub async fn proof(&self, id: TaskId) -> Result<ProofBundle, EngineError> {
        let task = self.task(id).await?;
        let (Some(proof), Some(output)) = (task.proof, task.output.clone()) else {
            return Err(EngineError::NoProof(id, task.state));
        };
        let program = self.known(task.program).await?;
        let verifying_key = match program.verifying_key {
            Some(key) => Some(self.inner.store.blob(key).await?),
            None => None,
        };
        let public_inputs = PublicInputs { root: task.root, output: output.to_vec() };
        let proof = self.inner.store.blob(proof).await?;
        Ok(ProofBundle { task, program, public_inputs, proof, verifying_key })
    }

    /// A program's verifying key.
    ///
    /// # Errors
    /// No such program; not known yet.
    pub async fn verifying_key(&self, id: ProgramId) -> Result<(Program, Bytes), EngineError> {
        let program = self.known(id).await?;
        let key = program.verifying_key.ok_or(EngineError::NoVerifyingKey(id))?;
        let key = self.inner.store.blob(key).await?;
        Ok((program, key))
    }

    /// Verifies a proof. A proof that does not hold is an answer, not an error.
    ///
    /// # Errors
    /// An unknown program, one without a verifying key, public inputs without a root, a kind this build cannot verify.
    pub async fn verify(&self, claim: ProofClaim) -> Result<Verdict, EngineError> {
        let inputs = PublicInputs::from_bytes(&claim.public_inputs)
            .map_err(|error| EngineError::InvalidRequest(error.to_string()))?;
        let (backend, circuit, verifying_key) = match claim.key {
            ClaimKey::Program(id) if claim.kind == ProofKind::Mock => {
                let program = self.known(id).await?;
                (program.backend, program.circuit, Bytes::new())
            }
            ClaimKey::Program(id) => {
                let (program, key) = self.verifying_key(id).await?;
                (program.backend, program.circuit, key)
            }
            ClaimKey::Key(_, _) if claim.kind == ProofKind::Mock => {
                let reason = "a mock proof is verified against a program, it has no verifying key".to_owned();
                return Err(EngineError::InvalidRequest(reason));
            }
            ClaimKey::Key(backend, key) => (backend, BlobDigest::default(), key),
        };
        let inner = Arc::clone(&self.inner);
        let verdict = blocking(move || {
            inner.verifiers.verify(&Claim {
                backend,
                kind: claim.kind,
                circuit,
                verifying_key: &verifying_key,
                proof: &claim.proof,
                public_inputs: &claim.public_inputs,
            })
        })
        .await?;
        match verdict {
            Err(error @ (VerifyError::Unsupported { .. } | VerifyError::BadKey { .. })) => Err(error.into()),
            verdict => {
                Ok(Verdict { refused: verdict.err(), root: inputs.root, own_root: inputs.root == self.inner.root() })
            }
        }
    }
}
