//! What state costs in a circuit: the cycles of the committed circuit of the guest erc20-balance, against the table in docs/CYCLES.md.
//!
//! More than 3 % above a row fails. `COPROCESSOR_RECORD=1` writes the table anew: after a change that is worth its cycles,
//! or that saves some.
#![allow(missing_docs)]

use alloy_primitives::{Address, B256, U256, keccak256};
use alloy_rlp::Encodable;
use coprocessor_ethereum::{BlockPayload, Slot, StateWitness, chain_domain};
use coprocessor_merkle::{block_key, block_value, domain_key, domain_value, opened_root};
use coprocessor_prover::mock::rv64::{Limits, Outcome, Program, run};
use coprocessor_types::{BlockOpening, CircuitInput, DomainId, OpenedWitness, Root, StateProof, TrustId};
use std::{fs, path::PathBuf};

/// Per cent that a row may be above the table.
const TOLERANCE: u64 = 3;
const CHAIN: u64 = 1;
const HOLDER: Address = Address::repeat_byte(0x22);
const TOKEN: Address = Address::repeat_byte(0x11);
/// About log2 of a million blocks.
const MILLION: usize = 20;
/// Of a root tree with a few domains.
const DOMAINS: usize = 3;
/// Branches above an account of Ethereum's main net.
const ACCOUNT_BRANCHES: usize = 8;
/// Branches above a slot of a token with ten million holders.
const SLOT_BRANCHES: usize = 6;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn circuit(guest: &str) -> Program {
    let file = root().join("guests").join(guest).join("artifacts/circuit.elf");
    Program::load(&fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))).unwrap()
}

/// The nodes from a root down to a value under so many full branches, and the root.
fn path(key: &[u8], value: &[u8], branches: usize) -> (B256, Vec<Vec<u8>>) {
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

fn list(items: &[Vec<u8>]) -> Vec<u8> {
    let payload_length = items.iter().map(|item| item.as_slice().length()).sum();
    let mut rlp = vec![];
    alloy_rlp::Header { list: true, payload_length }.encode(&mut rlp);
    items.iter().for_each(|item| item.as_slice().encode(&mut rlp));
    rlp
}

fn number(number: U256) -> Vec<u8> {
    number.to_be_bytes_trimmed_vec()
}

/// A contract with that storage root, in RLP.
fn account(storage_root: B256) -> Vec<u8> {
    let code_hash = keccak256(b"code");
    list(&[number(U256::ONE), vec![], storage_root.to_vec(), code_hash.to_vec()])
}

/// State with the token and the holder's balance: state root and witness.
fn state() -> (B256, Vec<u8>) {
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
fn opened(state_root: B256, proof: Vec<u8>, siblings: usize) -> (Root, OpenedWitness) {
    let payload = BlockPayload { chain_id: CHAIN, timestamp: 1_728_912_000, hash: B256::repeat_byte(7) }.to_bytes();
    let domain = DomainId::derive(&chain_domain(CHAIN));
    let proof = StateProof { domain, number: 21_000_000, state_root: state_root.0, payload, proof };
    let above = |count: usize| (0..count).map(|index| Root([index as u8 + 1; 32])).collect::<Vec<_>>();
    let trust = TrustId([0; 32]);
    let opening = BlockOpening { trust, domain_siblings: above(siblings), root_siblings: above(DOMAINS) };
    let value = block_value(proof.number, &proof.state_root, &proof.payload, &trust);
    let domain_root = opened_root(&block_key(proof.number), &value, &opening.domain_siblings, 64).unwrap();
    let value = domain_value(&domain_root);
    let root = opened_root(&domain_key(&domain), &value, &opening.root_siblings, 256).unwrap();
    (root, OpenedWitness::StateProof(proof, opening))
}

fn execute(circuit: &Program, root: Root, witnesses: Vec<OpenedWitness>) -> Outcome {
    let input = CircuitInput { root, witnesses }.to_bytes();
    run(circuit, &[&input], Limits::default(), &|| false).unwrap()
}

/// The balance circuit at that state.
fn balance(circuit: &Program, state_root: B256, proof: Vec<u8>) -> u64 {
    let (root, block) = opened(state_root, proof, MILLION);
    let outcome = execute(circuit, root, vec![OpenedWitness::Data(question()), block]);
    assert_eq!(outcome.exit_code, 0, "{}", outcome.stderr);
    assert_eq!(outcome.public_values[..32], root.0);
    outcome.cycles
}

/// The same with one more element that the circuit leaves over: which is refused at its end, after that element's opening
/// was checked.
fn with_another(circuit: &Program, another: impl FnOnce(&OpenedWitness) -> OpenedWitness) -> u64 {
    let (state_root, proof) = state();
    let (root, block) = opened(state_root, proof, MILLION);
    let another = another(&block);
    let outcome = execute(circuit, root, vec![OpenedWitness::Data(question()), block, another]);
    assert_ne!(outcome.exit_code, 0);
    assert!(outcome.stderr.contains("the circuit took 2 of 3"), "{}", outcome.stderr);
    outcome.cycles
}

fn question() -> Vec<u8> {
    [&CHAIN.to_be_bytes()[..], TOKEN.as_slice(), HOLDER.as_slice(), &[0; 32]].concat()
}

fn rows() -> Vec<(String, u64)> {
    let erc20 = circuit("erc20-balance");
    // A chain without any account: what the circuit costs beside its proofs.
    let empty = B256::new(alloy_primitives::hex!("56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421"));
    let nothing = StateWitness::new(TOKEN, [], [] as [(B256, [&[u8]; 0]); 0]).unwrap().to_bytes();
    let beside = balance(&erc20, empty, nothing);
    // An account without storage: the slot is absent without a node.
    let slot = Slot::at(0).entry(HOLDER).key();
    let (state_root, nodes) = path(TOKEN.as_slice(), &account(empty), ACCOUNT_BRANCHES);
    let bare =
        StateWitness::new(TOKEN, nodes.iter().map(Vec::as_slice), [(slot, [] as [&[u8]; 0])]).unwrap().to_bytes();
    let with_account = balance(&erc20, state_root, bare);
    let (state_root, proof) = state();
    let whole = balance(&erc20, state_root, proof);
    let data = with_another(&erc20, |_| OpenedWitness::Data(vec![]));
    let block = |block: &OpenedWitness| match block {
        OpenedWitness::StateProof(proof, opening) => {
            OpenedWitness::StateProof(StateProof { proof: vec![], ..proof.clone() }, opening.clone())
        }
        OpenedWitness::Data(_) => unreachable!("it is a state proof"),
    };
    vec![
        (
            format!("opening of a block, {MILLION} siblings in the domain's tree and {DOMAINS} above"),
            with_another(&erc20, block) - data,
        ),
        (format!("account, {ACCOUNT_BRANCHES} full branches and a leaf"), with_account - beside),
        (format!("slot, {SLOT_BRANCHES} full branches and a leaf"), whole - with_account),
        ("`erc20-balance`, all of the above and what is around it".into(), whole),
    ]
}

#[test]
fn state_costs_what_the_table_says() {
    let file = root().join("docs/CYCLES.md");
    let text = fs::read_to_string(&file).unwrap();
    let rows = rows();
    if std::env::var_os("COPROCESSOR_RECORD").is_some() {
        let kept: String =
            text.lines().take_while(|line| !line.starts_with("|---")).flat_map(|line| [line, "\n"]).collect();
        let table: String = rows.iter().map(|(what, cycles)| format!("| {what} | {cycles} |\n")).collect();
        fs::write(&file, format!("{kept}|---|---|\n{table}")).unwrap();
        return;
    }
    for (what, cycles) in rows {
        let row = text.lines().find_map(|line| line.strip_prefix(&format!("| {what} | ")));
        let row = row.and_then(|row| row.trim_end_matches(" |").parse::<u64>().ok());
        let row = row.unwrap_or_else(|| panic!("docs/CYCLES.md has no row for: {what}"));
        assert!(
            cycles <= row + row * TOLERANCE / 100,
            "{what}: {cycles} cycles, {row} in docs/CYCLES.md; if that is worth it, run this test with COPROCESSOR_RECORD=1"
        );
    }
}

/// Bounds that don't move with the table.
#[test]
fn state_costs_no_more_than_was_promised() {
    let rows = rows();
    assert!(rows[0].1 <= 60_000, "an opening: {} cycles", rows[0].1);
    assert!(rows[3].1 <= 1_500_000, "the whole circuit: {} cycles", rows[3].1);
}
