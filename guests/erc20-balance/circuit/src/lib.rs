//! Proves how much of a token an account holds, from the coprocessor's root down to the slot.

use circuit_sdk::{CONTROLLER_ONLY, Witnesses};
use core::fmt::Display;
use erc20_balance_claim::{Claim, Question};
use ethereum::{Block, U256};

/// Witness: the [`Question`], as data; a block of the chain's domain with the proof of the token's account and of the
/// balance's slot. Output: [`Claim::to_bytes`].
///
/// An address without a contract holds nothing of anything: the balance is zero then, as it is for a contract without storage.
pub fn circuit(mut witnesses: Witnesses) -> [u8; Claim::LEN] {
    let question = must(Question::from_bytes(&witnesses.data()));
    let block = must(Block::take(&mut witnesses, question.chain_id, CONTROLLER_ONLY));
    let state = must(block.state());
    let balance = match must(state.account(question.token)) {
        Some(token) => must(token.slot(question.slot())),
        None => U256::ZERO,
    };
    Claim { question, block_number: block.number(), balance }.to_bytes()
}

/// What is wrong, for whoever made the witness.
fn must<T, E: Display>(result: Result<T, E>) -> T {
    result.unwrap_or_else(|error| panic!("{error}"))
}
