//! Where the node may listen, and telling others where it does.

use anyhow::{Context, bail};
use std::{io::Write, net::SocketAddr, path::Path};
use tokio::net::TcpListener;

/// What protects the wire.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Protection {
    /// There is a shared secret.
    pub(crate) secret: bool,
    /// There is TLS.
    pub(crate) tls: bool,
    /// The operator does without TLS.
    pub(crate) insecure: bool,
}

/// Binds; beyond loopback only when protected.
pub(crate) async fn bind(address: SocketAddr, protection: Protection) -> anyhow::Result<TcpListener> {
    check(address, protection)?;
    TcpListener::bind(address).await.with_context(|| {
        format!("cannot listen on {address}; is another prover node running? Choose another with --listen")
    })
}

/// Writes the address where others look for it; whole or not at all.
pub(crate) fn announce(file: &Path, address: SocketAddr) -> anyhow::Result<()> {
    let temporary = file.with_extension("tmp");
    let write = || {
        let mut out = std::fs::File::create(&temporary)?;
        writeln!(out, "{address}")?;
        std::fs::rename(&temporary, file)
    };
    write().with_context(|| format!("cannot write the port file {}", file.display()))
}

fn check(address: SocketAddr, Protection { secret, tls, insecure }: Protection) -> anyhow::Result<()> {
    if address.ip().is_loopback() {
        return Ok(());
    }
    if !secret {
        bail!(
            "{address} is not loopback, so whoever reaches it could use this node; set VALENCE_PROVER_SECRET or give a \
             --secret-file"
        );
    }
    if !tls && !insecure {
        bail!(
            "{address} is not loopback, and without TLS the secret and the witnesses travel in clear text; give \
             --tls-cert and --tls-key, or say --insecure"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beyond_loopback_it_takes_secret_and_tls() {
        let allowed = |address: &str, secret, tls, insecure| {
            check(address.parse().unwrap(), Protection { secret, tls, insecure }).is_ok()
        };
        for loopback in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1"] {
            assert!(allowed(loopback, false, false, false));
        }
        for beyond in ["0.0.0.0:1", "[::]:1", "10.0.0.1:1"] {
            assert!(allowed(beyond, true, true, false));
            assert!(allowed(beyond, true, false, true));
            assert!(!allowed(beyond, true, false, false));
            assert!(!allowed(beyond, false, true, false));
            assert!(!allowed(beyond, false, true, true));
        }
    }
}
