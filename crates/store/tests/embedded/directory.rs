//! The directory: who may use it, what is in it, and what is wrong with it.

use crate::contract::fixture::{program, task};
use bytes::Bytes;
use coprocessor_store::{EmbeddedConfig, EmbeddedStore, Store, StoreError};
use coprocessor_types::BlobDigest;
use rusqlite::Connection;
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use tempfile::TempDir;

fn open(directory: &Path) -> Result<EmbeddedStore, StoreError> {
    EmbeddedStore::open(directory, EmbeddedConfig::default())
}

#[tokio::test]
async fn a_second_open_is_refused_as_long_as_the_first_lives() {
    let directory = TempDir::new().unwrap();
    let store = open(directory.path()).unwrap();
    let path = directory.path().canonicalize().unwrap();
    let got = open(directory.path());
    assert!(matches!(&got, Err(StoreError::Locked { path: got }) if *got == path), "{got:?}");
    assert!(got.unwrap_err().to_string().contains("in use"));
    program(&store, 1).await;
    drop(store);
    assert_eq!(open(directory.path()).unwrap().programs(None, None, 10).await.unwrap().items.len(), 1);
}

#[tokio::test]
async fn the_instance_is_drawn_once_for_each_directory() {
    let (one, other) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let first = open(one.path()).unwrap().instance();
    assert_eq!(open(one.path()).unwrap().instance(), first);
    assert_ne!(open(other.path()).unwrap().instance(), first);
}

#[tokio::test]
async fn only_the_owner_can_read_it() {
    let parent = TempDir::new().unwrap();
    let directory = parent.path().join("made/on/the/way");
    let store = open(&directory).unwrap();
    task(&store, &program(&store, 1).await).await;
    store.put_blob(Bytes::from(vec![1; 100_000])).await.unwrap();
    let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(directory.clone()), 0o700);
    for entry in fs::read_dir(&directory).unwrap().map(Result::unwrap) {
        let expected = if entry.file_type().unwrap().is_dir() { 0o700 } else { 0o600 };
        assert_eq!(mode(entry.path()), expected, "{entry:?}");
    }
}

#[tokio::test]
async fn a_newer_schema_is_refused_and_left_alone() {
    let directory = TempDir::new().unwrap();
    drop(open(directory.path()).unwrap());
    let database = directory.path().join("coprocessor.db");
    let version = |set: Option<i64>| {
        let db = Connection::open(&database).unwrap();
        if let Some(version) = set {
            db.pragma_update(None, "user_version", version).unwrap();
        }
        db.query_row("PRAGMA user_version", [], |row| row.get::<_, i64>(0)).unwrap()
    };
    let current = version(None);
    for unknown in [current + 1, -1] {
        version(Some(unknown));
        let got = open(directory.path());
        assert!(
            matches!(got, Err(StoreError::Schema { got, expected, .. }) if got == unknown && expected == current),
            "{got:?}"
        );
        assert_eq!(version(None), unknown);
    }
    version(Some(current));
    open(directory.path()).unwrap();
}

#[tokio::test]
async fn what_is_no_database_is_told() {
    let directory = TempDir::new().unwrap();
    fs::write(directory.path().join("coprocessor.db"), vec![b'x'; 10_000]).unwrap();
    let got = open(directory.path());
    assert!(matches!(got, Err(StoreError::Corrupt { .. })), "{got:?}");
    let file = directory.path().join("a file");
    fs::write(&file, "").unwrap();
    let got = open(&file);
    assert!(matches!(&got, Err(StoreError::Io { path, .. }) if *path == file), "{got:?}");
}

#[tokio::test]
async fn a_row_that_was_tampered_with_is_told() {
    let directory = TempDir::new().unwrap();
    let store = open(directory.path()).unwrap();
    let id = task(&store, &program(&store, 1).await).await.id;
    let db = Connection::open(directory.path().join("coprocessor.db")).unwrap();
    for change in ["state = 'lost'", "kind = 'x'", "owner = 'Not An Owner'", "root = x'00'"] {
        db.execute(&format!("UPDATE tasks SET {change}"), []).unwrap();
        let got = store.task(id).await;
        assert!(matches!(got, Err(StoreError::Corrupt { .. })), "{change}: {got:?}");
        db.execute("UPDATE tasks SET state = 'queued', kind = 'mock', owner = 'alice', root = zeroblob(32)", [])
            .unwrap();
        store.task(id).await.unwrap();
    }
}

fn files_under(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for shard in fs::read_dir(directory).unwrap() {
        files.extend(fs::read_dir(shard.unwrap().path()).unwrap().map(|file| file.unwrap().path()));
    }
    files
}

#[tokio::test]
async fn a_blob_that_was_changed_is_told() {
    let directory = TempDir::new().unwrap();
    let store = open(directory.path()).unwrap();
    let (small, large) = (Bytes::from(vec![1; 100]), Bytes::from(vec![2; 100_000]));
    let (small, large) = (store.put_blob(small).await.unwrap(), store.put_blob(large).await.unwrap());
    let db = Connection::open(directory.path().join("coprocessor.db")).unwrap();
    db.execute("UPDATE blobs SET content = zeroblob(100) WHERE content IS NOT NULL", []).unwrap();
    let files = files_under(&directory.path().join("blobs"));
    assert_eq!(files.len(), 1);
    let mut content = fs::read(&files[0]).unwrap();
    content[99_999] ^= 1;
    fs::write(&files[0], content).unwrap();
    for digest in [small, large] {
        let got = store.blob(digest).await;
        assert!(
            matches!(got, Err(StoreError::BlobCorrupt { expected, got }) if expected == digest && got != digest),
            "{got:?}"
        );
    }
    fs::remove_file(&files[0]).unwrap();
    assert!(matches!(store.blob(large).await, Err(StoreError::BlobMissing(digest)) if digest == large));
    // Whoever has the content can put it back.
    assert_eq!(store.put_blob(Bytes::from(vec![2; 100_000])).await.unwrap(), large);
    assert_eq!(store.blob(large).await.unwrap(), vec![2; 100_000]);
}

#[tokio::test]
async fn unfinished_blob_files_are_removed_at_the_next_start() {
    let directory = TempDir::new().unwrap();
    let content = Bytes::from(vec![2; 100_000]);
    let digest = open(directory.path()).unwrap().put_blob(content.clone()).await.unwrap();
    let blobs = directory.path().join("blobs");
    let whole = files_under(&blobs);
    let mut cut_off = whole[0].clone().into_os_string();
    cut_off.push("#1");
    fs::write(&cut_off, "half").unwrap();
    // File systems' clocks are coarse.
    std::thread::sleep(Duration::from_millis(50));

    let store = open(directory.path()).unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while files_under(&blobs) != whole {
        assert!(Instant::now() < deadline, "still there");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(store.blob(digest).await.unwrap(), content);
}

#[tokio::test]
async fn a_closed_store_says_so() {
    let directory = TempDir::new().unwrap();
    let store = open(directory.path()).unwrap();
    let program = program(&store, 1).await;
    let snapshot = store.volume_snapshot(program.id).unwrap();
    store.health().await.unwrap();
    store.close();
    store.close();
    assert!(matches!(store.health().await, Err(StoreError::Closed)));
    assert!(matches!(store.flush().await, Err(StoreError::Closed)));
    assert!(matches!(store.program(program.id).await, Err(StoreError::Closed)));
    assert!(matches!(store.put_blob(Bytes::new()).await, Err(StoreError::Closed)));
    assert!(matches!(store.blob(BlobDigest::of(b"circuit")).await, Err(StoreError::Closed)));
    assert!(matches!(store.volume_snapshot(program.id).map(drop), Err(StoreError::Closed)));
    // Who was reading may finish.
    assert_eq!(snapshot.read_page(0).unwrap(), None);
}
