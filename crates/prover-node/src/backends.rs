//! The backends that were asked for.

use anyhow::{Context, bail};
use coprocessor_prover::{
    ProvingBackend,
    mock::{MockBackend, MockConfig, MockFailure, MockFailures},
};
use coprocessor_prover_groth16::{Groth16Backend, Groth16Config};
use std::{sync::Arc, time::Duration};

use crate::args::{Args, BackendName, FailureName, ProvingArgs};

/// Makes them; cheap, they are warmed up later.
pub(crate) fn backends(args: &Args) -> anyhow::Result<Vec<Arc<dyn ProvingBackend>>> {
    let mut names = args.backends.clone();
    if names.is_empty() {
        names.push(BackendName::Sp1);
    }
    let mut backends: Vec<Arc<dyn ProvingBackend>> = Vec::new();
    for (index, name) in names.iter().enumerate() {
        if names[..index].contains(name) {
            bail!("--backend names {name:?} twice");
        }
        let backend = backend(*name, &args.proving)?;
        backends.push(if isolates(args, *name) { isolated(args, *name, backend) } else { backend });
    }
    Ok(backends)
}

/// Makes one, to prove in this process.
pub(crate) fn backend(name: BackendName, args: &ProvingArgs) -> anyhow::Result<Arc<dyn ProvingBackend>> {
    match name {
        BackendName::Sp1 => sp1(args),
        BackendName::Groth16 => groth16(),
        BackendName::Mock => Ok(Arc::new(MockBackend::new(mock(args)))),
    }
}

/// Which streams of jobs break off on purpose.
pub(crate) fn lost_streams(args: &ProvingArgs) -> MockFailures {
    let (lost, _) = failures(args);
    MockFailures { rate: lost, seed: args.mock_seed, ..MockFailures::default() }
}

fn mock(args: &ProvingArgs) -> MockConfig {
    let (_, rate) = failures(args);
    let kind = |name: &FailureName| match name {
        FailureName::Error => Some(MockFailure::Error),
        FailureName::Hang => Some(MockFailure::Hang),
        FailureName::WrongProof => Some(MockFailure::WrongProof),
        FailureName::WrongRoot => Some(MockFailure::WrongRoot),
        FailureName::LostStream => None,
    };
    let kinds = args.mock_failure_kinds.iter().filter_map(kind).collect();
    MockConfig {
        latency: Duration::from_millis(args.mock_latency_ms),
        jitter: Duration::from_millis(args.mock_jitter_ms),
        failures: MockFailures { rate, kinds, seed: args.mock_seed },
        ..MockConfig::default()
    }
}

/// Shares of jobs that lose their stream, and that fail in the backend.
fn failures(args: &ProvingArgs) -> (f64, f64) {
    let kinds = &args.mock_failure_kinds;
    let lost = kinds.iter().filter(|kind| **kind == FailureName::LostStream).count();
    let each = args.mock_failures / 100.0 / kinds.len().max(1) as f64;
    (each * lost as f64, each * (kinds.len() - lost) as f64)
}

#[cfg(unix)]
fn isolates(args: &Args, name: BackendName) -> bool {
    match name {
        BackendName::Sp1 => !args.in_process,
        // Its strangers' code is in the sandbox, and its proofs are short.
        BackendName::Groth16 => false,
        BackendName::Mock => args.isolate_mock,
    }
}

#[cfg(unix)]
fn isolated(args: &Args, name: BackendName, front: Arc<dyn ProvingBackend>) -> Arc<dyn ProvingBackend> {
    Arc::new(crate::worker::isolated(args, name, front))
}

/// Elsewhere proofs are made in this process.
#[cfg(not(unix))]
fn isolates(_args: &Args, _name: BackendName) -> bool {
    false
}

#[cfg(not(unix))]
fn isolated(_args: &Args, _name: BackendName, front: Arc<dyn ProvingBackend>) -> Arc<dyn ProvingBackend> {
    front
}

fn groth16() -> anyhow::Result<Arc<dyn ProvingBackend>> {
    let backend = Groth16Backend::new(Groth16Config::default()).context("witness generators can't be run here")?;
    Ok(Arc::new(backend))
}

#[cfg(feature = "sp1")]
#[allow(clippy::unnecessary_wraps, reason = "without the feature it fails")]
fn sp1(args: &ProvingArgs) -> anyhow::Result<Arc<dyn ProvingBackend>> {
    use crate::args::DeviceName;
    use coprocessor_prover_sp1::{Device, Sp1Backend, Sp1Config};

    let device = match args.device {
        DeviceName::Cpu => Device::Cpu,
        #[cfg(feature = "cuda")]
        DeviceName::Cuda => Device::Cuda,
        #[cfg(feature = "network")]
        DeviceName::Network => Device::Network,
    };
    Ok(Arc::new(Sp1Backend::new(Sp1Config { device, artifacts: args.sp1_artifacts.clone() })))
}

#[cfg(not(feature = "sp1"))]
fn sp1(_args: &ProvingArgs) -> anyhow::Result<Arc<dyn ProvingBackend>> {
    bail!("this build has no SP1; build it with the feature `sp1`, which is on by default, or say --backend mock")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[test]
    fn failures_are_shared_out_among_their_kinds() {
        let flags = ["--mock-failures=40", "--mock-failure-kinds=error,lost-stream,hang,wrong-root"];
        let args = Args::parse_from([&["coprocessor-prover"], &flags[..]].concat()).proving;
        let config = mock(&args);
        assert_eq!(config.failures.kinds, [MockFailure::Error, MockFailure::Hang, MockFailure::WrongRoot]);
        assert!((config.failures.rate - 0.3).abs() < 1e-9 && (lost_streams(&args).rate - 0.1).abs() < 1e-9);
        let none = mock(&Args::parse_from(["coprocessor-prover"]).proving);
        assert_eq!(none, MockConfig::default());
    }
}
