//! Two processes on one store. Where there can be only one, these say nothing.

use super::{
    Backing,
    changes::{Listener, told_of},
    fixture::{
        HOUR, ROOM, admitted, beat, claim, claim_one, event, events, executed, new_task, owner, program, proved, task,
    },
};
use coprocessor_store::{
    Admission, Backlog, Change, Idempotency, NewTask, ProverRecord, Stage, Store, StoreError, TaskFilter, TaskState,
};
use coprocessor_types::{BlobDigest, OwnerId, TaskId};
use jiff::Timestamp;
use std::{collections::BTreeSet, sync::Arc};

async fn both<B: Backing>(backing: &B) -> Option<[Arc<dyn Store>; 2]> {
    Some([backing.store(), backing.second().await?])
}

pub(crate) async fn one_store_has_one_identity<B: Backing>() {
    let backing = B::new().await;
    let Some([one, other]) = both(&backing).await else { return };
    assert_eq!(one.instance(), other.instance());
}

pub(crate) async fn what_one_process_does_the_other_sees_and_is_told<B: Backing>() {
    let backing = B::new().await;
    let Some([one, other]) = both(&backing).await else { return };
    let mut listener = Listener::new(other.clone()).await;
    let program = program(&*one, 1).await;
    assert_eq!(other.program(program.id).await.unwrap().as_ref(), Some(&program));
    let task = task(&*one, &program).await;
    listener.expect(&Change::Work(Stage::Execute)).await;
    let last = async || told_of(events(&*one, task.id).await.last().unwrap(), &task.owner);

    let held = claim(&*other, Stage::Execute).await;
    assert_eq!(held.task.id, task.id);
    assert_eq!(claim_one(&*one, Stage::Execute, HOUR).await, None);
    // A step that one process runs is ended by another's cancellation, and it is told at once.
    one.cancel(task.id).await.unwrap();
    let cancelled = last().await;
    assert!(matches!(cancelled, Change::Event { state: TaskState::Cancelled, .. }));
    listener.expect(&cancelled).await;
    assert!(!beat(&*other, task.id, held.task.fence, HOUR).await);
    let got = other.finish_step(task.id, held.task.fence, executed()).await;
    assert!(matches!(got, Err(StoreError::StaleFence { .. })), "{got:?}");

    let node = ProverRecord {
        address: "http://node".to_owned(),
        owner: owner("alice"),
        shared: true,
        trusted: true,
        secret: None,
        added_at: Timestamp::UNIX_EPOCH,
    };
    one.add_prover(node).await.unwrap();
    listener.expect(&Change::Provers).await;
    assert_eq!(other.provers().await.unwrap().len(), 1);
}

pub(crate) async fn a_restart_of_one_process_leaves_the_other_s_leases<B: Backing>() {
    let mut backing = B::new().await;
    let Some(other) = backing.second().await else { return };
    let id = task(&*other, &program(&*other, 1).await).await.id;
    let held = claim(&*other, Stage::Execute).await;
    backing.reopen().await;
    assert_eq!(claim_one(&*backing.store(), Stage::Execute, HOUR).await, None);
    other.finish_step(id, held.task.fence, executed()).await.unwrap();
    let held = claim(&*backing.store(), Stage::Prove).await;
    assert_eq!(held.task.id, id);
    let done = backing.store().finish_step(id, held.task.fence, proved()).await.unwrap();
    assert_eq!(other.task(id).await.unwrap(), Some(done));
}

pub(crate) async fn claims_of_two_processes_are_apart_and_fair<B: Backing>() {
    const EACH: usize = 40;
    let backing = B::new().await;
    let Some(stores) = both(&backing).await else { return };
    let program = program(&*stores[0], 1).await;
    for index in 0..2 * EACH {
        // Alice's come first, all of them.
        let new = NewTask { owner: owner(if index < EACH { "alice" } else { "bob" }), ..new_task(&program) };
        admitted(stores[index % 2].admit(new, ROOM).await.unwrap());
    }
    let claimers: Vec<_> = (0..4)
        .map(|index| {
            let store = stores[index % 2].clone();
            tokio::spawn(async move {
                let mut claimed = Vec::new();
                for _ in 0..5 {
                    for claim in store.claim(Stage::Execute, "worker", HOUR, 2).await.unwrap() {
                        claimed.push((claim.task.id, claim.task.owner));
                    }
                }
                claimed
            })
        })
        .collect();
    let mut claimed: Vec<(TaskId, OwnerId)> = Vec::new();
    for claimer in claimers {
        claimed.extend(claimer.await.unwrap());
    }
    assert_eq!(claimed.iter().collect::<BTreeSet<_>>().len(), claimed.len());
    let of_bob = claimed.iter().filter(|(_, of)| of.as_str() == "bob").count();
    assert!(claimed.len() == EACH && (EACH / 4..=3 * EACH / 4).contains(&of_bob), "{of_bob} of {}", claimed.len());
}

pub(crate) async fn one_key_makes_one_task_whoever_is_asked<B: Backing>() {
    let backing = B::new().await;
    let Some(stores) = both(&backing).await else { return };
    let program = program(&*stores[0], 1).await;
    let racers: Vec<_> = (0..16)
        .map(|index| {
            let idempotency = Some(Idempotency { key: "key".to_owned(), request: BlobDigest([1; 32]) });
            let (store, new) = (stores[index % 2].clone(), NewTask { idempotency, ..new_task(&program) });
            tokio::spawn(async move { store.admit(new, ROOM).await.unwrap() })
        })
        .collect();
    let mut tasks = BTreeSet::new();
    for racer in racers {
        match racer.await.unwrap() {
            Admission::Admitted(task) | Admission::Repeated(task) => tasks.insert(task.id),
            other => panic!("{other:?}"),
        };
    }
    assert_eq!(tasks.len(), 1);
}

pub(crate) async fn a_bound_is_passed_by_no_more_than_is_in_flight<B: Backing>() {
    const BOUND: usize = 10;
    const IN_FLIGHT: usize = 4;
    let backing = B::new().await;
    let Some(stores) = both(&backing).await else { return };
    let program = program(&*stores[0], 1).await;
    let racers: Vec<_> = (0..2 * IN_FLIGHT)
        .map(|index| {
            let (store, program) = (stores[index % 2].clone(), program.clone());
            tokio::spawn(async move {
                for _ in 0..BOUND {
                    let new = NewTask { id: TaskId::now(), ..new_task(&program) };
                    store.admit(new, Backlog { total: BOUND as u64, ..ROOM }).await.unwrap();
                }
            })
        })
        .collect();
    for racer in racers {
        racer.await.unwrap();
    }
    let admitted = stores[1].tasks(TaskFilter::default(), None, 1000).await.unwrap().items.len();
    assert!((BOUND..=BOUND + 2 * IN_FLIGHT).contains(&admitted), "{admitted}");
}

pub(crate) async fn a_late_write_through_another_process_changes_nothing<B: Backing>() {
    let backing = B::new().await;
    let Some([one, other]) = both(&backing).await else { return };
    let id = task(&*one, &program(&*one, 1).await).await.id;
    let first = claim_one(&*one, Stage::Execute, std::time::Duration::ZERO).await.unwrap();
    let second = claim(&*other, Stage::Execute).await;
    assert_eq!(second.task.fence, first.task.fence + 1);
    for outcome in [executed(), proved()] {
        let got = one.finish_step(id, first.task.fence, outcome).await;
        assert!(matches!(got, Err(StoreError::StaleFence { .. })), "{got:?}");
    }
    let got = one.assign(id, first.task.fence, "http://node", event("assigned")).await;
    assert!(matches!(got, Err(StoreError::StaleFence { .. })), "{got:?}");
    other.finish_step(id, second.task.fence, executed()).await.unwrap();
}
