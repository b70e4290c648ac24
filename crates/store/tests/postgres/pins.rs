//! A task that is admitted at a root in the very moment that the root is pruned.
//!
//! A session that no store knows of holds something that one of the two needs, and stops it in the middle.

use super::{
    InDirectory, cluster,
    contract::{
        domains,
        fixture::{ROOM, admitted, new_task, program},
    },
    sharing::session,
};
use coprocessor_store::{Domains, Idempotency, NewTask, Store, StoreError, TaskFilter, Upkeep};
use coprocessor_types::{BlobDigest, Root};
use jiff::{SignedDuration, Timestamp};
use std::time::Duration;

/// How many wait for the lock that admissions and pruning share.
fn waiting(backing: &InDirectory) -> u64 {
    let sql = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted \
         AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    cluster().unwrap().sql(&backing.url, sql).unwrap().trim().parse().unwrap()
}

/// Until somebody waits for a lock of that kind.
async fn until_one_waits(backing: &InDirectory, kind: &str) {
    let sql = format!("SELECT count(*) FROM pg_locks WHERE {kind} AND NOT granted");
    while cluster().unwrap().sql(&backing.url, &sql).unwrap().trim() != "1" {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn later() -> Timestamp {
    Timestamp::now() + SignedDuration::from_secs(9)
}

/// A store with roots that may be pruned, and the first of them.
async fn with_roots(backing: &InDirectory) -> Root {
    let store = backing.store.clone().unwrap();
    domains::domain(&*store, 0).await;
    let mut roots = Vec::new();
    for number in 1..=5 {
        store.append_blocks(domains::id(0), vec![domains::new_block(number)]).await.unwrap();
        roots.push(store.current_root().await.unwrap().root);
    }
    roots[0]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pruning_waits_for_those_who_pin() {
    let Some(backing) = InDirectory::start().await else { return };
    let store = backing.store.clone().unwrap();
    let root = with_roots(&backing).await;
    let program = program(&*store, 1).await;
    // Small admissions share a statement, large ones have their own.
    for size in [10, 100_000] {
        // Somebody has used the key, perhaps.
        let slow = session(&backing.url).await;
        let taken = format!(
            "BEGIN; INSERT INTO idempotency (program, owner, key, request, task) \
             SELECT id, 'alice', 'key{size}', '', '' FROM programs"
        );
        slow.batch_execute(&taken).await.unwrap();
        let idempotency = Idempotency { key: format!("key{size}"), request: BlobDigest::default() };
        let payload = "x".repeat(size).into();
        let new = NewTask { root, payload, idempotency: Some(idempotency), ..new_task(&program) };
        let admitting = tokio::spawn({
            let store = store.clone();
            async move { store.admit(new, ROOM).await }
        });
        // It has looked at the root by then.
        until_one_waits(&backing, "locktype = 'transactionid'").await;
        let pruning = tokio::spawn({
            let other = backing.another().await;
            async move { other.prune_roots(later(), 100).await }
        });
        while waiting(&backing) == 0 {
            assert!(!pruning.is_finished(), "it pruned without waiting: {:?}", pruning.await);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        slow.batch_execute("ROLLBACK").await.unwrap();
        let task = admitted(admitting.await.unwrap().unwrap());
        assert_eq!(pruning.await.unwrap().unwrap(), (0, true), "it has to look again");
        store.open_block(root, domains::id(0), 1).await.unwrap();
        // Up to the task's root and no further.
        assert!(!store.prune_roots(later(), 100).await.unwrap().1);
        store.open_block(root, domains::id(0), 1).await.unwrap();
        assert_eq!(store.contradictions().await.unwrap(), Vec::<String>::new());
        store.cancel(task.id).await.unwrap();
    }
    assert_eq!(store.prune_roots(later(), 100).await.unwrap(), (4, false));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_pins_waits_for_pruning_that_is_about_to_end() {
    let Some(backing) = InDirectory::start().await else { return };
    let store = backing.store.clone().unwrap();
    let root = with_roots(&backing).await;
    let program = program(&*store, 1).await;
    let slow = session(&backing.url).await;
    // The line's row may be locked, as pruning does first, and not be changed, as it does last.
    slow.batch_execute("BEGIN; LOCK TABLE line IN SHARE MODE").await.unwrap();
    let pruning = tokio::spawn({
        let other = backing.another().await;
        async move { other.prune_roots(later(), 100).await }
    });
    until_one_waits(&backing, "relation = 'line'::regclass").await;
    let mut admitting = Vec::new();
    for size in [10, 100_000] {
        let new = NewTask { root, payload: "x".repeat(size).into(), ..new_task(&program) };
        let store = store.clone();
        admitting.push(tokio::spawn(async move { store.admit(new, ROOM).await }));
    }
    while waiting(&backing) < 2 {
        assert!(admitting.iter().all(|one| !one.is_finished()), "it was admitted without waiting");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    slow.batch_execute("COMMIT").await.unwrap();
    assert_eq!(pruning.await.unwrap().unwrap(), (5, false));
    for one in admitting {
        let refused = one.await.unwrap();
        assert!(matches!(refused, Err(StoreError::RootPruned { root: got, .. }) if got == root), "{refused:?}");
    }
    assert_eq!(store.tasks(TaskFilter::default(), None, 10).await.unwrap().items, []);
}
