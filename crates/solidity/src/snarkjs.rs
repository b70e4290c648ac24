//! The JSON of snarkjs: numbers are decimal strings, points have three coordinates.

use crate::{
    G1, G2, SolidityError, Word,
    error::clip,
    groth16::{Proof, PublicSignals, VerifyingKey},
};
use serde::{Deserialize, de::DeserializeOwned};

type Coordinates = [String; 3];
type PairCoordinates = [[String; 2]; 3];

#[derive(Deserialize)]
struct KeyFile {
    protocol: String,
    curve: String,
    #[serde(rename = "nPublic")]
    signals: usize,
    vk_alpha_1: Coordinates,
    vk_beta_2: PairCoordinates,
    vk_gamma_2: PairCoordinates,
    vk_delta_2: PairCoordinates,
    #[serde(rename = "IC")]
    ic: Vec<Coordinates>,
}

#[derive(Deserialize)]
struct ProofFile {
    // Some tools leave these out.
    protocol: Option<String>,
    curve: Option<String>,
    pi_a: Coordinates,
    pi_b: PairCoordinates,
    pi_c: Coordinates,
}

impl VerifyingKey {
    /// Reads `verification_key.json`.
    ///
    /// # Errors
    /// It is not such a file; a point is not on its curve; or proofs against the key would prove nothing, or not say what
    /// they seem to: see [`SolidityError`].
    pub fn from_snarkjs(json: &[u8]) -> Result<Self, SolidityError> {
        let file: KeyFile = read(json)?;
        is_groth16_over_bn254(Some(&file.protocol), Some(&file.curve))?;
        if file.signals.checked_add(1) != Some(file.ic.len()) {
            return Err(SolidityError::IcCount { signals: file.signals, got: file.ic.len() });
        }
        let ic: Result<_, _> = file.ic.iter().enumerate().map(|(at, point)| g1(&format!("IC[{at}]"), point)).collect();
        Self::new(
            g1("vk_alpha_1", &file.vk_alpha_1)?,
            g2("vk_beta_2", &file.vk_beta_2)?,
            g2("vk_gamma_2", &file.vk_gamma_2)?,
            g2("vk_delta_2", &file.vk_delta_2)?,
            ic?,
        )
    }
}

impl Proof {
    /// Reads `proof.json`.
    ///
    /// # Errors
    /// It is not such a file, or a point is not on its curve.
    pub fn from_snarkjs(json: &[u8]) -> Result<Self, SolidityError> {
        let file: ProofFile = read(json)?;
        is_groth16_over_bn254(file.protocol.as_deref(), file.curve.as_deref())?;
        Ok(Self { a: g1("pi_a", &file.pi_a)?, b: g2("pi_b", &file.pi_b)?, c: g1("pi_c", &file.pi_c)? })
    }
}

impl PublicSignals {
    /// Reads `public.json`.
    ///
    /// # Errors
    /// It is not such a file, or not how a coprocessor's circuit's signals are written.
    pub fn from_snarkjs(json: &[u8]) -> Result<Self, SolidityError> {
        let file: Vec<String> = read(json)?;
        let words = file.iter().enumerate().map(|(index, text)| number(|| format!("public signal {index}"), text));
        Self::new(words.collect::<Result<_, _>>()?)
    }
}

fn read<T: DeserializeOwned>(json: &[u8]) -> Result<T, SolidityError> {
    serde_json::from_slice(json).map_err(|source| SolidityError::Json { source })
}

fn is_groth16_over_bn254(protocol: Option<&str>, curve: Option<&str>) -> Result<(), SolidityError> {
    match (protocol, curve) {
        (Some(got), _) if got != "groth16" => Err(SolidityError::Protocol { got: clip(got) }),
        (_, Some(got)) if !matches!(got, "bn128" | "bn254") => Err(SolidityError::Curve { got: clip(got) }),
        _ => Ok(()),
    }
}

fn number(at: impl FnOnce() -> String, text: &str) -> Result<Word, SolidityError> {
    Word::from_decimal(text).ok_or_else(|| SolidityError::Number { at: at(), got: clip(text) })
}

fn g1(at: &str, coordinates: &Coordinates) -> Result<G1, SolidityError> {
    let name = || at.to_owned();
    let [x, y, z] = coordinates.each_ref().map(|text| number(name, text));
    let (zero, one) = (Word::ZERO, Word::from(1));
    let point = match (x?, y?, z?) {
        (x, y, z) if z == one => G1 { x, y },
        (x, y, z) if (x, y, z) == (zero, one, zero) => G1 { x: zero, y: zero },
        _ => return Err(SolidityError::NotAffine { at: name() }),
    };
    if point.is_on_curve() { Ok(point) } else { Err(SolidityError::NotOnCurve { at: name() }) }
}

fn g2(at: &str, coordinates: &PairCoordinates) -> Result<G2, SolidityError> {
    let name = || at.to_owned();
    let pair = |texts: &[String; 2]| -> Result<[Word; 2], SolidityError> {
        Ok([number(name, &texts[0])?, number(name, &texts[1])?])
    };
    let [x, y, z] = coordinates;
    let (zero, one) = ([Word::ZERO; 2], [Word::from(1), Word::ZERO]);
    let point = match (pair(x)?, pair(y)?, pair(z)?) {
        (x, y, z) if z == one => G2 { x, y },
        (x, y, z) if (x, y, z) == (zero, one, zero) => G2 { x: zero, y: zero },
        _ => return Err(SolidityError::NotAffine { at: name() }),
    };
    if point.is_on_curve() { Ok(point) } else { Err(SolidityError::NotOnCurve { at: name() }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    const KEY: &str = include_str!("../../../contracts/fixtures/verification_key.json");
    const PROOF: &str = include_str!("../../../contracts/fixtures/claim.proof.json");
    const PUBLIC: &str = include_str!("../../../contracts/fixtures/claim.public.json");
    const FIELD: &str = "21888242871839275222246405745257275088548364400416034343698204186575808495617";

    fn changed(json: &str, change: impl FnOnce(&mut Value)) -> Vec<u8> {
        let mut value = serde_json::from_str(json).unwrap();
        change(&mut value);
        value.to_string().into_bytes()
    }

    fn key(change: impl FnOnce(&mut Value)) -> Result<VerifyingKey, SolidityError> {
        VerifyingKey::from_snarkjs(&changed(KEY, change))
    }

    #[test]
    fn what_snarkjs_writes_is_read() {
        let key = VerifyingKey::from_snarkjs(KEY.as_bytes()).unwrap();
        let signals = PublicSignals::from_snarkjs(PUBLIC.as_bytes()).unwrap();
        assert_eq!((key.signals(), signals.words().len()), (6, 6));
        let proof = Proof::from_snarkjs(PROOF.as_bytes()).unwrap();
        let file: Value = serde_json::from_str(PROOF).unwrap();
        assert_eq!(proof.b.x[1].to_number().to_string(), file["pi_b"][0][1].as_str().unwrap());
    }

    #[test]
    fn a_key_that_nobody_contributed_to_is_refused() {
        let fresh = include_bytes!("../../../contracts/fixtures/verification_key_fresh.json");
        assert!(matches!(VerifyingKey::from_snarkjs(fresh), Err(SolidityError::NoContribution)));
    }

    #[test]
    fn keys_that_prove_nothing_are_refused() {
        let infinity = json!(["0", "1", "0"]);
        let infinity_2 = json!([["0", "0"], ["1", "0"], ["0", "0"]]);
        let refused = key(|key| key["vk_alpha_1"] = infinity.clone()).unwrap_err();
        assert!(matches!(refused, SolidityError::Infinity { at: "alpha" }), "{refused}");
        for (field, name) in [("vk_beta_2", "beta"), ("vk_gamma_2", "gamma"), ("vk_delta_2", "delta")] {
            let refused = key(|key| key[field] = infinity_2.clone()).unwrap_err();
            assert!(matches!(refused, SolidityError::Infinity { at } if at == name), "{refused}");
        }
        let refused = key(|key| key["IC"][3] = infinity.clone()).unwrap_err();
        assert!(matches!(refused, SolidityError::UnboundSignal { index: 2 }), "{refused}");
        // It binds no signal.
        assert!(key(|key| key["IC"][0] = infinity).is_ok());
    }

    #[test]
    fn keys_of_other_kinds_and_sizes_are_refused() {
        let refused = key(|key| key["protocol"] = "plonk".into()).unwrap_err();
        assert!(matches!(refused, SolidityError::Protocol { .. }), "{refused}");
        let refused = key(|key| key["curve"] = "bls12381".into()).unwrap_err();
        assert!(matches!(refused, SolidityError::Curve { .. }), "{refused}");
        for signals in [json!(5), json!(7), json!(u64::MAX)] {
            let refused = key(|key| key["nPublic"] = signals).unwrap_err();
            assert!(matches!(refused, SolidityError::IcCount { got: 7, .. }), "{refused}");
        }
        let refused = key(|key| {
            key["nPublic"] = json!(1);
            key["IC"].as_array_mut().unwrap().truncate(2);
        });
        assert!(matches!(refused, Err(SolidityError::NoRoot { got: 1 })));
        let refused = key(|key| {
            let point = key["IC"][1].clone();
            key["nPublic"] = json!(crate::MAX_SIGNALS + 1);
            key["IC"].as_array_mut().unwrap().resize(crate::MAX_SIGNALS + 2, point);
        });
        assert!(matches!(refused, Err(SolidityError::TooManySignals { .. })));
        assert!(matches!(VerifyingKey::from_snarkjs(b"{}"), Err(SolidityError::Json { .. })));
        assert!(matches!(VerifyingKey::from_snarkjs(&KEY.as_bytes()[..900]), Err(SolidityError::Json { .. })));
    }

    #[test]
    fn points_and_numbers_that_are_none_are_refused() {
        let refused = key(|key| key["vk_alpha_1"][0] = "5".into()).unwrap_err();
        assert!(matches!(refused, SolidityError::NotOnCurve { .. }), "{refused}");
        let refused = key(|key| key["vk_beta_2"][1][0] = "5".into()).unwrap_err();
        assert!(matches!(refused, SolidityError::NotOnCurve { .. }), "{refused}");
        for z in ["0", "2"] {
            let refused = key(|key| key["IC"][1][2] = z.into()).unwrap_err();
            assert!(matches!(refused, SolidityError::NotAffine { .. }), "{refused}");
        }
        let refused = key(|key| key["vk_gamma_2"][2][1] = "1".into()).unwrap_err();
        assert!(matches!(refused, SolidityError::NotAffine { .. }), "{refused}");
        for text in ["0x5", "", "-1"] {
            let refused = key(|key| key["IC"][2][1] = text.into()).unwrap_err();
            assert!(matches!(&refused, SolidityError::Number { at, .. } if at == "IC[2]"), "{refused}");
        }
    }

    #[test]
    fn a_signal_has_one_way_to_be_written() {
        let signals =
            |at: usize, text: &str| PublicSignals::from_snarkjs(&changed(PUBLIC, |all| all[at] = text.into()));
        assert!(matches!(signals(3, FIELD), Err(SolidityError::NotInField { index: 3 })));
        assert!(matches!(signals(0, FIELD), Err(SolidityError::NotInField { index: 0 })));
        let beyond = "340282366920938463463374607431768211456";
        for half in [0, 1] {
            assert!(matches!(signals(half, beyond), Err(SolidityError::RootHalf { index }) if index == half));
        }
        assert!(signals(2, beyond).is_ok());
        assert!(matches!(PublicSignals::from_snarkjs(br#"["1"]"#), Err(SolidityError::NoRoot { got: 1 })));
        assert!(matches!(PublicSignals::from_snarkjs(b"[1, 2]"), Err(SolidityError::Json { .. })));
    }

    /// A file with one byte changed and its end cut off.
    fn damaged(json: &str, at: usize, byte: u8, cut: usize) -> Vec<u8> {
        let mut bytes = json.as_bytes().to_vec();
        let at = at % bytes.len();
        bytes[at] = byte;
        bytes.truncate(bytes.len() - cut % bytes.len());
        bytes
    }

    proptest! {
        /// A digit more or less is still JSON: what is read then has to be a point, and a signal.
        #[test]
        fn what_is_read_of_damaged_files_holds(at: usize, byte in prop_oneof![any::<u8>(), b'0'..=b'9'], cut in prop_oneof![Just(0), any::<usize>()]) {
            if let Ok(proof) = Proof::from_snarkjs(&damaged(PROOF, at, byte, cut)) {
                prop_assert!(proof.a.is_on_curve() && proof.b.is_on_curve() && proof.c.is_on_curve());
            }
            if let Ok(signals) = PublicSignals::from_snarkjs(&damaged(PUBLIC, at, byte, cut)) {
                prop_assert_eq!(PublicSignals::from_public_values(&signals.public_values()).unwrap(), signals);
            }
            if let Ok(key) = VerifyingKey::from_snarkjs(&damaged(KEY, at, byte, cut)) {
                // Nothing that the contract is made of was hit.
                prop_assert_eq!(key.hash(), VerifyingKey::from_snarkjs(KEY.as_bytes()).unwrap().hash());
            }
        }
    }
}
