//! The life of a task, and all that the API does, without HTTP.
//!
//! One file per step of a task's life: [`admission`](Engine::admit) writes it, `execute` runs its controller, `prove` has
//! its circuit proved and verifies what comes back, `deliver` hands the proof to the controller. `runner` claims tasks for
//! these steps and gives each its lease; no step calls another. `domains`, `blocks` and `roots` are what tasks are pinned to. Knows no HTTP, no SQL, no wasmtime, no proving system.

mod admission;
mod blocks;
mod caller;
#[cfg(test)]
mod chains;
mod compiled;
mod config;
mod controllers;
mod deliver;
mod deployment;
mod domains;
mod dry_run;
mod error;
mod execute;
mod failure;
mod files;
mod handover;
mod heartbeat;
mod history;
mod host;
mod images;
mod keys;
mod lasting;
mod legacy_proof;
#[cfg(test)]
mod lives;
mod network;
mod owners;
mod place;
mod pool;
mod prove;
mod provers;
mod queries;
mod recent;
mod recordings;
mod roots;
mod runner;
mod state_runs;
mod step;
#[cfg(test)]
mod testing;
mod turns;
mod upkeep;
mod verification;
mod versions;
mod volumes;
#[cfg(test)]
mod waits;
mod watch;
mod webhooks;
mod witness;

use coprocessor_prover::verify::Verifiers;
use coprocessor_sandbox::Sandbox;
use coprocessor_store::Store;
use coprocessor_types::Backend;
use std::{collections::BTreeMap, sync::Arc};

pub use admission::TaskRequest;
pub use blocks::{Appended, AppendedBlock, MAX_APPEND};
pub use caller::{Caller, Scopes};
pub use compiled::{CompiledReport, CompiledSettings};
pub use config::{CircuitSetup, EngineConfig, ProofDeadlines, RecordingSettings, Recordings, RetryPolicy, Workers};
pub use deployment::{Deployed, Deployment};
pub use domains::{DomainName, DomainNameError, DomainRequest, Registered};
pub use dry_run::{CallReport, DryRun, ExecutionReport, WitnessReport};
pub use error::EngineError;
pub use files::{DirectoryListing, FileOrDirectory, VolumeSpace};
pub use images::{ImageRefusal, ImageUpload, NewImage};
pub use keys::new_key;
pub use network::{
    HttpRule, HttpRuleError, NetworkSettings, RpcEndpoint, RpcEndpointError, RpcEndpoints, RpcMethodError, RpcMethods,
};
pub use owners::OwnerLimits;
pub use pool::{NodeView, PoolSettings, ProverPool, ProverSource};
pub use provers::NodeRegistration;
pub use roots::{Opened, OpenedInstance, Transition};
pub use runner::Running;
pub use state_runs::StateReport;
pub use upkeep::{Collection, StorageReport};
pub use verification::{ClaimKey, ProofBundle, ProofClaim, Verdict};
pub use watch::Watch;
pub use webhooks::{AllowedHost, AllowedHostError, WEBHOOK_EVENTS, WebhookSettings};

/// The engine. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) sandbox: Sandbox,
    pub(crate) compiled: compiled::Compiled,
    /// For controllers that compute.
    pub(crate) controller_slots: Arc<tokio::sync::Semaphore>,
    /// For these, and for those that wait for the network.
    pub(crate) controller_rooms: tokio::sync::Semaphore,
    /// For those that others wait for.
    pub(crate) asked_rooms: tokio::sync::Semaphore,
    pub(crate) network: network::Network,
    pub(crate) provers: ProverPool,
    pub(crate) verifiers: Verifiers,
    pub(crate) setups: BTreeMap<Backend, Arc<dyn CircuitSetup>>,
    pub(crate) config: EngineConfig,
    pub(crate) claims: heartbeat::Claims,
    pub(crate) turns: turns::Turns,
    pub(crate) arriving: images::Arriving,
    pub(crate) handover: handover::Handover,
    pub(crate) circuits: prove::Circuits,
    pub(crate) upkeep: upkeep::Upkeep,
    pub(crate) newest: roots::Newest,
    pub(crate) flushes: lasting::Flushes,
    pub(crate) watchers: Arc<watch::Watchers>,
    pub(crate) accounts: owners::Accounts,
    pub(crate) outgoing: webhooks::Outgoing,
}

/// What an engine is made of.
pub struct Parts {
    /// The store.
    pub store: Arc<dyn Store>,
    /// The sandbox.
    pub sandbox: Sandbox,
    /// The prover nodes.
    pub provers: ProverPool,
    /// What verifies proofs.
    pub verifiers: Verifiers,
    /// Makes verifying keys without a prover node: of the backends that this build can.
    pub setups: BTreeMap<Backend, Arc<dyn CircuitSetup>>,
    /// Settings.
    pub config: EngineConfig,
}

impl Engine {
    /// An engine that answers; [`Engine::start`] makes it work on tasks. Looks at the files of compiled controllers, which takes
    /// a few milliseconds for a thousand.
    pub fn new(parts: Parts) -> Self {
        let Parts { store, sandbox, provers, verifiers, setups, config } = parts;
        let controller_slots = Arc::new(tokio::sync::Semaphore::new(config.workers.controllers));
        let controller_rooms = tokio::sync::Semaphore::new(sandbox.config().rooms());
        let asked_rooms = tokio::sync::Semaphore::new(sandbox.config().rooms());
        let network = network::Network::new(config.network.clone());
        let compiled = compiled::Compiled::new(config.compiled.as_ref(), &sandbox.fingerprint());
        let claims = heartbeat::Claims::new(Arc::clone(&store), config.lease);
        Self {
            inner: Arc::new(Inner {
                store,
                sandbox,
                compiled,
                controller_slots,
                controller_rooms,
                asked_rooms,
                network,
                provers,
                verifiers,
                setups,
                config,
                claims,
                turns: turns::Turns::default(),
                arriving: images::Arriving::default(),
                handover: handover::Handover::default(),
                circuits: prove::Circuits::default(),
                upkeep: upkeep::Upkeep::default(),
                newest: roots::Newest::default(),
                flushes: lasting::Flushes::default(),
                watchers: Arc::default(),
                accounts: owners::Accounts::default(),
                outgoing: webhooks::Outgoing::default(),
            }),
        }
    }
}
