//! A stream of events that is taken up again wherever it breaks: what following one task and following all have in common.

use super::{
    Client, ClientError,
    exchange::{self, Patience},
    sse::Decoder,
};
use crate::EventView;
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
/// How long a service may stay away, unless told otherwise.
const PATIENCE: Duration = Duration::from_secs(120);

/// What a stream comes to next.
#[derive(Debug)]
pub(super) enum News {
    /// An event. Each comes once, in order.
    Event(EventView),
    /// The connection was lost; another follows.
    Lost {
        /// How it ended.
        reason: String,
        /// When the next attempt is made.
        retry_in: Duration,
    },
    /// The service closed the stream in good order. Another follows at the next call, unless it is closed.
    Ended {
        /// Whether it brought anything.
        delivered: bool,
    },
    /// It was closed here.
    Closed,
}

/// One stream of events below `/api/v1`.
#[derive(Debug)]
pub(super) struct EventSource {
    pub(super) client: Client,
    path: Vec<String>,
    query: Vec<(&'static str, String)>,
    /// The last event handed out, or where the service said the stream begins.
    after: Option<u64>,
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
    Up { response: Box<Response>, decoder: Decoder, delivered: bool },
    Closed,
}

/// A time without a single event from the service.
#[derive(Debug)]
struct Trouble {
    since: Instant,
    attempts: u32,
}

impl EventSource {
    pub(super) fn new(
        client: Client,
        path: Vec<String>,
        query: Vec<(&'static str, String)>,
        after: Option<u64>,
    ) -> Self {
        Self {
            client,
            path,
            query,
            after,
            pending: VecDeque::new(),
            link: Link::Down,
            was_connected: false,
            trouble: None,
            patience: PATIENCE,
            wait: FIRST_WAIT,
        }
    }

    /// Gives up when the service stays away this long.
    pub(super) fn set_patience(&mut self, patience: Duration) {
        self.patience = patience;
    }

    pub(super) fn position(&self) -> Option<u64> {
        self.after
    }

    /// There is nothing more after this.
    pub(super) fn close(&mut self) {
        self.link = Link::Closed;
        self.pending.clear();
    }

    pub(super) async fn next(&mut self) -> Result<News, ClientError> {
        loop {
            if let Some(event) = self.pending.pop_front() {
                self.after = Some(event.seq);
                self.trouble = None;
                return Ok(News::Event(event));
            }
            match &mut self.link {
                Link::Closed => return Ok(News::Closed),
                Link::Waiting(until) => {
                    tokio::time::sleep_until(*until).await;
                    self.link = Link::Down;
                }
                Link::Down => match self.connect().await {
                    Ok(response) => {
                        self.was_connected = true;
                        let response = Box::new(response);
                        self.link = Link::Up { response, decoder: Decoder::default(), delivered: false };
                    }
                    Err(error) if self.was_connected && error.may_pass() => return self.lost(error),
                    Err(error) => return Err(error),
                },
                Link::Up { response, delivered, .. } => match tokio::time::timeout(SILENCE, response.chunk()).await {
                    Ok(Ok(Some(piece))) => self.take(&piece)?,
                    Ok(Ok(None)) => {
                        let delivered = *delivered;
                        self.link = Link::Down;
                        return Ok(News::Ended { delivered });
                    }
                    Ok(Err(source)) => {
                        let url = self.client.base_url().to_owned();
                        return self.lost(ClientError::Interrupted { url, source });
                    }
                    Err(_) => {
                        let error = self.broke(format!("nothing came for {} seconds", SILENCE.as_secs()));
                        return self.lost(error);
                    }
                },
            }
        }
    }

    async fn connect(&self) -> Result<Response, ClientError> {
        let path: Vec<&str> = self.path.iter().map(String::as_str).collect();
        let mut request = self.client.exchange.request(Method::GET, &path, Patience::Work)?.query(&self.query);
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
        // An id without an event says where the stream begins: what happens from there on is not missed, even if this
        // connection breaks before the first event.
        if self.after.is_none() && self.pending.is_empty() {
            self.after = decoder.last_id;
        }
        Ok(())
    }

    /// An error of a stream that ended as it must not.
    pub(super) fn broke(&self, reason: String) -> ClientError {
        ClientError::EventsLost { url: self.client.base_url().to_owned(), reason }
    }

    /// Arranges another connection, or gives up.
    pub(super) fn lost(&mut self, error: ClientError) -> Result<News, ClientError> {
        let trouble = self.trouble.get_or_insert_with(|| Trouble { since: Instant::now(), attempts: 0 });
        if trouble.since.elapsed() >= self.patience {
            return Err(error);
        }
        let retry_in = self.wait.saturating_mul(1 << trouble.attempts.min(10)).min(LONGEST_WAIT);
        trouble.attempts += 1;
        self.link = Link::Waiting(tokio::time::Instant::now() + retry_in);
        Ok(News::Lost { reason: error.to_string(), retry_in })
    }
}
