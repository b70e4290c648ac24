//! A backend that proves nothing: it gives a circuit's real output, instantly or after a set time, and a record of it that
//! only [`MockVerifier`](crate::verify::MockVerifier) takes.
//!
//! For developing controllers and for load tests. It runs SP1 circuits; Groth16 bundles it does not know yet.

mod failures;
pub mod proof;
pub mod rv64;

use bytes::Bytes;
use coprocessor_types::{BlobDigest, ProofKind};
use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{
    BackendError, BackendInfo, Cancellation, Execution, ExecutionLimits, KindOffer, Progress, Proof, ProvingBackend,
    Setup,
};
use rv64::{Fault, Limits, Outcome, Program};

pub use failures::{MockFailure, MockFailures};

/// Longest message taken over from a failed circuit, in bytes: the last ones, where a panic's message is.
const MAX_MESSAGE: usize = 4 << 10;
/// Loaded circuits that are kept.
const KEPT_CIRCUITS: usize = 32;
/// Executions that are kept for the proofs which follow them.
const KEPT_EXECUTIONS: usize = 256;
/// Longest public inputs of an execution that is kept, in bytes.
const KEPT_PUBLIC_INPUTS: usize = 16 << 10;

/// How a mock backend behaves.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct MockConfig {
    /// How long a proof takes at least, beside the execution.
    pub latency: Duration,
    /// How much longer it may take: each proof takes a share of it that is drawn.
    pub jitter: Duration,
    /// Proofs that fail on purpose.
    pub failures: MockFailures,
    /// Bounds of an execution beside its cycles.
    pub limits: Limits,
}

/// The mock backend.
#[derive(Debug, Default)]
pub struct MockBackend {
    config: MockConfig,
    proofs: AtomicU64,
    loaded: Mutex<Vec<Arc<Loaded>>>,
    /// A node executes a circuit before it has it proved: by circuit and input, so that the proof need not do it again.
    executed: Mutex<VecDeque<((BlobDigest, BlobDigest), Execution)>>,
}

#[derive(Debug)]
struct Loaded {
    circuit: Bytes,
    digest: BlobDigest,
    program: Program,
}

impl MockBackend {
    /// A backend with that behaviour.
    pub fn new(config: MockConfig) -> Self {
        Self { config, ..Self::default() }
    }

    fn load(&self, circuit: &Bytes) -> Result<Arc<Loaded>, BackendError> {
        if let Some(loaded) = self.find(|loaded| same_memory(&loaded.circuit, circuit)) {
            return Ok(loaded);
        }
        let digest = BlobDigest::of(circuit);
        if let Some(loaded) = self.find(|loaded| loaded.digest == digest) {
            return Ok(loaded);
        }
        let program =
            Program::load(circuit).map_err(|error| BackendError::BadCircuit { reason: bad_circuit(&error) })?;
        let loaded = Arc::new(Loaded { circuit: circuit.clone(), digest, program });
        let mut kept = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == KEPT_CIRCUITS {
            kept.remove(0);
        }
        kept.push(Arc::clone(&loaded));
        Ok(loaded)
    }

    /// Finds a loaded circuit and makes it the last to be dropped.
    fn find(&self, matches: impl Fn(&Loaded) -> bool) -> Option<Arc<Loaded>> {
        let mut kept = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let index = kept.iter().position(|loaded| matches(loaded))?;
        let loaded = kept.remove(index);
        kept.push(Arc::clone(&loaded));
        Some(loaded)
    }

    fn run(
        &self,
        loaded: &Loaded,
        input: &[u8],
        limits: ExecutionLimits,
        stop: &dyn Fn() -> bool,
    ) -> Result<Execution, BackendError> {
        let limits = Limits { cycles: limits.cycles, ..self.config.limits };
        let outcome = rv64::run(&loaded.program, &[input], limits, stop).map_err(refusal)?;
        if outcome.exit_code != 0 {
            return Err(BackendError::CircuitFailed { message: failure(&outcome) });
        }
        Ok(Execution { public_inputs: outcome.public_values.into(), cycles: outcome.cycles })
    }

    fn remember(&self, of: (BlobDigest, BlobDigest), execution: &Execution) {
        if execution.public_inputs.len() > KEPT_PUBLIC_INPUTS {
            return;
        }
        let mut executed = self.executed.lock().unwrap_or_else(PoisonError::into_inner);
        if executed.len() == KEPT_EXECUTIONS {
            executed.pop_front();
        }
        executed.push_back((of, execution.clone()));
    }

    fn recall(&self, of: (BlobDigest, BlobDigest)) -> Option<Execution> {
        let mut executed = self.executed.lock().unwrap_or_else(PoisonError::into_inner);
        let index = executed.iter().position(|(kept, _)| *kept == of)?;
        executed.remove(index).map(|(_, execution)| execution)
    }

    /// Waits as long as proof number `n` takes.
    fn wait(&self, n: u64, cancellation: &Cancellation) -> Result<(), BackendError> {
        let MockConfig { latency, jitter, failures, .. } = &self.config;
        let latency = latency.saturating_add(jitter.mul_f64(failures.share(n)));
        if cancellation.wait(Some(latency)) { Err(BackendError::Cancelled) } else { Ok(()) }
    }
}

impl ProvingBackend for MockBackend {
    fn info(&self) -> BackendInfo {
        BackendInfo {
            backend: None,
            version: concat!("mock ", env!("CARGO_PKG_VERSION"), " (proves nothing)").into(),
            offers: vec![KindOffer { kind: ProofKind::Mock, memory: 0 }],
            missing: Vec::new(),
        }
    }

    fn warm_up(&self) -> Result<(), BackendError> {
        Ok(())
    }

    fn set_up(&self, circuit: &Bytes) -> Result<Setup, BackendError> {
        self.load(circuit).map(|_| Setup { verifying_key: Bytes::new() })
    }

    fn execute(&self, circuit: &Bytes, input: &[u8], limits: ExecutionLimits) -> Result<Execution, BackendError> {
        let loaded = self.load(circuit)?;
        let execution = self.run(&loaded, input, limits, &|| false)?;
        self.remember((loaded.digest, BlobDigest::of(input)), &execution);
        Ok(execution)
    }

    fn prove(
        &self,
        circuit: &Bytes,
        input: &[u8],
        kind: ProofKind,
        progress: &Progress<'_>,
        cancellation: &Cancellation,
    ) -> Result<Proof, BackendError> {
        if kind != ProofKind::Mock {
            let reason = "the mock backend makes mock proofs only; a node with the sp1 backend makes real ones".into();
            return Err(BackendError::Unsupported { kind, reason });
        }
        let began = Instant::now();
        let loaded = self.load(circuit)?;
        progress.step("proving");
        let number = self.proofs.fetch_add(1, Ordering::Relaxed);
        let execution = match self.recall((loaded.digest, BlobDigest::of(input))) {
            Some(execution) => execution,
            None => self.run(&loaded, input, ExecutionLimits::default(), &|| cancellation.is_cancelled())?,
        };
        self.wait(number, cancellation)?;
        let mut public_inputs = execution.public_inputs.clone();
        let mut bytes = proof::encode(loaded.digest, &public_inputs);
        match self.config.failures.draw(number) {
            None => {}
            Some(MockFailure::Error) => {
                let reason = "a failure on purpose, as the mock backend was told to".into();
                return Err(BackendError::Failed { reason });
            }
            Some(MockFailure::Hang) => {
                cancellation.wait(None);
                return Err(BackendError::Cancelled);
            }
            Some(MockFailure::WrongProof) => spoil(&mut bytes),
            Some(MockFailure::WrongRoot) => {
                public_inputs = claim_another_root(&public_inputs);
                bytes = proof::encode(loaded.digest, &public_inputs);
            }
        }
        Ok(Proof {
            kind,
            bytes: bytes.into(),
            public_inputs,
            cycles: execution.cycles,
            proving: began.elapsed(),
            set_up: Duration::ZERO,
            peak_memory: 0,
        })
    }
}

/// Makes it the proof of something else.
fn spoil(proof: &mut [u8]) {
    if let Some(last) = proof.last_mut() {
        *last ^= 1;
    }
}

/// The same output at a root that nobody pinned.
fn claim_another_root(public_inputs: &[u8]) -> Bytes {
    let mut claimed = public_inputs.to_vec();
    if let Some(first) = claimed.first_mut() {
        *first ^= 1;
    }
    claimed.into()
}

/// Whether two are the same bytes at the same place: equal without looking at them. The one that is kept holds its memory,
/// so nothing else can come to lie there.
fn same_memory(a: &Bytes, b: &Bytes) -> bool {
    a.as_ptr() == b.as_ptr() && a.len() == b.len()
}

fn bad_circuit(error: &rv64::LoadError) -> String {
    match error {
        rv64::LoadError::NotElf(_) => format!("{error}; the mock backend runs SP1 circuits, not Groth16 bundles"),
        _ => error.to_string(),
    }
}

fn refusal(fault: Fault) -> BackendError {
    match fault {
        Fault::CycleLimit { limit } => BackendError::CycleLimit { limit },
        Fault::Stopped => BackendError::Cancelled,
        Fault::UnsupportedSyscall { name } => BackendError::Unsupported {
            kind: ProofKind::Mock,
            reason: format!(
                "the circuit makes the system call {name}, which the mock backend does not have; ask for a real proof from \
                 a node with the sp1 backend"
            ),
        },
        other => BackendError::CircuitFailed { message: other.to_string() },
    }
}

/// The circuit's own words where there are any.
fn failure(outcome: &Outcome) -> String {
    let said: Vec<_> = outcome
        .stderr
        .lines()
        .map(str::trim_end)
        .filter(|line| !line.starts_with("note: run with `RUST_BACKTRACE"))
        .collect();
    let said = said.join("\n");
    let said = said.trim();
    let start = (said.len().saturating_sub(MAX_MESSAGE)..).find(|at| said.is_char_boundary(*at)).unwrap_or(0);
    if said.is_empty() { format!("exit code {}", outcome.exit_code) } else { said[start..].to_owned() }
}

#[cfg(test)]
mod tests;
