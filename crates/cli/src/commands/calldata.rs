//! `calldata`: what contracts are called with.

use crate::{context::Context, error::CliError, local, text};
use coprocessor_api::ProofView;
use coprocessor_solidity::{Proof, PublicSignals, SolidityError, VerifyingKey, Word, sp1_call};
use coprocessor_types::{Backend, ProofKind, PublicInputs, TaskId};
use serde::Serialize;
use std::path::{Path, PathBuf};

#[derive(clap::Args, Debug)]
pub(crate) struct Calldata {
    /// A task; or the file of a proof, or - for standard input: as `tasks proof` wrote it, or with --public as snarkjs did
    #[arg(value_name = "TASK|FILE")]
    proof: String,
    /// Groth16: the file is snarkjs's proof.json, and this is the public.json that belongs to it; no coprocessor is asked
    #[arg(long, value_name = "FILE")]
    public: Option<PathBuf>,
}

/// What the command prints as JSON; bytes in hexadecimal digits after `0x`.
#[derive(Serialize)]
struct Call {
    backend: &'static str,
    /// What names the circuit on chain, where the proof's file says it.
    program: Option<String>,
    root: String,
    /// `root ‖ output`, as `IProofVerifier.verify` and applications take it.
    public_values: String,
    /// The proof, as they take it.
    proof: String,
    /// The verifier contract's function.
    function: String,
    /// The whole call of it.
    calldata: String,
    /// Groth16: the gas to give that call.
    gas: Option<u64>,
}

impl Calldata {
    pub(crate) async fn run(self, context: &Context) -> Result<(), CliError> {
        let call = match (&self.public, self.proof.parse::<TaskId>()) {
            (Some(public), _) => of_snarkjs(Path::new(&self.proof), public)?,
            (None, Ok(task)) => of_view(&context.client()?.proof(&task).await?)?,
            (None, Err(_)) => of_file(Path::new(&self.proof))?,
        };
        context.out.result(&call, || {
            let mut fields = vec![("root", call.root.clone())];
            fields.extend(call.program.clone().map(|program| ("program", program)));
            fields.push(("public values", call.public_values.clone()));
            fields.push(("proof", call.proof.clone()));
            fields.push(("function", call.function.clone()));
            fields.push(("calldata", call.calldata.clone()));
            fields.extend(
                call.gas.map(|gas| ("gas", format!("{} (a node's estimate is too low)", text::thousands(gas)))),
            );
            context.out.fields(fields)
        })
    }
}

fn of_snarkjs(proof: &Path, public: &Path) -> Result<Call, CliError> {
    let refused = |path: &Path, expected| {
        let path = path.to_owned();
        move |error: SolidityError| CliError::Content { path, expected, reason: error.to_string() }
    };
    let signals = PublicSignals::from_snarkjs(&local::read(public)?);
    let signals = signals.map_err(refused(public, "public.json of a coprocessor's circuit"))?;
    let read = Proof::from_snarkjs(&local::read(proof)?).map_err(refused(proof, "proof.json as snarkjs writes it"))?;
    Ok(groth16(&read, &signals, None))
}

fn of_file(path: &Path) -> Result<Call, CliError> {
    let view = serde_json::from_slice(&local::read(path)?).map_err(|error| CliError::Content {
        path: path.to_owned(),
        expected: "proof as `cargo coprocessor tasks proof` writes it (for snarkjs's, give --public too)",
        reason: error.to_string(),
    })?;
    of_view(&view)
}

fn of_view(view: &ProofView) -> Result<Call, CliError> {
    let refused = |reason: String| CliError::NotOnChain { reason };
    match (view.backend.parse(), view.kind.parse()) {
        (_, Ok(ProofKind::Mock)) => Err(refused("it is a mock proof, which proves nothing".to_owned())),
        (Ok(Backend::Groth16), Ok(ProofKind::Groth16)) => {
            let circuit = |error: SolidityError| refused(error.to_string());
            let proof = Proof::from_snarkjs(&view.proof.0).map_err(circuit)?;
            let signals = PublicSignals::from_public_values(&view.public_inputs.0).map_err(circuit)?;
            let key = view.verifying_key.as_ref().map(|key| VerifyingKey::from_snarkjs(&key.0)).transpose();
            let key = key.map_err(circuit)?;
            match key.as_ref().map(VerifyingKey::signals) {
                Some(expected) if expected != signals.words().len() => Err(refused(format!(
                    "its verifying key is for {expected} public signals, and it has {}",
                    signals.words().len()
                ))),
                _ => Ok(groth16(&proof, &signals, key.as_ref())),
            }
        }
        (Ok(Backend::Sp1), Ok(ProofKind::Groth16 | ProofKind::Plonk)) => sp1(view),
        _ => Err(refused(format!(
            "a {} proof is too large for a chain; have it proved with --kind groth16 or --kind plonk",
            text::printable(&view.kind)
        ))),
    }
}

fn groth16(proof: &Proof, signals: &PublicSignals, key: Option<&VerifyingKey>) -> Call {
    let public_values = signals.public_values();
    Call {
        backend: Backend::Groth16.as_str(),
        program: key.map(|key| key.hash().to_string()),
        root: hex::encode(&public_values[..32]),
        public_values: prefixed(&public_values),
        proof: prefixed(&proof.to_bytes()),
        function: signals.signature(),
        calldata: prefixed(&proof.call(signals)),
        gas: Some(signals.gas()),
    }
}

fn sp1(view: &ProofView) -> Result<Call, CliError> {
    let refused = |reason: &str| CliError::NotOnChain { reason: reason.to_owned() };
    let on_chain =
        view.sp1_on_chain.as_ref().ok_or_else(|| refused("the proof does not say what SP1's contract takes"))?;
    let program = Word::from_hex(&on_chain.program_vkey).ok_or_else(|| refused("its program's key is not 32 bytes"))?;
    let inputs = &view.public_inputs.0;
    let root = PublicInputs::from_bytes(inputs).map_err(|error| refused(&error.to_string()))?.root;
    Ok(Call {
        backend: Backend::Sp1.as_str(),
        program: Some(program.to_string()),
        root: root.to_string(),
        public_values: prefixed(inputs),
        proof: prefixed(&on_chain.proof_bytes.0),
        function: "verifyProof(bytes32,bytes,bytes)".to_owned(),
        calldata: prefixed(&sp1_call(&program, inputs, &on_chain.proof_bytes.0)),
        gas: None,
    })
}

fn prefixed(bytes: &[u8]) -> String {
    format!("0x{}", hex::encode(bytes))
}
