//! `prove`: from arguments to a delivered proof.

use super::json_argument::json_argument;
use crate::{
    context::{Context, ProgramArg, task_id},
    error::CliError,
    follow::{Events, Followed, follow},
    local, text,
};
use coprocessor_api::{TaskRequest, TaskView, client::Client};
use coprocessor_types::{ProofKind, Root, TaskId};
use serde::Serialize;
use serde_json::{Value, json};
use std::{path::PathBuf, time::Duration};

#[derive(clap::Args, Debug)]
pub(crate) struct Prove {
    #[command(flatten)]
    program: ProgramArg,
    /// Arguments for the controller: JSON, @FILE, or @- for standard input
    #[arg(long, value_name = "JSON", value_parser = json_argument, default_value = "null", hide_default_value = true)]
    args: Value,
    /// Handed to the controller's entrypoint with the proof: JSON, @FILE, or @-
    #[arg(long, value_name = "JSON", value_parser = json_argument)]
    payload: Option<Value>,
    /// Have the controller store the proof as this file of its volume; short for --payload '{"cmd": "store", "path": …}'
    #[arg(long, value_name = "PATH", conflicts_with = "payload")]
    store: Option<String>,
    /// Form of proof: core, compressed, groth16, plonk or mock [default: the coprocessor's]
    #[arg(long)]
    kind: Option<ProofKind>,
    /// Root to pin to, in hex [default: the current one]
    #[arg(long)]
    root: Option<Root>,
    /// Its place among your tasks, -100 to 100: higher goes first
    #[arg(long, default_value_t = 0, allow_negative_numbers = true, value_parser = clap::value_parser!(i16).range(-100..=100))]
    priority: i16,
    /// Fails unless it has finished within this time, such as 30m [default: the coprocessor's]
    #[arg(long, value_name = "TIME", value_parser = text::parse_duration)]
    deadline: Option<Duration>,
    /// Record what the controller asks of the coprocessor and is answered, to be replayed; for the program's owner
    #[arg(long)]
    record: bool,
    /// A repeated request with this key is the same task [default: a new one]
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// Do not follow the task
    #[arg(long)]
    detach: bool,
    /// Write the proof and all a verifier needs to this file, as JSON
    #[arg(long, short, value_name = "FILE", conflicts_with = "detach")]
    output: Option<PathBuf>,
}

/// What the command prints as JSON.
#[derive(Serialize)]
struct Proved<'a> {
    task: &'a TaskView,
    #[serde(skip_serializing_if = "Option::is_none")]
    summary: Option<&'a crate::timeline::Summary>,
    #[serde(skip_serializing_if = "Option::is_none")]
    proof_file: Option<&'a PathBuf>,
}

impl Prove {
    pub(crate) async fn run(self, context: &Context) -> Result<(), CliError> {
        let client = context.client()?;
        let program = self.program.find(context, &client).await?;
        let request = TaskRequest {
            args: self.args,
            payload: self.store.map(|path| json!({"cmd": "store", "path": path})).or(self.payload).unwrap_or_default(),
            kind: self.kind.map(|kind| kind.to_string()),
            root: self.root.map(|root| root.to_string()),
            priority: self.priority,
            deadline_seconds: self.deadline.map(|deadline| deadline.as_secs()),
            record: self.record,
        };
        // A key of its own lets the request be sent again when the answer to it was lost.
        let key = self.idempotency_key.unwrap_or_else(|| TaskId::now().to_string());
        let task = client.create_task(&program, &request, Some(&key)).await?;
        let id = task_id(&task.id)?;
        if self.detach {
            let proved = Proved { task: &task, summary: None, proof_file: None };
            return context.out.result(&proved, || {
                format!("task {id} is {}\nfollow it: cargo coprocessor tasks follow {id}", task.state.as_str())
            });
        }
        context.out.note(format_args!("task {id}"));
        let followed = follow(context, &client, id, Events::News).await?;
        finish(context, &client, id, followed, self.output).await
    }
}

async fn finish(
    context: &Context,
    client: &Client,
    id: TaskId,
    followed: Followed,
    output: Option<PathBuf>,
) -> Result<(), CliError> {
    let mut saved = None;
    if let Some(path) = output.filter(|_| followed.task.has_proof) {
        let proof = client.proof(&id).await?;
        let json = serde_json::to_vec_pretty(&proof).expect("a proof can be written as JSON");
        local::write(&path, &json)?;
        saved = Some((path, json.len()));
    }
    let proof_file = saved.as_ref().map(|(path, _)| path);
    let proved = Proved { task: &followed.task, summary: Some(&followed.summary), proof_file };
    context.out.result(&proved, || {
        let mut text = followed.describe(&context.out);
        if let Some((path, size)) = &saved {
            let size = text::size(*size as u64);
            let path = path.display();
            let kind = if followed.task.kind == "mock" { " --kind mock" } else { "" };
            text.push_str(&format!("\nwrote {path} ({size}); verify it: cargo coprocessor verify {path}{kind}\n"));
        }
        text
    })?;
    followed.into_delivered().map(drop)
}
