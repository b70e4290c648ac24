//! Puts the service together, runs it, and takes it down.

use anyhow::Context;
use axum::serve::ListenerExt;
use coprocessor_engine::{Engine, EngineConfig, Parts, ProverPool, ProverSource, Workers};
use coprocessor_prover::{
    ProverNode,
    mock::{MockBackend, MockConfig},
    node::{Node, NodeConfig},
    remote::RemoteNode,
};
use coprocessor_sandbox::{Sandbox, SandboxConfig};
use coprocessor_store::{EmbeddedStore, Store, embedded::EmbeddedConfig};
use secrecy::SecretString;
use std::{num::NonZeroU32, path::PathBuf, sync::Arc, time::Duration};

use crate::{args::ServeArgs, http, listen, verifiers};

/// Mock proofs made at once.
const IN_PROCESS_SLOTS: NonZeroU32 = NonZeroU32::new(4).unwrap();

/// Runs the service until it is told to stop.
pub(crate) fn run(args: &ServeArgs) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start threads")?;
    let result = runtime.block_on(serve(args));
    // A controller that is still running holds a blocking thread: it must not hold the process.
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

async fn serve(args: &ServeArgs) -> anyhow::Result<()> {
    let listener = listen::bind(args.listen, args.insecure).await?;
    let address = listener.local_addr()?;
    let engine = engine(args).await?;
    let running = engine.start().context("cannot start the lease heartbeat")?;
    let app = http::router(engine.clone(), u64::from(args.max_body_mib) << 20);
    if let Some(file) = &args.port_file {
        listen::announce(file, address)?;
    }
    tracing::info!(
        %address,
        instance = %engine.instance(),
        root = %engine.root(),
        version = env!("CARGO_PKG_VERSION"),
        "coprocessor ready; its pages are at http://{address}/"
    );
    // Events are small writes that must not wait for the acknowledgement of the one before (40 ms on Linux).
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY could not be set; events may come late");
        }
    });
    axum::serve(listener, app).with_graceful_shutdown(stop_asked()).await.context("the server failed")?;
    running.stop(Duration::from_secs(args.stop_seconds)).await;
    tracing::info!("coprocessor stopped");
    Ok(())
}

async fn engine(args: &ServeArgs) -> anyhow::Result<Engine> {
    let directory = data_dir(args)?;
    let opened = tokio::task::spawn_blocking(move || EmbeddedStore::open(&directory, EmbeddedConfig::default()));
    let store: Arc<dyn Store> = Arc::new(opened.await?.context("cannot open the store")?);
    let mut config = EngineConfig { volume_size: u64::from(args.volume_mib) << 20, ..EngineConfig::default() };
    if let Some(controllers) = args.controllers {
        config.workers = Workers { controllers: controllers.into(), ..config.workers };
    }
    let mut sandbox = SandboxConfig { threads: config.workers.controllers, ..SandboxConfig::default() };
    if let Some(fuel) = args.controller_fuel {
        sandbox.limits.fuel = fuel;
    }
    if let Some(ms) = args.controller_ms {
        sandbox.limits.wall_clock = Duration::from_millis(ms);
    }
    if let Some(mib) = args.controller_memory_mib {
        sandbox.limits.memory_bytes = (mib as usize) << 20;
    }
    let sandbox = Sandbox::new(sandbox).context("cannot set the sandbox up")?;
    let provers = ProverPool::load(Arc::clone(&store), nodes(args)?, args.insecure).await?;
    Ok(Engine::new(Parts { store, sandbox, provers, verifiers: verifiers::all(), setup: verifiers::setup(), config }))
}

/// The configured nodes; the mock prover inside where there is none, or where it was asked for.
fn nodes(args: &ServeArgs) -> anyhow::Result<Vec<(Arc<dyn ProverNode>, ProverSource)>> {
    let secret = prover_secret(args)?;
    let mut nodes: Vec<(Arc<dyn ProverNode>, ProverSource)> = Vec::new();
    for address in &args.provers {
        let node = RemoteNode::new(address, secret.clone(), args.insecure)?;
        tracing::info!(address = node.address(), "prover node configured");
        nodes.push((Arc::new(node), ProverSource::Configured));
    }
    if nodes.is_empty() {
        tracing::warn!(
            "NO PROVER NODE IS CONFIGURED: proofs are MOCK proofs, which prove nothing. Start a node and name it with --prover"
        );
    }
    if nodes.is_empty() || args.mock {
        let mock = Arc::new(MockBackend::new(MockConfig::default()));
        nodes.push((Arc::new(in_process(mock)), ProverSource::InProcess));
    }
    Ok(nodes)
}

/// Mock proofs take no memory and hardly any time: many at once, and a queue that is never what a task waits for.
fn in_process(mock: Arc<MockBackend>) -> Node {
    let config = NodeConfig { slots: IN_PROCESS_SLOTS, queue: 1 << 16, ..NodeConfig::default() };
    Node::new(vec![mock], config)
}

fn prover_secret(args: &ServeArgs) -> anyhow::Result<Option<SecretString>> {
    if let Some(file) = &args.prover_secret_file {
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("cannot read the prover secret from {}", file.display()))?;
        return Ok(Some(SecretString::from(text.trim().to_owned())));
    }
    Ok(std::env::var("VALENCE_PROVER_SECRET").ok().filter(|secret| !secret.is_empty()).map(SecretString::from))
}

fn data_dir(args: &ServeArgs) -> anyhow::Result<PathBuf> {
    if let Some(directory) = &args.data_dir {
        return Ok(directory.clone());
    }
    let from = |variable: &str| std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = from("XDG_DATA_HOME").or_else(|| from("HOME").map(|home| home.join(".local/share")));
    base.map(|base| base.join("coprocessor")).context("neither XDG_DATA_HOME nor HOME is set; give --data-dir")
}

/// Resolves at SIGINT or SIGTERM.
async fn stop_asked() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::error!("signals cannot be received; the process can only be killed");
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("told to stop");
}
