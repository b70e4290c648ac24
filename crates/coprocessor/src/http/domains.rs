//! Domains: registering chains, and appending their blocks.

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use coprocessor_api::{
    AppendRequest, AppendView, BlockList, BlockView, Code, DomainList, DomainRequest, DomainView, Problem,
    StateRequest, StateView,
};
use coprocessor_engine::{DryRun, Engine, Registered};
use coprocessor_store::Cursor;
use coprocessor_types::Witness;
use serde::Deserialize;

use super::{
    auth::Who,
    extract::{Body, Params, PathBlock, PathDomain, Raw, limit, root, root_parameter},
    problem::Failure,
    programs::blob,
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

#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct AtParams {
    /// The root that has to commit to it; the current one by default.
    root: Option<String>,
}

/// Register a domain: a chain whose blocks roots shall commit to. Takes the scope `admin`.
///
/// Registering the very same again answers 200 with the domain as it is.
#[utoipa::path(post, path = "/api/v1/domains", tag = "domains", request_body = DomainRequest,
    responses((status = 201, body = DomainView), (status = 200, body = DomainView, description = "It was there already"),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn add(
    State(engine): State<Engine>,
    Who(caller): Who,
    Body(request): Body<DomainRequest>,
) -> Result<Response, Failure> {
    let malformed = |code, what: &str, error: String| Failure::new(code, format!("{what}: {error}"));
    let name = request.name.parse();
    let owner = request.owner.map(|text| text.parse()).transpose();
    let request = coprocessor_engine::DomainRequest {
        name: name.map_err(|error| malformed(Code::DomainName, "name", format!("{error}")))?,
        owner: owner.map_err(|error| malformed(Code::InvalidBody, "owner", format!("{error}")))?,
        controller: request.controller.0.into(),
        settings: request.settings,
        policy: convert::to_trust_policy(request.trust),
    };
    let (status, domain) = match engine.add_domain(&caller, request).await? {
        Registered::New(domain) => (StatusCode::CREATED, domain),
        Registered::Same(domain) => (StatusCode::OK, domain),
    };
    let location = format!("/api/v1/domains/{}", domain.name);
    Ok((status, [(header::LOCATION, location)], Json(convert::domain(domain))).into_response())
}

/// List domains, in the order they were registered.
#[utoipa::path(get, path = "/api/v1/domains", tag = "domains", params(ListParams),
    responses((status = 200, body = DomainList), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn list(
    State(engine): State<Engine>,
    Who(caller): Who,
    Params(params): Params<ListParams>,
) -> Result<Json<DomainList>, Failure> {
    let page = engine.domains(&caller, params.cursor.map(Cursor), limit(params.limit)?).await?;
    Ok(Json(DomainList {
        items: page.items.into_iter().map(convert::domain).collect(),
        next: page.next.map(|Cursor(next)| next),
    }))
}

/// A domain, by its name or its id.
#[utoipa::path(get, path = "/api/v1/domains/{domain}", tag = "domains", params(("domain" = String, Path)),
    responses((status = 200, body = DomainView), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn show(
    State(engine): State<Engine>,
    Who(caller): Who,
    PathDomain(id): PathDomain,
) -> Result<Json<DomainView>, Failure> {
    Ok(Json(convert::domain(engine.domain(&caller, id).await?)))
}

/// The controller's WebAssembly.
#[utoipa::path(get, path = "/api/v1/domains/{domain}/controller", tag = "domains", params(("domain" = String, Path)),
    responses((status = 200, body = Vec<u8>, content_type = "application/wasm"),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn controller(
    State(engine): State<Engine>,
    Who(caller): Who,
    PathDomain(id): PathDomain,
) -> Result<Response, Failure> {
    let (domain, content) = engine.domain_controller(&caller, id).await?;
    Ok(blob(content, domain.controller, "application/wasm"))
}

/// Replace the controller, for the blocks to come. Takes the scope `admin`.
#[utoipa::path(put, path = "/api/v1/domains/{domain}/controller", tag = "domains", params(("domain" = String, Path)),
    request_body(content = Vec<u8>, content_type = "application/wasm"),
    responses((status = 200, body = DomainView), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn set_controller(
    State(engine): State<Engine>,
    Who(caller): Who,
    PathDomain(id): PathDomain,
    Raw(controller): Raw,
) -> Result<Json<DomainView>, Failure> {
    Ok(Json(convert::domain(engine.set_domain_controller(&caller, id, controller).await?)))
}

/// Append blocks.
///
/// The domain's controller says by `validate_block` what number, state root and payload the arguments come to, or refuses them.
/// Several blocks are appended in their order, all or none, and each makes a root. Takes the domain's owner with the scope
/// `deploy`, or the scope `admin`. When this has answered, the blocks are there to stay.
#[utoipa::path(post, path = "/api/v1/domains/{domain}/blocks", tag = "domains", params(("domain" = String, Path)),
    request_body = AppendRequest,
    responses((status = 201, body = AppendView), (status = "4XX", body = Problem, content_type = "application/problem+json"),
        (status = 503, body = Problem, content_type = "application/problem+json"),
        (status = 507, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn append(
    State(engine): State<Engine>,
    Who(caller): Who,
    PathDomain(id): PathDomain,
    Body(request): Body<AppendRequest>,
) -> Result<Response, Failure> {
    let appended = match (request.args, request.blocks, request.record) {
        (Some(args), None, false) => engine.append_blocks(&caller, id, vec![args]).await?,
        (Some(args), None, true) => engine.recorded_append(&caller, id, args).await?,
        (None, Some(blocks), false) => engine.append_blocks(&caller, id, blocks).await?,
        (None, Some(_), true) => {
            let detail = "one block is recorded at a time: give its arguments in `args`";
            return Err(Failure::new(Code::InvalidBody, detail));
        }
        (Some(_), Some(_), _) | (None, None, _) => {
            let detail = "give either `args`, the arguments of one block, or `blocks`, a list of the arguments of each";
            return Err(Failure::new(Code::InvalidBody, detail));
        }
    };
    let first = appended.blocks.first().map_or(0, |appended| appended.block.number);
    let location = format!("/api/v1/domains/{}/blocks/{first}", appended.domain.name);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(convert::appended(appended))).into_response())
}

/// Have the domain's controller prove state.
///
/// It is what programs ask for with `get_state_proof` in the middle of their runs, without a program. Nothing is kept. Takes the
/// domain's owner with the scope `deploy`, or the scope `admin`.
#[utoipa::path(post, path = "/api/v1/domains/{domain}/state-proof", tag = "domains", params(("domain" = String, Path)),
    request_body = StateRequest,
    responses((status = 200, body = StateView), (status = "4XX", body = Problem, content_type = "application/problem+json"),
        (status = 503, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn prove_state(
    State(engine): State<Engine>,
    Who(caller): Who,
    PathDomain(id): PathDomain,
    Body(request): Body<StateRequest>,
) -> Result<Json<StateView>, Failure> {
    let run = DryRun { args: request.args, root: root(request.root.as_deref())?, record: request.record };
    let report = engine.prove_state(&caller, id, run).await?;
    Ok(Json(StateView {
        root: report.root.to_string(),
        witness: convert::witness(&Witness::StateProof(report.proof)),
        log: report.log,
        usage: convert::usage(&report.usage),
        recording: convert::recording(report.recording),
    }))
}

/// List a domain's blocks, highest number first.
#[utoipa::path(get, path = "/api/v1/domains/{domain}/blocks", tag = "domains",
    params(("domain" = String, Path), ListParams),
    responses((status = 200, body = BlockList), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn blocks(
    State(engine): State<Engine>,
    Who(caller): Who,
    PathDomain(id): PathDomain,
    Params(params): Params<ListParams>,
) -> Result<Json<BlockList>, Failure> {
    let page = engine.blocks(&caller, id, params.cursor.map(Cursor), limit(params.limit)?).await?;
    Ok(Json(BlockList {
        items: page.items.into_iter().map(convert::block).collect(),
        next: page.next.map(|Cursor(next)| next),
    }))
}

/// A block.
#[utoipa::path(get, path = "/api/v1/domains/{domain}/blocks/{number}", tag = "domains",
    params(("domain" = String, Path), ("number" = u64, Path), AtParams),
    responses((status = 200, body = BlockView), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn block(
    State(engine): State<Engine>,
    Who(caller): Who,
    PathBlock(id, number): PathBlock,
    Params(params): Params<AtParams>,
) -> Result<Json<BlockView>, Failure> {
    let at = root_parameter("root", params.root.as_deref())?;
    Ok(Json(convert::block(engine.block(&caller, id, number, at).await?)))
}

/// The block with the highest number.
#[utoipa::path(get, path = "/api/v1/domains/{domain}/latest", tag = "domains",
    params(("domain" = String, Path), AtParams),
    responses((status = 200, body = BlockView), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn latest(
    State(engine): State<Engine>,
    Who(caller): Who,
    PathDomain(id): PathDomain,
    Params(params): Params<AtParams>,
) -> Result<Json<BlockView>, Failure> {
    let at = root_parameter("root", params.root.as_deref())?;
    Ok(Json(convert::block(engine.latest_block(&caller, id, at).await?)))
}
