//! Proofs that snarkjs made (contracts/fixtures/remake.mjs).

use coprocessor_solidity::{G1, G2, Proof, PublicSignals, VerifyingKey, Word};

/// A proof, and what it says.
#[derive(Clone)]
pub(crate) struct Statement {
    pub(crate) proof: Proof,
    pub(crate) signals: PublicSignals,
}

/// Places of the words in the public values, and of the signals behind the root's two.
pub(crate) const AUDIENCE: usize = 2;
pub(crate) const NULLIFIER: usize = 3;
pub(crate) const RECIPIENT: usize = 4;
pub(crate) const AMOUNT: usize = 5;

/// The order of the field that coordinates are in.
const BASE_FIELD: &str = "0x30644e72e131a029b85045b68181585d97816a916871ca8d3c208c16d87cfd47";

/// The order of the field that signals are in.
pub(crate) const SCALAR_FIELD: &str = "0x30644e72e131a029b85045b68181585d2833e84879b9709143e1f593f0000001";

macro_rules! statement {
    ($proof:literal, $public:literal) => {
        Statement {
            proof: Proof::from_snarkjs(include_bytes!(concat!(
                "../../../../contracts/fixtures/",
                $proof,
                ".proof.json"
            )))
            .unwrap(),
            signals: PublicSignals::from_snarkjs(include_bytes!(concat!(
                "../../../../contracts/fixtures/",
                $public,
                ".public.json"
            )))
            .unwrap(),
        }
    };
}

pub(crate) fn key() -> VerifyingKey {
    VerifyingKey::from_snarkjs(include_bytes!("../../../../contracts/fixtures/verification_key.json")).unwrap()
}

/// A claim.
pub(crate) fn claim() -> Statement {
    statement!("claim", "claim")
}

/// The same claim, by a proof made of the other one without its witness.
pub(crate) fn claim_rerandomised() -> Statement {
    statement!("claim_rerandomised", "claim")
}

/// The same claim at another root.
pub(crate) fn claim_at_later_root() -> Statement {
    statement!("claim_later_root", "claim_later_root")
}

/// A hash of an SP1 program's verifying key.
pub(crate) fn sp1_program() -> Word {
    Word([0x5a; 32])
}

impl Statement {
    pub(crate) fn public_values(&self) -> Vec<u8> {
        self.signals.public_values()
    }

    pub(crate) fn root(&self) -> Word {
        Word(self.public_values()[..32].try_into().unwrap())
    }

    /// What `Groth16Adapter` takes.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.proof.to_bytes()
    }

    /// Public values in which one signal after the root's two is another.
    pub(crate) fn public_values_with(&self, signal: usize, word: Word) -> Vec<u8> {
        let mut values = self.public_values();
        values[32 * (signal - 1)..][..32].copy_from_slice(word.as_bytes());
        values
    }
}

/// A proof of the same statement, for which nothing need be known: (−a, −b, c).
pub(crate) fn negated(proof: &Proof) -> Proof {
    let order = Word::from_hex(BASE_FIELD).unwrap();
    let minus = |word: Word| if word == Word::ZERO { word } else { difference(order, word) };
    let a = G1 { x: proof.a.x, y: minus(proof.a.y) };
    let b = G2 { x: proof.b.x, y: proof.b.y.map(minus) };
    Proof { a, b, c: proof.c }
}

/// The same point by a coordinate that is not below the field's order.
pub(crate) fn beyond_base_field(word: Word) -> Word {
    sum(word, Word::from_hex(BASE_FIELD).unwrap())
}

/// The same value by a number that is not below the field's order.
pub(crate) fn beyond_scalar_field(word: Word) -> Word {
    sum(word, Word::from_hex(SCALAR_FIELD).unwrap())
}

pub(crate) fn sum(one: Word, other: Word) -> Word {
    let mut carry = 0;
    let mut bytes = [0; 32];
    for at in (0..32).rev() {
        let digit = u16::from(one.0[at]) + u16::from(other.0[at]) + carry;
        bytes[at] = digit.to_le_bytes()[0];
        carry = digit >> 8;
    }
    assert_eq!(carry, 0, "the sum has more than 256 bits");
    Word(bytes)
}

fn difference(larger: Word, smaller: Word) -> Word {
    let complement = Word(smaller.0.map(|byte| !byte));
    // larger − smaller = larger + (2^256 − 1 − smaller) + 1 − 2^256
    let mut carry = 1;
    let mut bytes = [0; 32];
    for at in (0..32).rev() {
        let digit = u16::from(larger.0[at]) + u16::from(complement.0[at]) + carry;
        bytes[at] = digit.to_le_bytes()[0];
        carry = digit >> 8;
    }
    assert_eq!(carry, 1, "the difference is negative");
    Word(bytes)
}
