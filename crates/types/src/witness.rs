//! What a controller hands to its circuit.

use crate::{BlockNumber, DomainId, Root, TrustId};
use alloc::{string::String, vec::Vec};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// One element of the ordered list a controller makes for its circuit.
///
/// JSON is that of Valence v0.4: `{"Data": [1, 2, …]}` or `{"StateProof": {…}}`, bytes and hashes as arrays of numbers.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Witness {
    /// Chain state that the service opens to the task's root and the circuit SDK checks.
    StateProof(StateProof),
    /// Bytes that mean what the circuit says they mean. Nothing vouches for them.
    Data(Vec<u8>),
}

/// State of a domain at one of its blocks, and the proof that leads from the block's state root to it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StateProof {
    /// The domain, by name in JSON as controllers write it.
    #[serde(with = "domain_field")]
    pub domain: DomainId,
    /// The block's number.
    pub number: BlockNumber,
    /// The block's state root.
    #[serde(with = "array_field")]
    pub state_root: [u8; 32],
    /// What the domain's controller kept of the block; authenticated by the opening.
    pub payload: Vec<u8>,
    /// The domain's own proof, from `state_root` to the state. Checked by the circuit, not by the SDK.
    pub proof: Vec<u8>,
}

/// Leads from a block to a coprocessor root: made by the service, checked by the circuit SDK.
///
/// Siblings go from the leaf up to the tree's root.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct BlockOpening {
    /// What the block was checked by when it was accepted.
    pub trust: TrustId,
    /// Siblings in the domain's tree; at most 64.
    pub domain_siblings: Vec<Root>,
    /// Siblings in the root tree; at most 256.
    pub root_siblings: Vec<Root>,
}

mod array_field {
    use super::*;

    pub(super) fn serialize<S: Serializer>(bytes: &[u8; 32], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(bytes)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 32], D::Error> {
        let bytes = Vec::<u8>::deserialize(deserializer)?;
        let got = bytes.len();
        bytes.try_into().map_err(|_| de::Error::invalid_length(got, &"32 bytes"))
    }
}

mod domain_field {
    use super::*;

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum NameOrBytes {
        Name(String),
        Bytes(Vec<u8>),
    }

    pub(super) fn serialize<S: Serializer>(domain: &DomainId, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(domain.as_bytes())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<DomainId, D::Error> {
        match NameOrBytes::deserialize(deserializer)? {
            NameOrBytes::Name(name) => Ok(DomainId::derive(&name)),
            NameOrBytes::Bytes(bytes) => {
                let got = bytes.len();
                bytes.try_into().map(DomainId).map_err(|_| de::Error::invalid_length(got, &"32 bytes or a name"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn json_is_that_of_valence_v0_4() {
        let data: Witness = serde_json::from_str(r#"{"Data":[1,2,255]}"#).unwrap();
        assert_eq!(data, Witness::Data(vec![1, 2, 255]));
        assert_eq!(serde_json::to_string(&data).unwrap(), r#"{"Data":[1,2,255]}"#);

        let proof = StateProof {
            domain: DomainId::derive("ethereum"),
            number: 9,
            state_root: [3; 32],
            payload: vec![1],
            proof: vec![2],
        };
        let json = serde_json::to_value(Witness::StateProof(proof.clone())).unwrap();
        assert_eq!(json["StateProof"]["state_root"].as_array().unwrap().len(), 32);
        assert_eq!(serde_json::from_value::<Witness>(json.clone()).unwrap(), Witness::StateProof(proof.clone()));

        let mut by_name = json;
        by_name["StateProof"]["domain"] = "ethereum".into();
        assert_eq!(serde_json::from_value::<Witness>(by_name).unwrap(), Witness::StateProof(proof));
    }

    #[test]
    fn a_state_root_of_another_length_is_refused() {
        let json = r#"{"StateProof":{"domain":"x","number":1,"state_root":[1,2],"payload":[],"proof":[]}}"#;
        assert!(serde_json::from_str::<Witness>(json).is_err());
    }
}
