//! `proof.json` and `verification_key.json`, as snarkjs reads and writes them.

use crate::curve::{self, G1Affine, G2Affine};
use crate::{Proof, VerifyingKey};
use halo2curves::bn256::{Fq, Fq2};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The longest proof, in bytes.
const MAX_PROOF: usize = 16 << 10;
/// The longest verifying key, in bytes.
const MAX_KEY: usize = 64 << 20;

const PROTOCOL: &str = "groth16";
/// What circom and snarkjs call BN254.
const CURVE: &str = "bn128";

/// Why JSON is not a proof or a verifying key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// Not JSON, or of another form.
    #[error("not a {what} as snarkjs writes it: {reason}")]
    Form {
        /// `proof` or `verifying key`.
        what: &'static str,
        /// What is wrong, and where.
        reason: String,
    },
    /// Another proof system or curve.
    #[error("the {what} is of {field} {got:?}, expected {expected:?}")]
    Of {
        /// `proof` or `verifying key`.
        what: &'static str,
        /// `protocol` or `curve`.
        field: &'static str,
        /// What it says.
        got: String,
        /// What it has to say.
        expected: &'static str,
    },
    /// A coordinate that is not canonical.
    #[error(
        "a coordinate of {point} is not a decimal number below the field's modulus, without sign and leading zeros"
    )]
    Number {
        /// The point.
        point: &'static str,
    },
    /// A point that is not affine, or at infinity.
    #[error("{point} is not in affine form (its last coordinate is not 1), or at infinity")]
    NotAffine {
        /// The point.
        point: &'static str,
    },
    /// Coordinates that are no point of the group.
    #[error("{point} is not in the curve's group")]
    Point {
        /// The point.
        point: &'static str,
    },
    /// Points that do not fit the number of public values.
    #[error(
        "the verifying key is for {public_values} public values and has {points} points in IC, expected one more than values"
    )]
    PublicValues {
        /// What it says of itself.
        public_values: u64,
        /// How many points there are.
        points: usize,
    },
}

type OnG1 = [String; 3];
type OnG2 = [[String; 2]; 3];

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProofForm {
    pi_a: OnG1,
    pi_b: OnG2,
    pi_c: OnG1,
    protocol: String,
    curve: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyForm {
    protocol: String,
    curve: String,
    #[serde(rename = "nPublic")]
    public_values: u64,
    vk_alpha_1: OnG1,
    vk_beta_2: OnG2,
    vk_gamma_2: OnG2,
    vk_delta_2: OnG2,
    /// The pairing of two of the points above: read by nobody, and written by snarkjs alone.
    #[serde(default, skip_serializing)]
    #[expect(dead_code, reason = "named so that the file is read, and no other field is")]
    vk_alphabeta_12: Option<Value>,
    #[serde(rename = "IC")]
    ic: Vec<OnG1>,
}

impl Proof {
    /// Reads what snarkjs calls `proof.json`.
    ///
    /// # Errors
    /// Another form, protocol or curve; coordinates that are not canonical; points outside their groups or at infinity.
    pub fn from_json(json: &[u8]) -> Result<Self, JsonError> {
        const WHAT: &str = "proof";
        let form: ProofForm = parse(WHAT, json, MAX_PROOF)?;
        check_of(WHAT, &form.protocol, &form.curve)?;
        Ok(Self { a: read_g1("pi_a", &form.pi_a)?, b: read_g2("pi_b", &form.pi_b)?, c: read_g1("pi_c", &form.pi_c)? })
    }

    /// As snarkjs writes it.
    pub fn to_json(&self) -> String {
        let (pi_a, pi_b, pi_c) = (write_g1(&self.a), write_g2(&self.b), write_g1(&self.c));
        print(&ProofForm { pi_a, pi_b, pi_c, protocol: PROTOCOL.into(), curve: CURVE.into() })
    }
}

impl VerifyingKey {
    /// Reads what snarkjs calls `verification_key.json`.
    ///
    /// # Errors
    /// As [`Proof::from_json`]; points in `IC` that do not fit the number of public values.
    pub fn from_json(json: &[u8]) -> Result<Self, JsonError> {
        const WHAT: &str = "verifying key";
        let form: KeyForm = parse(WHAT, json, MAX_KEY)?;
        check_of(WHAT, &form.protocol, &form.curve)?;
        let (public_values, points) = (form.public_values, form.ic.len());
        if public_values.checked_add(1) != Some(points as u64) {
            return Err(JsonError::PublicValues { public_values, points });
        }
        let in_g2 = [
            read_g2("vk_beta_2", &form.vk_beta_2)?,
            read_g2("vk_gamma_2", &form.vk_gamma_2)?,
            read_g2("vk_delta_2", &form.vk_delta_2)?,
        ];
        let ic = form.ic.iter().map(|point| read_g1("IC", point)).collect::<Result<_, _>>()?;
        Ok(Self::new(read_g1("vk_alpha_1", &form.vk_alpha_1)?, in_g2, ic))
    }

    /// As snarkjs writes it, but for `vk_alphabeta_12`, which follows from the rest and which it does not read.
    pub fn to_json(&self) -> String {
        print(&KeyForm {
            protocol: PROTOCOL.into(),
            curve: CURVE.into(),
            public_values: self.public_values() as u64,
            vk_alpha_1: write_g1(&self.alpha),
            vk_beta_2: write_g2(&self.beta),
            vk_gamma_2: write_g2(&self.gamma),
            vk_delta_2: write_g2(&self.delta),
            vk_alphabeta_12: None,
            ic: self.ic.iter().map(write_g1).collect(),
        })
    }
}

fn parse<'a, T: Deserialize<'a>>(what: &'static str, json: &'a [u8], most: usize) -> Result<T, JsonError> {
    if json.len() > most {
        return Err(JsonError::Form { what, reason: format!("{} bytes, at most {most} are read", json.len()) });
    }
    serde_json::from_slice(json).map_err(|error| JsonError::Form { what, reason: error.to_string() })
}

fn print<T: Serialize>(form: &T) -> String {
    serde_json::to_string_pretty(form).expect("strings and numbers are JSON")
}

fn check_of(what: &'static str, protocol: &str, curve: &str) -> Result<(), JsonError> {
    for (field, got, expected) in [("protocol", protocol, PROTOCOL), ("curve", curve, CURVE)] {
        if got != expected {
            return Err(JsonError::Of { what, field, got: got.chars().take(40).collect(), expected });
        }
    }
    Ok(())
}

fn number(point: &'static str, text: &str) -> Result<Fq, JsonError> {
    curve::base_decimal(text).ok_or(JsonError::Number { point })
}

fn read_g1(point: &'static str, [x, y, z]: &OnG1) -> Result<G1Affine, JsonError> {
    if z != "1" {
        return Err(JsonError::NotAffine { point });
    }
    let read = curve::g1(number(point, x)?, number(point, y)?).ok_or(JsonError::Point { point })?;
    // What has no coordinates on the curve is how some write infinity.
    if read == G1Affine::default() { Err(JsonError::NotAffine { point }) } else { Ok(read) }
}

fn read_g2(point: &'static str, [x, y, [z, over]]: &OnG2) -> Result<G2Affine, JsonError> {
    if z != "1" || over != "0" {
        return Err(JsonError::NotAffine { point });
    }
    let number = |[c0, c1]: &[String; 2]| Ok(Fq2::new(number(point, c0)?, number(point, c1)?));
    let read = curve::g2(number(x)?, number(y)?).ok_or(JsonError::Point { point })?;
    if read == G2Affine::default() { Err(JsonError::NotAffine { point }) } else { Ok(read) }
}

fn write_g1(point: &G1Affine) -> OnG1 {
    [curve::to_decimal(&point.x), curve::to_decimal(&point.y), "1".into()]
}

fn write_g2(point: &G2Affine) -> OnG2 {
    let number = |value| curve::parts(value).map(|part| curve::to_decimal(&part));
    [number(&point.x), number(&point.y), ["1".into(), "0".into()]]
}
