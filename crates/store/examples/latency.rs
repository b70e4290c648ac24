//! Prints how long the embedded store's operations take in a directory: `latency [DIRECTORY] [FINISHED]`.
//!
//! A task is followed alone from admission to delivery by a worker that listens to the store's changes, as the engine's
//! do; beside it stands what the disk itself takes for one fsync. With FINISHED, so many finished tasks are there first.
#![allow(clippy::print_stdout)]

use bytes::Bytes;
use coprocessor_store::{
    Change, EmbeddedConfig, EmbeddedStore, EventKind, InsertProgram, NewProgram, NewTask, Program, Stage, StepOutcome,
    Store, TaskState, VolumeWrite,
};
use coprocessor_types::{Backend, OwnerId, ProgramId, ProofKind, Root, TaskId};
use std::{
    io::Write,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

const ROUNDS: usize = 300;

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let directory = arguments.next().map_or_else(|| std::env::temp_dir().join("coprocessor-latency"), PathBuf::from);
    let finished: usize = arguments.next().map_or(Ok(0), |count| count.parse())?;
    fsyncs(&directory)?;
    let started = Instant::now();
    let store = Arc::new(EmbeddedStore::open(&directory, EmbeddedConfig::default())?);
    println!("{:<44} {:>9.3} ms", "open", started.elapsed().as_secs_f64() * 1e3);
    let program = program(&*store).await?;
    fill(&store, &program, finished).await?;

    for stage in Stage::ALL {
        tokio::spawn(work(store.clone(), stage));
    }
    let (mut admitted, mut delivered) = (Vec::new(), Vec::new());
    let mut id = TaskId::now();
    for _ in 0..ROUNDS {
        let mut changes = store.changes();
        let started = Instant::now();
        id = new_task(&program).id;
        store.admit(NewTask { id, ..new_task(&program) }).await?;
        admitted.push(started.elapsed());
        while store.task(id).await?.is_none_or(|task| task.state != TaskState::Delivered) {
            while !matches!(changes.recv().await?, Change::Event { task, .. } if task == id) {}
        }
        delivered.push(started.elapsed());
    }
    report("admit", admitted);
    report("admit to delivered, alone", delivered);

    let mut reads = Vec::new();
    for _ in 0..ROUNDS * 10 {
        let started = Instant::now();
        store.task(id).await?;
        reads.push(started.elapsed());
    }
    report("read a task", reads);
    let mut snapshots = Vec::new();
    for _ in 0..ROUNDS * 10 {
        let started = Instant::now();
        store.volume_snapshot(program.id)?.read_page(0)?;
        snapshots.push(started.elapsed());
    }
    report("snapshot a volume and read a page", snapshots);
    let started = Instant::now();
    admit_many(&store, &program, 5_000).await?;
    println!("{:<44} {:>9.0} /s", "admissions, 256 callers", 5_000.0 / started.elapsed().as_secs_f64());
    store.close();
    Ok(())
}

/// The disk alone: appends of 32 KiB, each made durable.
fn fsyncs(directory: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(directory)?;
    let path = directory.join("fsync-probe");
    let mut file = std::fs::File::create(&path)?;
    let mut times = Vec::new();
    for _ in 0..100 {
        file.write_all(&[7; 32 * 1024])?;
        let started = Instant::now();
        file.sync_data()?;
        times.push(started.elapsed());
    }
    report("the disk's fsync", times);
    std::fs::remove_file(path)
}

async fn program(store: &dyn Store) -> Result<Program, Box<dyn std::error::Error>> {
    let circuit = Bytes::from_static(b"circuit");
    let new = NewProgram {
        id: ProgramId::derive(&circuit, 0),
        owner: OwnerId::anonymous(),
        name: "latency".to_owned(),
        backend: Backend::Sp1,
        controller: store.put_blob(Bytes::from_static(b"controller")).await?,
        circuit: store.put_blob(circuit).await?,
        verifying_key: None,
        nonce: 0,
        volume_size: 1 << 20,
    };
    match store.insert_program(new).await? {
        InsertProgram::Inserted(program) | InsertProgram::Exists(program) => Ok(program),
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
        idempotency: None,
    }
}

/// A worker of one stage: does nothing but say so.
async fn work(store: Arc<EmbeddedStore>, stage: Stage) {
    let mut changes = store.changes();
    loop {
        while let Ok(Some(claim)) = store.claim(stage, "latency", Duration::from_secs(60)).await {
            let event = EventKind { name: "done".to_owned(), detail: serde_json::json!({}) };
            let outcome = match stage {
                Stage::Execute => {
                    StepOutcome::Executed { witness: Bytes::from(vec![1; 200]), volume: VolumeWrite::default(), event }
                }
                Stage::Prove => StepOutcome::Proved { proof: Bytes::from(vec![2; 500]), output: Bytes::new(), event },
                Stage::Deliver => {
                    let Ok(based_on) = store.volume_snapshot(claim.task.program).map(|volume| volume.version()) else {
                        return;
                    };
                    let pages = vec![(0, Some(vec![3; 4096])), (1, Some(vec![4; 4096]))];
                    let volume = VolumeWrite { based_on, pages, raw: None };
                    StepOutcome::Delivered { volume, result: serde_json::Value::Null, event }
                }
            };
            if store.finish_step(claim.task.id, claim.task.fence, outcome).await.is_err() {
                return;
            }
        }
        while !matches!(changes.recv().await, Ok(Change::Work(ready)) if ready == stage) {}
    }
}

/// Admits and cancels, to have finished tasks.
async fn fill(store: &Arc<EmbeddedStore>, program: &Program, count: usize) -> Result<(), Box<dyn std::error::Error>> {
    let mut left = count;
    while left > 0 {
        let batch = left.min(4096);
        for id in admit_many(store, program, batch).await? {
            let store = store.clone();
            tokio::spawn(async move { store.cancel(id).await });
        }
        store.flush().await?;
        left -= batch;
    }
    Ok(())
}

async fn admit_many(
    store: &Arc<EmbeddedStore>,
    program: &Program,
    count: usize,
) -> Result<Vec<TaskId>, Box<dyn std::error::Error>> {
    let mut ids = Vec::new();
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..count {
        if callers.len() >= 256 {
            callers.join_next().await.transpose()?.transpose()?;
        }
        let (store, new) = (store.clone(), new_task(program));
        ids.push(new.id);
        callers.spawn(async move { store.admit(new).await.map(drop) });
    }
    while let Some(admitted) = callers.join_next().await {
        admitted??;
    }
    Ok(ids)
}

fn report(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    println!("{what:<44} {:>9.3} ms p50 {:>9.3} ms p90 {:>9.3} ms p99", at(0.5), at(0.9), at(0.99));
}
