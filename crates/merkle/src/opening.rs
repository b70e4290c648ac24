//! An opening: what a tree holds under one key, shown by the siblings along the key's path.

use crate::{
    Key, Value,
    hash::{EMPTY, leaf_hash, node_hash},
};
use alloc::vec::Vec;
use coprocessor_types::Root;

/// Depth of a domain's tree: a block number has 64 bits.
pub const DOMAIN_DEPTH: usize = 64;

/// Depth of the root tree: a domain id has 256 bits.
pub const ROOT_DEPTH: usize = 256;

/// Why an opening shows nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum OpeningError {
    /// More siblings than the tree is deep.
    #[error("opening too deep: {got} siblings in a tree of depth {limit}")]
    TooDeep {
        /// Number of siblings.
        got: usize,
        /// The tree's depth.
        limit: usize,
    },
    /// The deepest sibling is empty: a tree puts a lone leaf higher up.
    #[error("opening not canonical: the deepest of its {depth} siblings is empty")]
    EmptySibling {
        /// Number of siblings.
        depth: usize,
    },
    /// The opening leads to another root.
    #[error("opening leads to root {got}, expected {expected}")]
    OtherRoot {
        /// The root it was checked against.
        expected: Root,
        /// The root its hashes lead to.
        got: Root,
    },
    /// Absence shown by a leaf that does not stand in the key's way.
    #[error("absence not shown: the other leaf shares {shared} bits with the key, {needed} needed")]
    OtherPath {
        /// Leading bits the two keys share.
        shared: usize,
        /// Depth at which the other leaf is said to stand.
        needed: usize,
    },
    /// Absence shown by a leaf that has the key itself, or stands so deep that only the key itself fits there.
    #[error("absence not shown: the leaf is the key's own")]
    OwnLeaf,
    /// A domain id that is the instance's place in the root tree.
    #[error("the domain id is the instance's own place in the root tree; no domain can have it")]
    InstancePlace,
}

/// What stands at the end of a key's path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// The key's own leaf, with this value.
    Member(Value),
    /// Nothing: the key is absent.
    Empty,
    /// The only leaf of the subtree the path leads into, with another key: the key is absent.
    OtherLeaf(Key, Value),
}

/// What a tree holds under one key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Opening {
    /// What is claimed to stand at the end of the path.
    pub place: Place,
    /// Roots of the subtrees beside the path, from the place up to the root.
    pub siblings: Vec<Root>,
}

impl Opening {
    /// Checks the opening of `key` at `root`, in a tree of depth `limit`: gives the key's value, or `None` when the key
    /// is absent.
    ///
    /// `root`, `key` and `limit` must come from data the caller trusts. An attacker who chooses the opening cannot show
    /// another value, absence of a present key or presence of an absent one, under a root that was built by the rules of
    /// this crate, without a SHA-256 collision; he cannot show one fact by two openings either, nor cost more than
    /// `limit` hashes.
    ///
    /// # Errors
    /// See [`OpeningError`].
    pub fn verify(&self, root: &Root, key: &Key, limit: usize) -> Result<Option<Value>, OpeningError> {
        let got = self.root(key, limit)?;
        if got != *root {
            return Err(OpeningError::OtherRoot { expected: *root, got });
        }
        Ok(match self.place {
            Place::Member(value) => Some(value),
            Place::Empty | Place::OtherLeaf(..) => None,
        })
    }

    /// The root it leads to.
    pub(crate) fn root(&self, key: &Key, limit: usize) -> Result<Root, OpeningError> {
        let end = match self.place {
            Place::Member(value) => leaf_hash(key, &value),
            Place::Empty => EMPTY,
            Place::OtherLeaf(other, value) => {
                self.stands_in_the_way(key, &other, limit)?;
                leaf_hash(&other, &value)
            }
        };
        climb(key, end, &self.siblings, limit)
    }

    /// The root of the same tree once `key` is set to `value`.
    pub(crate) fn root_with(&self, key: &Key, value: &Value, limit: usize) -> Result<Root, OpeningError> {
        let leaf = leaf_hash(key, value);
        let Place::OtherLeaf(other, other_value) = self.place else {
            return climb(key, leaf, &self.siblings, limit);
        };
        self.stands_in_the_way(key, &other, limit)?;
        // Both leaves go down to where their paths part.
        let between = key.shared_bits(&other) - self.siblings.len();
        let mut siblings = Vec::with_capacity(1 + between + self.siblings.len());
        siblings.push(leaf_hash(&other, &other_value));
        siblings.resize(1 + between, EMPTY);
        siblings.extend_from_slice(&self.siblings);
        climb(key, leaf, &siblings, limit)
    }

    fn stands_in_the_way(&self, key: &Key, other: &Key, limit: usize) -> Result<(), OpeningError> {
        let needed = self.siblings.len();
        if other == key || needed == limit {
            return Err(OpeningError::OwnLeaf);
        }
        match key.shared_bits(other) {
            shared if shared < needed => Err(OpeningError::OtherPath { shared, needed }),
            _ => Ok(()),
        }
    }
}

/// The root of the tree of depth `limit` in which `siblings` lead from the leaf `(key, value)` upwards.
///
/// Compare it with a root you trust: on its own it shows nothing.
///
/// # Errors
/// Too deep, or not the one way the tree stores this leaf.
pub fn opened_root(key: &Key, value: &Value, siblings: &[Root], limit: usize) -> Result<Root, OpeningError> {
    climb(key, leaf_hash(key, value), siblings, limit)
}

fn climb(key: &Key, end: Root, siblings: &[Root], limit: usize) -> Result<Root, OpeningError> {
    let depth = siblings.len();
    // Keys have no more bits than that, whatever the caller allows.
    let limit = limit.min(ROOT_DEPTH);
    if depth > limit {
        return Err(OpeningError::TooDeep { got: depth, limit });
    }
    if siblings.first() == Some(&EMPTY) {
        return Err(OpeningError::EmptySibling { depth });
    }
    let levels = (0..depth).rev();
    Ok(siblings.iter().zip(levels).fold(end, |below, (sibling, level)| match key.turns_right(level) {
        true => node_hash(sibling, &below),
        false => node_hash(&below, sibling),
    }))
}
