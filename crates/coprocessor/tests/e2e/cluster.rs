//! Two coprocessors on one PostgreSQL and one S3-compatible store.

use crate::{
    domains,
    guests::{LONG, counter, echo, hello_circuit},
    service::{Service, json_of, until},
};
use coprocessor_api::{
    TaskState,
    client::{OwnerUpdate, Whose},
};
use coprocessor_test_servers::{Postgres, PostgresSettings, S3Server, skip_or_fail};
use reqwest::{Method, StatusCode};
use serde_json::json;

const BUCKET: &str = "coprocessor";

/// What the services share. After them in every test, so that it ends last.
pub(crate) struct Shared {
    postgres: Postgres,
    s3: S3Server,
    url: String,
}

impl Shared {
    /// `None` where PostgreSQL is not installed.
    pub(crate) fn start() -> Option<Self> {
        let postgres = skip_or_fail(Postgres::start(PostgresSettings { fsync: false, ..PostgresSettings::default() }))?;
        let s3 = S3Server::start(BUCKET).unwrap();
        let url = postgres.create_database("coprocessor").unwrap();
        Some(Self { postgres, s3, url })
    }

    fn flags(&self, worker: &str) -> Vec<String> {
        let blobs = format!("s3://{BUCKET}/e2e");
        let shared =
            ["--blobs", &blobs, "--s3-endpoint", self.s3.endpoint(), "--worker", worker, "--lease-seconds", "2"];
        shared.map(str::to_owned).into()
    }

    fn service(&self, worker: &str) -> Service {
        // Controllers that run for as long as a test wants.
        let long = ["--controller-fuel", "1000000000000", "--controller-ms", "100000"];
        self.service_with(worker, &long.map(str::to_owned))
    }

    /// A coprocessor with more flags than it needs.
    pub(crate) fn service_with(&self, worker: &str, more: &[String]) -> Service {
        let mut flags = self.flags(worker);
        flags.extend_from_slice(more);
        let environment = [
            ("COPROCESSOR_DATABASE_URL", self.url.as_str()),
            ("AWS_ACCESS_KEY_ID", self.s3.access_key()),
            ("AWS_SECRET_ACCESS_KEY", self.s3.secret_key()),
        ];
        Service::start_with(&flags.iter().map(String::as_str).collect::<Vec<_>>(), &environment)
    }
}

/// Blocks come one after the other, whoever appends them, and every coprocessor pins tasks to the root they make.
#[tokio::test]
async fn coprocessors_append_to_one_history_of_roots() {
    let Some(shared) = Shared::start() else { return };
    let (one, two) = (shared.service("one"), shared.service("two"));
    domains::register(&one).await;
    let appended = |service: &Service, first: u64| {
        let client = service.client();
        async move {
            for number in (first..20).step_by(2) {
                client.append(domains::NAME, &domains::one_block(number)).await.unwrap();
            }
        }
    };
    tokio::join!(appended(&one, 0), appended(&two, 1));
    let taken = two.client().append(domains::NAME, &domains::one_block(4)).await;
    assert!(taken.is_err(), "{taken:?}");
    let roots = one.client().roots(None, None).await.unwrap();
    assert_eq!(roots, two.client().roots(None, None).await.unwrap());
    assert_eq!(roots.items.iter().map(|root| root.version).collect::<Vec<_>>(), (0..=20).collect::<Vec<_>>());
    let mut numbers: Vec<_> =
        roots.items.iter().filter_map(|root| root.block.as_ref()).map(|block| block.number).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..20).collect::<Vec<_>>(), "none is lost, and none is there twice");
    let steps = two.client().transitions(&roots.items[0].root.parse().unwrap(), None, None).await.unwrap().items;
    for (before, step) in roots.items.iter().zip(&steps) {
        step.verify(&before.root.parse().unwrap(), &step.to.parse().unwrap()).unwrap();
    }
    assert_eq!(steps.len(), 20);

    let program = one.deploy(&echo(), &hello_circuit()).await;
    let newest = roots.items[20].root.clone();
    for service in [&one, &two] {
        until("it is known that there is a newer root", async || {
            service.get("/api/v1/roots/current").await["root"] == newest.as_str()
        })
        .await;
        let task = service.submit(&program, json!([{"Data": b"Ada"}])).await;
        assert_eq!(service.delivered(&task).await.root, newest);
    }
}

#[tokio::test]
async fn every_coprocessor_answers_for_all_and_takes_over_from_one_that_dies() {
    let Some(shared) = Shared::start() else { return };
    let (mut one, two) = (shared.service("one"), shared.service("two"));
    assert_eq!(one.get("/api/v1/roots/current").await, two.get("/api/v1/roots/current").await, "one instance");
    let program = one.deploy(&counter(1, 1), &hello_circuit()).await;
    let mut tasks = Vec::new();
    for number in 0..20 {
        let through = if number % 2 == 0 { &one } else { &two };
        tasks.push(through.submit(&program, json!({})).await);
    }
    for task in &tasks {
        two.delivered(task).await;
    }
    assert_eq!(one.count(&program).await, 20);
    let same = one.prove(&program, json!({})).header("idempotency-key", "k");
    let same = json_of(same, StatusCode::ACCEPTED).await;
    let other = two.prove(&program, json!({})).header("idempotency-key", "k");
    assert_eq!(json_of(other, StatusCode::ACCEPTED).await["id"], same["id"]);
    two.delivered(same["id"].as_str().unwrap()).await;

    // Those that the first had under way go on with the second once its leases have run out.
    let mut slow = crate::service::deployment(&counter(LONG, 1), &hello_circuit());
    slow["nonce"] = 1.into();
    let slow = json_of(one.post("/api/v1/programs", &slow), StatusCode::CREATED).await;
    let slow = slow["id"].as_str().unwrap();
    let mut tasks = Vec::new();
    for _ in 0..6 {
        tasks.push(one.submit(slow, json!({})).await);
    }
    until("the first works on one of them", || async {
        let events = two.get("/api/v1/events?limit=1000").await;
        let of_slow = |event: &&serde_json::Value| tasks.iter().any(|task| event["task"] == task.as_str());
        let claimed = |event: &serde_json::Value| event["name"] == "claimed" && event["detail"]["worker"] == "one";
        events["items"].as_array().unwrap().iter().filter(of_slow).any(claimed)
    })
    .await;
    one.kill();
    for task in &tasks {
        two.delivered(task).await;
    }
    assert_eq!(two.count(slow).await, 6, "each was delivered once");
}

#[tokio::test]
async fn a_task_is_cancelled_and_followed_through_another_coprocessor_than_the_one_at_work() {
    let Some(shared) = Shared::start() else { return };
    let one = shared.service("one");
    let program = one.deploy(&counter(50 * LONG, 1), &hello_circuit()).await;
    let task = one.submit(&program, json!({})).await;
    one.event(&task, |event| event.name == "claimed").await;
    let two = shared.service("two");
    let mut follow = two.client().follow_all(&Whose::Mine, Some(0));
    let cancelled = json_of(two.request(Method::DELETE, &format!("/api/v1/tasks/{task}")), StatusCode::OK).await;
    assert_eq!(cancelled["state"], "cancelled");
    assert_eq!(one.finished(&task).await.state, TaskState::Cancelled);
    let seen = async {
        loop {
            if let OwnerUpdate::Event(event) = follow.next().await.unwrap()
                && event.name == "cancelled"
            {
                return event;
            }
        }
    };
    let event = crate::service::within(seen, || "the event".to_owned()).await;
    assert_eq!(event.task, task);

    // What happens at one is heard at the other, while it happens.
    let mut quick = crate::service::deployment(&counter(1, 1), &hello_circuit());
    quick["nonce"] = 1.into();
    let quick = json_of(two.post("/api/v1/programs", &quick), StatusCode::CREATED).await;
    let task = one.submit(quick["id"].as_str().unwrap(), json!({})).await;
    two.delivered(&task).await;
    let waited = two.get(&format!("/api/v1/tasks/{task}?wait=60")).await;
    assert_eq!(waited["state"], "delivered");
    // The events went on where they were.
    let position = follow.position();
    let mut elsewhere = one.client().follow_all(&Whose::Mine, position);
    let seen = async {
        loop {
            if let OwnerUpdate::Event(event) = elsewhere.next().await.unwrap()
                && event.name == "delivered"
            {
                return event.task;
            }
        }
    };
    assert_eq!(crate::service::within(seen, || "the other's event".to_owned()).await, task);
}

#[tokio::test]
async fn a_database_that_is_away_is_said_and_survived() {
    let Some(mut shared) = Shared::start() else { return };
    let service = shared.service("one");
    let program = service.deploy(&counter(1, 1), &hello_circuit()).await;
    let task = service.submit(&program, json!({})).await;
    service.delivered(&task).await;
    shared.postgres.kill().unwrap();
    let refused = service.prove(&program, json!({})).send().await.unwrap();
    assert!(refused.headers().contains_key("retry-after"), "{refused:?}");
    let problem: coprocessor_api::Problem = refused.json().await.unwrap();
    assert_eq!((problem.status, problem.code.as_str()), (503, "unavailable"), "{problem}");
    assert!(!problem.detail.contains("postgres"), "{problem}");
    let ready = service.request(Method::GET, "/health/ready").send().await.unwrap();
    assert_eq!(ready.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(service.request(Method::GET, "/health/live").send().await.unwrap().status(), 204);
    shared.postgres.restart().unwrap();
    until("it works again", || async {
        service.request(Method::GET, "/health/ready").send().await.unwrap().status() == StatusCode::OK
    })
    .await;
    let task = service.submit(&program, json!({})).await;
    service.delivered(&task).await;
}

#[tokio::test]
async fn a_key_made_at_one_coprocessor_is_good_and_needed_at_the_other() {
    let Some(shared) = Shared::start() else { return };
    let (one, mut two) = (shared.service("one"), shared.service("two"));
    assert_eq!(two.get("/api/v1/whoami").await["owner"], "anonymous");
    let key = one.key_for("ops", &["admin"]).await;
    until("the other asks for keys", || async {
        two.request(Method::GET, "/api/v1/tasks").send().await.unwrap().status() == StatusCode::UNAUTHORIZED
    })
    .await;
    two.act_as(&key);
    assert_eq!(two.get("/api/v1/whoami").await["owner"], "ops");
    let revoke = two.request(Method::DELETE, &format!("/api/v1/keys/{}", &key[4..20]));
    json_of(revoke, StatusCode::OK).await;
    until("it is revoked everywhere", || async {
        one.request_as(Some(&key), Method::GET, "/api/v1/tasks").send().await.unwrap().status() == 401
    })
    .await;
}
