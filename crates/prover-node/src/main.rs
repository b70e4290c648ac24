//! The prover node: backends behind gRPC on port 37282.

mod args;
mod backends;
mod listen;
mod logging;
mod run;
mod secret;

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
    logging::init(args.log);
    match run::run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "the prover node stops");
            ExitCode::FAILURE
        }
    }
}
