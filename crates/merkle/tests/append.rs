//! Append proofs between the roots of a plain model, and what an attacker may make of them.

use coprocessor_merkle::{
    AppendError, BlockAppend, DOMAIN_DEPTH, EMPTY, Key, Opening, OpeningError, Place, ROOT_DEPTH, Tree, Value,
    block_key, block_value, domain_key, domain_value, instance_key,
};
use coprocessor_types::{DomainId, Root, TrustId, sha256};
use proptest::{collection, prelude::*};
use std::collections::BTreeMap;

/// An instance's trees in their plainest form.
#[derive(Clone)]
struct World {
    domains: BTreeMap<DomainId, Tree>,
    top: Tree,
}

impl World {
    fn new() -> Self {
        let top = [(instance_key(), Value([0xaa; 32]))].into_iter().collect();
        Self { domains: BTreeMap::new(), top }
    }

    /// The four domains of the tests. Two share all but their last bit, two their first byte with the instance.
    fn domain(index: u8) -> DomainId {
        let mut near_instance = instance_key().0;
        near_instance[1 + usize::from(index)] ^= 1;
        match index {
            0 | 1 => DomainId([&[0x55; 31][..], &[index]].concat().try_into().unwrap()),
            _ => DomainId(near_instance),
        }
    }

    fn tree(&self, domain: DomainId) -> Tree {
        self.domains.get(&domain).cloned().unwrap_or_default()
    }

    fn root(&self) -> Root {
        self.top.root()
    }

    /// Appends a block; gives the proof.
    fn append(&mut self, domain: DomainId, number: u64) -> BlockAppend {
        let proof = BlockAppend {
            domain,
            number,
            state_root: [number as u8; 32],
            payload_hash: sha256(&[&number.to_be_bytes()]),
            trust: TrustId([4; 32]),
            in_domain: self.tree(domain).open(&block_key(number)),
            in_root: self.top.open(&domain_key(&domain)),
        };
        let value = block_value(number, &proof.state_root, &number.to_be_bytes(), &proof.trust);
        self.set(domain, number, value);
        proof
    }

    /// Sets a block's value, whatever was there.
    fn set(&mut self, domain: DomainId, number: u64, value: Value) {
        let tree = self.domains.entry(domain).or_default();
        tree.insert(block_key(number), value);
        self.top.insert(domain_key(&domain), domain_value(&tree.root()));
    }
}

proptest! {
    #[test]
    fn appends_verify_between_neighbours_and_nowhere_else(
        blocks in collection::vec((0u8..4, prop_oneof![0u64..32, any::<u64>(), (0u32..64).prop_map(|bit| 1 << bit)]), 1..9),
    ) {
        let mut world = World::new();
        let (mut roots, mut proofs) = (vec![world.root()], Vec::new());
        for (domain, number) in blocks {
            let domain = World::domain(domain);
            if world.tree(domain).get(&block_key(number)).is_none() {
                proofs.push(world.append(domain, number));
                roots.push(world.root());
            }
        }
        for (at, proof) in proofs.iter().enumerate() {
            prop_assert_eq!(proof.roots(), Ok((roots[at], roots[at + 1])));
            for (from, from_root) in roots.iter().enumerate() {
                for (to, to_root) in roots.iter().enumerate() {
                    let expected = match (from == at, to == at + 1) {
                        (true, true) => Ok(()),
                        (false, _) => Err(AppendError::From { expected: *from_root, got: roots[at] }),
                        (true, false) => Err(AppendError::To { expected: *to_root, got: roots[at + 1] }),
                    };
                    prop_assert_eq!(proof.verify(from_root, to_root), expected, "{} from {} to {}", at, from, to);
                }
            }
        }
    }

    /// Whatever is claimed, an append to an honest root never leads to a root that the honest rules don't lead to.
    #[test]
    fn arbitrary_openings_append_to_no_honest_root(
        siblings in collection::vec(any::<[u8; 32]>().prop_map(Root), 0..80), split in 0usize..80, place in 0usize..3, number in 0u64..8,
    ) {
        let (_, proof, from, _) = honest();
        let (in_domain, in_root) = siblings.split_at(split.min(siblings.len()));
        let leaf = |key: Key| Place::OtherLeaf(Key({ let mut key = key.0; key[31] ^= 1; key }), Value([1; 32]));
        let place = [Place::Empty, leaf(block_key(number)), Place::Member(Value([1; 32]))][place];
        let in_domain = Opening { place, siblings: in_domain.to_vec() };
        let in_root = Opening { place: Place::Empty, siblings: in_root.to_vec() };
        let forged = BlockAppend { number, in_domain, in_root, ..proof };
        if let Ok((got, _)) = forged.roots() {
            prop_assert_ne!(got, from);
        }
    }
}

/// A second block of a domain, beside another domain of two blocks.
fn honest() -> (World, BlockAppend, Root, Root) {
    let mut world = World::new();
    for (domain, number) in [(0, 4), (2, 4), (2, 7), (3, 1)] {
        world.append(World::domain(domain), number);
    }
    let before = world.clone();
    let proof = world.append(World::domain(2), 5);
    (before.clone(), proof, before.root(), world.root())
}

/// What is changed, and what the forged proof fails with.
type Forgery = (&'static str, fn(&mut BlockAppend), fn(&AppendError) -> bool);

fn other_from(error: &AppendError) -> bool {
    matches!(error, AppendError::From { .. })
}

fn other_to(error: &AppendError) -> bool {
    matches!(error, AppendError::To { .. })
}

fn other_tree(error: &AppendError) -> bool {
    matches!(error, AppendError::OtherDomainTree { .. })
}

fn other_path(error: &AppendError) -> bool {
    matches!(error, AppendError::Domain(OpeningError::OtherPath { .. }))
}

fn taken(error: &AppendError) -> bool {
    matches!(error, AppendError::Taken { .. })
}

const FORGERIES: &[Forgery] = &[
    ("another state root", |proof| proof.state_root[0] ^= 1, other_to),
    ("a swapped payload", |proof| proof.payload_hash[0] ^= 1, other_to),
    ("a better trust", |proof| proof.trust = TrustId([9; 32]), other_to),
    ("the number of a block that is there", |proof| proof.number = 4, other_path),
    ("a number with the same first bits", |proof| proof.number += 1 << 32, other_to),
    ("another domain of this root", |proof| proof.domain = World::domain(3), other_from),
    ("a domain that does not exist", |proof| proof.domain = DomainId([1; 32]), other_from),
    (
        "the instance's place as the domain",
        |proof| proof.domain = DomainId(instance_key().0),
        |error| *error == AppendError::Root(OpeningError::InstancePlace),
    ),
    ("a block replaced", |proof| proof.in_domain.place = Place::Member(Value([1; 32])), taken),
    ("the domain as if it had no block", |proof| proof.in_domain = Tree::new().open(&Key([0; 32])), other_tree),
    ("the domain as if it were not there", |proof| proof.in_root.place = Place::Empty, other_tree),
    (
        "a domain with no tree",
        |proof| {
            proof.in_domain = Tree::new().open(&Key([0; 32]));
            proof.in_root.place = Place::Member(domain_value(&EMPTY));
        },
        other_tree,
    ),
    ("another tree for the domain", |proof| proof.in_root.place = Place::Member(Value([1; 32])), other_tree),
    ("a sibling in the domain's tree", |proof| proof.in_domain.siblings[0].0[0] ^= 1, other_tree),
    ("a sibling in the root tree", |proof| proof.in_root.siblings[0].0[0] ^= 1, other_from),
    ("the path in the domain cut at its root", |proof| _ = proof.in_domain.siblings.pop(), other_tree),
    ("the path in the domain cut at its end", |proof| _ = proof.in_domain.siblings.remove(0), other_tree),
    ("the path in the root tree cut", |proof| _ = proof.in_root.siblings.pop(), other_from),
    ("an empty sibling left over", |proof| proof.in_domain.siblings.push(EMPTY), other_path),
    (
        "an empty sibling left over at the end",
        |proof| proof.in_domain.siblings.insert(0, EMPTY),
        |error| matches!(error, AppendError::Domain(_)),
    ),
    (
        "deeper than a domain's tree",
        |proof| {
            proof.in_domain = Opening { place: Place::Empty, siblings: vec![Root([1; 32]); DOMAIN_DEPTH + 1] };
        },
        |error| *error == AppendError::Domain(OpeningError::TooDeep { got: 65, limit: 64 }),
    ),
    (
        "deeper than the root tree",
        |proof| proof.in_root.siblings = vec![Root([1; 32]); ROOT_DEPTH + 1],
        |error| *error == AppendError::Root(OpeningError::TooDeep { got: 257, limit: 256 }),
    ),
];

#[test]
fn every_forged_append_fails() {
    let (_, proof, from, to) = honest();
    assert_eq!(proof.verify(&from, &to), Ok(()));
    for (name, forge, expected) in FORGERIES {
        let mut forged = proof.clone();
        forge(&mut forged);
        assert_ne!(forged, proof, "{name} changes nothing");
        let error = forged.verify(&from, &to).expect_err(name);
        assert!(expected(&error), "{name}: {error}");
    }
}

/// The new root holds the appended block, and something else besides: each change the appended block could hide.
#[test]
fn an_append_that_also_changes_something_else_fails() {
    let (before, proof, from, to) = honest();
    type Change = (&'static str, fn(&mut World));
    let changes: &[Change] = &[
        ("an older block of the domain", |world| world.set(World::domain(2), 4, Value([6; 32]))),
        ("the block beside it", |world| world.set(World::domain(2), 7, Value([6; 32]))),
        ("another domain's block", |world| world.set(World::domain(3), 1, Value([6; 32]))),
        ("one more block of the domain", |world| _ = world.append(World::domain(2), 6)),
        ("one more block of another domain", |world| _ = world.append(World::domain(0), 6)),
        ("a new domain", |world| _ = world.append(World::domain(1), 1)),
        ("the instance", |world| _ = world.top.insert(instance_key(), Value([0xbb; 32]))),
        ("a block taken away", |world| {
            world.domains.insert(World::domain(3), Tree::new());
            world.top.insert(domain_key(&World::domain(3)), domain_value(&EMPTY));
        }),
    ];
    for (name, change) in changes {
        // The change before the append, so that the proof made of the changed tree is the best an attacker can show.
        let mut changed = before.clone();
        change(&mut changed);
        let changed_from = changed.root();
        let made = changed.append(World::domain(2), 5);
        assert_eq!(made.verify(&changed_from, &changed.root()), Ok(()), "{name}");
        let hidden = made.verify(&from, &changed.root());
        assert_eq!(hidden, Err(AppendError::From { expected: from, got: changed_from }), "{name}");
        let unshown = proof.verify(&from, &changed.root());
        assert_eq!(unshown, Err(AppendError::To { expected: changed.root(), got: to }), "{name}");
        // Its siblings of before with those of after mixed in: one of the two sides shows it.
        let mixed = BlockAppend { in_domain: proof.in_domain.clone(), ..made.clone() };
        assert!(mixed.verify(&from, &changed.root()).is_err(), "{name}");
        let mixed = BlockAppend { in_root: proof.in_root.clone(), ..made };
        assert!(mixed.verify(&from, &changed.root()).is_err(), "{name}");
    }
}

/// A leaf whose key has bits below a block's 64 is in no domain's tree; two leaves can't part there.
#[test]
fn a_leaf_below_a_domain_trees_depth_stands_in_no_blocks_way() {
    let mut key = block_key(5);
    key.0[20] = 1;
    let (_, proof, from, to) = honest();
    let place = Place::OtherLeaf(key, Value([1; 32]));
    let in_domain = Opening { place, siblings: Vec::new() };
    let in_root = Opening {
        place: Place::Member(domain_value(&coprocessor_merkle::leaf_hash(&key, &Value([1; 32])))),
        ..proof.in_root.clone()
    };
    let forged = BlockAppend { in_domain, in_root, ..proof };
    let refused = forged.verify(&from, &to);
    assert_eq!(refused, Err(AppendError::Domain(OpeningError::TooDeep { got: 168, limit: 64 })));
}
