//! What the queue costs, on both stores, beside what the disk and the database can do at best.

use super::figures::{Figure, Target, Unit};
use crate::{
    cargo::{Cargo, Programs},
    process::Program,
    service::Guest,
    terminal::{self, Step},
};
use anyhow::{Context, Result, bail, ensure};
use coprocessor_api::{
    TaskRequest, TaskState,
    client::{Client, Deployment},
};
use coprocessor_test_servers::{Postgres, PostgresSettings, ServerError};
use coprocessor_types::{ProgramId, TaskId};
use futures::{StreamExt, stream};
use serde_json::json;
use std::{
    ffi::OsString,
    io::Write,
    path::PathBuf,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// Requests under way at once, each on a connection of its own.
const CONNECTIONS: usize = 64;
/// Admissions.
const ADMISSIONS: usize = 20_000;
/// Whole lives.
const LIVES: usize = 5_000;
/// Tasks one at a time, for how soon a worker learns of one.
const WAKES: usize = 200;
/// Fsyncs, for what the disk can do.
const FSYNCS: usize = 500;
/// Programs that share the load, so that it isn't one volume which is measured.
const PROGRAMS: u64 = 8;
/// How long something may take before the measurement is given up.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);

/// Which store.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Embedded,
    Postgres,
}

impl Kind {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::Postgres => "PostgreSQL",
        }
    }
}

/// Whether a coprocessor works on tasks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Work,
    AnswerOnly,
}

/// A store, and what it takes to run coprocessors on it.
pub(super) struct Lab<'a> {
    programs: &'a Programs,
    hello: &'a Guest,
    kind: Kind,
    folder: TempDir,
    logs: PathBuf,
    database: Option<String>,
    started: usize,
}

/// Everything about the queue but how it grows.
pub(super) fn measure(cargo: &Cargo, programs: &Programs, hello: &Guest) -> Result<Vec<Figure>> {
    let runtime = runtime()?;
    let mut figures = vec![fsyncs()?];
    runtime.block_on(on_store(cargo, programs, hello, Kind::Embedded, None, &mut figures))?;
    if let Some(cluster) = postgres()? {
        figures.push(pgbench(&cluster)?);
        let database = cluster.create_database("coprocessor")?;
        runtime.block_on(on_store(cargo, programs, hello, Kind::Postgres, Some(database), &mut figures))?;
    }
    Ok(figures)
}

pub(super) fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?)
}

pub(super) fn postgres() -> Result<Option<Postgres>> {
    match Postgres::start(PostgresSettings::default()) {
        Ok(cluster) => Ok(Some(cluster)),
        Err(error @ ServerError::Missing { .. }) => {
            terminal::note(format!("the PostgreSQL store is left out: {error}"));
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// What the disk can do: 4 KiB appended and synced, again and again.
pub(super) fn fsyncs() -> Result<Figure> {
    let mut file = tempfile::tempfile()?;
    let page = [7; 4096];
    let mut measured = Vec::with_capacity(FSYNCS);
    for _ in 0..FSYNCS {
        let began = Instant::now();
        file.write_all(&page)?;
        file.sync_data()?;
        measured.push(milliseconds(began.elapsed()));
    }
    Figure::new("limit: 4 KiB appended and synced", Unit::Milliseconds, measured)
}

/// What the database can do: its own benchmark, one update and one insert in a transaction.
fn pgbench(cluster: &Postgres) -> Result<Figure> {
    let step = Step::begin("pgbench", "simple-update, 16 connections");
    let url = cluster.create_database("pgbench")?;
    cluster.call("pgbench", &["--initialize", "--scale=10", "--quiet", &url])?;
    let said = cluster.call("pgbench", &["--builtin=simple-update", "--client=16", "--jobs=2", "--time=10", &url])?;
    let line = said.lines().find_map(|line| line.strip_prefix("tps = ")).context("pgbench names no tps")?;
    let tps: f64 = line.split(' ').next().unwrap_or_default().parse().context("pgbench's tps is no number")?;
    step.done(format!("{tps:.0} transactions a second"));
    Figure::new("limit: pgbench simple-update, 16 connections", Unit::PerSecond, vec![tps])
}

async fn on_store(
    cargo: &Cargo,
    programs: &Programs,
    hello: &Guest,
    kind: Kind,
    database: Option<String>,
    figures: &mut Vec<Figure>,
) -> Result<()> {
    let mut lab = Lab::new(cargo, programs, hello, kind, database)?;
    figures.extend(lab.admissions().await?);
    lab.forget()?;
    figures.extend(lab.lives().await?);
    figures.push(lab.wakes().await?);
    Ok(())
}

impl<'a> Lab<'a> {
    pub(super) fn new(
        cargo: &Cargo,
        programs: &'a Programs,
        hello: &'a Guest,
        kind: Kind,
        database: Option<String>,
    ) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("coprocessor-bench-").tempdir()?;
        let logs = cargo.target().join("bench");
        std::fs::create_dir_all(&logs)?;
        Ok(Self { programs, hello, kind, folder, logs, database, started: 0 })
    }

    /// A new embedded store for what comes next. The database keeps what it has: tasks that wait there would be worked on, so
    /// they are cancelled where they were made.
    fn forget(&mut self) -> Result<()> {
        if self.kind == Kind::Embedded {
            self.folder = tempfile::Builder::new().prefix("coprocessor-bench-").tempdir()?;
        }
        Ok(())
    }

    pub(super) fn name(&self, what: &str) -> String {
        format!("{}: {what}", self.kind.as_str())
    }

    pub(super) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub(super) fn database(&self) -> Option<&str> {
        self.database.as_deref()
    }

    /// A coprocessor on the store, with mock proofs of its own and without bounds on one owner.
    pub(super) async fn start(&mut self, role: Role) -> Result<(Program, Client)> {
        self.started += 1;
        let mut arguments: Vec<OsString> = vec!["serve".into()];
        let unbounded = ["--owner-requests-per-second=1000000", "--owner-burst=1000000", "--owner-backlog=10000000"];
        arguments.extend(unbounded.map(OsString::from));
        arguments.extend(["--backlog=10000000", "--owner-programs=1000000"].map(OsString::from));
        arguments.extend(self.store_arguments()?);
        if role == Role::AnswerOnly {
            arguments.push("--api-only".into());
        }
        let name = format!("coprocessor-{}", self.started);
        let mut program = Program::start(&name, &self.programs.coprocessor, &self.logs, arguments, "")?;
        let client = Client::new(&format!("http://{}", program.listening(PATIENCE).await?))?;
        while !client.ready().await?.0 {
            program.check_alive()?;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok((program, client))
    }

    fn store_arguments(&self) -> Result<Vec<OsString>> {
        let data = self.data();
        Ok(match &self.database {
            None => vec!["--data-dir".into(), data.into()],
            Some(url) => {
                let file = self.folder.path().join("database-url");
                std::fs::write(&file, url)?;
                vec!["--database-url-file".into(), file.into(), "--blobs".into(), data.into()]
            }
        })
    }

    pub(super) async fn deploy(&self, client: &Client) -> Result<Vec<ProgramId>> {
        let mut programs = Vec::new();
        for nonce in 0..PROGRAMS {
            let deployment = Deployment { nonce, ..self.hello.deployment() };
            programs.push(client.deploy(deployment).await?.program.id.parse()?);
        }
        Ok(programs)
    }

    /// A task whose controller stores the proof as a file of its volume.
    pub(super) fn request(&self, number: usize) -> TaskRequest {
        TaskRequest {
            args: self.hello.example.clone(),
            payload: json!({"cmd": "store", "path": format!("/{}.bin", number % 64)}),
            kind: Some("mock".into()),
            ..TaskRequest::default()
        }
    }

    /// Admissions alone: nobody works on the tasks.
    async fn admissions(&mut self) -> Result<Vec<Figure>> {
        let mut step = Step::begin("Admissions", self.kind.as_str());
        let (program, client) = self.start(Role::AnswerOnly).await?;
        let programs = self.deploy(&client).await?;
        let admit = |number: usize| {
            let (client, request) = (&client, self.request(number));
            let program = programs[number % programs.len()];
            async move {
                let began = Instant::now();
                let task: TaskId = client.create_task(&program, &request, None).await?.id.parse()?;
                anyhow::Ok((task, milliseconds(began.elapsed())))
            }
        };
        // Connections are made and statements prepared before anything counts.
        let mut tasks = at_once(CONNECTIONS * 4, &admit).await?;
        let began = Instant::now();
        let measured = at_once(ADMISSIONS, &admit).await?;
        let rate = ADMISSIONS as f64 / began.elapsed().as_secs_f64();
        let latencies = measured.iter().map(|(_, took)| *took).collect();
        tasks.extend(measured);
        step.doing("clearing away");
        if self.kind == Kind::Postgres {
            let cancel = |number: usize| {
                let (client, task) = (&client, tasks[number].0);
                async move { client.cancel(&task).await.map(drop).map_err(anyhow::Error::from) }
            };
            at_once(tasks.len(), &cancel).await?;
        }
        program.stop().await?;
        step.done(format!("{rate:.0} a second"));
        let (aim, name) = (self.kind == Kind::Embedded, self.name("admissions after fsync, 64 connections"));
        let (rate, latencies) = (
            Figure::new(name, Unit::PerSecond, vec![rate])?,
            Figure::new("  each, as the client sees it", Unit::Milliseconds, latencies)?,
        );
        Ok(if aim {
            vec![rate.with(Target::P50AtLeast(5000.0)), latencies.with(Target::P99AtMost(50.0))]
        } else {
            vec![rate, latencies]
        })
    }

    /// Whole lives, many at once: submitted, both controller calls, a file written, delivered.
    async fn lives(&mut self) -> Result<Vec<Figure>> {
        let step = Step::begin("Lives", self.kind.as_str());
        let (program, client) = self.start(Role::Work).await?;
        let programs = self.deploy(&client).await?;
        let live = |number: usize| {
            let (client, request) = (&client, self.request(number));
            let program = programs[number % programs.len()];
            async move {
                let began = Instant::now();
                let task: TaskId = client.create_task(&program, &request, None).await?.id.parse()?;
                let task = client.wait(&task, PATIENCE).await?;
                ensure!(task.state == TaskState::Delivered, "task {} is {}", task.id, task.state.as_str());
                anyhow::Ok(milliseconds(began.elapsed()))
            }
        };
        at_once(CONNECTIONS * 4, &live).await?;
        let began = Instant::now();
        let latencies = at_once(LIVES, &live).await?;
        let rate = LIVES as f64 / began.elapsed().as_secs_f64();
        program.stop().await?;
        step.done(format!("{rate:.0} a second"));
        let aim = if self.kind == Kind::Embedded { 1000.0 } else { 500.0 };
        Ok(vec![
            Figure::new(self.name("mock lives with a file written, 64 at once"), Unit::PerSecond, vec![rate])?
                .with(Target::P50AtLeast(aim)),
            Figure::new("  each, as the client sees it", Unit::Milliseconds, latencies)?,
        ])
    }

    /// How soon an idle worker has a new task: from its admission to its claim, by the events' times. On PostgreSQL the task
    /// is submitted to another coprocessor than the one that works.
    async fn wakes(&mut self) -> Result<Figure> {
        let step = Step::begin("Wake-ups", self.kind.as_str());
        let (worker, worker_client) = self.start(Role::Work).await?;
        let (other, client) = match self.kind {
            Kind::Embedded => (None, worker_client),
            Kind::Postgres => {
                let (other, client) = self.start(Role::AnswerOnly).await?;
                (Some(other), client)
            }
        };
        let programs = self.deploy(&client).await?;
        let mut measured = Vec::with_capacity(WAKES);
        for number in 0..WAKES {
            let task: TaskId = client.create_task(&programs[0], &self.request(number), None).await?.id.parse()?;
            client.wait(&task, PATIENCE).await?;
            let events = client.events(&task, None, Some(2)).await?.items;
            let [admitted, claimed] = events.as_slice() else { bail!("task {task} has no two events") };
            ensure!(claimed.name == "claimed", "task {task}'s second event is {}", claimed.name);
            measured.push(milliseconds(claimed.at.duration_since(admitted.at).unsigned_abs()));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        worker.stop().await?;
        if let Some(other) = other {
            other.stop().await?;
        }
        step.done(format!("{WAKES} tasks, one at a time"));
        let (what, aim) = match self.kind {
            Kind::Embedded => ("an idle worker has a new task after", 5.0),
            Kind::Postgres => ("an idle worker has a task of another coprocessor after", 20.0),
        };
        Ok(Figure::new(self.name(what), Unit::Milliseconds, measured)?.with(Target::P99AtMost(aim)))
    }
}

/// Does something many times, with as many under way at once as there are connections.
async fn at_once<T, F: Future<Output = Result<T>>>(times: usize, work: &impl Fn(usize) -> F) -> Result<Vec<T>> {
    let mut running = stream::iter(0..times).map(work).buffer_unordered(CONNECTIONS);
    let mut done = Vec::with_capacity(times);
    while let Some(result) = running.next().await {
        done.push(result?);
    }
    Ok(done)
}

pub(super) fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
