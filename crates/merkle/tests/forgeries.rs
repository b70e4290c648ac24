//! What an attacker may try at a root he doesn't control, one row per forgery. Each must fail, and each honest opening
//! it was bent from must hold.

use coprocessor_merkle::{
    DOMAIN_DEPTH, EMPTY, Key, Opening, OpeningError, Place, ROOT_DEPTH, Tree, Value, block_key, block_value,
    domain_key, domain_value, instance_key, instance_root, leaf_hash, node_hash, verify_block, verify_instance,
};
use coprocessor_types::{BlockOpening, DomainId, InstanceId, Root, StateProof, TrustId};

const INSTANCE: InstanceId = InstanceId([0xaa; 32]);
const LIGHT_CLIENT: TrustId = TrustId([0xcc; 32]);

fn block(domain: &str, number: u64) -> StateProof {
    StateProof {
        domain: DomainId::derive(domain),
        number,
        state_root: [number as u8; 32],
        payload: number.to_be_bytes().to_vec(),
        proof: Vec::new(),
    }
}

fn domain_tree(domain: &str, numbers: &[u64], trust: &TrustId) -> Tree {
    let leaf = |number: &u64| {
        let block = block(domain, *number);
        (block_key(*number), block_value(*number, &block.state_root, &block.payload, trust))
    };
    numbers.iter().map(leaf).collect()
}

/// An honest coprocessor: two domains, a few blocks each, and one block by a light client.
struct World {
    ethereum: Tree,
    top: Tree,
}

impl World {
    fn new() -> Self {
        let mut ethereum = domain_tree("ethereum", &[1, 2, 3, 5, 21, 1 << 40], &TrustId::default());
        let checked = block("ethereum", 9);
        ethereum.insert(block_key(9), block_value(9, &checked.state_root, &checked.payload, &LIGHT_CLIENT));
        let mut top = Tree::new();
        top.insert(instance_key(), Value(INSTANCE.0));
        top.insert(domain_key(&DomainId::derive("ethereum")), domain_value(&ethereum.root()));
        let base = domain_tree("base", &[5, 8], &TrustId::default());
        top.insert(domain_key(&DomainId::derive("base")), domain_value(&base.root()));
        Self { ethereum, top }
    }

    fn root(&self) -> Root {
        self.top.root()
    }

    fn open(&self, number: u64) -> (StateProof, BlockOpening) {
        let opening = BlockOpening {
            trust: if number == 9 { LIGHT_CLIENT } else { TrustId::default() },
            domain_siblings: self.ethereum.open(&block_key(number)).siblings,
            root_siblings: self.top.open(&domain_key(&DomainId::derive("ethereum"))).siblings,
        };
        (block("ethereum", number), opening)
    }
}

type Forgery = (&'static str, fn(&mut StateProof, &mut BlockOpening));

const FORGERIES: &[Forgery] = &[
    ("another number with the same first bits", |proof, _| proof.number += 1 << 32),
    ("another number with all but the last bit the same", |proof, _| proof.number ^= 1 << 63),
    ("the next number", |proof, _| proof.number += 1),
    ("a domain that does not exist", |proof, _| proof.domain = DomainId::derive("nowhere")),
    ("a domain with the same first bits", |proof, _| proof.domain.0[31] ^= 1),
    ("another domain of this root", |proof, _| proof.domain = DomainId::derive("base")),
    ("the instance's place as a domain", |proof, _| proof.domain = DomainId(instance_key().0)),
    ("another state root", |proof, _| proof.state_root[0] ^= 1),
    ("a swapped payload", |proof, _| proof.payload = b"else".to_vec()),
    ("a truncated payload", |proof, _| {
        proof.payload.pop();
    }),
    ("a better trust", |_, opening| opening.trust = LIGHT_CLIENT),
    ("the path cut at the leaf", |_, opening| {
        opening.domain_siblings.remove(0);
    }),
    ("the path cut at the domain's root", |_, opening| {
        opening.domain_siblings.pop();
    }),
    ("no path in the domain", |_, opening| opening.domain_siblings.clear()),
    ("no path in the root tree", |_, opening| opening.root_siblings.clear()),
    ("a sibling left over at the leaf", |_, opening| opening.domain_siblings.insert(0, Root([1; 32]))),
    ("an empty sibling left over at the leaf", |_, opening| opening.domain_siblings.insert(0, EMPTY)),
    ("an empty sibling left over at the domain's root", |_, opening| opening.domain_siblings.push(EMPTY)),
    ("a sibling left over at the root", |_, opening| opening.root_siblings.push(Root([1; 32]))),
    ("an empty sibling left over at the root", |_, opening| opening.root_siblings.push(EMPTY)),
    ("siblings in the other order", |_, opening| opening.domain_siblings.reverse()),
    ("a root sibling moved into the domain", |_, opening| {
        let moved = opening.root_siblings.remove(0);
        opening.domain_siblings.push(moved);
    }),
    ("a domain sibling moved into the root tree", |_, opening| {
        let moved = opening.domain_siblings.pop().unwrap();
        opening.root_siblings.insert(0, moved);
    }),
    ("one bit of a sibling", |_, opening| opening.domain_siblings[0].0[0] ^= 1),
    ("deeper than a domain's tree", |_, opening| opening.domain_siblings.resize(DOMAIN_DEPTH + 1, Root([1; 32]))),
    ("deeper than the root tree", |_, opening| opening.root_siblings.resize(ROOT_DEPTH + 1, Root([1; 32]))),
];

#[test]
fn honest_openings_hold_and_every_forgery_fails() {
    let world = World::new();
    for number in [1, 2, 3, 5, 9, 21, 1 << 40] {
        let (proof, opening) = world.open(number);
        assert_eq!(verify_block(&world.root(), &proof, &opening), Ok(()), "block {number}");
    }
    let honest = world.open(5);
    for (name, forge) in FORGERIES {
        let (mut proof, mut opening) = honest.clone();
        forge(&mut proof, &mut opening);
        assert_ne!((&proof, &opening), (&honest.0, &honest.1), "{name} changes nothing");
        assert!(verify_block(&world.root(), &proof, &opening).is_err(), "{name}");
    }
}

#[test]
fn a_worse_trust_is_another_block_too() {
    let world = World::new();
    let (proof, mut opening) = world.open(9);
    opening.trust = TrustId::default();
    assert!(matches!(verify_block(&world.root(), &proof, &opening), Err(OpeningError::OtherRoot { .. })));
}

#[test]
fn another_root_shows_nothing() {
    let world = World::new();
    let (proof, opening) = world.open(5);
    for root in [EMPTY, instance_root(&INSTANCE), world.ethereum.root()] {
        assert!(matches!(verify_block(&root, &proof, &opening), Err(OpeningError::OtherRoot { .. })));
    }
}

#[test]
fn sizes_are_bounded_by_the_trees_not_by_the_opening() {
    let world = World::new();
    let (proof, mut opening) = world.open(5);
    opening.domain_siblings.resize(65, Root([1; 32]));
    let deep = verify_block(&world.root(), &proof, &opening);
    assert_eq!(deep, Err(OpeningError::TooDeep { got: 65, limit: 64 }));
    let (proof, mut opening) = world.open(5);
    opening.root_siblings.resize(257, Root([1; 32]));
    let deep = verify_block(&world.root(), &proof, &opening);
    assert_eq!(deep, Err(OpeningError::TooDeep { got: 257, limit: 256 }));
}

/// An operator may choose the instance's identity. He chooses the value of a domain he made up, so that the instance's
/// leaf reads as that domain's.
#[test]
fn an_identity_shaped_like_a_domain_opens_no_block() {
    let made_up = domain_tree("made up", &[7], &LIGHT_CLIENT);
    let instance = InstanceId(domain_value(&made_up.root()).0);
    let root = instance_root(&instance);
    let mut proof = block("made up", 7);
    proof.domain = DomainId(instance_key().0);
    let opening = BlockOpening { trust: LIGHT_CLIENT, ..BlockOpening::default() };
    assert_eq!(verify_block(&root, &proof, &opening), Err(OpeningError::InstancePlace));
    assert_eq!(verify_instance(&root, &instance, &[]), Ok(()), "it stays an instance");
}

/// A domain's leaf, or a node, shown as the instance.
#[test]
fn only_the_instances_own_leaf_shows_an_instance() {
    let world = World::new();
    let siblings = world.top.open(&instance_key()).siblings;
    assert_eq!(verify_instance(&world.root(), &INSTANCE, &siblings), Ok(()));
    assert!(verify_instance(&world.root(), &InstanceId([0xab; 32]), &siblings).is_err());
    let domain = DomainId::derive("ethereum");
    let siblings = world.top.open(&domain_key(&domain)).siblings;
    let as_instance = InstanceId(domain_value(&world.ethereum.root()).0);
    assert!(verify_instance(&world.root(), &as_instance, &siblings).is_err());
    assert_ne!(instance_root(&INSTANCE), instance_root(&InstanceId([0xab; 32])));
}

/// A node's two children read as a leaf's key and value.
#[test]
fn an_inner_node_is_no_leaf() {
    let (left, right) = (Key([0; 32]), Key([0x80; 32]));
    let tree: Tree = [(left, Value([1; 32])), (right, Value([2; 32]))].into_iter().collect();
    let (a, b) = (leaf_hash(&left, &Value([1; 32])), leaf_hash(&right, &Value([2; 32])));
    assert_eq!(tree.root(), node_hash(&a, &b));
    let forged = Opening { place: Place::Member(Value(b.0)), siblings: Vec::new() };
    assert!(forged.verify(&tree.root(), &Key(a.0), ROOT_DEPTH).is_err());
}

#[test]
fn absence_is_not_shown_of_what_is_there() {
    let (key, value) = (Key([0x10; 32]), Value([1; 32]));
    let near = Key([0x18; 32]);
    let tree: Tree = [(key, value), (near, value), (Key([0xf0; 32]), value)].into_iter().collect();
    let root = tree.root();
    let honest = tree.open(&key);
    assert_eq!(honest.verify(&root, &key, ROOT_DEPTH), Ok(Some(value)));

    let forged = |place| Opening { place, siblings: honest.siblings.clone() }.verify(&root, &key, ROOT_DEPTH);
    assert_eq!(forged(Place::OtherLeaf(key, value)), Err(OpeningError::OwnLeaf));
    assert!(matches!(forged(Place::Empty), Err(OpeningError::OtherRoot { .. })));
    assert_eq!(forged(Place::OtherLeaf(near, value)), Err(OpeningError::OtherPath { shared: 4, needed: 5 }));
    let mut nearest = key;
    nearest.0[31] ^= 1;
    assert!(matches!(forged(Place::OtherLeaf(nearest, value)), Err(OpeningError::OtherRoot { .. })));
}

/// A leaf at full depth fills the only place its path has: it can't stand in another block's way.
#[test]
fn absence_at_full_depth_is_not_shown_by_a_leaf_with_other_bits_below() {
    let key = block_key(3);
    let mut other = key;
    other.0[31] = 1;
    let siblings = vec![Root([1; 32]); DOMAIN_DEPTH];
    let forged = Opening { place: Place::OtherLeaf(other, Value([1; 32])), siblings };
    assert_eq!(forged.verify(&EMPTY, &key, DOMAIN_DEPTH), Err(OpeningError::OwnLeaf));
}
