//! `cargo xtask …`: the steps of this repository that need more than one command.
//!
//! Each command is a file; they share [`cargo`] (one feature set, one environment), [`tools`] (what is on the machine),
//! [`process`] (programs that are started and surely ended) and [`terminal`].

mod bench;
mod build;
mod cargo;
mod chaos;
mod demo;
mod fuzz;
mod guests;
mod openapi;
mod process;
mod service;
mod terminal;
mod test;
mod tools;

use clap::Parser;
use std::process::ExitCode;

/// Build, test, measure and show the coprocessor.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", disable_help_subcommand = true)]
enum Command {
    Demo(demo::Options),
    Test(test::Options),
    Guests(guests::Options),
    Build(build::Options),
    Bench(bench::Options),
    Chaos(chaos::Options),
    Fuzz(fuzz::Options),
    Openapi(openapi::Options),
    #[command(visible_alias = "doctor")]
    Env(tools::Options),
}

fn main() -> ExitCode {
    let outcome = match Command::parse() {
        Command::Demo(options) => demo::run(&options),
        Command::Test(options) => test::run(&options),
        Command::Guests(options) => guests::run(&options),
        Command::Build(options) => build::run(&options),
        Command::Bench(options) => bench::run(&options),
        Command::Chaos(options) => chaos::run(&options),
        Command::Fuzz(options) => fuzz::run(&options),
        Command::Openapi(options) => openapi::run(options),
        Command::Env(options) => tools::run(options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<process::Interrupted>() => {
            terminal::note("interrupted: everything that was started has been ended");
            ExitCode::from(130)
        }
        Err(error) => {
            terminal::error(&error);
            ExitCode::FAILURE
        }
    }
}
