//! The coprocessor service: REST on port 37281, tasks on durable storage, proofs from prover nodes.

mod args;
mod commands;
mod convert;
mod http;
mod listen;
mod logging;
mod network;
mod nodes;
mod open_store;
mod serve;
mod verifiers;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args = args::Args::parse();
    match args.command {
        Some(args::Command::Verify(args)) => commands::verify(&args),
        Some(args::Command::Openapi) => openapi(),
        Some(args::Command::Keys(command)) => commands::run(|| commands::keys(&command)),
        Some(args::Command::Backup(args)) => commands::run(|| commands::backup(&args)),
        Some(args::Command::Restore(args)) => commands::run(|| commands::restore(&args)),
        Some(args::Command::Check(args)) => commands::run(|| commands::check(&args)),
        Some(args::Command::Health(args)) => commands::run(|| commands::health(&args)),
        None => run_service(&args.serve),
        Some(args::Command::Serve(args)) => run_service(&args),
    }
}

fn run_service(args: &args::ServeArgs) -> ExitCode {
    logging::init(args.log);
    match serve::run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "the coprocessor stops");
            ExitCode::FAILURE
        }
    }
}

#[allow(clippy::print_stdout)] // The document is what was asked for.
fn openapi() -> ExitCode {
    println!("{}", http::openapi_json());
    ExitCode::SUCCESS
}
