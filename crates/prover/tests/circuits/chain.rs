//! A chain's state as an attacker who chooses every byte of it would make it, and the committed circuits run on it.

use alloy_primitives::{Address, B256, U256, keccak256};
use alloy_rlp::Encodable;
use coprocessor_ethereum::{BlockPayload, Slot, StateWitness, chain_domain};
use coprocessor_merkle::{block_key, block_value, domain_key, domain_value, opened_root};
use coprocessor_prover::mock::rv64::{Limits, Outcome, Program, run};
use coprocessor_types::{BlockOpening, CircuitInput, DomainId, OpenedWitness, Root, StateProof, TrustId};
use std::{fs, path::PathBuf};

pub(crate) const CHAIN: u64 = 1;
pub(crate) const HOLDER: Address = Address::repeat_byte(0x22);
pub(crate) const TOKEN: Address = Address::repeat_byte(0x11);
/// About log2 of a million blocks.
pub(crate) const MILLION: usize = 20;
/// Of a root tree with a few domains.
pub(crate) const DOMAINS: usize = 3;
/// Branches above an account of Ethereum's main net.
pub(crate) const ACCOUNT_BRANCHES: usize = 8;
/// Branches above a slot of a token with ten million holders.
pub(crate) const SLOT_BRANCHES: usize = 6;

pub(crate) const EMPTY_TRIE: B256 =
    B256::new(alloy_primitives::hex!("56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421"));

pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

pub(crate) fn circuit(guest: &str) -> Program {
    let file = root().join("guests").join(guest).join("artifacts/circuit.elf");
    Program::load(&fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))).unwrap()
}

/// The nodes from a root down to a value under so many full branches, and the root.
pub(crate) fn path(key: &[u8], value: &[u8], branches: usize) -> (B256, Vec<Vec<u8>>) {
    let key = keccak256(key);
    let nibble = |index: usize| key[index / 2] >> (4 * ((index + 1) % 2)) & 0x0f;
    let rest = &key[branches / 2..];
    let packed = match branches % 2 {
        0 => [&[0x20], rest].concat(),
        _ => [&[0x30 | (rest[0] & 0x0f)], &rest[1..]].concat(),
    };
    let mut nodes = vec![list(&[packed, value.to_vec()])];
    for depth in (0..branches).rev() {
        let below = keccak256(nodes.last().unwrap());
        let other = |index: usize| keccak256([depth as u8, index as u8]).to_vec();
        let child = |index: usize| if index == usize::from(nibble(depth)) { below.to_vec() } else { other(index) };
        let mut items: Vec<_> = (0..16).map(child).collect();
        items.push(vec![]);
        nodes.push(list(&items));
    }
    nodes.reverse();
    (keccak256(&nodes[0]), nodes)
}

pub(crate) fn list(items: &[Vec<u8>]) -> Vec<u8> {
    let payload_length = items.iter().map(|item| item.as_slice().length()).sum();
    let mut rlp = vec![];
    alloy_rlp::Header { list: true, payload_length }.encode(&mut rlp);
    items.iter().for_each(|item| item.as_slice().encode(&mut rlp));
    rlp
}

pub(crate) fn number(number: U256) -> Vec<u8> {
    number.to_be_bytes_trimmed_vec()
}

/// A contract with that storage root, in RLP.
pub(crate) fn account(storage_root: B256) -> Vec<u8> {
    let code_hash = keccak256(b"code");
    list(&[number(U256::ONE), vec![], storage_root.to_vec(), code_hash.to_vec()])
}

/// State with the token and the holder's balance: state root and witness.
pub(crate) fn state() -> (B256, Vec<u8>) {
    let slot = Slot::at(0).entry(HOLDER).key();
    let mut balance = vec![];
    U256::from(123_456_789_000_u64).to_be_bytes_trimmed_vec().as_slice().encode(&mut balance);
    let (storage_root, slot_nodes) = path(slot.as_slice(), &balance, SLOT_BRANCHES);
    let (state_root, account_nodes) = path(TOKEN.as_slice(), &account(storage_root), ACCOUNT_BRANCHES);
    let slots = [(slot, slot_nodes.iter().map(Vec::as_slice))];
    let witness = StateWitness::new(TOKEN, account_nodes.iter().map(Vec::as_slice), slots).unwrap();
    (state_root, witness.to_bytes())
}

/// A block of the chain's domain under so many siblings, and the root above.
pub(crate) fn opened(state_root: B256, proof: Vec<u8>, siblings: usize) -> (Root, OpenedWitness) {
    let payload = payload(CHAIN);
    let domain = DomainId::derive(&chain_domain(CHAIN));
    let block = StateProof { domain, number: 21_000_000, state_root: state_root.0, payload, proof };
    let (root, opening) = placed(&block, TrustId([0; 32]), siblings);
    (root, OpenedWitness::StateProof(block, opening))
}

pub(crate) fn payload(chain_id: u64) -> Vec<u8> {
    BlockPayload { chain_id, timestamp: 1_728_912_000, hash: B256::repeat_byte(7) }.to_bytes()
}

/// A root that holds the block under so many siblings, with that trust.
pub(crate) fn placed(block: &StateProof, trust: TrustId, siblings: usize) -> (Root, BlockOpening) {
    let above = |count: usize| (0..count).map(|index| Root([index as u8 + 1; 32])).collect::<Vec<_>>();
    let opening = BlockOpening { trust, domain_siblings: above(siblings), root_siblings: above(DOMAINS) };
    let value = block_value(block.number, &block.state_root, &block.payload, &trust);
    let domain_root = opened_root(&block_key(block.number), &value, &opening.domain_siblings, 64).unwrap();
    let value = domain_value(&domain_root);
    let root = opened_root(&domain_key(&block.domain), &value, &opening.root_siblings, 256).unwrap();
    (root, opening)
}

pub(crate) fn execute(circuit: &Program, root: Root, witnesses: Vec<OpenedWitness>) -> Outcome {
    let input = CircuitInput { root, witnesses }.to_bytes();
    run(circuit, &[&input], Limits::default(), &|| false).unwrap()
}

pub(crate) fn question() -> Vec<u8> {
    [&CHAIN.to_be_bytes()[..], TOKEN.as_slice(), HOLDER.as_slice(), &[0; 32]].concat()
}
