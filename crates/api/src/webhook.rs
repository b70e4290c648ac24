//! `/api/v1/webhooks`.

use crate::EventView;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A webhook to register. Events of the owner's tasks are sent to it, signed after the Standard Webhooks convention
/// (headers `webhook-id`, `webhook-timestamp`, `webhook-signature`), at least once.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WebhookRequest {
    /// Where events are sent: `https://…`, or `http://…`. Addresses inside the operator's network are refused unless allowed.
    pub url: String,
    /// Names of the events that are sent, see [`EventView`]; the final ones by default: `delivered`, `failed`, `cancelled`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<String>,
    /// What they are signed with: `whsec_` and base64 of 24 to 64 bytes. Drawn by the service by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
}

impl std::fmt::Debug for WebhookRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebhookRequest").field("url", &self.url).field("events", &self.events).finish_non_exhaustive()
    }
}

/// A webhook.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct WebhookView {
    /// A UUID version 7.
    pub id: String,
    /// Whose events it gets.
    pub owner: String,
    /// Where they are sent.
    pub url: String,
    /// Names of the events that are sent.
    pub events: Vec<String>,
    /// When it was registered.
    pub created_at: Timestamp,
}

/// A webhook that was just registered. Its secret is shown here and never again.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NewWebhookView {
    /// The webhook.
    #[serde(flatten)]
    pub webhook: WebhookView,
    /// What its deliveries are signed with: `whsec_…`.
    pub secret: String,
}

impl std::fmt::Debug for NewWebhookView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewWebhookView").field("webhook", &self.webhook).finish_non_exhaustive()
    }
}

/// A page of webhooks, newest first.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct WebhookList {
    /// The webhooks.
    pub items: Vec<WebhookView>,
    /// `cursor` of the next page; null at the end.
    pub next: Option<String>,
}

/// What became of a delivery.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum DeliveryState {
    /// To be sent, for the first time or again.
    Pending,
    /// The receiver answered with a status of success.
    Delivered,
    /// Given up; it can be sent again by hand.
    Failed,
}

/// One event for one webhook.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct DeliveryView {
    /// A UUID version 7: the header `webhook-id` of every attempt.
    pub id: String,
    /// The webhook.
    pub webhook: String,
    /// The event.
    pub event: EventView,
    /// What became of it.
    pub state: DeliveryState,
    /// How often it was tried.
    pub attempts: u32,
    /// When it will be tried next; null when nothing more will be tried.
    pub next_at: Option<Timestamp>,
    /// The last attempt.
    pub last: Option<AttemptView>,
    /// When the event was taken up.
    pub created_at: Timestamp,
}

/// How an attempt went.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct AttemptView {
    /// When it began.
    pub at: Timestamp,
    /// The status of the answer, if there was one.
    pub status: Option<u16>,
    /// What went wrong, if something did.
    pub error: Option<String>,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
}

/// A page of a webhook's deliveries, newest first.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct DeliveryList {
    /// The deliveries.
    pub items: Vec<DeliveryView>,
    /// `cursor` of the next page; null at the end.
    pub next: Option<String>,
}
