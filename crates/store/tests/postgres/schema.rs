//! The schema: made once, whoever comes, and never touched by those who don't know it.

use super::{
    InDirectory, cluster, config,
    contract::fixture::{owner, program, task, write},
    new_database, open,
};
use bytes::Bytes;
use coprocessor_store::{
    Accounts, Store, StoreError, Upkeep, VolumeWrite,
    postgres::{BlobPlace, PostgresStore},
};
use std::collections::BTreeSet;
use tempfile::TempDir;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_that_open_at_once_make_one_store() {
    let Some(cluster) = cluster() else { return };
    let (url, directory) = (new_database(cluster), TempDir::new().unwrap());
    let opening: Vec<_> = (0..8)
        .map(|_| {
            let (url, blobs) = (url.clone(), BlobPlace::Directory(directory.path().to_owned()));
            tokio::spawn(async move { open(&url, blobs).await })
        })
        .collect();
    let mut stores = Vec::new();
    for store in opening {
        stores.push(store.await.unwrap());
    }
    let instances: BTreeSet<_> = stores.iter().map(|store| store.instance()).collect();
    assert_eq!(instances.len(), 1);
    for store in stores {
        store.health().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_databases_are_two_instances() {
    let (Some(one), Some(two)) = (InDirectory::start().await, InDirectory::start().await) else { return };
    assert_ne!(one.store.unwrap().instance(), two.store.unwrap().instance());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_later_schema_is_refused_and_left_alone() {
    let Some(backing) = InDirectory::start().await else { return };
    let version = "SELECT version FROM schema_version";
    let sql = |sql: &str| cluster().unwrap().sql(&backing.url, sql).unwrap();
    let current: i64 = sql(version).parse().unwrap();
    for unknown in [current + 1, -1] {
        sql(&format!("UPDATE schema_version SET version = {unknown}"));
        let refused = PostgresStore::open(config(&backing.url, backing.blobs())).await.unwrap_err();
        assert!(
            matches!(refused, StoreError::Schema { got, expected, .. } if got == unknown && expected == current),
            "{refused}"
        );
        assert!(refused.to_string().contains("the database test"), "{refused}");
        assert_eq!(sql(version), unknown.to_string());
    }
}

/// What was written before volumes were counted counts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn volumes_of_before_are_counted() {
    let Some(mut backing) = InDirectory::start().await else { return };
    let store = backing.store.take().unwrap();
    let program = program(&*store, 1).await;
    let raw = Some(Bytes::from_static(b"raw"));
    store.write_volume(program.id, VolumeWrite { raw, ..write(0, &[(0, b"page"), (9, b"other")]) }).await.unwrap();
    drop(store);
    let before = "DROP TABLE owner_volumes, loose_volumes; DROP FUNCTION pin; ALTER TABLE owners DROP COLUMN volume_bytes; \
         ALTER TABLE volumes DROP COLUMN bytes, ALTER COLUMN number SET GENERATED ALWAYS; \
         UPDATE schema_version SET version = 5";
    cluster().unwrap().sql(&backing.url, before).unwrap();
    let store = backing.another().await;
    assert_eq!(store.volume_bytes(&owner("alice")).await.unwrap(), 12);
    store.write_volume(program.id, write(1, &[(0, b"longer page")])).await.unwrap();
    assert_eq!(store.volume_bytes(&owner("alice")).await.unwrap(), 19);
    assert_eq!(store.contradictions().await.unwrap(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_with_the_database_is_told_without_its_password() {
    let Some(cluster) = cluster() else { return };
    let directory = TempDir::new().unwrap();
    let port = cluster.address().port();
    for (url, expected) in [
        ("no url at all".to_owned(), "postgres://user:password@host:port/name"),
        (format!("postgres://postgres:swordfish@127.0.0.1:{port}/nowhere"), "\"nowhere\" does not exist"),
        ("postgres://postgres:swordfish@127.0.0.1:1/db".to_owned(), "refused"),
        // This server has no TLS.
        (format!("postgres://postgres:swordfish@127.0.0.1:{port}/postgres?sslmode=verify-full"), "TLS"),
    ] {
        let blobs = BlobPlace::Directory(directory.path().to_owned());
        let refused = PostgresStore::open(config(&url, blobs)).await.unwrap_err().to_string();
        assert!(refused.contains(expected) && !refused.contains("swordfish"), "{url}: {refused}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_was_closed_says_so() {
    let Some(backing) = InDirectory::start().await else { return };
    let store = backing.store.clone().unwrap();
    let program = super::contract::fixture::program(&*store, 1).await;
    task(&*store, &program).await;
    store.close();
    assert!(matches!(store.health().await, Err(StoreError::Closed)));
    assert!(matches!(store.volume_snapshot(program.id).map(drop), Err(StoreError::Closed)));
}
