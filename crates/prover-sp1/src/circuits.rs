//! All of SP1 that takes no prover.

use crate::elf;
use bytes::Bytes;
use coprocessor_prover::{BackendError, Execution, ExecutionLimits, Setup};
use coprocessor_types::BlobDigest;
use sp1_sdk::{
    Elf, ProvingKey, SP1ProofWithPublicValues, SP1Stdin, SP1VerifyingKey,
    blocking::{LightProver, Prover},
};
use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, OnceLock},
};
use tokio::sync::watch;

/// Key set-up, execution and verification of SP1 circuits. Cheap to clone; every method blocks and must not be called on
/// a thread that drives async tasks.
#[derive(Clone, Default)]
pub struct Circuits {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    prover: OnceLock<LightProver>,
    keys: Mutex<HashMap<BlobDigest, Arc<KeySlot>>>,
}

/// A circuit's key, once somebody has made it; or why it cannot be made.
type KeySlot = OnceLock<Result<SP1VerifyingKey, BackendError>>;

impl Circuits {
    /// Ready to use; the SDK's own tables are made at the first call that needs them.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes the SDK's tables now, so that the first call does not wait for them.
    pub fn warm_up(&self) {
        self.prover();
    }

    /// The circuit's verifying key: bincode of the SDK's `SP1VerifyingKey`. Made once per circuit and kept.
    ///
    /// # Errors
    /// [`BackendError::BadCircuit`].
    pub fn set_up(&self, circuit: &Bytes) -> Result<Setup, BackendError> {
        let key = self.verifying_key(circuit)?;
        let bytes = bincode::serialize(&key).map_err(|error| BackendError::Failed { reason: error.to_string() })?;
        Ok(Setup { verifying_key: bytes.into() })
    }

    /// Runs a circuit on `input` without proving.
    ///
    /// # Errors
    /// [`BackendError::BadCircuit`], [`BackendError::CircuitFailed`] with what the circuit wrote to its standard error,
    /// [`BackendError::CycleLimit`].
    pub fn execute(&self, circuit: &Bytes, input: &[u8], limits: ExecutionLimits) -> Result<Execution, BackendError> {
        elf::check(circuit)?;
        let mut stdin = SP1Stdin::new();
        stdin.write_slice(input);
        let (stderr, written) = watch::channel(String::new());
        let outcome = guarded("executing", || {
            Ok(self.prover().execute(Elf::from(&circuit[..]), stdin).cycle_limit(limits.cycles).stderr(stderr).run())
        })?;
        let message = written.borrow().trim().to_owned();
        match outcome {
            Ok((public_values, report)) if report.exit_code == 0 => Ok(Execution {
                public_inputs: Bytes::copy_from_slice(public_values.as_slice()),
                cycles: report.total_instruction_count(),
            }),
            Ok((_, report)) => Err(failed(message, &format!("exit code {}", report.exit_code))),
            Err(error) => {
                let text = error.to_string();
                if text.contains("cycle limit") {
                    Err(BackendError::CycleLimit { limit: limits.cycles })
                } else if text.contains("disassemble") || text.contains("dissassemble") {
                    Err(BackendError::BadCircuit { reason: text })
                } else {
                    Err(failed(message, &text))
                }
            }
        }
    }

    /// Has the SDK verify a proof of any of its kinds against a key.
    ///
    /// # Errors
    /// What the SDK says against it.
    pub fn verify(&self, proof: &SP1ProofWithPublicValues, key: &SP1VerifyingKey) -> Result<(), String> {
        catch_unwind(AssertUnwindSafe(|| self.prover().verify(proof, key, None)))
            .map_err(|_| "the verifier panicked on it".to_owned())?
            .map_err(|error| error.to_string())
    }

    fn verifying_key(&self, circuit: &Bytes) -> Result<SP1VerifyingKey, BackendError> {
        elf::check(circuit)?;
        let slot = {
            let mut keys = self.shared.keys.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            Arc::clone(keys.entry(BlobDigest::of(circuit)).or_default())
        };
        slot.get_or_init(|| {
            guarded("setting up", || {
                let key = self
                    .prover()
                    .setup(Elf::from(&circuit[..]))
                    .map_err(|error| BackendError::BadCircuit { reason: error.to_string() })?;
                Ok(key.verifying_key().clone())
            })
        })
        .clone()
    }

    fn prover(&self) -> &LightProver {
        self.shared.prover.get_or_init(LightProver::new)
    }
}

/// The SDK asserts on hostile ELFs: a panic of its is a bad circuit.
fn guarded<T>(what: &str, work: impl FnOnce() -> Result<T, BackendError>) -> Result<T, BackendError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let said = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("no message");
        Err(BackendError::BadCircuit { reason: format!("SP1 gave up {what} it: {said}") })
    })
}

fn failed(stderr: String, otherwise: &str) -> BackendError {
    let message = if stderr.is_empty() { otherwise.to_owned() } else { stderr };
    BackendError::CircuitFailed { message }
}
