//! Webhooks: events of an owner's tasks, sent to where it wants them.
//!
//! They follow the Standard Webhooks specification: `webhook-id` names the delivery, `webhook-timestamp` the moment of
//! sending, `webhook-signature` signs both and the body. A delivery is sent at least once: whoever receives it can tell a
//! repeated one by its id. What is sent where, and what came of it, is kept in the store; `sender` does the sending.

mod sender;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use coprocessor_outbound::{GuardSettings, GuardedClient, OutboundError, Target};
use coprocessor_store::{Cursor, Delivery, DeliveryId, Page, Scope, Webhook, WebhookId};
use coprocessor_types::OwnerId;
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use std::{sync::OnceLock, time::Duration};
use tokio::sync::Notify;
use uuid::Uuid;

use crate::{Caller, Engine, EngineError, Inner, keys::random};

pub use coprocessor_outbound::{AllowedHost, AllowedHostError};
pub(crate) use sender::spawn_webhooks;

/// Events that can be sent.
pub const WEBHOOK_EVENTS: [&str; 9] = [
    "admitted",
    "witness_ready",
    "proof_verified",
    "delivered",
    "failed",
    "cancelled",
    "retried",
    "retrying",
    "waiting",
];

/// Events that are sent where none are named: those after which nothing more happens by itself.
const DEFAULT_EVENTS: [&str; 3] = ["delivered", "failed", "cancelled"];

/// Most webhooks of an owner.
const MOST_OF_AN_OWNER: usize = 32;

/// What a webhook's secret begins with.
const SECRET_PREFIX: &str = "whsec_";

/// Random bytes of a secret made here; those brought along have 24 to 64.
const SECRET_BYTES: usize = 32;

/// Most bytes that are read of a receiver's answer: only its status counts.
const MAX_ANSWER: usize = 4096;

/// How webhooks are sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WebhookSettings {
    /// Hosts that may be loopback or private, and reached without TLS. All others have to be at public addresses.
    pub allow: Vec<AllowedHost>,
    /// Whether `http` addresses are taken for other hosts than those allowed.
    pub insecure: bool,
    /// How long a receiver may take to answer.
    pub timeout: Duration,
    /// Deliveries under way at once.
    pub in_flight: usize,
    /// Of these for one webhook, about: a slow receiver holds no more.
    pub in_flight_each: usize,
    /// Waits after the first failed attempt, the second, and so on; after the last the delivery has failed.
    pub waits: Vec<Duration>,
}

impl Default for WebhookSettings {
    fn default() -> Self {
        const MINUTE: u64 = 60;
        const HOUR: u64 = 60 * MINUTE;
        let waits = [5, 30, 2 * MINUTE, 10 * MINUTE, HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR];
        Self {
            allow: Vec::new(),
            insecure: false,
            timeout: Duration::from_secs(15),
            in_flight: 64,
            in_flight_each: 8,
            waits: waits.map(Duration::from_secs).to_vec(),
        }
    }
}

/// What the engine needs to send webhooks.
#[derive(Default)]
pub(crate) struct Outgoing {
    client: OnceLock<GuardedClient>,
    /// Something about webhooks was changed here.
    changed: Notify,
}

impl Engine {
    /// Sends events of the caller's owner's tasks to `url` from now on: those named, by default `delivered`, `failed` and
    /// `cancelled`; signed with `secret`, or with one made here, which is in the answer.
    ///
    /// # Errors
    /// A URL that is none, has credentials in it, is not `https` or leads where requests must not go; an event or a secret
    /// that cannot be; too many webhooks.
    pub async fn add_webhook(
        &self,
        caller: &Caller,
        url: &str,
        events: Vec<String>,
        secret: Option<SecretString>,
    ) -> Result<Webhook, EngineError> {
        caller.require(Scope::Deploy)?;
        self.inner.check_room()?;
        let target = self.inner.check_target(url)?;
        let events = check_events(events)?;
        let secret = match secret {
            Some(secret) => check_secret(secret)?,
            None => format!("{SECRET_PREFIX}{}", STANDARD.encode(random::<SECRET_BYTES>()?)).into(),
        };
        let store = &self.inner.store;
        if store.webhooks(Some(caller.owner.clone()), None, MOST_OF_AN_OWNER).await?.items.len() == MOST_OF_AN_OWNER {
            let message =
                format!("there are {MOST_OF_AN_OWNER} webhooks of this owner, as many as it may have; remove one");
            return Err(EngineError::InvalidRequest(message));
        }
        let webhook = Webhook {
            id: WebhookId(Uuid::now_v7()),
            owner: caller.owner.clone(),
            url: target.as_str().to_owned(),
            events,
            secret,
            created_at: Timestamp::now(),
        };
        if !store.add_webhook(webhook.clone()).await? {
            return Err(EngineError::Internal(format!("webhook {} was there already", webhook.id.0)));
        }
        self.inner.outgoing.changed.notify_one();
        tracing::info!(webhook = %webhook.id.0, owner = %webhook.owner, host = target.host(), "webhook added");
        Ok(webhook)
    }

    /// Webhooks, newest first: the caller's owner's; for an administrator `owner`'s or everybody's.
    ///
    /// # Errors
    /// Another owner's are asked for; the store's.
    pub async fn webhooks(
        &self,
        caller: &Caller,
        owner: Option<OwnerId>,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Page<Webhook>, EngineError> {
        caller.require(Scope::Read)?;
        Ok(self.inner.store.webhooks(caller.lists(owner)?, after, limit).await?)
    }

    /// A webhook.
    ///
    /// # Errors
    /// No such webhook, or another owner's.
    pub async fn webhook(&self, caller: &Caller, id: WebhookId) -> Result<Webhook, EngineError> {
        self.own_webhook(caller, Scope::Read, id).await
    }

    /// Sends nothing more there, and forgets what was sent.
    ///
    /// # Errors
    /// No such webhook, or another owner's.
    pub async fn remove_webhook(&self, caller: &Caller, id: WebhookId) -> Result<(), EngineError> {
        self.own_webhook(caller, Scope::Deploy, id).await?;
        if !self.inner.store.remove_webhook(id).await? {
            return Err(EngineError::UnknownWebhook(id));
        }
        tracing::info!(webhook = %id.0, "webhook removed");
        Ok(())
    }

    /// What was sent, and what came of it, newest first.
    ///
    /// # Errors
    /// No such webhook, or another owner's; the store's.
    pub async fn deliveries(
        &self,
        caller: &Caller,
        webhook: WebhookId,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Page<Delivery>, EngineError> {
        self.own_webhook(caller, Scope::Read, webhook).await?;
        Ok(self.inner.store.deliveries(webhook, after, limit).await?)
    }

    /// Sends a delivery again, whatever became of it: now, and under the same id.
    ///
    /// # Errors
    /// No such webhook, or another owner's; no such delivery of it.
    pub async fn redeliver(
        &self,
        caller: &Caller,
        webhook: WebhookId,
        delivery: DeliveryId,
    ) -> Result<Delivery, EngineError> {
        self.own_webhook(caller, Scope::Deploy, webhook).await?;
        let delivery =
            self.inner.store.redeliver(webhook, delivery).await?.ok_or(EngineError::UnknownDelivery(delivery))?;
        self.inner.outgoing.changed.notify_one();
        Ok(delivery)
    }

    async fn own_webhook(&self, caller: &Caller, scope: Scope, id: WebhookId) -> Result<Webhook, EngineError> {
        caller.require(scope)?;
        let webhook = self.inner.store.webhook(id).await?;
        webhook.filter(|webhook| caller.owns(&webhook.owner)).ok_or(EngineError::UnknownWebhook(id))
    }
}

impl Inner {
    /// What requests to addresses of others' choosing are sent with.
    pub(crate) fn outbound(&self) -> Result<&GuardedClient, EngineError> {
        if let Some(client) = self.outgoing.client.get() {
            return Ok(client);
        }
        let settings = &self.config.webhooks;
        let client = GuardedClient::new(GuardSettings {
            allow: settings.allow.clone(),
            timeout: settings.timeout,
            max_response_bytes: MAX_ANSWER,
            user_agent: concat!("coprocessor/", env!("CARGO_PKG_VERSION")).into(),
        });
        let client = client.map_err(|error| EngineError::Internal(error.to_string()))?;
        Ok(self.outgoing.client.get_or_init(|| client))
    }

    fn check_target(&self, url: &str) -> Result<Target, EngineError> {
        let invalid = |reason: String| EngineError::InvalidRequest(format!("the webhook's URL: {reason}"));
        let target: Target = url.parse().map_err(|error| invalid(format!("{error}")))?;
        let client = self.outbound()?;
        client.check(&target).map_err(|error: OutboundError| invalid(error.to_string()))?;
        if target.is_https() || self.config.webhooks.insecure || client.allows(&target) {
            Ok(target)
        } else {
            Err(invalid("expected https: what is sent over http can be read and changed on the way".into()))
        }
    }
}

/// The events to send, sorted, each once.
fn check_events(named: Vec<String>) -> Result<Vec<String>, EngineError> {
    let mut events = if named.is_empty() { DEFAULT_EVENTS.map(str::to_owned).to_vec() } else { named };
    events.sort_unstable();
    events.dedup();
    if let Some(unknown) = events.iter().find(|event| !WEBHOOK_EVENTS.contains(&event.as_str())) {
        let message = format!("`{unknown}` is no event that is sent; expected some of {}", WEBHOOK_EVENTS.join(", "));
        return Err(EngineError::InvalidRequest(message));
    }
    Ok(events)
}

fn check_secret(secret: SecretString) -> Result<SecretString, EngineError> {
    let bytes = secret.expose_secret().strip_prefix(SECRET_PREFIX).and_then(|text| STANDARD.decode(text).ok());
    if bytes.is_some_and(|bytes| (24..=64).contains(&bytes.len())) {
        Ok(secret)
    } else {
        let message = format!("a webhook's secret is `{SECRET_PREFIX}` and the base64 of 24 to 64 bytes");
        Err(EngineError::InvalidRequest(message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_those_that_exist_each_once() {
        assert_eq!(check_events(Vec::new()).unwrap(), ["cancelled", "delivered", "failed"]);
        let named = ["failed", "admitted", "failed"].map(str::to_owned).to_vec();
        assert_eq!(check_events(named).unwrap(), ["admitted", "failed"]);
        for bad in ["", "Failed", "task.failed", "*"] {
            assert!(matches!(check_events(vec![bad.into()]), Err(EngineError::InvalidRequest(_))), "{bad}");
        }
    }

    #[test]
    fn a_secret_is_long_enough_and_never_shown() {
        for length in [24, 64] {
            let secret = format!("whsec_{}", STANDARD.encode(vec![7; length]));
            assert!(check_secret(secret.into()).is_ok(), "{length}");
        }
        for bad in [
            String::new(),
            STANDARD.encode([7; 32]),
            format!("whsec_{}", STANDARD.encode([7; 23])),
            format!("whsec_{}", STANDARD.encode([7; 65])),
            "whsec_hush!".to_owned(),
        ] {
            let error = check_secret(bad.clone().into()).unwrap_err().to_string();
            assert!(bad.is_empty() || !error.contains(&bad), "{error}");
        }
    }

    #[test]
    fn waits_take_about_a_day() {
        let total: Duration = WebhookSettings::default().waits.iter().sum();
        assert!((20 * 3600..28 * 3600).contains(&total.as_secs()), "{total:?}");
    }
}
