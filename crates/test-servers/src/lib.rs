//! Real servers for tests and benches, on loopback: each throw-away, on a port of its own, gone with the process that started
//! it.
//!
//! Everything here blocks for moments and needs no runtime, so it serves tests of either kind.

#[cfg(feature = "ethereum")]
mod ethereum;
mod npm;
mod postgres;
mod proxy;
#[cfg(feature = "s3")]
mod s3;

use std::{io, path::PathBuf};

#[cfg(feature = "ethereum")]
pub use ethereum::{Compiled, Contract, EthereumNode, compile_solidity, compile_sources};
pub use npm::{install as install_npm, run_script};
pub use postgres::{Postgres, PostgresSettings, postgres_programs};
pub use proxy::BreakingProxy;
#[cfg(feature = "s3")]
pub use s3::S3Server;

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// A program that is not installed.
    #[error("{program} is not installed; on Debian: apt-get install {package}")]
    Missing {
        /// The program.
        program: &'static str,
        /// Debian's package with it.
        package: &'static str,
    },
    /// A program that tests install themselves, but could not.
    #[error("{what} could not be installed: {output}")]
    NotInstallable {
        /// Its package.
        what: String,
        /// What was said.
        output: String,
    },
    /// A program that failed.
    #[error("{program} failed: {output}")]
    Failed {
        /// The program.
        program: String,
        /// What it said last.
        output: String,
    },
    /// A file, a port or a process that could not be had.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What the system said.
        source: io::Error,
    },
}

impl ServerError {
    fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    fn file(path: &std::path::Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path: PathBuf = path.to_owned();
        move |source| Self::Io { what: path.display().to_string(), source }
    }
}

/// The server, or `None` where its program is not installed: the test then ends early, and says so. Where the
/// environment has `CI`, everything must be installed.
///
/// # Panics
/// When the server could not be started for another reason; when it is missing and `CI` is set.
pub fn skip_or_fail<T>(started: Result<T, ServerError>) -> Option<T> {
    match started {
        Ok(server) => Some(server),
        Err(error @ (ServerError::Missing { .. } | ServerError::NotInstallable { .. }))
            if std::env::var_os("CI").is_none() =>
        {
            say(&format!("skipped: {error}"));
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// Into the test's output.
#[allow(clippy::print_stderr)]
fn say(line: &str) {
    eprintln!("{line}");
}
