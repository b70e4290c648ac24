use super::*;
use crate::{
    testing,
    verify::{Claim, MockVerifier, ProofVerifier},
};
use coprocessor_types::{Backend, CircuitInput, OpenedWitness, PublicInputs, Root};
use std::{path::PathBuf, thread};

fn input(data: &[u8]) -> Vec<u8> {
    CircuitInput { root: Root([3; 32]), witnesses: vec![OpenedWitness::Data(data.to_vec())] }.to_bytes()
}

fn prove(backend: &MockBackend, circuit: &Bytes, input: &[u8]) -> Result<Proof, BackendError> {
    backend.prove(circuit, input, ProofKind::Mock, &Progress(&|_| ()), &Cancellation::default())
}

#[test]
fn a_mock_proof_carries_the_real_output_and_verifies_as_mock_only() {
    let backend = MockBackend::default();
    let circuit = testing::echo();
    let proof = prove(&backend, &circuit, &input(b"data")).unwrap();
    let expected = PublicInputs { root: Root([3; 32]), output: b"data".to_vec() };
    assert_eq!(PublicInputs::from_bytes(&proof.public_inputs), Ok(expected));
    assert!(proof.cycles > 0);

    let claim = Claim {
        backend: Backend::Sp1,
        kind: ProofKind::Mock,
        circuit: BlobDigest::of(&circuit),
        verifying_key: &[],
        proof: &proof.bytes,
        public_inputs: &proof.public_inputs,
    };
    assert_eq!(MockVerifier.verify(&claim), Ok(()));
    for kind in [ProofKind::Core, ProofKind::Compressed, ProofKind::Groth16, ProofKind::Plonk] {
        assert!(MockVerifier.verify(&Claim { kind, ..claim }).is_err());
        assert!(!MockVerifier.verifies(Backend::Sp1, kind));
        let refused = backend.prove(&circuit, &input(b"data"), kind, &Progress(&|_| ()), &Cancellation::default());
        assert!(matches!(refused, Err(BackendError::Unsupported { .. })));
    }
}

#[test]
fn a_proof_takes_over_the_execution_before_it_once_and_its_own_alone() {
    let backend = MockBackend::default();
    let circuit = testing::echo();
    for data in [&b"one"[..], b"two"] {
        backend.execute(&circuit, &input(data), ExecutionLimits::default()).unwrap();
    }
    assert_eq!(backend.executed.lock().unwrap().len(), 2);
    let proof = prove(&backend, &circuit, &input(b"two")).unwrap();
    assert!(proof.public_inputs.ends_with(b"two"));
    assert_eq!(backend.executed.lock().unwrap().len(), 1);
    assert!(prove(&backend, &circuit, &input(b"two")).unwrap().public_inputs.ends_with(b"two"));
    for _ in 0..KEPT_EXECUTIONS + 1 {
        backend.execute(&circuit, &input(b"x"), ExecutionLimits::default()).unwrap();
    }
    assert_eq!(backend.executed.lock().unwrap().len(), KEPT_EXECUTIONS);
}

#[test]
fn execution_and_proof_agree() {
    let backend = MockBackend::default();
    let circuit = testing::echo();
    let execution = backend.execute(&circuit, &input(b"data"), ExecutionLimits::default()).unwrap();
    let proof = prove(&backend, &circuit, &input(b"data")).unwrap();
    assert_eq!((execution.public_inputs, execution.cycles), (proof.public_inputs, proof.cycles));
}

#[test]
fn failures_say_what_the_circuit_said() {
    let backend = MockBackend::default();
    let failed = |result: Result<Proof, BackendError>| match result {
        Err(BackendError::CircuitFailed { message }) => message,
        other => panic!("{other:?}"),
    };
    assert_eq!(failed(prove(&backend, &testing::echo(), &input(b""))), "the data is empty");
    let digest = failed(prove(&backend, &testing::calls(0), &[]));
    assert_eq!(digest, "the committed digest is not that of the public values");
    let limit = backend.execute(&testing::endless(), &[], ExecutionLimits { cycles: 1000 });
    assert_eq!(limit, Err(BackendError::CycleLimit { limit: 1000 }));
    let Err(BackendError::Unsupported { kind: ProofKind::Mock, reason }) =
        backend.execute(&testing::calls(0x0001_010a), &[], ExecutionLimits::default())
    else {
        panic!("a precompile the interpreter does not have");
    };
    assert!(reason.contains("SECP256K1_ADD") && reason.contains("sp1 backend"), "{reason}");
    let Err(BackendError::BadCircuit { reason }) = backend.set_up(&Bytes::from_static(b"PK bundle")) else {
        panic!("a bundle");
    };
    assert!(reason.contains("Groth16"), "{reason}");
}

#[test]
fn the_same_seed_fails_the_same_proofs() {
    let config = MockConfig {
        failures: MockFailures { rate: 0.5, seed: 7, ..MockFailures::default() },
        ..MockConfig::default()
    };
    let outcomes = || {
        let backend = MockBackend::new(config.clone());
        let circuit = testing::echo();
        (0..32).map(|_| prove(&backend, &circuit, &input(b"x")).is_ok()).collect::<Vec<_>>()
    };
    let first = outcomes();
    assert_eq!(outcomes(), first);
    assert!(first.contains(&true) && first.contains(&false));
}

#[test]
fn wrong_proofs_are_refused_or_claim_another_root() {
    let circuit = testing::echo();
    let wrong = |kind| {
        let failures = MockFailures { rate: 1.0, kinds: vec![kind], seed: 0 };
        let backend = MockBackend::new(MockConfig { failures, ..MockConfig::default() });
        prove(&backend, &circuit, &input(b"data")).unwrap()
    };
    let verify = |proof: &Proof, public_inputs: &[u8]| {
        MockVerifier.verify(&Claim {
            backend: Backend::Sp1,
            kind: ProofKind::Mock,
            circuit: BlobDigest::of(&circuit),
            verifying_key: &[],
            proof: &proof.bytes,
            public_inputs,
        })
    };
    let proof = wrong(MockFailure::WrongProof);
    assert!(verify(&proof, &proof.public_inputs).is_err());
    let proof = wrong(MockFailure::WrongRoot);
    assert_eq!(verify(&proof, &proof.public_inputs), Ok(()), "it fits what it claims");
    let claimed = PublicInputs::from_bytes(&proof.public_inputs).unwrap();
    assert!(claimed.root != Root([3; 32]) && claimed.output == b"data");
    let honest = PublicInputs { root: Root([3; 32]), ..claimed };
    assert!(verify(&proof, &honest.to_bytes()).is_err());
}

#[test]
fn whatever_takes_long_ends_at_cancellation() {
    let long = Duration::from_secs(600);
    let hanging = MockFailures { rate: 1.0, kinds: vec![MockFailure::Hang], seed: 0 };
    for (config, circuit) in [
        (MockConfig { latency: long, ..MockConfig::default() }, testing::echo()),
        (MockConfig { jitter: long, ..MockConfig::default() }, testing::echo()),
        (MockConfig { failures: hanging, ..MockConfig::default() }, testing::echo()),
        (MockConfig::default(), testing::endless()),
    ] {
        let backend = MockBackend::new(config);
        let cancellation = Cancellation::default();
        thread::scope(|scope| {
            let proving = scope
                .spawn(|| backend.prove(&circuit, &input(b"x"), ProofKind::Mock, &Progress(&|_| ()), &cancellation));
            thread::sleep(Duration::from_millis(20));
            assert!(!proving.is_finished());
            cancellation.cancel();
            assert_eq!(proving.join().unwrap(), Err(BackendError::Cancelled));
        });
    }
}

#[test]
fn circuits_are_loaded_once() {
    let backend = MockBackend::default();
    let circuit = testing::echo();
    let first = backend.load(&circuit).unwrap();
    assert!(Arc::ptr_eq(&first, &backend.load(&circuit).unwrap()));
    assert!(Arc::ptr_eq(&first, &backend.load(&Bytes::copy_from_slice(&circuit)).unwrap()), "other memory");
    for number in 0..KEPT_CIRCUITS as u64 {
        backend.load(&testing::calls(number)).unwrap();
    }
    assert_eq!(backend.loaded.lock().unwrap().len(), KEPT_CIRCUITS);
    assert!(!Arc::ptr_eq(&first, &backend.load(&circuit).unwrap()), "the oldest was dropped");
}

#[test]
fn the_hello_guest_greets() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../guests/hello/artifacts/circuit.elf");
    let circuit = Bytes::from(std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())));
    let backend = MockBackend::default();
    let proof = prove(&backend, &circuit, &input("Wörld".as_bytes())).unwrap();
    let expected = PublicInputs { root: Root([3; 32]), output: "Hello, Wörld!".as_bytes().to_vec() };
    assert_eq!(PublicInputs::from_bytes(&proof.public_inputs), Ok(expected));

    let Err(BackendError::CircuitFailed { message }) = prove(&backend, &circuit, &input(b"")) else {
        panic!("an empty name");
    };
    assert!(message.contains("the name is empty"), "{message}");
    assert!(matches!(prove(&backend, &circuit, b"no input"), Err(BackendError::CircuitFailed { .. })));
}
