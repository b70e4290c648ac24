//! proving → delivering: a node proves the circuit, and the proof is verified before anything else sees it.

use bytes::Bytes;
use coprocessor_prover::{
    Job, JobEvent, JobKey, NodeError, Proof, ProverNode,
    verify::{Claim, ProofVerifier},
};
use coprocessor_store::{EventKind, Program, StepOutcome, Task};
use coprocessor_types::{ProofKind, PublicInputs};
use futures::StreamExt;
use serde_json::{Value, json};
use std::{sync::Arc, time::Instant};

use crate::{
    Inner,
    controllers::blocking,
    execute::step_error,
    failure::{Reason, StepError},
    heartbeat::HeldClaim,
};

impl Inner {
    /// Has the task's circuit proved on a node that can, and verifies the proof.
    pub(crate) async fn prove(self: &Arc<Self>, task: &Task, held: &HeldClaim) -> Result<StepOutcome, StepError> {
        let program = self.store.program(task.program).await?;
        let program = program.ok_or(StepError::Superseded)?;
        let input = task.witness.ok_or_else(|| internal("the task has no witness"))?;
        let input = self.store.blob(input).await?;
        let node = self
            .provers
            .choose(program.backend, task.kind)
            .await
            .map_err(|reason| StepError::Waiting(Reason::new("no_prover", reason)))?;
        let key = JobKey { task: task.id, fence: task.fence };
        let proof = tokio::select! {
            () = held.ended() => {
                self.abandon(&node, key).await;
                return Err(StepError::Superseded);
            }
            proof = self.proof_from(&node, task, &program, key, input) => proof?,
        };
        self.accept(task, &program, &node, proof).await
    }

    /// Tells the node that nobody waits for the job any more.
    async fn abandon(&self, node: &Arc<dyn ProverNode>, key: JobKey) {
        if let Err(error) = node.cancel(key).await {
            tracing::warn!(task = %key.task, node = node.address(), %error, "a job could not be cancelled on its node");
        }
    }

    async fn proof_from(
        &self,
        node: &Arc<dyn ProverNode>,
        task: &Task,
        program: &Program,
        key: JobKey,
        input: Bytes,
    ) -> Result<Proof, StepError> {
        let address = node.address().to_owned();
        // Of a mock proof, which takes no time, the last event alone tells: each event is a commit.
        if task.kind != ProofKind::Mock {
            self.tell(task, "node_chosen", json!({"node": address})).await?;
        }
        let failed = |error: NodeError| StepError::node(&error, &address);
        if !node.has_circuit(task.circuit).await.map_err(failed)? {
            let circuit = self.store.blob(task.circuit).await?;
            let digest = node.upload_circuit(program.backend, circuit).await.map_err(failed)?;
            if digest != task.circuit {
                return Err(internal(&format!("node {address} holds circuit {digest} instead of {}", task.circuit)));
            }
        }
        // A node elsewhere remembers the fence: it must not see one that a power cut could make us forget. A mock proof
        // is made again as it was.
        if task.kind != ProofKind::Mock {
            self.store.flush().await?;
        }
        let job = Job { key, circuit: task.circuit, kind: task.kind, input };
        let mut events = node.prove(job).await.map_err(failed)?;
        while let Some(event) = events.next().await {
            match event.map_err(|error| lost(&error, &address))? {
                JobEvent::Queued { ahead } if ahead > 0 && task.kind != ProofKind::Mock => {
                    self.tell(task, "node_queued", json!({"node": address, "ahead": ahead})).await?;
                }
                JobEvent::Queued { .. } | JobEvent::Started => {}
                JobEvent::Step { name } => {
                    if task.kind != ProofKind::Mock {
                        self.tell(task, "proof_step", json!({"node": address, "step": name})).await?;
                    }
                }
                JobEvent::Done(proof) => return Ok(proof),
            }
        }
        let reason = "the node ended the stream without a proof".to_owned();
        Err(lost(&NodeError::Unreachable { address: address.clone(), reason }, &address))
    }

    /// Verifies the proof against the program's verifying key, the task's root and the output it claims.
    async fn accept(
        self: &Arc<Self>,
        task: &Task,
        program: &Program,
        node: &Arc<dyn ProverNode>,
        proof: Proof,
    ) -> Result<StepOutcome, StepError> {
        let rejected = |message: String| {
            StepError::Transient(Reason::new("proof_rejected", message).with("node", json!(node.address())))
        };
        let inputs = PublicInputs::from_bytes(&proof.public_inputs).map_err(|error| rejected(error.to_string()))?;
        if inputs.root != task.root {
            return Err(rejected(format!("the proof is bound to root {}, the task to {}", inputs.root, task.root)));
        }
        let verifying_key = self.verifying_key(task, program, node).await?;
        let began = Instant::now();
        let (inner, backend, kind, circuit) = (Arc::clone(self), program.backend, task.kind, task.circuit);
        let (bytes, public_inputs) = (proof.bytes.clone(), proof.public_inputs.clone());
        let verdict = blocking(move || {
            inner.verifiers.verify(&Claim {
                backend,
                kind,
                circuit,
                verifying_key: &verifying_key,
                proof: &bytes,
                public_inputs: &public_inputs,
            })
        })
        .await
        .map_err(step_error)?;
        verdict.map_err(|error| rejected(format!("node {}: {error}", node.address())))?;
        let event = EventKind {
            name: "proof_verified".into(),
            detail: json!({
                "node": node.address(),
                "cycles": proof.cycles,
                "proof_bytes": proof.bytes.len(),
                "set_up_ms": millis(proof.set_up),
                "proving_ms": millis(proof.proving),
                "verifying_ms": millis(began.elapsed()),
                "peak_memory": proof.peak_memory,
            }),
        };
        Ok(StepOutcome::Proved { proof: proof.bytes, output: inputs.output.into(), event })
    }

    /// The program's verifying key. Where it is not recorded it is made now: in this process if this build can, else by
    /// the node, whose word is then taken once and for all. Mock proofs have none.
    async fn verifying_key(
        self: &Arc<Self>,
        task: &Task,
        program: &Program,
        node: &Arc<dyn ProverNode>,
    ) -> Result<Bytes, StepError> {
        if task.kind == ProofKind::Mock {
            return Ok(Bytes::new());
        }
        if let Some(key) = program.verifying_key {
            return Ok(self.store.blob(key).await?);
        }
        let key = match self.set_up_here(task.circuit).await.map_err(step_error)? {
            Some(key) => key,
            None => {
                let setup = node.set_up(task.circuit).await;
                setup.map_err(|error| StepError::node(&error, node.address()))?.verifying_key
            }
        };
        let digest = self.store.put_blob(key).await?;
        let program = self.store.set_verifying_key(program.id, digest).await?;
        let recorded = program.and_then(|program| program.verifying_key).ok_or(StepError::Superseded)?;
        Ok(self.store.blob(recorded).await?)
    }

    async fn tell(&self, task: &Task, name: &str, detail: Value) -> Result<(), StepError> {
        let event = EventKind { name: name.into(), detail };
        Ok(self.store.progress(task.id, task.fence, event).await?)
    }
}

/// A node that dies while it proves counts as an attempt: the task may be what kills it.
fn lost(error: &NodeError, address: &str) -> StepError {
    match StepError::node(error, address) {
        StepError::Waiting(reason) => StepError::Transient(reason),
        other => other,
    }
}

fn internal(message: &str) -> StepError {
    StepError::Transient(Reason::new("internal", message))
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
