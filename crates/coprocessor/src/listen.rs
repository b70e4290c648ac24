//! Where the service may listen, and telling others where it does.

use anyhow::{Context, bail};
use std::{io::Write, net::SocketAddr, path::Path};
use tokio::net::TcpListener;

/// Binds. Beyond loopback only when told so: there is no authentication of callers.
pub(crate) async fn bind(address: SocketAddr, insecure: bool) -> anyhow::Result<TcpListener> {
    if !address.ip().is_loopback() && !insecure {
        bail!(
            "{address} is not loopback and callers are not authenticated; listen on 127.0.0.1 behind a proxy that \
             authenticates, or say --insecure"
        );
    }
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
