//! Mock proofs: a record that says which circuit committed what. Anyone can write one.
//!
//! Encoding, 55 bytes: the tag `coprocessor/mock-proof` (22), version `0x01`, and
//! SHA-256(tag ‖ version ‖ circuit digest (32) ‖ public inputs).

use coprocessor_types::BlobDigest;
use sha2::{Digest, Sha256};

const TAG: &[u8; 22] = b"coprocessor/mock-proof";
const VERSION: u8 = 1;

/// Why bytes are no mock proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MockProofError {
    /// Another length, or another beginning.
    #[error("mock proofs are {expected} bytes and begin with `coprocessor/mock-proof`, got {got} bytes", expected = TAG.len() + 33)]
    NotOne {
        /// Number of bytes given.
        got: usize,
    },
    /// A version this code does not know.
    #[error("mock proof of version {got}, this build knows {VERSION}")]
    Version {
        /// The version read.
        got: u8,
    },
}

/// The proof that `circuit` committed `public_inputs`.
pub fn encode(circuit: BlobDigest, public_inputs: &[u8]) -> Vec<u8> {
    let mut bytes = TAG.to_vec();
    bytes.push(VERSION);
    bytes.extend_from_slice(&digest(circuit, public_inputs));
    bytes
}

/// Whether `proof` is the one for that circuit and those public inputs.
///
/// # Errors
/// It is no mock proof at all.
pub fn matches(proof: &[u8], circuit: BlobDigest, public_inputs: &[u8]) -> Result<bool, MockProofError> {
    let (version, bound) = proof
        .strip_prefix(TAG)
        .and_then(|rest| rest.split_first())
        .filter(|(_, bound)| bound.len() == 32)
        .ok_or(MockProofError::NotOne { got: proof.len() })?;
    if *version != VERSION {
        return Err(MockProofError::Version { got: *version });
    }
    Ok(bound == digest(circuit, public_inputs))
}

fn digest(circuit: BlobDigest, public_inputs: &[u8]) -> [u8; 32] {
    let hasher = Sha256::new().chain_update(TAG).chain_update([VERSION]);
    hasher.chain_update(circuit.as_bytes()).chain_update(public_inputs).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fixture_holds_the_format() {
        let proof = encode(BlobDigest([1; 32]), b"public");
        assert_eq!(proof.len(), 55);
        assert_eq!(&proof[..23], b"coprocessor/mock-proof\x01");
        let preimage = [&b"coprocessor/mock-proof\x01"[..], &[1; 32], b"public"].concat();
        assert_eq!(proof[23..], *Sha256::digest(preimage));
    }

    #[test]
    fn binds_circuit_and_public_inputs() {
        let circuit = BlobDigest([1; 32]);
        let proof = encode(circuit, b"public");
        assert_eq!(matches(&proof, circuit, b"public"), Ok(true));
        assert_eq!(matches(&proof, circuit, b"publik"), Ok(false));
        assert_eq!(matches(&proof, BlobDigest([2; 32]), b"public"), Ok(false));
        for bit in 0..proof.len() * 8 {
            let mut changed = proof.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(matches(&changed, circuit, b"public"), Ok(true), "bit {bit}");
        }
    }

    #[test]
    fn truncated_and_extended_are_none() {
        let circuit = BlobDigest([1; 32]);
        let proof = encode(circuit, b"public");
        for len in 0..proof.len() {
            assert_eq!(matches(&proof[..len], circuit, b"public"), Err(MockProofError::NotOne { got: len }));
        }
        let longer = [&proof[..], &[0]].concat();
        assert_eq!(matches(&longer, circuit, b"public"), Err(MockProofError::NotOne { got: 56 }));
        let mut newer = proof;
        newer[22] = 2;
        assert_eq!(matches(&newer, circuit, b"public"), Err(MockProofError::Version { got: 2 }));
    }
}
