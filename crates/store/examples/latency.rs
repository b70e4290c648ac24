//! Prints how long the embedded store's operations take in a directory: `latency [DIRECTORY] [FINISHED]`.
//!
//! A task is followed alone from admission to delivery by a worker that listens to the store's changes, as the engine's
//! do; beside it stands what the disk itself takes for one fsync. With FINISHED, so many finished tasks are there first.
#![allow(clippy::print_stdout)]

use bytes::Bytes;
use coprocessor_store::{
    Backlog, Change, Claim, EmbeddedConfig, EmbeddedStore, EventKind, InsertProgram, NewProgram, NewTask, Program,
    Stage, StepOutcome, Store, StoreError, TaskState, VolumeWrite,
};
use coprocessor_types::{Backend, OwnerId, ProgramId, ProofKind, Root, TaskId};
use std::{
    io::Write,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

const ROUNDS: usize = 300;
const ROOM: Backlog = Backlog { total: u64::MAX, owner: u64::MAX };

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
    busy(&store, &program).await?;

    for stage in Stage::ALL {
        tokio::spawn(work(store.clone(), stage));
    }
    let (mut admitted, mut delivered) = (Vec::new(), Vec::new());
    let mut id = TaskId::now();
    for _ in 0..ROUNDS {
        let mut changes = store.changes();
        let started = Instant::now();
        id = new_task(&program).id;
        store.admit(NewTask { id, ..new_task(&program) }, ROOM).await?;
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
    store.close();
    Ok(())
}

/// Many at once: what a task takes of the processors, and how many there are in a second.
async fn busy(store: &Arc<EmbeddedStore>, program: &Program) -> Result<(), Box<dyn std::error::Error>> {
    let busy = Busy::begin();
    let admitted = admit_many(store, program, BUSY, 64).await?.1;
    busy.report("admission, 64 callers", BUSY);
    report("  each", admitted);
    let busy = Busy::begin();
    for stage in Stage::ALL {
        let worked_off = work_off(store, stage).await?;
        assert_eq!(worked_off, BUSY, "{stage:?}");
    }
    busy.report("three claims and steps of a task", BUSY);
    Ok(())
}

/// Tasks of the busy part.
const BUSY: usize = 20_000;

/// What a part takes of the clock and of the processors.
struct Busy {
    started: Instant,
    processor: Duration,
}

impl Busy {
    fn begin() -> Self {
        Self { started: Instant::now(), processor: processor_time() }
    }

    fn report(&self, what: &str, count: usize) {
        let (elapsed, used) = (self.started.elapsed(), processor_time() - self.processor);
        let per_second = count as f64 / elapsed.as_secs_f64();
        println!(
            "{what:<44} {per_second:>9.0} /s {:>12.1} us of processor each",
            used.as_secs_f64() * 1e6 / count as f64
        );
    }
}

/// What this process has used of the processors, to 10 ms. Zero where there is no `/proc`.
fn processor_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // After the name, which is in parentheses: user and system time are the 12th and 13th, in ticks of 10 ms.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}

/// Eight workers that take and end what is ready for a stage, until nothing is; how many tasks that was.
async fn work_off(store: &Arc<EmbeddedStore>, stage: Stage) -> Result<usize, Box<dyn std::error::Error>> {
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let store = store.clone();
        workers.spawn(async move {
            let mut done = 0;
            loop {
                let claims = store.claim(stage, "latency", Duration::from_secs(60), 8).await?;
                if claims.is_empty() {
                    return Ok::<_, StoreError>(done);
                }
                let mut steps = tokio::task::JoinSet::new();
                for claim in claims {
                    let store = store.clone();
                    done += 1;
                    steps.spawn(async move { end(&store, &claim).await });
                }
                while let Some(ended) = steps.join_next().await {
                    ended.expect("a step does not panic")?;
                }
            }
        });
    }
    let mut done = 0;
    while let Some(worker) = workers.join_next().await {
        done += worker??;
    }
    Ok(done)
}

/// Ends a step as if its work were done.
async fn end(store: &EmbeddedStore, claim: &Claim) -> Result<(), StoreError> {
    let event = EventKind { name: "done".to_owned(), detail: serde_json::json!({}) };
    let volume = VolumeWrite::default();
    let own = claim.task.id.0.as_bytes();
    let outcome = match claim.stage {
        Stage::Execute => StepOutcome::Executed { witness: Bytes::from(own.repeat(12)), volume, event },
        Stage::Prove => StepOutcome::Proved { proof: Bytes::from(own.repeat(30)), output: Bytes::new(), event },
        Stage::Deliver => StepOutcome::Delivered { volume, result: serde_json::Value::Null, event },
    };
    store.finish_step(claim.task.id, claim.task.fence, outcome).await.map(drop)
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
        key: None,
        name: "latency".to_owned(),
        public: false,
        backend: Backend::Sp1,
        controller: store.put_blob(Bytes::from_static(b"controller")).await?,
        circuit: store.put_blob(circuit).await?,
        verifying_key: None,
        nonce: 0,
        volume_size: 1 << 20,
    };
    match store.insert_program(new, u64::MAX).await? {
        InsertProgram::Inserted(program) | InsertProgram::Exists(program) => Ok(program),
        InsertProgram::QuotaFull => Err("the owner has too many programs".into()),
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

/// A worker of one stage: does nothing but say so.
async fn work(store: Arc<EmbeddedStore>, stage: Stage) {
    let mut changes = store.changes();
    loop {
        while let Ok(claims) = store.claim(stage, "latency", Duration::from_secs(60), 1).await {
            let Some(claim) = claims.into_iter().next() else { break };
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
                    let volume = VolumeWrite { based_on, pages, ..VolumeWrite::default() };
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
        for id in admit_many(store, program, batch, 256).await?.0 {
            let store = store.clone();
            tokio::spawn(async move { store.cancel(id).await });
        }
        store.flush().await?;
        left -= batch;
    }
    Ok(())
}

/// The tasks' ids, and how long each admission took.
async fn admit_many(
    store: &Arc<EmbeddedStore>,
    program: &Program,
    count: usize,
    callers: usize,
) -> Result<(Vec<TaskId>, Vec<Duration>), Box<dyn std::error::Error>> {
    let mut admissions = tokio::task::JoinSet::new();
    for caller in 0..callers {
        let (store, program) = (store.clone(), program.clone());
        let share = count / callers + usize::from(caller < count % callers);
        admissions.spawn(async move {
            let (mut ids, mut took) = (Vec::new(), Vec::new());
            for _ in 0..share {
                let new = new_task(&program);
                ids.push(new.id);
                let started = Instant::now();
                store.admit(new, ROOM).await?;
                took.push(started.elapsed());
            }
            Ok::<_, StoreError>((ids, took))
        });
    }
    let (mut ids, mut took) = (Vec::new(), Vec::new());
    while let Some(admitted) = admissions.join_next().await {
        let (more_ids, more_took) = admitted??;
        ids.extend(more_ids);
        took.extend(more_took);
    }
    Ok((ids, took))
}

fn report(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    println!("{what:<44} {:>9.3} ms p50 {:>9.3} ms p90 {:>9.3} ms p99", at(0.5), at(0.9), at(0.99));
}
