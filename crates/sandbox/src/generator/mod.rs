//! Witness generators of circom 2: WebAssembly that computes the values of all wires of a circuit from its inputs.
//!
//! A generator is code from strangers as a controller is, and runs under the same [`Limits`]; it reaches nothing at all. Its four
//! imports say why it gives up and what it logs.

mod error;
mod inputs;

pub use error::GeneratorError;

use crate::engine;
use crate::error::{RunError, SandboxError};
use crate::limits::{Limits, Meter, SandboxConfig, Usage};
use crate::ticker::Ticker;
use inputs::Signal;
use num_bigint::BigUint;
use serde_json::Value;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use wasmtime::{
    AsContextMut, Caller, Engine, Instance, InstancePre, Linker, Memory, Module, PoolConcurrencyLimitError, Store,
    Trap, TypedFunc, UpdateDeadline, WasmParams, WasmResults,
};

/// Where a generator's imports are.
const IMPORTS: &str = "runtime";
/// The most that is kept of what it says when it gives up, in bytes.
const MESSAGE: usize = 4096;
/// Words of 32 bits of a field's elements: the most that is read.
const MAX_WORDS: u32 = 16;
/// Stack of a thread beyond what WebAssembly may use of it.
const OWN_STACK: usize = 1024 * 1024;

/// Compiles and runs witness generators. One for the whole process; cheap to clone.
#[derive(Clone)]
pub struct Generators(Arc<Inner>);

struct Inner {
    engine: Engine,
    linker: Linker<State>,
    config: SandboxConfig,
    compiling: Mutex<()>,
    ticker: Ticker,
}

/// A generator, ready to run any number of times, several at once. Cheap to clone.
#[derive(Clone)]
pub struct Generator {
    generators: Generators,
    ready: InstancePre<State>,
}

/// What a generator made of its inputs.
#[derive(Clone, PartialEq, Eq)]
pub struct Generated {
    /// The modulus of the circuit's field, little-endian.
    pub modulus: Vec<u8>,
    /// The values of all wires, each of as many bytes as the modulus, little-endian, as the generator gave them.
    pub values: Vec<u8>,
    /// What the circuit logged.
    pub log: Vec<String>,
    /// What it used.
    pub usage: Usage,
}

/// What a run has on the host's side.
struct State {
    meter: Meter,
    log: Vec<String>,
    /// The line of the log that is being written: its parts come one by one.
    line: String,
    /// What is said before it gives up.
    message: String,
}

/// A generator's functions, once it is started.
struct Running<'a> {
    store: &'a mut Store<State>,
    instance: Instance,
    memory: Memory,
    /// Where in its memory elements are handed over.
    shared: u32,
    /// Words of 32 bits of an element.
    words: u32,
}

impl Generators {
    /// Sets up the engine and its clock, a thread.
    ///
    /// # Errors
    /// Settings that can't work; too little address space.
    pub fn new(config: SandboxConfig) -> Result<Self, SandboxError> {
        let engine = engine::build(&config)?;
        let linker = linker(&engine)
            .map_err(|error| SandboxError::Engine { message: format!("{error:#}"), slots: engine::slots(&config) })?;
        let ticker = Ticker::start(engine.clone()).map_err(SandboxError::Clock)?;
        Ok(Self(Arc::new(Inner { engine, linker, config, compiling: Mutex::new(()), ticker })))
    }

    /// Compiles a generator. Blocks, for seconds if it is large; one is compiled at a time, on all cores.
    ///
    /// # Errors
    /// [`GeneratorError::TooLarge`], [`GeneratorError::Invalid`].
    pub fn compile(&self, wasm: &[u8]) -> Result<Generator, GeneratorError> {
        let limit = self.0.config.module_bytes;
        if wasm.len() > limit {
            return Err(GeneratorError::TooLarge { got: wasm.len(), limit });
        }
        let turn = self.0.compiling.lock().unwrap_or_else(PoisonError::into_inner);
        let module = Module::from_binary(&self.0.engine, wasm).map_err(invalid)?;
        drop(turn);
        if let Some(import) = module.imports().find(|import| import.module() != IMPORTS) {
            let message = format!("it imports `{}.{}`, of which nothing is known here", import.module(), import.name());
            return Err(GeneratorError::Invalid { message });
        }
        let ready = self.0.linker.instantiate_pre(&module).map_err(invalid)?;
        Ok(Generator { generators: self.clone(), ready })
    }
}

impl Generator {
    /// Computes a witness. `inputs` is the JSON that circom's tools read: an object with a field for each input signal, its values as
    /// numbers, strings in decimal or hexadecimal, or arrays of these, nested as the signal is.
    ///
    /// That the values satisfy the circuit's constraints is not said: a generator can be of another circuit.
    /// Blocks, for as long as [`Limits::wall_clock`] and no longer. `limits` are at most the memory, table and stack that these generators were set up with.
    ///
    /// # Errors
    /// Inputs that are not the circuit's, each naming its signal; inputs that the circuit has no witness for; a limit.
    pub fn witness(&self, inputs: &Value, limits: Option<&Limits>) -> Result<Generated, GeneratorError> {
        let own = &self.generators.0.config.limits;
        let limits = limits.map_or_else(|| own.clone(), |limits| limits.within(own));
        let stack = limits.stack_bytes + OWN_STACK;
        // On a stack of known size: a caller's may be too small for what WebAssembly may use.
        thread::scope(|scope| {
            let run = || self.run(inputs, limits);
            let thread = thread::Builder::new().name("witness".into()).stack_size(stack).spawn_scoped(scope, run);
            let thread = thread.map_err(|error| GeneratorError::Start { message: error.to_string() })?;
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    fn run(&self, inputs: &Value, limits: Limits) -> Result<Generated, GeneratorError> {
        let fuel = limits.fuel;
        let state = State { meter: Meter::new(limits), log: Vec::new(), line: String::new(), message: String::new() };
        let mut store = Store::new(&self.generators.0.engine, state);
        let _ticking = self.generators.0.ticker.ticking();
        store.set_fuel(fuel).map_err(invalid)?;
        store.limiter(|state| &mut state.meter);
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|store| {
            store.data().meter.wall_clock()?;
            Ok(UpdateDeadline::Continue(1))
        });
        let instance = self.ready.instantiate(&mut store);
        let instance = instance.map_err(|error| explain(error, &store))?;
        let mut running = Running::start(&mut store, instance)?;
        let (modulus, values) = running.compute(inputs)?;
        let left = store.get_fuel().unwrap_or(fuel);
        let State { meter, log, .. } = store.into_data();
        Ok(Generated { modulus, values, log, usage: meter.usage(fuel - left) })
    }
}

impl<'a> Running<'a> {
    fn start(store: &'a mut Store<State>, instance: Instance) -> Result<Self, GeneratorError> {
        let memory = instance.get_memory(&mut *store, "memory");
        let memory = memory.ok_or_else(|| GeneratorError::Invalid { message: "it exports no `memory`".into() })?;
        let mut running = Self { store, instance, memory, shared: 0, words: 0 };
        match running.call::<(), u32>("getVersion", ())? {
            2 => {}
            got => return Err(GeneratorError::Version { got }),
        }
        running.shared = running.call("getSharedRWMemoryStart", ())?;
        running.words = running.call("getFieldNumLen32", ())?;
        if !(1..=MAX_WORDS).contains(&running.words) {
            let message = format!("its field's elements have {} words, expected 1 to {MAX_WORDS}", running.words);
            return Err(GeneratorError::Invalid { message });
        }
        Ok(running)
    }

    /// The modulus, and the values of all wires.
    fn compute(&mut self, inputs: &Value) -> Result<(Vec<u8>, Vec<u8>), GeneratorError> {
        self.call::<(), ()>("getRawPrime", ())?;
        let modulus = self.element()?.to_vec();
        let signals = inputs::signals(inputs, &BigUint::from_bytes_le(&modulus))?;
        // One: with the checks that circom's own tools switch on.
        self.call::<u32, ()>("init", 1)?;
        self.set(&signals)?;
        let wires: u32 = self.call("getWitnessSize", ())?;
        let (limit, size) = (self.store.data().meter.limits().memory_bytes, modulus.len());
        let needed = size.checked_mul(wires as usize).filter(|needed| *needed <= limit);
        let mut values = Vec::with_capacity(needed.ok_or(GeneratorError::Memory { limit })?);
        let wire: TypedFunc<u32, ()> = self.function("getWitness")?;
        for index in 0..wires {
            wire.call(&mut *self.store, index).map_err(|error| explain(error, self.store))?;
            values.extend_from_slice(self.element()?);
        }
        Ok((modulus, values))
    }

    /// Gives all signals their values; with the last one the generator computes.
    fn set(&mut self, signals: &[Signal]) -> Result<(), GeneratorError> {
        let mut given = 0u64;
        for signal in signals {
            let [high, low] = signal.hash();
            let size: i32 = self.call("getInputSignalSize", (high, low))?;
            let expected =
                u32::try_from(size).map_err(|_| GeneratorError::UnknownSignal { signal: signal.name.clone() })?;
            let got = signal.values.len();
            // What generators say of a name that they don't know; no signal has elements and none.
            if expected == 0 && got > 0 {
                return Err(GeneratorError::UnknownSignal { signal: signal.name.clone() });
            }
            if got != expected as usize {
                return Err(GeneratorError::SignalLength { signal: signal.name.clone(), got, expected });
            }
            given += u64::from(expected);
        }
        let expected: u32 = self.call("getInputSize", ())?;
        if given < u64::from(expected) {
            let names = signals.iter().map(|signal| signal.name.clone()).collect();
            return Err(GeneratorError::MissingSignals { got: given, expected, given: names });
        }
        for signal in signals {
            let [high, low] = signal.hash();
            for (at, value) in (0u32..).zip(&signal.values) {
                self.hand_over(value)?;
                self.call::<_, ()>("setInputSignal", (high, low, at))?;
            }
        }
        Ok(())
    }

    /// Puts an element where the generator looks for it.
    fn hand_over(&mut self, value: &BigUint) -> Result<(), GeneratorError> {
        let mut bytes = value.to_bytes_le();
        bytes.resize(self.words as usize * 4, 0);
        let written = self.memory.write(&mut *self.store, self.shared as usize, &bytes);
        written.map_err(|_| self.outside())
    }

    /// The element that the generator has put there.
    fn element(&self) -> Result<&[u8], GeneratorError> {
        let (start, length) = (self.shared as usize, self.words as usize * 4);
        let bytes = self.memory.data(&*self.store).get(start..).and_then(|bytes| bytes.get(..length));
        bytes.ok_or_else(|| self.outside())
    }

    fn outside(&self) -> GeneratorError {
        let message = format!("it hands elements over at {}, outside its memory", self.shared);
        GeneratorError::Invalid { message }
    }

    fn function<P: WasmParams, R: WasmResults>(&mut self, name: &str) -> Result<TypedFunc<P, R>, GeneratorError> {
        self.instance.get_typed_func(&mut *self.store, name).map_err(invalid)
    }

    fn call<P: WasmParams, R: WasmResults>(&mut self, name: &str, params: P) -> Result<R, GeneratorError> {
        let function = self.function(name)?;
        function.call(&mut *self.store, params).map_err(|error| explain(error, self.store))
    }
}

/// How a generator says that it gives up.
#[derive(Debug, thiserror::Error)]
#[error("the witness generator gave up with code {0}")]
struct GivenUp(u32);

fn linker(engine: &Engine) -> wasmtime::Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    linker.func_wrap(IMPORTS, "exceptionHandler", |code: u32| -> wasmtime::Result<()> { Err(GivenUp(code).into()) })?;
    linker.func_wrap(IMPORTS, "printErrorMessage", |mut caller: Caller<'_, State>| {
        let line = message(&mut caller)?;
        let said = &mut caller.data_mut().message;
        if !said.is_empty() {
            said.push('\n');
        }
        said.extend(line.trim_end().chars().take(MESSAGE.saturating_sub(said.len())));
        Ok(())
    })?;
    linker.func_wrap(IMPORTS, "writeBufferMessage", |mut caller: Caller<'_, State>| {
        let part = message(&mut caller)?;
        log(caller.data_mut(), &part)
    })?;
    linker.func_wrap(IMPORTS, "showSharedRWMemory", |mut caller: Caller<'_, State>| {
        let value = shown(&mut caller)?;
        log(caller.data_mut(), &value.to_string())
    })?;
    Ok(linker)
}

/// Parts of a line are set apart by spaces; a part that is a line's end ends it.
fn log(state: &mut State, part: &str) -> wasmtime::Result<()> {
    // Counted before the line is whole: a line without an end must be bounded too, and lines of nothing.
    state.meter.log_line(part.len())?;
    if part == "\n" {
        state.log.push(std::mem::take(&mut state.line));
        return Ok(());
    }
    if !state.line.is_empty() {
        state.line.push(' ');
    }
    state.line.push_str(part);
    Ok(())
}

/// A message is fetched from the generator letter by letter, up to a zero.
fn message(caller: &mut Caller<'_, State>) -> wasmtime::Result<String> {
    let next: TypedFunc<(), u32> = exported(caller, "getMessageChar")?;
    let limit = caller.data().meter.limits().log_bytes;
    let mut text = String::new();
    loop {
        match next.call(caller.as_context_mut(), ())? {
            0 => return Ok(text),
            _ if text.len() >= limit => return Err(RunError::Log { limit }.into()),
            letter => text.push(char::from_u32(letter).unwrap_or(char::REPLACEMENT_CHARACTER)),
        }
    }
}

/// The element that the generator has put where elements are handed over.
fn shown(caller: &mut Caller<'_, State>) -> wasmtime::Result<BigUint> {
    let words: u32 = exported::<(), u32>(caller, "getFieldNumLen32")?.call(caller.as_context_mut(), ())?;
    let word: TypedFunc<u32, u32> = exported(caller, "readSharedRWMemory")?;
    let words = (0..words.min(MAX_WORDS)).map(|at| word.call(caller.as_context_mut(), at));
    words.collect::<wasmtime::Result<_>>().map(BigUint::new)
}

fn exported<P: WasmParams, R: WasmResults>(
    caller: &mut Caller<'_, State>,
    name: &str,
) -> wasmtime::Result<TypedFunc<P, R>> {
    let function = caller.get_export(name).and_then(wasmtime::Extern::into_func);
    let function = function.ok_or_else(|| wasmtime::Error::msg(format!("it exports no function `{name}`")))?;
    function.typed(caller)
}

fn explain(error: wasmtime::Error, store: &Store<State>) -> GeneratorError {
    let state = store.data();
    let limits = state.meter.limits();
    if let Some(GivenUp(code)) = error.downcast_ref() {
        return given_up(*code, &state.message);
    }
    if error.is::<PoolConcurrencyLimitError>() {
        return GeneratorError::Busy;
    }
    let refused = match error.downcast_ref::<RunError>() {
        Some(error) => Some(error.clone()),
        None => state.meter.refused(None),
    };
    match (refused, error.downcast_ref::<Trap>()) {
        (Some(RunError::WallClock { limit }), _) => GeneratorError::WallClock { limit },
        (Some(RunError::Log { limit }), _) => GeneratorError::Log { limit },
        (_, Some(Trap::OutOfFuel)) => GeneratorError::OutOfFuel { limit: limits.fuel },
        (_, Some(Trap::StackOverflow)) => GeneratorError::Stack { limit: limits.stack_bytes },
        (Some(RunError::Memory { limit, .. }), _) => GeneratorError::Memory { limit },
        (Some(RunError::Table { limit, .. }), _) => GeneratorError::Table { limit },
        (_, Some(trap)) => {
            GeneratorError::Trap { message: trap.to_string().trim_start_matches("wasm trap: ").to_owned() }
        }
        (_, None) => invalid(error),
    }
}

/// The codes are those of circom 2.
fn given_up(code: u32, message: &str) -> GeneratorError {
    const ASSERTION: u32 = 4;
    let known = match code {
        1 => "a signal was not found",
        2 => "too many signals were set",
        3 => "a signal was set twice",
        ASSERTION => "an assertion or a constraint fails",
        5 => "out of memory",
        6 => "an input beyond its signal's size",
        7 => "an array was accessed out of its bounds",
        _ => "unknown",
    };
    let message = if message.is_empty() { known.to_owned() } else { format!("{known}: {message}") };
    if code == ASSERTION { GeneratorError::Unsatisfied { message } } else { GeneratorError::Failed { code, message } }
}

fn invalid(error: wasmtime::Error) -> GeneratorError {
    GeneratorError::Invalid { message: format!("{error:#}") }
}

impl std::fmt::Debug for Generators {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Generators").field("config", &self.0.config).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Generator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Generator").finish_non_exhaustive()
    }
}

/// A witness is what a proof keeps secret.
impl std::fmt::Debug for Generated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Generated({} bytes, {:?})", self.values.len(), self.usage)
    }
}
