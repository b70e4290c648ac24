//! What controllers reach: hosts that the operator allows and RPC endpoints that he names, within caps, and nothing of his secrets.

use crate::{
    guests::{asker, hello_circuit, rpc_asker},
    service::{Service, json_of, problem_of},
};
use axum::{
    Json, Router,
    extract::{Path, State},
    http::{HeaderMap, header::LOCATION},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use coprocessor_api::TaskState;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::{
    io::Write,
    sync::{Arc, Mutex},
};

const KEY: &str = "k3y-of-the-operator";
const TOKEN: &str = "t0ken-of-the-operator";

/// A server on this machine, and what it was asked.
#[derive(Clone)]
struct Web {
    /// `127.0.0.1:port`.
    address: String,
    asked: Arc<Mutex<Vec<String>>>,
    /// Where `/away` leads.
    away: String,
}

impl Web {
    async fn start(away: &str) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let web = Self { address, asked: Arc::default(), away: away.to_owned() };
        let app = Router::new()
            .route("/hello", get(hello))
            .route("/away", get(away_from_here))
            .route("/big", get(|| async { vec![b'x'; 2 << 20] }))
            .route("/silent", get(std::future::pending::<()>))
            .route("/rpc/{key}", post(rpc))
            .with_state(web.clone());
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        web
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn note(&self, what: String) {
        self.asked.lock().unwrap().push(what);
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

async fn hello(State(web): State<Web>, headers: HeaderMap) -> Json<Value> {
    let authorization = headers.get("authorization").map(|value| value.to_str().unwrap()).unwrap_or_default();
    web.note(format!("hello {authorization}"));
    Json(json!({"hello": "world"}))
}

async fn away_from_here(State(web): State<Web>) -> Response {
    web.note("away".into());
    (StatusCode::FOUND, [(LOCATION, web.away.clone())]).into_response()
}

/// Answers one method, and says too much of all others.
async fn rpc(
    State(web): State<Web>,
    Path(key): Path<String>,
    headers: HeaderMap,
    Json(call): Json<Value>,
) -> Json<Value> {
    let token = headers["authorization"].to_str().unwrap().to_owned();
    let method = call["method"].as_str().unwrap();
    web.note(format!("{method} {key} {token}"));
    Json(match method {
        "eth_chainId" => json!({"jsonrpc": "2.0", "id": call["id"], "result": "0x1"}),
        _ => json!({"error": {"code": -32000, "message": format!("no credit for {key}, {token}")}}),
    })
}

async fn call(service: &Service, program: &str, args: &Value) -> Value {
    json_of(service.post(&format!("/api/v1/programs/{program}/call"), args), StatusCode::OK).await
}

/// A call whose controller gives up with what it was told.
async fn told(service: &Service, program: &str, args: &Value) -> String {
    let call = service.post(&format!("/api/v1/programs/{program}/call"), args);
    problem_of("a call", call, 422, "guest_panic").await.detail
}

#[tokio::test]
async fn an_allowed_host_is_reached_and_no_other() {
    let other = Web::start("/").await;
    let web = Web::start(&other.url("/hello")).await;
    let service = Service::start(&["--http-allow", "GET@*", "--http-allow-private", &web.address]);
    let program = service.deploy(&asker(1), &hello_circuit()).await;
    let args =
        json!({"url": web.url("/hello"), "headers": {"accept": "application/json"}, "bearer": "of the controller"});
    let answered = call(&service, &program, &args).await;
    assert_eq!((&answered["result"]["status"], &answered["result"]["body"]), (&json!(200), &json!({"hello": "world"})));
    assert_eq!(web.asked(), ["hello Bearer of the controller"]);
    let usage = &answered["usage"];
    assert_eq!(usage["network_calls"], 1);
    for counter in ["network_us", "network_sent_bytes", "network_received_bytes"] {
        assert!(usage[counter].as_u64().is_some_and(|used| used > 0), "{counter}: {usage}");
    }

    // The other one is of this machine too, and nobody named it: neither when asked for, nor when led to.
    let refused = told(&service, &program, &json!({"url": other.url("/hello")})).await;
    assert!(refused.contains("127.0.0.1"), "{refused}");
    let led = told(&service, &program, &json!({"url": web.url("/away")})).await;
    assert!(led.contains("127.0.0.1"), "{led}");
    assert_eq!((web.asked().len(), other.asked().len()), (2, 0));
    let posted = told(&service, &program, &json!({"url": web.url("/hello"), "method": "POST"})).await;
    assert!(posted.contains("POST"), "{posted}");
    assert_eq!(web.asked().len(), 2);
}

#[tokio::test]
async fn nothing_is_reached_where_nothing_is_allowed() {
    let web = Web::start("/").await;
    for flags in [&[][..], &["--http-allow", "*"], &["--http-allow-private", &web.address]] {
        let service = Service::start(flags);
        let program = service.deploy(&asker(1), &hello_circuit()).await;
        told(&service, &program, &json!({"url": web.url("/hello")})).await;
        let program = service.deploy_beside(1, &rpc_asker("eth-mainnet", "eth_chainId"), &hello_circuit()).await;
        let refused = told(&service, &program, &json!({})).await;
        assert!(refused.contains("--rpc-file"), "{refused}");
    }
    assert!(web.asked().is_empty());
}

#[tokio::test]
async fn caps_end_what_goes_beyond_them() {
    let web = Web::start("/").await;
    let flags = ["--http-allow", "*", "--http-allow-private", &web.address];
    let caps = ["--network-calls", "2", "--network-call-ms", "200", "--network-received-mib", "1"];
    let service = Service::start(&[&flags[..], &caps].concat());
    let program = service.deploy(&asker(1), &hello_circuit()).await;
    let path = format!("/api/v1/programs/{program}/call");
    let big = service.post(&path, &json!({"url": web.url("/big")}));
    problem_of("a long answer", big, 422, "network_byte_limit").await;
    // The call fails, and the controller learns why.
    let silent = told(&service, &program, &json!({"url": web.url("/silent")})).await;
    assert!(silent.contains("0.2 s"), "{silent}");
    // Its third call is one too many.
    let program = service.deploy_beside(3, &asker(3), &hello_circuit()).await;
    let again = service.post(&format!("/api/v1/programs/{program}/call"), &json!({"url": web.url("/hello")}));
    problem_of("many calls", again, 422, "network_call_limit").await;
    assert_eq!(web.asked().len(), 2);
}

#[tokio::test]
async fn a_named_endpoint_is_asked_for_its_methods_and_its_secrets_are_nowhere() {
    let web = Web::start("/").await;
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let methods = r#"methods = ["eth_chain*", "eth_fail"]"#;
    let url = web.url(&format!("/rpc/{KEY}"));
    write!(file, "[eth-mainnet]\nurl = \"{url}\"\nheaders = {{ authorization = \"Bearer {TOKEN}\" }}\n{methods}\n")
        .unwrap();
    let service = Service::start(&["--rpc-file", file.path().to_str().unwrap()]);
    let deploy = async |nonce: u64, method: &str| {
        service.deploy_beside(nonce, &rpc_asker("eth-mainnet", method), &hello_circuit()).await
    };

    let answered = call(&service, &deploy(1, "eth_chainId").await, &json!({})).await;
    assert_eq!(answered["result"], "0x1");
    assert_eq!(web.asked(), [format!("eth_chainId {KEY} Bearer {TOKEN}")]);
    let refused = told(&service, &deploy(2, "eth_getLogs").await, &json!({})).await;
    assert!(refused.contains("does not allow `eth_getLogs` on `eth-mainnet`"), "{refused}");
    assert_eq!(web.asked().len(), 1, "a refused method is not sent");

    // The endpoint repeats its secrets; they end there.
    let failing = deploy(3, "eth_fail").await;
    let mut seen = told(&service, &failing, &json!({})).await;
    assert!(seen.contains("error -32000: no credit for …"), "{seen}");
    let task = service.submit(&failing, json!({})).await;
    let retrying = service.event(&task, |event| event.name == "retrying").await;
    assert_eq!(retrying.detail["code"], "guest_panic", "{retrying:?}");
    let usage = &retrying.detail["usage"];
    assert_eq!((&usage["network_calls"], &usage["network_failures"]), (&json!(1), &json!(1)), "{retrying:?}");
    let cancel = service.request(Method::DELETE, &format!("/api/v1/tasks/{task}")).send().await.unwrap();
    assert_eq!(cancel.status(), StatusCode::OK);
    assert_eq!(service.task(&task).await.state, TaskState::Cancelled);
    for path in [format!("/api/v1/tasks/{task}"), format!("/api/v1/tasks/{task}/events")] {
        seen += &String::from_utf8(service.bytes(&path).await).unwrap();
    }
    seen += &service.log();
    assert!(seen.contains("eth-mainnet"), "chains are no secret");
    for secret in [KEY, TOKEN] {
        assert!(!seen.contains(secret), "{secret} in {seen}");
    }
}
