//! `tasks`: what was asked for, and what became of it.

use crate::{
    context::{Context, task_id},
    error::CliError,
    follow::{Events, follow},
    local,
    output::Output,
    text,
};
use clap::Subcommand;
use coprocessor_api::{
    TaskState, TaskView,
    client::{Page, TaskFilter},
};
use coprocessor_types::TaskId;
use serde_json::json;
use std::path::PathBuf;

#[derive(clap::Args, Debug)]
pub(crate) struct Tasks {
    #[command(subcommand)]
    command: Option<TasksCommand>,
}

#[derive(Subcommand, Debug)]
enum TasksCommand {
    /// List tasks, newest first (the default)
    List(List),
    /// Show a task
    Show(One),
    /// Follow a task to its end; ctrl-C stops following, not the task
    Follow(One),
    /// Cancel a task
    Cancel(One),
    /// Have a failed task tried again
    Retry(One),
    /// Fetch a task's proof
    Proof(Proof),
    /// Fetch the recording of a run of a task's controller, for `cargo coprocessor replay`
    Recording(Recording),
}

#[derive(clap::Args, Debug, Default)]
struct List {
    /// Only tasks of this program: its id or name
    #[arg(short, long)]
    program: Option<String>,
    /// Only tasks in this state: queued, executing, proving, delivering, delivered, failed or cancelled
    #[arg(long, value_parser = state)]
    state: Option<TaskState>,
    /// How many
    #[arg(long)]
    limit: Option<u32>,
    /// Go on where the list before ended
    #[arg(long)]
    cursor: Option<String>,
}

#[derive(clap::Args, Debug)]
struct One {
    /// The task's id
    task: TaskId,
}

#[derive(clap::Args, Debug)]
struct Proof {
    /// The task's id
    task: TaskId,
    /// Write it to this file, or - for standard output
    #[arg(long, short, value_name = "FILE", default_value = "proof.json")]
    output: PathBuf,
    /// The proof alone, in its backend's encoding, instead of JSON with all that a verifier needs
    #[arg(long)]
    raw: bool,
}

#[derive(clap::Args, Debug)]
struct Recording {
    /// The task's id
    task: TaskId,
    /// Of the run in this stage: execute or deliver [default: the last one that was recorded]
    #[arg(long, value_parser = ["execute", "deliver"])]
    stage: Option<String>,
    /// Write it to this file, or - for standard output
    #[arg(long, short, value_name = "FILE", default_value = "recording.jsonl")]
    output: PathBuf,
}

impl Tasks {
    pub(crate) async fn run(self, context: &Context) -> Result<(), CliError> {
        match self.command.unwrap_or(TasksCommand::List(List::default())) {
            TasksCommand::List(list) => list.run(context).await,
            TasksCommand::Show(One { task }) => {
                let task = context.client()?.task(&task).await?;
                context.out.result(&task, || describe(&context.out, &task))
            }
            TasksCommand::Follow(One { task }) => {
                let followed = follow(context, &context.client()?, task, Events::Results).await?;
                if !context.out.is_json() {
                    context.out.result(&followed, || followed.describe(&context.out))?;
                }
                followed.into_delivered().map(drop)
            }
            TasksCommand::Cancel(One { task }) => {
                let task = context.client()?.cancel(&task).await?;
                context.out.result(&task, || format!("task {} is {}", task.id, task.state.as_str()))
            }
            TasksCommand::Retry(One { task }) => {
                let task = context.client()?.retry(&task).await?;
                let id = task_id(&task.id)?;
                context.out.result(&task, || {
                    format!("task {id} is {}\nfollow it: cargo coprocessor tasks follow {id}", task.state.as_str())
                })
            }
            TasksCommand::Proof(proof) => proof.run(context).await,
            TasksCommand::Recording(recording) => recording.run(context).await,
        }
    }
}

impl List {
    async fn run(self, context: &Context) -> Result<(), CliError> {
        let client = context.client()?;
        let program = match &self.program {
            Some(given) => Some(context.program(&client, Some(given)).await?),
            None => None,
        };
        let filter = TaskFilter { program, state: self.state };
        let list = client.tasks(&filter, &Page { cursor: self.cursor, limit: self.limit }).await?;
        let out = &context.out;
        out.result(&list, || {
            if list.items.is_empty() {
                return "no tasks".to_owned();
            }
            let row = |task: &TaskView| {
                let program = text::short(&task.program).to_owned();
                [task.id.clone(), program, task.kind.clone(), state_of(task), format!("{:.0}", task.created_at)]
            };
            let rows = list.items.iter().map(row).collect();
            out.table(["task", "program", "kind", "state", "created"], &[], rows) + &text::more(list.next.as_deref())
        })
    }
}

impl Proof {
    async fn run(self, context: &Context) -> Result<(), CliError> {
        let client = context.client()?;
        let size = if self.raw {
            local::save(client.proof_bytes(&self.task).await?, &self.output, &context.out).await?
        } else {
            let proof = client.proof(&self.task).await?;
            if self.output.as_os_str() == "-" {
                return context.out.result(&proof, || serde_json::to_string_pretty(&proof).unwrap_or_default());
            }
            let json = serde_json::to_vec_pretty(&proof).expect("a proof can be written as JSON");
            local::write(&self.output, &json)?;
            json.len() as u64
        };
        if self.output.as_os_str() == "-" {
            return Ok(());
        }
        let document = json!({"task": self.task, "file": self.output, "bytes": size});
        context.out.result(&document, || format!("wrote {} ({})", self.output.display(), text::size(size)))
    }
}

impl Recording {
    async fn run(self, context: &Context) -> Result<(), CliError> {
        let recording = context.client()?.recording(&self.task, self.stage.as_deref()).await?;
        let size = local::save(recording, &self.output, &context.out).await?;
        if self.output.as_os_str() == "-" {
            return Ok(());
        }
        let document = json!({"task": self.task, "file": self.output, "bytes": size});
        context.out.result(&document, || format!("wrote {} ({})", self.output.display(), text::size(size)))
    }
}

/// A task for people.
pub(crate) fn describe(out: &Output, task: &TaskView) -> String {
    let mut fields = vec![
        ("task", task.id.clone()),
        ("state", state_of(task)),
        ("program", task.program.clone()),
        ("owner", text::printable(&task.owner)),
        ("kind", task.kind.clone()),
        ("root", task.root.clone()),
        ("args", task.args.to_string()),
        ("payload", task.payload.to_string()),
        ("controller", task.controller.clone()),
        ("circuit", task.circuit.clone()),
        ("priority", task.priority.to_string()),
        ("created", task.created_at.to_string()),
        ("updated", task.updated_at.to_string()),
    ];
    if task.attempts > 0 {
        fields.push(("attempts", task.attempts.to_string()));
    }
    fields.extend(task.deadline.map(|at| ("deadline", at.to_string())));
    fields.extend(task.node.as_ref().map(|node| ("node", text::printable(node))));
    fields.extend(task.not_before.map(|at| ("tried at", at.to_string())));
    fields.extend(task.output.as_ref().map(|output| ("output", text::bytes(&output.0))));
    fields.extend(task.result.as_ref().map(|result| ("result", result.to_string())));
    if let Some(failure) = &task.failure {
        let message = text::printable(&failure.message);
        fields.push(("failure", format!("in stage {}: {message} ({})", failure.stage, failure.code)));
        fields.push(("retry", if failure.retryable { "can help" } else { "cannot help" }.to_owned()));
    }
    out.fields(fields)
}

fn state_of(task: &TaskView) -> String {
    match &task.failure {
        Some(failure) if task.state == TaskState::Failed => format!("failed ({})", failure.code),
        _ => task.state.as_str().to_owned(),
    }
}

fn state(text: &str) -> Result<TaskState, String> {
    let expected = "expected queued, executing, proving, delivering, delivered, failed or cancelled";
    serde_json::from_value(text.into()).map_err(|_| format!("no state of a task; {expected}"))
}
