//! Controllers that are valid by their making, and hostile by what they do: `wasm-smith` makes them of the fuzzer's bytes.
#![no_main]

use arbitrary::Unstructured;
use coprocessor_fuzz::{IMPORTS, Input, run_guest};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;
use wasm_smith::{Config, Module};

/// Bytes that say which export is run and what the host answers.
const CHOICES: usize = 4;

static AVAILABLE: LazyLock<Vec<u8>> =
    LazyLock::new(|| wat::parse_str(format!("(module {IMPORTS})")).expect("the host calls are WebAssembly"));

/// What every controller has, of both roles.
static EXPORTS: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let text = r#"(module
        (func (export "get_witnesses")) (func (export "entrypoint"))
        (func (export "validate_block")) (func (export "get_state_proof"))
        (memory (export "memory") 1))"#;
    wat::parse_str(text).expect("the exports are WebAssembly")
});

fuzz_target!(|data: &[u8]| {
    let (choices, bytes) = data.split_at(data.len().min(CHOICES));
    if let Ok(module) = Module::new(config(), &mut Unstructured::new(bytes)) {
        run_guest(&mut Input::new(choices), &module.to_bytes());
    }
});

/// What the sandbox takes: no more memories, and none of the proposals that it has switched off.
fn config() -> Config {
    Config {
        available_imports: Some(AVAILABLE.clone()),
        exports: Some(EXPORTS.clone()),
        min_imports: 2,
        max_imports: 18,
        max_memories: 1,
        max_tables: 3,
        max_memory32_bytes: 8 << 20,
        memory64_enabled: false,
        exceptions_enabled: false,
        gc_enabled: false,
        relaxed_simd_enabled: false,
        tail_call_enabled: false,
        threads_enabled: false,
        ..Config::default()
    }
}
