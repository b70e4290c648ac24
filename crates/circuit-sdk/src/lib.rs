//! For circuits: what is proved.
//!
//! A circuit is a function from its [`Witnesses`] to the bytes it commits:
//!
//! ```
//! use circuit_sdk::Witnesses;
//!
//! pub fn circuit(mut witnesses: Witnesses) -> Vec<u8> {
//!     let name = String::from_utf8(witnesses.data()).expect("the name is UTF-8");
//!     format!("Hello, {name}!").into_bytes()
//! }
//! ```
//!
//! and its `main.rs` names that function, nothing else:
//!
//! ```ignore
//! #![cfg_attr(target_os = "zkvm", no_main)]
//! circuit_sdk::entry!(my_circuit::circuit);
//! ```
//!
//! [`entry!`] reads the input, checks the opening of every state proof against the root **before** the function sees
//! anything, refuses a witness element that the function did not take, and commits `root ‖ output`. The function has no
//! way to commit anything itself, so the root can't be forgotten.
//!
//! A panic ends the run, and no proof can be made of it: use `assert!`, `expect` and `panic!` with messages that tell
//! whoever made the witness what is wrong with it. On the host, [`run_native`] does the same without a zkVM, so a circuit
//! is unit-tested by plain `cargo test`.
#![no_std]

extern crate alloc;

mod run;
mod witnesses;
#[cfg(target_os = "zkvm")]
#[doc(hidden)]
pub mod zkvm;

pub use coprocessor_types::{
    BlockNumber, BlockOpening, CircuitInput, DomainId, OpenedWitness, PublicInputs, Root, StateProof, TrustId,
};
pub use run::{CircuitError, run_native};
pub use witnesses::Witnesses;

/// The trust of a block that nothing but its domain's controller has checked.
pub const CONTROLLER_ONLY: TrustId = TrustId([0; 32]);

/// Makes a binary's `main.rs` the circuit that proves the named function, of type `fn(Witnesses) -> impl AsRef<[u8]>`.
///
/// On the host the binary only says how to test a circuit.
#[macro_export]
macro_rules! entry {
    ($circuit:path) => {
        #[cfg(target_os = "zkvm")]
        const _: () = {
            // SAFETY: the zkVM's start code calls the symbol `main` once, with this signature; the binary is `no_main`,
            // so nothing else defines it.
            #[allow(unsafe_code)]
            #[unsafe(no_mangle)]
            extern "C" fn main() -> i32 {
                $crate::zkvm::prove($circuit);
                0
            }
        };

        #[cfg(not(target_os = "zkvm"))]
        fn main() {
            panic!(
                "a circuit runs in the zkVM only: build it with `cargo coprocessor build`, test it with `cargo test`"
            );
        }
    };
}
