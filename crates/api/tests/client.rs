//! The client against a service that misbehaves.

use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::{Query, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use coprocessor_api::{
    Code, EventView, Problem, TaskRequest, TaskState, TaskView,
    client::{Client, ClientError, OwnerUpdate, PathContent, Update, Whose},
};
use coprocessor_types::{ProgramId, TaskId};
use futures::{StreamExt, stream};
use secrecy::SecretString;
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

const PROGRAM: ProgramId = ProgramId([7; 32]);

async fn serve(app: Router) -> Client {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    Client::new(&format!("http://{address}")).unwrap()
}

fn task_id() -> TaskId {
    "0193a3c0-0000-7000-8000-000000000001".parse().unwrap()
}

fn task(state: TaskState) -> TaskView {
    TaskView {
        id: task_id().to_string(),
        program: PROGRAM.to_string(),
        owner: "anonymous".to_owned(),
        kind: "mock".to_owned(),
        root: "00".repeat(32),
        state,
        args: serde_json::Value::Null,
        payload: serde_json::Value::Null,
        controller: "11".repeat(32),
        circuit: "22".repeat(32),
        attempts: 0,
        priority: 0,
        deadline: None,
        record: false,
        node: None,
        created_at: "2026-01-01T00:00:00Z".parse().unwrap(),
        updated_at: "2026-01-01T00:00:01Z".parse().unwrap(),
        not_before: None,
        output: None,
        has_proof: false,
        result: None,
        failure: None,
    }
}

fn message(seq: u64, state: TaskState) -> Result<Bytes, std::io::Error> {
    let event = EventView {
        seq,
        task: task_id().to_string(),
        at: "2026-01-01T00:00:00Z".parse().unwrap(),
        state,
        name: state.as_str().to_owned(),
        detail: serde_json::json!({}),
    };
    let data = serde_json::to_string(&event).unwrap();
    Ok(format!("retry: 1\nid: {seq}\nevent: {}\ndata: {data}\n\n", event.name).into())
}

fn event_stream(messages: Vec<Result<Bytes, std::io::Error>>) -> Response {
    ([(header::CONTENT_TYPE, "text/event-stream")], pieces(messages)).into_response()
}

fn problem(code: Code, detail: &str) -> Response {
    let status = StatusCode::from_u16(code.status()).unwrap();
    let body = serde_json::to_vec(&Problem::new(code, detail)).unwrap();
    (status, [(header::CONTENT_TYPE, "application/problem+json")], body).into_response()
}

/// A body of these pieces. Before an error it rests, so that what came first is on the wire.
fn pieces(pieces: Vec<Result<Bytes, std::io::Error>>) -> Body {
    Body::from_stream(stream::iter(pieces).then(|piece| async {
        if piece.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        piece
    }))
}

fn broken() -> Result<Bytes, std::io::Error> {
    Err(std::io::Error::other("the connection is cut"))
}

/// Hands out one script entry per connection, and notes the `Last-Event-ID` each came with.
#[derive(Clone)]
struct Script {
    connections: Arc<std::sync::Mutex<Vec<Option<String>>>>,
    play: Arc<dyn Fn(usize) -> Response + Send + Sync>,
    task: Arc<dyn Fn(usize) -> TaskView + Send + Sync>,
}

async fn scripted(
    play: impl Fn(usize) -> Response + Send + Sync + 'static,
    task: impl Fn(usize) -> TaskView + Send + Sync + 'static,
) -> (Client, Script) {
    let script = Script { connections: Arc::default(), play: Arc::new(play), task: Arc::new(task) };
    let app = Router::new()
        .route(
            "/api/v1/tasks/{id}/events",
            get(|State(script): State<Script>, headers: HeaderMap| async move {
                assert_eq!(headers[header::ACCEPT], "text/event-stream");
                let resumed = headers.get("last-event-id").map(|id| id.to_str().unwrap().to_owned());
                let number = {
                    let mut connections = script.connections.lock().unwrap();
                    connections.push(resumed);
                    connections.len() - 1
                };
                (script.play)(number)
            }),
        )
        .route(
            "/api/v1/tasks/{id}",
            get(|State(script): State<Script>| async move {
                let connections = script.connections.lock().unwrap().len();
                Json((script.task)(connections))
            }),
        )
        .with_state(script.clone());
    (serve(app).await, script)
}

async fn follow(client: &Client) -> (Vec<u64>, usize, Option<TaskView>) {
    let (mut seen, mut disconnected, mut end) = (Vec::new(), 0, None);
    let mut follow = client.follow(task_id(), None);
    while let Some(update) = follow.next().await.unwrap() {
        match update {
            Update::Event(event) => seen.push(event.seq),
            Update::Disconnected { .. } => disconnected += 1,
            Update::Finished(task) => end = Some(*task),
        }
    }
    (seen, disconnected, end)
}

#[tokio::test]
async fn following_resumes_after_the_last_event_seen() {
    use TaskState::{Delivered, Executing, Proving, Queued};
    let (client, script) = scripted(
        |connection| match connection {
            0 => event_stream(vec![message(3, Queued), message(5, Executing), broken()]),
            1 => problem(Code::Unavailable, "starting"),
            // Repeats an event that was seen, and ends in good order before the task does.
            2 => event_stream(vec![message(5, Executing), message(8, Proving)]),
            _ => event_stream(vec![message(9, Delivered)]),
        },
        |connections| task(if connections < 4 { Proving } else { Delivered }),
    )
    .await;

    let (seen, disconnected, end) = follow(&client).await;
    assert_eq!(seen, [3, 5, 8, 9]);
    assert_eq!(disconnected, 2);
    assert_eq!(end.unwrap().state, Delivered);
    let resumed = script.connections.lock().unwrap().clone();
    assert_eq!(resumed, [None, Some("5".to_owned()), Some("5".to_owned()), Some("8".to_owned())]);
}

#[tokio::test]
async fn a_retried_task_is_followed_beyond_its_first_end() {
    use TaskState::{Delivered, Failed, Proving};
    let (client, _) = scripted(
        |connection| match connection {
            0 => event_stream(vec![message(1, Failed)]),
            _ => event_stream(vec![message(2, Proving), message(3, Delivered)]),
        },
        |connections| task(if connections < 2 { Proving } else { Delivered }),
    )
    .await;
    let (seen, _, end) = follow(&client).await;
    assert_eq!(seen, [1, 2, 3]);
    assert_eq!(end.unwrap().state, Delivered);
}

#[tokio::test]
async fn a_finished_task_has_nothing_after_its_last_event() {
    let (client, _) = scripted(|_| event_stream(Vec::new()), |_| task(TaskState::Cancelled)).await;
    let mut follow = client.follow(task_id(), Some(12));
    assert!(matches!(follow.next().await.unwrap(), Some(Update::Finished(_))));
    assert!(follow.next().await.unwrap().is_none());
}

#[tokio::test]
async fn following_gives_up_on_a_service_that_stays_away() {
    let (client, _) = scripted(
        |connection| match connection {
            0 => event_stream(vec![message(1, TaskState::Queued), broken()]),
            _ => problem(Code::Unavailable, "stopping"),
        },
        |_| task(TaskState::Queued),
    )
    .await;
    let mut follow = client.follow(task_id(), None).with_patience(Duration::from_millis(50));
    let error = loop {
        match follow.next().await {
            Ok(update) => assert!(update.is_some(), "the task has not ended"),
            Err(error) => break error,
        }
    };
    assert!(matches!(&error, ClientError::Problem(problem) if problem.code == "unavailable"), "{error}");
    assert_eq!(follow.position(), Some(1));
    assert!(follow.next().await.unwrap().is_none());
}

#[tokio::test]
async fn an_unknown_task_is_not_asked_for_again() {
    let (client, script) =
        scripted(|_| problem(Code::UnknownTask, "there is no such task"), |_| task(TaskState::Queued)).await;
    let error = client.follow(task_id(), None).next().await.unwrap_err();
    assert!(matches!(&error, ClientError::Problem(problem) if problem.status == 404), "{error}");
    assert_eq!(script.connections.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_lost_answer_is_asked_for_again_under_an_idempotency_key_only() {
    let count = Arc::new(AtomicUsize::new(0));
    let app = Router::new()
        .route(
            "/api/v1/programs/{id}/tasks",
            post(|State(count): State<Arc<AtomicUsize>>, headers: HeaderMap| async move {
                if count.fetch_add(1, Ordering::SeqCst) == 0 {
                    // An announced body that never comes: the client cannot know what became of its request.
                    let body = pieces(vec![Ok("{".into()), broken()]);
                    return (StatusCode::ACCEPTED, body).into_response();
                }
                assert_eq!(headers["idempotency-key"], "k");
                (StatusCode::ACCEPTED, Json(task(TaskState::Queued))).into_response()
            }),
        )
        .with_state(count.clone());
    let client = serve(app).await;

    let error = client.create_task(&PROGRAM, &TaskRequest::default(), None).await.unwrap_err();
    assert!(matches!(error, ClientError::Interrupted { .. }), "{error}");
    assert_eq!(count.swap(0, Ordering::SeqCst), 1);

    let task = client.create_task(&PROGRAM, &TaskRequest::default(), Some("k")).await.unwrap();
    assert_eq!((task.id, count.load(Ordering::SeqCst)), (task_id().to_string(), 2));
}

#[tokio::test]
async fn nobody_there_is_told_from_another_service_there() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let error = Client::new(&format!("http://{address}")).unwrap().info().await.unwrap_err();
    assert!(matches!(error, ClientError::Unreachable { .. }), "{error}");
    assert!(error.may_pass());

    let client = serve(Router::new().fallback(|| async { (StatusCode::OK, "<html>hello</html>") })).await;
    let error = client.info().await.unwrap_err();
    assert!(
        matches!(&error, ClientError::UnexpectedAnswer { status: 200, body, .. } if body.contains("hello")),
        "{error}"
    );

    let client = serve(Router::new()).await;
    let error = client.info().await.unwrap_err();
    assert!(matches!(error, ClientError::UnexpectedAnswer { status: 404, .. }), "{error}");
}

#[tokio::test]
async fn a_file_and_a_directory_are_told_apart_and_a_truncated_file_is_an_error() {
    let app = Router::new()
        .route("/api/v1/programs/{id}/files", get(|| async { Json(serde_json::json!({"path": "/", "entries": []})) }))
        .route(
            "/api/v1/programs/{id}/files/{*path}",
            get(|| async {
                let body = pieces(vec![Ok("half".into()), broken()]);
                ([(header::CONTENT_TYPE, "application/octet-stream"), (header::CONTENT_LENGTH, "8")], body)
            }),
        );
    let client = serve(app).await;
    assert!(matches!(client.read(&PROGRAM, "/").await.unwrap(), PathContent::Directory(_)));

    let PathContent::File(file) = client.read(&PROGRAM, "a/b.bin").await.unwrap() else {
        panic!("a file");
    };
    assert_eq!(file.size(), Some(8));
    assert!(matches!(file.bytes().await.unwrap_err(), ClientError::Interrupted { .. }));
}

#[tokio::test]
async fn a_service_that_is_not_ready_answers_so() {
    let app = Router::new()
        .route("/health/live", get(|| async { StatusCode::NO_CONTENT }))
        .route("/health/ready", get(|| async { problem(Code::Unavailable, "the store does not work") }));
    let client = serve(app).await;
    client.live().await.unwrap();
    let (ready, view) = client.ready().await.unwrap();
    assert_eq!((ready, view.status.as_str()), (false, "the store does not work"));
}

#[tokio::test]
async fn a_key_goes_with_every_request_and_its_lack_is_told_with_what_to_do() {
    let app = Router::new()
        .route(
            "/api/v1/whoami",
            get(|headers: HeaderMap| async move {
                if headers.get(header::AUTHORIZATION).is_none_or(|value| value != "Bearer cpk_00_hush") {
                    return problem(Code::Unauthenticated, "a key is needed here");
                }
                let limits = serde_json::json!({
                    "unfinished_tasks": 1, "programs": 1, "requests_per_second": 1, "burst": 1
                });
                let view = serde_json::json!({"owner": "alice", "key": "00", "scopes": ["read"], "limits": limits});
                Json(view).into_response()
            }),
        )
        .route("/api/v1/events", get(|| async { problem(Code::Unauthenticated, "a key is needed here") }));
    let client = serve(app).await;
    let error = client.whoami().await.unwrap_err();
    assert!(error.to_string().contains("COPROCESSOR_KEY") && !error.may_pass(), "{error}");
    let error = client.follow_all(&Whose::Mine, None).next().await.unwrap_err();
    assert!(matches!(&error, ClientError::Problem(problem) if problem.status == 401), "{error}");
    let client = client.with_key(&SecretString::from("cpk_00_hush\n")).unwrap();
    assert_eq!(client.whoami().await.unwrap().owner, "alice");
    assert!(!format!("{client:?}").contains("hush"));
}

#[tokio::test]
async fn waiting_goes_on_over_a_lost_connection_and_ends_with_the_task() {
    let count = Arc::new(AtomicUsize::new(0));
    let app = Router::new()
        .route(
            "/api/v1/tasks/{id}",
            get(|State(count): State<Arc<AtomicUsize>>, Query(query): Query<HashMap<String, String>>| async move {
                assert!((1..=60).contains(&query["wait"].parse::<u64>().unwrap()), "{query:?}");
                match count.fetch_add(1, Ordering::SeqCst) {
                    0 => Json(task(TaskState::Proving)).into_response(),
                    1 => pieces(vec![Ok("{".into()), broken()]).into_response(),
                    _ => Json(task(TaskState::Delivered)).into_response(),
                }
            }),
        )
        .with_state(count.clone());
    let client = serve(app).await;
    let task = client.wait(&task_id(), Duration::from_secs(600)).await.unwrap();
    assert_eq!((task.state, count.load(Ordering::SeqCst)), (TaskState::Delivered, 3));
}

#[tokio::test]
async fn waiting_ends_when_its_time_is_up() {
    let app = Router::new().route("/api/v1/tasks/{id}", get(|| async { Json(task(TaskState::Proving)) }));
    let client = serve(app).await;
    let task = client.wait(&task_id(), Duration::from_millis(20)).await.unwrap();
    assert_eq!(task.state, TaskState::Proving);
}

#[tokio::test]
async fn all_tasks_are_followed_from_where_the_stream_began_even_if_nothing_came() {
    let connections: Arc<std::sync::Mutex<Vec<Option<String>>>> = Arc::default();
    let noted = connections.clone();
    let app = Router::new().route(
        "/api/v1/events",
        get(|headers: HeaderMap, Query(query): Query<HashMap<String, String>>| async move {
            assert_eq!(
                (query["owner"].as_str(), &headers[header::ACCEPT]),
                ("bob", &"text/event-stream".parse().unwrap())
            );
            let resumed = headers.get("last-event-id").map(|id| id.to_str().unwrap().to_owned());
            let number = {
                let mut noted = noted.lock().unwrap();
                noted.push(resumed);
                noted.len()
            };
            match number {
                1 => event_stream(vec![Ok("retry: 1\nid: 40\n\n".into()), broken()]),
                2 => event_stream(vec![message(43, TaskState::Queued)]),
                3 => problem(Code::Unavailable, "starting"),
                _ => event_stream(vec![message(43, TaskState::Queued), message(44, TaskState::Delivered)]),
            }
        }),
    );
    let client = serve(app).await;
    let mut follow = client.follow_all(&Whose::Owner("bob".parse().unwrap()), None);
    let (mut seen, mut lost) = (Vec::new(), 0);
    while seen.len() < 2 {
        match follow.next().await.unwrap() {
            OwnerUpdate::Event(event) => seen.push(event.seq),
            OwnerUpdate::Disconnected { .. } => lost += 1,
        }
    }
    assert_eq!((seen, lost, follow.position()), (vec![43, 44], 3, Some(44)));
    let resumed = connections.lock().unwrap().clone();
    assert_eq!(resumed, [None, Some("40".to_owned()), Some("43".to_owned()), Some("43".to_owned())]);
}
