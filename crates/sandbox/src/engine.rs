//! How wasmtime is set up: everything a controller's behaviour depends on.

use crate::error::SandboxError;
use crate::limits::SandboxConfig;
use sha2::{Digest, Sha256};
use std::hash::{Hash, Hasher};
use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig, WasmBacktraceDetails,
    WasmFeatures,
};

/// Stack for host calls, beyond what a controller may use.
const HOST_STACK: usize = 512 * 1024;

/// Memory of a finished run that is zeroed and kept, rather than given back to the system and faulted in again.
const KEPT_MEMORY: usize = 256 * 1024;

/// Core modules in a component: what it computes in, what its tools add, and some more.
const CORE_INSTANCES: u32 = 16;

/// Tables of a module or component.
const TABLES: u32 = 8;

/// Runs that can exist at once: as many again as the caller lets begin, for those that a host starts from within one.
pub(crate) fn slots(config: &SandboxConfig) -> u32 {
    u32::try_from(config.rooms()).unwrap_or(u32::MAX).saturating_mul(2)
}

pub(crate) fn build(config: &SandboxConfig) -> Result<Engine, SandboxError> {
    check(config)?;
    Engine::new(&wasmtime_config(config))
        .map_err(|error| SandboxError::Engine { message: format!("{error:#}"), slots: slots(config) })
}

/// Names all that an artifact depends on: the engine's version, its settings, the processor's features.
pub(crate) fn fingerprint(engine: &Engine) -> [u8; 32] {
    let mut hasher = Sha256Hasher(Sha256::new_with_prefix(env!("CARGO_PKG_VERSION")));
    engine.precompile_compatibility_hash().hash(&mut hasher);
    hasher.0.finalize().into()
}

fn check(config: &SandboxConfig) -> Result<(), SandboxError> {
    let bounds = [
        ("threads", config.threads, 1, 4096),
        ("waiting", config.waiting, 0, 4096),
        ("stack_bytes", config.limits.stack_bytes, 16 * 1024, 64 * 1024 * 1024),
        ("memory_bytes", config.limits.memory_bytes, 64 * 1024, 4 * 1024 * 1024 * 1024),
        ("table_elements", config.limits.table_elements, 0, 10_000_000),
    ];
    for (name, got, low, high) in bounds {
        if !(low..=high).contains(&got) {
            return Err(SandboxError::Setting { name, got: got as u64, expected: format!("{low} to {high}") });
        }
    }
    Ok(())
}

fn wasmtime_config(config: &SandboxConfig) -> Config {
    let limits = &config.limits;
    let mut engine = Config::new();
    engine
        .consume_fuel(true)
        .epoch_interruption(true)
        .max_wasm_stack(limits.stack_bytes)
        .async_stack_size(limits.stack_bytes + HOST_STACK)
        .cranelift_opt_level(OptLevel::Speed)
        // Runs are replayed, maybe on another machine: no result may depend on the processor.
        .cranelift_nan_canonicalization(true)
        .wasm_features(WasmFeatures::RELAXED_SIMD | WasmFeatures::THREADS, false)
        // What no compiler emits for a controller unasked is not offered to strangers.
        .wasm_features(
            WasmFeatures::MEMORY64 | WasmFeatures::MULTI_MEMORY | WasmFeatures::EXCEPTIONS | WasmFeatures::TAIL_CALL,
            false,
        )
        // A module's own debug information is not to be trusted with the host's time.
        .wasm_backtrace_details(WasmBacktraceDetails::Disable)
        .native_unwind_info(false)
        // Seven times cheaper to start from than fresh mappings, and nothing stays resident but `KEPT_MEMORY`.
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool(config)));
    engine
}

fn pool(config: &SandboxConfig) -> PoolingAllocationConfig {
    let limits = &config.limits;
    let slots = slots(config);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_core_instances(slots.saturating_mul(CORE_INSTANCES))
        .total_memories(slots)
        .total_tables(slots.saturating_mul(TABLES))
        .total_stacks(slots)
        .total_component_instances(slots)
        .max_core_instances_per_component(CORE_INSTANCES)
        .max_tables_per_component(TABLES)
        .max_memories_per_component(1)
        .max_tables_per_module(TABLES)
        .max_memories_per_module(1)
        .max_memory_size(limits.memory_bytes)
        .table_elements(limits.table_elements)
        .linear_memory_keep_resident(KEPT_MEMORY)
        .table_keep_resident(64 * 1024)
        // Those of runs that only waited go cold.
        .max_unused_warm_slots(u32::try_from(config.threads).unwrap_or(u32::MAX).saturating_mul(2))
        .pagemap_scan(Enabled::Auto);
    pool
}

/// The standard library's own hasher may change with the compiler; a fingerprint must not.
struct Sha256Hasher(Sha256);

impl Hasher for Sha256Hasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Nothing asks for it: the whole digest is taken instead.
    fn finish(&self) -> u64 {
        let digest = self.0.clone().finalize();
        u64::from_le_bytes(digest[..8].try_into().expect("a digest has 32 bytes"))
    }
}
