//! Prover nodes.

use axum::{Json, extract::State, http::StatusCode};
use coprocessor_api::{Problem, ProverList, ProverRequest, ProverView};
use coprocessor_engine::{Caller, Engine, NodeRegistration};
use secrecy::SecretString;
use serde::Deserialize;

use super::{
    auth::Who,
    extract::{Body, Params, owner},
    problem::Failure,
};
use crate::convert;

#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct RemoveParams {
    /// The node's address, as listed.
    address: String,
    /// Whose node it is; the caller's own by default, another's takes the scope `admin`.
    owner: Option<String>,
}

/// List the prover nodes that may prove for the caller, each asked just now: one's own, shared and configured ones.
#[utoipa::path(get, path = "/api/v1/provers", tag = "service", responses((status = 200, body = ProverList),
    (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn list(State(engine): State<Engine>, Who(caller): Who) -> Result<Json<ProverList>, Failure> {
    Ok(Json(ProverList { items: views(&engine, &caller).await? }))
}

/// Register a prover node. 201 when it is new, 200 when it was there. It gets its owner's tasks only, unless it is shared.
#[utoipa::path(post, path = "/api/v1/provers", tag = "service", request_body = ProverRequest,
    responses((status = 201, body = ProverView), (status = 200, body = ProverView, description = "It was there already"),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn add(
    State(engine): State<Engine>,
    Who(caller): Who,
    Body(request): Body<ProverRequest>,
) -> Result<(StatusCode, Json<ProverView>), Failure> {
    let registration = NodeRegistration {
        address: request.address.clone(),
        secret: request.secret.map(SecretString::from),
        shared: request.shared,
    };
    let added = engine.add_prover(&caller, registration).await?;
    let views = views(&engine, &caller).await?;
    let asked = request.address.trim_end_matches('/');
    let view = views.into_iter().find(|view| view.address.trim_end_matches('/') == asked);
    // Gone again, or under an address that is written in another way: what was asked for has been done all the same.
    let view = view.unwrap_or_else(|| convert::unasked_prover(request.address, &caller.owner, request.shared));
    Ok((if added { StatusCode::CREATED } else { StatusCode::OK }, Json(view)))
}

/// Forget a prover node that was registered through the API.
#[utoipa::path(delete, path = "/api/v1/provers", tag = "service", params(RemoveParams),
    responses((status = 204), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn remove(
    State(engine): State<Engine>,
    Who(caller): Who,
    Params(params): Params<RemoveParams>,
) -> Result<StatusCode, Failure> {
    let owner = owner(params.owner.as_deref())?;
    engine.remove_prover(&caller, owner.as_ref(), &params.address).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn views(engine: &Engine, caller: &Caller) -> Result<Vec<ProverView>, Failure> {
    Ok(engine.provers(caller).await?.into_iter().map(convert::prover).collect())
}
