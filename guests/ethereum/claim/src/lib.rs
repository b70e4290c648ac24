//! What controller and circuit of the Ethereum guest share: what is asked, and what is proved.
#![no_std]

extern crate alloc;

use alloc::vec::Vec;
use ethereum::{Address, B256, Slot, U256};

/// Most slots of one question.
pub const MAX_SLOTS: usize = 256;

/// What is asked: what some slots of an account hold. The first witness element.
///
/// ```text
/// chain id   u64 big-endian
/// address    20 bytes
/// slots      32 bytes each, to the end
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Question {
    /// Which chain, as EIP-155 numbers them.
    pub chain_id: u64,
    /// Whose storage.
    pub address: Address,
    /// The slots, at most [`MAX_SLOTS`].
    pub slots: Vec<Slot>,
}

/// Bytes that are no question.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{got} bytes are no question, which has 28 and 32 for each of at most {MAX_SLOTS} slots")]
pub struct QuestionError {
    got: usize,
}

impl Question {
    /// The encoding above.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = [&self.chain_id.to_be_bytes()[..], self.address.as_slice()].concat();
        self.slots.iter().for_each(|slot| bytes.extend(slot.key()));
        bytes
    }

    /// Reads the encoding above.
    ///
    /// # Errors
    /// Another length.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, QuestionError> {
        let error = QuestionError { got: bytes.len() };
        let (chain_id, rest) = bytes.split_first_chunk().ok_or(error)?;
        let (address, rest) = rest.split_first_chunk::<20>().ok_or(error)?;
        let (slots, left) = rest.as_chunks::<32>();
        if !left.is_empty() || slots.len() > MAX_SLOTS {
            return Err(error);
        }
        Ok(Self {
            chain_id: u64::from_be_bytes(*chain_id),
            address: Address::from(*address),
            slots: slots.iter().map(|slot| Slot::from(B256::from(*slot))).collect(),
        })
    }

    /// What is proved:
    /// `abi.encode(uint256 chainId, uint256 blockNumber, bytes32 blockHash, address account, (uint256 slot, uint256 value)[])`.
    ///
    /// # Panics
    /// If there is not one value for each slot.
    pub fn answered(&self, block_number: u64, block_hash: B256, values: &[U256]) -> Vec<u8> {
        assert_eq!(values.len(), self.slots.len(), "one value for each slot");
        let head = [
            U256::from(self.chain_id).into(),
            U256::from(block_number).into(),
            block_hash,
            self.address.into_word(),
            // Where the list is: after these five words.
            U256::from(5 * 32).into(),
            U256::from(values.len()).into(),
        ];
        let list = self.slots.iter().zip(values).flat_map(|(slot, value)| [slot.key(), (*value).into()]);
        head.into_iter().chain(list).flat_map(|word: B256| word.0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn question(slots: usize) -> Question {
        Question { chain_id: 7, address: Address::repeat_byte(1), slots: vec![Slot::at(9); slots] }
    }

    #[test]
    fn questions_read_back() {
        for slots in [0, 1, MAX_SLOTS] {
            let bytes = question(slots).to_bytes();
            assert_eq!(Question::from_bytes(&bytes), Ok(question(slots)));
            assert!(Question::from_bytes(&bytes[..bytes.len() - 1]).is_err());
        }
        assert!(Question::from_bytes(&question(MAX_SLOTS + 1).to_bytes()).is_err());
        assert!(Question::from_bytes(&[]).is_err());
    }

    #[test]
    fn an_answer_is_words_as_contracts_read_them() {
        let bytes = question(1).answered(5, B256::repeat_byte(3), &[U256::MAX]);
        let mut expected = [0; 256];
        expected[31] = 7;
        expected[63] = 5;
        expected[64..96].fill(3);
        expected[108..128].fill(1);
        expected[159] = 160;
        expected[191] = 1;
        expected[223] = 9;
        expected[224..].fill(0xff);
        assert_eq!(bytes, expected);
    }
}
