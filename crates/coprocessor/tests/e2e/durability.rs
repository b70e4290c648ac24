//! Promises 1 and 2: what was acknowledged is never lost, and is delivered once, whoever is killed and when.

use crate::{
    guests::{LONG, counter, hello_circuit},
    process::node,
    provers::{deployed, node_is_proving},
    service::Service,
};
use coprocessor_api::EventView;
use serde_json::json;

/// A proof that takes long enough to be killed in.
const SLOW: &[&str] = &["--mock-latency-ms", "1500"];

fn claimed(stage: &str) -> impl Fn(&EventView) -> bool {
    move |event| event.name == "claimed" && event.detail["stage"] == stage
}

/// How often the task was claimed for `stage`: twice shows that the kill hit it.
async fn claims(service: &Service, task: &str, stage: &str) -> usize {
    service.events(task).await.into_iter().filter(|event| claimed(stage)(event)).count()
}

#[tokio::test]
async fn the_service_is_killed_while_a_controller_makes_the_witness() {
    let mut service = Service::start(&[]);
    let program = service.deploy(&counter(LONG, 1), &hello_circuit()).await;
    let task = service.submit(&program, json!({})).await;
    service.event(&task, claimed("execute")).await;
    service.kill();
    service.restart(&[]);
    service.delivered(&task).await;
    assert_eq!(claims(&service, &task, "execute").await, 2);
    assert_eq!(service.count(&program).await, 1);
}

#[tokio::test]
async fn the_service_is_killed_while_a_node_proves() {
    let (mut service, program) = deployed().await;
    let node = node(service.directory(), "127.0.0.1:0", SLOW);
    let flags = ["--prover", &format!("http://{}", node.address)];
    service.restart(&flags);
    let task = service.submit(&program, json!({})).await;
    node_is_proving(&service).await;
    service.kill();
    service.restart(&flags);
    service.delivered(&task).await;
    assert_eq!(claims(&service, &task, "prove").await, 2);
    assert_eq!(claims(&service, &task, "execute").await, 1, "the witness was kept");
    assert_eq!(service.count(&program).await, 1);
}

#[tokio::test]
async fn the_service_is_killed_while_the_controller_receives_the_proof() {
    let mut service = Service::start(&[]);
    let program = service.deploy(&counter(1, LONG), &hello_circuit()).await;
    let task = service.submit(&program, json!({})).await;
    service.event(&task, claimed("deliver")).await;
    service.kill();
    service.restart(&[]);
    service.delivered(&task).await;
    assert_eq!(claims(&service, &task, "deliver").await, 2);
    assert_eq!(claims(&service, &task, "prove").await, 1, "the proof was kept");
    assert_eq!(service.count(&program).await, 1);
}

#[tokio::test]
async fn a_node_is_killed_while_it_proves() {
    let (mut service, program) = deployed().await;
    let first = node(service.directory(), "127.0.0.1:0", SLOW);
    let address = first.address.clone();
    service.restart(&["--prover", &format!("http://{address}")]);
    let task = service.submit(&program, json!({})).await;
    node_is_proving(&service).await;
    first.kill();
    // Whether it counts depends on whether the service had heard that the proof was begun.
    let lost = service.event(&task, |event| ["retrying", "waiting"].contains(&event.name.as_str())).await;
    assert_eq!(lost.detail["code"], "prover_unreachable", "{lost:?}");
    let _second = node(service.directory(), &address, &[]);
    service.delivered(&task).await;
    assert_eq!(service.count(&program).await, 1);
}

#[tokio::test]
async fn a_task_moves_on_to_another_node_when_its_own_dies() {
    let (mut service, program) = deployed().await;
    let first = node(service.directory(), "127.0.0.1:0", SLOW);
    let elsewhere = tempfile::tempdir().unwrap();
    service.restart(&["--prover", &format!("http://{}", first.address)]);
    let task = service.submit(&program, json!({})).await;
    node_is_proving(&service).await;
    let second = node(elsewhere.path(), "127.0.0.1:0", &[]);
    let registration = json!({"address": format!("http://{}", second.address), "secret": crate::process::SECRET});
    assert_eq!(service.post("/api/v1/provers", &registration).send().await.unwrap().status(), 201);
    first.kill();
    service.delivered(&task).await;
    let verified = service.events(&task).await.into_iter().find(|event| event.name == "proof_verified").unwrap();
    assert_eq!(verified.detail["node"], format!("http://{}", second.address));
    assert_eq!(service.count(&program).await, 1);
}

#[tokio::test]
async fn acknowledged_tasks_survive_and_each_is_delivered_once() {
    const TASKS: usize = 50;
    let mut service = Service::start(&[]);
    let program = service.deploy(&counter(1, 1), &hello_circuit()).await;
    let requests = (0..TASKS).map(|n| service.submit(&program, json!(n)));
    let tasks = futures::future::join_all(requests).await;
    // In the midst of them, twice.
    service.kill();
    service.restart(&[]);
    service.delivered(&tasks[TASKS / 2]).await;
    service.kill();
    service.restart(&[]);
    for task in &tasks {
        service.delivered(task).await;
    }
    assert_eq!(service.count(&program).await, u32::try_from(TASKS).unwrap());
    let health = service.get("/health/ready").await;
    assert_eq!(health["tasks"]["delivered"], TASKS);
}

#[tokio::test]
async fn a_stopped_service_goes_on_where_it_was() {
    let mut service = Service::start(&["--stop-seconds", "0"]);
    let program = service.deploy(&counter(LONG, 1), &hello_circuit()).await;
    let task = service.submit(&program, json!({})).await;
    service.event(&task, claimed("execute")).await;
    service.stop();
    service.restart(&[]);
    service.delivered(&task).await;
    assert_eq!(service.count(&program).await, 1);
}
