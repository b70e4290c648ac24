//! Events: of one task until it has finished, or of all tasks of an owner for as long as somebody listens. As a list, or as a
//! stream.

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
use coprocessor_engine::{Caller, Engine, EngineError, Watch};
use coprocessor_store::{Event, Scope};
use coprocessor_types::{OwnerId, TaskId};
use futures::Stream;
use serde::Deserialize;
use std::{collections::VecDeque, convert::Infallible, sync::Arc, time::Duration};
use tokio::time::Instant;

use super::{
    Stopping,
    auth::{Presented, Who},
    extract::{Params, PathTask, limit, owner},
    problem::Failure,
    tasks::accepts,
};
use crate::convert;

/// Events read from the store at once.
const BATCH: usize = 100;

/// A stream is looked at this often without an announcement: an announcement may be lost, and a key be revoked.
const LOOK: Duration = Duration::from_secs(10);

#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct EventParams {
    /// Only events with a higher sequence number.
    after: Option<u64>,
    /// Most items of a list, 1 to 1000; 100 by default.
    limit: Option<usize>,
}

#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct OwnerEventParams {
    /// Only events of this owner's tasks; the caller's own by default, others take the scope `admin`.
    owner: Option<String>,
    /// Events of everybody's tasks; takes the scope `admin`.
    all: Option<bool>,
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
    State(stopping): State<Stopping>,
    Who(caller): Who,
    presented: Presented,
    PathTask(task): PathTask,
    Params(params): Params<EventParams>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    if accepts(&headers, "text/event-stream") {
        engine.task(&caller, task).await?;
        let after = last_event_id(&headers)?.or(params.after).unwrap_or(0);
        // It watches before it reads, so that nothing falls between.
        let watch = engine.watch_task(task);
        let listener = Listener { engine, caller, presented, watch, stopping };
        return Ok(sse(Follower::new(listener, What::Task(task), after), None));
    }
    let events = engine.events(&caller, task, params.after.unwrap_or(0), limit(params.limit)?).await?;
    Ok(list(events))
}

/// What has happened to all tasks of an owner.
///
/// With `Accept: text/event-stream`: as server-sent events, as they happen, until the connection ends: from `Last-Event-ID` or
/// `after` on, else from now on. Every service on the same store can go on where another left off. A list without `after` begins
/// with the oldest event that is kept.
#[utoipa::path(get, path = "/api/v1/events", tag = "tasks",
    params(OwnerEventParams, ("Last-Event-ID" = Option<u64>, Header)),
    responses((status = 200, content((EventList = "application/json"), (EventView = "text/event-stream"))),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn owner_events(
    State(engine): State<Engine>,
    State(stopping): State<Stopping>,
    Who(caller): Who,
    presented: Presented,
    Params(params): Params<OwnerEventParams>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let whose = whose(&caller, &params)?;
    if accepts(&headers, "text/event-stream") {
        let watch = engine.watch_owner(whose.clone());
        let asked = last_event_id(&headers)?.or(params.after);
        let after = match asked {
            Some(after) => after,
            None => engine.last_event(&caller).await?,
        };
        // Refused now rather than by a stream without a word.
        engine.owner_events(&caller, whose.clone(), after, 1).await?;
        let listener = Listener { engine, caller, presented, watch, stopping };
        return Ok(sse(Follower::new(listener, What::Owner(whose), after), Some(after)));
    }
    let events = engine.owner_events(&caller, whose, params.after.unwrap_or(0), limit(params.limit)?).await?;
    Ok(list(events))
}

/// Whose events are asked for: `None` is everybody's.
fn whose(caller: &Caller, params: &OwnerEventParams) -> Result<Option<OwnerId>, Failure> {
    match (owner(params.owner.as_deref())?, params.all.unwrap_or(false)) {
        (Some(_), true) => Err(Failure::new(Code::InvalidParameter, "give either `owner` or `all`")),
        (None, true) => {
            caller.require(Scope::Admin)?;
            Ok(None)
        }
        (Some(owner), false) => Ok(Some(owner)),
        (None, false) => Ok(Some(caller.owner.clone())),
    }
}

fn list(events: Vec<Event>) -> Response {
    Json(EventList { items: events.into_iter().map(convert::event).collect() }).into_response()
}

fn last_event_id(headers: &HeaderMap) -> Result<Option<u64>, Failure> {
    let Some(value) = headers.get("last-event-id") else { return Ok(None) };
    let id = value.to_str().ok().and_then(|text| text.parse().ok());
    id.map(Some).ok_or_else(|| Failure::new(Code::InvalidParameter, "Last-Event-ID is not a sequence number"))
}

#[derive(Clone)]
enum What {
    Task(TaskId),
    Owner(Option<OwnerId>),
}

/// Who listens, and what it waits with.
struct Listener {
    engine: Engine,
    caller: Arc<Caller>,
    presented: Presented,
    watch: Watch,
    stopping: Stopping,
}

impl Listener {
    async fn read(&self, what: &What, after: u64) -> Result<Vec<Event>, EngineError> {
        match what {
            What::Task(task) => self.engine.events(&self.caller, *task, after, BATCH).await,
            What::Owner(owner) => self.engine.owner_events(&self.caller, owner.clone(), after, BATCH).await,
        }
    }

    /// Whether nothing more will happen: a task that has finished, or is no longer there.
    async fn is_over(&self, what: &What) -> bool {
        match what {
            What::Task(task) => {
                self.engine.task(&self.caller, *task).await.map_or(true, |task| task.state.is_finished())
            }
            What::Owner(_) => false,
        }
    }

    /// Waits until there may be more. False: there will not be, for this listener.
    async fn more(&mut self) -> bool {
        tokio::select! {
            () = self.watch.changed() => true,
            () = tokio::time::sleep(LOOK) => true,
            () = self.stopping.0.cancelled() => false,
        }
    }
}

struct Follower {
    listener: Listener,
    what: What,
    after: u64,
    waiting: VecDeque<Event>,
    /// The event that finished the task was the last one given.
    finished: bool,
    /// The task had finished when it was looked at last, after all events known then were given.
    over: bool,
    key_checked: Instant,
}

impl Follower {
    fn new(listener: Listener, what: What, after: u64) -> Self {
        Self {
            listener,
            what,
            after,
            waiting: VecDeque::new(),
            finished: false,
            over: false,
            key_checked: Instant::now(),
        }
    }

    /// The next event; `None` after the one that finished the task, when the service stops, the key has ended, or the store
    /// fails.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                self.after = event.seq;
                // A retried task has finished once before: only the newest event tells.
                let last = matches!(self.what, What::Task(_)) && self.waiting.is_empty();
                self.finished = last && event.state.is_finished();
                return Some(event);
            }
            if self.finished || !self.key_is_good().await {
                return None;
            }
            match self.listener.read(&self.what, self.after).await {
                // Whoever resumes after the last event of a finished task has nothing to wait for.
                Ok(events) if events.is_empty() && self.over => return None,
                Ok(events) if events.is_empty() => {
                    // The last event may have been written since they were read, so they are read once more.
                    self.over = self.listener.is_over(&self.what).await;
                    if !self.over && !self.listener.more().await {
                        return None;
                    }
                }
                Ok(events) => {
                    self.over = false;
                    self.waiting.extend(events);
                }
                Err(error) => {
                    tracing::warn!(%error, "a stream of events ends early");
                    return None;
                }
            }
        }
    }

    /// A stream outlives the request that began it, but not its key.
    async fn key_is_good(&mut self) -> bool {
        if self.key_checked.elapsed() < LOOK {
            return true;
        }
        self.key_checked = Instant::now();
        self.listener.presented.is_good(&self.listener.engine).await
    }
}

/// `began`: where the stream begins, for whoever must take it up again before its first event.
fn sse(follower: Follower, began: Option<u64>) -> Response {
    let start = futures::stream::iter(began.map(|seq| Ok(SseEvent::default().id(seq.to_string()))));
    let stream = futures::StreamExt::chain(start, follow(follower));
    Sse::new(stream).keep_alive(KeepAlive::default()).into_response()
}

fn follow(follower: Follower) -> impl Stream<Item = Result<SseEvent, Infallible>> {
    futures::stream::unfold(follower, |mut follower| async move {
        let event = follower.next().await?;
        let (id, name) = (event.seq.to_string(), event.kind.name.clone());
        let data = serde_json::to_string(&convert::event(event)).unwrap_or_default();
        Some((Ok(SseEvent::default().id(id).event(name).data(data)), follower))
    })
}
