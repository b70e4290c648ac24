//! Running a program's parts without a task: nothing is kept but what an entrypoint writes.

use bytes::Bytes;
use coprocessor_prover::NodeError;
use coprocessor_sandbox::{Export, Recorder, RunError, Usage};
use coprocessor_store::{Program, Scope, StoreError};
use coprocessor_types::{ProgramId, ProofKind, PublicInputs, Root, Witness};
use serde_json::Value;

use crate::{
    Caller, Engine, EngineError,
    controllers::{ControllerCall, ControllerRun, Subject},
    pool::Wanted,
    turns::conflict_pause,
    witness::parse,
};

/// Times an entrypoint is run again because somebody else wrote to the volume meanwhile.
const CONFLICTS: u32 = 8;

/// A witness that was not kept.
#[derive(Clone, PartialEq, Debug)]
pub struct WitnessReport {
    /// The root it is pinned to.
    pub root: Root,
    /// The witness.
    pub witnesses: Vec<Witness>,
    /// What the controller logged.
    pub log: Vec<String>,
    /// What it used.
    pub usage: Usage,
    /// The recording of its run, where it was asked for.
    pub recording: Option<Bytes>,
}

/// An execution without a proof.
#[derive(Clone, PartialEq, Debug)]
pub struct ExecutionReport {
    /// The root it is pinned to.
    pub root: Root,
    /// The circuit's output.
    pub output: Vec<u8>,
    /// Cycles it took.
    pub cycles: u64,
    /// What the controller logged.
    pub log: Vec<String>,
    /// What the controller used.
    pub usage: Usage,
    /// The recording of the controller's run, where it was asked for.
    pub recording: Option<Bytes>,
}

/// What a call of `entrypoint` came to.
#[derive(Clone, PartialEq, Debug)]
pub struct CallReport {
    /// What it returned.
    pub result: Value,
    /// What it logged.
    pub log: Vec<String>,
    /// What it used.
    pub usage: Usage,
    /// The recording of its run, where it was asked for.
    pub recording: Option<Bytes>,
}

/// What to run without a task.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct DryRun {
    /// Arguments for `get_witnesses`, or for a domain's `get_state_proof`.
    pub args: Value,
    /// The root to pin to; the current one by default.
    pub root: Option<Root>,
    /// Whether the controller's run is to be recorded.
    pub record: bool,
}

impl Engine {
    /// Runs `get_witnesses`; what it writes to its volume is dropped.
    ///
    /// # Errors
    /// A program that is unknown or that the caller does not see; an unknown root; recording what is not the caller's; the
    /// controller's failure.
    pub async fn witness(
        &self,
        caller: &Caller,
        program: ProgramId,
        request: DryRun,
    ) -> Result<WitnessReport, EngineError> {
        let program = self.visible(caller, Scope::Prove, program).await?;
        self.make_witness(caller, &program, request).await
    }

    async fn make_witness(
        &self,
        caller: &Caller,
        program: &Program,
        request: DryRun,
    ) -> Result<WitnessReport, EngineError> {
        let recorder = self.inner.dry_recorder(caller, &program.owner, request.record)?;
        let root = self.inner.pin(request.root).await?;
        let run = self.run(program, Export::GetWitnesses, request.args, root, recorder.clone()).await?;
        let ControllerRun { run, store_away, .. } = run;
        let recording = self.inner.dry_recording(recorder.as_ref(), &run, program.controller).await?;
        let result = run.result.map_err(|error| failed(&error, &run.log, store_away, recording.clone()))?;
        let witnesses = parse(result).map_err(|message| EngineError::Guest {
            code: "witness_malformed",
            message,
            log: run.log.clone(),
            recording: recording.clone(),
        })?;
        Ok(WitnessReport { root, witnesses, log: run.log, usage: run.usage, recording })
    }

    /// Runs `get_witnesses` and then the circuit, without proving.
    ///
    /// # Errors
    /// As for [`Engine::witness`]; the circuit's failure; no node that can execute it.
    pub async fn execute(
        &self,
        caller: &Caller,
        program: ProgramId,
        request: DryRun,
    ) -> Result<ExecutionReport, EngineError> {
        let program = self.visible(caller, Scope::Prove, program).await?;
        let report = self.make_witness(caller, &program, request).await?;
        let recording = report.recording;
        let input = self.inner.circuit_input(report.root, report.witnesses, &report.log).await;
        let input = Bytes::from(input.map_err(|error| recorded(error, &recording))?);
        let provers = &self.inner.provers;
        let kind = provers.default_kind(&caller.owner, program.backend);
        let wanted = Wanted { owner: &caller.owner, backend: program.backend, kind };
        let chosen = match provers.choose(wanted, &[]).await {
            Err(_) if kind != ProofKind::Mock => provers.choose(Wanted { kind: ProofKind::Mock, ..wanted }, &[]).await,
            chosen => chosen,
        };
        let chosen = chosen.map_err(EngineError::NoProver)?;
        let node = chosen.node();
        if !node.has_circuit(program.circuit).await? {
            let circuit = self.inner.store.blob(program.circuit).await?;
            node.upload_circuit(program.backend, circuit).await?;
        }
        let execution = node
            .execute(program.circuit, input, self.inner.config.execution)
            .await
            .map_err(|error| recorded(circuit_failed(error, &report.log), &recording))?;
        let inputs = PublicInputs::from_bytes(&execution.public_inputs)
            .map_err(|error| EngineError::Internal(format!("the circuit committed no root: {error}")))?;
        Ok(ExecutionReport {
            root: inputs.root,
            output: inputs.output,
            cycles: execution.cycles,
            log: report.log,
            usage: report.usage,
            recording,
        })
    }

    /// Runs `entrypoint` with arguments of the caller's; what it writes is kept.
    ///
    /// # Errors
    /// A program that is unknown or not the caller's; the controller's failure; a volume that kept changing; a full store.
    pub async fn call(&self, caller: &Caller, program: ProgramId, args: Value) -> Result<CallReport, EngineError> {
        self.call_with(caller, program, args, false).await
    }

    /// As [`Engine::call`], and records the run.
    ///
    /// # Errors
    /// Besides, where nothing is to be recorded here.
    pub async fn recorded_call(
        &self,
        caller: &Caller,
        program: ProgramId,
        args: Value,
    ) -> Result<CallReport, EngineError> {
        self.call_with(caller, program, args, true).await
    }

    async fn call_with(
        &self,
        caller: &Caller,
        program: ProgramId,
        args: Value,
        record: bool,
    ) -> Result<CallReport, EngineError> {
        let program = self.owned(caller, Scope::Deploy, program).await?;
        self.inner.check_room()?;
        let root = self.inner.current_root().await?.root;
        let _turn = self.inner.turns.take(program.id).await;
        for conflicts in 1..=CONFLICTS {
            let recorder = self.inner.dry_recorder(caller, &program.owner, record)?;
            let run = self.run(&program, Export::Entrypoint, args.clone(), root, recorder.clone()).await;
            if matches!(run, Err(EngineError::VolumeBusy(_))) {
                conflict_pause(conflicts).await;
                continue;
            }
            let ControllerRun { run, write, store_away } = run?;
            let recording = self.inner.dry_recording(recorder.as_ref(), &run, program.controller).await?;
            let result = run.result.map_err(|error| failed(&error, &run.log, store_away, recording.clone()))?;
            if !write.is_empty() {
                match self.inner.store.write_volume(program.id, write).await {
                    Ok(_) => {}
                    Err(StoreError::VolumeConflict { .. }) => {
                        conflict_pause(conflicts).await;
                        continue;
                    }
                    Err(StoreError::UnknownProgram(id)) => return Err(EngineError::UnknownProgram(id)),
                    Err(error) => return Err(error.into()),
                }
            }
            let result = result.unwrap_or(Value::Null);
            return Ok(CallReport { result, log: run.log, usage: run.usage, recording });
        }
        Err(EngineError::VolumeBusy(program.id))
    }

    async fn run(
        &self,
        program: &Program,
        export: Export,
        args: Value,
        root: Root,
        recorder: Option<Recorder>,
    ) -> Result<ControllerRun, EngineError> {
        let subject = Subject::Program(program.id);
        let call = ControllerCall { subject, controller: program.controller, export, args, root, recorder };
        self.inner.run_controller(call).await
    }
}

/// A guest's failure with the recording of the run before it.
fn recorded(error: EngineError, recording: &Option<Bytes>) -> EngineError {
    match error {
        EngineError::Guest { code, message, log, .. } => {
            EngineError::Guest { code, message, log, recording: recording.clone() }
        }
        other => other,
    }
}

/// What a run's failure is for whoever asked for it.
pub(crate) fn failed(error: &RunError, log: &[String], store_away: bool, recording: Option<Bytes>) -> EngineError {
    if store_away {
        return StoreError::Unavailable(error.to_string().into()).into();
    }
    EngineError::Guest { code: error.code(), message: error.to_string(), log: log.to_vec(), recording }
}

fn circuit_failed(error: NodeError, log: &[String]) -> EngineError {
    if error.is_deterministic() {
        EngineError::Guest { code: error.code(), message: error.to_string(), log: log.to_vec(), recording: None }
    } else {
        EngineError::Node(error)
    }
}
