//! delivering → delivered: the controller receives the proof. What it writes, and the state, are one transaction.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use coprocessor_sandbox::Export;
use coprocessor_store::{EventKind, StepOutcome, Task};
use coprocessor_types::PublicInputs;
use serde_json::{Value, json};
use std::sync::Arc;

use crate::{
    Inner,
    controllers::{ControllerCall, ControllerRun},
    execute::step_error,
    failure::{Reason, StepError},
    heartbeat::HeldClaim,
    legacy_proof,
};

/// Events read to find the log of `get_witnesses`.
const EVENTS: usize = 1000;

impl Inner {
    /// Runs `entrypoint` with the proof.
    pub(crate) async fn deliver(self: &Arc<Self>, task: &Task, held: &HeldClaim) -> Result<StepOutcome, StepError> {
        let args = self.delivery(task).await?;
        let call = ControllerCall {
            program: task.program,
            controller: task.controller,
            export: Export::Entrypoint,
            args,
            root: task.root,
        };
        let ControllerRun { run, write } = tokio::select! {
            () = held.ended() => return Err(StepError::Superseded),
            run = self.run_controller(call) => run.map_err(step_error)?,
        };
        let result = run.result.map_err(|error| StepError::guest(&error, &run.log, &run.usage))?;
        let event = EventKind { name: "delivered".into(), detail: json!({"log": run.log, "usage": run.usage}) };
        Ok(StepOutcome::Delivered { volume: write, result: result.unwrap_or(Value::Null), event })
    }

    /// What `entrypoint` is called with: the fields of Valence v0.4, and the task's own beside them.
    async fn delivery(&self, task: &Task) -> Result<Value, StepError> {
        let missing = |what: &str| StepError::Transient(Reason::new("internal", format!("the task has no {what}")));
        let proof = self.store.blob(task.proof.ok_or_else(|| missing("proof"))?).await?;
        let output = task.output.clone().ok_or_else(|| missing("output"))?;
        let inputs = PublicInputs { root: task.root, output: output.to_vec() }.to_bytes();
        Ok(json!({
            "success": true,
            "log": self.witness_log(task).await?,
            "payload": task.payload,
            "proof": legacy_proof::encode(&proof, &inputs),
            "task": task.id,
            "kind": task.kind,
            "root": task.root,
            "output": STANDARD.encode(&output),
        }))
    }

    async fn witness_log(&self, task: &Task) -> Result<Value, StepError> {
        let events = self.store.events(task.id, 0, EVENTS).await?;
        let ready = events.into_iter().rev().find(|event| event.kind.name == "witness_ready");
        Ok(ready.map_or_else(|| json!([]), |event| event.kind.detail["log"].clone()))
    }
}
