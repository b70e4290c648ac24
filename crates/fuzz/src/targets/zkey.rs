//! Proving keys as snarkjs writes them.

use super::circom;
use crate::{Seed, Target};
use coprocessor_groth16::{ProvingKey, R1cs, VerifyingKey, Witness, ZKey};

pub(crate) const TARGET: Target =
    Target { name: "zkey", about: "groth16: proving keys of circom circuits", run, seeds };

/// Bytes of a contribution that says nothing of itself.
const CONTRIBUTION: usize = 392;

fn run(data: &[u8]) {
    let Ok(read) = ZKey::read(data) else { return };
    assert!(read.contributions().len() * CONTRIBUTION <= data.len());
    let key = read.verifying_key().clone();
    assert!((key.public_values() + 1) * 64 <= data.len());
    assert_eq!(VerifyingKey::from_json(key.to_json().as_bytes()).as_ref(), Ok(&key));

    let circuit = R1cs::read(&circom::r1cs()).expect("it is written as circom does");
    let Ok(proving) = ProvingKey::new(circuit, read) else { return };
    assert_eq!(proving.verifying_key(), &key);
    // What it proves holds, or is found not to.
    let witness = Witness::read(&circom::wtns()).expect("it is written as snarkjs does");
    if let Ok((proof, values)) = proving.prove(&witness) {
        assert_eq!(key.verify(&proof, &values), Ok(()));
    }
}

fn seeds() -> Vec<Seed> {
    let mut cut = circom::zkey();
    cut.truncate(700);
    vec![("key".into(), circom::zkey()), ("cut".into(), cut), ("nothing".into(), circom::file(b"zkey", 1, &[]))]
}
