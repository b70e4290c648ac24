//! Flags and environment.

mod duration;
mod keys;
mod network;
mod serve;
mod store;

pub(crate) use duration::{Keep, duration};
pub(crate) use keys::{CreateKey, KeysCommand, ListKeys, RevokeKey};
pub(crate) use network::NetworkArgs;
pub(crate) use serve::{MockArgs, Record, ServeArgs};
pub(crate) use store::StoreArgs;

use clap::{Args as ClapArgs, Parser, Subcommand};
use std::{net::SocketAddr, path::PathBuf};

/// The Valence ZK coprocessor: registers guest programs and proves them.
#[derive(Parser, Debug)]
#[command(name = "coprocessor", version, args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) serve: ServeArgs,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Run the service (the default).
    Serve(Box<ServeArgs>),
    /// Make, list and revoke API keys, directly in the store. A running service with an embedded store takes them through its
    /// API instead.
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Copy an embedded store, also while a service runs on it.
    Backup(BackupArgs),
    /// Make an embedded store from a backup.
    Restore(RestoreArgs),
    /// Look whether a store holds together: that its rows do not contradict each other, and that every blob they name is there
    /// and unharmed. Mends nothing. Exit code 0: it does.
    Check(CheckArgs),
    /// Ask a running service whether it works, as a container's health check does. Exit code 0: it does.
    Health(HealthArgs),
    /// Verify a proof from its JSON, in this process, without any service. Exit code 0: valid, 1: not, 2: unreadable.
    Verify(VerifyArgs),
    /// Print the OpenAPI document.
    Openapi,
}

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

#[derive(ClapArgs, Debug)]
pub(crate) struct BackupArgs {
    /// Directory of the embedded store. Default: $XDG_DATA_HOME/coprocessor or ~/.local/share/coprocessor.
    #[arg(long, env = "COPROCESSOR_DATA_DIR", value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Directory for the backup; made here, or empty.
    #[arg(long, value_name = "DIR")]
    pub(crate) to: PathBuf,
}

#[derive(ClapArgs, Debug)]
pub(crate) struct RestoreArgs {
    /// Directory of the backup.
    #[arg(long, value_name = "DIR")]
    pub(crate) from: PathBuf,
    /// Directory for the embedded store; made here, or empty. Default: $XDG_DATA_HOME/coprocessor or
    /// ~/.local/share/coprocessor.
    #[arg(long, env = "COPROCESSOR_DATA_DIR", value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
}

#[derive(ClapArgs, Debug)]
pub(crate) struct CheckArgs {
    /// Leave the blobs unread.
    #[arg(long)]
    pub(crate) rows_only: bool,
    #[command(flatten)]
    pub(crate) store: StoreArgs,
}

#[derive(ClapArgs, Debug)]
pub(crate) struct HealthArgs {
    /// Address that the service listens on.
    #[arg(long, env = "COPROCESSOR_LISTEN", default_value = "127.0.0.1:37281")]
    pub(crate) listen: SocketAddr,
    /// How long it may take to answer.
    #[arg(long, default_value_t = 5, value_name = "SECONDS")]
    pub(crate) seconds: u64,
}

#[derive(ClapArgs, Debug)]
pub(crate) struct VerifyArgs {
    /// The proof as `GET /api/v1/tasks/{id}/proof` answers it.
    pub(crate) proof: PathBuf,
    /// The form it must have: core, compressed, groth16, plonk or mock. Default: what the file says, but mock only when
    /// asked for here.
    #[arg(long)]
    pub(crate) kind: Option<coprocessor_types::ProofKind>,
    /// Verify against this key (a file in the backend's encoding) instead of the one in the proof's JSON.
    #[arg(long)]
    pub(crate) verifying_key: Option<PathBuf>,
    /// The root it must be bound to, in hex.
    #[arg(long)]
    pub(crate) root: Option<coprocessor_types::Root>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn flags_are_well_formed() {
        Args::command().debug_assert();
    }

    /// Whoever lists processes reads their flags.
    #[test]
    fn no_flag_takes_a_secret() {
        let mut commands = vec![Args::command()];
        while let Some(command) = commands.pop() {
            for argument in command.get_arguments().filter(|argument| argument.get_action().takes_values()) {
                let name = argument.get_id().as_str();
                let secret = ["secret", "password", "token"].iter().any(|word| name.contains(word));
                assert!(!secret || name.ends_with("_file"), "{} takes {name}", command.get_name());
            }
            commands.extend(command.get_subcommands().cloned());
        }
    }
}
