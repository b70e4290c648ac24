//! `replay`: a recorded run of a controller again, on this machine, with the answers it had.

use crate::{
    context::Context,
    error::CliError,
    local,
    output::{Output, Tone},
    text,
};
use coprocessor_sandbox::{End, Exchange, Recording, Replayed, replay};
use coprocessor_types::{BlobDigest, TaskId};
use serde::Serialize;
use serde_json::Value;
use std::path::{Path, PathBuf};

#[derive(clap::Args, Debug)]
pub(crate) struct Replay {
    /// A task that was recorded, or the file of a recording, or - for standard input; a file needs no coprocessor
    #[arg(value_name = "TASK|FILE")]
    recording: String,
    /// Of a task: the run in this stage, execute or deliver [default: the last one that was recorded]
    #[arg(long, value_parser = ["execute", "deliver"])]
    stage: Option<String>,
    /// Run this controller instead of the recorded one, and say where it first differs
    #[arg(long, value_name = "WASM")]
    controller: Option<PathBuf>,
    /// Show each host call
    #[arg(long)]
    calls: bool,
}

/// What the command prints as JSON.
#[derive(Serialize)]
struct Report<'a> {
    /// The function that ran.
    export: &'static str,
    recorded_controller: BlobDigest,
    controller: BlobDigest,
    same: bool,
    /// Where the two first part.
    difference: Option<String>,
    /// Host calls that were answered from the recording, of those there are.
    answered: usize,
    calls: &'a [Exchange],
    recorded: Ended<'a>,
    replayed: Ended<'a>,
}

#[derive(Serialize)]
struct Ended<'a> {
    result: Option<Value>,
    /// Code and message, where it failed.
    failure: Option<[&'a str; 2]>,
    log: &'a [String],
    usage: &'a coprocessor_sandbox::Usage,
}

impl Replay {
    pub(crate) async fn run(self, context: &Context) -> Result<(), CliError> {
        let recording = self.recording(context).await?;
        let wasm = match (&self.controller, &recording.wasm) {
            (Some(path), _) => local::read(path)?,
            (None, Some(wasm)) => wasm.clone(),
            (None, None) => {
                let reason = format!(
                    "the controller that ran, {}, is not in it; name it with --controller",
                    recording.controller
                );
                return Err(CliError::NotReplayed { reason });
            }
        };
        let replayed =
            replay(&recording, &wasm).map_err(|error| CliError::NotReplayed { reason: error.to_string() })?;
        let difference = replayed.difference.as_ref().map(ToString::to_string);
        let report = Report {
            export: recording.export.name(),
            recorded_controller: recording.controller,
            controller: BlobDigest::of(&wasm),
            same: difference.is_none(),
            difference: difference.clone(),
            answered: replayed.answered,
            calls: &recording.calls,
            recorded: ended(&recording.end),
            replayed: ended(&replayed.end),
        };
        context.out.result(&report, || self.describe(&context.out, &recording, &replayed))?;
        difference.map_or(Ok(()), |difference| Err(CliError::Differs { difference }))
    }

    /// From the coprocessor where it is a task's id, which no file is likely to be called; else from the file.
    async fn recording(&self, context: &Context) -> Result<Recording, CliError> {
        let (bytes, path) = match self.recording.parse::<TaskId>() {
            Ok(task) if !Path::new(&self.recording).exists() => {
                let download = context.client()?.recording(&task, self.stage.as_deref()).await?;
                (download.bytes().await?.to_vec(), PathBuf::from(format!("recording of task {task}")))
            }
            _ if self.stage.is_some() => return Err(CliError::usage("--stage is for a task, and this is a file")),
            _ => {
                let path = PathBuf::from(&self.recording);
                (local::read(&path)?, path)
            }
        };
        Recording::from_bytes(&bytes).map_err(|error| CliError::Content {
            path,
            expected: "recording that can be replayed",
            reason: error.to_string(),
        })
    }

    fn describe(&self, out: &Output, recording: &Recording, replayed: &Replayed) -> String {
        let mut shown = String::new();
        if self.calls {
            for (at, exchange) in recording.calls.iter().enumerate() {
                let reached = if at < replayed.answered { Tone::Good } else { Tone::Bad };
                let number = out.paint(reached, format_args!("{:>4}", at + 1));
                shown += &format!("{number}  {}\n", text::printable(&exchange.asked.to_string()));
            }
        }
        for line in &replayed.end.log {
            shown += &out.paint(Tone::Quiet, format_args!("  | {}", text::printable(line)));
            shown.push('\n');
        }
        let end = &replayed.end;
        let verdict = match (&replayed.difference, replayed.same_controller) {
            (Some(difference), _) => out.paint(Tone::Bad, text::printable(&difference.to_string())),
            (None, true) => out.paint(Tone::Good, "the same as recorded, to the last instruction"),
            (None, false) => out.paint(Tone::Good, "asks and gives the same as the recorded controller"),
        };
        let then = recording.end.usage.fuel;
        let fuel = match end.usage.fuel {
            fuel if fuel == then => text::thousands(fuel),
            fuel => format!("{}; recorded {}", text::thousands(fuel), text::thousands(then)),
        };
        let calls = text::count(recording.calls.len() as u64, "host call", "host calls");
        shown
            + &out.fields([
                ("ran", recording.export.name().to_owned()),
                ("result", text::printable(&end.shown())),
                ("fuel", fuel),
                ("answered", format!("{} of {calls}", replayed.answered)),
                ("replay", verdict),
            ])
    }
}

fn ended(end: &End) -> Ended<'_> {
    let result = end.result.as_ref().ok().and_then(Option::as_deref);
    Ended {
        // What no JSON can be read of is shown as the text it is.
        result: result.map(|text| serde_json::from_str(text).unwrap_or_else(|_| Value::from(text))),
        failure: end.result.as_ref().err().map(|failed| [failed.code.as_str(), failed.message.as_str()]),
        log: &end.log,
        usage: &end.usage,
    }
}
