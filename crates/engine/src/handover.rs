//! What one step of a task leaves for the next, where the same process does both: the store then need not be asked for it.
//!
//! Only a shortcut. What the store has recorded decides: a piece that is not the recorded one is not used.

use bytes::Bytes;
use coprocessor_store::{StepOutcome, Task};
use coprocessor_types::{BlobDigest, TaskId};
use serde_json::Value;
use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Tasks of which something is kept, at most; the oldest go first.
const TASKS: usize = 4096;

/// Largest witness or proof that is kept, in bytes.
const PIECE: usize = 16 << 10;

/// Pieces kept for tasks between two steps.
#[derive(Default)]
pub(crate) struct Handover(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    tasks: HashMap<TaskId, Pieces>,
    /// In the order in which they came; some are gone by now.
    order: VecDeque<TaskId>,
}

struct Pieces {
    witness: Piece,
    log: Value,
    proof: Option<Piece>,
}

#[derive(Clone)]
struct Piece {
    digest: BlobDigest,
    content: Bytes,
}

/// What is kept for a delivery.
#[derive(Default)]
pub(crate) struct ForDelivery {
    pub(crate) proof: Option<Bytes>,
    /// What `get_witnesses` logged.
    pub(crate) log: Option<Value>,
}

impl Handover {
    /// Keeps what the next step of the task will want. Before the outcome is written, since another step may begin right then.
    pub(crate) fn keep(&self, task: TaskId, outcome: &StepOutcome) {
        match outcome {
            StepOutcome::Executed { witness, event, .. } => {
                let Some(witness) = Piece::small(witness) else { return };
                let log = event.detail["log"].clone();
                self.kept().insert(task, Pieces { witness, log, proof: None });
            }
            StepOutcome::Proved { proof, .. } => {
                let Some(proof) = Piece::small(proof) else { return };
                if let Some(pieces) = self.kept().tasks.get_mut(&task) {
                    pieces.proof = Some(proof);
                }
            }
            StepOutcome::Delivered { .. } | StepOutcome::Postponed { .. } | StepOutcome::Failed { .. } => {}
        }
    }

    /// The task's witness.
    pub(crate) fn witness(&self, task: &Task) -> Option<Bytes> {
        self.kept().tasks.get(&task.id).and_then(|pieces| pieces.witness.recorded(task.witness))
    }

    /// What the task's delivery wants; it is kept no longer.
    pub(crate) fn for_delivery(&self, task: &Task) -> ForDelivery {
        let Some(pieces) = self.kept().tasks.remove(&task.id) else { return ForDelivery::default() };
        let same_witness = task.witness == Some(pieces.witness.digest);
        ForDelivery {
            proof: pieces.proof.and_then(|proof| proof.recorded(task.proof)),
            log: same_witness.then_some(pieces.log),
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn insert(&mut self, task: TaskId, pieces: Pieces) {
        if self.tasks.insert(task, pieces).is_none() {
            self.order.push_back(task);
        }
        while self.tasks.len() > TASKS {
            let Some(oldest) = self.order.pop_front() else { return };
            self.tasks.remove(&oldest);
        }
        if self.order.len() > 2 * TASKS {
            self.order.retain(|task| self.tasks.contains_key(task));
        }
    }
}

impl Piece {
    fn small(content: &Bytes) -> Option<Self> {
        let fits = content.len() <= PIECE;
        fits.then(|| Self { digest: BlobDigest::of(content), content: content.clone() })
    }

    fn recorded(&self, digest: Option<BlobDigest>) -> Option<Bytes> {
        (digest == Some(self.digest)).then(|| self.content.clone())
    }
}
