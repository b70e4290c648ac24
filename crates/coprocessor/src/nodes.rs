//! The prover nodes that the flags name, and the prover inside: mock proofs, and real ones of Groth16 circuits.

use anyhow::Context;
use coprocessor_engine::ProverSource;
use coprocessor_prover::{
    ProverNode,
    mock::{MockBackend, MockConfig, MockFailures},
    node::{Node, NodeConfig},
    remote::RemoteNode,
};
use coprocessor_prover_groth16::Groth16Backend;
use secrecy::SecretString;
use std::{num::NonZeroU32, sync::Arc, time::Duration};

use crate::args::{MockArgs, ServeArgs};

/// Mock proofs made at once.
const IN_PROCESS_SLOTS: NonZeroU32 = NonZeroU32::new(4).unwrap();

/// The configured nodes; the prover inside where there is none, or where it was asked for.
pub(crate) fn configured(
    args: &ServeArgs,
    groth16: Arc<Groth16Backend>,
) -> anyhow::Result<Vec<(Arc<dyn ProverNode>, ProverSource)>> {
    let secret = prover_secret(args)?;
    let mut nodes: Vec<(Arc<dyn ProverNode>, ProverSource)> = Vec::new();
    for address in args.provers.iter().filter(|address| !address.is_empty()) {
        let node = RemoteNode::new(address, secret.clone(), args.insecure)?;
        tracing::info!(address = node.address(), "prover node configured");
        nodes.push((Arc::new(node), ProverSource::Configured));
    }
    if args.production {
        if nodes.is_empty() {
            tracing::warn!(
                "no prover node is configured, and none may be inside: tasks wait for nodes that owners register"
            );
        }
        return Ok(nodes);
    }
    if nodes.is_empty() {
        tracing::warn!(
            "NO PROVER NODE IS CONFIGURED: proofs of SP1 circuits are MOCK proofs, which prove nothing. Start a node and name it with --prover"
        );
    }
    if nodes.is_empty() || args.mock.mock {
        nodes.push((Arc::new(in_process(&args.mock, groth16)), ProverSource::InProcess));
    }
    Ok(nodes)
}

/// Mock proofs take no memory and hardly any time, and Groth16 proofs of small circuits little: many at once, and a queue that
/// is never what a task waits for.
fn in_process(args: &MockArgs, groth16: Arc<Groth16Backend>) -> Node {
    let latency = Duration::from_millis(args.mock_latency_ms);
    let failures = MockFailures { rate: f64::from(args.mock_failures) / 100.0, ..MockFailures::default() };
    let backend = Arc::new(MockBackend::new(MockConfig { latency, failures, ..MockConfig::default() }));
    // A proof that waits holds a thread and nothing else.
    let slots = if latency.is_zero() { IN_PROCESS_SLOTS } else { IN_PROCESS_SLOTS.saturating_mul(IN_PROCESS_SLOTS) };
    Node::new(vec![backend, groth16], NodeConfig { slots, queue: 1 << 16, ..NodeConfig::default() })
}

fn prover_secret(args: &ServeArgs) -> anyhow::Result<Option<SecretString>> {
    if let Some(file) = &args.prover_secret_file {
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("cannot read the prover secret from {}", file.display()))?;
        return Ok(Some(SecretString::from(text.trim().to_owned())));
    }
    Ok(std::env::var("VALENCE_PROVER_SECRET").ok().filter(|secret| !secret.is_empty()).map(SecretString::from))
}
