//! What the service is, whether it works, and how full it is.

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode},
};
use coprocessor_api::{Code, HealthView, Problem, ServiceInfo, StorageView};
use coprocessor_engine::{Engine, EngineError};
use coprocessor_store::{Scope, StoreError};
use std::collections::BTreeMap;

use super::{Service, auth::Who, problem::Failure};
use crate::convert;

/// What this service is.
#[utoipa::path(get, path = "/api/v1", tag = "service", responses((status = 200, body = ServiceInfo),
    (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn service_info(State(engine): State<Engine>) -> Json<ServiceInfo> {
    Json(ServiceInfo {
        name: env!("CARGO_PKG_NAME").into(),
        version: env!("CARGO_PKG_VERSION").into(),
        instance: engine.instance().to_string(),
    })
}

/// Whether the process answers.
#[utoipa::path(get, path = "/health/live", tag = "service", security(()), responses((status = 204)))]
pub(super) async fn live() -> StatusCode {
    StatusCode::NO_CONTENT
}

/// Whether the service works: 200 with `ok`; 200 with `degraded` while it answers but takes nothing new, for want of space;
/// 503 while its store or database cannot be reached. Takes no key; callers that may read get the numbers of tasks too.
#[utoipa::path(get, path = "/health/ready", tag = "service", security(()),
    responses((status = 200, body = HealthView), (status = 503, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn ready(State(service): State<Service>, headers: HeaderMap) -> Result<Json<HealthView>, Failure> {
    let Service { engine, gate, .. } = &service;
    engine.health().await.map_err(not_ready)?;
    let storage = engine.storage().await.map_err(|error| match error {
        EngineError::Store(error) => not_ready(error),
        error => error.into(),
    })?;
    let may_read = gate.caller(engine, &headers).await.is_ok_and(|caller| caller.may(Scope::Read));
    let tasks = if may_read {
        let counts = engine.task_counts().await.map_err(not_ready)?;
        counts.0.into_iter().map(|(state, count)| (state.to_string(), count)).collect()
    } else {
        BTreeMap::new()
    };
    let problems: Vec<String> = storage.low.into_iter().map(|reason| format!("storage: {reason}")).collect();
    let status = if problems.is_empty() { "ok" } else { "degraded" };
    Ok(Json(HealthView { status: status.into(), problems, tasks }))
}

fn not_ready(error: StoreError) -> Failure {
    match error {
        // Its words are for the log.
        StoreError::Unavailable(_) => error.into(),
        error => Failure::new(Code::Unavailable, format!("the store does not work: {error}")),
    }
}

/// How large the store is, how much is left, how long things are kept, what was removed last, and compiled controllers. Takes the scope `admin`.
#[utoipa::path(get, path = "/api/v1/storage", tag = "service", responses((status = 200, body = StorageView),
    (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn storage(State(engine): State<Engine>, Who(caller): Who) -> Result<Json<StorageView>, Failure> {
    caller.require(Scope::Admin)?;
    Ok(Json(convert::storage(engine.storage().await?)))
}
