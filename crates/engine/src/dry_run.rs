//! Running a program's parts without a task: nothing is kept but what an entrypoint writes.

use bytes::Bytes;
use coprocessor_prover::NodeError;
use coprocessor_sandbox::{Export, RunError, Usage};
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
}

impl Engine {
    /// Runs `get_witnesses`; what it writes to its volume is dropped.
    ///
    /// # Errors
    /// A program that is unknown or that the caller does not see; an unknown root; the controller's failure.
    pub async fn witness(
        &self,
        caller: &Caller,
        program: ProgramId,
        args: Value,
        root: Option<Root>,
    ) -> Result<WitnessReport, EngineError> {
        let program = self.visible(caller, Scope::Prove, program).await?;
        self.make_witness(&program, args, root).await
    }

    async fn make_witness(
        &self,
        program: &Program,
        args: Value,
        root: Option<Root>,
    ) -> Result<WitnessReport, EngineError> {
        let root = self.inner.pin(root).await?;
        let ControllerRun { run, store_away, .. } = self.run(program, Export::GetWitnesses, args, root).await?;
        let result = run.result.map_err(|error| failed(&error, run.log.clone(), store_away))?;
        let witnesses = parse(result).map_err(|message| EngineError::Guest {
            code: "witness_malformed",
            message,
            log: run.log.clone(),
        })?;
        Ok(WitnessReport { root, witnesses, log: run.log, usage: run.usage })
    }

    /// Runs `get_witnesses` and then the circuit, without proving.
    ///
    /// # Errors
    /// As for [`Engine::witness`]; the circuit's failure; no node that can execute it.
    pub async fn execute(
        &self,
        caller: &Caller,
        program: ProgramId,
        args: Value,
        root: Option<Root>,
    ) -> Result<ExecutionReport, EngineError> {
        let program = self.visible(caller, Scope::Prove, program).await?;
        let report = self.make_witness(&program, args, root).await?;
        let input = Bytes::from(self.inner.circuit_input(report.root, report.witnesses, &report.log).await?);
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
            .map_err(|error| circuit_failed(error, &report.log))?;
        let inputs = PublicInputs::from_bytes(&execution.public_inputs)
            .map_err(|error| EngineError::Internal(format!("the circuit committed no root: {error}")))?;
        Ok(ExecutionReport {
            root: inputs.root,
            output: inputs.output,
            cycles: execution.cycles,
            log: report.log,
            usage: report.usage,
        })
    }

    /// Runs `entrypoint` with arguments of the caller's; what it writes is kept.
    ///
    /// # Errors
    /// A program that is unknown or not the caller's; the controller's failure; a volume that kept changing; a full store.
    pub async fn call(&self, caller: &Caller, program: ProgramId, args: Value) -> Result<CallReport, EngineError> {
        let program = self.owned(caller, Scope::Deploy, program).await?;
        self.inner.check_room()?;
        let root = self.inner.current_root().await?.root;
        let _turn = self.inner.turns.take(program.id).await;
        for conflicts in 1..=CONFLICTS {
            let run = self.run(&program, Export::Entrypoint, args.clone(), root).await;
            if matches!(run, Err(EngineError::VolumeBusy(_))) {
                conflict_pause(conflicts).await;
                continue;
            }
            let ControllerRun { run, write, store_away } = run?;
            let result = run.result.map_err(|error| failed(&error, run.log.clone(), store_away))?;
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
            return Ok(CallReport { result: result.unwrap_or(Value::Null), log: run.log, usage: run.usage });
        }
        Err(EngineError::VolumeBusy(program.id))
    }

    async fn run(
        &self,
        program: &Program,
        export: Export,
        args: Value,
        root: Root,
    ) -> Result<ControllerRun, EngineError> {
        let subject = Subject::Program(program.id);
        let call = ControllerCall { subject, controller: program.controller, export, args, root };
        self.inner.run_controller(call).await
    }
}

fn failed(error: &RunError, log: Vec<String>, store_away: bool) -> EngineError {
    if store_away {
        return StoreError::Unavailable(error.to_string().into()).into();
    }
    EngineError::Guest { code: error.code(), message: error.to_string(), log }
}

fn circuit_failed(error: NodeError, log: &[String]) -> EngineError {
    if error.is_deterministic() {
        EngineError::Guest { code: error.code(), message: error.to_string(), log: log.to_vec() }
    } else {
        EngineError::Node(error)
    }
}
