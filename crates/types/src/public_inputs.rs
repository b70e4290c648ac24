//! `root ‖ output`: what a proof binds and what a verifier gets.

use crate::Root;
use alloc::vec::Vec;

/// A proof's public inputs: the 32-byte coprocessor root, then the circuit's output.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PublicInputs {
    /// The root every opening of the witness was checked against.
    pub root: Root,
    /// What the circuit committed.
    pub output: Vec<u8>,
}

/// Bytes too short to hold a root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("public inputs begin with a 32-byte root, got {got} bytes in all")]
pub struct PublicInputsError {
    /// Number of bytes given.
    pub got: usize,
}

impl PublicInputs {
    /// `root ‖ output`.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(32 + self.output.len());
        bytes.extend_from_slice(&self.root.0);
        bytes.extend_from_slice(&self.output);
        bytes
    }

    /// Splits `root ‖ output`.
    ///
    /// # Errors
    /// Fewer than 32 bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, PublicInputsError> {
        let (root, output) = bytes.split_first_chunk().ok_or(PublicInputsError { got: bytes.len() })?;
        Ok(Self { root: Root(*root), output: output.to_vec() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_where_it_joined() {
        let inputs = PublicInputs { root: Root([7; 32]), output: b"hello".to_vec() };
        assert_eq!(PublicInputs::from_bytes(&inputs.to_bytes()), Ok(inputs));
        assert_eq!(PublicInputs::from_bytes(&[0; 31]), Err(PublicInputsError { got: 31 }));
        assert!(PublicInputs::from_bytes(&[0; 32]).unwrap().output.is_empty());
    }
}
