//! `state-proof`: Ethereum state with its proofs, as a controller takes it in, on port 37283.
//!
//! It asks nodes, checks what they answer down to the last node of every proof, and keeps nothing but a cache. It has no
//! keys and no state; run as many as you like.

mod args;
mod cache;
mod chains;
mod http;
mod problem;
mod prove;
mod rpc;

use anyhow::Context;
use args::{Args, LogFormat};
use clap::Parser;
use std::{io::IsTerminal, io::Write, path::Path, process::ExitCode, sync::Arc};
use tokio::{net::TcpListener, signal};
use tracing_subscriber::{EnvFilter, fmt, prelude::*};

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    log(args.log);
    match run(&args).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "state-proof stops");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: &Args) -> anyhow::Result<()> {
    let chains = chains::read(args.rpc_file.as_deref())?;
    let names: Vec<_> = chains.names().collect();
    tracing::info!(chains = names.join(", "), "chains are known");
    if !args.listen.ip().is_loopback() && !args.allow_beyond_loopback {
        anyhow::bail!(
            "{} is not loopback, and whoever reaches this service uses your nodes; put something before it that knows its \
             callers, and say --allow-beyond-loopback",
            args.listen
        );
    }
    let service = Arc::new(prove::Service::new(chains, args.limits())?);
    let listener = TcpListener::bind(args.listen).await.with_context(|| {
        format!("cannot listen on {}; is another state-proof running? Choose another with --listen", args.listen)
    })?;
    let address = listener.local_addr()?;
    if let Some(file) = &args.port_file {
        announce(file, &address.to_string())?;
    }
    tracing::info!(%address, "listening");
    axum::serve(listener, http::routes(service)).with_graceful_shutdown(asked_to_stop()).await?;
    tracing::info!("stopped");
    Ok(())
}

/// Writes the address where others look for it; whole or not at all.
fn announce(file: &Path, address: &str) -> anyhow::Result<()> {
    let temporary = file.with_extension("tmp");
    let write = || {
        let mut out = std::fs::File::create(&temporary)?;
        writeln!(out, "{address}")?;
        std::fs::rename(&temporary, file)
    };
    write().with_context(|| format!("cannot write the port file {}", file.display()))
}

async fn asked_to_stop() {
    #[cfg(unix)]
    {
        use signal::unix::{SignalKind, signal as unix_signal};
        if let Ok(mut terminate) = unix_signal(SignalKind::terminate()) {
            tokio::select! {
                _ = signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
            tracing::info!("asked to stop: requests under way are finished");
            return;
        }
    }
    let _ = signal::ctrl_c().await;
}

fn log(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let registry = tracing_subscriber::registry().with(filter);
    let layer = fmt::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal()).with_target(false);
    match format {
        LogFormat::Text => registry.with(layer).init(),
        LogFormat::Json => registry.with(layer.json().flatten_event(true)).init(),
    }
}
