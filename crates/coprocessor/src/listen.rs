//! Where the service may listen, and telling others where it does.

use anyhow::{Context, bail};
use std::{io::Write, net::SocketAddr, path::Path};
use tokio::net::TcpListener;

/// Whether the service may listen there: beyond loopback only where callers need a key, or when told so.
pub(crate) fn check(address: SocketAddr, insecure: bool, has_keys: bool) -> anyhow::Result<()> {
    if !address.ip().is_loopback() && !has_keys && !insecure {
        bail!(
            "{address} is not loopback, and without any key everybody there could do everything; make a key with \
             `coprocessor keys create --owner NAME --scope admin`, listen on 127.0.0.1, or say --insecure"
        );
    }
    Ok(())
}

/// Binds.
pub(crate) async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!("cannot listen on {address}; is another coprocessor running? Choose another with --listen")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beyond_loopback_takes_a_key_or_a_word() {
        let cases =
            [("127.0.0.1:1", true), ("[::1]:1", true), ("0.0.0.0:1", false), ("[::]:1", false), ("10.0.0.1:1", false)];
        for (address, loopback) in cases {
            let address = address.parse().unwrap();
            assert_eq!(check(address, false, false).is_ok(), loopback, "{address}");
            assert!(check(address, true, false).is_ok() && check(address, false, true).is_ok(), "{address}");
        }
    }
}
