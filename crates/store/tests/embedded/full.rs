//! A full disk: what doesn't fit is refused, what was there stays whole, and freed space is used.

use crate::{
    contract::fixture::{ROOM, admitted, executed, held_at, new_task, program, write},
    process,
};
use bytes::Bytes;
use coprocessor_store::{EmbeddedConfig, EmbeddedStore, NewTask, Program, Stage, Store, StoreError, TaskFilter};
use serde_json::json;
use std::{path::Path, process::Command, sync::Arc};
use tempfile::TempDir;

const MEBIBYTE: u64 = 1 << 20;

/// Admits tasks of 10 kB, eight at once, until the store is full; how many were acknowledged.
async fn fill(store: &Arc<EmbeddedStore>, program: &Program) -> usize {
    let mut acknowledged = 0;
    loop {
        let admissions: Vec<_> = (0..8)
            .map(|_| {
                let (store, new) = (store.clone(), NewTask { args: json!("x".repeat(10_000)), ..new_task(program) });
                tokio::spawn(async move { store.admit(new, ROOM).await })
            })
            .collect();
        let mut full = false;
        for admission in admissions {
            match admission.await.unwrap() {
                Ok(admission) => acknowledged += usize::from(admitted(admission).fence == 0),
                Err(StoreError::Full) => full = true,
                Err(other) => panic!("not full but: {other}"),
            }
        }
        if full {
            return acknowledged;
        }
    }
}

async fn count(store: &EmbeddedStore) -> usize {
    store.task_counts().await.unwrap().0.iter().map(|(_, count)| *count as usize).sum()
}

#[tokio::test]
async fn a_database_at_its_limit_refuses_and_keeps_what_it_has() {
    let directory = TempDir::new().unwrap();
    let limited = EmbeddedConfig { max_database_size: Some(2 * MEBIBYTE), ..EmbeddedConfig::default() };
    let store = Arc::new(EmbeddedStore::open(directory.path(), limited).unwrap());
    let (program, busy) = (program(&*store, 1).await, held_at(&*store, 2, Stage::Execute).await);
    let acknowledged = fill(&store, &program).await;
    assert!(acknowledged > 50, "{acknowledged}");
    let large = vec![(0, Some(vec![1; 500_000]))];
    let big = coprocessor_store::VolumeWrite { pages: large, ..write(0, &[]) };
    assert!(matches!(store.write_volume(program.id, big).await, Err(StoreError::Full)));
    assert_eq!(store.volume_snapshot(program.id).unwrap().version(), 0);
    assert_eq!(count(&store).await, acknowledged + 1);
    let listed = store.tasks(TaskFilter::default(), None, 1000).await.unwrap().items;
    assert_eq!(listed.len(), acknowledged + 1);
    drop(store);

    let store = EmbeddedStore::open(directory.path(), EmbeddedConfig::default()).unwrap();
    assert_eq!(count(&store).await, acknowledged + 1);
    let got = store.finish_step(busy.task.id, busy.task.fence, executed()).await;
    assert!(matches!(got, Err(StoreError::StaleFence { .. })), "{got:?}");
    admitted(store.admit(new_task(&program), ROOM).await.unwrap());
}

#[test]
fn a_full_disk_refuses_and_keeps_what_it_has() {
    let directory = TempDir::new().unwrap();
    let mut inner = process::command("full::fills_a_disk", directory.path());
    // A file system of 4 MiB that nobody else sees. Whoever may not mount one has the test above.
    let mut outer = Command::new("unshare");
    let script = "mount -t tmpfs -o size=4m tmpfs \"$0\" && exec \"$@\"";
    outer.args(["--mount", "--map-root-user", "sh", "-c", script]).arg(directory.path()).arg(inner.get_program());
    outer.args(inner.get_args()).envs(inner.get_envs().filter_map(|(key, value)| Some((key, value?))));
    let mountable = Command::new("unshare")
        .args(["--mount", "--map-root-user", "mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs"])
        .arg(directory.path())
        .status();
    let status = if mountable.is_ok_and(|status| status.success()) { outer.status() } else { inner.status() };
    assert!(status.unwrap().success());
}

/// Not a test: the process with a disk of its own.
#[tokio::test]
#[ignore = "run by a_full_disk_refuses_and_keeps_what_it_has in a process of its own"]
async fn fills_a_disk() {
    let Some(directory) = process::directory() else { return };
    let config = match size_of_disk(&directory) {
        size if size <= 4 * MEBIBYTE => EmbeddedConfig::default(),
        _ => EmbeddedConfig { max_database_size: Some(3 * MEBIBYTE), ..EmbeddedConfig::default() },
    };
    let on_disk = config.max_database_size.is_none();
    let store = Arc::new(EmbeddedStore::open(&directory, config).unwrap());
    let program = program(&*store, 1).await;
    let filler = directory.join("filler");
    std::fs::write(&filler, vec![0; MEBIBYTE as usize]).unwrap();
    let acknowledged = fill(&store, &program).await;
    assert!(acknowledged > 20, "{acknowledged}");
    assert_eq!(count(&store).await, acknowledged);
    if on_disk {
        let large = Bytes::from(vec![1; MEBIBYTE as usize]);
        let got = store.put_blob(large.clone()).await;
        assert!(matches!(got, Err(StoreError::Full)), "{got:?}");
        // Space again: the same store goes on.
        std::fs::remove_file(&filler).unwrap();
        store.admit(new_task(&program), ROOM).await.unwrap();
        assert_eq!(count(&store).await, acknowledged + 1);
        store.put_blob(Bytes::from(vec![2; 200_000])).await.unwrap();
    }
    let kept = count(&store).await;
    drop(store);
    let store = EmbeddedStore::open(&directory, EmbeddedConfig::default()).unwrap();
    assert_eq!(count(&store).await, kept);
}

fn size_of_disk(path: &Path) -> u64 {
    let output = Command::new("df").args(["-B1", "--output=size"]).arg(path).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.split_whitespace().last().unwrap().parse().unwrap()
}
