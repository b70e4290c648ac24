//! The coprocessor's roots, and what is shown at them.

use axum::{Json, extract::State};
use coprocessor_api::{Code, InstanceView, OpeningView, Problem, RootList, RootView, TransitionList};
use coprocessor_engine::Engine;
use serde::Deserialize;

use super::{
    auth::Who,
    extract::{Params, PathOpening, PathRoot, limit, root_parameter},
    problem::Failure,
};
use crate::convert;

#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ListParams {
    /// Roots with versions above this one: `next` of the page before. From the first root on by default.
    after: Option<u64>,
    /// Most items, 1 to 1000; 100 by default.
    limit: Option<usize>,
}

#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct TransitionParams {
    /// The root to begin at.
    from: String,
    /// The root to come to; the current one by default.
    to: Option<String>,
    /// Most steps, 1 to 1000; 100 by default.
    limit: Option<usize>,
}

/// The current root: requests that name none are pinned to it. It commits to every block of every domain, and to the instance.
#[utoipa::path(get, path = "/api/v1/roots/current", tag = "roots", responses((status = 200, body = RootView),
    (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn current(State(engine): State<Engine>, Who(caller): Who) -> Result<Json<RootView>, Failure> {
    let root = engine.current_root(&caller).await?;
    Ok(Json(convert::root(root, engine.instance())))
}

/// List roots, oldest first. Each has one more block than the one before.
#[utoipa::path(get, path = "/api/v1/roots", tag = "roots", params(ListParams),
    responses((status = 200, body = RootList), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn list(
    State(engine): State<Engine>,
    Who(caller): Who,
    Params(params): Params<ListParams>,
) -> Result<Json<RootList>, Failure> {
    let limit = limit(params.limit)?;
    let roots = engine.roots(&caller, params.after, limit).await?;
    let next = roots.last().filter(|_| roots.len() == limit).map(|last| last.version);
    let items = roots.into_iter().map(|root| convert::root(root, engine.instance())).collect();
    Ok(Json(RootList { items, next }))
}

/// A root of this instance.
#[utoipa::path(get, path = "/api/v1/roots/{root}", tag = "roots", params(("root" = String, Path)),
    responses((status = 200, body = RootView), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn show(
    State(engine): State<Engine>,
    Who(caller): Who,
    PathRoot(root): PathRoot,
) -> Result<Json<RootView>, Failure> {
    let root = engine.root(&caller, root).await?;
    Ok(Json(convert::root(root, engine.instance())))
}

/// What a root commits to under a number of a domain: the block, or that there is none, with the siblings that show it.
#[utoipa::path(get, path = "/api/v1/roots/{root}/openings/{domain}/{number}", tag = "roots",
    params(("root" = String, Path), ("domain" = String, Path), ("number" = u64, Path)),
    responses((status = 200, body = OpeningView), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn opening(
    State(engine): State<Engine>,
    Who(caller): Who,
    PathOpening(root, domain, number): PathOpening,
) -> Result<Json<OpeningView>, Failure> {
    Ok(Json(convert::opening(engine.open_block(&caller, root, domain, number).await?)))
}

/// That a root is this instance's.
#[utoipa::path(get, path = "/api/v1/roots/{root}/instance", tag = "roots", params(("root" = String, Path)),
    responses((status = 200, body = InstanceView), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn instance(
    State(engine): State<Engine>,
    Who(caller): Who,
    PathRoot(root): PathRoot,
) -> Result<Json<InstanceView>, Failure> {
    let opened = engine.open_instance(&caller, root).await?;
    Ok(Json(InstanceView {
        root: root.to_string(),
        instance: opened.instance.to_string(),
        siblings: convert::siblings(&opened.siblings),
    }))
}

/// The steps from one root to a later one, each with a proof that it added one block and changed nothing else.
#[utoipa::path(get, path = "/api/v1/roots/transitions", tag = "roots", params(TransitionParams),
    responses((status = 200, body = TransitionList), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn transitions(
    State(engine): State<Engine>,
    Who(caller): Who,
    Params(params): Params<TransitionParams>,
) -> Result<Json<TransitionList>, Failure> {
    let limit = limit(params.limit)?;
    let missing = || Failure::new(Code::InvalidParameter, "from: expected a root");
    let from = root_parameter("from", Some(&params.from))?.ok_or_else(missing)?;
    let to = root_parameter("to", params.to.as_deref())?;
    let steps = engine.transitions(&caller, from, to, limit).await?;
    let items: Vec<_> = steps.into_iter().map(convert::transition).collect();
    // A page that is full may be the last: then the next one is empty.
    let next = items.last().filter(|last| items.len() == limit && Some(&last.to) != params.to.as_ref());
    let next = next.map(|last| last.to.clone());
    Ok(Json(TransitionList { items, next }))
}
