//! What was acknowledged survives kill -9.

use crate::{
    contract::{
        domains,
        fixture::{ROOM, admitted, claim, executed, new_task, program},
    },
    process,
};
use coprocessor_store::{
    AppendBlocks, Domains, EmbeddedConfig, EmbeddedStore, OpenedBlock, Program, Stage, Store, TaskState, Upkeep,
};
use coprocessor_types::{Root, TaskId};
use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    sync::Arc,
};
use tempfile::TempDir;
use tokio::task::JoinSet;

const ADMITTERS: usize = 8;
const ACKNOWLEDGEMENTS: usize = 200;

#[tokio::test]
async fn whatever_was_acknowledged_survives_kill_9() {
    let directory = TempDir::new().unwrap();
    let mut acknowledged = BTreeMap::new();
    for round in 0..3 {
        let mut child = process::command("crash::admits_until_killed", directory.path()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut read = 0;
        let mut note = |line: String| {
            if let Some((id, state)) = self::acknowledged(&line) {
                acknowledged.insert(id, state);
                read += 1;
            }
            read
        };
        while note(lines.next().expect("it runs until it is killed").unwrap()) < ACKNOWLEDGEMENTS {}
        // SIGKILL. What it had printed by then was acknowledged too.
        child.kill().unwrap();
        for line in lines {
            note(line.unwrap());
        }
        child.wait().unwrap();

        let store = EmbeddedStore::open(directory.path(), EmbeddedConfig::default()).unwrap();
        for (id, state) in &acknowledged {
            let task = store.task(*id).await.unwrap().unwrap_or_else(|| panic!("round {round} lost {id}"));
            assert!(task.state >= *state, "{id} was {state} and is {}", task.state);
            assert_eq!(store.events(*id, 0, 1).await.unwrap()[0].kind.name, "admitted");
        }
        let counted: u64 = store.task_counts().await.unwrap().0.iter().map(|(_, count)| count).sum();
        assert!(counted >= acknowledged.len() as u64);
    }
    assert!(acknowledged.values().any(|state| *state == TaskState::Proving));
}

/// Not a test: the process that is killed.
#[test]
#[ignore = "run by whatever_was_acknowledged_survives_kill_9 in a process of its own"]
fn admits_until_killed() {
    let Some(directory) = process::directory() else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    runtime.block_on(async {
        let store = Arc::new(EmbeddedStore::open(&directory, EmbeddedConfig::default()).unwrap());
        let program = match store.programs(None, None, 1).await.unwrap().items.pop() {
            Some(program) => program,
            None => program(&*store, 1).await,
        };
        let mut admitters = JoinSet::new();
        for _ in 0..ADMITTERS {
            admitters.spawn(admit_and_execute(store.clone(), program.clone()));
        }
        // None ends but by a panic, which then ends the process.
        admitters.join_next().await.unwrap().unwrap();
    });
}

async fn admit_and_execute(store: Arc<EmbeddedStore>, program: Program) {
    loop {
        let task = admitted(store.admit(new_task(&program), ROOM).await.unwrap());
        acknowledge(task.id, task.state);
        // The others' tasks are ready too, so there is one for everybody.
        let held = claim(&*store, Stage::Execute).await;
        let task = store.finish_step(held.task.id, held.task.fence, executed()).await.unwrap();
        acknowledge(task.id, task.state);
    }
}

#[tokio::test]
async fn blocks_that_were_acknowledged_survive_kill_9() {
    let directory = TempDir::new().unwrap();
    let mut acknowledged = Vec::new();
    for _ in 0..3 {
        let mut child = process::command("crash::appends_until_killed", directory.path()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let known = acknowledged.len();
        while acknowledged.len() < known + ACKNOWLEDGEMENTS / 4 {
            acknowledged.extend(appended(&lines.next().expect("it runs until it is killed").unwrap()));
        }
        child.kill().unwrap();
        acknowledged.extend(lines.filter_map(|line| appended(&line.unwrap())));
        child.wait().unwrap();

        let store = EmbeddedStore::open(directory.path(), EmbeddedConfig::default()).unwrap();
        for (index, (version, root)) in acknowledged.iter().enumerate() {
            let record = store.root(*root).await.unwrap().unwrap_or_else(|| panic!("root {index} is lost"));
            assert_eq!(record.version, *version);
            let (domain, number) = record.block.unwrap();
            let opened = store.open_block(*root, domain, number).await.unwrap();
            assert!(matches!(opened, OpenedBlock::Member(block, _) if block.version == *version));
        }
        assert_eq!(store.contradictions().await.unwrap(), Vec::<String>::new());
    }
}

/// Not a test: the process that is killed.
#[test]
#[ignore = "run by blocks_that_were_acknowledged_survive_kill_9 in a process of its own"]
fn appends_until_killed() {
    let Some(directory) = process::directory() else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    runtime.block_on(async {
        let store = Arc::new(EmbeddedStore::open(&directory, EmbeddedConfig::default()).unwrap());
        let mut appenders = JoinSet::new();
        for index in 0..3 {
            appenders.spawn(append_blocks(store.clone(), index));
        }
        appenders.join_next().await.unwrap().unwrap();
    });
}

async fn append_blocks(store: Arc<EmbeddedStore>, index: usize) {
    let domain = domains::added(&*store, index).await;
    let mut number = domain.blocks;
    loop {
        let blocks = (number..number + 1 + number % 3).map(domains::new_block).collect();
        let AppendBlocks::Appended(blocks) = store.append_blocks(domain.id, blocks).await.unwrap() else {
            panic!("nobody else appends to it");
        };
        number += blocks.len() as u64;
        let lines: String = blocks.iter().map(|block| format!("appended {} {}\n", block.version, block.root)).collect();
        std::io::stdout().lock().write_all(lines.as_bytes()).unwrap();
    }
}

/// The version and the root that a line of the other process says were acknowledged.
fn appended(line: &str) -> Option<(u64, Root)> {
    let (version, root) = line.strip_prefix("appended ")?.split_once(' ')?;
    Some((version.parse().unwrap(), root.parse().ok()?))
}

/// What a line of the other process says was acknowledged.
pub(crate) fn acknowledged(line: &str) -> Option<(TaskId, TaskState)> {
    let (id, state) = line.strip_prefix("acknowledged ")?.split_once(' ')?;
    Some((id.parse().unwrap(), TaskState::from_name(state).unwrap()))
}

/// One write, so that a line is whole or not there.
fn acknowledge(task: TaskId, state: TaskState) {
    let line = format!("acknowledged {task} {state}\n");
    std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
}
