//! Backups: taken beside a running service, whole or refused.

use crate::{
    contract::fixture::{
        ROOM, admitted, claim, event, events, held_at, new_task, owner, program, success, task, write,
    },
    crash, process,
};
use bytes::Bytes;
use coprocessor_store::{
    Accounts, ApiKey, EmbeddedConfig, EmbeddedStore, KeyId, Owner, Quotas, Retention, Scope, Stage, StepOutcome, Store,
    StoreError, Task, TaskFilter, Upkeep, VolumeWrite,
    embedded::{backup, restore},
};
use jiff::Timestamp;
use rusqlite::Connection;
use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tempfile::TempDir;

const LARGE: usize = 100_000;

fn open(directory: &Path) -> EmbeddedStore {
    EmbeddedStore::open(directory, EmbeddedConfig::default()).unwrap()
}

async fn all_tasks(store: &EmbeddedStore) -> Vec<Task> {
    store.tasks(TaskFilter::default(), None, 100_000).await.unwrap().items
}

/// A store with something of everything, and tasks in each stage.
async fn filled(directory: &Path) -> EmbeddedStore {
    let store = open(directory);
    // From the last to the first, so that each claim is of the task just admitted.
    for (nonce, stage) in (1..).zip(Stage::ALL.into_iter().rev()) {
        let held = held_at(&store, nonce, stage).await;
        store.write_volume(held.task.program, write(0, &[(3, b"page")])).await.unwrap();
        if stage == Stage::Prove {
            let proof = Bytes::from(vec![7; LARGE]);
            let proved = StepOutcome::Proved { proof, output: Bytes::from_static(b"output"), event: event("proved") };
            store.finish_step(held.task.id, held.task.fence, proved).await.unwrap();
        }
    }
    // One that waits for delivery goes before this one's.
    let done = held_at(&store, 9, Stage::Deliver).await;
    store.finish_step(done.task.id, done.task.fence, success(Stage::Deliver)).await.unwrap();
    store.put_blob(Bytes::from(vec![8; LARGE])).await.unwrap();
    let created_at = Timestamp::from_second(1_700_000_000).unwrap();
    store.put_owner(Owner { id: owner("alice"), weight: 3, quotas: Quotas::default(), created_at }).await.unwrap();
    let key = ApiKey {
        id: KeyId([1; 8]),
        owner: owner("alice"),
        name: "a key".to_owned(),
        hash: [2; 32],
        scopes: vec![Scope::Read],
        created_at,
        expires_at: None,
        revoked_at: None,
    };
    assert!(store.add_key(key).await.unwrap());
    store
}

struct Places {
    _all: TempDir,
    store: PathBuf,
    backup: PathBuf,
    restored: PathBuf,
}

fn places() -> Places {
    let all = TempDir::new().unwrap();
    let [store, backup, restored] = ["store", "backups/backup", "restored"].map(|name| all.path().join(name));
    Places { _all: all, store, backup, restored }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_restored_is_what_was_backed_up() {
    let places = places();
    let store = filled(&places.store).await;
    let taken = backup(&places.store, &places.backup).unwrap();
    let (tasks, programs) = (all_tasks(&store).await, store.programs(None, None, 100).await.unwrap());
    assert_eq!((taken.instance, taken.tasks, taken.programs), (store.instance(), 4, 4));
    assert_eq!((taken.blob_files, taken.blob_bytes), (2, 2 * LARGE as u64));
    // Nothing of what comes later.
    task(&store, &programs.items[0]).await;
    drop(store);

    assert_eq!(restore(&places.backup, &places.restored).unwrap(), taken);
    let restored = open(&places.restored);
    assert_eq!(restored.instance(), taken.instance);
    let found = all_tasks(&restored).await;
    for (found, was) in found.iter().zip(&tasks) {
        let further = !was.state.is_finished();
        assert_eq!(found.fence > was.fence, further, "{was:?}");
        assert_eq!(*found, Task { fence: found.fence, ..was.clone() });
    }
    assert_eq!(found.len(), tasks.len());
    assert_eq!(restored.programs(None, None, 100).await.unwrap(), programs);
    assert_eq!(restored.owner(&owner("alice")).await.unwrap().unwrap().weight, 3);
    assert_eq!(restored.key(KeyId([1; 8])).await.unwrap().unwrap().hash, [2; 32]);
    for content in [vec![7; LARGE], vec![8; LARGE], b"witness".to_vec()] {
        let digest = coprocessor_types::BlobDigest::of(&content);
        assert_eq!(restored.blob(digest).await.unwrap(), content);
    }
    // Leases are void; fences and events go on far above what the lost store can have come to.
    let last = events(&restored, found[0].id).await.last().unwrap().seq;
    let held = claim(&restored, Stage::Execute).await;
    assert!(held.task.fence > tasks.iter().map(|task| task.fence).max().unwrap() + 100_000);
    let next = events(&restored, held.task.id).await.last().unwrap().seq;
    assert!(next > last + 1_000_000_000, "{next} after {last}");
    for stage in [Stage::Deliver, Stage::Deliver] {
        claim(&restored, stage).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_is_the_owner_s_alone_and_costs_no_second_copy_of_files() {
    let places = places();
    let store = filled(&places.store).await;
    backup(&places.store, &places.backup).unwrap();
    let mut links = Vec::new();
    let mut look = vec![places.backup.clone()];
    while let Some(path) = look.pop() {
        let metadata = fs::metadata(&path).unwrap();
        let expected = if metadata.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(metadata.permissions().mode() & 0o777, expected, "{}", path.display());
        if metadata.is_dir() {
            look.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.starts_with(places.backup.join("blobs")) {
            links.push(metadata.nlink());
        }
    }
    assert_eq!(links, [2, 2]);
    drop(store);
}

/// The service is another process, which is killed in the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_beside_another_process_has_all_that_was_acknowledged_before() {
    let places = places();
    let mut child = process::command("crash::admits_until_killed", &places.store).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut acknowledged = BTreeMap::new();
    while acknowledged.len() < 50 {
        acknowledged.extend(crash::acknowledged(&lines.next().unwrap().unwrap()));
    }
    let taken = tokio::task::spawn_blocking({
        let (store, to) = (places.store.clone(), places.backup.clone());
        move || backup(&store, &to)
    });
    let taken = taken.await.unwrap().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    restore(&places.backup, &places.restored).unwrap();
    let store = open(&places.restored);
    for (id, state) in acknowledged {
        let task = store.task(id).await.unwrap().unwrap();
        assert!(task.state >= state, "{id} was {state} and is {}", task.state);
    }
    let counted: u64 = store.task_counts().await.unwrap().0.iter().map(|(_, count)| count).sum();
    assert_eq!(counted, taken.tasks);
    assert_eq!(all_tasks(&store).await.len() as u64, taken.tasks);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backups_beside_writing_and_collecting_are_whole() {
    let places = places();
    let store = Arc::new(open(&places.store));
    let program = program(&*store, 1).await;
    let stop = Arc::new(AtomicBool::new(false));
    let worker = tokio::spawn({
        let (store, stop) = (store.clone(), stop.clone());
        async move {
            let all = Retention {
                witnesses: Some(Duration::ZERO),
                tasks: Some(Duration::ZERO),
                unnamed_blobs: Duration::ZERO,
                ..Retention::default()
            };
            let mut finished = 0_u64;
            while !stop.load(Ordering::Relaxed) {
                let id = admitted(store.admit(new_task(&program), ROOM).await.unwrap()).id;
                let held = claim(&*store, Stage::Execute).await;
                let witness = Bytes::from([id.0.as_bytes().repeat(4), vec![1; LARGE]].concat());
                let executed =
                    StepOutcome::Executed { witness, volume: VolumeWrite::default(), event: event("executed") };
                store.finish_step(id, held.task.fence, executed).await.unwrap();
                if finished.is_multiple_of(2) {
                    store.cancel(id).await.unwrap();
                    store.collect(&all, Timestamp::now(), 100).await.unwrap();
                }
                finished += 1;
            }
            finished
        }
    });
    for round in 0..8 {
        let to = places.backup.join(round.to_string());
        let from = places.store.clone();
        let taken = tokio::task::spawn_blocking(move || backup(&from, &to)).await.unwrap().unwrap();
        let restored = places.restored.join(round.to_string());
        assert_eq!(restore(&places.backup.join(round.to_string()), &restored).unwrap(), taken);
        let restored = open(&restored);
        for task in all_tasks(&restored).await {
            if let Some(witness) = task.witness {
                restored.blob(witness).await.unwrap();
            }
        }
    }
    stop.store(true, Ordering::Relaxed);
    assert!(worker.await.unwrap() > 0);
    // What could not be removed beside a backup is removed later.
    let all = Retention { unnamed_blobs: Duration::ZERO, witnesses: Some(Duration::ZERO), ..Retention::default() };
    store.collect(&all, Timestamp::now(), 10_000).await.unwrap();
    store.collect(&all, Timestamp::now(), 10_000).await.unwrap();
    let files: usize = fs::read_dir(places.store.join("blobs"))
        .unwrap()
        .map(|shard| fs::read_dir(shard.unwrap().path()).unwrap().count())
        .sum();
    let rows: i64 = Connection::open(places.store.join("coprocessor.db"))
        .unwrap()
        .query_row("SELECT count(*) FROM blobs WHERE file IS NOT NULL", [], |row| row.get(0))
        .unwrap();
    assert_eq!(files as i64, rows);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_empty_is_left_alone() {
    let places = places();
    let store = filled(&places.store).await;
    fs::create_dir_all(&places.backup).unwrap();
    backup(&places.store, &places.backup).unwrap();
    let manifest = fs::read(places.backup.join("manifest.json")).unwrap();
    let again = backup(&places.store, &places.backup);
    assert!(matches!(&again, Err(StoreError::NotEmpty { path }) if *path == places.backup), "{again:?}");
    assert_eq!(fs::read(places.backup.join("manifest.json")).unwrap(), manifest);
    let over = restore(&places.backup, &places.store);
    assert!(matches!(&over, Err(StoreError::NotEmpty { path }) if *path == places.store), "{over:?}");
    store.health().await.unwrap();
    let nothing = backup(&places.restored, &places.backup.join("other"));
    assert!(matches!(nothing, Err(StoreError::Io { .. })), "{nothing:?}");
    assert!(!places.restored.exists());
}

/// The path of one blob's file below `directory`.
fn a_blob(directory: &Path) -> PathBuf {
    let shards = fs::read_dir(directory.join("blobs")).unwrap().map(|shard| shard.unwrap().path());
    shards.flat_map(|shard| fs::read_dir(shard).unwrap()).next().unwrap().unwrap().path()
}

fn flip(path: &Path, at: usize) {
    let mut content = fs::read(path).unwrap();
    content[at] ^= 1;
    fs::remove_file(path).unwrap();
    fs::write(path, content).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_backup_is_refused_and_leaves_nothing() {
    let places = places();
    drop(filled(&places.store).await);
    type Damage = fn(&Path);
    let damages: [(&str, Damage); 10] = [
        ("no manifest", |backup| fs::remove_file(backup.join("manifest.json")).unwrap()),
        ("half a manifest", |backup| {
            let text = fs::read_to_string(backup.join("manifest.json")).unwrap();
            fs::write(backup.join("manifest.json"), &text[..text.len() / 2]).unwrap();
        }),
        ("another format", |backup| {
            let text = fs::read_to_string(backup.join("manifest.json")).unwrap();
            fs::write(backup.join("manifest.json"), text.replace("\"format\": 1", "\"format\": 2")).unwrap();
        }),
        ("a changed database", |backup| flip(&backup.join("coprocessor.db"), 5000)),
        ("half a database", |backup| {
            let file = fs::OpenOptions::new().write(true).open(backup.join("coprocessor.db")).unwrap();
            file.set_len(8192).unwrap();
        }),
        ("no database", |backup| fs::remove_file(backup.join("coprocessor.db")).unwrap()),
        ("a changed blob", |backup| flip(&a_blob(backup), 99_999)),
        ("half a blob", |backup| {
            let path = a_blob(backup);
            let content = fs::read(&path).unwrap();
            fs::remove_file(&path).unwrap();
            fs::write(path, &content[..50_000]).unwrap();
        }),
        ("a missing blob", |backup| fs::remove_file(a_blob(backup)).unwrap()),
        ("a newer schema", |backup| {
            let text = fs::read_to_string(backup.join("manifest.json")).unwrap();
            let version = serde_json::from_str::<serde_json::Value>(&text).unwrap()["schema"].clone();
            let newer = text.replace(&format!("\"schema\": {version}"), "\"schema\": 9999");
            fs::write(backup.join("manifest.json"), newer).unwrap();
        }),
    ];
    for (number, (what, damage)) in damages.into_iter().enumerate() {
        let backed_up = places.backup.join(number.to_string());
        backup(&places.store, &backed_up).unwrap();
        damage(&backed_up);
        let got = restore(&backed_up, &places.restored);
        match what {
            "a newer schema" => assert!(matches!(got, Err(StoreError::Schema { got: 9999, .. })), "{what}: {got:?}"),
            "no database" => assert!(matches!(got, Err(StoreError::Io { .. })), "{what}: {got:?}"),
            _ => assert!(
                matches!(&got, Err(StoreError::BadBackup { path, .. }) if *path == backed_up),
                "{what}: {got:?}"
            ),
        }
        let left = fs::read_dir(&places.restored).map_or(0, Iterator::count);
        assert_eq!(left, 0, "{what}");
    }
    // A damaged store is not backed up as if it were whole.
    flip(&a_blob(&places.store), 0);
    let got = backup(&places.store, &places.backup.join("damaged"));
    assert!(matches!(got, Err(StoreError::BlobCorrupt { .. })), "{got:?}");
    assert!(!places.backup.join("damaged/manifest.json").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_lies_is_refused_though_its_digest_fits() {
    let places = places();
    drop(filled(&places.store).await);
    backup(&places.store, &places.backup).unwrap();
    let database = places.backup.join("coprocessor.db");
    let db = Connection::open(&database).unwrap();
    db.execute("UPDATE blobs SET content = zeroblob(length(content)) WHERE content IS NOT NULL", []).unwrap();
    db.close().unwrap();
    let path = places.backup.join("manifest.json");
    let mut manifest: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let content = fs::read(&database).unwrap();
    manifest["database_sha256"] = coprocessor_types::BlobDigest::of(&content).to_string().into();
    manifest["database_bytes"] = content.len().into();
    fs::write(&path, serde_json::to_vec(&manifest).unwrap()).unwrap();
    let got = restore(&places.backup, &places.restored);
    assert!(matches!(got, Err(StoreError::BadBackup { .. })), "{got:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_store_opens_where_a_restore_was_cut_off() {
    let places = places();
    fs::create_dir_all(&places.restored).unwrap();
    fs::write(places.restored.join("coprocessor.db.restoring"), "half").unwrap();
    let got = EmbeddedStore::open(&places.restored, EmbeddedConfig::default());
    assert!(matches!(got, Err(StoreError::Corrupt { .. })), "{got:?}");
    assert!(!places.restored.join("coprocessor.db").exists());
}
