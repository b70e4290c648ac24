//! A task's events: a list, or a stream that goes on until the task has finished.

use axum::{
    Json,
    extract::State,
    http::HeaderMap,
    response::{
        IntoResponse, Response,
        sse::{Event as SseEvent, KeepAlive, Sse},
    },
};
use coprocessor_api::{Code, EventList, EventView, Problem};
use coprocessor_engine::Engine;
use coprocessor_store::{Change, Event};
use coprocessor_types::TaskId;
use futures::Stream;
use serde::Deserialize;
use std::{collections::VecDeque, convert::Infallible, time::Duration};
use tokio::sync::broadcast::{self, error::RecvError};

use super::{
    extract::{Params, PathTask, limit},
    problem::Failure,
    tasks::accepts,
};
use crate::convert;

/// Events read from the store at once.
const BATCH: usize = 100;

/// The store is asked this often even when nothing was announced.
const LOST_WAKE_UP: Duration = Duration::from_secs(10);

#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct EventParams {
    /// Only events with a higher sequence number.
    after: Option<u64>,
    /// Most items of a list, 1 to 1000; 100 by default.
    limit: Option<usize>,
}

/// What has happened to a task.
///
/// With `Accept: text/event-stream`: as server-sent events from the first (or from `Last-Event-ID`) on, as they happen,
/// until the task has finished. `id` is the sequence number, `event` the name, `data` the event as JSON.
#[utoipa::path(get, path = "/api/v1/tasks/{task}/events", tag = "tasks",
    params(("task" = String, Path), EventParams, ("Last-Event-ID" = Option<u64>, Header)),
    responses((status = 200, content((EventList = "application/json"), (EventView = "text/event-stream"))),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn events(
    State(engine): State<Engine>,
    PathTask(task): PathTask,
    Params(params): Params<EventParams>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    engine.task(task).await?;
    if accepts(&headers, "text/event-stream") {
        let after = last_event_id(&headers)?.or(params.after).unwrap_or(0);
        let stream = follow(Follower::new(engine, task, after));
        return Ok(Sse::new(stream).keep_alive(KeepAlive::default()).into_response());
    }
    let events = engine.store().events(task, params.after.unwrap_or(0), limit(params.limit)?).await?;
    Ok(Json(EventList { items: events.into_iter().map(convert::event).collect() }).into_response())
}

fn last_event_id(headers: &HeaderMap) -> Result<Option<u64>, Failure> {
    let Some(value) = headers.get("last-event-id") else { return Ok(None) };
    let id = value.to_str().ok().and_then(|text| text.parse().ok());
    id.map(Some).ok_or_else(|| Failure::new(Code::InvalidParameter, "Last-Event-ID is not a sequence number"))
}

struct Follower {
    engine: Engine,
    changes: broadcast::Receiver<Change>,
    task: TaskId,
    after: u64,
    waiting: VecDeque<Event>,
    /// The event that finished the task was the last one given.
    finished: bool,
    /// The task had finished when it was looked at last, after all events known then were given.
    over: bool,
}

impl Follower {
    /// Listens before it reads, so that nothing falls between.
    fn new(engine: Engine, task: TaskId, after: u64) -> Self {
        let changes = engine.store().changes();
        Self { engine, changes, task, after, waiting: VecDeque::new(), finished: false, over: false }
    }

    /// The next event; `None` after the one that finished the task, or when the store fails.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                self.after = event.seq;
                // A retried task has finished once before: only the newest event tells.
                self.finished = event.state.is_finished() && self.waiting.is_empty();
                return Some(event);
            }
            if self.finished {
                return None;
            }
            match self.engine.store().events(self.task, self.after, BATCH).await {
                // Whoever resumes after the last event of a finished task has nothing to wait for.
                Ok(events) if events.is_empty() && self.over => return None,
                Ok(events) if events.is_empty() => {
                    // The last event may have been written since they were read, so they are read once more.
                    self.over = self.engine.task(self.task).await.map_or(true, |task| task.state.is_finished());
                    if !self.over {
                        self.announced().await;
                    }
                }
                Ok(events) => {
                    self.over = false;
                    self.waiting.extend(events);
                }
                Err(error) => {
                    tracing::error!(task = %self.task, %error, "a stream of events ends early");
                    return None;
                }
            }
        }
    }

    async fn announced(&mut self) {
        let ours = async {
            loop {
                match self.changes.recv().await {
                    Ok(Change::Event { task, .. }) if task == self.task => return,
                    Ok(_) => {}
                    Err(RecvError::Lagged(_) | RecvError::Closed) => return,
                }
            }
        };
        // Running out is no failure: the store is read again either way.
        let _ = tokio::time::timeout(LOST_WAKE_UP, ours).await;
    }
}

fn follow(follower: Follower) -> impl Stream<Item = Result<SseEvent, Infallible>> {
    futures::stream::unfold(follower, |mut follower| async move {
        let event = follower.next().await?;
        let (id, name) = (event.seq.to_string(), event.kind.name.clone());
        let data = serde_json::to_string(&convert::event(event)).unwrap_or_default();
        Some((Ok(SseEvent::default().id(id).event(name).data(data)), follower))
    })
}
