//! Proofs verified by the service, and by `coprocessor verify` without any.

use crate::{
    guests::{hello_circuit, hello_controller},
    process::{coprocessor, run},
    service::{Service, json_of},
};
use coprocessor_api::{Base64, ProofView};
use reqwest::StatusCode;
use serde_json::{Value, json};
use std::{fs, path::Path};

async fn proof(service: &Service) -> ProofView {
    let program = service.deploy(&hello_controller(), &hello_circuit()).await;
    let task = service.submit(&program, json!({"name": "Ada"})).await;
    service.delivered(&task).await;
    serde_json::from_value(service.get(&format!("/api/v1/tasks/{task}/proof")).await).unwrap()
}

fn claim(proof: &ProofView, kind: &str) -> Value {
    json!({"program": proof.program, "kind": kind, "proof": proof.proof, "public_inputs": proof.public_inputs})
}

async fn verdict(service: &Service, claim: &Value) -> Value {
    json_of(service.post("/api/v1/verify", claim), StatusCode::OK).await
}

fn flipped(bytes: &Base64, at: usize) -> Base64 {
    let mut bytes = bytes.clone();
    bytes.0[at] ^= 1;
    bytes
}

#[tokio::test]
async fn a_proof_verifies_and_not_with_one_bit_changed() {
    let service = Service::start(&[]);
    let proof = proof(&service).await;
    assert_eq!(proof.output.0, b"Hello, Ada!");
    let raw = service.request(reqwest::Method::GET, &format!("/api/v1/tasks/{}/proof", proof.task));
    let raw = raw.header("accept", "application/octet-stream").send().await.unwrap().bytes().await.unwrap();
    assert_eq!(raw, proof.proof.0);

    let good = verdict(&service, &claim(&proof, "mock")).await;
    assert_eq!(good, json!({"valid": true, "root": proof.root, "own_root": true}));
    for at in 0..proof.proof.0.len() {
        let forged = ProofView { proof: flipped(&proof.proof, at), ..proof.clone() };
        let verdict = verdict(&service, &claim(&forged, "mock")).await;
        assert_eq!(verdict["valid"], false, "byte {at} of the proof");
    }
    // The first 32 bytes are the root, the rest is the output.
    for at in 0..proof.public_inputs.0.len() {
        let forged = ProofView { public_inputs: flipped(&proof.public_inputs, at), ..proof.clone() };
        let verdict = verdict(&service, &claim(&forged, "mock")).await;
        assert_eq!(verdict["valid"], false, "byte {at} of the public inputs");
        assert_eq!(verdict["own_root"], at >= 32, "byte {at}");
    }
    for cut in [0, 1, proof.proof.0.len() - 1] {
        let forged = ProofView { proof: Base64(proof.proof.0[..cut].to_vec()), ..proof.clone() };
        assert_eq!(verdict(&service, &claim(&forged, "mock")).await["valid"], false, "{cut} bytes");
    }
    let long = ProofView { proof: Base64([&proof.proof.0[..], &[0]].concat()), ..proof.clone() };
    assert_eq!(verdict(&service, &claim(&long, "mock")).await["valid"], false, "a byte too many");
}

#[tokio::test]
async fn a_mock_proof_is_never_taken_for_a_real_one() {
    let service = Service::start(&[]);
    let proof = proof(&service).await;
    for kind in ["core", "compressed", "groth16", "plonk"] {
        let response = service.post("/api/v1/verify", &claim(&proof, kind)).send().await.unwrap();
        let (status, answer) = (response.status(), response.json::<Value>().await.unwrap());
        let refused = status.is_client_error() || answer["valid"] == false;
        assert!(refused, "{kind}: {status} {answer}");
    }
    // Nor by a key that comes along: a mock proof has none.
    let mut keyed = claim(&proof, "mock");
    keyed["program"].take();
    keyed["backend"] = "sp1".into();
    keyed["verifying_key"] = "AAAA".into();
    service.refuses("a key", service.post("/api/v1/verify", &keyed), 400, "invalid_body").await;
}

#[tokio::test]
async fn claims_that_are_incomplete() {
    let service = Service::start(&[]);
    let proof = proof(&service).await;
    let without = |field: &str| {
        let mut claim = claim(&proof, "mock");
        claim.as_object_mut().unwrap().remove(field);
        claim
    };
    for (what, claim, status, code) in [
        ("no program and no key", without("program"), 422, "invalid_claim"),
        ("no kind", without("kind"), 400, "invalid_body"),
        ("no proof", without("proof"), 400, "invalid_body"),
    ] {
        service.refuses(what, service.post("/api/v1/verify", &claim), status, code).await;
    }
    for (what, field, value, status, code) in [
        ("a program that is none", "program", json!("zz"), 422, "invalid_claim"),
        ("an unknown program", "program", json!("0".repeat(64)), 404, "unknown_program"),
        ("a program and a backend", "backend", json!("sp1"), 422, "invalid_claim"),
        ("an unknown kind", "kind", json!("paper"), 400, "invalid_body"),
        ("public inputs shorter than a root", "public_inputs", json!("AAAA"), 400, "invalid_body"),
    ] {
        let mut claim = claim(&proof, "mock");
        claim[field] = value;
        service.refuses(what, service.post("/api/v1/verify", &claim), status, code).await;
    }
}

/// Exit code, and all that was said.
fn verify(file: &Path, flags: &[&str]) -> (i32, String) {
    let mut command = coprocessor();
    command.arg("verify").arg(file).args(flags);
    let output = run(command);
    let said = [output.stdout, output.stderr].concat();
    (output.status.code().expect("it exits"), String::from_utf8(said).unwrap())
}

#[tokio::test]
async fn a_proof_is_verified_by_a_process_of_its_own() {
    let mut service = Service::start(&[]);
    let proof = proof(&service).await;
    service.stop();
    let file = service.directory().join("proof.json");
    let write = |proof: &ProofView| fs::write(&file, serde_json::to_vec(proof).unwrap()).unwrap();
    write(&proof);

    let (code, said) = verify(&file, &["--kind", "mock"]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("it proves nothing") && said.contains(&proof.root), "{said}");
    assert_eq!(verify(&file, &["--kind", "mock", "--root", &proof.root]).0, 0);

    let (code, said) = verify(&file, &[]);
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("--kind mock"), "{said}");
    for kind in ["core", "compressed", "groth16", "plonk"] {
        let (code, said) = verify(&file, &["--kind", kind]);
        assert_ne!(code, 0, "{kind}: {said}");
    }
    let (code, said) = verify(&file, &["--kind", "mock", "--root", &"7".repeat(64)]);
    assert_eq!(code, 1, "{said}");

    let last = proof.proof.0.len() - 1;
    for (what, forged) in [
        ("the proof", ProofView { proof: flipped(&proof.proof, last), ..proof.clone() }),
        ("the output", ProofView { output: flipped(&proof.output, 0), ..proof.clone() }),
        ("the public inputs", ProofView { public_inputs: flipped(&proof.public_inputs, 40), ..proof.clone() }),
        ("the root", ProofView { root: "7".repeat(64), ..proof.clone() }),
        ("the circuit", ProofView { circuit: "7".repeat(64), ..proof.clone() }),
    ] {
        write(&forged);
        let (code, said) = verify(&file, &["--kind", "mock"]);
        assert_eq!(code, 1, "{what}: {said}");
        assert!(said.starts_with("INVALID: "), "{what}: {said}");
    }
    // Root and output changed in both places, so that the file agrees with itself.
    let mut consistent = proof.clone();
    consistent.output = flipped(&proof.output, 0);
    consistent.public_inputs = flipped(&proof.public_inputs, 32);
    write(&consistent);
    assert_eq!(verify(&file, &["--kind", "mock"]).0, 1);

    for garbage in ["", "{}", "proof", "[1, 2]"] {
        fs::write(&file, garbage).unwrap();
        assert_eq!(verify(&file, &["--kind", "mock"]).0, 2, "{garbage:?}");
    }
    assert_eq!(verify(&service.directory().join("nothing"), &["--kind", "mock"]).0, 2);
}
