//! How a node is set up.

use std::{num::NonZeroU32, path::PathBuf, thread, time::Duration};

/// How a node is set up.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// Its program and version, for [`NodeInfo`](crate::NodeInfo).
    pub version: String,
    /// Jobs it proves at once, at most.
    pub slots: NonZeroU32,
    /// Jobs that may wait beside them, at most; more are refused.
    pub queue: u32,
    /// Memory for proofs, in bytes: a job starts when what its backend sets aside for it is free.
    pub memory: u64,
    /// Where circuits are kept.
    pub circuits: CircuitStore,
    /// Most bytes of circuits in the directory; beyond that, the ones not used for longest are removed, but none that a job
    /// uses.
    pub circuit_disk: u64,
    /// Largest circuit it takes, in bytes.
    pub circuit_limit: usize,
    /// Circuits held in memory, in bytes; beyond that, the ones not used for longest are dropped (and read again from the
    /// directory, or uploaded again).
    pub circuit_cache: usize,
    /// Largest input of a circuit, in bytes.
    pub input_limit: usize,
    /// Most cycles of an execution, whatever the caller allows.
    pub max_cycles: u64,
    /// Executions at once, at most. They don't wait for a slot.
    pub executions: NonZeroU32,
    /// How long the result of a job is kept for a caller who lost the answer.
    pub keep_finished: Duration,
    /// Most results kept.
    pub keep_finished_jobs: usize,
    /// Most bytes of proofs kept.
    pub keep_finished_bytes: usize,
}

/// Where a node keeps circuits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CircuitStore {
    /// In memory: gone with the process, and bounded by [`NodeConfig::circuit_cache`].
    Memory,
    /// In a directory, which is made when needed and bounded by [`NodeConfig::circuit_disk`].
    Directory(PathBuf),
}

impl Default for NodeConfig {
    /// One slot, in memory, without a bound on the memory of proofs.
    fn default() -> Self {
        let cores = thread::available_parallelism().map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(u32::MAX));
        Self {
            version: concat!("coprocessor-prover ", env!("CARGO_PKG_VERSION")).into(),
            slots: NonZeroU32::MIN,
            queue: 64,
            memory: u64::MAX,
            circuits: CircuitStore::Memory,
            circuit_disk: 8 << 30,
            circuit_limit: 64 << 20,
            circuit_cache: 256 << 20,
            input_limit: 64 << 20,
            max_cycles: 1 << 36,
            executions: NonZeroU32::new(cores).unwrap_or(NonZeroU32::MIN),
            keep_finished: Duration::from_secs(15 * 60),
            keep_finished_jobs: 256,
            keep_finished_bytes: 256 << 20,
        }
    }
}
