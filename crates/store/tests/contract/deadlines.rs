//! Deadlines.

use super::{
    Backing,
    fixture::{
        HOUR, ROOM, admitted, beat, claim, claim_one, event_names, events, failed, in_an_hour, new_task, picture,
        postponed, program, success, task,
    },
};
use coprocessor_store::{Failure, NewTask, Program, Retried, Stage, Store, StoreError, Task, TaskFilter, TaskState};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

fn past(deadline: Timestamp) -> Timestamp {
    deadline + SignedDuration::from_secs(1)
}

async fn due(store: &dyn Store, program: &Program, deadline: Timestamp) -> Task {
    let new = NewTask { deadline: Some(deadline), ..new_task(program) };
    admitted(store.admit(new, ROOM).await.unwrap())
}

/// A task with a deadline that waits for `stage`, or is held there under the fence that comes with it.
async fn at(store: &dyn Store, program: &Program, stage: Stage, hold: bool, deadline: Timestamp) -> (Task, u64) {
    let id = due(store, program, deadline).await.id;
    for before in Stage::ALL {
        if before == stage && !hold {
            break;
        }
        let held = claim(store, before).await;
        assert_eq!(held.task.id, id);
        if before == stage {
            return (held.task.clone(), held.task.fence);
        }
        store.finish_step(id, held.task.fence, success(before)).await.unwrap();
    }
    let task = store.task(id).await.unwrap().unwrap();
    let fence = task.fence;
    (task, fence)
}

pub(crate) async fn a_deadline_ends_a_task_in_each_state<B: Backing>() {
    let backing = B::new().await;
    let store = backing.store();
    let program = program(&*store, 1).await;
    assert_eq!(store.next_deadline().await.unwrap(), None);
    let deadline = in_an_hour();
    for stage in Stage::ALL {
        for hold in [false, true] {
            let (before, fence) = at(&*store, &program, stage, hold, deadline).await;
            let id = before.id;
            assert_eq!(store.next_deadline().await.unwrap(), Some(deadline));
            assert_eq!(store.expire(deadline - SignedDuration::from_secs(1), 10).await.unwrap(), []);
            assert_eq!(store.task(id).await.unwrap().as_ref(), Some(&before));
            assert_eq!(store.expire(past(deadline), 10).await.unwrap(), [id]);
            assert_eq!(store.expire(past(deadline), 10).await.unwrap(), []);
            assert_eq!(store.next_deadline().await.unwrap(), None);

            let gone = store.task(id).await.unwrap().unwrap();
            let Some(Failure { stage: failed_in, code, message, retryable }) = &gone.failure else {
                panic!("it failed: {gone:?}")
            };
            assert_eq!(
                (gone.state, *failed_in, code.as_str(), *retryable),
                (TaskState::Failed, stage, "deadline_exceeded", true)
            );
            let event = events(&*store, id).await.pop().unwrap();
            assert_eq!((event.kind.name.as_str(), event.state), ("failed", TaskState::Failed));
            let detail = &event.kind.detail;
            assert_eq!(
                [&detail["stage"], &detail["code"], &detail["message"]],
                [&json!(stage.as_str()), &json!("deadline_exceeded"), &json!(message)]
            );
            assert_eq!((gone.witness, gone.proof, gone.output.clone()), (before.witness, before.proof, before.output));

            // Whoever held it finds its fence stale, and nobody else gets it.
            let after = picture(&*store, program.id, id).await;
            for fence in [fence, fence + 1] {
                let got = store.finish_step(id, fence, success(stage)).await;
                assert!(matches!(got, Err(StoreError::StaleFence { .. })), "{got:?}");
                assert!(!beat(&*store, id, fence, HOUR).await);
            }
            assert_eq!(claim_one(&*store, stage, HOUR).await, None);
            assert_eq!(picture(&*store, program.id, id).await, after);
        }
    }
}

pub(crate) async fn a_retry_gives_a_new_deadline<B: Backing>() {
    let mut backing = B::new().await;
    let store = backing.store();
    let program = program(&*store, 1).await;
    let deadline = in_an_hour();
    for (stage, waiting) in Stage::ALL.into_iter().zip([TaskState::Queued, TaskState::Proving, TaskState::Delivering]) {
        for new in [None, Some(deadline + SignedDuration::from_hours(1))] {
            let (before, fence) = at(&*store, &program, stage, true, deadline).await;
            store.expire(past(deadline), 10).await.unwrap();
            let Retried::Retried(back) = store.retry(before.id, new).await.unwrap() else {
                panic!("it can be retried")
            };
            assert_eq!((back.state, back.deadline, &back.failure), (waiting, new, &None));
            assert_eq!((back.attempts, back.not_before), (0, None));
            assert_eq!(store.next_deadline().await.unwrap(), new);
            assert_eq!(store.expire(past(deadline), 10).await.unwrap(), []);
            let again = claim(&*store, stage).await;
            assert_eq!(again.task.id, before.id);
            assert!(again.task.fence > fence);
            store.cancel(before.id).await.unwrap();
        }
    }
    // The deadline a task had when it failed by itself counts no more either.
    let held = at(&*store, &program, Stage::Prove, true, deadline).await;
    store.finish_step(held.0.id, held.1, failed(Stage::Prove, true)).await.unwrap();
    let Retried::Retried(back) = store.retry(held.0.id, None).await.unwrap() else { panic!("it can be retried") };
    assert_eq!((back.deadline, store.next_deadline().await.unwrap()), (None, None));
    drop(store);
    backing.reopen().await;
    assert_eq!(backing.store().task(back.id).await.unwrap(), Some(back));
}

pub(crate) async fn deadlines_are_met_earliest_first_and_within_the_limit<B: Backing>() {
    let mut backing = B::new().await;
    let store = backing.store();
    let program = program(&*store, 1).await;
    let (first, hour) = (in_an_hour(), SignedDuration::from_hours(1));
    let endless = task(&*store, &program).await;
    let mut ids = Vec::new();
    for hours in [2, 0, 3, 1] {
        ids.push(due(&*store, &program, first + hour * hours).await.id);
    }
    drop(store);
    backing.reopen().await;
    let store = backing.store();
    assert_eq!(store.next_deadline().await.unwrap(), Some(first));
    assert_eq!(store.expire(past(first + hour * 2), 0).await.unwrap(), []);
    assert_eq!(store.expire(past(first + hour * 2), 2).await.unwrap(), [ids[1], ids[3]]);
    assert_eq!(store.next_deadline().await.unwrap(), Some(first + hour * 2));
    assert_eq!(store.expire(past(first + hour * 2), 2).await.unwrap(), [ids[0]]);
    assert_eq!(store.next_deadline().await.unwrap(), Some(first + hour * 3));
    let left = store.tasks(TaskFilter { state: Some(TaskState::Queued), ..TaskFilter::default() }, None, 10).await;
    let left: Vec<_> = left.unwrap().items.into_iter().map(|task| task.id).collect();
    assert_eq!(left, [ids[2], endless.id]);
}

pub(crate) async fn who_finishes_or_waits_is_past_no_deadline<B: Backing>() {
    let backing = B::new().await;
    let store = backing.store();
    let program = program(&*store, 1).await;
    let deadline = in_an_hour();
    let (delivered, fence) = at(&*store, &program, Stage::Deliver, true, deadline).await;
    store.finish_step(delivered.id, fence, success(Stage::Deliver)).await.unwrap();
    let (refused, fence) = at(&*store, &program, Stage::Execute, true, deadline).await;
    store.finish_step(refused.id, fence, failed(Stage::Execute, false)).await.unwrap();
    let cancelled = due(&*store, &program, deadline).await;
    store.cancel(cancelled.id).await.unwrap();
    assert_eq!(store.next_deadline().await.unwrap(), None);
    assert_eq!(store.expire(past(deadline), 10).await.unwrap(), []);
    for (id, name) in [(delivered.id, "delivered"), (refused.id, "failed"), (cancelled.id, "cancelled")] {
        assert_eq!(event_names(&*store, id).await.last().unwrap(), name);
    }

    // One that waits for a later time does not outlive its deadline for that.
    let (waiting, fence) = at(&*store, &program, Stage::Execute, true, deadline).await;
    let later = deadline + SignedDuration::from_hours(9);
    store.finish_step(waiting.id, fence, postponed(later, true)).await.unwrap();
    assert_eq!(store.expire(past(deadline), 10).await.unwrap(), [waiting.id]);
    assert_eq!(store.next_ready(Stage::Execute).await.unwrap(), None);
}
