//! Every test there is, in one command.

use crate::{
    cargo::Cargo,
    demo, guests, openapi, terminal,
    tools::{self, Need},
};
use anyhow::{Context, Result, bail};
use regex::Regex;
use std::{
    io::{BufRead, BufReader, IsTerminal, Write},
    path::PathBuf,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// Run all tests: the workspace's, the guests', and the service from end to end with one real SP1 core proof.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Without the real proof and the rebuild of the guests.
    #[arg(long)]
    quick: bool,
}

/// What tests came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Counts {
    passed: u64,
    failed: u64,
    ignored: u64,
}

/// A part of the tests, and how to run it.
struct Part<'a> {
    name: String,
    run: Box<dyn FnOnce() -> Result<Counts> + 'a>,
}

/// A part of the tests that was run.
struct Ran {
    name: String,
    outcome: Result<Counts>,
    took: Duration,
}

/// Runs the command.
pub(crate) fn run(options: &Options) -> Result<()> {
    check_tools()?;
    let cargo = Cargo::new()?;
    let ran: Vec<_> = parts(&cargo, options)?.into_iter().map(run_part).collect();
    summarise(&ran)
}

/// All parts, the quick ones first.
fn parts<'a>(cargo: &'a Cargo, options: &Options) -> Result<Vec<Part<'a>>> {
    let mut parts = vec![Part {
        name: "the workspace's tests".into(),
        run: Box::new(|| {
            // The end-to-end tests start the programs, which `cargo test` alone would not build for them.
            cargo.build(crate::cargo::Sp1::With, &["--bins", "--examples"])?;
            counted(cargo.command().args(["test", "--workspace", "--no-fail-fast"]), &mut std::io::stdout())
        }),
    }];
    parts.push(Part { name: "the controller SDK's host for tests".into(), run: Box::new(|| sdk_tests(cargo)) });
    for guest in guests::all(cargo.root())? {
        parts.push(Part {
            name: format!("guest {}", guest.name),
            run: Box::new(move || guest_tests(cargo, &guest.dir)),
        });
    }
    let threshold = cargo.root().join("examples/threshold");
    parts.push(Part { name: "example threshold".into(), run: Box::new(move || guest_tests(cargo, &threshold)) });
    parts.push(Part {
        name: "no_std on a bare target".into(),
        run: Box::new(|| one(guests::check_bare_target(cargo.root()))),
    });
    parts.push(Part {
        name: "the OpenAPI document".into(),
        run: Box::new(|| one(openapi::run(openapi::Options::check()))),
    });
    parts.push(Part { name: "demo, mock".into(), run: Box::new(|| one(demo::run(&demo::Options::of_hello(true)))) });
    parts.push(Part { name: "demo, groth16".into(), run: Box::new(|| one(demo::run(&demo::Options::of_groth16()))) });
    // Its chain comes from npm; where that is missing, the note about tools has said so.
    if tools::has_npm() {
        parts.push(Part {
            name: "demo of a chain, mock".into(),
            run: Box::new(|| one(demo::run(&demo::Options::of_a_chain()))),
        });
    }
    if !options.quick {
        parts.push(Part {
            name: "guests' artifacts".into(),
            run: Box::new(|| one(guests::run(&guests::Options::check_all()))),
        });
        parts.push(Part {
            name: "demo, a real core proof".into(),
            run: Box::new(|| one(demo::run(&demo::Options::of_hello(false)))),
        });
    }
    Ok(parts)
}

/// A guest's logic is tested where it was written: natively, with the machine's own compiler.
fn guest_tests(cargo: &Cargo, dir: &std::path::Path) -> Result<Counts> {
    let mut command = cargo.command();
    command.args(["test", "--workspace", "--locked", "--no-fail-fast", "--manifest-path"]).arg(dir.join("Cargo.toml"));
    command.env("CARGO_TARGET_DIR", native_guest_target(cargo));
    counted(&mut command, &mut std::io::stdout())
}

/// With the feature that only guests' tests turn on, and so in their target directory.
fn sdk_tests(cargo: &Cargo) -> Result<Counts> {
    let mut command = cargo.command();
    command.args(["test", "-p", "coprocessor-controller-sdk", "--features", "testing", "--no-fail-fast"]);
    command.env("CARGO_TARGET_DIR", native_guest_target(cargo));
    counted(&mut command, &mut std::io::stdout())
}

fn native_guest_target(cargo: &Cargo) -> PathBuf {
    cargo.target().join("guests-native")
}

fn one(outcome: Result<()>) -> Result<Counts> {
    outcome.map(|()| Counts { passed: 1, ..Counts::default() })
}

/// Tests that need a tool which is not there skip themselves and say so, but not where nobody would read that.
fn check_tools() -> Result<()> {
    let wanted = |need| matches!(need, Need::Build | Need::Tests);
    let Some(install) = tools::install_command(&tools::look(), wanted) else { return Ok(()) };
    if tools::is_ci() {
        bail!("tools that tests need are missing, and CI is set; install them with\n  {install}");
    }
    terminal::note(format!("tests that need tools which are not here skip themselves. To have them all:\n  {install}"));
    Ok(())
}

fn run_part(part: Part<'_>) -> Ran {
    terminal::heading(&part.name);
    let started = Instant::now();
    let outcome = (part.run)();
    if let Err(error) = &outcome {
        terminal::error(error);
    }
    Ran { name: part.name, outcome, took: started.elapsed() }
}

/// Runs `cargo test`, passes on what it prints, and counts.
///
/// # Errors
/// When a test fails, or the tests do not compile.
fn counted(command: &mut Command, to: &mut impl Write) -> Result<Counts> {
    if std::io::stdout().is_terminal() {
        command.env("CARGO_TERM_COLOR", "always");
    }
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("cannot start cargo")?;
    let output = BufReader::new(child.stdout.take().context("cargo has no standard output")?);
    let mut counts = Counts::default();
    for line in output.lines() {
        let line = line?;
        writeln!(to, "{line}")?;
        counts = counts.and(Counts::of_line(&line).unwrap_or_default());
    }
    let status = child.wait()?;
    match (status.success(), counts.failed) {
        (true, 0) => Ok(counts),
        (true, failed) => bail!("{failed} tests failed, although cargo says otherwise"),
        (false, 0) => bail!("the tests did not run to their end ({status}): see above"),
        (false, failed) => bail!("{failed} tests failed, {} passed: see above", counts.passed),
    }
}

impl Counts {
    /// What `test result: ok. 3 passed; 0 failed; 1 ignored; …` says, with or without colour.
    fn of_line(line: &str) -> Option<Self> {
        if !line.starts_with("test result:") {
            return None;
        }
        let pattern = Regex::new(r"(\d+) passed; (\d+) failed; (\d+) ignored;").expect("the pattern is well-formed");
        let numbers = pattern.captures(line)?;
        let number = |at: usize| numbers[at].parse().ok();
        Some(Self { passed: number(1)?, failed: number(2)?, ignored: number(3)? })
    }

    fn and(self, other: Self) -> Self {
        Self {
            passed: self.passed + other.passed,
            failed: self.failed + other.failed,
            ignored: self.ignored + other.ignored,
        }
    }
}

fn summarise(ran: &[Ran]) -> Result<()> {
    terminal::heading("Tests");
    for part in ran {
        let came_to = match &part.outcome {
            Ok(counts) => format!("{} passed, {} ignored", counts.passed, counts.ignored),
            Err(error) => error.to_string(),
        };
        let (good, took) = (terminal::mark(part.outcome.is_ok()), terminal::duration(part.took));
        terminal::line(format!("{good} {:26} {came_to} ({took})", part.name));
    }
    let total = ran.iter().filter_map(|part| part.outcome.as_ref().ok()).fold(Counts::default(), |a, b| a.and(*b));
    let failed: Vec<_> = ran.iter().filter(|part| part.outcome.is_err()).map(|part| part.name.as_str()).collect();
    if failed.is_empty() {
        terminal::line(format!("\ntests: {} passed, 0 failed, {} ignored", total.passed, total.ignored));
        return Ok(());
    }
    bail!("not all tests passed: {}", failed.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_lines_are_counted() {
        let line = "test result: ok. 12 passed; 0 failed; 3 ignored; 0 measured; 1 filtered out; finished in 0.01s";
        assert_eq!(Counts::of_line(line), Some(Counts { passed: 12, failed: 0, ignored: 3 }));
        let coloured = "test result: \u{1b}[31mFAILED\u{1b}(B\u{1b}[m. 1 passed; 2 failed; 0 ignored; 0 measured;";
        assert_eq!(Counts::of_line(coloured), Some(Counts { passed: 1, failed: 2, ignored: 0 }));
        assert_eq!(Counts::of_line("test a_test_result ... ok"), None);
        assert_eq!(Counts::of_line("I print 1 passed; 2 failed; 3 ignored;"), None);
    }

    #[test]
    fn output_is_passed_on_and_counted() {
        let mut shell = Command::new("sh");
        shell.args(["-c", "echo running; echo 'test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured'"]);
        let mut seen = Vec::new();
        assert_eq!(counted(&mut shell, &mut seen).unwrap(), Counts { passed: 2, failed: 0, ignored: 0 });
        assert!(seen.starts_with(b"running\n"), "{seen:?}");
    }

    #[test]
    fn a_failure_and_a_crash_are_told_apart() {
        let fails = |script: &str| {
            let error = counted(Command::new("sh").args(["-c", script]), &mut Vec::new()).unwrap_err();
            error.to_string()
        };
        let failed = fails("echo 'test result: FAILED. 2 passed; 1 failed; 0 ignored;'; exit 101");
        assert_eq!(failed, "1 tests failed, 2 passed: see above");
        assert!(fails("exit 101").contains("did not run to their end"));
    }
}
