//! `witness`, `execute` and `call`: what guests do, without a task.

use super::json_argument::json_argument;
use crate::{
    context::{Context, ProgramArg},
    error::CliError,
    local,
    output::{Output, Tone},
    text,
};
use coprocessor_api::{Base64, ExecuteRequest, SandboxUsage, client::ClientError};
use coprocessor_types::{Root, Witness as WitnessElement};
use serde_json::Value;
use std::{path::PathBuf, time::Duration};

#[derive(clap::Args, Debug)]
pub(crate) struct Witness {
    #[command(flatten)]
    run: Run,
}

#[derive(clap::Args, Debug)]
pub(crate) struct Execute {
    #[command(flatten)]
    run: Run,
}

#[derive(clap::Args, Debug)]
pub(crate) struct Call {
    #[command(flatten)]
    record: Record,
    #[command(flatten)]
    program: ProgramArg,
    /// What the entrypoint is called with: JSON, @FILE, or @- for standard input
    #[arg(long, value_name = "JSON", value_parser = json_argument, default_value = "null", hide_default_value = true)]
    args: Value,
}

#[derive(clap::Args, Debug)]
struct Run {
    #[command(flatten)]
    program: ProgramArg,
    /// Arguments for the controller: JSON, @FILE, or @- for standard input
    #[arg(long, value_name = "JSON", value_parser = json_argument, default_value = "null", hide_default_value = true)]
    args: Value,
    /// Root to pin to, in hex [default: the current one]
    #[arg(long)]
    root: Option<Root>,
    #[command(flatten)]
    record: Record,
}

#[derive(clap::Args, Debug)]
pub(super) struct Record {
    /// Write a recording of the controller's run to this file, for `cargo coprocessor replay`, also where it fails
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
}

impl Run {
    fn request(&self) -> ExecuteRequest {
        let root = self.root.map(|root| root.to_string());
        ExecuteRequest { args: self.args.clone(), root, record: self.record.is_wanted() }
    }
}

impl Record {
    pub(super) fn to(record: Option<PathBuf>) -> Self {
        Self { record }
    }

    pub(super) fn is_wanted(&self) -> bool {
        self.record.is_some()
    }

    /// Writes the recording that came with an answer, and takes it out of what is shown.
    pub(super) fn keep<T>(
        &self,
        context: &Context,
        mut answer: Result<T, ClientError>,
        recording: fn(&mut T) -> Option<Base64>,
    ) -> Result<T, CliError> {
        let recorded = match &mut answer {
            Ok(view) => recording(view),
            Err(ClientError::Problem(problem)) => problem.recording.take(),
            Err(_) => None,
        };
        if let (Some(path), Some(Base64(recorded))) = (&self.record, recorded) {
            local::write(path, &recorded)?;
            let path = path.display();
            context.out.note(format_args!("wrote {path}; replay it: cargo coprocessor replay {path}"));
        }
        Ok(answer?)
    }
}

impl Witness {
    pub(crate) async fn run(self, context: &Context) -> Result<(), CliError> {
        let client = context.client()?;
        let program = self.run.program.find(context, &client).await?;
        let view = client.witness(&program, &self.run.request()).await;
        let view = self.run.record.keep(context, view, |view| view.recording.take())?;
        let out = &context.out;
        out.result(&view, || {
            let mut text = log(out, &view.log);
            let elements = text::count(view.witnesses.len() as u64, "element", "elements");
            text += &out.fields([("root", view.root.clone()), ("witness", elements), ("used", usage(&view.usage))]);
            for (at, element) in view.witnesses.iter().enumerate() {
                text += &format!("{at:>4}  {}\n", describe(element));
            }
            text
        })
    }
}

impl Execute {
    pub(crate) async fn run(self, context: &Context) -> Result<(), CliError> {
        let client = context.client()?;
        let program = self.run.program.find(context, &client).await?;
        let view = client.execute(&program, &self.run.request()).await;
        let view = self.run.record.keep(context, view, |view| view.recording.take())?;
        let out = &context.out;
        out.result(&view, || {
            log(out, &view.log)
                + &out.fields([
                    ("root", view.root.clone()),
                    ("output", text::bytes(&view.output.0)),
                    ("cycles", text::thousands(view.cycles)),
                    ("used", usage(&view.usage)),
                ])
        })
    }
}

impl Call {
    pub(crate) async fn run(self, context: &Context) -> Result<(), CliError> {
        let client = context.client()?;
        let program = self.program.find(context, &client).await?;
        let view = match self.record.is_wanted() {
            true => client.recorded_call(&program, &self.args).await,
            false => client.call(&program, &self.args).await,
        };
        let view = self.record.keep(context, view, |view| view.recording.take())?;
        let out = &context.out;
        out.result(&view, || {
            let result = serde_json::to_string_pretty(&view.result).unwrap_or_default();
            log(out, &view.log) + &out.fields([("result", result), ("used", usage(&view.usage))])
        })
    }
}

pub(super) fn log(out: &Output, lines: &[String]) -> String {
    lines.iter().map(|line| out.paint(Tone::Quiet, format_args!("  | {}\n", text::printable(line)))).collect()
}

pub(super) fn usage(usage: &SandboxUsage) -> String {
    let network = match usage.network_calls {
        0 => String::new(),
        calls => format!(
            ", {} ({} of the time, {} sent, {} received)",
            text::count(calls, "network call", "network calls"),
            text::duration(Duration::from_micros(usage.network_us)),
            text::size(usage.network_sent_bytes),
            text::size(usage.network_received_bytes),
        ),
    };
    format!(
        "{} of time, {} of fuel, {} of memory, {}{network}",
        text::duration(Duration::from_micros(usage.wall_clock_us)),
        text::thousands(usage.fuel),
        text::size(usage.memory_bytes),
        text::count(usage.host_calls, "host call", "host calls"),
    )
}

pub(super) fn describe(element: &Value) -> String {
    match serde_json::from_value(element.clone()) {
        Ok(WitnessElement::Data(data)) => text::bytes(&data),
        Ok(WitnessElement::StateProof(proof)) => format!(
            "state of domain {} at block {}, state root 0x{}, payload {}, proof of {}",
            proof.domain,
            proof.number,
            hex::encode(proof.state_root),
            text::bytes(&proof.payload),
            text::count(proof.proof.len() as u64, "byte", "bytes"),
        ),
        Err(_) => element.to_string(),
    }
}
