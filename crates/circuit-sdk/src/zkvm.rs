//! The way in and out of SP1's zkVM. Not public interface: [`entry!`](crate::entry) calls it.

use crate::{Witnesses, run::run_bytes};

/// Reads the one input buffer, runs the circuit, commits `root ‖ output`.
///
/// # Panics
/// On an input that is refused, with the reason: the run has no proof then.
pub fn prove<O: AsRef<[u8]>>(circuit: impl FnOnce(Witnesses) -> O) {
    match run_bytes(circuit, &sp1_zkvm::io::read_vec()) {
        Ok(inputs) => sp1_zkvm::io::commit_slice(&inputs.to_bytes()),
        Err(error) => panic!("{error}"),
    }
}
