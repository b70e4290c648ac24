//! Blobs: small ones are rows, written with the row that names them; large ones are files, durable before it.
//!
//! A row and its file can't be changed at once, so no file is ever used again: each put of a large content writes a file
//! of a name of its own, and the row says which one is the blob's. So a blob that is collected while the same content is
//! put again is two files; removing the first takes nothing from the second. A file is removed once the removal of its row is
//! durable. What was written and is no row's in the end (the row was there already, the step came too late) is noted and removed
//! with the next pass of collecting; what a crash left, when the store is opened.

use super::{
    directory::{BackupLock, Directory, sync_directory},
    fault::{Fault, io_error},
    readers::{Readers, off_thread},
    row::{from_time, to_bits, to_limit},
};
use crate::StoreError;
use bytes::Bytes;
use coprocessor_types::BlobDigest;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};
use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    mem,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::SystemTime,
};
use uuid::Uuid;

/// Where large blobs are, and what is large.
#[derive(Debug)]
pub(super) struct Blobs {
    /// The store's directory, for the lock there.
    root: Arc<Path>,
    directory: Arc<Path>,
    readers: Arc<Readers>,
    inline_limit: usize,
    abandoned: Abandoned,
}

/// Names of files that were written and became no row's.
type Abandoned = Arc<Mutex<Vec<String>>>;

/// A blob on its way into the store: its row is still to be written. A large one's file is there and durable.
#[derive(Clone, Debug)]
pub(super) struct StagedBlob {
    pub(super) digest: BlobDigest,
    size: usize,
    place: Place,
}

#[derive(Clone, Debug)]
enum Place {
    Row(Bytes),
    File(Arc<StagedFile>),
}

#[derive(Debug)]
struct StagedFile {
    directory: Arc<Path>,
    name: String,
    /// Whether a row names it, or will with the transaction that is under way.
    named: AtomicBool,
    abandoned: Abandoned,
}

/// What a row says of a blob.
struct BlobRow {
    size: u64,
    inline: Option<Vec<u8>>,
    file: Option<String>,
}

impl Blobs {
    pub(super) fn new(directory: &Directory, readers: Arc<Readers>, inline_limit: usize) -> Self {
        let (root, directory) = (directory.root().into(), directory.blobs().into());
        Self { root, directory, readers, inline_limit, abandoned: Abandoned::default() }
    }

    /// Whether a content of that size is kept in a file.
    pub(super) fn is_large(&self, size: usize) -> bool {
        size > self.inline_limit
    }

    /// A content's digest, without keeping an async thread busy.
    pub(super) async fn digest(&self, content: &Bytes) -> Result<BlobDigest, StoreError> {
        if !self.is_large(content.len()) {
            return Ok(BlobDigest::of(content));
        }
        let content = content.clone();
        off_thread(move || Ok(BlobDigest::of(&content))).await
    }

    /// Makes a blob ready for [`insert`].
    pub(super) async fn stage(&self, content: Bytes) -> Result<StagedBlob, StoreError> {
        let (digest, size) = (self.digest(&content).await?, content.len());
        if !self.is_large(size) {
            return Ok(StagedBlob { digest, size, place: Place::Row(content) });
        }
        let (directory, abandoned) = (self.directory.clone(), self.abandoned.clone());
        let file = off_thread(move || {
            let name = format!("{}-{}", file_stem(digest), Uuid::now_v7().simple());
            // Made first: whatever becomes of the writing, the file is seen to.
            let file = StagedFile { directory, name, named: AtomicBool::new(false), abandoned };
            let path = file.path();
            write_durably(&path, &content).map_err(|error| io_error(&path, error))?;
            sync_directory(path.parent().unwrap_or(&file.directory))?;
            Ok(file)
        });
        Ok(StagedBlob { digest, size, place: Place::File(Arc::new(file.await?)) })
    }

    /// Whether a large blob is kept already: its row, and a file of its size where it has one.
    pub(super) async fn has(&self, digest: BlobDigest) -> Result<bool, StoreError> {
        let (readers, directory) = (self.readers.clone(), self.directory.clone());
        off_thread(move || {
            let Some(row) = find(&*readers.take()?, digest)? else { return Ok(false) };
            Ok(row.inline.is_some() || row.file.is_some_and(|file| is_whole(&directory.join(file), row.size)))
        })
        .await
    }

    /// A blob's content, checked.
    pub(super) async fn read(&self, digest: BlobDigest) -> Result<Bytes, StoreError> {
        let (readers, directory) = (self.readers.clone(), self.directory.clone());
        off_thread(move || {
            let row = find(&*readers.take()?, digest)?.ok_or(StoreError::BlobMissing(digest))?;
            let content = match (row.inline, row.file) {
                (Some(content), _) => content,
                (None, Some(file)) => match fs::read(directory.join(&file)) {
                    Ok(content) => content,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {
                        return Err(StoreError::BlobMissing(digest));
                    }
                    Err(error) => return Err(io_error(&directory.join(file), error)),
                },
                (None, None) => return Err(StoreError::BlobMissing(digest)),
            };
            let got = BlobDigest::of(&content);
            if got == digest { Ok(content.into()) } else { Err(StoreError::BlobCorrupt { expected: digest, got }) }
        })
        .await
    }

    /// The noted files that no row names, for [`remove`](Self::remove) when that is durable. `db` is the connection that
    /// writes: what it sees can't change before the transaction ends.
    pub(super) fn abandoned(db: &Connection, noted: Vec<String>) -> Result<Vec<String>, Fault> {
        let mut statement = db.prepare_cached("SELECT file FROM blobs WHERE digest = ?1")?;
        let mut files = Vec::new();
        for name in noted {
            let digest = digest_of(&name);
            let named: Option<Option<String>> = match digest {
                Some(digest) => statement.query_row([digest.as_bytes()], |row| row.get(0)).optional()?,
                None => None,
            };
            if named.flatten().as_deref() != Some(&name) {
                files.push(name);
            }
        }
        Ok(files)
    }

    /// Takes the notes of abandoned files.
    pub(super) fn take_abandoned(&self) -> Vec<String> {
        mem::take(&mut *lock(&self.abandoned))
    }

    /// Notes files again that could not be removed yet.
    pub(super) fn put_back_abandoned(&self, files: Vec<String>) {
        lock(&self.abandoned).extend(files);
    }

    /// Removes files whose rows are gone for good; those that can't be removed now, as a backup may need them, are noted.
    pub(super) async fn remove(&self, files: Vec<String>) -> Result<(), StoreError> {
        if files.is_empty() {
            return Ok(());
        }
        let (root, directory, abandoned) = (self.root.clone(), self.directory.clone(), self.abandoned.clone());
        off_thread(move || {
            let Some(_alone) = BackupLock::try_alone(&root)? else {
                lock(&abandoned).extend(files);
                return Ok(());
            };
            for name in files {
                let path = directory.join(&name);
                match fs::remove_file(&path) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => {
                        tracing::warn!(%error, path = %path.display(), "a blob's file could not be removed");
                        lock(&abandoned).push(name);
                    }
                    Ok(()) | Err(_) => {}
                }
            }
            Ok(())
        })
        .await
    }
}

impl StagedBlob {
    /// Notes that the transaction that wrote its row has failed.
    pub(super) fn lost(&self) {
        if let Place::File(file) = &self.place {
            file.named.store(false, Ordering::Release);
        }
    }
}

impl StagedFile {
    fn path(&self) -> PathBuf {
        self.directory.join(&self.name)
    }
}

impl Drop for StagedFile {
    fn drop(&mut self) {
        if !self.named.load(Ordering::Acquire) {
            lock(&self.abandoned).push(mem::take(&mut self.name));
        }
    }
}

/// Writes a staged blob's row, with so many more names.
pub(super) fn insert(db: &Connection, blob: &StagedBlob, names: u32, now: Timestamp) -> Result<(), Fault> {
    let (digest, put_at) = (blob.digest.as_bytes(), from_time(now));
    match &blob.place {
        Place::Row(content) => {
            // A row whose file may be lost becomes one that needs none; a file that is left over, the next start removes.
            db.prepare_cached(
                "INSERT INTO blobs (digest, size, content, put_at, names) VALUES (?1, ?2, ?3, ?4, ?5) \
                 ON CONFLICT (digest) DO UPDATE SET content = excluded.content, file = NULL, put_at = excluded.put_at, \
                 names = names + excluded.names",
            )?
            .execute(params![digest, blob.size as i64, content.as_ref(), put_at, names])?;
        }
        Place::File(file) => {
            let kept = match find(db, blob.digest)? {
                Some(row) => {
                    row.inline.is_some() || row.file.is_some_and(|kept| is_whole(&file.directory.join(kept), row.size))
                }
                None => false,
            };
            if kept {
                db.prepare_cached("UPDATE blobs SET put_at = ?2, names = names + ?3 WHERE digest = ?1")?
                    .execute(params![digest, put_at, names])?;
            } else {
                db.prepare_cached(
                    "INSERT INTO blobs (digest, size, file, put_at, names) VALUES (?1, ?2, ?3, ?4, ?5) \
                     ON CONFLICT (digest) DO UPDATE SET file = excluded.file, put_at = excluded.put_at, \
                     names = names + excluded.names",
                )?
                .execute(params![digest, blob.size as i64, file.name, put_at, names])?;
                file.named.store(true, Ordering::Release);
            }
        }
    }
    Ok(())
}

/// Puts a blob that is there again; false when it is not.
pub(super) fn renew(db: &Connection, digest: BlobDigest, now: Timestamp) -> Result<bool, Fault> {
    let mut statement = db.prepare_cached("UPDATE blobs SET put_at = ?2 WHERE digest = ?1")?;
    Ok(statement.execute(params![digest.as_bytes(), from_time(now)])? > 0)
}

/// Has a program name a blob from now on, whatever becomes of the program's controller.
///
/// # Errors
/// [`StoreError::BlobMissing`].
pub(super) fn name_for_program(db: &Connection, program: i64, digest: BlobDigest) -> Result<(), Fault> {
    let added = db
        .prepare_cached("INSERT INTO program_blobs (program, digest) VALUES (?1, ?2) ON CONFLICT DO NOTHING")?
        .execute(params![program, digest.as_bytes()])?;
    if added > 0 { name(db, digest) } else { Ok(()) }
}

/// Has a domain name a blob, likewise.
///
/// # Errors
/// [`StoreError::BlobMissing`].
pub(super) fn name_for_domain(db: &Connection, domain: i64, digest: BlobDigest) -> Result<(), Fault> {
    let added = db
        .prepare_cached("INSERT INTO domain_blobs (domain, digest) VALUES (?1, ?2) ON CONFLICT DO NOTHING")?
        .execute(params![domain, digest.as_bytes()])?;
    if added > 0 { name(db, digest) } else { Ok(()) }
}

/// Takes one name away.
pub(super) fn unname(db: &Connection, digest: BlobDigest) -> Result<(), Fault> {
    db.prepare_cached("UPDATE blobs SET names = names - 1 WHERE digest = ?1")?.execute([digest.as_bytes()])?;
    Ok(())
}

/// Refuses a digest that names nothing.
pub(super) fn require(db: &Connection, digest: BlobDigest) -> Result<(), Fault> {
    let mut statement = db.prepare_cached("SELECT 1 FROM blobs WHERE digest = ?1")?;
    if statement.exists([digest.as_bytes()])? { Ok(()) } else { Err(StoreError::BlobMissing(digest).into()) }
}

/// What [`collect`] removed.
#[derive(Debug, Default)]
pub(super) struct Unnamed {
    pub(super) blobs: u64,
    pub(super) bytes: u64,
    pub(super) files: Vec<String>,
}

/// Removes the rows of blobs that nothing names and that were put last at `before` or earlier, the oldest first.
pub(super) fn collect(db: &Connection, before: Timestamp, limit: usize) -> Result<Unnamed, Fault> {
    let mut unnamed = Unnamed::default();
    let found: Vec<(i64, u64, Option<String>)> = db
        .prepare_cached(
            "SELECT rowid, size, file FROM blobs WHERE names = 0 AND put_at <= ?1 ORDER BY put_at LIMIT ?2",
        )?
        .query_map(params![from_time(before), to_limit(limit)], |row| {
            Ok((row.get(0)?, to_bits(row.get(1)?), row.get(2)?))
        })?
        .collect::<Result<_, _>>()?;
    let mut delete = db.prepare_cached("DELETE FROM blobs WHERE rowid = ?1")?;
    for (row, size, file) in found {
        delete.execute([row])?;
        unnamed.blobs += 1;
        unnamed.bytes += size;
        unnamed.files.extend(file);
    }
    Ok(unnamed)
}

/// Removes the files that are no row's, beside everything else: those of puts that run now are younger than `started`.
pub(super) fn sweep(directory: &Path, readers: &Arc<Readers>, started: SystemTime) -> Result<usize, StoreError> {
    let mut removed = 0;
    let failed = |error| io_error(directory, error);
    for shard in fs::read_dir(directory).map_err(failed)? {
        let shard = shard.map_err(failed)?;
        if !shard.file_type().map_err(failed)?.is_dir() {
            continue;
        }
        let db = readers.take()?;
        for file in fs::read_dir(shard.path()).map_err(failed)? {
            let file = file.map_err(failed)?;
            let (shard, name) = (shard.file_name(), file.file_name());
            let (Some(shard), Some(name)) = (shard.to_str(), name.to_str()) else { continue };
            let name = format!("{shard}/{name}");
            // What has another name is not ours.
            let Some(digest) = digest_of(&name) else { continue };
            let modified = file.metadata().and_then(|metadata| metadata.modified()).map_err(failed)?;
            let row = find_file(&db, digest)?;
            if modified < started && row.as_deref() != Some(&name) {
                fs::remove_file(file.path()).map_err(failed)?;
                removed += 1;
            }
        }
    }
    Ok(removed)
}

/// The digest in a file's name, whole or not: that of its directory, then 62 digits, then anything.
fn digest_of(name: &str) -> Option<BlobDigest> {
    let (shard, rest) = name.split_once('/')?;
    let digits = format!("{shard}{}", rest.get(..62)?);
    let separated = rest[62..].chars().next().is_none_or(|next| matches!(next, '-' | '#'));
    digits.parse().ok().filter(|_| shard.len() == 2 && separated)
}

fn file_stem(digest: BlobDigest) -> String {
    let digits = digest.to_string();
    let (shard, rest) = digits.split_at(2);
    format!("{shard}/{rest}")
}

fn name(db: &Connection, digest: BlobDigest) -> Result<(), Fault> {
    let mut statement = db.prepare_cached("UPDATE blobs SET names = names + 1 WHERE digest = ?1")?;
    if statement.execute([digest.as_bytes()])? > 0 { Ok(()) } else { Err(StoreError::BlobMissing(digest).into()) }
}

fn find(db: &Connection, digest: BlobDigest) -> Result<Option<BlobRow>, Fault> {
    let row = db
        .prepare_cached("SELECT size, content, file FROM blobs WHERE digest = ?1")?
        .query_row([digest.as_bytes()], |row| {
            Ok(BlobRow { size: to_bits(row.get(0)?), inline: row.get(1)?, file: row.get(2)? })
        })
        .optional()?;
    Ok(row)
}

fn find_file(db: &Connection, digest: BlobDigest) -> Result<Option<String>, Fault> {
    let mut statement = db.prepare_cached("SELECT file FROM blobs WHERE digest = ?1")?;
    Ok(statement.query_row([digest.as_bytes()], |row| row.get(0)).optional()?.flatten())
}

fn is_whole(path: &Path, size: u64) -> bool {
    fs::metadata(path).is_ok_and(|file| file.is_file() && file.len() == size)
}

fn write_durably(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

fn lock(abandoned: &Abandoned) -> MutexGuard<'_, Vec<String>> {
    // Nothing that is done under the lock can leave the list half changed.
    abandoned.lock().unwrap_or_else(PoisonError::into_inner)
}
