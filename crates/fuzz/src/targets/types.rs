//! Ids, witnesses, a circuit's input, public inputs: bytes, JSON and text.

use crate::{Input, Seed, Target, Writer};
use coprocessor_types::{
    Backend, BlobDigest, BlockOpening, CircuitInput, DomainId, OpenedWitness, OwnerId, ProofKind, PublicInputs, Root,
    StateProof, TaskId, TrustId, Witness,
};
use serde::{Serialize, de::DeserializeOwned};
use std::{
    fmt::{Debug, Display},
    str::FromStr,
};

pub(crate) const TARGET: Target =
    Target { name: "types", about: "types: ids, witnesses, circuit inputs, public inputs", run, seeds };

fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let kind = input.below(4);
    let bytes = input.rest();
    match kind {
        0 => binary(bytes),
        1 => json::<Vec<Witness>>(bytes),
        2 => {
            json::<(Root, TaskId)>(bytes);
            json::<OwnerId>(bytes);
            json::<(Backend, ProofKind)>(bytes);
            json::<StateProof>(bytes);
        }
        _ => {
            let Ok(text) = std::str::from_utf8(bytes) else { return };
            reads_back::<Root>(text);
            reads_back::<TaskId>(text);
            reads_back::<OwnerId>(text);
            reads_back::<Backend>(text);
            reads_back::<ProofKind>(text);
        }
    }
}

fn binary(bytes: &[u8]) {
    if let Ok(decoded) = CircuitInput::from_bytes(bytes) {
        assert_eq!(decoded.to_bytes(), bytes, "a circuit's input has one encoding");
    }
    if let Ok(decoded) = PublicInputs::from_bytes(bytes) {
        assert_eq!(decoded.to_bytes(), bytes, "public inputs have one encoding");
    }
}

/// Whatever is read is written in a way that reads as the same.
fn json<T: DeserializeOwned + Serialize + PartialEq + Debug>(bytes: &[u8]) {
    if let Ok(value) = serde_json::from_slice::<T>(bytes) {
        let written = serde_json::to_vec(&value).expect("what was read can be written");
        assert_eq!(serde_json::from_slice::<T>(&written).expect("what was written can be read"), value);
    }
}

/// Whatever is read prints in a way that reads as the same.
fn reads_back<T: FromStr + Display + PartialEq + Debug>(text: &str) {
    if let Ok(value) = text.parse::<T>() {
        assert_eq!(value.to_string().parse::<T>().ok(), Some(value), "{text:?}");
    }
}

fn to_json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("a seed can be written")
}

fn seeds() -> Vec<Seed> {
    let proof = StateProof {
        domain: DomainId([7; 32]),
        number: 300,
        state_root: [8; 32],
        payload: b"payload".to_vec(),
        proof: b"proof".to_vec(),
    };
    let opening = BlockOpening {
        trust: TrustId([1; 32]),
        domain_siblings: vec![Root([2; 32]), Root([0; 32])],
        root_siblings: vec![Root([3; 32])],
    };
    let input = CircuitInput {
        root: Root([9; 32]),
        witnesses: vec![OpenedWitness::Data(b"data".to_vec()), OpenedWitness::StateProof(proof.clone(), opening)],
    };
    let witnesses = [Witness::Data(vec![0, 255]), Witness::StateProof(proof.clone())];
    let named = r#"[{"StateProof":{"domain":"eip155:1","number":1,"state_root":[],"payload":[],"proof":[]}}]"#;
    vec![
        Writer::new().byte(0).bytes(&input.to_bytes()).seed("circuit-input"),
        Writer::new().byte(0).bytes(&[7; 40]).seed("public-inputs"),
        Writer::new().byte(1).bytes(&to_json(&witnesses)).seed("witnesses"),
        Writer::new().byte(1).bytes(named.as_bytes()).seed("a-domain-by-name"),
        Writer::new().byte(2).bytes(&to_json(&proof)).seed("state-proof"),
        Writer::new().byte(2).bytes(br#"["sp1","groth16"]"#).seed("backend-and-kind"),
        Writer::new().byte(3).bytes(BlobDigest([0xab; 32]).to_string().as_bytes()).seed("id"),
        Writer::new().byte(3).bytes(b"0193e4a0-7b1c-7000-8000-00000000002a").seed("task"),
        Writer::new().byte(3).bytes(b"alice.b_c-1").seed("owner"),
    ]
}
