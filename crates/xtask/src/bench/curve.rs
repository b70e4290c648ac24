//! What finished tasks cost those that are not: the queue of a store that holds many of them, each sample beside one in a store
//! without, so that whatever else the machine does is in both.

use super::{
    figures::{Figure, Target, Unit},
    queue::{Kind, Lab, PATIENCE, Role, milliseconds, postgres, runtime},
};
use crate::{
    cargo::{Cargo, Programs},
    service::Guest,
    terminal::Step,
};
use anyhow::{Result, ensure};
use coprocessor_api::client::Client;
use coprocessor_types::{ProgramId, TaskId};
use std::{path::Path, time::Instant};

/// Finished tasks in the store at each point.
const SIZES: [u64; 3] = [10_000, 100_000, 1_000_000];

/// Programs that each filling adds.
const PROGRAMS: u64 = 10_000;

/// Admissions and reads at each point, in each of the two stores.
const SAMPLES: usize = 2_000;

/// How many times as much as in an empty store something may take.
const MOST: f64 = 1.3;

/// Admission, status, and from claim to delivery, against the number of finished tasks.
pub(super) fn measure(cargo: &Cargo, programs: &Programs, fill: &Path, hello: &Guest) -> Result<Vec<Figure>> {
    let runtime = runtime()?;
    let mut figures = Vec::new();
    let cluster = postgres()?;
    for kind in [Kind::Embedded, Kind::Postgres] {
        let lab = |name: &str| {
            let database = match (kind, &cluster) {
                (Kind::Embedded, _) => None,
                (Kind::Postgres, Some(cluster)) => Some(cluster.create_database(name)?),
                (Kind::Postgres, None) => return Ok(None),
            };
            Lab::new(cargo, programs, hello, kind, database).map(Some)
        };
        let (Some(mut empty), Some(mut filled)) = (lab("empty")?, lab("filled")?) else { continue };
        let mut there = 0;
        for size in SIZES {
            put(fill, &filled, size - there)?;
            there = size;
            figures.extend(runtime.block_on(point(&mut empty, &mut filled, size))?);
        }
    }
    Ok(figures)
}

/// Puts finished tasks and programs into a store.
fn put(fill: &Path, lab: &Lab<'_>, tasks: u64) -> Result<()> {
    let step = Step::begin("Filling", &lab.name(&format!("{tasks} finished tasks")));
    let mut command = std::process::Command::new(fill);
    command.arg("--tasks").arg(tasks.to_string()).arg("--programs").arg(PROGRAMS.to_string());
    command.arg("--directory").arg(lab.data());
    if let Some(url) = lab.database() {
        command.arg("--database").arg(url);
    }
    let output = command.output()?;
    ensure!(output.status.success(), "{}: {}", fill.display(), String::from_utf8_lossy(&output.stderr).trim());
    step.done(String::from_utf8_lossy(&output.stdout).trim());
    Ok(())
}

/// Tasks asked for at one store, and what that took.
struct Asking {
    client: Client,
    programs: Vec<ProgramId>,
    tasks: Vec<TaskId>,
    admissions: Vec<f64>,
    reads: Vec<f64>,
}

async fn point(empty: &mut Lab<'_>, filled: &mut Lab<'_>, size: u64) -> Result<Vec<Figure>> {
    let step = Step::begin("Point", &filled.name(&format!("{size} finished tasks")));
    let (in_empty, in_filled) = ask(empty, filled).await?;
    let rates = (deliver(empty, &in_empty.tasks).await?, deliver(filled, &in_filled.tasks).await?);
    step.done(format!("{:.0} a second claimed and delivered, {:.0} in an empty store", rates.1, rates.0));
    let name = |what: &str| filled.name(&format!("{what}, {size} finished tasks"));
    let mut figures = compare(&name("admission"), Unit::Milliseconds, in_filled.admissions, in_empty.admissions)?;
    figures.extend(compare(&name("status"), Unit::Milliseconds, in_filled.reads, in_empty.reads)?);
    figures.extend(compare(&name("claims to delivery"), Unit::PerSecond, vec![rates.1], vec![rates.0])?);
    Ok(figures)
}

/// Admissions and reads one at a time, now in one store and now in the other.
async fn ask(empty: &mut Lab<'_>, filled: &mut Lab<'_>) -> Result<(Asking, Asking)> {
    let (one, client) = empty.start(Role::AnswerOnly).await?;
    let mut in_empty = Asking::begin(empty, client).await?;
    let (other, client) = filled.start(Role::AnswerOnly).await?;
    let mut in_filled = Asking::begin(filled, client).await?;
    for number in 0..SAMPLES {
        in_empty.ask(empty, number).await?;
        in_filled.ask(filled, number).await?;
    }
    one.stop().await?;
    other.stop().await?;
    Ok((in_empty, in_filled))
}

impl Asking {
    async fn begin(lab: &Lab<'_>, client: Client) -> Result<Self> {
        let programs = lab.deploy(&client).await?;
        Ok(Self { client, programs, tasks: Vec::new(), admissions: Vec::new(), reads: Vec::new() })
    }

    async fn ask(&mut self, lab: &Lab<'_>, number: usize) -> Result<()> {
        let program = self.programs[number % self.programs.len()];
        let began = Instant::now();
        let task: TaskId = self.client.create_task(&program, &lab.request(number), None).await?.id.parse()?;
        self.admissions.push(milliseconds(began.elapsed()));
        let began = Instant::now();
        self.client.task(&task).await?;
        self.reads.push(milliseconds(began.elapsed()));
        self.tasks.push(task);
        Ok(())
    }
}

/// Has tasks that wait worked on; how many a second.
async fn deliver(lab: &mut Lab<'_>, tasks: &[TaskId]) -> Result<f64> {
    let (working, client) = lab.start(Role::Work).await?;
    let began = Instant::now();
    for task in tasks {
        client.wait(task, PATIENCE).await?;
    }
    let rate = tasks.len() as f64 / began.elapsed().as_secs_f64();
    working.stop().await?;
    Ok(rate)
}

/// A figure, the same in the empty store, and how many times as dear the first is.
fn compare(name: &str, unit: Unit, filled: Vec<f64>, empty: Vec<f64>) -> Result<Vec<Figure>> {
    let (filled, empty) = (Figure::new(name, unit, filled)?, Figure::new("  in an empty store", unit, empty)?);
    let ratio = match unit {
        Unit::PerSecond => empty.median() / filled.median(),
        _ => filled.median() / empty.median(),
    };
    let ratio = Figure::new("  times as dear", Unit::Times, vec![ratio])?.with(Target::p50_at_most(MOST));
    Ok(vec![filled, empty, ratio])
}
