//! How much one owner may ask for: rates, backlogs, programs, volumes.

use crate::{
    guests::{COUNT_FILE, controller_that, counter, hello_circuit},
    service::{Service, deployment, json_of, problem_of},
};
use futures::future::join_all;
use reqwest::{Method, RequestBuilder, Response, StatusCode, header::RETRY_AFTER};
use serde_json::{Value, json};

fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    response.headers().get(name).unwrap_or_else(|| panic!("no {name}: {response:?}")).to_str().unwrap()
}

/// The parameter of a structured field such as `"writes";r=5;t=1`.
fn parameter(field: &str, name: &str) -> u64 {
    let value = field.split(';').find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
    value.unwrap_or_else(|| panic!("no {name} in {field}")).parse().unwrap()
}

/// A request that changes something if it were let through; a verification costs nothing to refuse.
fn write(service: &Service) -> RequestBuilder {
    service.post("/api/v1/verify", &json!({}))
}

#[tokio::test]
async fn writes_are_counted_and_too_many_are_refused_with_when_to_come_again() {
    let service = Service::start(&["--owner-requests-per-second", "1", "--owner-burst", "5"]);
    let first = write(&service).send().await.unwrap();
    assert_eq!(header(&first, "ratelimit-policy"), "\"writes\";q=5;w=5");
    let left = header(&first, "ratelimit");
    assert_eq!((parameter(left, "r"), parameter(left, "t")), (4, 1));
    // One comes back each second: so many at once do not fit, however slow the machine.
    let answers = join_all((0..200).map(|_| write(&service).send())).await;
    let refused =
        answers.into_iter().map(Result::unwrap).find(|answer| answer.status() == 429).expect("one is refused");
    assert!(header(&refused, RETRY_AFTER.as_str()).parse::<u64>().unwrap() >= 1);
    assert_eq!(parameter(header(&refused, "ratelimit"), "r"), 0);
    assert_eq!(header(&refused, "content-type"), "application/problem+json");
    let problem: Value = refused.json().await.unwrap();
    assert_eq!(problem["code"], "rate_limited");
    // Reading is free, and says nothing of it.
    let read = service.request(Method::GET, "/api/v1/tasks").send().await.unwrap();
    assert_eq!((read.status(), read.headers().get("ratelimit")), (StatusCode::OK, None));
}

#[tokio::test]
async fn an_owners_own_quotas_count_at_once_and_for_it_alone() {
    let mut service = Service::start(&["--owner-burst", "50", "--owner-requests-per-second", "10"]);
    let admin = service.key_for("ops", &["admin"]).await;
    service.act_as(&admin);
    let (alice, bob) = (service.key_for("alice", &["deploy", "read"]).await, service.key_for("bob", &["deploy"]).await);
    let set = json!({"weight": 3, "quotas": {"burst": 7, "requests_per_second": 2, "programs": 1}});
    let owner = json_of(service.request(Method::PUT, "/api/v1/owners/alice").json(&set), StatusCode::OK).await;
    assert_eq!(
        (&owner["weight"], &owner["quotas"]["burst"], &owner["limits"]["burst"]),
        (&json!(3), &json!(7), &json!(7))
    );
    assert_eq!(
        (&owner["quotas"]["unfinished_tasks"], &owner["limits"]["unfinished_tasks"]),
        (&Value::Null, &json!(10_000))
    );
    assert_eq!(service.get("/api/v1/owners").await["items"], json!([owner]));
    let policy = |key: &str| {
        let request = service.request_as(Some(key), Method::POST, "/api/v1/verify").json(&json!({}));
        async { header(&request.send().await.unwrap(), "ratelimit-policy").to_owned() }
    };
    assert_eq!(policy(&alice).await, "\"writes\";q=7;w=4");
    assert_eq!(policy(&bob).await, "\"writes\";q=50;w=5");
    let me = service.request_as(Some(&alice), Method::GET, "/api/v1/whoami");
    assert_eq!(json_of(me, StatusCode::OK).await["limits"]["burst"], 7);
    let myself = service.request_as(Some(&alice), Method::GET, "/api/v1/owners/alice");
    assert_eq!(json_of(myself, StatusCode::OK).await, owner);

    let deploy = |key: &str, nonce: u64| {
        let mut body = deployment(&counter(1, 1), &hello_circuit());
        body["nonce"] = nonce.into();
        service.request_as(Some(key), Method::POST, "/api/v1/programs").json(&body)
    };
    json_of(deploy(&alice, 1), StatusCode::CREATED).await;
    service.refuses("one program too many", deploy(&alice, 2), 409, "program_quota").await;
    // What is there already is no new one.
    json_of(deploy(&alice, 1), StatusCode::OK).await;
    json_of(deploy(&bob, 3), StatusCode::CREATED).await;

    for wrong in [json!({"weight": 0}), json!({"weight": 1001}), json!({"quotas": {"burst": 0}}), json!({"share": 1})] {
        let set = service.request(Method::PUT, "/api/v1/owners/alice").json(&wrong);
        service.refuses(&wrong.to_string(), set, 400, "invalid_body").await;
    }
    let nobody = service.request(Method::GET, "/api/v1/owners/carol");
    service.refuses("an owner of whom nothing is known", nobody, 404, "unknown_owner").await;
    let set = service.request(Method::PUT, "/api/v1/owners/Not%20A%20Name").json(&json!({}));
    service.refuses("no owner's name", set, 400, "invalid_parameter").await;
    // What is left out goes back.
    let owner = json_of(service.request(Method::PUT, "/api/v1/owners/alice").json(&json!({})), StatusCode::OK).await;
    assert_eq!((&owner["weight"], &owner["limits"]["burst"]), (&json!(1), &json!(50)));
}

#[tokio::test]
async fn an_owners_controllers_may_use_what_was_set_for_it_alone() {
    let mut service = Service::start(&[]);
    let admin = service.key_for("ops", &["admin"]).await;
    service.act_as(&admin);
    let (alice, bob) =
        (service.key_for("alice", &["deploy", "read"]).await, service.key_for("bob", &["deploy", "read"]).await);
    let turns = controller_that(
        "(local $turns i32) (local.set $turns (i32.const 100000))
        (loop $again (br_if $again (local.tee $turns (i32.sub (local.get $turns) (i32.const 1)))))
        (drop (call $ret (i32.const 0) (i32.const 2)))",
    );
    let mut programs = Vec::new();
    for (key, nonce) in [(&alice, 1), (&bob, 2)] {
        let mut body = deployment(&turns, &hello_circuit());
        body["nonce"] = nonce.into();
        let deployed = service.request_as(Some(key), Method::POST, "/api/v1/programs").json(&body);
        programs.push(json_of(deployed, StatusCode::CREATED).await["id"].as_str().unwrap().to_owned());
    }
    let witness = |index: usize| service.post(&format!("/api/v1/programs/{}/witness", programs[index]), &json!({}));
    let code = async |index: usize| {
        let problem: Value = witness(index).send().await.unwrap().json().await.unwrap();
        problem["code"].clone()
    };
    assert_eq!(code(0).await, "bad_result", "it gets to its end, and returns two zeros");
    let set = json!({"quotas": {"controllers": {"fuel": 1000, "network_calls": 0}}});
    let owner = json_of(service.request(Method::PUT, "/api/v1/owners/alice").json(&set), StatusCode::OK).await;
    let controllers = &owner["quotas"]["controllers"];
    assert_eq!((&controllers["fuel"], &controllers["wall_clock_ms"]), (&json!(1000), &Value::Null));
    // By whose program it is, whoever asks.
    assert_eq!((code(0).await, code(1).await), (json!("out_of_fuel"), json!("bad_result")));
    let wrong = json!({"quotas": {"controllers": {"feul": 1000}}});
    let wrong = service.request(Method::PUT, "/api/v1/owners/alice").json(&wrong);
    service.refuses("a limit that is none", wrong, 400, "invalid_body").await;
    json_of(service.request(Method::PUT, "/api/v1/owners/alice").json(&json!({})), StatusCode::OK).await;
    assert_eq!(code(0).await, "bad_result");
}

/// A task that waits for a prover nobody has.
fn unprovable(service: &Service, program: &str) -> RequestBuilder {
    service.post(&format!("/api/v1/programs/{program}/tasks"), &json!({"kind": "compressed"}))
}

async fn ids(service: &Service) -> Vec<String> {
    let tasks = service.get("/api/v1/tasks?limit=1000").await;
    tasks["items"].as_array().unwrap().iter().map(|task| task["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_full_backlog_takes_nothing_and_keeps_its_word_for_what_it_took() {
    for (flags, status, code) in
        [(["--owner-backlog", "2"], 429, "owner_backlog_full"), (["--backlog", "2"], 503, "backlog_full")]
    {
        let service = Service::start(&flags);
        let program = service.deploy(&counter(1, 1), &hello_circuit()).await;
        let ask = |key: &str| unprovable(&service, &program).header("idempotency-key", key);
        let first = json_of(ask("first"), StatusCode::ACCEPTED).await;
        let second = json_of(ask("second"), StatusCode::ACCEPTED).await;
        let before = ids(&service).await;
        for key in ["third", "fourth"] {
            let response = ask(key).send().await.unwrap();
            assert!(header(&response, RETRY_AFTER.as_str()).parse::<u64>().unwrap() >= 1);
            let problem: Value = response.json().await.unwrap();
            assert_eq!((&problem["status"], &problem["code"]), (&json!(status), &json!(code)));
        }
        assert_eq!(ids(&service).await, before, "nothing is half written");
        // Whoever lost an answer gets it all the same.
        assert_eq!(json_of(ask("first"), StatusCode::ACCEPTED).await["id"], first["id"]);
        let cancel = service.request(Method::DELETE, &format!("/api/v1/tasks/{}", second["id"].as_str().unwrap()));
        json_of(cancel, StatusCode::OK).await;
        // A refused request left no trace: its key is as good as new.
        json_of(ask("third"), StatusCode::ACCEPTED).await;
        problem_of("one more", ask("fourth"), status, code).await;
    }
}

/// All that grows a volume is refused beyond what its owner's may hold together, whole; and what makes room is not.
#[tokio::test]
async fn an_owners_volumes_share_what_it_may_hold() {
    let mut service = Service::start(&["--owner-volumes-mib", "8", "--max-volume-mib", "8"]);
    let admin = service.key_for("ops", &["admin"]).await;
    service.act_as(&admin);
    let alice = service.key_for("alice", &["deploy", "read", "prove"]).await;
    let whoami =
        async || json_of(service.request_as(Some(&alice), Method::GET, "/api/v1/whoami"), StatusCode::OK).await;
    let before = whoami().await;
    assert_eq!((&before["volume_bytes"], &before["limits"]["volume_bytes"]), (&json!(0), &json!(8 << 20)));
    let limit = async |bytes: Option<u64>| {
        let set = json!({"quotas": {"volume_bytes": bytes}});
        json_of(service.request(Method::PUT, "/api/v1/owners/alice").json(&set), StatusCode::OK).await
    };
    let owner = limit(Some(400_000)).await;
    assert_eq!((&owner["limits"]["volume_bytes"], &owner["volume_bytes"]), (&json!(400_000), &json!(0)));
    let deploy = async |nonce: u64, volume_size: u64| {
        let mut body = deployment(&counter(1, 1), &hello_circuit());
        body["nonce"] = nonce.into();
        body["volume_size"] = volume_size.into();
        let deployed = service.request_as(Some(&alice), Method::POST, "/api/v1/programs").json(&body);
        json_of(deployed, StatusCode::CREATED).await["id"].as_str().unwrap().to_owned()
    };
    // Its size is what a volume may come to; what it holds is what counts.
    let (one, two) = (deploy(1, 4 << 20).await, deploy(2, 8 << 20).await);
    assert_eq!(whoami().await["volume_bytes"], 0);
    let put = |program: &str, path: &str, content: Vec<u8>| {
        service.request_as(Some(&alice), Method::PUT, &format!("/api/v1/programs/{program}/{path}")).body(content)
    };
    assert_eq!(put(&one, "files/a.bin", vec![1; 200_000]).send().await.unwrap().status(), 204);
    let held = whoami().await["volume_bytes"].as_u64().unwrap();
    assert!((200_000..300_000).contains(&held), "{held}");
    assert_eq!(service.get("/api/v1/owners/alice").await["volume_bytes"], held);

    let image = service.bytes(&format!("/api/v1/programs/{one}/image")).await;
    for (what, request) in [
        ("a file", put(&two, "files/b.bin", vec![1; 200_000])),
        ("a file in the first volume", put(&one, "files/b.bin", vec![1; 200_000])),
        ("raw storage", put(&two, "raw", vec![1; 200_000])),
        ("an image", put(&two, "image", image.clone())),
    ] {
        let problem = service.refuses(what, request, 507, "volume_quota").await;
        assert!(problem.detail.contains("at most 400000"), "{}", problem.detail);
    }
    assert_eq!(service.bytes(&format!("/api/v1/programs/{two}/raw")).await, b"");
    // Another's programs have room of their own.
    let mut body = deployment(&counter(1, 1), &hello_circuit());
    body["nonce"] = 3.into();
    let others = json_of(service.post("/api/v1/programs", &body), StatusCode::CREATED).await;
    let others = format!("/api/v1/programs/{}/image", others["id"].as_str().unwrap());
    json_of(service.request(Method::PUT, &others).body(image), StatusCode::OK).await;

    // What a controller writes is refused when its step is to be written; the task can go on when there is room.
    limit(Some(held)).await;
    let task = service.submit(&two, json!({})).await;
    let failure = service.finished(&task).await.failure.unwrap();
    assert_eq!(
        (failure.stage.as_str(), failure.code.as_str(), failure.retryable),
        ("deliver", "volume_quota", true),
        "{failure:?}"
    );
    let failed = service.events(&task).await.pop().unwrap();
    assert!(failed.detail["usage"]["host_calls"].as_u64() > Some(0) && failed.detail["log"].is_array(), "{failed:?}");
    let call = service.post(&format!("/api/v1/programs/{two}/call"), &json!({}));
    service.refuses("a call", call, 507, "volume_quota").await;
    let count = service.request(Method::GET, &format!("/api/v1/programs/{two}/files/{COUNT_FILE}"));
    service.refuses("the file not written", count, 404, "unknown_file").await;
    let gone = service.request(Method::DELETE, &format!("/api/v1/programs/{one}/files/a.bin"));
    assert_eq!(gone.send().await.unwrap().status(), 204);
    let retried = service.request(Method::POST, &format!("/api/v1/tasks/{task}/retry"));
    assert!(retried.send().await.unwrap().status().is_success());
    service.delivered(&task).await;
    assert_eq!(service.count(&two).await, 1);
    assert_eq!(put(&one, "files/a.bin", vec![1; 100_000]).send().await.unwrap().status(), 204);
    limit(None).await;
    assert_eq!(put(&one, "files/b.bin", vec![1; 1_000_000]).send().await.unwrap().status(), 204);
    // A program that goes takes its bytes along.
    let held = whoami().await["volume_bytes"].as_u64().unwrap();
    let gone = service.request(Method::DELETE, &format!("/api/v1/programs/{one}"));
    assert_eq!(gone.send().await.unwrap().status(), 204);
    assert!(whoami().await["volume_bytes"].as_u64().unwrap() + 1_100_000 < held);
}
