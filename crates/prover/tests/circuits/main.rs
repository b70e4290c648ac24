//! The committed circuits, run as they are: what they cost, and what they refuse.
#![allow(missing_docs)]

mod chain;
mod cycles;
mod forgeries;
#[path = "../../../merkle/tests/world/mod.rs"]
mod world;
