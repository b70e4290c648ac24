//! Backing up a directory while a service uses it, and making a directory from a backup.
//!
//! A backup is a directory: `coprocessor.db` as it was at one moment, the blobs' files it names below `blobs/`, and
//! `manifest.json`, which is written last: what has none is no backup.

use super::{
    EmbeddedConfig, connect,
    directory::{BackupLock, Directory, make_private, sync_directory},
    fault::{Fault, io_error},
    readers::BUSY_TIMEOUT,
    row::to_bits,
    schema,
};
use crate::StoreError;
use coprocessor_types::{BlobDigest, InstanceId};
use jiff::Timestamp;
use rusqlite::{
    Connection, OpenFlags, TransactionBehavior,
    backup::{Backup, StepResult},
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

const MANIFEST: &str = "manifest.json";

/// The format of the manifest and of what lies beside it.
const FORMAT: u32 = 1;

/// What is added to the fences of tasks that can be claimed again, and to the number of the next event. A restored store is
/// younger than those it worked with: prover nodes may have seen later fences, and readers later events, than it knows of, and
/// would take what it does next for what they know already. The steps are larger than what can have been lost, and leave room
/// for many restores.
const FENCES_AHEAD: i64 = 1 << 20;
const EVENTS_AHEAD: i64 = 1 << 32;

/// What was backed up or restored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BackupReport {
    /// The store's identity.
    pub instance: InstanceId,
    /// The moment it shows.
    pub taken_at: Timestamp,
    /// Programs in it.
    pub programs: u64,
    /// Tasks in it.
    pub tasks: u64,
    /// Bytes of the database.
    pub database_bytes: u64,
    /// Blobs that are files.
    pub blob_files: u64,
    /// Bytes of those.
    pub blob_bytes: u64,
}

#[derive(Serialize, Deserialize)]
struct Manifest {
    format: u32,
    schema: i64,
    instance: String,
    taken_at: Timestamp,
    programs: u64,
    tasks: u64,
    database_bytes: u64,
    database_sha256: String,
    blob_files: u64,
    blob_bytes: u64,
}

/// A blob that is a file.
struct BlobFile {
    digest: BlobDigest,
    name: String,
}

/// Backs up the store in `directory` to `to`, which must not be there or be empty. A service may run on the directory
/// meanwhile: it works on, and what it does from now on is not in the backup. Blocks for as long as copying takes.
///
/// Blobs' files are never changed, so where `to` is on the same file system they are linked, not copied. Each is read and
/// checked. Durable when this returns.
///
/// # Errors
/// [`StoreError::NotEmpty`], [`StoreError::Schema`], [`StoreError::BlobMissing`] and [`StoreError::BlobCorrupt`] where the
/// store is damaged, and whatever the system or the database fail with.
pub fn backup(directory: &Path, to: &Path) -> Result<BackupReport, StoreError> {
    let database = directory.join(Directory::DATABASE);
    fs::metadata(&database).map_err(|error| io_error(&database, error))?;
    // As long as this is held, no file goes whose row the copy may have.
    let _lock = BackupLock::share(directory)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let source = Connection::open_with_flags(&database, flags).map_err(Fault::from)?;
    source.busy_timeout(BUSY_TIMEOUT).map_err(Fault::from)?;
    require_empty(to)?;
    make_private(to)?;
    let (mut manifest, files) = copy_database(&source, directory, &to.join(Directory::DATABASE))?;
    drop(source);

    (manifest.database_sha256, manifest.database_bytes) = digest_file(&to.join(Directory::DATABASE))?;
    let blobs = to.join(Directory::BLOBS);
    make_private(&blobs)?;
    for file in &files {
        manifest.blob_files += 1;
        manifest.blob_bytes += bring(file, &directory.join(Directory::BLOBS), &blobs, Bring::Link)?;
    }
    sync_tree(&blobs)?;
    write_manifest(to, &manifest)?;
    manifest.report(&to.join(MANIFEST))
}

/// Makes a store in `directory`, which must not be there or be empty, from the backup in `from`. Everything in it is
/// checked. The store goes on from the backup's moment: tasks that were under way are claimed again, under fences that no
/// prover node has seen, and new events have numbers that no reader has seen. Roots that were made after that moment are
/// no roots of it, and it makes others in their place. Blocks for as long as copying takes.
///
/// # Errors
/// [`StoreError::NotEmpty`], [`StoreError::BadBackup`], [`StoreError::Schema`] and whatever the system or the database
/// fail with. `directory` is left without a store then.
pub fn restore(from: &Path, directory: &Path) -> Result<BackupReport, StoreError> {
    let manifest = read_manifest(from)?;
    require_empty(directory)?;
    make_private(directory)?;
    let restored = directory.join(Directory::RESTORING);
    let result = restore_into(from, directory, &manifest, &restored);
    if result.is_err() {
        clean_up(directory, &restored);
    }
    result
}

/// Removes what an unfinished restore has made. Where that fails, no store opens beside an unfinished database.
fn clean_up(directory: &Path, restored: &Path) {
    let with = |suffix: &str| PathBuf::from(format!("{}{suffix}", restored.display()));
    let removed = [
        fs::remove_dir_all(directory.join(Directory::BLOBS)),
        fs::remove_file(with("-wal")),
        fs::remove_file(with("-shm")),
        fs::remove_file(restored),
    ];
    for error in removed.into_iter().filter_map(Result::err).filter(|error| error.kind() != io::ErrorKind::NotFound) {
        tracing::warn!(%error, directory = %directory.display(), "an unfinished restore could not be cleaned up");
    }
}

fn restore_into(
    from: &Path,
    directory: &Path,
    manifest: &Manifest,
    restored: &Path,
) -> Result<BackupReport, StoreError> {
    let bad = |reason: String| StoreError::BadBackup { path: from.to_owned(), reason };
    let copied = from.join(Directory::DATABASE);
    copy(&copied, restored).map_err(|error| io_error(&copied, error))?;
    let blobs = directory.join(Directory::BLOBS);
    make_private(&blobs)?;
    let (digest, bytes) = digest_file(restored)?;
    if (&digest, bytes) != (&manifest.database_sha256, manifest.database_bytes) {
        return Err(bad(format!(
            "the database has {bytes} bytes and digest {digest}, expected {} and {}",
            manifest.database_bytes, manifest.database_sha256
        )));
    }
    let files = move_on(restored, directory).map_err(|fault| match StoreError::from(fault) {
        StoreError::Corrupt { what, reason } => bad(format!("{what}: {reason}")),
        error => error,
    })?;
    for file in &files {
        bring(file, &from.join(Directory::BLOBS), &blobs, Bring::Copy).map_err(|error| match error {
            StoreError::BlobMissing(_) | StoreError::BlobCorrupt { .. } => bad(error.to_string()),
            error => error,
        })?;
    }
    if files.len() as u64 != manifest.blob_files {
        return Err(bad(format!("it has {} blob files, expected {}", files.len(), manifest.blob_files)));
    }
    sync_tree(&blobs)?;
    sync_file(restored)?;
    let database = directory.join(Directory::DATABASE);
    fs::rename(restored, &database).map_err(|error| io_error(&database, error))?;
    sync_directory(directory)?;
    manifest.report(&from.join(MANIFEST))
}

impl Manifest {
    fn report(&self, path: &Path) -> Result<BackupReport, StoreError> {
        let instance = self.instance.parse().map_err(|error| StoreError::BadBackup {
            path: path.to_owned(),
            reason: format!("its instance {:?} is no id: {error}", self.instance),
        })?;
        Ok(BackupReport {
            instance,
            taken_at: self.taken_at,
            programs: self.programs,
            tasks: self.tasks,
            database_bytes: self.database_bytes,
            blob_files: self.blob_files,
            blob_bytes: self.blob_bytes,
        })
    }
}

/// Copies the database as it is at one moment, and what it says of itself then.
fn copy_database(source: &Connection, directory: &Path, to: &Path) -> Result<(Manifest, Vec<BlobFile>), Fault> {
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to);
    made.map_err(|error| io_error(to, error))?;
    let moment = source.unchecked_transaction()?;
    let schema = schema::version(&moment, directory)?;
    let count = |sql: &str| Ok::<_, Fault>(to_bits(moment.query_row(sql, [], |row| row.get(0))?));
    let manifest = Manifest {
        format: FORMAT,
        schema,
        instance: super::instance(&moment)?.to_string(),
        taken_at: Timestamp::now(),
        programs: count("SELECT count(*) FROM programs")?,
        tasks: count("SELECT coalesce(sum(tasks), 0) FROM task_counts")?,
        database_bytes: 0,
        database_sha256: String::new(),
        blob_files: 0,
        blob_bytes: 0,
    };
    let files = blob_files(&moment, schema)?;
    let mut copy = Connection::open_with_flags(to, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    // It is made durable as a whole, below.
    copy.pragma_update(None, "journal_mode", "off")?;
    copy.pragma_update(None, "synchronous", "off")?;
    run(&Backup::new(&moment, &mut copy)?)?;
    drop(copy);
    moment.finish()?;
    sync_file(to)?;
    Ok((manifest, files))
}

fn run(backup: &Backup<'_, '_>) -> Result<(), Fault> {
    let patience = Instant::now() + BUSY_TIMEOUT;
    loop {
        match backup.step(-1)? {
            StepResult::Done => return Ok(()),
            StepResult::Busy | StepResult::Locked if Instant::now() > patience => {
                let busy = "the database stayed locked by another process";
                return Err(StoreError::Database(busy.into()).into());
            }
            _ => std::thread::sleep(Duration::from_millis(10)),
        }
    }
}

/// Checks a copied database and makes it one that goes on in a world that is further than it is. Its blobs' files.
fn move_on(database: &Path, directory: &Path) -> Result<Vec<BlobFile>, Fault> {
    let mut db = connect(database, EmbeddedConfig::default())?;
    let verdict: String = db.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    if verdict != "ok" {
        return Err(StoreError::Corrupt { what: "the database", reason: verdict }.into());
    }
    check_inline(&db)?;
    schema::migrate(&mut db, directory)?;
    let transaction = db.transaction_with_behavior(TransactionBehavior::Exclusive)?;
    super::queue::void_leases(&transaction)?;
    transaction
        .execute("UPDATE tasks SET fence = fence + ?1 WHERE stage IS NOT NULL OR state = 'failed'", [FENCES_AHEAD])?;
    transaction.execute("UPDATE deliveries SET fence = fence + ?1 WHERE next_at IS NOT NULL", [FENCES_AHEAD])?;
    let raised =
        transaction.execute("UPDATE sqlite_sequence SET seq = seq + ?1 WHERE name = 'events'", [EVENTS_AHEAD])?;
    if raised == 0 {
        transaction.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('events', ?1)", [EVENTS_AHEAD])?;
    }
    transaction.commit()?;
    let files = blob_files(&db, schema::newest())?;
    // Moves all of it into the one file.
    db.close().map_err(|(_, error)| error)?;
    Ok(files)
}

fn check_inline(db: &Connection) -> Result<(), Fault> {
    let mut statement = db.prepare("SELECT digest, content FROM blobs WHERE content IS NOT NULL")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let expected = BlobDigest(row.get(0)?);
        let content = row.get_ref(1)?.as_blob().map_err(|error| super::row::corrupt("a blob", error))?;
        let got = BlobDigest::of(content);
        if got != expected {
            let error = StoreError::BlobCorrupt { expected, got };
            return Err(StoreError::Corrupt { what: "a blob in the database", reason: error.to_string() }.into());
        }
    }
    Ok(())
}

/// The blobs that are files, in a database of that version: whoever upgrades backs up the older one first.
fn blob_files(db: &Connection, schema: i64) -> Result<Vec<BlobFile>, Fault> {
    let mut statement = db.prepare(match schema {
        1 => {
            "SELECT digest, lower(substr(hex(digest), 1, 2)) || '/' || lower(substr(hex(digest), 3)) FROM blobs \
             WHERE content IS NULL"
        }
        _ => "SELECT digest, file FROM blobs WHERE file IS NOT NULL",
    })?;
    let files = statement.query_map([], |row| Ok(BlobFile { digest: BlobDigest(row.get(0)?), name: row.get(1)? }))?;
    Ok(files.collect::<Result<_, _>>()?)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Bring {
    /// As another name of the same file, where that can be.
    Link,
    /// As a file of its own.
    Copy,
}

/// Brings a blob's file over and checks it there; its size.
fn bring(file: &BlobFile, from: &Path, to: &Path, how: Bring) -> Result<u64, StoreError> {
    // A name is two parts, whatever a tampered database says.
    let sound = file.name.split_once('/').is_some_and(|(shard, name)| plain(shard) && plain(name));
    if !sound {
        let reason = format!("{:?} is no name of a blob's file", file.name);
        return Err(StoreError::Corrupt { what: "a blob", reason });
    }
    let (source, target) = (from.join(&file.name), to.join(&file.name));
    if let Some(shard) = target.parent()
        && !shard.is_dir()
    {
        make_private(shard)?;
    }
    let linked = how == Bring::Link && fs::hard_link(&source, &target).is_ok();
    if !linked {
        match copy(&source, &target) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(StoreError::BlobMissing(file.digest)),
            Err(error) => return Err(io_error(&target, error)),
        }
    }
    let (digest, bytes) = digest_file(&target)?;
    match digest.parse::<BlobDigest>() {
        Ok(got) if got != file.digest => Err(StoreError::BlobCorrupt { expected: file.digest, got }),
        _ => Ok(bytes),
    }
}

fn plain(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// A durable copy. Its name becomes so with its directory.
fn copy(source: &Path, target: &Path) -> io::Result<()> {
    let mut source = File::open(source)?;
    let mut target = OpenOptions::new().write(true).create_new(true).mode(0o600).open(target)?;
    io::copy(&mut source, &mut target)?;
    target.sync_all()
}

/// A file's SHA-256 in hexadecimal, and its size.
fn digest_file(path: &Path) -> Result<(String, u64), StoreError> {
    let failed = |error| io_error(path, error);
    let mut file = File::open(path).map_err(failed)?;
    let (mut hasher, mut buffer, mut size) = (Sha256::new(), vec![0; 1 << 16], 0);
    loop {
        match file.read(&mut buffer).map_err(failed)? {
            0 => break,
            read => {
                hasher.update(&buffer[..read]);
                size += read as u64;
            }
        }
    }
    Ok((BlobDigest(hasher.finalize().into()).to_string(), size))
}

fn write_manifest(to: &Path, manifest: &Manifest) -> Result<(), StoreError> {
    let text = serde_json::to_vec_pretty(manifest).map_err(|error| StoreError::Database(Box::new(error)))?;
    let (unfinished, path) = (to.join("manifest.json.unfinished"), to.join(MANIFEST));
    let written = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished).and_then(|mut file| {
        file.write_all(&text)?;
        file.sync_all()?;
        sync_directory(to).map_err(io::Error::other)?;
        fs::rename(&unfinished, &path)
    });
    written.map_err(|error| io_error(&path, error))?;
    sync_directory(to)
}

fn read_manifest(from: &Path) -> Result<Manifest, StoreError> {
    let path = from.join(MANIFEST);
    let bad = |reason: String| StoreError::BadBackup { path: from.to_owned(), reason };
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(bad(format!("it has no {MANIFEST}: it is no backup, or one that was not finished")));
        }
        Err(error) => return Err(io_error(&path, error)),
    };
    let manifest: Manifest = serde_json::from_slice(&text).map_err(|error| bad(format!("{MANIFEST}: {error}")))?;
    if manifest.format != FORMAT {
        return Err(bad(format!("it has format {}, this coprocessor knows {FORMAT}", manifest.format)));
    }
    if manifest.schema > schema::newest() {
        return Err(StoreError::Schema {
            store: from.display().to_string(),
            got: manifest.schema,
            expected: schema::newest(),
        });
    }
    Ok(manifest)
}

fn require_empty(path: &Path) -> Result<(), StoreError> {
    match fs::read_dir(path).map(|mut entries| entries.next().is_none()) {
        Ok(true) => Ok(()),
        Ok(false) => Err(StoreError::NotEmpty { path: path.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(io_error(path, error)),
    }
}

fn sync_file(path: &Path) -> Result<(), StoreError> {
    File::open(path).and_then(|file| file.sync_all()).map_err(|error| io_error(path, error))
}

/// Makes the names of files two levels deep durable.
fn sync_tree(path: &Path) -> Result<(), StoreError> {
    let failed = |error| io_error(path, error);
    let entries = fs::read_dir(path).map_err(failed)?;
    let shards: Vec<PathBuf> =
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>().map_err(failed)?;
    for shard in shards {
        sync_directory(&shard)?;
    }
    sync_directory(path)
}
