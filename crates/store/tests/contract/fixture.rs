//! Programs, tasks and steps to test with.

use bytes::Bytes;
use coprocessor_store::{
    Admission, Backlog, Claim, Event, EventKind, Failure, InsertProgram, NewProgram, NewTask, Program, Setter, Stage,
    StepOutcome, Store, StoreError, Task, VolumeWrite,
};
use coprocessor_types::{Backend, OwnerId, ProgramId, ProofKind, Root, TaskId};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use std::time::Duration;

/// Longer than any test.
pub(crate) const HOUR: Duration = Duration::from_secs(3600);

/// Room for every task a test admits.
pub(crate) const ROOM: Backlog = Backlog { total: u64::MAX, owner: u64::MAX };

pub(crate) fn owner(name: &str) -> OwnerId {
    name.parse().unwrap()
}

/// Whoever sets a controller, without a key.
pub(crate) fn by(name: &str) -> Setter {
    Setter { owner: owner(name), key: None }
}

/// A program's record, with its blobs in the store.
pub(crate) async fn new_program(store: &dyn Store, nonce: u64) -> NewProgram {
    let circuit = Bytes::from_static(b"circuit");
    NewProgram {
        id: ProgramId::derive(&circuit, nonce),
        owner: owner("alice"),
        key: None,
        name: format!("program {nonce}"),
        public: false,
        backend: Backend::Sp1,
        controller: store.put_blob(Bytes::from_static(b"controller")).await.unwrap(),
        circuit: store.put_blob(circuit).await.unwrap(),
        verifying_key: None,
        nonce,
        volume_size: 1 << 20,
    }
}

/// A registered program.
pub(crate) async fn program(store: &dyn Store, nonce: u64) -> Program {
    match store.insert_program(new_program(store, nonce).await, u64::MAX).await.unwrap() {
        InsertProgram::Inserted(program) => program,
        other => panic!("not inserted but {other:?}"),
    }
}

/// A request for a program.
pub(crate) fn new_task(program: &Program) -> NewTask {
    NewTask {
        id: TaskId::now(),
        program: program.id,
        owner: owner("alice"),
        controller: program.controller,
        circuit: program.circuit,
        kind: ProofKind::Mock,
        root: Root([7; 32]),
        args: json!({ "name": "world", "n": [1, 2.5, null] }),
        payload: json!("to the entrypoint"),
        priority: 0,
        deadline: None,
        record: false,
        idempotency: None,
    }
}

/// An admitted task.
pub(crate) async fn task(store: &dyn Store, program: &Program) -> Task {
    admitted(store.admit(new_task(program), ROOM).await.unwrap())
}

pub(crate) fn admitted(admission: Admission) -> Task {
    match admission {
        Admission::Admitted(task) => task,
        other => panic!("not admitted but {other:?}"),
    }
}

/// The next task for a stage, held for an hour.
pub(crate) async fn claim(store: &dyn Store, stage: Stage) -> Claim {
    claim_one(store, stage, HOUR).await.expect("a task is ready")
}

/// The next task for a stage, if there is one.
pub(crate) async fn claim_one(store: &dyn Store, stage: Stage, lease: Duration) -> Option<Claim> {
    let mut claims = store.claim(stage, "worker", lease, 1).await.unwrap();
    assert!(claims.len() <= 1, "{claims:?}");
    claims.pop()
}

/// Prolongs a lease; whether the claim still holds.
pub(crate) async fn beat(store: &dyn Store, task: TaskId, fence: u64, lease: Duration) -> bool {
    let over = store.heartbeat(&[(task, fence)], lease).await.unwrap();
    assert!(over.is_empty() || over == [(task, fence)], "{over:?}");
    over.is_empty()
}

pub(crate) fn event(name: &str) -> EventKind {
    EventKind { name: name.to_owned(), detail: json!({ "by": "test" }) }
}

pub(crate) fn executed() -> StepOutcome {
    executed_with(VolumeWrite::default())
}

pub(crate) fn executed_with(volume: VolumeWrite) -> StepOutcome {
    StepOutcome::Executed { witness: Bytes::from_static(b"witness"), volume, event: event("executed") }
}

pub(crate) fn proved() -> StepOutcome {
    StepOutcome::Proved {
        proof: Bytes::from_static(b"proof"),
        output: Bytes::from_static(b"output"),
        event: event("proved"),
    }
}

pub(crate) fn delivered() -> StepOutcome {
    delivered_with(VolumeWrite::default())
}

pub(crate) fn delivered_with(volume: VolumeWrite) -> StepOutcome {
    StepOutcome::Delivered { volume, result: json!({ "stored": true }), event: event("delivered") }
}

pub(crate) fn failed(stage: Stage, retryable: bool) -> StepOutcome {
    StepOutcome::Failed { failure: failure(stage, retryable), event: event("failed") }
}

pub(crate) fn failure(stage: Stage, retryable: bool) -> Failure {
    Failure { stage, code: "guest_panicked".to_owned(), message: "it said no".to_owned(), retryable }
}

pub(crate) fn postponed(until: Timestamp, counts: bool) -> StepOutcome {
    StepOutcome::Postponed { until, counts, event: event("postponed") }
}

/// An hour from now, as exactly as stores keep times.
pub(crate) fn in_an_hour() -> Timestamp {
    let exact = Timestamp::now() + SignedDuration::from_hours(1);
    Timestamp::from_microsecond(exact.as_microsecond()).unwrap()
}

/// The outcome that brings a task on from a stage.
pub(crate) fn success(stage: Stage) -> StepOutcome {
    match stage {
        Stage::Execute => executed(),
        Stage::Prove => proved(),
        Stage::Deliver => delivered(),
    }
}

/// A program with one task that has come to `stage` and is held there.
pub(crate) async fn held_at(store: &dyn Store, nonce: u64, stage: Stage) -> Claim {
    task(store, &program(store, nonce).await).await;
    for before in Stage::ALL {
        let held = claim(store, before).await;
        if before == stage {
            return held;
        }
        store.finish_step(held.task.id, held.task.fence, success(before)).await.unwrap();
    }
    unreachable!("every stage is in Stage::ALL")
}

pub(crate) async fn events(store: &dyn Store, task: TaskId) -> Vec<Event> {
    store.events(task, 0, usize::MAX).await.unwrap()
}

pub(crate) async fn event_names(store: &dyn Store, task: TaskId) -> Vec<String> {
    events(store, task).await.into_iter().map(|event| event.kind.name).collect()
}

pub(crate) fn write(based_on: u64, pages: &[(u32, &[u8])]) -> VolumeWrite {
    let pages = pages.iter().map(|(index, content)| (*index, Some(content.to_vec()))).collect();
    VolumeWrite { based_on, pages, ..VolumeWrite::default() }
}

/// Runs what blocks, as everything about a volume's snapshot may.
pub(crate) fn blocking<T>(run: impl FnOnce() -> T) -> T {
    tokio::task::block_in_place(run)
}

/// A volume's version, and what is in some of its pages.
pub(crate) fn volume<const N: usize>(
    store: &dyn Store,
    program: ProgramId,
    pages: [u32; N],
) -> (u64, [Option<Vec<u8>>; N]) {
    blocking(|| {
        let snapshot = store.volume_snapshot(program).unwrap();
        (snapshot.version(), pages.map(|index| snapshot.read_page(index).unwrap()))
    })
}

/// Whether there is no volume, as there is no program.
pub(crate) fn volume_is_unknown(store: &dyn Store, program: ProgramId) -> bool {
    let got = blocking(|| store.volume_snapshot(program).map(drop));
    matches!(got, Err(StoreError::UnknownProgram(id)) if id == program)
}

/// All a store tells about a task and its program's volume: equal before and after what must change nothing.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Picture {
    task: Option<Task>,
    events: Vec<Event>,
    version: u64,
    pages: Vec<Option<Vec<u8>>>,
    raw: Option<Vec<u8>>,
}

pub(crate) async fn picture(store: &dyn Store, program: ProgramId, task: TaskId) -> Picture {
    let (version, raw, pages) = blocking(|| {
        let snapshot = store.volume_snapshot(program).unwrap();
        let pages = (0..8).map(|index| snapshot.read_page(index).unwrap()).collect();
        (snapshot.version(), snapshot.raw().unwrap(), pages)
    });
    Picture { task: store.task(task).await.unwrap(), events: events(store, task).await, version, pages, raw }
}
