//! What a circuit is given: witnesses with their openings at a root.

use super::{
    edit,
    world::{Block, World, seed},
};
use crate::{Input, Seed, Target};
use circuit_sdk::{CircuitInput, OpenedWitness, Witnesses, run_native};
use coprocessor_types::DomainId;

pub(crate) const TARGET: Target = Target {
    name: "circuit_input",
    about: "circuit-sdk: blocks that a circuit is shown at a root, honest and forged",
    run,
    seeds,
};

fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let world = World::read(&mut input);
    let block = Block::read(&mut input);
    let (mut proof, mut opening) = (block.state_proof(), world.opening(&block));
    let honest = CircuitInput {
        root: world.root(),
        witnesses: vec![OpenedWitness::StateProof(proof.clone(), opening.clone()), OpenedWitness::Data(vec![1])],
    };
    let there = world.block(block.domain, block.number) == Some(&block);
    assert_eq!(run_native(all, &honest).is_ok(), there, "a block that is there and no other");
    if input.flag() {
        let other = Block::read(&mut input);
        opening = world.opening(&other);
        match input.below(5) {
            0 => proof.domain = other.domain,
            1 => proof.number = other.number,
            2 => proof.state_root = other.state_root(),
            3 => proof.payload = other.payload(),
            _ => proof.domain = DomainId(input.sparse()),
        }
    }
    edit::siblings(&mut input, &mut opening.domain_siblings);
    edit::siblings(&mut input, &mut opening.root_siblings);
    let forged =
        CircuitInput { root: world.root(), witnesses: vec![OpenedWitness::StateProof(proof.clone(), opening.clone())] };
    if run_native(all, &forged).is_ok() {
        let held = world.block(proof.domain, proof.number).expect("a block is shown that is not there");
        assert_eq!((proof.state_root, proof.payload), (held.state_root(), held.payload()), "another content");
        assert_eq!(opening.trust, held.trust(), "another trust");
        assert_eq!(opening, world.opening(held), "two openings show the same");
    }
}

/// A circuit that takes whatever it is given.
fn all(witnesses: Witnesses) -> Vec<u8> {
    witnesses.ignore_rest();
    Vec::new()
}

fn seeds() -> Vec<Seed> {
    let there = || {
        let (_, mut bytes) = seed().seed("");
        // The block that is asked about is the last that was appended.
        bytes.truncate(bytes.len() - 4);
        crate::Writer::new().bytes(&bytes).bytes(&[0, 0, 6, 200])
    };
    vec![
        there().byte(0).byte(0).byte(0).seed("honest"),
        seed().byte(0).byte(0).byte(0).seed("a-block-that-is-not-there"),
        there().byte(1).bytes(&[1, 0, 4, 2]).byte(0).byte(0).byte(0).seed("of-another-domain"),
        there().byte(1).bytes(&[0, 0, 4, 1]).byte(1).byte(0).byte(0).seed("of-another-number"),
        there().byte(1).bytes(&[0, 0, 6, 40]).byte(3).byte(0).byte(0).seed("another-payload"),
    ]
}
