//! What blocks and roots cost, against the number of blocks, on both stores.

use super::{
    figures::{Figure, Target, Unit},
    queue::{Kind, fsyncs, postgres},
};
use crate::terminal::Step;
use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
};

/// Blocks in the largest tree.
const BLOCKS: u64 = 1_000_000;

/// Blocks a second, in full calls, in the largest tree.
const RATE: f64 = 20_000.0;

/// Milliseconds that one append may take until it is durable.
const SINGLE: f64 = 2.0;

/// Milliseconds that an opening may take where no database has to be asked over a connection.
const OPENING: f64 = 0.05;

/// What the example prints of one size.
#[derive(Deserialize)]
struct Point {
    blocks: u64,
    rates: Vec<f64>,
    single: Vec<f64>,
    opened: Vec<f64>,
    past: Vec<f64>,
    siblings: Vec<f64>,
}

/// Appends and openings at each power of ten.
pub(super) fn measure(example: &Path) -> Result<Vec<Figure>> {
    let mut figures = vec![fsyncs()?];
    figures.extend(on_store(example, Kind::Embedded, None)?);
    if let Some(cluster) = postgres()? {
        figures.extend(on_store(example, Kind::Postgres, Some(cluster.create_database("trees")?))?);
    }
    Ok(figures)
}

fn on_store(example: &Path, kind: Kind, database: Option<String>) -> Result<Vec<Figure>> {
    let folder = tempfile::Builder::new().prefix("coprocessor-bench-").tempdir()?;
    let mut command = Command::new(example);
    command.arg(folder.path()).arg(BLOCKS.to_string()).stdout(Stdio::piped());
    match database {
        Some(url) => command.env("DATABASE_URL", url),
        None => command.env_remove("DATABASE_URL"),
    };
    let mut child = command.spawn().with_context(|| format!("cannot start {}", example.display()))?;
    let points = child.stdout.take().context("its output is not piped")?;
    let mut figures = Vec::new();
    let mut step = Step::begin("Trees", kind.as_str());
    for line in BufReader::new(points).lines() {
        let point: Point = serde_json::from_str(&line?).context("the example prints something else")?;
        step.done(format!("{} blocks", point.blocks));
        step = Step::begin("Trees", kind.as_str());
        figures.extend(of_point(kind, point)?);
    }
    let status = child.wait()?;
    ensure!(status.success(), "{} failed: {status}", example.display());
    step.done("done");
    Ok(figures)
}

fn of_point(kind: Kind, point: Point) -> Result<Vec<Figure>> {
    let Point { blocks, rates, single, opened, past, siblings } = point;
    let figure =
        |what: &str, unit, measured| Figure::new(format!("{}: {what}, {blocks} blocks", kind.as_str()), unit, measured);
    // What is wanted is wanted of the largest tree.
    let aim = |figure: Figure, target| if blocks == BLOCKS { figure.with(target) } else { figure };
    let opening = figure("opening at the newest root", Unit::Milliseconds, opened)?;
    Ok(vec![
        aim(figure("appends in full calls", Unit::PerSecond, rates)?, Target::P50AtLeast(RATE)),
        aim(figure("one durable append", Unit::Milliseconds, single)?, Target::P50AtMost(SINGLE)),
        match kind {
            Kind::Embedded => aim(opening, Target::P50AtMost(OPENING)),
            Kind::Postgres => opening,
        },
        figure("opening at an older root", Unit::Milliseconds, past)?,
        figure("siblings of an opening, in both trees", Unit::Siblings, siblings)?,
    ])
}
