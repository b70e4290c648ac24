//! What this build verifies with.

use coprocessor_prover::verify::Verifiers;
use std::sync::Arc;

/// Every verifier this build has. Core proofs need the SDK's own, behind the feature `sp1-core`.
pub(crate) fn all() -> Verifiers {
    let small = Verifiers::small();
    #[cfg(feature = "sp1-core")]
    return small.and(Arc::new(coprocessor_prover_sp1::Sp1CoreVerifier::new(sp1_circuits())));
    #[cfg(not(feature = "sp1-core"))]
    small
}

/// Makes verifying keys in this process, where the build can.
pub(crate) fn setup() -> Option<Arc<dyn coprocessor_engine::CircuitSetup>> {
    #[cfg(feature = "sp1-core")]
    return Some(Arc::new(Sp1Setup(sp1_circuits())));
    #[cfg(not(feature = "sp1-core"))]
    None
}

#[cfg(feature = "sp1-core")]
fn sp1_circuits() -> coprocessor_prover_sp1::Circuits {
    static CIRCUITS: std::sync::OnceLock<coprocessor_prover_sp1::Circuits> = std::sync::OnceLock::new();
    CIRCUITS.get_or_init(coprocessor_prover_sp1::Circuits::new).clone()
}

#[cfg(feature = "sp1-core")]
struct Sp1Setup(coprocessor_prover_sp1::Circuits);

#[cfg(feature = "sp1-core")]
impl coprocessor_engine::CircuitSetup for Sp1Setup {
    fn set_up(&self, circuit: &bytes::Bytes) -> Result<coprocessor_prover::Setup, coprocessor_prover::BackendError> {
        self.0.set_up(circuit)
    }
}
