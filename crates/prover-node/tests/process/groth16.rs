//! Circuits of circom on a node.

use super::{PATIENCE, Process, ROOT, end, fresh};
use bytes::Bytes;
use coprocessor_prover::verify::{Claim, ProofVerifier};
use coprocessor_prover::{Job, NodeError, ProverNode};
use coprocessor_prover_groth16::Groth16Verifier;
use coprocessor_types::{Backend, CircuitInput, OpenedWitness, ProofKind};
use std::path::PathBuf;
use tempfile::TempDir;

fn input(json: &str) -> Bytes {
    CircuitInput { root: ROOT, witnesses: vec![OpenedWitness::Data(json.into())] }.to_bytes().into()
}

#[tokio::test]
async fn it_proves_circuits_of_circom_beside_others() {
    let directory = TempDir::new().unwrap();
    let process = Process::start(directory.path(), &["--backend", "groth16"]);
    let node = process.node();
    let info = node.describe().await.unwrap();
    assert!(info.offers(Backend::Groth16, ProofKind::Groth16) && !info.offers(Backend::Sp1, ProofKind::Groth16));
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../groth16/circom/built/threshold.bundle");
    let bundle = Bytes::from(std::fs::read(path).unwrap());
    let circuit = node.upload_circuit(Backend::Groth16, bundle.clone()).await.unwrap();
    let key = node.set_up(circuit).await.unwrap().verifying_key;

    let prove = |json: &str| {
        let job = Job { key: fresh(), circuit, kind: ProofKind::Groth16, input: input(json) };
        let node = process.node();
        async move { tokio::time::timeout(PATIENCE, end(node.prove(job).await?)).await.expect("it is done soon") }
    };
    for amount in 100..103 {
        let proof = prove(&format!(r#"{{"threshold": 100, "amount": {amount}, "salt": "7"}}"#)).await.unwrap();
        assert_eq!(proof.public_inputs[..32], ROOT.0);
        let claim = Claim {
            backend: Backend::Groth16,
            kind: ProofKind::Groth16,
            circuit,
            verifying_key: &key,
            proof: &proof.bytes,
            public_inputs: &proof.public_inputs,
        };
        assert_eq!(Groth16Verifier.verify(&claim), Ok(()));
    }
    let refused = prove(r#"{"threshold": 100, "amount": 99, "salt": "7"}"#).await;
    assert!(matches!(&refused, Err(NodeError::CircuitFailed { message }) if message.contains("line:")), "{refused:?}");
    let refused = prove(r#"{"threshold": 100, "salt": "7"}"#).await;
    assert!(matches!(&refused, Err(NodeError::CircuitFailed { message }) if message.contains("salt")), "{refused:?}");

    let cut = node.upload_circuit(Backend::Groth16, bundle.slice(..bundle.len() / 2)).await.unwrap();
    let refused = node.set_up(cut).await;
    assert!(
        matches!(&refused, Err(NodeError::BadCircuit { reason }) if reason.contains("upload complete")),
        "{refused:?}"
    );
}
