//! The programs, for use outside this checkout.

use crate::{
    cargo::{Cargo, executables},
    terminal,
};
use anyhow::Result;
use std::path::Path;

/// Build the programs: coprocessor, coprocessor-prover and cargo-coprocessor.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// For any CPU of this kind instead of this very one. Proofs then take about four times as long.
    #[arg(long)]
    portable: bool,
    /// Without the SP1 SDK: the prover node makes mock proofs only, and core proofs can't be verified.
    #[arg(long)]
    no_sp1: bool,
    /// Without debug checks and with this repository's own code fully optimised; compiles everything once more.
    #[arg(long)]
    release: bool,
}

/// Runs the command.
pub(crate) fn run(options: &Options) -> Result<()> {
    let cargo = Cargo::new()?;
    let mut command = cargo.command();
    command.args(["build", "--workspace"]);
    command.args(["--bin", "coprocessor", "--bin", "coprocessor-prover", "--bin", "cargo-coprocessor"]);
    if options.no_sp1 {
        command.arg("--no-default-features");
    }
    if options.release {
        command.arg("--release");
    }
    if options.portable {
        // Set but empty it takes the place of the flags in .cargo/config.toml. The folder keeps the two apart, so that
        // neither replaces what the other has built.
        command.env("CARGO_ENCODED_RUSTFLAGS", "").env("CARGO_TARGET_DIR", cargo.target().join("portable"));
    }
    for program in executables(command)? {
        terminal::line(format!(
            "{} {} ({})",
            terminal::mark(true),
            program.display(),
            terminal::bytes(size(&program)?)
        ));
    }
    Ok(())
}

fn size(program: &Path) -> Result<u64> {
    Ok(std::fs::metadata(program)?.len())
}
