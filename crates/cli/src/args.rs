//! The command line.

use crate::{commands, context::Context, error::CliError};
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

const AFTER_HELP: &str = "\
Where the coprocessor is: --server, else COPROCESSOR_URL, else `server = \"…\"` in a coprocessor.toml here or in a folder
above, else in $XDG_CONFIG_HOME/coprocessor/config.toml, else http://127.0.0.1:37281.

A coprocessor that asks for keys gets the one in --key-file, else in COPROCESSOR_KEY; over https or to this machine alone,
unless --insecure.

PROGRAM is 64 hexadecimal digits or a name that one program only has; by default the one deployed last from this folder.

Exit codes:
  0    done
  1    the answer is no: a proof or an opening that does not hold, a proof that no chain takes, a task that failed or was
       cancelled, a guest that does not build, a replay that differs, a coprocessor that is not ready
  2    the command line, or a file on this machine, is at fault
  3    no coprocessor answers
  4    the coprocessor refuses the request (HTTP 4xx)
  5    the coprocessor failed (HTTP 5xx), or what answers is none
  130  interrupted; a task that was followed goes on

With --json, standard output holds one JSON document (one per line from `logs` and `tasks follow`), and an error is one
problem document (RFC 9457) on standard error.";

/// What options of every command are listed under.
const GLOBAL: &str = "Global options";

/// Write, build, deploy and prove guest programs.
#[derive(Parser, Debug)]
#[command(name = "cargo-coprocessor", bin_name = "cargo coprocessor", version, after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(Args, Debug)]
pub(crate) struct Global {
    /// Address of the coprocessor
    #[arg(long, global = true, value_name = "URL", env = "COPROCESSOR_URL", hide_env = true, help_heading = GLOBAL)]
    pub(crate) server: Option<String>,
    /// File with the key, or - for standard input [default: the environment variable COPROCESSOR_KEY]
    #[arg(long, global = true, value_name = "FILE", help_heading = GLOBAL)]
    pub(crate) key_file: Option<PathBuf>,
    /// Send the key in clear text to another machine too
    #[arg(long, global = true, help_heading = GLOBAL)]
    pub(crate) insecure: bool,
    /// Print JSON and nothing else
    #[arg(long, global = true, help_heading = GLOBAL)]
    pub(crate) json: bool,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Start a guest program from a template
    New(commands::new::New),
    /// Build a guest's controller and circuit
    Build(commands::build::Build),
    /// Print the interface of controllers that are WebAssembly components
    Wit(commands::wit::Wit),
    /// Put the files of a circom circuit together, to be deployed
    Bundle(commands::bundle::Bundle),
    /// Upload a guest's controller and circuit, and remember the program in its folder
    Deploy(commands::deploy::Deploy),
    /// Have a program proved, and follow the task to its end
    Prove(commands::prove::Prove),
    /// Dry run: the witness that the controller makes
    Witness(commands::dry_run::Witness),
    /// Dry run: controller and circuit, without a proof
    Execute(commands::dry_run::Execute),
    /// Call the controller's entrypoint
    Call(commands::dry_run::Call),
    /// List, show, follow, cancel and retry tasks; fetch their proofs
    Tasks(commands::tasks::Tasks),
    /// Follow all of an owner's tasks at once
    Events(commands::events::Events),
    /// What a task's controller logged
    Logs(commands::logs::Logs),
    /// Run a recorded run of a controller again, here
    Replay(commands::replay::Replay),
    /// Read and write a program's files
    Files(commands::files::Files),
    /// Download a program's volume as a FAT-16 image
    Image(commands::files::Image),
    /// Have a proof verified by the coprocessor
    Verify(commands::verify::Verify),
    /// A program's verifying key
    Vk(commands::vk::Vk),
    /// Write what others verify a program's proofs with: a Solidity contract
    Export(commands::export::Export),
    /// What contracts are called with to have a proof verified on chain
    Calldata(commands::calldata::Calldata),
    /// List, show and remove programs
    Programs(commands::programs::Programs),
    /// Give a program another controller, list those it had, go back to one
    Controller(commands::controller::Controller),
    /// List, register and show domains; append their blocks
    Domains(commands::domains::Domains),
    /// Show roots, and check how one follows from another
    Roots(commands::roots::Roots),
    /// Show what a root commits to, and check it
    Opening(commands::opening::Opening),
    /// List, add and remove the coprocessor's prover nodes
    Provers(commands::provers::Provers),
    /// List, add and remove webhooks; see what was sent, and have it sent again
    Webhooks(commands::webhooks::Webhooks),
    /// List, make and revoke keys
    Keys(commands::keys::Keys),
    /// Show and set owners' shares and quotas
    Owners(commands::owners::Owners),
    /// Who the coprocessor takes you for
    Whoami(commands::whoami::Whoami),
    /// How large the coprocessor's store is
    Storage(commands::storage::Storage),
    /// How the coprocessor is
    Status(commands::status::Status),
}

impl Command {
    pub(crate) async fn run(self, context: &Context) -> Result<(), CliError> {
        match self {
            Self::New(command) => command.run(context),
            Self::Build(command) => command.run(context),
            Self::Wit(command) => command.run(context),
            Self::Bundle(command) => command.run(context),
            Self::Deploy(command) => command.run(context).await,
            Self::Prove(command) => command.run(context).await,
            Self::Witness(command) => command.run(context).await,
            Self::Execute(command) => command.run(context).await,
            Self::Call(command) => command.run(context).await,
            Self::Tasks(command) => command.run(context).await,
            Self::Events(command) => command.run(context).await,
            Self::Logs(command) => command.run(context).await,
            Self::Replay(command) => command.run(context).await,
            Self::Files(command) => command.run(context).await,
            Self::Image(command) => command.run(context).await,
            Self::Verify(command) => command.run(context).await,
            Self::Vk(command) => command.run(context).await,
            Self::Export(command) => command.run(context).await,
            Self::Calldata(command) => command.run(context).await,
            Self::Programs(command) => command.run(context).await,
            Self::Controller(command) => command.run(context).await,
            Self::Domains(command) => command.run(context).await,
            Self::Roots(command) => command.run(context).await,
            Self::Opening(command) => command.run(context).await,
            Self::Provers(command) => command.run(context).await,
            Self::Webhooks(command) => command.run(context).await,
            Self::Keys(command) => command.run(context).await,
            Self::Owners(command) => command.run(context).await,
            Self::Whoami(command) => command.run(context).await,
            Self::Storage(command) => command.run(context).await,
            Self::Status(command) => command.run(context).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }
}
