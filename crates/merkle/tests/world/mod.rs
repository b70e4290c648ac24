//! An honest coprocessor and what an attacker may try at a root of it: one table, tried natively here and by the circuit SDK's
//! tests through a circuit.

use coprocessor_merkle::{
    DOMAIN_DEPTH, EMPTY, OpeningError, ROOT_DEPTH, Tree, Value, block_key, block_value, domain_key, domain_value,
    instance_key, instance_root,
};
use coprocessor_types::{BlockOpening, DomainId, InstanceId, Root, StateProof, TrustId, sha256};

/// The instance's identity.
pub(crate) const INSTANCE: InstanceId = InstanceId([0xaa; 32]);

/// What block 9 of ethereum was checked by.
pub(crate) const LIGHT_CLIENT: TrustId = TrustId([0xcc; 32]);

/// A block of a domain.
pub(crate) fn block(domain: &str, number: u64) -> StateProof {
    StateProof {
        domain: DomainId::derive(domain),
        number,
        state_root: [number as u8; 32],
        payload: number.to_be_bytes().to_vec(),
        proof: Vec::new(),
    }
}

/// A domain's tree.
pub(crate) fn domain_tree(domain: &str, numbers: &[u64], trust: &TrustId) -> Tree {
    let leaf = |number: &u64| {
        let block = block(domain, *number);
        (block_key(*number), block_value(*number, &block.state_root, &block.payload, trust))
    };
    numbers.iter().map(leaf).collect()
}

/// A few domains, a few blocks each, and one block by a light client.
pub(crate) struct World {
    /// The first domain's blocks.
    pub(crate) ethereum: Tree,
    /// The root tree.
    pub(crate) top: Tree,
}

/// What a circuit is given of one block, and the root it is given it for.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Case {
    /// The root of the task.
    pub(crate) root: Root,
    /// The block.
    pub(crate) proof: StateProof,
    /// Its opening.
    pub(crate) opening: BlockOpening,
}

impl World {
    /// The world of the tests.
    pub(crate) fn new() -> Self {
        Self::of(INSTANCE, &[1, 2, 3, 5, 13, 21, 1 << 40])
    }

    fn of(instance: InstanceId, numbers: &[u64]) -> Self {
        let mut ethereum = domain_tree("ethereum", numbers, &TrustId::default());
        let checked = block("ethereum", 9);
        ethereum.insert(block_key(9), block_value(9, &checked.state_root, &checked.payload, &LIGHT_CLIENT));
        let mut top = Tree::new();
        top.insert(instance_key(), Value(instance.0));
        top.insert(domain_key(&DomainId::derive("ethereum")), domain_value(&ethereum.root()));
        let base = domain_tree("base", &[5, 8], &TrustId::default());
        top.insert(domain_key(&DomainId::derive("base")), domain_value(&base.root()));
        // So that no sibling of ethereum is empty.
        for bit in 0..4 {
            let mut near = DomainId::derive("ethereum");
            near.0[0] ^= 0x80 >> bit;
            top.insert(domain_key(&near), domain_value(&base.root()));
        }
        Self { ethereum, top }
    }

    /// An honest case.
    pub(crate) fn case(&self, number: u64) -> Case {
        let opening = BlockOpening {
            trust: if number == 9 { LIGHT_CLIENT } else { TrustId::default() },
            domain_siblings: self.ethereum.open(&block_key(number)).siblings,
            root_siblings: self.top.open(&domain_key(&DomainId::derive("ethereum"))).siblings,
        };
        Case { root: self.top.root(), proof: block("ethereum", number), opening }
    }
}

/// Something an attacker changes about an honest case.
pub(crate) struct Forgery {
    /// What.
    pub(crate) name: &'static str,
    /// How.
    pub(crate) forge: fn(&mut Case),
    /// What it is refused with.
    pub(crate) refusal: fn(&OpeningError) -> bool,
}

const fn forgery(name: &'static str, forge: fn(&mut Case), refusal: fn(&OpeningError) -> bool) -> Forgery {
    Forgery { name, forge, refusal }
}

fn other_root(error: &OpeningError) -> bool {
    matches!(error, OpeningError::OtherRoot { .. })
}

fn empty_sibling(error: &OpeningError) -> bool {
    matches!(error, OpeningError::EmptySibling { .. })
}

fn too_deep(error: &OpeningError) -> bool {
    matches!(error, OpeningError::TooDeep { .. })
}

fn instance_place(error: &OpeningError) -> bool {
    *error == OpeningError::InstancePlace
}

/// Made of the honest case of block 5.
pub(crate) const FORGERIES: &[Forgery] = &[
    forgery("another number with the same first bits", |case| case.proof.number += 1 << 32, other_root),
    forgery("another number with all but the last bit the same", |case| case.proof.number ^= 1 << 63, other_root),
    forgery("the next number", |case| case.proof.number += 1, other_root),
    forgery("another block's number", |case| case.proof.number = 21, other_root),
    forgery("a domain that does not exist", |case| case.proof.domain = DomainId::derive("nowhere"), other_root),
    forgery("a domain with the same first bits", |case| case.proof.domain.0[31] ^= 1, other_root),
    forgery("another domain of this root", |case| case.proof.domain = DomainId::derive("base"), other_root),
    forgery("the instance's place as a domain", |case| case.proof.domain = DomainId(instance_key().0), instance_place),
    forgery("another state root", |case| case.proof.state_root[0] ^= 1, other_root),
    forgery("a swapped payload", |case| case.proof.payload = b"else".to_vec(), other_root),
    forgery("another block's payload", |case| case.proof.payload = block("ethereum", 21).payload, other_root),
    forgery("a truncated payload", |case| _ = case.proof.payload.pop(), other_root),
    forgery(
        "the payload's hash as the payload",
        |case| case.proof.payload = sha256(&[&case.proof.payload]).to_vec(),
        other_root,
    ),
    forgery("a better trust", |case| case.opening.trust = LIGHT_CLIENT, other_root),
    forgery("the path cut at the leaf", |case| _ = case.opening.domain_siblings.remove(0), other_root),
    forgery("the path cut at the domain's root", |case| _ = case.opening.domain_siblings.pop(), other_root),
    forgery("no path in the domain", |case| case.opening.domain_siblings.clear(), other_root),
    forgery("no path in the root tree", |case| case.opening.root_siblings.clear(), other_root),
    forgery(
        "a sibling left over at the leaf",
        |case| case.opening.domain_siblings.insert(0, Root([1; 32])),
        other_root,
    ),
    forgery("an empty sibling at the leaf", |case| case.opening.domain_siblings.insert(0, EMPTY), empty_sibling),
    forgery("an empty sibling at the domain's root", |case| case.opening.domain_siblings.push(EMPTY), other_root),
    forgery("an empty sibling at the domain's leaf", |case| case.opening.root_siblings.insert(0, EMPTY), empty_sibling),
    forgery("a sibling left over at the root", |case| case.opening.root_siblings.push(Root([1; 32])), other_root),
    forgery("an empty sibling left over at the root", |case| case.opening.root_siblings.push(EMPTY), other_root),
    forgery("siblings in the other order", |case| case.opening.domain_siblings.reverse(), other_root),
    forgery(
        "a root sibling moved into the domain",
        |case| {
            let moved = case.opening.root_siblings.remove(0);
            case.opening.domain_siblings.push(moved);
        },
        other_root,
    ),
    forgery(
        "a domain sibling moved into the root tree",
        |case| {
            let moved = case.opening.domain_siblings.pop().unwrap();
            case.opening.root_siblings.insert(0, moved);
        },
        other_root,
    ),
    forgery("one bit of a domain sibling", |case| case.opening.domain_siblings[0].0[0] ^= 1, other_root),
    forgery("one bit of a root sibling", |case| case.opening.root_siblings[0].0[31] ^= 1, other_root),
    forgery(
        "an inner node as the leaf",
        |case| {
            // The two hashes under the lowest node, as a block's state root and payload.
            case.proof.state_root = case.opening.domain_siblings.remove(0).0;
            case.proof.payload = case.proof.state_root.to_vec();
        },
        other_root,
    ),
    forgery(
        "the block as a domain's root",
        |case| {
            let Case { proof, opening, .. } = case;
            let value = block_value(proof.number, &proof.state_root, &proof.payload, &opening.trust);
            opening.root_siblings.splice(0..0, opening.domain_siblings.drain(..));
            proof.state_root = value.0;
        },
        other_root,
    ),
    forgery(
        "deeper than a domain's tree",
        |case| case.opening.domain_siblings.resize(DOMAIN_DEPTH + 1, Root([1; 32])),
        too_deep,
    ),
    forgery(
        "deeper than the root tree",
        |case| case.opening.root_siblings.resize(ROOT_DEPTH + 1, Root([1; 32])),
        too_deep,
    ),
    forgery(
        "a stale root: that before the block",
        |case| case.root = World::of(INSTANCE, &[1, 2, 3, 13, 21, 1 << 40]).top.root(),
        other_root,
    ),
    forgery(
        "a root of one block more",
        |case| case.root = World::of(INSTANCE, &[1, 2, 3, 5, 6, 13, 21, 1 << 40]).top.root(),
        other_root,
    ),
    forgery(
        "another instance's root, its blocks the same",
        |case| case.root = World::of(InstanceId([0xab; 32]), &[1, 2, 3, 5, 13, 21, 1 << 40]).top.root(),
        other_root,
    ),
    forgery("the domain's root as the instance's", |case| case.root = World::new().ethereum.root(), other_root),
    forgery("the root of the instance without domains", |case| case.root = instance_root(&INSTANCE), other_root),
    forgery("the empty root", |case| case.root = EMPTY, other_root),
    forgery(
        "nothing at the empty root",
        |case| {
            case.root = EMPTY;
            case.opening = BlockOpening::default();
        },
        other_root,
    ),
];
