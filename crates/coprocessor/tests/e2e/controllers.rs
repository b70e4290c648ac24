//! Replacing a program's controller, and going back.

use crate::{
    guests::{hello_circuit, numbered},
    service::{Service, deployment, json_of},
};
use coprocessor_api::TaskState;
use coprocessor_types::BlobDigest;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};

fn put(service: &Service, program: &str, controller: Vec<u8>) -> RequestBuilder {
    service.request(Method::PUT, &format!("/api/v1/programs/{program}/controller")).body(controller)
}

async fn set(service: &Service, program: &str, controller: Vec<u8>) -> Value {
    json_of(put(service, program, controller), StatusCode::OK).await
}

fn rollback(service: &Service, program: &str, version: u64) -> RequestBuilder {
    service.post(&format!("/api/v1/programs/{program}/controller/rollback"), &json!({"version": version}))
}

async fn versions(service: &Service, program: &str) -> Vec<Value> {
    let list = service.get(&format!("/api/v1/programs/{program}/controller/versions")).await;
    list["items"].as_array().unwrap().clone()
}

/// Number and whether it is the current one.
async fn numbers(service: &Service, program: &str) -> Vec<(u64, bool)> {
    let versions = versions(service, program).await;
    let number = |version: &Value| (version["version"].as_u64().unwrap(), version["current"] == true);
    versions.iter().map(number).collect()
}

#[tokio::test]
async fn tasks_finish_with_the_controller_they_were_accepted_with() {
    // Long enough that it is still being proved when this coprocessor is stopped.
    let mut service = Service::start(&["--mock-latency-ms", "600000"]);
    let program = service.deploy(&numbered(1), &hello_circuit()).await;
    let proving = service.submit(&program, json!({})).await;
    service.event(&proving, |event| event.name == "witness_ready").await;
    service.kill();
    // Nobody works, so it stays in the queue.
    service.restart(&["--api-only"]);
    let queued = service.submit(&program, json!({})).await;
    let replaced = set(&service, &program, numbered(2)).await;
    assert_eq!(replaced["controller"], BlobDigest::of(&numbered(2)).to_string());
    let new = service.submit(&program, json!({})).await;
    assert_eq!(service.task(&proving).await.state, TaskState::Proving);
    assert_eq!(service.task(&queued).await.state, TaskState::Queued);
    let back = json_of(rollback(&service, &program, 1), StatusCode::OK).await;
    assert_eq!(back["controller"], BlobDigest::of(&numbered(1)).to_string());
    let after_all = service.submit(&program, json!({})).await;
    service.stop();
    service.restart(&[]);
    for (task, number) in [(proving, 1), (queued, 1), (new, 2), (after_all, 1)] {
        let task = service.delivered(&task).await;
        assert_eq!(task.result, Some(json!(number)), "{task:?}");
        assert_eq!(task.controller, BlobDigest::of(&numbered(number)).to_string());
    }
}

#[tokio::test]
async fn versions_are_listed_downloaded_and_gone_back_to() {
    let service = Service::start(&[]);
    let program = service.deploy(&numbered(1), &hello_circuit()).await;
    for number in 2..=3 {
        set(&service, &program, numbered(number)).await;
    }
    assert_eq!(numbers(&service, &program).await, [(3, true), (2, false), (1, false)]);
    let listed = versions(&service, &program).await;
    for (version, number) in listed.iter().zip([3, 2, 1]) {
        let code = numbered(number);
        assert_eq!(version["digest"], BlobDigest::of(&code).to_string());
        assert_eq!((&version["bytes"], &version["set_by"]), (&json!(code.len()), &json!("anonymous")));
        assert_eq!(version["set_with"], Value::Null);
        let path = format!("/api/v1/programs/{program}/controller?version={number}");
        assert_eq!(service.bytes(&path).await, code);
    }
    let first = service.get(&format!("/api/v1/programs/{program}/controller/versions?limit=2")).await;
    assert_eq!(first["items"], json!(listed[..2]));
    let next = first["next"].as_str().unwrap();
    let rest = service.get(&format!("/api/v1/programs/{program}/controller/versions?limit=2&cursor={next}")).await;
    assert_eq!((&rest["items"], &rest["next"]), (&json!(listed[2..]), &Value::Null));

    // The same again changes nothing, whichever way it is asked for.
    let before = service.everything().await;
    set(&service, &program, numbered(3)).await;
    json_of(rollback(&service, &program, 3), StatusCode::OK).await;
    assert_eq!((service.everything().await, versions(&service, &program).await), (before, listed));
    // Code that was there before is that version.
    set(&service, &program, numbered(1)).await;
    assert_eq!(numbers(&service, &program).await, [(3, false), (2, false), (1, true)]);
    for _ in 0..2 {
        let program_now = json_of(rollback(&service, &program, 2), StatusCode::OK).await;
        assert_eq!(program_now["controller"], BlobDigest::of(&numbered(2)).to_string());
        assert_eq!(numbers(&service, &program).await, [(3, false), (2, true), (1, false)]);
    }
    assert_eq!(service.bytes(&format!("/api/v1/programs/{program}/controller")).await, numbered(2));

    for version in [0, 4, u64::MAX] {
        service.refuses("no such version", rollback(&service, &program, version), 404, "unknown_version").await;
        let download = format!("/api/v1/programs/{program}/controller?version={version}");
        service.refuses("none to download", service.request(Method::GET, &download), 404, "unknown_version").await;
    }
    let path = format!("/api/v1/programs/{program}/controller");
    for body in [json!({}), json!({"version": "two"}), json!({"version": 1, "to": 2})] {
        service.refuses("no number", service.post(&format!("{path}/rollback"), &body), 400, "invalid_body").await;
    }
    let cursor = service.request(Method::GET, &format!("{path}/versions?cursor=p1"));
    service.refuses("another list's cursor", cursor, 400, "invalid_cursor").await;
    let nobodys = "7".repeat(64);
    service.refuses("no such program", rollback(&service, &nobodys, 1), 404, "unknown_program").await;
    let list = service.request(Method::GET, &format!("/api/v1/programs/{nobodys}/controller/versions"));
    service.refuses("no such program", list, 404, "unknown_program").await;
}

#[tokio::test]
async fn as_many_versions_are_kept_as_the_operator_says() {
    let mut service = Service::start(&["--keep-controllers", "2", "--api-only"]);
    let program = service.deploy(&numbered(1), &hello_circuit()).await;
    let task = service.submit(&program, json!({})).await;
    for number in 2..=4 {
        set(&service, &program, numbered(number)).await;
    }
    // The first is above the bound, and a task has it yet.
    assert_eq!(numbers(&service, &program).await, [(4, true), (1, false)]);
    service.refuses("what was dropped", rollback(&service, &program, 2), 404, "unknown_version").await;
    service.stop();
    service.restart(&["--keep-controllers", "2"]);
    assert_eq!(service.delivered(&task).await.result, Some(json!(1)));
    set(&service, &program, numbered(2)).await;
    assert_eq!(numbers(&service, &program).await, [(5, true), (4, false)]);
    for flags in [["--keep-controllers", "0"], ["--keep-controllers", "many"]] {
        let output = crate::process::coprocessor().args(flags).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{flags:?}");
    }
}

#[tokio::test]
async fn who_set_a_version_is_told_and_with_which_key_to_its_owner_alone() {
    let mut service = Service::start(&[]);
    let admin = service.key_for("ops", &["admin"]).await;
    service.act_as(&admin);
    let alice = service.key_for("alice", &["deploy", "read"]).await;
    let bob = service.key_for("bob", &["deploy", "read"]).await;
    let me = service.request_as(Some(&alice), Method::GET, "/api/v1/whoami");
    let key = json_of(me, StatusCode::OK).await["key"].clone();
    let mut body = deployment(&numbered(1), &hello_circuit());
    body["public"] = true.into();
    let deployed = service.request_as(Some(&alice), Method::POST, "/api/v1/programs").json(&body);
    let program = json_of(deployed, StatusCode::CREATED).await["id"].as_str().unwrap().to_owned();
    set(&service, &program, numbered(2)).await;
    let path = format!("/api/v1/programs/{program}/controller");
    let listed = async |key: &str| {
        let list =
            json_of(service.request_as(Some(key), Method::GET, &format!("{path}/versions")), StatusCode::OK).await;
        let items = list["items"].as_array().unwrap().clone();
        items.iter().map(|version| (version["set_by"].clone(), version["set_with"].clone())).collect::<Vec<_>>()
    };
    let seen = listed(&alice).await;
    assert_eq!(seen[1], (json!("alice"), key));
    assert_eq!(seen[0].0, "ops");
    assert_eq!(listed(&bob).await, [(json!("ops"), Value::Null), (json!("alice"), Value::Null)]);
    // A stranger reads what is public, and changes nothing.
    let back = service.request_as(Some(&bob), Method::POST, &format!("{path}/rollback")).json(&json!({"version": 1}));
    service.refuses("a stranger", back, 403, "forbidden").await;
}
