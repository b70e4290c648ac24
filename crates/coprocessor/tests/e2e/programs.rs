//! Deploying, replacing a controller, deleting.

use crate::{
    guests::{LONG, controller_that, counter, hello_circuit, hello_controller},
    service::{Service, deployment, json_of},
};
use coprocessor_types::{BlobDigest, ProgramId};
use reqwest::{Method, StatusCode};
use serde_json::json;

/// Where an ELF names its machine.
const ELF_MACHINE: usize = 18;

#[tokio::test]
async fn what_is_no_controller_is_refused() {
    let service = Service::start(&[]);
    let circuit = hello_circuit();
    let program = service.deploy(&hello_controller(), &circuit).await;
    let hello = hello_controller();
    let without_memory = r#"(module (func (export "get_witnesses")) (func (export "entrypoint")))"#;
    let without_witnesses = r#"(module (memory (export "memory") 1) (func (export "entrypoint")))"#;
    let with_a_result = r#"(module (memory (export "memory") 1)
        (func (export "get_witnesses") (result i32) (i32.const 1)) (func (export "entrypoint")))"#;
    let foreign_memory = r#"(module (import "env" "memory" (memory 1)) (export "memory" (memory 0))
        (func (export "get_witnesses")) (func (export "entrypoint")))"#;
    for (what, controller, said) in [
        ("nothing", vec![], "not WebAssembly"),
        ("text", b"fn main() {}".to_vec(), "not WebAssembly"),
        ("an ELF", circuit.clone(), "not WebAssembly"),
        ("half a module", hello[..hello.len() / 2].to_vec(), "malformed"),
        ("a component", wat::parse_str("(component)").unwrap(), "component"),
        ("no memory", wat::parse_str(without_memory).unwrap(), "`memory`"),
        ("no get_witnesses", wat::parse_str(without_witnesses).unwrap(), "`get_witnesses`"),
        ("get_witnesses with a result", wat::parse_str(with_a_result).unwrap(), "`get_witnesses`"),
        ("an imported memory", wat::parse_str(foreign_memory).unwrap(), "`env.memory`"),
    ] {
        let deploy = service.post("/api/v1/programs", &deployment(&controller, &circuit));
        let problem = service.refuses(what, deploy, 422, "invalid_controller").await;
        assert!(problem.detail.contains(said), "{what}: {problem}");
        let path = format!("/api/v1/programs/{program}/controller");
        let replace = service.request(Method::PUT, &path).body(controller);
        service.refuses(what, replace, 422, "invalid_controller").await;
    }
}

#[tokio::test]
async fn what_is_no_circuit_is_refused() {
    let service = Service::start(&[]);
    let circuit = hello_circuit();
    let mut other_machine = circuit.clone();
    // x86-64.
    other_machine[ELF_MACHINE..ELF_MACHINE + 2].copy_from_slice(&62_u16.to_le_bytes());
    for (what, circuit) in [
        ("nothing", vec![]),
        ("text", b"circuit".to_vec()),
        ("a module", hello_controller()),
        ("half an ELF", circuit[..circuit.len() / 2].to_vec()),
        ("an ELF's header alone", circuit[..64].to_vec()),
        ("an ELF of another machine", other_machine),
    ] {
        let deploy = service.post("/api/v1/programs", &deployment(&hello_controller(), &circuit));
        service.refuses(what, deploy, 422, "invalid_circuit").await;
    }
    let mut groth16 = deployment(&hello_controller(), &circuit);
    groth16["backend"] = "groth16".into();
    service.refuses("a bundle", service.post("/api/v1/programs", &groth16), 422, "invalid_circuit").await;
}

#[tokio::test]
async fn deploying_again_is_the_same_program() {
    let service = Service::start(&[]);
    let (controller, circuit) = (hello_controller(), hello_circuit());
    let body = deployment(&controller, &circuit);
    let first = json_of(service.post("/api/v1/programs", &body), StatusCode::CREATED).await;
    assert_eq!(first["id"], ProgramId::derive(&circuit, 0).to_string());
    assert_eq!(first["controller"], BlobDigest::of(&controller).to_string());
    let before = service.everything().await;
    assert_eq!(json_of(service.post("/api/v1/programs", &body), StatusCode::OK).await, first);
    assert_eq!(service.everything().await, before);

    let other = deployment(&counter(1, 1), &circuit);
    let request = service.post("/api/v1/programs", &other);
    service.refuses("another controller", request, 409, "program_exists").await;
    let mut resized = body.clone();
    resized["volume_size"] = json!(8 << 20);
    let request = service.post("/api/v1/programs", &resized);
    service.refuses("another volume", request, 409, "program_exists").await;

    let mut second = other;
    second["nonce"] = 1.into();
    let second = json_of(service.post("/api/v1/programs", &second), StatusCode::CREATED).await;
    assert_eq!(second["id"], ProgramId::derive(&circuit, 1).to_string());
    let id = first["id"].as_str().unwrap();
    assert_eq!(service.bytes(&format!("/api/v1/programs/{id}/controller")).await, controller);
    assert_eq!(service.bytes(&format!("/api/v1/programs/{id}/circuit")).await, circuit);
}

#[tokio::test]
async fn multipart_and_json_deploy_the_same() {
    let service = Service::start(&[]);
    let (controller, circuit) = (hello_controller(), hello_circuit());
    let id = service.deploy(&controller, &circuit).await;
    let part = reqwest::multipart::Part::bytes;
    let form = reqwest::multipart::Form::new().part("controller", part(controller)).part("circuit", part(circuit));
    let request = service.request(Method::POST, "/api/v1/programs").multipart(form);
    assert_eq!(json_of(request, StatusCode::OK).await["id"], id);
}

#[tokio::test]
async fn a_new_controller_is_for_new_tasks() {
    let service = Service::start(&["--controllers", "1"]);
    let slow = counter(LONG, 1);
    let program = service.deploy(&slow, &hello_circuit()).await;
    // The one place is taken, so the second task has not begun when the controller is replaced.
    let running = service.submit(&program, json!({})).await;
    let waiting = service.submit(&program, json!({})).await;
    let silent = controller_that(r#"(unreachable)"#);
    let request = service.request(Method::PUT, &format!("/api/v1/programs/{program}/controller")).body(silent.clone());
    let replaced = json_of(request, StatusCode::OK).await;
    assert_eq!(replaced["controller"], BlobDigest::of(&silent).to_string());
    let new = service.submit(&program, json!({})).await;
    for admitted_before in [running, waiting] {
        let task = service.delivered(&admitted_before).await;
        assert_eq!(task.controller, BlobDigest::of(&slow).to_string());
    }
    assert_eq!(service.finished(&new).await.failure.unwrap().code, "guest_trap");
    assert_eq!(service.count(&program).await, 2);
}

#[tokio::test]
async fn a_program_is_deleted_with_all_it_has_but_not_while_a_task_is_unfinished() {
    let service = Service::start(&[]);
    let program = service.deploy(&counter(LONG, 1), &hello_circuit()).await;
    let path = format!("/api/v1/programs/{program}");
    let task = service.submit(&program, json!({})).await;
    service.event(&task, |event| event.name == "claimed").await;
    // Its task moves on by itself, so only what matters is compared.
    crate::service::problem_of("busy", service.request(Method::DELETE, &path), 409, "program_busy").await;
    service.delivered(&task).await;
    assert_eq!(service.count(&program).await, 1);

    assert_eq!(service.request(Method::DELETE, &path).send().await.unwrap().status(), 204);
    let gone = format!("/api/v1/tasks/{task}");
    service.refuses("the program", service.request(Method::GET, &path), 404, "unknown_program").await;
    service.refuses("its task", service.request(Method::GET, &gone), 404, "unknown_task").await;
    service.refuses("deleting again", service.request(Method::DELETE, &path), 404, "unknown_program").await;

    // Deployed again it begins anew.
    assert_eq!(service.deploy(&counter(1, 1), &hello_circuit()).await, program);
    let file = service.request(Method::GET, &format!("{path}/files/{}", crate::guests::COUNT_FILE));
    service.refuses("its old file", file, 404, "unknown_file").await;
}

#[tokio::test]
async fn a_witness_of_a_domain_nobody_registered_is_refused() {
    let service = Service::start(&[]);
    let zeros = ["0"; 32].join(",");
    let witness = format!(
        r#"[{{"StateProof":{{"domain":"nowhere","number":1,"state_root":[{zeros}],"payload":[],"proof":[]}}}}]"#
    );
    let (text, length) = (witness.replace('"', "\\\""), witness.len());
    let controller = wat::parse_str(format!(
        r#"(module (import "valence" "ret" (func $ret (param i32 i32) (result i32)))
            (memory (export "memory") 1) (data (i32.const 0) "{text}")
            (func (export "get_witnesses") (drop (call $ret (i32.const 0) (i32.const {length}))))
            (func (export "entrypoint")))"#
    ))
    .unwrap();
    let program = service.deploy(&controller, &hello_circuit()).await;
    let dry = service.post(&format!("/api/v1/programs/{program}/execute"), &json!({}));
    service.refuses("a dry run", dry, 422, "state_not_in_root").await;
    let task = service.submit(&program, json!({})).await;
    let failure = service.finished(&task).await.failure.unwrap();
    assert_eq!((failure.code.as_str(), failure.retryable), ("state_not_in_root", false));
}

#[cfg(not(feature = "sp1-core"))]
#[tokio::test]
async fn a_verifying_key_is_not_known_before_a_real_prover_has_made_it() {
    let service = Service::start(&[]);
    let program = service.deploy(&hello_controller(), &hello_circuit()).await;
    let key = service.request(Method::GET, &format!("/api/v1/programs/{program}/vk"));
    service.refuses("its key", key, 409, "no_verifying_key").await;
}
