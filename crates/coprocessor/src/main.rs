//! The coprocessor service: REST on port 37281, tasks on durable storage, proofs from prover nodes.

mod args;
mod convert;
mod http;
mod listen;
mod logging;
mod offline_verify;
mod serve;
mod verifiers;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args = args::Args::parse();
    match args.command {
        Some(args::Command::Verify(verify)) => offline_verify::run(&verify),
        Some(args::Command::Openapi) => openapi(),
        None => run_service(&args.serve),
        Some(args::Command::Serve(serve)) => run_service(&serve),
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
