use super::*;
use coprocessor_types::BlobDigest;
use sp1_hypercube::{MachineVerifyingKey, UntrustedConfig, create_dummy_recursion_proof, septic_digest::SepticDigest};
use sp1_primitives::SP1Field;
use sp1_verifier::{Groth16Bn254Proof, PlonkBn254Proof};

const PUBLIC: &[u8] = b"thirty-two bytes of root and then the output";

fn field(value: u32) -> SP1Field {
    bincode::deserialize(&value.to_le_bytes()).unwrap()
}

fn key() -> SP1VerifyingKey {
    SP1VerifyingKey {
        vk: MachineVerifyingKey {
            pc_start: [field(1); 3],
            initial_global_cumulative_sum: SepticDigest::zero(),
            preprocessed_commit: [field(2); 8],
            untrusted_config: UntrustedConfig::zero(),
        },
    }
}

fn bundle(proof: SP1Proof) -> Bundle {
    let public_values = SP1PublicValues::from(PUBLIC);
    Bundle { proof, public_values, sp1_version: CIRCUIT_VERSION.into(), tee_proof: None }
}

fn verify(kind: ProofKind, bundle: &Bundle) -> Result<(), VerifyError> {
    verify_bytes(kind, &bincode::serialize(&key()).unwrap(), &bincode::serialize(bundle).unwrap(), PUBLIC)
}

fn verify_bytes(kind: ProofKind, key: &[u8], proof: &[u8], public_inputs: &[u8]) -> Result<(), VerifyError> {
    Sp1SmallVerifier::default().verify(&Claim {
        backend: Backend::Sp1,
        kind,
        circuit: BlobDigest([0; 32]),
        verifying_key: key,
        proof,
        public_inputs,
    })
}

fn compressed() -> Bundle {
    bundle(SP1Proof::Compressed(Box::new(create_dummy_recursion_proof(&key()))))
}

/// A wrapped proof that is consistent in all but the pairing.
fn wrapped_parts() -> ([String; 5], String) {
    let mut encoded = vec![0; WRAPPED_HEAD + 256];
    encoded[32..64].copy_from_slice(&*VK_ROOT_BYTES);
    encoded[95] = 9;
    let decimal = |bytes: &[u8]| BigUint::from_bytes_be(bytes).to_string();
    let hash = BigUint::parse_bytes(&key().bytes32().as_bytes()[2..], 16).unwrap().to_string();
    let stated = [
        hash,
        decimal(&hash_public_inputs(PUBLIC)),
        decimal(&encoded[..32]),
        decimal(&encoded[32..64]),
        decimal(&encoded[64..96]),
    ];
    (stated, hex::encode(encoded))
}

fn groth16() -> Groth16Bn254Proof {
    use sha2::Digest;
    let (public_inputs, encoded_proof) = wrapped_parts();
    let groth16_vkey_hash = sha2::Sha256::digest(*GROTH16_VK_BYTES).into();
    Groth16Bn254Proof { public_inputs, encoded_proof, raw_proof: String::new(), groth16_vkey_hash }
}

fn reason(result: Result<(), VerifyError>) -> String {
    match result {
        Err(VerifyError::Rejected { reason }) => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_forged_compressed_proof_is_refused() {
    assert!(matches!(verify(ProofKind::Compressed, &compressed()), Err(VerifyError::Rejected { .. })));
}

#[test]
fn a_proof_of_another_kind_is_refused() {
    for kind in [ProofKind::Groth16, ProofKind::Plonk] {
        let Err(VerifyError::Malformed { reason, .. }) = verify(kind, &compressed()) else { panic!("{kind}") };
        assert_eq!(reason, "it is a compressed proof");
    }
    let core = bundle(SP1Proof::Core(vec![]));
    assert!(matches!(verify(ProofKind::Compressed, &core), Err(VerifyError::Malformed { .. })));
    for kind in [ProofKind::Core, ProofKind::Mock] {
        assert_eq!(verify(kind, &core), Err(VerifyError::Unsupported { backend: Backend::Sp1, kind }));
    }
}

#[test]
fn another_version_other_public_inputs_and_tee_signatures_are_refused() {
    let mut other = compressed();
    other.sp1_version = "v5.0.0".into();
    let expected = VerifyError::Version { got: "v5.0.0".into(), expected: CIRCUIT_VERSION.into() };
    assert_eq!(verify(ProofKind::Compressed, &other), Err(expected));

    let mut other = compressed();
    other.public_values = SP1PublicValues::from(b"other");
    assert_eq!(verify(ProofKind::Compressed, &other), Err(VerifyError::PublicInputs));

    let mut other = compressed();
    other.tee_proof = Some(vec![1]);
    assert!(reason(verify(ProofKind::Compressed, &other)).contains("TEE"));
}

#[test]
fn truncated_extended_and_second_encodings_are_refused() {
    let key = bincode::serialize(&key()).unwrap();
    let proof = bincode::serialize(&compressed()).unwrap();
    let malformed = |bytes: &[u8]| {
        matches!(verify_bytes(ProofKind::Compressed, &key, bytes, PUBLIC), Err(VerifyError::Malformed { .. }))
    };
    for len in (0..proof.len()).step_by(7) {
        assert!(malformed(&proof[..len]), "{len}");
    }
    assert!(malformed(&[&proof[..], &[0]].concat()));

    for bad in [&key[..key.len() - 1], &[&key[..], &[0]].concat(), &[0xff; 400], b""] {
        let refused = verify_bytes(ProofKind::Compressed, bad, &proof, PUBLIC);
        assert!(matches!(refused, Err(VerifyError::BadKey { .. })), "{refused:?}");
    }
    // A field element above the modulus reads as one below it; only one of the two is an encoding.
    let mut second = key.clone();
    second[..4].copy_from_slice(&(1 + 0x7f00_0001_u32).to_le_bytes());
    let refused = verify_bytes(ProofKind::Compressed, &second, &proof, PUBLIC);
    assert!(matches!(refused, Err(VerifyError::BadKey { .. })), "{refused:?}");
}

#[test]
fn announced_lengths_allocate_nothing() {
    let key = bincode::serialize(&key()).unwrap();
    // A core proof of 2^60 shards.
    let proof = [&0_u32.to_le_bytes()[..], &(1_u64 << 60).to_le_bytes()].concat();
    let refused = verify_bytes(ProofKind::Compressed, &key, &proof, PUBLIC);
    assert!(matches!(refused, Err(VerifyError::Malformed { .. })), "{refused:?}");
}

#[test]
fn a_wrapped_proof_is_refused_wherever_its_parts_disagree() {
    let check = |change: &dyn Fn(&mut Groth16Bn254Proof)| {
        let mut proof = groth16();
        change(&mut proof);
        verify(ProofKind::Groth16, &bundle(SP1Proof::Groth16(proof)))
    };
    // Consistent: what is wrong with it is the proof itself.
    let pairing = reason(check(&|_| ()));
    assert!(!pairing.contains("beside") && !pairing.contains("circuit"), "{pairing}");
    assert!(reason(check(&|proof| proof.public_inputs[0] = "1".into())).contains("another circuit"));
    assert_eq!(check(&|proof| proof.public_inputs[1] = "1".into()), Err(VerifyError::PublicInputs));
    for index in 2..5 {
        assert!(reason(check(&|proof| proof.public_inputs[index].push('0'))).contains("beside the proof"), "{index}");
    }
    assert!(reason(check(&|proof| proof.encoded_proof.make_ascii_uppercase())).contains("lower-case"));
    assert!(reason(check(&|proof| proof.encoded_proof.truncate(10))).contains("too short"));
    assert!(reason(check(&|proof| proof.encoded_proof.push('x'))).contains("not hexadecimal"));
    assert!(reason(check(&|proof| proof.groth16_vkey_hash = [0; 32])).contains("mismatch"));
}

#[test]
fn a_forged_plonk_proof_is_refused() {
    use sha2::Digest;
    let (public_inputs, encoded_proof) = wrapped_parts();
    let plonk_vkey_hash = sha2::Sha256::digest(*PLONK_VK_BYTES).into();
    let proof = PlonkBn254Proof { public_inputs, encoded_proof, raw_proof: String::new(), plonk_vkey_hash };
    let refused = verify(ProofKind::Plonk, &bundle(SP1Proof::Plonk(proof)));
    assert!(matches!(refused, Err(VerifyError::Rejected { .. })), "{refused:?}");
}

#[test]
fn contracts_get_what_the_verifier_is_given() {
    let key_bytes = bincode::serialize(&key()).unwrap();
    let proof = groth16();
    let expected = [&proof.groth16_vkey_hash[..4], &hex::decode(&proof.encoded_proof).unwrap()].concat();
    let bytes = bincode::serialize(&bundle(SP1Proof::Groth16(proof))).unwrap();
    let call = sp1_on_chain(&key_bytes, ProofKind::Groth16, &bytes).unwrap().unwrap();
    assert_eq!((call.program_vkey, call.proof_bytes), (key().bytes32(), expected));

    let plonk = sp1_on_chain(&key_bytes, ProofKind::Plonk, &bytes);
    assert!(matches!(plonk, Err(VerifyError::Malformed { .. })), "{plonk:?}");
    let no_key = sp1_on_chain(b"", ProofKind::Groth16, &bytes);
    assert!(matches!(no_key, Err(VerifyError::BadKey { .. })), "{no_key:?}");
    for kind in [ProofKind::Core, ProofKind::Compressed, ProofKind::Mock] {
        assert_eq!(sp1_on_chain(b"", kind, b""), Ok(None));
    }
}
