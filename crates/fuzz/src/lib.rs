//! What fuzzers do with bytes.
//!
//! Each [`Target`] is a function that takes bytes of a stranger's choosing to one of the service's parsers, by the public
//! interface of the crate that has it, and panics where that does something it must not: panics itself, takes what it should
//! refuse, says other than a plain model says, or does not give back what it was given.
//!
//! The fuzzers in `fuzz/` drive these functions with an engine that learns from coverage. The test `corpus` runs them on every
//! input in `fuzz/corpus`, without an engine: what was found once stays found. It also keeps the seeds there, which
//! [`Target::seeds`] makes, as they are made.
//!
//! A new parser of bytes from outside gets a file in `targets/`, a row in [`TARGETS`] and a binary in `fuzz/fuzz_targets`.

mod frames;
mod input;
mod pages;
mod targets;

pub use input::{Input, Writer};
pub use targets::guest::{IMPORTS, run_guest};

/// A parser, and how to try it.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name: that of its fuzzer and of its folder in the corpus.
    pub name: &'static str,
    /// What is tried, in a few words.
    pub about: &'static str,
    /// Tries these bytes. Panics on a finding.
    pub run: fn(&[u8]),
    /// Inputs to begin with, by name.
    pub seeds: fn() -> Vec<Seed>,
}

/// An input to begin with: its name, and its bytes.
pub type Seed = (String, Vec<u8>);

/// All of them but those that need more than this crate to make their input (see `fuzz/`).
pub const TARGETS: &[Target] = &[
    targets::opening::TARGET,
    targets::append::TARGET,
    targets::history::TARGET,
    targets::types::TARGET,
    targets::circuit_input::TARGET,
    targets::header::TARGET,
    targets::trie::TARGET,
    targets::state::TARGET,
    targets::guest::TARGET,
    targets::host_calls::TARGET,
    targets::component_calls::TARGET,
    targets::image::TARGET,
    targets::volume::TARGET,
    targets::path::TARGET,
    targets::api::TARGET,
    targets::cursor::TARGET,
    targets::settings::TARGET,
    targets::solidity::TARGET,
    targets::circuit::TARGET,
    targets::proof::TARGET,
    targets::node_answers::TARGET,
    targets::node_requests::TARGET,
    targets::r1cs::TARGET,
    targets::zkey::TARGET,
    targets::groth16_json::TARGET,
];

/// The target with that name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

/// Tries bytes on the target with that name.
///
/// # Panics
/// On a finding, and where there is no such target.
pub fn run(name: &str, data: &[u8]) {
    let target = target(name).unwrap_or_else(|| panic!("there is no target {name}"));
    (target.run)(data);
}
