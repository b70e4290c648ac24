//! The coprocessor root.

use axum::{Json, extract::State};
use coprocessor_api::RootView;
use coprocessor_engine::Engine;

/// The current root. While no domain is registered it commits to the instance alone.
#[utoipa::path(get, path = "/api/v1/roots/current", tag = "service", responses((status = 200, body = RootView)))]
pub(super) async fn current(State(engine): State<Engine>) -> Json<RootView> {
    Json(RootView { root: engine.root().to_string(), instance: engine.instance().to_string() })
}
