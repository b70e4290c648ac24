//! For controllers: what turns a request into a witness, and receives the proof.
//!
//! A controller is a library with one function that makes the witness, and optionally one that is called afterwards:
//!
//! ```
//! use controller_sdk::{Witness, serde::Deserialize};
//!
//! #[derive(Deserialize)]
//! #[serde(crate = "controller_sdk::serde")]
//! pub struct Args {
//!     name: String,
//! }
//!
//! pub fn get_witnesses(args: Args) -> Result<Vec<Witness>, String> {
//!     if args.name.is_empty() {
//!         return Err("`name` is empty".into());
//!     }
//!     Ok(vec![Witness::Data(args.name.into_bytes())])
//! }
//!
//! controller_sdk::entry! { get_witnesses: get_witnesses }
//! ```
//!
//! Arguments are JSON, read into whatever type the function takes. An `Err` or a panic ends the call with its text as the
//! controller's message; the service shows it to whoever made the request.
//!
//! [`entry!`] without `entrypoint:` uses [`entrypoint::store`], which keeps the proof as a file where the request says so.
//! [`host`] has what the service does for a controller: files, raw storage, log, program id, root, what the root holds of
//! other chains, and calls to their nodes; [`http`] has requests to anybody else. With the feature `testing`, [`testing`] answers these calls in memory, so that a controller is unit-tested by plain `cargo test`.
//!
//! `no_std` with `alloc`; the default feature `std` reports panics through the standard library's hook. Without it a
//! controller's own panic handler calls [`host::panic`].
#![no_std]

extern crate alloc;
#[cfg(any(feature = "testing", all(feature = "std", target_arch = "wasm32")))]
extern crate std;

mod call;
pub mod entrypoint;
pub mod host;
pub mod http;
mod msgpack;
mod sys;
#[cfg(feature = "testing")]
pub mod testing;

pub use call::{CallError, ValidatedBlock, get_state_proof, get_witnesses, run, validate_block};
pub use coprocessor_types::{BlockNumber, BlockOpening, DomainId, ProgramId, Root, StateProof, TrustId, Witness};
pub use host::{HostError, HostErrorCode};
pub use serde;
pub use serde_json::{self, Value, json};

/// Makes a library a controller: exports its functions to the sandbox.
///
/// A program's controller has `get_witnesses`, a `fn(A) -> Result<Vec<Witness>, E>`, and `entrypoint`, a
/// `fn(A) -> Result<R, E>`; where that is not named it is [`entrypoint::store`]. A domain's controller has `validate_block`, a
/// `fn(A) -> Result<ValidatedBlock, E>`, and `get_state_proof`, a `fn(A) -> Result<StateProof, E>`. One library may be both.
/// `A` is read from JSON, `R` is written as JSON and `E` prints.
///
/// Exports exist for wasm32 only, so a controller's tests run on the host.
#[macro_export]
macro_rules! entry {
    { get_witnesses: $get_witnesses:path $(,)? } => {
        $crate::entry! { get_witnesses: $get_witnesses, entrypoint: $crate::entrypoint::store }
    };
    { get_witnesses: $get_witnesses:path, entrypoint: $entrypoint:path $(,)? } => {
        $crate::export! { "get_witnesses", $crate::get_witnesses, $get_witnesses }
        $crate::export! { "entrypoint", $crate::run, $entrypoint }
    };
    { validate_block: $validate_block:path, get_state_proof: $get_state_proof:path $(,)? } => {
        $crate::export! { "validate_block", $crate::validate_block, $validate_block }
        $crate::export! { "get_state_proof", $crate::get_state_proof, $get_state_proof }
    };
}

/// One exported function. [`entry!`] calls it.
#[doc(hidden)]
#[macro_export]
macro_rules! export {
    { $name:literal, $call:path, $function:path } => {
        #[cfg(target_arch = "wasm32")]
        // SAFETY: the sandbox calls these symbols with this signature; a second definition would not link.
        #[allow(unsafe_code)]
        const _: () = {
            #[unsafe(export_name = $name)]
            extern "C" fn exported() {
                $crate::exported(|args| $call($function, args));
            }
        };
    };
}

/// One exported call: arguments in, result out, failure as the controller's message and a trap. [`entry!`] calls it.
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub fn exported(call: impl FnOnce(&[u8]) -> Result<alloc::vec::Vec<u8>, CallError>) {
    #[cfg(feature = "std")]
    host::report_panics();
    let outcome = host::args().map_err(CallError::from).and_then(|args| call(&args));
    if let Err(error) = outcome.and_then(|result| Ok(host::ret(&result)?)) {
        host::panic(&alloc::format!("{error}"));
        core::arch::wasm32::unreachable();
    }
}
