//! queued → executing → proving: the controller makes the witness.

use coprocessor_sandbox::{Export, RunError, Usage};
use coprocessor_store::{EventKind, Stage, StepOutcome, Task};
use serde_json::json;
use std::sync::Arc;

use crate::{
    EngineError, Inner,
    controllers::{ControllerCall, ControllerRun, Subject},
    failure::{Reason, StepError},
    heartbeat::HeldClaim,
    place::Place,
    witness::parse,
};

impl Inner {
    /// Runs `get_witnesses` and encodes the circuit's input at the task's root.
    pub(crate) async fn execute(
        self: &Arc<Self>,
        task: &Task,
        held: &HeldClaim,
        place: &Place,
    ) -> Result<StepOutcome, StepError> {
        let recorder = self.recorder(task);
        let call = ControllerCall {
            subject: Subject::Program(task.program),
            controller: task.controller,
            export: Export::GetWitnesses,
            args: task.args.clone(),
            root: task.root,
            recorder: recorder.clone(),
        };
        let ControllerRun { run, write, store_away } = tokio::select! {
            () = held.ended() => return Err(StepError::Superseded),
            run = self.run_step(call, place) => run.map_err(step_error)?,
        };
        self.keep_recording(task, Stage::Execute, recorder, &run).await;
        let result = run.result.map_err(|error| run_error(&error, &run.log, &run.usage, store_away))?;
        let witnesses = parse(result).map_err(|message| {
            let reason = Reason::new("witness_malformed", message);
            StepError::Deterministic(reason.with("log", json!(run.log)).with("usage", json!(run.usage)))
        })?;
        let count = witnesses.len();
        let input = self.circuit_input(task.root, witnesses, &run.log).await.map_err(step_error)?;
        let event = EventKind {
            name: "witness_ready".into(),
            detail: json!({"log": run.log, "usage": run.usage, "witnesses": count, "bytes": input.len()}),
        };
        Ok(StepOutcome::Executed { witness: input.into(), volume: write, event })
    }
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
        EngineError::VolumeBusy(_) => StepError::VolumeConflict,
        EngineError::Guest { code, message, log, .. } => {
            StepError::Deterministic(Reason::new(code, message).with("log", json!(log)))
        }
        EngineError::RootPruned { .. } => StepError::Deterministic(Reason::new("root_pruned", error.to_string())),
        EngineError::InvalidController(_) => {
            StepError::Deterministic(Reason::new("invalid_controller", error.to_string()))
        }
        other => StepError::Transient(Reason::new("internal", other.to_string())),
    }
}
