//! An Ethereum chain of the demo's own, with a token on it whose balances are proved.

use crate::terminal::{self, Step};
use anyhow::{Context, Result, bail, ensure};
use coprocessor_api::{AppendRequest, Base64, DomainRequest, TrustPolicy, client::Client};
use coprocessor_test_servers::{EthereumNode, compile_solidity};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// The guest that needs a chain.
pub(super) const GUEST: &str = "erc20-balance";

/// The chain's name, and the operator's for the node.
const RPC: &str = "demo";

/// Whose balance is proved: an address like any other.
const HOLDER: &str = "0x00000000000000000000000000000000c0ffee00";

/// What is sent there, once and again: a balance that no other slot has.
const SENT: [u64; 3] = [1_000_000, 234_000, 567];

/// A chain with some blocks, and a token.
pub(super) struct Chain {
    node: EthereumNode,
    chain_id: u64,
    token: String,
    height: u64,
}

impl Chain {
    /// Starts a node, makes the token, and sends some of it.
    pub(super) fn start(root: &Path) -> Result<Self> {
        let mut step = Step::begin("Chain", "starting a node (anvil, from npm)");
        let node = EthereumNode::start().context("the guest reads a chain, and no node can be started")?;
        let source = root.join("guests").join(GUEST).join("token/Token.sol");
        step.doing("compiling and deploying a token");
        let source = std::fs::read_to_string(&source).with_context(|| format!("cannot read {}", source.display()))?;
        let token = node.deploy(&compile_solidity(&source, "Token")?)?;
        for sent in SENT {
            node.transact(json!({ "to": token, "data": call("a9059cbb", &[HOLDER, &format!("{sent:x}")]) }))?;
        }
        let chain_id = quantity(&node.call("eth_chainId", json!([]))?)?;
        let height = quantity(&node.call("eth_blockNumber", json!([]))?)?;
        step.done(format!("{} with chain id {chain_id}, token {token}, {height} blocks", node.url()));
        Ok(Self { node, chain_id, token, height })
    }

    /// The file that tells the coprocessor where the node is.
    pub(super) fn write_rpc_file(&self, folder: &Path) -> Result<PathBuf> {
        let path = folder.join("rpc.toml");
        std::fs::write(&path, format!("{RPC} = \"{}\"\n", self.node.url()))?;
        Ok(path)
    }

    /// Registers the chain's domain, and appends all of its blocks but the first, which has no state.
    pub(super) async fn append(&self, client: &Client, controller: Vec<u8>) -> Result<()> {
        let mut step = Step::begin("Domain", "registering");
        let request = DomainRequest {
            name: self.domain(),
            controller: Base64(controller),
            owner: None,
            // Such a node calls no block final.
            settings: json!({ "chain": RPC, "chain_id": self.chain_id, "allow_unfinalized": true }),
            trust: TrustPolicy::ControllerOnly,
        };
        let domain = client.add_domain(&request).await.context("the chain's domain was not registered")?.domain;
        step.doing("appending blocks");
        let blocks = (1..=self.height).map(|number| json!({ "number": number })).collect();
        let request = AppendRequest { blocks: Some(blocks), ..AppendRequest::default() };
        let appended = client.append(&domain.name, &request).await.context("the chain's blocks were not appended")?;
        step.done(format!("{}: blocks 1 to {}, root {}", domain.name, self.height, appended.root));
        Ok(())
    }

    fn domain(&self) -> String {
        format!("eip155:{}", self.chain_id)
    }

    /// Arguments that have the balance proved, at the last block; the controller asks the domain for its proof.
    pub(super) fn example(&self) -> Value {
        json!({
            "holder": HOLDER, "balances_slot": 0, "token": self.token, "chain_id": self.chain_id, "number": self.height,
        })
    }

    /// Compares what is proved with what the token itself says.
    pub(super) fn compare(&self, output: &[u8]) -> Result<()> {
        let step = Step::begin("Compared", "with the token's own answer");
        let call = json!({ "to": self.token, "data": call("70a08231", &[HOLDER]) });
        let answer = self.node.call("eth_call", json!([call, format!("{:#x}", self.height)]))?;
        let balance = answer.as_str().and_then(|word| word.strip_prefix("0x")).context("balanceOf gives no word")?;
        let word = |index: usize| output.get(32 * index..32 * (index + 1)).map(hex);
        let expected = [
            ("chain id", format!("{:064x}", self.chain_id)),
            ("block number", format!("{:064x}", self.height)),
            ("token", padded(&self.token)),
            ("holder", padded(HOLDER)),
            ("balance", balance.to_owned()),
        ];
        for (index, (what, expected)) in expected.iter().enumerate() {
            let Some(got) = word(index) else { bail!("the output has only {} bytes", output.len()) };
            ensure!(got == *expected, "the proof has {what} {got}, the chain has {expected}");
        }
        let sum: u64 = SENT.iter().sum();
        ensure!(*balance == format!("{sum:064x}"), "the token has {balance} for the holder, sent were {sum}");
        step.done(format!("`balanceOf` gives {} at block {}, as proved", terminal::thousands(sum), self.height));
        Ok(())
    }
}

/// The controller of the chain's domain.
pub(super) fn domain_controller(root: &Path) -> Result<Vec<u8>> {
    let path = root.join("guests/ethereum/artifacts/controller.wasm");
    std::fs::read(&path).with_context(|| format!("cannot read {}; `cargo xtask guests` builds it", path.display()))
}

/// Data of a call: the function's selector, then each argument as a word.
fn call(selector: &str, arguments: &[&str]) -> String {
    arguments.iter().fold(format!("0x{selector}"), |data, argument| data + &padded(argument))
}

/// A word of 32 bytes from hex digits.
fn padded(digits: &str) -> String {
    format!("{:0>64}", digits.strip_prefix("0x").unwrap_or(digits).to_lowercase())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn quantity(value: &Value) -> Result<u64> {
    let digits = value.as_str().and_then(|text| text.strip_prefix("0x")).context("the node gives no quantity")?;
    Ok(u64::from_str_radix(digits, 16)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_a_selector_and_words() {
        let data = call("70a08231", &["0xAb"]);
        assert_eq!(data.len(), 2 + 8 + 64);
        assert!(data.starts_with("0x70a08231000") && data.ends_with("00ab"));
    }

    #[test]
    fn quantities_are_hex() {
        assert_eq!(quantity(&json!("0x7a69")).unwrap(), 31337);
        assert!(quantity(&json!(12)).is_err());
    }
}
