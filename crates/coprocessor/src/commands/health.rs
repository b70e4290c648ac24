//! `coprocessor health`: asks a running service how it is, for a container's health check.

use anyhow::{Context, bail};
use coprocessor_api::client::Client;
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use super::runtime;
use crate::args::HealthArgs;

/// Fails unless the service answers that it works. One that takes nothing new for want of space works: to start it again
/// would not help.
pub(crate) fn health(args: &HealthArgs) -> anyhow::Result<()> {
    let address = reachable(args.listen);
    runtime()?.block_on(async {
        let asked = tokio::time::timeout(Duration::from_secs(args.seconds), async {
            Client::new(&format!("http://{address}"))?.ready().await
        });
        let (works, health) = asked
            .await
            .with_context(|| format!("no answer from {address} within {} s", args.seconds))?
            .with_context(|| format!("cannot ask {address}"))?;
        if !works {
            bail!("{address} does not work: {}", health.status);
        }
        println!("{}", health.status);
        for problem in &health.problems {
            println!("{problem}");
        }
        Ok(())
    })
}

/// Where a service that listens at `listen` can be reached from this machine.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    SocketAddr::new(ip, listen.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_on_every_address_is_asked_on_loopback() {
        for (listen, expected) in [
            ("0.0.0.0:1", "127.0.0.1:1"),
            ("[::]:1", "[::1]:1"),
            ("127.0.0.2:1", "127.0.0.2:1"),
            ("10.0.0.1:1", "10.0.0.1:1"),
        ] {
            assert_eq!(reachable(listen.parse().unwrap()), expected.parse().unwrap());
        }
    }
}
