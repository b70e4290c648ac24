//! Dry runs and calls.

use axum::{Json, extract::State};
use coprocessor_api::{Base64, CallView, ExecuteRequest, ExecutionView, Problem, WitnessView};
use coprocessor_engine::{DryRun, Engine};
use serde::Deserialize;

use super::{
    auth::Who,
    extract::{AnyJson, Body, Params, PathProgram, root},
    problem::Failure,
};
use crate::convert;

#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct CallParams {
    /// Whether what the controller asks of the service and is answered is recorded, to be replayed.
    #[serde(default)]
    record: bool,
}

/// Make a witness and show it. Nothing is kept.
#[utoipa::path(post, path = "/api/v1/programs/{program}/witness", tag = "programs", params(("program" = String, Path)),
    request_body = ExecuteRequest,
    responses((status = 200, body = WitnessView), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn witness(
    State(engine): State<Engine>,
    Who(caller): Who,
    PathProgram(id): PathProgram,
    Body(request): Body<ExecuteRequest>,
) -> Result<Json<WitnessView>, Failure> {
    let report = engine.witness(&caller, id, dry_run(request)?).await?;
    Ok(Json(WitnessView {
        root: report.root.to_string(),
        witnesses: convert::witnesses(&report.witnesses),
        log: report.log,
        usage: convert::usage(&report.usage),
        recording: convert::recording(report.recording),
    }))
}

/// Make a witness and run the circuit on it, without a proof. Nothing is kept.
#[utoipa::path(post, path = "/api/v1/programs/{program}/execute", tag = "programs", params(("program" = String, Path)),
    request_body = ExecuteRequest,
    responses((status = 200, body = ExecutionView), (status = "4XX", body = Problem, content_type = "application/problem+json"),
        (status = 503, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn execute(
    State(engine): State<Engine>,
    Who(caller): Who,
    PathProgram(id): PathProgram,
    Body(request): Body<ExecuteRequest>,
) -> Result<Json<ExecutionView>, Failure> {
    let report = engine.execute(&caller, id, dry_run(request)?).await?;
    Ok(Json(ExecutionView {
        root: report.root.to_string(),
        output: Base64(report.output),
        cycles: report.cycles,
        log: report.log,
        usage: convert::usage(&report.usage),
        recording: convert::recording(report.recording),
    }))
}

fn dry_run(request: ExecuteRequest) -> Result<DryRun, Failure> {
    Ok(DryRun { args: request.args, root: root(request.root.as_deref())?, record: request.record })
}

/// Call the controller's `entrypoint` with the body as its arguments. What it writes is kept.
#[utoipa::path(post, path = "/api/v1/programs/{program}/call", tag = "programs",
    params(("program" = String, Path), CallParams), request_body(content = serde_json::Value, content_type = "application/json"),
    responses((status = 200, body = CallView), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn call(
    State(engine): State<Engine>,
    Who(caller): Who,
    PathProgram(id): PathProgram,
    Params(params): Params<CallParams>,
    AnyJson(args): AnyJson<serde_json::Value>,
) -> Result<Json<CallView>, Failure> {
    let report = if params.record {
        engine.recorded_call(&caller, id, args).await?
    } else {
        engine.call(&caller, id, args).await?
    };
    Ok(Json(CallView {
        result: report.result,
        log: report.log,
        usage: convert::usage(&report.usage),
        recording: convert::recording(report.recording),
    }))
}
