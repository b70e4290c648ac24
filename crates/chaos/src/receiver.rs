//! The receiver of webhooks: counts what comes for each task, and checks every signature.

use anyhow::Result;
use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};

/// A header line longer than this, or more of them, is no webhook.
const LONGEST_HEAD: u64 = 16 << 10;
/// A body longer than this is none either.
const LONGEST_BODY: usize = 4 << 20;
/// A sender that says nothing for this long is gone.
const PATIENCE: Duration = Duration::from_secs(20);

/// What came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Received {
    /// Requests with a good signature that were answered well, by task and event name.
    pub(crate) events: BTreeMap<(String, String), u32>,
    /// Requests that were answered with an error on purpose.
    pub(crate) refused: u32,
    /// What was wrong with the others.
    pub(crate) bad: Vec<String>,
}

impl Received {
    /// Whether an event came that says how the task ended.
    pub(crate) fn has_end_of(&self, task: &str) -> bool {
        let has = |name: &str| self.events.contains_key(&(task.to_owned(), name.to_owned()));
        ["delivered", "failed", "cancelled"].into_iter().any(has)
    }
}

/// A server on loopback that takes webhooks. Ends when dropped.
#[derive(Debug)]
pub(crate) struct Receiver {
    address: SocketAddr,
    state: Arc<State>,
    server: tokio::task::JoinHandle<()>,
}

#[derive(Debug, Default)]
struct State {
    secret: Mutex<Option<String>>,
    failing: AtomicBool,
    received: Mutex<Received>,
}

impl Receiver {
    /// Begins to listen.
    pub(crate) async fn start() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let state = Arc::new(State::default());
        let server = tokio::spawn(serve(listener, Arc::clone(&state)));
        Ok(Self { address, state, server })
    }

    /// `host:port`.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What deliveries are signed with from now on.
    pub(crate) fn set_secret(&self, secret: String) {
        *self.state.secret.lock().unwrap_or_else(PoisonError::into_inner) = Some(secret);
    }

    /// Answers every request with an error, or no longer.
    pub(crate) fn set_failing(&self, failing: bool) {
        self.state.failing.store(failing, Ordering::Relaxed);
    }

    /// What came so far.
    pub(crate) fn received(&self) -> Received {
        self.state.received.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(listener: TcpListener, state: Arc<State>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let state = Arc::clone(&state);
                // A sender that is killed or cut off in the middle is what this run is about.
                tokio::spawn(async move { tokio::time::timeout(PATIENCE, answer(stream, &state)).await });
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

async fn answer(stream: TcpStream, state: &State) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let Some((headers, body)) = read_request(&mut stream).await? else { return Ok(()) };
    let status = if state.failing.load(Ordering::Relaxed) {
        state.received.lock().unwrap_or_else(PoisonError::into_inner).refused += 1;
        "503 Service Unavailable"
    } else {
        let checked = state.check(&headers, &body);
        let mut received = state.received.lock().unwrap_or_else(PoisonError::into_inner);
        match checked {
            Ok(event) => {
                *received.events.entry(event).or_default() += 1;
                "204 No Content"
            }
            Err(reason) => {
                received.bad.push(reason);
                "400 Bad Request"
            }
        }
    };
    let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    stream.get_mut().write_all(answer.as_bytes()).await?;
    stream.get_mut().shutdown().await
}

/// Headers (names in lower case) and body; `None` where the sender went away first.
async fn read_request(
    stream: &mut BufReader<TcpStream>,
) -> std::io::Result<Option<(BTreeMap<String, String>, Vec<u8>)>> {
    let mut headers = BTreeMap::new();
    let mut head = (&mut *stream).take(LONGEST_HEAD);
    loop {
        let mut line = String::new();
        if head.read_line(&mut line).await? == 0 {
            return Ok(None);
        }
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':') {
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
    }
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    if length > LONGEST_BODY {
        return Ok(None);
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    Ok(Some((headers, body)))
}

impl State {
    /// The task and the event that a request is about, if its signature is good.
    fn check(&self, headers: &BTreeMap<String, String>, body: &[u8]) -> Result<(String, String), String> {
        let header = |name: &str| headers.get(name).ok_or_else(|| format!("a webhook without {name}"));
        let (id, signatures) = (header("webhook-id")?, header("webhook-signature")?);
        let timestamp = header("webhook-timestamp")?;
        let timestamp: i64 = timestamp.parse().map_err(|_| format!("webhook-timestamp is {timestamp:?}"))?;
        let age = jiff::Timestamp::now().as_second() - timestamp;
        if age.abs() > 300 {
            return Err(format!("webhook {id} was signed {age} s ago"));
        }
        let secret = self.secret.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let secret = secret.ok_or("a webhook came before there was one")?;
        let signer = standardwebhooks::Webhook::new(&secret).map_err(|error| error.to_string())?;
        let expected = signer.sign(id, timestamp, body).map_err(|error| error.to_string())?;
        if !signatures.split(' ').any(|signature| signature == expected) {
            return Err(format!("webhook {id} is signed {signatures}, expected {expected}"));
        }
        let body: serde_json::Value = serde_json::from_slice(body).map_err(|error| format!("webhook {id}: {error}"))?;
        event_of(&body).ok_or_else(|| format!("webhook {id} names no task and event: {body}"))
    }
}

/// Task and event name, wherever in the body they are.
fn event_of(body: &serde_json::Value) -> Option<(String, String)> {
    let event = if body["data"].is_object() { &body["data"] } else { body };
    let name = event["name"].as_str().or_else(|| body["type"].as_str())?;
    let name = name.rsplit('.').next().unwrap_or(name);
    Some((event["task"].as_str()?.to_owned(), name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz";

    async fn send(receiver: &Receiver, secret: &str) -> String {
        let body = r#"{"task":"t","name":"delivered"}"#;
        let now = jiff::Timestamp::now().as_second();
        let signature = standardwebhooks::Webhook::new(secret).unwrap().sign("m1", now, body.as_bytes()).unwrap();
        let request = format!(
            "POST / HTTP/1.1\r\nHost: x\r\nWebhook-Id: m1\r\nwebhook-timestamp: {now}\r\nwebhook-signature: {signature}\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut stream = TcpStream::connect(receiver.address()).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer.lines().next().unwrap_or_default().to_owned()
    }

    #[tokio::test]
    async fn good_webhooks_are_counted_and_others_are_told() {
        let receiver = Receiver::start().await.unwrap();
        receiver.set_secret(SECRET.to_owned());
        assert_eq!(send(&receiver, SECRET).await, "HTTP/1.1 204 No Content");
        receiver.set_failing(true);
        assert_eq!(send(&receiver, SECRET).await, "HTTP/1.1 503 Service Unavailable");
        receiver.set_failing(false);
        assert_eq!(send(&receiver, SECRET).await, "HTTP/1.1 204 No Content");
        assert_eq!(send(&receiver, "whsec_b3RoZXItb3RoZXItb3RoZXItb3RoZXI=").await, "HTTP/1.1 400 Bad Request");
        let received = receiver.received();
        assert_eq!(received.events.get(&("t".to_owned(), "delivered".to_owned())), Some(&2));
        assert_eq!((received.refused, received.bad.len()), (1, 1));
    }
}
