//! Circuits by digest: a bounded cache, over a directory where one is configured.

use bytes::Bytes;
use coprocessor_types::{Backend, BlobDigest};
use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use super::{CircuitStore, NodeConfig, directory::Directory};
use crate::{BackendError, NodeError, ProvingBackend, Setup};

const ELF_MAGIC: &[u8] = b"\x7fELF";

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
    directory: Option<Directory>,
    limit: usize,
    cache_limit: usize,
    backends: usize,
    cache: Mutex<Cache>,
}

#[derive(Default)]
struct Cache {
    /// The one used last is the last.
    kept: VecDeque<Arc<Circuit>>,
    /// Those that are kept, and those that only their jobs hold.
    known: HashMap<BlobDigest, Weak<Circuit>>,
}

impl Circuits {
    pub(super) fn new(config: &NodeConfig, backends: usize) -> Self {
        let directory = match &config.circuits {
            CircuitStore::Memory => None,
            CircuitStore::Directory(path) => Some(Directory::open(path.clone(), config.circuit_disk)),
        };
        Self {
            directory,
            limit: config.circuit_limit,
            cache_limit: config.circuit_cache,
            backends,
            cache: Mutex::default(),
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
            let in_use = |digest| self.cache().is_in_use(digest);
            directory.write(digest, backend, &bytes, &in_use).map_err(failed)?;
        }
        self.keep(digest, backend, bytes);
        Ok(digest)
    }

    /// A circuit in memory.
    pub(super) fn cached(&self, digest: BlobDigest) -> Option<Arc<Circuit>> {
        let circuit = self.cache().find(digest)?;
        if let Some(directory) = &self.directory {
            directory.note_use(digest);
        }
        Some(circuit)
    }

    /// A circuit in memory or on the disk.
    pub(super) fn load(&self, digest: BlobDigest) -> Result<Option<Arc<Circuit>>, NodeError> {
        if let Some(circuit) = self.cached(digest) {
            return Ok(Some(circuit));
        }
        let Some(directory) = &self.directory else { return Ok(None) };
        let read = directory.read(digest).map_err(failed)?;
        Ok(read.map(|(backend, bytes)| self.keep(digest, backend, bytes.into())))
    }

    fn keep(&self, digest: BlobDigest, backend: Backend, bytes: Bytes) -> Arc<Circuit> {
        let mut cache = self.cache();
        if let Some(circuit) = cache.find(digest) {
            return circuit;
        }
        let keys = (0..self.backends).map(|_| Mutex::default()).collect();
        let circuit = Arc::new(Circuit { digest, backend, bytes, keys });
        cache.keep(&circuit, self.cache_limit);
        circuit
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cache {
    fn find(&mut self, digest: BlobDigest) -> Option<Arc<Circuit>> {
        let index = self.kept.iter().rposition(|circuit| circuit.digest == digest);
        if let Some(circuit) = index.and_then(|index| self.kept.remove(index)) {
            self.kept.push_back(Arc::clone(&circuit));
            return Some(circuit);
        }
        self.known.get(&digest)?.upgrade()
    }

    fn keep(&mut self, circuit: &Arc<Circuit>, limit: usize) {
        self.kept.push_back(Arc::clone(circuit));
        let mut held: usize = self.kept.iter().map(|circuit| circuit.bytes.len()).sum();
        while held > limit && self.kept.len() > 1 {
            held -= self.kept.pop_front().map_or(0, |oldest| oldest.bytes.len());
        }
        self.known.retain(|_, circuit| circuit.strong_count() > 0);
        self.known.insert(circuit.digest, Arc::downgrade(circuit));
    }

    /// Whether anybody holds it beside this cache.
    fn is_in_use(&self, digest: BlobDigest) -> bool {
        let kept = self.kept.iter().filter(|circuit| circuit.digest == digest).count();
        self.known.get(&digest).is_some_and(|circuit| circuit.strong_count() > kept)
    }
}

fn failed(error: impl ToString) -> NodeError {
    NodeError::Failed { reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;
    use std::{fs, path::Path};

    fn circuits(directory: &Path, limit: usize) -> Circuits {
        let circuits = CircuitStore::Directory(directory.to_owned());
        Circuits::new(&NodeConfig { circuits, circuit_limit: limit, circuit_cache: 1, ..NodeConfig::default() }, 1)
    }

    #[test]
    fn a_directory_outlives_the_process() {
        let directory = tempfile::tempdir().unwrap();
        let digest = circuits(directory.path(), 1 << 20).add(Backend::Sp1, testing::echo()).unwrap();
        let again = circuits(directory.path(), 1 << 20);
        assert!(again.cached(digest).is_none());
        let circuit = again.load(digest).unwrap().unwrap();
        assert_eq!((circuit.backend, &circuit.bytes), (Backend::Sp1, &testing::echo()));
        assert!(again.load(BlobDigest([0; 32])).unwrap().is_none());
    }

    #[test]
    fn a_damaged_file_is_no_circuit() {
        let directory = tempfile::tempdir().unwrap();
        let digest = circuits(directory.path(), 1 << 20).add(Backend::Sp1, testing::echo()).unwrap();
        fs::write(directory.path().join(format!("{digest}.sp1")), b"\x7fELF damaged").unwrap();
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

    #[test]
    fn what_a_job_holds_is_found_and_stays_on_the_disk() {
        let directory = tempfile::tempdir().unwrap();
        let room = testing::echo().len() as u64 + 1;
        let store = CircuitStore::Directory(directory.path().to_owned());
        let config = NodeConfig { circuits: store, circuit_disk: room, circuit_cache: 1, ..NodeConfig::default() };
        let circuits = Circuits::new(&config, 1);
        let echo = circuits.add(Backend::Sp1, testing::echo()).unwrap();
        let held = circuits.load(echo).unwrap().unwrap();
        let refused = circuits.add(Backend::Sp1, testing::endless());
        assert!(matches!(&refused, Err(NodeError::Failed { reason }) if reason.contains("in use")), "{refused:?}");
        circuits.keep(BlobDigest([7; 32]), Backend::Sp1, Bytes::new());
        assert!(circuits.cache().kept.iter().all(|circuit| circuit.digest != echo), "not in the cache");
        assert!(Arc::ptr_eq(&held, &circuits.cached(echo).unwrap()));
        assert!(circuits.add(Backend::Sp1, testing::endless()).is_err());
        drop(held);
        circuits.add(Backend::Sp1, testing::endless()).unwrap();
        assert!(circuits.load(echo).unwrap().is_none(), "it made room");
    }
}
