//! Claims and leases.

use super::{
    Backing,
    fixture::{HOUR, claim, event, event_names, events, executed, in_an_hour, postponed, program, success, task},
};
use coprocessor_store::{Change, Stage, StoreError, TaskState};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use std::{collections::BTreeSet, time::Duration};
use tokio::sync::broadcast;

pub(crate) async fn the_oldest_is_claimed_first_and_once<B: Backing>() {
    let backing = B::new().await;
    let store = backing.store();
    assert_eq!(store.claim(Stage::Execute, "worker", HOUR).await.unwrap(), None);
    let program = program(&*store, 1).await;
    let mut tasks = Vec::new();
    for _ in 0..3 {
        tasks.push(task(&*store, &program).await);
    }
    for expected in tasks {
        let before = Timestamp::now();
        let claim = store.claim(Stage::Execute, "worker 7", HOUR).await.unwrap().unwrap();
        assert_eq!(claim.task.id, expected.id);
        assert_eq!((claim.task.state, claim.task.fence, claim.stage), (TaskState::Executing, 1, Stage::Execute));
        assert!(claim.expires_at >= before + SignedDuration::from_hours(1));
        assert_eq!(store.task(expected.id).await.unwrap(), Some(claim.task));
        let claimed = events(&*store, expected.id).await.pop().unwrap();
        assert_eq!((claimed.kind.name.as_str(), claimed.state), ("claimed", TaskState::Executing));
        assert_eq!(claimed.kind.detail, json!({ "worker": "worker 7", "stage": "execute", "fence": 1 }));
    }
    assert_eq!(store.claim(Stage::Execute, "worker", HOUR).await.unwrap(), None);
}

pub(crate) async fn claims_race_for_different_tasks<B: Backing>() {
    let backing = B::new().await;
    let program = program(&*backing.store(), 1).await;
    let mut tasks = BTreeSet::new();
    for _ in 0..20 {
        tasks.insert(task(&*backing.store(), &program).await.id);
    }
    let workers: Vec<_> = (0..32)
        .map(|_| {
            let store = backing.store();
            tokio::spawn(async move { store.claim(Stage::Execute, "racer", HOUR).await.unwrap() })
        })
        .collect();
    let mut claimed = Vec::new();
    for worker in workers {
        claimed.extend(worker.await.unwrap().map(|claim| claim.task.id));
    }
    assert_eq!(claimed.len(), 20);
    assert_eq!(claimed.into_iter().collect::<BTreeSet<_>>(), tasks);
}

pub(crate) async fn stages_are_claimed_apart<B: Backing>() {
    let backing = B::new().await;
    let store = backing.store();
    let id = task(&*store, &program(&*store, 1).await).await.id;
    for (index, stage) in Stage::ALL.into_iter().enumerate() {
        for other in Stage::ALL {
            if other != stage {
                assert_eq!(store.claim(other, "worker", HOUR).await.unwrap(), None, "{other:?} at {stage:?}");
            }
        }
        let held = claim(&*store, stage).await;
        assert_eq!((held.task.id, held.task.fence, held.stage), (id, index as u64 + 1, stage));
        store.finish_step(id, held.task.fence, success(stage)).await.unwrap();
    }
    for stage in Stage::ALL {
        assert_eq!(store.claim(stage, "worker", HOUR).await.unwrap(), None);
        assert_eq!(store.next_ready(stage).await.unwrap(), None);
    }
}

pub(crate) async fn a_lease_that_ran_out_is_claimed_again<B: Backing>() {
    let backing = B::new().await;
    let store = backing.store();
    task(&*store, &program(&*store, 1).await).await;
    for stage in Stage::ALL {
        let first = store.claim(stage, "slow", Duration::ZERO).await.unwrap().unwrap();
        assert!(store.next_ready(stage).await.unwrap().unwrap() <= Timestamp::now());
        let second = claim(&*store, stage).await;
        assert_eq!((second.task.id, second.task.fence), (first.task.id, first.task.fence + 1));
        assert_eq!(store.claim(stage, "third", HOUR).await.unwrap(), None);
        assert_eq!(store.next_ready(stage).await.unwrap().unwrap(), second_expiry(second.expires_at));
        store.finish_step(second.task.id, second.task.fence, success(stage)).await.unwrap();
    }
}

/// Stores keep microseconds, and a lease never for less than was promised.
fn second_expiry(expires_at: Timestamp) -> Timestamp {
    let floor = Timestamp::from_microsecond(expires_at.as_microsecond()).unwrap();
    if floor == expires_at { floor } else { floor + SignedDuration::from_micros(1) }
}

pub(crate) async fn a_heartbeat_keeps_the_claim<B: Backing>() {
    let backing = B::new().await;
    let store = backing.store();
    let id = task(&*store, &program(&*store, 1).await).await.id;
    // The lease has run out, nobody else has come: the worker may go on, and nobody else can from then on.
    let held = store.claim(Stage::Execute, "slow", Duration::ZERO).await.unwrap().unwrap();
    let events = event_names(&*store, id).await;
    store.heartbeat(id, held.task.fence, HOUR).await.unwrap();
    assert_eq!(store.claim(Stage::Execute, "other", HOUR).await.unwrap(), None);
    assert_eq!(event_names(&*store, id).await, events);

    let got = store.heartbeat(id, held.task.fence + 1, HOUR).await;
    assert!(matches!(got, Err(StoreError::StaleFence { fence: 2, .. })), "{got:?}");
    store.heartbeat(id, held.task.fence, Duration::MAX).await.unwrap();
    assert!(store.next_ready(Stage::Execute).await.unwrap().unwrap() > in_an_hour());
    store.heartbeat(id, held.task.fence, Duration::ZERO).await.unwrap();
    let other = claim(&*store, Stage::Execute).await;
    let got = store.heartbeat(id, held.task.fence, HOUR).await;
    assert!(matches!(got, Err(StoreError::StaleFence { .. })), "{got:?}");
    store.finish_step(id, other.task.fence, executed()).await.unwrap();
    let got = store.heartbeat(id, other.task.fence, HOUR).await;
    assert!(matches!(got, Err(StoreError::StaleFence { .. })), "{got:?}");
}

pub(crate) async fn a_restart_voids_leases<B: Backing>() {
    let mut backing = B::new().await;
    let id = task(&*backing.store(), &program(&*backing.store(), 1).await).await.id;
    for (index, stage) in Stage::ALL.into_iter().enumerate() {
        let before = claim(&*backing.store(), stage).await;
        backing.reopen().await;
        let store = backing.store();
        let got = store.finish_step(id, before.task.fence, success(stage)).await;
        assert!(matches!(got, Err(StoreError::StaleFence { .. })), "{got:?}");
        let after = claim(&*store, stage).await;
        assert_eq!((after.task.id, after.task.fence), (id, 2 * index as u64 + 2));
        store.finish_step(id, after.task.fence, success(stage)).await.unwrap();
    }
    assert_eq!(backing.store().task(id).await.unwrap().unwrap().state, TaskState::Delivered);
}

pub(crate) async fn postponed_tasks_wait_for_their_time<B: Backing>() {
    let mut backing = B::new().await;
    let store = backing.store();
    let program = program(&*store, 1).await;
    let (waiting, other) = (task(&*store, &program).await.id, task(&*store, &program).await.id);
    let held = claim(&*store, Stage::Execute).await;
    let until = in_an_hour();
    let after = store.finish_step(waiting, held.task.fence, postponed(until, true)).await.unwrap();
    assert_eq!((after.state, after.not_before, after.attempts), (TaskState::Queued, Some(until), 1));
    assert_eq!(store.next_ready(Stage::Execute).await.unwrap(), Some(until));
    assert_eq!(store.next_ready(Stage::Prove).await.unwrap(), None);

    drop(store);
    backing.reopen().await;
    let store = backing.store();
    assert_eq!(store.next_ready(Stage::Execute).await.unwrap(), Some(until));
    // The other one overtakes it.
    let held = claim(&*store, Stage::Execute).await;
    assert_eq!(held.task.id, other);
    let past = Timestamp::UNIX_EPOCH;
    store.finish_step(other, held.task.fence, postponed(past, false)).await.unwrap();
    let held = claim(&*store, Stage::Execute).await;
    assert_eq!((held.task.id, held.task.not_before, held.task.attempts), (other, None, 0));
    // A moment away: it becomes ready by itself.
    let soon = Timestamp::now() + SignedDuration::from_millis(30);
    store.finish_step(other, held.task.fence, postponed(soon, false)).await.unwrap();
    let ready = loop {
        match store.claim(Stage::Execute, "worker", HOUR).await.unwrap() {
            Some(claim) => break claim,
            None => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    };
    assert_eq!(ready.task.id, other);
    assert!(Timestamp::now() >= soon);
}

/// All that was told since, in order.
fn told(changes: &mut broadcast::Receiver<Change>) -> Vec<Change> {
    std::iter::from_fn(|| changes.try_recv().ok()).collect()
}

pub(crate) async fn changes_are_told_after_the_commit<B: Backing>() {
    let backing = B::new().await;
    let store = backing.store();
    let program = program(&*store, 1).await;
    let mut changes = store.changes();
    let id = task(&*store, &program).await.id;
    let mut seen = 0;
    let mut expect = async |work: Option<Stage>| {
        // A flush is answered after all that came before it was told.
        store.flush().await.unwrap();
        let (told, events) = (told(&mut changes), events(&*store, id).await);
        let mut expected: Vec<_> =
            events[seen..].iter().map(|event| Change::Event { task: id, seq: event.seq }).collect();
        seen = events.len();
        let (mut works, mut others): (Vec<_>, Vec<_>) =
            told.into_iter().partition(|change| matches!(change, Change::Work(_)));
        works.dedup();
        others.dedup();
        expected.dedup();
        assert_eq!(works, work.map(Change::Work).into_iter().collect::<Vec<_>>());
        assert_eq!(others, expected);
        assert!(!expected.is_empty());
    };
    expect(Some(Stage::Execute)).await;
    let held = claim(&*store, Stage::Execute).await;
    expect(None).await;
    store.progress(id, held.task.fence, event("progress")).await.unwrap();
    expect(None).await;
    store.finish_step(id, held.task.fence, executed()).await.unwrap();
    expect(Some(Stage::Prove)).await;
    let held = claim(&*store, Stage::Prove).await;
    store.finish_step(id, held.task.fence, postponed(in_an_hour(), true)).await.unwrap();
    expect(None).await;
    store.cancel(id).await.unwrap();
    expect(None).await;

    // What fails tells nothing.
    let held = task(&*store, &program).await;
    store.flush().await.unwrap();
    told(&mut changes);
    store.finish_step(held.id, 9, executed()).await.unwrap_err();
    store.progress(held.id, 9, event("progress")).await.unwrap_err();
    store.flush().await.unwrap();
    assert_eq!(told(&mut changes), []);
}
