//! What the service writes to a circuit's standard input and the circuit SDK reads.

use crate::{
    BlockOpening, DecodeError, DomainId, Root, StateProof, TrustId, Witness,
    codec::{Reader, put_bytes},
};
use alloc::vec::Vec;

const VERSION: u8 = 1;
const DATA: u8 = 0;
const STATE_PROOF: u8 = 1;
const DOMAIN_DEPTH: usize = 64;
const ROOT_DEPTH: usize = 256;

/// The whole input of a circuit: the root the task is pinned to, and the witness with its openings.
///
/// Encoding, integers little-endian: version `0x01`, root (32), count (u32), then per element a tag. `0x00` data:
/// length (u32), bytes. `0x01` state proof: domain (32), number (u64), state root (32), payload (u32 length, bytes),
/// proof (u32 length, bytes), trust (32), domain siblings (u16 count, 32 each), root siblings (u16 count, 32 each).
/// The encoding is canonical: equal inputs have equal bytes and no others.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CircuitInput {
    /// The task's pinned root.
    pub root: Root,
    /// The controller's witness, in its order, each state proof with its opening.
    pub witnesses: Vec<OpenedWitness>,
}

/// A [`Witness`] with what the service adds to it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum OpenedWitness {
    /// Bytes.
    Data(Vec<u8>),
    /// State of a domain, with the opening of its block at the input's root. Unchecked until the circuit SDK has.
    StateProof(StateProof, BlockOpening),
}

impl OpenedWitness {
    /// The controller's part.
    pub fn into_witness(self) -> Witness {
        match self {
            Self::Data(bytes) => Witness::Data(bytes),
            Self::StateProof(proof, _) => Witness::StateProof(proof),
        }
    }
}

impl CircuitInput {
    /// The canonical encoding.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.push(VERSION);
        out.extend_from_slice(&self.root.0);
        let count = u32::try_from(self.witnesses.len()).expect("fewer than 2^32 elements: the service bounds them");
        out.extend_from_slice(&count.to_le_bytes());
        for witness in &self.witnesses {
            match witness {
                OpenedWitness::Data(bytes) => {
                    out.push(DATA);
                    put_bytes(&mut out, bytes);
                }
                OpenedWitness::StateProof(proof, opening) => {
                    out.push(STATE_PROOF);
                    put_state_proof(&mut out, proof);
                    out.extend_from_slice(&opening.trust.0);
                    put_siblings(&mut out, &opening.domain_siblings);
                    put_siblings(&mut out, &opening.root_siblings);
                }
            }
        }
        out
    }

    /// Reads the canonical encoding.
    ///
    /// # Errors
    /// Anything that [`to_bytes`](Self::to_bytes) does not write: truncated, left over, unknown version or tag, more
    /// siblings than a tree is deep. What it allocates is in proportion to the input's length, whatever counts it announces.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let version = reader.u8()?;
        if version != VERSION {
            return Err(DecodeError::Version { got: version, expected: VERSION });
        }
        let root = Root(reader.array()?);
        let count = reader.u32()?;
        let mut witnesses = Vec::new();
        for _ in 0..count {
            witnesses.push(match reader.u8()? {
                DATA => OpenedWitness::Data(reader.bytes()?),
                STATE_PROOF => {
                    let proof = read_state_proof(&mut reader)?;
                    let opening = BlockOpening {
                        trust: TrustId(reader.array()?),
                        domain_siblings: read_siblings(&mut reader, DOMAIN_DEPTH)?,
                        root_siblings: read_siblings(&mut reader, ROOT_DEPTH)?,
                    };
                    OpenedWitness::StateProof(proof, opening)
                }
                got => return Err(DecodeError::Tag { got }),
            });
        }
        reader.end()?;
        Ok(Self { root, witnesses })
    }
}

fn put_state_proof(out: &mut Vec<u8>, proof: &StateProof) {
    out.extend_from_slice(&proof.domain.0);
    out.extend_from_slice(&proof.number.to_le_bytes());
    out.extend_from_slice(&proof.state_root);
    put_bytes(out, &proof.payload);
    put_bytes(out, &proof.proof);
}

fn read_state_proof(reader: &mut Reader<'_>) -> Result<StateProof, DecodeError> {
    Ok(StateProof {
        domain: DomainId(reader.array()?),
        number: reader.u64()?,
        state_root: reader.array()?,
        payload: reader.bytes()?,
        proof: reader.bytes()?,
    })
}

fn put_siblings(out: &mut Vec<u8>, siblings: &[Root]) {
    let count = u16::try_from(siblings.len()).expect("a tree is at most 256 deep");
    out.extend_from_slice(&count.to_le_bytes());
    for sibling in siblings {
        out.extend_from_slice(&sibling.0);
    }
}

fn read_siblings(reader: &mut Reader<'_>, limit: usize) -> Result<Vec<Root>, DecodeError> {
    let got = usize::from(reader.u16()?);
    if got > limit {
        return Err(DecodeError::TooDeep { got, limit });
    }
    Ok(reader.arrays(got)?.iter().map(|hash| Root(*hash)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use proptest::prelude::*;

    fn hash() -> impl Strategy<Value = Root> {
        any::<[u8; 32]>().prop_map(Root)
    }

    fn witness() -> impl Strategy<Value = OpenedWitness> {
        let bytes = || prop::collection::vec(any::<u8>(), 0..40);
        let proof = (any::<[u8; 32]>(), any::<u64>(), any::<[u8; 32]>(), bytes(), bytes()).prop_map(
            |(domain, number, state_root, payload, proof)| StateProof {
                domain: DomainId(domain),
                number,
                state_root,
                payload,
                proof,
            },
        );
        let opening = (any::<[u8; 32]>(), prop::collection::vec(hash(), 0..4), prop::collection::vec(hash(), 0..4))
            .prop_map(|(trust, domain_siblings, root_siblings)| BlockOpening {
                trust: TrustId(trust),
                domain_siblings,
                root_siblings,
            });
        prop_oneof![
            bytes().prop_map(OpenedWitness::Data),
            (proof, opening).prop_map(|(proof, opening)| OpenedWitness::StateProof(proof, opening)),
        ]
    }

    fn input() -> impl Strategy<Value = CircuitInput> {
        (hash(), prop::collection::vec(witness(), 0..5)).prop_map(|(root, witnesses)| CircuitInput { root, witnesses })
    }

    proptest! {
        #[test]
        fn reads_back_what_it_writes(input in input()) {
            prop_assert_eq!(CircuitInput::from_bytes(&input.to_bytes()), Ok(input));
        }

        #[test]
        fn every_truncation_and_extension_is_refused(input in input(), cut in any::<prop::sample::Index>()) {
            let bytes = input.to_bytes();
            prop_assert!(CircuitInput::from_bytes(&bytes[..cut.index(bytes.len())]).is_err());
            let mut longer = bytes;
            longer.push(0);
            prop_assert!(CircuitInput::from_bytes(&longer).is_err());
        }

        #[test]
        fn arbitrary_bytes_decode_canonically_or_not_at_all(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(input) = CircuitInput::from_bytes(&bytes) {
                prop_assert_eq!(input.to_bytes(), bytes);
            }
        }
    }

    #[test]
    fn a_fixture_holds_the_format() {
        let input = CircuitInput { root: Root([9; 32]), witnesses: vec![OpenedWitness::Data(vec![1, 2])] };
        let mut expected = vec![1];
        expected.extend_from_slice(&[9; 32]);
        expected.extend_from_slice(&[1, 0, 0, 0, 0, 2, 0, 0, 0, 1, 2]);
        assert_eq!(input.to_bytes(), expected);
    }

    #[test]
    fn a_huge_announced_length_allocates_nothing() {
        let mut bytes = vec![1];
        bytes.extend_from_slice(&[9; 32]);
        bytes.extend_from_slice(&[255, 255, 255, 255, 0, 255, 255, 255, 255]);
        assert!(matches!(CircuitInput::from_bytes(&bytes), Err(DecodeError::Truncated { .. })));
    }
}
