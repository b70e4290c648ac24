//! The service as its operator and its callers meet it: real processes, flags, signals, HTTP and nothing else.
//!
//! Every proof asked for here is a mock proof, so that the tests say the same with and without the SP1 SDK.
#![cfg(unix)]

mod backup;
mod bad_input;
mod cluster;
mod compiled;
mod controllers;
mod deadlines;
mod disk;
mod documents;
mod domains;
mod durability;
mod events;
mod failing_guests;
mod groth16;
mod guests;
mod keeping;
mod keys;
mod limits;
mod network;
mod process;
mod programs;
mod provers;
mod recordings;
mod scopes;
mod service;
mod start;
mod storm;
mod tasks;
mod verification;
mod volume_writers;
mod volumes;
mod webhooks;
