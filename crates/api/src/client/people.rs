//! Who asks: keys, owners, and the webhooks they are told by. Keys and other owners take the scope `admin`: problem `forbidden`.

use super::{
    Client, ClientError, Page,
    exchange::{self, Patience},
};
use crate::{
    DeliveryList, DeliveryView, KeyList, KeyRequest, KeyView, NewKeyView, NewWebhookView, OwnerList, OwnerRequest,
    OwnerView, WebhookList, WebhookRequest, WebhookView, WhoamiView,
};
use coprocessor_types::OwnerId;
use reqwest::Method;

impl Client {
    /// Who the service takes this client for.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn whoami(&self) -> Result<WhoamiView, ClientError> {
        self.exchange.get(&["whoami"], &[]).await
    }

    /// Makes a key. Its secret is in this answer and nowhere else.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn create_key(&self, request: &KeyRequest) -> Result<NewKeyView, ClientError> {
        self.exchange.post(&["keys"], request).await
    }

    /// A page of keys, newest first; those of one owner, or all that may be seen.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn keys(&self, owner: Option<&OwnerId>, page: &Page) -> Result<KeyList, ClientError> {
        let mut query = page.query();
        query.extend(owner.map(|owner| ("owner", owner.to_string())));
        self.exchange.get(&["keys"], &query).await
    }

    /// Revokes a key, from now on. Doing so again is no error.
    ///
    /// # Errors
    /// See [`ClientError`]; problem `unknown_key`.
    pub async fn revoke_key(&self, key: &str) -> Result<KeyView, ClientError> {
        let request = self.exchange.request(Method::DELETE, &["keys", key], Patience::Answer)?;
        exchange::json(self.exchange.send(request).await?).await
    }

    /// A page of the owners for whom something was set, by name.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn owners(&self, page: &Page) -> Result<OwnerList, ClientError> {
        self.exchange.get(&["owners"], &page.query()).await
    }

    /// An owner.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn owner(&self, owner: &OwnerId) -> Result<OwnerView, ClientError> {
        self.exchange.get(&["owners", owner.as_str()], &[]).await
    }

    /// Sets an owner's share and quotas; what the request leaves out goes back to its default.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn set_owner(&self, owner: &OwnerId, request: &OwnerRequest) -> Result<OwnerView, ClientError> {
        self.exchange.put(&["owners", owner.as_str()], request).await
    }

    /// Registers a webhook. Its secret is in this answer and nowhere else.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn add_webhook(&self, request: &WebhookRequest) -> Result<NewWebhookView, ClientError> {
        self.exchange.post(&["webhooks"], request).await
    }

    /// A page of webhooks, newest first.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn webhooks(&self, page: &Page) -> Result<WebhookList, ClientError> {
        self.exchange.get(&["webhooks"], &page.query()).await
    }

    /// A webhook.
    ///
    /// # Errors
    /// See [`ClientError`]; problem `unknown_webhook`; so for the methods below.
    pub async fn webhook(&self, webhook: &str) -> Result<WebhookView, ClientError> {
        self.exchange.get(&["webhooks", webhook], &[]).await
    }

    /// Forgets a webhook, with its deliveries.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn remove_webhook(&self, webhook: &str) -> Result<(), ClientError> {
        self.exchange.delete(&["webhooks", webhook]).await
    }

    /// A page of what was sent to a webhook or is to be, newest first.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn deliveries(&self, webhook: &str, page: &Page) -> Result<DeliveryList, ClientError> {
        self.exchange.get(&["webhooks", webhook, "deliveries"], &page.query()).await
    }

    /// Has something sent to a webhook once more, whatever became of it.
    ///
    /// # Errors
    /// See [`ClientError`]; problem `unknown_delivery`.
    pub async fn redeliver(&self, webhook: &str, delivery: &str) -> Result<DeliveryView, ClientError> {
        let path = ["webhooks", webhook, "deliveries", delivery, "redeliver"];
        exchange::json(self.exchange.send(self.exchange.request(Method::POST, &path, Patience::Answer)?).await?).await
    }
}
