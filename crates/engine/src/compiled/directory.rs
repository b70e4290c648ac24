//! A directory of compiled controllers: machine code that will be run, so nobody but this service may write there.
//!
//! It is a cache. Nothing in it is fsynced, whatever is wrong with it is told once and costs a compilation, and no call
//! fails for it. Processes that share one do each other no harm, though together they may keep more than one may.

#[cfg(test)]
mod tests;

use coprocessor_types::BlobDigest;
use rustix::fs::OFlags;
use std::{
    collections::{HashMap, HashSet},
    fs::{self, DirBuilder, File, Metadata, OpenOptions},
    io::{self, ErrorKind, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

/// Begins the names of files that are being written.
const UNFINISHED: &str = ".unfinished-";

/// A file that is being written and has not changed for so long is nobody's any more.
const ABANDONED: Duration = Duration::from_secs(3600);

/// How much later than its file says a controller may have been used: else each call would touch a file.
const UNTOLD: Duration = Duration::from_secs(3600);

/// When room is made, one part in this many more than is needed, so that not every new file looks for some.
const SLACK: u64 = 16;

/// Digits of the fingerprint in a file's name. All of it is in the file.
const SUFFIX: usize = 16;

/// Compiled controllers on the disk, each in a file `<digest>.<fingerprint>`. Other files in the directory are left alone.
pub(super) struct Directory {
    path: PathBuf,
    /// Most bytes of files.
    limit: u64,
    suffix: String,
    /// Whose everything in it must be.
    user: u32,
    state: Mutex<State>,
    /// One file is written at a time: compiling is as slow, and has its turns too.
    writing: Mutex<()>,
}

/// What is known of the directory.
#[derive(Default)]
struct State {
    files: Files,
    /// Files that are not what they should be and could not be removed: told once, and not looked at again.
    spoilt: HashSet<BlobDigest>,
    /// Why nothing in the directory is used.
    refused: Option<String>,
    /// Why the last file could not be written.
    unwritten: Option<String>,
}

#[derive(Default)]
struct Files {
    entries: HashMap<BlobDigest, Entry>,
    bytes: u64,
}

#[derive(Clone, Copy)]
struct Entry {
    bytes: u64,
    used: SystemTime,
    /// What the file says of that.
    told: SystemTime,
}

/// What lies in the directory.
#[derive(Default)]
struct Survey {
    files: Files,
    /// Compiled for another version of the service, with other settings or for another processor; or never finished.
    useless: Vec<PathBuf>,
}

/// What is kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Kept {
    pub(super) files: u64,
    pub(super) bytes: u64,
    pub(super) limit: u64,
    /// What keeps it from being used, or from getting more.
    pub(super) problem: Option<String>,
}

/// Why the directory, or a file in it, is not used.
#[derive(Debug, thiserror::Error)]
enum KeepError {
    #[error("{} is not a directory; move it away, or choose another --data-dir", .0.display())]
    NotADirectory(PathBuf),
    #[error("{} is not a file", .0.display())]
    NotAFile(PathBuf),
    #[error(
        "{} belongs to user {got} and this service is user {expected}: whoever can write there can have the service run any \
         code; remove it, or give it to user {expected} empty", path.display()
    )]
    Owner { path: PathBuf, got: u32, expected: u32 },
    #[error(
        "{} can be written to by others (mode {mode:04o}), who could have the service run any code; empty it and take that \
         from them (chmod go-w), or remove it", path.display()
    )]
    Writable { path: PathBuf, mode: u32 },
    #[error("{} has {got} bytes, and all together may have {limit}", path.display())]
    TooLarge { path: PathBuf, got: u64, limit: u64 },
    #[error("{}: {error}", path.display())]
    Disk { path: PathBuf, error: io::Error },
}

impl Directory {
    /// Looks what is there, removes what no process like this one can use, and what is more than `limit` bytes. A directory
    /// that is not there yet is made by the first file.
    pub(super) fn open(path: PathBuf, limit: u64, fingerprint: &str) -> Self {
        Self::open_as(rustix::process::geteuid().as_raw(), path, limit, fingerprint)
    }

    fn open_as(user: u32, path: PathBuf, limit: u64, fingerprint: &str) -> Self {
        let suffix = fingerprint.chars().take(SUFFIX).collect();
        let (state, writing) = (Mutex::default(), Mutex::default());
        let directory = Self { path, limit, suffix, user, state, writing };
        if directory.is_fit() {
            directory.take_stock(&mut directory.state());
            // The limit may have been higher before.
            if let Err(error) = directory.make_room(0) {
                tracing::warn!(%error, "compiled controllers that are no longer to be kept cannot be removed");
            }
        }
        directory
    }

    /// What was written for that controller, if it is there and nobody else can have written it. Blocks.
    pub(super) fn read(&self, digest: BlobDigest) -> Option<Vec<u8>> {
        if !self.is_fit() || self.state().spoilt.contains(&digest) {
            return None;
        }
        match self.read_file(&self.file(digest)) {
            Ok(Some((file, bytes))) => {
                let used = SystemTime::now();
                // For the order after a restart; a failure costs no more than that.
                let _ = file.set_modified(used);
                self.state().files.insert(digest, Entry { bytes: bytes.len() as u64, used, told: used });
                Some(bytes)
            }
            Ok(None) => {
                self.state().files.remove(&digest);
                None
            }
            Err(error) => {
                self.discard(digest, &error.to_string());
                None
            }
        }
    }

    /// Removes a file that is not what it should be, and says so. Blocks.
    pub(super) fn discard(&self, digest: BlobDigest, reason: &str) {
        let path = self.file(digest);
        tracing::warn!(
            path = %path.display(),
            reason,
            "a compiled controller that was kept is not used; it is compiled again and replaced"
        );
        let removed = fs::remove_file(&path);
        let mut state = self.state();
        state.files.remove(&digest);
        if removed.is_err_and(|error| error.kind() != ErrorKind::NotFound) {
            state.spoilt.insert(digest);
        }
    }

    /// Writes a file, whole or not at all; those not used for longest make room for it. Where that fails it is said, once until
    /// it works again, and nothing is kept. Blocks.
    pub(super) fn write(&self, digest: BlobDigest, bytes: &[u8]) {
        let size = bytes.len() as u64;
        if size > self.limit {
            tracing::debug!(%digest, size, limit = self.limit, "a compiled controller is too large to be kept");
            return;
        }
        let _turn = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.is_fit() {
            return;
        }
        let written = self.make_room(size).and_then(|()| self.write_file(&self.file(digest), bytes));
        let mut state = self.state();
        match written {
            Ok(()) => {
                let used = SystemTime::now();
                state.files.insert(digest, Entry { bytes: size, used, told: used });
                state.spoilt.remove(&digest);
                if state.unwritten.take().is_some() {
                    tracing::info!(path = %self.path.display(), "compiled controllers are kept again");
                }
            }
            Err(error) => {
                if state.unwritten.is_none() {
                    tracing::warn!(
                        %error,
                        "a compiled controller cannot be kept, and is compiled again after a restart; --keep-compiled-mib 0 keeps none"
                    );
                }
                state.unwritten = Some(error.to_string());
            }
        }
    }

    /// Says that a controller is used that was not read from here just now, so that it is not the next to be removed.
    pub(super) fn note_use(&self, digest: BlobDigest) {
        let now = SystemTime::now();
        let touch = {
            let mut state = self.state();
            let Some(entry) = state.files.entries.get_mut(&digest) else { return };
            entry.used = now;
            let touch = now.duration_since(entry.told).is_ok_and(|untold| untold > UNTOLD);
            if touch {
                entry.told = now;
            }
            touch
        };
        if touch {
            // For the order after a restart; a failure costs no more than that.
            let _ = File::open(self.file(digest)).and_then(|file| file.set_modified(now));
        }
    }

    /// What is kept.
    pub(super) fn kept(&self) -> Kept {
        let state = self.state();
        Kept {
            files: state.files.entries.len() as u64,
            bytes: state.files.bytes,
            limit: self.limit,
            problem: state.refused.clone().or_else(|| state.unwritten.clone()),
        }
    }

    /// Whether nobody but this service can write to the directory. That is looked at before every use, which costs a
    /// microsecond: nothing is run from a directory that was opened to others meanwhile, and one that was mended is used
    /// again without a restart.
    fn is_fit(&self) -> bool {
        let looked = look(&self.path, self.user);
        let mut state = self.state();
        match looked {
            Ok(()) => {
                if state.refused.take().is_some() {
                    tracing::info!(path = %self.path.display(), "the directory of compiled controllers is used again");
                    self.take_stock(&mut state);
                }
                true
            }
            Err(error) => {
                let reason = error.to_string();
                if state.refused.is_none() {
                    tracing::error!(reason, "compiled controllers are neither kept nor used from where they were kept");
                }
                state.refused = Some(reason);
                state.files = Files::default();
                false
            }
        }
    }

    /// Takes note of all files there are, and removes what is useless.
    fn take_stock(&self, state: &mut State) {
        let Survey { files, useless } = self.survey();
        state.files = files;
        let removed = useless.iter().filter(|path| fs::remove_file(path).is_ok()).count();
        if removed > 0 {
            tracing::info!(
                removed,
                path = %self.path.display(),
                "removed controllers that were compiled by another version, with other settings or for another processor"
            );
        }
    }

    /// Only what may not be kept by name is useless; what cannot be looked at is left alone.
    fn survey(&self) -> Survey {
        let mut survey = Survey::default();
        for file in fs::read_dir(&self.path).into_iter().flatten().flatten() {
            let Some(metadata) = file.metadata().ok().filter(Metadata::is_file) else { continue };
            let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            let name = file.file_name();
            let name = name.to_string_lossy();
            if name.starts_with(UNFINISHED) {
                if modified.elapsed().is_ok_and(|age| age > ABANDONED) {
                    survey.useless.push(file.path());
                }
                continue;
            }
            let Some((digest, suffix)) = name.split_once('.') else { continue };
            let Ok(digest) = digest.parse() else { continue };
            if suffix == self.suffix {
                survey.files.insert(digest, Entry { bytes: metadata.len(), used: modified, told: modified });
            } else if suffix.len() == SUFFIX && suffix.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                survey.useless.push(file.path());
            }
        }
        survey
    }

    fn make_room(&self, needed: u64) -> Result<(), KeepError> {
        if self.state().files.bytes.saturating_add(needed) <= self.limit {
            return Ok(());
        }
        // Another process with this directory may have written and removed files.
        let there = self.survey().files;
        let mut state = self.state();
        let before = std::mem::replace(&mut state.files, there).entries;
        for (digest, entry) in before {
            if let Some(there) = state.files.entries.get_mut(&digest) {
                there.used = there.used.max(entry.used);
            }
        }
        let goal = self.limit.saturating_sub(needed).saturating_sub(self.limit / SLACK);
        let unused = state.files.not_used_for_longest(goal);
        drop(state);
        for digest in &unused {
            let path = self.file(*digest);
            match fs::remove_file(&path) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(disk(&path, error)),
                _ => self.state().files.remove(digest),
            }
        }
        tracing::debug!(removed = unused.len(), "compiled controllers made room on the disk");
        Ok(())
    }

    fn write_file(&self, path: &Path, bytes: &[u8]) -> Result<(), KeepError> {
        let written = || -> io::Result<()> {
            DirBuilder::new().recursive(true).mode(0o700).create(&self.path)?;
            // Mode 0600; removed when anything fails.
            let mut file = tempfile::Builder::new().prefix(UNFINISHED).tempfile_in(&self.path)?;
            file.write_all(bytes)?;
            file.persist(path).map(drop).map_err(|failed| failed.error)
        };
        written().map_err(|error| disk(&self.path, error))
    }

    /// `None` where there is none.
    fn read_file(&self, path: &Path) -> Result<Option<(File, Vec<u8>)>, KeepError> {
        // Through no link, and without waiting for whatever it may be if it is no file.
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
        let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(disk(path, error)),
        };
        let metadata = file.metadata().map_err(|error| disk(path, error))?;
        if !metadata.is_file() {
            return Err(KeepError::NotAFile(path.to_owned()));
        }
        check_private(path, &metadata, self.user)?;
        let size = metadata.len();
        if size > self.limit {
            return Err(KeepError::TooLarge { path: path.to_owned(), got: size, limit: self.limit });
        }
        let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
        (&file).take(self.limit).read_to_end(&mut bytes).map_err(|error| disk(path, error))?;
        Ok(Some((file, bytes)))
    }

    fn file(&self, digest: BlobDigest) -> PathBuf {
        self.path.join(format!("{digest}.{}", self.suffix))
    }

    /// Nothing panics while it holds the lock, so what is in it is whole even where the lock says otherwise.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Files {
    fn insert(&mut self, digest: BlobDigest, entry: Entry) {
        self.bytes += entry.bytes;
        if let Some(before) = self.entries.insert(digest, entry) {
            self.bytes -= before.bytes;
        }
    }

    fn remove(&mut self, digest: &BlobDigest) {
        if let Some(entry) = self.entries.remove(digest) {
            self.bytes -= entry.bytes;
        }
    }

    /// Those without which there are at most `goal` bytes.
    fn not_used_for_longest(&self, goal: u64) -> Vec<BlobDigest> {
        let mut by_use: Vec<_> = self.entries.iter().collect();
        by_use.sort_unstable_by_key(|(_, entry)| entry.used);
        let mut left = self.bytes;
        let too_many = by_use.into_iter().take_while(|(_, entry)| {
            let one_more = left > goal;
            left = left.saturating_sub(entry.bytes);
            one_more
        });
        too_many.map(|(digest, _)| *digest).collect()
    }
}

/// Whether the directory is this user's alone; also where there is none yet.
fn look(path: &Path, user: u32) -> Result<(), KeepError> {
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(disk(path, error)),
    };
    if !metadata.is_dir() {
        return Err(KeepError::NotADirectory(path.to_owned()));
    }
    check_private(path, &metadata, user)
}

fn check_private(path: &Path, metadata: &Metadata, user: u32) -> Result<(), KeepError> {
    if metadata.uid() != user {
        return Err(KeepError::Owner { path: path.to_owned(), got: metadata.uid(), expected: user });
    }
    // Access lists that let others write show in the group's bits.
    if metadata.mode() & 0o022 != 0 {
        return Err(KeepError::Writable { path: path.to_owned(), mode: metadata.mode() & 0o7777 });
    }
    Ok(())
}

fn disk(path: &Path, error: io::Error) -> KeepError {
    KeepError::Disk { path: path.to_owned(), error }
}
