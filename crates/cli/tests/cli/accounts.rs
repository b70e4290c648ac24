//! Keys, owners, webhooks, storage; and the key that is sent along.

use crate::{
    run::Place,
    service::{Seen, Service, TASK, event, event_stream},
};
use axum::{
    Json, Router,
    body::Bytes,
    extract::Request,
    http::{StatusCode, header},
    middleware::{self, Next},
    routing::{delete, get, post},
};
use coprocessor_api::TaskState;
use serde_json::{Value, json};
use std::sync::Arc;

const KEY: &str = "cpk_0123456789abcdef_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
const ID: &str = "0123456789abcdef";
const WEBHOOK: &str = "0193a3c0-0000-7000-8000-00000000000a";
const DELIVERY: &str = "0193a3c0-0000-7000-8000-00000000000b";

/// A service that notes each request's key and body.
fn place() -> (Place, Seen) {
    let seen = Seen::default();
    let note = Arc::clone(&seen);
    let noting = middleware::from_fn(move |request: Request, next: Next| {
        let note = Arc::clone(&note);
        async move {
            let authorization =
                request.headers().get(header::AUTHORIZATION).map(|value| value.to_str().unwrap().to_owned());
            let (parts, body) = request.into_parts();
            let body: Bytes = axum::body::to_bytes(body, 1 << 20).await.unwrap();
            let line = format!("{} {}", authorization.unwrap_or_default(), String::from_utf8_lossy(&body));
            note.lock().unwrap().push(line.trim().to_owned());
            next.run(Request::from_parts(parts, body.into())).await
        }
    });
    (Place::with_server(&Service::start(routes().layer(noting)).url), seen)
}

fn routes() -> Router {
    let key = || {
        json!({"id": ID, "owner": "alice", "name": "ci", "scopes": ["read", "prove"], "created_at": "2026-01-01T00:00:00Z",
            "expires_at": null, "revoked_at": null})
    };
    let revoked = move || {
        let mut key = key();
        key["revoked_at"] = "2026-01-02T00:00:00Z".into();
        key
    };
    let made = move || {
        let mut made = key();
        made["secret"] = KEY.into();
        made
    };
    let webhook = || {
        json!({"id": WEBHOOK, "owner": "alice", "url": "https://example.org/hook", "events": ["delivered", "failed"],
            "created_at": "2026-01-01T00:00:00Z"})
    };
    let added = move || {
        let mut webhook = webhook();
        webhook["secret"] = "whsec_c2VjcmV0".into();
        webhook
    };
    let delivery = || {
        json!({"id": DELIVERY, "webhook": WEBHOOK, "event": event(9, TaskState::Delivered, "delivered", json!({})),
            "state": "pending", "attempts": 2, "next_at": "2026-01-01T00:10:00Z", "created_at": "2026-01-01T00:00:10Z",
            "last": {"at": "2026-01-01T00:00:40Z", "status": 500, "error": "it answered 500", "took_ms": 12}})
    };
    let api = Router::new()
        .route(
            "/keys",
            get(async move || Json(json!({"items": [key(), revoked()], "next": "c"}))).post(async move || Json(made())),
        )
        .route("/keys/{id}", delete(async move || Json(revoked())))
        .route("/owners", get(async || Json(json!({"items": [owner()], "next": null}))))
        .route("/owners/{owner}", get(async || Json(owner())).put(async || Json(owner())))
        .route(
            "/webhooks",
            get(async move || Json(json!({"items": [webhook()], "next": null}))).post(async move || Json(added())),
        )
        .route("/webhooks/{id}", delete(async || StatusCode::NO_CONTENT))
        .route("/webhooks/{id}/deliveries", get(async move || Json(json!({"items": [delivery()], "next": null}))))
        .route("/webhooks/{id}/deliveries/{delivery}/redeliver", post(async move || Json(delivery())))
        .route("/whoami", get(async || Json(whoami())))
        .route("/storage", get(async || Json(storage())))
        .route("/events", get(async || event_stream(&[event(7, TaskState::Queued, "admitted", json!({}))], false)));
    Router::new().nest("/api/v1", api)
}

fn limits() -> Value {
    json!({"unfinished_tasks": 10_000, "programs": 5, "volume_bytes": 17_179_869_184_u64, "requests_per_second": 1000,
        "burst": 2000})
}

fn owner() -> Value {
    let controllers = json!({"fuel": 5_000_000, "wall_clock_ms": 1500});
    let quotas = json!({"unfinished_tasks": null, "programs": 5, "controllers": controllers});
    json!({"owner": "alice", "weight": 3, "quotas": quotas, "limits": limits(), "volume_bytes": 4096,
        "created_at": "2026-01-01T00:00:00Z"})
}

fn whoami() -> Value {
    json!({"owner": "alice", "key": ID, "scopes": ["read", "prove"], "limits": limits(), "volume_bytes": 0})
}

fn storage() -> Value {
    json!({"database_bytes": 1_048_576, "blobs": 3, "blob_bytes": 2048, "free_bytes": 10_737_418_240_u64, "low": null,
        "retention": {"witnesses": 86_400, "proofs": 2_592_000, "tasks": null, "deliveries": 2_592_000},
        "last_collected": null,
        "compiled": {"compiled": 2, "loaded": 40, "found": 1234, "files": 42, "bytes": 20_971_520, "limit": 1_073_741_824,
            "problem": "/data/compiled can be written to by others"}})
}

#[test]
fn results_for_people() {
    let (place, _) = place();
    let commands: &[&[&str]] = &[
        &["keys"],
        &["keys", "create", "--owner", "alice", "--scope", "read,prove", "--expires", "90d"],
        &["keys", "revoke", ID],
        &["owners"],
        &["owners", "show", "alice"],
        &["owners", "set", "alice", "--weight", "3", "--programs", "5"],
        &["webhooks"],
        &["webhooks", "add", "https://example.org/hook"],
        &["webhooks", "deliveries", WEBHOOK],
        &["webhooks", "redeliver", WEBHOOK, DELIVERY],
        &["webhooks", "rm", WEBHOOK],
        &["whoami"],
        &["storage"],
    ];
    let mut all = String::new();
    for command in commands {
        let ran = place.run(command);
        assert_eq!(ran.code, 0, "{command:?}: {}", ran.all());
        all += &format!("$ cargo coprocessor {}\n{}{}\n", command.join(" "), ran.stderr, ran.stdout);
    }
    insta::assert_snapshot!(all);
}

#[test]
fn the_key_is_sent_along_from_the_environment_or_a_file_and_never_shown() {
    let (place, seen) = place();
    place.write("key", format!("{KEY}\n").as_bytes());
    let from_file = place.run(&["whoami", "--key-file", "key"]);
    let from_environment = place.ran(&place.command(&["whoami"]).env("COPROCESSOR_KEY", KEY).output().unwrap());
    let without = place.run(&["whoami"]);
    for ran in [&from_file, &from_environment, &without] {
        assert_eq!(ran.code, 0, "{}", ran.all());
        assert!(!ran.all().contains(KEY));
    }
    let bearer = format!("Bearer {KEY}");
    assert_eq!(*seen.lock().unwrap(), [bearer.as_str(), &bearer, ""]);
}

#[test]
fn a_key_is_not_sent_where_everybody_can_read_it() {
    let place = Place::with_server("http://192.0.2.1:37281");
    let ran = place.ran(&place.command(&["whoami"]).env("COPROCESSOR_KEY", KEY).output().unwrap());
    assert_eq!(ran.code, 2, "{}", ran.all());
    assert!(ran.stderr.contains("https"), "{}", ran.all());
    assert!(!ran.all().contains(KEY));
}

#[test]
fn what_is_asked_for_is_what_is_sent() {
    let (place, seen) = place();
    let asked = |command: &[&str]| {
        let ran = place.run(command);
        assert_eq!(ran.code, 0, "{}", ran.all());
        serde_json::from_str::<Value>(&seen.lock().unwrap().pop().unwrap()).unwrap()
    };
    assert_eq!(asked(&["keys", "create", "--scope", "prove"]), json!({"scopes": ["prove"]}));
    let key = asked(&["keys", "create", "--owner", "bob", "--scope", "admin", "--name", "x", "--expires", "1h"]);
    assert_eq!((&key["owner"], &key["name"]), (&json!("bob"), &json!("x")));
    assert!(key["expires_at"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap() > jiff::Timestamp::now());
    let none = Value::Null;
    let owner = asked(&["owners", "set", "alice", "--weight", "3", "--programs", "5"]);
    assert_eq!(
        (&owner["weight"], &owner["quotas"]["programs"], &owner["quotas"]["burst"]),
        (&json!(3), &json!(5), &none)
    );
    let owner = asked(&["owners", "set", "alice", "--controller-fuel", "7", "--network-received-mib", "2"]);
    let controllers = &owner["quotas"]["controllers"];
    assert_eq!(
        (&controllers["fuel"], &controllers["network_received_bytes"], &controllers["host_calls"]),
        (&json!(7), &json!(2 << 20), &none)
    );
    assert_eq!(
        asked(&["webhooks", "add", "https://example.org/hook", "--event", "delivered,failed"]),
        json!({"url": "https://example.org/hook", "events": ["delivered", "failed"]})
    );
}

#[test]
fn mistakes_are_told() {
    let (place, _) = place();
    for (command, said) in [
        (&["keys", "create"][..], "--scope"),
        (&["keys", "create", "--scope", "everything"], "read, deploy, prove or admin"),
        (&["keys", "create", "--scope", "read", "--expires", "soon"], "90d"),
        (&["owners", "set", "alice", "--weight", "0"], "1..=1000"),
        (&["owners", "show", "Al ice"], "owner"),
    ] {
        let ran = place.run(command);
        assert_eq!(ran.code, 2, "{}", ran.all());
        assert!(ran.stderr.contains(said), "{}", ran.all());
    }
}

#[test]
fn events_of_all_tasks_are_told_as_they_come() {
    let (place, _) = place();
    let mut running = place.command(&["events", "--after", "6"]);
    let mut running = running.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(running.stdout.take().unwrap()), &mut line).unwrap();
    running.kill().unwrap();
    running.wait().unwrap();
    assert!(line.starts_with(TASK) && line.trim_end().ends_with("admitted"), "{line}");
}
