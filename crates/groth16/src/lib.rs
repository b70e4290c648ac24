//! Groth16 over circuits of circom: the files of circom and snarkjs read and checked, proving, verifying.
//!
//! ```text
//! .r1cs ──R1cs::read──┐
//!                     ├──ProvingKey::new──▶ ProvingKey (kept) ──prove(Witness)──▶ Proof, PublicValues
//! .zkey ──ZKey::read──┘                          └──▶ VerifyingKey ──verify──▶
//! ```
//!
//! Every file comes from strangers. What is read is checked in full before any of it is used: lengths before anything is set apart
//! for them, every field element canonical (nothing is ever reduced), every point on its curve and in its group, none at infinity
//! where a proof would then not depend on something, the key's own secrets the same in both groups, and the key's matrices those of the
//! circuit. What no check of a file can tell is whether somebody knows the key's secrets; [`ZKey::contributions`] says who
//! claims to have taken part.
//!
//! The curve is BN254, which circom calls bn128 and EVM chains have precompiles for.
//!
//! **The root.** A proof's public values begin with the high and the low 128 bits of the coprocessor root; what follows is the
//! output ([`PublicValues`]). In circom a circuit's outputs come before its public inputs, each in the order of declaration: so a circuit either declares the
//! root's two halves as its first outputs, or has no outputs and declares them as its first public inputs. `circom/coprocessor.circom` makes
//! the former one line. Which circuit means its first two public values as the root cannot be seen from its files; the service
//! hands the root in as the input `root`, and compares.
//!
//! This crate knows nothing of witness generators: those are WebAssembly, and run in the sandbox.

mod bundle;
mod contribution;
mod curve;
mod error;
mod json;
mod key;
mod public;
mod quotient;
mod r1cs;
mod sections;
mod verify;
mod witness;
mod zkey;

pub use bundle::Bundle;
pub use contribution::Contribution;
pub use curve::Fr;
pub use error::FileError;
pub use json::JsonError;
pub use key::{KeyError, ProveError, ProvingKey};
pub use public::{PublicError, PublicValues, ROOT_VALUES};
pub use r1cs::{R1cs, Unsatisfied};
pub use verify::{Proof, VerifyError, VerifyingKey};
pub use witness::Witness;
pub use zkey::ZKey;
