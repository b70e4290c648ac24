//! Events of a task and of all tasks of an owner: as a list, and as a stream that can be taken up again.

use crate::{
    guests::{LONG, counter, hello_circuit, hello_controller},
    service::{Service, json_of, until, within},
};
use coprocessor_api::{
    EventView,
    client::{FollowAll, OwnerUpdate, Whose},
};
use reqwest::{Method, header::CONTENT_TYPE};
use serde_json::json;
use std::time::Duration;

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

/// The next events of a stream of many tasks, up to one that fits.
async fn until_event(follow: &mut FollowAll, fits: impl Fn(&EventView) -> bool) -> Vec<EventView> {
    let mut seen = Vec::new();
    let wanted = async {
        loop {
            if let OwnerUpdate::Event(event) = follow.next().await.unwrap() {
                seen.push(event);
                if seen.last().is_some_and(&fits) {
                    return;
                }
            }
        }
    };
    within(wanted, || "an event of an owner's tasks".to_owned()).await;
    seen
}

fn delivered(task: &str) -> impl Fn(&EventView) -> bool {
    move |event| event.task == task && event.name == "delivered"
}

#[tokio::test]
async fn all_tasks_are_followed_over_a_kill_and_a_restart_without_a_gap() {
    let mut service = Service::start(&[]);
    let program = service.deploy(&counter(1, 1), &hello_circuit()).await;
    let early = service.submit(&program, json!({})).await;
    service.delivered(&early).await;
    // From now on: what was before is in the list.
    let mut follow = service.client().follow_all(&Whose::Mine, None);
    let mut seen = {
        let mut opening = std::pin::pin!(follow.next());
        // It begins when it is opened, which a test cannot see: tasks are asked for until it brings something.
        loop {
            service.submit(&program, json!({})).await;
            if let Ok(update) = tokio::time::timeout(Duration::from_secs(1), &mut opening).await {
                let OwnerUpdate::Event(event) = update.unwrap() else { panic!("the connection was lost") };
                break vec![event];
            }
        }
    };
    assert_ne!(seen[0].task, early);
    let first = service.submit(&program, json!({})).await;
    seen.extend(until_event(&mut follow, delivered(&first)).await);
    let position = follow.position().unwrap();
    service.kill();
    service.restart(&[]);
    let second = service.submit(&program, json!({})).await;
    // Another process, another connection, the same place.
    let mut follow = service.client().follow_all(&Whose::Mine, Some(position));
    seen.extend(until_event(&mut follow, delivered(&second)).await);

    let begin = seen[0].seq;
    let listed: Vec<EventView> =
        serde_json::from_value(service.get("/api/v1/events?limit=1000").await["items"].clone()).unwrap();
    let expected: Vec<EventView> =
        listed.into_iter().filter(|event| event.seq >= begin && event.seq <= seen.last().unwrap().seq).collect();
    assert_eq!(seen, expected);
    let after = service.get(&format!("/api/v1/events?after={begin}&limit=2")).await;
    assert_eq!(after["items"].as_array().unwrap().len(), 2);
    assert!(after["items"][0]["seq"].as_u64().unwrap() > begin);
}

#[tokio::test]
async fn an_owner_follows_its_own_tasks_and_an_administrator_those_it_names() {
    let mut service = Service::start(&[]);
    let admin = service.key_for("ops", &["admin"]).await;
    service.act_as(&admin);
    let mut programs = Vec::new();
    for (nonce, owner) in ["alice", "bob"].into_iter().enumerate() {
        let key = service.key_for(owner, &["read", "deploy", "prove"]).await;
        service.act_as(&key);
        let mut body = crate::service::deployment(&counter(1, 1), &hello_circuit());
        body["nonce"] = nonce.into();
        let program = json_of(service.post("/api/v1/programs", &body), reqwest::StatusCode::CREATED).await;
        let task = service.submit(program["id"].as_str().unwrap(), json!({})).await;
        service.delivered(&task).await;
        programs.push((key, task));
        service.act_as(&admin);
    }
    let tasks = |events: &serde_json::Value| -> std::collections::BTreeSet<String> {
        events["items"].as_array().unwrap().iter().map(|event| event["task"].as_str().unwrap().to_owned()).collect()
    };
    let [(alice, of_alice), (bob, of_bob)] = programs.try_into().unwrap();
    let all = service.get("/api/v1/events?all=true&limit=1000").await;
    assert_eq!(tasks(&all), [of_alice.clone(), of_bob.clone()].into());
    assert_eq!(tasks(&service.get("/api/v1/events?owner=bob").await), [of_bob.clone()].into());
    assert_eq!(tasks(&service.get("/api/v1/events").await), [].into(), "its own: none");
    let both = service.request(Method::GET, "/api/v1/events?owner=bob&all=true");
    service.refuses("both", both, 400, "invalid_parameter").await;

    for (key, own) in [(&alice, &of_alice), (&bob, &of_bob)] {
        service.act_as(key);
        assert_eq!(tasks(&service.get("/api/v1/events").await), [own.clone()].into());
        let mut follow = service.client().follow_all(&Whose::Mine, Some(0));
        let seen = until_event(&mut follow, delivered(own)).await;
        assert!(seen.iter().all(|event| event.task == *own), "{seen:?}");
    }
    // A stream outlives its request, but not its key.
    service.act_as(&bob);
    let request = service.request(Method::GET, "/api/v1/events").header("accept", "text/event-stream");
    let mut open = request.send().await.unwrap();
    service.act_as(&admin);
    let revoke = service.request(Method::DELETE, &format!("/api/v1/keys/{}", &bob[4..20]));
    json_of(revoke, reqwest::StatusCode::OK).await;
    within(async { while open.chunk().await.unwrap().is_some() {} }, || "the stream of a revoked key ends".into())
        .await;
    until("the key is bad", || async {
        service.request_as(Some(&bob), Method::GET, "/api/v1/tasks").send().await.unwrap().status() == 401
    })
    .await;
}
