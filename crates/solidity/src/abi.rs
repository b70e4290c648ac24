//! Calls as contracts take them: selectors, words, and bytes of any length.

use crate::Word;
use tiny_keccak::{Hasher, Keccak};

/// One argument of a call.
#[derive(Clone, Copy, Debug)]
pub enum Argument<'a> {
    /// What fills one word: a number, an address, `bytes32`.
    Static(Word),
    /// `bytes`.
    Bytes(&'a [u8]),
}

/// Keccak-256, 32 bytes.
pub fn keccak256(content: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    let mut keccak = Keccak::v256();
    keccak.update(content);
    keccak.finalize(&mut hash);
    hash
}

/// What a call begins with, and an error's data: the first four bytes of its signature's hash. `signature` is as in
/// `verify(bytes32,bytes,bytes)`.
pub fn selector(signature: &str) -> [u8; 4] {
    let [a, b, c, d, ..] = keccak256(signature.as_bytes());
    [a, b, c, d]
}

/// A call's data.
pub fn call(signature: &str, arguments: &[Argument<'_>]) -> Vec<u8> {
    [&selector(signature)[..], &encode(arguments)].concat()
}

/// Arguments without a selector, as a constructor takes them.
pub fn encode(arguments: &[Argument<'_>]) -> Vec<u8> {
    let (mut head, mut tail) = (Vec::new(), Vec::new());
    for argument in arguments {
        match argument {
            Argument::Static(word) => head.extend_from_slice(word.as_bytes()),
            Argument::Bytes(bytes) => {
                head.extend_from_slice(Word::from(32 * arguments.len() + tail.len()).as_bytes());
                tail.extend_from_slice(Word::from(bytes.len()).as_bytes());
                tail.extend_from_slice(bytes);
                tail.resize(tail.len().next_multiple_of(32), 0);
            }
        }
    }
    head.extend(tail);
    head
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_are_those_of_the_abi() {
        assert_eq!(hex::encode(selector("transfer(address,uint256)")), "a9059cbb");
        // SP1's verifier contracts, as published.
        assert_eq!(hex::encode(selector("verifyProof(bytes32,bytes,bytes)")), "41493c60");
    }

    #[test]
    fn bytes_come_after_the_heads_and_are_padded() {
        let data = encode(&[Argument::Bytes(b"ab"), Argument::Static(Word::from(7)), Argument::Bytes(&[])]);
        let words: Vec<_> = data.chunks(32).map(hex::encode).collect();
        let number = |number: usize| format!("{number:064x}");
        let text = format!("6162{}", "0".repeat(60));
        assert_eq!(words, [number(96), number(7), number(160), number(2), text, number(0)]);
    }
}
