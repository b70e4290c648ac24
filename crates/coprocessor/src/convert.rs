//! From domain types to the wire.

use coprocessor_api as api;
use coprocessor_engine::{NodeView, ProofBundle, ProverSource};
use coprocessor_sandbox::Usage;
use coprocessor_store::{Event, Failure, Program, Task, TaskState};
use coprocessor_types::Witness;

pub(crate) fn program(program: Program) -> api::ProgramView {
    api::ProgramView {
        id: program.id.to_string(),
        name: program.name,
        owner: program.owner.to_string(),
        backend: program.backend.to_string(),
        controller: program.controller.to_string(),
        circuit: program.circuit.to_string(),
        verifying_key: program.verifying_key.map(|key| key.to_string()),
        nonce: program.nonce,
        volume_size: program.volume_size,
        created_at: program.created_at,
        updated_at: program.updated_at,
    }
}

pub(crate) fn task(task: Task) -> api::TaskView {
    api::TaskView {
        id: task.id.to_string(),
        program: task.program.to_string(),
        owner: task.owner.to_string(),
        kind: task.kind.to_string(),
        root: task.root.to_string(),
        state: state(task.state),
        args: task.args,
        payload: task.payload,
        controller: task.controller.to_string(),
        circuit: task.circuit.to_string(),
        attempts: task.attempts,
        created_at: task.created_at,
        updated_at: task.updated_at,
        not_before: task.not_before,
        output: task.output.map(|output| api::Base64(output.to_vec())),
        has_proof: task.proof.is_some(),
        result: task.result,
        failure: task.failure.map(failure),
    }
}

pub(crate) fn state(state: TaskState) -> api::TaskState {
    match state {
        TaskState::Queued => api::TaskState::Queued,
        TaskState::Executing => api::TaskState::Executing,
        TaskState::Proving => api::TaskState::Proving,
        TaskState::Delivering => api::TaskState::Delivering,
        TaskState::Delivered => api::TaskState::Delivered,
        TaskState::Failed => api::TaskState::Failed,
        TaskState::Cancelled => api::TaskState::Cancelled,
    }
}

fn failure(failure: Failure) -> api::FailureView {
    api::FailureView {
        stage: failure.stage.as_str().to_owned(),
        code: failure.code,
        message: failure.message,
        retryable: failure.retryable,
    }
}

pub(crate) fn event(event: Event) -> api::EventView {
    api::EventView {
        seq: event.seq,
        task: event.task.to_string(),
        at: event.at,
        state: state(event.state),
        name: event.kind.name,
        detail: event.kind.detail,
    }
}

pub(crate) fn usage(usage: &Usage) -> api::SandboxUsage {
    api::SandboxUsage {
        fuel: usage.fuel,
        wall_clock_us: usage.wall_clock_micros,
        memory_bytes: usage.memory_bytes,
        host_calls: usage.host_calls,
    }
}

pub(crate) fn witnesses(witnesses: &[Witness]) -> Vec<serde_json::Value> {
    witnesses.iter().map(|witness| serde_json::json!(witness)).collect()
}

pub(crate) fn proof(bundle: ProofBundle) -> api::ProofView {
    let ProofBundle { task, program, public_inputs, proof, verifying_key } = bundle;
    api::ProofView {
        task: task.id.to_string(),
        program: program.id.to_string(),
        backend: program.backend.to_string(),
        kind: task.kind.to_string(),
        root: public_inputs.root.to_string(),
        public_inputs: api::Base64(public_inputs.to_bytes()),
        output: api::Base64(public_inputs.output),
        proof: api::Base64(proof.to_vec()),
        circuit: task.circuit.to_string(),
        verifying_key: verifying_key.map(|key| api::Base64(key.to_vec())),
    }
}

pub(crate) fn prover(view: NodeView) -> api::ProverView {
    let source = match view.source {
        ProverSource::Configured => api::ProverSource::Configured,
        ProverSource::Registered => api::ProverSource::Registered,
        ProverSource::InProcess => api::ProverSource::InProcess,
    };
    let mut out = api::ProverView {
        address: view.address,
        source,
        added_at: view.added_at,
        reachable: view.info.is_ok(),
        error: None,
        version: None,
        kinds: Vec::new(),
        missing: std::collections::BTreeMap::new(),
        running: 0,
        waiting: 0,
    };
    match view.info {
        Err(error) => out.error = Some(error.to_string()),
        Ok(info) => {
            for backend in &info.backends {
                out.kinds.extend(backend.offers.iter().map(|offer| offer.kind.to_string()));
                let missing = backend.missing.iter();
                out.missing.extend(missing.map(|(kind, reason)| (kind.to_string(), reason.clone())));
            }
            out.version = Some(info.version);
            out.running = info.slots.running;
            out.waiting = info.slots.waiting;
        }
    }
    out
}
