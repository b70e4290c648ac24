//! `provers`: the prover nodes that the coprocessor knows.

use crate::{context::Context, error::CliError, local, output::Output, text};
use clap::Subcommand;
use coprocessor_api::{ProverRequest, ProverSource, ProverView};
use serde_json::json;
use std::path::{Path, PathBuf};

/// Where the shared secret is, unless a file is named. A flag would show it to every process of the machine.
const SECRET_VARIABLE: &str = "VALENCE_PROVER_SECRET";

#[derive(clap::Args, Debug)]
pub(crate) struct Provers {
    #[command(subcommand)]
    command: Option<ProversCommand>,
}

#[derive(Subcommand, Debug)]
enum ProversCommand {
    /// List prover nodes, what they offer and how busy they are (the default)
    List,
    /// Add a prover node; its shared secret is read from --secret-file or VALENCE_PROVER_SECRET
    Add {
        /// Its address, such as http://127.0.0.1:37282
        address: String,
        /// File with its shared secret, or - for standard input
        #[arg(long, value_name = "FILE")]
        secret_file: Option<PathBuf>,
        /// It proves for everybody, not for your tasks alone; takes the scope admin
        #[arg(long)]
        shared: bool,
    },
    /// Remove a prover node that was added
    Rm {
        /// Its address
        address: String,
    },
}

impl Provers {
    pub(crate) async fn run(self, context: &Context) -> Result<(), CliError> {
        let (client, out) = (context.client()?, &context.out);
        match self.command.unwrap_or(ProversCommand::List) {
            ProversCommand::List => {
                let list = client.provers().await?;
                out.result(&list, || table(out, &list.items))
            }
            ProversCommand::Add { address, secret_file, shared } => {
                let secret = secret(secret_file.as_deref())?;
                let prover = client.add_prover(&ProverRequest { address, secret, shared }).await?;
                out.result(&prover, || format!("added {}: {}", text::printable(&prover.address), state(&prover)))
            }
            ProversCommand::Rm { address } => {
                client.remove_prover(&address).await?;
                out.result(&json!({"address": address, "removed": true}), || format!("removed {address}"))
            }
        }
    }
}

/// Prover nodes for people.
pub(crate) fn table(out: &Output, provers: &[ProverView]) -> String {
    if provers.is_empty() {
        return "no prover nodes; add one: cargo coprocessor provers add http://127.0.0.1:37282".to_owned();
    }
    let row = |prover: &ProverView| {
        let source = match prover.source {
            ProverSource::Configured => "configured",
            ProverSource::Registered if prover.shared => "added",
            ProverSource::Registered => "your own",
            ProverSource::InProcess => "in process",
        };
        let busy = format!("{} + {} waiting", prover.running, prover.waiting);
        [text::printable(&prover.address), source.to_owned(), prover.kinds.join(", "), busy, state(prover)]
    };
    let mut text = out.table(["address", "source", "kinds", "jobs", "state"], &[], provers.iter().map(row).collect());
    for prover in provers {
        for (kind, reason) in &prover.missing {
            let (address, reason) = (text::printable(&prover.address), text::printable(reason));
            text += &format!("\n{address} makes no {kind} proofs: {reason}");
        }
    }
    text
}

fn state(prover: &ProverView) -> String {
    if let Some(until) = prover.set_aside_until {
        let reason = prover.last_error.as_deref().map_or_else(String::new, text::printable);
        return format!(
            "set aside until {until:.0} after {}: {reason}",
            text::count(prover.failures.into(), "failure", "failures")
        );
    }
    match (&prover.error, prover.reachable) {
        (_, true) => prover.version.as_deref().map_or_else(|| "reachable".to_owned(), text::printable),
        (Some(error), false) => format!("unreachable: {}", text::printable(error)),
        (None, false) => "unreachable".to_owned(),
    }
}

fn secret(file: Option<&Path>) -> Result<Option<String>, CliError> {
    match file {
        Some(path) => local::read_secret(path).map(Some),
        None => Ok(std::env::var(SECRET_VARIABLE).ok().filter(|secret| !secret.is_empty())),
    }
}
