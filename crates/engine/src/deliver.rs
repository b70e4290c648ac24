//! delivering → delivered: the controller receives the proof. What it writes, and the state, are one transaction.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use coprocessor_sandbox::Export;
use coprocessor_store::{EventKind, Stage, StepOutcome, Task};
use coprocessor_types::PublicInputs;
use serde_json::{Value, json};
use std::sync::Arc;

use crate::{
    Inner,
    controllers::{ControllerCall, ControllerRun, Subject},
    execute::{run_error, step_error},
    failure::{Reason, StepError},
    heartbeat::HeldClaim,
    legacy_proof,
    place::Place,
};

/// Events read at once to find the log of `get_witnesses`.
const EVENTS: usize = 1000;

impl Inner {
    /// Runs `entrypoint` with the proof.
    pub(crate) async fn deliver(
        self: &Arc<Self>,
        task: &Task,
        held: &HeldClaim,
        place: &Place,
    ) -> Result<StepOutcome, StepError> {
        let args = self.delivery(task).await?;
        let recorder = self.recorder(task);
        let call = ControllerCall {
            subject: Subject::Program(task.program),
            controller: task.controller,
            export: Export::Entrypoint,
            args,
            root: task.root,
            recorder: recorder.clone(),
        };
        let ControllerRun { run, write, store_away } = tokio::select! {
            () = held.ended() => return Err(StepError::Superseded),
            run = self.run_step(call, place) => run.map_err(step_error)?,
        };
        self.keep_recording(task, Stage::Deliver, recorder, &run).await;
        let result = run.result.map_err(|error| run_error(&error, &run.log, &run.usage, store_away))?;
        let event = EventKind { name: "delivered".into(), detail: json!({"log": run.log, "usage": run.usage}) };
        Ok(StepOutcome::Delivered { volume: write, result: result.unwrap_or(Value::Null), event })
    }

    /// What `entrypoint` is called with: the fields of Valence v0.4, and the task's own beside them.
    async fn delivery(&self, task: &Task) -> Result<Value, StepError> {
        let missing = |what: &str| StepError::Transient(Reason::new("internal", format!("the task has no {what}")));
        let digest = task.proof.ok_or_else(|| missing("proof"))?;
        let output = task.output.clone().ok_or_else(|| missing("output"))?;
        let inputs = PublicInputs { root: task.root, output: output.to_vec() }.to_bytes();
        let handed = self.handover.for_delivery(task);
        let proof = match handed.proof {
            Some(proof) => proof,
            None => self.store.blob(digest).await?,
        };
        let log = match handed.log {
            Some(log) => log,
            None => self.witness_log(task).await?,
        };
        Ok(json!({
            "success": true,
            "log": log,
            "payload": task.payload,
            "proof": legacy_proof::encode(&proof, &inputs),
            "task": task.id,
            "kind": task.kind,
            "root": task.root,
            "output": STANDARD.encode(&output),
        }))
    }

    /// What `get_witnesses` logged: in the event of the witness that was proved, which is the last.
    async fn witness_log(&self, task: &Task) -> Result<Value, StepError> {
        let (mut log, mut after) = (json!([]), 0);
        loop {
            let events = self.store.events(task.id, after, EVENTS).await?;
            let Some(last) = events.last() else { return Ok(log) };
            after = last.seq;
            let whole = events.len() < EVENTS;
            for event in events.into_iter().filter(|event| event.kind.name == "witness_ready") {
                log = event.kind.detail["log"].clone();
            }
            if whole {
                return Ok(log);
            }
        }
    }
}
