//! What is on the machine, what is missing, and the one command that brings it.

use crate::terminal;
use anyhow::{Context, Result, bail};
use coprocessor_guest_build::{GuestKind, Toolchain};
use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
};

/// Say what is on this machine, what is missing, and the one command that installs it.
#[derive(clap::Args, Clone, Copy)]
pub(crate) struct Options {
    /// Print the lines that give a shell what cargo needs here: `eval "$(cargo xtask env --sh)"`.
    #[arg(long)]
    sh: bool,
}

/// A core proof needs this much memory (measured for small circuits).
pub(crate) const CORE_PROOF_MEMORY: u64 = 11 << 30;

/// What a tool is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Need {
    /// Nothing can be built without it.
    Build,
    /// Some tests skip themselves or fail without it.
    Tests,
}

impl Need {
    fn as_str(self) -> &'static str {
        match self {
            Self::Build => "building",
            Self::Tests => "all tests",
        }
    }
}

/// A tool, looked for.
pub(crate) struct Tool {
    name: &'static str,
    need: Need,
    found: Option<String>,
    debian: &'static str,
}

/// Runs the command.
pub(crate) fn run(options: Options) -> Result<()> {
    if options.sh {
        return print_shell_lines();
    }
    let tools = look();
    terminal::heading("Tools");
    for tool in &tools {
        let found = tool.found.as_deref();
        let text = found.map_or_else(|| format!("missing: needed for {}", tool.need.as_str()), ToOwned::to_owned);
        terminal::line(format!("{} {:16} {text}", terminal::mark(found.is_some()), tool.name));
    }
    terminal::heading("Machine");
    describe_machine();
    match install_command(&tools, |_| true) {
        Some(command) => {
            terminal::heading("To install what is missing");
            terminal::line(format!("  {command}"));
        }
        None => terminal::line("\nNothing is missing."),
    }
    if let Some(tool) = tools.iter().find(|tool| tool.need == Need::Build && tool.found.is_none()) {
        bail!("{} is missing, and nothing can be built without it", tool.name);
    }
    Ok(())
}

/// Looks for every tool.
pub(crate) fn look() -> Vec<Tool> {
    let tool = |name, need, found, debian| Tool { name, need, found, debian };
    vec![
        tool("rustc", Need::Build, version_of("rustc"), "rustc"),
        tool("C compiler", Need::Build, version_of("cc"), "gcc libc6-dev"),
        tool("protoc", Need::Build, protoc(), "protobuf-compiler"),
        tool("mtools", Need::Tests, on_path("mcopy"), "mtools"),
        tool("dosfstools", Need::Tests, on_path("fsck.fat"), "dosfstools"),
        tool("PostgreSQL", Need::Tests, postgres(), "postgresql"),
        tool("Node.js", Need::Tests, version_of("node").filter(|_| has_npm()), "nodejs npm"),
        tool("guest compiler", Need::Tests, guest_compiler(), "rustc-web rust-web-src lld"),
    ]
}

/// The one command that installs what is missing for some needs.
pub(crate) fn install_command(tools: &[Tool], wanted: impl Fn(Need) -> bool) -> Option<String> {
    let missing: Vec<_> =
        tools.iter().filter(|tool| tool.found.is_none() && wanted(tool.need)).map(|tool| tool.debian).collect();
    let sudo = if rustix::process::getuid().is_root() { "" } else { "sudo " };
    (!missing.is_empty()).then(|| format!("{sudo}apt-get install -y --no-install-recommends {}", missing.join(" ")))
}

/// `PATH` for cargo: with the protoc that comes as a crate in front where the machine has none.
///
/// The variable `PROTOC` would do as well, but build scripts watch it: cargo called with it and without it would each
/// time build the SP1 SDK again.
pub(crate) fn path_with_protoc() -> Result<OsString> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    match vendored_protoc_dir()? {
        None => Ok(path),
        Some(dir) => {
            let folders = std::iter::once(dir).chain(std::env::split_paths(&path));
            std::env::join_paths(folders).context("the vendored protoc lies in a folder whose name has a colon")
        }
    }
}

/// Memory that could be had without swapping, in bytes.
pub(crate) fn available_memory() -> Option<u64> {
    meminfo("MemAvailable:")
}

/// Whether this is a run nobody watches, where a skipped test is a failure.
pub(crate) fn is_ci() -> bool {
    std::env::var_os("CI").is_some_and(|ci| !ci.is_empty() && ci != "false" && ci != "0")
}

fn print_shell_lines() -> Result<()> {
    if let Some(dir) = vendored_protoc_dir()? {
        let dir = dir.to_str().context("the vendored protoc lies in a folder whose name is not UTF-8")?;
        terminal::line(format!("export PATH='{}':\"$PATH\"", dir.replace('\'', "'\\''")));
    }
    Ok(())
}

fn describe_machine() {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    terminal::field("CPUs", format!("{cpus} ({})", cpu_features()));
    if let (Some(total), Some(available)) = (meminfo("MemTotal:"), available_memory()) {
        let enough = if available >= CORE_PROOF_MEMORY { "enough" } else { "not enough" };
        terminal::field(
            "memory",
            format!(
                "{} of {} available: {enough} for a core proof, which needs {}",
                terminal::bytes(available),
                terminal::bytes(total),
                terminal::bytes(CORE_PROOF_MEMORY)
            ),
        );
    }
}

/// The vector features that proving speed depends on, as the machine has them.
fn cpu_features() -> String {
    #[cfg(target_arch = "x86_64")]
    let features = [
        ("AVX2", std::arch::is_x86_feature_detected!("avx2")),
        ("AVX-512", std::arch::is_x86_feature_detected!("avx512f")),
        ("SHA", std::arch::is_x86_feature_detected!("sha")),
    ];
    #[cfg(not(target_arch = "x86_64"))]
    let features: [(&str, bool); 0] = [];
    let names: Vec<_> = features.iter().filter(|(_, there)| *there).map(|(name, _)| *name).collect();
    if names.is_empty() { format!("{}, no vector extensions known", std::env::consts::ARCH) } else { names.join(", ") }
}

fn meminfo(entry: &str) -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let kibibytes = text.lines().find_map(|line| line.strip_prefix(entry))?.trim().strip_suffix(" kB")?;
    Some(kibibytes.parse::<u64>().ok()? * 1024)
}

/// Whether npm can bring what comes from there.
pub(crate) fn has_npm() -> bool {
    which::which("npm").is_ok()
}

fn postgres() -> Option<String> {
    Some(coprocessor_test_servers::postgres_programs().ok()?.display().to_string())
}

fn protoc() -> Option<String> {
    if let Some(path) = std::env::var_os("PROTOC") {
        return Some(format!("{} (PROTOC)", Path::new(&path).display()));
    }
    on_path("protoc").or_else(|| {
        let path = protoc_bin_vendored::protoc_bin_path().ok()?;
        Some(format!("comes as a crate; for plain cargo `eval \"$(cargo xtask env --sh)\"`: {}", path.display()))
    })
}

/// The folder of the vendored protoc, unless the machine has one of its own.
fn vendored_protoc_dir() -> Result<Option<PathBuf>> {
    if std::env::var_os("PROTOC").is_some() || which::which("protoc").is_ok() {
        return Ok(None);
    }
    let path = protoc_bin_vendored::protoc_bin_path().context(
        "there is no protoc on the PATH, and none comes as a crate for this kind of machine: \
         install it with `apt-get install protobuf-compiler`",
    )?;
    Ok(path.parent().map(Path::to_owned))
}

/// What would compile the guests' circuits and controllers.
fn guest_compiler() -> Option<String> {
    let [controller, circuit] =
        [GuestKind::Controller, GuestKind::Circuit].map(|kind| Toolchain::find(kind, None).ok());
    let (controller, circuit) = (controller?.compiler.to_string(), circuit?.compiler.to_string());
    Some(if controller == circuit { circuit } else { format!("controllers {controller}; circuits {circuit}") })
}

fn on_path(program: &str) -> Option<String> {
    which::which(program).ok().map(|path| path.display().to_string())
}

fn version_of(program: &str) -> Option<String> {
    let output = Command::new(program).arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.lines().next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tool(need: Need, found: bool, debian: &'static str) -> Tool {
        Tool { name: "tool", need, found: found.then(|| "here".to_owned()), debian }
    }

    #[test]
    fn one_command_installs_what_is_missing() {
        let tools = [tool(Need::Tests, false, "a b"), tool(Need::Tests, true, "c"), tool(Need::Build, false, "d")];
        let command = install_command(&tools, |_| true).unwrap();
        assert!(command.ends_with("apt-get install -y --no-install-recommends a b d"), "{command}");
        let command = install_command(&tools, |need| need == Need::Tests).unwrap();
        assert!(command.ends_with("recommends a b"), "{command}");
        assert!(install_command(&tools, |need| need == Need::Build).unwrap().ends_with(" d"));
        assert_eq!(install_command(&tools[..2], |need| need == Need::Build), None);
    }

    #[test]
    fn cargo_finds_a_protoc() {
        let path = path_with_protoc().unwrap();
        assert!(
            std::env::var_os("PROTOC").is_some() || which::which_in("protoc", Some(path), ".").is_ok(),
            "no protoc on the PATH that cargo gets"
        );
    }
}
