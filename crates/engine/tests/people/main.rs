//! Owners, keys and webhooks, through the engine's public interface over a real store.
#![allow(missing_docs)]

mod enforcement;
mod fixture;
mod keys;
mod programs;
mod provers;
mod receiver;
mod webhooks;
