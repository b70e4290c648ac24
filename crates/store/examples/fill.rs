//! Fills a store with finished tasks and with programs, to see what its size costs:
//! `fill --directory DIR [--database URL] --tasks N --programs N`.
#![allow(missing_docs, clippy::print_stdout)]

use bytes::Bytes;
use coprocessor_store::{
    Admission, Backlog, Cancelled, EmbeddedConfig, EmbeddedStore, NewProgram, NewTask, Program, Store,
    postgres::{BlobPlace, PostgresConfig, PostgresStore},
};
use coprocessor_types::{Backend, OwnerId, ProgramId, ProofKind, Root, TaskId};
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::json;
use std::{error::Error, path::PathBuf, sync::Arc, time::Instant};

/// Writes under way at once.
const AT_ONCE: usize = 256;
/// Owners that the tasks are shared out among.
const OWNERS: usize = 100;

type Failure = Box<dyn Error + Send + Sync>;

struct Wanted {
    directory: PathBuf,
    database: Option<String>,
    tasks: usize,
    programs: u64,
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let wanted = wanted()?;
    let store = open(&wanted).await?;
    let began = Instant::now();
    let mut programs = Vec::new();
    for nonce in 1..=wanted.programs.max(1) {
        programs.push(program(&*store, nonce).await?);
    }
    let unbounded = Backlog { total: u64::MAX, owner: u64::MAX };
    let (owners, programs) = (owners(), &programs);
    stream::iter(0..wanted.tasks)
        .map(|number| {
            let task = task(&programs[number % programs.len()], owners[number % owners.len()].clone());
            let store = Arc::clone(&store);
            async move {
                let id = task.id;
                match (store.admit(task, unbounded).await?, store.cancel(id).await?) {
                    (Admission::Admitted(_), Cancelled::Cancelled(_)) => Ok::<_, Failure>(()),
                    other => Err(format!("task {id} could not be finished: {other:?}").into()),
                }
            }
        })
        .buffer_unordered(AT_ONCE)
        .try_for_each(|()| async { Ok(()) })
        .await?;
    store.flush().await?;
    println!("{} tasks and {} programs in {:.1} s", wanted.tasks, wanted.programs, began.elapsed().as_secs_f64());
    Ok(())
}

fn wanted() -> Result<Wanted, Failure> {
    let mut wanted = Wanted { directory: PathBuf::new(), database: None, tasks: 0, programs: 0 };
    let mut arguments = std::env::args().skip(1);
    while let Some(flag) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{flag} needs a value"))?;
        match flag.as_str() {
            "--directory" => wanted.directory = value.into(),
            "--database" => wanted.database = Some(value),
            "--tasks" => wanted.tasks = value.parse()?,
            "--programs" => wanted.programs = value.parse()?,
            _ => return Err(format!("there is no {flag}").into()),
        }
    }
    Ok(wanted)
}

async fn open(wanted: &Wanted) -> Result<Arc<dyn Store>, Failure> {
    Ok(match &wanted.database {
        None => Arc::new(EmbeddedStore::open(&wanted.directory, EmbeddedConfig::default())?),
        Some(url) => {
            let blobs = BlobPlace::Directory(wanted.directory.clone());
            let config = PostgresConfig::new(url.clone().into(), blobs);
            Arc::new(PostgresStore::open(config).await?)
        }
    })
}

fn owners() -> Vec<OwnerId> {
    (0..OWNERS).map(|number| format!("owner-{number}").parse().expect("a plain name")).collect()
}

async fn program(store: &dyn Store, nonce: u64) -> Result<Program, Failure> {
    let circuit = Bytes::from_static(b"a circuit of many programs");
    let new = NewProgram {
        id: ProgramId::derive(&circuit, nonce),
        owner: format!("owner-{}", nonce % OWNERS as u64).parse()?,
        key: None,
        name: String::new(),
        public: false,
        backend: Backend::Sp1,
        controller: store.put_blob(Bytes::from_static(b"a controller of many programs")).await?,
        circuit: store.put_blob(circuit).await?,
        verifying_key: None,
        nonce,
        volume_size: 64 << 20,
    };
    let id = new.id;
    store.insert_program(new, u64::MAX).await?;
    store.program(id).await?.ok_or_else(|| format!("program {id} is not there").into())
}

fn task(program: &Program, owner: OwnerId) -> NewTask {
    NewTask {
        id: TaskId::now(),
        program: program.id,
        owner,
        controller: program.controller,
        circuit: program.circuit,
        kind: ProofKind::Mock,
        root: Root([7; 32]),
        args: json!({"name": "world"}),
        payload: json!({"cmd": "store", "path": "/proof.bin"}),
        priority: 0,
        deadline: None,
        record: false,
        idempotency: None,
    }
}
