//! Proof that the crates which circuits and controllers use need no operating system.

use crate::{
    build::Progress,
    cargo,
    error::GuestBuildError,
    stage::default_cache,
    toolchain::{GuestKind, Toolchain},
};
use std::path::Path;

const TARGET: &str = "riscv64imac-unknown-none-elf";
const CRATES: [&str; 5] = [
    "coprocessor-types",
    "coprocessor-merkle",
    "coprocessor-circuit-sdk",
    "coprocessor-controller-sdk",
    "coprocessor-ethereum",
];

/// Compiles the `no_std` crates of the workspace in `root` for a target that has no standard library.
///
/// # Errors
/// No compiler with the library's source (with the command that installs one), or cargo's own report.
pub fn check_bare_target(root: &Path, progress: &mut dyn FnMut(Progress<'_>)) -> Result<(), GuestBuildError> {
    let toolchain = Toolchain::with_library_source().ok_or_else(|| GuestBuildError::NoToolchain {
        kind: GuestKind::Circuit,
        looked: "no rustc with the library's source".to_owned(),
    })?;
    progress(Progress::Found(GuestKind::Circuit, &toolchain));
    let target = default_cache()?.join("bare");
    let mut command = cargo::command(root, &target, &toolchain.rustc, &[]);
    command
        .env("RUSTC_BOOTSTRAP", "1")
        .args(["check", "--locked", "--lib", "--no-default-features", "-Zbuild-std=core,alloc", "--target", TARGET])
        .args(CRATES.iter().flat_map(|name| ["-p", name]));
    cargo::run(command, "no_std crates for a bare target", &mut |line| {
        progress(Progress::Cargo(GuestKind::Circuit, line));
    })
    .map(|_| ())
}
