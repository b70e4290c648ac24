//! The way from a Merkle-Patricia trie's root to the value of a key, or to where the key would be.
//!
//! `alloy-trie`'s `verify_proof` answers whether a value that is already known is there; a circuit has to learn the value
//! from the proof. It also copies every branch's sixteen children, which is most of what it costs in a circuit. So the walk
//! is here, over `alloy-rlp`, and `alloy-trie` is what the tests compare it with.

use crate::node::{Item, Node, list};
use alloy_primitives::B256;

/// Hash of the trie that holds nothing: Keccak-256 of an empty RLP string.
pub(crate) const EMPTY_ROOT: B256 =
    B256::new(alloy_primitives::hex!("56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421"));

/// Nibbles of a key.
const NIBBLES: usize = 64;

/// Why nodes don't lead from a root to a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TrieError {
    /// The path goes on below the last node.
    #[error("the proof ends after {nodes} nodes, before the key's place: it is truncated")]
    Truncated {
        /// Nodes there are.
        nodes: usize,
    },
    /// A node that its parent, or the root, does not name.
    #[error("node {index} of the proof hashes to {got}, expected {expected}: it is of another trie, or out of order")]
    WrongNode {
        /// Position in the proof, from 0.
        index: usize,
        /// What the parent names.
        expected: B256,
        /// What the node hashes to.
        got: B256,
    },
    /// A node that no trie over 32-byte keys contains.
    #[error("node {index} of the proof is not a trie's node: {what}")]
    Malformed {
        /// Position in the proof, from 0.
        index: usize,
        /// What is wrong with it.
        what: &'static str,
    },
    /// Nodes below the key's place.
    #[error("the key's place is found after {used} of {total} nodes: the rest does not belong to the proof")]
    LeftOver {
        /// Nodes on the path.
        used: usize,
        /// Nodes there are.
        total: usize,
    },
}

/// Where a node's parent says that it is.
enum Child<'a> {
    Absent,
    Hashed(&'a [u8; 32]),
    /// Shorter than a hash, so it lies in its parent.
    Embedded(&'a [u8]),
}

/// A step from one node.
enum Step<'a> {
    Down { child: Child<'a>, depth: usize },
    Value(&'a [u8]),
    Absent,
}

/// The value at `key`, the hash of what the trie is asked for; `None` is proved absence.
///
/// Exactly the nodes on the path, from the root down; none for the empty trie. Embedded nodes are not repeated.
///
/// # Errors
/// See [`TrieError`]. Whatever the nodes are, a value comes back only if it is the one in the trie with that root.
pub(crate) fn get<'a, 'n>(
    root: &B256,
    key: &B256,
    mut nodes: impl ExactSizeIterator<Item = &'n Node<'a>>,
) -> Result<Option<&'a [u8]>, TrieError>
where
    'a: 'n,
{
    let total = nodes.len();
    let finish = |used: usize, value| match used == total {
        true => Ok(value),
        false => Err(TrieError::LeftOver { used, total }),
    };
    if *root == EMPTY_ROOT {
        return finish(0, None);
    }
    let mut expected = root.0;
    let (mut depth, mut used) = (0, 0);
    loop {
        let node = nodes.next().ok_or(TrieError::Truncated { nodes: used })?;
        if node.hash().0 != expected {
            return Err(TrieError::WrongNode { index: used, expected: B256::new(expected), got: *node.hash() });
        }
        let mut rlp = node.rlp;
        loop {
            match step(rlp, key, depth).map_err(|what| TrieError::Malformed { index: used, what })? {
                Step::Down { child: Child::Absent, .. } | Step::Absent => return finish(used + 1, None),
                Step::Value(value) => return finish(used + 1, Some(value)),
                Step::Down { child: Child::Hashed(hash), depth: below } => {
                    (expected, depth) = (*hash, below);
                    break;
                }
                Step::Down { child: Child::Embedded(node), depth: below } => (rlp, depth) = (node, below),
            }
        }
        used += 1;
    }
}

/// What a node says of a key whose first `depth` nibbles lead to it.
fn step<'a>(rlp: &'a [u8], key: &B256, depth: usize) -> Result<Step<'a>, &'static str> {
    let mut rest = list(rlp).ok_or("it is no list, or more than one")?;
    let item = |rest: &mut &'a [u8]| Item::take(rest).ok_or("an item is missing, or is not canonical RLP");
    let first = item(&mut rest)?;
    let second = item(&mut rest)?;
    if rest.is_empty() {
        return short(first, second, key, depth);
    }
    if depth >= NIBBLES {
        return Err("a branch below the key's last nibble");
    }
    let wanted = nibble(key, depth);
    let mut chosen = if wanted == 0 { first } else { second };
    for index in 2..16 {
        let item = item(&mut rest)?;
        if index == wanted {
            chosen = item;
        }
    }
    match (item(&mut rest)?, rest) {
        (Item::String([]), []) => Ok(Step::Down { child: child(chosen)?, depth: depth + 1 }),
        (_, []) => Err("a branch with a value, which no key of 32 bytes has"),
        _ => Err("a branch has 17 items"),
    }
}

/// A leaf or an extension: the nibbles it adds to the path, and the value or the node below.
fn short<'a>(path: Item<'a>, below: Item<'a>, key: &B256, depth: usize) -> Result<Step<'a>, &'static str> {
    let Item::String(path) = path else { return Err("its path is a list") };
    let (flags, packed) = path.split_first().ok_or("its path is empty")?;
    let odd = flags & 0x10 != 0;
    if flags & 0xc0 != 0 || (!odd && flags & 0x0f != 0) {
        return Err("its path has unknown flags");
    }
    let is_leaf = flags & 0x20 != 0;
    let length = usize::from(odd) + 2 * packed.len();
    let end = depth + length;
    if is_leaf && end != NIBBLES {
        return Err("a leaf's path does not end with the key");
    }
    if !is_leaf && (length == 0 || end >= NIBBLES) {
        return Err("an extension's path is empty, or reaches beyond the key");
    }
    let at = depth + usize::from(odd);
    let same = (!odd || flags & 0x0f == nibble(key, depth) as u8) && rest_matches(key, at, packed);
    match (same, is_leaf, below) {
        (false, ..) => Ok(Step::Absent),
        (true, true, Item::String(value)) => Ok(Step::Value(value)),
        (true, true, Item::List(_)) => Err("a leaf's value is a list"),
        (true, false, below) => match child(below)? {
            Child::Absent => Err("an extension with nothing below"),
            child => Ok(Step::Down { child, depth: end }),
        },
    }
}

/// Whether the key's nibbles from `at` on are these, two in a byte.
fn rest_matches(key: &B256, at: usize, packed: &[u8]) -> bool {
    let key = &key[at / 2..];
    match at.is_multiple_of(2) {
        true => key.starts_with(packed),
        false => packed.iter().zip(key.windows(2)).all(|(byte, pair)| *byte == pair[0] << 4 | pair[1] >> 4),
    }
}

fn child(item: Item<'_>) -> Result<Child<'_>, &'static str> {
    match item {
        Item::String([]) => Ok(Child::Absent),
        Item::String(hash) => hash.try_into().map(Child::Hashed).map_err(|_| "a child is neither a node nor a hash"),
        Item::List(node) if node.len() < 32 => Ok(Child::Embedded(node)),
        Item::List(_) => Err("an embedded node has 32 bytes or more"),
    }
}

fn nibble(key: &B256, index: usize) -> usize {
    let byte = key[index / 2];
    usize::from(if index.is_multiple_of(2) { byte >> 4 } else { byte & 0x0f })
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{collections::BTreeMap, vec, vec::Vec};
    use alloy_primitives::Bytes;
    use alloy_trie::{
        HashBuilder, Nibbles,
        proof::{ProofRetainer, verify_proof},
    };
    use proptest::prelude::*;

    /// The root, and the nodes from it to each of the keys, as the crate makes them.
    fn build(values: &BTreeMap<B256, Vec<u8>>, keys: &[B256]) -> (B256, Vec<Vec<Bytes>>) {
        let targets: Vec<_> = keys.iter().map(|key| Nibbles::unpack(key)).collect();
        let mut builder = HashBuilder::default().with_proof_retainer(ProofRetainer::new(targets.clone()));
        for (key, value) in values {
            builder.add_leaf(Nibbles::unpack(key), value);
        }
        let root = builder.root();
        let nodes = builder.take_proof_nodes();
        // The builder gives nodes that lie in their parents once more.
        let path = |key: &Nibbles| {
            let path = nodes.matching_nodes_sorted(key).into_iter().map(|(_, node)| node).enumerate();
            path.filter(|(index, node)| *index == 0 || node.len() >= 32).map(|(_, node)| node).collect()
        };
        // The builder lets an empty trie have one node, which is none.
        let paths = targets.iter().map(|key| if values.is_empty() { vec![] } else { path(key) });
        (root, paths.collect())
    }

    fn look_up<'a>(root: &B256, key: &B256, nodes: &'a [Bytes]) -> Result<Option<&'a [u8]>, TrieError> {
        let nodes: Vec<_> = nodes.iter().map(|node| Node::new(node)).collect();
        get(root, key, nodes.iter())
    }

    /// Keys that share long beginnings and differ late, with values short enough that nodes lie in their parents.
    fn key() -> impl Strategy<Value = B256> {
        let late = prop::collection::vec(0u8..3, 2).prop_map(|end| {
            let mut key = [0x11; 32];
            key[30..].copy_from_slice(&end);
            key
        });
        let early = prop::collection::vec(prop::sample::select(vec![0u8, 1, 0x10, 0xff]), 32)
            .prop_map(|bytes| bytes.try_into().unwrap());
        prop_oneof![late, early, any::<[u8; 32]>()].prop_map(B256::new)
    }

    fn values() -> impl Strategy<Value = BTreeMap<B256, Vec<u8>>> {
        prop::collection::btree_map(key(), prop::collection::vec(1u8..=255, 1..40), 0..30)
    }

    proptest! {
        #[test]
        fn finds_what_is_there_and_nothing_else(values in values(), others in prop::collection::vec(key(), 1..8)) {
            let keys: Vec<_> = values.keys().chain(&others).copied().collect();
            let (root, paths) = build(&values, &keys);
            for (key, path) in keys.iter().zip(&paths) {
                let expected = values.get(key);
                prop_assert_eq!(look_up(&root, key, path), Ok(expected.map(Vec::as_slice)));
                prop_assert!(verify_proof(root, Nibbles::unpack(key), expected.cloned(), path).is_ok());
            }
        }

        /// Whatever is done to the nodes, there is no other answer than the right one.
        #[test]
        fn changed_nodes_never_give_another_answer(
            values in values(),
            other in key(),
            change in any::<prop::sample::Index>(),
            bit in 0u8..8,
            kind in 0..5,
        ) {
            let key = values.keys().next().copied().filter(|_| bit % 2 == 0).unwrap_or(other);
            let (root, mut paths) = build(&values, &[key, other]);
            let right = look_up(&root, &key, &paths[0]).unwrap().map(<[u8]>::to_vec);
            let original = paths[0].clone();
            let others = paths.pop().unwrap();
            let path = &mut paths[0];
            match kind {
                0 if !path.is_empty() => {
                    let at = change.index(path.len());
                    let mut node = path[at].to_vec();
                    let byte = change.index(node.len());
                    node[byte] ^= 1 << bit;
                    path[at] = node.into();
                }
                1 if !path.is_empty() => drop(path.remove(change.index(path.len()))),
                2 => path.insert(change.index(path.len() + 1), vec![0xc2, 0x20, 1].into()),
                3 if path.len() > 1 => path.swap(0, 1),
                _ => *path = others,
            }
            match look_up(&root, &key, &paths[0]) {
                Ok(answer) => {
                    prop_assert_eq!(answer.map(<[u8]>::to_vec), right);
                    prop_assert_eq!(&paths[0], &original, "another proof of the same");
                }
                Err(_) => prop_assert_ne!(&paths[0], &original),
            }
        }

        /// The root is the sender's own: nothing that hashes to it makes the reader fall over.
        #[test]
        fn no_node_is_a_panic(nodes in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 1..3), key in key()) {
            let nodes: Vec<Bytes> = nodes.into_iter().map(Into::into).collect();
            let root = alloy_primitives::keccak256(&nodes[0]);
            let _ = look_up(&root, &key, &nodes);
        }
    }

    #[test]
    fn nodes_that_no_trie_has_are_named() {
        let key = B256::repeat_byte(0x11);
        let refused = |node: &[u8]| match look_up(&alloy_primitives::keccak256(node), &key, &[node.to_vec().into()]) {
            Err(TrieError::Malformed { index: 0, what }) => what,
            other => panic!("{other:?}"),
        };
        assert_eq!(refused(&[]), "it is no list, or more than one");
        assert_eq!(refused(&[0xc0, 0xc0]), "it is no list, or more than one");
        assert_eq!(refused(&[0xc1, 0x80]), "an item is missing, or is not canonical RLP");
        assert_eq!(refused(&[0xc2, 0x80, 0x80]), "its path is empty");
        assert_eq!(refused(&[0xc2, 0x40, 0x01]), "its path has unknown flags");
        assert_eq!(refused(&[0xc2, 0x01, 0x01]), "its path has unknown flags");
        assert_eq!(refused(&[0xc2, 0x31, 0x01]), "a leaf's path does not end with the key");
        assert_eq!(refused(&[0xc2, 0x00, 0x01]), "an extension's path is empty, or reaches beyond the key");
        assert_eq!(refused(&[0xc2, 0x11, 0x80]), "an extension with nothing below");
        assert_eq!(refused(&[0xc2, 0x11, 0x07]), "a child is neither a node nor a hash");
        let mut branch = vec![0xd1];
        branch.extend([0x80; 16]);
        branch.push(7);
        assert_eq!(refused(&branch), "a branch with a value, which no key of 32 bytes has");
        let mut branch = vec![0xd2];
        branch.extend([0x80; 18]);
        assert_eq!(refused(&branch), "a branch has 17 items");
    }

    #[test]
    fn an_empty_trie_has_no_nodes() {
        let key = B256::ZERO;
        assert_eq!(look_up(&EMPTY_ROOT, &key, &[]), Ok(None));
        let node = Bytes::from_static(&[0x80]);
        assert_eq!(look_up(&EMPTY_ROOT, &key, &[node]), Err(TrieError::LeftOver { used: 0, total: 1 }));
        assert_eq!(look_up(&B256::ZERO, &key, &[]), Err(TrieError::Truncated { nodes: 0 }));
    }
}
