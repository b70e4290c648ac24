//! `controller`: a program's controllers, one after the other.

use crate::{
    context::{Context, ProgramOption},
    error::CliError,
    local,
    output::Output,
    text,
};
use clap::Subcommand;
use coprocessor_api::{
    ControllerVersionView, RollbackRequest,
    client::{Client, Page},
};
use coprocessor_types::ProgramId;
use serde_json::json;
use std::path::PathBuf;

#[derive(clap::Args, Debug)]
pub(crate) struct Controller {
    #[command(flatten)]
    program: ProgramOption,
    #[command(subcommand)]
    command: Option<ControllerCommand>,
}

#[derive(Subcommand, Debug)]
enum ControllerCommand {
    /// List the program's controllers, newest first (the default)
    Versions(Versions),
    /// Give the program another controller; tasks that were accepted before keep the one they have
    Set {
        /// The controller: a WebAssembly module
        file: PathBuf,
    },
    /// Go back to one of the program's controllers, or forward again
    Rollback {
        /// Its number [default: the one that was current before]
        version: Option<u64>,
    },
    /// Download a controller
    Get {
        /// The version with this number [default: the current one]
        #[arg(long)]
        version: Option<u64>,
        /// Write it to this file, or - for standard output
        #[arg(long, short, value_name = "FILE", default_value = "controller.wasm")]
        output: PathBuf,
    },
}

#[derive(clap::Args, Debug, Default)]
struct Versions {
    /// How many
    #[arg(long)]
    limit: Option<u32>,
    /// Go on where the list before ended
    #[arg(long)]
    cursor: Option<String>,
}

impl Controller {
    pub(crate) async fn run(self, context: &Context) -> Result<(), CliError> {
        let (client, out) = (context.client()?, &context.out);
        let id = self.program.find(context, &client).await?;
        match self.command.unwrap_or(ControllerCommand::Versions(Versions::default())) {
            ControllerCommand::Versions(Versions { limit, cursor }) => {
                let list = client.controller_versions(&id, &Page { cursor, limit }).await?;
                out.result(&list, || table(out, &list.items, list.next.as_deref()))
            }
            ControllerCommand::Set { file } => {
                let program = client.set_controller(&id, local::read(&file)?.into()).await?;
                out.result(&program, || format!("program {id} now has controller {}", program.controller))
            }
            ControllerCommand::Rollback { version } => {
                let version = match version {
                    Some(version) => version,
                    None => before(&client, &id).await?,
                };
                let program = client.rollback_controller(&id, &RollbackRequest { version }).await?;
                out.result(&program, || {
                    format!("program {id} has version {version} of its controller again: {}", program.controller)
                })
            }
            ControllerCommand::Get { version, output } => {
                let bytes = local::save(client.controller(&id, version).await?, &output, out).await?;
                if output.as_os_str() == "-" {
                    return Ok(());
                }
                let file = output.display().to_string();
                out.result(&json!({"file": file, "bytes": bytes}), || format!("wrote {file} ({})", text::size(bytes)))
            }
        }
    }
}

/// The version that was current before the one that is.
async fn before(client: &Client, program: &ProgramId) -> Result<u64, CliError> {
    let mut last: Option<ControllerVersionView> = None;
    let mut page = Page::default();
    loop {
        let list = client.controller_versions(program, &page).await?;
        let earlier = list.items.into_iter().filter(|version| !version.current);
        last = last.into_iter().chain(earlier).max_by_key(|version| version.set_at);
        match list.next {
            Some(next) => page.cursor = Some(next),
            None => break,
        }
    }
    let last = last.ok_or_else(|| CliError::usage(format!("program {program} has had one controller only")))?;
    Ok(last.version)
}

fn table(out: &Output, versions: &[ControllerVersionView], next: Option<&str>) -> String {
    let row = |version: &ControllerVersionView| {
        let number = format!("{}{}", version.version, if version.current { " *" } else { "" });
        let by = match &version.set_with {
            Some(key) => format!("{} ({key})", text::printable(&version.set_by)),
            None => text::printable(&version.set_by),
        };
        let digest = text::short(&version.digest).to_owned();
        [number, digest, text::size(version.bytes), format!("{:.0}", version.set_at), by]
    };
    let rows = versions.iter().map(row).collect();
    out.table(["version", "digest", "size", "set", "by"], &[2], rows) + &text::more(next)
}
