//! Large blobs, beside the database.

use super::{InBucket, InDirectory, cluster, config, contract::Backing, new_database};
use bytes::Bytes;
use coprocessor_store::{
    Collected, Retention, Store, StoreError, Upkeep,
    postgres::{BlobPlace, PostgresStore},
};
use coprocessor_types::BlobDigest;
use jiff::Timestamp;
use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};
use tempfile::TempDir;

fn large(byte: u8) -> Bytes {
    Bytes::from(vec![byte; 100_000])
}

/// The blobs' files.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(self::files(&path));
        } else if !path.ends_with("instance") {
            files.push(path);
        }
    }
    files
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn content_that_was_changed_is_found_out() {
    let Some(backing) = InDirectory::start().await else { return };
    let store = backing.store.clone().unwrap();
    let digest = store.put_blob(large(1)).await.unwrap();
    let [file] = files(backing.directory.path()).try_into().unwrap();
    let mut content = fs::read(&file).unwrap();
    content[99_999] ^= 1;
    fs::write(&file, &content).unwrap();
    let got = store.blob(digest).await;
    let expected = BlobDigest::of(&content);
    assert!(matches!(got, Err(StoreError::BlobCorrupt { got, .. }) if got == expected), "{got:?}");
    fs::remove_file(file).unwrap();
    assert!(matches!(store.blob(digest).await, Err(StoreError::BlobMissing(missing)) if missing == digest));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_that_no_row_names_are_swept_once_they_are_old() {
    let Some(backing) = InDirectory::start().await else { return };
    let store = backing.store.clone().unwrap();
    let kept = store.put_blob(large(1)).await.unwrap();
    let [file] = files(backing.directory.path()).try_into().unwrap();
    // What a put leaves that was cut off before its row: one long ago, one just now; and what is somebody else's.
    let [old, young] = ["old", "young"].map(|end| PathBuf::from(format!("{}{end}", file.display())));
    let other = backing.directory.path().join("notes.txt");
    for path in [&old, &young, &other] {
        fs::write(path, large(2)).unwrap();
    }
    let long_ago = SystemTime::now() - Duration::from_secs(7200);
    for path in [&old, &other, &file] {
        fs::File::options().write(true).open(path).unwrap().set_modified(long_ago).unwrap();
    }
    let collected = store.collect(&Retention::default(), Timestamp::now(), 100).await.unwrap();
    assert_eq!(collected, Collected::default());
    let there = [old, young, other].map(|path| path.exists());
    assert_eq!(there, [false, true, true]);
    assert_eq!(store.blob(kept).await.unwrap(), large(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_put_that_came_too_late_leaves_no_object() {
    let Some(backing) = InDirectory::start().await else { return };
    let store = backing.store.clone().unwrap();
    let puts: Vec<_> = (0..8)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move { store.put_blob(large(3)).await.unwrap() })
        })
        .collect();
    for put in puts {
        assert_eq!(put.await.unwrap(), BlobDigest::of(&large(3)));
    }
    assert_eq!(files(backing.directory.path()).len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_place_that_is_not_this_store_s_is_refused() {
    let (Some(one), Some(two)) = (InDirectory::start().await, InDirectory::start().await) else { return };
    let refused = |url: &str, blobs| {
        let config = config(url, blobs);
        async { PostgresStore::open(config).await.unwrap_err().to_string() }
    };
    let of_another = refused(&one.url, two.blobs()).await;
    assert!(of_another.contains("another database's"), "{of_another}");
    // As long as there is nothing in it, the place can be chosen anew; then no more.
    let empty = TempDir::new().unwrap();
    let place = || BlobPlace::Directory(empty.path().join("deep/down"));
    drop(PostgresStore::open(config(&one.url, place())).await.unwrap());
    one.store.clone().unwrap().put_blob(large(1)).await.unwrap();
    let elsewhere = TempDir::new().unwrap();
    let elsewhere = refused(&one.url, BlobPlace::Directory(elsewhere.path().to_owned())).await;
    assert!(elsewhere.contains("not where this database's are"), "{elsewhere}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_s_wrong_secret_is_told_and_not_shown() {
    if cluster().is_none() {
        return;
    }
    let backing = InBucket::new().await;
    let url = new_database(cluster().unwrap());
    let config = config(&url, backing.blobs("swordfish"));
    assert!(!format!("{config:?}").contains("swordfish"));
    let refused = PostgresStore::open(config).await.unwrap_err();
    assert!(matches!(refused, StoreError::Blobs(_)) && !refused.to_string().contains("swordfish"), "{refused}");
}
