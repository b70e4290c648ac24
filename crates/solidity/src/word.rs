//! Words of the EVM.

use num_bigint::BigUint;
use std::fmt;

/// A word of the EVM: 32 bytes, as a number big-endian. Ordered as a number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Word(pub [u8; 32]);

/// Digits of the largest word.
const MAX_DIGITS: usize = 78;

impl Word {
    /// Zero.
    pub const ZERO: Self = Self([0; 32]);

    /// The bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Reads decimal digits, of which there is one way to write each number: no sign, no leading zeros. `None` for any other
    /// text, and for numbers that a word can't hold.
    pub fn from_decimal(text: &str) -> Option<Self> {
        let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
        if text.is_empty() || text.len() > MAX_DIGITS || !plain {
            return None;
        }
        Self::from_number(&BigUint::parse_bytes(text.as_bytes(), 10)?)
    }

    /// Reads 64 hexadecimal digits, with or without `0x` before them.
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text.strip_prefix("0x").unwrap_or(text), &mut bytes).ok()?;
        Some(Self(bytes))
    }

    pub(crate) fn from_number(number: &BigUint) -> Option<Self> {
        let digits = number.to_bytes_be();
        let mut bytes = [0; 32];
        bytes[32usize.checked_sub(digits.len())?..].copy_from_slice(&digits);
        Some(Self(bytes))
    }

    pub(crate) fn to_number(self) -> BigUint {
        BigUint::from_bytes_be(&self.0)
    }
}

impl From<usize> for Word {
    fn from(number: usize) -> Self {
        let mut bytes = [0; 32];
        let digits = number.to_be_bytes();
        bytes[32 - digits.len()..].copy_from_slice(&digits);
        Self(bytes)
    }
}

/// `0x` and 64 hexadecimal digits.
impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{}", hex::encode(self.0))
    }
}

impl fmt::Debug for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_decimal_numbers_that_fit_are_read() {
        let largest = "115792089237316195423570985008687907853269984665640564039457584007913129639935";
        assert_eq!(Word::from_decimal(largest), Some(Word([0xff; 32])));
        assert_eq!(Word::from_decimal("0"), Some(Word::ZERO));
        let beyond = "115792089237316195423570985008687907853269984665640564039457584007913129639936";
        for bad in ["", "00", "01", "-1", "+1", "0x1", "1.0", " 1", "1e3", "١", beyond, &"9".repeat(10_000)] {
            assert_eq!(Word::from_decimal(bad), None, "{bad}");
        }
    }

    #[test]
    fn hexadecimal_words_have_64_digits() {
        assert_eq!(Word::from_hex(&Word::from(258).to_string()), Some(Word::from(258)));
        assert_eq!(Word::from_hex(&"ab".repeat(32)), Some(Word([0xab; 32])));
        for bad in ["", "0x", "0xab", &"a".repeat(63), &"g".repeat(64)] {
            assert_eq!(Word::from_hex(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_word_reads_back(bytes: [u8; 32]) {
            let word = Word(bytes);
            prop_assert_eq!(Word::from_decimal(&word.to_number().to_string()), Some(word));
            prop_assert_eq!(Word::from_hex(&word.to_string()), Some(word));
        }
    }
}
