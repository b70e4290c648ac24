//! Many slow controllers at once, and what everybody else notices of them.

use crate::{
    guests::{asker, controller_that, hello_circuit, hello_controller},
    service::{Service, json_of},
};
use coprocessor_api::TaskState;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

/// Tasks of each kind in the storm.
const MANY: usize = 40;

/// Takes connections and never answers; counts them.
async fn silent() -> (String, Arc<AtomicUsize>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let taken = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&taken);
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::Relaxed);
            held.push(stream);
        }
    });
    (address, taken)
}

/// Asks as this owner from now on.
async fn act_as(service: &mut Service, admin: &str, owner: &str) {
    service.act_as(admin);
    let key = service.key_for(owner, &["read", "deploy", "prove"]).await;
    service.act_as(&key);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_slow_controllers_stops_nobody_else() {
    let (address, taken) = silent().await;
    let flags = ["--http-allow", "*", "--http-allow-private", &address, "--network-call-ms", "600000"];
    let mut service = Service::start(&[&flags[..], &["--controllers", "2", "--controller-ms", "1500"]].concat());
    let admin = service.key_for("ops", &["admin"]).await;

    act_as(&mut service, &admin, "storm").await;
    let waits = service.deploy(&asker(1), &hello_circuit()).await;
    let spins = service.deploy_beside(1, &controller_that("(loop $again (br $again))"), &hello_circuit()).await;
    let mut storm = BTreeSet::new();
    for _ in 0..MANY {
        storm.insert(service.submit(&waits, json!({"url": format!("http://{address}/")})).await);
        storm.insert(service.submit(&spins, json!({})).await);
    }
    crate::service::until("controllers wait for the network", async || taken.load(Ordering::Relaxed) > 0).await;

    act_as(&mut service, &admin, "bob").await;
    let program = service.deploy_beside(2, &hello_controller(), &hello_circuit()).await;
    let mut tasks = Vec::new();
    for name in ["Ada", "Grace", "Hedy"] {
        tasks.push(service.submit(&program, json!({"name": name})).await);
    }
    // The API answers while they run: reads, writes, dry runs.
    for path in ["/health/live", "/health/ready", "/api/v1/tasks", "/api/v1/roots/current"] {
        let status = service.request(Method::GET, path).send().await.unwrap().status();
        assert!(status.is_success(), "{path}: {status}");
    }
    let file = format!("/api/v1/programs/{program}/files/note.txt");
    let written = service.request(Method::PUT, &file).body("meanwhile").send().await.unwrap();
    assert!(written.status().is_success(), "{}", written.status());
    let dry = service.post(&format!("/api/v1/programs/{program}/witness"), &json!({"args": {"name": "Emmy"}}));
    json_of(dry, StatusCode::OK).await;
    for task in &tasks {
        service.delivered(task).await;
    }

    service.act_as(&admin);
    let listed = service.get("/api/v1/tasks?limit=1000").await;
    let unfinished = |task: &&Value| {
        let state: TaskState = serde_json::from_value(task["state"].clone()).unwrap();
        storm.contains(task["id"].as_str().unwrap()) && !state.is_finished()
    };
    let left = listed["items"].as_array().unwrap().iter().filter(unfinished).count();
    assert!(left > 0, "the storm was over before the others were delivered: this shows nothing");
}
