//! What a circuit is given, refused and held to.

use circuit_sdk::{
    BlockOpening, CONTROLLER_ONLY, CircuitError, CircuitInput, DomainId, OpenedWitness, PublicInputs, Root, StateProof,
    TrustId, Witnesses, run_native,
};
use coprocessor_merkle::{OpeningError, Tree, Value, block_key, block_value, domain_key, domain_value, instance_key};
use proptest::prelude::*;
use std::cell::Cell;

const TRUST: TrustId = TrustId([4; 32]);

fn ethereum() -> DomainId {
    DomainId::derive("ethereum")
}

/// Block 7 of ethereum beside block 8, under a root that holds the instance too.
fn opened_block() -> (Root, StateProof, BlockOpening) {
    let proof = StateProof {
        domain: ethereum(),
        number: 7,
        state_root: [1; 32],
        payload: b"payload".to_vec(),
        proof: b"proof".to_vec(),
    };
    let value = block_value(7, &proof.state_root, &proof.payload, &TRUST);
    let blocks: Tree = [(block_key(7), value), (block_key(8), Value([9; 32]))].into_iter().collect();
    let key = domain_key(&ethereum());
    let top: Tree = [(key, domain_value(&blocks.root())), (instance_key(), Value([5; 32]))].into_iter().collect();
    let opening = BlockOpening {
        trust: TRUST,
        domain_siblings: blocks.open(&block_key(7)).siblings,
        root_siblings: top.open(&key).siblings,
    };
    (top.root(), proof, opening)
}

fn data(bytes: &[u8]) -> OpenedWitness {
    OpenedWitness::Data(bytes.to_vec())
}

fn run<O: AsRef<[u8]>>(
    circuit: impl FnOnce(Witnesses) -> O,
    witnesses: Vec<OpenedWitness>,
) -> Result<PublicInputs, CircuitError> {
    run_native(circuit, &CircuitInput { root: opened_block().0, witnesses })
}

fn block() -> OpenedWitness {
    let (_, proof, opening) = opened_block();
    OpenedWitness::StateProof(proof, opening)
}

#[test]
fn public_inputs_are_the_inputs_root_and_the_output() {
    let circuit = |mut witnesses: Witnesses| {
        assert_eq!(witnesses.remaining(), 2);
        let proof = witnesses.state_proof(ethereum(), TRUST);
        assert_eq!(witnesses.root(), opened_block().0);
        [proof.payload, witnesses.data()].concat()
    };
    let inputs = run(circuit, vec![block(), data(b"!")]).unwrap();
    assert_eq!(inputs, PublicInputs { root: opened_block().0, output: b"payload!".to_vec() });
}

#[test]
fn a_circuit_never_sees_a_witness_of_which_one_opening_fails() {
    let seen = Cell::new(false);
    let circuit = |witnesses: Witnesses| {
        seen.set(true);
        witnesses.ignore_rest();
        []
    };
    let (_, mut proof, opening) = opened_block();
    proof.number = 9;
    let refused = run(circuit, vec![data(b"first"), OpenedWitness::StateProof(proof, opening)]);
    assert!(
        matches!(refused, Err(CircuitError::Opening { index: 1, error: OpeningError::OtherRoot { .. } })),
        "{refused:?}"
    );
    assert!(!seen.get());
    assert!(refused.unwrap_err().to_string().starts_with("witness 1: its block is not in the root: "));
}

#[test]
fn an_element_left_over_is_an_error_unless_given_up() {
    let takes_one = |mut witnesses: Witnesses| witnesses.data();
    let left = run(takes_one, vec![data(b"a"), data(b"b"), data(b"c")]);
    assert_eq!(left, Err(CircuitError::LeftOver { taken: 1, total: 3 }));
    let gives_up = |mut witnesses: Witnesses| {
        let first = witnesses.data();
        witnesses.ignore_rest();
        first
    };
    assert_eq!(run(gives_up, vec![data(b"a"), data(b"b")]).unwrap().output, b"a");
}

#[test]
#[should_panic(expected = "witness 1: expected data, but there are only 1 elements")]
fn one_element_too_few() {
    let _ = run(|mut witnesses: Witnesses| [witnesses.data(), witnesses.data()].concat(), vec![data(b"a")]);
}

#[test]
#[should_panic(expected = "witness 0: expected data, got a state proof")]
fn a_state_proof_is_no_data() {
    let _ = run(|mut witnesses: Witnesses| witnesses.data(), vec![block()]);
}

#[test]
#[should_panic(expected = "witness 0: expected a state proof, got data")]
fn data_is_no_state_proof() {
    let _ = run(|mut witnesses: Witnesses| witnesses.state_proof(ethereum(), TRUST).payload, vec![data(b"a")]);
}

#[test]
#[should_panic(expected = "witness 0: expected a state proof of domain")]
fn another_domain_than_the_circuit_asks_for() {
    let base = DomainId::derive("base");
    let _ = run(|mut witnesses: Witnesses| witnesses.state_proof(base, TRUST).payload, vec![block()]);
}

#[test]
#[should_panic(expected = "expected a block checked by 0000")]
fn another_trust_than_the_circuit_asks_for() {
    let _ = run(|mut witnesses: Witnesses| witnesses.state_proof(ethereum(), CONTROLLER_ONLY).payload, vec![block()]);
}

proptest! {
    #[test]
    fn data_arrives_in_order_and_unchanged(
        elements in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..8), root in any::<[u8; 32]>(),
    ) {
        let circuit = |mut witnesses: Witnesses| {
            let mut all = Vec::new();
            while witnesses.remaining() > 0 {
                all.extend(witnesses.data());
            }
            all
        };
        let witnesses = elements.iter().map(|bytes| data(bytes)).collect();
        let inputs = run_native(circuit, &CircuitInput { root: Root(root), witnesses }).unwrap();
        prop_assert_eq!(inputs, PublicInputs { root: Root(root), output: elements.concat() });
    }
}
