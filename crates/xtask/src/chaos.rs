//! Builds the programs and has them broken: see the crate `coprocessor-chaos`.

use crate::{
    cargo::{Cargo, Sp1},
    process, terminal,
};
use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsString;

/// Break a running system in every way there is, and check that nothing acknowledged was lost or done twice.
///
/// What comes after a `--` is for `chaos` itself: see `cargo xtask chaos -- --help`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Without the SP1 SDK, which takes minutes to compile: the run makes mock proofs in any case.
    #[arg(long)]
    no_sp1: bool,
    /// Flags of `chaos`, such as `--store postgres --faults 500 --seconds 900`.
    #[arg(last = true)]
    flags: Vec<OsString>,
}

/// Runs the command.
pub(crate) fn run(options: &Options) -> Result<()> {
    let cargo = Cargo::new()?;
    let sp1 = if options.no_sp1 { Sp1::Without } else { Sp1::With };
    let built = cargo.build(sp1, &["--bin", "coprocessor", "--bin", "coprocessor-prover", "--bin", "chaos"])?;
    let chaos = built.iter().find(|path| path.file_stem().is_some_and(|stem| stem == "chaos"));
    let mut chaos = tokio::process::Command::new(chaos.context("cargo built no program called chaos")?);
    chaos.args(&options.flags).kill_on_drop(true);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let status = runtime.block_on(async {
        let mut child = chaos.spawn().context("cannot start chaos")?;
        let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        tokio::select! {
            status = child.wait() => Ok(status?),
            interrupted = process::interruption() => {
                // It has to end what it has started before it ends itself.
                if let Some(pid) = pid {
                    kill_process(pid, Signal::TERM)?;
                }
                child.wait().await?;
                Err(anyhow::Error::new(interrupted?))
            }
        }
    })?;
    if !status.success() {
        bail!("a promise was broken, or the run could not be made; see above");
    }
    terminal::note("every promise held");
    Ok(())
}
