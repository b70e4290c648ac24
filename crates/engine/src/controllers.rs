//! Running a controller, a program's or a domain's: loaded once, in a bounded number at a time, on threads that may block.

use coprocessor_sandbox::{Call, Execution, Export, Limits, Progress, Recorder, Role, Run, Waiting};
use coprocessor_store::VolumeWrite;
use coprocessor_types::{BlobDigest, DomainId, ProgramId, Root};
use serde_json::Value;
use std::{sync::Arc, time::Instant};
use tokio::sync::Semaphore;

use crate::{EngineError, Inner, host::ControllerHost, place::Place};

/// Whose controller runs.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
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
    /// Where the run is written down, if it is.
    pub(crate) recorder: Option<Recorder>,
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
    /// it was given; and gives the place back while the run waits for the network.
    ///
    /// # Errors
    /// [`EngineError::VolumeBusy`]: others wrote to the volume while the run waited; it can be made again.
    pub(crate) async fn run_controller(self: &Arc<Self>, call: ControllerCall) -> Result<ControllerRun, EngineError> {
        self.run(call, None, &self.controller_rooms, None).await
    }

    /// Runs a controller that another run, which waits for it, asked for: within `limits`, and in a room that no asking run can
    /// have taken.
    pub(crate) async fn run_asked(
        self: &Arc<Self>,
        call: ControllerCall,
        limits: Limits,
    ) -> Result<ControllerRun, EngineError> {
        self.run(call, Some(limits), &self.asked_rooms, None).await
    }

    /// The same for a step, whose own place is given back too.
    pub(crate) async fn run_step(
        self: &Arc<Self>,
        call: ControllerCall,
        place: &Place,
    ) -> Result<ControllerRun, EngineError> {
        self.run(call, None, &self.controller_rooms, Some(place)).await
    }

    async fn run(
        self: &Arc<Self>,
        call: ControllerCall,
        limits: Option<Limits>,
        rooms: &Semaphore,
        step: Option<&Place>,
    ) -> Result<ControllerRun, EngineError> {
        let module = self.compiled_controller(call.controller, None).await?;
        let bounds = self.run_bounds(call.subject).await?;
        let limits = limits.or(bounds.limits);
        let stopping = |_| EngineError::Internal("the engine is stopping".into());
        let _room = rooms.acquire().await.map_err(stopping)?;
        let mut host = ControllerHost::new(Arc::clone(self), call.subject, call.root, bounds.volume_bytes);
        let program = call.subject.id();
        let ControllerCall { export, args, root, recorder, .. } = call;
        let call = Call { export, args, program, root, recorder, limits };
        let mut execution = self.sandbox.begin(&module, call);
        loop {
            let slot = Arc::clone(&self.controller_slots).acquire_owned().await.map_err(stopping)?;
            let stretch = blocking(move || {
                let _slot = slot;
                stretch(execution, host)
            });
            let mut waiting = match stretch.await? {
                Stretch::Ended(run) => return run,
                Stretch::Waiting(waiting, back) => {
                    host = back;
                    waiting
                }
            };
            let began = Instant::now();
            if let Some(place) = step {
                place.leave();
            }
            // Without an answer by then the run ends as soon as it goes on.
            let _ = tokio::time::timeout_at(waiting.until().into(), waiting.answered()).await;
            if let Some(place) = step {
                place.waited(began.elapsed());
            }
            execution = waiting.resume();
        }
    }

    /// Checks that bytes are a controller for that role, and keeps it compiled.
    pub(crate) async fn check_controller(self: &Arc<Self>, wasm: bytes::Bytes, role: Role) -> Result<(), EngineError> {
        let bytes = wasm.clone();
        let digest = blocking(move || BlobDigest::of(&bytes)).await?;
        let module = self.compiled_controller(digest, Some(wasm)).await?;
        module.check(role).map_err(|error| invalid(&error))
    }
}

/// What a run came to with its thread.
enum Stretch {
    Ended(Result<ControllerRun, EngineError>),
    Waiting(Waiting, ControllerHost),
}

/// Blocks.
fn stretch(execution: Execution, mut host: ControllerHost) -> Stretch {
    let run = match execution.advance(&mut host) {
        Progress::Waiting(waiting) => return Stretch::Waiting(waiting, host),
        Progress::Ended(run) => run,
    };
    Stretch::Ended(match host.overtaken() {
        Some(program) => Err(EngineError::VolumeBusy(program)),
        None => Ok(ControllerRun { run, store_away: host.store_was_away(), write: host.into_write() }),
    })
}

/// Why bytes are no controller.
pub(crate) fn invalid(error: &coprocessor_sandbox::ModuleError) -> EngineError {
    EngineError::InvalidController(crate::volumes::chain(error))
}

/// Runs `work` on a thread that may block.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, EngineError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| EngineError::Internal(format!("a worker thread died: {error}")))
}
