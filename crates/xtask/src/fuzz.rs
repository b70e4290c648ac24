//! The fuzzers: built with coverage counters, run one after the other, and what they came to.
//!
//! Their own workspace is `fuzz/`; what they try is in `crates/fuzz`, and its test runs the corpus without all this.

mod progress;

use crate::{
    cargo::{Cargo, executables},
    terminal,
};
use anyhow::{Context, Result, bail};
use cargo_metadata::{MetadataCommand, TargetKind};
use comfy_table::{Table, presets::UTF8_FULL_CONDENSED};
use progress::{Outcome, Watched};
use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Most that one input may take before it counts as a finding, in seconds: far more than any does on a busy machine.
const LONGEST_INPUT: u32 = 60;
/// Most memory before it counts as a finding, in MiB.
const MOST_MEMORY: u32 = 3072;

/// What makes the compiler count the edges that an input takes, as libFuzzer reads them. No sanitizer: those need a nightly
/// compiler, and the parsers have no `unsafe`.
const COVERAGE: [&str; 6] = [
    "--cfg=fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
];

/// Run the fuzzers, guided by coverage, for some time each.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Which; all of them by default.
    targets: Vec<String>,
    /// Seconds for each. With 0 only the corpus is run.
    #[arg(long, default_value_t = 60)]
    seconds: u32,
    /// Say which there are, and run none.
    #[arg(long)]
    list: bool,
    /// Run one target on this input alone, as a finding says.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["list", "keep"])]
    input: Option<PathBuf>,
    /// Add to fuzz/corpus what reached something new: as few and as short inputs as reach it all.
    #[arg(long)]
    keep: bool,
}

/// Where a target's things are.
struct Places {
    /// In the checkout.
    corpus: PathBuf,
    /// What was found to reach something new, here and in earlier runs.
    reached: PathBuf,
    /// Inputs that are findings.
    findings: PathBuf,
}

/// Runs the command.
pub(crate) fn run(options: &Options) -> Result<()> {
    let cargo = Cargo::new()?;
    let workspace = cargo.root().join("fuzz");
    let targets = chosen(&workspace, &options.targets)?;
    if options.list {
        return list(&workspace, &targets);
    }
    let fuzzers = build(&cargo, &workspace, &targets)?;
    if let Some(input) = &options.input {
        return run_input(&targets, &fuzzers, input);
    }
    let mut outcomes = Vec::new();
    for target in &targets {
        let fuzzer = find(&fuzzers, target)?;
        let places = Places::of(&cargo, &workspace, target)?;
        let outcome = fuzz(target, fuzzer, &places, options.seconds)?;
        if options.keep && outcome.finding.is_none() {
            keep(fuzzer, &places)?;
        }
        outcomes.push(outcome);
    }
    terminal::line(table(&outcomes));
    report(&outcomes)
}

/// The targets that were named, or all there are.
fn chosen(workspace: &Path, named: &[String]) -> Result<Vec<String>> {
    let manifest = workspace.join("Cargo.toml");
    let metadata = MetadataCommand::new().manifest_path(&manifest).no_deps().exec();
    let metadata = metadata.with_context(|| format!("`cargo metadata` does not know {}", manifest.display()))?;
    let binaries = metadata.packages.iter().flat_map(|package| &package.targets);
    let all: Vec<String> =
        binaries.filter(|target| target.kind.contains(&TargetKind::Bin)).map(|target| target.name.clone()).collect();
    if let Some(unknown) = named.iter().find(|name| !all.contains(name)) {
        bail!("there is no target `{unknown}`; there are {}", all.join(", "));
    }
    Ok(all.into_iter().filter(|name| named.is_empty() || named.contains(name)).collect())
}

fn list(workspace: &Path, targets: &[String]) -> Result<()> {
    for target in targets {
        let corpus = files(&workspace.join("corpus").join(target))?;
        terminal::field(target, format!("{} inputs in its corpus", corpus.len()));
    }
    Ok(())
}

fn build(cargo: &Cargo, workspace: &Path, targets: &[String]) -> Result<Vec<PathBuf>> {
    let mut flags = COVERAGE.to_vec();
    flags.push("-Ctarget-cpu=native");
    let mut command = cargo.command();
    command.arg("build").arg("--manifest-path").arg(workspace.join("Cargo.toml")).arg("--locked");
    // With a target named, build scripts and macros are compiled without these flags.
    command.arg("--target").arg(host()?);
    for target in targets {
        command.args(["--bin", target]);
    }
    command.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f")).env("CARGO_TARGET_DIR", cargo.target().join("fuzz"));
    executables(command).context("the fuzzers were not built; they need a C++ compiler (`apt-get install g++`)")
}

/// The triple of this machine's compiler.
fn host() -> Result<String> {
    let output = Command::new("rustc").arg("-vV").output().context("cannot start rustc")?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().find_map(|line| line.strip_prefix("host: ")).map(ToOwned::to_owned).context("rustc names no host")
}

fn find<'a>(fuzzers: &'a [PathBuf], target: &str) -> Result<&'a Path> {
    let found = fuzzers.iter().find(|path| path.file_stem() == Some(OsStr::new(target)));
    found.map(PathBuf::as_path).with_context(|| format!("cargo built no fuzzer called {target}"))
}

impl Places {
    fn of(cargo: &Cargo, workspace: &Path, target: &str) -> Result<Self> {
        let outside = cargo.target().join("fuzz");
        let places = Self {
            corpus: workspace.join("corpus").join(target),
            reached: outside.join("reached").join(target),
            findings: outside.join("findings").join(target),
        };
        for folder in [&places.corpus, &places.reached, &places.findings] {
            fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        Ok(places)
    }
}

/// Runs one fuzzer for so long, or on the corpus alone.
fn fuzz(target: &str, fuzzer: &Path, places: &Places, seconds: u32) -> Result<Outcome> {
    let mut command = Command::new(fuzzer);
    // What is found goes to the first folder.
    command.args([&places.reached, &places.corpus]);
    command.arg(format!("-artifact_prefix={}/", places.findings.display()));
    command.arg(format!("-timeout={LONGEST_INPUT}")).arg(format!("-rss_limit_mb={MOST_MEMORY}"));
    match seconds {
        0 => command.arg("-runs=0"),
        _ => command.arg(format!("-max_total_time={seconds}")),
    };
    Watched::start(target, command)?.follow()
}

/// Merges what was reached into the corpus. The engine takes the shortest inputs that reach it all.
fn keep(fuzzer: &Path, places: &Places) -> Result<()> {
    let before = files(&places.corpus)?.len();
    let mut command = Command::new(fuzzer);
    command.args(["-merge=1", "-max_len=4096"]).args([&places.corpus, &places.reached]);
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status().context("cannot start the fuzzer")?;
    if !status.success() {
        bail!("merging into {} failed: {status}", places.corpus.display());
    }
    let added = files(&places.corpus)?.len() - before;
    terminal::field("kept", format!("{added} inputs in {}", places.corpus.display()));
    Ok(())
}

fn run_input(targets: &[String], fuzzers: &[PathBuf], input: &Path) -> Result<()> {
    let [target] = targets else { bail!("--input is for one target: name it") };
    let mut command = Command::new(find(fuzzers, target)?);
    let input = input.canonicalize().with_context(|| format!("there is no {}", input.display()))?;
    let status = command.arg(format!("-timeout={LONGEST_INPUT}")).arg(input).status().context("cannot start it")?;
    if !status.success() {
        bail!("{target} still has this finding");
    }
    terminal::note(format!("{target} finds nothing wrong with it"));
    Ok(())
}

fn table(outcomes: &[Outcome]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED);
    table.set_header(["target", "executions", "each second", "edges", "features", "new", "corpus", "findings"]);
    for outcome in outcomes {
        let last = &outcome.last;
        table.add_row([
            outcome.target.clone(),
            terminal::thousands(last.executions),
            terminal::thousands(outcome.rate()),
            terminal::thousands(last.edges),
            terminal::thousands(last.features),
            terminal::thousands(outcome.new_features()),
            terminal::thousands(last.corpus),
            usize::from(outcome.finding.is_some()).to_string(),
        ]);
    }
    table
}

/// Says where each finding is, and how to see it again.
fn report(outcomes: &[Outcome]) -> Result<()> {
    let findings: Vec<_> = outcomes.iter().filter_map(|outcome| Some((outcome, outcome.finding.as_ref()?))).collect();
    for (Outcome { target, .. }, finding) in &findings {
        terminal::heading(&format!("finding in {target}"));
        for line in &finding.said {
            terminal::line(format!("  {line}"));
        }
        let Some(input) = &finding.input else { continue };
        terminal::field("input", input.display());
        terminal::field("again", format!("cargo xtask fuzz {target} --input {}", input.display()));
        terminal::field("once mended", format!("keep it as fuzz/corpus/{target}/found-…"));
    }
    match findings.len() {
        0 => Ok(()),
        1 => bail!("one target has a finding"),
        count => bail!("{count} targets have a finding"),
    }
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    match fs::read_dir(folder) {
        Ok(entries) => Ok(entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error).with_context(|| format!("cannot list {}", folder.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_the_programs_of_the_workspace() {
        let workspace = Cargo::new().unwrap().root().join("fuzz");
        let all = chosen(&workspace, &[]).unwrap();
        assert!(all.len() > 15 && all.iter().any(|name| name == "opening"), "{all:?}");
        assert_eq!(chosen(&workspace, &["opening".into()]).unwrap(), ["opening"]);
        let error = chosen(&workspace, &["closing".into()]).unwrap_err().to_string();
        assert!(error.contains("`closing`") && error.contains("opening"), "{error}");
        for target in all {
            assert!(workspace.join(format!("fuzz_targets/{target}.rs")).is_file(), "{target}");
        }
    }
}
