//! Owners: their share and their quotas.

use axum::{Json, extract::State};
use coprocessor_api::{OwnerList, OwnerRequest, OwnerView, Problem};
use coprocessor_engine::Engine;
use coprocessor_store::{Cursor, Owner, Quotas};
use jiff::Timestamp;
use serde::Deserialize;

use super::{
    auth::Who,
    extract::{Body, Params, PathOwner, limit},
    problem::Failure,
};
use crate::convert;

#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ListParams {
    /// Where to go on: `next` of the page before.
    cursor: Option<String>,
    /// Most items, 1 to 1000; 100 by default.
    limit: Option<usize>,
}

/// List the owners for whom something was set, by name. Takes the scope `admin`.
#[utoipa::path(get, path = "/api/v1/owners", tag = "owners", params(ListParams),
    responses((status = 200, body = OwnerList), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn list(
    State(engine): State<Engine>,
    Who(caller): Who,
    Params(params): Params<ListParams>,
) -> Result<Json<OwnerList>, Failure> {
    let page = engine.owners(&caller, params.cursor.map(Cursor), limit(params.limit)?).await?;
    let mut items = Vec::with_capacity(page.items.len());
    for owner in page.items {
        items.push(view(&engine, owner).await?);
    }
    Ok(Json(OwnerList { items, next: page.next.map(|Cursor(next)| next) }))
}

/// An owner for whom something was set. Others than oneself take the scope `admin`.
#[utoipa::path(get, path = "/api/v1/owners/{owner}", tag = "owners", params(("owner" = String, Path)),
    responses((status = 200, body = OwnerView), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn show(
    State(engine): State<Engine>,
    Who(caller): Who,
    PathOwner(id): PathOwner,
) -> Result<Json<OwnerView>, Failure> {
    let owner = engine.owner(&caller, &id).await?;
    view(&engine, owner).await.map(Json)
}

/// Set an owner's share and quotas; what is left out goes back to its default. Takes the scope `admin`.
#[utoipa::path(put, path = "/api/v1/owners/{owner}", tag = "owners", params(("owner" = String, Path)),
    request_body = OwnerRequest,
    responses((status = 200, body = OwnerView), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn set(
    State(engine): State<Engine>,
    Who(caller): Who,
    PathOwner(id): PathOwner,
    Body(request): Body<OwnerRequest>,
) -> Result<Json<OwnerView>, Failure> {
    let coprocessor_api::Quotas { unfinished_tasks, programs, volume_bytes, requests_per_second, burst, controllers } =
        request.quotas;
    let controllers = convert::controllers_asked(&controllers);
    let quotas = Quotas { unfinished_tasks, programs, volume_bytes, requests_per_second, burst, controllers };
    let owner = Owner { id, weight: request.weight.unwrap_or(1), quotas, created_at: Timestamp::now() };
    let owner = engine.set_owner(&caller, owner).await?;
    view(&engine, owner).await.map(Json)
}

async fn view(engine: &Engine, owner: Owner) -> Result<OwnerView, Failure> {
    let limits = engine.limits(&owner.id).await?;
    let volume_bytes = engine.volume_bytes(&owner.id).await?;
    Ok(convert::owner(owner, &limits, volume_bytes))
}
