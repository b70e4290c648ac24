//! Processes that prove: this program again, started by the node.

use anyhow::Context;
use coprocessor_prover::{
    ProvingBackend,
    isolated::{IsolatedBackend, IsolatedConfig, run_worker},
};
use std::{
    env,
    ffi::{OsStr, OsString},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process,
    sync::Arc,
    time::Duration,
};
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    args::{self, Args, BackendName, WorkerArgs},
    backends,
};

/// What workers inherit of the environment: nothing else, since secrets are among it.
const INHERITED: &[&str] = &[
    "HOME",
    "LANG",
    "LC_ALL",
    "LD_LIBRARY_PATH",
    "PATH",
    "RAYON_NUM_THREADS",
    "RUST_BACKTRACE",
    "RUST_LOG",
    "TMPDIR",
    // How the SP1 SDK divides its work.
    "ELEMENT_THRESHOLD",
    "HEIGHT_THRESHOLD",
    "MEMORY_LIMIT",
    "MINIMAL_TRACE_CHUNK_THRESHOLD",
    "SHARD_SIZE",
    "TRACE_CHUNK_SLOTS",
];
const INHERITED_PREFIXES: &[&str] = &["CUDA_", "NVIDIA_", "SP1_"];
/// What the SDK needs where others prove for it: the key there is its own.
#[cfg(feature = "network")]
const NETWORK_PREFIX: &str = "NETWORK_";

/// A backend whose proofs are made by workers; `front` is the same backend, in this process.
pub(crate) fn isolated(args: &Args, name: BackendName, front: Arc<dyn ProvingBackend>) -> IsolatedBackend {
    let config = IsolatedConfig {
        workers: args.slots,
        proof_limit: args.max_proof_seconds.map(|seconds| Duration::from_secs(seconds.into())),
        ..IsolatedConfig::default()
    };
    let mut flags: Vec<OsString> = vec!["worker".into(), "--backend".into(), args::name(name).into()];
    flags.extend(["--log".into(), args::name(args.log).into()]);
    flags.extend(args.proving.to_flags());
    let environment = environment(args);
    IsolatedBackend::new(front, config, move || {
        let mut command = process::Command::new(program());
        command.arg0("coprocessor-prover").args(&flags).env_clear().envs(environment.iter().cloned());
        command
    })
}

/// The whole of a worker.
pub(crate) fn run(args: &WorkerArgs) -> anyhow::Result<()> {
    leave_signals_to_the_node()?;
    let backend = backends::backend(args.backend, &args.proving)?;
    Ok(run_worker(&*backend)?)
}

/// Whoever stops a service may tell all its processes at once. The node decides what becomes of a proof that runs; the worker
/// ends with it.
fn leave_signals_to_the_node() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().context("no runtime")?;
    let _within = runtime.enter();
    for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
        // Once received here it does no more by itself, for as long as there is this process.
        drop(signal(kind).context("signals cannot be received")?);
    }
    Ok(())
}

/// This very program: also when another has taken its place on the disk.
fn program() -> PathBuf {
    let own = Path::new("/proc/self/exe");
    if own.exists() { own.to_owned() } else { env::current_exe().unwrap_or_else(|_| "coprocessor-prover".into()) }
}

fn environment(args: &Args) -> Vec<(OsString, OsString)> {
    env::vars_os().filter(|(name, _)| inherits(args, name)).collect()
}

fn inherits(args: &Args, name: &OsStr) -> bool {
    let Some(name) = name.to_str() else { return false };
    #[cfg(feature = "network")]
    if args.proving.device == args::DeviceName::Network && name.starts_with(NETWORK_PREFIX) {
        return true;
    }
    INHERITED.contains(&name)
        || INHERITED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        || args.worker_env.iter().any(|wanted| wanted == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[test]
    fn workers_inherit_how_to_prove_and_nothing_secret() {
        let args = Args::parse_from(["coprocessor-prover", "--worker-env", "ODD"]);
        let inherits = |name: &str| inherits(&args, OsStr::new(name));
        for wanted in ["PATH", "RUST_LOG", "SP1_WORKER_NUM_CORE_WORKERS", "CUDA_VISIBLE_DEVICES", "ODD"] {
            assert!(inherits(wanted), "{wanted}");
        }
        for secret in ["VALENCE_PROVER_SECRET", "AWS_SECRET_ACCESS_KEY", "NETWORK_PRIVATE_KEY", "GITHUB_TOKEN", "OD"] {
            assert!(!inherits(secret), "{secret}");
        }
    }
}
