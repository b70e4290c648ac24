//! From names to addresses that may be reached.

use reqwest::dns::{Addrs, Name, Resolving};
use std::{
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
};

use crate::is_public;

/// Looks a host's addresses up.
pub trait Resolve: Send + Sync + 'static {
    /// All addresses of `host`.
    ///
    /// # Errors
    /// The look-up failed, or the name does not exist.
    fn resolve(&self, host: &str) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>>;
}

/// The system's resolver.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve(&self, host: &str) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>> {
        let host = host.to_owned();
        Box::pin(async move {
            let found = tokio::net::lookup_host((host, 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}

/// What became of a look-up, for whoever finds it as the cause of a failed request.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LookUpError {
    #[error("no public address")]
    Refused,
    #[error("cannot be resolved")]
    Unresolved,
}

/// Sits where the HTTP client asks for addresses to connect to: what it leaves out cannot be reached.
pub(crate) struct Guard {
    pub(crate) resolver: Arc<dyn Resolve>,
    /// Whether every address is good: for hosts the operator allowed.
    pub(crate) open: bool,
}

impl reqwest::dns::Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let (found, open, host) = (self.resolver.resolve(name.as_str()), self.open, name.as_str().to_owned());
        Box::pin(async move {
            let found = match found.await {
                Ok(found) if !found.is_empty() => found,
                Ok(_) => return Err(LookUpError::Unresolved.into()),
                Err(error) => {
                    tracing::debug!(host, %error, "a host for an outgoing request cannot be resolved");
                    return Err(LookUpError::Unresolved.into());
                }
            };
            let good: Vec<_> = found.iter().copied().filter(|address| open || is_public(*address)).collect();
            if good.is_empty() {
                tracing::warn!(host, addresses = ?found, "an outgoing request to an address that is not public is refused");
                return Err(LookUpError::Refused.into());
            }
            // The client puts the port in.
            Ok(Box::new(good.into_iter().map(|address| SocketAddr::new(address, 0))) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed(&'static [&'static str]);

    impl Resolve for Fixed {
        fn resolve(&self, _: &str) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>> {
            let found = self.0.iter().map(|text| text.parse().unwrap()).collect();
            Box::pin(async move { Ok(found) })
        }
    }

    async fn given(found: &'static [&'static str], open: bool) -> Vec<String> {
        let guard = Guard { resolver: Arc::new(Fixed(found)), open };
        let name = "hooks.example.com".parse().unwrap();
        let good = reqwest::dns::Resolve::resolve(&guard, name).await;
        good.map(|good| good.map(|address| address.ip().to_string()).collect()).unwrap_or_default()
    }

    #[tokio::test]
    async fn the_client_gets_the_addresses_that_were_judged_public_and_no_other() {
        let found = &["127.0.0.1", "1.1.1.1", "10.0.0.1", "2606:4700::1111", "::1", "::ffff:192.168.0.1"];
        assert_eq!(given(found, false).await, ["1.1.1.1", "2606:4700::1111"]);
        assert_eq!(given(found, true).await.len(), found.len());
        assert!(given(&["169.254.169.254"], false).await.is_empty());
    }
}
