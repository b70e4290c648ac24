//! Whole lives of tasks: what an engine at work does with them. Tests only.

use coprocessor_store::{Cancelled, Stage, TaskState};
use std::time::Duration;

use crate::{
    Caller, EngineConfig, EngineError, TaskRequest,
    testing::{Act, Bench, FakeNode, config, until},
};

/// For what must not be waited for to its end.
const SHORT: Duration = Duration::from_millis(50);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_are_delivered_and_each_leaves_its_effect_once() {
    let node = FakeNode::new("a");
    let bench = Bench::new(&[&node]).await;
    let running = bench.engine.start().unwrap();
    let mut tasks = Vec::new();
    for _ in 0..20 {
        tasks.push(bench.admit().await.id);
    }
    for task in tasks {
        let task = bench.engine.wait(&Caller::anonymous(), task, Duration::from_secs(30)).await.unwrap();
        assert_eq!((task.state, task.output.as_deref()), (TaskState::Delivered, Some(&b"out"[..])));
    }
    assert_eq!(bench.effects(), 20);
    running.stop(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_coprocessors_that_write_to_one_volume_both_get_through() {
    let node = FakeNode::new("a");
    let bench = Bench::new(&[&node]).await;
    let other = bench.another(EngineConfig { worker: "other".into(), ..config() }, &[&node]).await;
    let running = [bench.engine.start().unwrap(), other.engine.start().unwrap()];
    let mut tasks = Vec::new();
    for _ in 0..40 {
        tasks.push(bench.admit().await.id);
    }
    for task in tasks {
        bench.reaches(task, TaskState::Delivered).await;
    }
    assert_eq!(bench.effects(), 40);
    for running in running {
        running.stop(Duration::from_secs(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadline_ends_a_task_and_its_job_and_a_retry_has_as_much_time() {
    let node = FakeNode::new("a");
    let bench = Bench::new(&[&node]).await;
    node.act(Act::Hang);
    let running = bench.engine.start().unwrap();
    let request = TaskRequest { deadline: Some(Duration::from_secs(1)), ..bench.request() };
    let id = bench.engine.admit(request).await.unwrap().id;
    let failed = bench.reaches(id, TaskState::Failed).await;
    let failure = failed.failure.unwrap();
    assert_eq!((failure.code.as_str(), failure.stage, failure.retryable), ("deadline_exceeded", Stage::Prove, true));
    until(|| node.state().cancelled.iter().any(|key| key.task == id)).await;

    let retried = bench.engine.retry(&Caller::anonymous(), id).await.unwrap();
    let length = retried.deadline.unwrap().duration_since(failed.deadline.unwrap());
    assert!(length.as_millis() >= 900, "from the retry on, it has what it had: {length:?}");
    bench.reaches(id, TaskState::Delivered).await;
    running.stop(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancel_through_another_coprocessor_stops_the_work_here() {
    let node = FakeNode::new("a");
    let bench = Bench::with(EngineConfig { lease: Duration::from_secs(600), ..config() }, &[&node]).await;
    node.act(Act::Hang);
    let running = bench.engine.start().unwrap();
    let id = bench.admit().await.id;
    until(|| !node.state().jobs.is_empty()).await;
    // Nothing of this engine is told: it learns of it from the store, long before a heartbeat is due.
    assert!(matches!(bench.store.cancel(id).await.unwrap(), Cancelled::Cancelled(_)));
    until(|| !node.state().cancelled.is_empty()).await;
    until(|| bench.engine.inner.claims.all().is_empty()).await;
    running.stop(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancel_reaches_the_node_of_a_task_that_nobody_holds() {
    let node = FakeNode::new("a");
    let bench = Bench::new(&[&node]).await;
    let task = bench.to_be_proved().await;
    bench.store.assign(task.id, task.fence, "a", crate::testing::event()).await.unwrap();
    bench.engine.cancel(&Caller::anonymous(), task.id).await.unwrap();
    until(|| node.state().cancelled.iter().any(|key| key.task == task.id && key.fence >= task.fence)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_unfinished_at_the_end_is_handed_back() {
    let node = FakeNode::new("a");
    let bench = Bench::with(EngineConfig { lease: Duration::from_secs(600), ..config() }, &[&node]).await;
    node.act(Act::Hang);
    let running = bench.engine.start().unwrap();
    let id = bench.admit().await.id;
    until(|| !node.state().jobs.is_empty()).await;
    running.stop(SHORT).await;
    let claim = bench.claim(Stage::Prove).await;
    assert_eq!((claim.task.id, claim.task.attempts, claim.task.node.as_deref()), (id, 0, Some("a")));
    assert!(node.state().cancelled.is_empty(), "the next one goes on with the job");
}

#[tokio::test]
async fn low_storage_refuses_new_tasks_and_says_so() {
    let bench = Bench::with(EngineConfig { max_store_bytes: Some(0), ..config() }, &[]).await;
    bench.admit().await;
    let report = bench.engine.storage().await.unwrap();
    assert!(report.low.is_some_and(|reason| reason.contains("may have 0")));
    let refused = bench.engine.admit(bench.request()).await;
    assert!(matches!(refused, Err(EngineError::StorageLow { .. })), "{refused:?}");
}

#[tokio::test]
async fn bounds_of_a_request_are_kept() {
    let config = EngineConfig { max_deadline: Duration::from_secs(60), backlog: 1, ..config() };
    let bench = Bench::with(config, &[]).await;
    let admit = async |request| bench.engine.admit(request).await;
    let late = admit(TaskRequest { deadline: Some(Duration::from_secs(61)), ..bench.request() }).await;
    assert!(matches!(late, Err(EngineError::DeadlineTooLong { limit }) if limit.as_secs() == 60));
    let urgent = admit(TaskRequest { priority: 101, ..bench.request() }).await;
    assert!(matches!(urgent, Err(EngineError::Priority { got: 101 })));
    let keyed = TaskRequest { idempotency_key: Some("k".into()), ..bench.request() };
    let task = admit(keyed.clone()).await.unwrap();
    let length = task.deadline.unwrap().duration_since(task.created_at);
    assert!(length.as_secs() <= 60, "the default is no longer than the longest");
    assert!(matches!(admit(bench.request()).await, Err(EngineError::BacklogFull { .. })));
    assert_eq!(admit(keyed.clone()).await.unwrap().id, task.id, "a repeated request gets its task all the same");
    let other = TaskRequest { priority: 1, ..keyed };
    assert!(matches!(admit(other).await, Err(EngineError::IdempotencyKeyReused(id)) if id == task.id));
}
