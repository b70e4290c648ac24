//! A program's controllers: the current one, those it had, going back to one of them.

use axum::{Json, extract::State, response::Response};
use coprocessor_api::{ControllerVersionList, Problem, ProgramView, RollbackRequest};
use coprocessor_engine::Engine;
use coprocessor_store::Cursor;
use serde::Deserialize;

use super::{
    auth::Who,
    extract::{Body, Params, PathProgram, Raw, limit},
    problem::Failure,
    programs::blob,
};
use crate::convert;

#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ShowParams {
    /// The version with this number instead of the current one.
    version: Option<u64>,
}

#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ListParams {
    /// Where to go on: `next` of the page before.
    cursor: Option<String>,
    /// Most items, 1 to 1000; 100 by default.
    limit: Option<usize>,
}

/// The controller's WebAssembly.
#[utoipa::path(get, path = "/api/v1/programs/{program}/controller", tag = "programs",
    params(("program" = String, Path), ShowParams),
    responses((status = 200, body = Vec<u8>, content_type = "application/wasm"),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn show(
    State(engine): State<Engine>,
    Who(caller): Who,
    PathProgram(id): PathProgram,
    Params(params): Params<ShowParams>,
) -> Result<Response, Failure> {
    let (digest, content) = engine.controller(&caller, id, params.version).await?;
    Ok(blob(content, digest, "application/wasm"))
}

/// Replace the controller. New tasks use it; admitted ones finish with theirs.
///
/// Code that the program has already changes nothing; code that it had before makes that version the current one again.
#[utoipa::path(put, path = "/api/v1/programs/{program}/controller", tag = "programs", params(("program" = String, Path)),
    request_body(content = Vec<u8>, content_type = "application/wasm"),
    responses((status = 200, body = ProgramView), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn set(
    State(engine): State<Engine>,
    Who(caller): Who,
    PathProgram(id): PathProgram,
    Raw(controller): Raw,
) -> Result<Json<ProgramView>, Failure> {
    Ok(Json(convert::program(engine.set_controller(&caller, id, controller).await?)))
}

/// List the program's controllers, newest first: the current one and those before that are kept.
#[utoipa::path(get, path = "/api/v1/programs/{program}/controller/versions", tag = "programs",
    params(("program" = String, Path), ListParams),
    responses((status = 200, body = ControllerVersionList),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn versions(
    State(engine): State<Engine>,
    Who(caller): Who,
    PathProgram(id): PathProgram,
    Params(params): Params<ListParams>,
) -> Result<Json<ControllerVersionList>, Failure> {
    let page = engine.controller_versions(&caller, id, params.cursor.map(Cursor), limit(params.limit)?).await?;
    Ok(Json(ControllerVersionList {
        items: page.items.into_iter().map(convert::controller_version).collect(),
        next: page.next.map(|Cursor(next)| next),
    }))
}

/// Go back to one of the program's controllers. New tasks use it; admitted ones finish with theirs.
///
/// Asking again changes nothing. Going forward again is the same call with the later number.
#[utoipa::path(post, path = "/api/v1/programs/{program}/controller/rollback", tag = "programs",
    params(("program" = String, Path)), request_body = RollbackRequest,
    responses((status = 200, body = ProgramView), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn rollback(
    State(engine): State<Engine>,
    Who(caller): Who,
    PathProgram(id): PathProgram,
    Body(request): Body<RollbackRequest>,
) -> Result<Json<ProgramView>, Failure> {
    Ok(Json(convert::program(engine.set_controller_version(&caller, id, request.version).await?)))
}
