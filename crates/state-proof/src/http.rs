//! The routes.

use crate::{
    problem::Problem,
    prove::{BlockName, Request, Service},
};
use axum::{
    Json, Router,
    extract::{
        FromRequest, FromRequestParts, Path, Query, State,
        rejection::{JsonRejection, PathRejection, QueryRejection},
    },
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use coprocessor_ethereum::{Address, Slot, U256, json::StateJson};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{any::Any, sync::Arc};
use tower_http::{catch_panic::CatchPanicLayer, limit::RequestBodyLimitLayer};

/// A question has some 70 bytes for each of at most 4,096 slots.
const MAX_BODY: usize = 1 << 20;

pub(crate) fn routes(service: Arc<Service>) -> Router {
    Router::new()
        .route("/api/v1/chains", get(chains))
        .route("/api/v1/chains/{chain}/state", get(get_state).post(post_state))
        .route("/health/live", get(|| async { StatusCode::NO_CONTENT }))
        .route("/health/ready", get(ready))
        .fallback(|| async { Problem::NotFound })
        .method_not_allowed_fallback(|| async { Problem::MethodNotAllowed })
        .layer(RequestBodyLimitLayer::new(MAX_BODY))
        .layer(CatchPanicLayer::custom(panicked))
        .with_state(service)
}

/// `?address=0x…&slots=0x…,7&block=finalized&allow_unfinalized=false`; all but the address may be left out.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct QueryOf {
    address: String,
    #[serde(default)]
    slots: String,
    block: Option<String>,
    #[serde(default)]
    allow_unfinalized: bool,
}

/// The same as JSON, for many slots.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BodyOf {
    address: String,
    #[serde(default)]
    slots: Vec<String>,
    block: Option<BlockOf>,
    #[serde(default)]
    allow_unfinalized: bool,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum BlockOf {
    Number(u64),
    Text(String),
}

async fn chains(State(service): State<Arc<Service>>) -> Json<Value> {
    let chains = service.chains().await;
    let view = |(name, id): &(&str, Result<u64, _>)| json!({ "name": name, "chain_id": id.as_ref().ok() });
    Json(chains.iter().map(view).collect())
}

async fn get_state(
    State(service): State<Arc<Service>>,
    Valid(Path(chain)): Valid<Path<String>>,
    Valid(Query(query)): Valid<Query<QueryOf>>,
) -> Result<Json<StateJson>, Problem> {
    let slots = query.slots.split(',').filter(|slot| !slot.is_empty());
    let request = request(chain, &query.address, slots, query.block.as_deref(), query.allow_unfinalized)?;
    service.prove(&request).await.map(answer)
}

async fn post_state(
    State(service): State<Arc<Service>>,
    Valid(Path(chain)): Valid<Path<String>>,
    ValidBody(body): ValidBody<BodyOf>,
) -> Result<Json<StateJson>, Problem> {
    let block = body.block.map(|block| match block {
        BlockOf::Number(number) => number.to_string(),
        BlockOf::Text(text) => text,
    });
    let slots = body.slots.iter().map(String::as_str);
    let request = request(chain, &body.address, slots, block.as_deref(), body.allow_unfinalized)?;
    service.prove(&request).await.map(answer)
}

fn answer(state: Arc<StateJson>) -> Json<StateJson> {
    Json(Arc::unwrap_or_clone(state))
}

/// 200 while a node of any chain has answered; 503 while none has. Each chain's state is in the answer.
async fn ready(State(service): State<Arc<Service>>) -> Response {
    let chains = service.chains().await;
    let any = chains.iter().any(|(_, id)| id.is_ok());
    let state = |(name, id): (&str, Result<u64, _>)| (name.to_owned(), json!(id.map_or("unreachable", |_| "ok")));
    let body = json!({ "status": if any { "ok" } else { "unavailable" }, "chains": chains.into_iter().map(state).collect::<serde_json::Map<_, _>>() });
    (if any { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, Json(body)).into_response()
}

fn request<'a>(
    chain: String,
    address: &str,
    slots: impl Iterator<Item = &'a str>,
    block: Option<&str>,
    allow_unfinalized: bool,
) -> Result<Request, Problem> {
    let bad = |text: &str| Problem::BadRequest(text.to_owned());
    let digits = address.strip_prefix("0x").filter(|digits| digits.len() == 40);
    let address: Address =
        digits.and_then(|digits| digits.parse().ok()).ok_or_else(|| bad("`address` is 40 hex digits after 0x"))?;
    let slots = slots
        .map(slot)
        .collect::<Option<_>>()
        .ok_or_else(|| bad("a slot is a number below 2^256, in decimal or as hex digits after 0x"))?;
    let block = BlockName::parse(block.unwrap_or("finalized"))
        .ok_or_else(|| bad("`block` is a number, a hash of 64 hex digits after 0x, `latest`, `safe` or `finalized`"))?;
    Ok(Request { chain, block, address, slots, allow_unfinalized })
}

fn slot(text: &str) -> Option<Slot> {
    let (digits, radix) = match text.strip_prefix("0x") {
        Some(digits) => (digits, 16),
        None => (text, 10),
    };
    let plain = !digits.is_empty() && digits.len() <= 78 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    let number = if plain { U256::from_str_radix(digits, radix).ok() } else { None };
    number.map(Slot::new)
}

fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
    tracing::error!(panic = text.unwrap_or("without a message"), "a request failed by the service's own fault");
    Problem::Internal.into_response()
}

/// An extractor of axum's whose refusals are problems.
struct Valid<T>(T);

macro_rules! valid {
    ($extractor:ident, $rejection:ident) => {
        impl<T, S> FromRequestParts<S> for Valid<$extractor<T>>
        where
            $extractor<T>: FromRequestParts<S, Rejection = $rejection>,
            S: Send + Sync,
        {
            type Rejection = Problem;

            async fn from_request_parts(parts: &mut axum::http::request::Parts, state: &S) -> Result<Self, Problem> {
                let taken = $extractor::<T>::from_request_parts(parts, state).await;
                taken.map(Self).map_err(|rejection| Problem::BadRequest(rejection.body_text()))
            }
        }
    };
}

valid!(Path, PathRejection);
valid!(Query, QueryRejection);

struct ValidBody<T>(T);

impl<T, S> FromRequest<S> for ValidBody<T>
where
    Json<T>: FromRequest<S, Rejection = JsonRejection>,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request(request: axum::extract::Request, state: &S) -> Result<Self, Problem> {
        let taken = Json::<T>::from_request(request, state).await;
        taken.map(|Json(body)| Self(body)).map_err(|rejection| Problem::BadRequest(rejection.body_text()))
    }
}
