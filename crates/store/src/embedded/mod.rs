//! The store that needs no set-up: one directory, SQLite in WAL mode, blobs in the database or beside it.
//!
//! One thread writes (`writer`), any number read (`readers`); the rest is tables: `programs`, `tasks`, `admission`,
//! `queue`, `steps`, `volumes`, `blobs`, `provers`, `accounts`, `webhooks`, `domains`, `roots`, `upkeep`. The directory holds `lock`,
//! `coprocessor.db` with SQLite's two files beside it, and `blobs/` with what is too large for a row, by digest. Only the
//! owner can read any of it; secrets of prover nodes and webhooks are in the database in the clear, API keys only as hashes.

mod accounts;
mod admission;
mod backup;
mod blobs;
mod check;
mod controllers;
mod cursor;
mod directory;
mod domains;
mod fault;
mod programs;
mod provers;
mod queue;
mod readers;
mod recordings;
mod roots;
mod row;
#[cfg(test)]
mod scale;
mod schema;
mod steps;
mod store;
mod tasks;
mod upkeep;
mod volumes;
mod webhooks;
mod writer;

pub use backup::{BackupReport, backup, restore};

use crate::{Change, StoreError, domain::trees::Cache, task::fairness::Turns};
use blobs::Blobs;
use coprocessor_types::InstanceId;
use directory::{BackupLock, Directory};
use fault::{Fault, io_error};
use readers::{BUSY_TIMEOUT, Readers, keep_statements};
use rusqlite::{Connection, OpenFlags};
use std::{
    fs::File,
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use tokio::sync::broadcast;
use writer::{Log, Writer};

/// Changes a slow listener can be behind before it misses some.
const CHANGES_KEPT: usize = 8192;

/// Pages of the log after which the writer copies them to the database. About 16 MiB: rare enough not to be felt, and
/// read back at start in some 20 ms.
const LOG_PAGES: u32 = 4000;

/// What can be chosen about an embedded store. The default is right for nearly everybody.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EmbeddedConfig {
    /// Blobs of at most this many bytes are kept in the database, with the row that names them, at no fsync of their
    /// own. Changing it later leaves older blobs where they are.
    pub inline_blob_limit: usize,
    /// Idle reading connections to keep; more are opened when needed.
    pub idle_readers: usize,
    /// How long after its commit a task's step reaches the disk at the latest; see [`crate::Store`] on durability.
    pub sync_delay: Duration,
    /// Bytes the database may grow to, without blobs in files; more is [`StoreError::Full`]. `None`: what the disk holds.
    pub max_database_size: Option<u64>,
}

impl Default for EmbeddedConfig {
    fn default() -> Self {
        Self {
            inline_blob_limit: 32 * 1024,
            idle_readers: 16,
            sync_delay: Duration::from_millis(100),
            max_database_size: None,
        }
    }
}

/// The store of one directory. It is this process's alone until this is dropped.
#[derive(Debug)]
pub struct EmbeddedStore {
    instance: InstanceId,
    blobs: Blobs,
    readers: Arc<Readers>,
    writer: Writer,
    changes: broadcast::Sender<Change>,
    /// Whose turn it is in each stage, in the order of [`crate::Stage`]. Only the writer's thread looks.
    turns: Arc<[Mutex<Turns>; 3]>,
    trees: Arc<Cache>,
    max_database_size: Option<u64>,
    // The last field, as the lock must be given back last.
    directory: Directory,
}

impl EmbeddedStore {
    /// Opens the store in `directory`, which is made where there is none. Whatever tasks were claimed can be claimed
    /// again: who held them is gone. Blocks for some milliseconds.
    ///
    /// # Errors
    /// [`StoreError::Locked`], [`StoreError::Schema`], and whatever the system or the database fail with.
    pub fn open(directory: &Path, config: EmbeddedConfig) -> Result<Self, StoreError> {
        let started = Instant::now();
        let directory = Directory::open(directory)?;
        let mut db = connect(&directory.database(), config)?;
        schema::migrate(&mut db, directory.root())?;
        let voided = queue::void_leases(&db)?;
        let instance = instance(&db)?;

        let log = File::open(directory.log()).map_err(|error| io_error(&directory.log(), error))?;
        log.sync_all().map_err(|error| io_error(&directory.log(), error))?;
        directory.sync()?;
        let (changes, _) = broadcast::channel(CHANGES_KEPT);
        let log = Log { path: directory.log(), sync: Box::new(move || log.sync_data()), delay: config.sync_delay };
        let writer = Writer::start(db, log, changes.clone())?;
        let readers = Arc::new(Readers::new(&directory.database(), config.idle_readers));
        let blobs = Blobs::new(&directory, readers.clone(), config.inline_blob_limit);
        sweep(&directory, readers.clone())?;
        tracing::info!(
            directory = %directory.root().display(),
            %instance,
            leases_voided = voided,
            elapsed_ms = started.elapsed().as_millis() as u64,
            "store opened"
        );
        let (turns, trees) = (Arc::default(), Arc::new(Cache::new(instance)));
        let max_database_size = config.max_database_size;
        Ok(Self { instance, blobs, readers, writer, changes, turns, trees, max_database_size, directory })
    }

    /// Finishes what was begun, syncs, and closes the database; every later call fails with [`StoreError::Closed`].
    /// Dropping the store does the same. Blocks for some milliseconds.
    pub fn close(&self) {
        // The connection that is closed last removes the log, and a reading one can't.
        self.readers.close();
        self.writer.close();
    }
}

impl Drop for EmbeddedStore {
    fn drop(&mut self) {
        self.close();
    }
}

/// The connection that writes.
fn connect(database: &Path, config: EmbeddedConfig) -> Result<Connection, Fault> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(database, flags)?;
    db.busy_timeout(BUSY_TIMEOUT)?;
    keep_statements(&db)?;
    db.pragma_update(None, "journal_mode", "wal")?;
    // Checkpoints fsync, commits don't: the writer does that, see there.
    db.pragma_update(None, "synchronous", "normal")?;
    db.pragma_update(None, "foreign_keys", true)?;
    db.pragma_update(None, "wal_autocheckpoint", LOG_PAGES)?;
    db.pragma_update(None, "cache_size", -8192)?;
    db.pragma_update(None, "temp_store", "memory")?;
    if let Some(limit) = config.max_database_size {
        let page_size: i64 = db.query_row("PRAGMA page_size", [], |row| row.get(0))?;
        let pages = i64::try_from(limit).unwrap_or(i64::MAX) / page_size;
        db.query_row(&format!("PRAGMA max_page_count = {}", pages.max(1)), [], |row| row.get::<_, i64>(0))?;
    }
    Ok(db)
}

fn instance(db: &Connection) -> Result<InstanceId, Fault> {
    Ok(db.query_row("SELECT id FROM instance", [], |row| row.get(0)).map(InstanceId)?)
}

/// Removes blob files that are no row's, beside everything else: there may be very many directories' entries to read.
fn sweep(directory: &Directory, readers: Arc<Readers>) -> Result<(), StoreError> {
    let (blobs, root) = (directory.blobs(), directory.root().to_owned());
    let started = directory.opened_at()?;
    let sweep = move || {
        let Some(_alone) = BackupLock::try_alone(&root)? else { return Ok(0) };
        blobs::sweep(&root.join(Directory::BLOBS), &readers, started)
    };
    let body = move || match sweep() {
        Ok(0) => {}
        Ok(removed) => tracing::info!(removed, "blob files that belong to nothing removed"),
        // The next start goes on.
        Err(StoreError::Closed) => {}
        Err(error) => {
            tracing::warn!(%error, directory = %blobs.display(), "blob files that belong to nothing could not be removed");
        }
    };
    let spawned = std::thread::Builder::new().name("store-sweep".to_owned()).spawn(body);
    spawned.map(drop).map_err(|error| io_error(directory.root(), error))
}
