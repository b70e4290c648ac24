//! Running cargo so that nothing but what is named here decides the result.

use crate::{error::GuestBuildError, toolchain};
use std::{
    env,
    ffi::OsStr,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
};

/// Lines of cargo's report that an error carries.
const REPORTED_LINES: usize = 60;

/// A cargo command in `dir`, without the variables by which a surrounding cargo, a user's habits or a CI's settings
/// would reach it. Registries, proxies and the home folder stay the user's.
pub(crate) fn command(dir: &Path, target: &Path, rustc: &Path, flags: &[String]) -> Command {
    let mut command = Command::new(toolchain::cargo());
    command.current_dir(dir).stdin(Stdio::null());
    env::vars_os().map(|(name, _)| name).filter(|name| leaks(name)).for_each(|name| {
        command.env_remove(name);
    });
    command
        .env("RUSTC", rustc)
        // Set even when empty: it is what keeps the `rustflags` of a configuration file out.
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
        .env("CARGO_TARGET_DIR", target)
        .env("CARGO_INCREMENTAL", "0")
        .env("CARGO_TERM_COLOR", "never");
    command
}

/// Runs cargo to its end: `line` gets each line of its report, the result is its standard output.
pub(crate) fn run(mut command: Command, what: &str, line: &mut dyn FnMut(&str)) -> Result<String, GuestBuildError> {
    let cannot_run = |error| GuestBuildError::Run { program: "cargo".to_owned(), error };
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(cannot_run)?;
    let mut stdout = child.stdout.take().expect("piped above");
    let stderr = child.stderr.take().expect("piped above");
    // Both pipes are read at once: cargo stops when either is full.
    let reader = thread::spawn(move || {
        let mut output = String::new();
        stdout.read_to_string(&mut output).map(|_| output)
    });
    let mut report: Vec<String> = Vec::new();
    for text in BufReader::new(stderr).lines() {
        let text = text.map_err(cannot_run)?;
        line(&text);
        report.push(text);
    }
    let output = reader.join().expect("reading a pipe does not panic").map_err(cannot_run)?;
    if child.wait().map_err(cannot_run)?.success() {
        return Ok(output);
    }
    let from = report.len().saturating_sub(REPORTED_LINES);
    Err(GuestBuildError::Cargo { what: what.to_owned(), output: report[from..].join("\n") })
}

/// Where cargo keeps the sources of crates, one folder per registry.
pub(crate) fn registry_sources() -> Vec<PathBuf> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo")));
    let Some(Ok(folders)) = home.map(|home| home.join("registry/src").read_dir()) else { return Vec::new() };
    let mut folders: Vec<PathBuf> = folders.filter_map(|entry| Some(entry.ok()?.path())).collect();
    folders.sort();
    folders
}

fn leaks(name: &OsStr) -> bool {
    const NAMES: [&str; 7] = [
        "RUSTC",
        "RUSTDOC",
        "RUSTFLAGS",
        "RUSTC_BOOTSTRAP",
        "RUSTC_WRAPPER",
        "RUSTC_WORKSPACE_WRAPPER",
        "SOURCE_DATE_EPOCH",
    ];
    const PREFIXES: [&str; 12] = [
        "CARGO_BUILD_",
        "CARGO_CFG_",
        "CARGO_ENCODED_",
        "CARGO_FEATURE_",
        "CARGO_INCREMENTAL",
        "CARGO_MANIFEST_",
        "CARGO_PKG_",
        "CARGO_PROFILE_",
        "CARGO_TARGET_",
        "CARGO_UNSTABLE_",
        // Compile-time settings of sp1-zkvm, which would move the memory of a circuit.
        "SP1_ZKVM_",
        "__CARGO_",
    ];
    let name = name.to_string_lossy();
    NAMES.contains(&&*name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_stay_out_and_the_users_network_stays() {
        for name in ["RUSTFLAGS", "CARGO_TARGET_DIR", "CARGO_PROFILE_RELEASE_LTO", "SP1_ZKVM_MAX_MEMORY", "RUSTC"] {
            assert!(leaks(OsStr::new(name)), "{name}");
        }
        for name in ["PATH", "HOME", "CARGO_HOME", "CARGO_NET_OFFLINE", "CARGO_REGISTRIES_X_INDEX", "HTTPS_PROXY"] {
            assert!(!leaks(OsStr::new(name)), "{name}");
        }
    }

    #[test]
    fn a_failure_carries_cargos_own_words() {
        let temp = tempfile::tempdir().unwrap();
        let mut command = command(temp.path(), temp.path(), Path::new("rustc"), &[]);
        command.arg("build");
        let mut lines = 0;
        let error = run(command, "nothing", &mut |_| lines += 1).unwrap_err();
        assert!(error.to_string().contains("could not find `Cargo.toml`"), "{error}");
        assert!(lines > 0);
    }
}
