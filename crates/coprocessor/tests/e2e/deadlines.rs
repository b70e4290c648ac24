//! Priorities, deadlines, and waiting for a task.

use crate::{
    guests::{LONG, counter, hello_circuit},
    service::{Service, json_of},
};
use coprocessor_api::TaskState;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::time::Duration;

#[tokio::test]
async fn a_task_fails_at_its_deadline_and_can_be_tried_again() {
    let service = Service::start(&[]);
    let program = service.deploy(&counter(1, 1), &hello_circuit()).await;
    // Nobody makes these proofs: it waits.
    let body = json!({"kind": "compressed", "deadline_seconds": 1, "priority": 7});
    let task = json_of(service.post(&format!("/api/v1/programs/{program}/tasks"), &body), StatusCode::ACCEPTED).await;
    assert_eq!(task["priority"], 7);
    assert!(task["deadline"].is_string(), "{task}");
    let id = task["id"].as_str().unwrap();
    let ended = service.finished(id).await;
    let failure = ended.failure.as_ref().unwrap();
    assert_eq!((ended.state, failure.code.as_str(), failure.retryable), (TaskState::Failed, "deadline_exceeded", true));
    assert_eq!(failure.stage, "prove");
    assert!(ended.updated_at >= ended.deadline.unwrap(), "not before");
    let retried = json_of(service.request(Method::POST, &format!("/api/v1/tasks/{id}/retry")), StatusCode::OK).await;
    assert_eq!(retried["state"], "proving");
    let again = service.finished(id).await;
    assert_eq!(again.failure.unwrap().code, "deadline_exceeded");
    assert!(again.deadline > ended.deadline);
}

#[tokio::test]
async fn a_deadline_ends_a_controller_that_runs_and_nothing_of_it_is_kept() {
    let service = Service::start(&["--controller-fuel", "1000000000000", "--controller-ms", "100000"]);
    let program = service.deploy(&counter(1, 100 * LONG), &hello_circuit()).await;
    let body = json!({"kind": "mock", "deadline_seconds": 2});
    let task = json_of(service.post(&format!("/api/v1/programs/{program}/tasks"), &body), StatusCode::ACCEPTED).await;
    let ended = service.finished(task["id"].as_str().unwrap()).await;
    let failure = ended.failure.unwrap();
    assert_eq!((failure.code.as_str(), failure.stage.as_str()), ("deadline_exceeded", "deliver"));
    let file = service.request(Method::GET, &format!("/api/v1/programs/{program}/files/count.bin"));
    assert_eq!(file.send().await.unwrap().status(), 404);
}

#[tokio::test]
async fn deadlines_and_priorities_out_of_bounds_are_refused() {
    let service = Service::start(&["--max-deadline", "1h"]);
    let program = service.deploy(&counter(1, 1), &hello_circuit()).await;
    for (body, code) in [
        (json!({"kind": "mock", "deadline_seconds": 3601}), "deadline_too_long"),
        (json!({"kind": "mock", "deadline_seconds": u64::MAX}), "deadline_too_long"),
        (json!({"kind": "mock", "deadline_seconds": 0}), "invalid_body"),
        (json!({"kind": "mock", "deadline_seconds": -1}), "invalid_body"),
        (json!({"kind": "mock", "priority": 101}), "invalid_body"),
        (json!({"kind": "mock", "priority": -101}), "invalid_body"),
        (json!({"kind": "mock", "priority": 40_000}), "invalid_body"),
    ] {
        let request = service.post(&format!("/api/v1/programs/{program}/tasks"), &body);
        service.refuses(&body.to_string(), request, 400, code).await;
    }
    let longest = json!({"kind": "mock", "deadline_seconds": 3600, "priority": 100});
    let request = service.post(&format!("/api/v1/programs/{program}/tasks"), &longest);
    let task = json_of(request, StatusCode::ACCEPTED).await;
    service.delivered(task["id"].as_str().unwrap()).await;
}

#[tokio::test]
async fn another_priority_or_deadline_is_another_request() {
    let service = Service::start(&[]);
    let program = service.deploy(&counter(1, 1), &hello_circuit()).await;
    let ask = |body: Value| {
        service.post(&format!("/api/v1/programs/{program}/tasks"), &body).header("idempotency-key", "order-1")
    };
    let body = json!({"kind": "mock", "priority": 1, "deadline_seconds": 600});
    let first = json_of(ask(body.clone()), StatusCode::ACCEPTED).await;
    service.delivered(first["id"].as_str().unwrap()).await;
    assert_eq!(json_of(ask(body), StatusCode::ACCEPTED).await["id"], first["id"]);
    for other in [
        json!({"kind": "mock", "priority": 2, "deadline_seconds": 600}),
        json!({"kind": "mock", "priority": 1, "deadline_seconds": 601}),
        json!({"kind": "mock", "priority": 1}),
        json!({"kind": "mock", "deadline_seconds": 600}),
    ] {
        service.refuses(&other.to_string(), ask(other.clone()), 409, "idempotency_key_reused").await;
    }
}

#[tokio::test]
async fn who_waits_for_a_task_is_answered_when_it_has_finished_or_the_time_is_up() {
    let mut service = Service::start(&[]);
    let program = service.deploy(&counter(LONG, 1), &hello_circuit()).await;
    let slow = service.submit(&program, json!({})).await;
    let state = |wait: &str| {
        let path = format!("/api/v1/tasks/{slow}{wait}");
        let service = &service;
        async move { service.get(&path).await["state"].as_str().unwrap().to_owned() }
    };
    assert!(["queued", "executing"].contains(&state("?wait=0").await.as_str()));
    while state("?wait=60").await != "delivered" {}
    for wrong in ["61", "-1", "1.5", "soon", ""] {
        let request = service.request(Method::GET, &format!("/api/v1/tasks/{slow}?wait={wrong}"));
        service.refuses(wrong, request, 400, "invalid_parameter").await;
    }
    let unprovable = service.post(&format!("/api/v1/programs/{program}/tasks"), &json!({"kind": "compressed"}));
    let waiting = json_of(unprovable, StatusCode::ACCEPTED).await["id"].as_str().unwrap().to_owned();
    let task = service.get(&format!("/api/v1/tasks/{waiting}?wait=1")).await;
    assert!(!["delivered", "failed", "cancelled"].contains(&task["state"].as_str().unwrap()), "{task}");
    // The typed client waits over several requests.
    let client = service.client();
    let task = client.wait(&waiting.parse().unwrap(), Duration::from_millis(1200)).await.unwrap();
    assert!(!task.is_finished());
    // Whoever waits is answered when it is cancelled, and does not hold up the end of the service.
    let wait = service.request(Method::GET, &format!("/api/v1/tasks/{waiting}?wait=60"));
    let cancel = service.request(Method::DELETE, &format!("/api/v1/tasks/{waiting}"));
    let (waited, _) = tokio::join!(json_of(wait, StatusCode::OK), json_of(cancel, StatusCode::OK));
    assert_eq!(waited["state"], "cancelled");

    let unprovable = service.post(&format!("/api/v1/programs/{program}/tasks"), &json!({"kind": "compressed"}));
    let waiting = json_of(unprovable, StatusCode::ACCEPTED).await["id"].as_str().unwrap().to_owned();
    let wait = service.request(Method::GET, &format!("/api/v1/tasks/{waiting}?wait=60"));
    let wait = tokio::spawn(wait.send());
    service.event(&waiting, |event| event.name == "waiting").await;
    service.stop();
    let log = std::fs::read_to_string(service.directory().join("coprocessor.log")).unwrap();
    assert!(!log.contains("are cut"), "whoever waited was answered: {log}");
    // Either it came in time and was answered, or it never got there.
    if let Ok(answer) = wait.await.unwrap() {
        assert_eq!(answer.status(), StatusCode::OK);
    }
}
