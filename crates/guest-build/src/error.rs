//! Every way in which building a guest fails.

use crate::toolchain::{Flavour, GuestKind};
use std::{io, path::PathBuf};

/// Why a guest was not built, checked or written.
#[derive(Debug, thiserror::Error)]
pub enum GuestBuildError {
    /// The folder lacks a part of a guest.
    #[error("{} is no guest program: it has no {missing}; start one with `cargo coprocessor new NAME`", dir.display())]
    NotAGuest {
        /// The folder.
        dir: PathBuf,
        /// What it lacks.
        missing: &'static str,
    },
    /// A name that is no crate name.
    #[error("{name:?} is no guest name: use 1 to 40 of a-z, 0-9 and '-', beginning with a letter")]
    Name {
        /// The name.
        name: String,
    },
    /// A new guest would be written over something.
    #[error("{} exists and is not empty; choose another name or remove it", dir.display())]
    Occupied {
        /// The folder.
        dir: PathBuf,
    },
    /// Nothing here builds that kind of guest.
    #[error("no toolchain here builds {kind}s ({looked}); {}", kind.how_to_install())]
    NoToolchain {
        /// What was to be built.
        kind: GuestKind,
        /// What was looked at, and what it lacks.
        looked: String,
    },
    /// The flavour asked for is not here.
    #[error("no {flavour} toolchain here builds {kind}s ({looked}); {}", kind.how_to_install())]
    NoFlavour {
        /// What was to be built.
        kind: GuestKind,
        /// What was asked for.
        flavour: Flavour,
        /// What was looked at, and what it lacks.
        looked: String,
    },
    /// The controller's bindings do not make it a component.
    #[error(
        "the controller's WIT bindings do not make it a component: {reason}; `cargo coprocessor wit` prints the worlds to \
         make them from"
    )]
    Component {
        /// What is wrong.
        reason: String,
    },
    /// A program could not be started.
    #[error("could not run {program}: {error}")]
    Run {
        /// The program.
        program: String,
        /// Why.
        #[source]
        error: io::Error,
    },
    /// Cargo failed.
    #[error("building the {what} failed:\n{output}")]
    Cargo {
        /// What was built.
        what: String,
        /// The end of cargo's own report.
        output: String,
    },
    /// Cargo's JSON is not as documented.
    #[error("cargo's report for the {what} could not be read: {reason}")]
    CargoReport {
        /// What was built.
        what: String,
        /// What is wrong.
        reason: String,
    },
    /// The crate builds, but not into what is needed.
    #[error("the {kind} builds no {}; see its Cargo.toml", kind.product())]
    NoProduct {
        /// What was built.
        kind: GuestKind,
    },
    /// The artifacts' record does not parse.
    #[error("{} is damaged: {error}; rebuild the guest", path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        error: serde_json::Error,
    },
    /// The sources have changed since the artifacts were built.
    #[error("{}: the artifacts were built from sources {recorded}, the sources are now {got}; rebuild the guest", dir.display())]
    Stale {
        /// The guest.
        dir: PathBuf,
        /// Digest in the record.
        recorded: String,
        /// Digest of the sources.
        got: String,
    },
    /// An artifact is not the one that was recorded.
    #[error("{}: SHA-256 is {got}, recorded {recorded}; rebuild the guest", path.display())]
    Altered {
        /// The artifact.
        path: PathBuf,
        /// Digest in the record.
        recorded: String,
        /// Digest of the file.
        got: String,
    },
    /// A file could not be read or written.
    #[error("{}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        error: io::Error,
    },
    /// No folder to build in.
    #[error("no cache folder: set COPROCESSOR_CACHE_DIR, XDG_CACHE_HOME or HOME")]
    NoCache,
}

/// Names the file an I/O error is about.
pub(crate) trait At<T> {
    fn at(self, path: impl Into<PathBuf>) -> Result<T, GuestBuildError>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, path: impl Into<PathBuf>) -> Result<T, GuestBuildError> {
        self.map_err(|error| GuestBuildError::File { path: path.into(), error })
    }
}
