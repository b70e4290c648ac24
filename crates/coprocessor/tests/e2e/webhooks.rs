//! Webhooks: signed, sent again until they are received, also by another process, and by hand.

use crate::{
    guests::{counter, hello_circuit},
    service::{Service, json_of, problem_of, until},
};
use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode as Status},
    routing::post,
};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};

/// What a receiver got, and what it answers.
#[derive(Clone)]
struct Receiver {
    address: String,
    got: Arc<Mutex<Vec<(HeaderMap, Bytes)>>>,
    answer: Arc<Mutex<Status>>,
}

impl Receiver {
    async fn start(answer: Status) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let receiver = Self { address, got: Arc::default(), answer: Arc::new(Mutex::new(answer)) };
        let take = |State(receiver): State<Receiver>, headers: HeaderMap, body: Bytes| async move {
            receiver.got.lock().unwrap().push((headers, body));
            *receiver.answer.lock().unwrap()
        };
        let app = Router::new().route("/hook", post(take)).with_state(receiver.clone());
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        receiver
    }

    fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    fn answers(&self, status: Status) {
        *self.answer.lock().unwrap() = status;
    }

    /// What came so far, each checked against the secret: ids and bodies.
    fn verified(&self, secret: &str) -> Vec<(String, Value)> {
        let verifier = standardwebhooks::Webhook::new(secret).unwrap();
        let other = standardwebhooks::Webhook::new(&format!("whsec_{}", "QUJD".repeat(10))).unwrap();
        let got = self.got.lock().unwrap();
        got.iter()
            .map(|(headers, body)| {
                verifier.verify(body, headers).unwrap();
                assert!(other.verify(body, headers).is_err(), "another secret verifies it too");
                (headers["webhook-id"].to_str().unwrap().to_owned(), serde_json::from_slice(body).unwrap())
            })
            .collect()
    }
}

async fn register(service: &Service, body: Value) -> (String, String) {
    let hook = json_of(service.post("/api/v1/webhooks", &body), StatusCode::CREATED).await;
    (hook["id"].as_str().unwrap().to_owned(), hook["secret"].as_str().unwrap().to_owned())
}

async fn deliveries(service: &Service, hook: &str) -> Vec<Value> {
    service.get(&format!("/api/v1/webhooks/{hook}/deliveries?limit=1000")).await["items"].as_array().unwrap().clone()
}

async fn delivered(service: &Service, hook: &str, count: usize) {
    until("everything is delivered", || async {
        let deliveries = deliveries(service, hook).await;
        deliveries.len() == count && deliveries.iter().all(|delivery| delivery["state"] == "delivered")
    })
    .await;
}

#[tokio::test]
async fn events_are_sent_signed_and_can_be_sent_again() {
    let receiver = Receiver::start(Status::OK).await;
    let service = Service::start(&["--webhook-allow", &receiver.address]);
    let program = service.deploy(&counter(1, 1), &hello_circuit()).await;
    let early = service.submit(&program, json!({})).await;
    service.delivered(&early).await;
    let (hook, secret) = register(&service, json!({"url": receiver.url()})).await;
    let listed = service.get("/api/v1/webhooks").await;
    assert_eq!(listed["items"][0]["events"], json!(["cancelled", "delivered", "failed"]));
    assert!(!listed.to_string().contains(&secret[6..]), "its secret was shown once");
    assert_eq!(service.get(&format!("/api/v1/webhooks/{hook}")).await, listed["items"][0]);

    let task = service.submit(&program, json!({})).await;
    service.delivered(&task).await;
    delivered(&service, &hook, 1).await;
    let got = receiver.verified(&secret);
    assert_eq!(got.len(), 1, "nothing of what was before: {got:?}");
    let told = got[0].1.to_string();
    assert!(told.contains(&task) && told.contains("delivered"), "{told}");
    let delivery = deliveries(&service, &hook).await[0].clone();
    assert_eq!(
        (&delivery["id"], &delivery["attempts"], &delivery["last"]["status"]),
        (&json!(got[0].0), &json!(1), &json!(200))
    );
    assert_eq!((&delivery["event"]["task"], &delivery["event"]["name"]), (&json!(task), &json!("delivered")));

    let path = format!("/api/v1/webhooks/{hook}/deliveries/{}/redeliver", got[0].0);
    let again = json_of(service.request(Method::POST, &path), StatusCode::ACCEPTED).await;
    assert_eq!(again["id"], delivery["id"]);
    until("it is sent once more", || async { receiver.got.lock().unwrap().len() == 2 }).await;
    let got = receiver.verified(&secret);
    assert_eq!(got[0], got[1], "the same id and content");
    delivered(&service, &hook, 1).await;

    let unknown = format!("/api/v1/webhooks/{hook}/deliveries/{}/redeliver", coprocessor_types::TaskId::now());
    service.refuses("no delivery", service.request(Method::POST, &unknown), 404, "unknown_delivery").await;
    let malformed = format!("/api/v1/webhooks/{hook}/deliveries/x/redeliver");
    service.refuses("no id", service.request(Method::POST, &malformed), 400, "invalid_parameter").await;
    let path = format!("/api/v1/webhooks/{hook}");
    assert_eq!(service.request(Method::DELETE, &path).send().await.unwrap().status(), 204);
    problem_of("gone", service.request(Method::DELETE, &path), 404, "unknown_webhook").await;
    let task = service.submit(&program, json!({})).await;
    service.delivered(&task).await;
    assert_eq!(receiver.got.lock().unwrap().len(), 2, "nothing is sent any more");
}

#[tokio::test]
async fn what_was_not_received_is_sent_again_by_the_next_process_too() {
    let receiver = Receiver::start(Status::INTERNAL_SERVER_ERROR).await;
    let flags = ["--webhook-allow", &receiver.address];
    let mut service = Service::start(&flags);
    let program = service.deploy(&counter(1, 1), &hello_circuit()).await;
    let body = json!({"url": receiver.url(), "events": ["admitted", "delivered"]});
    let (hook, secret) = register(&service, body).await;
    let task = service.submit(&program, json!({})).await;
    service.delivered(&task).await;
    until("both were tried", || async {
        let deliveries = deliveries(&service, &hook).await;
        deliveries.len() == 2 && deliveries.iter().all(|delivery| delivery["last"]["status"] == 500)
    })
    .await;
    for delivery in deliveries(&service, &hook).await {
        assert_eq!(delivery["state"], "pending");
        assert!(delivery["next_at"].is_string(), "{delivery}");
    }
    service.kill();
    receiver.answers(Status::NO_CONTENT);
    service.restart(&flags);
    delivered(&service, &hook, 2).await;
    let got = receiver.verified(&secret);
    let mut ids: Vec<&String> = got.iter().map(|(id, _)| id).collect();
    assert!(ids.len() >= 4, "each was tried at least twice");
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 2, "under the same ids");
}

#[tokio::test]
async fn webhooks_that_cannot_be_are_refused() {
    let receiver = Receiver::start(Status::OK).await;
    let service = Service::start(&[]);
    let short = format!("whsec_{}", "QUJD");
    for body in [
        json!({"url": receiver.url()}),
        json!({"url": "https://127.0.0.1/"}),
        json!({"url": "https://[::1]/"}),
        json!({"url": "https://169.254.169.254/latest/meta-data"}),
        json!({"url": "https://10.0.0.1/"}),
        json!({"url": "http://1.1.1.1/"}),
        json!({"url": "ftp://1.1.1.1/"}),
        json!({"url": "https://user:hush@1.1.1.1/"}),
        json!({"url": ""}),
        json!({"url": "https://1.1.1.1/", "events": ["nonsense"]}),
        json!({"url": "https://1.1.1.1/", "secret": "hush"}),
        json!({"url": "https://1.1.1.1/", "secret": short}),
        json!({"url": "https://1.1.1.1/", "owner": "bob"}),
        json!({}),
    ] {
        let request = service.post("/api/v1/webhooks", &body);
        let problem = service.refuses(&body.to_string(), request, 400, "invalid_body").await;
        assert!(!problem.detail.contains("hush"), "{problem}");
    }
    assert_eq!(service.get("/api/v1/webhooks").await["items"], json!([]));
    let malformed = service.request(Method::GET, "/api/v1/webhooks/x");
    service.refuses("no id", malformed, 400, "invalid_parameter").await;
    assert!(receiver.got.lock().unwrap().is_empty());
}
