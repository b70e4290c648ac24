//! A server that webhooks are sent to, and that answers as it is told.

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};
use tokio::net::TcpListener;

#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// That status.
    Status(u16),
    /// A redirect to that address.
    Redirect(String),
    /// Nothing, ever.
    Hang,
}

/// What came.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Received {
    pub(crate) fn id(&self) -> &str {
        self.headers["webhook-id"].to_str().unwrap()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

#[derive(Clone)]
pub(crate) struct Receiver {
    pub(crate) url: String,
    state: Arc<Mutex<Inner>>,
}

struct Inner {
    received: Vec<Received>,
    replies: VecDeque<Reply>,
    otherwise: Reply,
}

impl Receiver {
    /// Takes everything.
    pub(crate) async fn start() -> Self {
        Self::answering([], Reply::Status(204)).await
    }

    /// Answers with `replies`, one after the other, and then with `otherwise` for ever.
    pub(crate) async fn answering(replies: impl IntoIterator<Item = Reply>, otherwise: Reply) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let inner = Inner { received: Vec::new(), replies: replies.into_iter().collect(), otherwise };
        let receiver = Self { url, state: Arc::new(Mutex::new(inner)) };
        let app = Router::new().route("/hook", post(receive)).with_state(receiver.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        receiver
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.state.lock().unwrap().received.clone()
    }

    /// Answers so from now on.
    pub(crate) fn answer(&self, otherwise: Reply) {
        let mut inner = self.state.lock().unwrap();
        inner.replies.clear();
        inner.otherwise = otherwise;
    }
}

async fn receive(State(receiver): State<Receiver>, headers: HeaderMap, body: Bytes) -> Response {
    let reply = {
        let mut inner = receiver.state.lock().unwrap();
        inner.received.push(Received { headers, body });
        let next = inner.replies.pop_front();
        next.unwrap_or_else(|| inner.otherwise.clone())
    };
    match reply {
        Reply::Status(status) => StatusCode::from_u16(status).unwrap().into_response(),
        Reply::Redirect(to) => {
            (StatusCode::FOUND, [(header::LOCATION, HeaderValue::try_from(to).unwrap())]).into_response()
        }
        Reply::Hang => std::future::pending().await,
    }
}
