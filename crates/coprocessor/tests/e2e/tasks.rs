//! Asking for proofs, and what can be done with a task besides waiting.

use crate::{
    guests::{LONG, counter, hello_circuit, hello_controller},
    service::{Service, json_of, problem_of},
};
use coprocessor_api::TaskState;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

#[tokio::test]
async fn a_task_goes_from_request_to_delivered_proof() {
    let service = Service::start(&[]);
    let program = service.deploy(&hello_controller(), &hello_circuit()).await;
    let task = service.submit(&program, json!({"name": "Ada"})).await;
    let task = service.delivered(&task).await;
    assert_eq!(task.output.unwrap().0, b"Hello, Ada!");
    assert_eq!((task.kind.as_str(), task.attempts, task.has_proof), ("mock", 0, true));
    assert_eq!(task.root, service.get("/api/v1/roots/current").await["root"]);
}

#[tokio::test]
async fn an_idempotency_key_makes_a_repeated_request_the_same_task() {
    let service = Service::start(&[]);
    let program = service.deploy(&counter(1, 1), &hello_circuit()).await;
    let ask = |args: Value, key: &str| service.prove(&program, args).header("idempotency-key", key);
    let first = json_of(ask(json!(1), "order-1"), StatusCode::ACCEPTED).await;
    let id = first["id"].as_str().unwrap();
    // Requests that arrive at the same time, and one that comes after the end.
    let (a, b) = tokio::join!(ask(json!(1), "order-1").send(), ask(json!(1), "order-1").send());
    for again in [a, b] {
        assert_eq!(again.unwrap().json::<Value>().await.unwrap()["id"], id);
    }
    service.delivered(id).await;
    assert_eq!(json_of(ask(json!(1), "order-1"), StatusCode::ACCEPTED).await["id"], id);
    assert_eq!(service.count(&program).await, 1);

    let other = ask(json!(2), "order-1");
    service.refuses("another body", other, 409, "idempotency_key_reused").await;
    for key in ["".to_owned(), "x".repeat(256)] {
        let request = ask(json!(1), &key);
        service.refuses("a key of a wrong length", request, 400, "invalid_idempotency_key").await;
    }
    let request = service.prove(&program, json!(1)).header("idempotency-key", &b"\xff\xfe"[..]);
    service.refuses("a key that is no ASCII", request, 400, "invalid_idempotency_key").await;
    let other = json_of(ask(json!(2), "order-2"), StatusCode::ACCEPTED).await;
    assert_ne!(other["id"], id);
}

#[tokio::test]
async fn requests_that_nothing_can_come_of() {
    let service = Service::start(&[]);
    let program = service.deploy(&hello_controller(), &hello_circuit()).await;
    let tasks = format!("/api/v1/programs/{program}/tasks");
    let unknown_root = json!({"args": {"name": "Ada"}, "kind": "mock", "root": "7".repeat(64)});
    service.refuses("a root of nobody", service.post(&tasks, &unknown_root), 404, "unknown_root").await;
    for rest in ["witness", "execute"] {
        let dry = json!({"args": {"name": "Ada"}, "root": "7".repeat(64)});
        let request = service.post(&format!("/api/v1/programs/{program}/{rest}"), &dry);
        service.refuses(rest, request, 404, "unknown_root").await;
    }
    let current = service.get("/api/v1/roots/current").await["root"].clone();
    let pinned = json!({"args": {"name": "Ada"}, "kind": "mock", "root": current});
    json_of(service.post(&tasks, &pinned), StatusCode::ACCEPTED).await;
}

#[tokio::test]
async fn a_finished_task_stays_as_it_is() {
    let service = Service::start(&[]);
    let program = service.deploy(&hello_controller(), &hello_circuit()).await;
    let delivered = service.submit(&program, json!({"name": "Ada"})).await;
    service.delivered(&delivered).await;
    let failed = service.submit(&program, json!({"name": ""})).await;
    assert_eq!(service.finished(&failed).await.state, TaskState::Failed);
    for task in [&delivered, &failed] {
        let path = format!("/api/v1/tasks/{task}");
        service.refuses("cancelling", service.request(Method::DELETE, &path), 409, "task_finished").await;
        let retry = service.request(Method::POST, &format!("{path}/retry"));
        service.refuses("retrying", retry, 409, "task_not_retryable").await;
    }
    let proof = service.request(Method::GET, &format!("/api/v1/tasks/{failed}/proof"));
    service.refuses("the proof of a failure", proof, 409, "no_proof").await;
}

#[tokio::test]
async fn a_task_is_cancelled_while_its_controller_runs() {
    let service = Service::start(&[]);
    let program = service.deploy(&counter(LONG, 1), &hello_circuit()).await;
    let task = service.submit(&program, json!({})).await;
    service.event(&task, |event| event.name == "claimed").await;
    let path = format!("/api/v1/tasks/{task}");
    problem_of("no proof yet", service.request(Method::GET, &format!("{path}/proof")), 409, "no_proof").await;
    let cancelled = json_of(service.request(Method::DELETE, &path), StatusCode::OK).await;
    assert_eq!(cancelled["state"], "cancelled");
    // Once more is no error, and changes nothing.
    let before = service.everything().await;
    assert_eq!(json_of(service.request(Method::DELETE, &path), StatusCode::OK).await, cancelled);
    assert_eq!(service.everything().await, before);
    service
        .refuses("a retry", service.request(Method::POST, &format!("{path}/retry")), 409, "task_not_retryable")
        .await;

    // The next one is done, and the cancelled one has left nothing behind.
    let next = service.submit(&program, json!({})).await;
    service.delivered(&next).await;
    assert_eq!(service.count(&program).await, 1);
    assert_eq!(service.task(&task).await.state, TaskState::Cancelled);
}
