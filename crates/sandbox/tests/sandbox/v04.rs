//! A module that imports all that Valence v0.4 has, with its signatures.

use crate::{harness::*, network::History};
use coprocessor_sandbox::{Call, Export, RunError};
use serde_json::{Value, json};
use std::fmt::Write;

/// What is called with, where it is what a function reads: its place and length in memory.
const URL: (u32, u32) = (64, 11);
const DOMAIN: (u32, u32) = (80, 3);
const JSON: (u32, u32) = (84, 3);
const NUMBER: u32 = 88;
const TEXT: (u32, u32) = (100, 4);
/// Where answers go.
const OUT: u32 = 4096;

/// Name, arguments, and what it gives; `None` for what gives nothing.
fn table() -> Vec<(&'static str, Vec<u32>, Option<i32>)> {
    let ((url, url_len), (domain, domain_len), (json, json_len)) = (URL, DOMAIN, JSON);
    let (text, text_len) = TEXT;
    vec![
        ("args", vec![OUT], Some(4)),
        ("ret", vec![json, json_len], Some(0)),
        ("log", vec![text, text_len], Some(0)),
        ("panic", vec![text, text_len], None),
        ("get_storage_file", vec![text, text_len, OUT], Some(1)),
        ("set_storage_file", vec![text, text_len, json, json_len], Some(0)),
        ("get_raw_storage", vec![OUT], Some(0)),
        ("set_raw_storage", vec![json, json_len], Some(0)),
        ("get_controller", vec![OUT], Some(32)),
        ("get_historical", vec![OUT], Some(32)),
        ("get_latest_block", vec![domain, domain_len, OUT], Some(68)),
        ("get_block_proof", vec![domain, domain_len, NUMBER, OUT], Some(163)),
        ("get_historical_update", vec![OUT, OUT], Some(1)),
        ("get_state_proof", vec![domain, domain_len, json, json_len, OUT], Some(72)),
        ("http", vec![url, url_len, OUT], Some(0)),
        ("alchemy", vec![domain, domain_len, domain, domain_len, json, json_len, OUT], Some(0)),
    ]
}

/// Imports all, and tells what one gives.
fn module(called: &str) -> String {
    let (mut imports, mut call) = (String::new(), String::new());
    for (name, args, gives) in table() {
        let (params, result) = (" i32".repeat(args.len()), gives.map_or("", |_| "(result i32)"));
        writeln!(imports, r#"(import "valence" "{name}" (func ${name} (param{params}) {result}))"#).unwrap();
        if name == called {
            let args: String = args.iter().map(|arg| format!("(i32.const {arg})")).collect();
            call = format!("(call ${name} {args})");
            if gives.is_some() {
                call = format!(
                    "(i32.store (i32.const 0) {call}) (drop (call $set_raw_storage (i32.const 0) (i32.const 4)))"
                );
            }
        }
    }
    format!(
        r#"(module {imports} (memory (export "memory") 300)
        (data (i32.const {}) "{{\"url\":\"x\"}}") (data (i32.const {}) "eth") (data (i32.const {}) "[1]")
        (data (i32.const {NUMBER}) "\01\02\03\04\05\06\07\08") (data (i32.const {}) "text")
        (func (export "entrypoint")) (func (export "get_witnesses") {call}))"#,
        URL.0, DOMAIN.0, JSON.0, TEXT.0
    )
}

#[test]
fn all_of_it_loads_and_can_be_called() {
    for (name, _, gives) in table() {
        let loaded = load_in(sandbox(), &module(name));
        let mut host = History::default();
        let call = Call { export: Export::GetWitnesses, ..call(Value::Null) };
        let run = sandbox().call(&loaded, call, &mut host);
        let Some(expected) = gives else {
            assert_eq!(run.result, Err(RunError::Guest { message: "text".into() }), "{name}");
            continue;
        };
        assert!(run.result.is_ok(), "{name}: {:?}", run.result);
        let given = host.raw().map(|raw| i32::from_le_bytes(raw.try_into().unwrap()));
        match name {
            // As long as what was asked, so the length says little.
            "http" | "alchemy" => assert!(given.is_some_and(|given| given > 40), "{name}: {given:?}, {:?}", run.log),
            _ => assert_eq!(given, Some(expected), "{name}: {:?}", run.log),
        }
        if name == "ret" {
            assert_eq!(run.result, Ok(Some(json!([1]))));
        }
    }
}
