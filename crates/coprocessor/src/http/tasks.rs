//! Tasks: asking for proofs, and looking after them.

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use coprocessor_api::{Code, Problem, ProofView, TaskList, TaskRequest, TaskView};
use coprocessor_engine::{Caller, Engine};
use coprocessor_store::{Cursor, Stage, TaskFilter, TaskState};
use serde::Deserialize;
use std::time::Duration;

use super::{
    Stopping,
    auth::Who,
    extract::{Body, Params, PathProgram, PathTask, kind, limit, owner, root},
    problem::Failure,
};
use crate::convert;

/// Longest time that a request waits for a task, in seconds.
const MAX_WAIT: u64 = 60;

/// Longest idempotency key.
const MAX_KEY: usize = 255;

#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ListParams {
    /// Only tasks of this program.
    program: Option<String>,
    /// Only tasks in this state.
    state: Option<String>,
    /// Only tasks of this owner; others than one's own take the scope `admin`.
    owner: Option<String>,
    /// Where to go on: `next` of the page before.
    cursor: Option<String>,
    /// Most items, 1 to 1000; 100 by default.
    limit: Option<usize>,
}

#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct RecordingParams {
    /// Of the run in this stage, `execute` or `deliver`; by default of the last one that was recorded.
    stage: Option<String>,
}

#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ShowParams {
    /// Answer once the task has finished, or after this many seconds, 0 to 60, with the task as it is then.
    wait: Option<u64>,
}

/// Ask for a proof.
///
/// The answer is 202 with the task, which from then on survives anything. With `Idempotency-Key`, repeating the request
/// answers with the same task.
#[utoipa::path(post, path = "/api/v1/programs/{program}/tasks", tag = "tasks",
    params(("program" = String, Path), ("Idempotency-Key" = Option<String>, Header)), request_body = TaskRequest,
    responses((status = 202, body = TaskView), (status = "4XX", body = Problem, content_type = "application/problem+json"),
        (status = 503, body = Problem, content_type = "application/problem+json"),
        (status = 507, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn submit(
    State(engine): State<Engine>,
    Who(caller): Who,
    PathProgram(program): PathProgram,
    headers: HeaderMap,
    Body(request): Body<TaskRequest>,
) -> Result<Response, Failure> {
    let request = coprocessor_engine::TaskRequest {
        caller: Caller::clone(&caller),
        program,
        args: request.args,
        payload: request.payload,
        kind: request.kind.as_deref().map(kind).transpose()?,
        root: root(request.root.as_deref())?,
        priority: request.priority,
        deadline: request.deadline_seconds.map(Duration::from_secs),
        record: request.record,
        idempotency_key: idempotency_key(&headers)?,
    };
    let task = engine.admit(request).await?;
    let location = format!("/api/v1/tasks/{}", task.id);
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, location)], Json(convert::task(task))).into_response())
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Failure> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    let key = value.to_str().ok().filter(|key| (1..=MAX_KEY).contains(&key.len()));
    let detail = || format!("Idempotency-Key is 1 to {MAX_KEY} visible ASCII characters");
    key.map(|key| Some(key.to_owned())).ok_or_else(|| Failure::new(Code::InvalidIdempotencyKey, detail()))
}

/// List tasks, newest first.
#[utoipa::path(get, path = "/api/v1/tasks", tag = "tasks", params(ListParams),
    responses((status = 200, body = TaskList), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn list(
    State(engine): State<Engine>,
    Who(caller): Who,
    Params(params): Params<ListParams>,
) -> Result<Json<TaskList>, Failure> {
    let invalid = |detail: String| Failure::new(Code::InvalidParameter, detail);
    let program =
        params.program.map(|text| text.parse().map_err(|error| invalid(format!("program: {error}")))).transpose()?;
    let state = params
        .state
        .map(|text| TaskState::from_name(&text).ok_or_else(|| invalid(format!("`{text}` is no state of a task"))))
        .transpose()?;
    let filter = TaskFilter { program, owner: owner(params.owner.as_deref())?, state };
    let page = engine.tasks(&caller, filter, params.cursor.map(Cursor), limit(params.limit)?).await?;
    Ok(Json(TaskList {
        items: page.items.into_iter().map(convert::task).collect(),
        next: page.next.map(|Cursor(next)| next),
    }))
}

/// A task.
#[utoipa::path(get, path = "/api/v1/tasks/{task}", tag = "tasks", params(("task" = String, Path), ShowParams),
    responses((status = 200, body = TaskView), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn show(
    State(engine): State<Engine>,
    State(stopping): State<Stopping>,
    Who(caller): Who,
    PathTask(id): PathTask,
    Params(params): Params<ShowParams>,
) -> Result<Json<TaskView>, Failure> {
    let task = match params.wait {
        None | Some(0) => engine.task(&caller, id).await?,
        Some(wait @ 1..=MAX_WAIT) => tokio::select! {
            task = engine.wait(&caller, id, Duration::from_secs(wait)) => task?,
            // Whoever waits does not hold up the end of the service.
            () = stopping.0.cancelled() => engine.task(&caller, id).await?,
        },
        Some(wait) => {
            let detail = format!("wait is 0 to {MAX_WAIT} seconds, got {wait}; ask again to go on waiting");
            return Err(Failure::new(Code::InvalidParameter, detail));
        }
    };
    Ok(Json(convert::task(task)))
}

/// Cancel a task, at whatever stage it is.
#[utoipa::path(delete, path = "/api/v1/tasks/{task}", tag = "tasks", params(("task" = String, Path)),
    responses((status = 200, body = TaskView), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn cancel(
    State(engine): State<Engine>,
    Who(caller): Who,
    PathTask(id): PathTask,
) -> Result<Json<TaskView>, Failure> {
    Ok(Json(convert::task(engine.cancel(&caller, id).await?)))
}

/// Try a failed task again, from the stage it failed in, with as much time to its deadline as it had at first.
#[utoipa::path(post, path = "/api/v1/tasks/{task}/retry", tag = "tasks", params(("task" = String, Path)),
    responses((status = 200, body = TaskView), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn retry(
    State(engine): State<Engine>,
    Who(caller): Who,
    PathTask(id): PathTask,
) -> Result<Json<TaskView>, Failure> {
    Ok(Json(convert::task(engine.retry(&caller, id).await?)))
}

/// The verified proof: JSON with all that a verifier needs, or with `Accept: application/octet-stream` its bytes alone.
#[utoipa::path(get, path = "/api/v1/tasks/{task}/proof", tag = "tasks", params(("task" = String, Path)),
    responses((status = 200, content((ProofView = "application/json"), (Vec<u8> = "application/octet-stream"))),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn proof(
    State(engine): State<Engine>,
    Who(caller): Who,
    PathTask(id): PathTask,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let bundle = engine.proof(&caller, id).await?;
    if accepts(&headers, "application/octet-stream") {
        let media = [(header::CONTENT_TYPE, "application/octet-stream")];
        return Ok((media, bundle.proof).into_response());
    }
    Ok(Json(convert::proof(bundle)).into_response())
}

/// What the task's controller asked of the service and was answered, to be run again by `cargo coprocessor replay`.
///
/// Recorded where the task asks for it with `record`; lines of JSON, of which the last is the controller itself.
#[utoipa::path(get, path = "/api/v1/tasks/{task}/recording", tag = "tasks", params(("task" = String, Path), RecordingParams),
    responses((status = 200, body = Vec<u8>, content_type = "application/x-ndjson"),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn recording(
    State(engine): State<Engine>,
    Who(caller): Who,
    PathTask(id): PathTask,
    Params(params): Params<RecordingParams>,
) -> Result<Response, Failure> {
    let stage = match params.stage.as_deref() {
        None => None,
        Some("execute") => Some(Stage::Execute),
        Some("deliver") => Some(Stage::Deliver),
        Some(other) => {
            let detail = format!("`{other}` is no stage in which a controller runs; expected execute or deliver");
            return Err(Failure::new(Code::InvalidParameter, detail));
        }
    };
    let (_, recording) = engine.recording(&caller, id, stage).await?;
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], recording).into_response())
}

/// Whether the client asks for just that media type.
pub(super) fn accepts(headers: &HeaderMap, media: &str) -> bool {
    headers
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.split(',').any(|one| one.split(';').next().is_some_and(|one| one.trim() == media)))
}
