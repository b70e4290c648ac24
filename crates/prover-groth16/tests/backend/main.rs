//! The backend as a node calls it, and the verifier as a coprocessor does.
#![allow(missing_docs)]

use bytes::Bytes;
use coprocessor_groth16::Bundle;
use coprocessor_prover::verify::{Claim, ProofVerifier, VerifyError};
use coprocessor_prover::{BackendError, Cancellation, ExecutionLimits, Progress, Proof, ProvingBackend};
use coprocessor_prover_groth16::{Groth16Backend, Groth16Config, Groth16Verifier};
use coprocessor_sandbox::SandboxConfig;
use coprocessor_types::{Backend, BlobDigest, CircuitInput, OpenedWitness, ProofKind, Root, StateProof};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::LazyLock;

static THRESHOLD: LazyLock<Bytes> = LazyLock::new(|| bundle("threshold"));
const ROOT: Root = Root([0xa5; 32]);

fn bundle(name: &str) -> Bytes {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("../groth16/circom/built/{name}.bundle"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).into()
}

fn backend() -> Groth16Backend {
    let generators = SandboxConfig { threads: 1, waiting: 0, ..SandboxConfig::default() };
    Groth16Backend::new(Groth16Config { generators, production: false }).unwrap()
}

fn input(json: &Value) -> Vec<u8> {
    input_of(vec![OpenedWitness::Data(json.to_string().into_bytes())])
}

fn input_of(witnesses: Vec<OpenedWitness>) -> Vec<u8> {
    CircuitInput { root: ROOT, witnesses }.to_bytes()
}

fn amounts() -> Value {
    json!({ "threshold": 100, "amount": "250", "salt": "0xff" })
}

fn prove(backend: &Groth16Backend, circuit: &Bytes, input: &[u8]) -> Result<Proof, BackendError> {
    backend.prove(circuit, input, ProofKind::Groth16, &Progress(&|_| {}), &Cancellation::default())
}

fn claim<'a>(key: &'a [u8], proof: &'a Proof) -> Claim<'a> {
    Claim {
        backend: Backend::Groth16,
        kind: ProofKind::Groth16,
        circuit: BlobDigest([0; 32]),
        verifying_key: key,
        proof: &proof.bytes,
        public_inputs: &proof.public_inputs,
    }
}

#[test]
fn what_it_proves_the_verifier_takes_and_nothing_else() {
    let (backend, circuit) = (backend(), THRESHOLD.clone());
    let key = backend.set_up(&circuit).unwrap().verifying_key;
    let input = input(&amounts());
    let executed = backend.execute(&circuit, &input, ExecutionLimits::default()).unwrap();
    assert_eq!((executed.cycles, &executed.public_inputs[..32]), (432, &ROOT.0[..]));
    // The threshold and the commitment are the output.
    assert_eq!((executed.public_inputs.len(), executed.public_inputs[63]), (32 + 64, 100));

    let proof = prove(&backend, &circuit, &input).unwrap();
    assert_eq!((&proof.public_inputs, proof.cycles), (&executed.public_inputs, 432));
    assert_eq!(Groth16Verifier.verify(&claim(&key, &proof)), Ok(()));
    // Again, with nothing executed before.
    let second = prove(&backend, &circuit, &input).unwrap();
    assert_eq!(Groth16Verifier.verify(&claim(&key, &second)), Ok(()));
    assert_ne!(second.bytes, proof.bytes);
    assert!(second.set_up.is_zero());

    let refused = |change: &dyn Fn(&mut Proof)| {
        let mut other = proof.clone();
        change(&mut other);
        Groth16Verifier.verify(&claim(&key, &other)).unwrap_err()
    };
    let with = |at: usize| {
        let mut bytes = proof.public_inputs.to_vec();
        bytes[at] ^= 1;
        refused(&|proof| proof.public_inputs = bytes.clone().into())
    };
    for at in [0, 31, 63, 95] {
        assert!(matches!(with(at), VerifyError::Rejected { .. }), "byte {at}");
    }
    // A value from the modulus up, a value too few, and half a value.
    let modulus = hex("30644e72e131a029b85045b68181585d2833e84879b9709143e1f593f0000001");
    let above = [&proof.public_inputs[..64], &modulus].concat();
    assert_eq!(refused(&|proof| proof.public_inputs = above.clone().into()), VerifyError::PublicInputs);
    assert!(matches!(refused(&|proof| proof.public_inputs.truncate(64)), VerifyError::Rejected { .. }));
    assert_eq!(refused(&|proof| proof.public_inputs.truncate(80)), VerifyError::PublicInputs);
    assert!(matches!(refused(&|proof| proof.bytes.truncate(100)), VerifyError::Malformed { .. }));
    let no_key = Groth16Verifier.verify(&claim(b"{}", &proof));
    assert!(matches!(no_key, Err(VerifyError::BadKey { .. })));
    let other = backend.set_up(&bundle("membership")).unwrap().verifying_key;
    assert!(matches!(Groth16Verifier.verify(&claim(&other, &proof)), Err(VerifyError::Rejected { .. })));
    let of_sp1 = Claim { backend: Backend::Sp1, ..claim(&key, &proof) };
    assert!(matches!(Groth16Verifier.verify(&of_sp1), Err(VerifyError::Unsupported { .. })));
}

#[test]
fn inputs_that_do_not_fit_fail_as_the_circuit_would() {
    let (backend, circuit) = (backend(), THRESHOLD.clone());
    let message = |input: &[u8]| match backend.execute(&circuit, input, ExecutionLimits::default()) {
        Err(BackendError::CircuitFailed { message }) => message,
        other => panic!("{other:?}"),
    };
    let with = |name: &str, value: Value| {
        let mut inputs = amounts();
        inputs[name] = value;
        message(&input(&inputs))
    };
    assert!(with("amount", 99.into()).contains("no witness"));
    assert!(with("root", json!(["1", "2"])).contains("leave it out"));
    assert!(with("amonut", 1.into()).contains("`amonut`"));
    assert!(with("salt", json!([1, 2])).contains("`salt` has 2 values, expected 1"));
    assert!(with("salt", json!(-0.5)).contains("`salt`"));
    let datum = |bytes: &[u8]| OpenedWitness::Data(bytes.to_vec());
    assert!(message(&input_of(vec![datum(b"{")])).contains("not JSON"));
    assert!(message(&input_of(vec![datum(b"[]")])).contains("not a JSON object"));
    assert!(message(&input_of(Vec::new())).contains("one datum"));
    assert!(message(&input_of(vec![datum(b"{}"), datum(b"{}")])).contains("one datum"));
    let state = StateProof {
        domain: coprocessor_types::DomainId([1; 32]),
        number: 1,
        state_root: [0; 32],
        payload: Vec::new(),
        proof: Vec::new(),
    };
    let state = OpenedWitness::StateProof(state, coprocessor_types::BlockOpening::default());
    assert!(message(&input_of(vec![state])).contains("one datum"));
    assert!(!message(&input_of(vec![datum(b"{}")])).is_empty());
    let limits = ExecutionLimits { cycles: 431 };
    let limited = backend.execute(&circuit, &input(&amounts()), limits);
    assert_eq!(limited, Err(BackendError::CycleLimit { limit: 431 }));
}

#[test]
fn bundles_that_do_not_fit_together_are_refused() {
    let backend = backend();
    let (threshold, membership) = (THRESHOLD.clone(), bundle("membership"));
    let (one, other) = (Bundle::read(&threshold).unwrap(), Bundle::read(&membership).unwrap());
    let refused = |bundle: Bytes| match backend.set_up(&bundle) {
        Err(BackendError::BadCircuit { reason }) => reason,
        other => panic!("{other:?}"),
    };
    let of = |bundle: Bundle<'_>| Bytes::from(bundle.to_bytes());
    assert!(refused(Bytes::from_static(b"\x7fELF")).contains("not a bundle"));
    assert!(refused(threshold.slice(..1000)).contains("ends within"));
    assert!(refused(of(Bundle { zkey: other.zkey, ..one })).contains("of another circuit"));
    assert!(refused(of(Bundle { r1cs: other.r1cs, ..one })).contains("of another circuit"));
    assert!(refused(of(Bundle { zkey: one.r1cs, r1cs: one.zkey, ..one })).contains("not a r1cs file"));
    assert!(refused(of(Bundle { generator: one.r1cs, ..one })).contains("witness generator"));

    // A generator of another circuit is found when it makes no witness of this one.
    let mixed = of(Bundle { generator: other.generator, ..one });
    assert!(backend.set_up(&mixed).is_ok());
    let inputs =
        json!({ "scope": 7, "secret": 5, "siblings": [0, 0, 0, 0, 0, 0, 0, 0], "sides": [0, 0, 0, 0, 0, 0, 0, 0] });
    let failed = backend.execute(&mixed, &input(&inputs), ExecutionLimits::default());
    assert!(matches!(&failed, Err(BackendError::CircuitFailed { message }) if message.contains("wires")), "{failed:?}");
}

#[test]
fn it_makes_its_own_kind_and_stops_when_told_to() {
    let (backend, circuit, input) = (backend(), THRESHOLD.clone(), input(&amounts()));
    let info = backend.info();
    assert_eq!((info.backend, info.offers.len()), (Some(Backend::Groth16), 1));
    let progress = Progress(&|_| {});
    let core = backend.prove(&circuit, &input, ProofKind::Core, &progress, &Cancellation::default());
    assert!(matches!(core, Err(BackendError::Unsupported { kind: ProofKind::Core, .. })));
    let cancelled = Cancellation::default();
    cancelled.cancel();
    let proof = backend.prove(&circuit, &input, ProofKind::Groth16, &progress, &cancelled);
    assert_eq!(proof.unwrap_err(), BackendError::Cancelled);
}

fn hex(text: &str) -> Vec<u8> {
    text.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}
