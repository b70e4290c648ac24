//! Values of all wires of a circuit.

use crate::FileError;
use crate::curve::{Fr, SCALAR_MODULUS};
use crate::sections::{Kind, Sections};
use halo2curves::ff::Field;

const KIND: Kind = Kind { name: "witness file", magic: *b"wtns", version: 2, sections: 1..=2 };

/// A value for every wire of a circuit, the constant one first. Whether it satisfies a circuit is not said.
#[derive(Clone, PartialEq, Eq)]
pub struct Witness(Vec<Fr>);

impl Witness {
    /// Values as a witness generator gives them: 32 bytes each, little-endian.
    ///
    /// # Errors
    /// A length that is not a multiple of 32; a value that is not below the modulus; a first value that is not one.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FileError> {
        let (values, rest) = bytes.as_chunks();
        if !rest.is_empty() || values.is_empty() {
            let (got, expected) = (bytes.len() as u64, "a multiple of 32, at least 32".into());
            return Err(FileError::Count { file: KIND.name, what: "the length in bytes", got, expected });
        }
        let value = |(index, bytes)| {
            let (what, index) = ("value", index as u64);
            crate::curve::scalar(bytes).ok_or(FileError::NotCanonical { file: KIND.name, what, index })
        };
        let values: Vec<Fr> = values.iter().enumerate().map(value).collect::<Result<_, _>>()?;
        if values[0] != Fr::ONE {
            let expected = "one, which is the constant wire's".into();
            return Err(FileError::Count { file: KIND.name, what: "the first value", got: 0, expected });
        }
        Ok(Self(values))
    }

    /// Reads a `.wtns` file, as `snarkjs wtns calculate` writes it.
    ///
    /// # Errors
    /// A damaged file, another field than BN254's, what [`Witness::from_bytes`] refuses.
    pub fn read(bytes: &[u8]) -> Result<Self, FileError> {
        let sections = Sections::find(&KIND, bytes)?;
        let mut header = sections.reader(1, "header")?;
        header.field(&SCALAR_MODULUS)?;
        let values = header.u32()?;
        header.end()?;
        Self::from_bytes(sections.exactly(2, "values", 32 * u64::from(values))?)
    }

    /// Its values.
    pub fn values(&self) -> &[Fr] {
        &self.0
    }
}

/// A witness is what a proof keeps secret.
impl std::fmt::Debug for Witness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Witness({} values)", self.0.len())
    }
}
