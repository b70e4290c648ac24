//! The same forgeries that are tried on the trees, through a circuit: it never gets to see one.

#[path = "../../merkle/tests/world/mod.rs"]
mod world;

use circuit_sdk::{
    CONTROLLER_ONLY, CircuitError, CircuitInput, DomainId, OpenedWitness, PublicInputs, Witnesses, run_native,
};
use coprocessor_merkle::OpeningError;
use coprocessor_types::DecodeError;
use proptest::{prelude::*, sample};
use world::{Case, FORGERIES, LIGHT_CLIENT, World};

/// A circuit that takes data, then a block of ethereum that its controller alone has checked.
fn payload(mut witnesses: Witnesses) -> Vec<u8> {
    let domain = DomainId::derive("ethereum");
    [witnesses.data(), witnesses.state_proof(domain, CONTROLLER_ONLY).payload].concat()
}

fn input(case: &Case) -> CircuitInput {
    let Case { root, proof, opening } = case.clone();
    CircuitInput { root, witnesses: vec![OpenedWitness::Data(vec![7]), OpenedWitness::StateProof(proof, opening)] }
}

fn unreachable_circuit(_: Witnesses) -> [u8; 0] {
    panic!("the circuit ran on a forged witness")
}

#[test]
fn no_circuit_sees_a_forgery() {
    let honest = World::new().case(5);
    let output = [&[7][..], &honest.proof.payload].concat();
    assert_eq!(run_native(payload, &input(&honest)), Ok(PublicInputs { root: honest.root, output }));
    for forgery in FORGERIES {
        let mut case = honest.clone();
        (forgery.forge)(&mut case);
        match run_native(unreachable_circuit, &input(&case)) {
            Err(CircuitError::Opening { index: 1, error }) => {
                assert!((forgery.refusal)(&error), "{}: {error}", forgery.name);
            }
            // What is too deep is no input, already.
            Err(CircuitError::Input(DecodeError::TooDeep { got, limit })) => {
                assert!((forgery.refusal)(&OpeningError::TooDeep { got, limit }), "{}", forgery.name);
            }
            other => panic!("{}: {other:?}", forgery.name),
        }
    }
}

/// An honest block, but not one that the circuit accepts.
#[test]
#[should_panic(expected = "witness 1: expected a block checked by 0000")]
fn a_circuit_that_takes_the_controllers_word_takes_no_other() {
    let case = World::new().case(9);
    assert_eq!(case.opening.trust, LIGHT_CLIENT);
    let _ = run_native(payload, &input(&case));
}

proptest! {
    /// Whatever byte of an honest input is changed, the circuit is given the same blocks or none: all that it could believe
    /// is in the root. Data, and the domain's own proof, are for the circuit to check.
    #[test]
    fn a_changed_byte_changes_nothing_the_root_vouches_for(at in any::<sample::Index>(), flip in 1u8..) {
        let mut honest = World::new().case(5);
        honest.proof.proof = vec![3; 40];
        let mut bytes = input(&honest).to_bytes();
        *at.get_mut(&mut bytes) ^= flip;
        let Ok(changed) = CircuitInput::from_bytes(&bytes) else { return Ok(()) };
        let ran = run_native(|witnesses| { witnesses.ignore_rest(); [] }, &changed);
        let blocks = |input: &CircuitInput| -> Vec<Case> {
            let opened = input.witnesses.iter().filter_map(|witness| match witness {
                OpenedWitness::Data(_) => None,
                OpenedWitness::StateProof(proof, opening) => Some((proof.clone(), opening.clone())),
            });
            let root = input.root;
            opened.map(|(mut proof, opening)| { proof.proof.clear(); Case { root, proof, opening } }).collect()
        };
        let same = blocks(&changed) == blocks(&input(&honest)) || blocks(&changed).is_empty();
        prop_assert_eq!(ran.is_ok(), same);
    }
}
