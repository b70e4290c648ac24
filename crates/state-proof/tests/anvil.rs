//! A real node's answers, at several blocks and across a reorganisation, against what the node says itself.
//!
//! With `COPROCESSOR_RECORD=1` the answers become crates/ethereum/tests/fixtures/anvil.json, by which most other tests go, without a node,
//! and one of them the example of the guest erc20-balance.
#![allow(missing_docs)]

use coprocessor_ethereum::{
    Address, B256, FixedBytes, I256, Slot, U256,
    json::StateJson,
    rpc::{RpcBlock, RpcProof},
};
use coprocessor_test_servers::{EthereumNode, compile_solidity, skip_or_fail};
use serde_json::{Value, json};

const HOLDER: Address = Address::repeat_byte(0x22);
const NOBODY: Address = Address::repeat_byte(0x99);

struct Scene {
    node: EthereumNode,
    ledger: Address,
    recorded: Vec<Value>,
}

/// The slots of every kind of variable in crates/ethereum/tests/contracts/Ledger.sol.
fn slots(owner: Address) -> Vec<Slot> {
    let mut slots = vec![
        Slot::at(0).entry(owner),
        Slot::at(0).entry(HOLDER),
        Slot::at(0).entry(NOBODY),
        Slot::at(1).entry(owner).entry(HOLDER),
        Slot::at(7).entry("book"),
        Slot::at(7).entry("book").member(1),
        Slot::at(8).entry(FixedBytes([0xde, 0xad, 0xbe, 0xef])),
        Slot::at(9).entry(I256::try_from(-5).unwrap()),
        Slot::at(11),
        Slot::at(12).element(1, 2),
        Slot::at(12).element(1, 2).member(1),
        Slot::at(5).element(2, 1),
        Slot::at(6).packed_element(9, 4).0,
        Slot::at(13),
    ];
    slots.extend((2..=6).map(Slot::at));
    slots.extend(Slot::at(4).text_slots(75));
    slots
}

impl Scene {
    fn start() -> Option<Self> {
        let node = skip_or_fail(EthereumNode::start())?;
        let contract =
            skip_or_fail(compile_solidity(include_str!("../../ethereum/tests/contracts/Ledger.sol"), "Ledger"))?;
        let ledger = node.deploy(&contract).unwrap().parse().unwrap();
        Some(Self { node, ledger, recorded: vec![] })
    }

    fn owner(&self) -> Address {
        self.node.call("eth_accounts", json!([])).unwrap()[0].as_str().unwrap().parse().unwrap()
    }

    fn send(&self, call: &str) {
        self.node.transact(json!({ "to": self.ledger.to_string(), "data": call })).unwrap();
    }

    fn transfer(&self, value: u64) {
        self.send(&format!("0xa9059cbb{}{:064x}", hex(&HOLDER.into_word().0), value));
    }

    fn latest(&self) -> u64 {
        let number = self.node.call("eth_blockNumber", json!([])).unwrap();
        u64::from_str_radix(&number.as_str().unwrap()[2..], 16).unwrap()
    }

    /// Asks for a proof, has it checked, compares every slot with the node's own word, and records it.
    fn prove(&mut self, number: u64, address: Address, slots: &[Slot]) -> StateJson {
        let at = format!("{number:#x}");
        let keys: Vec<_> = slots.iter().map(|slot| slot.key().to_string()).collect();
        let block = self.node.call("eth_getBlockByNumber", json!([at, false])).unwrap();
        let proof = self.node.call("eth_getProof", json!([address.to_string(), keys, at])).unwrap();
        self.recorded.push(json!({ "block": block, "proof": proof }));
        let (header, rlp) = serde_json::from_value::<RpcBlock>(block).unwrap().header().unwrap();
        assert_eq!(header.number(), number);
        let proof: RpcProof = serde_json::from_value(proof).unwrap();
        let state = StateJson::new("anvil".into(), 31337, &rlp, address, slots, proof).unwrap();
        for slot in &state.storage {
            let said =
                self.node.call("eth_getStorageAt", json!([address.to_string(), slot.slot.to_string(), at])).unwrap();
            assert_eq!(said.as_str().unwrap(), B256::new(slot.value.to_be_bytes()).to_string(), "{}", slot.slot);
        }
        assert_eq!(state.check().unwrap(), header);
        state
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_nodes_answers_hold_at_every_block_and_across_a_reorganisation() {
    let Some(mut scene) = Scene::start() else { return };
    let (owner, ledger) = (scene.owner(), scene.ledger);
    let balance = Slot::at(0).entry(HOLDER);
    let first = scene.latest();
    scene.transfer(5);
    scene.transfer(37);
    scene.send(&format!("0x095ea7b3{}{:064x}", hex(&HOLDER.into_word().0), 77));

    let held = |state: &StateJson| state.storage[0].value;
    assert_eq!(held(&scene.prove(first, ledger, &[balance])), U256::ZERO);
    assert_eq!(held(&scene.prove(first + 1, ledger, &[balance])), U256::from(5));
    let kept = scene.prove(first + 2, ledger, &[balance]);
    assert_eq!(held(&kept), U256::from(42));
    let whole = scene.prove(first + 3, ledger, &slots(owner));
    assert!(whole.storage.iter().filter(|slot| slot.value.is_zero()).count() >= 2, "absences are among them");
    assert_eq!(scene.prove(first + 3, NOBODY, &[balance]).account, None);
    assert!(scene.prove(first + 3, owner, &[]).account.is_some());

    // The last two blocks are made anew, without what was in them.
    scene.node.call("anvil_reorg", json!([2, []])).unwrap();
    assert_eq!(scene.latest(), first + 3);
    let replaced = scene.prove(first + 2, ledger, &[balance]);
    assert_eq!(held(&replaced), U256::from(5));
    assert_ne!(replaced.block.hash, kept.block.hash);
    assert_ne!(replaced.block.state_root, kept.block.state_root);
    // What was proved of the block that is gone still holds of that block, and of no other.
    kept.check().unwrap();
    let balance_of_42 = kept.clone();
    let mixed = StateJson { block: replaced.block.clone(), ..kept };
    assert!(mixed.check().is_err());

    if std::env::var_os("COPROCESSOR_RECORD").is_some() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../ethereum/tests/fixtures/anvil.json");
        let recorded = json!({ "owner": owner.to_string(), "ledger": ledger.to_string(), "answers": scene.recorded });
        std::fs::write(file, serde_json::to_string_pretty(&recorded).unwrap() + "\n").unwrap();
        let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../../guests/erc20-balance/controller/example.json");
        std::fs::write(example, serde_json::to_string_pretty(&balance_of_42).unwrap() + "\n").unwrap();
    }
}
