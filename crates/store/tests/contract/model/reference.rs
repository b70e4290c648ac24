//! What a store must say, kept in plain maps.

use super::operation::{Aged, OWNERS, PROGRAMS, WORKERS};
use coprocessor_store::{Failure, Program, Stage, Task, TaskState};
use coprocessor_types::{BlobDigest, TaskId};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// Who holds a task.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Hold {
    Nobody,
    /// A worker, for longer than any history.
    Leased,
    /// A worker whose lease has run out: it holds the task until another claims it.
    Lapsed,
}

#[derive(Clone, Debug)]
pub(super) struct ModelTask {
    pub(super) id: TaskId,
    pub(super) program: usize,
    pub(super) owner: usize,
    pub(super) controller: BlobDigest,
    pub(super) priority: i16,
    pub(super) deadline: Option<Timestamp>,
    pub(super) state: TaskState,
    pub(super) fence: u64,
    pub(super) attempts: u32,
    pub(super) hold: Hold,
    /// Postponed until then, which is later than any history ends.
    pub(super) later: Option<Timestamp>,
    pub(super) node: Option<String>,
    pub(super) witness: Option<BlobDigest>,
    pub(super) proof: Option<BlobDigest>,
    pub(super) output: Option<Vec<u8>>,
    pub(super) result: Option<serde_json::Value>,
    pub(super) failure: Option<Failure>,
    pub(super) finished_at: Option<Timestamp>,
    /// Aged out, or gone with its program.
    pub(super) gone: bool,
}

impl ModelTask {
    fn is_ready(&self, stage: Stage) -> bool {
        !self.gone && self.state.stage() == Some(stage) && self.hold != Hold::Leased && self.later.is_none()
    }

    /// Whether whoever gives this fence holds the task.
    pub(super) fn is_held_under(&self, fence: u64) -> bool {
        !self.gone && self.hold != Hold::Nobody && self.fence == fence
    }

    fn is_unfinished(&self) -> bool {
        !self.gone && !self.state.is_finished()
    }

    /// What may be compared with what the store says: what no clock has a part in.
    pub(super) fn agrees_with(&self, task: &Task, owner: &str) -> bool {
        let times = task.updated_at >= task.created_at
            && self.finished_at.is_none_or(|at| at == task.updated_at)
            && (self.state.is_finished() || task.not_before == self.later || self.later.is_none());
        times
            && (self.id, self.controller, self.priority) == (task.id, task.controller, task.priority)
            && (self.state, self.fence, self.attempts) == (task.state, task.fence, task.attempts)
            && (self.deadline, &self.node, self.witness) == (task.deadline, &task.node, task.witness)
            && (self.proof, &self.result, &self.failure) == (task.proof, &task.result, &task.failure)
            && self.output.as_deref() == task.output.as_deref()
            && owner == task.owner.as_str()
    }
}

#[derive(Clone, Debug)]
pub(super) struct ModelProgram {
    pub(super) program: Program,
    /// Every blob it has named.
    pub(super) named: BTreeSet<BlobDigest>,
    pub(super) version: u64,
    /// The volume's one page: a mark for each write, in their order.
    pub(super) page: Vec<u8>,
}

/// An event, without its number and its time.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct ModelEvent {
    pub(super) task: usize,
    pub(super) name: String,
    pub(super) state: TaskState,
}

/// What admission should come to. Where both bounds are reached, either may be told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Admitted {
    New,
    Repeated(usize),
    KeyReused(usize),
    Refused { total: bool, of_owner: bool },
}

/// A claim as its worker remembers it, rightly or not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Remembered {
    pub(super) task: usize,
    pub(super) fence: u64,
    /// How many there were before it.
    pub(super) number: usize,
}

#[derive(Debug, Default)]
pub(super) struct Model {
    /// In the order they were admitted.
    pub(super) tasks: Vec<ModelTask>,
    pub(super) programs: [Option<ModelProgram>; PROGRAMS],
    /// By owner, program and key: the request and its task.
    pub(super) keys: BTreeMap<(usize, usize, u8), (u8, usize)>,
    pub(super) workers: [Vec<Remembered>; WORKERS],
    claims: usize,
    /// What the operation at hand must have appended, in any order.
    pub(super) appended: Vec<ModelEvent>,
    pub(super) turns: Turns,
}

impl Model {
    pub(super) fn unfinished(&self, counts: impl Fn(&ModelTask) -> bool) -> u64 {
        self.tasks.iter().filter(|task| task.is_unfinished() && counts(task)).count() as u64
    }

    pub(super) fn admission(
        &self,
        owner: usize,
        program: usize,
        key: Option<(u8, u8)>,
        total: u64,
        of_owner: u64,
    ) -> Admitted {
        if let Some((key, request)) = key
            && let Some(&(before, task)) = self.keys.get(&(owner, program, key))
        {
            return if before == request { Admitted::Repeated(task) } else { Admitted::KeyReused(task) };
        }
        let total = self.unfinished(|_| true) >= total;
        let of_owner = self.unfinished(|task| task.owner == owner) >= of_owner;
        if total || of_owner { Admitted::Refused { total, of_owner } } else { Admitted::New }
    }

    pub(super) fn append(&mut self, task: usize, name: &str) {
        let state = self.tasks[task].state;
        self.appended.push(ModelEvent { task, name: name.to_owned(), state });
    }

    /// An owner's tasks that are ready for a stage, in the order they are to be claimed.
    pub(super) fn ready(&self, stage: Stage, owner: usize) -> Vec<usize> {
        let ready = |index: &usize| self.tasks[*index].owner == owner && self.tasks[*index].is_ready(stage);
        let mut ready: Vec<_> = (0..self.tasks.len()).filter(ready).collect();
        ready.sort_by_key(|&index| (std::cmp::Reverse(self.tasks[index].priority), index));
        ready
    }

    pub(super) fn claim(&mut self, index: usize, stage: Stage, lapsed: bool) {
        let task = &mut self.tasks[index];
        task.state = [TaskState::Executing, TaskState::Proving, TaskState::Delivering][stage as usize];
        task.fence += 1;
        task.hold = if lapsed { Hold::Lapsed } else { Hold::Leased };
        self.append(index, "claimed");
    }

    pub(super) fn remember(&mut self, worker: usize, task: usize, fence: u64) {
        self.workers[worker].push(Remembered { task, fence, number: self.claims });
        self.claims += 1;
    }

    pub(super) fn failed(&self) -> Vec<usize> {
        let failed = |index: &usize| !self.tasks[*index].gone && self.tasks[*index].state == TaskState::Failed;
        (0..self.tasks.len()).filter(failed).collect()
    }

    /// Nobody holds the task from then on.
    pub(super) fn advance(&mut self, index: usize, state: TaskState, event: &str) {
        let task = &mut self.tasks[index];
        task.state = state;
        (task.hold, task.later) = (Hold::Nobody, None);
        self.append(index, event);
    }

    pub(super) fn retry(&mut self, index: usize, deadline: Option<Timestamp>) -> bool {
        let task = &mut self.tasks[index];
        let Some(failure) = task.failure.take_if(|failure| failure.retryable) else { return false };
        (task.attempts, task.deadline, task.finished_at) = (0, deadline, None);
        self.advance(index, waiting(failure.stage), "retried");
        true
    }

    pub(super) fn next_deadline(&self) -> Option<Timestamp> {
        self.tasks.iter().filter(|task| task.is_unfinished()).filter_map(|task| task.deadline).min()
    }

    /// Unfinished tasks whose deadline is no later than that, earliest first.
    pub(super) fn expired(&self, now: Timestamp) -> Vec<usize> {
        let due = |index: &usize| {
            let task = &self.tasks[*index];
            task.is_unfinished() && task.deadline.is_some_and(|deadline| deadline <= now)
        };
        let mut expired: Vec<_> = (0..self.tasks.len()).filter(due).collect();
        expired.sort_by_key(|&index| self.tasks[index].deadline);
        expired
    }

    pub(super) fn any_ready(&self, stage: Stage) -> bool {
        self.tasks.iter().any(|task| task.is_ready(stage))
    }

    /// Whether a stage has a task that will be ready by itself, but is not yet.
    pub(super) fn any_waits(&self, stage: Stage) -> bool {
        let of_stage = |task: &ModelTask| !task.gone && task.state.stage() == Some(stage);
        self.tasks.iter().any(|task| of_stage(task) && !task.is_ready(stage))
    }

    /// Removes a program with its tasks, unless some are not finished: their number.
    pub(super) fn delete(&mut self, program: usize) -> u64 {
        let busy = self.unfinished(|task| task.program == program);
        if busy == 0 {
            self.programs[program] = None;
            for index in 0..self.tasks.len() {
                if self.tasks[index].program == program {
                    self.forget(index);
                }
            }
        }
        busy
    }

    fn forget(&mut self, index: usize) {
        self.tasks[index].gone = true;
        self.keys.retain(|_, (_, task)| *task != index);
    }

    /// Ages out of those that finished no later than that; how many.
    pub(super) fn collect(&mut self, what: Aged, up_to: Timestamp) -> u64 {
        let mut count = 0;
        for index in 0..self.tasks.len() {
            let task = &mut self.tasks[index];
            if task.gone || task.finished_at.is_none_or(|at| at > up_to) {
                continue;
            }
            let aged = match what {
                Aged::Witnesses => task.state != TaskState::Failed && task.witness.take().is_some(),
                Aged::Proofs => task.state != TaskState::Failed && task.proof.take().is_some(),
                Aged::Tasks => true,
                Aged::Blobs => false,
            };
            if aged && what == Aged::Tasks {
                self.forget(index);
            }
            count += u64::from(aged);
        }
        count
    }

    /// Every blob that something names.
    pub(super) fn named_blobs(&self) -> BTreeSet<BlobDigest> {
        let of_programs = self.programs.iter().flatten().flat_map(|program| program.named.iter().copied());
        let of_tasks = (self.tasks.iter().filter(|task| !task.gone))
            .flat_map(|task| [Some(task.controller), task.witness, task.proof].into_iter().flatten());
        of_programs.chain(of_tasks).collect()
    }

    /// The store was closed and opened.
    pub(super) fn reopen(&mut self, voids_leases: bool) {
        if voids_leases {
            for task in self.tasks.iter_mut().filter(|task| task.hold != Hold::Nobody) {
                task.hold = Hold::Nobody;
            }
        }
        self.turns.passed.clear();
    }
}

pub(super) fn waiting(stage: Stage) -> TaskState {
    [TaskState::Queued, TaskState::Proving, TaskState::Delivering][stage as usize]
}

/// Checks that nobody is passed over: while an owner's tasks wait, no other has more claims than its weight allows in a row.
/// Each process gives turns of its own.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// The highest weight each owner has had.
    pub(super) weights: [u32; OWNERS],
    /// By process, stage and waiting owner: how often each other was served since.
    passed: BTreeMap<(usize, Stage, usize), [u32; OWNERS]>,
}

impl Turns {
    pub(super) fn set_weight(&mut self, owner: usize, weight: u32) {
        self.weights[owner] = self.weights[owner].max(weight);
    }

    /// `served` got a task while those in `ready` had some. Returns who has now been passed over too often.
    pub(super) fn serve(
        &mut self,
        process: usize,
        stage: Stage,
        served: usize,
        ready: [bool; OWNERS],
    ) -> Option<usize> {
        for (owner, ready) in ready.into_iter().enumerate() {
            if owner == served || !ready {
                self.passed.remove(&(process, stage, owner));
                continue;
            }
            let passed = self.passed.entry((process, stage, owner)).or_default();
            passed[served] += 1;
            if passed[served] > self.weights[served].max(1) {
                return Some(owner);
            }
        }
        None
    }
}
