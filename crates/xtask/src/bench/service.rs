//! What the service itself costs, through its public interface.

use super::figures::{Figure, Target, Unit};
use crate::{
    service::{Guest, Service},
    terminal::{self, Step},
};
use anyhow::{Context, Result, bail};
use coprocessor_api::{
    EventView, TaskRequest, TaskState,
    client::{Client, Update},
};
use coprocessor_types::{ProgramId, TaskId};
use serde_json::json;
use std::time::{Duration, Instant};

/// Not measured: first calls compile, connect and allocate.
const WARM_UP: usize = 20;
/// Tasks, one after the other.
const TASKS: usize = 300;
/// Calls of a controller, one after the other.
const CALLS: usize = 1000;
/// Starts of the coprocessor.
const STARTS: usize = 20;
/// How long a service has to have nothing to do before it counts as idle.
const IDLE: Duration = Duration::from_secs(3);

/// Starts both programs with mock proofs and deploys `hello`.
pub(super) async fn start(service: &mut Service<'_>, hello: &Guest) -> Result<(Client, ProgramId)> {
    let mut step = Step::begin("Service", "starting");
    service.start_prover().await?;
    let client = service.start_coprocessor().await?;
    service.wait_for_prover(&client, "mock", &mut step).await?;
    let program = client.deploy(hello.deployment()).await?.program;
    step.done(client.base_url());
    Ok((client, program.id.parse()?))
}

/// Tasks with mock proofs: from the request to the event that the proof is delivered, one at a time.
pub(super) async fn tasks(client: &Client, program: ProgramId, hello: &Guest) -> Result<Vec<Figure>> {
    let request = TaskRequest { args: hello.example.clone(), kind: Some("mock".into()), ..TaskRequest::default() };
    let mut step = Step::begin("Tasks", "warming up");
    let (mut seen, mut counted) = (Vec::new(), Vec::new());
    for number in 0..WARM_UP + TASKS {
        let began = Instant::now();
        let events = prove(client, program, &request).await?;
        let took = began.elapsed();
        if number >= WARM_UP {
            seen.push(milliseconds(took));
            counted.push(milliseconds(between_first_and_last(&events)));
            step.doing(&format!("{} of {TASKS}", seen.len()));
        }
    }
    step.done(format!("{TASKS} one after the other"));
    let target = Target::p50_at_most(5.0);
    Ok(vec![
        Figure::new("mock task, submitted to delivered, as the client sees it", Unit::Milliseconds, seen)?.with(target),
        Figure::new("  the same by its events, admitted to delivered", Unit::Milliseconds, counted)?,
    ])
}

/// Submits a task and follows it until it is delivered.
pub(super) async fn prove(client: &Client, program: ProgramId, request: &TaskRequest) -> Result<Vec<EventView>> {
    let task: TaskId = client.create_task(&program, request, None).await?.id.parse()?;
    let mut follow = client.follow(task, None);
    let mut events = Vec::new();
    loop {
        match follow.next().await?.context("the task's events ended before the task")? {
            Update::Event(event) => {
                let state = event.state;
                events.push(event);
                match state {
                    TaskState::Delivered => return Ok(events),
                    TaskState::Failed | TaskState::Cancelled => {
                        let last = events.last().map(|event| &event.detail);
                        bail!("task {task} ended as {}: {last:?}", state.as_str())
                    }
                    _ => {}
                }
            }
            Update::Disconnected { reason, .. } => bail!("a measurement was disturbed: {reason}"),
            Update::Finished(task) => bail!("task {} ended as {} without an event", task.id, task.state.as_str()),
        }
    }
}

/// Calls of the entrypoint of `hello`, which finds nothing to do in its arguments.
pub(super) async fn calls(client: &Client, program: ProgramId) -> Result<Vec<Figure>> {
    let args = json!({"payload": null});
    let mut step = Step::begin("Calls", "warming up");
    let (mut seen, mut inside) = (Vec::new(), Vec::new());
    for number in 0..WARM_UP + CALLS {
        let began = Instant::now();
        let call = client.call(&program, &args).await?;
        let took = began.elapsed();
        if number >= WARM_UP {
            seen.push(milliseconds(took));
            inside.push(call.usage.wall_clock_us as f64 / 1e3);
            step.doing(&format!("{} of {CALLS}", seen.len()));
        }
    }
    step.done(format!("{CALLS} one after the other"));
    Ok(vec![
        Figure::new("controller call over HTTP, as the client sees it", Unit::Milliseconds, seen)?,
        Figure::new("  of it in the sandbox", Unit::Milliseconds, inside)?,
    ])
}

/// Starts on the store that is there, and memory once idle. The last start is left running.
pub(super) async fn starts(service: &mut Service<'_>) -> Result<Vec<Figure>> {
    let mut step = Step::begin("Starts", "on the existing store");
    let after_work = service.coprocessor()?.resident_memory()?;
    let mut ready = Vec::new();
    for number in 1..=STARTS {
        service.stop_coprocessor().await?;
        service.start_coprocessor().await?;
        ready.push(milliseconds(service.coprocessor()?.started().elapsed()));
        step.doing(&format!("{number} of {STARTS}"));
    }
    step.doing("idle");
    tokio::time::sleep(IDLE).await;
    let idle = service.coprocessor()?.resident_memory()?;
    step.done(format!("{STARTS}, {} when idle", terminal::bytes(idle)));
    Ok(vec![
        Figure::new("coprocessor start on an existing store, to ready", Unit::Milliseconds, ready)?
            .with(Target::p50_at_most(300.0)),
        Figure::new("coprocessor resident, idle", Unit::Megabytes, vec![megabytes(idle)])?
            .with(Target::p50_at_most(80.0)),
        Figure::new("coprocessor resident, after the work above", Unit::Megabytes, vec![megabytes(after_work)])?,
    ])
}

/// Time between the first and the last event.
pub(super) fn between_first_and_last(events: &[EventView]) -> Duration {
    match events {
        [first, .., last] => last.at.duration_since(first.at).unsigned_abs(),
        _ => Duration::ZERO,
    }
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
