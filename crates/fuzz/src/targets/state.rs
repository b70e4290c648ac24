//! State of an Ethereum chain as JSON, what a node answers, and the payload of a block.

use crate::{Input, Seed, Target, Writer};
use coprocessor_ethereum::{
    BlockPayload, StateWitness,
    json::StateJson,
    rpc::{RpcBlock, RpcProof},
};
use serde::Deserialize;

pub(crate) const TARGET: Target =
    Target { name: "state", about: "ethereum: state proofs in JSON, and nodes' answers", run, seeds };

fn run(data: &[u8]) {
    let mut input = Input::new(data);
    match input.below(4) {
        0 => state(input.rest()),
        1 => {
            if let Ok(block) = serde_json::from_slice::<RpcBlock>(input.rest())
                && let Ok((header, rlp)) = block.header()
            {
                assert_eq!(coprocessor_ethereum::Header::from_rlp(&rlp), Ok(header), "a header reads back");
            }
        }
        2 => {
            let (header, slots) = (input.many(), [1_u64, 2].map(coprocessor_ethereum::Slot::at));
            if let Ok(proof) = serde_json::from_slice::<RpcProof>(input.rest())
                && let Ok(state) = StateJson::new("chain".into(), 1, header, proof.address, &slots, proof)
            {
                state.check().expect("what was put together from a proof is what it proves");
            }
        }
        _ => {
            let bytes = input.rest();
            if let Ok(payload) = BlockPayload::from_bytes(bytes) {
                assert_eq!(payload.to_bytes(), bytes, "a payload has one encoding");
            }
        }
    }
}

fn state(bytes: &[u8]) {
    let Ok(state) = serde_json::from_slice::<StateJson>(bytes) else { return };
    let written = serde_json::to_vec(&state).expect("what was read can be written");
    assert_eq!(serde_json::from_slice::<StateJson>(&written).expect("what was written can be read"), state);
    let Ok(header) = state.check() else {
        assert!(state.state_proof().is_err(), "a proof is made of a state that does not hold");
        return;
    };
    let proof = state.state_proof().expect("a state that holds has a proof");
    assert_eq!((proof.number, proof.state_root), (header.number(), header.state_root().0));
    let witness = StateWitness::from_bytes(&proof.proof).expect("its witness reads back");
    let account = header.state(witness);
    let account = account.account(state.address).expect("its witness leads to the account");
    assert_eq!(account.map(|account| account.nonce()), state.account.map(|account| account.nonce));
}

/// Answers of a real node, as the tests of `ethereum` keep them.
#[derive(Deserialize)]
struct Recorded {
    answers: Vec<Answer>,
}

#[derive(Deserialize)]
struct Answer {
    block: serde_json::Value,
    proof: serde_json::Value,
}

fn seeds() -> Vec<Seed> {
    let recorded = include_str!("../../../ethereum/tests/fixtures/anvil.json");
    let recorded: Recorded = serde_json::from_str(recorded).expect("the recorded answers");
    let Answer { block, proof } = &recorded.answers[1];
    let read: RpcBlock = serde_json::from_value(block.clone()).expect("a recorded block");
    let (header, rlp) = read.header().expect("a recorded header");
    let answered: RpcProof = serde_json::from_value(proof.clone()).expect("a recorded proof");
    let slots: Vec<_> = answered.storage_proof.iter().map(|slot| coprocessor_ethereum::Slot::new(slot.key)).collect();
    let state = StateJson::new("anvil".into(), 31337, &rlp, answered.address, &slots, answered);
    let state = serde_json::to_vec(&state.expect("the recorded state")).expect("its JSON");
    let payload = BlockPayload::of(31337, &header).to_bytes();
    vec![
        Writer::new().byte(0).bytes(&state).seed("state"),
        Writer::new().byte(1).bytes(block.to_string().as_bytes()).seed("block"),
        Writer::new().byte(2).many(&rlp).bytes(proof.to_string().as_bytes()).seed("proof"),
        Writer::new().byte(3).bytes(&payload).seed("payload"),
    ]
}
