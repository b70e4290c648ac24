//! The OpenAPI document in `docs/`, as the coprocessor's handlers generate it.

use crate::{
    cargo::{Cargo, Sp1},
    terminal,
};
use anyhow::{Context, Result, bail};
use std::process::Command;

/// Write docs/openapi.json as the coprocessor generates it from its handlers.
#[derive(clap::Args, Clone, Copy)]
pub(crate) struct Options {
    /// Write nothing; fail when the document there is another one.
    #[arg(long)]
    check: bool,
}

impl Options {
    /// Checks the document that is there.
    pub(crate) const fn check() -> Self {
        Self { check: true }
    }
}

/// Runs the command.
pub(crate) fn run(options: Options) -> Result<()> {
    let cargo = Cargo::new()?;
    let programs = cargo.build_service(Sp1::Without)?;
    let output = Command::new(&programs.coprocessor).arg("openapi").output()?;
    if !output.status.success() {
        bail!("`coprocessor openapi` failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let document: serde_json::Value =
        serde_json::from_slice(&output.stdout).context("`coprocessor openapi` prints no JSON")?;
    let document = serde_json::to_string_pretty(&document)? + "\n";
    let path = cargo.root().join("docs/openapi.json");
    if !options.check {
        std::fs::write(&path, document).with_context(|| format!("cannot write {}", path.display()))?;
        terminal::line(format!("{} {}", terminal::mark(true), path.display()));
        return Ok(());
    }
    let recorded = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    match difference(&recorded, &document) {
        None => Ok(()),
        Some(line) => bail!(
            "{} is not what the handlers generate, from line {line} on: `cargo xtask openapi` writes it anew",
            path.display()
        ),
    }
}

/// The first line, counted from 1, where two texts differ.
fn difference(one: &str, other: &str) -> Option<usize> {
    if one == other {
        return None;
    }
    let same = one.lines().zip(other.lines()).take_while(|(one, other)| one == other).count();
    Some(same + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_difference_is_found() {
        assert_eq!(difference("a\nb\n", "a\nb\n"), None);
        assert_eq!(difference("a\nb\n", "a\nc\n"), Some(2));
        assert_eq!(difference("a\n", "a\nb\n"), Some(2));
        assert_eq!(difference("a", "a\n"), Some(2));
    }
}
