//! The store for many coprocessors on many machines: PostgreSQL 14 or later, blobs beside it in a directory that all of them
//! share or in an S3-compatible object store.
//!
//! Every operation runs in a runtime of the store's own, to its end, whether its caller waits or not; so a change is told
//! once it is committed, and a busy service does not hold up heartbeats. Most operations are one statement, and so one
//! transaction and one round trip: `queue`, `steps` and `tasks`; admissions that come at once share one, and so do steps
//! that end at once (`together`). The connections (`connect`) are of three kinds. What is acknowledged is committed on one
//! kind, synchronously; steps are committed on another without waiting for the disk, which a crash of the database can take
//! back, latest first: its log has one order, so the next synchronous commit makes all that came before it durable. Views
//! of volumes are transactions that stay open, on connections of their own.
//!
//! What is said of one worker's claim is true after a crash too: see `uncrashed` in the schema. Session state is relied on
//! throughout, so a pooler between must give out whole sessions.

mod accounts;
mod announce;
mod blobs;
mod check;
mod connect;
mod controllers;
mod cursor;
mod domains;
mod events;
mod fault;
mod programs;
mod provers;
mod queue;
mod recordings;
mod replace;
mod roots;
mod row;
mod schema;
mod steps;
mod store;
mod tasks;
mod together;
mod upkeep;
mod volumes;
mod webhooks;

use crate::{Change, Stage, StoreError, domain::trees::Cache, task::fairness::Turns};
use announce::Announcer;
use blobs::Blobs;
use connect::{Connector, Role, Sessions};
use coprocessor_types::InstanceId;
use events::Horizon;
use fault::Fault;
use secrecy::SecretString;
use std::{
    fmt,
    future::Future,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};
use tasks::Admissions;
use together::{Together, admissions::Admit, steps::Step};
use tokio::{
    runtime::{Handle, Runtime},
    sync::{Mutex, broadcast},
};
use upkeep::Measured;

/// Changes a slow listener can be behind before it misses some.
const CHANGES_KEPT: usize = 8192;

/// How often an operation is begun anew because others were in its way.
const CONFLICTS: usize = 10;

/// Pauses before an operation that may be repeated is begun anew, after its connection was lost.
const LOST: [Duration; 2] = [Duration::from_millis(20), Duration::from_millis(300)];

/// How a store is reached.
#[derive(Clone, Debug)]
pub struct PostgresConfig {
    /// `postgres://user:password@host:port/name`, with `?sslmode=require` for TLS, the server checked by the system's
    /// certificates. Needs to be a database of its own, as owner.
    pub url: SecretString,
    /// Connections that operations share; at least two. As many again may be opened for volumes that are read at the same
    /// time, and three for heartbeats and changes.
    pub connections: usize,
    /// Where large blobs are; the same place for every coprocessor of this database.
    pub blobs: BlobPlace,
    /// Blobs of at most this many bytes are kept in the database, with the row that names them. Changing it later leaves older
    /// blobs where they are.
    pub inline_blob_limit: usize,
    /// How long an operation may take, waiting for a connection included, before the database counts as unreachable. What is large
    /// without bound, a volume that is replaced, is many operations.
    pub patience: Duration,
}

impl PostgresConfig {
    /// What is right for nearly everybody, given the two that only the operator knows.
    pub fn new(url: SecretString, blobs: BlobPlace) -> Self {
        Self { url, connections: 16, blobs, inline_blob_limit: 32 * 1024, patience: Duration::from_secs(30) }
    }
}

/// Where large blobs are.
#[derive(Clone)]
pub enum BlobPlace {
    /// A directory, made where there is none. For several machines: on a file system that all of them mount.
    Directory(PathBuf),
    /// A bucket of an S3-compatible object store.
    S3 {
        /// Its name; it must exist.
        bucket: String,
        /// Prepended to every object's name, so that several stores can share a bucket. May be empty.
        prefix: String,
        /// Where it is, such as `https://minio.example:9000`; `None`: AWS.
        endpoint: Option<String>,
        /// Its region.
        region: String,
        /// Who asks.
        access_key_id: String,
        /// And proves it.
        secret_access_key: SecretString,
        /// Whether the endpoint may be plain HTTP.
        allow_http: bool,
    },
}

impl fmt::Debug for BlobPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(path) => write!(f, "{}", path.display()),
            Self::S3 { bucket, prefix, endpoint, .. } => {
                write!(f, "s3://{bucket}/{prefix} at {}", endpoint.as_deref().unwrap_or("AWS"))
            }
        }
    }
}

/// The store in one database.
pub struct PostgresStore {
    inner: Arc<Inner>,
    /// `None` only while it is dropped.
    runtime: Option<Runtime>,
}

impl PostgresStore {
    /// Connects, and brings the schema up to date. Whoever else uses the store goes on undisturbed: leases are not voided.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when the database can't be reached; [`StoreError::Schema`] when it was written by a later
    /// version; [`StoreError::Blobs`] when `blobs` is not the place where this store's are.
    pub async fn open(config: PostgresConfig) -> Result<Self, StoreError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("store-postgres")
            .enable_all()
            .build()
            .map_err(|source| StoreError::Io { path: "a thread".into(), source })?;
        let opened = runtime.spawn(Inner::open(config, runtime.handle().clone())).await;
        match opened {
            Ok(Ok(inner)) => Ok(Self { inner, runtime: Some(runtime) }),
            Ok(Err(fault)) => {
                runtime.shutdown_background();
                Err(fault.into())
            }
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    /// Ends the store: every later call fails with [`StoreError::Closed`]. Dropping the store does the same.
    pub fn close(&self) {
        self.inner.close();
    }

    /// Runs an operation that may be begun anew when others were in its way.
    async fn call<T, F>(&self, work: impl Fn(Arc<Inner>) -> F + Send + 'static) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Fault>> + Send + 'static,
    {
        self.run(work, &[]).await
    }

    /// Runs an operation that may also be begun anew when the connection was lost, and nobody knows whether it was done.
    async fn call_again<T, F>(&self, work: impl Fn(Arc<Inner>) -> F + Send + 'static) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Fault>> + Send + 'static,
    {
        self.run(work, &LOST).await
    }

    async fn run<T, F>(
        &self,
        work: impl Fn(Arc<Inner>) -> F + Send + 'static,
        pauses: &'static [Duration],
    ) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Fault>> + Send + 'static,
    {
        let inner = self.inner.clone();
        let again = async move {
            let (mut conflicts, mut pauses) = (0, pauses.iter());
            loop {
                match work(inner.clone()).await {
                    Err(fault) if fault.is_conflict() && conflicts < CONFLICTS => conflicts += 1,
                    Err(fault) if fault.is_lost() => match pauses.next() {
                        Some(pause) => tokio::time::sleep(*pause).await,
                        None => return Err(fault),
                    },
                    done => return done,
                }
            }
        };
        // Made in there: a timer belongs to the runtime it is made in, and the caller's may end before this.
        let patience = self.inner.patience;
        let timed = async move { tokio::time::timeout(patience, again).await };
        match self.inner.runtime.spawn(timed).await {
            Ok(Ok(done)) => Ok(done?),
            Ok(Err(_)) => Err(StoreError::Unavailable(format!("no answer within {patience:?}").into())),
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => Err(StoreError::Closed),
        }
    }
}

impl Drop for PostgresStore {
    fn drop(&mut self) {
        self.close();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore").field("instance", &self.inner.instance).finish_non_exhaustive()
    }
}

/// What operations work with.
struct Inner {
    instance: InstanceId,
    runtime: Handle,
    patience: Duration,
    durable: Sessions,
    quick: Sessions,
    snapshots: Sessions,
    heartbeats: Sessions,
    blobs: Blobs,
    announcer: Announcer,
    /// Whose turn it is, of each stage. Held while a claim is made: one process's claims would only race for the same tasks.
    turns: [Mutex<Turns>; 3],
    /// Held while deliveries are claimed, likewise.
    deliveries: Mutex<()>,
    admissions: Admissions,
    /// Where admissions and steps wait for the statement that they share.
    admits: Together<Admit>,
    steps: Together<Step>,
    horizon: Horizon,
    measured: Measured,
    trees: Cache,
    /// Held while blocks are appended: one process's appends would only wait for the same row, with a connection each.
    appending: Mutex<()>,
}

impl Inner {
    async fn open(config: PostgresConfig, runtime: Handle) -> Result<Arc<Self>, Fault> {
        let started = Instant::now();
        let connector = Connector::new(&config.url)?;
        let instance = schema::migrate(&connector).await?;
        let (changes, _) = broadcast::channel(CHANGES_KEPT);
        // Acknowledgements wait for the disk with a connection each; steps and reads don't.
        let durable = (config.connections / 2).max(1);
        let quick = config.connections.saturating_sub(durable).max(1);
        let inner = Self {
            instance,
            runtime,
            patience: config.patience,
            durable: connector.pool(Role::Durable, durable)?,
            quick: connector.pool(Role::Quick, quick)?,
            snapshots: connector.pool(Role::Snapshot, config.connections.max(2))?,
            heartbeats: connector.pool(Role::Quick, 1)?,
            blobs: Blobs::open(&config.blobs, config.inline_blob_limit)?,
            announcer: Announcer::start(connector.clone(), instance, changes).await?,
            turns: Default::default(),
            deliveries: Mutex::default(),
            admissions: Admissions::default(),
            admits: Together::default(),
            steps: Together::default(),
            horizon: Horizon::default(),
            measured: Measured::default(),
            trees: Cache::new(instance),
            appending: Mutex::default(),
        };
        inner.check_blob_place().await?;
        tracing::info!(
            database = connector.place(),
            blobs = ?config.blobs,
            %instance,
            elapsed_ms = started.elapsed().as_millis() as u64,
            "store opened"
        );
        Ok(Arc::new(inner))
    }

    fn close(&self) {
        for sessions in [&self.durable, &self.quick, &self.snapshots, &self.heartbeats] {
            sessions.close();
        }
        self.announcer.stop();
    }

    /// A commit that waits for the disk, which has all that was committed before it by then. One that wrote nothing would not
    /// wait: this writes a record that means nothing to the log, and to no table.
    async fn flush(&self) -> Result<(), Fault> {
        let sql = "SELECT pg_logical_emit_message(true, 'coprocessor', '')";
        self.durable.take().await?.query(sql, &[]).await.map(drop)
    }

    async fn health(&self) -> Result<(), Fault> {
        let written = self.durable.take().await?.execute("UPDATE health SET probes = probes + 1", &[]).await?;
        let read = self.quick.take().await?.query("SELECT probes FROM health", &[]).await?;
        if written == 1 && read.len() == 1 { Ok(()) } else { Err(row::corrupt("the health probe", "it is not there")) }
    }

    fn turns(&self, stage: Stage) -> &Mutex<Turns> {
        &self.turns[row::stage_number(stage) as usize]
    }

    /// Tells what was committed, here at once and elsewhere in a moment.
    fn tell(&self, changes: impl IntoIterator<Item = Change>) {
        for change in changes {
            self.announcer.tell(change);
        }
    }
}
