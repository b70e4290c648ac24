//! How runs end, and that equal runs end equally.

use crate::harness::*;
use coprocessor_sandbox::{Host, HostError, RunError, Sandbox, SandboxConfig};
use serde_json::{Value, json};
use std::panic::{AssertUnwindSafe, catch_unwind};

#[test]
fn a_trap_is_an_error_with_its_kind_and_place() {
    let cases = [
        ("(drop (i32.div_u (i32.const 1) (i32.const 0)))", "integer_division_by_zero"),
        ("(drop (i32.div_s (i32.const 0x80000000) (i32.const -1)))", "integer_overflow"),
        ("(drop (i32.load (i32.const 65533)))", "memory_out_of_bounds"),
        ("(drop (i32.trunc_f32_s (f32.const nan)))", "invalid_conversion_to_integer"),
        ("(call_indirect (i32.const 7))", "table_out_of_bounds"),
        ("(call_indirect (i32.const 0))", "indirect_call_to_null"),
        ("(call_indirect (param i64) (i64.const 0) (i32.const 1))", "indirect_call_type_mismatch"),
        ("unreachable", "unreachable"),
    ];
    for (body, expected) in cases {
        let rest = r#"(memory (export "memory") 1) (table 2 funcref) (elem (i32.const 1) $deep)
            (func $deep (call $entrypoint))"#;
        let run = run(&controller_with(&format!("(call $tell (i32.const 1)) {body}"), rest));
        let Err(RunError::Trap { kind, frames, .. }) = run.result else { panic!("{body}: {:?}", run.result) };
        assert_eq!(kind, expected);
        assert_eq!(frames, ["entrypoint"]);
    }
}

#[test]
fn every_error_has_a_code_and_words() {
    let error = run(&controller("unreachable")).result.unwrap_err();
    assert_eq!(error.code(), "guest_trap");
    assert!(error.is_deterministic());
    assert_eq!(error.to_string(), "the controller trapped: wasm `unreachable` instruction executed (in entrypoint)");
}

#[test]
fn equal_runs_use_equal_fuel_in_any_sandbox() {
    let text = controller(
        r"(local $i i32)
        (loop $l
          (drop (call $get_raw (i32.const 2048)))
          (local.set $i (i32.add (local.get $i) (i32.const 1)))
          (br_if $l (i32.lt_u (local.get $i) (i32.const 1000))))",
    );
    let other = Sandbox::new(SandboxConfig { threads: 1, ..SandboxConfig::default() }).unwrap();
    let fuel = |sandbox: &Sandbox| {
        let module = load_in(sandbox, &text);
        let run = sandbox.call(&module, call(Value::Null), &mut Memory::default());
        assert_eq!(run.result, Ok(None));
        run.usage.fuel
    };
    let first = fuel(sandbox());
    assert!(first > 1000);
    assert_eq!(fuel(sandbox()), first);
    assert_eq!(fuel(&other), first);
}

#[test]
fn a_nan_has_the_same_bits_everywhere() {
    // Left to itself, x86 makes this one negative and ARM does not.
    assert_eq!(told("", "(i32.reinterpret_f32 (f32.sqrt (f32.const -1)))"), 0x7fc0_0000);
    assert_eq!(told("", "(i32.reinterpret_f32 (f32.sub (f32.const inf) (f32.const inf)))"), 0x7fc0_0000);
}

#[test]
fn nothing_of_one_run_is_seen_by_the_next() {
    let text = controller_over(
        "\\01",
        r"(call $tell (i32.add (i32.load8_u (i32.const 0)) (i32.load (i32.const 30000))))
        (i32.store8 (i32.const 0) (i32.const 9))
        (i32.store (i32.const 30000) (i32.const 9))",
    );
    let sandbox = Sandbox::new(SandboxConfig { threads: 1, ..SandboxConfig::default() }).unwrap();
    let module = load_in(&sandbox, &text);
    for _ in 0..10 {
        let run = sandbox.call(&module, call(Value::Null), &mut Memory::default());
        assert_eq!(run.result, Ok(Some(json!(1))));
    }
}

/// Fails in the worst way.
struct Panicking;

impl Host for Panicking {
    fn read_file(&mut self, _: &str) -> Result<Option<Vec<u8>>, HostError> {
        panic!("a bug in the host")
    }

    fn write_file(&mut self, _: &str, _: &[u8]) -> Result<(), HostError> {
        panic!("a bug in the host")
    }

    fn raw_storage(&mut self) -> Result<Option<Vec<u8>>, HostError> {
        panic!("a bug in the host")
    }

    fn set_raw_storage(&mut self, _: &[u8]) -> Result<(), HostError> {
        panic!("a bug in the host")
    }
}

#[test]
fn a_panic_of_the_host_leaves_the_sandbox_whole() {
    let sandbox = Sandbox::new(SandboxConfig { threads: 1, ..SandboxConfig::default() }).unwrap();
    let module = load_in(&sandbox, &controller("(call $tell (call $get_raw (i32.const 0)))"));
    for _ in 0..5 {
        assert!(catch_unwind(AssertUnwindSafe(|| sandbox.call(&module, call(Value::Null), &mut Panicking))).is_err());
        let run = sandbox.call(&module, call(Value::Null), &mut Memory::default());
        assert_eq!(run.result, Ok(Some(json!(0))));
    }
}
