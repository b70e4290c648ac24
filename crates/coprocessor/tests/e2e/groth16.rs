//! Circuits of circom, from their deployment to proofs that hold: real ones, made in the service's own process.

use crate::{
    guests::{echo, hello_circuit},
    service::{Service, deployment, json_of},
};
use coprocessor_api::{Base64, ProofView};
use reqwest::StatusCode;
use serde_json::{Value, json};
use std::{fs, path::PathBuf};

fn built(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../groth16/circom/built").join(name)
}

fn bundle(name: &str) -> Vec<u8> {
    fs::read(built(&format!("{name}.bundle"))).unwrap()
}

/// A program of the circuit, whose controller hands on what it is asked with.
fn program(bundle: &[u8]) -> Value {
    let mut program = deployment(&echo(), bundle);
    program["backend"] = "groth16".into();
    program
}

async fn threshold(service: &Service) -> String {
    let deploy = service.post("/api/v1/programs", &program(&bundle("threshold")));
    json_of(deploy, StatusCode::CREATED).await["id"].as_str().unwrap().to_owned()
}

/// Has a real proof made; answers the task's id.
async fn submit(service: &Service, program: &str, args: Value) -> String {
    let request = service.post(&format!("/api/v1/programs/{program}/tasks"), &json!({"args": args}));
    let task = json_of(request, StatusCode::ACCEPTED).await;
    assert_eq!(task["kind"], "groth16");
    task["id"].as_str().unwrap().to_owned()
}

/// The witness of which the circuit's inputs are the one datum.
fn inputs(inputs: &Value) -> Value {
    json!([{"Data": inputs.to_string().into_bytes()}])
}

fn enough() -> Value {
    json!({"threshold": "1000", "amount": 2500, "salt": "0x5a17"})
}

async fn verdict(service: &Service, proof: &ProofView) -> Value {
    let claim = json!({
        "program": proof.program, "kind": "groth16", "proof": proof.proof, "public_inputs": proof.public_inputs,
    });
    json_of(service.post("/api/v1/verify", &claim), StatusCode::OK).await
}

#[tokio::test]
async fn a_real_proof_is_made_verified_and_delivered_without_any_node() {
    let service = Service::start(&[]);
    let program = threshold(&service).await;
    let key = service.get(&format!("/api/v1/programs/{program}/vk")).await;
    let key: Base64 = serde_json::from_value(key["verifying_key"].clone()).unwrap();
    let expected = fs::read(built("threshold/verification_key.json")).unwrap();
    let [key, expected] = [&key.0, &expected].map(|json| serde_json::from_slice::<Value>(json).unwrap());
    for part in ["protocol", "curve", "vk_alpha_1", "vk_beta_2", "vk_gamma_2", "vk_delta_2", "IC"] {
        assert_eq!(key[part], expected[part], "{part}");
    }

    let task = submit(&service, &program, inputs(&enough())).await;
    let task = service.delivered(&task).await;
    let proof: ProofView =
        serde_json::from_value(service.get(&format!("/api/v1/tasks/{}/proof", task.id)).await).unwrap();
    assert_eq!((proof.kind.as_str(), proof.output.0.len()), ("groth16", 64));
    assert_eq!(proof.output.0[..32], [&[0; 30][..], &[0x03, 0xe8]].concat());
    let snarkjs: Value = serde_json::from_slice(&proof.proof.0).unwrap();
    assert_eq!((&snarkjs["protocol"], &snarkjs["curve"]), (&json!("groth16"), &json!("bn128")));
    assert_eq!(verdict(&service, &proof).await, json!({"valid": true, "root": proof.root, "own_root": true}));

    // Neither another root, nor another output, nor a value that is the same only after it is reduced.
    for at in [0, 31, 32, 63, 64, 95] {
        let mut forged = proof.clone();
        forged.public_inputs.0[at] ^= 1;
        assert_eq!(verdict(&service, &forged).await["valid"], false, "byte {at}");
    }
    let modulus = hex("30644e72e131a029b85045b68181585d2833e84879b9709143e1f593f0000001");
    let mut forged = proof.clone();
    let mut carry = 0;
    for at in (0..32).rev() {
        let sum = u16::from(forged.public_inputs.0[32 + at]) + u16::from(modulus[at]) + carry;
        forged.public_inputs.0[32 + at] = sum as u8;
        carry = sum >> 8;
    }
    assert_eq!(verdict(&service, &forged).await["valid"], false, "a threshold of the field's modulus more");
    for (part, value) in [("pi_a", snarkjs["pi_c"].clone()), ("pi_c", json!(["0", "1", "0"])), ("pi_b", Value::Null)] {
        let mut other = snarkjs.clone();
        other[part] = value;
        let forged = ProofView { proof: Base64(other.to_string().into_bytes()), ..proof.clone() };
        assert_eq!(verdict(&service, &forged).await["valid"], false, "{part}");
    }
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

#[tokio::test]
async fn inputs_that_the_circuit_does_not_take_fail_the_task_by_name() {
    let service = Service::start(&[]);
    let program = threshold(&service).await;
    let modulus = "21888242871839275222246405745257275088548364400416034343698204186575808495617";
    for (witness, says) in [
        (inputs(&json!({"threshold": "1000", "amount": 999, "salt": 1})), ""),
        (inputs(&json!({"threshold": "1000", "amount": 2500})), "missing"),
        (inputs(&json!({"threshold": "1000", "amount": 2500, "salt": 1, "pepper": 2})), "pepper"),
        (inputs(&json!({"threshold": "1000", "amount": [2500, 1], "salt": 1})), "amount"),
        (inputs(&json!({"threshold": "1000", "amount": "many", "salt": 1})), "amount"),
        (inputs(&json!({"threshold": "1000", "amount": modulus, "salt": 1})), "amount"),
        (inputs(&json!({"threshold": "1000", "amount": 2500, "salt": 1, "root": [1, 2]})), "root"),
        (json!([{"Data": b"no JSON"}]), "JSON"),
        (json!([]), "one datum"),
    ] {
        let task = submit(&service, &program, witness.clone()).await;
        let failure = service.finished(&task).await.failure.unwrap_or_else(|| panic!("{witness} was proved"));
        assert_eq!(failure.code, "circuit_failed", "{witness}");
        assert!(failure.message.contains(says), "{witness}: {}", failure.message);
        assert!(!failure.retryable, "{witness}");
    }
    service.refuses("a mock proof", service.prove(&program, inputs(&enough())), 422, "unsupported_kind").await;
    // A dry run says the same at once, and what the circuit would give.
    let execute =
        |witness: Value| service.post(&format!("/api/v1/programs/{program}/execute"), &json!({"args": witness}));
    let report = json_of(execute(inputs(&enough())), StatusCode::OK).await;
    assert_eq!(report["cycles"], 432);
    service
        .refuses("too little", execute(inputs(&json!({"threshold": 2, "amount": 1, "salt": 1}))), 422, "circuit_failed")
        .await;
}

#[tokio::test]
async fn what_is_no_bundle_is_refused_and_nothing_is_kept() {
    let service = Service::start(&[]);
    let before = service.everything().await;
    let (threshold, membership) = (bundle("threshold"), bundle("membership"));
    let file = |bundle: &[u8], number: usize| {
        let mut at = 12;
        for _ in 1..number {
            at += 12 + u64::from_le_bytes(bundle[at + 4..at + 12].try_into().unwrap()) as usize;
        }
        at..at + 12 + u64::from_le_bytes(bundle[at + 4..at + 12].try_into().unwrap()) as usize
    };
    let swapped = |number: usize| {
        let mut bundle = threshold.clone();
        bundle.splice(file(&threshold, number), membership[file(&membership, number)].to_vec());
        bundle
    };
    let mut point = threshold.clone();
    let end = file(&threshold, 2).end;
    point[end - 2000] ^= 1;
    for (what, bundle) in [
        ("nothing", vec![]),
        ("an ELF", hello_circuit()),
        ("half", threshold[..threshold.len() / 2].to_vec()),
        ("more", [&threshold[..], &[0]].concat()),
        ("constraints of another", swapped(1)),
        ("a key of another", swapped(2)),
        ("a changed key", point),
    ] {
        service.refuses(what, service.post("/api/v1/programs", &program(&bundle)), 422, "invalid_circuit").await;
    }
    assert_eq!(service.everything().await, before);
}

/// The constraints and the key are threshold's, so only its first execution shows that the generator is not.
#[tokio::test]
async fn a_generator_of_another_circuit_proves_nothing() {
    let service = Service::start(&[]);
    let (threshold, membership) = (bundle("threshold"), bundle("membership"));
    let generator = |bundle: &[u8]| {
        let start = bundle.windows(8).position(|bytes| bytes == b"\0asm\x01\0\0\0").unwrap();
        bundle[start..].to_vec()
    };
    let (own, other) = (generator(&threshold), generator(&membership));
    let mut mixed = threshold[..threshold.len() - own.len() - 8].to_vec();
    mixed.extend((other.len() as u64).to_le_bytes());
    mixed.extend(other);
    let deployed = json_of(service.post("/api/v1/programs", &program(&mixed)), StatusCode::CREATED).await;
    let asked = json!({"scope": 7, "secret": 1, "siblings": vec!["0"; 8], "sides": vec![0; 8]});
    let task = submit(&service, deployed["id"].as_str().unwrap(), inputs(&asked)).await;
    let failure = service.finished(&task).await.failure.expect("it proves nothing");
    assert_eq!(failure.code, "circuit_failed");
}

#[tokio::test]
async fn in_production_nothing_is_proved_by_keys_for_development_nor_here() {
    let service = Service::start(&["--production"]);
    let refused = service.refuses(
        "a key for development",
        service.post("/api/v1/programs", &program(&bundle("threshold"))),
        422,
        "invalid_circuit",
    );
    let problem = refused.await;
    assert!(problem.detail.contains("development"), "{problem:?}");
}
