//! What ages out, and what is said of it then.

use crate::{
    guests::{counter, hello_circuit},
    service::{Service, problem_of, until},
};
use reqwest::Method;
use serde_json::json;

#[tokio::test]
async fn proofs_and_tasks_age_out_each_in_its_own_time() {
    let proofs = Service::start(&["--keep-proofs", "0s", "--keep-witnesses", "0s", "--keep-tasks", "forever"]);
    let tasks = Service::start(&["--keep-tasks", "0s"]);
    let mut asked = Vec::new();
    for service in [&proofs, &tasks] {
        let program = service.deploy(&counter(1, 1), &hello_circuit()).await;
        let task = service.submit(&program, json!({})).await;
        let delivered = service.delivered(&task).await;
        asked.push((program, task, delivered));
    }
    let [(_, task, delivered), (program, gone, _)] = asked.try_into().unwrap();

    until("the proof ages out", || async { !proofs.task(&task).await.has_proof }).await;
    let proof = proofs.request(Method::GET, &format!("/api/v1/tasks/{task}/proof"));
    proofs.refuses("the proof", proof, 410, "proof_expired").await;
    let kept = proofs.task(&task).await;
    assert_eq!((kept.state, kept.output, kept.result), (delivered.state, delivered.output, delivered.result));
    assert_eq!(proofs.events(&task).await.last().unwrap().name, "delivered");
    until("what was removed is told", || async {
        let storage = proofs.get("/api/v1/storage").await;
        assert_eq!(storage["retention"]["tasks"], serde_json::Value::Null);
        storage["last_collected"]["proofs"] == 1
    })
    .await;

    until("the task ages out", || async { tasks.get("/api/v1/tasks").await["items"] == json!([]) }).await;
    let request = tasks.request(Method::GET, &format!("/api/v1/tasks/{gone}"));
    problem_of("the task", request, 404, "unknown_task").await;
    assert_eq!(tasks.get("/api/v1/events").await["items"], json!([]));
    // What it did stays, and so does its program.
    assert_eq!(tasks.count(&program).await, 1);
    let next = tasks.submit(&program, json!({})).await;
    until("the next is delivered", || async { tasks.count(&program).await == 2 }).await;
    assert_ne!(next, gone);
}
