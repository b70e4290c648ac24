//! Every version of a tree's history against the plain tree of the same leaves.

use coprocessor_merkle::{
    DOMAIN_DEPTH, EMPTY, Key, OpeningError, Place, ROOT_DEPTH, Tree, Value, block_key,
    history::{HistoryError, Write, WriteError, Writes, open, put, superseded},
    instance_key,
};
use coprocessor_types::Root;
use proptest::{collection, prelude::*, sample::Index};
use std::{collections::BTreeSet, sync::Arc};

/// Writes as a store keeps them: in bytes.
#[derive(Clone, Default)]
struct Rows {
    rows: Vec<Row>,
    read: usize,
}

#[derive(Clone)]
struct Row {
    key: Key,
    value: Value,
    depth: usize,
    siblings: Vec<u8>,
}

#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
enum RowError {
    #[error("no row {0}")]
    Missing(u64),
    #[error(transparent)]
    Refused(#[from] WriteError),
}

impl Writes for Rows {
    type Error = RowError;

    fn write(&mut self, version: u64) -> Result<Arc<Write>, RowError> {
        assert_ne!(version, 0, "no write made the empty tree");
        self.read += 1;
        let row = usize::try_from(version - 1).ok().and_then(|at| self.rows.get(at));
        let Row { key, value, depth, siblings } = row.ok_or(RowError::Missing(version))?;
        Ok(Arc::new(Write::from_parts(*key, *value, *depth, siblings)?))
    }
}

impl Rows {
    fn tip(&self) -> u64 {
        self.rows.len() as u64
    }

    /// Gives the new root.
    fn put(&mut self, key: Key, value: Value) -> Root {
        let tip = self.tip();
        let write = put(self, tip, key, value).unwrap();
        assert_eq!((write.key(), write.value(), write.depth()), (&key, &value, write.siblings().len()));
        self.rows.push(Row { key, value, depth: write.depth(), siblings: write.siblings_to_bytes() });
        write.root()
    }

    fn prune(&mut self, version: u64) {
        for cut in superseded(self, version).unwrap() {
            let siblings = &mut self.rows[cut.version as usize - 1].siblings;
            assert!(cut.keep * 40 < siblings.len(), "what is named gets shorter");
            siblings.truncate(cut.keep * 40);
        }
    }

    fn siblings(&self) -> usize {
        self.rows.iter().map(|row| row.siblings.len() / 40).sum()
    }
}

/// A history beside the plain tree of each version, from the empty tree on.
struct History {
    rows: Rows,
    trees: Vec<Tree>,
}

impl History {
    fn of(leaves: &[(Key, Value)]) -> Self {
        let mut history = Self { rows: Rows::default(), trees: vec![Tree::new()] };
        history.extend(leaves);
        history
    }

    fn extend(&mut self, leaves: &[(Key, Value)]) {
        for (key, value) in leaves {
            let mut tree = self.trees.last().unwrap().clone();
            tree.insert(*key, *value);
            assert_eq!(self.rows.put(*key, *value), tree.root());
            self.trees.push(tree);
        }
    }

    fn keys(&self) -> BTreeSet<Key> {
        self.rows.rows.iter().map(|row| row.key).collect()
    }

    /// Opens at `version` every key that any version has, and `absent`, and compares with the plain tree.
    fn check(&mut self, version: u64, absent: &[Key]) {
        let tree = &self.trees[version as usize];
        for key in self.keys().iter().chain(absent) {
            let opened = open(&mut self.rows, version, key).unwrap();
            assert_eq!(opened.opening, tree.open(key), "{key:?} at {version}");
            let writer = self.rows.rows[..version as usize].iter().rposition(|row| row.key == *key);
            let shown = opened.opening.verify(&tree.root(), key, ROOT_DEPTH);
            assert_eq!(shown, Ok(writer.map(|at| self.rows.rows[at].value)));
            assert_eq!(opened.version, writer.map(|at| at as u64 + 1));
        }
    }
}

/// Keys that often share long prefixes and often come again.
fn key() -> impl Strategy<Value = Key> {
    let near = (0u8..4, 0usize..256).prop_map(|(first, bit)| {
        let mut key = [0; 32];
        key[0] = first << 6;
        key[bit / 8] ^= 1 << (bit % 8);
        Key(key)
    });
    prop_oneof![near, (0u64..16).prop_map(block_key), any::<[u8; 32]>().prop_map(Key)]
}

/// Few values, so that a key is also set to what it holds.
fn leaves(most: usize) -> impl Strategy<Value = Vec<(Key, Value)>> {
    collection::vec((key(), (0u8..3).prop_map(|byte| Value([byte; 32]))), 1..most)
}

proptest! {
    #[test]
    fn every_version_opens_as_the_plain_tree_of_its_leaves(leaves in leaves(16), absent in collection::vec(key(), 3)) {
        let mut history = History::of(&leaves);
        for version in 0..=history.rows.tip() {
            history.check(version, &absent);
        }
    }

    #[test]
    fn an_opening_shows_its_key_at_its_root_and_nothing_false_elsewhere(
        leaves in leaves(16), absent in collection::vec(key(), 2), at in any::<Index>(),
    ) {
        let mut history = History::of(&leaves);
        let version = at.index(history.trees.len());
        let keys: Vec<Key> = history.keys().into_iter().chain(absent).collect();
        for key in &keys {
            let opening = open(&mut history.rows, version as u64, key).unwrap().opening;
            for tree in &history.trees {
                if tree.root() != history.trees[version].root() {
                    let elsewhere = opening.verify(&tree.root(), key, ROOT_DEPTH);
                    let other_root = matches!(elsewhere, Err(OpeningError::OtherRoot { .. }));
                    prop_assert!(other_root, "{elsewhere:?}");
                }
            }
            // An absence is that of all keys whose path ends there.
            for other in keys.iter().filter(|other| *other != key) {
                let shown = opening.verify(&history.trees[version].root(), other, ROOT_DEPTH);
                let truth = history.trees[version].get(other);
                match opening.place {
                    Place::Member(_) => prop_assert!(shown.is_err()),
                    Place::Empty | Place::OtherLeaf(..) => prop_assert!(shown.is_err() || shown == Ok(truth)),
                }
            }
        }
    }

    #[test]
    fn pruning_leaves_later_versions_whole_and_takes_the_earlier(
        leaves in leaves(16), absent in collection::vec(key(), 2), steps in collection::vec(any::<Index>(), 1..4),
        more in leaves(6),
    ) {
        let mut history = History::of(&leaves);
        let mut pruned = 0;
        for step in steps {
            let first = 1 + step.index(leaves.len()) as u64;
            (pruned + 1..=first).for_each(|version| history.rows.prune(version));
            pruned = pruned.max(first);
            for version in 1..=history.rows.tip() {
                if version >= pruned || history.rows.rows[version as usize - 1].depth == 0 {
                    history.check(version, &absent);
                } else {
                    let gone = open(&mut history.rows, version, &absent[0]);
                    prop_assert_eq!(gone, Err(HistoryError::Pruned { version }));
                }
            }
        }
        history.extend(&more);
        history.check(history.rows.tip(), &absent);
    }

    /// One sibling for each node of the newest tree that is no leaf.
    #[test]
    fn pruning_to_the_tip_leaves_nothing_needless(leaves in leaves(16)) {
        let mut history = History::of(&leaves);
        (1..=history.rows.tip()).for_each(|version| history.rows.prune(version));
        let tree = history.trees.last().unwrap();
        let inner = |key: &Key| {
            let key = *key;
            (0..tree.open(&key).siblings.len()).map(move |depth| (depth, first_bits(key, depth)))
        };
        let nodes: BTreeSet<(usize, Key)> = history.keys().iter().flat_map(inner).collect();
        prop_assert_eq!(history.rows.siblings(), nodes.len());
    }

    /// Whatever a store gives back, nothing is shown at a root that the root does not hold.
    #[test]
    fn changed_rows_fail_or_change_nothing(
        leaves in leaves(16), row in any::<Index>(), byte in any::<Index>(), flip in 1u8.., part in 0..4,
    ) {
        let honest = History::of(&leaves);
        let mut rows = honest.rows.clone();
        let row = row.index(leaves.len());
        let Row { key, value, depth, siblings } = &mut rows.rows[row];
        match part {
            0 => key.0[byte.index(32)] ^= flip,
            1 => value.0[byte.index(32)] ^= flip,
            2 => *depth ^= usize::from(flip),
            _ if siblings.is_empty() => siblings.push(flip),
            _ => *byte.get_mut(siblings) ^= flip,
        }
        for version in 1..=rows.tip() {
            for key in honest.keys() {
                let tree = &honest.trees[version as usize];
                if let Ok(opened) = open(&mut rows, version, &key) {
                    let shown = opened.opening.verify(&tree.root(), &key, ROOT_DEPTH);
                    prop_assert!(shown.is_err() || shown == Ok(tree.get(&key)), "{shown:?}");
                    // The caller knows the root of the version; every other row is held to it.
                    prop_assert!(shown.is_ok() || row as u64 + 1 == version, "row {row} gave {shown:?} at {version}");
                }
            }
        }
    }

    #[test]
    fn arbitrary_bytes_are_siblings_that_read_back_or_refused(
        bytes in collection::vec(any::<u8>(), 0..200), depth in 0usize..300, key in key(),
    ) {
        if let Ok(write) = Write::from_parts(key, Value([1; 32]), depth, &bytes) {
            prop_assert_eq!(write.siblings_to_bytes(), bytes);
            prop_assert_eq!(write.depth(), depth);
        }
    }

    /// Like the above, with bytes of which most are siblings.
    #[test]
    fn siblings_read_back(
        siblings in collection::vec((any::<[u8; 32]>(), 1u64..), 0..8), empty in any::<Index>(), key in key(), more in 0usize..9,
    ) {
        let mut bytes: Vec<u8> = Vec::new();
        for (at, (hash, version)) in siblings.iter().enumerate() {
            let is_empty = at > 0 && at == empty.index(siblings.len());
            let (hash, version) = if is_empty { ([0; 32], 0) } else { (*hash, *version) };
            bytes.extend(hash);
            bytes.extend(version.to_be_bytes());
        }
        let write = Write::from_parts(key, Value([1; 32]), siblings.len() + more, &bytes).unwrap();
        prop_assert_eq!(write.siblings_to_bytes(), bytes);
    }

    /// As an instance's root tree: few keys, each set again and again, from the instance's leaf on.
    #[test]
    fn a_root_trees_history(domains in collection::vec((0u8..4, any::<[u8; 32]>()), 1..24)) {
        let instance = (instance_key(), Value([9; 32]));
        let sets = domains.into_iter().map(|(domain, value)| (Key([domain.wrapping_mul(77); 32]), Value(value)));
        let leaves: Vec<_> = std::iter::once(instance).chain(sets).collect();
        let mut history = History::of(&leaves);
        for version in 0..=history.rows.tip() {
            history.check(version, &[Key([1; 32])]);
        }
    }

    #[test]
    fn blocks_in_any_order_make_the_same_tree(numbers in Just((0u64..64).collect::<Vec<_>>()).prop_shuffle()) {
        let leaf = |number: &u64| (block_key(*number), Value([*number as u8; 32]));
        let shuffled = History::of(&numbers.iter().map(leaf).collect::<Vec<_>>());
        let in_order: Tree = (0..64).map(|number| leaf(&number)).collect();
        prop_assert_eq!(shuffled.trees.last().unwrap(), &in_order);
    }
}

fn first_bits(key: Key, bits: usize) -> Key {
    let mut first = [0; 32];
    for bit in (0..bits).filter(|bit| key.turns_right(*bit)) {
        first[bit / 8] |= 0x80 >> (bit % 8);
    }
    Key(first)
}

#[test]
fn consecutive_blocks_have_log2_n_siblings_and_read_as_many_rows_at_most() {
    let mut rows = Rows::default();
    for number in 0..4096 {
        rows.put(block_key(number), Value([1; 32]));
    }
    let mut read = 0;
    for number in 0..4096 {
        rows.read = 0;
        let opened = open(&mut rows, 4096, &block_key(number)).unwrap();
        assert_eq!(opened.opening.siblings.len(), 12);
        assert_eq!(opened.version, Some(number + 1));
        assert!(rows.read <= 13, "{} rows for block {number}", rows.read);
        read += rows.read;
    }
    assert_eq!(read, 4096 * 7, "half of the levels, and the first row");
}

#[test]
fn scattered_blocks_have_about_log2_n_siblings() {
    let mut rows = Rows::default();
    let scattered = |number: u64| block_key(number.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23));
    for number in 0..4096 {
        rows.put(scattered(number), Value([1; 32]));
    }
    let depths = (0..4096).map(|number| open(&mut rows, 4096, &scattered(number)).unwrap().opening.siblings.len());
    let depths: Vec<usize> = depths.collect();
    assert!(depths.iter().all(|depth| *depth <= DOMAIN_DEPTH));
    assert!(depths.iter().sum::<usize>() < 4096 * 14, "log2 4096 is 12");
}

#[test]
fn the_empty_version_holds_nothing() {
    let mut rows = Rows::default();
    let opened = open(&mut rows, 0, &Key([7; 32])).unwrap();
    assert_eq!((opened.opening, opened.version), (Tree::new().open(&Key([7; 32])), None));
    assert_eq!(superseded(&mut rows, 0), Ok(Vec::new()));
    assert_eq!(open(&mut rows, 1, &Key([7; 32])), Err(HistoryError::Writes(RowError::Missing(1))));
}

#[test]
fn what_is_no_write_is_refused() {
    let from = |depth, bytes: &[u8]| Write::from_parts(Key([1; 32]), Value([2; 32]), depth, bytes).map(|_| ());
    let sibling = |hash: u8, version: u64| [[hash; 32].as_slice(), &version.to_be_bytes()].concat();
    assert_eq!(from(1, &sibling(1, 1)), Ok(()));
    assert_eq!(from(2, &sibling(1, 1)), Ok(()), "pruning takes the siblings nearest to the root");
    for length in [1, 39, 41, 79] {
        assert_eq!(from(5, &vec![1; length]), Err(WriteError::Length { got: length }));
    }
    assert_eq!(from(0, &sibling(1, 1)), Err(WriteError::TooMany { got: 1, depth: 0 }));
    assert_eq!(from(257, &[]), Err(WriteError::TooDeep { depth: 257 }));
    assert_eq!(from(1, &sibling(0, 0)), Err(WriteError::LoneLeaf));
    let half = |index, hash, version| Err(WriteError::HalfEmpty { index, hash, version });
    assert_eq!(from(1, &sibling(0, 3)), half(0, EMPTY, 3));
    assert_eq!(from(2, &[sibling(1, 1), sibling(4, 0)].concat()), half(1, Root([4; 32]), 0));
}

/// Rows that lead to each other, or forward, would be walked for ever.
#[test]
fn a_walk_never_goes_to_a_version_that_is_not_older() {
    let honest = History::of(&[(block_key(0), Value([0; 32])), (block_key(1), Value([1; 32]))]).rows;
    for version in [2u64, 3, u64::MAX] {
        let mut rows = honest.clone();
        rows.rows[1].siblings[32..40].copy_from_slice(&version.to_be_bytes());
        assert_eq!(open(&mut rows, 2, &block_key(0)), Err(HistoryError::Damaged { version: 2 }));
    }
}
