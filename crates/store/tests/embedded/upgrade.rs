//! A directory that an older version wrote goes on as it is.

use crate::contract::fixture::{self, ROOM, admitted, claim, executed, new_task, owner};
use bytes::Bytes;
use coprocessor_store::{
    Accounts, Admission, Backlog, EmbeddedConfig, EmbeddedStore, Retention, Stage, Store, TaskFilter, TaskState,
    Upkeep, Webhooks, embedded,
};
use coprocessor_types::{BlobDigest, ProgramId, TaskId};
use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, params};
use std::{fs, path::Path, time::Duration};
use tempfile::TempDir;
use uuid::Uuid;

const VERSION_1: &str = include_str!("../../src/embedded/schema/0001_initial.sql");

const CONTROLLER: &[u8] = b"controller";
const EARLIER_CONTROLLER: &[u8] = b"an earlier controller";
const CIRCUIT: &[u8] = b"circuit";
const KEY: &[u8] = b"verifying key";
const WITNESS: &[u8] = b"a witness that two tasks have";
const UNNAMED: &[u8] = b"put, and never named";
const PROGRAM: ProgramId = ProgramId([9; 32]);

fn proof() -> Vec<u8> {
    vec![3; 100_000]
}

fn task_id(number: u128) -> TaskId {
    TaskId(Uuid::from_u128(number))
}

/// What version 1 left when its process was killed: a program, tasks in several states, blobs in rows and in a file.
fn version_1(directory: &Path) {
    let db = Connection::open(directory.join("coprocessor.db")).unwrap();
    db.pragma_update(None, "journal_mode", "wal").unwrap();
    db.execute_batch(VERSION_1).unwrap();
    db.pragma_update(None, "user_version", 1).unwrap();
    for content in [CONTROLLER, EARLIER_CONTROLLER, CIRCUIT, KEY, WITNESS, UNNAMED] {
        let digest = BlobDigest::of(content);
        let row = params![digest.as_bytes(), content.len() as i64, content];
        db.execute("INSERT INTO blobs (digest, size, content) VALUES (?1, ?2, ?3)", row).unwrap();
    }
    let digest = BlobDigest::of(&proof());
    let row = params![digest.as_bytes(), proof().len() as i64];
    db.execute("INSERT INTO blobs (digest, size) VALUES (?1, ?2)", row).unwrap();
    let (shard, name) = (&digest.to_string()[..2], &digest.to_string()[2..]);
    fs::create_dir_all(directory.join("blobs").join(shard)).unwrap();
    fs::write(directory.join("blobs").join(shard).join(name), proof()).unwrap();
    let [controller, earlier, circuit, key, witness] =
        [CONTROLLER, EARLIER_CONTROLLER, CIRCUIT, KEY, WITNESS].map(|content| *BlobDigest::of(content).as_bytes());
    db.execute(
        "INSERT INTO programs (id, owner, name, backend, controller, circuit, verifying_key, nonce, volume_size, \
         volume_version, created_at, updated_at) VALUES (?1, 'anonymous', 'old', 'sp1', ?2, ?3, ?4, 5, 1048576, 1, 10, 20)",
        params![PROGRAM.as_bytes(), controller, circuit, key],
    )
    .unwrap();
    db.execute("INSERT INTO pages (key, content) VALUES ((1 << 32) + 7, x'aa')", []).unwrap();
    type Row<'a> = (u128, &'a str, Option<i64>, Option<i64>, Option<&'a str>, i64, bool, bool);
    let tasks: [Row<'_>; 4] = [
        (1, "delivered", None, None, None, 3, true, true),
        (2, "proving", Some(1), Some(i64::MAX / 4), Some("gone"), 2, true, false),
        (3, "queued", Some(0), Some(0), None, 0, false, false),
        (4, "failed", None, None, None, 1, false, false),
    ];
    for (number, state, stage, ready_at, worker, fence, witnessed, proved) in tasks {
        let id = *task_id(number).0.as_bytes();
        db.execute(
            "INSERT INTO tasks (id, program, owner, controller, circuit, kind, root, state, stage, ready_at, worker, fence, \
             attempts, created_at, updated_at, witness, proof) \
             VALUES (?1, ?2, 'anonymous', ?3, ?4, 'mock', zeroblob(32), ?5, ?6, ?7, ?8, ?9, 0, 30, 40, ?10, ?11)",
            params![
                id,
                PROGRAM.as_bytes(),
                earlier,
                circuit,
                state,
                stage,
                ready_at,
                worker,
                fence,
                witnessed.then_some(witness),
                proved.then_some(digest.as_bytes())
            ],
        )
        .unwrap();
        let failure = (state == "failed")
            .then_some(r#"{"stage":"execute","code":"guest_panicked","message":"no","retryable":true}"#);
        db.execute(
            "INSERT INTO task_content (task, args, payload, failure) VALUES (?1, '{}', 'null', ?2)",
            params![id, failure],
        )
        .unwrap();
        db.execute(
            "INSERT INTO events (task, at, state, name, detail) VALUES (?1, 50, ?2, 'admitted', '{}')",
            params![id, state],
        )
        .unwrap();
    }
    db.execute(
        "INSERT INTO idempotency (program, owner, key, request, task) VALUES (?1, 'anonymous', 'once', zeroblob(32), ?2)",
        params![PROGRAM.as_bytes(), task_id(3).0.as_bytes()],
    )
    .unwrap();
    db.execute(
        "INSERT INTO provers (owner, address, secret, added_at) VALUES ('anonymous', 'http://node', NULL, 60)",
        [],
    )
    .unwrap();
}

fn open(directory: &Path) -> EmbeddedStore {
    EmbeddedStore::open(directory, EmbeddedConfig::default()).unwrap()
}

async fn check(store: &EmbeddedStore) {
    let program = store.program(PROGRAM).await.unwrap().unwrap();
    assert_eq!((program.nonce, program.public, program.verifying_key), (5, false, Some(BlobDigest::of(KEY))));
    let (version, pages) = fixture::volume(store, PROGRAM, [7]);
    assert_eq!((version, pages), (1, [Some(vec![0xaa])]));
    for content in [CONTROLLER, EARLIER_CONTROLLER, CIRCUIT, KEY, WITNESS] {
        assert_eq!(store.blob(BlobDigest::of(content)).await.unwrap(), content);
    }
    assert_eq!(store.blob(BlobDigest::of(&proof())).await.unwrap(), proof());
    let versions = store.controller_versions(PROGRAM, None, 10).await.unwrap().items;
    let versions: Vec<_> =
        versions.iter().map(|version| (version.number, version.digest, version.current, version.bytes)).collect();
    let [current, earlier] =
        [CONTROLLER, EARLIER_CONTROLLER].map(|content| (BlobDigest::of(content), content.len() as u64));
    assert_eq!(versions, [(2, current.0, true, current.1), (1, earlier.0, false, earlier.1)]);
    let listed = store.tasks(TaskFilter::default(), None, 10).await.unwrap().items;
    assert_eq!(listed.iter().map(|task| task.id).collect::<Vec<_>>(), [4, 3, 2, 1].map(task_id));
    for task in &listed {
        assert_eq!((task.priority, task.deadline, task.node.as_deref()), (0, None, None));
    }
    let anonymous = owner("anonymous");
    let events = store.owner_events(Some(anonymous.clone()), 0, 10).await.unwrap();
    assert_eq!(events.iter().map(|event| event.task).collect::<Vec<_>>(), [1, 2, 3, 4].map(task_id));
    assert_eq!(store.volume_bytes(&anonymous).await.unwrap(), 1);
    let provers = store.provers().await.unwrap();
    assert!(provers.len() == 1 && provers[0].shared);
    assert_eq!(store.usage().await.unwrap().blobs, 7);
    assert!(!store.has_keys().await.unwrap());
    assert_eq!(store.queue_deliveries(10).await.unwrap(), (0, false));
    // Two were not finished, and they count.
    let new = || coprocessor_store::NewTask { owner: anonymous.clone(), ..new_task(&program) };
    assert_eq!(store.admit(new(), Backlog { owner: 2, ..ROOM }).await.unwrap(), Admission::OwnerBacklogFull);
    assert_eq!(store.admit(new(), Backlog { total: 2, ..ROOM }).await.unwrap(), Admission::BacklogFull);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_of_version_1_is_upgraded() {
    let directory = TempDir::new().unwrap();
    version_1(directory.path());
    let store = open(directory.path());
    check(&store).await;
    // Who held a task is gone; the fence goes on from where it was.
    let held = claim(&store, Stage::Prove).await;
    assert_eq!((held.task.id, held.task.fence), (task_id(2), 3));
    assert_eq!(claim(&store, Stage::Execute).await.task.id, task_id(3));

    // What is named is named as often as it is, and goes with the last name.
    let retention = Retention { tasks: None, unnamed_blobs: Duration::ZERO, ..Retention::default() };
    let later = Timestamp::now() + SignedDuration::from_hours(24 * 365);
    let collected = store.collect(&retention, later, 100).await.unwrap();
    assert_eq!((collected.witnesses, collected.proofs, collected.tasks, collected.blobs), (1, 1, 0, 2));
    for gone in [Bytes::from_static(UNNAMED), Bytes::from(proof())] {
        assert!(store.blob(BlobDigest::of(&gone)).await.is_err());
    }
    assert_eq!(store.blob(BlobDigest::of(WITNESS)).await.unwrap(), WITNESS);
    let program = store.program(PROGRAM).await.unwrap().unwrap();
    let task = admitted(store.admit(new_task(&program), ROOM).await.unwrap());
    let held = claim(&store, Stage::Execute).await;
    assert_eq!(held.task.id, task.id);
    store.finish_step(held.task.id, held.task.fence, executed()).await.unwrap();
    assert_eq!(store.task(task_id(1)).await.unwrap().unwrap().state, TaskState::Delivered);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_of_version_1_is_backed_up_and_restored_as_the_newest() {
    let (directory, to) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    version_1(directory.path());
    let (backup, restored) = (to.path().join("backup"), to.path().join("restored"));
    let report = embedded::backup(directory.path(), &backup).unwrap();
    assert_eq!((report.programs, report.tasks, report.blob_files, report.blob_bytes), (1, 4, 1, 100_000));
    assert_eq!(embedded::restore(&backup, &restored).unwrap(), report);
    check(&open(&restored)).await;
    // The original is as it was, and can be upgraded still.
    check(&open(directory.path())).await;
}
