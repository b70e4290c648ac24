//! Connections that only read. In WAL mode they never wait for the writer, nor it for them.

use super::fault::Fault;
use crate::StoreError;
use rusqlite::{Connection, OpenFlags, config::DbConfig};
use std::{
    ops::Deref,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// How long a connection waits where SQLite must lock for a moment, as while the log is wrapped around.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Prepared statements a connection keeps; all there are fit.
const STATEMENTS: usize = 128;

/// The pool. It opens as many connections as are needed at once and keeps some.
#[derive(Debug)]
pub(super) struct Readers {
    database: PathBuf,
    keep: usize,
    /// `None` once closed.
    idle: Mutex<Option<Vec<Connection>>>,
}

/// A connection out of the pool; goes back when dropped.
#[derive(Debug)]
pub(super) struct Reader {
    /// `None` only while it is dropped.
    db: Option<Connection>,
    pool: Arc<Readers>,
}

impl Readers {
    pub(super) fn new(database: &Path, keep: usize) -> Self {
        Self { database: database.to_owned(), keep, idle: Mutex::new(Some(Vec::new())) }
    }

    /// # Errors
    /// [`StoreError::Closed`]; what opening another connection fails with.
    pub(super) fn take(self: &Arc<Self>) -> Result<Reader, Fault> {
        let idle = self.idle().as_mut().ok_or(StoreError::Closed)?.pop();
        let db = match idle {
            Some(db) => db,
            None => self.connect()?,
        };
        Ok(Reader { db: Some(db), pool: self.clone() })
    }

    /// Closes the idle connections; those in use close when they come back.
    pub(super) fn close(&self) {
        self.idle().take();
    }

    fn connect(&self) -> Result<Connection, Fault> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let db = Connection::open_with_flags(&self.database, flags)?;
        db.busy_timeout(BUSY_TIMEOUT)?;
        keep_statements(&db)?;
        // The system caches the file; a large cache of each connection would only be the same pages again. This much holds the
        // upper pages of the indexes, up to some millions of rows.
        db.pragma_update(None, "cache_size", -4096)?;
        Ok(db)
    }

    fn idle(&self) -> MutexGuard<'_, Option<Vec<Connection>>> {
        // Nothing that is done under the lock can leave the list half changed.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Deref for Reader {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.db.as_ref().expect("a reader holds its connection until it is dropped")
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let Some(db) = self.db.take() else { return };
        // A snapshot's transaction must not outlive it: the log could never be wrapped around.
        let clean = db.is_autocommit() || db.execute_batch("ROLLBACK").is_ok();
        if let Some(idle) = self.pool.idle().as_mut().filter(|idle| clean && idle.len() < self.pool.keep) {
            idle.push(db);
        }
    }
}

/// Has a connection prepare each statement once. Without the planner's guarantee, SQLite prepares one anew for every set of
/// values when a value might decide whether a partial index fits: that was two fifths of what a task cost.
pub(super) fn keep_statements(db: &Connection) -> Result<(), Fault> {
    db.set_prepared_statement_cache_capacity(STATEMENTS);
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(())
}

/// Runs what may wait for the disk or compute for long on a thread where that is allowed.
pub(super) async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        // The runtime shut down before the work began.
        Err(_) => Err(StoreError::Closed),
    }
}
