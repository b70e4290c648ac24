//! How the two kinds are compiled, whatever compiles them.

use crate::toolchain::{Flavour, GuestKind};

/// The zkVM's target, for compilers that do not know it. Describes the same machine as the one built into Succinct's.
pub(crate) const CIRCUIT_TARGET_FILE: &str = include_str!("riscv64im-succinct-zkvm-elf.json");

/// Name of the zkVM's target, and of its file.
pub(crate) const CIRCUIT_TARGET: &str = "riscv64im-succinct-zkvm-elf";

/// Target of controllers.
pub(crate) const CONTROLLER_TARGET: &str = "wasm32-unknown-unknown";

/// Compiler flags, apart from those that name paths of this machine.
pub(crate) fn rustc_flags(kind: GuestKind) -> &'static [&'static str] {
    match kind {
        GuestKind::Controller => &["-Cpanic=abort"],
        GuestKind::Circuit => &[
            // The machine has one hart and no atomic instructions.
            "-Cpasses=lower-atomic",
            // Where SP1 wants the code: 0x78000000.
            "-Clink-arg=--image-base=2013265920",
            "-Cpanic=abort",
            "--cfg",
            "getrandom_backend=\"custom\"",
            // SP1's own scheduling choice: fewer cycles.
            "-Cllvm-args=-misched-prera-direction=bottomup",
            "-Cllvm-args=-misched-postra-direction=bottomup",
        ],
    }
}

/// Cargo's arguments that name the target, and build the standard library where it does not come with the compiler.
pub(crate) fn cargo_args(kind: GuestKind, flavour: Flavour) -> &'static [&'static str] {
    match (kind, flavour) {
        (GuestKind::Controller, Flavour::LibrarySource) => {
            &["-Zbuild-std=std,panic_abort", "--target", CONTROLLER_TARGET]
        }
        (GuestKind::Circuit, Flavour::LibrarySource) => &[
            "-Zbuild-std=std,panic_abort",
            "-Zbuild-std-features=compiler-builtins-mem",
            "-Zjson-target-spec",
            "--target",
            "riscv64im-succinct-zkvm-elf.json",
        ],
        (GuestKind::Controller, Flavour::Installed) => &["--target", CONTROLLER_TARGET],
        (GuestKind::Circuit, Flavour::Installed) => &["--target", CIRCUIT_TARGET],
    }
}

/// Everything of the above as text, so that a changed recipe changes the digest of what is built by it.
pub(crate) fn fingerprint() -> String {
    let of = |kind| rustc_flags(kind).join("\n");
    format!("{}\n\n{}\n\n{CIRCUIT_TARGET_FILE}", of(GuestKind::Controller), of(GuestKind::Circuit))
}
