//! Domains, blocks and roots. A domain is named by its name or by its id.

use super::{Client, ClientError, Page, exchange, exchange::Patience, octets};
use crate::{
    AppendRequest, AppendView, BlockList, BlockView, DomainList, DomainRequest, DomainView, InstanceView, OpeningView,
    RootList, RootView, StateRequest, StateView, TransitionList,
};
use bytes::Bytes;
use coprocessor_types::{BlockNumber, Root};
use reqwest::{Method, StatusCode};

/// What registering a domain came to.
#[derive(Clone, PartialEq, Debug)]
pub struct Registered {
    /// The domain.
    pub domain: DomainView,
    /// False where the service had this very domain already.
    pub created: bool,
}

impl Client {
    /// Registers a domain; takes the scope `admin`. The same registration again answers the same domain.
    ///
    /// # Errors
    /// See [`ClientError`]; problems `domain_name`, `domain_exists`, `invalid_controller`.
    pub async fn add_domain(&self, request: &DomainRequest) -> Result<Registered, ClientError> {
        let post = self.exchange.request(Method::POST, &["domains"], Patience::Work)?.json(request);
        let response = self.exchange.send(post).await?;
        let created = response.status() == StatusCode::CREATED;
        Ok(Registered { domain: exchange::json(response).await?, created })
    }

    /// A page of domains, in the order they were registered.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn domains(&self, page: &Page) -> Result<DomainList, ClientError> {
        self.exchange.get(&["domains"], &page.query()).await
    }

    /// A domain.
    ///
    /// # Errors
    /// See [`ClientError`]; problem `unknown_domain`; so for the methods below.
    pub async fn domain(&self, domain: &str) -> Result<DomainView, ClientError> {
        self.exchange.get(&["domains", domain], &[]).await
    }

    /// Gives a domain another controller, for the blocks to come; takes the scope `admin`.
    ///
    /// # Errors
    /// See [`ClientError`]; problem `invalid_controller`.
    pub async fn set_domain_controller(&self, domain: &str, controller: Bytes) -> Result<DomainView, ClientError> {
        let request = self.exchange.request(Method::PUT, &["domains", domain, "controller"], Patience::Work)?;
        exchange::json(self.exchange.send(octets(request, controller)).await?).await
    }

    /// Has the domain's controller check blocks, and appends what it lets pass: all, or none.
    ///
    /// # Errors
    /// See [`ClientError`]; problems `block_refused` with the controller's log, `block_taken` with the block that is there.
    pub async fn append(&self, domain: &str, request: &AppendRequest) -> Result<AppendView, ClientError> {
        self.exchange.post(&["domains", domain, "blocks"], request).await
    }

    /// Has the domain's controller prove state, for its owner: what programs ask it for in the middle of their runs.
    ///
    /// # Errors
    /// See [`ClientError`]; a problem with the controller's own code and log.
    pub async fn prove_state(&self, domain: &str, request: &StateRequest) -> Result<StateView, ClientError> {
        self.exchange.post(&["domains", domain, "state-proof"], request).await
    }

    /// A page of a domain's blocks, highest number first.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn blocks(&self, domain: &str, page: &Page) -> Result<BlockList, ClientError> {
        self.exchange.get(&["domains", domain, "blocks"], &page.query()).await
    }

    /// A block; where a root is named, only if that commits to it.
    ///
    /// # Errors
    /// See [`ClientError`]; problem `unknown_block`.
    pub async fn block(
        &self,
        domain: &str,
        number: BlockNumber,
        root: Option<&Root>,
    ) -> Result<BlockView, ClientError> {
        self.exchange.get(&["domains", domain, "blocks", &number.to_string()], &at(root)).await
    }

    /// The highest block of a domain that a root commits to, the current one by default.
    ///
    /// # Errors
    /// See [`ClientError`]; problem `unknown_block`.
    pub async fn latest_block(&self, domain: &str, root: Option<&Root>) -> Result<BlockView, ClientError> {
        self.exchange.get(&["domains", domain, "latest"], &at(root)).await
    }

    /// The current root.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn current_root(&self) -> Result<RootView, ClientError> {
        self.exchange.get(&["roots", "current"], &[]).await
    }

    /// A root of the instance.
    ///
    /// # Errors
    /// See [`ClientError`]; problem `unknown_root`; so for the methods below.
    pub async fn root(&self, root: &Root) -> Result<RootView, ClientError> {
        self.exchange.get(&["roots", &root.to_string()], &[]).await
    }

    /// Roots with versions above `after`, oldest first; from the first one on with `None`.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn roots(&self, after: Option<u64>, limit: Option<u32>) -> Result<RootList, ClientError> {
        let mut query = Vec::new();
        query.extend(after.map(|after| ("after", after.to_string())));
        query.extend(limit.map(|limit| ("limit", limit.to_string())));
        self.exchange.get(&["roots"], &query).await
    }

    /// What a root commits to under a number of a domain. Not checked yet: see [`OpeningView::verify`].
    ///
    /// # Errors
    /// See [`ClientError`]; problem `root_pruned`; so for the methods below.
    pub async fn opening(&self, root: &Root, domain: &str, number: BlockNumber) -> Result<OpeningView, ClientError> {
        let (root, number) = (root.to_string(), number.to_string());
        self.exchange.get(&["roots", &root, "openings", domain, &number], &[]).await
    }

    /// That a root is the instance's. Not checked yet: see [`InstanceView::verify`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn instance_opening(&self, root: &Root) -> Result<InstanceView, ClientError> {
        self.exchange.get(&["roots", &root.to_string(), "instance"], &[]).await
    }

    /// Steps from one root to a later one, the current one by default. Not checked yet: see
    /// [`TransitionView::verify`](crate::TransitionView::verify).
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn transitions(
        &self,
        from: &Root,
        to: Option<&Root>,
        limit: Option<u32>,
    ) -> Result<TransitionList, ClientError> {
        let mut query = vec![("from", from.to_string())];
        query.extend(to.map(|to| ("to", to.to_string())));
        query.extend(limit.map(|limit| ("limit", limit.to_string())));
        self.exchange.get(&["roots", "transitions"], &query).await
    }
}

fn at(root: Option<&Root>) -> Vec<(&'static str, String)> {
    root.map(|root| ("root", root.to_string())).into_iter().collect()
}
