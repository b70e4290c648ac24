//! Witness generators through the public interface: those of circom, and hostile ones written as WebAssembly text.
#![allow(missing_docs)]

mod circom;
mod hostile;
