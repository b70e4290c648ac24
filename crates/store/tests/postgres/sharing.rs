//! Several processes on one database.

use super::{
    InDirectory,
    contract::{
        fixture::{HOUR, ROOM, admitted, claim, event, executed, new_task, program, task},
        webhooks::hook,
    },
};
use coprocessor_store::{Change, Claim, NewTask, Stage, Store, Webhooks, postgres::PostgresStore};
use coprocessor_types::{OwnerId, TaskId};
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tokio::time::timeout;
use tokio_postgres::NoTls;

/// A session that no store knows of.
pub(crate) async fn session(url: &str) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_waits_for_a_lower_number_that_may_still_come() {
    let Some(backing) = InDirectory::start().await else { return };
    let store = backing.store.clone().unwrap();
    let program = program(&*store, 1).await;
    let first = task(&*store, &program).await;
    let before = store.owner_events(None, 0, 100).await.unwrap();
    assert_eq!(before.len(), 1);

    // Somebody draws the next number, and takes a while to write its event.
    let slow = session(&backing.url).await;
    slow.batch_execute(
        "BEGIN; INSERT INTO events (task, owner, at, state, name, detail) \
         SELECT task, owner, at, state, 'slow', detail FROM events",
    )
    .await
    .unwrap();
    let later = task(&*store, &program).await;
    let last = store.events(later.id, 0, 10).await.unwrap()[0].seq;
    for _ in 0..2 {
        assert_eq!(store.owner_events(None, 0, 100).await.unwrap(), before);
        assert_eq!(store.last_event().await.unwrap(), before[0].seq);
    }
    // Another process begins with nothing: what it can't be sure of, it doesn't tell.
    let other = backing.another().await;
    assert!(other.owner_events(None, 0, 100).await.unwrap().len() <= before.len());
    slow.batch_execute("COMMIT").await.unwrap();
    for store in [store, other] {
        let after = store.owner_events(None, before[0].seq, 100).await.unwrap();
        let names: Vec<_> = after.iter().map(|event| (event.task, event.kind.name.as_str())).collect();
        assert_eq!(names, [(first.id, "slow"), (later.id, "admitted")]);
        assert_eq!(store.last_event().await.unwrap(), last);
    }
}

/// Writes an event like the first one there is.
const WRITE: &str = "INSERT INTO events (task, owner, at, state, name, detail) \
     SELECT task, owner, at, state, 'admitted', detail FROM events ORDER BY seq LIMIT 1";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_waits_for_a_lower_number_of_a_later_transaction_too() {
    let Some(backing) = InDirectory::start().await else { return };
    let store = backing.store.clone().unwrap();
    let program = program(&*store, 1).await;
    task(&*store, &program).await;
    let before = store.last_event().await.unwrap();
    assert!(store.add_webhook(hook("alice", &["admitted"])).await.unwrap());
    // The one that begins first draws its number last, and ends first: no transaction has ended after the other began.
    let (first, second) = (session(&backing.url).await, session(&backing.url).await);
    first.batch_execute("BEGIN; SELECT pg_current_xact_id()").await.unwrap();
    second.batch_execute(&format!("BEGIN; {WRITE}")).await.unwrap();
    first.batch_execute(&format!("{WRITE}; COMMIT")).await.unwrap();
    assert_eq!(store.owner_events(None, before, 100).await.unwrap(), []);
    assert_eq!(store.queue_deliveries(100).await.unwrap(), (0, false));
    second.batch_execute("COMMIT").await.unwrap();
    let numbers: Vec<_> = store.owner_events(None, before, 100).await.unwrap().iter().map(|event| event.seq).collect();
    assert_eq!(numbers, [before + 1, before + 2]);
    assert_eq!(store.queue_deliveries(100).await.unwrap(), (2, false));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_number_that_was_never_used_holds_nobody_up() {
    let Some(backing) = InDirectory::start().await else { return };
    let store = backing.store.clone().unwrap();
    let program = program(&*store, 1).await;
    let other = session(&backing.url).await;
    other.batch_execute("BEGIN; SELECT nextval('events_seq'); ROLLBACK").await.unwrap();
    task(&*store, &program).await;
    assert_eq!(store.owner_events(None, 0, 100).await.unwrap().len(), 1);
}

/// Claims and finishes until `left` is empty.
async fn work(store: Arc<PostgresStore>, tasks: BTreeSet<TaskId>) -> Vec<(TaskId, u64)> {
    let mut done = Vec::new();
    for stage in Stage::ALL {
        let mut idle = 0;
        while idle < 20 {
            let claims = store.claim(stage, "worker", HOUR, 3).await.unwrap();
            if claims.is_empty() {
                idle += 1;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            for Claim { task, .. } in claims {
                idle = 0;
                assert!(tasks.contains(&task.id));
                let outcome = super::contract::fixture::success(stage);
                store.finish_step(task.id, task.fence, outcome).await.unwrap();
                done.push((task.id, task.fence));
            }
        }
    }
    done
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_step_of_each_task_is_done_once_by_somebody() {
    let Some(backing) = InDirectory::start().await else { return };
    let stores = [backing.store.clone().unwrap(), backing.another().await, backing.another().await];
    let program = program(&*stores[0], 1).await;
    let mut tasks = BTreeSet::new();
    for index in 0..40 {
        let owner: OwnerId = ["alice", "bob", "carol"][index % 3].parse().unwrap();
        let new = NewTask { owner, ..new_task(&program) };
        tasks.insert(admitted(stores[index % 3].admit(new, ROOM).await.unwrap()).id);
    }
    let workers: Vec<_> = stores.iter().map(|store| tokio::spawn(work(store.clone(), tasks.clone()))).collect();
    let mut done = Vec::new();
    for worker in workers {
        done.extend(worker.await.unwrap());
    }
    let expected: BTreeSet<_> = tasks.iter().flat_map(|task| (1..=3).map(|fence| (*task, fence))).collect();
    assert_eq!(done.len(), expected.len());
    assert_eq!(done.into_iter().collect::<BTreeSet<_>>(), expected);
    let counts = stores[1].task_counts().await.unwrap().0;
    assert!(counts.iter().all(|(state, count)| *count == if state.as_str() == "delivered" { 40 } else { 0 }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_only_listens_is_told_of_every_task() {
    let Some(backing) = InDirectory::start().await else { return };
    let (store, other) = (backing.store.clone().unwrap(), backing.another().await);
    let program = program(&*store, 1).await;
    let mut changes = other.changes();
    for _ in 0..20 {
        let id = task(&*store, &program).await.id;
        let told = async { while changes.recv().await.unwrap() != Change::Work(Stage::Execute) {} };
        timeout(Duration::from_secs(20), told).await.expect("work is told");
        let held = claim(&*other, Stage::Execute).await;
        assert_eq!(held.task.id, id);
        other.progress(id, held.task.fence, event("half")).await.unwrap();
        other.finish_step(id, held.task.fence, executed()).await.unwrap();
    }
}
