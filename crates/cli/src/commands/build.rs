//! `build`: a guest's controller and circuit.

use crate::{context::Context, error::CliError, live::Build as Display, text};
use clap::ValueEnum;
use coprocessor_guest_build::{
    BuildOptions, Flavour, GuestKind, Provenance, build_controller, build_guest, write_artifacts, write_controller,
};
use serde::Serialize;
use std::path::{Path, PathBuf};

#[derive(clap::Args, Debug)]
pub(crate) struct Build {
    /// The guest's folder
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// Which toolchain [default: the first that is here]
    #[arg(long, value_enum)]
    toolchain: Option<ToolchainChoice>,
    /// Refuse a Cargo.lock that is missing or does not fit, instead of writing it
    #[arg(long)]
    locked: bool,
    /// Build the controller alone; the guest may have no circuit
    #[arg(long)]
    controller_only: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ToolchainChoice {
    /// One with the targets: from `rustup target add wasm32-unknown-unknown` and Succinct's `sp1up`
    Installed,
    /// One that compiles the standard library from its source: Debian's packages rustc-web and rust-web-src
    LibrarySource,
}

/// What the command prints as JSON.
#[derive(Serialize)]
struct Report<'a> {
    artifacts: &'a Path,
    #[serde(flatten)]
    provenance: &'a Provenance,
}

/// What the command prints as JSON for a controller alone.
#[derive(Serialize)]
struct ControllerReport<'a> {
    controller: &'a Path,
    bytes: usize,
}

impl Build {
    pub(crate) fn run(self, context: &Context) -> Result<(), CliError> {
        let flavour = self.toolchain.map(|choice| match choice {
            ToolchainChoice::Installed => Flavour::Installed,
            ToolchainChoice::LibrarySource => Flavour::LibrarySource,
        });
        let options = BuildOptions { cache: None, controller: flavour, circuit: flavour, locked: self.locked };
        if self.controller_only {
            return self.controller(context, &options);
        }
        let mut display = Display::begin(&context.out);
        let built = build_guest(&self.dir, &options, &mut |progress| display.progress(&progress));
        drop(display);
        let built = built?;
        let folder = write_artifacts(&self.dir, &built)?;
        context.out.result(&Report { artifacts: &folder, provenance: &built.provenance }, || {
            let line = |kind: GuestKind| {
                let made = built.provenance.made(kind);
                let path = folder.join(kind.artifact());
                format!("{}  {}  sha256 {}\n", path.display(), text::size(made.bytes as u64), made.sha256)
            };
            format!("{}\nnext: cargo coprocessor deploy", GuestKind::ALL.map(line).concat())
        })
    }

    fn controller(&self, context: &Context, options: &BuildOptions) -> Result<(), CliError> {
        let mut display = Display::begin(&context.out);
        let built = build_controller(&self.dir, options, &mut |progress| display.progress(&progress));
        drop(display);
        let built = built?;
        let controller = write_controller(&self.dir, &built)?;
        let report = ControllerReport { controller: &controller, bytes: built.len() };
        context.out.result(&report, || {
            let (path, size) = (controller.display(), text::size(built.len() as u64));
            format!("{path}  {size}\n\nnext: cargo coprocessor deploy --controller {path} --circuit FILE")
        })
    }
}
