//! Runs controllers: WebAssembly core modules that speak the Valence v0.4 ABI, and components of the worlds in [`WIT`]; in
//! wasmtime, under limits.
//!
//! A controller is code from strangers. It computes, and reaches everything else through host calls: its arguments and
//! result, its log, its files and raw storage, the network as far as the host allows it. What it may use is bounded by [`Limits`], what it used is in [`Usage`],
//! and every way a run can fail is a [`RunError`] of its own, never a missing result.
//!
//! ```text
//! wasm ──compile──▶ Artifact (kept by the caller) ──load──▶ Module (cached here) ──call──▶ Run
//! ```
//!
//! A run computes on a thread that its caller gives it. When it has to wait for somebody else, for an HTTP answer say, it
//! hands the thread back: [`Sandbox::begin`] and [`Execution::advance`] are for callers with many runs and few threads,
//! [`Sandbox::call`] for those who have a thread to wait on.
//!
//! A run can be written down by a [`Recorder`], and [`replay`]ed from its [`Recording`] without the host it met.
//!
//! Witness generators of circom run under the same limits, and reach nothing at all: [`Generators`].
//!
//! This crate knows nothing of stores and volumes: whoever calls brings a [`Host`]. Nothing outside this crate knows
//! wasmtime. Each group of host calls has its file under `capability/`, those of components are in `component/`; limits are kept in `limits.rs`.

mod abi;
mod artifact;
mod cache;
mod capability;
mod component;
mod engine;
mod error;
mod execution;
mod generator;
mod guest;
mod host;
mod limits;
mod module;
mod network;
mod recording;
mod run;
mod sandbox;
mod ticker;
mod wait;

pub use abi::MAX_BUFFER;
pub use artifact::Artifact;
pub use error::{ModuleError, RunError, SandboxError};
pub use execution::{Execution, Progress, Waiting};
pub use generator::{Generated, Generator, GeneratorError, Generators};
pub use host::{Host, HostError};
pub use limits::{Limits, SandboxConfig, Usage};
pub use module::Module;
pub use network::{
    Authorization, BlockProof, HttpAnswer, HttpRequest, LatestBlock, NetworkAllowance, NetworkReply, Remote,
    RootUpdate, RpcRequest, StateProofReply,
};
pub use recording::{
    Answer, Asked, Difference, End, Exchange, Failed, RECORDING_VERSION, Recorder, Recording, RecordingError,
    ReplayError, Replayed, replay,
};
pub use run::{Call, Export, Role, Run};
pub use sandbox::Sandbox;

/// The worlds of controllers that are components, in WIT.
pub const WIT: &str = include_str!("../wit/controller.wit");
