//! A short run on each store: a few dozen faults, every kind among them.
#![allow(missing_docs)]

use std::{
    path::Path,
    process::{Command, Stdio},
};

/// Shows within a minute that a kind of fault is not survived, where the long run would say it after a quarter of an hour.
fn run(store: &str, faults: &str, seconds: &str) {
    let chaos = Path::new(env!("CARGO_BIN_EXE_chaos"));
    for program in ["coprocessor", "coprocessor-prover"] {
        assert!(
            chaos.with_file_name(program).is_file(),
            "{program} is missing beside {}; run `cargo xtask test`, or build the programs first with \
             `cargo build --workspace --bins`",
            chaos.display()
        );
    }
    let output = Command::new(chaos)
        .args(["--store", store, "--faults", faults, "--seconds", seconds, "--tasks-per-second", "8"])
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if said.contains("is not installed") && std::env::var_os("CI").is_none() {
        return skipped(&said);
    }
    assert!(output.status.success(), "{said}");
    assert!(said.contains("0 lost, 0 doubled, 0 otherwise broken"), "{said}");
}

/// Says that a test looked at nothing, and why.
#[allow(clippy::print_stderr)] // For whoever runs the tests with --nocapture.
fn skipped(reason: &str) {
    eprintln!("SKIPPED: {reason}");
}

#[test]
fn nothing_is_lost_or_doubled_on_the_embedded_store() {
    run("embedded", "40", "25");
}

#[test]
fn nothing_is_lost_or_doubled_on_postgres() {
    run("postgres", "50", "30");
}
