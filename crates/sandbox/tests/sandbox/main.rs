//! The sandbox through its public interface, with controllers written as WebAssembly text.

mod both;
mod components;
mod concurrency;
mod examples;
mod harness;
mod host_calls;
mod images;
mod limits;
mod modules;
mod network;
mod outcomes;
mod recording;
mod v04;
