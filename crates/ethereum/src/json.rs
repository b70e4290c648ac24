//! State of a chain as JSON: what the service `state-proof` answers, and what a controller takes in.

use crate::{
    Account, Address, B256, BlockPayload, Header, HeaderError, Slot, StateError, StateWitness, U256, WitnessError,
    chain_domain,
    hex::{HexBytes, fixed, quantity},
    rpc::RpcProof,
};
use alloc::{string::String, vec::Vec};
use coprocessor_types::{DomainId, StateProof};
use serde::{Deserialize, Serialize};

/// Why state in JSON does not hold.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StateJsonError {
    /// The header is none.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// The nodes don't fit a witness.
    #[error(transparent)]
    Witness(#[from] WitnessError),
    /// The nodes don't lead to the account or a slot.
    #[error(transparent)]
    State(#[from] StateError),
    /// Something said besides the proofs that the proofs don't say.
    #[error("`{field}` is not what is proved")]
    Claim {
        /// The field of the JSON.
        field: &'static str,
    },
}

/// An account and some of its slots, after a block of a chain, with all that proves them.
///
/// ```json
/// {
///   "chain": "eth-mainnet",
///   "chain_id": 1,
///   "block": { "number": 21000000, "hash": "0x…", "timestamp": 1728912000, "state_root": "0x…", "header": "0x… (RLP)" },
///   "address": "0x…",
///   "account": { "nonce": 1, "balance": "0x0", "storage_root": "0x…", "code_hash": "0x…" },
///   "account_proof": ["0x… (node)"],
///   "storage": [{ "slot": "0x… (32 bytes)", "value": "0x2a", "proof": ["0x… (node)"] }]
/// }
/// ```
///
/// `account` is null where there is none; such an account has no storage to prove, so `storage` is empty. Nodes go from the
/// root down; none lead into an empty trie. [`check`](Self::check) tells whether all of it is so.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StateJson {
    /// The chain's name.
    pub chain: String,
    /// The chain's number by EIP-155. Nothing proves it: it is what the node said.
    pub chain_id: u64,
    /// The block.
    pub block: BlockJson,
    /// Whose account.
    #[serde(with = "fixed")]
    pub address: Address,
    /// What is proved of it.
    pub account: Option<AccountJson>,
    /// Nodes from the state root down.
    pub account_proof: Vec<HexBytes>,
    /// The slots asked for, in that order.
    pub storage: Vec<SlotJson>,
}

/// The block of a [`StateJson`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlockJson {
    /// Its number.
    pub number: u64,
    /// Its hash.
    #[serde(with = "fixed")]
    pub hash: B256,
    /// When it was made, in seconds since 1970.
    pub timestamp: u64,
    /// Root of the state after it.
    #[serde(with = "fixed")]
    pub state_root: B256,
    /// The header in RLP, which says all of the above.
    pub header: HexBytes,
}

/// The account of a [`StateJson`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountJson {
    /// Transactions it sent, or contracts it made.
    pub nonce: u64,
    /// What it holds, in wei.
    #[serde(with = "quantity")]
    pub balance: U256,
    /// Root of its storage.
    #[serde(with = "fixed")]
    pub storage_root: B256,
    /// Keccak-256 of its code.
    #[serde(with = "fixed")]
    pub code_hash: B256,
}

/// A slot of a [`StateJson`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlotJson {
    /// Which.
    #[serde(with = "fixed")]
    pub slot: B256,
    /// What it holds.
    #[serde(with = "quantity")]
    pub value: U256,
    /// Nodes from the storage root down.
    pub proof: Vec<HexBytes>,
}

impl StateJson {
    /// Puts together what a node answered, if it proves all that was asked: everything said of the account and the slots
    /// is read from the proof.
    ///
    /// # Errors
    /// See [`StateJsonError`].
    pub fn new(
        chain: String,
        chain_id: u64,
        header: &[u8],
        address: Address,
        slots: &[Slot],
        proof: RpcProof,
    ) -> Result<Self, StateJsonError> {
        let read = Header::from_rlp(header)?;
        let witness = StateWitness::new(
            proof.address,
            nodes(&proof.account_proof),
            proof.storage_proof.iter().map(|slot| (B256::new(slot.key.to_be_bytes()), nodes(&slot.proof))),
        )?;
        let state = read.state(witness);
        let account = state.account(address)?;
        let mut storage = Vec::with_capacity(slots.len());
        if let Some(account) = &account {
            for slot in slots {
                let value = account.slot(*slot)?;
                let answered = proof.storage_proof.iter().find(|answered| answered.key == slot.number());
                let proof = answered.expect("the slot was read from this proof").proof.clone();
                storage.push(SlotJson { slot: slot.key(), value, proof });
            }
        }
        let account = account.as_ref().map(AccountJson::of);
        let block = BlockJson::of(&read, header);
        Ok(Self { chain, chain_id, block, address, account, account_proof: proof.account_proof, storage })
    }

    /// Checks that the header and the proofs say all that is said besides: block hash, number, timestamp, state root, the
    /// account and every slot. Whether the header is one of the chain, compare its hash to know.
    ///
    /// # Errors
    /// See [`StateJsonError`].
    pub fn check(&self) -> Result<Header, StateJsonError> {
        let claim = |holds: bool, field| if holds { Ok(()) } else { Err(StateJsonError::Claim { field }) };
        let header = Header::from_rlp(&self.block.header.0)?;
        claim(self.block == BlockJson::of(&header, &self.block.header.0), "block")?;
        let state = header.state(self.witness()?);
        let account = state.account(self.address)?;
        claim(self.account == account.as_ref().map(AccountJson::of), "account")?;
        claim(account.is_some() || self.storage.is_empty(), "storage")?;
        if let Some(account) = account {
            for slot in &self.storage {
                claim(slot.value == account.slot(slot.slot.into())?, "storage")?;
            }
        }
        Ok(header)
    }

    /// The nodes, as a circuit takes them.
    ///
    /// # Errors
    /// More than a witness may have.
    pub fn witness(&self) -> Result<StateWitness<'_>, WitnessError> {
        let slots = self.storage.iter().map(|slot| (slot.slot, nodes(&slot.proof)));
        StateWitness::new(self.address, nodes(&self.account_proof), slots)
    }

    /// The witness element that a circuit takes with [`Block::take`](crate::Block::take), after a check of everything.
    /// Whether the chain's domain has this very block, the service finds out.
    ///
    /// # Errors
    /// See [`StateJsonError`].
    pub fn state_proof(&self) -> Result<StateProof, StateJsonError> {
        let header = self.check()?;
        Ok(StateProof {
            domain: DomainId::derive(&chain_domain(self.chain_id)),
            number: header.number(),
            state_root: header.state_root().0,
            payload: BlockPayload::of(self.chain_id, &header).to_bytes(),
            proof: self.witness()?.to_bytes(),
        })
    }
}

impl BlockJson {
    fn of(header: &Header, rlp: &[u8]) -> Self {
        Self {
            number: header.number(),
            hash: header.hash(),
            timestamp: header.timestamp(),
            state_root: header.state_root(),
            header: HexBytes(rlp.to_vec()),
        }
    }
}

impl AccountJson {
    fn of(account: &Account<'_, '_>) -> Self {
        Self {
            nonce: account.nonce(),
            balance: account.balance(),
            storage_root: account.storage_root(),
            code_hash: account.code_hash(),
        }
    }
}

fn nodes(nodes: &[HexBytes]) -> impl Iterator<Item = &[u8]> {
    nodes.iter().map(|node| node.0.as_slice())
}
