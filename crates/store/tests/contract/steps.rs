//! Steps: how a task moves on, and what doesn't move it.

use super::{
    Backing,
    fixture::{
        beat, claim, claim_one, delivered, delivered_with, event, event_names, executed_with, failed, failure, held_at,
        in_an_hour, picture, postponed, program, proved, success, task, volume, write,
    },
};
use bytes::Bytes;
use coprocessor_store::{Cancelled, Retried, Stage, StepOutcome, StoreError, TaskState, VolumeWrite};
use coprocessor_types::{BlobDigest, TaskId};
use jiff::Timestamp;
use serde_json::json;
use std::time::Duration;

pub(crate) async fn a_task_goes_the_whole_way<B: Backing>() {
    let mut backing = B::new().await;
    let program = program(&*backing.store(), 1).await;
    let id = task(&*backing.store(), &program).await.id;

    let held = claim(&*backing.store(), Stage::Execute).await;
    let outcome = executed_with(write(0, &[(1, b"from get_witnesses")]));
    let executed = backing.store().finish_step(id, held.task.fence, outcome).await.unwrap();
    assert_eq!((executed.state, executed.witness), (TaskState::Proving, Some(BlobDigest::of(b"witness"))));
    backing.reopen().await;
    assert_eq!(backing.store().task(id).await.unwrap(), Some(executed));

    let held = claim(&*backing.store(), Stage::Prove).await;
    backing.store().progress(id, held.task.fence, event("half")).await.unwrap();
    let proved = backing.store().finish_step(id, held.task.fence, proved()).await.unwrap();
    assert_eq!((proved.state, proved.proof), (TaskState::Delivering, Some(BlobDigest::of(b"proof"))));
    assert_eq!(proved.output.as_deref(), Some(b"output".as_slice()));
    backing.reopen().await;
    assert_eq!(backing.store().task(id).await.unwrap(), Some(proved));

    let held = claim(&*backing.store(), Stage::Deliver).await;
    let outcome = delivered_with(write(1, &[(2, b"from entrypoint")]));
    let delivered = backing.store().finish_step(id, held.task.fence, outcome).await.unwrap();
    assert_eq!((delivered.state, &delivered.result), (TaskState::Delivered, &Some(json!({ "stored": true }))));
    backing.reopen().await;
    let store = backing.store();
    assert_eq!(store.task(id).await.unwrap(), Some(delivered));

    assert_eq!(store.blob(BlobDigest::of(b"witness")).await.unwrap(), "witness");
    assert_eq!(store.blob(BlobDigest::of(b"proof")).await.unwrap(), "proof");
    let pages = [Some(b"from get_witnesses".to_vec()), Some(b"from entrypoint".to_vec())];
    assert_eq!(volume(&*store, program.id, [1, 2]), (2, pages));
    let names = event_names(&*store, id).await;
    assert_eq!(
        names,
        ["admitted", "claimed", "executed", "claimed", "half", "proved", "claimed", "delivered"].map(str::to_owned)
    );
}

pub(crate) async fn large_blobs_go_with_their_step<B: Backing>() {
    let mut backing = B::new().await;
    let (witness, proof) = (Bytes::from(vec![1; 300_000]), Bytes::from(vec![2; 2_800_000]));
    let held = held_at(&*backing.store(), 1, Stage::Execute).await;
    let outcome =
        StepOutcome::Executed { witness: witness.clone(), volume: VolumeWrite::default(), event: event("executed") };
    let late = backing.store().finish_step(held.task.id, held.task.fence + 1, outcome.clone()).await;
    assert!(matches!(late, Err(StoreError::StaleFence { .. })), "{late:?}");
    let missing = backing.store().blob(BlobDigest::of(&witness)).await;
    assert!(matches!(missing, Err(StoreError::BlobMissing(_))), "{missing:?}");
    backing.store().finish_step(held.task.id, held.task.fence, outcome).await.unwrap();
    let held = claim(&*backing.store(), Stage::Prove).await;
    let outcome = StepOutcome::Proved { proof: proof.clone(), output: proof.clone(), event: event("proved") };
    backing.store().finish_step(held.task.id, held.task.fence, outcome).await.unwrap();
    backing.reopen().await;

    let task = backing.store().task(held.task.id).await.unwrap().unwrap();
    assert_eq!(backing.store().blob(task.witness.unwrap()).await.unwrap(), witness);
    assert_eq!(backing.store().blob(task.proof.unwrap()).await.unwrap(), proof);
    assert_eq!(task.output.unwrap(), proof);
}

fn every_outcome() -> Vec<StepOutcome> {
    let volume = || write(0, &[(0, b"late")]);
    vec![
        executed_with(volume()),
        proved(),
        delivered_with(volume()),
        postponed(in_an_hour(), true),
        failed(Stage::Execute, true),
        failed(Stage::Prove, true),
        failed(Stage::Deliver, true),
    ]
}

pub(crate) async fn late_writes_change_nothing<B: Backing>() {
    let backing = B::new().await;
    let store = backing.store();
    for (nonce, stage) in Stage::ALL.into_iter().enumerate() {
        let held = held_at(&*store, nonce as u64, stage).await;
        let (id, program) = (held.task.id, held.task.program);
        // Nobody has the fences beside it; after a postponement nobody has its own either.
        for given_back in [false, true] {
            if given_back {
                store.finish_step(id, held.task.fence, postponed(in_an_hour(), false)).await.unwrap();
            }
            let before = picture(&*store, program, id).await;
            let fence = held.task.fence;
            let stale =
                if given_back { vec![fence - 1, fence, fence + 1] } else { vec![0, fence - 1, fence + 1, u64::MAX] };
            for fence in stale {
                for outcome in every_outcome() {
                    let got = store.finish_step(id, fence, outcome).await;
                    assert!(matches!(got, Err(StoreError::StaleFence { task, fence: f }) if task == id && f == fence));
                }
                let got = store.progress(id, fence, event("late")).await;
                assert!(matches!(got, Err(StoreError::StaleFence { .. })), "{got:?}");
                assert!(!beat(&*store, id, fence, Duration::ZERO).await);
            }
            assert_eq!(picture(&*store, program, id).await, before);
        }
        store.cancel(id).await.unwrap();
    }
}

pub(crate) async fn outcomes_of_another_stage_change_nothing<B: Backing>() {
    let backing = B::new().await;
    let store = backing.store();
    for (nonce, stage) in Stage::ALL.into_iter().enumerate() {
        let held = held_at(&*store, nonce as u64, stage).await;
        let (id, program) = (held.task.id, held.task.program);
        let before = picture(&*store, program, id).await;
        let [executed, proved, delivered, _, fail_execute, fail_prove, fail_deliver] =
            every_outcome().try_into().expect("seven outcomes");
        let fitting = [[executed, fail_execute], [proved, fail_prove], [delivered, fail_deliver]];
        for (other, outcomes) in Stage::ALL.into_iter().zip(fitting) {
            for outcome in outcomes.into_iter().filter(|_| other != stage) {
                let got = store.finish_step(id, held.task.fence, outcome).await;
                assert!(matches!(got, Err(StoreError::WrongState { task, .. }) if task == id), "{got:?}");
            }
        }
        assert_eq!(picture(&*store, program, id).await, before);
        // The claim still holds.
        store.finish_step(id, held.task.fence, failed(stage, false)).await.unwrap();
    }
}

pub(crate) async fn unknown_tasks_are_told<B: Backing>() {
    let backing = B::new().await;
    let store = backing.store();
    let id = TaskId::now();
    assert_eq!(store.task(id).await.unwrap(), None);
    assert_eq!(store.cancel(id).await.unwrap(), Cancelled::Unknown);
    assert_eq!(store.retry(id, None).await.unwrap(), Retried::Unknown);
    assert!(!beat(&*store, id, 1, Duration::ZERO).await);
    assert!(matches!(store.progress(id, 1, event("x")).await, Err(StoreError::UnknownTask(task)) if task == id));
    assert!(matches!(store.finish_step(id, 1, proved()).await, Err(StoreError::UnknownTask(task)) if task == id));
}

pub(crate) async fn a_step_that_is_late_but_unclaimed_counts<B: Backing>() {
    let backing = B::new().await;
    let store = backing.store();
    task(&*store, &program(&*store, 1).await).await;
    for stage in Stage::ALL {
        let held = claim_one(&*store, stage, Duration::ZERO).await.unwrap();
        store.finish_step(held.task.id, held.task.fence, success(stage)).await.unwrap();
    }
}

pub(crate) async fn delivery_writes_the_volume_once<B: Backing>() {
    let backing = B::new().await;
    let store = backing.store();
    let first = held_at(&*store, 1, Stage::Deliver).await;
    let (id, program) = (first.task.id, first.task.program);
    assert!(beat(&*store, id, first.task.fence, Duration::ZERO).await);
    let second = claim(&*store, Stage::Deliver).await;
    let outcome = |content: &[u8]| delivered_with(write(0, &[(0, content)]));
    store.finish_step(id, second.task.fence, outcome(b"second")).await.unwrap();
    let before = picture(&*store, program, id).await;
    for fence in [first.task.fence, second.task.fence] {
        let got = store.finish_step(id, fence, outcome(b"again")).await;
        assert!(matches!(got, Err(StoreError::StaleFence { .. })), "{got:?}");
    }
    assert_eq!(picture(&*store, program, id).await, before);
    assert_eq!(volume(&*store, program, [0]), (1, [Some(b"second".to_vec())]));
}

pub(crate) async fn a_volume_conflict_leaves_the_step_open<B: Backing>() {
    let backing = B::new().await;
    let store = backing.store();
    for (nonce, stage) in [Stage::Execute, Stage::Deliver].into_iter().enumerate() {
        let held = held_at(&*store, nonce as u64, stage).await;
        let (id, program) = (held.task.id, held.task.program);
        store.write_volume(program, write(0, &[(0, b"somebody else's")])).await.unwrap();
        let before = picture(&*store, program, id).await;
        let outcome = |based_on| match stage {
            Stage::Execute => executed_with(write(based_on, &[(1, b"mine")])),
            _ => delivered_with(write(based_on, &[(1, b"mine")])),
        };
        let got = store.finish_step(id, held.task.fence, outcome(0)).await;
        assert!(matches!(got, Err(StoreError::VolumeConflict { expected: 0, got: 1, .. })), "{got:?}");
        assert_eq!(picture(&*store, program, id).await, before);
        store.finish_step(id, held.task.fence, outcome(1)).await.unwrap();
        assert_eq!(volume(&*store, program, []).0, 2);
        store.cancel(id).await.unwrap();
    }
}

pub(crate) async fn cancelling_ends_a_task_in_each_state<B: Backing>() {
    let backing = B::new().await;
    let store = backing.store();
    let waiting = task(&*store, &program(&*store, 100).await).await;
    assert!(matches!(store.cancel(waiting.id).await.unwrap(), Cancelled::Cancelled(task) if task.fence == 1));
    for (nonce, stage) in Stage::ALL.into_iter().enumerate() {
        for held in [true, false] {
            let claim = held_at(&*store, nonce as u64 * 2 + u64::from(held), stage).await;
            let (id, program, fence) = (claim.task.id, claim.task.program, claim.task.fence);
            if !held {
                store.finish_step(id, fence, postponed(Timestamp::UNIX_EPOCH, true)).await.unwrap();
            }
            let Cancelled::Cancelled(cancelled) = store.cancel(id).await.unwrap() else {
                panic!("it was not finished")
            };
            assert_eq!((cancelled.state, cancelled.fence), (TaskState::Cancelled, fence + 1));
            let after = picture(&*store, program, id).await;
            for fence in [fence, fence + 1] {
                let got = store.finish_step(id, fence, success(stage)).await;
                assert!(matches!(got, Err(StoreError::StaleFence { .. })), "{got:?}");
            }
            assert_eq!(store.cancel(id).await.unwrap(), Cancelled::Finished(cancelled.clone()));
            assert_eq!(store.retry(id, None).await.unwrap(), Retried::Refused(cancelled));
            assert_eq!(picture(&*store, program, id).await, after);
            assert_eq!(event_names(&*store, id).await.last().unwrap(), "cancelled");
            assert_eq!(claim_one(&*store, stage, Duration::ZERO).await, None);
        }
    }
    let done = held_at(&*store, 50, Stage::Deliver).await;
    let done = store.finish_step(done.task.id, done.task.fence, delivered()).await.unwrap();
    assert_eq!(store.cancel(done.id).await.unwrap(), Cancelled::Finished(done));
}

pub(crate) async fn a_failed_task_is_retried_from_its_stage<B: Backing>() {
    let mut backing = B::new().await;
    for (nonce, stage) in Stage::ALL.into_iter().enumerate() {
        let store = backing.store();
        let held = held_at(&*store, nonce as u64 * 2, stage).await;
        let gone = store.finish_step(held.task.id, held.task.fence, failed(stage, true)).await.unwrap();
        assert_eq!((gone.state, gone.failure), (TaskState::Failed, Some(failure(stage, true))));
        assert_eq!(claim_one(&*store, stage, Duration::ZERO).await, None);
        drop(store);
        backing.reopen().await;
        let store = backing.store();

        let Retried::Retried(back) = store.retry(held.task.id, None).await.unwrap() else {
            panic!("it can be retried")
        };
        let waiting = [TaskState::Queued, TaskState::Proving, TaskState::Delivering][nonce];
        assert_eq!((back.state, back.attempts, &back.failure), (waiting, 0, &None));
        assert_eq!((back.witness, back.proof, &back.output), (held.task.witness, held.task.proof, &held.task.output));
        assert_eq!(store.retry(back.id, None).await.unwrap(), Retried::Refused(back.clone()));
        let again = claim(&*store, stage).await;
        assert_eq!((again.task.id, again.task.fence), (back.id, held.task.fence + 1));
        let names = event_names(&*store, back.id).await;
        assert_eq!(names[names.len() - 3..], ["failed", "retried", "claimed"].map(str::to_owned));
        store.finish_step(back.id, again.task.fence, success(stage)).await.unwrap();
        store.cancel(back.id).await.unwrap();

        let held = held_at(&*store, nonce as u64 * 2 + 1, stage).await;
        let gone = store.finish_step(held.task.id, held.task.fence, failed(stage, false)).await.unwrap();
        assert_eq!(store.retry(gone.id, None).await.unwrap(), Retried::Refused(gone));
    }
}

pub(crate) async fn attempts_are_counted<B: Backing>() {
    let backing = B::new().await;
    let store = backing.store();
    let id = task(&*store, &program(&*store, 1).await).await.id;
    for stage in Stage::ALL {
        for (counts, attempts) in [(true, 1), (false, 1), (true, 2)] {
            let held = claim(&*store, stage).await;
            let outcome = postponed(Timestamp::UNIX_EPOCH, counts);
            let after = store.finish_step(id, held.task.fence, outcome).await.unwrap();
            assert_eq!(after.attempts, attempts);
        }
        let held = claim(&*store, stage).await;
        assert_eq!(held.task.attempts, 2);
        assert_eq!(store.finish_step(id, held.task.fence, success(stage)).await.unwrap().attempts, 0);
    }
}
