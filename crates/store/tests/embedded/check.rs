//! Rows that contradict each other are found.

use super::{
    Embedded,
    contract::{
        Backing, domains,
        fixture::{delivered, held_at, task},
    },
};
use coprocessor_store::Stage;
use rusqlite::Connection;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_contradict_each_other_are_found() {
    for (damage, expected) in [
        ("UPDATE tasks SET worker = 'somebody' WHERE stage IS NULL", "1 finished tasks are held by a worker"),
        (
            "UPDATE tasks SET state = 'failed' WHERE stage IS NULL",
            "1 tasks are in another state than their last event says",
        ),
        ("UPDATE tasks SET state = 'queued' WHERE stage IS NULL", "1 tasks are finished and in the queue, or neither"),
        ("DELETE FROM task_content", "2 tasks have no arguments"),
        ("UPDATE task_content SET output = NULL", "1 tasks were delivered without an output"),
        ("UPDATE blobs SET names = names + 1", "4 blobs are named by more or fewer rows than they count"),
        (
            "UPDATE task_counts SET tasks = 7 WHERE state = 'queued'",
            "1 states have more or fewer tasks than they count",
        ),
        ("DELETE FROM controller_versions", "1 programs have a controller that is none of their versions"),
        (
            "UPDATE controller_versions SET digest = zeroblob(32)",
            "1 versions of controllers are not named by their programs",
        ),
        ("DELETE FROM unfinished_tasks", "1 owners have more or fewer unfinished tasks than they count"),
        ("UPDATE blob_totals SET bytes = 0", "1 counts of all blobs are wrong"),
        ("PRAGMA foreign_keys = off; DELETE FROM programs", "5 rows name rows that are not there"),
    ] {
        let backing = Embedded::new().await;
        let store = backing.store();
        let held = held_at(&*store, 1, Stage::Deliver).await.task;
        store.finish_step(held.id, held.fence, delivered()).await.unwrap();
        task(&*store, &store.program(held.program).await.unwrap().unwrap()).await;
        assert_eq!(store.contradictions().await.unwrap(), Vec::<String>::new());
        let db = Connection::open(backing.directory.path().join("coprocessor.db")).unwrap();
        db.execute_batch(damage).unwrap();
        let found = store.contradictions().await.unwrap();
        assert!(found.iter().any(|found| found == expected), "{damage}: {found:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn roots_that_are_not_those_of_their_blocks_are_found() {
    for (damage, expected) in [
        ("UPDATE blocks SET payload = x'00' WHERE number & 7 = 3", "the newest root is"),
        ("UPDATE blocks SET state_root = zeroblob(32) WHERE made = 5", "the roots from version 0 to 6 do not follow"),
        ("UPDATE blocks SET siblings = zeroblob(40) WHERE made = 3", "the roots from version 0 to 6 do not follow"),
        ("UPDATE roots SET root = zeroblob(32) WHERE version = 3", "the roots from version 0 to 6 do not follow"),
        ("UPDATE roots SET root = zeroblob(32) WHERE version = 6", "the newest root is"),
        ("DELETE FROM roots WHERE version = 2", "1 roots are missing from their line"),
        ("DELETE FROM blocks WHERE made = 1", "1 blocks are missing from their domains' trees"),
        ("UPDATE blocks SET made = 2 WHERE made = 1", "2 blocks and roots do not name each other"),
        ("UPDATE blocks SET latest = latest + 1 WHERE made > 4", "2 blocks name another highest number than there is"),
        ("UPDATE instance SET oldest_root = 7", "1 line of roots begins after its end"),
        ("DELETE FROM domain_blobs WHERE domain = 1", "1 blobs are named by more or fewer rows than they count"),
    ] {
        let backing = Embedded::new().await;
        let store = backing.store();
        domains::two_with_blocks(&*store).await;
        assert_eq!(store.contradictions().await.unwrap(), Vec::<String>::new());
        let db = Connection::open(backing.directory.path().join("coprocessor.db")).unwrap();
        db.execute_batch(damage).unwrap();
        let found = store.contradictions().await.unwrap();
        assert!(found.iter().any(|found| found.starts_with(expected)), "{damage}: {found:?}");
    }
}
