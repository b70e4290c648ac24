//! The events of an owner's tasks, and of everybody's.

use super::{
    Backing,
    fixture::{ROOM, admitted, claim, event, events, executed, new_task, owner, program},
};
use coprocessor_store::{Event, NewTask, Program, Stage, Store, TaskFilter};
use coprocessor_types::OwnerId;
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};
use tokio::task::JoinHandle;

/// What the store should list: each task's own events, by their numbers.
async fn expected(store: &dyn Store, owner: Option<OwnerId>) -> Vec<Event> {
    let filter = TaskFilter { owner, ..TaskFilter::default() };
    let mut all = Vec::new();
    for task in store.tasks(filter, None, usize::MAX).await.unwrap().items {
        all.extend(events(store, task.id).await);
    }
    all.sort_by_key(|event| event.seq);
    all
}

pub(crate) async fn an_owner_s_events_are_those_of_its_tasks<B: Backing>() {
    let mut backing = B::new().await;
    let store = backing.store();
    assert_eq!(store.last_event().await.unwrap(), 0);
    assert_eq!(store.owner_events(None, 0, 10).await.unwrap(), []);
    // Alice's program, everybody's tasks.
    let program = program(&*store, 1).await;
    for index in 0..9 {
        let new = NewTask { owner: owner(["alice", "bob", "carol"][index % 3]), ..new_task(&program) };
        let task = admitted(store.admit(new, ROOM).await.unwrap());
        if index % 2 == 0 {
            let held = claim(&*store, Stage::Execute).await;
            store.finish_step(held.task.id, held.task.fence, executed()).await.unwrap();
        } else {
            store.cancel(task.id).await.unwrap();
        }
    }
    drop(store);
    backing.reopen().await;
    let store = backing.store();
    for of in [None, Some("alice"), Some("bob"), Some("nobody")] {
        let of = of.map(owner);
        let all = expected(&*store, of.clone()).await;
        assert!(all.is_empty() == (of == Some(owner("nobody"))));
        assert!(all.is_sorted_by(|one, next| one.seq < next.seq));
        assert_eq!(store.owner_events(of.clone(), 0, usize::MAX).await.unwrap(), all);
        for (index, event) in all.iter().enumerate() {
            let rest = &all[index + 1..];
            assert_eq!(store.owner_events(of.clone(), event.seq, 2).await.unwrap(), rest[..rest.len().min(2)]);
        }
        assert_eq!(store.owner_events(of.clone(), 0, 0).await.unwrap(), []);
        assert_eq!(store.owner_events(of, u64::MAX, 10).await.unwrap(), []);
    }
    assert_eq!(store.last_event().await.unwrap(), expected(&*store, None).await.last().unwrap().seq);
}

/// Makes events of `name`'s tasks until it has admitted enough.
fn write(store: Arc<dyn Store>, program: Program, name: &str, writing: Arc<AtomicUsize>) -> JoinHandle<()> {
    let new = NewTask { owner: owner(name), ..new_task(&program) };
    writing.fetch_add(1, Ordering::Relaxed);
    tokio::spawn(async move {
        for round in 0..12 {
            let new = NewTask { id: coprocessor_types::TaskId::now(), ..new.clone() };
            let id = admitted(store.admit(new, ROOM).await.unwrap()).id;
            if round % 3 == 0 {
                store.cancel(id).await.unwrap();
            }
            for held in store.claim(Stage::Execute, "worker", super::fixture::HOUR, 2).await.unwrap() {
                // Another writer may cancel it meanwhile.
                let _ = store.progress(held.task.id, held.task.fence, event("progress")).await;
                let _ = store.finish_step(held.task.id, held.task.fence, executed()).await;
            }
        }
        writing.fetch_sub(1, Ordering::Relaxed);
    })
}

/// Reads on from the last event until nobody writes and there are no more.
fn follow(store: Arc<dyn Store>, of: Option<OwnerId>, writing: Arc<AtomicUsize>) -> JoinHandle<Vec<Event>> {
    tokio::spawn(async move {
        let mut seen: Vec<Event> = Vec::new();
        loop {
            let last_round = writing.load(Ordering::Relaxed) == 0;
            let after = seen.last().map_or(0, |event| event.seq);
            let more = store.owner_events(of.clone(), after, 7).await.unwrap();
            if more.is_empty() && last_round {
                return seen;
            }
            seen.extend(more);
        }
    })
}

pub(crate) async fn who_follows_misses_nothing_while_many_write<B: Backing>() {
    let backing = B::new().await;
    let program = program(&*backing.store(), 1).await;
    // Where several processes may share a store, each has some of the writers and the followers.
    let second = backing.second().await.unwrap_or_else(|| backing.store());
    let stores = [backing.store(), second];
    let writing = Arc::new(AtomicUsize::new(0));
    let names = ["alice", "bob", "alice", "bob", "alice", "carol"];
    let writers: Vec<_> = (stores.iter().cycle().zip(names))
        .map(|(store, name)| write(store.clone(), program.clone(), name, writing.clone()))
        .collect();
    let followed = [None, Some(owner("alice")), None, Some(owner("bob"))];
    let followers: Vec<_> = (stores.iter().cycle().zip(&followed))
        .map(|(store, of)| follow(store.clone(), of.clone(), writing.clone()))
        .collect();
    // Whoever starts from the last event's number has all before it settled.
    let settled = backing.store().last_event().await.unwrap();
    let up_to = |events: Vec<Event>| events.into_iter().filter(|event| event.seq <= settled).collect::<Vec<_>>();
    let before = up_to(backing.store().owner_events(None, 0, usize::MAX).await.unwrap());
    for writer in writers {
        writer.await.unwrap();
    }
    for (follower, of) in followers.into_iter().zip(followed) {
        assert_eq!(follower.await.unwrap(), expected(&*backing.store(), of).await);
    }
    assert_eq!(up_to(backing.store().owner_events(None, 0, usize::MAX).await.unwrap()), before);
}
