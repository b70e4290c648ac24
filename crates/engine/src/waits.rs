//! Controllers that wait for the network, among others that do not.

use coprocessor_store::{Failure, Stage, TaskState, VolumeWrite};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

use crate::{
    Caller, EngineConfig, RetryPolicy, TaskRequest, Workers,
    network::testing::{Server, answer, settings},
    testing::{Bench, FakeNode, config, until},
};

/// `get_witnesses` sends the request that is its arguments, unless they are `0`, and panics when it gets none. `entrypoint`
/// reads the raw storage, sends its arguments, and writes the raw storage with one byte more.
const CONTROLLER: &str = r#"(module
    (import "valence" "args" (func $args (param i32) (result i32)))
    (import "valence" "ret" (func $ret (param i32 i32) (result i32)))
    (import "valence" "panic" (func $panic (param i32 i32)))
    (import "valence" "http" (func $http (param i32 i32 i32) (result i32)))
    (import "valence" "get_raw_storage" (func $get_raw (param i32) (result i32)))
    (import "valence" "set_raw_storage" (func $set_raw (param i32 i32) (result i32)))
    (memory (export "memory") 4)
    (data (i32.const 0) "[{\"Data\":[7]}]")
    (data (i32.const 32) "no answer")
    (func (export "get_witnesses") (local $length i32)
        (local.set $length (call $args (i32.const 65536)))
        (if (i32.gt_s (local.get $length) (i32.const 1)) (then
            (if (i32.lt_s (call $http (i32.const 65536) (local.get $length) (i32.const 131072)) (i32.const 0))
                (then (call $panic (i32.const 32) (i32.const 9))))))
        (drop (call $ret (i32.const 0) (i32.const 14))))
    (func (export "entrypoint") (local $length i32)
        (local.set $length (call $get_raw (i32.const 4096)))
        (drop (call $http (i32.const 65536) (call $args (i32.const 65536)) (i32.const 131072)))
        (drop (call $set_raw (i32.const 4096) (i32.add (local.get $length) (i32.const 1))))))"#;

/// One controller computes at a time, and loopback may be reached.
fn one_at_a_time() -> EngineConfig {
    EngineConfig {
        workers: Workers { controllers: 1, ..config().workers },
        network: settings(&["127.0.0.1"], &["127.0.0.1"]),
        retry: RetryPolicy { first: Duration::from_millis(20), ..RetryPolicy::default() },
        ..config()
    }
}

async fn bench(config: EngineConfig) -> Bench {
    Bench::running(CONTROLLER, config, &[&FakeNode::new("a")]).await
}

fn request(bench: &Bench, args: Value) -> TaskRequest {
    TaskRequest { args, ..bench.request() }
}

fn fine() -> Vec<u8> {
    answer("200 OK", "", "fine")
}

#[tokio::test(flavor = "multi_thread")]
async fn many_that_wait_keep_nobody_from_working() {
    let server = Server::holding(vec![fine()]).await;
    let bench = bench(one_at_a_time()).await;
    let running = bench.engine.start().unwrap();
    let mut waiting = Vec::new();
    for _ in 0..40 {
        let task = request(&bench, json!({"url": server.url("127.0.0.1", "/")}));
        waiting.push(bench.engine.admit(task).await.unwrap().id);
    }
    until(|| server.requests().len() == 40).await;
    for _ in 0..3 {
        let quick = bench.engine.admit(request(&bench, json!(0))).await.unwrap();
        bench.reaches(quick.id, TaskState::Delivered).await;
    }
    let slow = bench.task(waiting[0]).await;
    assert_eq!(slow.state, TaskState::Executing);
    server.open();
    for task in waiting {
        bench.reaches(task, TaskState::Delivered).await;
    }
    running.stop(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_task_ends_its_call() {
    let server = Server::holding(vec![fine()]).await;
    let bench = bench(one_at_a_time()).await;
    let running = bench.engine.start().unwrap();
    let task = request(&bench, json!({"url": server.url("127.0.0.1", "/")}));
    let task = bench.engine.admit(task).await.unwrap();
    until(|| server.requests().len() == 1).await;
    bench.engine.cancel(&Caller::anonymous(), task.id).await.unwrap();
    until(|| server.given_up() == 1).await;
    assert_eq!(bench.task(task.id).await.state, TaskState::Cancelled);
    running.stop(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_controller_made_of_an_absent_answer_is_tried_again() {
    let server = Server::start(vec![b"no http\r\n\r\n".to_vec(), fine()]).await;
    let bench = bench(one_at_a_time()).await;
    let running = bench.engine.start().unwrap();
    let task = request(&bench, json!({"url": server.url("127.0.0.1", "/")}));
    let task = bench.engine.admit(task).await.unwrap();
    bench.reaches(task.id, TaskState::Delivered).await;
    assert_eq!(server.requests().len(), 2);
    running.stop(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_allowed_fails_at_once_with_the_reason_in_the_log() {
    let server = Server::start(vec![fine()]).await;
    let bench = bench(EngineConfig { network: Default::default(), ..one_at_a_time() }).await;
    let running = bench.engine.start().unwrap();
    let task = request(&bench, json!({"url": server.url("127.0.0.1", "/")}));
    let task = bench.engine.admit(task).await.unwrap();
    let failure = bench.reaches(task.id, TaskState::Failed).await.failure.unwrap();
    assert!(matches!(&failure, Failure { stage: Stage::Execute, retryable: false, .. }), "{failure:?}");
    let events = bench.store.events(task.id, 0, 100).await.unwrap();
    let detail = &events.last().unwrap().kind.detail;
    assert!(detail["log"][0].as_str().unwrap().starts_with("http refused: GET requests to 127.0.0.1"), "{detail}");
    assert_eq!((&detail["usage"]["network_calls"], server.requests().len()), (&json!(1), 0));
    running.stop(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_written_during_a_wait_is_seen_by_the_run_made_again() {
    let server = Server::holding(vec![fine()]).await;
    let bench = bench(one_at_a_time()).await;
    let (engine, program) = (bench.engine.clone(), bench.program.id);
    let args = json!({"url": server.url("127.0.0.1", "/")});
    let call = tokio::spawn(async move { engine.call(&Caller::anonymous(), program, args).await });
    until(|| server.requests().len() == 1).await;
    let raw = Some(vec![0; 10].into());
    bench.store.write_volume(program, VolumeWrite { based_on: 0, raw, ..VolumeWrite::default() }).await.unwrap();
    server.open();
    let report = call.await.unwrap().unwrap();
    assert_eq!((bench.effects(), server.requests().len(), report.usage.network_calls), (11, 2, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_runs_hold_no_view_of_the_store() {
    let server = Server::holding(vec![fine()]).await;
    let bench = Arc::new(bench(one_at_a_time()).await);
    let args = json!({"url": server.url("127.0.0.1", "/")});
    // More than the store has views; they all read before they wait.
    let others: Vec<_> = (0..100)
        .map(|_| {
            let (bench, args) = (Arc::clone(&bench), args.clone());
            tokio::spawn(async move {
                let program = bench.program.id;
                let call = crate::controllers::ControllerCall {
                    subject: crate::controllers::Subject::Program(program),
                    controller: bench.program.controller,
                    export: coprocessor_sandbox::Export::Entrypoint,
                    args,
                    root: coprocessor_types::Root::default(),
                    recorder: None,
                };
                bench.engine.inner.run_controller(call).await.map(|run| run.run.result)
            })
        })
        .collect();
    until(|| server.requests().len() == 100).await;
    assert_eq!(bench.effects(), 0);
    server.open();
    for run in others {
        assert_eq!(run.await.unwrap().unwrap(), Ok(None));
    }
}
