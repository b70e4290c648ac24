//! Components that were made by hand to do harm.

use crate::harness::{PROGRAM, ROOT, call, sandbox, wasm};
use coprocessor_sandbox::{Call, Export, Limits, Module, ModuleError, Role, Run, RunError};
use coprocessor_types::BlobDigest;
use serde_json::json;

use crate::harness::Memory as InMemory;

/// Exports a program's two functions: `get-witnesses` by the core function `witnesses`, `entrypoint` by `entrypoint`. Both are
/// given a text and give the address of what they return. `imports` come before the core module, `with` names what it imports.
fn component(imports: &str, with: &str, core: &str) -> String {
    format!(
        r#"(component
          (type $hash (list u8))
          (type $state-proof' (record
            (field "domain" $hash) (field "number" u64) (field "state-root" $hash)
            (field "payload" (list u8)) (field "proof" (list u8))))
          (import "state-proof" (type $state-proof (eq $state-proof')))
          (type $witness' (variant (case "data" (list u8)) (case "state-proof" $state-proof)))
          (import "witness" (type $witness (eq $witness')))
          {imports}
          (core module $m
            {core}
            (memory (export "memory") 3)
            (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 65536)))
          (core instance $i (instantiate $m {with}))
          (func (export "get-witnesses") (param "args" string) (result (result (list $witness) (error string)))
            (canon lift (core func $i "witnesses") (memory (core memory $i "memory")) (realloc (core func $i "realloc"))))
          (func (export "entrypoint") (param "args" string) (result (result string (error string)))
            (canon lift (core func $i "entrypoint") (memory (core memory $i "memory")) (realloc (core func $i "realloc")))))"#
    )
}

const NO_WITNESSES: &str = r#"(func (export "witnesses") (param i32 i32) (result i32) (i32.const 0))"#;
const NO_ENTRYPOINT: &str = r#"(func (export "entrypoint") (param i32 i32) (result i32) unreachable)"#;

fn loaded(text: &str) -> Result<Module, ModuleError> {
    let wasm = wasm(text);
    sandbox().load(BlobDigest::of(&wasm), &sandbox().compile(&wasm)?)
}

fn run(export: Export, text: &str) -> Run {
    let module = loaded(text).unwrap();
    module.check(Role::Program).unwrap();
    sandbox().call(&module, Call { export, ..call(json!({})) }, &mut InMemory::default())
}

/// What `entrypoint` comes to that gives what lies at an address: `(case, pointer, length)`.
fn given(case: u32, pointer: u32, length: u32) -> Result<Option<serde_json::Value>, RunError> {
    let core = format!(
        r#"(func (export "entrypoint") (param i32 i32) (result i32)
             (i32.store8 (i32.const 16) (i32.const {case}))
             (i32.store (i32.const 20) (i32.const {pointer}))
             (i32.store (i32.const 24) (i32.const {length}))
             (i32.const 16))
           (data (i32.const 64) "{{\"a\": [1]}}\ff\fe")
           {NO_WITNESSES}"#
    );
    run(Export::Entrypoint, &component("", "", &core)).result
}

#[test]
fn what_is_given_is_read_as_its_type_says_or_ends_the_run() {
    assert_eq!(given(0, 64, 10), Ok(Some(json!({"a": [1]}))));
    assert_eq!(given(1, 64, 4), Err(RunError::Guest { message: "{\"a\"".into() }));
    assert!(matches!(given(0, 64, 9), Err(RunError::BadResult { .. })));
    for (case, pointer, length) in
        [(2, 64, 10), (255, 64, 10), (0, 64, 12), (0, 0x2_fff8, 10), (0, u32::MAX, 1), (1, 64, u32::MAX)]
    {
        let result = given(case, pointer, length);
        assert!(
            matches!(&result, Err(RunError::Trap { kind: "bad_value", .. })),
            "{case} {pointer} {length}: {result:?}"
        );
        assert!(result.unwrap_err().is_deterministic());
    }
}

/// Each of them is the same 64 KiB, so that little memory says much.
#[test]
fn texts_that_overlap_are_not_copied_without_end() {
    let core = format!(
        r#"(func (export "witnesses") (param i32 i32) (result i32) (local $at i32)
             (local.set $at (i32.const 1024))
             (loop $next
               (i32.store (i32.add (local.get $at) (i32.const 8)) (i32.const 65536))
               (i32.store (i32.add (local.get $at) (i32.const 12)) (i32.const 65536))
               (local.set $at (i32.add (local.get $at) (i32.const 48)))
               (br_if $next (i32.lt_u (local.get $at) (i32.const 49000))))
             (i32.store8 (i32.const 16) (i32.const 0))
             (i32.store (i32.const 20) (i32.const 1024))
             (i32.store (i32.const 24) (i32.const 999))
             (i32.const 16))
           {NO_ENTRYPOINT}"#
    );
    let run = run(Export::GetWitnesses, &component("", "", &core));
    let Err(RunError::Trap { kind: "bad_value", message, .. }) = &run.result else { panic!("{:?}", run.result) };
    assert!(message.contains("hostcall"), "{message}");
}

#[test]
fn what_nobody_has_fails_by_name_and_only_when_it_is_called() {
    let imports = r#"
        (import "wasi:clocks/monotonic-clock@0.2.0" (instance $clock (export "now" (func (result u64)))))
        (import "something" (func $something))
        (core func $now (canon lower (func $clock "now")))
        (core func $thing (canon lower (func $something)))"#;
    let with = r#"(with "host" (instance (export "now" (func $now)) (export "thing" (func $thing))))"#;
    let calling = |call: &str| {
        let core = format!(
            r#"(import "host" "now" (func $now (result i64)))
               (import "host" "thing" (func $thing))
               (func (export "entrypoint") (param i32 i32) (result i32) {call} (i32.const 4096))
               (data (i32.const 4096) "\00\00\00\00\10\10\00\00\04\00\00\00")
               (data (i32.const 4112) "null")
               {NO_WITNESSES}"#
        );
        run(Export::Entrypoint, &component(imports, with, &core)).result
    };
    assert_eq!(calling(""), Ok(Some(json!(null))));
    let unknown = |module: &str, name: &str| RunError::UnknownImport { module: module.into(), name: name.into() };
    assert_eq!(calling("(drop (call $now))"), Err(unknown("wasi:clocks/monotonic-clock@0.2.0", "now")));
    assert_eq!(calling("(call $thing)"), Err(unknown("the component's world", "something")));
}

#[test]
fn a_known_call_with_another_type_is_refused_at_once() {
    let imports = r#"
        (import "coprocessor:controller/console@1.0.0" (instance $console (export "log" (func (param "line" u32)))))
        (core func $log (canon lower (func $console "log")))"#;
    let with = r#"(with "host" (instance (export "log" (func $log))))"#;
    let core = format!(r#"(import "host" "log" (func $log (param i32))) {NO_WITNESSES} {NO_ENTRYPOINT}"#);
    let error = loaded(&component(imports, with, &core)).unwrap_err();
    assert!(matches!(&error, ModuleError::ImportType { message } if message.contains("log")), "{error:?}");
}

#[test]
fn a_start_function_is_under_the_limits_too() {
    let core = format!(r#"(func $start (loop $again (br $again))) (start $start) {NO_WITNESSES} {NO_ENTRYPOINT}"#);
    let module = loaded(&component("", "", &core)).unwrap();
    let limits = Some(Limits { fuel: 100_000, ..Limits::default() });
    let call =
        Call { limits, recorder: None, export: Export::Entrypoint, args: json!({}), program: PROGRAM, root: ROOT };
    let run = sandbox().call(&module, call, &mut InMemory::default());
    assert_eq!(run.result, Err(RunError::OutOfFuel { limit: 100_000 }));
}

#[test]
fn more_memories_tables_and_modules_than_a_run_has_are_refused() {
    let refused = |text: &str| {
        let error = sandbox().compile(&wasm(text)).unwrap_err();
        assert!(matches!(error, ModuleError::Invalid { .. } | ModuleError::ImportType { .. }), "{error:?}");
        error.to_string()
    };
    let two =
        r#"(component (core module $m (memory 1)) (core instance (instantiate $m)) (core instance (instantiate $m)))"#;
    assert!(refused(two).contains("memor"), "{}", refused(two));
    let instances = "(core instance (instantiate $m))".repeat(17);
    let many = format!("(component (core module $m) {instances})");
    assert!(refused(&many).contains("instance"), "{}", refused(&many));
    let tables = "(table 1 funcref)".repeat(9);
    let tables = format!("(component (core module $m {tables}) (core instance (instantiate $m)))");
    assert!(refused(&tables).contains("table"), "{}", refused(&tables));
}

/// While the host writes an answer into it, a component may compute, but not ask for more.
#[test]
fn a_host_call_from_within_another_ends_the_run() {
    let text = r#"(component
        (import "coprocessor:controller/context@1.0.0" (instance $context (export "root" (func (result (list u8))))))
        (core module $forward
          (table (export "table") 1 funcref)
          (func (export "ask") (param i32) (local.get 0) (call_indirect (param i32) (i32.const 0))))
        (core instance $forward (instantiate $forward))
        (core module $rooms
          (import "forward" "ask" (func $ask (param i32)))
          (memory (export "memory") 1)
          (global $again (mut i32) (i32.const 0))
          (func (export "realloc") (param i32 i32 i32 i32) (result i32)
            (if (global.get $again) (then (call $ask (i32.const 16))))
            (global.set $again (i32.const 1))
            (i32.const 1024)))
        (core instance $rooms (instantiate $rooms (with "forward" (instance $forward))))
        (core func $root (canon lower (func $context "root") (memory (core memory $rooms "memory")) (realloc (core func $rooms "realloc"))))
        (core module $m
          (import "forward" "table" (table 1 funcref))
          (import "context" "root" (func $root (param i32)))
          (elem (i32.const 0) func $root)
          (func (export "entrypoint") (param i32 i32) (result i32) (call $root (i32.const 16)) (i32.const 32))
          (func (export "witnesses") (param i32 i32) (result i32) (i32.const 32)))
        (core instance $i (instantiate $m
          (with "forward" (instance $forward)) (with "context" (instance (export "root" (func $root))))))
        (type $hash (list u8))
        (type $proof' (record
          (field "domain" $hash) (field "number" u64) (field "state-root" $hash)
          (field "payload" (list u8)) (field "proof" (list u8))))
        (import "state-proof" (type $proof (eq $proof')))
        (type $witness' (variant (case "data" (list u8)) (case "state-proof" $proof)))
        (import "witness" (type $witness (eq $witness')))
        (func (export "get-witnesses") (param "args" string) (result (result (list $witness) (error string)))
          (canon lift (core func $i "witnesses") (memory (core memory $rooms "memory")) (realloc (core func $rooms "realloc"))))
        (func (export "entrypoint") (param "args" string) (result (result string (error string)))
          (canon lift (core func $i "entrypoint") (memory (core memory $rooms "memory")) (realloc (core func $rooms "realloc")))))"#;
    let result = run(Export::Entrypoint, text).result;
    assert!(matches!(&result, Err(RunError::Trap { message, .. }) if message.contains("leave")), "{result:?}");
}
