//! Puts the service together, runs it, and takes it down.

use anyhow::Context;
use axum::serve::ListenerExt;
use coprocessor_engine::{
    CompiledSettings, Engine, EngineConfig, OwnerLimits, Parts, PoolSettings, ProverPool, RecordingSettings,
    Recordings, Workers,
};
use coprocessor_prover_groth16::{Groth16Backend, Groth16Config};
use coprocessor_sandbox::{Sandbox, SandboxConfig};
use coprocessor_store::{Retention, Store};
use std::{sync::Arc, time::Duration};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::{
    args::{Record, ServeArgs},
    http::{Gate, Service},
    listen, network, nodes,
    open_store::{StorePlace, data_dir},
    verifiers,
};

/// Requests get this long to end once the service is told to stop, even where steps get less.
const LEAST_GRACE: Duration = Duration::from_secs(1);

/// Runs the service until it is told to stop.
pub(crate) fn run(args: &ServeArgs) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start threads")?;
    let result = runtime.block_on(serve(args));
    // A controller that is still running holds a blocking thread: it must not hold the process.
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

async fn serve(args: &ServeArgs) -> anyhow::Result<()> {
    let place = StorePlace::new(&args.store)?;
    // Where there is no store there is no key: nothing is made before that is said.
    if place.is_new() {
        listen::check(args.listen, args.insecure, false)?;
    }
    let store = place.open().await?;
    listen::check(args.listen, args.insecure, store.has_keys().await?)?;
    let listener = listen::bind(args.listen).await?;
    let address = listener.local_addr()?;
    let root = store.current_root().await?.root;
    let engine = engine(args, store).await?;
    // From here on there is work to end in order, however early a signal comes.
    let stop = StopSignals::listen()?;
    let running = engine.start().context("cannot start the lease heartbeat")?;
    let stopping = CancellationToken::new();
    let service = Service::new(engine.clone(), Gate::new(args.anonymous, address.ip().is_loopback()), stopping.clone());
    let app = service.router(u64::from(args.max_body_mib) << 20);
    if let Some(file) = &args.port_file {
        listen::announce(file, address)?;
    }
    tracing::info!(
        %address,
        instance = %engine.instance(),
        %root,
        version = env!("CARGO_PKG_VERSION"),
        "coprocessor ready; its pages are at http://{address}/"
    );
    // Events are small writes that must not wait for the acknowledgement of the one before (40 ms on Linux).
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY could not be set; events may come late");
        }
    });
    let grace = Duration::from_secs(args.stop_seconds);
    let server = axum::serve(listener, app).with_graceful_shutdown(stopping.clone().cancelled_owned());
    tokio::select! {
        ended = server => ended.context("the server failed")?,
        () = stopped(stop, &stopping, grace.max(LEAST_GRACE)) => tracing::warn!("requests that were still under way are cut"),
    }
    running.stop(grace).await;
    tracing::info!("coprocessor stopped");
    Ok(())
}

/// Passes the signal to stop on, and resolves when requests have had their time to end.
async fn stopped(stop: StopSignals, stopping: &CancellationToken, grace: Duration) {
    stop.asked().await;
    stopping.cancel();
    tokio::time::sleep(grace).await;
}

async fn engine(args: &ServeArgs, store: Arc<dyn Store>) -> anyhow::Result<Engine> {
    let config = EngineConfig { network: network::settings(&args.network)?, ..engine_config(args) };
    let sandbox = Sandbox::new(sandbox_config(args, config.workers)).context("cannot set the sandbox up")?;
    let reaching = PoolSettings { insecure: args.insecure, allow: args.work.webhook_allow.clone() };
    let groth16 = Groth16Config { production: args.production, ..Groth16Config::default() };
    let groth16 = Arc::new(Groth16Backend::new(groth16).context("witness generators can't be run here")?);
    let nodes = nodes::configured(args, Arc::clone(&groth16))?;
    let provers = ProverPool::load(Arc::clone(&store), nodes, reaching).await?;
    let (verifiers, setups) = (verifiers::all(), verifiers::setups(groth16));
    Ok(Engine::new(Parts { store, sandbox, provers, verifiers, setups, config }))
}

fn engine_config(args: &ServeArgs) -> EngineConfig {
    let ServeArgs { work, limits, keep, .. } = args;
    let mut config = EngineConfig {
        worker: work.worker.clone().unwrap_or_else(worker),
        works: !work.api_only,
        lease: Duration::from_secs(work.lease_seconds.into()),
        volume_size: u64::from(work.volume_mib) << 20,
        // What is given unasked can be had.
        max_volume_size: u64::from(work.max_volume_mib.max(work.volume_mib)) << 20,
        backlog: limits.backlog,
        limits: OwnerLimits {
            unfinished_tasks: limits.owner_backlog,
            programs: limits.owner_programs,
            volume_bytes: u64::from(limits.owner_volumes_mib) << 20,
            requests_per_second: limits.owner_requests_per_second,
            burst: limits.owner_burst,
            ..OwnerLimits::default()
        },
        max_deadline: limits.max_deadline,
        retention: Retention {
            tasks: keep.keep_tasks.0,
            proofs: keep.keep_proofs.0,
            witnesses: keep.keep_witnesses.0,
            recordings: keep.keep_recordings.0,
            ..Retention::default()
        },
        keep_roots: keep.keep_roots.0,
        keep_controllers: keep.keep_controllers.into(),
        recordings: RecordingSettings {
            which: match work.record {
                Record::Never => Recordings::Never,
                Record::Asked => Recordings::Asked,
                Record::Failed => Recordings::Failed,
            },
            bytes: (work.record_mib as usize) << 20,
        },
        min_free_bytes: limits.min_free_mib.saturating_mul(1 << 20),
        max_store_bytes: limits.max_store_mib.map(|mib| mib.saturating_mul(1 << 20)),
        compiled: compiled(args),
        ..EngineConfig::default()
    };
    config.webhooks.allow.clone_from(&work.webhook_allow);
    config.webhooks.insecure = args.insecure;
    if let Some(controllers) = work.controllers {
        config.workers = Workers { controllers: controllers.into(), ..config.workers };
    }
    config
}

/// Where compiled controllers are kept. With PostgreSQL no directory is needed otherwise, so there may be none.
fn compiled(args: &ServeArgs) -> Option<CompiledSettings> {
    let bytes = u64::from(args.keep.keep_compiled_mib) << 20;
    match data_dir(args.store.data_dir.as_deref()) {
        Ok(data) => Some(CompiledSettings { directory: data.join("compiled"), bytes }),
        Err(reason) => {
            tracing::info!(%reason, "compiled controllers are kept in memory alone, and compiled again after a restart");
            None
        }
    }
}

fn sandbox_config(args: &ServeArgs, workers: Workers) -> SandboxConfig {
    let ServeArgs { work: args, network, .. } = args;
    let mut sandbox = SandboxConfig { threads: workers.controllers, ..SandboxConfig::default() };
    if let Some(fuel) = args.controller_fuel {
        sandbox.limits.fuel = fuel;
    }
    if let Some(ms) = args.controller_ms {
        sandbox.limits.wall_clock = Duration::from_millis(ms);
    }
    if let Some(mib) = args.controller_memory_mib {
        sandbox.limits.memory_bytes = (mib as usize) << 20;
    }
    if let Some(elements) = args.controller_table {
        sandbox.limits.table_elements = elements as usize;
    }
    if let Some(kib) = args.controller_stack_kib {
        sandbox.limits.stack_bytes = (kib as usize) << 10;
    }
    if let Some(kib) = args.controller_output_kib {
        sandbox.limits.output_bytes = (kib as usize) << 10;
    }
    if let Some(kib) = args.controller_log_kib {
        sandbox.limits.log_bytes = (kib as usize) << 10;
    }
    if let Some(calls) = args.controller_host_calls {
        sandbox.limits.host_calls = calls;
    }
    network::limit(network, &mut sandbox);
    sandbox
}

/// The machine's name and the process id: different on every machine, and in every process of one.
fn worker() -> String {
    let system = rustix::system::uname();
    format!("{}-{}", system.nodename().to_string_lossy(), std::process::id())
}

/// SIGINT and SIGTERM, kept until somebody asks for them.
struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    fn listen() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("signals cannot be received");
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    /// Resolves at the first of either.
    async fn asked(mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
        tracing::info!("told to stop");
    }
}
