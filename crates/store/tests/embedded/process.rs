//! The test binary, run again as another process that does one thing.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Names the directory in the other process.
const DIRECTORY: &str = "COPROCESSOR_STORE_TEST_DIRECTORY";

/// The command that runs the ignored test `name` in a process of its own, on `directory`.
pub(crate) fn command(name: &str, directory: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([name, "--exact", "--ignored", "--nocapture"]).env(DIRECTORY, directory).stdout(Stdio::piped());
    command
}

/// In that process: its directory. `None` when somebody runs the ignored tests by hand.
pub(crate) fn directory() -> Option<PathBuf> {
    std::env::var_os(DIRECTORY).map(PathBuf::from)
}
