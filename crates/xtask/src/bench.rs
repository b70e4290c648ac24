//! Speed and memory, as a table and as JSON. Informs; never fails because something is slow, but does where something is done that must not
//! be done at all.

mod compiled;
mod curve;
mod figures;
mod files;
mod proofs;
mod queue;
mod service;
mod storm;
mod tree;

use crate::{
    cargo::{Cargo, Sp1},
    service::{Backend, Folders, Guest, Service, with_service},
    terminal, tools,
};
use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use figures::{Figure, Report, Target, Unit};
use std::path::PathBuf;

/// Measure speed and memory, and print a table.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Write the figures to this file as JSON too.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Only these; may be given several times.
    #[arg(long, value_enum)]
    only: Vec<Part>,
    /// Nothing that needs SP1 compiled or run.
    #[arg(long)]
    no_sp1: bool,
    /// How many programs the part `compiled` deploys and calls.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    programs: u32,
}

/// What can be measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Part {
    /// Tasks with mock proofs, submitted to delivered.
    Tasks,
    /// Starting on an existing store, and memory when idle.
    Start,
    /// Calls of a controller.
    Calls,
    /// Many programs, each called once in a process that was just started: compiled, then from what is kept of that. Fails when anything
    /// is compiled again; takes minutes, so only when asked for.
    Compiled,
    /// Files of a volume, with little else in it and with much.
    Files,
    /// The queue on both stores: admissions, whole lives, wake-ups, beside the disk's and the database's own limits.
    Queue,
    /// The API at rest, and in a storm of slow controllers.
    Storm,
    /// The queue against a store of up to a million finished tasks; takes many minutes, so only when asked for.
    Curve,
    /// Blocks and roots on both stores, up to a million blocks; takes minutes, so only when asked for.
    Tree,
    /// Core proofs through the service and by the SDK directly.
    Proofs,
}

impl Options {
    fn wants(&self, part: Part) -> bool {
        let long = matches!(part, Part::Compiled | Part::Curve | Part::Tree);
        let asked = if self.only.is_empty() { !long } else { self.only.contains(&part) };
        asked && !(part == Part::Proofs && self.no_sp1)
    }
}

/// Runs the command.
pub(crate) fn run(options: &Options) -> Result<()> {
    if options.no_sp1 && options.only == [Part::Proofs] {
        bail!("core proofs can't be measured without SP1");
    }
    let cargo = Cargo::new()?;
    let hello = Guest::read(cargo.root(), "hello", None)?;
    let mut report = Report::of_this_machine();
    if options.wants(Part::Calls) {
        report.add(calls_in_process(&cargo)?);
    }
    if options.wants(Part::Tasks) || options.wants(Part::Start) || options.wants(Part::Calls) {
        measure_service(&cargo, options, &hello, &mut report)?;
    }
    if options.wants(Part::Files) {
        report.add(files::measure(&cargo)?);
    }
    let sp1 = if options.no_sp1 { Sp1::Without } else { Sp1::With };
    if options.wants(Part::Queue) {
        report.add(queue::measure(&cargo, &cargo.build_service(sp1)?, &hello)?);
    }
    if options.wants(Part::Storm) {
        report.add(storm::measure(&cargo, &cargo.build_service(sp1)?, &hello)?);
    }
    if options.wants(Part::Compiled) {
        report.add(compiled::measure(&cargo, &cargo.build_service(sp1)?, &hello, options.programs)?);
    }
    if options.wants(Part::Curve) {
        let built = cargo.build(sp1, &["--example", "fill"])?;
        let fill = built.first().context("cargo built no example called fill")?;
        report.add(curve::measure(&cargo, &cargo.build_service(sp1)?, fill, &hello)?);
    }
    if options.wants(Part::Tree) {
        let built = cargo.build(Sp1::Without, &["--example", "domains"])?;
        report.add(tree::measure(built.first().context("cargo built no example called domains")?)?);
    }
    if options.wants(Part::Proofs) {
        match tools::available_memory() {
            Some(available) if available < tools::CORE_PROOF_MEMORY => terminal::note(format!(
                "core proofs are left out: they need {}, and {} are available",
                terminal::bytes(tools::CORE_PROOF_MEMORY),
                terminal::bytes(available)
            )),
            _ => proofs::measure(&cargo, &hello, &mut report)?,
        }
    }
    report.print();
    if let Some(path) = &options.json {
        std::fs::write(path, report.to_json()?).with_context(|| format!("cannot write {}", path.display()))?;
        terminal::line(format!("\nwritten to {}", path.display()));
    }
    Ok(())
}

/// What the service itself costs: measured with mock proofs, so nothing else is in the figures.
fn measure_service(cargo: &Cargo, options: &Options, hello: &Guest, report: &mut Report) -> Result<()> {
    let programs = cargo.build_service(if options.no_sp1 { Sp1::Without } else { Sp1::With })?;
    let data = tempfile::Builder::new().prefix("coprocessor-bench-").tempdir()?;
    let folders = Folders { data: data.path().to_owned(), logs: cargo.target().join("bench") };
    with_service(Service::new(&programs, Backend::Mock, folders)?, async |service| {
        let (client, program) = service::start(service, hello).await?;
        if options.wants(Part::Tasks) {
            report.add(service::tasks(&client, program, hello).await?);
        }
        if options.wants(Part::Calls) {
            report.add(service::calls(&client, program).await?);
        }
        if options.wants(Part::Start) {
            report.add(service::starts(service).await?);
        }
        Ok(())
    })
}

/// What the sandbox adds to a controller's own work: calls of a module that does nothing, in a process of their own.
fn calls_in_process(cargo: &Cargo) -> Result<Vec<Figure>> {
    let built = cargo.build(Sp1::Without, &["--example", "call_overhead"])?;
    let example = built.first().context("cargo built no example called call_overhead")?;
    let output = std::process::Command::new(example).output()?;
    if !output.status.success() {
        bail!("{} failed: {}", example.display(), String::from_utf8_lossy(&output.stderr).trim());
    }
    let Calls { sandbox, bare } =
        serde_json::from_slice(&output.stdout).context("the example prints something else than two lists")?;
    let target = Target::p50_at_most(0.2);
    let sandbox =
        Figure::new("controller call, warm module, no work of its own", Unit::Milliseconds, sandbox)?.with(target);
    let bare = Figure::new("  limit: bare wasmtime with the same pool, nothing counted", Unit::Milliseconds, bare)?;
    let times = vec![sandbox.median() / bare.median()];
    let times = Figure::new("  times as dear", Unit::Times, times)?.with(Target::p50_at_most(1.5));
    Ok(vec![sandbox, bare, times])
}

/// What the example prints, in milliseconds.
#[derive(serde::Deserialize)]
struct Calls {
    sandbox: Vec<f64>,
    bare: Vec<f64>,
}
