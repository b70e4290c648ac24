//! Jobs: one proof to make, and what becomes of it.

use bytes::Bytes;
use coprocessor_types::{Backend, BlobDigest, ProofKind, TaskId};
use std::time::Duration;

use crate::BackendInfo;

/// Names a job: a task, and the fence of the claim under which it was asked for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct JobKey {
    /// The task.
    pub task: TaskId,
    /// The claim's fence.
    pub fence: u64,
}

/// A proof to make.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Job {
    /// Its name.
    pub key: JobKey,
    /// The circuit, uploaded before.
    pub circuit: BlobDigest,
    /// The form of proof.
    pub kind: ProofKind,
    /// The circuit's encoded [`coprocessor_types::CircuitInput`].
    pub input: Bytes,
}

/// What happens to a job: queued, started and done in this order and at most once each, steps in between any number of times
/// (the execution, before a slot is waited for, is a step as well).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum JobEvent {
    /// It waits; this many are before it.
    Queued {
        /// Number of jobs before it.
        ahead: u32,
    },
    /// Its turn has come.
    Started,
    /// A step has begun.
    Step {
        /// Its name: `executing`, `setting up`, `proving`, …
        name: String,
    },
    /// The proof.
    Done(Proof),
}

/// A proof as a node hands it out. Unverified.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Proof {
    /// Its form.
    pub kind: ProofKind,
    /// The proof in its backend's encoding: for SP1, bincode of the SDK's `SP1ProofWithPublicValues` (what its `save` writes).
    pub bytes: Bytes,
    /// `root ‖ output`, as the node claims it.
    pub public_inputs: Bytes,
    /// Cycles the circuit took.
    pub cycles: u64,
    /// Time spent proving, without waiting.
    pub proving: Duration,
    /// Time spent making keys; zero when they were there.
    pub set_up: Duration,
    /// Peak resident memory of the process that proved, in bytes: during this proof where it has a process of its own, else so
    /// far.
    pub peak_memory: u64,
}

/// What a node can do and how busy it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeInfo {
    /// The node's program and version.
    pub version: String,
    /// Its backends.
    pub backends: Vec<BackendInfo>,
    /// CPU features this build uses, such as `native: avx512f …` or `portable`.
    pub build: String,
    /// Slots and queue.
    pub slots: SlotUse,
    /// Memory it may use for proofs, in bytes.
    pub memory: u64,
}

impl NodeInfo {
    /// Whether it makes that kind of proof for circuits of that backend.
    pub fn offers(&self, backend: Backend, kind: ProofKind) -> bool {
        self.backends
            .iter()
            .any(|b| b.backend.is_none_or(|own| own == backend) && b.offers.iter().any(|offer| offer.kind == kind))
    }
}

/// How busy a node is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SlotUse {
    /// Jobs it runs at once, at most.
    pub slots: u32,
    /// Slots whose prover is being started: a job on one of them waits for that.
    pub starting: u32,
    /// Jobs running.
    pub running: u32,
    /// Jobs that may wait, at most.
    pub queue: u32,
    /// Jobs waiting.
    pub waiting: u32,
}
