//! Each limit, exceeded.

use crate::harness::*;
use coprocessor_sandbox::{Call, Limits, RunError, Sandbox, SandboxConfig, SandboxError};
use serde_json::{Value, json};
use std::time::Duration;

#[test]
fn endless_computing_runs_out_of_fuel() {
    let run = run_within(Limits { fuel: 100_000, ..Limits::default() }, &controller("(loop $l (br $l))"));
    assert_eq!(run.result, Err(RunError::OutOfFuel { limit: 100_000 }));
    assert!((99_000..=100_100).contains(&run.usage.fuel), "{}", run.usage.fuel);
}

#[test]
fn endless_computing_with_endless_fuel_runs_out_of_time() {
    let limit = Duration::from_millis(40);
    let limits = Limits { fuel: u64::MAX, wall_clock: limit, ..Limits::default() };
    let run = run_within(limits, &controller("(loop $l (br $l))"));
    let error = run.result.unwrap_err();
    assert_eq!(error, RunError::WallClock { limit });
    assert!(!error.is_deterministic());
    assert!(run.usage.wall_clock_micros >= 40_000);
}

#[test]
fn time_is_up_in_code_that_only_makes_host_calls() {
    let body = "(drop (call $args (i32.const 2048)))".repeat(20);
    let limits = Limits { wall_clock: Duration::ZERO, ..Limits::default() };
    let run = run_within(limits, &controller(&body));
    assert_eq!(run.result, Err(RunError::WallClock { limit: Duration::ZERO }));
    assert_eq!(run.usage.host_calls, 1);
}

#[test]
fn a_flood_of_host_calls_ends() {
    let body = "(loop $l (drop (call $args (i32.const 2048))) (br $l))";
    let run = run_within(Limits { host_calls: 50, ..Limits::default() }, &controller(body));
    assert_eq!(run.result, Err(RunError::HostCalls { limit: 50 }));
    assert_eq!(run.usage.host_calls, 51);
}

#[test]
fn a_flood_of_log_lines_ends_and_what_fits_is_kept() {
    let limits = Limits { log_bytes: 100, ..Limits::default() };
    for (len, lines) in [(9, 10), (0, 100)] {
        let body = format!("(loop $l (drop (call $log (i32.const 2048) (i32.const {len}))) (br $l))");
        let run = run_within(limits.clone(), &controller(&body));
        assert_eq!(run.result, Err(RunError::Log { limit: 100 }));
        assert_eq!(run.log.len(), lines);
        assert_eq!(run.usage.log_bytes, 100);
    }
}

const GROW_UNTIL_REFUSED: &str = "(loop $l (br_if $l (i32.ne (memory.grow (i32.const 1)) (i32.const -1))))";

#[test]
fn a_memory_bomb_is_named_whatever_the_controller_makes_of_the_refusal() {
    let limit = 10 * 65536;
    let limits = Limits { memory_bytes: limit, ..Limits::default() };

    let trapped = run_within(limits.clone(), &controller(&format!("{GROW_UNTIL_REFUSED} unreachable")));
    assert_eq!(trapped.result, Err(RunError::Memory { limit, message: None }));
    assert_eq!(trapped.usage.memory_bytes, limit as u64);

    let body = format!("{GROW_UNTIL_REFUSED} (call $panic (i32.const 0) (i32.const 3))");
    let panicked = run_within(limits.clone(), &controller_over("oom", &body));
    assert_eq!(panicked.result, Err(RunError::Memory { limit, message: Some("oom".into()) }));

    let coped = run_within(limits, &controller(&format!("{GROW_UNTIL_REFUSED} (call $tell (memory.size))")));
    assert_eq!(coped.result, Ok(Some(json!(10))));
}

#[test]
fn memory_beyond_what_the_module_itself_allows_is_not_the_limit() {
    let body = "(call $tell (memory.grow (i32.const 2))) unreachable";
    let run = run(&controller_with(body, r#"(memory (export "memory") 1 2)"#));
    assert!(matches!(run.result, Err(RunError::Trap { kind: "unreachable", .. })), "{:?}", run.result);
}

#[test]
fn memory_that_begins_beyond_a_calls_limit_is_refused() {
    let limits = Limits { memory_bytes: 65536, ..Limits::default() };
    let run = run_within(limits, &controller_with("", r#"(memory (export "memory") 2)"#));
    assert_eq!(run.result, Err(RunError::Memory { limit: 65536, message: None }));
}

#[test]
fn a_call_cannot_have_more_memory_than_the_sandbox() {
    let own = Limits { memory_bytes: 4 * 65536, ..Limits::default() };
    let sandbox = Sandbox::new(SandboxConfig { limits: own, threads: 1, ..SandboxConfig::default() }).unwrap();
    let module = load_in(&sandbox, &controller(&format!("{GROW_UNTIL_REFUSED} (call $tell (memory.size))")));
    let call = Call { limits: Some(Limits::default()), ..call(Value::Null) };
    assert_eq!(sandbox.call(&module, call, &mut Memory::default()).result, Ok(Some(json!(4))));
}

#[test]
fn a_table_bomb_is_named() {
    let body =
        r"(loop $l (br_if $l (i32.ne (table.grow $t (ref.null func) (i32.const 10)) (i32.const -1)))) unreachable";
    let text = controller_with(body, r#"(memory (export "memory") 1) (table $t 1 funcref)"#);
    let run = run_within(Limits { table_elements: 100, ..Limits::default() }, &text);
    assert_eq!(run.result, Err(RunError::Table { limit: 100, message: None }));
}

#[test]
fn a_stack_bomb_ends_on_a_thread_of_any_size() {
    let text = controller("(call $entrypoint)");
    let run = |stack| {
        let text = text.clone();
        std::thread::Builder::new().stack_size(stack).spawn(move || run(&text)).unwrap().join().unwrap()
    };
    let module_needs_compiling_on_a_large_one = run(4 << 20);
    let limit = sandbox().config().limits.stack_bytes;
    assert_eq!(module_needs_compiling_on_a_large_one.result, Err(RunError::Stack { limit }));

    let module = load_in(sandbox(), &text);
    let small = std::thread::Builder::new().stack_size(128 << 10);
    let run = small.spawn(move || sandbox().call(&module, call(Value::Null), &mut Memory::default())).unwrap();
    assert_eq!(run.join().unwrap().result, Err(RunError::Stack { limit }));
}

#[test]
fn a_result_too_long_is_refused_even_if_it_is_json() {
    let limits = Limits { output_bytes: 3, ..Limits::default() };
    let exact = run_within(limits.clone(), &controller("(call $tell (i32.const 123))"));
    assert_eq!(exact.result, Ok(Some(json!(123))));
    let longer = run_within(limits, &controller("(call $tell (i32.const 1234))"));
    assert_eq!(longer.result, Err(RunError::Output { got: 4, limit: 3 }));
}

#[test]
fn a_start_function_is_under_the_same_limits() {
    let rest = |body: &str| format!(r#"(memory (export "memory") 1) (func $start {body}) (start $start)"#);
    let limits = Limits { fuel: 10_000, ..Limits::default() };
    let endless = run_within(limits, &controller_with("", &rest("(loop $l (br $l))")));
    assert_eq!(endless.result, Err(RunError::OutOfFuel { limit: 10_000 }));

    let trapping = run(&controller_with("", &rest("unreachable")));
    assert!(matches!(trapping.result, Err(RunError::Trap { kind: "unreachable", .. })), "{:?}", trapping.result);

    let talking = run(&controller_with("", &rest("(drop (call $log (i32.const 0) (i32.const 0)))")));
    assert_eq!((talking.result, talking.log.len()), (Ok(None), 1));
}

#[test]
fn settings_that_cannot_work_are_named() {
    let refused = |config: SandboxConfig| match Sandbox::new(config) {
        Err(SandboxError::Setting { name, .. }) => name,
        other => panic!("{other:?}"),
    };
    let limits = |limits: Limits| SandboxConfig { limits, ..SandboxConfig::default() };
    assert_eq!(refused(SandboxConfig { threads: 0, ..SandboxConfig::default() }), "threads");
    assert_eq!(refused(limits(Limits { stack_bytes: 0, ..Limits::default() })), "stack_bytes");
    assert_eq!(refused(limits(Limits { memory_bytes: 1, ..Limits::default() })), "memory_bytes");
    assert_eq!(refused(limits(Limits { table_elements: 1 << 30, ..Limits::default() })), "table_elements");
}
