//! Webhooks and what was sent to them.

use axum::{Json, extract::State, http::StatusCode};
use coprocessor_api::{DeliveryList, DeliveryView, NewWebhookView, Problem, WebhookList, WebhookRequest, WebhookView};
use coprocessor_engine::Engine;
use coprocessor_store::Cursor;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::{
    auth::Who,
    extract::{Body, Params, PathDelivery, PathWebhook, limit, owner},
    problem::Failure,
};
use crate::convert;

#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ListParams {
    /// Only webhooks of this owner; others than one's own take the scope `admin`.
    owner: Option<String>,
    /// Where to go on: `next` of the page before.
    cursor: Option<String>,
    /// Most items, 1 to 1000; 100 by default.
    limit: Option<usize>,
}

#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct DeliveriesParams {
    /// Where to go on: `next` of the page before.
    cursor: Option<String>,
    /// Most items, 1 to 1000; 100 by default.
    limit: Option<usize>,
}

/// Register a webhook for the events of one's tasks from now on. Its secret is in this answer and nowhere else.
///
/// Each event is sent as a `POST` of the JSON that the event log has, signed after the Standard Webhooks convention, until the
/// receiver answers with a status of success: at least once, so tell a repeated one by `webhook-id`.
#[utoipa::path(post, path = "/api/v1/webhooks", tag = "webhooks", request_body = WebhookRequest,
    responses((status = 201, body = NewWebhookView), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn add(
    State(engine): State<Engine>,
    Who(caller): Who,
    Body(request): Body<WebhookRequest>,
) -> Result<(StatusCode, Json<NewWebhookView>), Failure> {
    let secret = request.secret.map(SecretString::from);
    let webhook = engine.add_webhook(&caller, &request.url, request.events, secret).await?;
    let secret = webhook.secret.expose_secret().to_owned();
    Ok((StatusCode::CREATED, Json(NewWebhookView { webhook: convert::webhook(webhook), secret })))
}

/// List webhooks, newest first.
#[utoipa::path(get, path = "/api/v1/webhooks", tag = "webhooks", params(ListParams),
    responses((status = 200, body = WebhookList), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn list(
    State(engine): State<Engine>,
    Who(caller): Who,
    Params(params): Params<ListParams>,
) -> Result<Json<WebhookList>, Failure> {
    let owner = owner(params.owner.as_deref())?;
    let page = engine.webhooks(&caller, owner, params.cursor.map(Cursor), limit(params.limit)?).await?;
    Ok(Json(WebhookList {
        items: page.items.into_iter().map(convert::webhook).collect(),
        next: page.next.map(|Cursor(next)| next),
    }))
}

/// A webhook.
#[utoipa::path(get, path = "/api/v1/webhooks/{webhook}", tag = "webhooks", params(("webhook" = String, Path)),
    responses((status = 200, body = WebhookView), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn show(
    State(engine): State<Engine>,
    Who(caller): Who,
    PathWebhook(id): PathWebhook,
) -> Result<Json<WebhookView>, Failure> {
    Ok(Json(convert::webhook(engine.webhook(&caller, id).await?)))
}

/// Forget a webhook, with its deliveries.
#[utoipa::path(delete, path = "/api/v1/webhooks/{webhook}", tag = "webhooks", params(("webhook" = String, Path)),
    responses((status = 204), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn remove(
    State(engine): State<Engine>,
    Who(caller): Who,
    PathWebhook(id): PathWebhook,
) -> Result<StatusCode, Failure> {
    engine.remove_webhook(&caller, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// List what was sent to a webhook or is to be, newest first.
#[utoipa::path(get, path = "/api/v1/webhooks/{webhook}/deliveries", tag = "webhooks",
    params(("webhook" = String, Path), DeliveriesParams),
    responses((status = 200, body = DeliveryList), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn deliveries(
    State(engine): State<Engine>,
    Who(caller): Who,
    PathWebhook(id): PathWebhook,
    Params(params): Params<DeliveriesParams>,
) -> Result<Json<DeliveryList>, Failure> {
    let page = engine.deliveries(&caller, id, params.cursor.map(Cursor), limit(params.limit)?).await?;
    Ok(Json(DeliveryList {
        items: page.items.into_iter().map(convert::delivery).collect(),
        next: page.next.map(|Cursor(next)| next),
    }))
}

/// Send something once more, whatever became of it.
#[utoipa::path(post, path = "/api/v1/webhooks/{webhook}/deliveries/{delivery}/redeliver", tag = "webhooks",
    params(("webhook" = String, Path), ("delivery" = String, Path)),
    responses((status = 202, body = DeliveryView), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn redeliver(
    State(engine): State<Engine>,
    Who(caller): Who,
    PathDelivery(webhook, delivery): PathDelivery,
) -> Result<(StatusCode, Json<DeliveryView>), Failure> {
    let delivery = engine.redeliver(&caller, webhook, delivery).await?;
    Ok((StatusCode::ACCEPTED, Json(convert::delivery(delivery))))
}
