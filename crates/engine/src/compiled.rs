//! Compiled controllers: had from memory, else from a directory, else compiled; whatever asks at once for the same waits for one.

mod directory;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use coprocessor_sandbox::{Artifact, Module, Sandbox};
use coprocessor_types::BlobDigest;
use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::sync::OnceCell;

use crate::{
    EngineError, Inner,
    controllers::{blocking, invalid},
};
use directory::Directory;

/// Where compiled controllers are kept while the service does not run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CompiledSettings {
    /// A directory for nothing else, on a disk of this machine, that this process makes or has made. What is in it is run: one that others
    /// can write to is not used.
    pub directory: PathBuf,
    /// Most bytes of machine code; 0: none is kept.
    pub bytes: u64,
}

/// Where this process had compiled controllers from since it was started, and what is kept of them.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct CompiledReport {
    /// How many were compiled.
    pub compiled: u64,
    /// How many were read from the directory.
    pub loaded: u64,
    /// How often one was in memory when it was asked for.
    pub found: u64,
    /// Files in the directory.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Most bytes there; 0: none are kept.
    pub limit: u64,
    /// Why the directory is not used, or why nothing can be written there.
    pub problem: Option<String>,
}

/// What is known of compiled controllers beyond what the sandbox has in memory.
pub(crate) struct Compiled {
    directory: Option<Directory>,
    /// What is being loaded or compiled. Nobody but those who wait for one keeps it: the sandbox has the bound of what is in memory.
    under_way: Mutex<HashMap<BlobDigest, Weak<OnceCell<Module>>>>,
    compiled: AtomicU64,
    loaded: AtomicU64,
    found: AtomicU64,
}

impl Inner {
    /// The compiled controller with that digest; `wasm` where the caller has it anyway.
    ///
    /// # Errors
    /// No controller; a blob that is not there.
    pub(crate) async fn compiled_controller(
        self: &Arc<Self>,
        digest: BlobDigest,
        wasm: Option<Bytes>,
    ) -> Result<Module, EngineError> {
        if let Some(module) = self.sandbox.cached(&digest) {
            self.compiled.note_found(digest);
            return Ok(module);
        }
        let (inner, under_way) = (Arc::clone(self), self.compiled.under_way(digest));
        // On a task of its own: who asked first may go away, and what was begun goes on for those who wait, or ask again.
        let had = async move { under_way.get_or_try_init(|| inner.load_or_compile(digest, wasm)).await.cloned() };
        let had = tokio::spawn(had).await;
        had.map_err(|error| EngineError::Internal(format!("loading a controller died: {error}")))?
    }

    async fn load_or_compile(self: &Arc<Self>, digest: BlobDigest, wasm: Option<Bytes>) -> Result<Module, EngineError> {
        let inner = Arc::clone(self);
        if let Some(module) = blocking(move || inner.compiled.load(&inner.sandbox, digest)).await? {
            return Ok(module);
        }
        let wasm = match wasm {
            Some(wasm) => wasm,
            None => self.store.blob(digest).await?,
        };
        let inner = Arc::clone(self);
        blocking(move || {
            let artifact = inner.sandbox.compile(&wasm).map_err(|error| invalid(&error))?;
            let module = inner.sandbox.load(digest, &artifact).map_err(|error| invalid(&error))?;
            // The last room on a disk is not for what can be made again.
            inner.compiled.note_compiled(digest, &artifact, inner.check_room().is_ok());
            Ok(module)
        })
        .await?
    }
}

impl Compiled {
    /// Looks into the directory, if there is to be one: blocks for as long as listing its files takes. `fingerprint` is the sandbox's.
    pub(crate) fn new(settings: Option<&CompiledSettings>, fingerprint: &str) -> Self {
        let settings = settings.filter(|settings| settings.bytes > 0);
        let directory = settings
            .map(|CompiledSettings { directory, bytes }| Directory::open(directory.clone(), *bytes, fingerprint));
        Self {
            directory,
            under_way: Mutex::default(),
            compiled: AtomicU64::new(0),
            loaded: AtomicU64::new(0),
            found: AtomicU64::new(0),
        }
    }

    /// For the operator.
    pub(crate) fn report(&self) -> CompiledReport {
        let report = CompiledReport {
            compiled: self.compiled.load(Ordering::Relaxed),
            loaded: self.loaded.load(Ordering::Relaxed),
            found: self.found.load(Ordering::Relaxed),
            ..CompiledReport::default()
        };
        match self.directory.as_ref().map(Directory::kept) {
            None => report,
            Some(directory::Kept { files, bytes, limit, problem }) => {
                CompiledReport { files, bytes, limit, problem, ..report }
            }
        }
    }

    /// What everybody waits in who asks for that controller just now.
    fn under_way(&self, digest: BlobDigest) -> Arc<OnceCell<Module>> {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(there) = under_way.get(&digest).and_then(Weak::upgrade) {
            return there;
        }
        under_way.retain(|_, cell| cell.strong_count() > 0);
        let cell = Arc::default();
        under_way.insert(digest, Arc::downgrade(&cell));
        cell
    }

    /// Blocks. What is there and cannot be used is removed.
    fn load(&self, sandbox: &Sandbox, digest: BlobDigest) -> Option<Module> {
        // Somebody may have been done with it just before this was begun.
        if let Some(module) = sandbox.cached(&digest) {
            return Some(module);
        }
        let directory = self.directory.as_ref()?;
        let artifact = Artifact::from_bytes(directory.read(digest)?);
        match sandbox.load(digest, &artifact) {
            Ok(module) => {
                self.loaded.fetch_add(1, Ordering::Relaxed);
                Some(module)
            }
            Err(error) => {
                directory.discard(digest, &error.to_string());
                None
            }
        }
    }

    /// Blocks.
    fn note_compiled(&self, digest: BlobDigest, artifact: &Artifact, room: bool) {
        self.compiled.fetch_add(1, Ordering::Relaxed);
        if let Some(directory) = self.directory.as_ref().filter(|_| room) {
            directory.write(digest, artifact.as_bytes());
        }
    }

    fn note_found(&self, digest: BlobDigest) {
        self.found.fetch_add(1, Ordering::Relaxed);
        if let Some(directory) = &self.directory {
            directory.note_use(digest);
        }
    }
}
