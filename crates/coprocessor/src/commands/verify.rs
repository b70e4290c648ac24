//! `coprocessor verify`: a proof checked in a process of its own, by nothing but the file and this build's verifiers.

use crate::{args::VerifyArgs, verifiers};
use anyhow::{Context, bail};
use coprocessor_api::ProofView;
use coprocessor_prover::verify::{Claim, ProofVerifier};
use coprocessor_types::{BlobDigest, ProofKind, PublicInputs};
use std::process::ExitCode;

/// Says on standard output what was verified, or why it does not hold.
pub(crate) fn verify(args: &VerifyArgs) -> ExitCode {
    match judge(args) {
        Ok(Ok(said)) => {
            println!("{said}");
            ExitCode::SUCCESS
        }
        Ok(Err(refused)) => {
            println!("INVALID: {refused}");
            ExitCode::from(1)
        }
        Err(error) => {
            eprintln!("cannot verify {}: {error:#}", args.proof.display());
            ExitCode::from(2)
        }
    }
}

fn judge(args: &VerifyArgs) -> anyhow::Result<Result<String, String>> {
    let text = std::fs::read(&args.proof).context("the file cannot be read")?;
    let view: ProofView = serde_json::from_slice(&text).context("not a proof as the coprocessor answers it")?;
    let stated: ProofKind = view.kind.parse()?;
    let kind = match args.kind {
        Some(kind) => kind,
        None if stated == ProofKind::Mock => {
            bail!("this is a mock proof, which proves nothing; say --kind mock to have its form checked all the same")
        }
        None => stated,
    };
    let backend = view.backend.parse()?;
    let circuit: BlobDigest = view.circuit.parse()?;
    let verifying_key = match (&args.verifying_key, view.verifying_key) {
        (Some(file), _) => std::fs::read(file).with_context(|| format!("{} cannot be read", file.display()))?,
        (None, Some(key)) => key.0,
        (None, None) => Vec::new(),
    };
    let claimed = PublicInputs { root: view.root.parse()?, output: view.output.0.clone() };
    if claimed.to_bytes() != view.public_inputs.0 {
        return Ok(Err("root and output are not the public inputs".into()));
    }
    if let Some(root) = args.root.filter(|root| *root != claimed.root) {
        return Ok(Err(format!("the proof is bound to root {}, not to {root}", claimed.root)));
    }
    let claim = Claim {
        backend,
        kind,
        circuit,
        verifying_key: if kind == ProofKind::Mock { &[] } else { &verifying_key },
        proof: &view.proof.0,
        public_inputs: &view.public_inputs.0,
    };
    if let Err(error) = verifiers::all().verify(&claim) {
        return Ok(Err(error.to_string()));
    }
    let output = &claimed.output;
    let meaning = if kind == ProofKind::Mock { "mock proof, of the right form; it proves nothing" } else { "VALID" };
    Ok(Ok(format!(
        "{meaning}\n  kind      {kind}\n  circuit   {circuit}\n  key       {}\n  root      {}\n  output    {} bytes: {}",
        if verifying_key.is_empty() { "none".to_owned() } else { BlobDigest::of(&verifying_key).to_string() },
        claimed.root,
        output.len(),
        hex(output),
    )))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
