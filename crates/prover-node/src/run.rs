//! The node's life: backends, socket, signals.

use anyhow::Context;
use coprocessor_prover::{
    BackendInfo, ProverNode,
    node::{
        CircuitStore, Node, NodeConfig, Readiness,
        machine::{self, CpuBuild},
    },
    server::{ServeConfig, Tls, serve},
};
use std::{
    env, fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
#[cfg(unix)]
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::{
    args::Args,
    backends,
    listen::{self, Protection},
    secret,
};

/// Time for answers to get out, once every job has ended.
const LAST_ANSWERS: Duration = Duration::from_secs(3);

/// Runs the node until it is told to stop.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no runtime")?;
    let result = runtime.block_on(serve_node(args));
    // A backend that cannot stop a proof must not keep the process.
    runtime.shutdown_background();
    result
}

async fn serve_node(args: &Args) -> anyhow::Result<()> {
    let secret = secret::read(args.secret_file.as_deref())?;
    let tls = tls(args)?;
    let protection = Protection { secret: secret.is_some(), tls: tls.is_some(), insecure: args.insecure };
    let node = Node::new(backends::backends(args)?, node_config(args)?);
    let listener = listen::bind(args.listen, protection).await?;
    let address = listener.local_addr().context("the socket has no address")?;
    introduce(&node).await?;
    tracing::info!(%address, secret = protection.secret, tls = protection.tls, "listening");
    tokio::spawn(tell_when_warm(node.readiness(), node.warm_up()));
    // From here on there may be jobs to drain, however early a signal comes.
    let signals = StopSignals::listen()?;
    if let Some(file) = &args.port_file {
        listen::announce(file, address)?;
    }
    let config = ServeConfig { secret, tls, lost_streams: backends::lost_streams(&args.proving) };
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(stop_when_told(signals, node.clone(), args.drain(), stop));
    let shutdown = raised(stopped.clone());
    let overdue = async {
        raised(stopped).await;
        tokio::time::sleep(LAST_ANSWERS).await;
    };
    tokio::select! {
        served = serve(node, listener, config, shutdown) => served?,
        () = overdue => tracing::warn!("stopped with open connections"),
    }
    tracing::info!("stopped");
    Ok(())
}

fn node_config(args: &Args) -> anyhow::Result<NodeConfig> {
    let directory = data_directory(args)?.join("circuits");
    make_writable(&directory).with_context(|| {
        format!("cannot write to the data directory {}; choose another with --data-dir", directory.display())
    })?;
    Ok(NodeConfig {
        version: concat!("coprocessor-prover ", env!("CARGO_PKG_VERSION")).into(),
        slots: args.slots,
        queue: args.queue,
        memory: args.memory.or_else(machine::available_memory).unwrap_or(u64::MAX),
        circuits: CircuitStore::Directory(directory),
        circuit_disk: args.circuit_disk_mib << 20,
        circuit_limit: (args.max_circuit_mib as usize) << 20,
        input_limit: (args.max_input_mib as usize) << 20,
        keep_finished: Duration::from_secs(u64::from(args.keep_minutes) * 60),
        ..NodeConfig::default()
    })
}

/// Makes the directory and writes to it, so that a disk that cannot be used is said now and not at the first circuit.
fn make_writable(directory: &Path) -> std::io::Result<()> {
    fs::create_dir_all(directory)?;
    let probe = directory.join(format!(".unfinished-probe-{}", std::process::id()));
    fs::write(&probe, b"writable")?;
    fs::remove_file(probe)
}

fn data_directory(args: &Args) -> anyhow::Result<PathBuf> {
    if let Some(directory) = &args.data_dir {
        return Ok(directory.clone());
    }
    let absolute = |variable| env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || absolute("HOME").map(|home| home.join(".local/share"));
    let base = absolute("XDG_DATA_HOME").or_else(home).context("there is no home directory; give a --data-dir")?;
    Ok(base.join("coprocessor-prover"))
}

fn tls(args: &Args) -> anyhow::Result<Option<Tls>> {
    let (Some(certificate), Some(key)) = (&args.tls_cert, &args.tls_key) else { return Ok(None) };
    let read = |path: &Path| fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    let key = String::from_utf8(read(key)?).ok().with_context(|| format!("{} is not PEM", key.display()))?;
    Ok(Some(Tls { certificate: read(certificate)?, key: key.into() }))
}

/// Says what this node is.
async fn introduce(node: &Node) -> anyhow::Result<()> {
    let info = node.describe().await?;
    let gib = |bytes: u64| format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30));
    tracing::info!(
        version = info.version,
        slots = info.slots.slots,
        queue = info.slots.queue,
        memory = gib(info.memory),
        "prover node"
    );
    for BackendInfo { version, offers, missing, .. } in &info.backends {
        let offers: Vec<_> = offers.iter().map(|offer| format!("{} ({})", offer.kind, gib(offer.memory))).collect();
        tracing::info!(backend = version, offers = offers.join(", "), "backend");
        for (kind, reason) in missing {
            tracing::warn!(backend = version, %kind, reason, "not offered");
        }
    }
    let build = CpuBuild::here();
    if build.unused.is_empty() {
        tracing::info!(build = info.build, "built for this CPU");
    } else {
        tracing::warn!(
            build = info.build,
            unused = build.unused.join(" "),
            "this machine has CPU features that this build does not use; built for its own CPU it proves several times faster"
        );
    }
    Ok(())
}

async fn tell_when_warm(readiness: watch::Receiver<Readiness>, warming: impl Future<Output = ()>) {
    let began = Instant::now();
    tracing::info!("warming up; the first proofs wait for it");
    warming.await;
    let seconds = began.elapsed().as_secs_f32();
    let readiness = *readiness.borrow();
    match readiness {
        Readiness::Ready => tracing::info!(seconds, "ready"),
        Readiness::Unfit => tracing::error!(seconds, "no backend can prove here; see what is said above"),
        Readiness::WarmingUp | Readiness::Draining => {}
    }
}

/// Drains the node at the first signal; the second one ends the process.
async fn stop_when_told(mut signals: StopSignals, node: Node, limit: Duration, stop: watch::Sender<bool>) {
    let name = signals.next().await;
    tracing::info!(signal = name, seconds = limit.as_secs(), "draining; a second signal stops at once");
    tokio::select! {
        cut = node.drain(limit) => if cut > 0 {
            tracing::warn!(jobs = cut, "cut short; their coprocessors will send them elsewhere, or again");
        },
        name = signals.next() => tracing::warn!(signal = name, "stopping at once"),
    }
    stop.send_replace(true);
}

/// Ends when the flag is raised, or nobody is left to raise it.
async fn raised(mut flag: watch::Receiver<bool>) {
    let _ = flag.wait_for(|raised| *raised).await;
}

/// Signals to stop on, kept until somebody asks for them.
#[cfg(unix)]
struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

#[cfg(unix)]
impl StopSignals {
    fn listen() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("signals cannot be received");
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

#[cfg(not(unix))]
struct StopSignals;

#[cfg(not(unix))]
impl StopSignals {
    fn listen() -> anyhow::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) -> &'static str {
        if tokio::signal::ctrl_c().await.is_err() {
            tracing::error!("signals cannot be received");
            return std::future::pending().await;
        }
        "Ctrl-C"
    }
}
