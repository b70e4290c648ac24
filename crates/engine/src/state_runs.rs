//! Having a domain's controller prove state without a task: for whoever writes that controller.

use bytes::Bytes;
use coprocessor_sandbox::{Export, Usage};
use coprocessor_store::Scope;
use coprocessor_types::{DomainId, Root, StateProof};

use crate::{
    Caller, DryRun, Engine, EngineError,
    controllers::{ControllerCall, ControllerRun, Subject},
    domains::told,
    dry_run::failed,
    history::proof,
};

/// A state proof that no task asked for.
#[derive(Clone, PartialEq, Debug)]
pub struct StateReport {
    /// The root that the run was pinned to.
    pub root: Root,
    /// What the controller returned. Nothing was compared with the root.
    pub proof: StateProof,
    /// What the controller logged.
    pub log: Vec<String>,
    /// What it used.
    pub usage: Usage,
    /// The recording of its run, where it was asked for.
    pub recording: Option<Bytes>,
}

impl Engine {
    /// Runs `get_state_proof` of a domain's controller as a program's controller would have it run, but within the limits of the
    /// domain's own.
    ///
    /// # Errors
    /// [`EngineError::UnknownDomain`]; a caller that is neither the domain's owner nor an administrator; an unknown root; the
    /// controller's failure, `bad_result` where it returns no proof of its domain's state; recording where nothing is recorded.
    pub async fn prove_state(
        &self,
        caller: &Caller,
        domain: DomainId,
        request: DryRun,
    ) -> Result<StateReport, EngineError> {
        caller.require(Scope::Deploy)?;
        let inner = &self.inner;
        let domain = inner.known_domain(domain).await?;
        if !caller.owns(&domain.owner) {
            return Err(EngineError::Forbidden { scope: Scope::Admin });
        }
        let recorder = inner.dry_recorder(caller, &domain.owner, request.record)?;
        let root = inner.pin(request.root).await?;
        let call = ControllerCall {
            subject: Subject::Domain(domain.id),
            controller: domain.controller,
            export: Export::GetStateProof,
            args: told(&domain, request.args),
            root,
            recorder: recorder.clone(),
        };
        let ControllerRun { run, store_away, .. } = inner.run_controller(call).await?;
        let recording = inner.dry_recording(recorder.as_ref(), &run, domain.controller).await?;
        let result = run.result.map_err(|error| failed(&error, &run.log, store_away, recording.clone()))?;
        let proof = proof(&domain, result).map_err(|message| EngineError::Guest {
            code: "bad_result",
            message,
            log: run.log.clone(),
            recording: recording.clone(),
        })?;
        Ok(StateReport { root, proof, log: run.log, usage: run.usage, recording })
    }
}
