//! Packages from npm, kept in cargo's target folder, and scripts that use them.

use crate::ServerError;
use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// A folder of that name with these packages (`name@version`), installed once for all tests.
///
/// # Errors
/// npm or the network is missing.
pub fn install(name: &str, packages: &[&str]) -> Result<PathBuf, ServerError> {
    let folder = target_folder().join("test-servers").join(name);
    fs::create_dir_all(&folder).map_err(ServerError::file(&folder))?;
    let lock = File::create(folder.join("lock")).map_err(ServerError::file(&folder))?;
    // Tests run in many processes; the lock ends with this function.
    lock.lock().map_err(ServerError::file(&folder))?;
    let done = folder.join("installed");
    let wanted = packages.join(" ");
    if fs::read_to_string(&done).is_ok_and(|there| there == wanted) {
        return Ok(folder);
    }
    let output = Command::new("npm")
        .args(["install", "--no-save", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", "."])
        .args(packages)
        .current_dir(&folder)
        .output()
        .map_err(|_| ServerError::Missing { program: "npm", package: "npm" })?;
    if !output.status.success() {
        let output = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(ServerError::NotInstallable { what: wanted, output });
    }
    fs::write(&done, wanted).map_err(ServerError::file(&done))?;
    Ok(folder)
}

/// Runs a script (CommonJS) that can use the packages of a folder; gives it `input`, and returns what it prints.
///
/// # Errors
/// There is no node, or what the script says when it fails.
pub fn run_script(packages: &Path, script: &str, input: &[u8]) -> Result<Vec<u8>, ServerError> {
    let failed = |output: String| ServerError::Failed { program: "node".into(), output };
    let mut node = Command::new("node")
        .args(["-e", script])
        .current_dir(packages)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(ServerError::io("node"))?;
    let mut pipe = node.stdin.take().expect("it is piped");
    let written = pipe.write_all(input);
    drop(pipe);
    let output = node.wait_with_output().map_err(ServerError::io("node"))?;
    if !output.status.success() {
        return Err(failed(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    written.map_err(ServerError::io("node"))?;
    Ok(output.stdout)
}

/// Cargo marks its target folder, in which every test's program lies.
fn target_folder() -> PathBuf {
    let program = std::env::current_exe().unwrap_or_default();
    let marked = program.ancestors().find(|folder| folder.join("CACHEDIR.TAG").is_file());
    marked.map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target"), Path::to_owned)
}
