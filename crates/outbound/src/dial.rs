//! Connections to where others want them, for protocols that bring their own client.

use std::{fmt, io, net::IpAddr, sync::Arc, time::Duration};
use tokio::{net::TcpStream, time::Instant};

use crate::{AllowedHost, OutboundError, Resolve, SystemResolver, Target, is_public};

/// Connects to public addresses, and to hosts the operator allowed: to those that were judged, not to a name that may be
/// answered otherwise the next time. Cheap to clone.
#[derive(Clone)]
pub struct Dialer {
    allow: Arc<[AllowedHost]>,
    timeout: Duration,
    resolver: Arc<dyn Resolve>,
}

impl Dialer {
    /// A dialer that asks the system's resolver. `timeout` is for the look-up and for all attempts to connect together.
    pub fn new(allow: Vec<AllowedHost>, timeout: Duration) -> Self {
        Self::with_resolver(allow, timeout, Arc::new(SystemResolver))
    }

    /// A dialer with a resolver of the caller's. What that answers is judged all the same.
    pub fn with_resolver(allow: Vec<AllowedHost>, timeout: Duration, resolver: Arc<dyn Resolve>) -> Self {
        Self { allow: allow.into(), timeout, resolver }
    }

    /// Whether the operator allowed the target's host, wherever it is.
    pub fn allows(&self, target: &Target) -> bool {
        self.allow.iter().any(|allowed| allowed.matches(target.host(), target.port()))
    }

    /// Refuses a target whose host is an address that must not be reached. Where the host is a name, only a look-up tells.
    ///
    /// # Errors
    /// [`OutboundError::Refused`].
    pub fn check(&self, target: &Target) -> Result<(), OutboundError> {
        match target.address() {
            Some(address) if !is_public(address) && !self.allows(target) => Err(refused(target)),
            _ => Ok(()),
        }
    }

    /// Refuses a target that could not be connected to now, for where its host is. Early, and so no protection: names change
    /// their addresses.
    ///
    /// # Errors
    /// [`OutboundError::Refused`], [`OutboundError::Unresolved`].
    pub async fn vet(&self, target: &Target) -> Result<(), OutboundError> {
        self.check(target)?;
        if target.address().is_some() || self.allows(target) {
            return Ok(());
        }
        self.addresses(target, Instant::now() + self.timeout).await.map(drop)
    }

    /// A connection to the target's host and port; the first of its addresses that takes one.
    ///
    /// # Errors
    /// [`OutboundError::Refused`], [`OutboundError::Unresolved`], [`OutboundError::Connect`], [`OutboundError::TimedOut`].
    pub async fn connect(&self, target: &Target) -> Result<TcpStream, OutboundError> {
        let until = Instant::now() + self.timeout;
        self.check(target)?;
        let addresses = match target.address() {
            Some(address) => vec![address],
            None => self.addresses(target, until).await?,
        };
        let host = || target.host().to_owned();
        let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for address in addresses {
            match tokio::time::timeout_at(until, TcpStream::connect((address, target.port()))).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => last = error,
                Err(_) => return Err(OutboundError::TimedOut { host: host(), limit: self.timeout }),
            }
        }
        Err(OutboundError::Connect { host: host(), reason: last.to_string() })
    }

    /// Those of a name's addresses that may be connected to; at least one.
    async fn addresses(&self, target: &Target, until: Instant) -> Result<Vec<IpAddr>, OutboundError> {
        let unresolved = || OutboundError::Unresolved { host: target.host().to_owned() };
        let found = tokio::time::timeout_at(until, self.resolver.resolve(target.host())).await;
        let mut found = found.map_err(|_| unresolved())?.map_err(|_| unresolved())?;
        if found.is_empty() {
            return Err(unresolved());
        }
        if !self.allows(target) {
            found.retain(|address| is_public(*address));
        }
        if found.is_empty() { Err(refused(target)) } else { Ok(found) }
    }
}

fn refused(target: &Target) -> OutboundError {
    OutboundError::Refused { host: target.host().to_owned() }
}

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialer").field("allow", &self.allow).field("timeout", &self.timeout).finish_non_exhaustive()
    }
}
