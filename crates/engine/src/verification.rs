//! Proofs handed out, and proofs brought back to be verified.

use bytes::Bytes;
use coprocessor_prover::verify::{Claim, ProofVerifier, VerifyError};
use coprocessor_store::{Program, Scope, StoreError, Task};
use coprocessor_types::{Backend, BlobDigest, ProgramId, ProofKind, PublicInputs, Root, TaskId};
use std::sync::Arc;

use crate::{Caller, Engine, EngineError, controllers::blocking};

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
    /// Whether that root is one of this instance's, old or new.
    pub own_root: bool,
}

impl Engine {
    /// A task's verified proof.
    ///
    /// # Errors
    /// No such task, or another owner's; no proof yet, or no more ([`EngineError::ProofExpired`]).
    pub async fn proof(&self, caller: &Caller, id: TaskId) -> Result<ProofBundle, EngineError> {
        let task = self.own_task(caller, Scope::Read, id).await?;
        let (proof, output) = match (task.proof, task.output.clone()) {
            (Some(proof), Some(output)) => (proof, output),
            (None, Some(_)) => return Err(EngineError::ProofExpired(id)),
            _ => return Err(EngineError::NoProof(id, task.state)),
        };
        // Gone only with its tasks.
        let program = self.inner.store.program(task.program).await?.ok_or(EngineError::UnknownTask(id))?;
        let verifying_key = match program.verifying_key {
            Some(key) => Some(self.inner.store.blob(key).await?),
            None => None,
        };
        let public_inputs = PublicInputs { root: task.root, output: output.to_vec() };
        let proof = self.inner.store.blob(proof).await.map_err(|error| match error {
            // It aged out since the task was read.
            StoreError::BlobMissing(_) => EngineError::ProofExpired(id),
            other => other.into(),
        })?;
        Ok(ProofBundle { task, program, public_inputs, proof, verifying_key })
    }

    /// A program's verifying key.
    ///
    /// # Errors
    /// No such program, or none that the caller sees; not known yet.
    pub async fn verifying_key(&self, caller: &Caller, id: ProgramId) -> Result<(Program, Bytes), EngineError> {
        let program = self.visible(caller, Scope::Read, id).await?;
        let key = program.verifying_key.ok_or(EngineError::NoVerifyingKey(id))?;
        let key = self.inner.store.blob(key).await?;
        Ok((program, key))
    }

    /// Verifies a proof. A proof that does not hold is an answer, not an error.
    ///
    /// # Errors
    /// A program that is unknown, or that the caller does not see, or without a verifying key; public inputs without a root;
    /// a kind this build cannot verify.
    pub async fn verify(&self, caller: &Caller, claim: ProofClaim) -> Result<Verdict, EngineError> {
        caller.require(Scope::Read)?;
        let inputs = PublicInputs::from_bytes(&claim.public_inputs)
            .map_err(|error| EngineError::InvalidRequest(error.to_string()))?;
        let (backend, circuit, verifying_key) = match claim.key {
            ClaimKey::Program(id) if claim.kind == ProofKind::Mock => {
                let program = self.visible(caller, Scope::Read, id).await?;
                (program.backend, program.circuit, Bytes::new())
            }
            ClaimKey::Program(id) => {
                let (program, key) = self.verifying_key(caller, id).await?;
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
                let own_root = self.inner.store.root(inputs.root).await?.is_some();
                Ok(Verdict { refused: verdict.err(), root: inputs.root, own_root })
            }
        }
    }
}
