//! Every host call, granted and misused. A page of memory ends at 65536.

use crate::harness::*;
use coprocessor_sandbox::{Call, Export, HostError, MAX_BUFFER, RunError};
use serde_json::{Value, json};

const ECHO: &str = "(drop (call $ret (i32.const 4096) (call $args (i32.const 4096))))";

#[test]
fn arguments_come_in_and_the_result_goes_out() {
    for args in [json!({"name": "né\u{0}\"", "list": [1, null, -2.5, {}]}), json!(null), json!("")] {
        let run = run_with(&controller(ECHO), args.clone(), &mut Memory::default());
        assert_eq!(run.result, Ok(Some(args.clone())));
        assert_eq!(run.usage.output_bytes, args.to_string().len() as u64);
        assert_eq!(run.usage.host_calls, 2);
        assert_eq!(run.usage.memory_bytes, 65536);
    }
}

#[test]
fn no_result_is_not_a_null_result() {
    assert_eq!(run(&controller("")).result, Ok(None));
    assert_eq!(
        run(&controller_over("null", "(drop (call $ret (i32.const 0) (i32.const 4)))")).result,
        Ok(Some(Value::Null))
    );
}

#[test]
fn the_last_result_counts() {
    let twice = "(call $tell (i32.const 1)) (call $tell (i32.const 2))";
    assert_eq!(run(&controller(twice)).result, Ok(Some(json!(2))));
}

#[test]
fn both_exports_are_reached_by_name() {
    let text = r#"(module (import "valence" "log" (func $log (param i32 i32) (result i32)))
        (memory (export "memory") 1) (data (i32.const 0) "we")
        (func (export "get_witnesses") (drop (call $log (i32.const 0) (i32.const 1))))
        (func (export "entrypoint") (drop (call $log (i32.const 1) (i32.const 1)))))"#;
    let module = load_in(sandbox(), text);
    for (export, line) in [(Export::GetWitnesses, "w"), (Export::Entrypoint, "e")] {
        let call = Call { export, ..call(Value::Null) };
        assert_eq!(sandbox().call(&module, call, &mut Memory::default()).log, [line]);
    }
}

#[test]
fn nothing_is_written_outside_memory() {
    // The arguments are `null`: 4 bytes.
    assert_eq!(told("", "(call $args (i32.const 65532))"), 4);
    assert_eq!(told("", "(call $args (i32.const 65533))"), -2);
    assert_eq!(told("", "(call $args (i32.const 65536))"), -2);
    assert_eq!(told("", "(call $args (i32.const 65537))"), -3);
    assert_eq!(told("", "(call $args (i32.const -1))"), -3);
    for hash in ["$get_controller", "$get_historical"] {
        assert_eq!(told("", &format!("(call {hash} (i32.const 65504))")), 32);
        assert_eq!(told("", &format!("(call {hash} (i32.const 65505))")), -2);
        assert_eq!(told("", &format!("(call {hash} (i32.const -1))")), -3);
    }
    // An absent file is one byte.
    assert_eq!(told("a", "(call $get_file (i32.const 0) (i32.const 1) (i32.const 65535))"), 1);
    assert_eq!(told("a", "(call $get_file (i32.const 0) (i32.const 1) (i32.const 65536))"), -2);
    // Raw storage was never set: no bytes, and no place is needed for them.
    assert_eq!(told("", "(call $get_raw (i32.const 65536))"), 0);
    assert_eq!(told("", "(call $get_raw (i32.const -1))"), -3);
}

#[test]
fn nothing_is_read_outside_memory() {
    let calls = [
        "(call $ret PTR LEN)",
        "(call $log PTR LEN)",
        "(call $set_raw PTR LEN)",
        "(call $set_file (i32.const 0) (i32.const 1) PTR LEN)",
        "(call $set_file PTR LEN (i32.const 0) (i32.const 1))",
        "(call $get_file PTR LEN (i32.const 0))",
    ];
    for call in calls {
        for (ptr, len, code) in [(65530, 7, -6), (65536, 1, -6), (65537, 0, -4), (-1, 0, -4), (-1, 4096, -4)] {
            let call = call.replace("PTR", &format!("(i32.const {ptr})")).replace("LEN", &format!("(i32.const {len})"));
            assert_eq!(told("a", &call), code, "{call}");
        }
    }
    for call in &calls[..4] {
        let call = call.replace("PTR", "(i32.const 0)").replace("LEN", "(i32.const -1)");
        assert_eq!(told("a", &call), -6, "{call}");
    }
}

#[test]
fn text_must_be_utf8() {
    assert_eq!(told("\\c3\\28", "(call $log (i32.const 0) (i32.const 2))"), -8);
    assert_eq!(told("\\c3\\28", "(call $get_file (i32.const 0) (i32.const 2) (i32.const 0))"), -8);
    assert_eq!(told("\\c3\\28", "(call $set_file (i32.const 0) (i32.const 2) (i32.const 0) (i32.const 0))"), -8);
}

#[test]
fn a_result_that_is_not_json_is_no_success() {
    for (data, len) in [("{\\22a", 3), ("1 2", 3), ("", 0), ("\\ff", 1), ("1e999", 5)] {
        let body = format!("(drop (call $ret (i32.const 0) (i32.const {len})))");
        let run = run(&controller_over(data, &body));
        assert!(matches!(run.result, Err(RunError::BadResult { .. })), "{data}: {:?}", run.result);
    }
    // The controller is told, and can do better.
    assert_eq!(told("{", "(call $ret (i32.const 0) (i32.const 1))"), -5);
}

#[test]
fn log_lines_are_kept_in_order_also_by_a_run_that_fails() {
    let body =
        "(drop (call $log (i32.const 0) (i32.const 3))) (drop (call $log (i32.const 3) (i32.const 0))) unreachable";
    let run = run(&controller_over("a\\c3\\a9", body));
    assert_eq!(run.log, ["aé", ""]);
    assert_eq!(run.usage.log_bytes, 5);
    assert!(run.result.is_err());
}

#[test]
fn log_may_be_imported_without_a_result() {
    let text = r#"(module (import "valence" "log" (func $log (param i32 i32)))
        (memory (export "memory") 1) (data (i32.const 0) "hi")
        (func (export "get_witnesses"))
        (func (export "entrypoint") (call $log (i32.const 0) (i32.const 2))))"#;
    assert_eq!(run(text).log, ["hi"]);
}

#[test]
fn a_panic_ends_the_run_with_its_message() {
    let panicked = |data, ptr: u32, len: u32| {
        let body = format!("(call $panic (i32.const {ptr}) (i32.const {len})) (call $tell (i32.const 1))");
        match run(&controller_over(data, &body)).result {
            Err(RunError::Guest { message }) => message,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(panicked("no such coin", 0, 12), "no such coin");
    assert_eq!(panicked("\\ff!", 0, 2), "\u{fffd}!");
    assert_eq!(panicked("", 0, 0), "");
    assert!(panicked("", 65536, 9).contains("9 bytes at 65536"));
    assert_eq!(panicked("", 0, 65536).len(), 65536);
}

#[test]
fn a_controller_learns_its_program_and_root() {
    for (call, hash) in [("$get_controller", PROGRAM.0), ("$get_historical", ROOT.0)] {
        let mut host = Memory::default();
        let body = format!("(drop (call $set_raw (i32.const 64) (call {call} (i32.const 64))))");
        run_with(&controller(&body), Value::Null, &mut host).result.unwrap();
        assert_eq!(host.raw.as_deref(), Some(&hash[..]));
    }
}

#[test]
fn files_are_written_and_read_as_message_pack() {
    let body = r"(drop (call $set_file (i32.const 0) (i32.const 5) (i32.const 5) (i32.const 3)))
        (drop (call $set_raw (i32.const 64) (call $get_file (i32.const 0) (i32.const 5) (i32.const 64))))";
    let mut host = Memory::default();
    run_with(&controller_over("/a/éxyz", body), Value::Null, &mut host).result.unwrap();
    assert_eq!(host.files["/a/é"], b"xyz");
    assert_eq!(host.raw.unwrap(), [0xc4, 3, b'x', b'y', b'z']);

    let absent = "(drop (call $set_raw (i32.const 64) (call $get_file (i32.const 0) (i32.const 1) (i32.const 64))))";
    let mut host = Memory::default();
    run_with(&controller_over("/", absent), Value::Null, &mut host).result.unwrap();
    assert_eq!(host.raw.unwrap(), [0xc0]);
}

#[test]
fn raw_storage_is_kept() {
    let body = r"(drop (call $set_raw (i32.const 0) (i32.const 3)))
        (call $tell (call $get_raw (i32.const 8)))
        (drop (call $log (i32.const 8) (i32.const 3)))";
    let mut host = Memory::default();
    let run = run_with(&controller_over("raw", body), Value::Null, &mut host);
    assert_eq!((run.result, run.log), (Ok(Some(json!(3))), vec!["raw".to_owned()]));
    assert_eq!(host.raw.as_deref(), Some(&b"raw"[..]));
}

const STORAGE_CALLS: [(&str, &str, i32); 4] = [
    ("get_storage_file", "(call $get_file (i32.const 0) (i32.const 1) (i32.const 8))", -15),
    ("set_storage_file", "(call $set_file (i32.const 0) (i32.const 1) (i32.const 8) (i32.const 1))", -15),
    ("get_raw_storage", "(call $get_raw (i32.const 8))", -7),
    ("set_raw_storage", "(call $set_raw (i32.const 8) (i32.const 1))", -7),
];

#[test]
fn a_refusal_is_a_code_and_its_reason_is_in_the_log() {
    for (name, expression, code) in STORAGE_CALLS {
        let failing = Some(HostError::Refused { reason: "the volume is full".into() });
        let mut host = Memory { failing, ..Memory::default() };
        let run = run_with(&controller_over("f", &format!("(call $tell {expression})")), Value::Null, &mut host);
        assert_eq!(run.result, Ok(Some(json!(code))), "{name}");
        assert_eq!(run.log, [format!("{name} refused: the volume is full")]);
    }
}

#[test]
fn a_host_that_fails_ends_the_run() {
    for (name, expression, _) in STORAGE_CALLS {
        let failing = Some(HostError::Failed { reason: "disk gone".into() });
        let mut host = Memory { failing, ..Memory::default() };
        let run = run_with(&controller_over("f", &format!("(call $tell {expression})")), Value::Null, &mut host);
        let error = run.result.unwrap_err();
        assert_eq!(error, RunError::Host { call: name, reason: "disk gone".into() });
        assert!(!error.is_deterministic());
    }
}

#[test]
fn more_than_the_buffer_is_never_written() {
    let big = r#"(memory (export "memory") 300) (data (i32.const 0) "f")"#;
    let read = controller_with("(call $tell (call $get_file (i32.const 0) (i32.const 1) (i32.const 8)))", big);
    let raw = controller_with("(call $tell (call $get_raw (i32.const 8)))", big);
    let told = |text: &str, len: usize| {
        let mut host = Memory { raw: Some(vec![7; len]), ..Memory::default() };
        host.files.insert("f".into(), vec![7; len]);
        run_with(text, Value::Null, &mut host).result.unwrap().unwrap().as_i64().unwrap()
    };
    // Five bytes of MessagePack come before the content.
    assert_eq!(told(&read, MAX_BUFFER - 5), MAX_BUFFER as i64);
    assert_eq!(told(&read, MAX_BUFFER - 4), -6);
    assert_eq!(told(&read, MAX_BUFFER + 1), -6);
    assert_eq!(told(&raw, MAX_BUFFER), MAX_BUFFER as i64);
    assert_eq!(told(&raw, MAX_BUFFER + 1), -6);

    let mut host = Memory { failing: Some(HostError::TooLarge { len: 1 << 30 }), ..Memory::default() };
    let run = run_with(&read, Value::Null, &mut host);
    assert_eq!(run.result, Ok(Some(json!(-6))));
    assert!(run.log[0].contains("1073741824 bytes"), "{:?}", run.log);
}

#[test]
fn an_endless_path_is_refused_before_the_host_sees_it() {
    let run = run(&controller("(call $tell (call $get_file (i32.const 0) (i32.const 4097) (i32.const 0)))"));
    assert_eq!(run.result, Ok(Some(json!(-15))));
    assert_eq!(run.log, ["get_storage_file refused: a path of 4097 bytes, at most 4096 are allowed"]);
}

#[test]
fn an_unknown_import_fails_only_when_it_is_called() {
    for (module, name) in [("valence", "get_domain_proof"), ("other", "http"), ("env", "abort")] {
        let text = format!(
            r#"(module (import "{module}" "{name}" (func $unknown (param i32 i32 i64) (result f32)))
            (memory (export "memory") 1)
            (func (export "get_witnesses")
              (drop (call $unknown (i32.const 0) (i32.const 0) (i64.const 0))))
            (func (export "entrypoint")))"#
        );
        let loaded = load_in(sandbox(), &text);
        assert_eq!(sandbox().call(&loaded, call(Value::Null), &mut Memory::default()).result, Ok(None));
        let call = Call { export: Export::GetWitnesses, ..call(Value::Null) };
        let error = sandbox().call(&loaded, call, &mut Memory::default()).result.unwrap_err();
        assert_eq!(error, RunError::UnknownImport { module: module.into(), name: name.into() });
    }
}

#[test]
fn arguments_longer_than_any_buffer_never_start_a_run() {
    let longest = json!("a".repeat(MAX_BUFFER - 2));
    let text = controller_with("(call $tell (call $args (i32.const 8)))", r#"(memory (export "memory") 300)"#);
    assert_eq!(run_with(&text, longest, &mut Memory::default()).result, Ok(Some(json!(MAX_BUFFER))));

    let too_long = json!("a".repeat(MAX_BUFFER - 1));
    let run = run_with(&text, too_long, &mut Memory::default());
    assert_eq!(run.result, Err(RunError::ArgsTooLarge { got: MAX_BUFFER + 1, limit: MAX_BUFFER }));
    assert_eq!(run.usage.host_calls, 0);
}
