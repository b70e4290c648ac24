//! Recording what controllers ask and are answered, and running that again.

use crate::{
    domains::{self, state_proof},
    guests::{COUNT_FILE, asking_echo, controller_that, counter, hello_circuit},
    service::{Service, deployment, json_of, until},
};
use coprocessor_api::{Base64, TaskState};
use coprocessor_sandbox::{Asked, Difference, Export, Recording, replay};
use coprocessor_types::BlobDigest;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};

fn prove(service: &Service, program: &str, args: Value) -> RequestBuilder {
    let body = json!({"args": args, "kind": "mock", "record": true});
    service.post(&format!("/api/v1/programs/{program}/tasks"), &body)
}

async fn recorded(service: &Service, program: &str, args: Value) -> String {
    let task = json_of(prove(service, program, args), StatusCode::ACCEPTED).await;
    assert_eq!(task["record"], true);
    task["id"].as_str().unwrap().to_owned()
}

async fn recording(service: &Service, task: &str, query: &str) -> Recording {
    let bytes = service.bytes(&format!("/api/v1/tasks/{task}/recording{query}")).await;
    Recording::from_bytes(&bytes).unwrap()
}

/// Without the service.
fn is_the_same_again(recording: &Recording) {
    let replayed = replay(recording, recording.wasm.as_ref().unwrap()).unwrap();
    assert_eq!(replayed.difference, None);
    assert_eq!(replayed.answered, recording.calls.len());
    assert_eq!(replayed.end.usage.fuel, recording.end.usage.fuel);
}

#[tokio::test]
async fn a_recorded_task_is_run_again_without_the_service() {
    let mut service = Service::start(&[]);
    let controller = counter(1000, 1000);
    let program = service.deploy(&controller, &hello_circuit()).await;
    let plain = service.submit(&program, json!({"n": 0.1})).await;
    service.delivered(&plain).await;
    let task = recorded(&service, &program, json!({"n": 0.1})).await;
    service.delivered(&task).await;

    let witness = recording(&service, &task, "?stage=execute").await;
    let delivery = recording(&service, &task, "?stage=deliver").await;
    assert_eq!(recording(&service, &task, "").await, delivery);
    assert_eq!((witness.export, delivery.export), (Export::GetWitnesses, Export::Entrypoint));
    assert_eq!((witness.args.as_str(), witness.calls.len()), (r#"{"n":0.1}"#, 0));
    assert!(delivery.args.contains(&task));
    let asked: Vec<_> = delivery.calls.iter().map(|call| &call.asked).collect();
    let path = format!("/{COUNT_FILE}");
    assert!(
        matches!(asked[..], [Asked::ReadFile { path: read }, Asked::WriteFile { path: wrote, .. }]
        if *read == path && *wrote == path),
        "{asked:?}"
    );
    assert_eq!(delivery.controller, BlobDigest::of(&controller));

    // What was not asked for is not there, nor what never was.
    let path = format!("/api/v1/tasks/{plain}/recording");
    service.refuses("a plain task's", service.request(Method::GET, &path), 404, "no_recording").await;
    let prove = service.request(Method::GET, &format!("/api/v1/tasks/{task}/recording?stage=prove"));
    service.refuses("of no controller's stage", prove, 400, "invalid_parameter").await;

    // It survives the service, and needs it no more.
    service.kill();
    for recording in [&witness, &delivery] {
        is_the_same_again(recording);
    }
    let other = replay(&delivery, &counter(1000, 1)).unwrap();
    assert!(!other.same_controller && other.difference.is_none());
    let silent = replay(&delivery, &controller_that("")).unwrap();
    assert!(matches!(silent.difference, Some(Difference::FewerCalls { number: 1, .. })), "{:?}", silent.difference);
    service.restart(&[]);
    assert_eq!(recording(&service, &task, "").await, delivery);
}

#[tokio::test]
async fn a_failing_run_is_recorded_too() {
    let service = Service::start(&[]);
    let controller = controller_that("(drop (call $get_file (i32.const 0) (i32.const 1) (i32.const 8))) (unreachable)");
    let program = service.deploy(&controller, &hello_circuit()).await;
    let task = recorded(&service, &program, json!({})).await;
    assert_eq!(service.finished(&task).await.state, TaskState::Failed);
    let failed = recording(&service, &task, "").await;
    assert_eq!(failed.end.result.as_ref().unwrap_err().code, "guest_trap");
    is_the_same_again(&failed);

    // Of a dry run it is in the answer, also in that of a failed one.
    for rest in ["witness", "execute"] {
        let path = format!("/api/v1/programs/{program}/{rest}");
        let dry = service.post(&path, &json!({"args": 7, "record": true}));
        let problem = service.refuses(rest, dry, 422, "guest_trap").await;
        let recording = Recording::from_bytes(&problem.recording.unwrap().0).unwrap();
        assert_eq!(recording.args, "7");
        is_the_same_again(&recording);
        let problem = service.refuses(rest, service.post(&path, &json!({"args": 7})), 422, "guest_trap").await;
        assert_eq!(problem.recording, None);
    }
}

#[tokio::test]
async fn dry_runs_and_calls_answer_with_their_recording() {
    let service = Service::start(&[]);
    let program = service.deploy(&counter(10, 10), &hello_circuit()).await;
    let path = |rest: &str| format!("/api/v1/programs/{program}/{rest}");
    let dry = json!({"args": {"a": 1}, "record": true});
    for (request, calls) in [
        (service.post(&path("witness"), &dry), 0),
        (service.post(&path("execute"), &dry), 0),
        (service.post(&path("call?record=true"), &json!({"a": 1})), 2),
    ] {
        let answer = json_of(request, StatusCode::OK).await;
        let Base64(bytes) = serde_json::from_value(answer["recording"].clone()).unwrap();
        let recording = Recording::from_bytes(&bytes).unwrap();
        assert_eq!((recording.args.as_str(), recording.calls.len()), (r#"{"a":1}"#, calls));
        is_the_same_again(&recording);
    }
    let plain = json_of(service.post(&path("call"), &json!({})), StatusCode::OK).await;
    assert_eq!(plain.get("recording"), None);
    assert_eq!(service.count(&program).await, 2);
}

#[tokio::test]
async fn only_a_programs_owner_has_its_runs_recorded() {
    let mut service = Service::start(&[]);
    let admin = service.key_for("ops", &["admin"]).await;
    service.act_as(&admin);
    let alice = service.key_for("alice", &["deploy", "prove", "read"]).await;
    let bob = service.key_for("bob", &["deploy", "prove", "read"]).await;
    let mut body = deployment(&counter(1, 1), &hello_circuit());
    body["public"] = true.into();
    let deployed = service.request_as(Some(&alice), Method::POST, "/api/v1/programs").json(&body);
    let program = json_of(deployed, StatusCode::CREATED).await["id"].as_str().unwrap().to_owned();
    let ask = |key: &str, rest: &str, body: Value| {
        service.request_as(Some(key), Method::POST, &format!("/api/v1/programs/{program}/{rest}")).json(&body)
    };
    let task = json!({"kind": "mock", "record": true});
    for (rest, body) in [("tasks", &task), ("witness", &json!({"record": true})), ("execute", &json!({"record": true}))]
    {
        service.refuses(rest, ask(&bob, rest, body.clone()), 403, "forbidden").await;
    }
    // Unrecorded they are anybody's.
    json_of(ask(&bob, "witness", json!({})), StatusCode::OK).await;
    let own = json_of(ask(&alice, "tasks", task), StatusCode::ACCEPTED).await["id"].as_str().unwrap().to_owned();
    service.delivered(&own).await;
    let path = format!("/api/v1/tasks/{own}/recording");
    let others = service.request_as(Some(&bob), Method::GET, &path);
    service.refuses("another's", others, 404, "unknown_task").await;
    assert!(service.request_as(Some(&alice), Method::GET, &path).send().await.unwrap().status().is_success());
}

#[tokio::test]
async fn the_operator_says_what_is_recorded() {
    let mut service = Service::start(&["--record", "never"]);
    let program = service.deploy(&counter(1, 1), &hello_circuit()).await;
    service.refuses("a task", prove(&service, &program, json!({})), 403, "recordings_off").await;
    let call = service.post(&format!("/api/v1/programs/{program}/call?record=true"), &json!({}));
    service.refuses("a call", call, 403, "recordings_off").await;
    service.stop();

    service.restart(&["--record", "failed", "--record-mib", "1"]);
    let controller = controller_that("(unreachable)");
    let mut body = deployment(&controller, &hello_circuit());
    body["nonce"] = 1.into();
    let failing = json_of(service.post("/api/v1/programs", &body), StatusCode::CREATED).await;
    let failing = failing["id"].as_str().unwrap();
    let task = service.submit(failing, json!({})).await;
    service.finished(&task).await;
    is_the_same_again(&recording(&service, &task, "").await);
    let fine = service.submit(&program, json!({})).await;
    service.delivered(&fine).await;
    let path = format!("/api/v1/tasks/{fine}/recording");
    service.refuses("what did not fail", service.request(Method::GET, &path), 404, "no_recording").await;

    // What is too long for a recording fails nothing but the recording.
    let long = json!("x".repeat(2 << 20));
    let task = recorded(&service, &program, long.clone()).await;
    service.delivered(&task).await;
    assert_eq!(recording(&service, &task, "").await.export, Export::Entrypoint);
    let path = format!("/api/v1/tasks/{task}/recording?stage=execute");
    service.refuses("a long one", service.request(Method::GET, &path), 404, "no_recording").await;
    until("it is in the log", || async { service.log().contains("a run's recording was not kept") }).await;
    let dry = service.post(&format!("/api/v1/programs/{program}/witness"), &json!({"args": long, "record": true}));
    service.refuses("a long dry run", dry, 422, "recording_too_large").await;
}

/// What a domain's controller asks and is answered, when a block is appended and when it proves state.
#[tokio::test]
async fn a_domains_runs_are_recorded_and_run_again_without_what_they_asked() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let app = axum::Router::new().route("/", axum::routing::get(|| async { "as of now" }));
    let server = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    let mut service = Service::start(&["--http-allow", "*", "--http-allow-private", &address]);
    let admin = service.key_for("ops", &["admin"]).await;
    service.act_as(&admin);
    let (alice, bob) = (service.key_for("alice", &["deploy"]).await, service.key_for("bob", &["deploy"]).await);
    let controller = asking_echo(&format!("http://{address}/"));
    let domain = json!({"name": domains::NAME, "owner": "alice", "controller": Base64(controller.clone())});
    json_of(service.post("/api/v1/domains", &domain), StatusCode::CREATED).await;
    let ask = |key: &str, rest: &str, body: Value| {
        service.request_as(Some(key), Method::POST, &format!("/api/v1/domains/{}/{rest}", domains::NAME)).json(&body)
    };
    let recorded = |args: &Value| json!({"args": args, "record": true});
    let block = domains::one_block(1).args.unwrap();

    let mut recordings = Vec::new();
    let appended = json_of(ask(&alice, "blocks", recorded(&block)), StatusCode::CREATED).await;
    recordings.push((Export::ValidateBlock, appended["blocks"][0]["recording"].clone()));
    let proved = json_of(ask(&alice, "state-proof", recorded(&state_proof(1))), StatusCode::OK).await;
    assert_eq!(proved["witness"]["StateProof"]["number"], 1);
    assert_eq!(proved["usage"]["network_calls"], 1);
    recordings.push((Export::GetStateProof, proved["recording"].clone()));
    let refused =
        service.refuses("a short block", ask(&alice, "blocks", recorded(&json!(1))), 422, "block_refused").await;
    recordings.push((Export::ValidateBlock, json!(refused.recording)));
    let refused =
        service.refuses("a short proof", ask(&admin, "state-proof", recorded(&json!(1))), 422, "guest_panic").await;
    recordings.push((Export::GetStateProof, json!(refused.recording)));
    let no_proof = ask(&alice, "state-proof", recorded(&json!({"what is": "no proof"})));
    let refused = service.refuses("what is no proof", no_proof, 422, "bad_result").await;
    recordings.push((Export::GetStateProof, json!(refused.recording)));

    // Unasked there is none; others are not given one, nor several at once.
    let plain = json_of(ask(&alice, "state-proof", json!({"args": state_proof(1)})), StatusCode::OK).await;
    assert_eq!(plain.get("recording"), None);
    service.refuses("another's proof", ask(&bob, "state-proof", recorded(&block)), 403, "forbidden").await;
    service.refuses("another's block", ask(&bob, "blocks", recorded(&block)), 403, "forbidden").await;
    let several = json!({"blocks": [domains::one_block(2).args], "record": true});
    service.refuses("several", ask(&alice, "blocks", several), 400, "invalid_body").await;

    service.kill();
    server.abort();
    for (export, recording) in recordings {
        let Base64(bytes) = serde_json::from_value(recording).unwrap();
        let recording = Recording::from_bytes(&bytes).unwrap();
        assert_eq!((recording.export, recording.calls.len()), (export, 1), "{recording:?}");
        assert_eq!(recording.controller, BlobDigest::of(&controller));
        is_the_same_again(&recording);
    }
    service.restart(&["--record", "never"]);
    let ask = |rest: &str, args: Value| {
        service.post(&format!("/api/v1/domains/{}/{rest}", domains::NAME), &json!({"args": args, "record": true}))
    };
    service.refuses("a block", ask("blocks", block), 403, "recordings_off").await;
    service.refuses("a proof", ask("state-proof", state_proof(1)), 403, "recordings_off").await;
}
