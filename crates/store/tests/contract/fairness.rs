//! Whose task is claimed next.

use super::{
    Backing,
    fixture::{
        self, HOUR, ROOM, admitted, claim, claim_one, executed, in_an_hour, new_task, owner, postponed, program,
    },
};
use coprocessor_store::{Claim, NewTask, Owner, Program, Quotas, Stage, Store, Task};
use jiff::Timestamp;
use std::time::Duration;

async fn admit(store: &dyn Store, program: &Program, name: &str, priority: i16) -> Task {
    let new = NewTask { owner: owner(name), priority, ..new_task(program) };
    admitted(store.admit(new, ROOM).await.unwrap())
}

async fn admit_many(store: &dyn Store, program: &Program, name: &str, count: usize) {
    for _ in 0..count {
        admit(store, program, name, 0).await;
    }
}

async fn set_weight(store: &dyn Store, name: &str, weight: u32) {
    let owner =
        Owner { id: owner(name), weight, quotas: Quotas::default(), created_at: Timestamp::from_second(1).unwrap() };
    store.put_owner(owner).await.unwrap();
}

/// The owners of the next `count` claims, one by one.
async fn turns(store: &dyn Store, stage: Stage, count: usize) -> Vec<String> {
    let mut owners = Vec::new();
    for _ in 0..count {
        owners.push(claim(store, stage).await.task.owner.to_string());
    }
    owners
}

fn owners(claims: &[Claim]) -> Vec<String> {
    claims.iter().map(|claim| claim.task.owner.to_string()).collect()
}

fn count(owners: &[String], name: &str) -> usize {
    owners.iter().filter(|owner| *owner == name).count()
}

/// How often at most an owner came in a row.
fn longest_run(owners: &[String], name: &str) -> usize {
    owners.chunk_by(|one, next| one == next).filter(|run| run[0] == name).map(<[String]>::len).max().unwrap_or(0)
}

pub(crate) async fn owners_take_turns_in_each_stage<B: Backing>() {
    let backing = B::new().await;
    let store = backing.store();
    let program = program(&*store, 1).await;
    for (name, tasks) in [("alice", 12), ("bob", 3), ("carol", 3)] {
        admit_many(&*store, &program, name, tasks).await;
    }
    for stage in [Stage::Execute, Stage::Prove] {
        let mut held = Vec::new();
        while let Some(claim) = claim_one(&*store, stage, HOUR).await {
            held.push(claim);
        }
        let turns = owners(&held);
        assert_eq!(turns.len(), 18);
        for round in turns[..9].chunks(3) {
            let mut round = round.to_vec();
            round.sort();
            assert_eq!(round, ["alice", "bob", "carol"], "{turns:?}");
        }
        assert_eq!(count(&turns[9..], "alice"), 9);
        for claim in held.into_iter().filter(|_| stage == Stage::Execute) {
            store.finish_step(claim.task.id, claim.task.fence, executed()).await.unwrap();
        }
    }
}

pub(crate) async fn an_owner_s_tasks_go_by_priority_then_age<B: Backing>() {
    let backing = B::new().await;
    let store = backing.store();
    let program = program(&*store, 1).await;
    let mut tasks = Vec::new();
    for priority in [0, 5, -100, 100, 5, 0, -1] {
        tasks.push(admit(&*store, &program, "alice", priority).await);
    }
    // What waits for its time has no place, and comes back to its own when the time has come.
    let first = claim(&*store, Stage::Execute).await;
    assert_eq!(first.task.id, tasks[3].id);
    store.finish_step(first.task.id, first.task.fence, postponed(in_an_hour(), false)).await.unwrap();
    let second = claim(&*store, Stage::Execute).await;
    assert_eq!(second.task.id, tasks[1].id);
    store.finish_step(second.task.id, second.task.fence, postponed(Timestamp::UNIX_EPOCH, false)).await.unwrap();
    let mut order = Vec::new();
    while let Some(claim) = claim_one(&*store, Stage::Execute, HOUR).await {
        order.push(claim.task.id);
    }
    assert_eq!(order, [1, 4, 0, 5, 6, 2].map(|index: usize| tasks[index].id));
}

pub(crate) async fn priorities_count_among_one_owner_s_tasks_only<B: Backing>() {
    let backing = B::new().await;
    let store = backing.store();
    let program = program(&*store, 1).await;
    for _ in 0..6 {
        admit(&*store, &program, "alice", 100).await;
    }
    for _ in 0..3 {
        admit(&*store, &program, "bob", -100).await;
    }
    let turns = turns(&*store, Stage::Execute, 6).await;
    assert_eq!((count(&turns, "alice"), count(&turns, "bob")), (3, 3), "{turns:?}");
}

pub(crate) async fn a_huge_backlog_holds_nobody_else<B: Backing>() {
    let backing = B::new().await;
    let store = backing.store();
    let program = program(&*store, 1).await;
    admit_many(&*store, &program, "alice", 200).await;
    store.claim(Stage::Execute, "worker", HOUR, 50).await.unwrap();
    admit_many(&*store, &program, "bob", 2).await;
    admit_many(&*store, &program, "carol", 1).await;
    let turns = turns(&*store, Stage::Execute, 3).await;
    assert_eq!((count(&turns, "bob"), count(&turns, "carol")), (1, 1), "{turns:?}");
}

pub(crate) async fn batches_are_fair_too<B: Backing>() {
    let backing = B::new().await;
    let store = backing.store();
    let program = program(&*store, 1).await;
    for (name, tasks) in [("alice", 60), ("bob", 2), ("carol", 1)] {
        admit_many(&*store, &program, name, tasks).await;
    }
    let batch = owners(&store.claim(Stage::Execute, "worker", HOUR, 6).await.unwrap());
    let counts = ["alice", "bob", "carol"].map(|name| count(&batch, name));
    assert_eq!(counts, [3, 2, 1], "{batch:?}");
    let batch = owners(&store.claim(Stage::Execute, "worker", HOUR, 6).await.unwrap());
    assert_eq!(count(&batch, "alice"), 6);
}

pub(crate) async fn weights_say_how_many_in_a_row<B: Backing>() {
    let backing = B::new().await;
    let store = backing.store();
    let program = program(&*store, 1).await;
    set_weight(&*store, "alice", 3).await;
    for name in ["alice", "bob"] {
        admit_many(&*store, &program, name, 50).await;
    }
    let single = turns(&*store, Stage::Execute, 16).await;
    assert_eq!((count(&single, "alice"), count(&single, "bob")), (12, 4), "{single:?}");
    assert_eq!((longest_run(&single, "alice"), longest_run(&single, "bob")), (3, 1), "{single:?}");

    let mut batched = Vec::new();
    for limit in [1, 5, 2, 8] {
        batched.extend(owners(&store.claim(Stage::Execute, "worker", HOUR, limit).await.unwrap()));
    }
    assert_eq!((count(&batched, "alice"), count(&batched, "bob")), (12, 4), "{batched:?}");
}

pub(crate) async fn a_weight_counts_from_the_next_claim<B: Backing>() {
    let mut backing = B::new().await;
    let program = program(&*backing.store(), 1).await;
    for name in ["alice", "bob"] {
        admit_many(&*backing.store(), &program, name, 50).await;
    }
    let even = turns(&*backing.store(), Stage::Execute, 8).await;
    assert_eq!(count(&even, "alice"), 4, "{even:?}");
    set_weight(&*backing.store(), "bob", 5).await;
    for _ in 0..2 {
        let turns = turns(&*backing.store(), Stage::Execute, 12).await;
        assert!((9..=11).contains(&count(&turns, "bob")), "{turns:?}");
        assert!(longest_run(&turns, "alice") == 1 && longest_run(&turns, "bob") <= 5, "{turns:?}");
        // It is kept.
        backing.reopen().await;
    }
}

pub(crate) async fn who_had_nothing_to_do_has_saved_nothing_up<B: Backing>() {
    let backing = B::new().await;
    let store = backing.store();
    let program = program(&*store, 1).await;
    admit_many(&*store, &program, "bob", 1).await;
    admit_many(&*store, &program, "alice", 40).await;
    store.claim(Stage::Execute, "worker", HOUR, 30).await.unwrap();
    admit_many(&*store, &program, "bob", 8).await;
    let turns = turns(&*store, Stage::Execute, 8).await;
    assert!((3..=5).contains(&count(&turns, "bob")), "{turns:?}");
    assert!(longest_run(&turns, "bob") <= 2, "{turns:?}");
}

pub(crate) async fn what_cannot_be_claimed_takes_no_turn<B: Backing>() {
    let backing = B::new().await;
    let store = backing.store();
    let program = program(&*store, 1).await;
    // Bob's wait, or are held; Carol's is back.
    for _ in 0..2 {
        admit(&*store, &program, "bob", 0).await;
        let held = claim(&*store, Stage::Execute).await;
        store.finish_step(held.task.id, held.task.fence, postponed(in_an_hour(), true)).await.unwrap();
    }
    admit(&*store, &program, "bob", 0).await;
    claim(&*store, Stage::Execute).await;
    let carol = admit(&*store, &program, "carol", 0).await;
    claim_one(&*store, Stage::Execute, Duration::ZERO).await.unwrap();
    admit_many(&*store, &program, "alice", 3).await;
    let batch = store.claim(Stage::Execute, "worker", HOUR, 10).await.unwrap();
    let (turns, ids): (Vec<_>, Vec<_>) = batch.iter().map(|claim| (claim.task.owner.as_str(), claim.task.id)).unzip();
    assert_eq!(turns.len(), 4);
    assert!(ids.contains(&carol.id) && !turns.contains(&"bob"), "{turns:?}");
    assert_eq!(fixture::claim_one(&*store, Stage::Execute, HOUR).await, None);
}
