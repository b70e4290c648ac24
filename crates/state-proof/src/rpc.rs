//! Questions to a node, put again where that can help.

use crate::chains::Endpoint;
use serde_json::{Value, json};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::sleep;

/// Most bytes of an answer: a proof of 4,096 slots has some 30 MB of hex.
const MAX_ANSWER: usize = 64 << 20;
/// First pause before a question is put again; it doubles each time.
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// Why a node gave no answer. Nothing here shows where the node is.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RpcError {
    /// No connection, no answer in time, or one that says that it can't now.
    #[error("the node does not answer: {0}")]
    Unavailable(String),
    /// The node says that the question is wrong, or that it does not have what was asked for.
    #[error("the node refuses {method}: {message} (code {code})")]
    Refused {
        /// Of JSON-RPC.
        method: &'static str,
        /// Of JSON-RPC.
        code: i64,
        /// What the node says.
        message: String,
    },
    /// Something that is no answer to this question.
    #[error("the node's answer to {method} can't be read: {reason}")]
    Unreadable {
        /// Of JSON-RPC.
        method: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

/// A node.
#[derive(Debug)]
pub(crate) struct Node {
    endpoint: Endpoint,
    client: reqwest::Client,
    attempts: u32,
}

impl Node {
    pub(crate) fn new(endpoint: Endpoint, client: reqwest::Client, attempts: u32) -> Self {
        Self { endpoint, client, attempts }
    }

    /// The result of a method; null is one.
    pub(crate) async fn call(&self, method: &'static str, params: Value) -> Result<Value, RpcError> {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string();
        let mut pause = FIRST_PAUSE;
        for attempt in 1.. {
            match self.once(method, &body).await {
                Err(RpcError::Unavailable(reason)) if attempt < self.attempts => {
                    tracing::debug!(method, attempt, reason, "asking the node again");
                    sleep(with_jitter(pause)).await;
                    pause *= 2;
                }
                answer => return answer,
            }
        }
        unreachable!("the last attempt returns")
    }

    async fn once(&self, method: &'static str, body: &str) -> Result<Value, RpcError> {
        // A client's error names the URL, with the key in it.
        let unavailable = |error: reqwest::Error| RpcError::Unavailable(cause(&error.without_url()));
        let request = self
            .client
            .post(self.endpoint.url.clone())
            .headers(self.endpoint.headers.clone())
            .header("content-type", "application/json")
            .body(body.to_owned());
        let mut response = request.send().await.map_err(unavailable)?;
        let status = response.status();
        if status.as_u16() == 429 || status.is_server_error() {
            return Err(RpcError::Unavailable(format!("HTTP {}", status.as_u16())));
        }
        let unreadable = |reason: String| RpcError::Unreadable { method, reason };
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unavailable)? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > MAX_ANSWER {
                return Err(unreadable(format!("it has more than {MAX_ANSWER} bytes")));
            }
        }
        let mut answer: Value =
            serde_json::from_slice(&bytes).map_err(|_| unreadable(format!("HTTP {} without JSON", status.as_u16())))?;
        match answer.get("error").filter(|error| !error.is_null()) {
            Some(error) => Err(refusal(method, error)),
            None => match answer.get_mut("result") {
                Some(result) => Ok(result.take()),
                None => Err(unreadable(format!("HTTP {} without a result", status.as_u16()))),
            },
        }
    }
}

fn refusal(method: &'static str, error: &Value) -> RpcError {
    let code = error["code"].as_i64().unwrap_or_default();
    let message: String = error["message"].as_str().unwrap_or_default().chars().take(300).collect();
    match code {
        // Too many requests; the node's own fault.
        -32005 | -32603 | 429 => RpcError::Unavailable(format!("{message} (code {code})")),
        _ => RpcError::Refused { method, code, message },
    }
}

/// The innermost reason, which is what an operator can do something about.
fn cause(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

/// Half to all of the pause, so that those who were refused together don't come back together.
fn with_jitter(pause: Duration) -> Duration {
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().subsec_nanos();
    pause.mul_f64(0.5 + f64::from(nanos % 1_000_000) / 2_000_000.0)
}
