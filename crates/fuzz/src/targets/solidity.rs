//! What contracts and their calldata are written from: snarkjs's files, and names.

use crate::{Input, Seed, Target, Writer};
use coprocessor_solidity::{ContractName, Proof, PublicSignals, VerifyingKey};

pub(crate) const TARGET: Target = Target {
    name: "solidity",
    about: "solidity: keys, proofs and signals that contracts are written from",
    run,
    seeds,
};

const KEY: &[u8] = include_bytes!("../../../../contracts/fixtures/verification_key.json");
const FRESH: &[u8] = include_bytes!("../../../../contracts/fixtures/verification_key_fresh.json");
const PROOF: &[u8] = include_bytes!("../../../../contracts/fixtures/claim.proof.json");
const SIGNALS: &[u8] = include_bytes!("../../../../contracts/fixtures/claim.public.json");

fn run(data: &[u8]) {
    let mut input = Input::new(data);
    match input.below(5) {
        0 => key(input.rest()),
        1 => proof(input.rest()),
        2 => signals(PublicSignals::from_snarkjs(input.rest()).ok()),
        3 => {
            let bytes = input.rest();
            let read = PublicSignals::from_public_values(bytes).ok();
            if let Some(read) = &read {
                assert_eq!(read.public_values(), bytes, "public values have one form");
            }
            signals(read);
        }
        _ => name(input.rest()),
    }
}

/// A contract has as many points as its key, and none of the stranger's text.
fn key(data: &[u8]) {
    let Ok(key) = VerifyingKey::from_snarkjs(data) else { return };
    let name = "Named".parse().expect("it is a name");
    let contract = key.contract(&name);
    assert!((2..=data.len()).contains(&key.signals()), "{} signals of {} bytes", key.signals(), data.len());
    assert_eq!(contract.matches(" constant IC").count(), 2 * (key.signals() + 1));
    assert!(contract.contains(&format!("VERIFYING_KEY_HASH = {};", key.hash())));
    assert!(contract.is_ascii());
}

fn proof(data: &[u8]) {
    let Ok(proof) = Proof::from_snarkjs(data) else { return };
    assert_eq!(proof.to_bytes().len(), 256);
}

fn signals(read: Option<PublicSignals>) {
    let Some(read) = read else { return };
    let values = read.public_values();
    assert_eq!(values.len(), 32 * (read.words().len() - 1));
    assert_eq!(PublicSignals::from_public_values(&values).expect("it was written from signals"), read);
}

/// Whatever is a name is one word of letters, digits and `_`.
fn name(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(name) = text.parse::<ContractName>() else { return };
    assert_eq!(name.to_string(), text);
    assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') && (1..=64).contains(&text.len()));
}

fn seeds() -> Vec<Seed> {
    let of = |kind: u8, content: &[u8], name: &str| Writer::new().byte(kind).bytes(content).seed(name);
    vec![
        of(0, KEY, "key"),
        of(0, FRESH, "key-that-nobody-contributed-to"),
        of(1, PROOF, "proof"),
        of(2, SIGNALS, "signals"),
        of(3, &[0; 96], "public-values"),
        of(3, &[0xff; 64], "public-values-beyond-the-field"),
        of(4, b"Groth16Verifier", "name"),
        of(4, b"A {} contract B", "name-that-is-more"),
    ]
}
