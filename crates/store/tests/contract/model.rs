//! Random histories, followed by a small model of what a store must say.

use super::{
    Backing,
    fixture::{self, HOUR, delivered_with, event, executed_with, failed, in_an_hour, postponed, proved},
};
use coprocessor_store::{Cancelled, Program, Retried, Stage, StepOutcome, Store, StoreError, TaskState, VolumeWrite};
use coprocessor_types::TaskId;
use jiff::Timestamp;
use proptest::{
    prelude::*,
    strategy::ValueTree,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use std::time::Duration;

/// Histories tried, and operations in each.
const HISTORIES: usize = 24;
const OPERATIONS: usize = 60;

#[derive(Clone, Debug)]
enum Operation {
    Admit,
    Claim { stage: Stage, expired: bool },
    Heartbeat { task: usize, fence: FenceOf, expired: bool },
    Progress { task: usize, fence: FenceOf },
    Finish { task: usize, fence: FenceOf, how: How },
    Cancel { task: usize },
    Retry { task: usize },
    Reopen,
}

/// Which fence a write names.
#[derive(Clone, Copy, Debug)]
enum FenceOf {
    Current,
    Older,
    Newer,
}

#[derive(Clone, Copy, Debug)]
enum How {
    Succeed { writes: bool, conflicts: bool },
    Of(Stage),
    Postpone { later: bool, counts: bool },
    Fail { retryable: bool },
}

fn operation() -> impl Strategy<Value = Operation> {
    let stage = || prop::sample::select(Stage::ALL.to_vec());
    let fence = || prop_oneof![6 => Just(FenceOf::Current), 1 => Just(FenceOf::Older), 1 => Just(FenceOf::Newer)];
    let how = prop_oneof![
        6 => (any::<bool>(), prop::bool::weighted(0.2)).prop_map(|(writes, conflicts)| How::Succeed { writes, conflicts }),
        1 => stage().prop_map(How::Of),
        2 => (any::<bool>(), any::<bool>()).prop_map(|(later, counts)| How::Postpone { later, counts }),
        1 => any::<bool>().prop_map(|retryable| How::Fail { retryable }),
    ];
    prop_oneof![
        3 => Just(Operation::Admit),
        8 => (stage(), prop::bool::weighted(0.2)).prop_map(|(stage, expired)| Operation::Claim { stage, expired }),
        1 => (0..8usize, fence(), any::<bool>())
            .prop_map(|(task, fence, expired)| Operation::Heartbeat { task, fence, expired }),
        1 => (0..8usize, fence()).prop_map(|(task, fence)| Operation::Progress { task, fence }),
        8 => (0..8usize, fence(), how).prop_map(|(task, fence, how)| Operation::Finish { task, fence, how }),
        1 => (0..8usize).prop_map(|task| Operation::Cancel { task }),
        2 => (0..8usize).prop_map(|task| Operation::Retry { task }),
        1 => Just(Operation::Reopen),
    ]
}

/// When a task may be claimed.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Ready {
    Now,
    Later,
}

#[derive(Clone, Debug)]
struct Modelled {
    id: TaskId,
    state: TaskState,
    ready: Ready,
    held: bool,
    fence: u64,
    attempts: u32,
    retry_to: Option<Stage>,
    events: Vec<&'static str>,
}

#[derive(Debug)]
struct Model {
    program: Program,
    tasks: Vec<Modelled>,
    version: u64,
    page: Option<Vec<u8>>,
}

fn waiting(stage: Stage) -> TaskState {
    [TaskState::Queued, TaskState::Proving, TaskState::Delivering][stage as usize]
}

fn named(task: &Modelled, fence: FenceOf) -> u64 {
    match fence {
        FenceOf::Current => task.fence,
        FenceOf::Older => task.fence.wrapping_sub(1),
        FenceOf::Newer => task.fence + 1,
    }
}

impl Model {
    async fn step(&mut self, store: &dyn Store, operation: Operation) {
        match operation {
            Operation::Admit => self.admit(store).await,
            Operation::Claim { stage, expired } => self.claim(store, stage, expired).await,
            Operation::Heartbeat { task, fence, expired } => {
                let Some(task) = self.tasks.get_mut(task) else { return };
                let fence = named(task, fence);
                let lease = if expired { Duration::ZERO } else { HOUR };
                let got = store.heartbeat(task.id, fence, lease).await;
                if task.held && fence == task.fence {
                    got.unwrap();
                    task.ready = if expired { Ready::Now } else { Ready::Later };
                } else {
                    assert!(matches!(got, Err(StoreError::StaleFence { .. })), "{got:?}");
                }
            }
            Operation::Progress { task, fence } => {
                let Some(task) = self.tasks.get_mut(task) else { return };
                let fence = named(task, fence);
                let got = store.progress(task.id, fence, event("progress")).await;
                if task.held && fence == task.fence {
                    got.unwrap();
                    task.events.push("progress");
                } else {
                    assert!(matches!(got, Err(StoreError::StaleFence { .. })), "{got:?}");
                }
            }
            Operation::Finish { task, fence, how } => self.finish(store, task, fence, how).await,
            Operation::Cancel { task } => {
                let Some(task) = self.tasks.get_mut(task) else { return };
                let got = store.cancel(task.id).await.unwrap();
                if task.state.is_finished() {
                    assert!(matches!(got, Cancelled::Finished(_)), "{got:?}");
                } else {
                    assert!(matches!(got, Cancelled::Cancelled(_)), "{got:?}");
                    (task.state, task.held, task.fence) = (TaskState::Cancelled, false, task.fence + 1);
                    task.events.push("cancelled");
                }
            }
            Operation::Retry { task } => {
                let Some(task) = self.tasks.get_mut(task) else { return };
                let got = store.retry(task.id).await.unwrap();
                match task.retry_to.take() {
                    Some(stage) => {
                        assert!(matches!(got, Retried::Retried(_)), "{got:?}");
                        (task.state, task.ready, task.attempts) = (waiting(stage), Ready::Now, 0);
                        task.events.push("retried");
                    }
                    None => assert!(matches!(got, Retried::Refused(_)), "{got:?}"),
                }
            }
            Operation::Reopen => {
                for task in self.tasks.iter_mut().filter(|task| task.held) {
                    (task.held, task.ready) = (false, Ready::Now);
                }
            }
        }
    }

    async fn admit(&mut self, store: &dyn Store) {
        self.tasks.push(Modelled {
            id: fixture::task(store, &self.program).await.id,
            state: TaskState::Queued,
            ready: Ready::Now,
            held: false,
            fence: 0,
            attempts: 0,
            retry_to: None,
            events: vec!["admitted"],
        });
    }

    async fn claim(&mut self, store: &dyn Store, stage: Stage, expired: bool) {
        let lease = if expired { Duration::ZERO } else { HOUR };
        let got = store.claim(stage, "worker", lease).await.unwrap();
        let ready = |task: &&mut Modelled| task.state.stage() == Some(stage) && task.ready == Ready::Now;
        let expected = self.tasks.iter_mut().find(ready);
        assert_eq!(got.as_ref().map(|claim| claim.task.id), expected.as_ref().map(|task| task.id));
        if let Some(task) = expected {
            task.state = [TaskState::Executing, TaskState::Proving, TaskState::Delivering][stage as usize];
            task.ready = if expired { Ready::Now } else { Ready::Later };
            (task.held, task.fence) = (true, task.fence + 1);
            task.events.push("claimed");
        }
    }

    async fn finish(&mut self, store: &dyn Store, index: usize, fence: FenceOf, how: How) {
        let Some(task) = self.tasks.get_mut(index) else { return };
        let fence = named(task, fence);
        let stage = task.state.stage();
        let (writes, conflicts) = match how {
            How::Succeed { writes, conflicts } => (writes, conflicts),
            _ => (false, false),
        };
        let content = format!("{} {fence}", task.id).into_bytes();
        let volume = VolumeWrite {
            based_on: self.version + u64::from(conflicts),
            pages: if writes { vec![(0, Some(content.clone()))] } else { Vec::new() },
            raw: None,
        };
        let of = |stage| match stage {
            Stage::Execute => executed_with(volume.clone()),
            Stage::Prove => proved(),
            Stage::Deliver => delivered_with(volume.clone()),
        };
        let outcome = match how {
            How::Succeed { .. } => of(stage.unwrap_or(Stage::Execute)),
            How::Of(stage) => of(stage),
            How::Postpone { later: false, counts } => postponed(Timestamp::UNIX_EPOCH, counts),
            How::Postpone { later: true, counts } => postponed(in_an_hour(), counts),
            How::Fail { retryable } => failed(stage.unwrap_or(Stage::Prove), retryable),
        };
        let got = store.finish_step(task.id, fence, outcome.clone()).await;
        if !task.held || fence != task.fence {
            assert!(matches!(got, Err(StoreError::StaleFence { .. })), "{got:?}");
            return;
        }
        let stage = stage.expect("a task that is held is not finished");
        if matches!(how, How::Of(other) if other != stage) {
            assert!(matches!(got, Err(StoreError::WrongState { .. })), "{got:?}");
            return;
        }
        let writes = writes && stage != Stage::Prove;
        if writes && conflicts {
            assert!(matches!(got, Err(StoreError::VolumeConflict { .. })), "{got:?}");
            return;
        }
        got.unwrap();
        if writes {
            (self.version, self.page) = (self.version + 1, Some(content));
        }
        task.held = false;
        task.ready = if matches!(how, How::Postpone { later: true, .. }) { Ready::Later } else { Ready::Now };
        let (state, attempts, name) = match outcome {
            StepOutcome::Executed { .. } => (TaskState::Proving, 0, "executed"),
            StepOutcome::Proved { .. } => (TaskState::Delivering, 0, "proved"),
            StepOutcome::Delivered { .. } => (TaskState::Delivered, 0, "delivered"),
            StepOutcome::Postponed { counts, .. } => (waiting(stage), task.attempts + u32::from(counts), "postponed"),
            StepOutcome::Failed { failure, .. } => {
                task.retry_to = failure.retryable.then_some(stage);
                (TaskState::Failed, task.attempts, "failed")
            }
        };
        (task.state, task.attempts) = (state, attempts);
        task.events.push(name);
    }

    async fn check(&self, store: &dyn Store) {
        for task in &self.tasks {
            let kept = store.task(task.id).await.unwrap().unwrap();
            assert_eq!((kept.state, kept.fence, kept.attempts), (task.state, task.fence, task.attempts), "{task:?}");
            assert_eq!(kept.failure.is_some(), kept.state == TaskState::Failed);
            assert_eq!(fixture::event_names(store, task.id).await, task.events);
        }
        for (state, count) in store.task_counts().await.unwrap().0 {
            assert_eq!(count, self.tasks.iter().filter(|task| task.state == state).count() as u64);
        }
        let volume = store.volume_snapshot(self.program.id).unwrap();
        assert_eq!((volume.version(), volume.read_page(0).unwrap()), (self.version, self.page.clone()));
    }
}

pub(crate) async fn random_histories_follow_the_model<B: Backing>() {
    // The same histories each time: a failure is one for everybody. Operations are async, so proptest only draws them.
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let history = prop::collection::vec(operation(), OPERATIONS);
    for number in 0..HISTORIES {
        let operations = history.new_tree(&mut runner).unwrap().current();
        let mut backing = B::new().await;
        let program = fixture::program(&*backing.store(), 1).await;
        let mut model = Model { program, tasks: Vec::new(), version: 0, page: None };
        for (index, operation) in operations.into_iter().enumerate() {
            say(number, index, &operation);
            if matches!(operation, Operation::Reopen) {
                backing.reopen().await;
            }
            model.step(&*backing.store(), operation).await;
            model.check(&*backing.store()).await;
        }
    }
}

/// The test harness shows this only when the test fails.
#[allow(clippy::print_stderr)]
fn say(history: usize, index: usize, operation: &Operation) {
    eprintln!("history {history}, operation {index}: {operation:?}");
}
