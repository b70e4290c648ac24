//! The answers that crates/state-proof/tests/anvil.rs recorded of a real node.

use coprocessor_ethereum::{
    Address, Slot,
    json::StateJson,
    rpc::{RpcBlock, RpcProof},
};
use serde::Deserialize;

pub(crate) const HOLDER: Address = Address::repeat_byte(0x22);
pub(crate) const NOBODY: Address = Address::repeat_byte(0x99);

/// Answers in order: the holder's balance after none, one and two transfers; every kind of variable; an absent account; an
/// account without code; the balance of the third answer's block after a reorganisation.
#[derive(Deserialize)]
pub(crate) struct Recorded {
    pub(crate) owner: String,
    answers: Vec<Answer>,
}

#[derive(Deserialize)]
struct Answer {
    block: RpcBlock,
    proof: RpcProof,
}

impl Recorded {
    pub(crate) fn read() -> Self {
        serde_json::from_str(include_str!("../fixtures/anvil.json")).unwrap()
    }

    pub(crate) fn state(&self, index: usize) -> StateJson {
        let Answer { block, proof } = &self.answers[index];
        let (_, header) = block.header().unwrap();
        let slots: Vec<_> = match proof.account_proof.is_empty() {
            true => vec![],
            false => proof.storage_proof.iter().map(|slot| Slot::new(slot.key)).collect(),
        };
        StateJson::new("anvil".into(), 31337, &header, proof.address, &slots, proof.clone()).unwrap()
    }

    pub(crate) fn whole(&self) -> StateJson {
        self.state(3)
    }

    pub(crate) fn absence(&self) -> StateJson {
        self.state(4)
    }
}
