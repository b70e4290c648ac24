//! How a task may end, given what was asked and what was answered.

use coprocessor_api::{EventView, TaskState, TaskView};

use crate::book::{Breach, Cancel, Class, Entry};

/// A broken promise about one task.
type Broken = (Breach, String);

/// How the task ended, in words for the report.
///
/// # Errors
/// It may not have ended so.
pub(crate) fn judge(entry: &Entry, task: &TaskView) -> Result<String, Broken> {
    if let Some(seen) = entry.seen.filter(|seen| *seen != task.state && *seen != TaskState::Failed) {
        return Err((Breach::Lost, format!("it was seen {}, and is {}", seen.as_str(), task.state.as_str())));
    }
    match task.state {
        TaskState::Delivered if fails_by_itself(entry.wish.class) => {
            Err((Breach::Other, format!("it was delivered, though {}", entry.wish.class.as_str())))
        }
        TaskState::Delivered if entry.cancel == Cancel::Accepted => {
            Err((Breach::Other, "it was delivered after it was cancelled".to_owned()))
        }
        TaskState::Delivered if !task.has_proof => Err((Breach::Lost, "it was delivered and has no proof".to_owned())),
        TaskState::Delivered => Ok("delivered".to_owned()),
        TaskState::Cancelled if matches!(entry.cancel, Cancel::Accepted | Cancel::Unanswered) => {
            Ok("cancelled".to_owned())
        }
        TaskState::Cancelled => Err((Breach::Lost, "it is cancelled, and nobody asked for that".to_owned())),
        TaskState::Failed if entry.cancel == Cancel::Accepted => {
            Err((Breach::Other, "it failed after it was cancelled".to_owned()))
        }
        TaskState::Failed => judge_failure(entry, task),
        state => Err((Breach::Lost, format!("it is {} still", state.as_str()))),
    }
}

/// Whether the task can come to nothing but a failure.
const fn fails_by_itself(class: Class) -> bool {
    matches!(class, Class::WitnessTraps | Class::CircuitPanics | Class::DeliveryTraps)
}

fn judge_failure(entry: &Entry, task: &TaskView) -> Result<String, Broken> {
    let Some(failure) = &task.failure else {
        return Err((Breach::Other, "it failed for no reason".to_owned()));
    };
    let found = (failure.stage.as_str(), failure.code.as_str());
    let told = format!("it failed with {} while {}: {}", failure.code, failure.stage, failure.message);
    let expected = match entry.wish.class {
        Class::WitnessTraps => Some(("execute", "guest_trap")),
        Class::CircuitPanics => Some(("prove", "circuit_failed")),
        Class::DeliveryTraps => Some(("deliver", "guest_trap")),
        Class::Plain | Class::Cancelled(_) | Class::Hurried(_) => None,
    };
    if let Some(expected) = expected {
        let true_reason = entry.wish.class != Class::CircuitPanics || failure.message.contains("the name is empty");
        if found == expected && !failure.retryable && true_reason {
            return Ok(format!("failed: {}", failure.code));
        }
    }
    let overdue = task.deadline.is_some_and(|deadline| task.updated_at >= deadline);
    match entry.wish.class {
        Class::Hurried(_) if failure.code == "deadline_exceeded" && overdue => {
            Ok("failed: deadline_exceeded".to_owned())
        }
        // Every attempt before the deadline met a fault.
        Class::Hurried(_) if failure.retryable && failure.code != "deadline_exceeded" => {
            Ok(format!("failed, retryable: {}", failure.code))
        }
        // Even the attempts its owner asked for after everything was healed.
        _ => Err((Breach::Lost, told)),
    }
}

/// What is wrong with a task's events: one admission, no more than one delivery, nothing after the end but a retry.
pub(crate) fn judge_history(task: &TaskView, history: &[&EventView]) -> Vec<Broken> {
    let mut broken = Vec::new();
    let count = |name: &str| history.iter().filter(|event| event.name == name).count();
    if count("admitted") != 1 {
        broken.push((Breach::Doubled, format!("it was admitted {} times", count("admitted"))));
    }
    let delivered = usize::from(task.state == TaskState::Delivered);
    if count("delivered") != delivered {
        let breach = if count("delivered") > delivered { Breach::Doubled } else { Breach::Lost };
        broken.push((breach, format!("it is {} and has {} deliveries", task.state.as_str(), count("delivered"))));
    }
    if let Some(last) = history.last().filter(|last| last.state != task.state) {
        let what = format!("it is {}, and its last event says {}", task.state.as_str(), last.state.as_str());
        broken.push((Breach::Other, what));
    }
    for pair in history.windows(2) {
        if pair[0].state.is_finished() && pair[1].name != "retried" {
            let what = format!("after it was {} there is an event {}", pair[0].state.as_str(), pair[1].name);
            broken.push((Breach::Doubled, what));
        }
        if !follows(pair[0].state, pair[1].state) && pair[1].name != "retried" {
            let what = format!("it went from {} to {}", pair[0].state.as_str(), pair[1].state.as_str());
            broken.push((Breach::Other, what));
        }
    }
    broken
}

/// Whether a task may go from one state to another: onward, or to the end.
fn follows(from: TaskState, to: TaskState) -> bool {
    let place = |state: TaskState| match state {
        TaskState::Queued => 0,
        TaskState::Executing => 1,
        TaskState::Proving => 2,
        TaskState::Delivering => 3,
        TaskState::Delivered => 4,
        TaskState::Failed | TaskState::Cancelled => 5,
    };
    place(to) >= place(from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::book::Wish;
    use coprocessor_api::FailureView;
    use jiff::{SignedDuration, Timestamp};
    use std::time::Duration;

    fn entry(class: Class, cancel: Cancel) -> Entry {
        Entry {
            wish: Wish { number: 0, owner: 0, program: 0, class },
            task: Some("t".into()),
            acknowledged_at: None,
            requests: 1,
            cancel,
            retries: 0,
            seen: None,
        }
    }

    fn task(state: TaskState) -> TaskView {
        TaskView {
            id: "t".into(),
            program: String::new(),
            owner: String::new(),
            kind: "mock".into(),
            root: String::new(),
            state,
            args: serde_json::Value::Null,
            payload: serde_json::Value::Null,
            controller: String::new(),
            circuit: String::new(),
            attempts: 0,
            priority: 0,
            deadline: None,
            record: false,
            node: None,
            created_at: Timestamp::now(),
            updated_at: Timestamp::now(),
            not_before: None,
            output: None,
            has_proof: state == TaskState::Delivered,
            result: None,
            failure: None,
        }
    }

    fn failed(stage: &str, code: &str, message: &str, retryable: bool) -> TaskView {
        let failure = FailureView { stage: stage.into(), code: code.into(), message: message.into(), retryable };
        TaskView { failure: Some(failure), ..task(TaskState::Failed) }
    }

    fn event(name: &str, state: TaskState) -> EventView {
        let detail = serde_json::Value::Null;
        EventView { seq: 0, task: "t".into(), at: Timestamp::now(), state, name: name.into(), detail }
    }

    #[test]
    fn a_task_ends_as_it_was_asked_to() {
        let plain = entry(Class::Plain, Cancel::NotAsked);
        assert!(judge(&plain, &task(TaskState::Delivered)).is_ok());
        assert!(judge(&plain, &task(TaskState::Cancelled)).is_err());
        assert!(judge(&plain, &task(TaskState::Proving)).is_err());
        assert!(judge(&plain, &failed("prove", "prover_failed", "no", true)).is_err());
        let without_proof = TaskView { has_proof: false, ..task(TaskState::Delivered) };
        assert!(judge(&plain, &without_proof).is_err());
        let seen = Entry { seen: Some(TaskState::Delivered), ..plain };
        assert!(judge(&seen, &task(TaskState::Cancelled)).is_err());
    }

    #[test]
    fn what_was_cancelled_stays_so() {
        let class = Class::Cancelled(Duration::ZERO);
        assert!(judge(&entry(class, Cancel::Accepted), &task(TaskState::Cancelled)).is_ok());
        assert!(judge(&entry(class, Cancel::Accepted), &task(TaskState::Delivered)).is_err());
        assert!(judge(&entry(class, Cancel::TooLate), &task(TaskState::Delivered)).is_ok());
        assert!(judge(&entry(class, Cancel::TooLate), &task(TaskState::Cancelled)).is_err());
        assert!(judge(&entry(class, Cancel::Unanswered), &task(TaskState::Cancelled)).is_ok());
    }

    #[test]
    fn a_failure_has_its_true_reason() {
        let panics = entry(Class::CircuitPanics, Cancel::NotAsked);
        assert!(judge(&panics, &failed("prove", "circuit_failed", "… the name is empty …", false)).is_ok());
        assert!(judge(&panics, &failed("prove", "circuit_failed", "something else", false)).is_err());
        assert!(judge(&panics, &failed("prove", "prover_unreachable", "the name is empty", true)).is_err());
        assert!(judge(&panics, &task(TaskState::Delivered)).is_err());
        let traps = entry(Class::DeliveryTraps, Cancel::NotAsked);
        assert!(judge(&traps, &failed("deliver", "guest_trap", "", false)).is_ok());
        assert!(judge(&traps, &failed("execute", "guest_trap", "", false)).is_err());
    }

    #[test]
    fn a_deadline_has_passed_where_it_is_the_reason() {
        let hurried = entry(Class::Hurried(Duration::from_secs(1)), Cancel::NotAsked);
        let late = failed("prove", "deadline_exceeded", "", true);
        let at = |deadline| TaskView { deadline: Some(deadline), ..late.clone() };
        assert!(judge(&hurried, &at(late.updated_at - SignedDuration::from_secs(1))).is_ok());
        assert!(judge(&hurried, &at(late.updated_at + SignedDuration::from_secs(1))).is_err());
        assert!(judge(&hurried, &task(TaskState::Delivered)).is_ok());
    }

    #[test]
    fn a_history_has_one_beginning_and_one_end() {
        let delivered = task(TaskState::Delivered);
        let (admitted, claimed) = (event("admitted", TaskState::Queued), event("claimed", TaskState::Executing));
        let end = event("delivered", TaskState::Delivered);
        assert!(judge_history(&delivered, &[&admitted, &claimed, &end]).is_empty());
        assert!(!judge_history(&delivered, &[&admitted, &claimed]).is_empty());
        assert!(!judge_history(&delivered, &[&admitted, &end, &end]).is_empty());
        assert!(!judge_history(&delivered, &[&admitted, &end, &claimed]).is_empty());
        assert!(!judge_history(&delivered, &[&claimed, &end]).is_empty());
        let (failed, retried) = (event("failed", TaskState::Failed), event("retried", TaskState::Executing));
        assert!(judge_history(&delivered, &[&admitted, &failed, &retried, &end]).is_empty());
    }
}
