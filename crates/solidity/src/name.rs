//! Names of contracts.

use crate::{SolidityError, error::clip};
use std::{fmt, str::FromStr};

/// What a written contract is called: 1 to 64 letters, digits and `_`, beginning with a letter. So a name can't be more than
/// a name in the source it is put into.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ContractName(String);

impl FromStr for ContractName {
    type Err = SolidityError;

    fn from_str(text: &str) -> Result<Self, SolidityError> {
        let named = text.starts_with(|first: char| first.is_ascii_alphabetic())
            && text.len() <= 64
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if named { Ok(Self(text.to_owned())) } else { Err(SolidityError::ContractName { got: clip(text) }) }
    }
}

impl fmt::Display for ContractName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain() {
        for good in ["A", "Groth16Verifier", "my_verifier2"] {
            assert_eq!(good.parse::<ContractName>().unwrap().to_string(), good);
        }
        for bad in ["", "2A", "_A", "A B", "A{}", "A;", "Ä", "A-B", &"A".repeat(65)] {
            let refused = bad.parse::<ContractName>().unwrap_err();
            assert!(matches!(refused, SolidityError::ContractName { .. }), "{bad}");
        }
    }
}
