//! The protocol's messages, and what both ends do with them. Domain types don't know them.

mod chunks;
mod convert;
mod failure;

pub(crate) use chunks::{Assembly, chunks};
pub(crate) use convert::{backend, digest, kind, node_info, proof_head, task};
pub(crate) use failure::{from_status, to_status};

/// Generated from `proto/prover.proto`.
pub(crate) mod pb {
    #![allow(missing_docs, unreachable_pub, clippy::all, reason = "generated")]

    tonic::include_proto!("coprocessor.prover.v1");

    /// Describes the protocol to whoever asks by reflection.
    pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/prover.bin"));
}

/// Largest chunk, in bytes.
pub(crate) const CHUNK: usize = 1 << 20;
/// Largest message: a chunk or a verifying key, and what is around it.
pub(crate) const MAX_MESSAGE: usize = 16 << 20;
