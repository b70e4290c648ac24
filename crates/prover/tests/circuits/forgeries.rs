//! Forgeries in the zkVM's own code: the committed circuit of the guest erc20-balance runs on what an attacker makes of an honest
//! witness, with the hashing that only circuits have. It must end without public values, and say why.

use crate::{
    chain::{
        ACCOUNT_BRANCHES, CHAIN, EMPTY_TRIE, HOLDER, MILLION, SLOT_BRANCHES, TOKEN, account, circuit, execute, opened,
        path, payload, placed, question, state,
    },
    world::{Case, FORGERIES, LIGHT_CLIENT, World},
};
use alloy_primitives::{Address, B256, keccak256};
use coprocessor_ethereum::{Slot, StateWitness, chain_domain};
use coprocessor_merkle::{OpeningError, verify_block};
use coprocessor_prover::mock::rv64::{Outcome, Program};
use coprocessor_types::{DomainId, OpenedWitness, Root, StateProof, TrustId};

/// A balance that the holder would like to have, as the trie stores it: 2^64 - 1.
const RICHES: [u8; 9] = [0x88, 255, 255, 255, 255, 255, 255, 255, 255];

/// What the attacker shows of the state: any nodes, for any address and slot.
#[derive(Clone)]
struct Shown {
    /// That of the block, which is under the root; out of the attacker's reach.
    state_root: B256,
    address: Address,
    account: Vec<Vec<u8>>,
    slot: B256,
    storage: Vec<Vec<u8>>,
    /// What is done to the encoded witness.
    spoil: fn(&mut Vec<u8>),
}

impl Shown {
    fn honest() -> Self {
        let slot = Slot::at(0).entry(HOLDER).key();
        let (storage_root, storage) = path(slot.as_slice(), &[7], SLOT_BRANCHES);
        let (state_root, account) = path(TOKEN.as_slice(), &account(storage_root), ACCOUNT_BRANCHES);
        Self { state_root, address: TOKEN, account, slot, storage, spoil: |_| () }
    }

    fn run(&self, circuit: &Program) -> Outcome {
        let slots = [(self.slot, self.storage.iter().map(Vec::as_slice))];
        let witness = StateWitness::new(self.address, self.account.iter().map(Vec::as_slice), slots).unwrap();
        let mut proof = witness.to_bytes();
        (self.spoil)(&mut proof);
        let (root, block) = opened(self.state_root, proof, MILLION);
        execute(circuit, root, vec![OpenedWitness::Data(question()), block])
    }
}

/// Whether it refused, for a reason that says so much.
fn refused(name: &str, outcome: &Outcome, reason: &str) {
    assert_ne!(outcome.exit_code, 0, "{name}: it was let pass");
    assert_eq!(outcome.public_values, [0; 0], "{name}");
    assert!(outcome.stderr.contains(reason), "{name}: {}", outcome.stderr);
}

/// What is wrong with a block of the tree's table of forgeries is what the circuit says of it.
#[test]
fn no_forged_opening_gets_past_the_circuit() {
    let circuit = circuit("erc20-balance");
    let honest = World::new().case(5);
    let run = |case: &Case| {
        let block = OpenedWitness::StateProof(case.proof.clone(), case.opening.clone());
        execute(&circuit, case.root, vec![OpenedWitness::Data(question()), block])
    };
    // It opens, and is of another domain than the one that the circuit takes.
    refused("honest", &run(&honest), "expected a state proof of domain");
    for forgery in FORGERIES {
        let mut case = honest.clone();
        (forgery.forge)(&mut case);
        let outcome = run(&case);
        assert!(!outcome.stderr.contains("expected a state proof of domain"), "{}: it was opened", forgery.name);
        let native = verify_block(&case.root, &case.proof, &case.opening).unwrap_err();
        assert!((forgery.refusal)(&native), "{}: {native}", forgery.name);
        let reason = match native {
            // What is too deep is no input, already.
            OpeningError::TooDeep { got, limit } => {
                format!("{got} siblings, at most {limit}")
            }
            error => error.to_string(),
        };
        refused(forgery.name, &outcome, &reason);
    }
}

#[test]
fn no_forged_state_gets_past_the_circuit() {
    let circuit = circuit("erc20-balance");
    let honest = Shown::honest().run(&circuit);
    assert_eq!((honest.exit_code, honest.public_values.get(32 + 4 * 32 + 31)), (0, Some(&7)), "{}", honest.stderr);
    type Forge = fn(&mut Shown);
    let forgeries: [(&str, Forge, &str); 16] = [
        (
            "an account of another state",
            |shown| shown.account = path(TOKEN.as_slice(), &account(rich(shown.slot).0), ACCOUNT_BRANCHES).1,
            "account",
        ),
        ("storage that is not the account's", |shown| shown.storage = rich(shown.slot).1, "slot"),
        (
            "both, under the true state root",
            |shown| {
                let (storage_root, storage) = rich(shown.slot);
                shown.account = path(TOKEN.as_slice(), &account(storage_root), ACCOUNT_BRANCHES).1;
                shown.storage = storage;
            },
            "account",
        ),
        ("no nodes for a slot that is there", |shown| shown.storage.clear(), "slot"),
        ("no nodes for an account that is there", |shown| shown.account.clear(), "account"),
        (
            "an absent slot of another account",
            |shown| shown.account = path(TOKEN.as_slice(), &account(EMPTY_TRIE), ACCOUNT_BRANCHES).1,
            "account",
        ),
        ("another holder's slot", |shown| shown.slot = Slot::at(0).entry(TOKEN).key(), "slot"),
        ("another slot's path", |shown| shown.storage = path(&[1; 32], &RICHES, SLOT_BRANCHES).1, "slot"),
        ("another account's address", |shown| shown.address = HOLDER, "is of account"),
        ("nodes in another order", |shown| shown.account.swap(0, 1), "account"),
        ("the last node left out", |shown| drop(shown.account.pop()), "account"),
        ("the first node left out", |shown| drop(shown.storage.remove(0)), "slot"),
        ("a node too many", |shown| shown.storage.push(vec![0xc8; 40]), "slot"),
        (
            "a leaf with another value",
            |shown| *shown.storage.last_mut().and_then(|leaf| leaf.last_mut()).unwrap() = 99,
            "slot",
        ),
        ("an encoding cut short", |shown| shown.spoil = |bytes| bytes.truncate(bytes.len() - 1), "truncated"),
        ("an encoding with more behind", |shown| shown.spoil = |bytes| bytes.push(0), "left over"),
    ];
    for (name, forge, reason) in forgeries {
        let mut shown = Shown::honest();
        forge(&mut shown);
        refused(name, &shown.run(&circuit), reason);
    }
}

/// A storage trie in which the slot holds riches.
fn rich(slot: B256) -> (B256, Vec<Vec<u8>>) {
    path(slot.as_slice(), &RICHES, SLOT_BRANCHES)
}

/// Blocks that a root truly holds, but not of the chain that was asked for, or not checked as the circuit wants.
#[test]
fn no_block_but_the_chains_own_is_taken() {
    let circuit = circuit("erc20-balance");
    let (state_root, proof) = state();
    let block = |chain: u64, payload: Vec<u8>| StateProof {
        domain: DomainId::derive(&chain_domain(chain)),
        number: 5,
        state_root: state_root.0,
        payload,
        proof: proof.clone(),
    };
    let run = |block: StateProof, trust: TrustId| {
        let (root, opening) = placed(&block, trust, MILLION);
        execute(&circuit, root, vec![OpenedWitness::Data(question()), OpenedWitness::StateProof(block, opening)])
    };
    let taken = run(block(CHAIN, payload(CHAIN)), TrustId([0; 32]));
    assert_eq!(taken.exit_code, 0, "{}", taken.stderr);
    refused("another domain", &run(block(2, payload(CHAIN)), TrustId([0; 32])), "expected a state proof of domain");
    refused("another chain's payload", &run(block(CHAIN, payload(2)), TrustId([0; 32])), "chain");
    refused("another trust", &run(block(CHAIN, payload(CHAIN)), LIGHT_CLIENT), "expected a block checked by");
    refused("a payload of nothing", &run(block(CHAIN, vec![]), TrustId([0; 32])), "payload");
    // And one of another root.
    let honest = block(CHAIN, payload(CHAIN));
    let (_, opening) = placed(&honest, TrustId([0; 32]), MILLION);
    let witnesses = vec![OpenedWitness::Data(question()), OpenedWitness::StateProof(honest, opening)];
    refused("another root", &execute(&circuit, Root(keccak256("other").0), witnesses), "leads to root");
}
