//! The contracts and the written verifiers on a real node (anvil), compiled by solc; beside the verifier that snarkjs writes.
#![allow(missing_docs)]

mod adapters;
mod agreement;
mod chain;
mod fixtures;
mod gas;
mod payout;
mod public_values;
mod registry;
mod scene;
mod sizes;
