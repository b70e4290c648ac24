//! Following a task to its end, over lost connections and restarts of the service.

use super::{
    Client, ClientError,
    exchange::{self, Patience},
    sse::Decoder,
};
use crate::{EventView, TaskState, TaskView};
use coprocessor_types::TaskId;
use reqwest::{Method, Response, header::ACCEPT};
use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// A stream this quiet is dead: the service sends a comment every few seconds.
const SILENCE: Duration = Duration::from_secs(75);
/// Waits between connections grow from here…
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// … to here.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// How long a service may stay away, unless [`Follow::with_patience`] says otherwise.
const PATIENCE: Duration = Duration::from_secs(120);

/// News of a task.
#[derive(Clone, Debug)]
pub enum Update {
    /// Something happened to it. Each event comes once, in order.
    Event(EventView),
    /// The connection was lost; another follows.
    Disconnected {
        /// How it ended.
        reason: String,
        /// When the next attempt is made.
        retry_in: Duration,
    },
    /// Nothing more will happen: the task as it ended. The last update.
    Finished(Box<TaskView>),
}

/// A task being followed; see [`Client::follow`].
#[derive(Debug)]
pub struct Follow {
    client: Client,
    task: TaskId,
    after: Option<u64>,
    last_state: Option<TaskState>,
    pending: VecDeque<EventView>,
    link: Link,
    was_connected: bool,
    trouble: Option<Trouble>,
    patience: Duration,
    wait: Duration,
}

#[derive(Debug)]
enum Link {
    Down,
    Waiting(tokio::time::Instant),
    Up { response: Response, decoder: Decoder, delivered: bool },
    Ended,
}

/// A time without a single event from the service.
#[derive(Debug)]
struct Trouble {
    since: Instant,
    attempts: u32,
}

impl Follow {
    pub(super) fn new(client: Client, task: TaskId, after: Option<u64>) -> Self {
        Self {
            client,
            task,
            after,
            last_state: None,
            pending: VecDeque::new(),
            link: Link::Down,
            was_connected: false,
            trouble: None,
            patience: PATIENCE,
            wait: FIRST_WAIT,
        }
    }

    /// Gives up when the service stays away this long. A first connection that fails is given up at once.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// The sequence number of the last event handed out: where another follower can go on.
    pub fn position(&self) -> Option<u64> {
        self.after
    }

    /// The next update; `None` after [`Update::Finished`].
    ///
    /// # Errors
    /// See [`ClientError`]. There is nothing more after an error.
    pub async fn next(&mut self) -> Result<Option<Update>, ClientError> {
        let result = self.advance().await;
        if result.is_err() {
            self.link = Link::Ended;
            self.pending.clear();
        }
        result
    }

    async fn advance(&mut self) -> Result<Option<Update>, ClientError> {
        loop {
            if let Some(event) = self.pending.pop_front() {
                self.after = Some(event.seq);
                self.last_state = Some(event.state);
                self.trouble = None;
                return Ok(Some(Update::Event(event)));
            }
            match &mut self.link {
                Link::Ended => return Ok(None),
                Link::Waiting(until) => {
                    tokio::time::sleep_until(*until).await;
                    self.link = Link::Down;
                }
                Link::Down => match self.connect().await {
                    Ok(response) => {
                        self.was_connected = true;
                        self.link = Link::Up { response, decoder: Decoder::default(), delivered: false };
                    }
                    Err(error) if self.was_connected && error.may_pass() => return self.lost(error).map(Some),
                    Err(error) => return Err(error),
                },
                Link::Up { response, .. } => match tokio::time::timeout(SILENCE, response.chunk()).await {
                    Ok(Ok(Some(piece))) => self.take(&piece)?,
                    Ok(Ok(None)) => {
                        if let Some(update) = self.stream_ended().await? {
                            return Ok(Some(update));
                        }
                    }
                    Ok(Err(source)) => {
                        let url = self.client.base_url().to_owned();
                        return self.lost(ClientError::Interrupted { url, source }).map(Some);
                    }
                    Err(_) => {
                        let reason = format!("nothing came for {} seconds", SILENCE.as_secs());
                        let error = self.events_lost(reason);
                        return self.lost(error).map(Some);
                    }
                },
            }
        }
    }

    async fn connect(&self) -> Result<Response, ClientError> {
        let path = ["tasks", &self.task.to_string(), "events"];
        let mut request = self.client.exchange.request(Method::GET, &path, Patience::Work)?;
        request = request.header(ACCEPT, "text/event-stream");
        if let Some(after) = self.after {
            request = request.header("last-event-id", after);
        }
        self.client.exchange.send(request).await
    }

    fn take(&mut self, piece: &[u8]) -> Result<(), ClientError> {
        let Link::Up { response, decoder, delivered } = &mut self.link else {
            return Ok(());
        };
        let unexpected = |status: u16, reason: String, body: &[u8]| ClientError::UnexpectedAnswer {
            url: self.client.base_url().to_owned(),
            status,
            reason,
            body: exchange::excerpt(body),
        };
        let status = response.status().as_u16();
        let messages = decoder.push(piece).map_err(|_| unexpected(status, "an event too long".to_owned(), piece))?;
        if let Some(retry) = decoder.retry {
            self.wait = retry.clamp(Duration::from_millis(1), LONGEST_WAIT);
        }
        for message in messages {
            let event: EventView = serde_json::from_str(&message).map_err(|error| {
                unexpected(status, format!("not an event this client knows ({error})"), message.as_bytes())
            })?;
            // A service that replays more than was asked for repeats nothing here.
            if self.pending.back().map(|last| last.seq).or(self.after).is_none_or(|last| event.seq > last) {
                *delivered = true;
                self.pending.push_back(event);
            }
        }
        Ok(())
    }

    /// The service closed the stream in good order. A task that ended, was retried and goes on has a terminal event in the
    /// middle, so the task itself is asked. `None`: connect again at once.
    async fn stream_ended(&mut self) -> Result<Option<Update>, ClientError> {
        let delivered = matches!(self.link, Link::Up { delivered: true, .. });
        let saw_end = self.last_state.is_some_and(TaskState::is_finished);
        self.link = Link::Down;
        match self.client.task(&self.task).await {
            Ok(task) if task.state.is_finished() && (saw_end || !delivered) => {
                self.link = Link::Ended;
                Ok(Some(Update::Finished(Box::new(task))))
            }
            Ok(_) if delivered => Ok(None),
            Ok(_) => {
                let error = self.events_lost("the stream ended before the task did".to_owned());
                self.lost(error).map(Some)
            }
            Err(error) if error.may_pass() => self.lost(error).map(Some),
            Err(error) => Err(error),
        }
    }

    fn events_lost(&self, reason: String) -> ClientError {
        ClientError::EventsLost { url: self.client.base_url().to_owned(), reason }
    }

    /// Arranges another connection, or gives up.
    fn lost(&mut self, error: ClientError) -> Result<Update, ClientError> {
        let trouble = self.trouble.get_or_insert_with(|| Trouble { since: Instant::now(), attempts: 0 });
        if trouble.since.elapsed() >= self.patience {
            return Err(error);
        }
        let retry_in = self.wait.saturating_mul(1 << trouble.attempts.min(10)).min(LONGEST_WAIT);
        trouble.attempts += 1;
        self.link = Link::Waiting(tokio::time::Instant::now() + retry_in);
        Ok(Update::Disconnected { reason: error.to_string(), retry_in })
    }
}
