//! queued → executing → proving: the controller makes the witness.

use coprocessor_sandbox::{Export, RunError, Usage};
use coprocessor_store::{EventKind, StepOutcome, Task};
use coprocessor_types::{CircuitInput, OpenedWitness, Root, Witness};
use serde_json::{Value, json};
use std::sync::Arc;

use crate::{
    EngineError, Inner,
    controllers::{ControllerCall, ControllerRun, Subject},
    failure::{Reason, StepError},
    heartbeat::HeldClaim,
};

impl Inner {
    /// Runs `get_witnesses` and encodes the circuit's input at the task's root.
    pub(crate) async fn execute(self: &Arc<Self>, task: &Task, held: &HeldClaim) -> Result<StepOutcome, StepError> {
        let call = ControllerCall {
            subject: Subject::Program(task.program),
            controller: task.controller,
            export: Export::GetWitnesses,
            args: task.args.clone(),
            root: task.root,
        };
        let ControllerRun { run, write, store_away } = tokio::select! {
            () = held.ended() => return Err(StepError::Superseded),
            run = self.run_controller(call) => run.map_err(step_error)?,
        };
        let result = run.result.map_err(|error| run_error(&error, &run.log, &run.usage, store_away))?;
        let witnesses = parse(result).map_err(|message| {
            let reason = Reason::new("witness_malformed", message);
            StepError::Deterministic(reason.with("log", json!(run.log)).with("usage", json!(run.usage)))
        })?;
        let count = witnesses.len();
        let input = self.circuit_input(task.root, witnesses).map_err(step_error)?;
        let event = EventKind {
            name: "witness_ready".into(),
            detail: json!({"log": run.log, "usage": run.usage, "witnesses": count, "bytes": input.len()}),
        };
        Ok(StepOutcome::Executed { witness: input.into(), volume: write, event })
    }

    /// The witness with its openings, encoded. State proofs are refused: their domains are not registered here.
    pub(crate) fn circuit_input(&self, root: Root, witnesses: Vec<Witness>) -> Result<Vec<u8>, EngineError> {
        let opened = witnesses
            .into_iter()
            .map(|witness| match witness {
                Witness::Data(bytes) => Ok(OpenedWitness::Data(bytes)),
                Witness::StateProof(proof) => Err(EngineError::UnknownDomain(proof.domain)),
            })
            .collect::<Result<_, _>>()?;
        let input = CircuitInput { root, witnesses: opened }.to_bytes();
        let limit = self.config.witness_bytes;
        if input.len() > limit {
            let message = format!("the witness takes {} bytes, the limit is {limit}", input.len());
            return Err(EngineError::Guest { code: "witness_too_large", message, log: Vec::new() });
        }
        Ok(input)
    }
}

/// The list of witnesses that `get_witnesses` returned.
pub(crate) fn parse(result: Option<Value>) -> Result<Vec<Witness>, String> {
    let Some(value) = result else {
        return Err("get_witnesses returned nothing; it must return a list of witnesses".into());
    };
    serde_json::from_value(value).map_err(|error| format!("get_witnesses did not return a list of witnesses: {error}"))
}

/// What a run's failure means for a step.
pub(crate) fn run_error(error: &RunError, log: &[String], usage: &Usage, store_away: bool) -> StepError {
    if store_away {
        return StepError::Waiting(Reason::new("store_unavailable", error.to_string()));
    }
    StepError::guest(error, log, usage)
}

/// What an engine's refusal means for a step.
pub(crate) fn step_error(error: EngineError) -> StepError {
    match error {
        EngineError::Store(error) => error.into(),
        EngineError::Guest { code, message, log } => {
            StepError::Deterministic(Reason::new(code, message).with("log", json!(log)))
        }
        EngineError::UnknownDomain(_) => StepError::Deterministic(Reason::new("unknown_domain", error.to_string())),
        EngineError::InvalidController(_) => {
            StepError::Deterministic(Reason::new("invalid_controller", error.to_string()))
        }
        other => StepError::Transient(Reason::new("internal", other.to_string())),
    }
}
