//! What an attacker may try at a root he doesn't control, one row per forgery. Each must fail, and each honest opening
//! it was bent from must hold.

mod world;

use coprocessor_merkle::{
    DOMAIN_DEPTH, EMPTY, Key, Opening, OpeningError, Place, ROOT_DEPTH, Tree, Value, block_key, domain_key,
    domain_value, instance_key, instance_root, leaf_hash, node_hash, opened_root, verify_block, verify_instance,
};
use coprocessor_types::{BlockOpening, DomainId, InstanceId, Root, TrustId};
use world::{Case, FORGERIES, INSTANCE, LIGHT_CLIENT, World, block, domain_tree};

fn verify(case: &Case) -> Result<(), OpeningError> {
    verify_block(&case.root, &case.proof, &case.opening)
}

#[test]
fn honest_openings_hold_and_every_forgery_fails() {
    let world = World::new();
    for number in [1, 2, 3, 5, 9, 13, 21, 1 << 40] {
        assert_eq!(verify(&world.case(number)), Ok(()), "block {number}");
    }
    let honest = world.case(5);
    for forgery in FORGERIES {
        let mut case = honest.clone();
        (forgery.forge)(&mut case);
        assert_ne!(case, honest, "{} changes nothing", forgery.name);
        let error = verify(&case).expect_err(forgery.name);
        assert!((forgery.refusal)(&error), "{}: {error}", forgery.name);
    }
}

#[test]
fn a_worse_trust_is_another_block_too() {
    let mut case = World::new().case(9);
    case.opening.trust = TrustId::default();
    assert!(matches!(verify(&case), Err(OpeningError::OtherRoot { .. })));
}

#[test]
fn sizes_are_bounded_by_the_trees_not_by_the_opening() {
    let mut case = World::new().case(5);
    case.opening.domain_siblings.resize(65, Root([1; 32]));
    assert_eq!(verify(&case), Err(OpeningError::TooDeep { got: 65, limit: 64 }));
    let mut case = World::new().case(5);
    case.opening.root_siblings.resize(257, Root([1; 32]));
    assert_eq!(verify(&case), Err(OpeningError::TooDeep { got: 257, limit: 256 }));
    let opened = opened_root(&Key([0; 32]), &Value([0; 32]), &[Root([1; 32]); 257], 1000);
    assert_eq!(opened, Err(OpeningError::TooDeep { got: 257, limit: 256 }), "keys have no more bits");
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
    assert_eq!(verify_instance(&world.top.root(), &INSTANCE, &siblings), Ok(()));
    assert!(verify_instance(&world.top.root(), &InstanceId([0xab; 32]), &siblings).is_err());
    let domain = DomainId::derive("ethereum");
    let siblings = world.top.open(&domain_key(&domain)).siblings;
    let as_instance = InstanceId(domain_value(&world.ethereum.root()).0);
    assert!(verify_instance(&world.top.root(), &as_instance, &siblings).is_err());
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
