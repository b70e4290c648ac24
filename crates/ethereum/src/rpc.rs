//! What an Ethereum node answers, as far as it is needed. Nothing in it is trusted.

use crate::{
    Address, B256, Header, HeaderError, U256, header,
    hex::{HexBytes, fixed, optional_quantity, quantity},
};
use alloc::vec::Vec;
use serde::Deserialize;

/// Why a node's block has no header.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RpcBlockError {
    /// The header's fields hash to something else than the node says.
    #[error(
        "block {number} has the hash {got} by its fields, but the node says {expected}: the chain's headers have fields \
         this build does not know (give the header's RLP instead), or the node is wrong"
    )]
    Hash {
        /// The block.
        number: U256,
        /// What the node says.
        expected: B256,
        /// What its fields hash to.
        got: B256,
    },
    /// The fields are no header.
    #[error(transparent)]
    Header(#[from] HeaderError),
}

/// The `result` of `eth_getBlockByNumber` and `eth_getBlockByHash`: the header's fields, whatever else there is.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RpcBlock {
    /// The block's hash, as the node says.
    #[serde(with = "fixed")]
    pub hash: B256,
    parent_hash: HexBytes,
    sha3_uncles: HexBytes,
    miner: HexBytes,
    state_root: HexBytes,
    transactions_root: HexBytes,
    receipts_root: HexBytes,
    logs_bloom: HexBytes,
    #[serde(with = "quantity")]
    difficulty: U256,
    #[serde(with = "quantity")]
    number: U256,
    #[serde(with = "quantity")]
    gas_limit: U256,
    #[serde(with = "quantity")]
    gas_used: U256,
    #[serde(with = "quantity")]
    timestamp: U256,
    extra_data: HexBytes,
    mix_hash: HexBytes,
    nonce: HexBytes,
    // Each fork's, in the order of the header.
    #[serde(default, deserialize_with = "optional_quantity::deserialize")]
    base_fee_per_gas: Option<U256>,
    withdrawals_root: Option<HexBytes>,
    #[serde(default, deserialize_with = "optional_quantity::deserialize")]
    blob_gas_used: Option<U256>,
    #[serde(default, deserialize_with = "optional_quantity::deserialize")]
    excess_blob_gas: Option<U256>,
    parent_beacon_block_root: Option<HexBytes>,
    requests_hash: Option<HexBytes>,
}

impl RpcBlock {
    /// The header, and its RLP, whose hash is the one that the node says.
    ///
    /// # Errors
    /// See [`RpcBlockError`].
    pub fn header(&self) -> Result<(Header, Vec<u8>), RpcBlockError> {
        let data = |bytes: &HexBytes| bytes.0.clone();
        let number = |number: &U256| number.to_be_bytes_trimmed_vec();
        let mut fields = [
            &self.parent_hash,
            &self.sha3_uncles,
            &self.miner,
            &self.state_root,
            &self.transactions_root,
            &self.receipts_root,
            &self.logs_bloom,
        ]
        .map(data)
        .to_vec();
        fields.extend([&self.difficulty, &self.number, &self.gas_limit, &self.gas_used, &self.timestamp].map(number));
        fields.extend([&self.extra_data, &self.mix_hash, &self.nonce].map(data));
        let later = [
            self.base_fee_per_gas.as_ref().map(number),
            self.withdrawals_root.as_ref().map(data),
            self.blob_gas_used.as_ref().map(number),
            self.excess_blob_gas.as_ref().map(number),
            self.parent_beacon_block_root.as_ref().map(data),
            self.requests_hash.as_ref().map(data),
        ];
        fields.extend(later.into_iter().flatten());
        let rlp = header::to_rlp(&fields.iter().map(Vec::as_slice).collect::<Vec<_>>());
        let header = Header::from_rlp(&rlp)?;
        match header.hash() == self.hash {
            true => Ok((header, rlp)),
            false => Err(RpcBlockError::Hash { number: self.number, expected: self.hash, got: header.hash() }),
        }
    }
}

/// The `result` of `eth_getProof`: the nodes. What the node says besides is read from them.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RpcProof {
    /// Whose account.
    #[serde(with = "fixed")]
    pub address: Address,
    /// Nodes from the state root down.
    pub account_proof: Vec<HexBytes>,
    /// The slots asked for.
    pub storage_proof: Vec<RpcStorageProof>,
}

/// One slot of an [`RpcProof`].
#[derive(Clone, Debug, Deserialize)]
pub struct RpcStorageProof {
    /// The slot's number.
    #[serde(with = "quantity")]
    pub key: U256,
    /// Nodes from the storage root down.
    pub proof: Vec<HexBytes>,
}
