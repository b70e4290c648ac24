//! What the service is, and whether it works.

use axum::{Json, extract::State, http::StatusCode};
use coprocessor_api::{Code, HealthView, Problem, ServiceInfo};
use coprocessor_engine::Engine;

use super::problem::Failure;

/// What this service is.
#[utoipa::path(get, path = "/api/v1", tag = "service", responses((status = 200, body = ServiceInfo)))]
pub(super) async fn service_info(State(engine): State<Engine>) -> Json<ServiceInfo> {
    Json(ServiceInfo {
        name: env!("CARGO_PKG_NAME").into(),
        version: env!("CARGO_PKG_VERSION").into(),
        instance: engine.instance().to_string(),
    })
}

/// Whether the process answers.
#[utoipa::path(get, path = "/health/live", tag = "service", responses((status = 204)))]
pub(super) async fn live() -> StatusCode {
    StatusCode::NO_CONTENT
}

/// Whether the service can take and keep tasks.
#[utoipa::path(get, path = "/health/ready", tag = "service",
    responses((status = 200, body = HealthView), (status = 503, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn ready(State(engine): State<Engine>) -> Result<Json<HealthView>, Failure> {
    let unavailable = |error: coprocessor_store::StoreError| {
        Failure::new(Code::Unavailable, format!("the store does not work: {error}"))
    };
    engine.store().health().await.map_err(unavailable)?;
    let counts = engine.store().task_counts().await.map_err(unavailable)?;
    let tasks = counts.0.into_iter().map(|(state, count)| (state.to_string(), count)).collect();
    Ok(Json(HealthView { status: "ok".into(), tasks }))
}
