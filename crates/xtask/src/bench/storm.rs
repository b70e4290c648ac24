//! What callers notice of slow controllers: the API at rest, and while as many controllers compute as may, and many more wait
//! for a network that never answers.

use super::figures::{Figure, Target, Unit};
use crate::{
    cargo::{Cargo, Programs},
    service::{Backend, Folders, Guest, Service, with_service},
    terminal::Step,
};
use anyhow::{Result, ensure};
use coprocessor_api::{
    TaskRequest, TaskState,
    client::{Client, Deployment, Page, TaskFilter},
};
use coprocessor_types::{ProgramId, TaskId};
use serde_json::{Value, json};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::net::TcpListener;

/// Requests of each kind, at rest and in the storm, one after the other.
const REQUESTS: usize = 500;
/// Not measured: first requests connect and allocate.
const WARM_UP: usize = 20;
/// Tasks whose controllers compute until their time is up. More than can do so during the measurement.
const COMPUTING: usize = 64;
/// Tasks whose controllers wait.
const WAITING: usize = 256;
/// How long the storm may take to rise.
const PATIENCE: Duration = Duration::from_secs(60);

/// Computes without end.
const COMPUTES: &str = r#"(module (memory (export "memory") 1)
    (func (export "get_witnesses") (loop $again (br $again))) (func (export "entrypoint")))"#;

/// Sends the HTTP request in its arguments.
const WAITS: &str = r#"(module
    (import "valence" "args" (func $args (param i32) (result i32)))
    (import "valence" "http" (func $http (param i32 i32 i32) (result i32)))
    (memory (export "memory") 300)
    (func (export "get_witnesses")
      (drop (call $http (i32.const 0) (call $args (i32.const 0)) (i32.const 65536))))
    (func (export "entrypoint")))"#;

/// Requests and what they took, in milliseconds.
#[derive(Default)]
struct Measured {
    reads: Vec<f64>,
    admissions: Vec<f64>,
}

/// Measures both, on a service of its own.
pub(super) fn measure(cargo: &Cargo, programs: &Programs, hello: &Guest) -> Result<Vec<Figure>> {
    let data = tempfile::Builder::new().prefix("coprocessor-bench-").tempdir()?;
    let folders = Folders { data: data.path().to_owned(), logs: cargo.target().join("bench") };
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?.to_string();
    let allow = ["--http-allow", "*", "--http-allow-private", &address, "--network-call-ms", "600000"];
    let service = Service::new(programs, Backend::Mock, folders)?.with_flags(allow.map(Into::into));
    with_service(service, async |service| {
        let held = hold(listener)?;
        let (client, program) = super::service::start(service, hello).await?;
        let mut step = Step::begin("Storm", "at rest");
        let request = TaskRequest { args: hello.example.clone(), kind: Some("mock".into()), ..TaskRequest::default() };
        let at_rest = requests(&client, program, &request).await?;
        step.doing("rising");
        let storm = rise(&client, hello, &address, &held).await?;
        step.doing("in the storm");
        let meanwhile = requests(&client, program, &request).await?;
        let left = unfinished(&client, &storm).await?;
        ensure!(left > 0, "the storm was over before the requests were: nothing was measured");
        step.done(format!("{REQUESTS} requests of each kind; {left} slow tasks were left"));
        figures(at_rest, meanwhile)
    })
}

fn figures(at_rest: Measured, meanwhile: Measured) -> Result<Vec<Figure>> {
    let of = |name: &str, measured| Figure::new(name, Unit::Milliseconds, measured);
    let target = Target::P99AtMost(50.0);
    Ok(vec![
        of("GET a task, at rest", at_rest.reads)?,
        of("  in a storm of slow controllers", meanwhile.reads)?.with(target),
        of("POST a task, at rest", at_rest.admissions)?,
        of("  in a storm of slow controllers", meanwhile.admissions)?.with(target),
    ])
}

/// Admits tasks and reads them, by turns.
async fn requests(client: &Client, program: ProgramId, request: &TaskRequest) -> Result<Measured> {
    let mut measured = Measured::default();
    for number in 0..WARM_UP + REQUESTS {
        let began = Instant::now();
        let task: TaskId = client.create_task(&program, request, None).await?.id.parse()?;
        let admitted = Instant::now();
        client.task(&task).await?;
        if number >= WARM_UP {
            measured.admissions.push(milliseconds(admitted - began));
            measured.reads.push(milliseconds(admitted.elapsed()));
        }
    }
    Ok(measured)
}

/// Takes all connections and answers none; counts them.
fn hold(listener: std::net::TcpListener) -> Result<Arc<AtomicUsize>> {
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    let held = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&held);
    tokio::spawn(async move {
        let mut connections = Vec::new();
        while let Ok((connection, _)) = listener.accept().await {
            connections.push(connection);
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    Ok(held)
}

/// Submits the slow tasks, those that wait first, and waits until some of both are at it.
async fn rise(client: &Client, hello: &Guest, address: &str, held: &AtomicUsize) -> Result<Vec<ProgramId>> {
    let url = format!("http://{address}/");
    let waits = slow(client, hello, 1, WAITS, WAITING, &json!({ "url": url })).await?;
    let computes = slow(client, hello, 2, COMPUTES, COMPUTING, &Value::Null).await?;
    let began = Instant::now();
    while held.load(Ordering::Relaxed) == 0 || executing(client, computes).await? == 0 {
        ensure!(began.elapsed() < PATIENCE, "no slow controller has begun after {} s", PATIENCE.as_secs());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(vec![waits, computes])
}

async fn slow(client: &Client, hello: &Guest, nonce: u64, wat: &str, tasks: usize, args: &Value) -> Result<ProgramId> {
    let deployment = Deployment { controller: wat::parse_str(wat)?.into(), nonce, ..hello.deployment() };
    let program: ProgramId = client.deploy(deployment).await?.program.id.parse()?;
    let request = TaskRequest { args: args.clone(), kind: Some("mock".into()), ..TaskRequest::default() };
    for _ in 0..tasks {
        client.create_task(&program, &request, None).await?;
    }
    Ok(program)
}

async fn executing(client: &Client, program: ProgramId) -> Result<usize> {
    count(client, program, |state| state == TaskState::Executing).await
}

async fn unfinished(client: &Client, programs: &[ProgramId]) -> Result<usize> {
    let mut left = 0;
    for &program in programs {
        left += count(client, program, |state| !state.is_finished()).await?;
    }
    Ok(left)
}

async fn count(client: &Client, program: ProgramId, fits: impl Fn(TaskState) -> bool) -> Result<usize> {
    let filter = TaskFilter { program: Some(program), ..TaskFilter::default() };
    let tasks = client.tasks(&filter, &Page { limit: Some(1000), cursor: None }).await?;
    Ok(tasks.items.iter().filter(|task| fits(task.state)).count())
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
