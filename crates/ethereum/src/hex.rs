//! Bytes and numbers as Ethereum's JSON has them.

use crate::U256;
use alloc::{
    string::{String, ToString},
    vec::Vec,
};
use alloy_primitives::hex;
use core::fmt;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

/// Bytes; in JSON a string of hex digits after `0x`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct HexBytes(pub Vec<u8>);

impl fmt::Debug for HexBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode_prefixed(&self.0))
    }
}

impl Serialize for HexBytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode_prefixed(&self.0))
    }
}

impl<'de> Deserialize<'de> for HexBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digits = text.strip_prefix("0x").ok_or_else(|| D::Error::custom("expected hex digits after 0x"))?;
        hex::decode(digits).map(Self).map_err(|error| D::Error::custom(error.to_string()))
    }
}

/// Addresses and hashes, for `#[serde(with)]`.
pub(crate) mod fixed {
    use super::*;

    pub(crate) fn serialize<S: Serializer, T: AsRef<[u8]>>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode_prefixed(value.as_ref()))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>, T: for<'a> TryFrom<&'a [u8]>>(
        deserializer: D,
    ) -> Result<T, D::Error> {
        let HexBytes(bytes) = HexBytes::deserialize(deserializer)?;
        T::try_from(&bytes).map_err(|_| {
            D::Error::custom(alloc::format!("{} bytes are not those of a hash or an address", bytes.len()))
        })
    }
}

/// Numbers up to 256 bits, for `#[serde(with)]`: written without leading zeros, read with any up to 32 bytes.
pub(crate) mod quantity {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(value: &U256, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{value:#x}"))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<U256, D::Error> {
        let text = String::deserialize(deserializer)?;
        read(&text).ok_or_else(|| D::Error::custom("expected a number as 1 to 64 hex digits after 0x"))
    }

    pub(super) fn read(text: &str) -> Option<U256> {
        let digits = text.strip_prefix("0x")?;
        let plain = (1..=64).contains(&digits.len()) && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        if plain { U256::from_str_radix(digits, 16).ok() } else { None }
    }
}

/// The same, where the number may be missing.
pub(crate) mod optional_quantity {
    use super::*;

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<U256>, D::Error> {
        let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
        let number = quantity::read(&text);
        number.map(Some).ok_or_else(|| D::Error::custom("expected a number as 1 to 64 hex digits after 0x"))
    }
}
