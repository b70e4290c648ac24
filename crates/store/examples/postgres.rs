//! Prints what the PostgreSQL store does in a second, and how long things take: `postgres [TASKS] [URL]`.
//!
//! Without a URL it starts a cluster of its own, with fsync. Tasks live their whole mock lives: admitted by many callers,
//! claimed and finished three times, with a small witness and proof, and two pages of a volume written at delivery.
#![allow(clippy::print_stdout)]

use bytes::Bytes;
use coprocessor_store::{
    Backlog, Change, Claim, EventKind, InsertProgram, NewProgram, NewTask, Program, Stage, StepOutcome, Store,
    StoreError, TaskCounts, TaskState, VolumeWrite,
    postgres::{BlobPlace, PostgresConfig, PostgresStore},
};
use coprocessor_test_servers::{Postgres, PostgresSettings};
use coprocessor_types::{Backend, OwnerId, ProgramId, ProofKind, Root, TaskId};
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{sync::Semaphore, task::JoinSet};

type Failure = Box<dyn std::error::Error + Send + Sync>;

const PROGRAMS: u64 = 32;
const CALLERS: usize = 64;
const BATCH: usize = 32;
const ROUNDS: usize = 200;
const LEASE: Duration = Duration::from_secs(60);
const ROOM: Backlog = Backlog { total: 1_000_000, owner: 1_000_000 };

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let tasks: usize = arguments.next().map_or(Ok(5000), |count| count.parse())?;
    let cluster;
    let url = match arguments.next() {
        Some(url) => url,
        None => {
            cluster = Postgres::start(PostgresSettings::default())?;
            cluster.create_database("measured")?
        }
    };
    let directory = tempfile::tempdir()?;
    let config = || PostgresConfig::new(url.clone().into(), BlobPlace::Directory(directory.path().to_owned()));
    let started = Instant::now();
    let store = Arc::new(PostgresStore::open(config()).await?);
    println!("{:<44} {:>9.3} ms", "open", started.elapsed().as_secs_f64() * 1e3);
    let mut programs = Vec::new();
    for nonce in 0..PROGRAMS {
        programs.push(program(&*store, nonce).await?);
    }

    lives(&store, &programs, tasks).await?;
    alone(&store, &programs[0]).await?;
    wake_ups(&store, &PostgresStore::open(config()).await?, &programs[0]).await?;
    Ok(())
}

/// Whole lives, as many at once as callers and workers make.
async fn lives(store: &Arc<PostgresStore>, programs: &[Program], count: usize) -> Result<(), Failure> {
    let started = Instant::now();
    let workers: Vec<_> = Stage::ALL.into_iter().map(|stage| tokio::spawn(work(store.clone(), stage))).collect();
    let mut callers = JoinSet::new();
    for index in 0..count {
        if callers.len() >= CALLERS {
            callers.join_next().await.transpose()?.transpose()?;
        }
        let (store, new) = (store.clone(), new_task(&programs[index % programs.len()]));
        callers.spawn(async move { store.admit(new, ROOM).await.map(drop) });
    }
    while let Some(admitted) = callers.join_next().await {
        admitted??;
    }
    println!("{:<44} {:>9.0} /s", "admissions, beside all the rest", count as f64 / started.elapsed().as_secs_f64());
    let delivered = |TaskCounts(counts): &TaskCounts| {
        counts.iter().any(|(state, tasks)| *state == TaskState::Delivered && *tasks >= count as u64)
    };
    while !delivered(&store.task_counts().await?) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    println!("{:<44} {:>9.0} /s", "whole lives", count as f64 / started.elapsed().as_secs_f64());
    for worker in workers {
        worker.abort();
    }
    Ok(())
}

/// One life at a time, step by step.
async fn alone(store: &Arc<PostgresStore>, program: &Program) -> Result<(), Failure> {
    let (mut admitted, mut claimed, mut finished) = (Vec::new(), Vec::new(), Vec::new());
    let (mut read, mut seen) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let new = new_task(program);
        let id = new.id;
        let started = Instant::now();
        store.admit(new, ROOM).await?;
        admitted.push(started.elapsed());
        for stage in Stage::ALL {
            let started = Instant::now();
            let held = store.claim(stage, "measured", LEASE, 1).await?.pop().ok_or("nothing is ready")?;
            claimed.push(started.elapsed());
            let started = Instant::now();
            let view = store.clone();
            let outcome = tokio::task::spawn_blocking(move || outcome(&view, &held.task.program, stage)).await??;
            seen.push(started.elapsed());
            let started = Instant::now();
            store.finish_step(id, held.task.fence, outcome).await?;
            finished.push(started.elapsed());
        }
        let started = Instant::now();
        store.task(id).await?;
        read.push(started.elapsed());
    }
    report("admit", admitted);
    report("claim one", claimed);
    report("view a volume and read two pages, or nothing", seen);
    report("finish a step", finished);
    report("read a task", read);
    Ok(())
}

/// From an admission's answer in one process until another, that was only listening, has claimed the task.
async fn wake_ups(store: &PostgresStore, other: &PostgresStore, program: &Program) -> Result<(), Failure> {
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let mut changes = other.changes();
        let listening = async {
            while changes.recv().await? != Change::Work(Stage::Execute) {}
            let held = other.claim(Stage::Execute, "other", LEASE, 1).await?.pop().ok_or("nothing is ready")?;
            Ok::<_, Failure>((held.task.id, Instant::now()))
        };
        let admitting = async {
            store.admit(new_task(program), ROOM).await?;
            Ok::<_, Failure>(Instant::now())
        };
        let ((id, claimed_at), admitted_at) = tokio::try_join!(listening, admitting)?;
        times.push(claimed_at.saturating_duration_since(admitted_at));
        store.cancel(id).await?;
        // Not while the last one's changes are still told.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    report("admitted here to claimed there", times);
    Ok(())
}

/// A worker of one stage: claims in batches, finishes many at once, each program's one after the other.
async fn work(store: Arc<PostgresStore>, stage: Stage) {
    let room = Arc::new(Semaphore::new(2 * BATCH));
    let mut changes = store.changes();
    loop {
        let free = room.available_permits().min(BATCH);
        let claims = if free == 0 { Ok(Vec::new()) } else { store.claim(stage, "measured", LEASE, free).await };
        let Ok(claims) = claims else { return };
        if claims.is_empty() {
            // Others finish, or come.
            let _ = tokio::time::timeout(Duration::from_millis(2), changes.recv()).await;
            continue;
        }
        let mut programs = BTreeMap::<_, Vec<Claim>>::new();
        for claim in claims {
            let key = if stage == Stage::Deliver { claim.task.program.0 } else { own_key(&claim.task.id) };
            programs.entry(key).or_default().push(claim);
        }
        for claims in programs.into_values() {
            let Ok(permits) = room.clone().acquire_many_owned(claims.len() as u32).await else { return };
            let store = store.clone();
            tokio::spawn(async move {
                for Claim { task, .. } in claims {
                    // A volume that another batch's task has written meanwhile is looked at again.
                    loop {
                        let (view, program) = (store.clone(), task.program);
                        let made = tokio::task::spawn_blocking(move || outcome(&view, &program, stage)).await;
                        let Ok(Ok(outcome)) = made else { return };
                        match store.finish_step(task.id, task.fence, outcome).await {
                            Err(StoreError::VolumeConflict { .. }) => {}
                            _ => break,
                        }
                    }
                }
                drop(permits);
            });
        }
    }
}

/// A key of its own for each task.
fn own_key(task: &TaskId) -> [u8; 32] {
    let mut key = [0; 32];
    key[..16].copy_from_slice(task.0.as_bytes());
    key
}

fn outcome(store: &PostgresStore, program: &ProgramId, stage: Stage) -> Result<StepOutcome, StoreError> {
    let event = EventKind { name: "done".to_owned(), detail: serde_json::json!({ "cycles": 12345 }) };
    let unique = |size| {
        let mut content = vec![1; size];
        content[..16].copy_from_slice(TaskId::now().0.as_bytes());
        Bytes::from(content)
    };
    Ok(match stage {
        Stage::Execute => StepOutcome::Executed { witness: unique(300), volume: VolumeWrite::default(), event },
        Stage::Prove => StepOutcome::Proved { proof: unique(500), output: Bytes::from(vec![2; 32]), event },
        Stage::Deliver => {
            let volume = store.volume_snapshot(*program)?;
            for page in 0..2 {
                volume.read_page(page)?;
            }
            let mut page = vec![0; 4096];
            page[..8].copy_from_slice(&volume.version().to_le_bytes());
            let pages = vec![(0, Some(page.clone())), (1, Some(page))];
            let volume = VolumeWrite { based_on: volume.version(), pages, ..VolumeWrite::default() };
            StepOutcome::Delivered { volume, result: serde_json::Value::Null, event }
        }
    })
}

async fn program(store: &dyn Store, nonce: u64) -> Result<Program, Failure> {
    let circuit = Bytes::from_static(b"circuit");
    let new = NewProgram {
        id: ProgramId::derive(&circuit, nonce),
        owner: OwnerId::anonymous(),
        key: None,
        name: "measured".to_owned(),
        public: true,
        backend: Backend::Sp1,
        controller: store.put_blob(Bytes::from_static(b"controller")).await?,
        circuit: store.put_blob(circuit).await?,
        verifying_key: None,
        nonce,
        volume_size: 1 << 20,
    };
    match store.insert_program(new, u64::MAX).await? {
        InsertProgram::Inserted(program) | InsertProgram::Exists(program) => Ok(program),
        InsertProgram::QuotaFull => Err("there is no quota".into()),
    }
}

fn new_task(program: &Program) -> NewTask {
    NewTask {
        id: TaskId::now(),
        program: program.id,
        owner: OwnerId::anonymous(),
        controller: program.controller,
        circuit: program.circuit,
        kind: ProofKind::Mock,
        root: Root([7; 32]),
        args: serde_json::json!({ "name": "world" }),
        payload: serde_json::Value::Null,
        priority: 0,
        deadline: None,
        record: false,
        idempotency: None,
    }
}

fn report(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    println!("{what:<44} {:>9.3} ms p50 {:>9.3} ms p90 {:>9.3} ms p99", at(0.5), at(0.9), at(0.99));
}
