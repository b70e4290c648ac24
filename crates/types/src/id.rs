//! Ids: each its own type, so that no bare `[u8; 32]` crosses a function.

use crate::sha256;
use alloc::string::{String, ToString};
use core::{fmt, str::FromStr};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use uuid::Uuid;

/// Why a text is not an id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseIdError {
    /// Not 64 hexadecimal digits.
    #[error("expected 64 hexadecimal digits, got {got} characters")]
    Length {
        /// Number of characters given.
        got: usize,
    },
    /// A character that is not a hexadecimal digit.
    #[error("not hexadecimal")]
    NotHex,
    /// Not a UUID in its hyphenated form.
    #[error("not a UUID")]
    NotUuid,
}

macro_rules! id32 {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        ///
        /// 32 bytes; 64 lower-case hexadecimal digits as text and in JSON.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub [u8; 32]);

        impl $name {
            /// The bytes.
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }
        }

        impl From<[u8; 32]> for $name {
            fn from(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                for byte in self.0 {
                    write!(f, "{byte:02x}")?;
                }
                Ok(())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                let text = text.strip_prefix("0x").unwrap_or(text);
                if text.len() != 64 {
                    return Err(ParseIdError::Length { got: text.chars().count() });
                }
                let mut bytes = [0; 32];
                hex::decode_to_slice(text, &mut bytes).map_err(|_| ParseIdError::NotHex)?;
                Ok(Self(bytes))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <alloc::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                text.parse().map_err(de::Error::custom)
            }
        }
    };
}

id32!(
    /// A guest program. The Valence v0.4 interface calls it controller id.
    ProgramId
);
id32!(
    /// A chain whose blocks the root commits to.
    DomainId
);
id32!(
    /// The coprocessor root: commits to every accepted block of every domain and to the instance.
    Root
);
id32!(
    /// SHA-256 of a blob's content: a circuit, a controller, a proof, a witness.
    BlobDigest
);
id32!(
    /// SHA-256 of a verifying key's encoding.
    VkDigest
);
id32!(
    /// The random identity an instance draws at its first start.
    InstanceId
);
id32!(
    /// Names what a block was checked by. Zero: nothing but the domain's controller.
    TrustId
);

impl ProgramId {
    /// `BLAKE3(0x00 ‖ "controller" ‖ circuit ‖ nonce as u64 little-endian)`, as Valence v0.4 derives a controller id.
    ///
    /// The controller's code is not part of it: a controller can be replaced, a circuit cannot.
    pub fn derive(circuit: &[u8], nonce: u64) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&[0]);
        hasher.update(b"controller");
        hasher.update(circuit);
        hasher.update(&nonce.to_le_bytes());
        Self(*hasher.finalize().as_bytes())
    }
}

impl DomainId {
    /// `BLAKE3(0x00 ‖ "domain" ‖ name)`, as Valence v0.4 derives a domain id.
    pub fn derive(name: &str) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&[0]);
        hasher.update(b"domain");
        hasher.update(name.as_bytes());
        Self(*hasher.finalize().as_bytes())
    }
}

impl BlobDigest {
    /// SHA-256 of `content`.
    pub fn of(content: &[u8]) -> Self {
        Self(sha256(&[content]))
    }
}

impl VkDigest {
    /// SHA-256 of the verifying key's encoding.
    pub fn of(verifying_key: &[u8]) -> Self {
        Self(sha256(&[verifying_key]))
    }
}

/// A block's number within its domain.
pub type BlockNumber = u64;

/// One proof request. UUID version 7, so ids sort by the time of admission.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TaskId(pub Uuid);

impl TaskId {
    /// A fresh id for now.
    #[cfg(feature = "std")]
    pub fn now() -> Self {
        Self(Uuid::now_v7())
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TaskId({})", self.0)
    }
}

impl FromStr for TaskId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        Uuid::parse_str(text).map(Self).map_err(|_| ParseIdError::NotUuid)
    }
}

/// Who a program or task belongs to: 1 to 64 of `a-z 0-9 - _ .`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
#[serde(transparent)]
pub struct OwnerId(String);

/// A text that is no owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an owner is 1 to 64 characters of a-z, 0-9, '-', '_' and '.'")]
pub struct OwnerIdError;

impl OwnerId {
    /// The owner of what is done without credentials.
    pub fn anonymous() -> Self {
        Self("anonymous".to_string())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for OwnerId {
    type Err = OwnerIdError;

    fn from_str(text: &str) -> Result<Self, OwnerIdError> {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.');
        if (1..=64).contains(&text.len()) && text.chars().all(allowed) {
            Ok(Self(text.to_string()))
        } else {
            Err(OwnerIdError)
        }
    }
}

impl fmt::Display for OwnerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for OwnerId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    #[test]
    fn an_id_reads_back_what_it_prints() {
        let id = ProgramId::derive(b"circuit", 7);
        assert_eq!(id.to_string().parse::<ProgramId>(), Ok(id));
        assert_eq!(format!("0x{id}").parse::<ProgramId>(), Ok(id));
        let json = serde_json::to_string(&id).unwrap();
        assert_eq!(json, format!("\"{id}\""));
        assert_eq!(serde_json::from_str::<ProgramId>(&json).unwrap(), id);
    }

    #[test]
    fn a_text_that_is_no_id_says_why() {
        assert_eq!("ab".parse::<Root>(), Err(ParseIdError::Length { got: 2 }));
        assert_eq!("g".repeat(64).parse::<Root>(), Err(ParseIdError::NotHex));
        assert_eq!("x".parse::<TaskId>(), Err(ParseIdError::NotUuid));
    }

    #[test]
    fn a_program_id_is_the_hash_valence_v0_4_gives() {
        let mut bytes = alloc::vec![0u8];
        bytes.extend_from_slice(b"controller");
        bytes.extend_from_slice(b"circuit");
        bytes.extend_from_slice(&1u64.to_le_bytes());
        assert_eq!(ProgramId::derive(b"circuit", 1).0, *blake3::hash(&bytes).as_bytes());
        assert_ne!(ProgramId::derive(b"circuit", 1), ProgramId::derive(b"circuit", 2));
        assert_ne!(ProgramId::derive(b"circuit", 1), ProgramId::derive(b"circuiT", 1));
    }

    #[test]
    fn owners_are_plain_names() {
        assert!("alice-1.x_y".parse::<OwnerId>().is_ok());
        for bad in ["", "Alice", "a b", "a/b", &"a".repeat(65)] {
            assert_eq!(bad.parse::<OwnerId>(), Err(OwnerIdError), "{bad}");
        }
    }
}
