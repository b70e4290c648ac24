//! A task's events: as a list, and as a stream that can be taken up again.

use crate::{
    guests::{LONG, counter, hello_circuit, hello_controller},
    service::Service,
};
use coprocessor_api::EventView;
use reqwest::{Method, header::CONTENT_TYPE};
use serde_json::json;

/// One server-sent event.
#[derive(Debug, PartialEq, Eq)]
struct Sent {
    id: u64,
    event: String,
    data: String,
}

/// Reads a task's stream until the service ends it.
async fn stream(service: &Service, task: &str, last: Option<u64>) -> Vec<Sent> {
    let request = service.request(Method::GET, &format!("/api/v1/tasks/{task}/events"));
    let mut request = request.header("accept", "text/event-stream");
    if let Some(last) = last {
        request = request.header("last-event-id", last);
    }
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()[CONTENT_TYPE], "text/event-stream");
    let text = response.text().await.unwrap();
    text.split("\n\n").filter_map(parse).collect()
}

/// `None` for comments, which only keep the connection alive.
fn parse(block: &str) -> Option<Sent> {
    let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    Some(Sent { id: field("id")?.parse().unwrap(), event: field("event")?.into(), data: field("data")?.into() })
}

#[tokio::test]
async fn a_stream_has_every_event_in_order_and_ends_with_the_last() {
    let service = Service::start(&[]);
    let program = service.deploy(&counter(LONG, 1), &hello_circuit()).await;
    let task = service.submit(&program, json!({})).await;
    // Opened long before the end, so most of it is sent as it happens.
    let sent = stream(&service, &task, None).await;
    let names: Vec<&str> = sent.iter().map(|sent| sent.event.as_str()).collect();
    let expected = ["admitted", "claimed", "witness_ready", "claimed", "proof_verified", "claimed", "delivered"];
    assert_eq!(names, expected);
    assert!(sent.is_sorted_by(|a, b| a.id < b.id), "{sent:?}");

    let listed = service.events(&task).await;
    for (sent, listed) in sent.iter().zip(&listed) {
        let data: EventView = serde_json::from_str(&sent.data).unwrap();
        assert_eq!((&data, sent.id, &sent.event), (listed, listed.seq, &listed.name));
    }
    assert_eq!(sent.len(), listed.len());

    for from in 0..sent.len() {
        let resumed = stream(&service, &task, Some(sent[from].id)).await;
        assert_eq!(resumed, sent[from + 1..], "resumed after event {from}");
    }
    assert_eq!(stream(&service, &task, Some(u64::MAX >> 1)).await, []);
}

#[tokio::test]
async fn streams_of_tasks_that_fail_or_are_cancelled_end_too() {
    let service = Service::start(&[]);
    let program = service.deploy(&hello_controller(), &hello_circuit()).await;
    let failed = service.submit(&program, json!({"name": ""})).await;
    assert_eq!(stream(&service, &failed, None).await.last().unwrap().event, "failed");

    let mut slow = crate::service::deployment(&counter(LONG, 1), &hello_circuit());
    slow["nonce"] = 1.into();
    let slow = crate::service::json_of(service.post("/api/v1/programs", &slow), reqwest::StatusCode::CREATED).await;
    let slow = slow["id"].as_str().unwrap();
    // Several times: the end may come at any moment of the stream's own reading.
    for _ in 0..20 {
        let cancelled = service.submit(slow, json!({})).await;
        let path = format!("/api/v1/tasks/{cancelled}");
        let cancel = async {
            assert_eq!(service.request(Method::DELETE, &path).send().await.unwrap().status(), 200);
        };
        let (sent, ()) = tokio::join!(stream(&service, &cancelled, None), cancel);
        assert_eq!(sent.last().unwrap().event, "cancelled");
    }
}

#[tokio::test]
async fn an_open_stream_does_not_hold_up_the_end_of_the_service() {
    let mut service = Service::start(&["--stop-seconds", "0"]);
    let program = service.deploy(&counter(LONG, 1), &hello_circuit()).await;
    let task = service.submit(&program, json!({})).await;
    let request = service.request(Method::GET, &format!("/api/v1/tasks/{task}/events"));
    let mut open = request.header("accept", "text/event-stream").send().await.unwrap();
    assert!(open.chunk().await.unwrap().is_some());
    let began = std::time::Instant::now();
    service.stop();
    assert!(began.elapsed() < std::time::Duration::from_secs(20), "{:?}", began.elapsed());
}
