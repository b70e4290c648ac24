//! Webhooks: where an owner's events are sent, and what became of each.

use crate::{Cursor, Event, Page, StoreError};
use async_trait::async_trait;
use coprocessor_types::OwnerId;
use jiff::Timestamp;
use secrecy::SecretString;
use std::time::Duration;
use uuid::Uuid;

/// Names a webhook. UUID version 7.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct WebhookId(pub Uuid);

/// Names one delivery: the same for each attempt, so that a receiver can tell a repeated one. UUID version 7.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct DeliveryId(pub Uuid);

/// Where events are sent.
#[derive(Clone, Debug)]
pub struct Webhook {
    /// Its id.
    pub id: WebhookId,
    /// Whose events, and who may change it.
    pub owner: OwnerId,
    /// Where they are sent.
    pub url: String,
    /// Names of the events that are sent.
    pub events: Vec<String>,
    /// What they are signed with, as `whsec_` and base64. Never printed.
    pub secret: SecretString,
    /// When it was made.
    pub created_at: Timestamp,
}

/// What became of an event for a webhook.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DeliveryState {
    /// To be sent, for the first time or again.
    Pending,
    /// Received.
    Delivered,
    /// Given up; it can be sent again by hand.
    Failed,
}

impl DeliveryState {
    /// Every state.
    pub const ALL: [Self; 3] = [Self::Pending, Self::Delivered, Self::Failed];

    /// The name in JSON and in the store.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
        }
    }

    /// The state with that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }
}

/// One event for one webhook.
#[derive(Clone, PartialEq, Debug)]
pub struct Delivery {
    /// Its id.
    pub id: DeliveryId,
    /// The webhook.
    pub webhook: WebhookId,
    /// The event.
    pub event: Event,
    /// What became of it.
    pub state: DeliveryState,
    /// How often it was tried.
    pub attempts: u32,
    /// Grows with every claim.
    pub fence: u64,
    /// Not to be tried before; `None` when nothing more will be tried.
    pub next_at: Option<Timestamp>,
    /// The last attempt.
    pub last: Option<DeliveryAttempt>,
    /// When the event was taken up.
    pub created_at: Timestamp,
}

/// How an attempt went.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeliveryAttempt {
    /// When it began.
    pub at: Timestamp,
    /// The status of the answer, if there was one.
    pub status: Option<u16>,
    /// What went wrong, if something did.
    pub error: Option<String>,
    /// How long it took.
    pub took: Duration,
}

/// What an attempt came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DeliveryOutcome {
    /// The receiver has it.
    Delivered(DeliveryAttempt),
    /// To be tried again.
    Retry {
        /// How it went.
        attempt: DeliveryAttempt,
        /// Not before.
        at: Timestamp,
    },
    /// Given up.
    Failed(DeliveryAttempt),
}

/// Webhooks and deliveries.
#[async_trait]
pub trait Webhooks {
    /// Keeps a webhook. It gets the events after this call, none before. False when there is one with its id.
    async fn add_webhook(&self, webhook: Webhook) -> Result<bool, StoreError>;

    /// A webhook.
    async fn webhook(&self, id: WebhookId) -> Result<Option<Webhook>, StoreError>;

    /// Webhooks, newest first; of one owner, or everybody's; at most `limit`.
    ///
    /// # Errors
    /// [`StoreError::BadCursor`].
    async fn webhooks(
        &self,
        owner: Option<OwnerId>,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Page<Webhook>, StoreError>;

    /// Forgets a webhook and its deliveries; false when there was none.
    async fn remove_webhook(&self, id: WebhookId) -> Result<bool, StoreError>;

    /// Makes pending deliveries of events that webhooks have not seen yet: each event once for each webhook of its
    /// owner whose list has its name. Looks at no more than `limit` events. Returns how many deliveries it made, and whether
    /// there are more events to look at.
    async fn queue_deliveries(&self, limit: usize) -> Result<(usize, bool), StoreError>;

    /// Claims deliveries that are due, oldest first, each with its webhook, but none of the webhooks in `except`, which have
    /// as many under way as they may; a lease that runs out makes them due again.
    async fn claim_deliveries(
        &self,
        lease: Duration,
        limit: usize,
        except: &[WebhookId],
    ) -> Result<Vec<(Delivery, Webhook)>, StoreError>;

    /// When the next delivery that waits will be due.
    async fn next_delivery(&self) -> Result<Option<Timestamp>, StoreError>;

    /// Ends an attempt. Returns false, and changes nothing, when the claim is no longer that of `fence`.
    async fn finish_delivery(&self, id: DeliveryId, fence: u64, outcome: DeliveryOutcome) -> Result<bool, StoreError>;

    /// A webhook's deliveries, newest first; at most `limit`.
    ///
    /// # Errors
    /// [`StoreError::BadCursor`].
    async fn deliveries(
        &self,
        webhook: WebhookId,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Page<Delivery>, StoreError>;

    /// Makes a delivery pending and due again, whatever became of it. `None` when there is no such delivery of that
    /// webhook.
    async fn redeliver(&self, webhook: WebhookId, delivery: DeliveryId) -> Result<Option<Delivery>, StoreError>;
}
