//! The PostgreSQL store: the contract every store keeps, and what only this one has.
//!
//! One cluster for all of these, and a database for each test. Those that kill a server start one of their own.

mod check;
#[path = "../contract/mod.rs"]
mod contract;
mod crash;
mod lost;
mod objects;
mod pins;
mod schema;
mod sharing;
mod volumes;

use async_trait::async_trait;
use coprocessor_store::{
    Store,
    postgres::{BlobPlace, PostgresConfig, PostgresStore},
};
use coprocessor_test_servers::{Postgres, PostgresSettings, S3Server, skip_or_fail};
use std::sync::{
    Arc, LazyLock,
    atomic::{AtomicUsize, Ordering},
};
use tempfile::TempDir;

/// What `kill -9` of a server takes back, it takes back without fsync too; and no test cuts the power.
const SETTINGS: PostgresSettings = PostgresSettings { fsync: false, max_connections: 400 };

/// `None` where PostgreSQL is not installed.
fn cluster() -> Option<&'static Postgres> {
    static CLUSTER: LazyLock<Option<Postgres>> = LazyLock::new(|| skip_or_fail(Postgres::start(SETTINGS)));
    CLUSTER.as_ref()
}

/// A new database's URL.
fn new_database(cluster: &Postgres) -> String {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    cluster.create_database(&format!("test{}", COUNT.fetch_add(1, Ordering::Relaxed))).unwrap()
}

fn config(url: &str, blobs: BlobPlace) -> PostgresConfig {
    PostgresConfig { connections: 6, ..PostgresConfig::new(url.to_owned().into(), blobs) }
}

async fn open(url: &str, blobs: BlobPlace) -> Arc<PostgresStore> {
    Arc::new(PostgresStore::open(config(url, blobs)).await.unwrap())
}

/// A store in a database of its own, with its large blobs in a directory.
struct InDirectory {
    url: String,
    directory: TempDir,
    store: Option<Arc<PostgresStore>>,
}

impl InDirectory {
    async fn start() -> Option<Self> {
        let url = new_database(cluster()?);
        let mut backing = Self { url, directory: TempDir::new().unwrap(), store: None };
        backing.store = Some(backing.another().await);
        Some(backing)
    }

    fn blobs(&self) -> BlobPlace {
        BlobPlace::Directory(self.directory.path().to_owned())
    }

    async fn another(&self) -> Arc<PostgresStore> {
        open(&self.url, self.blobs()).await
    }
}

#[async_trait]
impl contract::Backing for InDirectory {
    const VOIDS_LEASES: bool = false;
    const HISTORIES: u64 = 100;

    fn is_here() -> bool {
        cluster().is_some()
    }

    async fn new() -> Self {
        Self::start().await.expect("it was asked for")
    }

    fn store(&self) -> Arc<dyn Store> {
        self.store.clone().expect("it is open but for the moment of reopening")
    }

    async fn second(&self) -> Option<Arc<dyn Store>> {
        Some(self.another().await)
    }

    async fn reopen(&mut self) {
        let store = self.store.take().expect("it is open");
        assert_eq!(Arc::strong_count(&store), 1, "somebody else holds the store that is to be reopened");
        drop(store);
        self.store = Some(self.another().await);
    }
}

/// A store in a database of its own, with its large blobs in a bucket.
struct InBucket {
    url: String,
    bucket: S3Server,
    store: Option<Arc<PostgresStore>>,
}

impl InBucket {
    fn blobs(&self, secret: &str) -> BlobPlace {
        BlobPlace::S3 {
            bucket: "blobs".to_owned(),
            prefix: "a/prefix".to_owned(),
            endpoint: Some(self.bucket.endpoint().to_owned()),
            region: "us-east-1".to_owned(),
            access_key_id: self.bucket.access_key().to_owned(),
            secret_access_key: secret.to_owned().into(),
            allow_http: true,
        }
    }

    async fn another(&self) -> Arc<PostgresStore> {
        open(&self.url, self.blobs(self.bucket.secret_key())).await
    }
}

#[async_trait]
impl contract::Backing for InBucket {
    const VOIDS_LEASES: bool = false;
    const HISTORIES: u64 = 1;

    fn is_here() -> bool {
        cluster().is_some()
    }

    async fn new() -> Self {
        let url = new_database(cluster().expect("it was asked for"));
        let mut backing = Self { url, bucket: S3Server::start("blobs").unwrap(), store: None };
        backing.store = Some(backing.another().await);
        backing
    }

    fn store(&self) -> Arc<dyn Store> {
        self.store.clone().expect("it is open but for the moment of reopening")
    }

    async fn second(&self) -> Option<Arc<dyn Store>> {
        Some(self.another().await)
    }

    async fn reopen(&mut self) {
        drop(self.store.take());
        self.store = Some(self.another().await);
    }
}

mod in_directory {
    crate::contract!(super::InDirectory);
}

/// What has to do with large blobs; the rest is the same code.
mod in_bucket {
    crate::contract!(super::InBucket;
        blobs::content_reads_back_whatever_its_size,
        blobs::putting_again_is_no_error,
        blobs::a_digest_that_names_nothing_is_missing,
        blobs::blobs_survive_a_restart,
        steps::large_blobs_go_with_their_step,
        upkeep::witnesses_age_out_but_those_of_failed_tasks,
        upkeep::blobs_that_nothing_names_go_after_a_while,
        upkeep::putting_a_blob_again_keeps_it_longer,
        upkeep::usage_grows_and_shrinks,
        upkeep::collecting_beside_everything_else_loses_nothing,
    );
}
