//! PostgreSQL, killed in the middle of work.

use super::{
    SETTINGS, config,
    contract::{
        domains,
        fixture::{
            HOUR, admitted, claim, delivered_with, event_names, executed_with, new_task, program, proved, volume, write,
        },
    },
};
use coprocessor_store::{
    Admission, AppendBlocks, Backlog, Domains, NewTask, OpenedBlock, Stage, StepOutcome, Store, StoreError, TaskState,
    Upkeep,
    postgres::{BlobPlace, PostgresStore},
};
use coprocessor_test_servers::{Postgres, skip_or_fail};
use coprocessor_types::TaskId;
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};
use tempfile::TempDir;

const ROOM: Backlog = Backlog { total: u64::MAX, owner: u64::MAX };

struct Crashing {
    cluster: Postgres,
    store: Arc<PostgresStore>,
    _directory: TempDir,
}

impl Crashing {
    async fn start() -> Option<Self> {
        let cluster = skip_or_fail(Postgres::start(SETTINGS))?;
        // Steps stay in the server's memory for longer, so that killing it loses those that nothing made durable.
        cluster.sql(&cluster.url(), "ALTER SYSTEM SET wal_writer_delay = '10s'").unwrap();
        cluster.sql(&cluster.url(), "SELECT pg_reload_conf()").unwrap();
        let url = cluster.create_database("crashing").unwrap();
        let directory = TempDir::new().unwrap();
        let blobs = BlobPlace::Directory(directory.path().to_owned());
        let store = Arc::new(PostgresStore::open(config(&url, blobs)).await.unwrap());
        Some(Self { cluster, store, _directory: directory })
    }

    fn crash(&mut self) {
        self.cluster.kill().unwrap();
        self.cluster.restart().unwrap();
    }
}

/// Asks until the database answers again.
async fn answered<T, F: Future<Output = Result<T, StoreError>>>(ask: impl Fn() -> F) -> T {
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(StoreError::Unavailable(_)) => tokio::time::sleep(Duration::from_millis(20)).await,
            Err(other) => panic!("{other}"),
        }
    }
}

/// How often a crash may come after the server has written its log after all.
const CRASHES: usize = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_that_a_crash_took_back_can_finish_nothing() {
    let Some(mut crashing) = Crashing::start().await else { return };
    let store = crashing.store.clone();
    let program = program(&*store, 1).await;
    for _ in 0..CRASHES {
        let id = admitted(store.admit(new_task(&program), ROOM).await.unwrap()).id;
        let held = claim(&*store, Stage::Execute).await;
        let seen = store.events(id, 0, 10).await.unwrap().last().unwrap().seq;
        crashing.crash();
        let kept = answered(|| store.task(id)).await.unwrap();
        if kept.fence == held.task.fence {
            store.cancel(id).await.unwrap();
            continue;
        }

        // It is as if nobody had claimed it; but whoever claims it now has another fence, and its events other numbers.
        assert_eq!((kept.state, kept.fence), (TaskState::Queued, 0));
        assert_eq!(event_names(&*store, id).await, ["admitted"]);
        let again = claim(&*store, Stage::Execute).await;
        assert!(again.task.id == id && again.task.fence > held.task.fence, "{}", again.task.fence);
        assert!(store.events(id, 0, 10).await.unwrap().last().unwrap().seq > seen);

        let outcome = |content: &[u8]| executed_with(write(0, &[(0, content)]));
        let late = store.finish_step(id, held.task.fence, outcome(b"lost")).await;
        assert!(matches!(late, Err(StoreError::StaleFence { .. })), "{late:?}");
        assert_eq!(store.heartbeat(&[(id, held.task.fence)], HOUR).await.unwrap(), [(id, held.task.fence)]);
        store.finish_step(id, again.task.fence, outcome(b"kept")).await.unwrap();
        assert_eq!(volume(&*store, program.id, [0]), (1, [Some(b"kept".to_vec())]));
        return;
    }
    panic!("no crash took a claim back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_that_a_crash_took_back_is_taken_back_whole() {
    let Some(mut crashing) = Crashing::start().await else { return };
    let store = crashing.store.clone();
    for nonce in 0..CRASHES as u64 {
        let program = program(&*store, nonce).await;
        let id = admitted(store.admit(new_task(&program), ROOM).await.unwrap()).id;
        let held = claim(&*store, Stage::Execute).await;
        // What came before is durable with this; what comes after is not.
        store.flush().await.unwrap();
        let outcome = executed_with(write(0, &[(0, b"page")]));
        store.finish_step(id, held.task.fence, outcome.clone()).await.unwrap();
        crashing.crash();
        let kept = answered(|| store.task(id)).await.unwrap();
        if kept.state == TaskState::Proving {
            continue;
        }

        assert_eq!((kept.state, kept.fence, kept.witness), (TaskState::Executing, held.task.fence, None));
        assert_eq!(volume(&*store, program.id, [0]), (0, [None]));
        assert_eq!(event_names(&*store, id).await, ["admitted", "claimed"]);
        // The claim is durable, so it is still this worker's.
        store.finish_step(id, held.task.fence, outcome).await.unwrap();
        assert_eq!(volume(&*store, program.id, [0]), (1, [Some(b"page".to_vec())]));
        return;
    }
    panic!("no crash took a step back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_assignment_keeps_all_that_came_before_it() {
    let Some(mut crashing) = Crashing::start().await else { return };
    let store = crashing.store.clone();
    let program = program(&*store, 1).await;
    let id = admitted(store.admit(new_task(&program), ROOM).await.unwrap()).id;
    let held = claim(&*store, Stage::Execute).await;
    store.finish_step(id, held.task.fence, executed_with(write(0, &[(0, b"page")]))).await.unwrap();
    let held = claim(&*store, Stage::Prove).await;
    store.assign(id, held.task.fence, "http://node", super::contract::fixture::event("assigned")).await.unwrap();
    crashing.crash();
    let kept = answered(|| store.task(id)).await.unwrap();
    assert_eq!((kept.state, kept.fence), (TaskState::Proving, held.task.fence));
    assert_eq!(volume(&*store, program.id, [0]), (1, [Some(b"page".to_vec())]));
    store.finish_step(id, held.task.fence, proved()).await.unwrap();
}

/// Admits without pause; each task whose admission was acknowledged is in `acknowledged`.
async fn admit(store: Arc<PostgresStore>, new: NewTask, acknowledged: Arc<Mutex<BTreeSet<TaskId>>>, count: usize) {
    for _ in 0..count {
        let new = NewTask { id: TaskId::now(), ..new.clone() };
        let admitted = answered(|| store.admit(new.clone(), ROOM)).await;
        assert!(matches!(&admitted, Admission::Admitted(task) if task.id == new.id), "{admitted:?}");
        acknowledged.lock().unwrap().insert(new.id);
    }
}

/// Does steps until `stop`, each delivery writing the volume's next version.
async fn work(store: Arc<PostgresStore>, stage: Stage, stop: tokio::sync::watch::Receiver<bool>) {
    while !*stop.borrow() {
        let claims = store.claim(stage, "worker", Duration::from_millis(300), 4).await.unwrap_or_default();
        for held in &claims {
            let task = &held.task;
            let written = || -> Option<StepOutcome> {
                Some(match stage {
                    Stage::Execute => executed_with(coprocessor_store::VolumeWrite::default()),
                    Stage::Prove => proved(),
                    Stage::Deliver => {
                        let before = store.volume_snapshot(task.program).ok()?.version();
                        delivered_with(write(before, &[(before as u32, task.id.0.as_bytes())]))
                    }
                })
            };
            // A volume that somebody else has written meanwhile is looked at again; all else is left to the lease's end.
            while let Some(outcome) = tokio::task::block_in_place(written) {
                match store.finish_step(task.id, task.fence, outcome).await {
                    Err(StoreError::VolumeConflict { .. }) => {}
                    _ => break,
                }
            }
        }
        if claims.is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whatever_was_acknowledged_is_delivered_once_however_often_the_database_is_killed() {
    let Some(mut crashing) = Crashing::start().await else { return };
    let store = crashing.store.clone();
    let program = program(&*store, 1).await;
    let acknowledged = Arc::new(Mutex::new(BTreeSet::new()));
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let workers: Vec<_> = (Stage::ALL.into_iter().cycle().take(6))
        .map(|stage| tokio::spawn(work(store.clone(), stage, stopped.clone())))
        .collect();
    let admitting: Vec<_> =
        (0..3).map(|_| tokio::spawn(admit(store.clone(), new_task(&program), acknowledged.clone(), 40))).collect();
    for kill in 1..=3 {
        // Some work is done between each two.
        while acknowledged.lock().unwrap().len() < kill * 25 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        crashing.crash();
    }
    for admitting in admitting {
        admitting.await.unwrap();
    }
    let acknowledged = acknowledged.lock().unwrap().clone();
    for id in &acknowledged {
        while answered(|| store.task(*id)).await.expect("it was acknowledged").state != TaskState::Delivered {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    stop.send(true).unwrap();
    for worker in workers {
        worker.await.unwrap();
    }
    // Each delivery wrote one page with its task's name: no two of one, none of nobody's.
    let snapshot = tokio::task::block_in_place(|| store.volume_snapshot(program.id).unwrap());
    let mut written = Vec::new();
    for page in 0..snapshot.version() {
        let name = snapshot.read_page(page as u32).unwrap().expect("each version has written its page");
        written.push(TaskId(uuid::Uuid::from_slice(&name).unwrap()));
    }
    assert_eq!(written.len(), acknowledged.len());
    assert_eq!(written.into_iter().collect::<BTreeSet<_>>(), acknowledged);
    let delivered = acknowledged.len() as u64;
    for (state, count) in store.task_counts().await.unwrap().0 {
        assert_eq!(count, if state == TaskState::Delivered { delivered } else { 0 }, "{state}");
    }
}

/// Appended roots have been seen: whatever a crash takes back, it is none of those.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blocks_that_were_acknowledged_survive_a_crash_of_the_database() {
    let Some(mut crashing) = Crashing::start().await else { return };
    let store = crashing.store.clone();
    let domain = domains::added(&*store, 1).await.id;
    let mut acknowledged = 0;
    for _ in 0..3 {
        let appender = tokio::spawn({
            let store = store.clone();
            async move {
                let mut next = acknowledged;
                // Until the database is gone; who knows then whether the last one was appended.
                while let Ok(appended) = store.append_blocks(domain, vec![domains::new_block(next)]).await {
                    match appended {
                        AppendBlocks::Appended(_) => {}
                        AppendBlocks::Taken { number, block } => assert_eq!(block.unwrap().number, number),
                    }
                    next += 1;
                }
                next
            }
        });
        tokio::time::sleep(Duration::from_millis(200)).await;
        crashing.crash();
        // The connections of before are noticed to be gone.
        acknowledged = tokio::time::timeout(HOUR, appender).await.unwrap().unwrap();
        let newest = answered(|| store.current_root()).await;
        assert!(newest.version == acknowledged || newest.version == acknowledged + 1, "{newest:?}, {acknowledged}");
        for number in 0..acknowledged {
            let opened = answered(|| store.open_block(newest.root, domain, number)).await;
            assert!(matches!(opened, OpenedBlock::Member(block, _) if block.version == number + 1));
        }
        assert_eq!(answered(|| store.contradictions()).await, Vec::<String>::new());
    }
}
