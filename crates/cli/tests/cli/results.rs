//! What commands print when all goes well: for people, and as JSON.

use crate::{
    run::Place,
    service::{Seen, Service, TASK, program_id, proof, well},
};
use serde_json::{Value, json};

fn place() -> (Place, Seen) {
    let seen = Seen::default();
    (Place::with_server(&Service::start(well(&seen)).url), seen)
}

#[test]
fn results_for_people() {
    let (place, seen) = place();
    place.write("greet.wasm", b"wasm");
    let id = program_id();
    let commands: &[&[&str]] = &[
        &["status"],
        &["programs"],
        &["programs", "show", &id],
        &["programs", "rm", &id],
        &["controller", "-p", &id],
        &["controller", "-p", &id, "set", "greet.wasm"],
        &["controller", "-p", &id, "rollback"],
        &["controller", "-p", &id, "rollback", "3"],
        &["controller", "-p", &id, "get", "--version", "1"],
        &["vk", &id],
        &["witness", &id, "--args", r#"{"name": "Ada"}"#],
        &["execute", &id],
        &["call", &id],
        &["tasks"],
        &["tasks", "show", TASK],
        &["tasks", "cancel", TASK],
        &["tasks", "retry", TASK],
        &["tasks", "proof", TASK],
        &["logs", TASK],
        &["logs", TASK, "--events"],
        &["files", "-p", &id, "ls"],
        &["files", "-p", &id, "get", "/greet.txt"],
        &["files", "-p", &id, "get", "/greet.txt", "-o", "greet.txt"],
        &["files", "-p", &id, "put", "greet.txt", "/greet.txt"],
        &["files", "-p", &id, "rm", "/greet.txt"],
        &["files", "-p", &id, "mkdir", "/var/new"],
        &["files", "-p", &id, "mv", "/greet.txt", "/var/g.txt"],
        &["files", "-p", &id, "stat", "/greet.txt"],
        &["files", "-p", &id, "df"],
        &["files", "-p", &id, "get-raw"],
        &["files", "-p", &id, "put-raw", "greet.txt"],
        &["files", "-p", &id, "upload-image", "greet.txt"],
        &["image", &id, "-o", "volume.img"],
        &["verify", "--task", TASK],
        &["provers"],
        &["provers", "add", "http://127.0.0.1:37282"],
        &["provers", "rm", "http://127.0.0.1:37282"],
        &["prove", &id, "--detach"],
    ];
    let mut all = String::new();
    for command in commands {
        let ran = place.run(command);
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{command:?}: {}", ran.all());
        let shown = command.join(" ").replace(&id, "ID");
        all += &format!("$ cargo coprocessor {shown}\n{}\n", ran.stdout);
    }
    insta::assert_snapshot!(all);
    // Back without a number is to the one that was current last, whatever its number.
    let seen: Vec<_> = seen.lock().unwrap().iter().filter(|seen| seen.starts_with("controller")).cloned().collect();
    assert_eq!(seen, ["controller wasm", r#"controller {"version":1}"#, r#"controller {"version":3}"#]);
    assert_eq!(std::fs::read(place.path().join("controller.wasm")).unwrap(), b"version=1");
    assert_eq!(std::fs::read(place.path().join("greet.txt")).unwrap(), b"content");
    assert_eq!(std::fs::read(place.path().join("volume.img")).unwrap().len(), 2048);
    let written: Value = serde_json::from_slice(&std::fs::read(place.path().join("proof.json")).unwrap()).unwrap();
    assert_eq!(written, proof("core"));
}

#[test]
fn results_as_json_are_one_document_each() {
    let (place, _) = place();
    let id = program_id();
    let commands: &[(&[&str], &str, Value)] = &[
        (&["status"], "/ready", json!(true)),
        (&["programs"], "/items/0/id", json!(id)),
        (&["programs", "show", &id], "/name", json!("greeter")),
        (&["programs", "rm", &id], "/removed", json!(true)),
        (&["controller", "-p", &id, "versions"], "/items/0/version", json!(3)),
        (&["controller", "-p", &id, "rollback", "1"], "/name", json!("greeter")),
        (&["controller", "-p", &id, "get", "-o", "c.wasm"], "/bytes", json!(0)),
        (&["vk", &id], "/digest", json!("33".repeat(32))),
        (&["witness", &id], "/witnesses/0/Data/0", json!(65)),
        (&["execute", &id], "/cycles", json!(18_727)),
        (&["call", &id], "/result/stored", json!(true)),
        (&["tasks"], "/items/1/failure/code", json!("prover_lost")),
        (&["tasks", "show", TASK], "/state", json!("delivered")),
        (&["tasks", "cancel", TASK], "/state", json!("cancelled")),
        (&["tasks", "retry", TASK], "/state", json!("proving")),
        (&["tasks", "proof", TASK], "/file", json!("proof.json")),
        (&["tasks", "proof", TASK, "-o", "-"], "/kind", json!("core")),
        (&["files", "-p", &id, "ls"], "/entries/1/kind", json!("directory")),
        (&["files", "-p", &id, "get", "/greet.txt"], "/content", json!("Y29udGVudA==")),
        (&["files", "-p", &id, "get", "/greet.txt", "-o", "greet.txt"], "/bytes", json!(7)),
        (&["files", "-p", &id, "put", "greet.txt", "/greet.txt"], "/bytes", json!(7)),
        (&["files", "-p", &id, "rm", "/greet.txt"], "/removed", json!(true)),
        (&["image", &id, "-o", "volume.img"], "/bytes", json!(2048)),
        (&["verify", "--task", TASK], "/valid", json!(true)),
        (&["provers"], "/items/0/reachable", json!(true)),
        (&["provers", "add", "http://127.0.0.1:37282"], "/source", json!("configured")),
        (&["provers", "rm", "http://127.0.0.1:37282"], "/removed", json!(true)),
        (&["prove", &id, "--detach"], "/task/state", json!("queued")),
        (&["prove", &id], "/summary/cycles", json!(18_727)),
        (&["prove", &id], "/summary/stages/2/us", json!(28_000_000)),
    ];
    for (command, pointer, expected) in commands {
        let ran = place.run(&[command, &["--json"][..]].concat());
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{command:?}: {}", ran.all());
        assert_eq!(ran.json().pointer(pointer), Some(expected), "{command:?}: {}", ran.all());
    }
}

#[test]
fn streams_as_json_are_one_document_a_line() {
    let (place, _) = place();
    for command in [&["logs", TASK, "--events", "--json"][..], &["tasks", "follow", TASK, "--json"]] {
        let ran = place.run(command);
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{command:?}");
        let names: Vec<_> = ran
            .stdout
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap()["name"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(names.len(), 7, "{names:?}");
        assert_eq!(names.last().unwrap(), "delivered");
    }
}

#[test]
fn a_program_can_be_named() {
    let (place, _) = place();
    // Two programs of the list's two pages are called "greeter".
    for (name, code, said) in [("sole", 0, "digest"), ("nobody", 4, "programs` lists"), ("greeter", 2, "by its id")] {
        let ran = place.run(&["vk", name]);
        assert_eq!(ran.code, code, "{}", ran.all());
        assert!(ran.all().contains(said), "{}", ran.all());
    }
}

#[test]
fn what_is_asked_for_is_what_is_sent() {
    let (place, seen) = place();
    place.write("args.json", br#"{"name": "Ada"}"#);
    place.write("secret", b"s3cret\n");
    let id = program_id();
    let commands: &[&[&str]] = &[
        &["prove", &id, "--args", "@args.json", "--store", "/p.bin", "--kind", "mock", "--detach"],
        &["prove", &id, "--payload", "[1]", "--idempotency-key", "k", "--detach"],
        &["files", "-p", &id, "put", "args.json", "/a.bin"],
        &["provers", "add", "http://127.0.0.1:37282", "--secret-file", "secret"],
    ];
    for command in commands {
        let ran = place.run(command);
        assert_eq!(ran.code, 0, "{command:?}: {}", ran.all());
        assert!(!ran.all().contains("s3cret"));
    }
    let seen = seen.lock().unwrap();
    assert_eq!(
        *seen,
        [
            r#"task with a key {"args":{"name":"Ada"},"payload":{"cmd":"store","path":"/p.bin"},"kind":"mock"}"#,
            r#"task with a key {"args":null,"payload":[1]}"#,
            r#"file {"name": "Ada"}"#,
            r#"prover {"address":"http://127.0.0.1:37282","secret":"s3cret"}"#,
        ]
    );
}

#[test]
fn a_proof_is_verified_by_the_coprocessor_and_its_answer_is_the_exit_code() {
    let (place, seen) = place();
    let write = |name: &str, change: &dyn Fn(&mut Value)| {
        let mut proof = proof("core");
        change(&mut proof);
        place.write(name, proof.to_string().as_bytes());
    };
    write("good.json", &|_| ());
    write("forged.json", &|proof| proof["proof"] = "Zm9yZ2Vk".into());
    write("other-output.json", &|proof| proof["output"] = "SGVsbG8sIEV2ZSE=".into());
    write("mock.json", &|proof| proof["kind"] = "mock".into());

    let mut all = String::new();
    for (file, code) in [("good.json", 0), ("forged.json", 1), ("other-output.json", 1), ("mock.json", 1)] {
        let ran = place.run(&["verify", file]);
        assert_eq!(ran.code, code, "{file}: {}", ran.all());
        all += &format!("$ cargo coprocessor verify {file}\n{}\n", ran.all().replace(&program_id(), "ID"));
    }
    insta::assert_snapshot!(all);
    assert_eq!(seen.lock().unwrap().len(), 2, "a file that contradicts itself needs no verifier");

    let ran = place.run(&["verify", "mock.json", "--kind", "mock", "--json"]);
    assert_eq!((ran.code, ran.json()["kind"].clone()), (0, json!("mock")));
    let ran = place.run(&["verify", "good.json", "--own-key"]);
    assert_eq!(ran.code, 0, "{}", ran.all());
    assert!(seen.lock().unwrap().last().unwrap().contains(r#""verifying_key":"a2V5""#));
}
