//! Recordings of tasks' runs.

use super::{
    Backing,
    fixture::{self, HOUR, admitted, claim, delivered, executed, program, proved, task},
};
use bytes::Bytes;
use coprocessor_store::{NewTask, Retention, Stage, Store, StoreError, Task};
use coprocessor_types::{BlobDigest, TaskId};
use jiff::{SignedDuration, Timestamp};

/// Large enough to be kept beside the database, where a store does that.
fn content(text: &str) -> Bytes {
    Bytes::from(format!("{text} {}", "x".repeat(100_000)))
}

async fn keep(store: &dyn Store, task: &Task, stage: Stage, text: &str) {
    store.keep_recording(task.id, task.fence, stage, content(text)).await.unwrap();
}

async fn kept(store: &dyn Store, task: TaskId, stage: Option<Stage>) -> Option<(Stage, Bytes)> {
    let found = store.recording(task, stage).await.unwrap()?;
    let recording = store.blob(found.digest).await.unwrap();
    assert_eq!(found.bytes, recording.len() as u64);
    Some((found.stage, recording))
}

pub(crate) async fn whether_a_task_is_recorded_is_kept<B: Backing>() {
    let mut backing = B::new().await;
    let store = backing.store();
    let program = program(&*store, 1).await;
    let mut tasks = Vec::new();
    for record in [false, true, false] {
        let new = NewTask { record, ..fixture::new_task(&program) };
        let large = serde_json::json!("x".repeat(100_000));
        for args in [new.args.clone(), large] {
            let task =
                admitted(store.admit(NewTask { id: TaskId::now(), args, ..new.clone() }, fixture::ROOM).await.unwrap());
            assert_eq!(task.record, record);
            tasks.push(task);
        }
    }
    drop(store);
    backing.reopen().await;
    let store = backing.store();
    for expected in &tasks {
        assert_eq!(store.task(expected.id).await.unwrap().as_ref(), Some(expected));
        let held = claim(&*store, Stage::Execute).await.task;
        assert_eq!((held.id, held.record), (expected.id, expected.record));
    }
}

pub(crate) async fn the_last_recording_of_each_stage_is_kept<B: Backing>() {
    let mut backing = B::new().await;
    let store = backing.store();
    let program = program(&*store, 1).await;
    let id = task(&*store, &program).await.id;
    assert_eq!(kept(&*store, id, None).await, None);
    let held = claim(&*store, Stage::Execute).await.task;
    keep(&*store, &held, Stage::Execute, "first").await;
    keep(&*store, &held, Stage::Execute, "second").await;
    // The same again is as good.
    keep(&*store, &held, Stage::Execute, "second").await;
    assert_eq!(kept(&*store, id, None).await, Some((Stage::Execute, content("second"))));
    assert_eq!(kept(&*store, id, Some(Stage::Deliver)).await, None);
    for (stage, outcome) in [(Stage::Prove, executed()), (Stage::Deliver, proved())] {
        store.finish_step(id, store.task(id).await.unwrap().unwrap().fence, outcome).await.unwrap();
        claim(&*store, stage).await;
    }
    let held = store.task(id).await.unwrap().unwrap();
    keep(&*store, &held, Stage::Deliver, "third").await;
    store.finish_step(id, held.fence, delivered()).await.unwrap();
    drop(store);
    backing.reopen().await;
    let store = backing.store();
    assert_eq!(kept(&*store, id, None).await, Some((Stage::Deliver, content("third"))));
    assert_eq!(kept(&*store, id, Some(Stage::Execute)).await, Some((Stage::Execute, content("second"))));
    assert_eq!(kept(&*store, TaskId::now(), None).await, None);
    assert_eq!(store.contradictions().await.unwrap(), Vec::<String>::new());
}

pub(crate) async fn a_late_recording_is_not_kept<B: Backing>() {
    let backing = B::new().await;
    let store = backing.store();
    let program = program(&*store, 1).await;
    let id = task(&*store, &program).await.id;
    let late = |fence| store.keep_recording(id, fence, Stage::Execute, content("late"));
    assert!(matches!(late(0).await, Err(StoreError::StaleFence { .. })));
    let held = claim(&*store, Stage::Execute).await.task;
    assert!(matches!(late(held.fence + 1).await, Err(StoreError::StaleFence { .. })));
    store.cancel(id).await.unwrap();
    assert!(matches!(late(held.fence).await, Err(StoreError::StaleFence { .. })));
    let nobody = store.keep_recording(TaskId::now(), 1, Stage::Execute, content("late")).await;
    assert!(matches!(nobody, Err(StoreError::UnknownTask(_))), "{nobody:?}");
    assert_eq!(kept(&*store, id, None).await, None);
    assert_eq!(store.contradictions().await.unwrap(), Vec::<String>::new());
}

/// Those replaced, aged out, gone with their task or with their program.
pub(crate) async fn recordings_go_with_all_that_named_them<B: Backing>() {
    let backing = B::new().await;
    let store = backing.store();
    let (one, other) = (program(&*store, 1).await, program(&*store, 2).await);
    let none = Retention {
        witnesses: None,
        proofs: None,
        recordings: None,
        tasks: None,
        deliveries: None,
        unnamed_blobs: HOUR,
    };
    let collect = async |retention: Retention, hours| {
        let later = Timestamp::now() + SignedDuration::from_hours(hours);
        let mut recordings = 0;
        loop {
            let pass = store.collect(&retention, later, 1).await.unwrap();
            assert!(pass.recordings <= 1);
            recordings += pass.recordings;
            if !pass.more {
                return recordings;
            }
        }
    };
    let there = async |text: &str| store.blob(BlobDigest::of(&content(text))).await.is_ok();
    let record = async |program, text: &str| {
        let id = task(&*store, program).await.id;
        let held = claim(&*store, Stage::Execute).await.task;
        assert_eq!(held.id, id);
        keep(&*store, &held, Stage::Execute, text).await;
        keep(&*store, &held, Stage::Deliver, "shared").await;
        held
    };
    let first = record(&one, "first").await;
    keep(&*store, &first, Stage::Execute, "second").await;
    assert_eq!(collect(none, 2).await, 0);
    assert!(!there("first").await && there("second").await && there("shared").await);

    // Those of an unfinished task age out too.
    assert_eq!(collect(Retention { recordings: Some(3 * HOUR), ..none }, 2).await, 0);
    assert_eq!(collect(Retention { recordings: Some(HOUR), ..none }, 2).await, 2);
    assert_eq!(kept(&*store, first.id, None).await, None);
    assert!(!there("second").await && !there("shared").await);

    keep(&*store, &first, Stage::Execute, "third").await;
    store.cancel(first.id).await.unwrap();
    let second = record(&other, "fourth").await;
    assert_eq!(collect(Retention { tasks: Some(HOUR), ..none }, 2).await, 0);
    assert_eq!(store.task(first.id).await.unwrap(), None);
    assert!(!there("third").await && there("fourth").await);

    store.cancel(second.id).await.unwrap();
    store.delete_program(other.id).await.unwrap();
    collect(none, 2).await;
    assert!(!there("fourth").await && !there("shared").await);
    assert_eq!(store.contradictions().await.unwrap(), Vec::<String>::new());
}
