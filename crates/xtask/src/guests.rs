//! The guests of this repository: built, checked, and their SDK shown to need no operating system.

use crate::{
    cargo::Cargo,
    demo,
    terminal::{self, Step},
};
use anyhow::{Context, Result, bail};
use coprocessor_guest_build::{
    Artifacts, BuildOptions, Comparison, GuestKind, Progress, build_guest, check_guest, write_artifacts,
};
use std::path::{Path, PathBuf};

/// Build the guests' artifacts with whichever toolchain is here.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Write nothing: check that the artifacts fit their sources, rebuild them, and compare. Bit for bit where the
    /// recorded compiler is the one here, else by running what was rebuilt.
    #[arg(long)]
    check: bool,
    /// Build no guest; show that the crates that guests are written with need no operating system.
    #[arg(long, conflicts_with_all = ["check", "guest"])]
    bare_target: bool,
    /// Only this guest: a folder of `guests/`. May be given several times.
    #[arg(long)]
    guest: Vec<String>,
}

impl Options {
    /// Checks every guest.
    pub(crate) const fn check_all() -> Self {
        Self { check: true, bare_target: false, guest: Vec::new() }
    }
}

/// A guest's folder.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Folder {
    /// The folder's name.
    pub(crate) name: String,
    /// Where it is.
    pub(crate) dir: PathBuf,
}

/// Runs the command.
pub(crate) fn run(options: &Options) -> Result<()> {
    let cargo = Cargo::new()?;
    if options.bare_target {
        return check_bare_target(cargo.root());
    }
    for guest in chosen(all(cargo.root())?, &options.guest)? {
        if options.check {
            check(&cargo, &guest)?;
        } else {
            let artifacts = build(&guest)?;
            let folder = write_artifacts(&guest.dir, &artifacts)?;
            terminal::field(&guest.name, format!("written to {}", folder.display()));
        }
    }
    Ok(())
}

/// Every guest of the checkout, by name.
pub(crate) fn all(root: &Path) -> Result<Vec<Folder>> {
    let folder = root.join("guests");
    let mut guests = Vec::new();
    for entry in std::fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let dir = entry?.path();
        if dir.join("Cargo.toml").is_file() {
            let name = dir.file_name().and_then(|name| name.to_str()).context("a guest's name is not UTF-8")?;
            guests.push(Folder { name: name.to_owned(), dir });
        }
    }
    guests.sort();
    Ok(guests)
}

/// Compiles the crates that guests are written with for a target without an operating system.
pub(crate) fn check_bare_target(root: &Path) -> Result<()> {
    let mut step = Step::begin("Bare target", "finding a compiler");
    coprocessor_guest_build::check_bare_target(root, &mut |progress| tell(&mut step, &progress))?;
    step.done("the no_std crates compile without an operating system");
    Ok(())
}

fn chosen(all: Vec<Folder>, names: &[String]) -> Result<Vec<Folder>> {
    if let Some(unknown) = names.iter().find(|name| !all.iter().any(|guest| guest.name == **name)) {
        let known: Vec<_> = all.iter().map(|guest| guest.name.as_str()).collect();
        bail!("there is no guest called {unknown:?}; there are {}", known.join(", "));
    }
    Ok(all.into_iter().filter(|guest| names.is_empty() || names.contains(&guest.name)).collect())
}

fn build(guest: &Folder) -> Result<Artifacts> {
    let mut step = Step::begin(&guest.name, "finding compilers");
    let options = BuildOptions { locked: true, ..BuildOptions::default() };
    let artifacts = build_guest(&guest.dir, &options, &mut |progress| tell(&mut step, &progress))?;
    step.done(format!(
        "controller {}, circuit {}",
        terminal::bytes(artifacts.controller.len() as u64),
        terminal::bytes(artifacts.circuit.len() as u64)
    ));
    Ok(artifacts)
}

fn tell(step: &mut Step, progress: &Progress<'_>) {
    match progress {
        Progress::Found(kind, toolchain) => step.leave(&format!("  {kind}: {}", toolchain.compiler)),
        Progress::Cargo(kind, line) => step.doing(&format!("{kind}: {}", line.trim())),
        Progress::Built(kind, bytes, took) => {
            step.doing(&format!("{kind}: {} in {}", terminal::bytes(*bytes as u64), terminal::duration(*took)));
        }
    }
}

/// First what needs no compiler; then what was recorded against what is built here.
fn check(cargo: &Cargo, guest: &Folder) -> Result<()> {
    let recorded = check_guest(&guest.dir)?;
    terminal::line(format!(
        "{} {}: the artifacts are those recorded, and fit the sources",
        terminal::mark(true),
        guest.name
    ));
    let rebuilt = build(guest)?;
    let comparisons = GuestKind::ALL.map(|kind| (kind, rebuilt.provenance.made(kind).compare(recorded.made(kind))));
    for (kind, comparison) in comparisons {
        let (came_to, good) = match comparison {
            Comparison::Same => ("rebuilt bit for bit", true),
            Comparison::OtherCompiler => ("another compiler gives other bits, as it may", true),
            Comparison::Different => ("the recorded compiler gives other bits", false),
        };
        terminal::line(format!("{} {}: {kind}: {came_to}", terminal::mark(good), guest.name));
    }
    if let Some((kind, _)) = comparisons.iter().find(|(_, comparison)| *comparison == Comparison::Different) {
        bail!(
            "guest {}: the {kind} in its artifacts/ is not what its sources and the recorded compiler give; \
             `cargo xtask guests --guest {}` writes it anew",
            guest.name,
            guest.name
        );
    }
    if comparisons.iter().any(|(_, comparison)| *comparison == Comparison::OtherCompiler) {
        run_rebuilt(cargo, guest, &rebuilt)?;
    }
    Ok(())
}

/// Other bits have to do the same: what was rebuilt goes the whole way of a request, as the committed artifacts do in the
/// tests.
fn run_rebuilt(cargo: &Cargo, guest: &Folder, rebuilt: &Artifacts) -> Result<()> {
    let place = cargo.target().join("guests-rebuilt").join(&guest.name);
    std::fs::create_dir_all(&place)?;
    let folder = write_artifacts(&place, rebuilt)?;
    demo::run(&demo::Options::of_rebuilt(&guest.name, folder))
        .with_context(|| format!("rebuilt, guest {} fails", guest.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guests_are_found_and_chosen_by_name() {
        let all = all(Cargo::new().unwrap().root()).unwrap();
        let names = |guests: &[Folder]| guests.iter().map(|guest| guest.name.clone()).collect::<Vec<_>>();
        assert!(names(&all).contains(&"hello".to_owned()), "{all:?}");
        assert_eq!(names(&chosen(all.clone(), &["hello".into()]).unwrap()), ["hello"]);
        assert_eq!(chosen(all.clone(), &[]).unwrap(), all);
        let error = chosen(all, &["ghost".into()]).unwrap_err().to_string();
        assert!(error.contains("\"ghost\"") && error.contains("hello"), "{error}");
    }
}
