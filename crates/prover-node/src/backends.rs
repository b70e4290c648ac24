//! The backends that were asked for.

use anyhow::bail;
use coprocessor_prover::{
    ProvingBackend,
    mock::{MockBackend, MockConfig, MockFailures},
};
use std::{sync::Arc, time::Duration};

use crate::args::{Args, BackendName};

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
        backends.push(match name {
            BackendName::Sp1 => sp1(args)?,
            BackendName::Mock => Arc::new(mock(args)),
        });
    }
    Ok(backends)
}

fn mock(args: &Args) -> MockBackend {
    MockBackend::new(MockConfig {
        latency: Duration::from_millis(args.mock_latency_ms),
        failures: MockFailures { rate: args.mock_failure_rate, seed: args.mock_failure_seed },
        ..MockConfig::default()
    })
}

#[cfg(feature = "sp1")]
#[allow(clippy::unnecessary_wraps, reason = "without the feature it fails")]
fn sp1(args: &Args) -> anyhow::Result<Arc<dyn ProvingBackend>> {
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
fn sp1(_args: &Args) -> anyhow::Result<Arc<dyn ProvingBackend>> {
    bail!("this build has no SP1; build it with the feature `sp1`, which is on by default, or say --backend mock")
}
