//! Proofs and keys in JSON.

use crate::examples::{THRESHOLD, kept};
use coprocessor_groth16::{JsonError, Proof, PublicValues, VerifyError, VerifyingKey};
use coprocessor_types::Root;
use proptest::prelude::*;
use serde_json::{Value, json};

/// The moduli of the coordinates and of the values.
const BASE: &str = "21888242871839275222246405745257275088696311157297823662689037894645226208583";
const SCALAR: &str = "21888242871839275222246405745257275088548364400416034343698204186575808495617";

fn json(name: &str) -> Value {
    serde_json::from_slice(&kept(name)).unwrap()
}

fn key() -> VerifyingKey {
    VerifyingKey::from_json(&kept("threshold/verification_key.json")).unwrap()
}

fn proof(json: &Value) -> Result<Proof, JsonError> {
    Proof::from_json(json.to_string().as_bytes())
}

fn public(json: &Value) -> PublicValues {
    PublicValues::from_json(json.to_string().as_bytes()).unwrap()
}

#[test]
fn what_snarkjs_proved_holds_and_nothing_else_does() {
    for name in ["threshold", "membership"] {
        let key = VerifyingKey::from_json(&kept(&format!("{name}/verification_key.json"))).unwrap();
        let (there, values) = (json(&format!("{name}/proof.json")), json(&format!("{name}/public.json")));
        let there = proof(&there).unwrap();
        assert_eq!(key.verify(&there, &public(&values)), Ok(()));

        let inputs = public(&values).to_public_inputs().unwrap();
        assert_eq!(inputs.root, Root(std::array::from_fn(|at| at as u8)));
        for at in 0..values.as_array().unwrap().len() {
            let mut other = values.clone();
            other[at] = "12345".into();
            assert_eq!(key.verify(&there, &public(&other)), Err(VerifyError::Invalid), "value {at}");
        }
    }
    let (there, mut values) = (proof(&json("threshold/proof.json")).unwrap(), json("threshold/public.json"));
    values.as_array_mut().unwrap().push("0".into());
    assert_eq!(key().verify(&there, &public(&values)), Err(VerifyError::PublicValues { got: 5, expected: 4 }));
    let other = VerifyingKey::from_json(&kept("membership/verification_key.json")).unwrap();
    assert_eq!(other.verify(&there, &public(&values)), Err(VerifyError::Invalid));
}

#[test]
fn a_zkeys_verifying_key_is_the_one_that_snarkjs_exports() {
    let exported = key();
    assert_eq!(THRESHOLD.key().verifying_key(), &exported);
    let mut ours: Value = serde_json::from_str(&exported.to_json()).unwrap();
    let mut theirs = json("threshold/verification_key.json");
    assert!(theirs.as_object_mut().unwrap().remove("vk_alphabeta_12").is_some());
    assert_eq!(ours, theirs);
    assert_eq!(VerifyingKey::from_json(ours.to_string().as_bytes()), Ok(exported));

    ours["nPublic"] = 3.into();
    let read = VerifyingKey::from_json(ours.to_string().as_bytes());
    assert_eq!(read, Err(JsonError::PublicValues { public_values: 3, points: 5 }));
    ours["nPublic"] = u64::MAX.into();
    assert!(VerifyingKey::from_json(ours.to_string().as_bytes()).is_err());
}

#[test]
fn each_proof_has_one_form() {
    let there = json("threshold/proof.json");
    let read = proof(&there).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&read.to_json()).unwrap(), there);
    let changed = |pointer: &str, value: Value| {
        let mut changed = there.clone();
        *changed.pointer_mut(pointer).unwrap() = value;
        proof(&changed).unwrap_err()
    };
    // The same number, written with the modulus added.
    let x = there["pi_a"][0].as_str().unwrap();
    let above = sum(x, BASE);
    assert_eq!(changed("/pi_a/0", above.into()), JsonError::Number { point: "pi_a" });
    assert_eq!(changed("/pi_b/0/1", BASE.into()), JsonError::Number { point: "pi_b" });
    assert_eq!(changed("/pi_a/0", format!("0{x}").into()), JsonError::Number { point: "pi_a" });
    assert_eq!(changed("/pi_c/1", "0x12".into()), JsonError::Number { point: "pi_c" });
    assert_eq!(changed("/pi_a/2", "2".into()), JsonError::NotAffine { point: "pi_a" });
    assert_eq!(changed("/pi_b/2", json!(["0", "1"])), JsonError::NotAffine { point: "pi_b" });
    assert_eq!(changed("/pi_a/0", "7".into()), JsonError::Point { point: "pi_a" });
    assert_eq!(changed("/pi_b/0/0", "7".into()), JsonError::Point { point: "pi_b" });
    // Infinity, in both ways in which it is written.
    assert_eq!(changed("/pi_a", json!(["0", "1", "0"])), JsonError::NotAffine { point: "pi_a" });
    assert_eq!(changed("/pi_a", json!(["0", "0", "1"])), JsonError::NotAffine { point: "pi_a" });
    assert_eq!(changed("/pi_b", json!([["0", "0"], ["0", "0"], ["1", "0"]])), JsonError::NotAffine { point: "pi_b" });
    let of = |got: &str, field, expected| JsonError::Of { what: "proof", field, got: got.into(), expected };
    assert_eq!(changed("/curve", "bls12381".into()), of("bls12381", "curve", "bn128"));
    assert_eq!(changed("/protocol", "plonk".into()), of("plonk", "protocol", "groth16"));
    for (pointer, value) in [("/pi_a", json!(["1", "2"])), ("/pi_b", json!("1")), ("/curve", json!(1))] {
        assert!(matches!(changed(pointer, value), JsonError::Form { what: "proof", .. }), "{pointer}");
    }
    let mut more = there.clone();
    more["more"] = 1.into();
    assert!(matches!(proof(&more), Err(JsonError::Form { .. })));
    let long = [there.to_string(), " ".repeat(1 << 20)].concat();
    assert!(matches!(Proof::from_json(long.as_bytes()), Err(JsonError::Form { .. })));
}

/// A point of the twist's curve, and not of the group: made by hand, since no library gives it away.
#[test]
fn points_outside_the_group_are_refused() {
    let mut there = json("threshold/proof.json");
    there["pi_b"] = json!([crate::zkey::OUTSIDE_X, crate::zkey::OUTSIDE_Y, ["1", "0"]]);
    assert_eq!(proof(&there), Err(JsonError::Point { point: "pi_b" }));
    let mut key = json("threshold/verification_key.json");
    for field in ["vk_beta_2", "vk_gamma_2", "vk_delta_2"] {
        let before = std::mem::replace(&mut key[field], there["pi_b"].clone());
        let read = VerifyingKey::from_json(key.to_string().as_bytes());
        assert!(matches!(read, Err(JsonError::Point { .. })), "{field}");
        key[field] = before;
    }
    key["IC"][2] = json!(["0", "0", "1"]);
    assert_eq!(VerifyingKey::from_json(key.to_string().as_bytes()), Err(JsonError::NotAffine { point: "IC" }));
}

#[test]
fn a_public_value_from_the_modulus_up_does_not_pass_as_the_reduced_one() {
    let mut values = json("threshold/public.json");
    let value = values[2].as_str().unwrap().to_owned();
    values[2] = sum(&value, SCALAR).into();
    assert!(PublicValues::from_json(values.to_string().as_bytes()).is_err());
}

proptest! {
    #[test]
    fn what_was_changed_anywhere_is_refused_or_does_not_hold(at in 0usize..700, to in any::<char>()) {
        let (there, values) = (kept("threshold/proof.json"), public(&json("threshold/public.json")));
        let text = String::from_utf8(there).unwrap();
        let mut changed: Vec<char> = text.chars().collect();
        let at = at % changed.len();
        changed[at] = to;
        let changed: String = changed.into_iter().collect();
        let same = serde_json::from_str::<Value>(&changed).ok() == serde_json::from_str(&text).ok();
        if let Ok(read) = Proof::from_json(changed.as_bytes()) {
            prop_assert_eq!(key().verify(&read, &values).is_ok(), same);
        } else {
            prop_assert!(!same);
        }
    }
}

/// Of decimal numbers.
fn sum(a: &str, b: &str) -> String {
    let (mut carry, mut digits) = (0, Vec::new());
    let of = |text: &str, at: usize| text.bytes().rev().nth(at).map_or(0, |digit| digit - b'0');
    for at in 0..a.len().max(b.len()) + 1 {
        let digit = of(a, at) + of(b, at) + carry;
        digits.push(b'0' + digit % 10);
        carry = digit / 10;
    }
    digits.reverse();
    String::from_utf8(digits).unwrap().trim_start_matches('0').to_owned()
}
