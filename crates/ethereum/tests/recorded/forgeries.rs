//! Forgeries of state, each of which must fail: over the answers of a real node.
use crate::answers::{HOLDER, NOBODY, Recorded};
use circuit_sdk::{CONTROLLER_ONLY, CircuitInput, OpenedWitness, Root, StateProof, Witnesses, run_native};
use coprocessor_ethereum::{
    Address, B256, Block, BlockPayload, Header, HeaderError, HexBytes, Slot, StateError, StateWitness, TrieError, U256,
    WitnessError, json::StateJsonError,
};

fn account_error(result: Result<Header, StateJsonError>) -> TrieError {
    match result {
        Err(StateJsonError::State(StateError::Account { error, .. })) => *error,
        other => panic!("{other:?}"),
    }
}

fn slot_error(result: Result<Header, StateJsonError>) -> TrieError {
    match result {
        Err(StateJsonError::State(StateError::Slot { error, .. })) => *error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_account_proof_for_another_state_root_fails() {
    let recorded = Recorded::read();
    let (before, after) = (recorded.state(0), recorded.state(1));
    let mut forged = after.clone();
    forged.account_proof = before.account_proof;
    assert!(matches!(account_error(forged.check()), TrieError::WrongNode { index: 0, .. }));
    let mut forged = after;
    forged.block = recorded.state(0).block;
    assert!(matches!(account_error(forged.check()), TrieError::WrongNode { index: 0, .. }));
}

#[test]
fn a_storage_proof_that_is_not_tied_to_the_account_fails() {
    let recorded = Recorded::read();
    let (before, mut forged) = (recorded.state(1), recorded.state(2));
    // The slot's older value, with its true proof of then.
    forged.storage = before.storage;
    assert!(matches!(slot_error(forged.check()), TrieError::WrongNode { index: 0, .. }));
}

#[test]
fn an_absent_slot_of_another_account_is_not_zero_here() {
    let recorded = Recorded::read();
    let mut forged = recorded.state(2);
    assert_ne!(forged.storage[0].value, U256::ZERO);
    // An account without storage has no nodes to show for any slot.
    forged.storage[0].proof = vec![];
    forged.storage[0].value = U256::ZERO;
    assert_eq!(slot_error(forged.check()), TrieError::Truncated { nodes: 0 });
    // And the way to a slot that is absent does not lead to this one.
    let whole = recorded.whole();
    let absent = whole.storage.iter().find(|slot| slot.slot == Slot::at(0).entry(NOBODY).key()).unwrap();
    assert_eq!(absent.value, U256::ZERO);
    let mut forged = whole.clone();
    let at = forged.storage.iter().position(|slot| slot.slot == Slot::at(0).entry(HOLDER).key()).unwrap();
    forged.storage[at].proof = absent.proof.clone();
    forged.storage[at].value = U256::ZERO;
    assert!(forged.check().is_err());
}

#[test]
fn an_account_that_is_there_is_not_shown_as_absent() {
    let recorded = Recorded::read();
    let mut forged = recorded.state(2);
    forged.account = None;
    forged.storage.clear();
    assert_eq!(forged.check(), Err(StateJsonError::Claim { field: "account" }));
    let absence = recorded.absence();
    assert_eq!(absence.account, None);
    forged.account_proof = absence.account_proof;
    assert!(forged.check().is_err());
}

#[test]
fn nodes_more_fewer_and_in_another_order_fail() {
    let state = Recorded::read().whole();
    let nodes = state.account_proof.len();
    assert!(nodes > 1);

    let mut forged = state.clone();
    forged.account_proof.push(HexBytes([&[0xe2, 0x20][..], &[0xa0], &[7; 32]].concat()));
    assert_eq!(account_error(forged.check()), TrieError::LeftOver { used: nodes, total: nodes + 1 });
    let mut forged = state.clone();
    forged.account_proof.swap(0, 1);
    assert!(matches!(account_error(forged.check()), TrieError::WrongNode { index: 0, .. }));
    let mut forged = state.clone();
    forged.account_proof.pop();
    assert_eq!(account_error(forged.check()), TrieError::Truncated { nodes: nodes - 1 });
    let mut forged = state.clone();
    forged.account_proof.remove(0);
    assert!(matches!(account_error(forged.check()), TrieError::WrongNode { index: 0, .. }));

    let deep = state.storage.iter().position(|slot| slot.proof.len() > 2).unwrap();
    let mut forged = state.clone();
    forged.storage[deep].proof.swap(1, 2);
    assert!(matches!(slot_error(forged.check()), TrieError::WrongNode { index: 1, .. }));
    let mut forged = state.clone();
    let last = forged.storage[deep].proof.last().unwrap().clone();
    forged.storage[deep].proof.push(last);
    assert!(matches!(slot_error(forged.check()), TrieError::LeftOver { .. }));
}

#[test]
fn no_bit_of_any_node_can_be_changed() {
    let state = Recorded::read().state(2);
    let paths = 1 + state.storage.len();
    for path in 0..paths {
        let length = if path == 0 { state.account_proof.len() } else { state.storage[path - 1].proof.len() };
        for node in 0..length {
            let bytes = match path {
                0 => &state.account_proof[node].0,
                slot => &state.storage[slot - 1].proof[node].0,
            };
            for at in 0..bytes.len() {
                let mut forged = state.clone();
                match path {
                    0 => forged.account_proof[node].0[at] ^= 1,
                    slot => forged.storage[slot - 1].proof[node].0[at] ^= 1,
                }
                assert!(forged.check().is_err(), "path {path}, node {node}, byte {at}");
            }
        }
    }
}

#[test]
fn a_truncated_header_or_one_with_more_behind_fails() {
    let state = Recorded::read().state(0);
    let rlp = &state.block.header.0;
    for cut in 0..rlp.len() {
        assert_eq!(Header::from_rlp(&rlp[..cut]), Err(HeaderError::NotAList), "{cut}");
    }
    assert_eq!(Header::from_rlp(&[rlp.as_slice(), &[0x80]].concat()), Err(HeaderError::NotAList));
    for at in 0..rlp.len() {
        let mut changed = rlp.clone();
        changed[at] ^= 1;
        assert!(Header::from_rlp(&changed).map_or(true, |header| header.hash() != state.block.hash), "{at}");
    }
}

#[test]
fn what_is_said_besides_the_proofs_is_checked() {
    let state = Recorded::read().state(2);
    let mut forged = state.clone();
    forged.storage[0].value += U256::ONE;
    assert_eq!(forged.check(), Err(StateJsonError::Claim { field: "storage" }));
    let mut forged = state.clone();
    forged.account.as_mut().unwrap().balance += U256::ONE;
    assert_eq!(forged.check(), Err(StateJsonError::Claim { field: "account" }));
    let mut forged = state.clone();
    forged.block.timestamp += 1;
    assert_eq!(forged.check(), Err(StateJsonError::Claim { field: "block" }));
    let mut forged = Recorded::read().absence();
    forged.storage = state.storage;
    assert_eq!(forged.check(), Err(StateJsonError::Claim { field: "storage" }));
}

#[test]
fn a_slot_or_account_that_was_not_asked_for_can_not_be_read() {
    let state = Recorded::read().state(2);
    let header = state.check().unwrap();
    let opened = header.state(state.witness().unwrap());
    let other = Address::repeat_byte(7);
    let refused = opened.account(other).unwrap_err();
    assert_eq!(refused, StateError::OtherAccount { expected: other, got: state.address });
    let account = opened.account(state.address).unwrap().unwrap();
    let slot = Slot::at(99);
    assert_eq!(account.slot(slot), Err(StateError::NoProof { address: state.address, slot: slot.key() }));
}

/// The same in a circuit, where the state root comes from a block of the coprocessor's root.
mod in_a_circuit {
    use super::*;
    use coprocessor_merkle::{block_key, block_value, domain_key, domain_value, leaf_hash};

    /// The root of an instance that knows one block of one domain.
    fn root(proof: &StateProof) -> Root {
        let block = block_value(proof.number, &proof.state_root, &proof.payload, &CONTROLLER_ONLY);
        let domain = leaf_hash(&block_key(proof.number), &block);
        leaf_hash(&domain_key(&proof.domain), &domain_value(&domain))
    }

    fn balance(mut witnesses: Witnesses) -> [u8; 32] {
        let ledger = Address::from_slice(&witnesses.data());
        let block = Block::take(&mut witnesses, 31337, CONTROLLER_ONLY).unwrap();
        assert_eq!(block.chain_id(), 31337);
        let state = block.state().unwrap_or_else(|error| panic!("{error}"));
        let account = state.account(ledger).unwrap_or_else(|error| panic!("{error}")).expect("a contract");
        account.slot(Slot::at(0).entry(HOLDER)).unwrap_or_else(|error| panic!("{error}")).to_be_bytes()
    }

    fn run(root: Root, ledger: Address, proof: StateProof) -> Vec<u8> {
        let witnesses =
            vec![OpenedWitness::Data(ledger.to_vec()), OpenedWitness::StateProof(proof, Default::default())];
        run_native(balance, &CircuitInput { root, witnesses }).expect("the block is in the root").output
    }

    fn honest() -> (Address, StateProof) {
        let state = Recorded::read().state(2);
        (state.address, state.state_proof().unwrap())
    }

    #[test]
    fn the_balance_is_read_from_the_root_on() {
        let (ledger, proof) = honest();
        assert_eq!(BlockPayload::from_bytes(&proof.payload).unwrap().chain_id, 31337);
        assert_eq!(run(root(&proof), ledger, proof), U256::from(42).to_be_bytes::<32>());
    }

    #[test]
    #[should_panic(expected = "it is of another trie")]
    fn a_proof_for_another_state_root_fails() {
        let (ledger, proof) = honest();
        let older = Recorded::read().state(1).state_proof().unwrap().proof;
        run(root(&proof), ledger, StateProof { proof: older, ..proof });
    }

    #[test]
    #[should_panic(expected = "the block is in the root")]
    fn a_state_root_that_is_not_in_the_root_fails() {
        let (ledger, proof) = honest();
        let other = Recorded::read().state(1).state_proof().unwrap();
        run(root(&proof), ledger, other);
    }

    #[test]
    #[should_panic(expected = "the block is in the root")]
    fn a_swapped_payload_fails() {
        let (ledger, mut proof) = honest();
        let root = root(&proof);
        proof.payload[8] ^= 1;
        run(root, ledger, proof);
    }

    #[test]
    #[should_panic(expected = "OtherChain { expected: 31337, got: 1 }")]
    fn a_block_whose_payload_names_another_chain_fails() {
        let (ledger, mut proof) = honest();
        let payload = BlockPayload::from_bytes(&proof.payload).unwrap();
        proof.payload = BlockPayload { chain_id: 1, ..payload }.to_bytes();
        run(root(&proof), ledger, proof);
    }

    #[test]
    #[should_panic(expected = "expected a state proof of domain")]
    fn a_block_of_another_chains_domain_fails() {
        let (ledger, mut proof) = honest();
        proof.domain = circuit_sdk::DomainId::derive("eip155:1");
        run(root(&proof), ledger, proof);
    }

    #[test]
    #[should_panic(expected = "expected 0x0707")]
    fn another_contracts_storage_fails() {
        let (_, proof) = honest();
        run(root(&proof), Address::repeat_byte(7), proof);
    }

    #[test]
    #[should_panic(expected = "the state witness is truncated")]
    fn a_truncated_witness_fails() {
        let (ledger, mut proof) = honest();
        proof.proof.pop();
        run(root(&proof), ledger, proof);
    }
}

#[test]
fn witnesses_have_one_form() {
    let state = Recorded::read().whole();
    let bytes = state.witness().unwrap().to_bytes();
    let read = StateWitness::from_bytes(&bytes).unwrap();
    assert_eq!(read.address(), state.address);
    assert_eq!(read.slots().len(), state.storage.len());
    assert_eq!(read.to_bytes(), bytes);
    let apart: usize = state.storage.iter().flat_map(|slot| &slot.proof).map(|node| node.0.len()).sum();
    assert!(bytes.len() < apart, "nodes on several paths are there once: {} of {apart} bytes", bytes.len());

    for cut in 0..bytes.len() {
        assert!(
            matches!(
                StateWitness::from_bytes(&bytes[..cut]),
                Err(WitnessError::Truncated { .. } | WitnessError::UnusedNode { .. })
            ),
            "{cut}"
        );
    }
    let longer = [bytes.as_slice(), &[0]].concat();
    assert_eq!(StateWitness::from_bytes(&longer).unwrap_err(), WitnessError::LeftOver { left: 1 });
    let other = [&[2], &bytes[1..]].concat();
    assert_eq!(StateWitness::from_bytes(&other).unwrap_err(), WitnessError::Version { got: 2 });
}

#[test]
fn witnesses_are_bounded() {
    let node = [7u8];
    let witness = |nodes: &[u8]| {
        let bytes = [&[1], nodes].concat();
        StateWitness::from_bytes(&bytes).map(|_| ()).unwrap_err()
    };
    let too_large = witness(&[0, 1, 0x04, 0x01]);
    assert_eq!(too_large, WitnessError::TooMany { what: "bytes in a node", got: 1025, most: 1024 });
    let long_path = witness(&[&[0, 0][..], &[0; 20], &[66]].concat());
    assert_eq!(long_path, WitnessError::TooMany { what: "nodes on a path", got: 66, most: 65 });
    let no_node = witness(&[&[0, 0][..], &[0; 20], &[1, 0, 0]].concat());
    assert_eq!(no_node, WitnessError::NoSuchNode { index: 0, nodes: 0 });
    let unused = witness(&[&[0, 1, 0, 1, 7][..], &[0; 20], &[0, 0, 0]].concat());
    assert_eq!(unused, WitnessError::UnusedNode { index: 0 });
    let many = witness(&[&[0, 0][..], &[0; 20], &[0, 0x10, 0x01]].concat());
    assert_eq!(many, WitnessError::TooMany { what: "slots", got: 4097, most: 4096 });
    let twice = [&[0, 0][..], &[0; 20], &[0, 0, 2], &[5; 32], &[0], &[5; 32], &[0]].concat();
    let slot = B256::repeat_byte(5);
    assert_eq!(witness(&twice), WitnessError::OutOfOrder { slot, after: slot });

    let new = |account: Vec<&'static [u8]>| StateWitness::new(Address::ZERO, account, [(B256::ZERO, [])]);
    assert!(new(vec![&[7; 32]; 65]).is_ok());
    assert!(matches!(new(vec![&[7; 32]; 66]), Err(WitnessError::TooMany { got: 66, .. })));
    assert!(matches!(new(vec![&[7; 1025]]), Err(WitnessError::TooMany { got: 1025, .. })));
    let normal = new(vec![&[0x80]]).unwrap().to_bytes();
    assert_eq!(normal, new(vec![]).unwrap().to_bytes(), "the empty trie has no nodes");
    let slots = [(slot, vec![node.as_slice()]), (slot, vec![])];
    assert!(matches!(StateWitness::new(Address::ZERO, [], slots), Err(WitnessError::OutOfOrder { .. })));
}
