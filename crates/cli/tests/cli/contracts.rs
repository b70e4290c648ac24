//! What goes on chain: contracts that are written, and what they are called with.

use crate::{
    run::Place,
    service::{Service, TASK, program_id, proof},
};
use axum::{Json, Router, routing::get};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

const KEY: &[u8] = include_bytes!("../../../../contracts/fixtures/verification_key.json");
const FRESH_KEY: &[u8] = include_bytes!("../../../../contracts/fixtures/verification_key_fresh.json");
const PROOF: &[u8] = include_bytes!("../../../../contracts/fixtures/claim.proof.json");
const PUBLIC: &[u8] = include_bytes!("../../../../contracts/fixtures/claim.public.json");
const ROOT: &str = "5d1f0c8a7e6b49320f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a6978";

/// A coprocessor with one program and one proof.
fn place(key: Value, proof: Value) -> Place {
    let program = Router::new().route("/vk", get(async move || Json(key)));
    let task = Router::new().route("/proof", get(async move || Json(proof)));
    let api = Router::new().nest(&format!("/programs/{}", program_id()), program).nest(&format!("/tasks/{TASK}"), task);
    Place::with_server(&Service::start(Router::new().nest("/api/v1", api)).url)
}

fn sp1_key() -> Value {
    json!({"backend": "sp1", "verifying_key": "a2V5", "digest": "33".repeat(32), "sp1_vkey_hash": format!("0x{}", "5a".repeat(32))})
}

fn groth16_key() -> Value {
    json!({"backend": "groth16", "verifying_key": STANDARD.encode(KEY), "digest": "33".repeat(32)})
}

/// As the service gives a Groth16 proof: snarkjs's JSON, and the signals in bytes.
fn groth16_proof(public_values: &str) -> Value {
    let mut view = proof("groth16");
    view["backend"] = "groth16".into();
    view["root"] = ROOT.into();
    view["proof"] = STANDARD.encode(PROOF).into();
    view["public_inputs"] = STANDARD.encode(hex::decode(public_values.trim_start_matches("0x")).unwrap()).into();
    view["verifying_key"] = STANDARD.encode(KEY).into();
    view
}

fn sp1_proof(kind: &str) -> Value {
    let mut view = proof(kind);
    view["sp1_on_chain"] =
        json!({"program_vkey": format!("0x{}", "5a".repeat(32)), "proof_bytes": STANDARD.encode([7; 5])});
    view
}

fn files() -> Place {
    let place = Place::bare();
    place.write("verification_key.json", KEY);
    place.write("proof.json", PROOF);
    place.write("public.json", PUBLIC);
    place
}

#[test]
fn results_for_people() {
    let (files, sp1) = (files(), place(sp1_key(), sp1_proof("plonk")));
    let mut all = String::new();
    let mut show = |place: &Place, command: &[&str]| {
        let ran = place.run(command);
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{command:?}: {}", ran.all());
        let shown = command.join(" ").replace(&program_id(), "ID");
        all += &format!("$ cargo coprocessor {shown}\n{}\n", ran.stdout);
    };
    show(&files, &["export", "solidity", "--verification-key", "verification_key.json", "--name", "Claims"]);
    show(&files, &["calldata", "proof.json", "--public", "public.json"]);
    show(&sp1, &["export", "solidity", &program_id()]);
    show(&sp1, &["export", "solidity", &program_id(), "--name", "Greeter", "-o", "-"]);
    show(&sp1, &["calldata", TASK]);
    insta::assert_snapshot!(all);

    let contract = std::fs::read_to_string(files.path().join("Claims.sol")).unwrap();
    assert!(contract.contains("contract Claims {") && contract.contains("uint256[6] calldata signals"));
    let contract = std::fs::read_to_string(sp1.path().join("Sp1Program.sol")).unwrap();
    assert!(contract.contains(&format!("PROGRAM = 0x{};", "5a".repeat(32))));
}

#[test]
fn a_key_of_a_file_and_of_a_program_give_the_same_contract() {
    let (files, place) = (files(), place(groth16_key(), Value::Null));
    let written = |place: &Place, command: &[&str]| {
        let ran = place.run(&[&["export", "solidity"], command, &["--json"]].concat());
        assert_eq!(ran.code, 0, "{}", ran.all());
        let report = ran.json();
        let contract = std::fs::read(place.path().join(report["file"].as_str().unwrap())).unwrap();
        assert_eq!(report["bytes"], contract.len());
        (report, contract)
    };
    let of_file = written(&files, &["--verification-key", "verification_key.json"]);
    assert_eq!(of_file, written(&place, &[&program_id()]));
    assert_eq!((&of_file.0["signals"], &of_file.0["contract"]), (&json!(6), &json!("Groth16Verifier")));
}

#[test]
fn a_task_and_snarkjs_files_give_the_same_call() {
    let files = files();
    let of_files = files.run(&["calldata", "proof.json", "--public", "public.json", "--json"]).json();
    assert_eq!(of_files["root"], ROOT);
    let view = groth16_proof(of_files["public_values"].as_str().unwrap());
    let place = place(groth16_key(), view.clone());
    place.write("view.json", view.to_string().as_bytes());
    for from in [TASK, "view.json"] {
        let ran = place.run(&["calldata", from, "--json"]);
        assert_eq!(ran.code, 0, "{}", ran.all());
        let mut call = ran.json();
        // Which circuit it is of is not in snarkjs's files.
        assert_eq!(call["program"].take().as_str().unwrap().len(), 66);
        assert_eq!(call, of_files);
    }
}

#[test]
fn what_no_chain_takes_is_a_no() {
    let no = |place: &Place, command: &[&str], said: &str| {
        let ran = place.run(command);
        assert_eq!(ran.code, 1, "{command:?}: {}", ran.all());
        assert!(ran.stderr.contains(said), "{command:?}: {}", ran.all());
        assert_eq!(place.run(&[command, &["--json"]].concat()).problem()["code"], "not_on_chain");
    };
    no(&place(sp1_key(), proof("core")), &["calldata", TASK], "too large for a chain");
    no(&place(sp1_key(), proof("mock")), &["calldata", TASK], "proves nothing");
    no(&place(sp1_key(), proof("groth16")), &["calldata", TASK], "does not say what SP1's contract takes");
    no(&place(groth16_key(), groth16_proof("0x00")), &["calldata", TASK], "these are 1 bytes");
    let short = format!("0x{ROOT}");
    no(&place(groth16_key(), groth16_proof(&short)), &["calldata", TASK], "for 6 public signals, and it has 2");
    let mut unknown = sp1_key();
    unknown["sp1_vkey_hash"] = Value::Null;
    no(&place(unknown, Value::Null), &["export", "solidity", &program_id()], "verifying key's hash");
    let mut forgeable = groth16_key();
    forgeable["verifying_key"] = STANDARD.encode(FRESH_KEY).into();
    no(&place(forgeable, Value::Null), &["export", "solidity", &program_id()], "nobody contributed");
}

#[test]
fn files_and_names_that_are_none_are_at_fault() {
    let files = files();
    files.write("fresh.json", FRESH_KEY);
    files.write("cut.json", &PROOF[..300]);
    files.write("short.json", br#"["1"]"#);
    let commands: &[(&[&str], &str)] = &[
        (&["export", "solidity", "--verification-key", "fresh.json"], "nobody contributed"),
        (&["export", "solidity", "--verification-key", "missing.json"], "missing.json cannot be read"),
        (&["export", "solidity", "--verification-key", "public.json"], "is no verifying key"),
        (
            &["export", "solidity", "--verification-key", "verification_key.json", "--name", "A {} contract B"],
            "1 to 64 letters",
        ),
        (&["export", "solidity", "x", "--verification-key", "verification_key.json"], "cannot be used with"),
        (&["calldata", "cut.json", "--public", "public.json"], "cut.json is no proof.json"),
        (&["calldata", "proof.json", "--public", "short.json"], "short.json is no public.json"),
        (&["calldata", "proof.json"], "give --public too"),
        (&["calldata"], "TASK|FILE"),
    ];
    for (command, said) in commands {
        let ran = files.run(command);
        assert_eq!(ran.code, 2, "{command:?}: {}", ran.all());
        assert!(ran.stderr.contains(said), "{command:?}: {}", ran.all());
    }
    let written = std::fs::read_dir(files.path())
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|extension| extension == "sol"));
    assert_eq!(written.count(), 0);
}
