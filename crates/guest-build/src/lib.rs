//! Builds guest programs, and writes new ones from a template.
//!
//! A guest is a folder with its own cargo workspace: `controller/` becomes a WebAssembly module, `circuit/` an ELF for
//! SP1's zkVM, and `artifacts/` keeps both with a record of what they were made from. [`build_guest`] finds a toolchain
//! for either kind, copies the sources into a folder of its own outside the checkout, and builds there: neither the
//! enclosing checkout's cargo configuration nor this process's environment reaches a guest, and equal sources and
//! compiler give equal bits wherever the checkout lies.
//!
//! A controller whose bindings were made from WIT becomes a component, any other stays a core module.
//!
//! Used by `cargo coprocessor new` and `build`, and by this repository's `cargo xtask guests`.

mod artifacts;
mod bare;
mod build;
mod cargo;
mod component;
mod error;
mod recipe;
mod sdk;
mod sources;
mod stage;
pub mod template;
mod toolchain;

pub use artifacts::{
    Artifacts, Comparison, Made, Provenance, check_guest, read_artifacts, write_artifacts, write_controller,
};
pub use bare::check_bare_target;
pub use build::{BuildOptions, Progress, build_controller, build_guest};
pub use error::GuestBuildError;
pub use sources::source_digest;
pub use toolchain::{Compiler, Flavour, GuestKind, Toolchain};
