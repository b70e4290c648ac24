//! Keys: who needs one, which are good, and that nobody reads them where they should not be.

use crate::{
    guests::{counter, hello_circuit},
    process::{coprocessor, offline_key, run},
    service::{Service, json_of, problem_of, until},
};
use reqwest::{Method, RequestBuilder, StatusCode, header::AUTHORIZATION};
use serde_json::{Value, json};
use std::time::Duration;

/// Sends what must be refused for want of a good key, and checks that it is told how to send one.
async fn unauthenticated(what: &str, request: RequestBuilder) {
    let response = request.send().await.unwrap();
    let challenge = response.headers().get("www-authenticate").map(|value| value.to_str().unwrap().to_owned());
    assert!(challenge.is_some_and(|challenge| challenge.starts_with("Bearer ")), "{what}");
    let problem: Value = response.json().await.unwrap();
    assert_eq!(problem["code"], "unauthenticated", "{what}: {problem}");
}

/// Whether a request is let through the gate, whatever comes of it then.
async fn passes(request: RequestBuilder) -> bool {
    request.send().await.unwrap().status() != StatusCode::UNAUTHORIZED
}

#[tokio::test]
async fn without_any_key_whoever_is_on_this_machine_may_do_everything() {
    let service = Service::start(&[]);
    let me = service.get("/api/v1/whoami").await;
    assert_eq!(me["owner"], "anonymous");
    assert_eq!(me["scopes"], json!(["read", "deploy", "prove", "admin"]));
    assert_eq!(me["key"], Value::Null);
    // A key that is none is refused even so: who sends one does not mean to be nobody.
    let bad = service.request_as(Some("cpk_nonsense"), Method::GET, "/api/v1/whoami");
    unauthenticated("a bad key", bad).await;
}

#[tokio::test]
async fn web_pages_of_others_do_nothing_here_though_a_browser_of_this_machine_asks() {
    let mut service = Service::start(&[]);
    let multipart = || {
        let form = reqwest::multipart::Form::new().text("name", "x");
        // What a browser sends for a form of another page without asking first.
        service.request(Method::POST, "/api/v1/programs").multipart(form)
    };
    let foreign = multipart().header("origin", "https://evil.example");
    service.refuses("a form of another page", foreign, 403, "forbidden").await;
    let rebound = service.request(Method::GET, "/api/v1/tasks").header("host", "evil.example:37281");
    service.refuses("a name that was made to mean this machine", rebound, 403, "forbidden").await;
    let own = multipart().header("origin", format!("http://{}", service.address()));
    service.refuses("a form of its own page", own, 400, "invalid_body").await;
    // With a key it is the key that counts.
    let key = service.key_for("ops", &["admin"]).await;
    service.act_as(&key);
    let named = service.request(Method::GET, "/api/v1/tasks").header("host", "coprocessor.example");
    json_of(named.header("origin", "https://tools.example"), StatusCode::OK).await;
}

#[tokio::test]
async fn once_there_is_a_key_every_request_needs_one() {
    let mut service = Service::start(&[]);
    let key = service.key_for("ops", &["admin"]).await;
    let paths = ["/api/v1", "/api/v1/tasks", "/api/v1/whoami", "/api/v1/roots/current", "/api/v1/events"];
    for path in paths {
        unauthenticated(path, service.request(Method::GET, path)).await;
    }
    unauthenticated("a task", service.prove(&"0".repeat(64), json!({}))).await;
    for path in ["/health/live", "/health/ready", "/openapi.json", "/docs/", "/"] {
        assert!(passes(service.request(Method::GET, path)).await, "{path} takes no key");
    }
    let ready: Value = service.request(Method::GET, "/health/ready").send().await.unwrap().json().await.unwrap();
    assert_eq!(ready["tasks"], json!({}), "how much others do is nobody's business");
    let id = &key[4..20];
    let other_secret = format!("cpk_{id}_{}", "A".repeat(43));
    for bad in
        ["", "cpk_", "nonsense", other_secret.as_str(), &key[..key.len() - 1], &format!("{key}A"), &key.to_uppercase()]
    {
        unauthenticated(bad, service.request_as(Some(bad), Method::GET, "/api/v1/tasks")).await;
    }
    for header in [format!("Basic {key}"), key.clone(), "Bearer".to_owned()] {
        let request = service.request(Method::GET, "/api/v1/tasks").header(AUTHORIZATION, &header);
        unauthenticated("another scheme", request).await;
    }
    let in_query = service.request(Method::GET, &format!("/api/v1/tasks?key={key}&access_token={key}"));
    unauthenticated("a key in the query", in_query).await;

    service.act_as(&key);
    let me = service.get("/api/v1/whoami").await;
    assert_eq!((&me["owner"], &me["key"]), (&json!("ops"), &json!(id)));
    assert!(service.get("/health/ready").await["tasks"].is_object());
    // Over a restart too.
    service.kill();
    service.restart(&[]);
    service.get("/api/v1/tasks").await;
    service.act_as_nobody();
    unauthenticated("after a restart", service.request(Method::GET, "/api/v1/tasks")).await;
}

#[tokio::test]
async fn guests_are_let_in_where_the_operator_says_so() {
    let mut service = Service::start(&["--anonymous"]);
    let key = service.key_for("ops", &["admin"]).await;
    let me = service.get("/api/v1/whoami").await;
    assert_eq!((&me["owner"], &me["scopes"]), (&json!("anonymous"), &json!(["read", "deploy", "prove"])));
    let program = service.deploy(&counter(1, 1), &hello_circuit()).await;
    let task = service.submit(&program, json!({})).await;
    service.delivered(&task).await;
    let another = service.post("/api/v1/keys", &json!({"scopes": ["admin"]}));
    problem_of("a guest makes a key", another, 403, "forbidden").await;
    let bad = format!("{}x", &key[..key.len() - 1]);
    unauthenticated("a bad key", service.request_as(Some(&bad), Method::GET, "/api/v1/tasks")).await;
    service.act_as(&key);
    assert_eq!(service.task(&task).await.owner, "anonymous", "an administrator sees it");
}

#[tokio::test]
async fn a_revoked_key_and_an_expired_one_are_good_no_longer() {
    let mut service = Service::start(&[]);
    let admin = service.key_for("ops", &["admin"]).await;
    service.act_as(&admin);
    let alice = service.key_for("alice", &["read"]).await;
    let as_alice = || service.request_as(Some(&alice), Method::GET, "/api/v1/whoami");
    assert_eq!(json_of(as_alice(), StatusCode::OK).await["owner"], "alice");
    let id = &alice[4..20];
    let revoked = json_of(service.request(Method::DELETE, &format!("/api/v1/keys/{id}")), StatusCode::OK).await;
    assert!(revoked["revoked_at"].is_string(), "{revoked}");
    unauthenticated("the revoked key", as_alice()).await;
    // Once more is no error, and changes nothing.
    let again = json_of(service.request(Method::DELETE, &format!("/api/v1/keys/{id}")), StatusCode::OK).await;
    assert_eq!(again, revoked);

    let soon = jiff::Timestamp::now() + Duration::from_secs(3);
    let body = json!({"owner": "bob", "scopes": ["read"], "expires_at": soon.to_string()});
    let bob = json_of(service.post("/api/v1/keys", &body), StatusCode::CREATED).await;
    let bob = bob["secret"].as_str().unwrap();
    let as_bob = || service.request_as(Some(bob), Method::GET, "/api/v1/whoami");
    until("the key expires", || async { !passes(as_bob()).await }).await;
    assert!(jiff::Timestamp::now() >= soon, "not before");
    let past = json!({"owner": "bob", "scopes": ["read"], "expires_at": "2020-01-01T00:00:00Z"});
    service.refuses("expired from the start", service.post("/api/v1/keys", &past), 400, "invalid_body").await;
    let nothing = json!({"owner": "bob", "scopes": []});
    service.refuses("a key for nothing", service.post("/api/v1/keys", &nothing), 400, "invalid_body").await;
    let unknown = service.request(Method::DELETE, "/api/v1/keys/0123456789abcdef");
    service.refuses("an unknown key", unknown, 404, "unknown_key").await;
    let malformed = service.request(Method::DELETE, "/api/v1/keys/xyz");
    service.refuses("no key's id", malformed, 400, "invalid_parameter").await;
}

#[tokio::test]
async fn keys_are_listed_without_their_secrets() {
    let mut service = Service::start(&[]);
    let admin = service.key_for("ops", &["admin"]).await;
    service.act_as(&admin);
    let mut keys = vec![admin];
    for _ in 0..3 {
        keys.push(service.key_for("alice", &["read", "prove"]).await);
    }
    let all = service.get("/api/v1/keys").await;
    assert_eq!(all["items"].as_array().unwrap().len(), 4);
    let of_alice = service.get("/api/v1/keys?owner=alice&limit=2").await;
    assert_eq!(of_alice["items"].as_array().unwrap().len(), 2);
    let next = of_alice["next"].as_str().unwrap();
    let rest = service.get(&format!("/api/v1/keys?owner=alice&limit=2&cursor={next}")).await;
    assert_eq!((rest["items"].as_array().unwrap().len(), &rest["next"]), (1, &Value::Null));
    for key in &keys {
        assert!(!all.to_string().contains(&key[21..]));
    }
}

#[tokio::test]
async fn keys_are_made_listed_and_revoked_in_the_store_of_a_stopped_service() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let key = offline_key(&data, &["--owner", "ops", "--scope", "admin", "--name", "first", "--expires", "90d"]);
    // With a key there is no need for --insecure.
    let mut service = Service::stopped(directory);
    service.restart(&["--listen", "0.0.0.0:0"]);
    unauthenticated("nobody", service.request(Method::GET, "/api/v1/tasks")).await;
    service.act_as(&key);
    assert_eq!(service.get("/api/v1/whoami").await["owner"], "ops");

    let offline = |arguments: &[&str]| {
        let mut command = coprocessor();
        command.arg("keys").args(arguments).arg("--data-dir").arg(&data);
        let output = run(command);
        (output.status.success(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let (done, _, said) = offline(&["list"]);
    assert!(!done && said.contains("/api/v1/keys") && said.contains("admin key"), "{said}");
    service.stop();
    let (done, listed, said) = offline(&["list", "--json"]);
    assert!(done, "{said}");
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!((&listed["name"], &listed["scopes"]), (&json!("first"), &json!(["admin"])));
    assert!(listed["expires_at"].is_string());
    let (done, table, _) = offline(&["list"]);
    assert!(done && table.contains("first") && !table.contains(&key[21..]), "{table}");
    let (done, _, said) = offline(&["revoke", &key[4..20]]);
    assert!(done, "{said}");
    let (done, _, said) = offline(&["revoke", "0123456789abcdef"]);
    assert!(!done && said.contains("0123456789abcdef"), "{said}");
    // A revoked key was made once: nobody is let in without one.
    service.restart(&[]);
    unauthenticated("the revoked key", service.request(Method::GET, "/api/v1/tasks")).await;
    service.act_as_nobody();
    unauthenticated("nobody", service.request(Method::GET, "/api/v1/tasks")).await;

    let nowhere = directory_that_is_not_there();
    let mut list = coprocessor();
    list.args(["keys", "list", "--data-dir", &nowhere]);
    let output = run(list);
    assert!(!output.status.success() && String::from_utf8_lossy(&output.stderr).contains(&nowhere));
    assert!(!std::path::Path::new(&nowhere).exists(), "looking makes nothing");
}

fn directory_that_is_not_there() -> String {
    let directory = tempfile::tempdir().unwrap();
    directory.path().join("none").to_str().unwrap().to_owned()
}

#[tokio::test]
async fn no_log_has_a_key_in_it() {
    let mut service = Service::start_with(&["--webhook-allow", "127.0.0.1:1"], &[("RUST_LOG", "trace")]);
    let key = service.key_for("ops", &["admin"]).await;
    service.act_as(&key);
    let program = service.deploy(&counter(1, 1), &hello_circuit()).await;
    let task = service.submit(&program, json!({})).await;
    service.delivered(&task).await;
    let secret = format!("whsec_{}", "QUJD".repeat(10));
    let hook = json!({"url": "http://127.0.0.1:1/hook", "secret": secret});
    json_of(service.post("/api/v1/webhooks", &hook), StatusCode::CREATED).await;
    let bad = format!("cpk_0123456789abcdef_{}", "hush".repeat(10));
    assert!(!passes(service.request_as(Some(&bad), Method::GET, "/api/v1/tasks")).await);
    service.request(Method::GET, &format!("/api/v1/tasks?cursor={bad}")).send().await.unwrap();
    let log = service.log();
    assert!(log.contains("TRACE"), "the log is as talkative as can be");
    for secret in [&key[21..], &bad[21..], &secret[6..]] {
        assert!(!log.contains(secret), "a secret is in the log");
    }
}
