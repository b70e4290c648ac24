//! `programs`: what is deployed.

use crate::{
    context::{Context, ProgramArg},
    error::CliError,
    output::Output,
    text,
};
use clap::Subcommand;
use coprocessor_api::{ProgramView, client::Page};
use serde_json::json;

#[derive(clap::Args, Debug)]
pub(crate) struct Programs {
    #[command(subcommand)]
    command: Option<ProgramsCommand>,
}

#[derive(Subcommand, Debug)]
enum ProgramsCommand {
    /// List programs, newest first (the default)
    List(List),
    /// Show a program
    Show {
        #[command(flatten)]
        program: ProgramArg,
    },
    /// Remove a program with its volume
    Rm {
        /// The program's id or name
        program: String,
    },
}

#[derive(clap::Args, Debug, Default)]
struct List {
    /// How many
    #[arg(long)]
    limit: Option<u32>,
    /// Go on where the list before ended
    #[arg(long)]
    cursor: Option<String>,
}

impl Programs {
    pub(crate) async fn run(self, context: &Context) -> Result<(), CliError> {
        let (client, out) = (context.client()?, &context.out);
        match self.command.unwrap_or(ProgramsCommand::List(List::default())) {
            ProgramsCommand::List(List { limit, cursor }) => {
                let list = client.programs(&Page { cursor, limit }).await?;
                out.result(&list, || table(out, &list.items, list.next.as_deref()))
            }
            ProgramsCommand::Show { program } => {
                let program = client.program(&program.find(context, &client).await?).await?;
                out.result(&program, || describe(out, &program))
            }
            ProgramsCommand::Rm { program } => {
                let id = context.program(&client, Some(&program)).await?;
                client.delete_program(&id).await?;
                out.result(&json!({"program": id, "removed": true}), || format!("removed program {id}"))
            }
        }
    }
}

/// A program for people.
pub(crate) fn describe(out: &Output, program: &ProgramView) -> String {
    out.fields([
        ("program", program.id.clone()),
        ("name", text::printable(&program.name)),
        ("owner", text::printable(&program.owner)),
        ("backend", program.backend.clone()),
        ("nonce", program.nonce.to_string()),
        ("controller", program.controller.clone()),
        ("circuit", program.circuit.clone()),
        ("key", program.verifying_key.clone().unwrap_or_else(|| "not known before the first proof".to_owned())),
        ("volume", text::size(program.volume_size)),
        ("created", program.created_at.to_string()),
        ("updated", program.updated_at.to_string()),
    ])
}

fn table(out: &Output, programs: &[ProgramView], next: Option<&str>) -> String {
    if programs.is_empty() {
        return "no programs; deploy one: cargo coprocessor deploy".to_owned();
    }
    let row = |program: &ProgramView| {
        let name = text::printable(&program.name);
        [program.id.clone(), name, program.backend.clone(), format!("{:.0}", program.created_at)]
    };
    let rows = programs.iter().map(row).collect();
    out.table(["program", "name", "backend", "created"], &[], rows) + &text::more(next)
}
