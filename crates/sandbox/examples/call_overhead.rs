//! What a call costs that does nothing, beside wasmtime without any of what makes it safe: prints JSON, two lists of milliseconds, one for
//! each call of a warm module. `cargo xtask bench` reads it.
#![allow(clippy::print_stdout, reason = "printing is what it is for")]

use coprocessor_sandbox::{Call, Export, Host, HostError, Sandbox, SandboxConfig};
use coprocessor_types::{BlobDigest, ProgramId, Root};
use std::{error::Error, time::Instant};

/// Calls before the first that counts.
const WARM_UP: usize = 200;
/// Calls that count.
const CALLS: usize = 5_000;

/// A host that is never called.
struct NoHost;

impl Host for NoHost {
    fn read_file(&mut self, _: &str) -> Result<Option<Vec<u8>>, HostError> {
        Err(not_offered())
    }

    fn write_file(&mut self, _: &str, _: &[u8]) -> Result<(), HostError> {
        Err(not_offered())
    }

    fn raw_storage(&mut self) -> Result<Option<Vec<u8>>, HostError> {
        Err(not_offered())
    }

    fn set_raw_storage(&mut self, _: &[u8]) -> Result<(), HostError> {
        Err(not_offered())
    }
}

fn not_offered() -> HostError {
    HostError::Failed { reason: "this host offers nothing".into() }
}

fn main() -> Result<(), Box<dyn Error>> {
    let settings = SandboxConfig::default();
    let sandbox = Sandbox::new(settings.clone())?;
    let wasm = wat::parse_str(
        r#"(module (memory (export "memory") 17) (func (export "get_witnesses")) (func (export "entrypoint")))"#,
    )?;
    let artifact = sandbox.compile(&wasm)?;
    let module = sandbox.load(BlobDigest::of(&wasm), &artifact)?;
    let call = || Call {
        export: Export::Entrypoint,
        args: serde_json::Value::Null,
        program: ProgramId([0; 32]),
        root: Root([0; 32]),
        recorder: None,
        limits: None,
    };
    let mut bare = Bare::new(&wasm, &settings)?;
    let (mut ours, mut theirs) = (Vec::with_capacity(CALLS), Vec::with_capacity(CALLS));
    // One after the other, so that whatever else the machine does is in both.
    for number in 0..WARM_UP + CALLS {
        let call = call();
        let began = Instant::now();
        let run = sandbox.call(&module, call, &mut NoHost);
        let took = began.elapsed();
        run.result?;
        let began = Instant::now();
        bare.call()?;
        let bare_took = began.elapsed();
        if number >= WARM_UP {
            ours.push(took.as_secs_f64() * 1e3);
            theirs.push(bare_took.as_secs_f64() * 1e3);
        }
    }
    println!("{}", serde_json::json!({ "sandbox": ours, "bare": theirs }));
    Ok(())
}

/// The same module, instantiated for each call from what is linked already: in memories from a pool like the sandbox's, and with
/// neither fuel nor time nor anything else counted.
struct Bare {
    engine: wasmtime::Engine,
    linked: wasmtime::InstancePre<()>,
}

impl Bare {
    fn new(wasm: &[u8], settings: &SandboxConfig) -> Result<Self, wasmtime::Error> {
        let mut config = wasmtime::Config::new();
        config.allocation_strategy(wasmtime::InstanceAllocationStrategy::Pooling(pool(settings)));
        let engine = wasmtime::Engine::new(&config)?;
        let module = wasmtime::Module::new(&engine, wasm)?;
        let linked = wasmtime::Linker::new(&engine).instantiate_pre(&module)?;
        Ok(Self { engine, linked })
    }

    fn call(&mut self) -> Result<(), wasmtime::Error> {
        let mut store = wasmtime::Store::new(&self.engine, ());
        let instance = self.linked.instantiate(&mut store)?;
        instance.get_typed_func::<(), ()>(&mut store, "entrypoint")?.call(&mut store, ())
    }
}

/// What the sandbox's own pool has for modules (`src/engine.rs`): with other settings, how memories are cleared would be compared, and
/// not what the sandbox adds.
fn pool(settings: &SandboxConfig) -> wasmtime::PoolingAllocationConfig {
    let slots = u32::try_from(2 * settings.rooms()).unwrap_or(u32::MAX);
    let mut pool = wasmtime::PoolingAllocationConfig::new();
    pool.total_core_instances(16 * slots)
        .total_memories(slots)
        .total_tables(8 * slots)
        .total_stacks(slots)
        .max_tables_per_module(8)
        .max_memories_per_module(1)
        .max_memory_size(settings.limits.memory_bytes)
        .table_elements(settings.limits.table_elements)
        .linear_memory_keep_resident(256 * 1024)
        .table_keep_resident(64 * 1024)
        .max_unused_warm_slots(u32::try_from(2 * settings.threads).unwrap_or(u32::MAX))
        .pagemap_scan(wasmtime::Enabled::Auto);
    pool
}
