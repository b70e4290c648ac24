//! What a key may do, and that what others have does not exist for it.

use crate::{
    guests::{counter, hello_circuit, hello_controller},
    service::{Service, deployment, json_of, problem_of},
};
use coprocessor_types::TaskId;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

/// Requests and the scope that each takes; right but for what they are about, which is not there.
fn requests() -> Vec<(Method, String, Value, &'static str)> {
    let (program, task) = ("0".repeat(64), TaskId::now().to_string());
    let of_program = |rest: &str| format!("/api/v1/programs/{program}{rest}");
    let of_domain = |rest: &str| format!("/api/v1/domains/elsewhere{rest}");
    let of_task = |rest: &str| format!("/api/v1/tasks/{task}{rest}");
    let (get, post, put, delete) = (Method::GET, Method::POST, Method::PUT, Method::DELETE);
    let mut prover = json!({"address": "http://127.0.0.1:1"});
    let own = prover.clone();
    prover["shared"] = true.into();
    vec![
        (get.clone(), "/api/v1/programs".into(), Value::Null, "read"),
        (get.clone(), of_program(""), Value::Null, "read"),
        (get.clone(), of_program("/controller"), Value::Null, "read"),
        (get.clone(), of_program("/controller/versions"), Value::Null, "read"),
        (post.clone(), of_program("/controller/rollback"), json!({"version": 1}), "deploy"),
        (get.clone(), of_program("/circuit"), Value::Null, "read"),
        (get.clone(), of_program("/vk"), Value::Null, "read"),
        (get.clone(), of_program("/files"), Value::Null, "read"),
        (get.clone(), of_program("/files/a.txt"), Value::Null, "read"),
        (get.clone(), of_program("/image"), Value::Null, "read"),
        (get.clone(), of_program("/volume"), Value::Null, "read"),
        (get.clone(), of_program("/raw"), Value::Null, "read"),
        (get.clone(), "/api/v1/tasks".into(), Value::Null, "read"),
        (get.clone(), of_task(""), Value::Null, "read"),
        (get.clone(), of_task("/events"), Value::Null, "read"),
        (get.clone(), of_task("/proof"), Value::Null, "read"),
        (get.clone(), of_task("/recording"), Value::Null, "read"),
        (get.clone(), "/api/v1/events".into(), Value::Null, "read"),
        (get.clone(), "/api/v1/provers".into(), Value::Null, "read"),
        (get.clone(), "/api/v1/webhooks".into(), Value::Null, "read"),
        (get.clone(), format!("/api/v1/webhooks/{task}"), Value::Null, "read"),
        (get.clone(), "/api/v1/keys".into(), Value::Null, "read"),
        (get.clone(), "/api/v1/domains".into(), Value::Null, "read"),
        (get.clone(), of_domain(""), Value::Null, "read"),
        (get.clone(), of_domain("/controller"), Value::Null, "read"),
        (get.clone(), of_domain("/blocks"), Value::Null, "read"),
        (get.clone(), of_domain("/blocks/1"), Value::Null, "read"),
        (get.clone(), of_domain("/latest"), Value::Null, "read"),
        (get.clone(), "/api/v1/roots".into(), Value::Null, "read"),
        (get.clone(), "/api/v1/roots/current".into(), Value::Null, "read"),
        (get.clone(), format!("/api/v1/roots/{program}"), Value::Null, "read"),
        (get.clone(), format!("/api/v1/roots/{program}/openings/{program}/1"), Value::Null, "read"),
        (get.clone(), format!("/api/v1/roots/{program}/instance"), Value::Null, "read"),
        (get.clone(), format!("/api/v1/roots/transitions?from={program}"), Value::Null, "read"),
        (post.clone(), of_domain("/blocks"), json!({"args": 1}), "deploy"),
        (put.clone(), of_domain("/controller"), json!("x"), "admin"),
        (post.clone(), "/api/v1/domains".into(), json!({"name": "x", "controller": ""}), "admin"),
        (post.clone(), "/api/v1/programs".into(), deployment(&hello_controller(), &hello_circuit()), "deploy"),
        (delete.clone(), of_program(""), Value::Null, "deploy"),
        (put.clone(), of_program("/files/a.txt"), json!("x"), "deploy"),
        (Method::PATCH, of_program("/files/a.txt"), json!({"rename_to": "b.txt"}), "deploy"),
        (put.clone(), of_program("/image"), json!("x"), "deploy"),
        (put.clone(), of_program("/raw"), json!("x"), "deploy"),
        (delete.clone(), of_program("/files/a.txt"), Value::Null, "deploy"),
        (post.clone(), "/api/v1/provers".into(), own, "deploy"),
        (delete.clone(), "/api/v1/provers?address=http://127.0.0.1:1".into(), Value::Null, "deploy"),
        (post.clone(), "/api/v1/webhooks".into(), json!({"url": "https://127.0.0.1/"}), "deploy"),
        (delete.clone(), format!("/api/v1/webhooks/{task}"), Value::Null, "deploy"),
        (post.clone(), of_program("/tasks"), json!({"kind": "mock"}), "prove"),
        (post.clone(), of_task("/retry"), Value::Null, "prove"),
        (delete.clone(), of_task(""), Value::Null, "prove"),
        (post.clone(), "/api/v1/keys".into(), json!({"scopes": ["read"]}), "admin"),
        (get.clone(), "/api/v1/owners".into(), Value::Null, "admin"),
        (put, "/api/v1/owners/alice".into(), json!({"weight": 2}), "admin"),
        (get.clone(), "/api/v1/storage".into(), Value::Null, "admin"),
        (get.clone(), "/api/v1/events?all=true".into(), Value::Null, "admin"),
        (get, "/api/v1/tasks?owner=bob".into(), Value::Null, "admin"),
        (post, "/api/v1/provers".into(), prover, "admin"),
    ]
}

#[tokio::test]
async fn a_key_does_what_its_scopes_say_and_nothing_else() {
    let mut service = Service::start(&[]);
    let admin = service.key_for("ops", &["admin"]).await;
    service.act_as(&admin);
    let scopes = ["read", "deploy", "prove"];
    let mut keys = Vec::new();
    for scope in scopes {
        keys.push((scope, service.key_for("alice", &[scope]).await));
    }
    let everything = service.key_for("alice", &scopes).await;
    let ask = |key: &str, (method, path, body, _): &(Method, String, Value, &str)| {
        let request = service.request_as(Some(key), method.clone(), path);
        if body.is_null() { request } else { request.json(body) }
    };
    for request in requests() {
        let (method, path, _, needed) = &request;
        for (scope, key) in &keys {
            let response = ask(key, &request).send().await.unwrap();
            let refused = response.status() == StatusCode::FORBIDDEN;
            assert_eq!(!refused, scope == needed, "{method} {path} with {scope}: {}", response.text().await.unwrap());
        }
        let status = ask(&everything, &request).send().await.unwrap().status();
        assert_eq!(status == StatusCode::FORBIDDEN, *needed == "admin", "{method} {path}: {status}");
        let status = ask(&admin, &request).send().await.unwrap().status();
        assert!(status != StatusCode::FORBIDDEN && status != StatusCode::UNAUTHORIZED, "{method} {path}: {status}");
    }
}

/// A service with an administrator, where what owners name may be at one address inside; and keys of alice's and bob's that may do everything but administer.
async fn neighbours() -> (Service, String, String) {
    let mut service = Service::start(&["--webhook-allow", "127.0.0.1:1"]);
    let admin = service.key_for("ops", &["admin"]).await;
    service.act_as(&admin);
    let scopes = ["read", "deploy", "prove"];
    let (alice, bob) = (service.key_for("alice", &scopes).await, service.key_for("bob", &scopes).await);
    (service, alice, bob)
}

#[tokio::test]
async fn what_others_have_does_not_exist() {
    let (mut service, alice, bob) = neighbours().await;
    service.act_as(&alice);
    let program = service.deploy(&counter(1, 1), &hello_circuit()).await;
    let task = service.submit(&program, json!({})).await;
    service.delivered(&task).await;
    let hook = json!({"url": "http://127.0.0.1:1/hook"});
    let hook = json_of(service.post("/api/v1/webhooks", &hook), StatusCode::CREATED).await;
    let hook = hook["id"].as_str().unwrap();
    json_of(service.post("/api/v1/provers", &json!({"address": "http://127.0.0.1:1"})), StatusCode::CREATED).await;

    let before = service.everything().await;
    let unknown = TaskId::now().to_string();
    let of_program = |rest: &str| format!("/api/v1/programs/{program}{rest}");
    let of_task = |rest: &str| format!("/api/v1/tasks/{task}{rest}");
    for (method, path, code) in [
        (Method::GET, of_program(""), "unknown_program"),
        (Method::GET, of_program("/controller"), "unknown_program"),
        (Method::GET, of_program("/circuit"), "unknown_program"),
        (Method::GET, of_program("/vk"), "unknown_program"),
        (Method::GET, of_program("/image"), "unknown_program"),
        (Method::PUT, of_program("/image"), "unknown_program"),
        (Method::GET, of_program("/volume"), "unknown_program"),
        (Method::GET, of_program("/raw"), "unknown_program"),
        (Method::PUT, of_program("/raw"), "unknown_program"),
        (Method::GET, of_program("/files"), "unknown_program"),
        (Method::GET, of_program("/files/count.bin"), "unknown_program"),
        (Method::PUT, of_program("/files/count.bin"), "unknown_program"),
        (Method::DELETE, of_program("/files/count.bin"), "unknown_program"),
        (Method::DELETE, of_program(""), "unknown_program"),
        (Method::POST, of_program("/tasks"), "unknown_program"),
        (Method::POST, of_program("/witness"), "unknown_program"),
        (Method::POST, of_program("/execute"), "unknown_program"),
        (Method::POST, of_program("/call"), "unknown_program"),
        (Method::GET, of_task(""), "unknown_task"),
        (Method::GET, of_task("?wait=60"), "unknown_task"),
        (Method::GET, of_task("/events"), "unknown_task"),
        (Method::GET, of_task("/proof"), "unknown_task"),
        (Method::POST, of_task("/retry"), "unknown_task"),
        (Method::DELETE, of_task(""), "unknown_task"),
        (Method::GET, format!("/api/v1/webhooks/{hook}"), "unknown_webhook"),
        (Method::GET, format!("/api/v1/webhooks/{hook}/deliveries"), "unknown_webhook"),
        (Method::POST, format!("/api/v1/webhooks/{hook}/deliveries/{unknown}/redeliver"), "unknown_webhook"),
        (Method::DELETE, format!("/api/v1/webhooks/{hook}"), "unknown_webhook"),
        (Method::DELETE, "/api/v1/provers?address=http://127.0.0.1:1".into(), "unknown_prover"),
        (Method::DELETE, "/api/v1/provers?owner=alice&address=http://127.0.0.1:1".into(), "unknown_prover"),
        (Method::DELETE, format!("/api/v1/keys/{}", &alice[4..20]), "unknown_key"),
        (Method::GET, "/api/v1/owners/alice".into(), "unknown_owner"),
    ] {
        let request = service.request_as(Some(&bob), method.clone(), &path);
        let request = if method == Method::POST { request.json(&json!({})) } else { request };
        problem_of(&format!("{method} {path}"), request, 404, code).await;
    }
    for list in ["programs", "tasks", "provers", "webhooks", "events"] {
        let request = service.request_as(Some(&bob), Method::GET, &format!("/api/v1/{list}"));
        let items = json_of(request, StatusCode::OK).await["items"].clone();
        let of_alice = items.as_array().unwrap().iter().filter(|item| item["owner"] == "alice").count();
        assert_eq!(of_alice, 0, "{list}: {items}");
        assert!(list == "provers" || items == json!([]), "{list}: {items}");
    }
    // The same circuit under the same nonce is told apart without a word of whose it is.
    let same = deployment(&counter(1, 1), &hello_circuit());
    let taken = service.request_as(Some(&bob), Method::POST, "/api/v1/programs").json(&same);
    let problem = problem_of("the same circuit", taken, 409, "nonce_taken").await;
    assert!(!problem.detail.contains("alice") && !problem.detail.contains(&program), "{problem}");
    assert_eq!(service.everything().await, before, "nothing of alice's changed");
}

#[tokio::test]
async fn a_public_program_is_for_all_to_prove_and_its_owners_to_change() {
    let (mut service, alice, bob) = neighbours().await;
    service.act_as(&alice);
    let mut public = deployment(&counter(1, 1), &hello_circuit());
    public["public"] = true.into();
    let program = json_of(service.post("/api/v1/programs", &public), StatusCode::CREATED).await;
    assert_eq!((&program["public"], &program["owner"]), (&json!(true), &json!("alice")));
    let program = program["id"].as_str().unwrap().to_owned();
    service.act_as(&bob);
    let task = service.submit(&program, json!({})).await;
    assert_eq!(service.delivered(&task).await.owner, "bob");
    assert_eq!(service.count(&program).await, 1);
    let file = service.request(Method::PUT, &format!("/api/v1/programs/{program}/files/a.txt")).body("x");
    service.refuses("writing to it", file, 403, "forbidden").await;
    let delete = service.request(Method::DELETE, &format!("/api/v1/programs/{program}"));
    service.refuses("deleting it", delete, 403, "forbidden").await;
    // What bob asked is bob's.
    let of_bob = service.request_as(Some(&alice), Method::GET, &format!("/api/v1/tasks/{task}"));
    problem_of("bob's task", of_bob, 404, "unknown_task").await;
}

#[tokio::test]
async fn an_owners_own_node_proves_for_nobody_else() {
    let (mut service, alice, bob) = neighbours().await;
    let admin = service.key_for("ops", &["admin"]).await;
    service.act_as(&alice);
    let inside = service.post("/api/v1/provers", &json!({"address": "http://127.0.0.1:2"}));
    // An address of the service's own network is for the operator to name.
    service.refuses("a node inside", inside, 400, "invalid_body").await;
    service.act_as(&admin);
    let own = service.post("/api/v1/provers", &json!({"address": "http://127.0.0.1:1"}));
    let own = json_of(own, StatusCode::CREATED).await;
    assert_eq!((&own["owner"], &own["shared"], &own["reachable"]), (&json!("ops"), &json!(false), &json!(false)));
    let shared = service.post("/api/v1/provers", &json!({"address": "http://127.0.0.1:2", "shared": true}));
    assert_eq!(json_of(shared, StatusCode::CREATED).await["shared"], true);
    let seen = service.request_as(Some(&bob), Method::GET, "/api/v1/provers");
    let seen = json_of(seen, StatusCode::OK).await;
    let addresses: Vec<&str> =
        seen["items"].as_array().unwrap().iter().map(|node| node["address"].as_str().unwrap()).collect();
    assert!(addresses.contains(&"http://127.0.0.1:2") && !addresses.contains(&"http://127.0.0.1:1"), "{addresses:?}");
}
