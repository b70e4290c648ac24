//! From a guest's folder to its artifacts.

use crate::{
    artifacts::{Artifacts, Made, Provenance},
    cargo, component,
    error::{At, GuestBuildError},
    recipe,
    sources::Sources,
    stage::{Stage, default_cache},
    toolchain::{Flavour, GuestKind, Toolchain},
};
use serde::Deserialize;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

/// How to build.
#[derive(Clone, Debug, Default)]
pub struct BuildOptions {
    /// Where to build; `COPROCESSOR_CACHE_DIR`, or the user's cache folder, if none.
    pub cache: Option<PathBuf>,
    /// Which flavour for the controller; the first that is here if none.
    pub controller: Option<Flavour>,
    /// Which flavour for the circuit; the first that is here if none.
    pub circuit: Option<Flavour>,
    /// Refuse a `Cargo.lock` that is missing or does not fit, instead of writing it.
    pub locked: bool,
}

/// What happens during a build.
#[derive(Debug)]
pub enum Progress<'a> {
    /// A toolchain was chosen.
    Found(GuestKind, &'a Toolchain),
    /// A line of cargo's report.
    Cargo(GuestKind, &'a str),
    /// An artifact is there, of so many bytes, after so long.
    Built(GuestKind, usize, Duration),
}

/// Builds both halves of the guest in `dir`. Writes nothing there but a new or outdated `Cargo.lock`;
/// [`write_artifacts`](crate::write_artifacts) keeps the result.
///
/// # Errors
/// Not a guest, no toolchain (with the command that installs one), or cargo's own report.
pub fn build_guest(
    dir: &Path,
    options: &BuildOptions,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Artifacts, GuestBuildError> {
    let mut sources = Sources::read(dir)?;
    let controller = Toolchain::find(GuestKind::Controller, options.controller)?;
    let circuit = Toolchain::find(GuestKind::Circuit, options.circuit)?;
    let cache = options.cache.clone().map_or_else(default_cache, Ok)?;
    let stage = Stage::open(&cache, dir)?;
    stage.fill(&sources)?;
    lock(dir, options, &stage, &mut sources, &controller, progress)?;

    let mut build = |kind, toolchain: &Toolchain| {
        progress(Progress::Found(kind, toolchain));
        let started = Instant::now();
        let bytes = build_half(kind, &stage, toolchain, &mut |line| progress(Progress::Cargo(kind, line)))?;
        progress(Progress::Built(kind, bytes.len(), started.elapsed()));
        Ok::<_, GuestBuildError>(bytes)
    };
    let controller_bytes = build(GuestKind::Controller, &controller)?;
    let circuit_bytes = build(GuestKind::Circuit, &circuit)?;
    let provenance = Provenance {
        sources: sources.digest(),
        controller: Made::of(&controller_bytes, controller.compiler),
        circuit: Made::of(&circuit_bytes, circuit.compiler),
    };
    Ok(Artifacts { controller: controller_bytes, circuit: circuit_bytes, provenance })
}

/// Builds the controller in `dir` alone, which may have no circuit. Otherwise as [`build_guest`].
///
/// # Errors
/// As [`build_guest`].
pub fn build_controller(
    dir: &Path,
    options: &BuildOptions,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Vec<u8>, GuestBuildError> {
    const KIND: GuestKind = GuestKind::Controller;
    let mut sources = Sources::read_with(dir, &[KIND])?;
    let toolchain = Toolchain::find(KIND, options.controller)?;
    let cache = options.cache.clone().map_or_else(default_cache, Ok)?;
    let stage = Stage::open(&cache, dir)?;
    stage.fill(&sources)?;
    lock(dir, options, &stage, &mut sources, &toolchain, progress)?;
    progress(Progress::Found(KIND, &toolchain));
    let started = Instant::now();
    let bytes = build_half(KIND, &stage, &toolchain, &mut |line| progress(Progress::Cargo(KIND, line)))?;
    progress(Progress::Built(KIND, bytes.len(), started.elapsed()));
    Ok(bytes)
}

/// Lets cargo resolve the dependencies, and download them, before anything is compiled; takes what it wrote to
/// `Cargo.lock` into the sources and back to the guest.
fn lock(
    dir: &Path,
    options: &BuildOptions,
    stage: &Stage,
    sources: &mut Sources,
    toolchain: &Toolchain,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<(), GuestBuildError> {
    const LOCK: &str = "Cargo.lock";
    let mut command = cargo::command(&stage.sources, &stage.target, &toolchain.rustc, &[]);
    command.args(["metadata", "--format-version=1", "--filter-platform", recipe::CONTROLLER_TARGET]);
    if options.locked {
        command.arg("--locked");
    }
    cargo::run(command, "list of dependencies", &mut |line| progress(Progress::Cargo(GuestKind::Controller, line)))?;
    let path = stage.sources.join(LOCK);
    let locked = fs::read(&path).at(&path)?;
    if sources.0.get(LOCK) != Some(&locked) {
        let kept = dir.join(LOCK);
        fs::write(&kept, &locked).at(&kept)?;
        sources.0.insert(LOCK.to_owned(), locked);
    }
    Ok(())
}

fn build_half(
    kind: GuestKind,
    stage: &Stage,
    toolchain: &Toolchain,
    line: &mut dyn FnMut(&str),
) -> Result<Vec<u8>, GuestBuildError> {
    let mut command = half_command(kind, stage, toolchain);
    command.arg("--manifest-path").arg(stage.sources.join(kind.folder()).join("Cargo.toml"));
    let report = cargo::run(command, kind.folder(), line)?;
    let product = product(kind, stage, &report)?.ok_or(GuestBuildError::NoProduct { kind })?;
    let bytes = fs::read(&product).at(product)?;
    match kind {
        GuestKind::Controller => Ok(component::encode(&bytes)?.unwrap_or(bytes)),
        GuestKind::Circuit => Ok(bytes),
    }
}

fn half_command(kind: GuestKind, stage: &Stage, toolchain: &Toolchain) -> Command {
    let mut flags: Vec<String> = recipe::rustc_flags(kind).iter().map(|flag| (*flag).to_owned()).collect();
    if let Some(linker) = &toolchain.linker {
        flags.push(format!("-Clinker={}", linker.display()));
    }
    let mut remap = |from: &Path, to: &str| flags.push(format!("--remap-path-prefix={}={to}", from.display()));
    for registry in cargo::registry_sources() {
        remap(&registry, "/crates");
    }
    remap(&toolchain.sysroot.join("lib/rustlib/src/rust"), "/rust");
    remap(&stage.target, "/target");
    remap(&stage.sources, "/guest");

    let target = stage.target.join(kind.folder());
    let mut command = cargo::command(&stage.sources, &target, &toolchain.rustc, &flags);
    if toolchain.compiler.flavour == Flavour::LibrarySource {
        // Building the standard library is an unstable feature of a stable compiler.
        command.env("RUSTC_BOOTSTRAP", "1");
    }
    command.args(["build", "--release", "--locked", "--message-format=json-render-diagnostics"]);
    command.args(recipe::cargo_args(kind, toolchain.compiler.flavour));
    command
}

/// The file cargo says it made of the half's own crate.
fn product(kind: GuestKind, stage: &Stage, report: &str) -> Result<Option<PathBuf>, GuestBuildError> {
    #[derive(Deserialize)]
    struct Message {
        reason: String,
        manifest_path: Option<PathBuf>,
        executable: Option<PathBuf>,
        #[serde(default)]
        filenames: Vec<PathBuf>,
    }
    let unreadable =
        |error: serde_json::Error| GuestBuildError::CargoReport { what: kind.to_string(), reason: error.to_string() };
    let manifest = stage.sources.join(kind.folder()).join("Cargo.toml");
    let mut product = None;
    for line in report.lines() {
        let message: Message = serde_json::from_str(line).map_err(unreadable)?;
        if message.reason == "compiler-artifact" && message.manifest_path.as_ref() == Some(&manifest) {
            let module =
                || message.filenames.into_iter().find(|file| file.extension().is_some_and(|ext| ext == "wasm"));
            product = match kind {
                GuestKind::Controller => module(),
                GuestKind::Circuit => message.executable,
            }
            .or(product);
        }
    }
    Ok(product)
}
