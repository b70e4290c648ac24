//! Claims and leases.

use super::{
    Backing,
    fixture::{
        HOUR, ROOM, admitted, beat, claim, claim_one, event, event_names, events, executed, held_at, in_an_hour,
        new_task, picture, postponed, program, proved, success, task,
    },
};
use coprocessor_store::{EventKind, NewTask, Stage, StoreError, TaskState};
use coprocessor_types::TaskId;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

pub(crate) async fn the_oldest_is_claimed_first_and_once<B: Backing>() {
    let backing = B::new().await;
    let store = backing.store();
    assert_eq!(claim_one(&*store, Stage::Execute, HOUR).await, None);
    let program = program(&*store, 1).await;
    let mut tasks = Vec::new();
    for _ in 0..3 {
        tasks.push(task(&*store, &program).await);
    }
    for expected in tasks {
        let before = Timestamp::now();
        let claim = store.claim(Stage::Execute, "worker 7", HOUR, 1).await.unwrap().pop().unwrap();
        assert_eq!(claim.task.id, expected.id);
        assert_eq!((claim.task.state, claim.task.fence, claim.stage), (TaskState::Executing, 1, Stage::Execute));
        assert!(claim.expires_at >= before + SignedDuration::from_hours(1));
        assert_eq!(store.task(expected.id).await.unwrap(), Some(claim.task));
        let claimed = events(&*store, expected.id).await.pop().unwrap();
        assert_eq!((claimed.kind.name.as_str(), claimed.state), ("claimed", TaskState::Executing));
        assert_eq!(claimed.kind.detail, json!({ "worker": "worker 7", "stage": "execute", "fence": 1 }));
    }
    assert_eq!(claim_one(&*store, Stage::Execute, HOUR).await, None);
}

pub(crate) async fn claims_race_for_different_tasks<B: Backing>() {
    const TASKS: usize = 30;
    let backing = B::new().await;
    let program = program(&*backing.store(), 1).await;
    let mut tasks = BTreeSet::new();
    for _ in 0..TASKS {
        tasks.insert(task(&*backing.store(), &program).await.id);
    }
    let left = Arc::new(AtomicUsize::new(TASKS));
    // Some one by one, some in batches.
    let workers: Vec<_> = (0..16)
        .map(|worker| {
            let (store, left) = (backing.store(), left.clone());
            tokio::spawn(async move {
                let mut claimed = Vec::new();
                while left.load(Ordering::Relaxed) > 0 {
                    let claims = store.claim(Stage::Execute, "racer", HOUR, 1 + worker % 4).await.unwrap();
                    left.fetch_sub(claims.len(), Ordering::Relaxed);
                    claimed.extend(claims.into_iter().map(|claim| (claim.task.id, claim.task.fence)));
                }
                claimed
            })
        })
        .collect();
    let mut claimed = Vec::new();
    for worker in workers {
        claimed.extend(worker.await.unwrap());
    }
    assert_eq!(claimed.len(), TASKS);
    assert_eq!(claimed.into_iter().collect::<BTreeSet<_>>(), tasks.into_iter().map(|id| (id, 1)).collect());
}

pub(crate) async fn a_batch_is_claimed_at_once<B: Backing>() {
    let backing = B::new().await;
    let store = backing.store();
    let program = program(&*store, 1).await;
    let mut tasks = Vec::new();
    for _ in 0..7 {
        tasks.push(task(&*store, &program).await.id);
    }
    assert_eq!(store.claim(Stage::Execute, "worker", HOUR, 0).await.unwrap(), []);
    let before = Timestamp::now();
    let first = store.claim(Stage::Execute, "worker 7", HOUR, 4).await.unwrap();
    let rest = store.claim(Stage::Execute, "worker 8", HOUR, usize::MAX).await.unwrap();
    assert_eq!((first.len(), rest.len()), (4, 3));
    let ids: Vec<_> = first.iter().chain(&rest).map(|claim| claim.task.id).collect();
    assert_eq!(ids, tasks);
    for (claim, worker) in first.iter().zip(["worker 7"; 4]).chain(rest.iter().zip(["worker 8"; 3])) {
        let id = claim.task.id;
        assert_eq!((claim.stage, claim.task.fence, claim.task.state), (Stage::Execute, 1, TaskState::Executing));
        assert!(claim.expires_at >= before + SignedDuration::from_hours(1));
        assert_eq!(store.task(id).await.unwrap().as_ref(), Some(&claim.task));
        let claimed = events(&*store, id).await.pop().unwrap();
        assert_eq!(claimed.kind.detail, json!({ "worker": worker, "stage": "execute", "fence": 1 }));
        // Each claim is one of its own.
        store.finish_step(id, 1, executed()).await.unwrap();
    }
    assert_eq!(store.claim(Stage::Execute, "worker", HOUR, 10).await.unwrap(), []);
}

pub(crate) async fn a_heartbeat_tells_which_claims_are_over<B: Backing>() {
    let backing = B::new().await;
    let store = backing.store();
    let program = program(&*store, 1).await;
    for _ in 0..6 {
        task(&*store, &program).await;
    }
    let held = store.claim(Stage::Execute, "worker", HOUR, 6).await.unwrap();
    let claims: Vec<_> = held.iter().map(|claim| (claim.task.id, claim.task.fence)).collect();
    let [kept, done, cancelled, lost, given_back, also_kept] = claims.clone().try_into().unwrap();
    store.finish_step(done.0, done.1, executed()).await.unwrap();
    store.cancel(cancelled.0).await.unwrap();
    assert!(beat(&*store, lost.0, lost.1, Duration::ZERO).await);
    assert_eq!(claim(&*store, Stage::Execute).await.task.id, lost.0);
    store.finish_step(given_back.0, given_back.1, postponed(in_an_hour(), true)).await.unwrap();
    let nobody = (TaskId::now(), 1);

    assert_eq!(store.heartbeat(&[], HOUR).await.unwrap(), []);
    let asked: Vec<_> = claims.into_iter().chain([nobody]).collect();
    let over: BTreeSet<_> = store.heartbeat(&asked, Duration::ZERO).await.unwrap().into_iter().collect();
    assert_eq!(over, BTreeSet::from([done, cancelled, lost, given_back, nobody]));
    // The leases of the others ended at once, as was asked.
    let again = store.claim(Stage::Execute, "worker", HOUR, 10).await.unwrap();
    let again: BTreeSet<_> = again.into_iter().map(|claim| (claim.task.id, claim.task.fence - 1)).collect();
    assert_eq!(again, BTreeSet::from([kept, also_kept]));
}

pub(crate) async fn the_node_of_a_claim_is_recorded<B: Backing>() {
    let mut backing = B::new().await;
    let store = backing.store();
    let held = held_at(&*store, 1, Stage::Prove).await;
    let (id, program, fence) = (held.task.id, held.task.program, held.task.fence);
    assert_eq!(held.task.node, None);
    for node in ["http://one", "http://two"] {
        let detail = json!({ "node": node });
        store.assign(id, fence, node, EventKind { name: "assigned".to_owned(), detail: detail.clone() }).await.unwrap();
        let task = store.task(id).await.unwrap().unwrap();
        assert_eq!((task.node.as_deref(), task.state, task.fence), (Some(node), TaskState::Proving, fence));
        let event = events(&*store, id).await.pop().unwrap();
        assert_eq!(
            (event.kind.name.as_str(), event.kind.detail, event.state),
            ("assigned", detail, TaskState::Proving)
        );
    }
    let before = picture(&*store, program, id).await;
    for stale in [0, fence - 1, fence + 1, u64::MAX] {
        let got = store.assign(id, stale, "http://three", event("assigned")).await;
        assert!(matches!(got, Err(StoreError::StaleFence { task, fence }) if task == id && fence == stale), "{got:?}");
    }
    assert_eq!(picture(&*store, program, id).await, before);
    // The claim is as it was.
    assert_eq!(claim_one(&*store, Stage::Prove, HOUR).await, None);
    assert!(beat(&*store, id, fence, HOUR).await);
    drop(store);
    backing.reopen().await;

    let store = backing.store();
    assert_eq!(picture(&*store, program, id).await, before);
    let fence = if B::VOIDS_LEASES { claim(&*store, Stage::Prove).await.task.fence } else { fence };
    let proved = store.finish_step(id, fence, proved()).await.unwrap();
    assert_eq!(proved.node.as_deref(), Some("http://two"));
    let got = store.assign(id, fence, "http://three", event("assigned")).await;
    assert!(matches!(got, Err(StoreError::StaleFence { .. })), "{got:?}");
}

pub(crate) async fn stages_are_claimed_apart<B: Backing>() {
    let backing = B::new().await;
    let store = backing.store();
    let id = task(&*store, &program(&*store, 1).await).await.id;
    for (index, stage) in Stage::ALL.into_iter().enumerate() {
        for other in Stage::ALL {
            if other != stage {
                assert_eq!(claim_one(&*store, other, HOUR).await, None, "{other:?} at {stage:?}");
            }
        }
        let held = claim(&*store, stage).await;
        assert_eq!((held.task.id, held.task.fence, held.stage), (id, index as u64 + 1, stage));
        store.finish_step(id, held.task.fence, success(stage)).await.unwrap();
    }
    for stage in Stage::ALL {
        assert_eq!(claim_one(&*store, stage, HOUR).await, None);
        assert_eq!(store.next_ready(stage).await.unwrap(), None);
    }
}

pub(crate) async fn a_lease_that_ran_out_is_claimed_again<B: Backing>() {
    let backing = B::new().await;
    let store = backing.store();
    task(&*store, &program(&*store, 1).await).await;
    for stage in Stage::ALL {
        let first = claim_one(&*store, stage, Duration::ZERO).await.unwrap();
        assert!(store.next_ready(stage).await.unwrap().unwrap() <= Timestamp::now());
        let second = claim(&*store, stage).await;
        assert_eq!((second.task.id, second.task.fence), (first.task.id, first.task.fence + 1));
        assert_eq!(claim_one(&*store, stage, HOUR).await, None);
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
    let held = claim_one(&*store, Stage::Execute, Duration::ZERO).await.unwrap();
    let events = event_names(&*store, id).await;
    assert!(beat(&*store, id, held.task.fence, HOUR).await);
    assert_eq!(claim_one(&*store, Stage::Execute, HOUR).await, None);
    assert_eq!(event_names(&*store, id).await, events);

    assert!(!beat(&*store, id, held.task.fence + 1, HOUR).await);
    assert!(beat(&*store, id, held.task.fence, Duration::MAX).await);
    assert!(store.next_ready(Stage::Execute).await.unwrap().unwrap() > in_an_hour());
    assert!(beat(&*store, id, held.task.fence, Duration::ZERO).await);
    let other = claim(&*store, Stage::Execute).await;
    assert!(!beat(&*store, id, held.task.fence, HOUR).await);
    store.finish_step(id, other.task.fence, executed()).await.unwrap();
    assert!(!beat(&*store, id, other.task.fence, HOUR).await);
}

pub(crate) async fn a_restart_voids_leases_only_where_nobody_else_can_hold_one<B: Backing>() {
    let mut backing = B::new().await;
    let id = task(&*backing.store(), &program(&*backing.store(), 1).await).await.id;
    let mut fence = 0;
    for stage in Stage::ALL {
        fence = claim(&*backing.store(), stage).await.task.fence;
        backing.reopen().await;
        let store = backing.store();
        if B::VOIDS_LEASES {
            let got = store.finish_step(id, fence, success(stage)).await;
            assert!(matches!(got, Err(StoreError::StaleFence { .. })), "{got:?}");
            let after = claim(&*store, stage).await;
            assert_eq!((after.task.id, after.task.fence), (id, fence + 1));
            fence += 1;
        } else {
            assert_eq!(claim_one(&*store, stage, HOUR).await, None);
        }
        store.finish_step(id, fence, success(stage)).await.unwrap();
    }
    let done = backing.store().task(id).await.unwrap().unwrap();
    assert_eq!((done.state, done.fence), (TaskState::Delivered, fence));
}

pub(crate) async fn a_restart_voids_leases_that_ran_out_too<B: Backing>() {
    let mut backing = B::new().await;
    let store = backing.store();
    let program = program(&*store, 1).await;
    let late = task(&*store, &program).await.id;
    let fence = claim_one(&*store, Stage::Execute, Duration::ZERO).await.unwrap().task.fence;
    // This claim has seen that the first one's lease ran out, and taken another task.
    let urgent = NewTask { priority: 1, ..new_task(&program) };
    let urgent = admitted(store.admit(urgent, ROOM).await.unwrap()).id;
    assert_eq!(claim(&*store, Stage::Execute).await.task.id, urgent);
    drop(store);
    backing.reopen().await;
    let store = backing.store();
    assert_eq!(beat(&*store, late, fence, Duration::ZERO).await, !B::VOIDS_LEASES);
    let got = store.finish_step(late, fence, executed()).await;
    if B::VOIDS_LEASES {
        assert!(matches!(got, Err(StoreError::StaleFence { .. })), "{got:?}");
    } else {
        got.unwrap();
    }
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
        match claim_one(&*store, Stage::Execute, HOUR).await {
            Some(claim) => break claim,
            None => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    };
    assert_eq!(ready.task.id, other);
    assert!(Timestamp::now() >= soon);
}
