//! From domain types to the wire.

use bytes::Bytes;
use coprocessor_api as api;
use coprocessor_engine::{
    Appended, CompiledReport, DirectoryListing, NodeView, Opened, OwnerLimits, ProofBundle, ProverSource,
    StorageReport, Transition,
};
use coprocessor_merkle::{Opening, Place};
use coprocessor_prover::verify::sp1_on_chain;
use coprocessor_sandbox::Usage;
use coprocessor_store::{
    ApiKey, Block, ControllerQuotas, ControllerVersion, Delivery, DeliveryAttempt, DeliveryState, Domain, Event,
    Failure, OpenedBlock, Owner, Program, RootRecord, Scope, Task, TaskState, TrustPolicy, Webhook,
};
use coprocessor_types::{Backend, InstanceId, OwnerId, Root, Witness};
use coprocessor_vfs::{Attributes, Entry, EntryKind};
use jiff::{Timestamp, tz::TimeZone};
use std::time::{Duration, SystemTime};

pub(crate) fn program(program: Program) -> api::ProgramView {
    api::ProgramView {
        id: program.id.to_string(),
        name: program.name,
        owner: program.owner.to_string(),
        public: program.public,
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

pub(crate) fn controller_version(version: ControllerVersion) -> api::ControllerVersionView {
    api::ControllerVersionView {
        version: version.number,
        digest: version.digest.to_string(),
        bytes: version.bytes,
        set_at: version.set_at,
        set_by: version.set_by.owner.to_string(),
        set_with: version.set_by.key.map(|key| key.to_string()),
        current: version.current,
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
        priority: task.priority,
        deadline: task.deadline,
        record: task.record,
        node: task.node,
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
        output_bytes: usage.output_bytes,
        log_bytes: usage.log_bytes,
        network_calls: usage.network_calls,
        network_failures: usage.network_failures,
        network_us: usage.network_micros,
        network_sent_bytes: usage.network_sent_bytes,
        network_received_bytes: usage.network_received_bytes,
    }
}

pub(crate) fn recording(recording: Option<Bytes>) -> Option<api::Base64> {
    recording.map(|recording| api::Base64(recording.to_vec()))
}

pub(crate) fn witnesses(witnesses: &[Witness]) -> Vec<serde_json::Value> {
    witnesses.iter().map(witness).collect()
}

pub(crate) fn witness(witness: &Witness) -> serde_json::Value {
    serde_json::json!(witness)
}

pub(crate) fn proof(bundle: ProofBundle) -> api::ProofView {
    let ProofBundle { task, program, public_inputs, proof, verifying_key } = bundle;
    let sp1_on_chain = match (program.backend, &verifying_key) {
        // It was verified, so it reads.
        (Backend::Sp1, Some(key)) => sp1_on_chain(key, task.kind, &proof).ok().flatten(),
        _ => None,
    };
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
        sp1_on_chain: sp1_on_chain
            .map(|call| api::Sp1OnChainView { program_vkey: call.program_vkey, proof_bytes: call.proof_bytes.into() }),
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
        owner: view.owner.map(|owner| owner.to_string()),
        shared: view.shared,
        added_at: view.added_at,
        reachable: view.info.is_ok(),
        error: None,
        version: None,
        kinds: Vec::new(),
        missing: std::collections::BTreeMap::new(),
        running: 0,
        waiting: 0,
        failures: view.failures,
        set_aside_until: view.set_aside_until,
        last_error: view.last_error,
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

/// A node that was registered and could not be asked.
pub(crate) fn unasked_prover(address: String, owner: &OwnerId, shared: bool) -> api::ProverView {
    api::ProverView {
        address,
        source: api::ProverSource::Registered,
        owner: Some(owner.to_string()),
        shared,
        added_at: None,
        reachable: false,
        error: None,
        version: None,
        kinds: Vec::new(),
        missing: std::collections::BTreeMap::new(),
        running: 0,
        waiting: 0,
        failures: 0,
        set_aside_until: None,
        last_error: None,
    }
}

pub(crate) fn scope(scope: Scope) -> api::Scope {
    match scope {
        Scope::Read => api::Scope::Read,
        Scope::Deploy => api::Scope::Deploy,
        Scope::Prove => api::Scope::Prove,
        Scope::Admin => api::Scope::Admin,
    }
}

pub(crate) fn to_scope(scope: api::Scope) -> Scope {
    match scope {
        api::Scope::Read => Scope::Read,
        api::Scope::Deploy => Scope::Deploy,
        api::Scope::Prove => Scope::Prove,
        api::Scope::Admin => Scope::Admin,
    }
}

pub(crate) fn key(key: ApiKey) -> api::KeyView {
    api::KeyView {
        id: key.id.to_string(),
        owner: key.owner.to_string(),
        name: key.name,
        scopes: key.scopes.into_iter().map(scope).collect(),
        created_at: key.created_at,
        expires_at: key.expires_at,
        revoked_at: key.revoked_at,
    }
}

pub(crate) fn limits(limits: &OwnerLimits) -> api::Limits {
    api::Limits {
        unfinished_tasks: limits.unfinished_tasks,
        programs: limits.programs,
        volume_bytes: limits.volume_bytes,
        requests_per_second: limits.requests_per_second,
        burst: limits.burst,
    }
}

fn controllers(quotas: &ControllerQuotas) -> api::ControllerQuotas {
    api::ControllerQuotas {
        fuel: quotas.fuel,
        wall_clock_ms: quotas.wall_clock_ms,
        memory_bytes: quotas.memory_bytes,
        output_bytes: quotas.output_bytes,
        log_bytes: quotas.log_bytes,
        host_calls: quotas.host_calls,
        network_calls: quotas.network_calls,
        network_call_ms: quotas.network_call_ms,
        network_sent_bytes: quotas.network_sent_bytes,
        network_received_bytes: quotas.network_received_bytes,
    }
}

pub(crate) fn controllers_asked(quotas: &api::ControllerQuotas) -> ControllerQuotas {
    ControllerQuotas {
        fuel: quotas.fuel,
        wall_clock_ms: quotas.wall_clock_ms,
        memory_bytes: quotas.memory_bytes,
        output_bytes: quotas.output_bytes,
        log_bytes: quotas.log_bytes,
        host_calls: quotas.host_calls,
        network_calls: quotas.network_calls,
        network_call_ms: quotas.network_call_ms,
        network_sent_bytes: quotas.network_sent_bytes,
        network_received_bytes: quotas.network_received_bytes,
    }
}

pub(crate) fn owner(owner: Owner, effective: &OwnerLimits, volume_bytes: u64) -> api::OwnerView {
    api::OwnerView {
        owner: owner.id.to_string(),
        weight: owner.weight,
        quotas: api::Quotas {
            unfinished_tasks: owner.quotas.unfinished_tasks,
            programs: owner.quotas.programs,
            volume_bytes: owner.quotas.volume_bytes,
            requests_per_second: owner.quotas.requests_per_second,
            burst: owner.quotas.burst,
            controllers: controllers(&owner.quotas.controllers),
        },
        limits: limits(effective),
        volume_bytes,
        created_at: owner.created_at,
    }
}

pub(crate) fn webhook(webhook: Webhook) -> api::WebhookView {
    api::WebhookView {
        id: webhook.id.0.to_string(),
        owner: webhook.owner.to_string(),
        url: webhook.url,
        events: webhook.events,
        created_at: webhook.created_at,
    }
}

pub(crate) fn delivery(delivery: Delivery) -> api::DeliveryView {
    api::DeliveryView {
        id: delivery.id.0.to_string(),
        webhook: delivery.webhook.0.to_string(),
        event: event(delivery.event),
        state: match delivery.state {
            DeliveryState::Pending => api::DeliveryState::Pending,
            DeliveryState::Delivered => api::DeliveryState::Delivered,
            DeliveryState::Failed => api::DeliveryState::Failed,
        },
        attempts: delivery.attempts,
        next_at: delivery.next_at,
        last: delivery.last.map(attempt),
        created_at: delivery.created_at,
    }
}

fn attempt(attempt: DeliveryAttempt) -> api::AttemptView {
    api::AttemptView {
        at: attempt.at,
        status: attempt.status,
        error: attempt.error,
        took_ms: u64::try_from(attempt.took.as_millis()).unwrap_or(u64::MAX),
    }
}

pub(crate) fn storage(report: StorageReport) -> api::StorageView {
    let seconds = |time: Option<Duration>| time.map(|time| time.as_secs());
    api::StorageView {
        database_bytes: report.usage.database_bytes,
        blobs: report.usage.blobs,
        blob_bytes: report.usage.blob_bytes,
        free_bytes: report.usage.free_bytes,
        low: report.low,
        retention: api::RetentionView {
            witnesses: seconds(report.retention.witnesses),
            proofs: seconds(report.retention.proofs),
            recordings: seconds(report.retention.recordings),
            tasks: seconds(report.retention.tasks),
            deliveries: seconds(report.retention.deliveries),
            roots: seconds(report.keep_roots),
        },
        last_collected: report.last_collected.map(|collection| api::CollectedView {
            at: collection.at,
            witnesses: collection.removed.witnesses,
            proofs: collection.removed.proofs,
            recordings: collection.removed.recordings,
            tasks: collection.removed.tasks,
            deliveries: collection.removed.deliveries,
            blobs: collection.removed.blobs,
            blob_bytes: collection.removed.blob_bytes,
            roots: collection.roots,
        }),
        compiled: compiled(report.compiled),
    }
}

fn compiled(report: CompiledReport) -> api::CompiledView {
    let CompiledReport { compiled, loaded, found, files, bytes, limit, problem } = report;
    api::CompiledView { compiled, loaded, found, files, bytes, limit, problem }
}

pub(crate) fn domain(domain: Domain) -> api::DomainView {
    api::DomainView {
        id: domain.id.to_string(),
        name: domain.name,
        owner: domain.owner.to_string(),
        controller: domain.controller.to_string(),
        settings: domain.settings,
        trust: match domain.policy {
            TrustPolicy::ControllerOnly => api::TrustPolicy::ControllerOnly,
        },
        blocks: domain.blocks,
        latest: domain.latest,
        created_at: domain.created_at,
        updated_at: domain.updated_at,
    }
}

pub(crate) fn to_trust_policy(policy: api::TrustPolicy) -> TrustPolicy {
    match policy {
        api::TrustPolicy::ControllerOnly => TrustPolicy::ControllerOnly,
    }
}

pub(crate) fn block(block: Block) -> api::BlockView {
    api::BlockView {
        domain: block.domain.to_string(),
        number: block.number,
        state_root: Root(block.state_root).to_string(),
        payload: api::Base64(block.payload.to_vec()),
        trust: block.trust.to_string(),
        root: block.root.to_string(),
        version: block.version,
        appended_at: block.appended_at,
    }
}

pub(crate) fn appended(appended: Appended) -> api::AppendView {
    let root = appended.blocks.last().map_or(appended.previous, |last| last.block.root);
    let blocks = appended.blocks.into_iter().map(|appended| api::AppendedBlockView {
        block: block(appended.block),
        log: appended.log,
        usage: usage(&appended.usage),
        recording: recording(appended.recording),
    });
    api::AppendView {
        domain: appended.domain.id.to_string(),
        previous_root: appended.previous.to_string(),
        root: root.to_string(),
        blocks: blocks.collect(),
    }
}

pub(crate) fn root(record: RootRecord, instance: InstanceId) -> api::RootView {
    let block = record.block.map(|(domain, number)| api::RootBlock { domain: domain.to_string(), number });
    api::RootView {
        root: record.root.to_string(),
        version: record.version,
        instance: instance.to_string(),
        block,
        at: record.at,
    }
}

pub(crate) fn opening(opened: Opened) -> api::OpeningView {
    let root = opened.root.to_string();
    match opened.held {
        OpenedBlock::Member(found, opening) => api::OpeningView::Block {
            root,
            block: block(found),
            domain_siblings: siblings(&opening.domain_siblings),
            root_siblings: siblings(&opening.root_siblings),
        },
        OpenedBlock::Absent { root: in_root, domain, domain_root } => api::OpeningView::NoBlock {
            root,
            domain_root: domain_root.to_string(),
            in_domain: path(&domain),
            in_root: path(&in_root),
        },
        OpenedBlock::NoDomain(in_root) => api::OpeningView::NoDomain { root, in_root: path(&in_root) },
    }
}

pub(crate) fn transition(step: Transition) -> api::TransitionView {
    let Transition { from, to, append } = step;
    api::TransitionView {
        from: from.to_string(),
        to: to.root.to_string(),
        version: to.version,
        domain: append.domain.to_string(),
        number: append.number,
        state_root: Root(append.state_root).to_string(),
        payload_hash: Root(append.payload_hash).to_string(),
        trust: append.trust.to_string(),
        in_domain: path(&append.in_domain),
        in_root: path(&append.in_root),
    }
}

fn path(opening: &Opening) -> api::PathView {
    let hash = |bytes: [u8; 32]| Root(bytes).to_string();
    let place = match opening.place {
        Place::Member(value) => api::PlaceView::Member { value: hash(value.0) },
        Place::Empty => api::PlaceView::Empty,
        Place::OtherLeaf(key, value) => api::PlaceView::OtherLeaf { key: hash(key.0), value: hash(value.0) },
    };
    api::PathView { place, siblings: siblings(&opening.siblings) }
}

pub(crate) fn siblings(siblings: &[Root]) -> Vec<String> {
    siblings.iter().map(Root::to_string).collect()
}
/// A directory of a volume.
pub(crate) fn directory(listing: DirectoryListing) -> api::Directory {
    let entries = listing.entries.into_iter().map(entry).collect();
    api::Directory { path: format!("/{}", listing.path.trim_matches('/')), entries }
}

/// A file or directory of a volume.
pub(crate) fn entry(entry: Entry) -> api::DirectoryEntry {
    use api::FileAttribute::{Archive, Hidden, ReadOnly, System};
    let Attributes { read_only, hidden, system, archive } = entry.attributes;
    let marks = [(read_only, ReadOnly), (hidden, Hidden), (system, System), (archive, Archive)];
    // FAT's years, 1980 to 2107, are within those of a timestamp.
    let time = |time: SystemTime| Timestamp::try_from(time).ok();
    api::DirectoryEntry {
        kind: match entry.kind {
            EntryKind::File => api::EntryKind::File,
            EntryKind::Directory => api::EntryKind::Directory,
        },
        name: entry.name,
        size: entry.size,
        created: entry.created.and_then(time),
        modified: entry.modified.and_then(time),
        accessed: entry.accessed.and_then(time).map(|time| time.to_zoned(TimeZone::UTC).date()),
        attributes: marks.into_iter().filter_map(|(set, mark)| set.then_some(mark)).collect(),
    }
}
