//! From a question to an answer that is proved.

use crate::{
    cache::{Cache, Question},
    chains::Chains,
    problem::Problem,
    rpc::{Node, RpcError},
};
use anyhow::Context;
use coprocessor_ethereum::{
    Address, B256, Header, Slot,
    json::StateJson,
    rpc::{RpcBlock, RpcProof},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};
use tokio::{
    sync::{OnceCell, Semaphore},
    time::timeout,
};

/// Bounds of the service's work.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// For one question to a node.
    pub(crate) rpc_timeout: Duration,
    /// How often a question is put.
    pub(crate) attempts: u32,
    /// Of answers kept.
    pub(crate) cache_bytes: usize,
    /// Requests that ask nodes at once.
    pub(crate) concurrent: usize,
    /// Of one request.
    pub(crate) max_slots: usize,
}

/// Which block is meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum BlockName {
    /// `latest`, `safe` or `finalized`.
    Tag(&'static str),
    Number(u64),
    Hash(B256),
}

impl fmt::Display for BlockName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => f.write_str(tag),
            Self::Number(number) => number.fmt(f),
            Self::Hash(hash) => hash.fmt(f),
        }
    }
}

impl BlockName {
    /// Reads a tag, a number in decimal, or a hash.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if let Some(tag) = ["latest", "safe", "finalized"].into_iter().find(|tag| *tag == text) {
            return Some(Self::Tag(tag));
        }
        match text.strip_prefix("0x") {
            Some(_) => text.parse().ok().map(Self::Hash),
            None if text.bytes().all(|digit| digit.is_ascii_digit()) => text.parse().ok().map(Self::Number),
            None => None,
        }
    }
}

/// A checked request.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) chain: String,
    pub(crate) block: BlockName,
    pub(crate) address: Address,
    pub(crate) slots: Vec<Slot>,
    pub(crate) allow_unfinalized: bool,
}

/// The chains, and what was proved of them.
#[derive(Debug)]
pub(crate) struct Service {
    chains: BTreeMap<String, Chain>,
    cache: Cache,
    permits: Semaphore,
    limits: Limits,
}

#[derive(Debug)]
struct Chain {
    name: String,
    node: Node,
    id: OnceCell<u64>,
}

/// A header whose hash is the block's, and its RLP.
type Found = (Header, Vec<u8>);

impl Service {
    pub(crate) fn new(chains: Chains, limits: Limits) -> anyhow::Result<Self> {
        // A process has one provider; where another part was first, its choice stands.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .timeout(limits.rpc_timeout)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("state-proof/", env!("CARGO_PKG_VERSION")))
            .build()
            .context("cannot make an HTTP client")?;
        let chain = |(name, endpoint): (String, _)| {
            let node = Node::new(endpoint, client.clone(), limits.attempts);
            (name.clone(), Chain { name, node, id: OnceCell::new() })
        };
        let chains = chains.into_endpoints().map(chain).collect();
        let (cache, permits) = (Cache::new(limits.cache_bytes), Semaphore::new(limits.concurrent));
        Ok(Self { chains, cache, permits, limits })
    }

    /// Every chain's name, and its number where the node has told it.
    pub(crate) async fn chains(&self) -> Vec<(&str, Result<u64, RpcError>)> {
        let mut chains = Vec::new();
        for chain in self.chains.values() {
            chains.push((chain.name.as_str(), chain.id().await));
        }
        chains
    }

    /// The state asked for, every part of it proved, of a block that is final unless asked otherwise.
    pub(crate) async fn prove(&self, request: &Request) -> Result<Arc<StateJson>, Problem> {
        let chain = self.chains.get(&request.chain).ok_or_else(|| Problem::UnknownChain(request.chain.clone()))?;
        let (got, most) = (request.slots.len(), self.limits.max_slots);
        if got > most {
            return Err(Problem::TooManySlots { got, most });
        }
        if let BlockName::Hash(hash) = request.block
            && (request.allow_unfinalized || self.cache.is_final(&chain.name, hash))
            && let Some(answer) = self.cache.get(&request.of(hash))
        {
            return Ok(answer);
        }
        let _permit = self.permits.try_acquire().map_err(|_| Problem::Busy)?;
        let late = || Problem::Node(RpcError::Unavailable("not in the time that a request may take".into()));
        timeout(3 * self.limits.rpc_timeout, self.ask(chain, request)).await.map_err(|_| late())?
    }

    async fn ask(&self, chain: &Chain, request: &Request) -> Result<Arc<StateJson>, Problem> {
        let (header, rlp) = chain.block(request.block).await?;
        if !request.allow_unfinalized && !self.cache.is_final(&chain.name, header.hash()) {
            if !chain.is_final(&header, request.block).await? {
                return Err(Problem::NotFinal { chain: chain.name.clone(), block: request.block.to_string() });
            }
            self.cache.set_final(&chain.name, header.hash());
        }
        let question = request.of(header.hash());
        if let Some(answer) = self.cache.get(&question) {
            return Ok(answer);
        }
        let answer = Arc::new(chain.state(&header, &rlp, request).await?);
        self.cache.put(question, Arc::clone(&answer));
        tracing::info!(chain = chain.name, block = header.number(), address = %request.address, slots = request.slots.len(), "proved");
        Ok(answer)
    }
}

impl Request {
    fn of(&self, block: B256) -> Question {
        Question { chain: self.chain.clone(), block, address: self.address, slots: self.slots.clone() }
    }
}

impl Chain {
    async fn id(&self) -> Result<u64, RpcError> {
        let ask = || async {
            let id = self.node.call("eth_chainId", json!([])).await?;
            let digits = id.as_str().and_then(|id| id.strip_prefix("0x"));
            digits
                .and_then(|digits| u64::from_str_radix(digits, 16).ok())
                .ok_or_else(|| RpcError::Unreadable { method: "eth_chainId", reason: "not a number of 64 bits".into() })
        };
        self.id.get_or_try_init(ask).await.copied()
    }

    /// The header of a block, with the hash that was asked for, if one was.
    async fn block(&self, name: BlockName) -> Result<Found, Problem> {
        let (method, at) = match name {
            BlockName::Tag(tag) => ("eth_getBlockByNumber", json!(tag)),
            BlockName::Number(number) => ("eth_getBlockByNumber", json!(format!("{number:#x}"))),
            BlockName::Hash(hash) => ("eth_getBlockByHash", json!(hash.to_string())),
        };
        let unknown = || Problem::UnknownBlock { chain: self.name.clone(), block: name.to_string() };
        let block = match self.node.call(method, json!([at, false])).await {
            Ok(Value::Null) => return Err(unknown()),
            answer => answer.map_err(Problem::Node)?,
        };
        let (header, rlp) =
            read::<RpcBlock>(method, block)?.header().map_err(|error| Problem::NotProved(error.to_string()))?;
        let asked_for = match name {
            BlockName::Tag(_) => true,
            BlockName::Number(number) => header.number() == number,
            BlockName::Hash(hash) => header.hash() == hash,
        };
        match asked_for {
            true => Ok((header, rlp)),
            false => Err(Problem::NotProved(format!("asked for block {name}, the node gives {}", header.number()))),
        }
    }

    /// Whether a block is the last final one or among those before it, by the node's word.
    async fn is_final(&self, header: &Header, name: BlockName) -> Result<bool, Problem> {
        let (last, _) = match name {
            BlockName::Tag("finalized") => return Ok(true),
            _ => self.block(BlockName::Tag("finalized")).await?,
        };
        if header.number() > last.number() {
            return Ok(false);
        }
        // A block of another branch has a number too.
        let (canonical, _) = self.block(BlockName::Number(header.number())).await?;
        Ok(canonical.hash() == header.hash())
    }

    async fn state(&self, header: &Header, rlp: &[u8], request: &Request) -> Result<StateJson, Problem> {
        const METHOD: &str = "eth_getProof";
        let id = self.id().await.map_err(Problem::Node)?;
        let slots: Vec<_> = request.slots.iter().map(|slot| slot.key().to_string()).collect();
        // By hash: a number may mean another block by now.
        let at = json!({ "blockHash": header.hash().to_string() });
        let proof = self.node.call(METHOD, json!([request.address.to_string(), slots, at])).await;
        let proof: RpcProof = read(METHOD, proof.map_err(Problem::Node)?)?;
        StateJson::new(self.name.clone(), id, rlp, request.address, &request.slots, proof)
            .map_err(|error| Problem::NotProved(error.to_string()))
    }
}

fn read<T: DeserializeOwned>(method: &'static str, answer: Value) -> Result<T, Problem> {
    serde_json::from_value(answer)
        .map_err(|error| Problem::Node(RpcError::Unreadable { method, reason: error.to_string() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_tags_numbers_or_hashes() {
        assert_eq!(BlockName::parse("latest"), Some(BlockName::Tag("latest")));
        assert_eq!(BlockName::parse("17"), Some(BlockName::Number(17)));
        let hash = B256::repeat_byte(0xab);
        assert_eq!(BlockName::parse(&hash.to_string()), Some(BlockName::Hash(hash)));
        for wrong in ["", "earliest", "pending", "0x11", "-1", "+1", "1.5", "18446744073709551616", "LATEST"] {
            assert_eq!(BlockName::parse(wrong), None, "{wrong}");
        }
    }
}
