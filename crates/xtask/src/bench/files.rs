//! What a file of a volume costs, and that it costs the same however much else the volume holds.

use super::{
    figures::{Figure, Target, Unit},
    queue,
};
use crate::cargo::{Cargo, Sp1};
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;

/// How many times as much a file may cost in a volume that is nearly full as in one with little in it.
const MOST: f64 = 1.2;

/// Reads and writes through the engine, in a process of their own.
pub(super) fn measure(cargo: &Cargo) -> Result<Vec<Figure>> {
    let built = cargo.build(Sp1::Without, &["--example", "file_costs"])?;
    let example = built.first().context("cargo built no example called file_costs")?;
    let output = std::process::Command::new(example).output()?;
    if !output.status.success() {
        bail!("{} failed: {}", example.display(), String::from_utf8_lossy(&output.stderr).trim());
    }
    let mut lists: BTreeMap<String, Vec<f64>> =
        serde_json::from_slice(&output.stdout).context("the example prints no lists of numbers")?;
    let mut figure = |list: &str, name: &str| {
        let measured = lists.remove(list).with_context(|| format!("the example prints no list {list}"))?;
        Figure::new(name, Unit::Milliseconds, measured)
    };
    let mut figures = vec![queue::fsyncs()?];
    for (what, aim) in [("read", 0.1), ("write", 1.0)] {
        let done = if what == "read" { "read" } else { "written and synced" };
        let little = figure(&format!("{what}_1"), &format!("file of 4 KiB {done}, 1 MiB used"))?;
        let much = figure(&format!("{what}_60"), &format!("file of 4 KiB {done}, 60 MiB used"))?;
        let ratio = Figure::new("  times as dear", Unit::Times, vec![much.median() / little.median()])?;
        let aim = Target::p50_at_most(aim);
        figures.extend([little.with(aim), much.with(aim), ratio.with(Target::p50_at_most(MOST))]);
    }
    figures.push(figure("write_at_once", "file of 4 KiB written and synced, 16 volumes at once, each")?);
    Ok(figures)
}
