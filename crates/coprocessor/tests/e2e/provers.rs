//! Prover nodes: registering them, their secrets, and their absence.

use crate::{
    guests::{counter, hello_circuit},
    process::{free_address, node, node_with_secret},
    service::{Service, json_of, until},
};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

/// A service in which the counter program is deployed, not running.
pub(crate) async fn deployed() -> (Service, String) {
    let mut service = Service::start(&[]);
    let program = service.deploy(&counter(1, 1), &hello_circuit()).await;
    service.stop();
    (service, program)
}

#[tokio::test]
async fn addresses_that_are_none_and_secrets_in_clear_text_are_refused() {
    let service = Service::start(&[]);
    for body in [
        json!({"address": ""}),
        json!({"address": "ftp://127.0.0.1"}),
        json!({"address": "http://127.0.0.1:99999"}),
        json!({"address": "http://127.0.0.1/path"}),
        json!({"address": "http://user:hush-in-the-url@127.0.0.1:1"}),
        json!({"address": "http://prover.example:37282", "secret": "hush-in-the-body"}),
    ] {
        let request = service.post("/api/v1/provers", &body);
        let problem = service.refuses(&body.to_string(), request, 422, "invalid_prover").await;
        assert!(!format!("{problem:?}").contains("hush"), "{problem}");
    }
    let unsendable = json!({"address": "http://127.0.0.1:1", "secret": "hush in\nlines"});
    let request = service.post("/api/v1/provers", &unsendable);
    let problem = service.refuses("a secret that no header holds", request, 400, "invalid_body").await;
    assert!(!problem.detail.contains("hush"), "{problem}");
    assert!(!service.log().contains("hush"), "{}", service.log());
    let remove = service.request(Method::DELETE, "/api/v1/provers?address=http://127.0.0.1:1");
    service.refuses("removing what is not there", remove, 404, "unknown_prover").await;
    let remove = service.request(Method::DELETE, "/api/v1/provers");
    service.refuses("removing nothing", remove, 400, "invalid_parameter").await;
}

#[tokio::test]
async fn a_registered_node_proves_and_is_remembered() {
    let mut service = Service::start(&[]);
    let program = service.deploy(&counter(1, 1), &hello_circuit()).await;
    let node = node(service.directory(), "127.0.0.1:0", &[]);
    let address = format!("http://{}", node.address);
    let registration = json!({"address": address, "secret": crate::process::SECRET});
    let register = || service.post("/api/v1/provers", &registration);
    assert_eq!(register().send().await.unwrap().status(), StatusCode::CREATED);
    assert_eq!(register().send().await.unwrap().status(), StatusCode::OK);
    service.stop();
    // Without a flag: it is in the store.
    service.restart(&[]);
    let listed = service.get("/api/v1/provers").await;
    let listed = listed["items"].as_array().unwrap().iter().find(|prover| prover["address"] == address.as_str());
    let listed = listed.expect("it is listed");
    assert_eq!((&listed["reachable"], &listed["source"]), (&json!(true), &json!("registered")));
    assert!(!listed.to_string().contains(crate::process::SECRET));
    let task = service.submit(&program, json!({})).await;
    service.delivered(&task).await;

    let path = format!("/api/v1/provers?address={address}");
    assert_eq!(service.request(Method::DELETE, &path).send().await.unwrap().status(), 204);
    service.refuses("once more", service.request(Method::DELETE, &path), 404, "unknown_prover").await;
}

#[tokio::test]
async fn a_task_waits_for_a_node_and_says_so() {
    let (mut service, program) = deployed().await;
    let address = free_address();
    service.restart(&["--prover", &format!("http://{address}")]);
    let task = service.submit(&program, json!({})).await;
    let waiting = service.event(&task, |event| event.name == "waiting").await;
    assert_eq!(waiting.detail["code"], "no_prover");
    assert!(waiting.detail["message"].as_str().unwrap().contains(&address), "{waiting:?}");
    let provers = service.get("/api/v1/provers").await;
    assert_eq!(provers["items"][0]["reachable"], false);

    let _node = node(service.directory(), &address, &[]);
    let task = service.delivered(&task).await;
    assert_eq!(task.attempts, 0, "waiting is nobody's failure");
    assert_eq!(service.count(&program).await, 1);
}

#[tokio::test]
async fn a_wrong_secret_is_said_without_saying_it() {
    let (mut service, program) = deployed().await;
    let (ours, theirs) = ("hush-of-the-service", "hush-of-the-node");
    let node = node_with_secret(service.directory(), "127.0.0.1:0", theirs);
    let address = node.address.clone();
    service.restart_with_secret(&["--prover", &format!("http://{address}")], ours);
    let task = service.submit(&program, json!({})).await;
    let waiting = service.event(&task, |event| matches!(event.name.as_str(), "waiting" | "retrying")).await;
    let message = waiting.detail["message"].as_str().unwrap();
    assert!(message.contains("secret"), "{message}");

    let log = node.log();
    node.kill();
    let node = node_with_secret(service.directory(), &address, ours);
    service.delivered(&task).await;
    assert_eq!(service.count(&program).await, 1);
    let events = serde_json::to_string(&service.events(&task).await).unwrap();
    let provers = service.get("/api/v1/provers").await.to_string();
    for (place, text) in [("events", events), ("log", service.log()), ("provers", provers), ("node", log + &node.log())]
    {
        for secret in [ours, theirs] {
            assert!(!text.contains(secret), "a secret is in the {place}");
        }
    }
}

#[tokio::test]
async fn failures_of_a_node_are_tried_again() {
    let (mut service, program) = deployed().await;
    // Of this seed's proofs the first fails and one of the next few does not.
    let node = node(service.directory(), "127.0.0.1:0", &["--mock-failures", "50", "--mock-seed", "1"]);
    service.restart(&["--prover", &format!("http://{}", node.address)]);
    let mut retried = 0;
    for _ in 0..4 {
        let task = service.submit(&program, json!({})).await;
        service.delivered(&task).await;
        let events = service.events(&task).await;
        retried += events.iter().filter(|event| event.name == "retrying").count();
    }
    assert!(retried > 0, "no proof failed");
    assert_eq!(service.count(&program).await, 4);
}

#[tokio::test]
async fn a_kind_that_cannot_be_had_is_refused() {
    let service = Service::start(&[]);
    let program = service.deploy(&counter(1, 1), &hello_circuit()).await;
    let kinds: &[&str] = if cfg!(feature = "sp1-core") { &[] } else { &["core"] };
    for kind in kinds {
        let request = service.post(&format!("/api/v1/programs/{program}/tasks"), &json!({"kind": kind}));
        service.refuses(kind, request, 422, "unsupported_kind").await;
    }
    // A kind that is verified here but that no node makes: the task waits, and says for what.
    let request = service.post(&format!("/api/v1/programs/{program}/tasks"), &json!({"kind": "compressed"}));
    let task = json_of(request, StatusCode::ACCEPTED).await;
    let task = task["id"].as_str().unwrap();
    let waiting = service.event(task, |event| event.name == "waiting").await;
    assert!(waiting.detail["message"].as_str().unwrap().contains("compressed"), "{waiting:?}");
    let cancelled = service.request(Method::DELETE, &format!("/api/v1/tasks/{task}"));
    assert_eq!(json_of(cancelled, StatusCode::OK).await["state"], "cancelled");
}

/// Waits until the one configured node is at work.
pub(crate) async fn node_is_proving(service: &Service) {
    until("the node proves", || async {
        let provers: Value = service.get("/api/v1/provers").await;
        provers["items"][0]["running"] == 1
    })
    .await;
}
