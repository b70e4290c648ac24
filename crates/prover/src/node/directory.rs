//! A directory of circuits: whole files only, and no more of them than there is room for.

use coprocessor_types::{Backend, BlobDigest};
use std::{
    collections::HashMap,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

const BACKENDS: [Backend; 2] = [Backend::Sp1, Backend::Groth16];
/// Begins the names of files that are being written.
const UNFINISHED: &str = ".unfinished-";

/// Circuits on the disk, each in a file `<digest>.<backend>`. Other files in the directory are left alone.
pub(super) struct Directory {
    path: PathBuf,
    /// Most bytes of circuits.
    limit: u64,
    files: Mutex<HashMap<BlobDigest, Entry>>,
    written: AtomicU64,
}

struct Entry {
    backend: Backend,
    bytes: u64,
    used: SystemTime,
}

/// Why a circuit is not on the disk.
#[derive(Debug, thiserror::Error)]
pub(super) enum DirectoryError {
    /// The disk said so.
    #[error("its circuit directory, {}: {error}", path.display())]
    Disk { path: PathBuf, error: io::Error },
    /// All that is there is in use.
    #[error(
        "its circuit directory has no room for {needed} bytes: it may hold {limit}, and what it holds is in use; raise --circuit-disk-mib"
    )]
    Full { needed: u64, limit: u64 },
}

impl Directory {
    /// Looks what is there, and removes what a process that died left half written. A directory that is not there yet is
    /// made by the first circuit.
    pub(super) fn open(path: PathBuf, limit: u64) -> Self {
        let files = Mutex::new(index(&path));
        let directory = Self { path, limit, files, written: AtomicU64::new(0) };
        // The limit may have been higher before. Nothing is in use yet.
        if let Err(error) = directory.make_room(&mut directory.files(), 0, &|_| false) {
            tracing::warn!(%error, "circuits cannot be removed");
        }
        directory
    }

    /// Says that a circuit is used, so that it is not the next to be removed.
    pub(super) fn note_use(&self, digest: BlobDigest) {
        if let Some(entry) = self.files().get_mut(&digest) {
            entry.used = SystemTime::now();
        }
    }

    /// A circuit's bytes. What is damaged is removed, and not there.
    pub(super) fn read(&self, digest: BlobDigest) -> Result<Option<(Backend, Vec<u8>)>, DirectoryError> {
        for backend in BACKENDS {
            let path = self.file(digest, backend);
            let bytes = match fs::read(&path) {
                Ok(bytes) => bytes,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(disk(&path, error)),
            };
            if BlobDigest::of(&bytes) == digest {
                let entry = Entry { backend, bytes: bytes.len() as u64, used: SystemTime::now() };
                // For the order after a restart; a failure costs no more than that.
                let _ = File::open(&path).and_then(|file| file.set_modified(entry.used));
                self.files().insert(digest, entry);
                return Ok(Some((backend, bytes)));
            }
            tracing::warn!(path = %path.display(), "a circuit on the disk is damaged; it has to be uploaded again");
            self.files().remove(&digest);
            fs::remove_file(&path).map_err(|error| disk(&path, error))?;
        }
        self.files().remove(&digest);
        Ok(None)
    }

    /// Writes a circuit, durably and whole or not at all. Where there is no room, those not used for longest make it, but none
    /// that is `in_use`.
    pub(super) fn write(
        &self,
        digest: BlobDigest,
        backend: Backend,
        bytes: &[u8],
        in_use: &dyn Fn(BlobDigest) -> bool,
    ) -> Result<(), DirectoryError> {
        let entry = Entry { backend, bytes: bytes.len() as u64, used: SystemTime::now() };
        {
            let mut files = self.files();
            if files.contains_key(&digest) && self.file(digest, backend).exists() {
                return Ok(());
            }
            files.remove(&digest);
            self.make_room(&mut files, entry.bytes, in_use)?;
            files.insert(digest, entry);
        }
        let written = self.write_file(&self.file(digest, backend), bytes);
        written.map_err(|error| {
            self.files().remove(&digest);
            disk(&self.path, error)
        })
    }

    fn make_room(
        &self,
        files: &mut HashMap<BlobDigest, Entry>,
        needed: u64,
        in_use: &dyn Fn(BlobDigest) -> bool,
    ) -> Result<(), DirectoryError> {
        let mut held: u64 = files.values().map(|entry| entry.bytes).sum();
        while held.saturating_add(needed) > self.limit {
            let unused = files.iter().filter(|(digest, _)| !in_use(**digest));
            let Some((digest, entry)) = unused.min_by_key(|(_, entry)| entry.used) else {
                return Err(DirectoryError::Full { needed, limit: self.limit });
            };
            let (digest, path) = (*digest, self.file(*digest, entry.backend));
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(disk(&path, error)),
                _ => {}
            }
            tracing::debug!(%digest, "a circuit made room on the disk");
            held -= files.remove(&digest).map_or(0, |entry| entry.bytes);
        }
        Ok(())
    }

    fn write_file(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        fs::create_dir_all(&self.path)?;
        let number = self.written.fetch_add(1, Ordering::Relaxed);
        let unfinished = self.path.join(format!("{UNFINISHED}{}-{number}", std::process::id()));
        let written = File::create(&unfinished).and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&unfinished, path)?;
            File::open(&self.path)?.sync_all()
        });
        if written.is_err() {
            // The first error is the one worth telling.
            let _ = fs::remove_file(&unfinished);
        }
        written
    }

    fn file(&self, digest: BlobDigest, backend: Backend) -> PathBuf {
        self.path.join(format!("{digest}.{backend}"))
    }

    fn files(&self) -> MutexGuard<'_, HashMap<BlobDigest, Entry>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The circuits in a directory; removes what was half written. Failing at that loses only disk space.
fn index(path: &Path) -> HashMap<BlobDigest, Entry> {
    let mut files = HashMap::new();
    for file in fs::read_dir(path).into_iter().flatten().flatten() {
        let name = file.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(UNFINISHED) {
            let _ = fs::remove_file(file.path());
            continue;
        }
        let parsed =
            name.split_once('.').and_then(|(digest, backend)| Some((digest.parse().ok()?, backend.parse().ok()?)));
        let metadata = file.metadata().ok().filter(fs::Metadata::is_file);
        if let (Some((digest, backend)), Some(metadata)) = (parsed, metadata) {
            let used = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            files.insert(digest, Entry { backend, bytes: metadata.len(), used });
        }
    }
    files
}

fn disk(path: &Path, error: io::Error) -> DirectoryError {
    DirectoryError::Disk { path: path.to_owned(), error }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn circuit(number: u8) -> (BlobDigest, Vec<u8>) {
        let bytes = vec![number; 1000];
        (BlobDigest::of(&bytes), bytes)
    }

    fn write(directory: &Directory, number: u8, in_use: &dyn Fn(BlobDigest) -> bool) -> Result<(), DirectoryError> {
        let (digest, bytes) = circuit(number);
        directory.write(digest, Backend::Sp1, &bytes, in_use)
    }

    fn holds(directory: &Directory, numbers: std::ops::Range<u8>) -> Vec<u8> {
        numbers.filter(|number| directory.read(circuit(*number).0).unwrap().is_some()).collect()
    }

    #[test]
    fn what_was_not_used_for_longest_makes_room() {
        let path = tempfile::tempdir().unwrap();
        let directory = Directory::open(path.path().join("circuits"), 3500);
        for number in 0..3 {
            write(&directory, number, &|_| false).unwrap();
        }
        directory.note_use(circuit(0).0);
        write(&directory, 3, &|_| false).unwrap();
        assert_eq!(holds(&directory, 0..4), [0, 2, 3]);
        write(&directory, 3, &|_| panic!("it is there")).unwrap();
    }

    #[test]
    fn what_is_in_use_stays_and_too_much_is_refused() {
        let path = tempfile::tempdir().unwrap();
        let directory = Directory::open(path.path().to_owned(), 2500);
        write(&directory, 0, &|_| false).unwrap();
        write(&directory, 1, &|_| false).unwrap();
        write(&directory, 2, &|digest| digest == circuit(0).0).unwrap();
        assert_eq!(holds(&directory, 0..3), [0, 2]);
        assert!(matches!(write(&directory, 3, &|_| true), Err(DirectoryError::Full { needed: 1000, limit: 2500 })));
        assert_eq!(holds(&directory, 0..4), [0, 2]);
        let large = vec![7; 2501];
        let refused = directory.write(BlobDigest::of(&large), Backend::Sp1, &large, &|_| false);
        assert!(matches!(refused, Err(DirectoryError::Full { needed: 2501, .. })));
    }

    #[test]
    fn a_lower_limit_and_the_order_of_use_hold_after_a_restart() {
        let path = tempfile::tempdir().unwrap();
        let directory = Directory::open(path.path().to_owned(), 10_000);
        let now = SystemTime::now();
        for number in 0..4 {
            write(&directory, number, &|_| false).unwrap();
            let file = File::open(directory.file(circuit(number).0, Backend::Sp1)).unwrap();
            file.set_modified(now - Duration::from_secs(100 - u64::from(number))).unwrap();
        }
        // Reading is a use.
        directory.read(circuit(0).0).unwrap().unwrap();
        drop(directory);
        assert_eq!(holds(&Directory::open(path.path().to_owned(), 2000), 0..4), [0, 3]);
    }

    #[test]
    fn foreign_and_half_written_files_do_no_harm() {
        let path = tempfile::tempdir().unwrap();
        let inside = |name: &str| path.path().join(name);
        let (digest, bytes) = circuit(0);
        fs::write(inside("notes.txt"), "foreign").unwrap();
        fs::create_dir(inside(&format!("{digest}.sp1"))).unwrap();
        fs::write(inside(".unfinished-1-0"), &bytes).unwrap();
        fs::write(inside(&format!("{}.sp1", circuit(1).0)), b"").unwrap();
        let directory = Directory::open(path.path().to_owned(), 1500);
        assert!(!inside(".unfinished-1-0").exists() && inside("notes.txt").exists());
        assert!(directory.read(circuit(1).0).unwrap().is_none(), "an empty file is no circuit");
        assert!(matches!(directory.read(digest), Err(DirectoryError::Disk { .. })));
        assert!(directory.write(digest, Backend::Sp1, &bytes, &|_| false).is_err());
        write(&directory, 2, &|_| false).unwrap();
        assert_eq!(holds(&directory, 1..3), [2]);
    }
}
