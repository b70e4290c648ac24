//! The domain of an Ethereum chain, and the witness of a circuit that proves what slots hold.
//!
//! As a domain's controller it accepts blocks ([`validate_block`]) and proves state ([`get_state_proof`]), by the word of
//! one node that the operator names; what the node says is checked as far as hashes reach. As a program's controller it
//! turns `{"state": {…}}`, which is what the service `state-proof` answers, into the witness of the circuit
//! ([`get_witnesses`]).

use controller_sdk::{StateProof, ValidatedBlock, Value, Witness, host, json, serde_json};
use ethereum::{
    Address, BlockPayload, Header, HexBytes, Slot, U256,
    json::StateJson,
    rpc::{RpcBlock, RpcProof},
};
use ethereum_claim::{MAX_SLOTS, Question};
use serde::{Deserialize, de::DeserializeOwned};

/// What the domain was registered with, and what it is asked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Call<A> {
    settings: Settings,
    args: A,
}

/// The domain's settings.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The chain's name, such as `eth-mainnet`.
    chain: String,
    /// The chain's number by EIP-155. The node has to say the same.
    chain_id: u64,
    /// The name under which the operator has a node for it; the chain's name, if none.
    rpc: Option<String>,
    /// Whether blocks are accepted before they are final. A block stays in the root for good, so this is for chains
    /// that nobody reorganises, such as a developer's own.
    #[serde(default)]
    allow_unfinalized: bool,
}

/// Which block is to be accepted: by its header in RLP, or by its number.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlockArgs {
    header: Option<HexBytes>,
    number: Option<u64>,
}

/// Which state is to be proved.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StateArgs {
    number: u64,
    address: HexBytes,
    #[serde(default)]
    slots: Vec<HexBytes>,
}

/// The request of the circuit that proves what slots hold.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// As the service `state-proof` answers it; all its slots are proved.
    state: StateJson,
}

/// Accepts a block that the node has at its number, under this very hash, and that is final unless the settings say
/// otherwise. Its payload is a [`BlockPayload`].
///
/// # Errors
/// Another chain's node, a header that is none or that the chain does not have, a block that is not final.
pub fn validate_block(call: Call<BlockArgs>) -> Result<ValidatedBlock, String> {
    let Call { settings, args } = call;
    settings.check_chain()?;
    let header = match (args.header, args.number) {
        (Some(rlp), None) => settings.confirm(&rlp.0)?,
        (None, Some(number)) => settings.block(number)?.0,
        _ => return Err("give `header`, in RLP, or `number`".into()),
    };
    if !settings.allow_unfinalized {
        settings.check_final(header.number())?;
    }
    host::log(&format!("{} has block {} as {}", settings.chain, header.number(), header.hash()));
    Ok(ValidatedBlock {
        number: header.number(),
        root: header.state_root().0,
        payload: BlockPayload::of(settings.chain_id, &header).to_bytes(),
    })
}

/// Has the node prove an account and its slots after a block, and checks that proof.
///
/// # Errors
/// Another chain's node, no such block, or a proof that does not hold.
pub fn get_state_proof(call: Call<StateArgs>) -> Result<StateProof, String> {
    let Call { settings, args } = call;
    settings.check_chain()?;
    let address = Address::try_from(args.address.0.as_slice()).map_err(|_| "`address` has 20 bytes")?;
    let slot = |bytes: &HexBytes| match bytes.0.len() {
        0..=32 => Ok(Slot::new(U256::from_be_slice(&bytes.0))),
        got => Err(format!("a slot has {got} bytes, at most 32")),
    };
    let slots: Vec<_> = args.slots.iter().map(slot).collect::<Result<_, _>>()?;
    let (header, rlp) = settings.block(args.number)?;
    let keys: Vec<_> = slots.iter().map(|slot| slot.key().to_string()).collect();
    // By hash: a number may mean another block by now.
    let at = json!({ "blockHash": header.hash().to_string() });
    let proof: RpcProof = settings.ask("eth_getProof", &json!([address.to_string(), keys, at]))?;
    let state = StateJson::new(settings.chain, settings.chain_id, &rlp, address, &slots, proof);
    state.and_then(|state| state.state_proof()).map_err(|error| format!("the node proves something else: {error}"))
}

/// Two elements: what is asked, as data; and the block with the proof.
///
/// # Errors
/// State that does not hold, too many slots, or an account that is not there.
pub fn get_witnesses(args: Args) -> Result<Vec<Witness>, String> {
    let state = args.state;
    if state.account.is_none() {
        return Err(format!("there is no account {}", state.address));
    }
    if state.storage.len() > MAX_SLOTS {
        return Err(format!("{} slots are asked for, at most {MAX_SLOTS}", state.storage.len()));
    }
    let slots = state.storage.iter().map(|slot| slot.slot.into()).collect();
    let question = Question { chain_id: state.chain_id, address: state.address, slots };
    let proof = state.state_proof().map_err(|error| format!("`state` does not hold: {error}"))?;
    Ok(vec![Witness::Data(question.to_bytes()), Witness::StateProof(proof)])
}

controller_sdk::entry! { get_witnesses: get_witnesses }
controller_sdk::entry! { validate_block: validate_block, get_state_proof: get_state_proof }

/// Of a node's block, what says which it is.
#[derive(Deserialize)]
struct BlockId {
    hash: HexBytes,
    number: String,
}

impl Settings {
    fn check_chain(&self) -> Result<(), String> {
        let said: String = self.ask("eth_chainId", &json!([]))?;
        match said == format!("{:#x}", self.chain_id) {
            true => Ok(()),
            false => Err(format!("the node is of chain {said}, expected {:#x} ({})", self.chain_id, self.chain)),
        }
    }

    /// The header, if the node has that block. Only the hash is compared, so it may have fields this build does not know.
    fn confirm(&self, rlp: &[u8]) -> Result<Header, String> {
        let header = Header::from_rlp(rlp).map_err(|error| error.to_string())?;
        let at = json!([format!("{:#x}", header.number()), false]);
        let Some(known) = self.ask::<Option<BlockId>>("eth_getBlockByNumber", &at)? else {
            return Err(format!("the node has no block {}", header.number()));
        };
        match known.hash.0 == header.hash().0 {
            true => Ok(header),
            false => Err(format!(
                "the header hashes to {}, but the node has {:?} as block {}",
                header.hash(),
                known.hash,
                header.number()
            )),
        }
    }

    /// The node's header of a number, and its RLP.
    fn block(&self, number: u64) -> Result<(Header, Vec<u8>), String> {
        let at = json!([format!("{number:#x}"), false]);
        let Some(block) = self.ask::<Option<RpcBlock>>("eth_getBlockByNumber", &at)? else {
            return Err(format!("the node has no block {number}"));
        };
        let (header, rlp) = block.header().map_err(|error| error.to_string())?;
        match header.number() == number {
            true => Ok((header, rlp)),
            false => Err(format!("the node gives block {}, asked for {number}", header.number())),
        }
    }

    fn check_final(&self, number: u64) -> Result<(), String> {
        let last: Option<BlockId> = self.ask("eth_getBlockByNumber", &json!(["finalized", false]))?;
        let last = last.and_then(|last| u64::from_str_radix(last.number.strip_prefix("0x")?, 16).ok());
        match last {
            Some(last) if number <= last => Ok(()),
            Some(last) => Err(format!("block {number} is not final: the last final one is {last}; wait")),
            None => Err("the node does not say which block is final".into()),
        }
    }

    fn ask<T: DeserializeOwned>(&self, method: &str, params: &Value) -> Result<T, String> {
        let rpc = self.rpc.as_ref().unwrap_or(&self.chain);
        let result = host::rpc(rpc, method, params).map_err(|error| format!("{method} on {rpc}: {error}"))?;
        serde_json::from_value(result).map_err(|error| format!("{method} on {rpc}: the answer is another: {error}"))
    }
}

#[cfg(test)]
mod tests;
