//! Refusals: RFC 9457 `application/problem+json` with stable codes. Status codes are decided here.

use crate::rpc::RpcError;
use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::json;

/// A refused or failed request.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Problem {
    #[error("{0}")]
    BadRequest(String),
    #[error("there is nothing at this address; the routes are in docs/STATE_PROOF.md")]
    NotFound,
    #[error("this address takes other methods")]
    MethodNotAllowed,
    #[error("there is no chain `{0}`; GET /api/v1/chains names them")]
    UnknownChain(String),
    #[error("{chain} has no block {block}, or the node does not know it yet")]
    UnknownBlock { chain: String, block: String },
    #[error(
        "block {block} of {chain} is not final: it may yet be replaced; ask for it with allow_unfinalized=true, or wait"
    )]
    NotFinal { chain: String, block: String },
    #[error("{got} slots were asked for, at most {most} are in one request")]
    TooManySlots { got: usize, most: usize },
    #[error("as many requests as may be are under way; try again")]
    Busy,
    #[error("{0}")]
    Node(RpcError),
    #[error("the node's answer is not proved, so it is not passed on: {0}")]
    NotProved(String),
    #[error("the service failed; its log says why")]
    Internal,
}

impl Problem {
    fn parts(&self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::BadRequest(_) => (StatusCode::BAD_REQUEST, "bad_request", "Malformed request"),
            Self::NotFound => (StatusCode::NOT_FOUND, "not_found", "No such route"),
            Self::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "Other method"),
            Self::UnknownChain(_) => (StatusCode::NOT_FOUND, "unknown_chain", "No such chain"),
            Self::UnknownBlock { .. } => (StatusCode::NOT_FOUND, "unknown_block", "No such block"),
            Self::NotFinal { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "block_not_finalized", "Block not final"),
            Self::TooManySlots { .. } => (StatusCode::BAD_REQUEST, "too_many_slots", "Too many slots"),
            Self::Busy => (StatusCode::SERVICE_UNAVAILABLE, "busy", "Too many requests at once"),
            Self::Node(RpcError::Unavailable(_)) => {
                (StatusCode::SERVICE_UNAVAILABLE, "node_unavailable", "Node does not answer")
            }
            Self::Node(RpcError::Refused { .. }) => (StatusCode::BAD_GATEWAY, "node_refused", "Node refuses"),
            Self::Node(RpcError::Unreadable { .. }) => (StatusCode::BAD_GATEWAY, "node_answer", "Unreadable answer"),
            Self::NotProved(_) => (StatusCode::BAD_GATEWAY, "not_proved", "Answer without proof"),
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal", "Failure of the service"),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, code, title) = self.parts();
        if status.is_server_error() {
            tracing::warn!(code, detail = %self, "a request failed");
        }
        let body = json!({
            "type": format!("urn:coprocessor:problem:{code}"),
            "title": title,
            "status": status.as_u16(),
            "detail": self.to_string(),
            "code": code,
        });
        let mut response = (status, Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
        }
        response
    }
}
