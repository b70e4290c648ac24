//! Groth16 over BN254: the key, the proof, the signals, and the contract.

use crate::{
    ContractName, G1, G2, SolidityError, Word,
    abi::{keccak256, selector},
    curve::{BASE_FIELD, SCALAR_FIELD},
};
use std::fmt::Write;

/// As many public signals as a contract has room for: chains take 24,576 bytes of code, of which solc's optimiser makes 110 for
/// each signal, and a compiler that doesn't optimise more.
pub const MAX_SIGNALS: usize = 150;

/// A verifying key whose proofs say something.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VerifyingKey {
    alpha: G1,
    beta: G2,
    gamma: G2,
    delta: G2,
    /// One point, and one more for each public signal.
    ic: Vec<G1>,
}

/// A proof. Not unique: from one, anybody can make others of the same signals.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Proof {
    /// Point of the first group.
    pub a: G1,
    /// Point of the second group.
    pub b: G2,
    /// Point of the first group.
    pub c: G1,
}

/// Public signals of a coprocessor's circuit: the root's high and low 128 bits, then its outputs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PublicSignals(Vec<Word>);

impl VerifyingKey {
    pub(crate) fn new(alpha: G1, beta: G2, gamma: G2, delta: G2, ic: Vec<G1>) -> Result<Self, SolidityError> {
        let infinite = [
            ("alpha", alpha.is_infinity()),
            ("beta", beta.is_infinity()),
            ("gamma", gamma.is_infinity()),
            ("delta", delta.is_infinity()),
        ];
        if let Some((at, _)) = infinite.into_iter().find(|(_, is)| *is) {
            return Err(SolidityError::Infinity { at });
        }
        if gamma == delta {
            return Err(SolidityError::NoContribution);
        }
        match ic.len().saturating_sub(1) {
            got @ ..2 => return Err(SolidityError::NoRoot { got }),
            got if got > MAX_SIGNALS => return Err(SolidityError::TooManySignals { got }),
            _ => {}
        }
        if let Some(index) = ic.iter().skip(1).position(G1::is_infinity) {
            return Err(SolidityError::UnboundSignal { index });
        }
        Ok(Self { alpha, beta, gamma, delta, ic })
    }

    /// How many public signals its proofs have.
    pub fn signals(&self) -> usize {
        self.ic.len() - 1
    }

    /// Names the key, and so the circuit: Keccak-256 over its points as the precompiled contracts take them: alpha, beta, gamma,
    /// delta, then IC. The written contract has it as `VERIFYING_KEY_HASH`.
    pub fn hash(&self) -> Word {
        let mut words = self.alpha.words().to_vec();
        words.extend([self.beta, self.gamma, self.delta].iter().flat_map(G2::words));
        words.extend(self.ic.iter().flat_map(G1::words));
        Word(keccak256(&words.iter().flat_map(|word| *word.as_bytes()).collect::<Vec<_>>()))
    }

    /// The gas to give a call of the written contract. An estimate of a node's comes out too low: where the gas ends within a
    /// precompiled contract, the verifier answers that the proof does not hold, and the node takes that for a success.
    pub fn gas(&self) -> u64 {
        gas(self.signals())
    }

    /// The Solidity source of a contract that verifies proofs against this key, with the interface that snarkjs's has:
    /// `verifyProof(uint256[2] a, uint256[2][2] b, uint256[2] c, uint256[N] signals) view returns (bool)`.
    ///
    /// It answers false for signals that are not below the field's order, for points that are not on their curves or not in
    /// their groups, and for proofs that do not hold. It reverts for calldata that is too short.
    pub fn contract(&self, name: &ContractName) -> String {
        let signals = self.signals();
        format!(
            "// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.20;

/// @title Verifies Groth16 proofs over BN254 of one circuit with {signals} public signals.
/// @notice Written by `cargo coprocessor export solidity` from the circuit's verifying key. The first two signals are the high
/// and the low 128 bits of a coprocessor's root: that the halves are no longer, and that the root is one to be believed, is for the
/// caller to check.
/// @dev Give a call {gas} gas: what a node estimates is too low, since the contract answers false where gas runs out in a
/// precompiled contract.
contract {name} {{
    /// @notice Keccak-256 over the verifying key's points.
    bytes32 public constant VERIFYING_KEY_HASH = {hash};

    /// @dev Coordinates are below it.
    uint256 private constant BASE_FIELD = {BASE_FIELD};
    /// @dev Public signals are below it.
    uint256 private constant SCALAR_FIELD = {SCALAR_FIELD};

{constants}
    /// @notice Whether the proof holds for these signals. A signal that is not below the field's order is refused, not reduced.
    /// @param a The proof's first point.
    /// @param b Its second point; of each coordinate's two parts the imaginary one first.
    /// @param c Its third point.
    /// @param signals The public signals.
    function verifyProof(
        uint256[2] calldata a,
        uint256[2][2] calldata b,
        uint256[2] calldata c,
        uint256[{signals}] calldata signals
    ) external view returns (bool valid) {{
        assembly (\"memory-safe\") {{
            // The precompiled contract would refuse a coordinate that is too large, but a.y is negated before.
            let ok := lt(calldataload(add(a, 0x20)), BASE_FIELD)
{checks}
            if ok {{
                // What the pairing is checked of: (-a, b), (alpha, beta), (sum, gamma), (c, delta).
                let m := mload(0x40)

                // The sum of IC0 and each signal times its point, in its place; products are beside it, where gamma will be.
                mstore(add(m, 0x180), IC0_X)
                mstore(add(m, 0x1a0), IC0_Y)
{terms}
                mstore(m, calldataload(a))
                mstore(add(m, 0x20), mod(sub(BASE_FIELD, calldataload(add(a, 0x20))), BASE_FIELD))
                calldatacopy(add(m, 0x40), b, 0x80)
                mstore(add(m, 0xc0), ALPHA_X)
                mstore(add(m, 0xe0), ALPHA_Y)
{beta}{gamma}                calldatacopy(add(m, 0x240), c, 0x40)
{delta}
                ok := and(ok, staticcall(gas(), 0x08, m, 0x300, m, 0x20))
                valid := and(ok, mload(m))
            }}
        }}
    }}
}}
",
            gas = self.gas(),
            hash = self.hash(),
            constants = self.constants(),
            checks = in_field(signals),
            terms = terms(signals),
            beta = stored("BETA", 0x100),
            gamma = stored("GAMMA", 0x1c0),
            delta = stored("DELTA", 0x280),
        )
    }

    fn constants(&self) -> String {
        let mut text = String::new();
        let mut constant = |name: String, word: Word| {
            let _ = writeln!(text, "    uint256 private constant {name} = {word};");
        };
        constant("ALPHA_X".into(), self.alpha.x);
        constant("ALPHA_Y".into(), self.alpha.y);
        for (name, point) in [("BETA", self.beta), ("GAMMA", self.gamma), ("DELTA", self.delta)] {
            for (part, word) in PARTS.iter().zip(point.words()) {
                constant(format!("{name}_{part}"), word);
            }
        }
        for (at, point) in self.ic.iter().enumerate() {
            constant(format!("IC{at}_X"), point.x);
            constant(format!("IC{at}_Y"), point.y);
        }
        text
    }
}

impl Proof {
    /// The proof alone, as `Groth16Adapter` in `contracts/` takes it: 256 bytes, `abi.encode(a, b, c)`.
    pub fn to_bytes(&self) -> Vec<u8> {
        let words = self.a.words().into_iter().chain(self.b.words()).chain(self.c.words());
        words.flat_map(|word| word.0).collect()
    }

    /// Calldata of `verifyProof`.
    pub fn call(&self, signals: &PublicSignals) -> Vec<u8> {
        let signature = signals.signature();
        [&selector(&signature)[..], &self.to_bytes(), &signals.0.iter().flat_map(|word| word.0).collect::<Vec<_>>()]
            .concat()
    }
}

impl PublicSignals {
    /// Takes signals that are written in the one way there is.
    ///
    /// # Errors
    /// [`SolidityError::NoRoot`], [`SolidityError::NotInField`], [`SolidityError::RootHalf`].
    pub fn new(signals: Vec<Word>) -> Result<Self, SolidityError> {
        if signals.len() < 2 {
            return Err(SolidityError::NoRoot { got: signals.len() });
        }
        if let Some(index) = signals.iter().position(|signal| *signal >= SCALAR_FIELD) {
            return Err(SolidityError::NotInField { index });
        }
        if let Some(index) = signals[..2].iter().position(|half| half.0[..16] != [0; 16]) {
            return Err(SolidityError::RootHalf { index });
        }
        Ok(Self(signals))
    }

    /// Reads `root ‖ output`, where the output is 32 bytes for each signal behind the root's two.
    ///
    /// # Errors
    /// [`SolidityError::PublicValuesLength`], [`SolidityError::NotInField`].
    pub fn from_public_values(bytes: &[u8]) -> Result<Self, SolidityError> {
        let length = || SolidityError::PublicValuesLength { got: bytes.len() };
        let (root, output) = bytes.split_first_chunk::<32>().ok_or_else(length)?;
        let (outputs, rest) = output.as_chunks::<32>();
        if !rest.is_empty() {
            return Err(length());
        }
        let mut signals = vec![Word::ZERO; 2];
        signals[0].0[16..].copy_from_slice(&root[..16]);
        signals[1].0[16..].copy_from_slice(&root[16..]);
        signals.extend(outputs.iter().copied().map(Word));
        Self::new(signals)
    }

    /// The signals.
    pub fn words(&self) -> &[Word] {
        &self.0
    }

    /// `root (32 bytes) ‖ output`: the root's halves joined, then each output in 32 bytes.
    pub fn public_values(&self) -> Vec<u8> {
        let root = self.0[..2].iter().flat_map(|half| half.0[16..].to_vec());
        root.chain(self.0[2..].iter().flat_map(|word| word.0)).collect()
    }

    /// The function that takes so many signals, as selectors are made of.
    pub fn signature(&self) -> String {
        format!("verifyProof(uint256[2],uint256[2][2],uint256[2],uint256[{}])", self.0.len())
    }

    /// The gas to give a call of `verifyProof`: see [`VerifyingKey::gas`].
    pub fn gas(&self) -> u64 {
        gas(self.0.len())
    }
}

/// A coordinate's parts in the order of [`G2::words`].
const PARTS: [&str; 4] = ["X1", "X0", "Y1", "Y0"];

/// What a transaction costs before it runs, what the pairing does, and what a signal does; each with room.
fn gas(signals: usize) -> u64 {
    230_000 + 8_000 * signals as u64
}

fn in_field(signals: usize) -> String {
    (0..signals).fold(String::new(), |mut text, at| {
        let _ = writeln!(text, "            ok := and(ok, lt(calldataload({}), SCALAR_FIELD))", signal(at));
        text
    })
}

fn terms(signals: usize) -> String {
    (0..signals).fold(String::new(), |mut text, at| {
        let (ic, signal) = (at + 1, signal(at));
        let _ = write!(
            text,
            "                mstore(add(m, 0x1c0), IC{ic}_X)
                mstore(add(m, 0x1e0), IC{ic}_Y)
                mstore(add(m, 0x200), calldataload({signal}))
                ok := and(ok, staticcall(gas(), 0x07, add(m, 0x1c0), 0x60, add(m, 0x1c0), 0x40))
                ok := and(ok, staticcall(gas(), 0x06, add(m, 0x180), 0x80, add(m, 0x180), 0x40))
"
        );
        text
    })
}

/// Where a signal is in the calldata.
fn signal(at: usize) -> String {
    if at == 0 { "signals".to_owned() } else { format!("add(signals, {:#04x})", 32 * at) }
}

/// Four words of a point of the second group, put into memory from `offset` on.
fn stored(point: &str, offset: usize) -> String {
    PARTS.iter().enumerate().fold(String::new(), |mut text, (at, part)| {
        let _ = writeln!(text, "                mstore(add(m, {:#x}), {point}_{part})", offset + 32 * at);
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_say_root_and_output() {
        let half = |byte: u8| Word([[0; 16], [byte; 16]].concat().try_into().unwrap());
        let signals = PublicSignals::new(vec![half(0xaa), half(0xbb), Word::from(5)]).unwrap();
        let expected = [&[0xaa; 16][..], &[0xbb; 16], Word::from(5).as_bytes()].concat();
        assert_eq!(signals.public_values(), expected);
        assert_eq!(PublicSignals::from_public_values(&expected).unwrap(), signals);
        assert_eq!(signals.signature(), "verifyProof(uint256[2],uint256[2][2],uint256[2],uint256[3])");
    }

    #[test]
    fn public_values_that_are_no_signals_are_refused() {
        for length in [0, 31, 33, 63, 65] {
            let refused = PublicSignals::from_public_values(&vec![1; length]).unwrap_err();
            assert!(matches!(refused, SolidityError::PublicValuesLength { got } if got == length), "{refused}");
        }
        let beyond = [[0xff; 32], SCALAR_FIELD.0].concat();
        let refused = PublicSignals::from_public_values(&beyond).unwrap_err();
        assert!(matches!(refused, SolidityError::NotInField { index: 2 }), "{refused}");
        assert_eq!(PublicSignals::from_public_values(&[0xff; 32]).unwrap().words().len(), 2);
    }

    #[test]
    fn calldata_is_the_selector_the_points_and_the_signals() {
        let (one, two) = (Word::from(1), Word::from(2));
        let b = G2 { x: [Word::from(10), Word::from(11)], y: [Word::from(12), Word::from(13)] };
        let proof = Proof { a: G1 { x: one, y: two }, b, c: G1 { x: two, y: one } };
        let signals = PublicSignals::new(vec![Word::from(20), Word::from(21)]).unwrap();
        let call = proof.call(&signals);
        assert_eq!(call[..4], selector("verifyProof(uint256[2],uint256[2][2],uint256[2],uint256[2])"));
        let words: Vec<_> = call[4..].chunks(32).map(|word| word[31]).collect();
        assert_eq!(words, [1, 2, 11, 10, 13, 12, 2, 1, 20, 21]);
    }
}
