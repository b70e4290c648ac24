//! What is hashed, and under which prefix. Each prefix byte begins one kind of preimage and no other, so a hash of one
//! kind is never one of another kind.

use coprocessor_types::{BlockNumber, DomainId, Root, TrustId, sha256, sha256_pair};

const LEAF: u8 = 0;
const NODE: u8 = 1;
const BLOCK: u8 = 2;
const DOMAIN: u8 = 3;

/// The root of a subtree that holds nothing.
pub const EMPTY: Root = Root([0; 32]);

/// A leaf's place: its bits, most significant first, are the path from the root down.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Key(pub [u8; 32]);

/// What a leaf holds.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Value(pub [u8; 32]);

impl Key {
    /// Whether the path turns right at `depth` (0 at the root).
    ///
    /// # Panics
    /// At a depth of 256 or more: a key has 256 bits.
    pub fn turns_right(&self, depth: usize) -> bool {
        self.0[depth / 8] >> (7 - depth % 8) & 1 == 1
    }

    /// How many bits the two paths share before they part; 256 for equal keys.
    pub fn shared_bits(&self, other: &Self) -> usize {
        let parting = self.0.iter().zip(&other.0).enumerate().find(|(_, (a, b))| a != b);
        parting.map_or(256, |(index, (a, b))| index * 8 + (a ^ b).leading_zeros() as usize)
    }
}

/// The hash of a leaf. The whole key is inside, so an opening shows this key and no other with the same first bits.
pub fn leaf_hash(key: &Key, value: &Value) -> Root {
    Root(sha256_pair(LEAF, &key.0, &value.0))
}

/// The hash of a node over its two subtrees.
pub fn node_hash(left: &Root, right: &Root) -> Root {
    Root(sha256_pair(NODE, &left.0, &right.0))
}

/// A block's place in its domain's tree: the number's bits from the least significant on, so that consecutive blocks
/// spread evenly.
pub fn block_key(number: BlockNumber) -> Key {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&number.reverse_bits().to_be_bytes());
    Key(key)
}

/// What a domain's tree holds of a block. Everything a circuit may believe of it is inside.
pub fn block_value(number: BlockNumber, state_root: &[u8; 32], payload: &[u8], trust: &TrustId) -> Value {
    block_value_of(number, state_root, &hash(&[payload]).0, trust)
}

/// [`block_value`] from the hash of the payload.
pub(crate) fn block_value_of(
    number: BlockNumber,
    state_root: &[u8; 32],
    payload_hash: &[u8; 32],
    trust: &TrustId,
) -> Value {
    Value(hash(&[&[BLOCK], &number.to_be_bytes(), state_root, payload_hash, &trust.0]).0)
}

/// A domain's place in the root tree.
pub fn domain_key(domain: &DomainId) -> Key {
    Key(domain.0)
}

/// What the root tree holds of a domain.
pub fn domain_value(domain_root: &Root) -> Value {
    Value(hash(&[&[DOMAIN], &domain_root.0]).0)
}

/// The instance's place in the root tree: `H("coprocessor/instance")`, written out as every circuit needs it.
pub const fn instance_key() -> Key {
    Key([
        0x3f, 0x06, 0x8a, 0xce, 0xc2, 0x4c, 0x2e, 0xe5, 0xb5, 0x05, 0x5a, 0xae, 0x3c, 0x7a, 0xba, 0xfd, 0x09, 0xab,
        0x17, 0x74, 0x8f, 0x1a, 0xc2, 0x07, 0x10, 0x20, 0x51, 0x46, 0xe8, 0x4c, 0xb4, 0x25,
    ])
}

fn hash(parts: &[&[u8]]) -> Root {
    Root(sha256(parts))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{string::ToString, vec::Vec};

    #[test]
    fn block_numbers_go_least_significant_bit_first() {
        assert_eq!(block_key(0).0, [0; 32]);
        assert!(block_key(1).turns_right(0));
        assert!(!block_key(2).turns_right(0));
        assert!(block_key(2).turns_right(1));
        assert!(block_key(1 << 63).turns_right(63));
        assert_eq!(block_key(u64::MAX).0[..8], [255; 8]);
        assert_eq!(block_key(u64::MAX).0[8..], [0; 24]);
    }

    #[test]
    fn shared_bits_are_counted_from_the_root() {
        assert_eq!(block_key(0).shared_bits(&block_key(1)), 0);
        assert_eq!(block_key(0).shared_bits(&block_key(8)), 3);
        assert_eq!(block_key(5).shared_bits(&block_key(5)), 256);
    }

    /// Computed once with another SHA-256 (`printf … | sha256sum`).
    #[test]
    fn fixtures_hold_the_format() {
        assert_eq!(instance_key().0, sha256(&[b"coprocessor/instance"]));
        assert_eq!(
            leaf_hash(&Key([1; 32]), &Value([2; 32])).to_string(),
            "32fb2d4416067c5bff06423e18714ad3884365d7b816d34a77b33527d8438624"
        );
        assert_eq!(
            node_hash(&Root([1; 32]), &Root([2; 32])).to_string(),
            "b331da6ec49d4547d9942a6727e5123f69bed5a0b97ac171cfbfd6201431fcfa"
        );
        assert_eq!(
            Root(block_value(258, &[3; 32], b"payload", &TrustId([4; 32])).0).to_string(),
            "34be92e9533d73af35440e923bf8a83ab45bc1d761dfdac0c01a6d6d169b2ece"
        );
        assert_eq!(
            Root(domain_value(&Root([5; 32])).0).to_string(),
            "30fa69bfeec64ad6c55629d54cf61e3dfd3b4b9df1018e623116575c7251046b"
        );
    }

    #[test]
    fn no_two_kinds_of_preimage_hash_alike() {
        let (a, b) = ([6; 32], [7; 32]);
        let hashes: Vec<[u8; 32]> = [
            leaf_hash(&Key(a), &Value(b)).0,
            node_hash(&Root(a), &Root(b)).0,
            block_value(0, &a, &b, &TrustId(b)).0,
            domain_value(&Root(a)).0,
            hash(&[&a, &b]).0,
        ]
        .into();
        for (i, hash) in hashes.iter().enumerate() {
            assert!(!hashes[i + 1..].contains(hash), "{i}");
        }
    }
}
