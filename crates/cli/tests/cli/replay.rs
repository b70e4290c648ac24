//! Running recorded runs again, with and without a coprocessor.

use crate::{
    run::Place,
    service::{Service, TASK, program_id},
};
use axum::{
    Json, Router,
    extract::RawQuery,
    http::{StatusCode, header},
    routing::{get, post},
};
use coprocessor_api::{Code, Problem};
use coprocessor_sandbox::{Call, Export, Host, HostError, Recorder, Recording, Sandbox, SandboxConfig};
use coprocessor_types::{BlobDigest, ProgramId, Root};
use serde_json::{Value, json};

/// Has raw bytes and nothing else.
struct Raw;

impl Host for Raw {
    fn read_file(&mut self, _: &str) -> Result<Option<Vec<u8>>, HostError> {
        Ok(None)
    }

    fn write_file(&mut self, _: &str, _: &[u8]) -> Result<(), HostError> {
        Ok(())
    }

    fn raw_storage(&mut self) -> Result<Option<Vec<u8>>, HostError> {
        Ok(Some(vec![1, 2, 3]))
    }

    fn set_raw_storage(&mut self, _: &[u8]) -> Result<(), HostError> {
        Ok(())
    }
}

/// Reads its raw bytes, writes as many, and gives `1`; `more` is done before.
fn controller(more: &str) -> Vec<u8> {
    wat::parse_str(format!(
        r#"(module
        (import "valence" "ret" (func $ret (param i32 i32) (result i32)))
        (import "valence" "log" (func $log (param i32 i32) (result i32)))
        (import "valence" "get_raw_storage" (func $get_raw (param i32) (result i32)))
        (import "valence" "set_raw_storage" (func $set_raw (param i32 i32) (result i32)))
        (memory (export "memory") 1)
        (data (i32.const 0) "12greeting Ada")
        (func (export "get_witnesses"))
        (func (export "entrypoint")
            {more}
            (drop (call $log (i32.const 2) (i32.const 12)))
            (drop (call $set_raw (i32.const 8) (call $get_raw (i32.const 100))))
            (drop (call $ret (i32.const 0) (i32.const 1)))))"#
    ))
    .unwrap()
}

fn recording() -> Recording {
    let (sandbox, wasm) = (Sandbox::new(SandboxConfig::default()).unwrap(), controller(""));
    let module = sandbox.load(BlobDigest::of(&wasm), &sandbox.compile(&wasm).unwrap()).unwrap();
    let recorder = Recorder::new(1 << 20);
    let call = Call {
        export: Export::Entrypoint,
        args: json!({"name": "Ada"}),
        program: ProgramId([1; 32]),
        root: Root([2; 32]),
        recorder: Some(recorder.clone()),
        limits: None,
    };
    let run = sandbox.call(&module, call, &mut Raw);
    let mut recording = recorder.finish(&run).unwrap();
    // The one thing that is another each time.
    recording.end.usage.wall_clock_micros = 100;
    Recording { wasm: Some(wasm), ..recording }
}

/// A place without a server, with a recording and two other controllers.
fn place() -> Place {
    let place = Place::bare();
    place.write("run.jsonl", &recording().to_bytes());
    place.write("asks-more.wasm", &controller("(drop (call $get_raw (i32.const 8)))"));
    place.write("logs-more.wasm", &controller("(drop (call $log (i32.const 2) (i32.const 8)))"));
    place
}

#[test]
fn a_file_is_replayed_without_a_coprocessor() {
    let place = place();
    let mut all = String::new();
    for (arguments, code) in [
        (&["replay", "run.jsonl"][..], 0),
        (&["replay", "run.jsonl", "--calls"], 0),
        (&["replay", "run.jsonl", "--controller", "logs-more.wasm"], 0),
        (&["replay", "run.jsonl", "--controller", "asks-more.wasm", "--calls"], 1),
    ] {
        let ran = place.run(arguments);
        assert_eq!(ran.code, code, "{arguments:?}: {}", ran.all());
        all += &format!("$ cargo coprocessor {}\n{}\n", arguments.join(" "), ran.all());
    }
    insta::assert_snapshot!(all);
}

#[test]
fn what_was_replayed_is_told_as_json() {
    let place = place();
    let same = place.run(&["replay", "run.jsonl", "--json"]);
    assert_eq!((same.code, same.stderr.as_str()), (0, ""));
    let same = same.json();
    assert_eq!((&same["same"], &same["export"], &same["answered"]), (&json!(true), &json!("entrypoint"), &json!(2)));
    assert_eq!((&same["replayed"]["result"], &same["replayed"]["log"]), (&json!(1), &json!(["greeting Ada"])));
    assert_eq!(same["recorded"]["usage"]["fuel"], same["replayed"]["usage"]["fuel"]);
    let other = place.run(&["replay", "run.jsonl", "--controller", "asks-more.wasm", "--json"]);
    assert_eq!(other.code, 1, "{}", other.all());
    assert_eq!(other.json()["same"], false);
    assert!(
        other.json()["difference"].as_str().unwrap().starts_with("host call 2 was `set_raw_storage"),
        "{}",
        other.all()
    );
    assert!(other.stderr.contains("replay_differs"), "{}", other.all());
}

#[test]
fn what_cannot_be_replayed_is_refused() {
    let place = place();
    let whole = recording().to_bytes();
    place.write("cut.jsonl", &whole[..whole.len() / 2]);
    let mut changed = whole.clone();
    changed[100] ^= 1;
    place.write("changed.jsonl", &changed);
    place.write("bare.jsonl", &Recording { wasm: None, ..recording() }.to_bytes());
    place.write("other.jsonl", b"{\"header\": {\"version\": 7}}\n");
    for (file, said) in [
        ("cut.jsonl", "cut off"),
        ("changed.jsonl", "damaged"),
        ("bare.jsonl", "name it with --controller"),
        ("other.jsonl", "format 7, expected 1"),
        ("asks-more.wasm", "no recording"),
        ("nothing.jsonl", "cannot be read"),
    ] {
        let ran = place.run(&["replay", file]);
        assert_eq!(ran.code, 2, "{file}: {}", ran.all());
        assert!(ran.stderr.contains(said), "{file}: {}", ran.all());
    }
    let ran = place.run(&["replay", "bare.jsonl", "--controller", "run.jsonl"]);
    assert_eq!(ran.code, 2, "{}", ran.all());
    assert!(ran.stderr.contains("not WebAssembly"), "{}", ran.all());
    assert_eq!(place.run(&["replay", "bare.jsonl", "--controller", "logs-more.wasm"]).code, 0);
    assert_eq!(place.run(&["replay", "run.jsonl", "--stage", "deliver"]).code, 2);
}

#[test]
fn a_dry_run_leaves_its_recording_in_a_file() {
    let recorded = coprocessor_api::Base64(recording().to_bytes());
    let answer = json!({
        "root": "7".repeat(64), "witnesses": [], "log": [], "recording": recorded,
        "usage": {"fuel": 1, "wall_clock_us": 1, "memory_bytes": 1, "host_calls": 1},
    });
    let mut failure = Problem::with_code(Code::GuestFailed, "guest_trap", "the controller trapped");
    failure.recording = Some(recorded);
    let asked = |body: &Value| assert_eq!((&body["record"], &body["args"]), (&json!(true), &json!(1)));
    let witness = async move |Json(body): Json<Value>| {
        asked(&body);
        Json(answer.clone())
    };
    let execute = async move |Json(body): Json<Value>| {
        asked(&body);
        let media = [(header::CONTENT_TYPE, "application/problem+json")];
        (StatusCode::UNPROCESSABLE_ENTITY, media, serde_json::to_string(&failure).unwrap())
    };
    let path = |rest: &str| format!("/api/v1/programs/{}/{rest}", program_id());
    let routes = Router::new().route(&path("witness"), post(witness)).route(&path("execute"), post(execute));
    let place = Place::with_server(&Service::start(routes).url);
    for (command, code) in [("witness", 0), ("execute", 4)] {
        let file = format!("{command}.jsonl");
        let ran = place.run(&[command, &program_id(), "--args", "1", "--record", &file]);
        assert_eq!(ran.code, code, "{}", ran.all());
        assert!(ran.stderr.contains(&format!("cargo coprocessor replay {file}")), "{}", ran.all());
        assert!(std::fs::read(place.path().join(&file)).unwrap() == recording().to_bytes());
        // What is shown as JSON is not the whole recording once more.
        let ran = place.run(&[command, &program_id(), "--args", "1", "--record", &file, "--json"]);
        assert!(!ran.all().contains("recording"), "{}", ran.all());
    }
}

#[test]
fn a_tasks_recording_is_fetched_and_replayed() {
    let bytes = recording().to_bytes();
    let serve = async move |RawQuery(query): RawQuery| {
        assert!(matches!(query.as_deref(), None | Some("stage=deliver")), "{query:?}");
        ([(header::CONTENT_TYPE, "application/x-ndjson")], bytes.clone())
    };
    let service = Service::start(Router::new().route(&format!("/api/v1/tasks/{TASK}/recording"), get(serve)));
    let place = Place::with_server(&service.url);
    assert_eq!(place.run(&["replay", TASK]).code, 0);
    assert_eq!(place.run(&["replay", TASK, "--stage", "deliver"]).code, 0);
    let ran = place.run(&["tasks", "recording", TASK, "--stage", "deliver", "--json"]);
    assert_eq!((ran.code, &ran.json()["file"]), (0, &json!("recording.jsonl")), "{}", ran.all());
    assert!(std::fs::read(place.path().join("recording.jsonl")).unwrap() == recording().to_bytes());
    assert_eq!(place.run(&["replay", "recording.jsonl"]).code, 0);
}
