//! API keys, and who the caller is.

use axum::{Json, extract::State, http::StatusCode};
use coprocessor_api::{Code, KeyList, KeyRequest, KeyView, NewKeyView, Problem, WhoamiView};
use coprocessor_engine::Engine;
use coprocessor_store::Cursor;
use secrecy::ExposeSecret;
use serde::Deserialize;

use super::{
    Service,
    auth::Who,
    extract::{Body, Params, PathKey, limit, owner},
    problem::Failure,
};
use crate::convert;

#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ListParams {
    /// Only keys of this owner; others than one's own take the scope `admin`.
    owner: Option<String>,
    /// Where to go on: `next` of the page before.
    cursor: Option<String>,
    /// Most items, 1 to 1000; 100 by default.
    limit: Option<usize>,
}

/// Make a key. Its secret is in this answer and nowhere else. Takes the scope `admin`. Once there is a key, every request needs
/// one.
#[utoipa::path(post, path = "/api/v1/keys", tag = "keys", request_body = KeyRequest,
    responses((status = 201, body = NewKeyView), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn create(
    State(service): State<Service>,
    Who(caller): Who,
    Body(request): Body<KeyRequest>,
) -> Result<(StatusCode, Json<NewKeyView>), Failure> {
    let owner = match &request.owner {
        None => caller.owner.clone(),
        Some(text) => {
            text.parse().map_err(|error| Failure::new(Code::InvalidBody, format!("owner `{text}`: {error}")))?
        }
    };
    let scopes = request.scopes.iter().copied().map(convert::to_scope).collect();
    let made = service.engine.create_key(&caller, owner, &request.name, scopes, request.expires_at).await?;
    service.gate.key_made();
    let (key, secret) = made;
    let view = NewKeyView { key: convert::key(key), secret: secret.expose_secret().to_owned() };
    Ok((StatusCode::CREATED, Json(view)))
}

/// List keys, newest first, revoked ones too.
#[utoipa::path(get, path = "/api/v1/keys", tag = "keys", params(ListParams),
    responses((status = 200, body = KeyList), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn list(
    State(engine): State<Engine>,
    Who(caller): Who,
    Params(params): Params<ListParams>,
) -> Result<Json<KeyList>, Failure> {
    let owner = owner(params.owner.as_deref())?;
    let page = engine.keys(&caller, owner, params.cursor.map(Cursor), limit(params.limit)?).await?;
    Ok(Json(KeyList {
        items: page.items.into_iter().map(convert::key).collect(),
        next: page.next.map(|Cursor(next)| next),
    }))
}

/// Revoke a key, from now on. A key may revoke itself; others take the scope `admin`. Doing so again is no error.
#[utoipa::path(delete, path = "/api/v1/keys/{key}", tag = "keys", params(("key" = String, Path)),
    responses((status = 200, body = KeyView), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn revoke(
    State(engine): State<Engine>,
    Who(caller): Who,
    PathKey(id): PathKey,
) -> Result<Json<KeyView>, Failure> {
    Ok(Json(convert::key(engine.revoke_key(&caller, id).await?)))
}

/// Who the service takes the caller for.
#[utoipa::path(get, path = "/api/v1/whoami", tag = "keys",
    responses((status = 200, body = WhoamiView), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn whoami(State(engine): State<Engine>, Who(caller): Who) -> Result<Json<WhoamiView>, Failure> {
    let limits = engine.limits(&caller.owner).await?;
    let volume_bytes = engine.volume_bytes(&caller.owner).await?;
    Ok(Json(WhoamiView {
        owner: caller.owner.to_string(),
        key: caller.key.map(|key| key.to_string()),
        scopes: caller.scopes.iter().map(convert::scope).collect(),
        limits: convert::limits(&limits),
        volume_bytes,
    }))
}
