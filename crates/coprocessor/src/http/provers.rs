//! Prover nodes.

use axum::{Json, extract::State, http::StatusCode};
use coprocessor_api::{Problem, ProverList, ProverRequest};
use coprocessor_engine::Engine;
use coprocessor_store::ProverRecord;
use secrecy::SecretString;
use serde::Deserialize;

use super::{
    extract::{Body, Caller, Params},
    problem::Failure,
};
use crate::convert;

#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct RemoveParams {
    /// The node's address, as listed.
    address: String,
}

/// List the prover nodes, each asked just now.
#[utoipa::path(get, path = "/api/v1/provers", tag = "service", responses((status = 200, body = ProverList)))]
pub(super) async fn list(State(engine): State<Engine>) -> Json<ProverList> {
    Json(ProverList { items: engine.provers().view().await.into_iter().map(convert::prover).collect() })
}

/// Register a prover node. 201 when it is new, 200 when it was there.
#[utoipa::path(post, path = "/api/v1/provers", tag = "service", request_body = ProverRequest,
    responses((status = 201), (status = 200), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn add(
    State(engine): State<Engine>,
    Caller(owner): Caller,
    Body(request): Body<ProverRequest>,
) -> Result<StatusCode, Failure> {
    let record = ProverRecord {
        address: request.address,
        owner,
        secret: request.secret.map(SecretString::from),
        added_at: jiff::Timestamp::now(),
    };
    let added = engine.provers().add(record).await?;
    Ok(if added { StatusCode::CREATED } else { StatusCode::OK })
}

/// Forget a prover node that was registered through the API.
#[utoipa::path(delete, path = "/api/v1/provers", tag = "service", params(RemoveParams),
    responses((status = 204), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn remove(
    State(engine): State<Engine>,
    Caller(owner): Caller,
    Params(params): Params<RemoveParams>,
) -> Result<StatusCode, Failure> {
    engine.provers().remove(&owner, &params.address).await?;
    Ok(StatusCode::NO_CONTENT)
}
