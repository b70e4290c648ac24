//! Guests that panic, trap, or want more than they may have.

use crate::{
    guests::{LONG, controller_that, counter, hello_circuit, hello_controller},
    service::Service,
};
use coprocessor_api::{TaskState, TaskView};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Runs a task to its failure, which must be for good.
async fn failure(service: &Service, program: &str, args: Value) -> TaskView {
    let task = service.submit(program, args).await;
    let task = service.finished(&task).await;
    assert_eq!(task.state, TaskState::Failed);
    let failure = task.failure.as_ref().unwrap();
    assert!(!failure.retryable, "{failure:?}");
    let retry = service.request(reqwest::Method::POST, &format!("/api/v1/tasks/{}/retry", task.id));
    service.refuses("a retry", retry, 409, "task_not_retryable").await;
    task
}

#[tokio::test]
async fn a_circuit_that_panics_fails_its_task_at_once() {
    let service = Service::start(&[]);
    let program = service.deploy(&hello_controller(), &hello_circuit()).await;
    let began = Instant::now();
    let task = failure(&service, &program, json!({"name": ""})).await;
    let failed = task.failure.unwrap();
    assert_eq!((failed.stage.as_str(), failed.code.as_str()), ("prove", "circuit_failed"));
    assert!(failed.message.contains("the name is empty"), "{}", failed.message);
    assert_eq!((task.attempts, task.has_proof, task.output), (0, false, None));
    // By the service's own clock: what it took to notice, and not what this test took to look.
    let took = task.updated_at.duration_since(task.created_at).unsigned_abs();
    assert!(took < Duration::from_secs(5) && took <= began.elapsed(), "{took:?}");

    // The same in a dry run, which keeps nothing.
    let request = service.post(&format!("/api/v1/programs/{program}/execute"), &json!({"args": {"name": ""}}));
    let problem = service.refuses("a dry run", request, 422, "circuit_failed").await;
    assert!(problem.detail.contains("the name is empty"), "{problem}");
    assert_eq!(problem.log, ["greeting "]);
}

#[tokio::test]
async fn a_controller_that_panics_says_what_it_said() {
    let service = Service::start(&[]);
    let program = service.deploy(&hello_controller(), &hello_circuit()).await;
    let args = json!({"name": "Ada", "surname": "Lovelace"});
    let failed = failure(&service, &program, args.clone()).await.failure.unwrap();
    assert_eq!((failed.stage.as_str(), failed.code.as_str()), ("execute", "guest_panic"));
    assert!(failed.message.contains("surname"), "{}", failed.message);
    for rest in ["witness", "execute"] {
        let request = service.post(&format!("/api/v1/programs/{program}/{rest}"), &json!({"args": args}));
        let problem = service.refuses(rest, request, 422, "guest_panic").await;
        assert!(problem.detail.contains("surname"), "{problem}");
    }
}

#[tokio::test]
async fn controllers_that_trap_or_return_what_is_no_witness() {
    let service = Service::start(&["--controller-memory-mib", "1"]);
    let cases = [
        ("guest_trap", "(unreachable)".to_owned()),
        ("guest_trap", "(i32.store (i32.const 65536) (i32.const 1))".to_owned()),
        ("guest_trap", "(drop (i32.div_u (i32.const 1) (i32.const 0)))".to_owned()),
        ("unknown_import", "(call $teleport)".to_owned()),
        ("stack_limit", "(call $main)".to_owned()),
        // Grows until it is refused, and gives up.
        (
            "memory_limit",
            "(loop $more (br_if $more (i32.ge_s (memory.grow (i32.const 1)) (i32.const 0)))) (unreachable)".to_owned(),
        ),
        ("log_limit", "(loop $more (drop (call $log (i32.const 0) (i32.const 60000))) (br $more))".to_owned()),
        ("host_call_limit", "(loop $more (drop (call $log (i32.const 0) (i32.const 0))) (br $more))".to_owned()),
        ("bad_result", "(drop (call $ret (i32.const 0) (i32.const 3)))".to_owned()),
        ("witness_malformed", "(nop)".to_owned()),
        (
            "witness_malformed",
            r#"(i32.store8 (i32.const 0) (i32.const 55)) (drop (call $ret (i32.const 0) (i32.const 1)))"#.to_owned(),
        ),
    ];
    for (nonce, (code, body)) in cases.into_iter().enumerate() {
        let mut deployment = crate::service::deployment(&controller_that(&body), &hello_circuit());
        deployment["nonce"] = nonce.into();
        let deployed = service.post("/api/v1/programs", &deployment);
        let program = crate::service::json_of(deployed, reqwest::StatusCode::CREATED).await;
        let program = program["id"].as_str().unwrap();
        let failed = failure(&service, program, json!({})).await.failure.unwrap();
        assert_eq!((failed.stage.as_str(), failed.code.as_str()), ("execute", code), "{body}: {}", failed.message);
        let request = service.post(&format!("/api/v1/programs/{program}/witness"), &json!({}));
        service.refuses(&body, request, 422, code).await;
    }
}

#[tokio::test]
async fn what_a_controller_call_may_have_is_the_operators_choice() {
    let cases = [
        ("--controller-log-kib", "1", "log_limit", "(drop (call $log (i32.const 0) (i32.const 1024)))"),
        ("--controller-host-calls", "2", "host_call_limit", "(call $nothing) (call $nothing) (call $nothing)"),
        ("--controller-output-kib", "1", "output_limit", "(drop (call $ret (i32.const 0) (i32.const 1025)))"),
        ("--controller-stack-kib", "16", "stack_limit", "(call $deep (i32.const 5000))"),
        ("--controller-table", "9", "table_limit", "(if (i32.lt_s (call $grow) (i32.const 0)) (then (unreachable)))"),
    ];
    for (flag, value, code, body) in cases {
        let more = r"(table $t 1 funcref)
            (func $grow (result i32) (table.grow $t (ref.null func) (i32.const 9)))
            (func $nothing (drop (call $log (i32.const 0) (i32.const 0))))
            (func $deep (param $n i32)
              (if (local.get $n) (then (call $deep (i32.sub (local.get $n) (i32.const 1))))))";
        let controller = crate::guests::controller_with(more, body);
        let usual = Service::start(&[]);
        let program = usual.deploy(&controller, &hello_circuit()).await;
        let request = usual.post(&format!("/api/v1/programs/{program}/witness"), &json!({}));
        let problem: Value = request.send().await.unwrap().json().await.unwrap();
        assert_ne!(problem["code"], code, "{flag}: it has no effect");
        let service = Service::start(&[flag, value]);
        let program = service.deploy(&controller, &hello_circuit()).await;
        let request = service.post(&format!("/api/v1/programs/{program}/witness"), &json!({}));
        service.refuses(flag, request, 422, code).await;
    }
}

#[tokio::test]
async fn a_controller_that_computes_without_end_runs_out_of_fuel() {
    let service = Service::start(&["--controller-fuel", "1000000"]);
    let program = service.deploy(&controller_that("(loop $again (br $again))"), &hello_circuit()).await;
    let task = failure(&service, &program, json!({})).await;
    let failed = task.failure.unwrap();
    assert_eq!((failed.stage.as_str(), failed.code.as_str()), ("execute", "out_of_fuel"));
    assert!(failed.message.contains("1000000"), "{}", failed.message);
    let event = service.events(&task.id).await.pop().unwrap();
    assert!(event.detail["usage"]["fuel"].as_u64().unwrap() >= 999_000, "{event:?}");
}

#[tokio::test]
async fn an_entrypoint_that_fails_leaves_the_volume_as_it_was() {
    let service = Service::start(&["--controller-fuel", "1000000"]);
    let program = service.deploy(&counter(1, 1), &hello_circuit()).await;
    let first = service.submit(&program, json!({})).await;
    service.delivered(&first).await;
    let path = format!("/api/v1/programs/{program}/controller");
    let request = service.request(reqwest::Method::PUT, &path).body(counter(1, LONG));
    assert_eq!(request.send().await.unwrap().status(), 200);
    let failed = failure(&service, &program, json!({})).await;
    assert!(failed.has_proof, "the proof was made, and is kept");
    let failed = failed.failure.unwrap();
    assert_eq!((failed.stage.as_str(), failed.code.as_str()), ("deliver", "out_of_fuel"));
    assert_eq!(service.count(&program).await, 1);
    let call = service.post(&format!("/api/v1/programs/{program}/call"), &json!({}));
    service.refuses("a call", call, 422, "out_of_fuel").await;
}

#[tokio::test]
async fn a_slow_controller_is_interrupted_by_the_clock() {
    let service = Service::start(&["--controller-ms", "50"]);
    let program = service.deploy(&controller_that("(loop $again (br $again))"), &hello_circuit()).await;
    let request = service.post(&format!("/api/v1/programs/{program}/witness"), &json!({}));
    service.refuses("a dry run", request, 422, "wall_clock_limit").await;
    // A busy machine may be what made it slow, so a task tries again.
    let task = service.submit(&program, json!({})).await;
    let event = service.event(&task, |event| event.name == "retrying").await;
    assert_eq!(event.detail["code"], "wall_clock_limit");
    // It holds nobody else up, nor the end of the service.
    let other = format!("/api/v1/tasks/{task}");
    assert_eq!(service.request(reqwest::Method::DELETE, &other).send().await.unwrap().status(), 200);
}
