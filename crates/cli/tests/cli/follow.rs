//! Following a task.

use crate::{
    run::Place,
    service::{Seen, Service, TASK, event, event_stream, life, program_id, task, well},
};
use axum::{
    Json, Router,
    http::{HeaderMap, StatusCode},
    routing::{get, post},
};
use coprocessor_api::TaskState;
use serde_json::json;
use std::sync::{Arc, Mutex};

#[test]
fn a_task_is_told_line_by_line_and_summed_up() {
    let place = Place::with_server(&Service::start(well(&Seen::default())).url);
    let ran = place.run(&["prove", &program_id(), "--args", r#"{"name": "Ada"}"#, "--output", "proof.json"]);
    insta::assert_snapshot!(ran.all().replace(&program_id(), "ID"));
    assert!(place.path().join("proof.json").exists());
}

#[test]
fn a_lost_connection_is_resumed_where_it_broke() {
    let resumed: Arc<Mutex<Vec<Option<String>>>> = Arc::default();
    let connections = Arc::clone(&resumed);
    let router = Router::new()
        .route(
            &format!("/api/v1/tasks/{TASK}/events"),
            get(async move |headers: HeaderMap| {
                let mut connections = connections.lock().unwrap();
                connections.push(headers.get("last-event-id").map(|id| id.to_str().unwrap().to_owned()));
                let life = life();
                match connections.len() {
                    1 => event_stream(&life[..3], true),
                    2 => event_stream(&life[3..4], true),
                    // Repeats what was seen.
                    _ => event_stream(&life[2..], false),
                }
            }),
        )
        .route(&format!("/api/v1/tasks/{TASK}"), get(async || Json(task(TaskState::Delivered))));
    let place = Place::with_server(&Service::start(router).url);
    let ran = place.run(&["tasks", "follow", TASK, "--json"]);
    assert_eq!(ran.code, 0, "{}", ran.all());
    let seen: Vec<_> = ran
        .stdout
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["seq"].as_u64().unwrap())
        .collect();
    assert_eq!(seen, [1, 2, 3, 4, 5, 31, 32]);
    assert_eq!(*resumed.lock().unwrap(), [None, Some("3".to_owned()), Some("4".to_owned())]);
}

#[test]
fn a_failed_task_is_shown_with_its_log() {
    let failed = || {
        let mut task = task(TaskState::Failed);
        task["failure"] =
            json!({"stage": "execute", "code": "guest_panicked", "message": "no name", "retryable": false});
        task
    };
    let router = Router::new()
        .route("/api/v1/programs/{id}/tasks", post(async || (StatusCode::ACCEPTED, Json(task(TaskState::Queued)))))
        .route(
            &format!("/api/v1/tasks/{TASK}/events"),
            get(async || {
                let detail = json!({"code": "guest_panicked", "message": "no name", "log": ["looking for a name"]});
                event_stream(&[event(1, TaskState::Failed, "failed", detail)], false)
            }),
        )
        .route(&format!("/api/v1/tasks/{TASK}"), get(async move || Json(failed())));
    let place = Place::with_server(&Service::start(router).url);
    let ran = place.run(&["prove", &program_id()]);
    insta::assert_snapshot!(ran.all().replace(&program_id(), "ID"));
    let ran = place.run(&["prove", &program_id(), "--json"]);
    assert_eq!((ran.code, ran.json()["task"]["state"].clone()), (1, json!("failed")));
    assert!(ran.stderr.contains(r#""code":"guest_panicked""#), "{}", ran.stderr);
}

#[cfg(unix)]
#[test]
fn ctrl_c_stops_following_and_says_how_to_go_on() {
    use std::{
        io::{BufRead, BufReader},
        process::{Command, Stdio},
    };
    let router = Router::new().route(
        &format!("/api/v1/tasks/{TASK}/events"),
        get(async || {
            let first = futures::stream::iter([Ok::<_, std::io::Error>(format!(
                "data: {}\n\n",
                serde_json::to_string(&life()[0]).unwrap()
            ))]);
            let body = axum::body::Body::from_stream(futures::StreamExt::chain(first, futures::stream::pending()));
            ([("content-type", "text/event-stream")], body)
        }),
    );
    let place = Place::with_server(&Service::start(router).url);
    let mut command = place.command(&["tasks", "follow", TASK]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut first).unwrap();
    assert!(first.contains("admitted"), "{first}");
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let ran = place.ran(&child.wait_with_output().unwrap());
    insta::assert_snapshot!(ran.all());
}
