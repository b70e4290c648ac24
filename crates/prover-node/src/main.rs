//! The prover node: backends behind gRPC on port 37282.

mod args;
mod backends;
mod listen;
mod logging;
mod run;
mod secret;
#[cfg(unix)]
mod worker;

use clap::Parser;
use coprocessor_prover::node::machine::CpuBuild;
use std::process::ExitCode;

#[allow(clippy::print_stderr, reason = "there is no log yet")]
fn main() -> ExitCode {
    // First of all: past this, a build for another CPU dies of an illegal instruction, which tells nobody anything.
    let lacking = CpuBuild::here().lacking;
    if !lacking.is_empty() {
        eprintln!(
            "this program was built for a CPU with {}, which this machine's lacks. Build it on this machine, or build a \
             portable one: cargo xtask build --portable",
            lacking.join(", ")
        );
        return ExitCode::FAILURE;
    }
    let args = args::Args::parse();
    let (log, result) = match &args.command {
        None => {
            logging::init(args.log);
            ("the prover node stops", run::run(&args))
        }
        Some(args::Command::Worker(worker)) => {
            logging::init(worker.log);
            ("the prover process stops", work(worker))
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "{log}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(unix)]
fn work(args: &args::WorkerArgs) -> anyhow::Result<()> {
    worker::run(args)
}

#[cfg(not(unix))]
fn work(_args: &args::WorkerArgs) -> anyhow::Result<()> {
    anyhow::bail!("on this system proofs are made in the node's own process")
}
