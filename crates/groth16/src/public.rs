//! A proof's public values: the root's two halves, then the output.

use crate::curve::{self, Fr};
use crate::{R1cs, Witness};
use coprocessor_types::{PublicInputs, Root};
use halo2curves::ff::PrimeField;

/// Public values that are the root's: its high and its low 128 bits.
pub const ROOT_VALUES: usize = 2;

/// The longest `public.json`, in bytes.
const MAX_JSON: usize = 16 << 20;

/// The values that a proof is verified with, in the order of the circuit: outputs, then public inputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicValues(pub(crate) Vec<Fr>);

/// Why something is not a proof's public values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublicError {
    /// Not JSON, or not an array of strings.
    #[error("not public values as snarkjs writes them, an array of decimal numbers in strings: {0}")]
    Json(String),
    /// A value that is not canonical.
    #[error("public value {index} is not a decimal number below the field's modulus, without sign and leading zeros")]
    Number {
        /// Which one.
        index: usize,
    },
    /// Too few of them.
    #[error("there are {got} public values, expected the root's high and low 128 bits first")]
    NoRoot {
        /// How many there are.
        got: usize,
    },
    /// A half of the root that is larger than a half.
    #[error(
        "public value {index} is not below 2^128, as half a root is: the circuit must have the root's high and low 128 bits first"
    )]
    RootHalf {
        /// Which one: 0 or 1.
        index: usize,
    },
    /// An output that is not made of values.
    #[error("an output of {got} bytes is not made of values of 32 bytes")]
    OutputLength {
        /// Its length in bytes.
        got: usize,
    },
    /// A value of an output that is not below the modulus.
    #[error("value {index} of the output is not below the field's modulus")]
    OutputValue {
        /// Which one.
        index: usize,
    },
}

impl PublicValues {
    /// Those of a witness of a circuit.
    ///
    /// # Panics
    /// When the witness is not one of this circuit: see [`R1cs::check`].
    pub fn of(witness: &Witness, circuit: &R1cs) -> Self {
        Self(witness.values()[1..=circuit.public_values()].to_vec())
    }

    /// Reads what snarkjs calls `public.json`.
    ///
    /// # Errors
    /// Anything but an array of canonical decimal numbers in strings.
    pub fn from_json(json: &[u8]) -> Result<Self, PublicError> {
        if json.len() > MAX_JSON {
            return Err(PublicError::Json(format!("{} bytes, at most {MAX_JSON} are read", json.len())));
        }
        let texts: Vec<String> = serde_json::from_slice(json).map_err(|error| PublicError::Json(error.to_string()))?;
        let value = |(index, text): (usize, &String)| curve::scalar_decimal(text).ok_or(PublicError::Number { index });
        texts.iter().enumerate().map(value).collect::<Result<_, _>>().map(Self)
    }

    /// As snarkjs writes them.
    pub fn to_json(&self) -> String {
        let texts: Vec<_> = self.0.iter().map(curve::to_decimal).collect();
        serde_json::to_string_pretty(&texts).expect("strings are JSON")
    }

    /// `root ‖ output` as a proof's verifier gets them: the output is every further value as 32 bytes, big-endian, the way a contract
    /// on an EVM chain has them.
    ///
    /// # Errors
    /// Fewer than two values; halves of a root that are larger than 128 bits.
    pub fn to_public_inputs(&self) -> Result<PublicInputs, PublicError> {
        let (halves, output) =
            self.0.split_first_chunk::<ROOT_VALUES>().ok_or(PublicError::NoRoot { got: self.0.len() })?;
        let mut root = [0; 32];
        for (index, (half, to)) in halves.iter().zip(root.chunks_exact_mut(16)).enumerate() {
            let bytes = big_endian(half);
            if bytes[..16] != [0; 16] {
                return Err(PublicError::RootHalf { index });
            }
            to.copy_from_slice(&bytes[16..]);
        }
        Ok(PublicInputs { root: Root(root), output: output.iter().flat_map(big_endian).collect() })
    }

    /// What `root ‖ output` stands for.
    ///
    /// # Errors
    /// An output that is not made of values of 32 bytes below the modulus.
    pub fn from_public_inputs(inputs: &PublicInputs) -> Result<Self, PublicError> {
        let (output, rest) = inputs.output.as_chunks::<32>();
        if !rest.is_empty() {
            return Err(PublicError::OutputLength { got: inputs.output.len() });
        }
        let mut values = Self::halves(inputs.root).to_vec();
        for (index, value) in output.iter().enumerate() {
            let mut little = *value;
            little.reverse();
            values.push(curve::scalar(&little).ok_or(PublicError::OutputValue { index })?);
        }
        Ok(Self(values))
    }

    /// A root's high and low 128 bits.
    pub fn halves(root: Root) -> [Fr; ROOT_VALUES] {
        [0, 16].map(|at| Fr::from_u128(u128::from_be_bytes(root.0[at..at + 16].try_into().expect("16 of 32 bytes"))))
    }

    /// The values.
    pub fn values(&self) -> &[Fr] {
        &self.0
    }
}

fn big_endian(value: &Fr) -> [u8; 32] {
    let mut bytes = value.to_bytes();
    bytes.reverse();
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use halo2curves::ff::Field;
    use proptest::prelude::*;

    fn decimal(values: &[&str]) -> Result<PublicValues, PublicError> {
        PublicValues::from_json(serde_json::to_string(values).unwrap().as_bytes())
    }

    #[test]
    fn a_root_is_its_high_half_and_its_low_half() {
        let values = decimal(&["1", "340282366920938463463374607431768211455", "258"]).unwrap();
        let inputs = values.to_public_inputs().unwrap();
        assert_eq!(inputs.root.0[..16], 1u128.to_be_bytes());
        assert_eq!(inputs.root.0[16..], [0xff; 16]);
        assert_eq!((inputs.output.len(), &inputs.output[30..]), (32, &[1, 2][..]));
        assert_eq!(PublicValues::from_public_inputs(&inputs), Ok(values));
    }

    #[test]
    fn what_is_no_root_is_refused() {
        let above = "340282366920938463463374607431768211456";
        let refused = |values: &[&str]| decimal(values).unwrap().to_public_inputs().unwrap_err();
        assert_eq!(refused(&[]), PublicError::NoRoot { got: 0 });
        assert_eq!(refused(&["7"]), PublicError::NoRoot { got: 1 });
        assert_eq!(refused(&[above, "0"]), PublicError::RootHalf { index: 0 });
        assert_eq!(refused(&["0", above, "5"]), PublicError::RootHalf { index: 1 });
    }

    #[test]
    fn values_from_the_modulus_up_are_refused_not_reduced() {
        let modulus = "21888242871839275222246405745257275088548364400416034343698204186575808495617";
        assert_eq!(decimal(&["1", modulus]), Err(PublicError::Number { index: 1 }));
        let inputs = |output: Vec<u8>| PublicInputs { root: Root([0; 32]), output };
        let mut bytes = curve::SCALAR_MODULUS;
        bytes.reverse();
        let read = PublicValues::from_public_inputs(&inputs(bytes.to_vec()));
        assert_eq!(read, Err(PublicError::OutputValue { index: 0 }));
        bytes[31] -= 1;
        let read = PublicValues::from_public_inputs(&inputs(bytes.to_vec())).unwrap();
        assert_eq!(read.values()[2], -Fr::ONE);
        let read = PublicValues::from_public_inputs(&inputs(vec![0; 33]));
        assert_eq!(read, Err(PublicError::OutputLength { got: 33 }));
        for json in [&b"{}"[..], b"[1, 2]", b"[\"1\"", b"", b"[\"1\"] x", b"[[\"1\"]]", &[0xff]] {
            assert!(matches!(PublicValues::from_json(json), Err(PublicError::Json(_))), "{json:?}");
        }
    }

    proptest! {
        #[test]
        fn both_forms_say_the_same(root: [u8; 32], outputs: Vec<[u64; 3]>) {
            let output = outputs.iter().flat_map(|[a, b, c]| {
                let limbs = [0, *a, *b, *c].map(u64::to_be_bytes);
                limbs.concat()
            });
            let inputs = PublicInputs { root: Root(root), output: output.collect() };
            let values = PublicValues::from_public_inputs(&inputs).unwrap();
            prop_assert_eq!(values.values().len(), 2 + outputs.len());
            prop_assert_eq!(&PublicValues::from_json(values.to_json().as_bytes()).unwrap(), &values);
            prop_assert_eq!(values.to_public_inputs().unwrap(), inputs);
        }
    }
}
