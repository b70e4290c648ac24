//! Circuits by digest: a bounded cache, over a directory where one is configured.

use bytes::Bytes;
use coprocessor_types::{Backend, BlobDigest};
use std::{
    collections::VecDeque,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{CircuitStore, NodeConfig};
use crate::{BackendError, NodeError, ProvingBackend, Setup};

const ELF_MAGIC: &[u8] = b"\x7fELF";
const BACKENDS: [Backend; 2] = [Backend::Sp1, Backend::Groth16];
/// Begins the names of files that are being written.
const UNFINISHED: &str = ".unfinished-";

/// A circuit and the keys made for it.
pub(super) struct Circuit {
    pub(super) digest: BlobDigest,
    pub(super) backend: Backend,
    pub(super) bytes: Bytes,
    /// By the index of the backend that made them. The lock is held while they are made, so they are made once.
    keys: Vec<Mutex<Option<Setup>>>,
}

impl Circuit {
    /// Its keys, when they are there.
    pub(super) fn keys(&self, backend: usize) -> Option<Setup> {
        self.keys[backend].try_lock().ok()?.clone()
    }

    /// Its keys; makes them or waits for whoever is making them.
    pub(super) fn set_up(&self, index: usize, backend: &dyn ProvingBackend) -> Result<Setup, BackendError> {
        // A panic leaves nothing behind in there.
        let mut keys = self.keys[index].lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(setup) = &*keys {
            return Ok(setup.clone());
        }
        let setup = backend.set_up(&self.bytes)?;
        *keys = Some(setup.clone());
        Ok(setup)
    }
}

pub(super) struct Circuits {
    directory: Option<PathBuf>,
    limit: usize,
    cache_limit: usize,
    backends: usize,
    /// The one used last is the last.
    cache: Mutex<VecDeque<Arc<Circuit>>>,
    written: AtomicU64,
}

impl Circuits {
    pub(super) fn new(config: &NodeConfig, backends: usize) -> Self {
        let directory = match &config.circuits {
            CircuitStore::Memory => None,
            CircuitStore::Directory(path) => Some(path.clone()),
        };
        if let Some(directory) = &directory {
            remove_unfinished(directory);
        }
        Self {
            directory,
            limit: config.circuit_limit,
            cache_limit: config.circuit_cache,
            backends,
            cache: Mutex::default(),
            written: AtomicU64::new(0),
        }
    }

    /// Keeps a circuit. Blocks on the disk.
    pub(super) fn add(&self, backend: Backend, bytes: Bytes) -> Result<BlobDigest, NodeError> {
        if bytes.len() > self.limit {
            let reason = format!("it has {} bytes, this node takes at most {}", bytes.len(), self.limit);
            return Err(NodeError::BadCircuit { reason });
        }
        // So that no digest stands for circuits of two backends.
        if bytes.starts_with(ELF_MAGIC) != (backend == Backend::Sp1) {
            let reason = match backend {
                Backend::Sp1 => "circuits of the backend sp1 are ELF files, this is none",
                Backend::Groth16 => "this is an ELF file, not a Groth16 bundle",
            };
            return Err(NodeError::BadCircuit { reason: reason.into() });
        }
        let digest = BlobDigest::of(&bytes);
        if self.cached(digest).is_some() {
            return Ok(digest);
        }
        if let Some(directory) = &self.directory {
            self.write(directory, digest, backend, &bytes).map_err(|error| disk(directory, &error))?;
        }
        self.keep(digest, backend, bytes);
        Ok(digest)
    }

    /// A circuit in memory.
    pub(super) fn cached(&self, digest: BlobDigest) -> Option<Arc<Circuit>> {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        let index = cache.iter().position(|circuit| circuit.digest == digest)?;
        let circuit = cache.remove(index)?;
        cache.push_back(Arc::clone(&circuit));
        Some(circuit)
    }

    /// A circuit in memory or on the disk.
    pub(super) fn load(&self, digest: BlobDigest) -> Result<Option<Arc<Circuit>>, NodeError> {
        if let Some(circuit) = self.cached(digest) {
            return Ok(Some(circuit));
        }
        let Some(directory) = &self.directory else { return Ok(None) };
        for backend in BACKENDS {
            let path = path(directory, digest, backend);
            let bytes = match fs::read(&path) {
                Ok(bytes) => bytes,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(disk(&path, &error)),
            };
            if BlobDigest::of(&bytes) == digest {
                return Ok(Some(self.keep(digest, backend, bytes.into())));
            }
            tracing::warn!(path = %path.display(), "a circuit on the disk is damaged; it has to be uploaded again");
            fs::remove_file(&path).map_err(|error| disk(&path, &error))?;
        }
        Ok(None)
    }

    fn keep(&self, digest: BlobDigest, backend: Backend, bytes: Bytes) -> Arc<Circuit> {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(circuit) = cache.iter().find(|circuit| circuit.digest == digest) {
            return Arc::clone(circuit);
        }
        let keys = (0..self.backends).map(|_| Mutex::default()).collect();
        let circuit = Arc::new(Circuit { digest, backend, bytes, keys });
        cache.push_back(Arc::clone(&circuit));
        let mut held: usize = cache.iter().map(|circuit| circuit.bytes.len()).sum();
        while held > self.cache_limit && cache.len() > 1 {
            held -= cache.pop_front().map_or(0, |oldest| oldest.bytes.len());
        }
        circuit
    }

    /// Whole and durable, or not at all.
    fn write(&self, directory: &Path, digest: BlobDigest, backend: Backend, bytes: &[u8]) -> io::Result<()> {
        let path = path(directory, digest, backend);
        fs::create_dir_all(directory)?;
        let number = self.written.fetch_add(1, Ordering::Relaxed);
        let unfinished = directory.join(format!("{UNFINISHED}{}-{number}", std::process::id()));
        let written = File::create(&unfinished).and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&unfinished, &path)?;
            File::open(directory)?.sync_all()
        });
        if written.is_err() {
            // The first error is the one worth telling.
            let _ = fs::remove_file(&unfinished);
        }
        written
    }
}

fn path(directory: &Path, digest: BlobDigest, backend: Backend) -> PathBuf {
    directory.join(format!("{digest}.{backend}"))
}

/// What a process that died left half written. Failing at it loses only disk space.
fn remove_unfinished(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn disk(path: &Path, error: &io::Error) -> NodeError {
    NodeError::Failed { reason: format!("its circuit directory, {}: {error}", path.display()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn circuits(directory: &Path, limit: usize) -> Circuits {
        let circuits = CircuitStore::Directory(directory.to_owned());
        Circuits::new(&NodeConfig { circuits, circuit_limit: limit, circuit_cache: 1, ..NodeConfig::default() }, 1)
    }

    #[test]
    fn a_directory_outlives_the_process() {
        let directory = tempfile::tempdir().unwrap();
        let digest = circuits(directory.path(), 1 << 20).add(Backend::Sp1, testing::echo()).unwrap();
        fs::write(directory.path().join(".unfinished-1-0"), b"half").unwrap();
        let again = circuits(directory.path(), 1 << 20);
        assert!(again.cached(digest).is_none());
        let circuit = again.load(digest).unwrap().unwrap();
        assert_eq!((circuit.backend, &circuit.bytes), (Backend::Sp1, &testing::echo()));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "what was half written is gone");
        assert!(again.load(BlobDigest([0; 32])).unwrap().is_none());
    }

    #[test]
    fn a_damaged_file_is_no_circuit() {
        let directory = tempfile::tempdir().unwrap();
        let digest = circuits(directory.path(), 1 << 20).add(Backend::Sp1, testing::echo()).unwrap();
        fs::write(path(directory.path(), digest, Backend::Sp1), b"\x7fELF damaged").unwrap();
        assert!(circuits(directory.path(), 1 << 20).load(digest).unwrap().is_none());
        assert_eq!(circuits(directory.path(), 1 << 20).add(Backend::Sp1, testing::echo()).unwrap(), digest);
        assert!(circuits(directory.path(), 1 << 20).load(digest).unwrap().is_some());
    }

    #[test]
    fn the_cache_is_bounded_and_size_and_magic_are_checked() {
        let directory = tempfile::tempdir().unwrap();
        let circuits = circuits(directory.path(), 20_000);
        let first = circuits.add(Backend::Sp1, testing::echo()).unwrap();
        let second = circuits.add(Backend::Sp1, testing::endless()).unwrap();
        assert!(circuits.cached(first).is_none() && circuits.cached(second).is_some());
        assert!(circuits.load(first).unwrap().is_some(), "from the disk");
        for (backend, bytes) in [
            (Backend::Sp1, Bytes::from_static(b"PK")),
            (Backend::Groth16, testing::echo()),
            (Backend::Sp1, Bytes::from(vec![0; 20_001])),
        ] {
            assert!(matches!(circuits.add(backend, bytes), Err(NodeError::BadCircuit { .. })));
        }
    }

    #[test]
    fn an_unwritable_directory_is_an_error_and_keeps_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, b"").unwrap();
        let circuits = circuits(&file.join("below"), 1 << 20);
        assert!(matches!(circuits.add(Backend::Sp1, testing::echo()), Err(NodeError::Failed { .. })));
        assert!(circuits.cached(BlobDigest::of(&testing::echo())).is_none());
    }
}
