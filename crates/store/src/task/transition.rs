//! The rules by which a task moves on. They know no database, so every store follows the same ones.

use super::{Failure, Stage, StepOutcome, TaskState};
use crate::StoreError;
use coprocessor_types::TaskId;
use jiff::Timestamp;

/// What the rules look at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Standing {
    pub(crate) task: TaskId,
    pub(crate) state: TaskState,
    pub(crate) fence: u64,
    pub(crate) attempts: u32,
    /// Whether a worker holds it. One whose lease ran out does until another claims the task.
    pub(crate) claimed: bool,
}

/// What a task becomes. Nobody holds it then.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Next {
    pub(crate) state: TaskState,
    pub(crate) fence: u64,
    pub(crate) attempts: u32,
    pub(crate) not_before: Option<Timestamp>,
}

/// The state of a task that is claimed for `stage`.
pub(crate) const fn claimed_state(stage: Stage) -> TaskState {
    match stage {
        Stage::Execute => TaskState::Executing,
        Stage::Prove => TaskState::Proving,
        Stage::Deliver => TaskState::Delivering,
    }
}

/// The state of a task that waits for `stage`.
pub(crate) const fn waiting_state(stage: Stage) -> TaskState {
    match stage {
        Stage::Execute => TaskState::Queued,
        Stage::Prove => TaskState::Proving,
        Stage::Deliver => TaskState::Delivering,
    }
}

/// Whether `fence` is that of the claim the task is held under.
///
/// # Errors
/// [`StoreError::StaleFence`].
pub(crate) fn check_claim(standing: &Standing, fence: u64) -> Result<(), StoreError> {
    if standing.claimed && standing.fence == fence {
        Ok(())
    } else {
        Err(StoreError::StaleFence { task: standing.task, fence })
    }
}

/// What a step's outcome makes of a task.
///
/// # Errors
/// [`StoreError::StaleFence`], [`StoreError::WrongState`].
pub(crate) fn finish(standing: &Standing, fence: u64, outcome: &StepOutcome) -> Result<Next, StoreError> {
    check_claim(standing, fence)?;
    let wrong = |outcome| StoreError::WrongState { task: standing.task, state: standing.state.to_string(), outcome };
    let moved = |from: TaskState, to: TaskState, name| {
        if standing.state == from {
            Ok(Next { state: to, fence, attempts: 0, not_before: None })
        } else {
            Err(wrong(name))
        }
    };
    match outcome {
        StepOutcome::Executed { .. } => moved(TaskState::Executing, TaskState::Proving, "executed"),
        StepOutcome::Proved { .. } => moved(TaskState::Proving, TaskState::Delivering, "proved"),
        StepOutcome::Delivered { .. } => moved(TaskState::Delivering, TaskState::Delivered, "delivered"),
        StepOutcome::Postponed { until, counts, .. } => {
            let stage = standing.state.stage().ok_or_else(|| wrong("postponed"))?;
            let attempts = standing.attempts.saturating_add(u32::from(*counts));
            Ok(Next { state: waiting_state(stage), fence, attempts, not_before: Some(*until) })
        }
        StepOutcome::Failed { failure, .. } => {
            // A retry goes back to the stage the failure names, so it must be one the task has come to.
            if standing.state.stage() != Some(failure.stage) {
                return Err(wrong(match failure.stage {
                    Stage::Execute => "a failure of the stage execute",
                    Stage::Prove => "a failure of the stage prove",
                    Stage::Deliver => "a failure of the stage deliver",
                }));
            }
            Ok(Next { state: TaskState::Failed, fence, attempts: standing.attempts, not_before: None })
        }
    }
}

/// What cancelling makes of a task; `None` when it has finished. The fence grows, so a running step finds its own stale.
pub(crate) fn cancel(standing: &Standing) -> Option<Next> {
    standing.state.stage().map(|_| Next {
        state: TaskState::Cancelled,
        fence: standing.fence + 1,
        attempts: standing.attempts,
        not_before: None,
    })
}

/// What a deadline that has passed makes of a task, and why it failed; `None` when it has finished. The fence grows, so a running
/// step finds its own stale.
pub(crate) fn expire(standing: &Standing, deadline: Timestamp) -> Option<(Failure, Next)> {
    let stage = standing.state.stage()?;
    let failure = Failure {
        stage,
        code: DEADLINE_EXCEEDED.to_owned(),
        message: format!("the task was still {} at its deadline, {deadline}", standing.state),
        retryable: true,
    };
    let next =
        Next { state: TaskState::Failed, fence: standing.fence + 1, attempts: standing.attempts, not_before: None };
    Some((failure, next))
}

/// The code of a failure by deadline.
pub(crate) const DEADLINE_EXCEEDED: &str = "deadline_exceeded";

/// What a retry makes of a task, and the stage it is back at; `None` when it has not failed or retrying can't help.
pub(crate) fn retry(standing: &Standing, failure: Option<&Failure>) -> Option<(Stage, Next)> {
    match (standing.state, failure) {
        (TaskState::Failed, Some(failure)) if failure.retryable => {
            let state = waiting_state(failure.stage);
            Some((failure.stage, Next { state, fence: standing.fence, attempts: 0, not_before: None }))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EventKind, VolumeWrite};
    use bytes::Bytes;

    fn held(state: TaskState) -> Standing {
        Standing { task: TaskId::now(), state, fence: 3, attempts: 2, claimed: true }
    }

    fn event() -> EventKind {
        EventKind { name: "x".into(), detail: serde_json::json!({}) }
    }

    fn failure(stage: Stage, retryable: bool) -> Failure {
        Failure { stage, code: "c".into(), message: "m".into(), retryable }
    }

    fn outcomes() -> Vec<StepOutcome> {
        let volume = VolumeWrite::default;
        let failed = |stage| StepOutcome::Failed { failure: failure(stage, true), event: event() };
        vec![
            StepOutcome::Executed { witness: Bytes::new(), volume: volume(), event: event() },
            StepOutcome::Proved { proof: Bytes::new(), output: Bytes::new(), event: event() },
            StepOutcome::Delivered { volume: volume(), result: serde_json::Value::Null, event: event() },
            failed(Stage::Execute),
            failed(Stage::Prove),
            failed(Stage::Deliver),
        ]
    }

    #[test]
    fn each_outcome_follows_one_state_only() {
        use TaskState::{Delivered, Delivering, Executing, Failed, Proving};
        let expected = [
            (Executing, Proving),
            (Proving, Delivering),
            (Delivering, Delivered),
            (Executing, Failed),
            (Proving, Failed),
        ];
        for (outcome, (from, to)) in outcomes().iter().zip(expected) {
            for state in [Executing, Proving, Delivering] {
                let next = finish(&held(state), 3, outcome);
                if state == from {
                    assert_eq!(next.unwrap().state, to);
                } else {
                    assert!(matches!(next, Err(StoreError::WrongState { .. })), "{outcome:?} after {state}");
                }
            }
        }
    }

    #[test]
    fn no_outcome_follows_a_finished_state_or_another_fence() {
        for outcome in outcomes() {
            for state in [TaskState::Delivered, TaskState::Failed, TaskState::Cancelled] {
                assert!(matches!(finish(&held(state), 3, &outcome), Err(StoreError::WrongState { .. })));
            }
            for state in TaskState::ALL {
                for stale in [0, 2, 4] {
                    assert!(matches!(finish(&held(state), stale, &outcome), Err(StoreError::StaleFence { .. })));
                }
                let given_up = Standing { claimed: false, ..held(state) };
                assert!(matches!(finish(&given_up, 3, &outcome), Err(StoreError::StaleFence { .. })));
            }
        }
    }

    #[test]
    fn attempts_count_what_counts_and_begin_anew_with_each_stage() {
        let postponed = |counts| StepOutcome::Postponed { until: Timestamp::UNIX_EPOCH, counts, event: event() };
        assert_eq!(finish(&held(TaskState::Proving), 3, &postponed(true)).unwrap().attempts, 3);
        assert_eq!(finish(&held(TaskState::Proving), 3, &postponed(false)).unwrap().attempts, 2);
        assert_eq!(finish(&held(TaskState::Executing), 3, &postponed(true)).unwrap().state, TaskState::Queued);
        assert_eq!(finish(&held(TaskState::Executing), 3, &outcomes()[0]).unwrap().attempts, 0);
    }

    #[test]
    fn cancelling_makes_the_running_step_stale() {
        for state in TaskState::ALL {
            match cancel(&held(state)) {
                Some(next) => assert_eq!((next.state, next.fence), (TaskState::Cancelled, 4)),
                None => assert!(state.is_finished()),
            }
        }
    }

    #[test]
    fn a_deadline_fails_the_stage_it_finds_and_can_be_retried() {
        for state in TaskState::ALL {
            match expire(&held(state), Timestamp::UNIX_EPOCH) {
                Some((failure, next)) => {
                    assert_eq!((next.state, next.fence), (TaskState::Failed, 4));
                    assert_eq!((Some(failure.stage), failure.code.as_str()), (state.stage(), DEADLINE_EXCEEDED));
                    assert!(retry(&Standing { claimed: false, ..held(TaskState::Failed) }, Some(&failure)).is_some());
                }
                None => assert!(state.is_finished()),
            }
        }
    }

    #[test]
    fn a_retry_needs_a_failure_that_may_pass() {
        for (stage, state) in Stage::ALL.into_iter().zip([TaskState::Queued, TaskState::Proving, TaskState::Delivering])
        {
            let (back, next) = retry(&held(TaskState::Failed), Some(&failure(stage, true))).unwrap();
            assert_eq!((back, next.state, next.attempts), (stage, state, 0));
            assert_eq!(retry(&held(TaskState::Failed), Some(&failure(stage, false))), None);
            assert_eq!(retry(&held(TaskState::Cancelled), Some(&failure(stage, true))), None);
        }
    }
}
