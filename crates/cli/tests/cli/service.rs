//! A coprocessor of fixed answers.

use axum::{
    Json, Router,
    body::{Body, Bytes},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post, put},
};
use coprocessor_api::{Code, EventView, Problem, TaskState};
use coprocessor_types::ProgramId;
use futures::{StreamExt, stream};
use serde_json::{Value, json};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

pub(crate) const TASK: &str = "0193a3c0-0000-7000-8000-000000000001";
pub(crate) const CIRCUIT: &[u8] = b"circuit";
pub(crate) const ROOT: &str = "abababababababababababababababababababababababababababababababab";
const NODE: &str = "http://127.0.0.1:37282";

/// A running service.
pub(crate) struct Service {
    pub(crate) url: String,
}

/// What requests brought.
pub(crate) type Seen = Arc<Mutex<Vec<String>>>;

impl Service {
    /// Serves until the test's process ends.
    pub(crate) fn start(router: Router) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                axum::serve(listener, router).await.unwrap();
            });
        });
        Self { url }
    }
}

pub(crate) fn program_id() -> String {
    ProgramId::derive(CIRCUIT, 0).to_string()
}

pub(crate) fn problem(code: Code, detail: &str) -> Response {
    respond(&Problem::new(code, detail))
}

pub(crate) fn respond(problem: &Problem) -> Response {
    let status = StatusCode::from_u16(problem.status).unwrap();
    (status, [(header::CONTENT_TYPE, "application/problem+json")], serde_json::to_vec(problem).unwrap()).into_response()
}

pub(crate) fn program() -> Value {
    json!({
        "id": program_id(),
        "name": "greeter",
        "owner": "anonymous",
        "backend": "sp1",
        "controller": "11".repeat(32),
        "circuit": "22".repeat(32),
        "verifying_key": null,
        "nonce": 0,
        "volume_size": 67_108_864,
        "created_at": "2026-01-01T00:00:00Z",
        "updated_at": "2026-01-01T00:00:00Z",
    })
}

pub(crate) fn task(state: TaskState) -> Value {
    let delivered = state == TaskState::Delivered;
    json!({
        "id": TASK,
        "program": program_id(),
        "owner": "anonymous",
        "kind": "core",
        "root": ROOT,
        "state": state,
        "args": {"name": "Ada"},
        "payload": null,
        "controller": "11".repeat(32),
        "circuit": "22".repeat(32),
        "attempts": 0,
        "created_at": "2026-01-01T00:00:00Z",
        "updated_at": "2026-01-01T00:00:31Z",
        "not_before": null,
        "output": delivered.then_some("SGVsbG8sIEFkYSE="),
        "has_proof": delivered,
        "result": null,
        "failure": null,
    })
}

pub(crate) fn failed_task() -> Value {
    let mut task = task(TaskState::Failed);
    task["failure"] =
        json!({"stage": "prove", "code": "prover_lost", "message": "the node is gone", "retryable": true});
    task
}

/// Event number `seq`, a second after the one before.
pub(crate) fn event(seq: u64, state: TaskState, name: &str, detail: Value) -> EventView {
    EventView {
        seq,
        task: TASK.to_owned(),
        at: format!("2026-01-01T00:00:{seq:02}Z").parse().unwrap(),
        state,
        name: name.to_owned(),
        detail,
    }
}

fn usage() -> Value {
    json!({"fuel": 12_345, "wall_clock_us": 1_500, "memory_bytes": 1_114_112, "host_calls": 3})
}

/// The life of a task that ends well.
pub(crate) fn life() -> Vec<EventView> {
    use TaskState::{Delivered, Delivering, Executing, Proving, Queued};
    vec![
        event(1, Queued, "admitted", json!({})),
        event(2, Executing, "claimed", json!({"worker": "w", "stage": "execute", "fence": 1})),
        event(
            3,
            Proving,
            "witness_ready",
            json!({"log": ["greeting Ada"], "usage": usage(), "witnesses": 1, "bytes": 45}),
        ),
        event(4, Proving, "node_chosen", json!({"node": NODE})),
        event(5, Proving, "proof_step", json!({"node": NODE, "step": "proving"})),
        event(
            31,
            Delivering,
            "proof_verified",
            json!({
                "node": NODE, "cycles": 18_727, "proof_bytes": 2_800_000, "set_up_ms": 2_000, "proving_ms": 25_100,
                "verifying_ms": 110, "peak_memory": 10_844_792_422_u64,
            }),
        ),
        event(32, Delivered, "delivered", json!({"log": [], "usage": usage()})),
    ]
}

/// Events as a stream. `broken`: the connection is cut after them.
pub(crate) fn event_stream(events: &[EventView], broken: bool) -> Response {
    let message = |event: &EventView| {
        let data = serde_json::to_string(event).unwrap();
        Ok(Bytes::from(format!("retry: 1\nid: {}\nevent: {}\ndata: {data}\n\n", event.seq, event.name)))
    };
    let mut pieces: Vec<Result<Bytes, std::io::Error>> = events.iter().map(message).collect();
    if broken {
        pieces.push(Err(std::io::Error::other("cut")));
    }
    // Rests before an error, so that what came first is on the wire.
    let pieces = stream::iter(pieces).then(|piece| async {
        if piece.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        piece
    });
    ([(header::CONTENT_TYPE, "text/event-stream")], Body::from_stream(pieces)).into_response()
}

/// The events after `Last-Event-ID` or `after`, as the request wants them.
pub(crate) fn events(headers: &HeaderMap, query: &str, all: Vec<EventView>) -> Response {
    let resumed = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    let after = resumed.or(query.strip_prefix("after=")).map_or(0, |after| after.parse().unwrap());
    let rest: Vec<_> = all.into_iter().filter(|event| event.seq > after).collect();
    if headers.get(header::ACCEPT).is_some_and(|accept| accept == "text/event-stream") {
        event_stream(&rest, false)
    } else {
        Json(json!({"items": rest})).into_response()
    }
}

pub(crate) fn proof(kind: &str) -> Value {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let public_inputs = [&[0xab; 32][..], b"Hello, Ada!"].concat();
    json!({
        "task": TASK,
        "program": program_id(),
        "backend": "sp1",
        "kind": kind,
        "root": ROOT,
        "output": "SGVsbG8sIEFkYSE=",
        "public_inputs": STANDARD.encode(public_inputs),
        "proof": STANDARD.encode(b"proof"),
        "circuit": "22".repeat(32),
        "verifying_key": STANDARD.encode(b"key"),
    })
}

/// Everything goes well. Requests that bring something are noted.
pub(crate) fn well(seen: &Seen) -> Router {
    let note = |what: &'static str| {
        let seen = Arc::clone(seen);
        move |headers: HeaderMap, body: Bytes| {
            let key = headers.get("idempotency-key").map(|_| " with a key").unwrap_or_default();
            seen.lock().unwrap().push(format!("{what}{key} {}", String::from_utf8_lossy(&body)));
        }
    };
    let (tasks, put_file, verified, added) = (note("task"), note("file"), note("verify"), note("prover"));
    let (set, rolled_back) = (note("controller"), note("controller"));
    let verify = move |headers: HeaderMap, body: Bytes| async move {
        let valid = !String::from_utf8_lossy(&body).contains("Zm9yZ2Vk");
        verified(headers, body);
        let reason = (!valid).then_some("the commitment differs");
        Json(json!({"valid": valid, "reason": reason, "root": ROOT, "own_root": true}))
    };
    let program_routes = Router::new()
        .route("/", get(async || Json(program())).delete(async || StatusCode::NO_CONTENT))
        .route(
            "/vk",
            get(async || {
                let digest = "33".repeat(32);
                Json(json!({"backend": "sp1", "verifying_key": "a2V5", "digest": digest, "sp1_vkey_hash": "0x0044"}))
            }),
        )
        .route(
            "/witness",
            post(async || {
                Json(json!({"root": ROOT, "witnesses": [{"Data": [65, 100, 97]}], "log": ["greeting Ada"], "usage": usage()}))
            }),
        )
        .route(
            "/execute",
            post(async || {
                let output = "SGVsbG8sIEFkYSE=";
                Json(json!({"root": ROOT, "output": output, "cycles": 18_727, "log": [], "usage": usage()}))
            }),
        )
        .route(
            "/call",
            post(async || Json(json!({"result": {"stored": true}, "log": ["stored \u{1b}[2J"], "usage": usage()}))),
        )
        .route(
            "/tasks",
            post(async move |headers: HeaderMap, body: Bytes| {
                tasks(headers, body);
                (StatusCode::ACCEPTED, Json(task(TaskState::Queued)))
            }),
        )
        .route("/files", get(async || Json(directory())))
        .route(
            "/files/{*path}",
            get(async |axum::extract::RawQuery(query): axum::extract::RawQuery| match query.as_deref() {
                Some("stat=true") => Json(entry()).into_response(),
                _ => ([(header::CONTENT_TYPE, "application/octet-stream")], "content").into_response(),
            })
                .put(async move |headers: HeaderMap, body: Bytes| {
                    put_file(headers, body);
                    StatusCode::NO_CONTENT
                })
                .patch(async || Json(entry()))
                .delete(async || StatusCode::NO_CONTENT),
        )
        .route(
            "/image",
            get(async || ([(header::CONTENT_TYPE, "application/octet-stream")], vec![0; 2048])).put(async |body: Bytes| {
                assert_eq!(body, "content");
                let mut new = volume();
                new["files"] = json!(12);
                new["directories"] = json!(3);
                Json(new)
            }),
        )
        .route("/volume", get(async || Json(volume())))
        .route(
            "/raw",
            get(async || ([(header::CONTENT_TYPE, "application/octet-stream")], "raw bytes"))
                .put(async || StatusCode::NO_CONTENT),
        )
        .route(
            "/controller",
            put(async move |headers: HeaderMap, body: Bytes| {
                set(headers, body);
                Json(program())
            })
            .get(async |axum::extract::RawQuery(query): axum::extract::RawQuery| query.unwrap_or_default()),
        )
        .route("/controller/versions", get(async || Json(versions())))
        .route(
            "/controller/rollback",
            post(async move |headers: HeaderMap, body: Bytes| {
                rolled_back(headers, body);
                Json(program())
            }),
        );
    let task_routes = Router::new()
        .route("/", get(async || Json(task(TaskState::Delivered))).delete(async || Json(task(TaskState::Cancelled))))
        .route(
            "/events",
            get(async |headers: HeaderMap, axum::extract::RawQuery(query): axum::extract::RawQuery| {
                events(&headers, &query.unwrap_or_default(), life())
            }),
        )
        .route("/proof", get(async || Json(proof("core"))))
        .route("/retry", post(async || Json(task(TaskState::Proving))));
    let api = Router::new()
        .route(
            "/programs",
            get(async |axum::extract::RawQuery(query): axum::extract::RawQuery| {
                let (mut other, mut sole) = (program(), program());
                other["id"] = "66".repeat(32).into();
                sole["name"] = "sole".into();
                match query.as_deref() {
                    Some("cursor=c2") => Json(json!({"items": [other, sole], "next": null})),
                    _ => Json(json!({"items": [program()], "next": "c2"})),
                }
            }),
        )
        .nest(&format!("/programs/{}", program_id()), program_routes)
        .route(
            "/tasks",
            get(async || Json(json!({"items": [task(TaskState::Delivered), failed_task()], "next": null}))),
        )
        .nest(&format!("/tasks/{TASK}"), task_routes)
        .route("/roots/current", get(async || Json(crate::chain::current_root())))
        .route("/verify", post(verify))
        .route(
            "/provers",
            get(async || Json(json!({"items": [prover(true), prover(false)]})))
                .post(async move |headers: HeaderMap, body: Bytes| {
                    added(headers, body);
                    Json(prover(true))
                })
                .delete(async || StatusCode::NO_CONTENT),
        );
    Router::new()
        .route(
            "/api/v1",
            get(async || Json(json!({"name": "coprocessor", "version": "0.1.0", "instance": "55".repeat(32)}))),
        )
        .nest("/api/v1", api)
        .route(
            "/health/ready",
            get(async || Json(json!({"status": "ok", "tasks": {"delivered": 1200, "queued": 0, "proving": 2}}))),
        )
}

/// The second is current again; before it, the first was.
fn versions() -> Value {
    let version = |number: u64, at: &str, key: Value, current: bool| {
        json!({
            "version": number, "digest": number.to_string().repeat(64), "bytes": 1000 * number, "set_at": at, "set_by": "alice",
            "set_with": key, "current": current,
        })
    };
    let items = [
        version(3, "2026-01-03T00:00:00Z", json!("0707070707070707"), false),
        version(2, "2026-01-05T00:00:00Z", json!(null), true),
        version(1, "2026-01-04T00:00:00Z", json!(null), false),
    ];
    json!({"items": items, "next": null})
}

fn volume() -> Value {
    json!({"size": 67_108_864, "total": 67_014_656, "free": 60_000_000})
}

fn entry() -> Value {
    json!({
        "name": "greet.txt", "kind": "file", "size": 1234, "created": "2026-01-01T00:00:01Z",
        "modified": "2026-01-02T00:00:00Z", "accessed": "2026-01-02", "attributes": ["read_only", "archive"],
    })
}

fn directory() -> Value {
    let entries = json!([
        {"name": "greet.txt", "kind": "file", "size": 1234},
        {"name": "var", "kind": "directory", "size": 0},
    ]);
    json!({"path": "/", "entries": entries})
}

fn prover(reachable: bool) -> Value {
    if !reachable {
        return json!({
            "address": "https://far.example", "source": "registered", "added_at": "2026-01-01T00:00:00Z", "reachable": false,
            "error": "connection refused", "kinds": [], "missing": {}, "running": 0, "waiting": 0,
        });
    }
    json!({
        "address": NODE, "source": "configured", "reachable": true, "version": "coprocessor-prover 0.1.0",
        "kinds": ["core", "compressed"], "missing": {"groth16": "circuit artifacts are not there"}, "running": 1, "waiting": 0,
    })
}
