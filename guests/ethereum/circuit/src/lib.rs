//! Proves what slots of an account hold, from the coprocessor's root down.

use circuit_sdk::{CONTROLLER_ONLY, Witnesses};
use core::fmt::Display;
use ethereum::Block;
use ethereum_claim::Question;

/// Witness: the [`Question`], as data; a block of the chain's domain with the proof of the account and its slots. Output:
/// [`Question::answered`].
///
/// # Panics
/// Where there is no such account: there is nothing whose slots could be shown.
pub fn circuit(mut witnesses: Witnesses) -> Vec<u8> {
    let question = must(Question::from_bytes(&witnesses.data()));
    let block = must(Block::take(&mut witnesses, question.chain_id, CONTROLLER_ONLY));
    let state = must(block.state());
    let account = must(state.account(question.address));
    let account = account.unwrap_or_else(|| panic!("there is no account {}", question.address));
    let values: Vec<_> = question.slots.iter().map(|slot| must(account.slot(*slot))).collect();
    question.answered(block.number(), block.hash(), &values)
}

/// What is wrong, for whoever made the witness.
fn must<T, E: Display>(result: Result<T, E>) -> T {
    result.unwrap_or_else(|error| panic!("{error}"))
}
