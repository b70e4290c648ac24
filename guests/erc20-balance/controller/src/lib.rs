//! Turns a question after a balance into the witness of the balance circuit.
//!
//! Either the state is in the request, as the service `state-proof` answers it:
//! `{"holder": "0x…", "balances_slot": 0, "state": {…}}`,
//! or the controller asks the chain's domain for it:
//! `{"holder": "0x…", "balances_slot": 0, "token": "0x…", "chain_id": 1, "number": 21000000}`,
//! where without `number` it is the highest block of the domain that the task's root commits to.

use controller_sdk::{StateProof, Witness, host, json};
use erc20_balance_claim::Question;
use ethereum::{Address, HexBytes, Slot, U256, chain_domain, json::StateJson};
use serde::Deserialize;

/// The request.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Whose balance.
    holder: HexBytes,
    /// Where the token keeps its mapping from holders to balances: the slot's number, in hex after `0x` beyond 64 bits.
    balances_slot: SlotNumber,
    /// The token's account and the balance's slot, as `state-proof` answers them. Without it the next two are needed.
    state: Option<StateJson>,
    token: Option<HexBytes>,
    chain_id: Option<u64>,
    /// After which block; the highest there is, without it.
    number: Option<u64>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "a slot's number, or hex digits after 0x")]
enum SlotNumber {
    Number(u64),
    Hex(HexBytes),
}

/// Two elements: the question, as data; and the block with the proof of the balance.
///
/// # Errors
/// A request that is neither of the two, state that is not proved or not what was asked for, or the domain's refusal.
pub fn get_witnesses(args: Args) -> Result<Vec<Witness>, String> {
    let holder = address("holder", &args.holder)?;
    let balances_slot = slot(&args.balances_slot)?;
    let (question, proof) = match (args.state, args.token, args.chain_id, args.number) {
        (Some(state), None, None, None) => {
            let question = Question { chain_id: state.chain_id, token: state.address, holder, balances_slot };
            (question, given(&state, &question)?)
        }
        (None, Some(token), Some(chain_id), number) => {
            let question = Question { chain_id, token: address("token", &token)?, holder, balances_slot };
            (question, asked(&question, number)?)
        }
        _ => return Err("give `state`, or `token`, `chain_id` and, if not the latest, `number`".into()),
    };
    host::log(&format!("{} of {} at block {}", question.token, question.holder, proof.number));
    Ok(vec![Witness::Data(question.to_bytes()), Witness::StateProof(proof)])
}

controller_sdk::entry! { get_witnesses: get_witnesses }

/// What the request brings, if it proves what the circuit will look for.
fn given(state: &StateJson, question: &Question) -> Result<StateProof, String> {
    let slot = question.slot().key();
    if state.account.is_some() && !state.storage.iter().any(|proved| proved.slot == slot) {
        return Err(format!("`state` has no proof of the balance's slot {slot}: ask for the state with it"));
    }
    state.state_proof().map_err(|error| format!("`state` does not hold: {error}"))
}

/// What the chain's domain proves.
fn asked(question: &Question, number: Option<u64>) -> Result<StateProof, String> {
    let domain = chain_domain(question.chain_id);
    let number = match number {
        Some(number) => number,
        None => latest(&domain)?,
    };
    let slots = [question.slot().key().to_string()];
    let args = json!({ "number": number, "address": question.token.to_string(), "slots": slots });
    host::get_state_proof(&domain, &args).map_err(|error| format!("the domain {domain} proves nothing: {error}"))
}

/// The highest block that the root of this call commits to: a later one could not be opened at it.
fn latest(domain: &str) -> Result<u64, String> {
    let latest = host::get_latest_block(domain).map_err(|error| error.to_string())?;
    latest
        .map(|block| block.number)
        .ok_or_else(|| format!("the domain {domain} has no block yet; append one, or give `state`"))
}

fn address(name: &str, bytes: &HexBytes) -> Result<Address, String> {
    Address::try_from(bytes.0.as_slice())
        .map_err(|_| format!("`{name}` has {} bytes, an address has 20", bytes.0.len()))
}

fn slot(number: &SlotNumber) -> Result<Slot, String> {
    match number {
        SlotNumber::Number(number) => Ok(Slot::at(*number)),
        SlotNumber::Hex(HexBytes(bytes)) if bytes.len() <= 32 => Ok(Slot::new(U256::from_be_slice(bytes))),
        SlotNumber::Hex(HexBytes(bytes)) => Err(format!("`balances_slot` has {} bytes, at most 32", bytes.len())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use circuit_sdk::{CONTROLLER_ONLY, CircuitInput, OpenedWitness, PublicInputs, Root, run_native};
    use controller_sdk::{HostErrorCode, Value, host::Block, serde_json, testing::Runtime};
    use erc20_balance_claim::Claim;
    use merkle::{block_key, block_value, domain_key, domain_value, leaf_hash};

    const STATE: &str = include_str!("../example.json");

    fn state() -> Value {
        serde_json::from_str(STATE).unwrap()
    }

    fn args() -> Value {
        json!({ "holder": format!("0x{}", "22".repeat(20)), "balances_slot": 0, "state": state() })
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
        run_native(erc20_balance_circuit::circuit, &CircuitInput { root, witnesses }).unwrap()
    }

    fn refused(args: Value) -> String {
        Runtime::new().get_witnesses(get_witnesses, &args).unwrap_err().to_string()
    }

    #[test]
    fn a_balance_is_proved_from_state_in_the_request() {
        let witnesses = Runtime::new().get_witnesses(get_witnesses, &args()).unwrap();
        let claim = Claim::from_bytes(&prove(witnesses).output).unwrap();
        assert_eq!(claim.balance, U256::from(42));
        assert_eq!(
            (claim.question.chain_id, claim.block_number),
            (31337, state()["block"]["number"].as_u64().unwrap())
        );
        assert_eq!(claim.question.token.to_string().to_lowercase(), state()["address"]);
    }

    #[test]
    fn a_balance_is_proved_from_what_the_domain_proves() {
        let known: StateJson = serde_json::from_value(state()).unwrap();
        let (token, number, proof) = (known.address, known.block.number, known.state_proof().unwrap());
        let runtime = Runtime::new().with_state_proofs(move |domain, args| {
            assert_eq!((domain, args["number"].as_u64()), ("eip155:31337", Some(number)));
            Ok(proof.clone())
        });
        let asked = json!({ "holder": args()["holder"], "balances_slot": "0x00", "token": token.to_string(), "chain_id": 31337, "number": number });
        let witnesses = runtime.get_witnesses(get_witnesses, &asked).unwrap();
        assert_eq!(Claim::from_bytes(&prove(witnesses).output).unwrap().balance, U256::from(42));
        drop(runtime);

        let _runtime =
            Runtime::new().with_state_proofs(|_, _| Err(HostErrorCode::StateProof)).with_reason("block 3 is gone");
        let refused = get_witnesses(serde_json::from_value(asked).unwrap()).unwrap_err();
        assert!(refused.contains("the domain eip155:31337 proves nothing"), "{refused}");
        assert!(refused.ends_with("block 3 is gone"), "{refused}");
    }

    #[test]
    fn without_a_number_it_is_the_latest_block() {
        let known: StateJson = serde_json::from_value(state()).unwrap();
        let (token, number, proof) = (known.address, known.block.number, known.state_proof().unwrap());
        let asked =
            json!({ "holder": args()["holder"], "balances_slot": 0, "token": token.to_string(), "chain_id": 31337 });
        let latest =
            Block { domain: proof.domain, number, state_root: proof.state_root, payload: proof.payload.clone() };
        let runtime = Runtime::new()
            .with_latest_blocks(move |domain| match domain {
                "eip155:31337" => Ok(Some(latest.clone())),
                _ => Err(HostErrorCode::LatestBlock),
            })
            .with_state_proofs(move |_, args| {
                assert_eq!(args["number"].as_u64(), Some(number));
                Ok(proof.clone())
            });
        let witnesses = runtime.get_witnesses(get_witnesses, &asked).unwrap();
        let claim = Claim::from_bytes(&prove(witnesses).output).unwrap();
        assert_eq!((claim.balance, claim.block_number), (U256::from(42), number));
        let mut elsewhere = asked.clone();
        elsewhere["chain_id"] = 1.into();
        let refused = runtime.get_witnesses(get_witnesses, &elsewhere).unwrap_err().to_string();
        assert!(refused.contains("get_latest_block"), "{refused}");
        drop(runtime);

        let runtime = Runtime::new().with_latest_blocks(|_| Ok(None));
        let refused = runtime.get_witnesses(get_witnesses, &asked).unwrap_err().to_string();
        assert_eq!(refused, "the domain eip155:31337 has no block yet; append one, or give `state`");
    }

    #[test]
    fn a_request_that_can_not_be_proved_says_why() {
        let mut other_holder = args();
        other_holder["holder"] = format!("0x{}", "23".repeat(20)).into();
        assert!(refused(other_holder).contains("has no proof of the balance's slot"));
        let mut other_slot = args();
        other_slot["balances_slot"] = 1.into();
        assert!(refused(other_slot).contains("has no proof of the balance's slot"));
        let mut forged = args();
        forged["state"]["storage"][0]["value"] = "0x2b".into();
        assert_eq!(refused(forged), "`state` does not hold: `storage` is not what is proved");
        let mut both = args();
        both["number"] = 1.into();
        assert_eq!(refused(both), "give `state`, or `token`, `chain_id` and, if not the latest, `number`");
        let mut short = args();
        short["holder"] = "0x22".into();
        assert_eq!(refused(short), "`holder` has 1 bytes, an address has 20");
    }

    /// The circuit believes nothing of the controller.
    #[test]
    #[should_panic(expected = "the state witness has no proof of slot")]
    fn a_proof_of_another_slot_is_refused_by_the_circuit() {
        let mut witnesses = Runtime::new().get_witnesses(get_witnesses, &args()).unwrap();
        let Witness::Data(question) = &mut witnesses[0] else { panic!() };
        question[79] = 1;
        prove(witnesses);
    }

    #[test]
    #[should_panic(expected = "expected a state proof of domain")]
    fn another_chains_number_is_refused_by_the_circuit() {
        let mut witnesses = Runtime::new().get_witnesses(get_witnesses, &args()).unwrap();
        let Witness::Data(question) = &mut witnesses[0] else { panic!() };
        question[7] ^= 1;
        prove(witnesses);
    }

    #[test]
    #[should_panic(expected = "it is of another trie")]
    fn another_state_root_is_refused_by_the_circuit() {
        let mut witnesses = Runtime::new().get_witnesses(get_witnesses, &args()).unwrap();
        let Witness::StateProof(proof) = &mut witnesses[1] else { panic!() };
        proof.state_root[0] ^= 1;
        prove(witnesses);
    }
}
