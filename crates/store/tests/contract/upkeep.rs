//! Ageing out.

use super::{
    Backing,
    fixture::{
        self, HOUR, ROOM, admitted, by, claim, delivered, event, event_names, failed, in_an_hour, new_program,
        new_task, owner, program, task, write,
    },
};
use bytes::Bytes;
use coprocessor_store::{
    Admission, Collected, DeliveryAttempt, DeliveryOutcome, Idempotency, InsertProgram, NewProgram, NewTask, Program,
    Retention, Retried, Stage, StepOutcome, Store, StoreError, Task, TaskFilter, TaskState, VolumeWrite, Webhook,
    WebhookId,
};
use coprocessor_types::{BlobDigest, ProgramId, TaskId};
use jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use uuid::Uuid;

const DAY: Duration = Duration::from_secs(24 * 3600);
/// Large enough to be kept beside the database, where a store does that.
const LARGE: usize = 100_000;

/// Nothing ages out but blobs that nothing names, and those in an hour.
const KEEP: Retention =
    Retention { witnesses: None, proofs: None, recordings: None, tasks: None, deliveries: None, unnamed_blobs: HOUR };
const WITNESSES: Retention = Retention { witnesses: Some(DAY), ..KEEP };
const PROOFS: Retention = Retention { proofs: Some(DAY), ..KEEP };
const TASKS: Retention = Retention { tasks: Some(DAY), ..KEEP };
const DELIVERIES: Retention = Retention { deliveries: Some(DAY), ..KEEP };

/// So many hours from now.
fn hours(hours: i64) -> Timestamp {
    Timestamp::now() + SignedDuration::from_hours(hours)
}

fn content(text: &str) -> Bytes {
    Bytes::from(format!("{text} {}", "x".repeat(LARGE)))
}

/// Passes until one has nothing to do. `more` of the sum says whether any said so.
async fn collect(store: &dyn Store, retention: &Retention, now: Timestamp, limit: usize) -> Collected {
    let mut all = Collected::default();
    loop {
        let pass = store.collect(retention, now, limit).await.unwrap();
        let Collected { witnesses, proofs, recordings, tasks, deliveries, pages, blobs, blob_bytes, more } = pass;
        for count in [witnesses, proofs, recordings, tasks, deliveries, pages, blobs] {
            assert!(count <= limit as u64, "{pass:?}");
        }
        all = Collected {
            witnesses: all.witnesses + witnesses,
            proofs: all.proofs + proofs,
            recordings: all.recordings + recordings,
            tasks: all.tasks + tasks,
            deliveries: all.deliveries + deliveries,
            pages: all.pages + pages,
            blobs: all.blobs + blobs,
            blob_bytes: all.blob_bytes + blob_bytes,
            more: all.more || more,
        };
        if !more && pass == Collected::default() {
            return all;
        }
    }
}

async fn is_there(store: &dyn Store, content: &Bytes) -> bool {
    match store.blob(BlobDigest::of(content)).await {
        Ok(found) => {
            assert_eq!(found, content);
            true
        }
        Err(StoreError::BlobMissing(_)) => false,
        Err(other) => panic!("{other}"),
    }
}

fn witness_of(task: TaskId) -> Bytes {
    content(&format!("witness of {task}"))
}

fn proof_of(task: TaskId) -> Bytes {
    content(&format!("proof of {task}"))
}

/// A task with a witness and a proof of its own, held for the last stage; or without a proof, held before.
async fn held(store: &dyn Store, program: &Program, stage: Stage) -> Task {
    let id = task(store, program).await.id;
    let executed =
        StepOutcome::Executed { witness: witness_of(id), volume: VolumeWrite::default(), event: event("executed") };
    let proved =
        StepOutcome::Proved { proof: proof_of(id), output: Bytes::from_static(b"output"), event: event("proved") };
    for (before, outcome) in [(Stage::Execute, executed), (Stage::Prove, proved)] {
        let held = claim(store, before).await;
        assert_eq!(held.task.id, id);
        if before == stage {
            return held.task;
        }
        store.finish_step(id, held.task.fence, outcome).await.unwrap();
    }
    claim(store, Stage::Deliver).await.task
}

/// One of each kind that has come to the end, and two that have not.
struct Finished {
    delivered: TaskId,
    cancelled: TaskId,
    failed: TaskId,
    delivering: TaskId,
    queued: TaskId,
}

async fn finished(store: &dyn Store, program: &Program) -> Finished {
    let done = held(store, program, Stage::Deliver).await;
    store.finish_step(done.id, done.fence, delivered()).await.unwrap();
    let cancelled = held(store, program, Stage::Deliver).await;
    store.cancel(cancelled.id).await.unwrap();
    let broken = held(store, program, Stage::Prove).await;
    store.finish_step(broken.id, broken.fence, failed(Stage::Prove, true)).await.unwrap();
    let delivering = held(store, program, Stage::Deliver).await;
    let queued = task(store, program).await;
    Finished {
        delivered: done.id,
        cancelled: cancelled.id,
        failed: broken.id,
        delivering: delivering.id,
        queued: queued.id,
    }
}

async fn found(store: &dyn Store, id: TaskId) -> Task {
    store.task(id).await.unwrap().unwrap()
}

pub(crate) async fn what_is_kept_for_ever_is_kept<B: Backing>() {
    let backing = B::new().await;
    let store = backing.store();
    let program = program(&*store, 1).await;
    let all = finished(&*store, &program).await;
    let before = store.tasks(TaskFilter::default(), None, 100).await.unwrap();
    let years = hours(100 * 365 * 24);
    assert_eq!(collect(&*store, &KEEP, years, 100).await, Collected::default());
    // Nor does anything go before its time.
    for retention in [WITNESSES, PROOFS, TASKS, DELIVERIES, Retention::default()] {
        assert_eq!(collect(&*store, &retention, hours(0), 100).await, Collected::default());
    }
    assert_eq!(store.tasks(TaskFilter::default(), None, 100).await.unwrap(), before);
    for id in [all.delivered, all.cancelled, all.delivering] {
        assert!(is_there(&*store, &witness_of(id)).await && is_there(&*store, &proof_of(id)).await);
    }
}

pub(crate) async fn witnesses_age_out_but_those_of_failed_tasks<B: Backing>() {
    let mut backing = B::new().await;
    let store = backing.store();
    let program = program(&*store, 1).await;
    let all = finished(&*store, &program).await;
    let collected = collect(&*store, &WITNESSES, hours(25), 100).await;
    assert_eq!((collected.witnesses, collected.proofs, collected.tasks), (2, 0, 0));
    assert_eq!((collected.blobs, collected.blob_bytes), (2, 2 * witness_of(all.failed).len() as u64));
    drop(store);
    backing.reopen().await;
    let store = backing.store();
    for id in [all.delivered, all.cancelled] {
        let task = found(&*store, id).await;
        assert_eq!((task.witness, task.proof), (None, Some(BlobDigest::of(&proof_of(id)))));
        assert!(!is_there(&*store, &witness_of(id)).await);
        assert!(is_there(&*store, &proof_of(id)).await);
    }
    for id in [all.failed, all.delivering] {
        assert_eq!(found(&*store, id).await.witness, Some(BlobDigest::of(&witness_of(id))));
        assert!(is_there(&*store, &witness_of(id)).await);
    }
    // It goes on from there.
    assert!(matches!(store.retry(all.failed, None).await.unwrap(), Retried::Retried(_)));
    let again = claim(&*store, Stage::Prove).await;
    assert_eq!(again.task.id, all.failed);
    assert_eq!(store.blob(again.task.witness.unwrap()).await.unwrap(), witness_of(all.failed));
}

pub(crate) async fn proofs_age_out_and_leave_their_tasks<B: Backing>() {
    let backing = B::new().await;
    let store = backing.store();
    let program = program(&*store, 1).await;
    // It failed with its proof in hand, which a retry will need.
    let refused = held(&*store, &program, Stage::Deliver).await;
    store.finish_step(refused.id, refused.fence, failed(Stage::Deliver, true)).await.unwrap();
    let all = finished(&*store, &program).await;
    let before = (found(&*store, all.delivered).await, event_names(&*store, all.delivered).await);
    let collected = collect(&*store, &PROOFS, hours(25), 100).await;
    assert_eq!((collected.witnesses, collected.proofs, collected.tasks, collected.blobs), (0, 2, 0, 2));
    assert!(is_there(&*store, &proof_of(all.delivering)).await);
    for id in [all.delivered, all.cancelled] {
        assert!(!is_there(&*store, &proof_of(id)).await);
        assert!(is_there(&*store, &witness_of(id)).await);
    }
    let after = (found(&*store, all.delivered).await, event_names(&*store, all.delivered).await);
    assert_eq!(after, (Task { proof: None, ..before.0 }, before.1));
    assert!(matches!(store.retry(refused.id, None).await.unwrap(), Retried::Retried(_)));
    let again = claim(&*store, Stage::Deliver).await;
    assert_eq!(again.task.id, refused.id);
    assert_eq!(store.blob(again.task.proof.unwrap()).await.unwrap(), proof_of(refused.id));
}

pub(crate) async fn tasks_age_out_with_all_that_was_theirs<B: Backing>() {
    let backing = B::new().await;
    let store = backing.store();
    let program = program(&*store, 1).await;
    store.write_volume(program.id, write(0, &[(0, b"kept")])).await.unwrap();
    let idempotency = Some(Idempotency { key: "key".to_owned(), request: BlobDigest([1; 32]) });
    let keyed = NewTask { idempotency, ..new_task(&program) };
    let named = admitted(store.admit(keyed.clone(), ROOM).await.unwrap());
    store.cancel(named.id).await.unwrap();
    let all = finished(&*store, &program).await;
    // The last event is not among those that go, so its number says the same before and after.
    let last = store.last_event().await.unwrap();

    // Its witness is long gone by then: what counts is when the task finished, not when it was touched last.
    let thrifty = Retention { witnesses: Some(HOUR), ..TASKS };
    assert_eq!(collect(&*store, &thrifty, hours(23), 100).await.witnesses, 2);
    let collected = collect(&*store, &thrifty, hours(25), 100).await;
    assert_eq!((collected.witnesses, collected.proofs, collected.tasks), (0, 0, 4));
    for id in [named.id, all.delivered, all.cancelled, all.failed] {
        assert_eq!(store.task(id).await.unwrap(), None);
        assert_eq!(event_names(&*store, id).await, Vec::<String>::new());
        assert!(!is_there(&*store, &witness_of(id)).await && !is_there(&*store, &proof_of(id)).await);
    }
    let listed = store.tasks(TaskFilter::default(), None, 100).await.unwrap().items;
    assert_eq!(listed.iter().map(|task| task.id).collect::<Vec<_>>(), [all.queued, all.delivering]);
    let counts = store.task_counts().await.unwrap();
    for (state, count) in counts.0 {
        let expected = u64::from(matches!(state, TaskState::Queued | TaskState::Delivering));
        assert_eq!(count, expected, "{state}");
    }
    assert!(is_there(&*store, &witness_of(all.delivering)).await);
    let left = store.owner_events(None, 0, usize::MAX).await.unwrap();
    assert!(left.iter().all(|event| [all.queued, all.delivering].contains(&event.task)));
    assert_eq!(store.last_event().await.unwrap(), last);
    assert_eq!(fixture::volume(&*store, program.id, [0]), (1, [Some(b"kept".to_vec())]));
    // The key is free again.
    let again = store.admit(NewTask { id: TaskId::now(), ..keyed }, ROOM).await.unwrap();
    assert!(matches!(again, Admission::Admitted(_)), "{again:?}");
}

pub(crate) async fn one_pass_removes_no_more_than_its_limit_oldest_first<B: Backing>() {
    let backing = B::new().await;
    let store = backing.store();
    let program = program(&*store, 1).await;
    let mut held = Vec::new();
    for _ in 0..5 {
        held.push(self::held(&*store, &program, Stage::Deliver).await);
    }
    // They finish in another order than they came.
    let order = [3, 0, 4, 1, 2].map(|index: usize| held[index].clone());
    for task in &order {
        store.finish_step(task.id, task.fence, delivered()).await.unwrap();
    }
    let left = async || {
        let listed = store.tasks(TaskFilter::default(), None, 100).await.unwrap().items;
        listed.into_iter().map(|task| task.id).collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(store.collect(&TASKS, hours(25), 0).await.unwrap().tasks, 0);
    for (gone, more) in [(2, true), (4, true), (5, false)] {
        let pass = store.collect(&TASKS, hours(25), 2).await.unwrap();
        assert_eq!(pass.tasks, gone.min(order.len() as u64) - (gone - 1) / 2 * 2, "{pass:?}");
        assert!(pass.more || !more, "{pass:?}");
        assert_eq!(left().await, order[gone as usize..].iter().map(|task| task.id).collect());
    }
    let rest = collect(&*store, &TASKS, hours(25), 2).await;
    assert_eq!(rest.tasks, 0);
    for task in order {
        assert!(!is_there(&*store, &witness_of(task.id)).await && !is_there(&*store, &proof_of(task.id)).await);
    }
}

pub(crate) async fn deliveries_age_out_once_nothing_more_is_tried<B: Backing>() {
    let backing = B::new().await;
    let store = backing.store();
    let hook = Webhook {
        id: WebhookId(Uuid::now_v7()),
        owner: owner("alice"),
        url: "https://example.org".to_owned(),
        events: vec!["admitted".to_owned()],
        secret: SecretString::from("whsec_"),
        created_at: Timestamp::now(),
    };
    store.add_webhook(hook.clone()).await.unwrap();
    let program = program(&*store, 1).await;
    for _ in 0..4 {
        task(&*store, &program).await;
    }
    store.queue_deliveries(100).await.unwrap();
    let attempt =
        || DeliveryAttempt { at: Timestamp::now(), status: None, error: None, took: Duration::from_millis(5) };
    let outcomes = [
        DeliveryOutcome::Delivered(attempt()),
        DeliveryOutcome::Failed(attempt()),
        DeliveryOutcome::Retry { attempt: attempt(), at: in_an_hour() },
    ];
    let mut claimed = store.claim_deliveries(HOUR, 3, &[]).await.unwrap().into_iter().map(|(delivery, _)| delivery);
    for outcome in outcomes {
        let delivery = claimed.next().unwrap();
        assert!(store.finish_delivery(delivery.id, delivery.fence, outcome).await.unwrap());
    }
    let before = store.deliveries(hook.id, None, 100).await.unwrap().items;
    assert_eq!(collect(&*store, &DELIVERIES, hours(23), 1).await, Collected::default());
    let collected = collect(&*store, &DELIVERIES, hours(25), 1).await;
    assert_eq!((collected.deliveries, collected.more, collected.tasks), (2, true, 0));
    assert_eq!(store.deliveries(hook.id, None, 100).await.unwrap().items, before[..2]);
}

pub(crate) async fn blobs_that_nothing_names_go_after_a_while<B: Backing>() {
    let mut backing = B::new().await;
    let store = backing.store();
    let (small, large) = (Bytes::from_static(b"small"), content("large"));
    for blob in [&small, &large] {
        store.put_blob(blob.clone()).await.unwrap();
    }
    let half_an_hour = Timestamp::now() + SignedDuration::from_mins(30);
    assert_eq!(collect(&*store, &KEEP, half_an_hour, 100).await, Collected::default());
    drop(store);
    backing.reopen().await;
    let store = backing.store();
    assert!(is_there(&*store, &small).await && is_there(&*store, &large).await);
    let collected = collect(&*store, &KEEP, hours(2), 1).await;
    assert_eq!((collected.blobs, collected.blob_bytes), (2, (small.len() + large.len()) as u64));
    assert!(collected.more);
    assert!(!is_there(&*store, &small).await && !is_there(&*store, &large).await);
    // Whoever has them can put them again.
    for blob in [small, large] {
        let digest = store.put_blob(blob.clone()).await.unwrap();
        assert_eq!(store.blob(digest).await.unwrap(), blob);
    }
}

pub(crate) async fn putting_a_blob_again_keeps_it_longer<B: Backing>() {
    let backing = B::new().await;
    let store = backing.store();
    let blobs = [Bytes::from_static(b"small"), content("large")];
    let abandoned = [Bytes::from_static(b"abandoned"), content("abandoned")];
    for blob in blobs.iter().chain(&abandoned) {
        store.put_blob(blob.clone()).await.unwrap();
    }
    let first_put = Timestamp::now();
    // Clocks of file systems and of object stores are coarse.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    for blob in &blobs {
        store.put_blob(blob.clone()).await.unwrap();
    }
    let passed = first_put + SignedDuration::from_hours(1) + SignedDuration::from_millis(50);
    assert_eq!(collect(&*store, &KEEP, passed, 100).await.blobs, 2);
    for (kept, gone) in blobs.iter().zip(&abandoned) {
        assert!(is_there(&*store, kept).await && !is_there(&*store, gone).await);
    }
}

pub(crate) async fn what_programs_and_tasks_name_stays<B: Backing>() {
    let mut backing = B::new().await;
    let store = backing.store();
    let versions = ["first", "second", "third"].map(content);
    let (circuit, key) = (content("circuit"), content("key"));
    let controller = store.put_blob(versions[0].clone()).await.unwrap();
    let new = NewProgram {
        id: ProgramId::derive(&circuit, 1),
        controller,
        circuit: store.put_blob(circuit.clone()).await.unwrap(),
        verifying_key: Some(store.put_blob(key.clone()).await.unwrap()),
        ..new_program(&*store, 1).await
    };
    let InsertProgram::Inserted(program) = store.insert_program(new, u64::MAX).await.unwrap() else {
        panic!("it is new")
    };
    let running = task(&*store, &program).await;
    for version in &versions[1..] {
        let digest = store.put_blob(version.clone()).await.unwrap();
        store.set_controller(program.id, digest, by("alice"), 32).await.unwrap().unwrap();
    }
    drop(store);
    backing.reopen().await;
    let store = backing.store();
    let all: Vec<_> = versions.iter().chain([&circuit, &key]).collect();
    collect(&*store, &KEEP, hours(1000), 100).await;
    for blob in &all {
        assert!(is_there(&*store, blob).await);
    }
    // Another program has the same circuit: it stays with that.
    let other = NewProgram { id: ProgramId::derive(&circuit, 2), nonce: 2, ..new_program(&*store, 2).await };
    let other = NewProgram { circuit: program.circuit, ..other };
    store.insert_program(other, u64::MAX).await.unwrap();
    store.cancel(running.id).await.unwrap();
    store.delete_program(program.id).await.unwrap();
    collect(&*store, &KEEP, hours(1000), 100).await;
    for blob in all {
        assert_eq!(is_there(&*store, blob).await, *blob == circuit);
    }
}

pub(crate) async fn usage_grows_and_shrinks<B: Backing>() {
    let backing = B::new().await;
    let store = backing.store();
    let before = store.usage().await.unwrap();
    assert!(before.database_bytes > 0);
    let blobs = [Bytes::from_static(b"small"), content("large")];
    let bytes: usize = blobs.iter().map(Bytes::len).sum();
    for blob in blobs.iter().chain(&blobs) {
        store.put_blob(blob.clone()).await.unwrap();
    }
    let grown = store.usage().await.unwrap();
    assert_eq!((grown.blobs, grown.blob_bytes), (before.blobs + 2, before.blob_bytes + bytes as u64));
    let task = held(&*store, &program(&*store, 1).await, Stage::Deliver).await;
    let with_task = store.usage().await.unwrap();
    assert!(with_task.blob_bytes >= grown.blob_bytes + (witness_of(task.id).len() + proof_of(task.id).len()) as u64);
    assert!(with_task.blobs >= grown.blobs + 2);

    let collected = collect(&*store, &KEEP, hours(2), 100).await;
    assert_eq!((collected.blobs, collected.blob_bytes), (2, bytes as u64));
    let after = store.usage().await.unwrap();
    assert_eq!((after.blobs, after.blob_bytes), (with_task.blobs - 2, with_task.blob_bytes - bytes as u64));
}

/// What was named is there, whatever was collected between putting and naming it; what was collected is missing, and
/// nobody is told otherwise.
pub(crate) async fn collecting_beside_everything_else_loses_nothing<B: Backing>() {
    let backing = B::new().await;
    let store = backing.store();
    let program = program(&*store, 1).await;
    let done = Arc::new(AtomicBool::new(false));
    let others = backing.second().await.unwrap_or_else(|| backing.store());
    let collectors: Vec<_> = [backing.store(), others]
        .into_iter()
        .map(|store| {
            let done = done.clone();
            tokio::spawn(async move {
                let mut collected = 0;
                while !done.load(Ordering::Relaxed) {
                    collected += store.collect(&KEEP, hours(2), 10).await.unwrap().blobs;
                }
                collected
            })
        })
        .collect();
    let mut deployers = Vec::new();
    for nonce in 100..112 {
        let store = backing.store();
        let blob = if nonce % 2 == 0 { content("controller") } else { Bytes::from_static(b"small controller") };
        let program = program.clone();
        deployers.push(tokio::spawn(async move {
            for _ in 0..4 {
                let controller = store.put_blob(blob.clone()).await.unwrap();
                match store.set_controller(program.id, controller, by("alice"), 32).await {
                    Ok(found) => {
                        assert_eq!(found.unwrap().id, program.id);
                        assert_eq!(store.blob(controller).await.unwrap(), blob);
                    }
                    Err(StoreError::BlobMissing(missing)) => assert_eq!(missing, controller),
                    Err(other) => panic!("{other}"),
                }
            }
        }));
    }
    for _ in 0..6 {
        let held = held(&*store, &program, Stage::Deliver).await;
        assert_eq!(store.blob(held.witness.unwrap()).await.unwrap(), witness_of(held.id));
        assert_eq!(store.blob(held.proof.unwrap()).await.unwrap(), proof_of(held.id));
    }
    for deployer in deployers {
        deployer.await.unwrap();
    }
    done.store(true, Ordering::Relaxed);
    for collector in collectors {
        collector.await.unwrap();
    }
    let program = store.program(program.id).await.unwrap().unwrap();
    store.blob(program.controller).await.unwrap();
}
