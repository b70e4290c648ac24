//! One call of a controller: JSON in, the author's function, JSON out.

use crate::host::HostError;
use alloc::{
    string::{String, ToString},
    vec::Vec,
};
use coprocessor_types::{BlockNumber, StateProof, Witness};
use core::fmt::Display;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// Why a controller's call failed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CallError {
    /// The request's arguments are not what the function takes.
    #[error("arguments: {0}")]
    Arguments(String),
    /// The function refused.
    #[error("{0}")]
    Refused(String),
    /// What the function returned has no JSON.
    #[error("result: {0}")]
    Result(String),
    /// A host call failed.
    #[error(transparent)]
    Host(#[from] HostError),
}

/// What a domain's `validate_block` accepts.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ValidatedBlock {
    /// The block's number.
    pub number: BlockNumber,
    /// Root of the state after it.
    pub root: [u8; 32],
    /// What else the root commits to of it; what it means is the domain's matter.
    pub payload: Vec<u8>,
}

/// Calls `get_witnesses` as the sandbox would; gives the JSON list of witnesses.
///
/// # Errors
/// Arguments of another shape, or the function's own refusal.
pub fn get_witnesses<A: DeserializeOwned, E: Display>(
    get_witnesses: impl FnOnce(A) -> Result<Vec<Witness>, E>,
    args: &[u8],
) -> Result<Vec<u8>, CallError> {
    run(get_witnesses, args)
}

/// Calls a domain's `validate_block` as the sandbox would; gives the block's JSON.
///
/// # Errors
/// Arguments of another shape, or the function's own refusal.
pub fn validate_block<A: DeserializeOwned, E: Display>(
    validate_block: impl FnOnce(A) -> Result<ValidatedBlock, E>,
    args: &[u8],
) -> Result<Vec<u8>, CallError> {
    run(validate_block, args)
}

/// Calls a domain's `get_state_proof` as the sandbox would; gives the proof's JSON.
///
/// # Errors
/// Arguments of another shape, or the function's own refusal.
pub fn get_state_proof<A: DeserializeOwned, E: Display>(
    get_state_proof: impl FnOnce(A) -> Result<StateProof, E>,
    args: &[u8],
) -> Result<Vec<u8>, CallError> {
    run(get_state_proof, args)
}

/// Calls a function as the sandbox would: JSON arguments, JSON result.
///
/// # Errors
/// Arguments of another shape, the function's own refusal, or a result that has no JSON.
pub fn run<A: DeserializeOwned, R: Serialize, E: Display>(
    function: impl FnOnce(A) -> Result<R, E>,
    args: &[u8],
) -> Result<Vec<u8>, CallError> {
    let args = serde_json::from_slice(args).map_err(|error| CallError::Arguments(error.to_string()))?;
    let result = function(args).map_err(|error| CallError::Refused(error.to_string()))?;
    serde_json::to_vec(&result).map_err(|error| CallError::Result(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{format, vec};

    fn double(number: u32) -> Result<u32, &'static str> {
        number.checked_mul(2).ok_or("too large")
    }

    #[test]
    fn json_goes_in_and_comes_out() {
        assert_eq!(run(double, b"21").unwrap(), b"42");
        let witnesses = |bytes: Vec<u8>| Ok::<_, String>(vec![Witness::Data(bytes)]);
        assert_eq!(get_witnesses(witnesses, b"[1,2]").unwrap(), br#"[{"Data":[1,2]}]"#);
    }

    #[test]
    fn each_failure_says_where_it_was() {
        assert_eq!(run(double, b"4294967295"), Err(CallError::Refused("too large".into())));
        let wrong = run(double, br#""x""#).unwrap_err();
        assert!(format!("{wrong}").starts_with("arguments: invalid type: string \"x\", expected u32"), "{wrong}");
    }
}
