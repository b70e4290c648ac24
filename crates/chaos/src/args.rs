//! Flags.

use anyhow::{Context, Result, bail};
use clap::{Parser, ValueEnum};
use std::{path::PathBuf, time::Duration};

/// Break a running system in every way there is, and check that nothing acknowledged was lost or done twice.
///
/// Starts coprocessors, prover nodes, and where asked for PostgreSQL and an S3-compatible server, on loopback; asks for
/// proofs at a steady rate; harms all of it by a plan that the seed determines; heals it; and checks every promise. Exit
/// code 0: all held; 1: one was broken, or the run could not be made.
#[derive(Parser, Clone, Debug)]
#[command(name = "chaos", version)]
pub(crate) struct Args {
    /// Where tasks are kept.
    #[arg(long, value_enum, default_value_t = StoreName::Embedded)]
    pub(crate) store: StoreName,
    /// How many faults.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    pub(crate) faults: u32,
    /// Seconds that they are spread over.
    #[arg(long, default_value_t = 600, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub(crate) seconds: u32,
    /// Determines the plan. Default: another one every time; it is printed.
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// Tasks asked for in a second.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) tasks_per_second: u32,
    /// Coprocessors. The embedded store has one; on PostgreSQL the default is two.
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=16))]
    pub(crate) coprocessors: Option<u8>,
    /// Prover nodes.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=16))]
    pub(crate) nodes: u8,
    /// How long a claim holds without a heartbeat; pauses are longer.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=60))]
    pub(crate) lease_seconds: u32,
    /// Seconds after the last fault in which everything has to be finished.
    #[arg(long, default_value_t = 240)]
    pub(crate) settle_seconds: u32,
    /// Size of the embedded store's disk in MiB, which is in memory.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(32..=65_536))]
    pub(crate) disk_mib: u32,
    /// Folder with `coprocessor` and `coprocessor-prover`. Default: that of this program.
    #[arg(long)]
    pub(crate) programs: Option<PathBuf>,
    /// Keep logs and data in this folder, which must be new or empty. Default: a temporary one, kept when something failed.
    #[arg(long)]
    pub(crate) keep: Option<PathBuf>,
    /// Write the report to this file as JSON too.
    #[arg(long)]
    pub(crate) report: Option<PathBuf>,
}

/// Where tasks are kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum StoreName {
    /// In a directory of the one coprocessor.
    Embedded,
    /// In PostgreSQL, with blobs in an S3-compatible server.
    Postgres,
}

impl StoreName {
    /// The name of the flag's value.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::Postgres => "postgres",
        }
    }
}

/// Executables of the system.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    pub(crate) coprocessor: PathBuf,
    pub(crate) prover: PathBuf,
}

impl Args {
    /// How many coprocessors there are to be.
    ///
    /// # Errors
    /// More than one on the embedded store.
    pub(crate) fn coprocessors(&self) -> Result<usize> {
        match (self.store, self.coprocessors) {
            (StoreName::Embedded, None | Some(1)) => Ok(1),
            (StoreName::Embedded, Some(many)) => {
                bail!("the embedded store has one coprocessor, {many} were asked for; give --store postgres for more")
            }
            (StoreName::Postgres, count) => Ok(count.unwrap_or(2).into()),
        }
    }

    /// The executables.
    ///
    /// # Errors
    /// One is missing.
    pub(crate) fn programs(&self) -> Result<Programs> {
        let folder = match &self.programs {
            Some(folder) => folder.clone(),
            None => {
                let own = std::env::current_exe().context("this program does not know where it is")?;
                own.parent().context("this program is in no folder")?.to_owned()
            }
        };
        let find = |name: &str| {
            let path = folder.join(name);
            if !path.is_file() {
                bail!(
                    "{} is missing; run `cargo xtask chaos`, or build it with `cargo build --workspace --bins`",
                    path.display()
                );
            }
            Ok(path)
        };
        Ok(Programs { coprocessor: find("coprocessor")?, prover: find("coprocessor-prover")? })
    }

    /// How long faults and load go on.
    pub(crate) fn span(&self) -> Duration {
        Duration::from_secs(self.seconds.into())
    }

    /// How long a claim holds.
    pub(crate) fn lease(&self) -> Duration {
        Duration::from_secs(self.lease_seconds.into())
    }

    /// How long everything may take to be finished at the end.
    pub(crate) fn settle(&self) -> Duration {
        Duration::from_secs(self.settle_seconds.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_flags_are_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn the_embedded_store_has_one_coprocessor() {
        let count = |flags: &[&str]| Args::parse_from([&["chaos"], flags].concat()).coprocessors();
        assert_eq!(count(&[]).unwrap(), 1);
        assert_eq!(count(&["--store", "postgres"]).unwrap(), 2);
        assert_eq!(count(&["--store", "postgres", "--coprocessors", "3"]).unwrap(), 3);
        assert!(count(&["--coprocessors", "2"]).is_err());
    }
}
