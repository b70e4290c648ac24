//! proving → delivering: a node proves the circuit, and the proof is verified before anything else sees it.

use bytes::Bytes;
use coprocessor_prover::{
    Job, JobEvent, JobKey, NodeError, Proof,
    verify::{Claim, ProofVerifier},
};
use coprocessor_store::{EventKind, Program, StepOutcome, StoreError, Task};
use coprocessor_types::{Backend, BlobDigest, ProgramId, ProofKind, PublicInputs};
use futures::{StreamExt, stream::BoxStream};
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::{
    Inner,
    controllers::blocking,
    execute::step_error,
    failure::{Reason, StepError},
    heartbeat::HeldClaim,
    pool::{Chosen, Wanted},
};

/// Programs whose circuits are remembered.
const PROGRAMS: usize = 10_000;

/// What proving needs to know of a program. None of it changes once it is known, whichever process looks.
#[derive(Clone, Copy)]
struct Circuit {
    program: ProgramId,
    backend: Backend,
    verifying_key: Option<BlobDigest>,
}

/// Circuits of programs that were proved lately.
#[derive(Default)]
pub(crate) struct Circuits(Mutex<HashMap<ProgramId, Circuit>>);

/// Why there is no proof from a node.
enum Missing {
    /// It did not take the job, which another one may. Nobody's failure.
    Refused(NodeError),
    /// Anything else.
    Failed(StepError),
}

impl From<StepError> for Missing {
    fn from(error: StepError) -> Self {
        Self::Failed(error)
    }
}

impl From<StoreError> for Missing {
    fn from(error: StoreError) -> Self {
        Self::Failed(error.into())
    }
}

type JobEvents = BoxStream<'static, Result<JobEvent, NodeError>>;

impl Inner {
    /// Has the task's circuit proved on a node that can, and verifies the proof.
    pub(crate) async fn prove(self: &Arc<Self>, task: &Task, held: &HeldClaim) -> Result<StepOutcome, StepError> {
        let circuit = self.circuit(task).await?;
        let input = match self.handover.witness(task) {
            Some(input) => input,
            None => self.store.blob(task.witness.ok_or_else(|| internal("the task has no witness"))?).await?,
        };
        let mut refusals = Refusals::default();
        let mut joined = self.holder(task).await;
        loop {
            let joins = joined.is_some();
            let node = match joined.take() {
                Some(holder) => holder,
                None => self.choose(task, circuit, &refusals).await?,
            };
            let key = JobKey { task: task.id, fence: task.fence };
            let proof = tokio::select! {
                () = held.ended() => {
                    self.abandon_if_finished(&node, key).await;
                    return Err(StepError::Superseded);
                }
                proof = self.proof_from(&node, task, circuit, input.clone(), joins) => proof,
            };
            match proof {
                Ok(proof) => return self.accept(task, circuit, &node, proof).await,
                Err(Missing::Failed(error)) => return Err(error),
                Err(Missing::Refused(error)) => {
                    node.refused(&error);
                    refusals.add(&node, &error);
                }
            }
        }
    }

    /// The node that has the task's job already, if one does.
    async fn holder(&self, task: &Task) -> Option<Chosen> {
        self.provers.holder(task.node.as_deref()?, &task.owner, task.id).await
    }

    async fn choose(&self, task: &Task, circuit: Circuit, refusals: &Refusals) -> Result<Chosen, StepError> {
        let wanted = Wanted { owner: &task.owner, backend: circuit.backend, kind: task.kind };
        self.provers.choose(wanted, &refusals.addresses).await.map_err(|reason| {
            let reason = refusals.reasons.iter().cloned().chain([reason]).collect::<Vec<_>>().join("; ");
            StepError::Waiting(Reason::new("no_prover", reason))
        })
    }

    /// Stops the job where nobody will want its proof. A claim that another worker has by now is no reason: that one goes on
    /// with the job.
    async fn abandon_if_finished(&self, node: &Chosen, key: JobKey) {
        match self.store.task(key.task).await {
            Ok(Some(task)) if !task.state.is_finished() => {}
            Ok(_) => node.abandon(key),
            Err(error) => tracing::warn!(task = %key.task, %error, "whether its job is still wanted is not known"),
        }
    }

    async fn proof_from(
        &self,
        node: &Chosen,
        task: &Task,
        circuit: Circuit,
        input: Bytes,
        joins: bool,
    ) -> Result<Proof, Missing> {
        if !node.knows(&task.circuit) {
            let holds = node.node().has_circuit(task.circuit).await.map_err(|error| Missing::of(node, error))?;
            if !holds {
                self.upload(node, task, circuit.backend).await?;
            }
            node.set_known(task.circuit);
        }
        // A node elsewhere remembers the fence: it must not see one that a power cut could make us forget. And whoever
        // goes on with the task has to know where its job is. A mock proof made in here is made again as it was.
        let quiet = task.kind == ProofKind::Mock;
        if !(quiet && node.is_in_process()) {
            let detail =
                if joins { json!({"node": node.address(), "joined": true}) } else { json!({"node": node.address()}) };
            let event = EventKind { name: "node_chosen".into(), detail };
            self.store.assign(task.id, task.fence, node.address(), event).await?;
        }
        let events = self.submit(node, task, circuit.backend, input).await?;
        self.follow(node, task, events, quiet).await
    }

    async fn upload(&self, node: &Chosen, task: &Task, backend: Backend) -> Result<(), Missing> {
        let content = self.store.blob(task.circuit).await?;
        let digest = node.node().upload_circuit(backend, content).await.map_err(|error| Missing::of(node, error))?;
        if digest != task.circuit {
            let reason = format!("it holds circuit {digest} instead of {}", task.circuit);
            return Err(Missing::Refused(NodeError::Failed { reason }));
        }
        Ok(())
    }

    async fn submit(&self, node: &Chosen, task: &Task, backend: Backend, input: Bytes) -> Result<JobEvents, Missing> {
        let key = JobKey { task: task.id, fence: task.fence };
        let job = Job { key, circuit: task.circuit, kind: task.kind, input };
        let error = match node.node().prove(job.clone()).await {
            Ok(events) => return Ok(events),
            Err(error) => error,
        };
        match error {
            // It was started again, or dropped the circuit to make room.
            NodeError::UnknownCircuit(_) => {
                node.forget(&task.circuit);
                self.upload(node, task, backend).await?;
                node.set_known(task.circuit);
                node.node().prove(job).await.map_err(|error| Missing::of(node, error))
            }
            // Perhaps only the answer was lost.
            NodeError::Unreachable { .. } => match node.node().has_job(task.id).await {
                Ok(true) => node.node().prove(job).await.map_err(|error| Missing::of(node, error)),
                _ => Err(Missing::of(node, error)),
            },
            error => Err(Missing::of(node, error)),
        }
    }

    /// Follows a job to its end, within the time that a node has for it: to begin, and then to finish.
    async fn follow(&self, node: &Chosen, task: &Task, mut events: JobEvents, quiet: bool) -> Result<Proof, Missing> {
        let address = node.address();
        let limit = self.config.proof_deadlines.of(task.kind);
        let mut deadline = tokio::time::Instant::now() + limit;
        let mut begun = false;
        loop {
            let event = match tokio::time::timeout_at(deadline, events.next()).await {
                Ok(Some(event)) => event,
                Ok(None) => {
                    let reason = "the node ended the stream without a proof".to_owned();
                    Err(NodeError::Unreachable { address: address.to_owned(), reason })
                }
                Err(_) => return Err(self.overdue(node, task, limit).into()),
            };
            // Of a mock proof, which takes no time, the last event alone tells: each event is a commit.
            match event {
                Ok(JobEvent::Queued { ahead }) if ahead > 0 && !quiet => {
                    self.tell(task, "node_queued", json!({"node": address, "ahead": ahead})).await?;
                }
                Ok(JobEvent::Step { name }) if !quiet => {
                    self.tell(task, "proof_step", json!({"node": address, "step": name})).await?;
                }
                Ok(JobEvent::Started) => {
                    deadline = tokio::time::Instant::now() + limit;
                    begun = true;
                }
                Ok(JobEvent::Queued { .. } | JobEvent::Step { .. }) => {}
                Ok(JobEvent::Done(proof)) => return Ok(proof),
                // It gave back what it had not begun: no attempt was made.
                Err(error @ NodeError::Draining) => return Err(Missing::Refused(error)),
                Err(error) => {
                    if matches!(error, NodeError::Unreachable { .. } | NodeError::Unauthorized { .. }) {
                        node.lost(error.to_string());
                    }
                    // One lost connection is that of many tasks, and those that only waited there were not what killed the
                    // node. If it lives, it still has the job when it is looked for.
                    if !begun && matches!(error, NodeError::Unreachable { .. }) {
                        return Err(StepError::Waiting(Reason::new(error.code(), error.to_string())).into());
                    }
                    return Err(StepError::node(&error, address).into());
                }
            }
        }
    }

    /// The node took too long: it is told to stop, and another one tries.
    fn overdue(&self, node: &Chosen, task: &Task, limit: Duration) -> StepError {
        let address = node.address();
        let message =
            format!("node {address} made no {} proof within {} s; it was told to stop", task.kind, limit.as_secs());
        node.abandon(JobKey { task: task.id, fence: task.fence });
        node.lost(message.clone());
        StepError::Transient(Reason::new("proof_deadline", message).with("node", json!(address)))
    }

    /// Verifies the proof against the program's verifying key, the task's root and the output it claims.
    async fn accept(
        self: &Arc<Self>,
        task: &Task,
        circuit: Circuit,
        node: &Chosen,
        proof: Proof,
    ) -> Result<StepOutcome, StepError> {
        let verifying_key = self.verifying_key(task, circuit, node).await?;
        let began = Instant::now();
        if let Err(error) = self.verify_proof(task, circuit.backend, verifying_key, &proof).await? {
            let message = format!("node {}: {error}", node.address());
            node.rejected(message.clone());
            // It keeps what it made, and would hand it out to whoever asks for the task's proof again.
            node.abandon(JobKey { task: task.id, fence: task.fence });
            return Err(StepError::Transient(
                Reason::new("proof_rejected", message).with("node", json!(node.address())),
            ));
        }
        node.proved();
        // The proof holds: what it binds is what the circuit committed, on whichever node.
        let wrong = |message| StepError::Deterministic(Reason::new("circuit_wrong_root", message));
        let inputs = PublicInputs::from_bytes(&proof.public_inputs)
            .map_err(|error| wrong(format!("the circuit committed no root: {error}")))?;
        if inputs.root != task.root {
            return Err(wrong(format!("the circuit committed root {}, the task's is {}", inputs.root, task.root)));
        }
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

    /// Whether the proof holds for the public inputs it came with.
    async fn verify_proof(
        self: &Arc<Self>,
        task: &Task,
        backend: Backend,
        verifying_key: Bytes,
        proof: &Proof,
    ) -> Result<Result<(), coprocessor_prover::verify::VerifyError>, StepError> {
        let (inner, kind, circuit) = (Arc::clone(self), task.kind, task.circuit);
        let (bytes, public_inputs) = (proof.bytes.clone(), proof.public_inputs.clone());
        let verify = move || {
            inner.verifiers.verify(&Claim {
                backend,
                kind,
                circuit,
                verifying_key: &verifying_key,
                proof: &bytes,
                public_inputs: &public_inputs,
            })
        };
        // A mock proof is verified faster than a thread is found for it.
        if kind == ProofKind::Mock { Ok(verify()) } else { blocking(verify).await.map_err(step_error) }
    }

    /// The program's verifying key. Where it is not recorded it is made now: in this process if this build can, else by
    /// the node, whose word is then taken once and for all. Mock proofs have none.
    async fn verifying_key(self: &Arc<Self>, task: &Task, circuit: Circuit, node: &Chosen) -> Result<Bytes, StepError> {
        if task.kind == ProofKind::Mock {
            return Ok(Bytes::new());
        }
        if let Some(key) = circuit.verifying_key {
            return Ok(self.store.blob(key).await?);
        }
        let key = match self.set_up_here(circuit.backend, task.circuit).await.map_err(step_error)? {
            Some(key) => key,
            None => {
                let setup = node.node().set_up(task.circuit).await;
                setup.map_err(|error| StepError::node(&error, node.address()))?.verifying_key
            }
        };
        let digest = self.store.put_blob(key).await?;
        let program = self.store.set_verifying_key(circuit.program, digest).await?;
        let recorded = program.and_then(|program| program.verifying_key).ok_or(StepError::Superseded)?;
        Ok(self.store.blob(recorded).await?)
    }

    async fn tell(&self, task: &Task, name: &str, detail: Value) -> Result<(), StepError> {
        let event = EventKind { name: name.into(), detail };
        Ok(self.store.progress(task.id, task.fence, event).await?)
    }

    /// What proving needs to know of the task's program; from memory where that is complete.
    async fn circuit(&self, task: &Task) -> Result<Circuit, StepError> {
        if let Some(known) = self.circuits.get(&task.program)
            && (known.verifying_key.is_some() || task.kind == ProofKind::Mock)
        {
            return Ok(known);
        }
        let program = self.store.program(task.program).await?;
        // A program is removed only with its tasks.
        let Program { id, backend, verifying_key, .. } = program.ok_or(StepError::Superseded)?;
        let circuit = Circuit { program: id, backend, verifying_key };
        self.circuits.put(circuit);
        Ok(circuit)
    }
}

impl Circuits {
    fn get(&self, program: &ProgramId) -> Option<Circuit> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(program).copied()
    }

    fn put(&self, circuit: Circuit) {
        let mut circuits = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if circuits.len() >= PROGRAMS {
            circuits.clear();
        }
        circuits.insert(circuit.program, circuit);
    }
}

impl Missing {
    /// What a node said instead of taking a job.
    fn of(node: &Chosen, error: NodeError) -> Self {
        if error.is_deterministic() {
            Self::Failed(StepError::node(&error, node.address()))
        } else {
            Self::Refused(error)
        }
    }
}

/// Nodes that did not take the job.
#[derive(Default)]
struct Refusals {
    addresses: Vec<String>,
    reasons: Vec<String>,
}

impl Refusals {
    fn add(&mut self, node: &Chosen, error: &NodeError) {
        self.addresses.push(node.address().to_owned());
        self.reasons.push(format!("{}: {error}", node.address()));
    }
}

fn internal(message: &str) -> StepError {
    StepError::Transient(Reason::new("internal", message))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
