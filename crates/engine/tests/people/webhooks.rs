//! Webhooks, received by a real server on loopback.

use coprocessor_engine::{Caller, EngineConfig, EngineError, Running};
use coprocessor_store::{Delivery, DeliveryState, Webhook};
use coprocessor_types::ProgramId;
use secrecy::ExposeSecret;
use std::{collections::BTreeSet, time::Duration};

use crate::{
    fixture::{self, Fixture, eventually, user},
    receiver::{Receiver, Reply},
};

/// Waits between attempts that no test waits for long.
fn quick(config: &mut EngineConfig) {
    config.webhooks.waits = vec![Duration::from_millis(10); 3];
}

async fn stop(running: Running) {
    running.stop(Duration::from_secs(10)).await;
}

async fn webhook(fixture: &Fixture, caller: &Caller, receiver: &Receiver) -> Webhook {
    fixture.engine.add_webhook(caller, &receiver.url, Vec::new(), None).await.unwrap()
}

/// Makes an event by cancelling a task. Nothing runs the task meanwhile unless the engine was started.
async fn cancelled(fixture: &Fixture, caller: &Caller, program: ProgramId) {
    let task = fixture.ask(caller, program).await.unwrap();
    match fixture.engine.cancel(caller, task.id).await {
        Ok(_) | Err(EngineError::TaskFinished(..)) => {}
        Err(error) => panic!("{error}"),
    }
}

async fn deliveries(fixture: &Fixture, caller: &Caller, webhook: &Webhook) -> Vec<Delivery> {
    fixture.engine.deliveries(caller, webhook.id, None, 100).await.unwrap().items
}

/// The webhook's one delivery, once it is in that state.
async fn delivery(fixture: &Fixture, caller: &Caller, webhook: &Webhook, state: DeliveryState) -> Delivery {
    eventually(state.as_str(), || async {
        let found = deliveries(fixture, caller, webhook).await;
        assert!(found.len() <= 1, "{found:?}");
        found.into_iter().find(|delivery| delivery.state == state)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivered_task_is_told_with_a_signature_that_holds() {
    let (fixture, receiver, alice) = (Fixture::new().await, Receiver::start().await, user("alice"));
    let running = fixture.engine.start().unwrap();
    let program = fixture.deploy(&alice, false).await;
    let webhook = webhook(&fixture, &alice, &receiver).await;
    let task = fixture.ask(&alice, program.id).await.unwrap();
    let delivery = delivery(&fixture, &alice, &webhook, DeliveryState::Delivered).await;
    let attempt = delivery.last.unwrap();
    assert_eq!((delivery.attempts, attempt.status, attempt.error), (1, Some(204), None));
    let [received] = &receiver.received()[..] else { panic!("{:?}", receiver.received()) };
    assert_eq!(received.id(), delivery.id.0.to_string());
    assert_eq!(received.headers["content-type"], "application/json");
    let signer = standardwebhooks::Webhook::new(webhook.secret.expose_secret()).unwrap();
    signer.verify(&received.body, &received.headers).unwrap();
    let other = standardwebhooks::Webhook::new("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=").unwrap();
    other.verify(&received.body, &received.headers).unwrap_err();
    let body = received.json();
    assert_eq!(body["type"], "task.delivered");
    assert_eq!(body["timestamp"], delivery.event.at.to_string());
    assert_eq!(body["data"]["task"], task.id.to_string());
    assert_eq!(body["data"]["program"], program.id.to_string());
    assert_eq!(body["data"]["state"], "delivered");
    assert_eq!(body["data"]["seq"], delivery.event.seq);
    assert!(body["data"]["detail"]["usage"].is_object(), "{body}");
    stop(running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_is_told_of_its_own_tasks_alone_and_of_what_it_asked_for() {
    let (fixture, alice, bob) = (Fixture::new().await, user("alice"), user("bob"));
    let (alices, bobs) = (Receiver::start().await, Receiver::start().await);
    let program = fixture.deploy(&alice, true).await.id;
    // Before there is a webhook, so never told.
    cancelled(&fixture, &alice, program).await;
    let named = ["admitted", "cancelled"].map(str::to_owned).to_vec();
    fixture.engine.add_webhook(&alice, &alices.url, named, None).await.unwrap();
    webhook(&fixture, &bob, &bobs).await;
    cancelled(&fixture, &alice, program).await;
    cancelled(&fixture, &bob, program).await;
    let running = fixture.engine.start().unwrap();
    eventually("both", || async { (alices.received().len() == 2 && bobs.received().len() == 1).then_some(()) }).await;
    let told: BTreeSet<_> = alices.received().iter().map(|received| received.json()["type"].to_string()).collect();
    assert_eq!(told, ["\"task.admitted\"", "\"task.cancelled\""].map(str::to_owned).into());
    stop(running).await;
    assert_eq!((alices.received().len(), bobs.received().len()), (2, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_is_sent_again_under_the_same_id() {
    let alice = user("alice");
    let elsewhere = Receiver::start().await;
    let replies = [Reply::Status(500), Reply::Redirect(elsewhere.url.clone()), Reply::Status(429)];
    let receiver = Receiver::answering(replies, Reply::Status(200)).await;
    let fixture = Fixture::with(quick).await;
    let program = fixture.deploy(&alice, false).await.id;
    let webhook = webhook(&fixture, &alice, &receiver).await;
    cancelled(&fixture, &alice, program).await;
    let running = fixture.engine.start().unwrap();
    let delivery = delivery(&fixture, &alice, &webhook, DeliveryState::Delivered).await;
    assert_eq!(delivery.attempts, 4);
    let ids: BTreeSet<_> = receiver.received().iter().map(|received| received.id().to_owned()).collect();
    assert_eq!((ids.len(), receiver.received().len()), (1, 4));
    assert!(elsewhere.received().is_empty(), "a redirect was followed");
    let signer = standardwebhooks::Webhook::new(webhook.secret.expose_secret()).unwrap();
    for received in receiver.received() {
        signer.verify(&received.body, &received.headers).unwrap();
    }
    stop(running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_keeps_failing_is_given_up_and_sent_again_by_hand() {
    let alice = user("alice");
    let receiver = Receiver::answering([], Reply::Status(503)).await;
    let fixture = Fixture::with(quick).await;
    let program = fixture.deploy(&alice, false).await.id;
    let webhook = webhook(&fixture, &alice, &receiver).await;
    cancelled(&fixture, &alice, program).await;
    let running = fixture.engine.start().unwrap();
    let failed = delivery(&fixture, &alice, &webhook, DeliveryState::Failed).await;
    assert_eq!((failed.attempts, receiver.received().len()), (4, 4));
    assert_eq!(failed.last.unwrap().error.as_deref(), Some("answered 503"));
    receiver.answer(Reply::Status(200));
    let again = fixture.engine.redeliver(&alice, webhook.id, failed.id).await.unwrap();
    assert_eq!(again.id, failed.id);
    delivery(&fixture, &alice, &webhook, DeliveryState::Delivered).await;
    assert_eq!(receiver.received().len(), 5);
    stop(running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_is_gone_is_left_alone() {
    let (fixture, alice) = (Fixture::new().await, user("alice"));
    let receiver = Receiver::answering([], Reply::Status(410)).await;
    let program = fixture.deploy(&alice, false).await.id;
    let webhook = webhook(&fixture, &alice, &receiver).await;
    cancelled(&fixture, &alice, program).await;
    let running = fixture.engine.start().unwrap();
    let failed = delivery(&fixture, &alice, &webhook, DeliveryState::Failed).await;
    assert_eq!((failed.attempts, failed.last.unwrap().status), (1, Some(410)));
    stop(running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_hangs_holds_its_own_events_and_no_others() {
    let fixture = Fixture::with(|config| {
        config.webhooks.timeout = Duration::from_secs(600);
        config.webhooks.in_flight = 8;
        config.webhooks.in_flight_each = 2;
    })
    .await;
    let (alice, bob) = (user("alice"), user("bob"));
    let (hangs, works) = (Receiver::answering([], Reply::Hang).await, Receiver::start().await);
    let program = fixture.deploy(&alice, true).await.id;
    let hanging = webhook(&fixture, &alice, &hangs).await;
    webhook(&fixture, &bob, &works).await;
    for _ in 0..20 {
        cancelled(&fixture, &alice, program).await;
    }
    for _ in 0..20 {
        cancelled(&fixture, &bob, program).await;
    }
    let running = fixture.engine.start().unwrap();
    eventually("bob's", || async { (works.received().len() == 20).then_some(()) }).await;
    let under_way = hangs.received().len();
    assert!((1..=3).contains(&under_way), "{under_way} at once");
    assert_eq!(deliveries(&fixture, &alice, &hanging).await.len(), 20);
    running.stop(Duration::ZERO).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_in_between_loses_nothing() {
    let alice = user("alice");
    let receiver = Receiver::answering([], Reply::Status(500)).await;
    let fixture = Fixture::with(|config| config.webhooks.waits = vec![Duration::from_millis(10); 1000]).await;
    let program = fixture.deploy(&alice, false).await.id;
    let webhook = webhook(&fixture, &alice, &receiver).await;
    cancelled(&fixture, &alice, program).await;
    let running = fixture.engine.start().unwrap();
    eventually("an attempt", || async { (!receiver.received().is_empty()).then_some(()) }).await;
    stop(running).await;
    // One more that nobody looked at before the restart.
    cancelled(&fixture, &alice, program).await;
    receiver.answer(Reply::Status(200));
    let fixture = Fixture::reopened(fixture.close().await, quick).await;
    let running = fixture.engine.start().unwrap();
    eventually("both deliveries", || async {
        let found = deliveries(&fixture, &alice, &webhook).await;
        let done = found.iter().filter(|delivery| delivery.state == DeliveryState::Delivered).count();
        (found.len() == 2 && done == 2).then_some(())
    })
    .await;
    stop(running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_coprocessors_send_each_delivery_once() {
    let (fixture, receiver, alice) = (Fixture::new().await, Receiver::start().await, user("alice"));
    let other = fixture::engine(&fixture.store, |_| {}).await;
    let program = fixture.deploy(&alice, false).await.id;
    let webhook = webhook(&fixture, &alice, &receiver).await;
    let running = [fixture.engine.start().unwrap(), other.start().unwrap()];
    for _ in 0..30 {
        cancelled(&fixture, &alice, program).await;
    }
    eventually("all of them", || async {
        let found = deliveries(&fixture, &alice, &webhook).await;
        let done = found.iter().filter(|delivery| delivery.state == DeliveryState::Delivered).count();
        (done == 30).then_some(())
    })
    .await;
    let ids: BTreeSet<_> = receiver.received().iter().map(|received| received.id().to_owned()).collect();
    assert_eq!((ids.len(), receiver.received().len()), (30, 30));
    for running in running {
        stop(running).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_leads_into_the_services_network_gets_nothing() {
    let alice = user("alice");
    let receiver = Receiver::start().await;
    let fixture = Fixture::with(|config| {
        quick(config);
        config.webhooks.allow.clear();
        config.webhooks.insecure = true;
    })
    .await;
    let program = fixture.deploy(&alice, false).await.id;
    // A name is taken: where it leads is known when it is used.
    let url = receiver.url.replace("127.0.0.1", "localhost");
    let webhook = fixture.engine.add_webhook(&alice, &url, Vec::new(), None).await.unwrap();
    cancelled(&fixture, &alice, program).await;
    let running = fixture.engine.start().unwrap();
    let failed = delivery(&fixture, &alice, &webhook, DeliveryState::Failed).await;
    let error = failed.last.unwrap().error.unwrap();
    assert!(error.contains("no public address") && !error.contains("127.0.0.1"), "{error}");
    assert!(receiver.received().is_empty());
    stop(running).await;
}

#[tokio::test]
async fn a_webhook_that_cannot_be_is_refused_and_says_why() {
    let fixture = Fixture::new().await;
    let alice = user("alice");
    let add = async |url: &str, events: &[&str], secret: Option<&str>| {
        let events = events.iter().map(|event| (*event).to_owned()).collect();
        fixture.engine.add_webhook(&alice, url, events, secret.map(Into::into)).await
    };
    for (url, events, secret, why) in [
        ("ftp://example.com/", &[][..], None, "http"),
        ("http://example.com/", &[], None, "https"),
        ("https://user:hush@example.com/", &[], None, "password"),
        ("https://10.0.0.1/", &[], None, "no public address"),
        ("https://[::ffff:169.254.169.254]/", &[], None, "no public address"),
        ("https://example.com/", &["finished"], None, "`finished`"),
        ("https://example.com/", &[], Some("hush"), "whsec_"),
    ] {
        match add(url, events, secret).await {
            Err(EngineError::InvalidRequest(message)) => {
                assert!(message.contains(why) && !message.contains("hush"), "{message}");
            }
            other => panic!("{url}: {other:?}"),
        }
    }
    let webhook = add("https://example.com/", &[], None).await.unwrap();
    assert_eq!(webhook.events, ["cancelled", "delivered", "failed"]);
    assert!(!format!("{webhook:?}").contains(&webhook.secret.expose_secret()[6..]));
    for _ in 1..32 {
        add("https://example.com/", &[], None).await.unwrap();
    }
    let refused = add("https://example.com/", &[], None).await;
    assert!(matches!(refused, Err(EngineError::InvalidRequest(_))), "{refused:?}");
}
