//! What controllers may reach beyond this service: HTTP at hosts that the operator allows, and RPC endpoints that the operator
//! names. Nothing by default.
//!
//! Where a request goes is the controller's choice, so every one of them goes through [`coprocessor_outbound`]: addresses are
//! judged after they are looked up, and connected to as judged. What the operator allowed is asked before that, for the first
//! address and for every redirect.

mod allow;
mod http;
mod methods;
mod rpc;
#[cfg(test)]
pub(crate) mod testing;

pub use allow::{HttpRule, HttpRuleError};
pub use methods::{RpcMethodError, RpcMethods};
pub use rpc::{RpcEndpoint, RpcEndpointError, RpcEndpoints};

use coprocessor_outbound::{AllowedHost, GuardSettings, GuardedClient, Resolve, SystemResolver};
use coprocessor_sandbox::{HttpAnswer, HttpRequest, MAX_BUFFER, NetworkAllowance, NetworkReply, Remote, RpcRequest};
use serde_json::Value;
use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

/// What controllers may reach.
#[derive(Clone, Debug, Default)]
pub struct NetworkSettings {
    /// HTTP requests that are allowed, to public addresses.
    pub http: Vec<HttpRule>,
    /// Hosts of these that may be reached though they are not public.
    pub private: Vec<AllowedHost>,
    /// RPC endpoints by chain.
    pub rpc: RpcEndpoints,
}

/// Makes the network calls of controllers. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Network(Arc<Inner>);

struct Inner {
    settings: NetworkSettings,
    resolver: Arc<dyn Resolve>,
    /// For requests that controllers wrote.
    http: OnceLock<GuardedClient>,
    /// For those to the operator's endpoints, which may be anywhere.
    rpc: OnceLock<GuardedClient>,
}

/// Every request brings its own bounds; these are for none.
const UNUSED: Duration = Duration::from_secs(60);

impl Network {
    pub(crate) fn new(settings: NetworkSettings) -> Self {
        Self::with_resolver(settings, Arc::new(SystemResolver))
    }

    /// With a resolver of the caller's, whose answers are judged all the same.
    fn with_resolver(settings: NetworkSettings, resolver: Arc<dyn Resolve>) -> Self {
        Self(Arc::new(Inner { settings, resolver, http: OnceLock::new(), rpc: OnceLock::new() }))
    }

    /// Sends what a controller wants sent, if it may.
    pub(crate) fn http(&self, request: HttpRequest, allowance: NetworkAllowance) -> Remote<NetworkReply<HttpAnswer>> {
        let network = self.clone();
        Box::pin(async move { http::send(&network, request, allowance).await })
    }

    /// Calls an endpoint of the operator's.
    pub(crate) fn rpc(&self, request: RpcRequest, allowance: NetworkAllowance) -> Remote<NetworkReply<Value>> {
        let network = self.clone();
        Box::pin(async move { rpc::call(&network, request, allowance).await })
    }

    fn settings(&self) -> &NetworkSettings {
        &self.0.settings
    }

    /// # Errors
    /// The system's certificates cannot be read.
    fn http_client(&self) -> Result<&GuardedClient, String> {
        self.client(&self.0.http, self.0.settings.private.clone())
    }

    /// # Errors
    /// As above.
    fn rpc_client(&self) -> Result<&GuardedClient, String> {
        self.client(&self.0.rpc, self.0.settings.rpc.hosts())
    }

    fn client<'a>(
        &self,
        made: &'a OnceLock<GuardedClient>,
        allow: Vec<AllowedHost>,
    ) -> Result<&'a GuardedClient, String> {
        if let Some(client) = made.get() {
            return Ok(client);
        }
        let settings = GuardSettings {
            allow,
            timeout: UNUSED,
            max_response_bytes: 0,
            user_agent: concat!("coprocessor/", env!("CARGO_PKG_VERSION")).into(),
        };
        let client = GuardedClient::with_resolver(settings, Arc::clone(&self.0.resolver));
        let client = client.map_err(|error| crate::volumes::chain(&error))?;
        Ok(made.get_or_init(|| client))
    }
}

/// Most bytes of one body: what a run may still receive, and what a controller can be given.
fn most(left: u64) -> usize {
    usize::try_from(left).unwrap_or(usize::MAX).min(MAX_BUFFER)
}

/// Bytes of a request or an answer beside its body, as HTTP/1.1 writes them.
fn header_bytes<'a>(headers: impl Iterator<Item = (&'a str, &'a str)>) -> u64 {
    headers.map(|(name, value)| (name.len() + value.len() + 4) as u64).sum()
}
