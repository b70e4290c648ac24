//! Account and storage proofs, against what `alloy-trie` made them of.

use super::{edit, header::header, rlp};
use crate::{Input, Seed, Target, Writer};
use alloy_trie::{HashBuilder, Nibbles, proof::ProofRetainer};
use coprocessor_ethereum::{Address, B256, Header, Slot, StateWitness, U256, keccak256};
use std::collections::BTreeMap;

pub(crate) const TARGET: Target =
    Target { name: "trie", about: "ethereum: account and storage proofs, honest, forged and hostile", run, seeds };

/// Most accounts and slots: enough for paths of a few nodes.
const MOST: usize = 64;

type Leaves = BTreeMap<B256, Vec<u8>>;

fn run(data: &[u8]) {
    let mut input = Input::new(data);
    if input.flag() {
        return hostile(&mut input);
    }
    let slots: BTreeMap<u8, u8> = (0..input.below(MOST)).map(|_| (input.byte(), input.byte().max(1))).collect();
    let accounts: Vec<u8> = (0..input.below(MOST)).map(|_| input.byte()).collect();
    let asked: Vec<u8> = (0..input.below(4)).map(|_| input.byte()).collect();
    let mut storage = Leaves::new();
    for (slot, value) in &slots {
        storage.insert(keccak256(slot_key(*slot)), rlp::string(&[*value]));
    }
    let asked_keys: Vec<B256> = asked.iter().map(|slot| keccak256(slot_key(*slot))).collect();
    let (storage_root, slot_paths) = prove(&storage, &asked_keys);
    let mut state = Leaves::new();
    for account in &accounts {
        // All have the storage that the first has, so that a proof of one is nearly one of another.
        state.insert(keccak256(address(*account)), account_rlp(*account, &storage_root));
    }
    let of = input.byte();
    let (state_root, account_path) = prove(&state, &[keccak256(address(of))]);
    let is_there = accounts.contains(&of);
    let paths = asked.iter().zip(&slot_paths).map(|(slot, path)| (slot_key(*slot), path.iter().map(Vec::as_slice)));
    let paths: Vec<_> = if is_there { paths.collect() } else { Vec::new() };
    let witness = StateWitness::new(address(of), account_path[0].iter().map(Vec::as_slice), paths);
    let mut bytes = witness.expect("an honest witness").to_bytes();
    let honest = bytes.clone();
    edit::bytes(&mut input, &mut bytes);
    let rlp = header(state_root.0, 0);
    let header = Header::from_rlp(&rlp).expect("a header");
    let Ok(witness) = StateWitness::from_bytes(&bytes) else {
        assert_ne!(bytes, honest, "an honest witness is not read");
        return;
    };
    assert_eq!(witness.to_bytes(), bytes, "a witness has one encoding");
    let whose = witness.address();
    let slots_claimed: Vec<B256> = witness.slots().collect();
    let proved = header.state(witness);
    let account = match proved.account(whose) {
        Ok(account) => account,
        Err(error) => {
            assert_ne!(bytes, honest, "an honest account: {error}");
            return;
        }
    };
    let expected = accounts.iter().find(|account| address(**account) == whose);
    assert_eq!(account.as_ref().map(|account| account.nonce()), expected.map(|account| u64::from(*account)));
    let Some(account) = account else { return };
    assert_eq!(account.storage_root(), storage_root);
    for slot in slots_claimed {
        match account.slot(Slot::from(slot)) {
            Ok(value) => {
                let held = slots.iter().find(|(held, _)| slot_key(**held) == slot).map_or(0, |(_, value)| *value);
                assert_eq!(value, U256::from(held), "another value of slot {slot}");
            }
            Err(error) => assert_ne!(bytes, honest, "an honest slot: {error}"),
        }
    }
}

/// Nodes of an attacker's own, under a root that he chose: whatever they are, nothing but an error comes of it.
fn hostile(input: &mut Input<'_>) {
    let mut nodes: Vec<Vec<u8>> = (0..1 + input.below(4)).map(|_| input.few().to_vec()).collect();
    // From the last on each is named by the one before it, where that has room for a hash.
    for at in (1..nodes.len()).rev() {
        let hash = keccak256(&nodes[at]);
        let into = &mut nodes[at - 1];
        if let Some(place) = into.windows(33).position(|window| window[0] == 0xa0) {
            into[place + 1..place + 33].copy_from_slice(hash.as_slice());
        }
    }
    let rlp = header(keccak256(&nodes[0]).0, 0);
    let header = Header::from_rlp(&rlp).expect("a header");
    let split = 1 + input.below(4);
    let (account, storage) = nodes.split_at(split.min(nodes.len()));
    let slot = slot_key(input.byte());
    let slots = [(slot, storage.iter().map(Vec::as_slice))];
    let Ok(witness) = StateWitness::new(address(input.byte()), account.iter().map(Vec::as_slice), slots) else {
        return;
    };
    let whose = witness.address();
    if let Ok(Some(account)) = header.state(witness).account(whose) {
        let _ = account.slot(Slot::from(slot));
        let _ = account.text(Slot::from(slot), 100);
    }
}

fn address(index: u8) -> Address {
    Address::repeat_byte(index)
}

fn slot_key(index: u8) -> B256 {
    let mut key = [0; 32];
    key[31] = index;
    B256::new(key)
}

fn account_rlp(index: u8, storage_root: &B256) -> Vec<u8> {
    let nonce: &[u8] = if index == 0 { &[] } else { &[index] };
    rlp::list(&[
        rlp::string(nonce),
        rlp::string(&[index.max(1), 7]),
        rlp::string(storage_root.as_slice()),
        rlp::string(&[5; 32]),
    ])
}

/// The root, and the nodes that lead from it to each of the keys.
fn prove(leaves: &Leaves, keys: &[B256]) -> (B256, Vec<Vec<Vec<u8>>>) {
    let targets: Vec<_> = keys.iter().map(|key| Nibbles::unpack(key)).collect();
    let mut builder = HashBuilder::default().with_proof_retainer(ProofRetainer::new(targets.clone()));
    for (key, value) in leaves {
        builder.add_leaf(Nibbles::unpack(key), value);
    }
    let root = builder.root();
    let nodes = builder.take_proof_nodes();
    let path = |key: &Nibbles| nodes.matching_nodes_sorted(key).into_iter().map(|(_, node)| node.to_vec()).collect();
    (root, targets.iter().map(path).collect())
}

fn seeds() -> Vec<Seed> {
    let state = |slots: u8, accounts: u8| {
        let writer =
            (0..slots).fold(Writer::new().byte(0).byte(slots), |writer, slot| writer.byte(slot).byte(slot + 1));
        (0..accounts).fold(writer.byte(accounts), Writer::byte)
    };
    let mut branch = vec![0xf8, 0x51, 0xa0];
    branch.extend([0x11; 32]);
    branch.extend([0xa0]);
    branch.extend([0x22; 32]);
    branch.extend([0x80; 15]);
    let leaf = rlp::list(&[rlp::string(&[0x20, 1]), rlp::string(&[7; 40])]);
    vec![
        state(20, 20).bytes(&[2, 3, 200, 4, 0]).seed("there-and-absent"),
        state(1, 1).bytes(&[1, 0, 0, 0]).seed("one-of-each"),
        state(0, 0).bytes(&[0, 9, 0]).seed("nothing"),
        state(30, 30).bytes(&[3, 1, 2, 3, 5, 1, 40, 0, 0, 1]).seed("a-changed-byte"),
        state(30, 30).bytes(&[1, 1, 5, 1, 100, 0, 2]).seed("truncated"),
        Writer::new().byte(1).byte(1).few(&branch).few(&leaf).bytes(&[0, 1, 2]).seed("hostile-branch"),
        Writer::new().byte(1).byte(0).few(&[0xc2, 0x20, 1]).bytes(&[0, 1, 2]).seed("hostile-leaf"),
    ]
}
