//! One run, from its first instruction to its account.

use crate::abi::MAX_BUFFER;
use crate::component;
use crate::error::RunError;
use crate::guest::Guest;
use crate::host::Line;
use crate::limits::{Limits, Meter, Usage};
use crate::module::{Linked, Module};
use crate::network::Remote;
use crate::recording::{Begun, Recorder};
use coprocessor_types::{ProgramId, Root};
use serde_json::Value;
use std::future::ready;
use wasmtime::{Engine, PoolConcurrencyLimitError, Store, Trap, UnknownImportError, UpdateDeadline, WasmBacktrace};

/// A function that a controller exports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Export {
    /// Turns a request into witnesses.
    GetWitnesses,
    /// Receives a finished proof, or whatever a client sends.
    Entrypoint,
    /// Says whether a block may be appended to its domain, and what is kept of it.
    ValidateBlock,
    /// Makes a proof of its domain's state.
    GetStateProof,
}

/// What a controller is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A program's controller.
    Program,
    /// A domain's controller.
    Domain,
}

/// What to run.
#[derive(Clone, Debug)]
pub struct Call {
    /// Where to begin.
    pub export: Export,
    /// What the controller gets from `args`: at most [`crate::MAX_BUFFER`] bytes as JSON.
    pub args: Value,
    /// What it gets from `get_controller`.
    pub program: ProgramId,
    /// What it gets from `get_historical`.
    pub root: Root,
    /// Writes down what the run asks of its host and is answered.
    pub recorder: Option<Recorder>,
    /// Other limits than the sandbox's own. Memory, table and stack can be less than the sandbox's, not more.
    pub limits: Option<Limits>,
}

/// What became of a call.
#[derive(Clone, Debug)]
pub struct Run {
    /// What the controller gave to `ret` last; `None` if it never called it.
    pub result: Result<Option<Value>, RunError>,
    /// What it logged, up to the end of the run however it ended. Lines that begin with a host call's name and
    /// `refused:` are the host's.
    pub log: Vec<String>,
    /// What it used, also if it failed.
    pub usage: Usage,
}

impl Role {
    /// The functions that a controller in this role must export.
    pub const fn exports(self) -> [Export; 2] {
        match self {
            Self::Program => [Export::GetWitnesses, Export::Entrypoint],
            Self::Domain => [Export::ValidateBlock, Export::GetStateProof],
        }
    }
}

impl Export {
    /// Every function that is called.
    pub const ALL: [Self; 4] = [Self::GetWitnesses, Self::Entrypoint, Self::ValidateBlock, Self::GetStateProof];

    /// Its name in the module.
    pub const fn name(self) -> &'static str {
        match self {
            Self::GetWitnesses => "get_witnesses",
            Self::Entrypoint => "entrypoint",
            Self::ValidateBlock => "validate_block",
            Self::GetStateProof => "get_state_proof",
        }
    }

    /// Its name in a component.
    pub(crate) const fn wit_name(self) -> &'static str {
        match self {
            Self::GetWitnesses => "get-witnesses",
            Self::Entrypoint => "entrypoint",
            Self::ValidateBlock => "validate-block",
            Self::GetStateProof => "get-state-proof",
        }
    }

    /// Its type in a component.
    pub(crate) const fn wit_type(self) -> &'static str {
        match self {
            Self::GetWitnesses => "func(args: string) -> result<list<witness>, string>",
            Self::Entrypoint => "func(args: string) -> result<string, string>",
            Self::ValidateBlock => "func(args: string) -> result<validated-block, string>",
            Self::GetStateProof => "func(args: string) -> result<state-proof, string>",
        }
    }
}

/// A run, to be polled on threads that it may compute on. It suspends for nothing but `line`, and wakes nobody. The engine's
/// clock must tick while it is polled.
pub(crate) fn run(engine: Engine, module: Module, begun: Begun, line: Line) -> Remote<Run> {
    let Begun { export, args, program, root, limits, .. } = begun;
    if args.len() > MAX_BUFFER {
        let error = RunError::ArgsTooLarge { got: args.len(), limit: MAX_BUFFER };
        return Box::pin(ready(Run { result: Err(error), log: Vec::new(), usage: Usage::default() }));
    }
    Box::pin(async move {
        let fuel = limits.fuel;
        // The time begins with the first poll.
        let meter = Meter::new(limits);
        let guest =
            Guest { args, program, root, line, meter, log: Vec::new(), reason: None, ret: None, started: false };
        let mut store = Store::new(&engine, guest);
        let ended = execute(&mut store, &module, export, fuel).await;
        let left = store.get_fuel().unwrap_or(fuel);
        let guest = store.into_data();
        let usage = guest.meter.usage(fuel - left);
        let result = match ended {
            Ok(()) => guest.ret.transpose().map_err(|reason| RunError::BadResult { reason }),
            Err(error) => Err(explain(error, &guest.meter, guest.started)),
        };
        Run { result, log: guest.log, usage }
    })
}

/// Limits hold from before the start function on.
async fn execute(store: &mut Store<Guest>, module: &Module, export: Export, fuel: u64) -> wasmtime::Result<()> {
    store.set_fuel(fuel)?;
    store.limiter(|guest| &mut guest.meter);
    store.set_epoch_deadline(1);
    // Ticks come late on a busy machine; the time is what the clock says, not how many there were.
    store.epoch_deadline_callback(|store| {
        store.data().meter.wall_clock()?;
        Ok(UpdateDeadline::Continue(1))
    });
    let pre = match module.linked() {
        Linked::Component(pre) => return component::execute(store, pre, export).await,
        Linked::Core(pre) => pre,
    };
    let instance = pre.instantiate_async(&mut *store).await?;
    let function = instance.get_typed_func::<(), ()>(&mut *store, export.name())?;
    store.data_mut().started = true;
    function.call_async(&mut *store, ()).await
}

fn explain(error: wasmtime::Error, meter: &Meter, started: bool) -> RunError {
    let frames = frames(&error);
    let error = match error.downcast::<RunError>() {
        Ok(RunError::Guest { message }) => {
            return meter.refused(Some(message.clone())).unwrap_or(RunError::Guest { message });
        }
        Ok(error) => return error,
        Err(error) => error,
    };
    if let Some(unknown) = error.downcast_ref::<UnknownImportError>() {
        return RunError::UnknownImport { module: unknown.module().into(), name: unknown.name().into() };
    }
    if error.is::<PoolConcurrencyLimitError>() {
        return RunError::Busy;
    }
    let limits = meter.limits();
    match error.downcast_ref::<Trap>() {
        Some(Trap::OutOfFuel) => RunError::OutOfFuel { limit: limits.fuel },
        Some(Trap::StackOverflow) => RunError::Stack { limit: limits.stack_bytes },
        Some(trap) => meter.refused(None).unwrap_or_else(|| RunError::Trap {
            kind: trap_kind(*trap),
            message: trap.to_string().trim_start_matches("wasm trap: ").into(),
            frames,
        }),
        None if started => meter.refused(None).unwrap_or_else(|| RunError::Trap {
            kind: "bad_value",
            message: error.root_cause().to_string(),
            frames,
        }),
        None => meter.refused(None).unwrap_or_else(|| RunError::Start { message: format!("{error:#}") }),
    }
}

fn frames(error: &wasmtime::Error) -> Vec<String> {
    let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() else {
        return Vec::new();
    };
    let name = |frame: &wasmtime::FrameInfo| match frame.func_name() {
        Some(name) => name.chars().take(256).collect(),
        None => format!("function {}", frame.func_index()),
    };
    backtrace.frames().iter().take(20).map(name).collect()
}

fn trap_kind(trap: Trap) -> &'static str {
    match trap {
        Trap::UnreachableCodeReached => "unreachable",
        Trap::MemoryOutOfBounds => "memory_out_of_bounds",
        Trap::TableOutOfBounds => "table_out_of_bounds",
        Trap::IndirectCallToNull => "indirect_call_to_null",
        Trap::BadSignature => "indirect_call_type_mismatch",
        Trap::IntegerOverflow => "integer_overflow",
        Trap::IntegerDivisionByZero => "integer_division_by_zero",
        Trap::BadConversionToInteger => "invalid_conversion_to_integer",
        _ => "other",
    }
}
