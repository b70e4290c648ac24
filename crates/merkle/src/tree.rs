//! A tree in memory: the rules in their plainest form.

use crate::{
    Key, Opening, Place, Value,
    hash::{EMPTY, leaf_hash, node_hash},
};
use alloc::{collections::BTreeMap, vec::Vec};
use coprocessor_types::Root;

/// A set of leaves, and the root and openings that follow from it.
///
/// Every root or opening is computed from all leaves: meant for small trees, and as the model that others are tested
/// against.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    leaves: BTreeMap<Key, Value>,
}

type Leaf<'a> = (&'a Key, &'a Value);

impl Tree {
    /// A tree that holds nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts a leaf in; gives the value it replaces.
    pub fn insert(&mut self, key: Key, value: Value) -> Option<Value> {
        self.leaves.insert(key, value)
    }

    /// The value of a leaf, if there is one with that key.
    pub fn get(&self, key: &Key) -> Option<Value> {
        self.leaves.get(key).copied()
    }

    /// The tree's root.
    pub fn root(&self) -> Root {
        subtree_root(&self.sorted(), 0)
    }

    /// The opening of `key`: its value, or its absence.
    pub fn open(&self, key: &Key) -> Opening {
        let sorted = self.sorted();
        let mut subtree = sorted.as_slice();
        let mut siblings = Vec::new();
        while subtree.len() > 1 {
            let depth = siblings.len();
            let (left, right) = halves(subtree, depth);
            let (path, beside) = if key.turns_right(depth) { (right, left) } else { (left, right) };
            siblings.push(subtree_root(beside, depth + 1));
            subtree = path;
        }
        siblings.reverse();
        let place = match subtree {
            [(own, value)] if *own == key => Place::Member(**value),
            [(other, value)] => Place::OtherLeaf(**other, **value),
            _ => Place::Empty,
        };
        Opening { place, siblings }
    }

    fn sorted(&self) -> Vec<Leaf<'_>> {
        self.leaves.iter().collect()
    }
}

impl FromIterator<(Key, Value)> for Tree {
    fn from_iter<I: IntoIterator<Item = (Key, Value)>>(leaves: I) -> Self {
        Self { leaves: leaves.into_iter().collect() }
    }
}

fn subtree_root(leaves: &[Leaf<'_>], depth: usize) -> Root {
    match leaves {
        [] => EMPTY,
        [(key, value)] => leaf_hash(key, value),
        _ => {
            let (left, right) = halves(leaves, depth);
            node_hash(&subtree_root(left, depth + 1), &subtree_root(right, depth + 1))
        }
    }
}

/// Leaves are sorted, so those that turn left come first.
fn halves<'a, 'b>(leaves: &'b [Leaf<'a>], depth: usize) -> (&'b [Leaf<'a>], &'b [Leaf<'a>]) {
    leaves.split_at(leaves.partition_point(|(key, _)| !key.turns_right(depth)))
}
