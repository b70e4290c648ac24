//! What controller and circuit of the balance guest share: what is asked, and what is proved.
#![no_std]

extern crate alloc;

use alloc::vec::Vec;
use ethereum::{Address, Slot, U256};

/// What is asked: how much of a token an account holds. The first witness element.
///
/// ```text
/// chain id        u64 big-endian
/// token           20 bytes
/// holder          20 bytes
/// balances slot   32 bytes
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Question {
    /// Which chain, as EIP-155 numbers them.
    pub chain_id: u64,
    /// The token's contract.
    pub token: Address,
    /// Whose balance.
    pub holder: Address,
    /// Where the contract keeps its mapping from holders to balances. Nothing can tell from outside, so it is part of what
    /// is proved, and whoever verifies compares it with the one of that token.
    pub balances_slot: Slot,
}

/// What is proved: that at that block the token's mapping has that balance for the holder.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Claim {
    /// What was asked.
    pub question: Question,
    /// The block after which it was so.
    pub block_number: u64,
    /// In the token's smallest unit.
    pub balance: U256,
}

/// Bytes of another length or shape than what they should be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{got} bytes are no {what}, which has {expected} and zeros where numbers are shorter")]
pub struct ClaimError {
    what: &'static str,
    expected: usize,
    got: usize,
}

impl Question {
    /// Length in bytes.
    pub const LEN: usize = 80;

    /// The encoding above.
    pub fn to_bytes(&self) -> Vec<u8> {
        let slot = self.balances_slot.key();
        [&self.chain_id.to_be_bytes()[..], self.token.as_slice(), self.holder.as_slice(), slot.as_slice()].concat()
    }

    /// Reads the encoding above.
    ///
    /// # Errors
    /// Another length.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ClaimError> {
        let error = ClaimError { what: "question", expected: Self::LEN, got: bytes.len() };
        let bytes: &[u8; Self::LEN] = bytes.try_into().map_err(|_| error)?;
        Ok(Self {
            chain_id: u64::from_be_bytes(bytes[..8].try_into().map_err(|_| error)?),
            token: Address::from_slice(&bytes[8..28]),
            holder: Address::from_slice(&bytes[28..48]),
            balances_slot: Slot::new(U256::from_be_slice(&bytes[48..])),
        })
    }

    /// The slot with the balance.
    pub fn slot(&self) -> Slot {
        self.balances_slot.entry(self.holder)
    }
}

impl Claim {
    /// Length in bytes.
    pub const LEN: usize = 192;

    /// `abi.encode(uint256 chainId, uint256 blockNumber, address token, address holder, uint256 balance, uint256 balancesSlot)`.
    pub fn to_bytes(&self) -> [u8; Self::LEN] {
        let Question { chain_id, token, holder, balances_slot } = self.question;
        let words = [
            U256::from(chain_id).to_be_bytes(),
            U256::from(self.block_number).to_be_bytes(),
            token.into_word().0,
            holder.into_word().0,
            self.balance.to_be_bytes::<32>(),
            balances_slot.key().0,
        ];
        let mut bytes = [0; Self::LEN];
        for (place, word) in bytes.chunks_exact_mut(32).zip(words) {
            place.copy_from_slice(&word);
        }
        bytes
    }

    /// Reads the encoding above.
    ///
    /// # Errors
    /// Another length, or numbers and addresses beyond theirs.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ClaimError> {
        let error = ClaimError { what: "claim", expected: Self::LEN, got: bytes.len() };
        let bytes: &[u8; Self::LEN] = bytes.try_into().map_err(|_| error)?;
        let word = |index: usize| U256::from_be_slice(&bytes[32 * index..][..32]);
        let number = |index| u64::try_from(word(index)).map_err(|_| error);
        let address = |index: usize| match bytes[32 * index..][..32].split_at(12) {
            (zeros, address) if zeros == [0; 12] => Ok(Address::from_slice(address)),
            _ => Err(error),
        };
        let question = Question {
            chain_id: number(0)?,
            token: address(2)?,
            holder: address(3)?,
            balances_slot: Slot::new(word(5)),
        };
        Ok(Self { question, block_number: number(1)?, balance: word(4) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim() -> Claim {
        let (token, holder) = (Address::repeat_byte(1), Address::repeat_byte(2));
        let question = Question { chain_id: 7, token, holder, balances_slot: Slot::at(9) };
        Claim { question, block_number: 5, balance: U256::MAX }
    }

    #[test]
    fn both_read_back() {
        let claim = claim();
        assert_eq!(Claim::from_bytes(&claim.to_bytes()), Ok(claim));
        assert_eq!(Question::from_bytes(&claim.question.to_bytes()), Ok(claim.question));
        assert!(Question::from_bytes(&[0; 79]).is_err());
        assert!(Claim::from_bytes(&[0; 193]).is_err());
        for filled in [0, 32, 64, 96] {
            let mut bytes = claim.to_bytes();
            bytes[filled] = 1;
            assert!(Claim::from_bytes(&bytes).is_err(), "{filled}");
        }
    }

    #[test]
    fn a_claim_is_words_as_contracts_read_them() {
        let bytes = claim().to_bytes();
        let mut expected = [0; 192];
        expected[31] = 7;
        expected[63] = 5;
        expected[76..96].fill(1);
        expected[108..128].fill(2);
        expected[128..160].fill(0xff);
        expected[191] = 9;
        assert_eq!(bytes, expected);
    }
}
