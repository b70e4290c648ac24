//! What state costs in a circuit: the cycles of the committed circuit of the guest erc20-balance, against the table in docs/CYCLES.md.
//!
//! More than 3 % above a row fails. `COPROCESSOR_RECORD=1` writes the table anew: after a change that is worth its cycles,
//! or that saves some.

use crate::chain::{
    ACCOUNT_BRANCHES, DOMAINS, EMPTY_TRIE, HOLDER, MILLION, SLOT_BRANCHES, TOKEN, account, circuit, execute, opened,
    path, question, root, state,
};
use alloy_primitives::B256;
use coprocessor_ethereum::{Slot, StateWitness};
use coprocessor_prover::mock::rv64::Program;
use coprocessor_types::{OpenedWitness, StateProof};
use std::fs;

/// Per cent that a row may be above the table.
const TOLERANCE: u64 = 3;

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

fn rows() -> Vec<(String, u64)> {
    let erc20 = circuit("erc20-balance");
    // A chain without any account: what the circuit costs beside its proofs.
    let nothing = StateWitness::new(TOKEN, [], [] as [(B256, [&[u8]; 0]); 0]).unwrap().to_bytes();
    let beside = balance(&erc20, EMPTY_TRIE, nothing);
    // An account without storage: the slot is absent without a node.
    let slot = Slot::at(0).entry(HOLDER).key();
    let (state_root, nodes) = path(TOKEN.as_slice(), &account(EMPTY_TRIE), ACCOUNT_BRANCHES);
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
