//! Admission: a request becomes a task, durable before it is acknowledged.

use coprocessor_prover::verify::ProofVerifier;
use coprocessor_store::{Admission, Idempotency, NewTask, StoreError, Task};
use coprocessor_types::{BlobDigest, OwnerId, ProgramId, ProofKind, Root, TaskId};
use serde_json::{Value, json};

use crate::{Engine, EngineError};

/// A request to prove.
#[derive(Clone, PartialEq, Debug)]
pub struct TaskRequest {
    /// The program.
    pub program: ProgramId,
    /// Who asks.
    pub owner: OwnerId,
    /// Arguments for `get_witnesses`.
    pub args: Value,
    /// Handed to `entrypoint` with the proof.
    pub payload: Value,
    /// The form of proof; by default core where a real prover is known, else mock.
    pub kind: Option<ProofKind>,
    /// The root to pin to; the current one by default.
    pub root: Option<Root>,
    /// Makes a repeated request the same task.
    pub idempotency_key: Option<String>,
}

impl Engine {
    /// Checks a request and writes it as a task. When this returns, the task survives anything.
    ///
    /// # Errors
    /// An unknown program or root; a kind of proof that this service could not verify; an idempotency key that belongs to
    /// another request.
    pub async fn admit(&self, request: TaskRequest) -> Result<Task, EngineError> {
        let inner = &self.inner;
        let program =
            inner.store.program(request.program).await?.ok_or(EngineError::UnknownProgram(request.program))?;
        let kind = request.kind.unwrap_or_else(|| inner.provers.default_kind(program.backend));
        self.check_kind(program.backend, kind)?;
        let root = inner.pin(request.root)?;
        let idempotency = request.idempotency_key.map(|key| {
            let asked = json!([request.args, request.payload, request.kind, request.root.map(|root| root.to_string())]);
            Idempotency { key, request: BlobDigest::of(asked.to_string().as_bytes()) }
        });
        let task = NewTask {
            id: TaskId::now(),
            program: program.id,
            owner: request.owner,
            controller: program.controller,
            circuit: program.circuit,
            kind,
            root,
            args: request.args,
            payload: request.payload,
            idempotency,
        };
        match inner.store.admit(task).await {
            Ok(Admission::Admitted(task)) => {
                tracing::info!(task = %task.id, program = %task.program, kind = %task.kind, "task admitted");
                Ok(task)
            }
            Ok(Admission::Repeated(task)) => Ok(task),
            Ok(Admission::KeyReused(task)) => Err(EngineError::IdempotencyKeyReused(task)),
            Err(StoreError::UnknownProgram(id)) => Err(EngineError::UnknownProgram(id)),
            Err(error) => Err(error.into()),
        }
    }

    fn check_kind(&self, backend: coprocessor_types::Backend, kind: ProofKind) -> Result<(), EngineError> {
        let unsupported = |reason: &str| EngineError::UnsupportedKind { backend, kind, reason: reason.to_owned() };
        if !backend.offers(kind) {
            return Err(unsupported("the proving system has no such form"));
        }
        if !self.inner.verifiers.verifies(backend, kind) {
            return Err(unsupported(
                "this build could not verify them; core proofs need the cargo feature `sp1-core` (on by default)",
            ));
        }
        Ok(())
    }
}

impl crate::Inner {
    /// The root a request is pinned to: the current one, which is the only one while no domain is registered.
    pub(crate) fn pin(&self, asked: Option<Root>) -> Result<Root, EngineError> {
        let current = self.root();
        match asked {
            Some(root) if root != current => Err(EngineError::UnknownRoot(root)),
            _ => Ok(current),
        }
    }
}
