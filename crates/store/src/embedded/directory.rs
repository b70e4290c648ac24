//! The directory everything is in, and the lock that keeps others out.

use super::fault::io_error;
use crate::StoreError;
use std::{
    fs::{DirBuilder, File, OpenOptions, TryLockError},
    io::{ErrorKind, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::SystemTime,
};

/// A directory that this process alone uses, as long as this lives.
#[derive(Debug)]
pub(super) struct Directory {
    root: PathBuf,
    lock: File,
}

impl Directory {
    /// The name of the database in it.
    pub(super) const DATABASE: &str = "coprocessor.db";

    /// The name of the directory of blobs' files.
    pub(super) const BLOBS: &str = "blobs";

    /// The name of a database that is being restored.
    pub(super) const RESTORING: &str = "coprocessor.db.restoring";

    /// Makes the directory where there is none, and takes its lock.
    ///
    /// # Errors
    /// [`StoreError::Locked`], [`StoreError::Io`], [`StoreError::Full`].
    pub(super) fn open(root: &Path) -> Result<Self, StoreError> {
        make_private(root)?;
        let root = root.canonicalize().map_err(|error| io_error(root, error))?;
        let lock = open_private(&root.join("lock"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StoreError::Locked { path: root }),
            Err(TryLockError::Error(error)) => return Err(io_error(&root.join("lock"), error)),
        }
        // Who holds it, for people; and it sets the file's time, see `opened_at`.
        let holder = format!("{}\n", std::process::id());
        let wrote = lock.set_len(0).and_then(|()| (&lock).write_all(holder.as_bytes()));
        wrote.map_err(|error| io_error(&root.join("lock"), error))?;
        if root.join(Self::RESTORING).exists() {
            let reason = format!("{} was not restored to the end; empty it and restore it again", root.display());
            return Err(StoreError::Corrupt { what: "the directory", reason });
        }
        let directory = Self { root, lock };
        make_private(&directory.blobs())?;
        directory.make_shards()?;
        open_private(&directory.root.join(BackupLock::NAME))?;
        // SQLite gives its other files the mode of this one.
        open_private(&directory.database())?;
        Ok(directory)
    }

    /// Makes the names of the files in it durable.
    pub(super) fn sync(&self) -> Result<(), StoreError> {
        sync_directory(&self.root)
    }

    /// When it was locked, by the clock of its file system.
    pub(super) fn opened_at(&self) -> Result<SystemTime, StoreError> {
        let modified = self.lock.metadata().and_then(|metadata| metadata.modified());
        modified.map_err(|error| io_error(&self.root.join("lock"), error))
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn database(&self) -> PathBuf {
        self.root.join(Self::DATABASE)
    }

    /// SQLite's write-ahead log.
    pub(super) fn log(&self) -> PathBuf {
        self.root.join("coprocessor.db-wal")
    }

    pub(super) fn blobs(&self) -> PathBuf {
        self.root.join(Self::BLOBS)
    }
}

impl Directory {
    /// Makes the directories that blobs' files are in, so that putting one need not.
    fn make_shards(&self) -> Result<(), StoreError> {
        let blobs = self.blobs();
        let mut made = false;
        for shard in 0..=u8::MAX {
            let path = blobs.join(format!("{shard:02x}"));
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => made = true,
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(io_error(&path, error)),
            }
        }
        if made { sync_directory(&blobs) } else { Ok(()) }
    }
}

/// Keeps blobs' files as long as a backup is made: whoever copies shares it, whoever removes needs it alone.
#[derive(Debug)]
pub(super) struct BackupLock(File);

impl BackupLock {
    const NAME: &str = "backup.lock";

    /// Waits for whoever removes.
    pub(super) fn share(root: &Path) -> Result<Self, StoreError> {
        let path = root.join(Self::NAME);
        let lock = open_private(&path)?;
        lock.lock_shared().map_err(|error| io_error(&path, error))?;
        Ok(Self(lock))
    }

    /// `None` while a backup is made.
    pub(super) fn try_alone(root: &Path) -> Result<Option<Self>, StoreError> {
        let path = root.join(Self::NAME);
        let lock = open_private(&path)?;
        match lock.try_lock() {
            Ok(()) => Ok(Some(Self(lock))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(io_error(&path, error)),
        }
    }
}

impl Drop for BackupLock {
    fn drop(&mut self) {
        // As with the directory's.
        let _ = self.0.unlock();
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // Closing the file would do, but a child process may have inherited it meanwhile. An error means it is unlocked.
        let _ = self.lock.unlock();
    }
}

/// Makes a directory, and those above it, that only the owner can enter; durable when this returns.
pub(super) fn make_private(path: &Path) -> Result<(), StoreError> {
    if path.is_dir() {
        return Ok(());
    }
    let first_existing = path.ancestors().find(|ancestor| ancestor.is_dir()).unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|error| io_error(path, error))?;
    for made in path.ancestors().skip(1) {
        let made = if made.as_os_str().is_empty() { Path::new(".") } else { made };
        sync_directory(made)?;
        if made == first_existing {
            break;
        }
    }
    Ok(())
}

fn open_private(path: &Path) -> Result<File, StoreError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    options.open(path).map_err(|error| io_error(path, error))
}

/// Makes the names of the files in a directory durable.
pub(super) fn sync_directory(path: &Path) -> Result<(), StoreError> {
    File::open(path).and_then(|directory| directory.sync_all()).map_err(|error| io_error(path, error))
}
