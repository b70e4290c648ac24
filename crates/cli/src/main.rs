//! `cargo coprocessor`: write, build, deploy and prove guest programs.
//!
//! Each command has its file in `commands/`. Only `output` writes to standard output and only `live` draws on the
//! terminal; commands return what they found or a [`CliError`], which knows its exit code.

mod args;
mod commands;
mod config;
mod context;
mod error;
mod follow;
mod live;
mod local;
mod output;
mod text;
mod timeline;

use args::Arguments;
use clap::Parser;
use context::Context;
use error::CliError;
use output::Output;
use std::{ffi::OsString, process::ExitCode};

fn main() -> ExitCode {
    let invocation = without_cargo(std::env::args_os().collect());
    let json = invocation.iter().any(|argument| argument == "--json");
    match Arguments::try_parse_from(invocation) {
        Ok(arguments) => run(arguments),
        Err(error) if json && error.use_stderr() => Output::new(true).failure(&CliError::usage(error.to_string())),
        // Clap's own texts: help, version, or what is wrong and how to go on, with exit code 0 or 2.
        Err(error) => error.exit(),
    }
}

fn run(arguments: Arguments) -> ExitCode {
    let output = Output::new(arguments.global.json);
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(source) => return output.failure(&CliError::Runtime { source }),
    };
    let context = Context::new(arguments.global, output);
    match runtime.block_on(arguments.command.run(&context)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => context.out.failure(&error),
    }
}

/// Cargo runs `cargo-coprocessor coprocessor …` for `cargo coprocessor …`.
fn without_cargo(mut invocation: Vec<OsString>) -> Vec<OsString> {
    if invocation.get(1).is_some_and(|argument| argument == "coprocessor") {
        invocation.remove(1);
    }
    invocation
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_the_same_from_cargo() {
        let direct = without_cargo(["cargo-coprocessor", "vk"].map(OsString::from).to_vec());
        let through = without_cargo(["cargo-coprocessor", "coprocessor", "vk"].map(OsString::from).to_vec());
        assert_eq!(direct, through);
    }
}
