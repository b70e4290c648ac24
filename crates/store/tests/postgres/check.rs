//! Rows that contradict each other are found.

use super::{
    InDirectory, cluster,
    contract::{
        domains,
        fixture::{delivered, held_at, task},
    },
};
use coprocessor_store::{Stage, Store, Upkeep};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_contradict_each_other_are_found() {
    let Some(backing) = InDirectory::start().await else { return };
    let store = backing.store.clone().unwrap();
    let held = held_at(&*store, 1, Stage::Deliver).await.task;
    store.finish_step(held.id, held.fence, delivered()).await.unwrap();
    task(&*store, &store.program(held.program).await.unwrap().unwrap()).await;
    assert_eq!(store.contradictions().await.unwrap(), Vec::<String>::new());
    for (damage, expected, repair) in [
        (
            "UPDATE tasks SET worker = 'somebody' WHERE stage IS NULL",
            "1 finished tasks are held by a worker",
            "UPDATE tasks SET worker = NULL WHERE stage IS NULL",
        ),
        (
            "UPDATE tasks SET state = 'failed' WHERE stage IS NULL",
            "1 tasks are in another state than their last event says",
            "UPDATE tasks SET state = 'delivered' WHERE stage IS NULL",
        ),
        (
            "UPDATE tasks SET state = 'queued' WHERE stage IS NULL",
            "1 tasks are finished and in the queue, or neither",
            "UPDATE tasks SET state = 'delivered' WHERE stage IS NULL",
        ),
        (
            "UPDATE tasks SET ready_at = NULL WHERE stage = 0",
            "1 tasks are finished and in the queue, or neither",
            "UPDATE tasks SET ready_at = 0 WHERE stage = 0",
        ),
        (
            "UPDATE blobs SET object = 'it' WHERE size = 5",
            "1 blobs are in two places, or in none",
            "UPDATE blobs SET object = NULL WHERE size = 5",
        ),
        (
            "UPDATE tallies SET unfinished = unfinished + 1 WHERE shard = 0",
            "1 states have more or fewer tasks than they count",
            "UPDATE tallies SET unfinished = unfinished - 1 WHERE shard = 0",
        ),
        (
            "INSERT INTO owner_tallies VALUES ('nobody', 0, 7)",
            "1 owners have more or fewer unfinished tasks than they count",
            "DELETE FROM owner_tallies WHERE owner = 'nobody'",
        ),
        (
            "UPDATE tallies SET blobs = blobs + 1 WHERE shard = 0",
            "1 counts of all blobs are wrong",
            "UPDATE tallies SET blobs = blobs - 1 WHERE shard = 0",
        ),
        (
            "UPDATE programs SET versions = 0",
            "1 programs have a controller that is none of their versions",
            "UPDATE programs SET versions = 1",
        ),
        (
            "INSERT INTO controller_versions SELECT program, 2, '\\x00', set_at, owner, key FROM controller_versions",
            "1 versions of controllers are not named by their programs",
            "DELETE FROM controller_versions WHERE number = 2",
        ),
        (
            "UPDATE task_content SET output = NULL",
            "1 tasks were delivered without an output",
            "UPDATE task_content SET output = 'again'",
        ),
        ("DELETE FROM task_blobs WHERE proof", "1 witnesses and proofs of tasks are not known to be named", "SELECT 1"),
        ("UPDATE blobs SET suspect = false", "1 blobs will stay though nothing names them", "SELECT 1"),
        ("DELETE FROM task_content", "2 tasks have no arguments", "SELECT 1"),
    ] {
        let sql = |sql: &str| cluster().unwrap().sql(&backing.url, sql).unwrap();
        sql(damage);
        let found = store.contradictions().await.unwrap();
        assert!(found.iter().any(|found| found == expected), "{damage}: {found:?}");
        sql(repair);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn roots_that_are_not_those_of_their_blocks_are_found() {
    let Some(backing) = InDirectory::start().await else { return };
    let store = backing.store.clone().unwrap();
    domains::two_with_blocks(&*store).await;
    assert_eq!(store.contradictions().await.unwrap(), Vec::<String>::new());
    let sql = |sql: &str| cluster().unwrap().sql(&backing.url, sql).unwrap();
    sql("CREATE TABLE blocks_before AS SELECT * FROM blocks; CREATE TABLE roots_before AS SELECT * FROM roots");
    for (damage, expected) in [
        ("UPDATE blocks SET payload = '\\x00' WHERE made = 4", "the newest root is"),
        ("UPDATE blocks SET state_root = value WHERE made = 5", "the roots from version 0 to 6 do not follow"),
        (
            "UPDATE blocks SET siblings = state_root || '12345678' WHERE made = 3",
            "the roots from version 0 to 6 do not",
        ),
        ("UPDATE roots SET root = value WHERE version = 3", "the roots from version 0 to 6 do not follow"),
        ("UPDATE roots SET root = value WHERE version = 6", "the newest root is"),
        ("DELETE FROM roots WHERE version = 2", "1 roots are missing from their line"),
        ("DELETE FROM blocks WHERE made = 1", "1 blocks are missing from their domains' trees"),
        ("UPDATE blocks SET made = 2 WHERE made = 1", "2 blocks and roots do not name each other"),
        ("UPDATE blocks SET latest = latest + 1 WHERE made > 4", "2 blocks name another highest number than there is"),
        ("UPDATE line SET oldest_root = 7", "1 line of roots begins after its end"),
    ] {
        sql(damage);
        let found = store.contradictions().await.unwrap();
        assert!(found.iter().any(|found| found.starts_with(expected)), "{damage}: {found:?}");
        sql("TRUNCATE blocks, roots; INSERT INTO blocks SELECT * FROM blocks_before; \
             INSERT INTO roots SELECT * FROM roots_before; UPDATE line SET oldest_root = 0");
        assert_eq!(store.contradictions().await.unwrap(), Vec::<String>::new());
    }
}
