//! How cargo is called from here: one environment, one feature set.
//!
//! The SP1 SDK takes minutes to compile, so nothing here may make cargo compile it twice. Cargo keeps a compiled package
//! per feature set, and computes feature sets over the packages that are selected: `-p coprocessor` gives others than
//! `--workspace`. So every call selects the whole workspace and narrows what is built with `--bin`; `tests/one_build.rs`
//! shows that building and testing then share every dependency.

use crate::tools;
use anyhow::{Context, Result, bail};
use cargo_metadata::{Message, MetadataCommand};
use std::{
    ffi::OsString,
    io::BufReader,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// This checkout, and how to build in it.
pub(crate) struct Cargo {
    root: PathBuf,
    target: PathBuf,
    path: OsString,
}

/// Whether the SP1 SDK is compiled in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Sp1 {
    /// Prove and verify with it.
    With,
    /// Mock proofs only; compiles in a few minutes.
    Without,
}

/// The programs of the service, built.
#[derive(Debug)]
pub(crate) struct Programs {
    /// `coprocessor`.
    pub(crate) coprocessor: PathBuf,
    /// `coprocessor-prover`.
    pub(crate) prover: PathBuf,
}

impl Cargo {
    /// Finds the checkout this program was built from.
    pub(crate) fn new() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).context("this crate is not in crates/")?;
        let metadata = MetadataCommand::new()
            .manifest_path(root.join("Cargo.toml"))
            .no_deps()
            .exec()
            .context("`cargo metadata` does not know this workspace")?;
        Ok(Self { root: root.to_owned(), target: metadata.target_directory.into(), path: tools::path_with_protoc()? })
    }

    /// The root of the checkout.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Where cargo builds.
    pub(crate) fn target(&self) -> &Path {
        &self.target
    }

    /// `cargo` in the checkout.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.current_dir(&self.root).env("PATH", &self.path);
        // What `cargo run` tells this program about itself would look like a changed environment to build scripts that
        // watch it (ring's does), and they and all above them would be built again.
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(is_told_by_cargo_run) {
                command.env_remove(name);
            }
        }
        command
    }

    /// Builds the two programs of the service; cargo shows its own progress on standard error.
    pub(crate) fn build_service(&self, sp1: Sp1) -> Result<Programs> {
        let mut built = self.build(sp1, &["--bin", "coprocessor", "--bin", "coprocessor-prover"])?;
        let mut take = |name: &str| {
            let at = built.iter().position(|path| path.file_stem().is_some_and(|stem| stem == name));
            at.map(|at| built.swap_remove(at)).with_context(|| format!("cargo built no program called {name}"))
        };
        Ok(Programs { coprocessor: take("coprocessor")?, prover: take("coprocessor-prover")? })
    }

    /// Builds the targets that `selection` names; returns the programs among them.
    pub(crate) fn build(&self, sp1: Sp1, selection: &[&str]) -> Result<Vec<PathBuf>> {
        let mut command = self.command();
        command.args(["build", "--workspace"]).args(selection);
        if sp1 == Sp1::Without {
            command.arg("--no-default-features");
        }
        executables(command)
    }
}

/// Runs a `cargo build` and lists the programs it made.
pub(crate) fn executables(mut command: Command) -> Result<Vec<PathBuf>> {
    command.arg("--message-format=json-render-diagnostics").stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().context("cannot start cargo")?;
    let output = BufReader::new(child.stdout.take().context("cargo has no standard output")?);
    let mut executables = Vec::new();
    for message in Message::parse_stream(output) {
        if let Message::CompilerArtifact(artifact) = message.context("cannot read what cargo says")? {
            executables.extend(artifact.executable.map(PathBuf::from));
        }
    }
    if !child.wait()?.success() {
        bail!("the build failed: see above. `cargo xtask env` says what is missing on this machine");
    }
    Ok(executables)
}

fn is_told_by_cargo_run(variable: &str) -> bool {
    const NAMES: [&str; 4] = ["CARGO_CRATE_NAME", "CARGO_BIN_NAME", "CARGO_PRIMARY_PACKAGE", "OUT_DIR"];
    variable.starts_with("CARGO_PKG_") || variable.starts_with("CARGO_MANIFEST_") || NAMES.contains(&variable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_stay_and_what_cargo_run_tells_goes() {
        assert!(is_told_by_cargo_run("CARGO_PKG_NAME"));
        assert!(is_told_by_cargo_run("CARGO_MANIFEST_DIR"));
        for setting in ["CARGO_HOME", "CARGO_TARGET_DIR", "CARGO_TERM_COLOR", "RUSTFLAGS", "CARGO_NET_OFFLINE"] {
            assert!(!is_told_by_cargo_run(setting), "{setting}");
        }
    }

    #[test]
    fn children_see_none_of_it() {
        let cargo = Cargo::new().unwrap();
        let command = cargo.command();
        let removed: Vec<_> = command.get_envs().filter(|(_, value)| value.is_none()).map(|(name, _)| name).collect();
        assert!(removed.contains(&std::ffi::OsStr::new("CARGO_PKG_NAME")), "cargo sets it for tests too");
        assert!(cargo.root().join("crates/xtask/Cargo.toml").is_file());
    }
}
