//! The tree's openings against a plain map of its leaves.

use coprocessor_merkle::{
    DOMAIN_DEPTH, EMPTY, Key, Opening, Place, ROOT_DEPTH, Tree, Value, block_key, leaf_hash, opened_root,
};
use coprocessor_types::Root;
use proptest::{collection, prelude::*, sample::Index};
use std::collections::BTreeMap;

/// Keys that often share long prefixes.
fn key() -> impl Strategy<Value = Key> {
    let near = (0u8..8, 0usize..256).prop_map(|(first, bit)| {
        let mut key = [0; 32];
        key[0] = first << 5;
        key[bit / 8] ^= 1 << (bit % 8);
        Key(key)
    });
    prop_oneof![near, any::<[u8; 32]>().prop_map(Key)]
}

fn leaves() -> impl Strategy<Value = BTreeMap<Key, Value>> {
    collection::btree_map(key(), any::<[u8; 32]>().prop_map(Value), 0..24)
}

fn place() -> impl Strategy<Value = Place> {
    prop_oneof![
        any::<[u8; 32]>().prop_map(|value| Place::Member(Value(value))),
        Just(Place::Empty),
        (key(), any::<[u8; 32]>()).prop_map(|(other, value)| Place::OtherLeaf(other, Value(value))),
    ]
}

fn tree(leaves: &BTreeMap<Key, Value>) -> Tree {
    leaves.iter().map(|(key, value)| (*key, *value)).collect()
}

proptest! {
    #[test]
    fn an_opening_says_what_the_map_says(leaves in leaves(), other in key()) {
        let tree = tree(&leaves);
        for key in leaves.keys().chain([&other]) {
            let opening = tree.open(key);
            prop_assert_eq!(opening.verify(&tree.root(), key, ROOT_DEPTH), Ok(leaves.get(key).copied()));
        }
    }

    #[test]
    fn block_trees_fit_their_depth(numbers in collection::btree_set(any::<u64>(), 1..24)) {
        let tree: Tree = numbers.iter().map(|number| (block_key(*number), Value([1; 32]))).collect();
        for number in &numbers {
            let opening = tree.open(&block_key(*number));
            prop_assert!(opening.siblings.len() <= DOMAIN_DEPTH);
            let opened = opened_root(&block_key(*number), &Value([1; 32]), &opening.siblings, DOMAIN_DEPTH);
            prop_assert_eq!(opened, Ok(tree.root()));
        }
    }

    #[test]
    fn no_change_to_an_opening_survives(
        leaves in leaves(), wanted in key(), at in any::<Index>(), bit in 0usize..256, how in 0..4,
    ) {
        let tree = tree(&leaves);
        let honest = tree.open(&wanted);
        let mut forged = honest.clone();
        match how {
            0 if !forged.siblings.is_empty() => {
                let at = at.index(forged.siblings.len());
                forged.siblings[at].0[bit / 8] ^= 1 << (bit % 8);
            }
            1 if !forged.siblings.is_empty() => {
                forged.siblings.remove(at.index(honest.siblings.len()));
            }
            2 => forged.siblings.insert(at.index(honest.siblings.len() + 1), EMPTY),
            _ => forged.place = match forged.place {
                Place::Member(mut value) => {
                    value.0[bit / 8] ^= 1 << (bit % 8);
                    Place::Member(value)
                }
                Place::Empty => Place::Member(Value([0; 32])),
                Place::OtherLeaf(..) => Place::Empty,
            },
        }
        prop_assert!(forged.verify(&tree.root(), &wanted, ROOT_DEPTH).is_err(), "{honest:?} as {forged:?}");
    }

    /// But for a tree of one leaf or none, whose openings need no luck.
    #[test]
    fn arbitrary_openings_show_nothing(
        leaves in leaves(), wanted in key(), place in place(),
        siblings in collection::vec(prop_oneof![Just(EMPTY), any::<[u8; 32]>().prop_map(Root)], 0..300),
    ) {
        let tree = tree(&leaves);
        let forged = Opening { place, siblings };
        let honest = forged == tree.open(&wanted);
        prop_assert_eq!(forged.verify(&tree.root(), &wanted, ROOT_DEPTH).is_ok(), honest);
    }

    #[test]
    fn the_root_tells_any_two_sets_apart(a in leaves(), b in leaves()) {
        prop_assert_eq!(a == b, tree(&a).root() == tree(&b).root());
    }
}

#[test]
fn a_tree_of_none_and_of_one() {
    let mut tree = Tree::new();
    assert_eq!(tree.root(), EMPTY);
    assert_eq!(tree.open(&Key([9; 32])), Opening { place: Place::Empty, siblings: Vec::new() });
    tree.insert(Key([9; 32]), Value([8; 32]));
    assert_eq!(tree.root(), leaf_hash(&Key([9; 32]), &Value([8; 32])));
}

/// Two keys that differ in their last bit share 255 levels.
#[test]
fn the_deepest_tree_opens() {
    let (a, mut b) = (Key([0; 32]), Key([0; 32]));
    b.0[31] = 1;
    let tree: Tree = [(a, Value([1; 32])), (b, Value([2; 32]))].into_iter().collect();
    let opening = tree.open(&b);
    assert_eq!(opening.siblings.len(), ROOT_DEPTH);
    assert_eq!(opening.verify(&tree.root(), &b, ROOT_DEPTH), Ok(Some(Value([2; 32]))));
    let mut absent = Key([0; 32]);
    absent.0[31] = 2;
    assert_eq!(tree.open(&absent).verify(&tree.root(), &absent, ROOT_DEPTH), Ok(None));
}
