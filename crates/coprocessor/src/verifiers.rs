//! What this build verifies with, and makes verifying keys with.

use coprocessor_engine::CircuitSetup;
use coprocessor_prover::{BackendError, ProvingBackend, Setup, verify::Verifiers};
use coprocessor_prover_groth16::{Groth16Backend, Groth16Verifier};
use coprocessor_types::Backend;
use std::{collections::BTreeMap, sync::Arc};

/// Every verifier this build has. Core proofs need the SDK's own, behind the feature `sp1-core`.
pub(crate) fn all() -> Verifiers {
    let small = Verifiers::small().and(Arc::new(Groth16Verifier));
    #[cfg(feature = "sp1-core")]
    return small.and(Arc::new(coprocessor_prover_sp1::Sp1CoreVerifier::new(sp1_circuits())));
    #[cfg(not(feature = "sp1-core"))]
    small
}

/// Makes verifying keys in this process, where the build can: nobody's word is taken for them then.
pub(crate) fn setups(groth16: Arc<Groth16Backend>) -> BTreeMap<Backend, Arc<dyn CircuitSetup>> {
    let groth16: Arc<dyn CircuitSetup> = Arc::new(Groth16Setup(groth16));
    let setups = BTreeMap::from([(Backend::Groth16, groth16)]);
    #[cfg(feature = "sp1-core")]
    return {
        let mut setups = setups;
        setups.insert(Backend::Sp1, Arc::new(Sp1Setup(sp1_circuits())));
        setups
    };
    #[cfg(not(feature = "sp1-core"))]
    setups
}

struct Groth16Setup(Arc<Groth16Backend>);

impl CircuitSetup for Groth16Setup {
    fn set_up(&self, circuit: &bytes::Bytes) -> Result<Setup, BackendError> {
        self.0.set_up(circuit)
    }
}

#[cfg(feature = "sp1-core")]
fn sp1_circuits() -> coprocessor_prover_sp1::Circuits {
    static CIRCUITS: std::sync::OnceLock<coprocessor_prover_sp1::Circuits> = std::sync::OnceLock::new();
    CIRCUITS.get_or_init(coprocessor_prover_sp1::Circuits::new).clone()
}

#[cfg(feature = "sp1-core")]
struct Sp1Setup(coprocessor_prover_sp1::Circuits);

#[cfg(feature = "sp1-core")]
impl CircuitSetup for Sp1Setup {
    fn set_up(&self, circuit: &bytes::Bytes) -> Result<Setup, BackendError> {
        self.0.set_up(circuit)
    }
}
