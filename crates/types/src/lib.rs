//! The words every part of the coprocessor shares: ids, witnesses, public inputs, and their encodings.
//!
//! `no_std` with `alloc`, so that circuits (zkVM) and controllers (wasm32) use the very same types as the service.
//! Nothing here does I/O and nothing here decides policy.
#![no_std]

extern crate alloc;
#[cfg(feature = "std")]
extern crate std;

mod codec;
mod id;
mod input;
mod kind;
mod public_inputs;
mod sha256;
mod witness;

pub use codec::DecodeError;
pub use id::{
    BlobDigest, BlockNumber, DomainId, InstanceId, OwnerId, OwnerIdError, ParseIdError, ProgramId, Root, TaskId,
    TrustId, VkDigest,
};
pub use input::{CircuitInput, OpenedWitness};
pub use kind::{Backend, ParseKindError, ProofKind};
pub use public_inputs::{PublicInputs, PublicInputsError};
pub use sha256::{sha256, sha256_pair};
pub use witness::{BlockOpening, StateProof, Witness};
