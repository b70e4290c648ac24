//! `verify`: whether a proof holds, in the coprocessor's judgement.

use crate::{
    context::{Context, program_id},
    error::CliError,
    local,
    output::Tone,
    text,
};
use coprocessor_api::{ProofView, VerifyRequest, client::Client};
use coprocessor_types::{ProofKind, PublicInputs, TaskId};
use serde::Serialize;
use std::path::PathBuf;

#[derive(clap::Args, Debug)]
pub(crate) struct Verify {
    /// The proof as `prove --output` or `tasks proof` wrote it, or - for standard input
    #[arg(required_unless_present = "task", conflicts_with = "task")]
    file: Option<PathBuf>,
    /// Verify the proof of this task
    #[arg(long)]
    task: Option<TaskId>,
    /// The form it must have [default: what the file says; a mock proof holds only where mock is asked for]
    #[arg(long)]
    kind: Option<ProofKind>,
    /// The program it must be of: its id or name [default: what the file says]
    #[arg(long, short, conflicts_with = "own_key")]
    program: Option<String>,
    /// Verify against the verifying key in the file, not against the program's at the coprocessor
    #[arg(long)]
    own_key: bool,
}

/// The answer.
#[derive(Serialize)]
struct Verdict {
    valid: bool,
    reason: Option<String>,
    kind: String,
    program: String,
    root: String,
    own_root: bool,
    output: coprocessor_api::Base64,
    /// Who says so; null where the file contradicts itself and nobody was asked.
    verified_by: Option<String>,
}

impl Verify {
    pub(crate) async fn run(self, context: &Context) -> Result<(), CliError> {
        let client = context.client()?;
        let proof = self.proof(&client).await?;
        let kind = self.kind.map_or_else(|| proof.kind.clone(), |kind| kind.to_string());
        let mut verdict = Verdict {
            valid: false,
            reason: self.contradiction(&proof),
            kind: kind.clone(),
            program: proof.program.clone(),
            root: proof.root.clone(),
            own_root: false,
            output: proof.output.clone(),
            verified_by: None,
        };
        if verdict.reason.is_none() {
            let request = self.request(context, &client, &proof, kind).await?;
            let view = client.verify(&request).await?;
            verdict.valid = view.valid;
            verdict.reason = view.reason;
            verdict.root = view.root;
            verdict.own_root = view.own_root;
            verdict.verified_by = Some(client.base_url().to_owned());
        }
        self.show(context, &verdict)?;
        if verdict.valid {
            return Ok(());
        }
        Err(CliError::ProofInvalid { reason: verdict.reason.unwrap_or_else(|| "no reason was given".to_owned()) })
    }

    async fn proof(&self, client: &Client) -> Result<ProofView, CliError> {
        match (&self.file, &self.task) {
            (_, Some(task)) => Ok(client.proof(task).await?),
            (Some(path), None) => {
                let expected = "proof as `cargo coprocessor prove --output` writes it";
                serde_json::from_slice(&local::read(path)?).map_err(|error| CliError::Content {
                    path: path.clone(),
                    expected,
                    reason: error.to_string(),
                })
            }
            (None, None) => Err(CliError::usage("give a file or --task")),
        }
    }

    /// What is wrong with the proof that no verifier need be asked about.
    fn contradiction(&self, proof: &ProofView) -> Option<String> {
        if proof.kind == ProofKind::Mock.as_str() && self.kind != Some(ProofKind::Mock) {
            return Some("it is a mock proof, which proves nothing (--kind mock accepts it as one)".to_owned());
        }
        match PublicInputs::from_bytes(&proof.public_inputs.0) {
            Err(error) => Some(error.to_string()),
            Ok(inputs) if inputs.root.to_string() != proof.root => {
                Some(format!("it binds root {}, but says {}", inputs.root, text::printable(&proof.root)))
            }
            Ok(inputs) if inputs.output != proof.output.0 => Some(format!(
                "it binds output {}, but says {}",
                text::bytes(&inputs.output),
                text::bytes(&proof.output.0)
            )),
            Ok(_) => None,
        }
    }

    async fn request(
        &self,
        context: &Context,
        client: &Client,
        proof: &ProofView,
        kind: String,
    ) -> Result<VerifyRequest, CliError> {
        let mut request = VerifyRequest {
            program: None,
            backend: None,
            verifying_key: None,
            kind,
            proof: proof.proof.clone(),
            public_inputs: proof.public_inputs.clone(),
        };
        if self.own_key {
            let missing = || CliError::usage("there is no verifying key in the proof's file; leave --own-key out");
            request.verifying_key = Some(proof.verifying_key.clone().ok_or_else(missing)?);
            request.backend = Some(proof.backend.clone());
        } else {
            let program = match &self.program {
                Some(given) => context.program(client, Some(given)).await?,
                None => program_id(&proof.program)?,
            };
            request.program = Some(program.to_string());
        }
        Ok(request)
    }

    fn show(&self, context: &Context, verdict: &Verdict) -> Result<(), CliError> {
        let out = &context.out;
        out.result(verdict, || {
            let mut text = match &verdict.verified_by {
                Some(server) if verdict.valid => {
                    format!("{}, says the coprocessor at {server}\n\n", out.paint(Tone::Good, "valid"))
                }
                Some(server) => format!("{}, says the coprocessor at {server}\n\n", out.paint(Tone::Bad, "not valid")),
                None => format!("{}\n\n", out.paint(Tone::Bad, "not valid")),
            };
            let whose = if verdict.own_root { "this coprocessor's own" } else { "not this coprocessor's" };
            let root = match verdict.verified_by {
                Some(_) => format!("{} ({whose})", verdict.root),
                None => verdict.root.clone(),
            };
            text += &out.fields([
                ("kind", verdict.kind.clone()),
                ("program", verdict.program.clone()),
                ("root", root),
                ("output", text::bytes(&verdict.output.0)),
            ]);
            if verdict.valid && verdict.kind == ProofKind::Mock.as_str() {
                text += "\nIt is a mock proof: valid or not, it proves nothing.\n";
            } else if verdict.valid {
                text += &format!("\nTo verify it without trusting that service: {}\n", self.own_verification());
            }
            text
        })
    }

    fn own_verification(&self) -> String {
        match (&self.file, &self.task) {
            (Some(path), _) => format!("coprocessor verify {}", path.display()),
            (None, Some(task)) => format!("cargo coprocessor tasks proof {task} && coprocessor verify proof.json"),
            (None, None) => "coprocessor verify proof.json".to_owned(),
        }
    }
}
