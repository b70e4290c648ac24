//! Proofs, verifying keys and public values as snarkjs writes them.

use crate::{Input, Seed, Target, Writer};
use coprocessor_groth16::{Proof, PublicValues, VerifyingKey};

pub(crate) const TARGET: Target =
    Target { name: "groth16_json", about: "groth16: proofs, keys and public values in JSON", run, seeds };

/// Points that hold for nothing: the generators.
const G1: &str = r#"["1","2","1"]"#;
const G2: &str = r#"[["10857046999023057135944570762232829481370756359578518086990519993285655852781","11559732032986387107991004021392285783925812861821192530917403151452391805634"],["8495653923123431417604973247489272438418190587263600148770280649306958101930","4082367875863433681332203403145435568316851327593401208105741076214120093531"],["1","0"]]"#;

fn run(data: &[u8]) {
    let mut input = Input::new(data);
    match input.below(3) {
        0 => proof(input.rest()),
        1 => key(input.rest()),
        _ => values(input.rest()),
    }
}

fn proof(data: &[u8]) {
    let Ok(read) = Proof::from_json(data) else { return };
    assert_eq!(Proof::from_json(read.to_json().as_bytes()), Ok(read));
    let key = VerifyingKey::from_json(key_of(2).as_bytes()).expect("it is written as snarkjs does");
    let values = PublicValues::from_json(br#"["1","2"]"#).expect("they are written as snarkjs does");
    assert!(key.verify(&read, &values).is_err(), "a proof of chance holds");
}

fn key(data: &[u8]) {
    let Ok(read) = VerifyingKey::from_json(data) else { return };
    assert!(
        (read.public_values() + 1) * 11 <= data.len(),
        "{} public values of {} bytes",
        read.public_values(),
        data.len()
    );
    assert_eq!(VerifyingKey::from_json(read.to_json().as_bytes()).as_ref(), Ok(&read));
}

/// Whatever has a root is `root ‖ output`, and back.
fn values(data: &[u8]) {
    let Ok(read) = PublicValues::from_json(data) else { return };
    assert_eq!(PublicValues::from_json(read.to_json().as_bytes()).as_ref(), Ok(&read));
    let Ok(inputs) = read.to_public_inputs() else { return };
    assert_eq!(inputs.output.len(), (read.values().len() - 2) * 32);
    assert_eq!(PublicValues::from_public_inputs(&inputs), Ok(read));
}

fn key_of(values: usize) -> String {
    let ic = vec![G1; values + 1].join(",");
    format!(
        r#"{{"protocol":"groth16","curve":"bn128","nPublic":{values},"vk_alpha_1":{G1},"vk_beta_2":{G2},"vk_gamma_2":{G2},"vk_delta_2":{G2},"IC":[{ic}]}}"#
    )
}

fn seeds() -> Vec<Seed> {
    let of = |kind: u8, text: &str| Writer::new().byte(kind).bytes(text.as_bytes());
    let proof = format!(r#"{{"pi_a":{G1},"pi_b":{G2},"pi_c":{G1},"protocol":"groth16","curve":"bn128"}}"#);
    let modulus = "21888242871839275222246405745257275088548364400416034343698204186575808495617";
    vec![
        of(0, &proof).seed("proof"),
        of(0, &proof.replace(r#""1","2","1""#, r#""0","1","0""#)).seed("proof-at-infinity"),
        of(1, &key_of(2)).seed("key"),
        of(1, &key_of(0)).seed("key-without-root"),
        of(2, r#"["1","340282366920938463463374607431768211455","12"]"#).seed("values"),
        of(2, &format!(r#"["1","2","{modulus}"]"#)).seed("values-of-the-modulus"),
    ]
}
