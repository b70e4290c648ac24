//! Over a real node's recorded answers.

use super::*;
use circuit_sdk::{CONTROLLER_ONLY, CircuitInput, OpenedWitness, PublicInputs, Root, run_native};
use controller_sdk::{HostErrorCode, testing::Runtime};
use ethereum::B256;
use merkle::{block_key, block_value, domain_key, domain_value, leaf_hash};

/// Blocks and proofs, as crates/state-proof/tests/anvil.rs records them.
fn answers() -> Vec<Value> {
    let recorded = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../crates/ethereum/tests/fixtures/anvil.json");
    let recorded: Value = serde_json::from_str(&std::fs::read_to_string(recorded).unwrap()).unwrap();
    recorded["answers"].as_array().unwrap().clone()
}

fn number(answer: &Value) -> u64 {
    u64::from_str_radix(&answer["block"]["number"].as_str().unwrap()[2..], 16).unwrap()
}

/// A node with the first four recorded blocks, of which the third is the last final one.
fn node() -> Runtime {
    node_that(|_, _| ())
}

fn node_that(change: impl Fn(&str, &mut Value) + 'static) -> Runtime {
    let answers = answers()[..4].to_vec();
    Runtime::new().with_rpc(move |chain, method, params| {
        if chain != "anvil" {
            return Err(HostErrorCode::NoRpcKey);
        }
        let mut result = match method {
            "eth_chainId" => json!("0x7a69"),
            "eth_getBlockByNumber" if params[0] == "finalized" => answers[2]["block"].clone(),
            "eth_getBlockByNumber" => {
                let found = answers.iter().find(|answer| answer["block"]["number"] == params[0]);
                found.map_or(Value::Null, |answer| answer["block"].clone())
            }
            _ => {
                let at = |answer: &&Value| answer["block"]["hash"] == params[2]["blockHash"];
                answers.iter().find(at).ok_or(HostErrorCode::RpcResult)?["proof"].clone()
            }
        };
        change(method, &mut result);
        Ok(result)
    })
}

fn call(args: Value) -> Value {
    json!({ "settings": { "chain": "anvil", "chain_id": 31337 }, "args": args })
}

fn header(answer: &Value) -> (Header, Vec<u8>) {
    serde_json::from_value::<RpcBlock>(answer["block"].clone()).unwrap().header().unwrap()
}

fn refused(call: &Value) -> String {
    let runtime = node();
    runtime.validate_block(validate_block, call).unwrap_err().to_string()
}

fn state_args(answer: &Value) -> Value {
    let proof = &answer["proof"];
    json!({ "number": number(answer), "address": proof["address"], "slots": [proof["storageProof"][0]["key"]] })
}

#[test]
fn a_block_is_accepted_by_header_or_by_number() {
    let (header, rlp) = header(&answers()[1]);
    let accepted = node().validate_block(validate_block, &call(json!({ "header": HexBytes(rlp) }))).unwrap();
    assert_eq!((accepted.number, accepted.root), (header.number(), header.state_root().0));
    let payload = BlockPayload::from_bytes(&accepted.payload).unwrap();
    let expected = BlockPayload { chain_id: 31337, timestamp: header.timestamp(), hash: header.hash() };
    assert_eq!(payload, expected);
    let by_number = node().validate_block(validate_block, &call(json!({ "number": header.number() })));
    assert_eq!(by_number, Ok(accepted));
}

#[test]
fn a_header_that_the_chain_does_not_have_is_refused() {
    let recorded = answers();
    // The block that the reorganisation put in the third one's place: a true header, of another branch.
    let (_, replaced) = header(recorded.last().unwrap());
    assert!(refused(&call(json!({ "header": HexBytes(replaced) }))).contains("but the node has"));
    let (_, mut changed) = header(&recorded[1]);
    let length = changed.len();
    changed[length - 1] ^= 1;
    assert!(refused(&call(json!({ "header": HexBytes(changed.clone()) }))).contains("but the node has"));
    changed.pop();
    assert!(refused(&call(json!({ "header": HexBytes(changed) }))).contains("not one list"));
    assert_eq!(refused(&call(json!({ "number": 999 }))), "the node has no block 999");
    assert_eq!(refused(&call(json!({}))), "give `header`, in RLP, or `number`");
}

#[test]
fn a_block_that_is_not_final_is_refused_unless_the_settings_allow_it() {
    let mut call = call(json!({ "number": number(&answers()[3]) }));
    assert!(refused(&call).contains("is not final"));
    call["settings"]["allow_unfinalized"] = true.into();
    assert!(node().validate_block(validate_block, &call).is_ok());
}

#[test]
fn another_chains_node_is_refused() {
    let mut call = call(json!({ "number": number(&answers()[1]) }));
    call["settings"]["chain_id"] = 1.into();
    assert_eq!(refused(&call), "the node is of chain 0x7a69, expected 0x1 (anvil)");
    call["settings"]["rpc"] = "none".into();
    assert!(refused(&call).contains("eth_chainId on none"));
}

#[test]
fn state_is_proved_and_checked() {
    let answer = &answers()[2];
    let proof = node().get_state_proof(get_state_proof, &call(state_args(answer))).unwrap();
    let (header, _) = header(answer);
    assert_eq!((proof.number, proof.state_root), (header.number(), header.state_root().0));
    assert_eq!(proof.payload, BlockPayload::of(31337, &header).to_bytes());
    for (method, field) in
        [("eth_getProof", "accountProof"), ("eth_getProof", "storageProof"), ("eth_getBlockByNumber", "stateRoot")]
    {
        let node = node_that(move |asked, result| {
            if asked == method {
                result[field] = if field == "stateRoot" { json!(B256::ZERO.to_string()) } else { json!([]) };
            }
        });
        assert!(node.get_state_proof(get_state_proof, &call(state_args(&answers()[2]))).is_err(), "{field}");
    }
}

fn state(index: usize) -> StateJson {
    let answer = &answers()[index];
    let proof: RpcProof = serde_json::from_value(answer["proof"].clone()).unwrap();
    let slots: Vec<_> = proof.storage_proof.iter().map(|slot| Slot::new(slot.key)).collect();
    StateJson::new("anvil".into(), 31337, &header(answer).1, proof.address, &slots, proof).unwrap()
}

/// The root of an instance that has this one block, and the circuit's run at it.
fn prove(witnesses: Vec<Witness>) -> PublicInputs {
    let mut root = Root::default();
    let open = |witness| match witness {
        Witness::Data(bytes) => OpenedWitness::Data(bytes),
        Witness::StateProof(proof) => {
            let value = block_value(proof.number, &proof.state_root, &proof.payload, &CONTROLLER_ONLY);
            let domain = leaf_hash(&block_key(proof.number), &value);
            root = leaf_hash(&domain_key(&proof.domain), &domain_value(&domain));
            OpenedWitness::StateProof(proof, Default::default())
        }
    };
    let witnesses = witnesses.into_iter().map(open).collect();
    run_native(ethereum_circuit::circuit, &CircuitInput { root, witnesses }).unwrap()
}

#[test]
fn slots_of_every_kind_are_proved() {
    let state = state(3);
    let witnesses = Runtime::new().get_witnesses(get_witnesses, &json!({ "state": state })).unwrap();
    let slots = state.storage.iter().map(|slot| slot.slot.into()).collect();
    let values: Vec<_> = state.storage.iter().map(|slot| slot.value).collect();
    let question = Question { chain_id: 31337, address: state.address, slots };
    assert!(values.len() > 15);
    assert_eq!(prove(witnesses).output, question.answered(state.block.number, state.block.hash, &values));
}

#[test]
fn an_account_that_is_not_there_has_no_slots() {
    let absent = json!({ "state": state(4) });
    let refused = Runtime::new().get_witnesses(get_witnesses, &absent).unwrap_err().to_string();
    assert!(refused.contains("there is no account"), "{refused}");
}
