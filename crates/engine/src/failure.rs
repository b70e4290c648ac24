//! What ended a step: for good, or to be tried again.

use coprocessor_prover::NodeError;
use coprocessor_sandbox::{RunError, Usage};
use coprocessor_store::{EventKind, Failure, Stage, StepOutcome, StoreError, Task};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::time::Duration;

use crate::{config::RetryPolicy, turns::jitter};

/// Why a step did not come to its end.
#[derive(Debug)]
pub(crate) enum StepError {
    /// The same would happen again: the task fails.
    Deterministic(Reason),
    /// The same would happen again until somebody makes room: the task fails, and can be retried.
    NoRoom(Reason),
    /// It may pass: tried again, up to the policy's limit.
    Transient(Reason),
    /// It may pass, but each attempt is long: tried again less often.
    Slow(Reason),
    /// It is nobody's failure: waits without counting.
    Waiting(Reason),
    /// Somebody else wrote to the program's volume meanwhile: done again, from the volume as it is now.
    VolumeConflict,
    /// Others write to the program's volume, and tasks of other programs wait for this one's place.
    VolumeBusy,
    /// The claim is no longer ours: nothing is written.
    Superseded,
    /// The store failed.
    Store(StoreError),
}

/// What to tell of it.
#[derive(Debug)]
pub(crate) struct Reason {
    pub(crate) code: String,
    pub(crate) message: String,
    /// Further particulars for the event: log, usage, node.
    pub(crate) detail: Value,
}

impl Reason {
    pub(crate) fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), detail: json!({}) }
    }

    pub(crate) fn with(mut self, key: &str, value: Value) -> Self {
        self.detail[key] = value;
        self
    }

    /// The event's particulars: code and message beside the rest.
    fn event(&self) -> Value {
        let mut detail = self.detail.clone();
        detail["code"] = self.code.clone().into();
        detail["message"] = self.message.clone().into();
        detail
    }
}

impl StepError {
    /// A controller's failure, with its log and what it used. What it made of a network that did not answer may be otherwise
    /// another time.
    pub(crate) fn guest(error: &RunError, log: &[String], usage: &Usage) -> Self {
        let reason = Reason::new(error.code(), error.to_string()).with("log", json!(log)).with("usage", json!(usage));
        match error {
            RunError::WallClock { .. } => Self::Slow(reason),
            error if error.is_deterministic() && usage.network_failures == 0 => Self::Deterministic(reason),
            _ => Self::Transient(reason),
        }
    }

    /// What a node failed with while it had the job. A node that dies meanwhile counts as an attempt: the task may be what
    /// kills it.
    pub(crate) fn node(error: &NodeError, address: &str) -> Self {
        let reason = Reason::new(error.code(), error.to_string()).with("node", json!(address));
        if error.is_deterministic() { Self::Deterministic(reason) } else { Self::Transient(reason) }
    }
}

/// Whether the store may do the same thing later, whatever it was.
pub(crate) fn passes(error: &StoreError) -> bool {
    matches!(error, StoreError::Unavailable(_) | StoreError::Full | StoreError::Closed)
}

impl From<StoreError> for StepError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::StaleFence { .. } | StoreError::UnknownTask(_) => Self::Superseded,
            StoreError::VolumeConflict { .. } => Self::VolumeConflict,
            StoreError::VolumeQuota { .. } => Self::NoRoom(Reason::new("volume_quota", error.to_string())),
            other => Self::Store(other),
        }
    }
}

/// How a task that failed in `stage` goes on. `None` when there is nothing to write.
pub(crate) fn outcome(task: &Task, stage: Stage, error: &StepError, retry: &RetryPolicy) -> Option<StepOutcome> {
    match error {
        StepError::Deterministic(reason) => Some(failed(stage, reason, false)),
        StepError::NoRoom(reason) => Some(failed(stage, reason, true)),
        StepError::Transient(reason) if task.attempts + 1 >= retry.attempts => Some(failed(stage, reason, true)),
        StepError::Slow(reason) if task.attempts + 1 >= retry.slow_attempts => Some(failed(stage, reason, true)),
        StepError::Transient(reason) | StepError::Slow(reason) => {
            let wait = retry.wait(task.attempts + 1, jitter());
            Some(postponed(reason, wait, true))
        }
        StepError::Waiting(reason) => {
            // Grows with the time already waited, so that a long outage writes few events.
            let waited = Timestamp::now().duration_since(task.created_at).unsigned_abs();
            let wait = (waited / 4).clamp(Duration::from_millis(500), Duration::from_secs(10));
            Some(postponed(reason, wait, false))
        }
        StepError::VolumeConflict | StepError::VolumeBusy => {
            let reason = Reason::new("volume_busy", "other tasks kept writing to the program's volume");
            Some(postponed(&reason, retry.wait(1, jitter()), false))
        }
        StepError::Superseded => None,
        StepError::Store(error) if passes(error) => {
            let reason = Reason::new("store_unavailable", error.to_string());
            Some(postponed(&reason, retry.wait(1, jitter()), false))
        }
        StepError::Store(error) => {
            let reason = Reason::new("store_failed", error.to_string());
            if task.attempts + 1 >= retry.attempts {
                return Some(failed(stage, &reason, true));
            }
            Some(postponed(&reason, retry.wait(task.attempts + 1, jitter()), true))
        }
    }
}

fn failed(stage: Stage, reason: &Reason, retryable: bool) -> StepOutcome {
    StepOutcome::Failed {
        failure: Failure { stage, code: reason.code.clone(), message: reason.message.clone(), retryable },
        event: EventKind { name: "failed".into(), detail: reason.event() },
    }
}

fn postponed(reason: &Reason, wait: Duration, counts: bool) -> StepOutcome {
    let until = Timestamp::now() + wait;
    let name = if counts { "retrying" } else { "waiting" };
    let mut detail = reason.event();
    detail["until"] = until.to_string().into();
    StepOutcome::Postponed { until, counts, event: EventKind { name: name.into(), detail } }
}

#[cfg(test)]
mod tests {
    use super::*;
    use coprocessor_store::TaskState;
    use coprocessor_types::{BlobDigest, OwnerId, ProgramId, ProofKind, Root, TaskId};

    fn task(attempts: u32) -> Task {
        Task {
            id: TaskId::now(),
            program: ProgramId::default(),
            owner: OwnerId::anonymous(),
            controller: BlobDigest::default(),
            circuit: BlobDigest::default(),
            kind: ProofKind::Mock,
            root: Root::default(),
            args: Value::Null,
            payload: Value::Null,
            state: TaskState::Proving,
            fence: 1,
            attempts,
            priority: 0,
            deadline: None,
            record: false,
            node: None,
            created_at: Timestamp::now(),
            updated_at: Timestamp::now(),
            not_before: None,
            witness: None,
            proof: None,
            output: None,
            result: None,
            failure: None,
        }
    }

    #[test]
    fn a_deterministic_error_fails_at_once() {
        let error = StepError::Deterministic(Reason::new("circuit_failed", "no"));
        let Some(StepOutcome::Failed { failure, event }) =
            outcome(&task(0), Stage::Prove, &error, &RetryPolicy::default())
        else {
            panic!("expected a failure")
        };
        assert!(!failure.retryable);
        assert_eq!(event.detail["code"], "circuit_failed");
    }

    #[test]
    fn a_transient_error_is_tried_again_up_to_the_limit() {
        let error = StepError::Transient(Reason::new("prover_failed", "hm"));
        let retry = RetryPolicy { attempts: 3, ..RetryPolicy::default() };
        for attempts in 0..2 {
            let next = outcome(&task(attempts), Stage::Prove, &error, &retry);
            assert!(matches!(next, Some(StepOutcome::Postponed { counts: true, .. })), "{attempts}");
        }
        let Some(StepOutcome::Failed { failure, .. }) = outcome(&task(2), Stage::Prove, &error, &retry) else {
            panic!("expected a failure")
        };
        assert!(failure.retryable);
    }

    #[test]
    fn without_room_a_task_fails_at_once_and_can_be_retried() {
        let full = StoreError::VolumeQuota { owner: OwnerId::anonymous(), got: 11, limit: 10 };
        let next = outcome(&task(0), Stage::Deliver, &full.into(), &RetryPolicy::default());
        let Some(StepOutcome::Failed { failure, .. }) = next else { panic!("{next:?}") };
        assert_eq!((failure.code.as_str(), failure.retryable), ("volume_quota", true));
    }

    #[test]
    fn a_controller_that_takes_all_its_time_is_tried_again_less_often() {
        let slow = RunError::WallClock { limit: Duration::from_secs(30) };
        let error = StepError::guest(&slow, &[], &Usage::default());
        let retry = RetryPolicy::default();
        let first = outcome(&task(0), Stage::Execute, &error, &retry);
        assert!(matches!(first, Some(StepOutcome::Postponed { counts: true, .. })));
        let Some(StepOutcome::Failed { failure, .. }) = outcome(&task(1), Stage::Execute, &error, &retry) else {
            panic!("expected a failure")
        };
        assert!(failure.retryable);
    }

    #[test]
    fn a_store_that_is_away_or_full_counts_nothing_and_one_that_fails_does() {
        let retry = RetryPolicy::default();
        for error in [StoreError::Full, StoreError::Unavailable("gone".into())] {
            let next = outcome(&task(99), Stage::Prove, &error.into(), &retry);
            assert!(matches!(next, Some(StepOutcome::Postponed { counts: false, .. })));
        }
        let broken = StepError::from(StoreError::BlobMissing(BlobDigest::default()));
        let next = outcome(&task(0), Stage::Prove, &broken, &retry);
        assert!(matches!(next, Some(StepOutcome::Postponed { counts: true, .. })));
        let next = outcome(&task(5), Stage::Prove, &broken, &retry);
        assert!(matches!(next, Some(StepOutcome::Failed { .. })));
    }

    #[test]
    fn waiting_never_counts_and_a_superseded_claim_writes_nothing() {
        let waiting = StepError::Waiting(Reason::new("no_prover", "none"));
        let next = outcome(&task(99), Stage::Prove, &waiting, &RetryPolicy::default());
        assert!(matches!(next, Some(StepOutcome::Postponed { counts: false, .. })));
        let conflict =
            StepError::from(StoreError::VolumeConflict { program: ProgramId::default(), expected: 1, got: 2 });
        let next = outcome(&task(99), Stage::Deliver, &conflict, &RetryPolicy::default());
        assert!(matches!(next, Some(StepOutcome::Postponed { counts: false, .. })));
        assert_eq!(outcome(&task(0), Stage::Prove, &StepError::Superseded, &RetryPolicy::default()), None);
    }
}
