//! The sandbox itself.

use crate::artifact::Artifact;
use crate::cache::Cache;
use crate::error::{ModuleError, RunError, SandboxError};
use crate::execution::{Execution, Progress};
use crate::guest::Guest;
use crate::host::{Host, Line};
use crate::limits::{SandboxConfig, Usage};
use crate::module::{self, Compiled, Linked, Module};
use crate::recording::{Begun, Recording};
use crate::run::{self, Call, Run};
use crate::ticker::{Ticker, Ticking};
use crate::{capability, component, engine};
use coprocessor_types::BlobDigest;
use std::future::ready;
use std::sync::{Arc, Mutex, PoisonError};
use wasmtime::{Engine, Linker};

/// Compiles and runs controllers. One for the whole process; cheap to clone.
#[derive(Clone)]
pub struct Sandbox(Arc<Inner>);

struct Inner {
    engine: Engine,
    linker: Linker<Guest>,
    config: SandboxConfig,
    fingerprint: [u8; 32],
    cache: Cache,
    compiling: Mutex<()>,
    ticker: Ticker,
}

impl Sandbox {
    /// Sets up the engine and its clock, a thread. Reserves address space for the memories of twice
    /// [`SandboxConfig::rooms`] runs, but no memory.
    ///
    /// # Errors
    /// Settings that can't work; too little address space.
    pub fn new(config: SandboxConfig) -> Result<Self, SandboxError> {
        let engine = engine::build(&config)?;
        let linker = capability::linker(&engine)
            .map_err(|error| SandboxError::Engine { message: format!("{error:#}"), slots: engine::slots(&config) })?;
        Ok(Self(Arc::new(Inner {
            ticker: Ticker::start(engine.clone()).map_err(SandboxError::Clock)?,
            fingerprint: engine::fingerprint(&engine),
            cache: Cache::new(config.cache_bytes),
            compiling: Mutex::new(()),
            linker,
            config,
            engine,
        })))
    }

    /// How it was set up.
    pub fn config(&self) -> &SandboxConfig {
        &self.0.config
    }

    /// Checks that `wasm` is a controller, and compiles it.
    ///
    /// A controller is a WebAssembly core module that exports a memory named `memory` and the functions of one
    /// [`crate::Role`] at least, without parameters and results; which roles it is fit for says [`Module::check`]. It imports
    /// functions only: those of Valence v0.4 with their own types, and any others, which fail when they are called. A
    /// start function is run at the beginning of every call, under the call's limits. Or it is a component with the exports of
    /// one of the worlds in [`crate::WIT`]; of what it imports, too, unknown functions fail when they are called.
    ///
    /// Blocks, for seconds if the module is large. One module is compiled at a time, on all cores.
    ///
    /// # Errors
    /// What makes it no controller.
    pub fn compile(&self, wasm: &[u8]) -> Result<Artifact, ModuleError> {
        let turn = self.0.compiling.lock().unwrap_or_else(PoisonError::into_inner);
        let compiled = module::compile(&self.0.engine, wasm, self.0.config.module_bytes)?;
        drop(turn);
        if let Compiled::Core(module) = &compiled {
            module::check_core(module)?;
        }
        let linked = self.link(&compiled).map_err(|message| ModuleError::ImportType { message })?;
        if let Linked::Component(pre) = &linked {
            component::check(pre)?;
        }
        let code = compiled.serialize().map_err(|error| ModuleError::Invalid { message: format!("{error:#}") })?;
        Ok(Artifact::pack(&self.0.fingerprint, &BlobDigest::of(wasm), &code))
    }

    /// Names the engine's version, its settings and the processor: 64 hexadecimal digits. An artifact made under
    /// another fingerprint must be made again.
    pub fn fingerprint(&self) -> String {
        BlobDigest(self.0.fingerprint).to_string()
    }

    /// The module whose WebAssembly has that SHA-256, if it is loaded. Costs a look into a map.
    pub fn cached(&self, key: &BlobDigest) -> Option<Module> {
        self.0.cache.get(key)
    }

    /// Loads what [`Sandbox::compile`] made of the module whose WebAssembly has that SHA-256, unless it is loaded
    /// already, and keeps it.
    ///
    /// The artifact is machine code and will be run as it is: it must come from the service's own store.
    ///
    /// # Errors
    /// An artifact of another sandbox or another module, or a damaged one: all are cured by compiling again.
    pub fn load(&self, key: BlobDigest, artifact: &Artifact) -> Result<Module, ModuleError> {
        if let Some(module) = self.cached(&key) {
            return Ok(module);
        }
        let damaged = |message: String| ModuleError::Damaged { reason: message };
        let code = artifact.code(&self.0.fingerprint, &key)?;
        // SAFETY: `deserialize` must only be given what an engine like this one serialized, unchanged. The header shows
        // that `compile` of this very version, configuration and processor made it from the module `key`, and that no
        // byte of the code has changed since. That it was not forged, header and all, is what this function's
        // documentation asks of the caller: artifacts lie where only the service writes.
        #[allow(unsafe_code)]
        let compiled = unsafe { Compiled::deserialize(&self.0.engine, code) };
        let compiled = compiled.map_err(|error| damaged(format!("{error:#}")))?;
        let module = Module::new(self.link(&compiled).map_err(damaged)?, key, code.len());
        self.0.cache.put(key, module.clone());
        Ok(module)
    }

    /// Prepares a run. It computes in [`Execution::advance`].
    ///
    /// It does not wait its turn: callers let at most [`SandboxConfig::threads`] compute at once, and at most
    /// [`SandboxConfig::rooms`] be under way. A host may begin another from within a host call. Beyond the room there is, a
    /// run ends at once with [`RunError::Busy`].
    pub fn begin(&self, module: &Module, call: Call) -> Execution {
        let own = &self.0.config.limits;
        let begun = Begun {
            export: call.export,
            controller: module.digest(),
            program: call.program,
            root: call.root,
            limits: call.limits.as_ref().map_or_else(|| own.clone(), |limits| limits.within(own)),
            args: Arc::new(call.args.to_string().into_bytes()),
        };
        if let Some(recorder) = &call.recorder {
            recorder.begin(begun.clone());
        }
        self.start(module, begun, Line::recorded(call.recorder))
    }

    /// As [`Sandbox::begin`], as it was begun when it was recorded.
    pub(crate) fn begin_again(&self, module: &Module, recording: &Recording) -> Execution {
        let begun = Begun {
            export: recording.export,
            controller: module.digest(),
            program: recording.program,
            root: recording.root,
            limits: self.0.config.limits.clone(),
            args: Arc::new(recording.args.clone().into_bytes()),
        };
        self.start(module, begun, Line::default())
    }

    fn start(&self, module: &Module, begun: Begun, line: Line) -> Execution {
        if !Engine::same(module.engine(), &self.0.engine) {
            let error = RunError::Start { message: "it was loaded by another sandbox".into() };
            let ended = Run { result: Err(error), log: Vec::new(), usage: Usage::default() };
            return Execution::new(self.clone(), Box::pin(ready(ended)), line);
        }
        let run = run::run(self.0.engine.clone(), module.clone(), begun, line.clone());
        Execution::new(self.clone(), run, line)
    }

    /// Runs one export to its end on the calling thread, and waits there for what has to be waited for: for callers with a
    /// thread to spare. Otherwise as [`Sandbox::begin`] and [`Execution::advance`].
    ///
    /// # Panics
    /// As `host` does.
    pub fn call(&self, module: &Module, call: Call, host: &mut dyn Host) -> Run {
        let mut execution = self.begin(module, call);
        loop {
            match execution.advance(host) {
                Progress::Ended(run) => return run,
                Progress::Waiting(waiting) => execution = waiting.block(),
            }
        }
    }

    /// Keeps the clock going while it lives.
    pub(crate) fn ticking(&self) -> Ticking<'_> {
        self.0.ticker.ticking()
    }

    /// Resolves every import, which shows those of another type.
    fn link(&self, compiled: &Compiled) -> Result<Linked, String> {
        match compiled {
            Compiled::Core(module) => capability::linker_for(&self.0.linker, module)
                .and_then(|linker| linker.instantiate_pre(module))
                .map(Linked::Core),
            Compiled::Component(component) => component::link(component).map(Linked::Component),
        }
        .map_err(|error| format!("{error:#}"))
    }
}

impl std::fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sandbox").field("config", &self.0.config).finish_non_exhaustive()
    }
}
