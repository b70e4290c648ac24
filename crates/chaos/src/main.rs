//! Breaks a running system in every way there is, and checks that nothing acknowledged was lost or done twice.
//!
//! [`plan`] says what happens when, [`system`] is what it happens to and [`faults`] does it. Meanwhile [`load`] asks for
//! tasks and keeps the [`book`] of what was answered, and [`watch`] and [`receiver`] follow what the service tells by
//! itself. After that [`settle`] waits, and [`audit`] compares.

mod args;
mod audit;
mod book;
mod disk;
mod endings;
mod faults;
mod guest;
mod load;
mod owners;
mod plan;
mod process;
mod random;
mod receiver;
mod report;
mod run;
mod settle;
mod system;
mod terminal;
mod watch;

use anyhow::{Context, Result, bail};
use clap::Parser;
use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};
use tempfile::TempDir;
use tokio::signal::unix::{SignalKind, signal};

fn main() -> ExitCode {
    match chaos(&args::Args::parse()) {
        Ok(good) => ExitCode::from(u8::from(!good)),
        Err(error) => {
            terminal::error(&error);
            ExitCode::FAILURE
        }
    }
}

/// Whether every promise held.
fn chaos(args: &args::Args) -> Result<bool> {
    let directory = Directory::new(args.keep.as_deref())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(async {
        let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        tokio::select! {
            outcome = run::run(args, directory.path()) => outcome,
            _ = interrupt.recv() => bail!("interrupted; all that was started is ended"),
            _ = terminate.recv() => bail!("told to end; all that was started is ended"),
        }
    });
    // What still runs holds processes, which end with it.
    drop(runtime);
    let report = match outcome {
        Ok(report) => report,
        Err(error) => {
            directory.leave();
            return Err(error);
        }
    };
    report.print();
    report.write(&directory.path().join("report.json"))?;
    if let Some(path) = &args.report {
        report.write(path)?;
    }
    if !report.good() {
        directory.leave();
    }
    Ok(report.good())
}

/// Where logs and data are.
enum Directory {
    /// The user's.
    Kept(PathBuf),
    /// Gone at the end, unless something failed.
    Temporary(TempDir),
}

impl Directory {
    fn new(keep: Option<&Path>) -> Result<Self> {
        let Some(path) = keep else {
            return Ok(Self::Temporary(tempfile::Builder::new().prefix("coprocessor-chaos-").tempdir()?));
        };
        fs::create_dir_all(path).with_context(|| format!("cannot make {}", path.display()))?;
        if fs::read_dir(path)?.next().is_some() {
            bail!("{} is not empty; name a new folder with --keep", path.display());
        }
        Ok(Self::Kept(path.canonicalize()?))
    }

    fn path(&self) -> &Path {
        match self {
            Self::Kept(path) => path,
            Self::Temporary(directory) => directory.path(),
        }
    }

    /// Stays, and says where.
    fn leave(self) {
        let path = match self {
            Self::Kept(path) => path,
            Self::Temporary(directory) => directory.keep(),
        };
        terminal::note(format!("the logs of all processes and of all faults are in {}", path.display()));
    }
}
