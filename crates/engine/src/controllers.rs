//! Running a controller, a program's or a domain's: loaded once, in a bounded number at a time, on threads that may block.

use coprocessor_sandbox::{Artifact, Call, Export, Module, Role, Run};
use coprocessor_store::VolumeWrite;
use coprocessor_types::{BlobDigest, DomainId, ProgramId, Root};
use serde_json::Value;
use std::sync::Arc;

use crate::{EngineError, Inner, volumes::ControllerHost};

/// Whose controller runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Subject {
    /// A program, with the files of its volume.
    Program(ProgramId),
    /// A domain, which has no files.
    Domain(DomainId),
}

/// One run to make.
pub(crate) struct ControllerCall {
    pub(crate) subject: Subject,
    pub(crate) controller: BlobDigest,
    pub(crate) export: Export,
    pub(crate) args: Value,
    pub(crate) root: Root,
}

/// What became of it.
pub(crate) struct ControllerRun {
    pub(crate) run: Run,
    /// What it wrote; to be committed only where the run succeeded.
    pub(crate) write: VolumeWrite,
    /// The run met a store that was away: where it failed, that is why.
    pub(crate) store_away: bool,
}

impl Subject {
    /// What the controller gets from `get_controller`.
    fn id(self) -> ProgramId {
        match self {
            Self::Program(id) => id,
            Self::Domain(id) => ProgramId(id.0),
        }
    }
}

impl Inner {
    /// Runs a controller to its end. Waits for a place first, so that a storm of slow controllers holds only the threads
    /// it was given.
    pub(crate) async fn run_controller(self: &Arc<Self>, call: ControllerCall) -> Result<ControllerRun, EngineError> {
        let module = self.controller(call.controller).await?;
        let place = Arc::clone(&self.controller_slots).acquire_owned().await;
        let place = place.map_err(|_| EngineError::Internal("the engine is stopping".into()))?;
        let inner = Arc::clone(self);
        blocking(move || {
            let _place = place;
            let mut host = ControllerHost::new(&*inner.store, call.subject);
            let program = call.subject.id();
            let sandbox_call = Call { export: call.export, args: call.args, program, root: call.root, limits: None };
            let run = inner.sandbox.call(&module, sandbox_call, &mut host);
            ControllerRun { run, store_away: host.store_was_away(), write: host.into_write() }
        })
        .await
    }

    /// The compiled controller with that digest; from memory where it was used lately.
    pub(crate) async fn controller(self: &Arc<Self>, digest: BlobDigest) -> Result<Module, EngineError> {
        if let Some(module) = self.sandbox.cached(&digest) {
            return Ok(module);
        }
        let wasm = self.store.blob(digest).await?;
        let sandbox = self.sandbox.clone();
        blocking(move || {
            let artifact: Artifact = sandbox.compile(&wasm).map_err(|error| invalid(&error))?;
            sandbox.load(digest, &artifact).map_err(|error| invalid(&error))
        })
        .await?
    }

    /// Checks that bytes are a controller for that role, and keeps it compiled.
    pub(crate) async fn check_controller(self: &Arc<Self>, wasm: bytes::Bytes, role: Role) -> Result<(), EngineError> {
        let sandbox = self.sandbox.clone();
        blocking(move || {
            let digest = BlobDigest::of(&wasm);
            let module = match sandbox.cached(&digest) {
                Some(module) => module,
                None => {
                    let artifact = sandbox.compile(&wasm).map_err(|error| invalid(&error))?;
                    sandbox.load(digest, &artifact).map_err(|error| invalid(&error))?
                }
            };
            module.check(role).map_err(|error| invalid(&error))
        })
        .await?
    }
}

fn invalid(error: &coprocessor_sandbox::ModuleError) -> EngineError {
    EngineError::InvalidController(crate::volumes::chain(error))
}

/// Runs `work` on a thread that may block.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, EngineError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| EngineError::Internal(format!("a worker thread died: {error}")))
}
