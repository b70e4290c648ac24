//! Groth16 as a proving backend.

use crate::circuit::{Circuit, Executed};
use bytes::Bytes;
use coprocessor_prover::{
    BackendError, BackendInfo, Cancellation, Execution, ExecutionLimits, KindOffer, Progress, Proof, ProvingBackend,
    Setup, node::machine,
};
use coprocessor_sandbox::{Generators, SandboxConfig, SandboxError};
use coprocessor_types::{Backend, BlobDigest, ProofKind};
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Circuits that are kept ready, and the bytes of their bundles together; the one used last always is.
const KEPT_CIRCUITS: usize = 16;
const KEPT_BYTES: usize = 256 << 20;
/// Witnesses that are kept for the proofs which follow their execution.
const KEPT_WITNESSES: usize = 8;

/// How Groth16 proves here.
#[derive(Clone, Debug, Default)]
pub struct Groth16Config {
    /// Under what witness generators run.
    pub generators: SandboxConfig,
    /// Refuses keys that were made for development: anybody may know their secrets, and prove what is not so.
    pub production: bool,
}

/// Groth16 over circom's circuits. A circuit is parsed and checked once and kept with its key.
pub struct Groth16Backend {
    generators: Generators,
    production: bool,
    circuits: Mutex<VecDeque<Arc<Kept>>>,
    /// One circuit is made ready at a time, so that none is twice.
    loading: Mutex<()>,
    /// A node executes a circuit before it has it proved: by circuit and input, so that the proof need not do it again.
    executed: Mutex<VecDeque<(BlobDigest, BlobDigest, Executed)>>,
}

struct Kept {
    bundle: Bytes,
    digest: BlobDigest,
    circuit: Circuit,
}

impl Groth16Backend {
    /// Sets up the sandbox for witness generators.
    ///
    /// # Errors
    /// Settings that can't work; too little address space.
    pub fn new(config: Groth16Config) -> Result<Self, SandboxError> {
        let Groth16Config { generators, production } = config;
        let generators = Generators::new(generators)?;
        Ok(Self {
            generators,
            production,
            circuits: Mutex::default(),
            loading: Mutex::default(),
            executed: Mutex::default(),
        })
    }

    /// The circuit, and how long it took to get it ready.
    fn load(&self, bundle: &Bytes) -> Result<(Arc<Kept>, Duration), BackendError> {
        if let Some(kept) = self.find(|kept| same_memory(&kept.bundle, bundle)) {
            return Ok((kept, Duration::ZERO));
        }
        let digest = BlobDigest::of(bundle);
        let turn = held(&self.loading);
        if let Some(kept) = self.find(|kept| kept.digest == digest) {
            return Ok((kept, Duration::ZERO));
        }
        let began = Instant::now();
        let circuit = Circuit::load(bundle, &self.generators, self.production)?;
        let kept = Arc::new(Kept { bundle: bundle.clone(), digest, circuit });
        let mut circuits = held(&self.circuits);
        circuits.push_back(Arc::clone(&kept));
        let sizes: Vec<_> = circuits.iter().map(|kept| kept.bundle.len()).collect();
        circuits.drain(..surplus(&sizes));
        drop((circuits, turn));
        Ok((kept, began.elapsed()))
    }

    /// Finds a circuit and makes it the last to be dropped.
    fn find(&self, matches: impl Fn(&Kept) -> bool) -> Option<Arc<Kept>> {
        let mut circuits = held(&self.circuits);
        let index = circuits.iter().position(|kept| matches(kept))?;
        let kept = circuits.remove(index)?;
        circuits.push_back(Arc::clone(&kept));
        Some(kept)
    }

    /// What was executed before of this circuit and input; it is taken out, since a proof is made once.
    fn take_executed(&self, circuit: BlobDigest, input: BlobDigest) -> Option<Executed> {
        let mut executed = held(&self.executed);
        let index = executed.iter().position(|(of, on, _)| (*of, *on) == (circuit, input))?;
        executed.remove(index).map(|(_, _, executed)| executed)
    }
}

impl ProvingBackend for Groth16Backend {
    fn info(&self) -> BackendInfo {
        BackendInfo {
            backend: Some(Backend::Groth16),
            version: concat!("groth16 bn254 ", env!("CARGO_PKG_VERSION")).into(),
            offers: vec![KindOffer { kind: ProofKind::Groth16, memory: 0 }],
            missing: Vec::new(),
        }
    }

    fn warm_up(&self) -> Result<(), BackendError> {
        Ok(())
    }

    fn set_up(&self, circuit: &Bytes) -> Result<Setup, BackendError> {
        let (kept, _) = self.load(circuit)?;
        Ok(Setup { verifying_key: kept.circuit.verifying_key() })
    }

    /// Constraints stand for cycles.
    fn execute(&self, circuit: &Bytes, input: &[u8], limits: ExecutionLimits) -> Result<Execution, BackendError> {
        let (kept, _) = self.load(circuit)?;
        let cycles = kept.circuit.constraints();
        if cycles > limits.cycles {
            return Err(BackendError::CycleLimit { limit: limits.cycles });
        }
        let made = kept.circuit.execute(input)?;
        let public_inputs = made.public_inputs.clone();
        let mut executed = held(&self.executed);
        if executed.len() == KEPT_WITNESSES {
            executed.pop_front();
        }
        executed.push_back((kept.digest, BlobDigest::of(input), made));
        Ok(Execution { public_inputs, cycles })
    }

    fn prove(
        &self,
        circuit: &Bytes,
        input: &[u8],
        kind: ProofKind,
        progress: &Progress<'_>,
        cancellation: &Cancellation,
    ) -> Result<Proof, BackendError> {
        if kind != ProofKind::Groth16 {
            let reason = "a circom circuit has proofs of the kind groth16".into();
            return Err(BackendError::Unsupported { kind, reason });
        }
        progress.step("setting up");
        let (kept, set_up) = self.load(circuit)?;
        let began = Instant::now();
        let executed = match self.take_executed(kept.digest, BlobDigest::of(input)) {
            Some(executed) => executed,
            None => kept.circuit.execute(input)?,
        };
        // Proving is a fraction of a second, or seconds for the largest circuits: it is not stopped on its way.
        if cancellation.is_cancelled() {
            return Err(BackendError::Cancelled);
        }
        progress.step("proving");
        let proof = kept.circuit.prove(&executed.witness)?;
        Ok(Proof {
            kind,
            bytes: proof.to_json().into(),
            public_inputs: executed.public_inputs,
            cycles: kept.circuit.constraints(),
            proving: began.elapsed(),
            set_up,
            peak_memory: machine::peak_memory(),
        })
    }
}

/// How many circuits have to go, of bundles with these sizes, the one used longest ago first.
fn surplus(sizes: &[usize]) -> usize {
    let fits = |kept: &[usize]| kept.len() <= KEPT_CIRCUITS && kept.iter().sum::<usize>() <= KEPT_BYTES;
    (0..sizes.len().saturating_sub(1)).find(|gone| fits(&sizes[*gone..])).unwrap_or(sizes.len().saturating_sub(1))
}

fn same_memory(a: &Bytes, b: &Bytes) -> bool {
    a.as_ptr() == b.as_ptr() && a.len() == b.len()
}

/// Nothing panics while it holds one of the locks, so what they guard is whole even where a lock says otherwise.
fn held<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn circuits_are_kept_as_long_as_there_is_room_and_the_last_one_always() {
        assert_eq!((surplus(&[]), surplus(&[KEPT_BYTES + 1]), surplus(&[1, KEPT_BYTES + 1])), (0, 0, 1));
        assert_eq!((surplus(&[1; KEPT_CIRCUITS]), surplus(&[1; KEPT_CIRCUITS + 3])), (0, 3));
        assert_eq!((surplus(&[1, KEPT_BYTES - 1]), surplus(&[2, 1, KEPT_BYTES - 1])), (0, 1));
    }
}
