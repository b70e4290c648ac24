//! Connections that break.

use super::{
    InDirectory, cluster, config,
    contract::fixture::{HOUR, ROOM, admitted, claim, event_names, executed, new_task, program, task},
};
use coprocessor_store::{
    Change, NewTask, Stage, Store, StoreError, TaskState,
    postgres::{PostgresConfig, PostgresStore},
};
use coprocessor_test_servers::BreakingProxy;
use coprocessor_types::TaskId;
use std::{sync::Arc, time::Duration};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(30);

/// A store that reaches its database through a proxy, beside one that needs none.
struct Broken {
    backing: InDirectory,
    proxy: BreakingProxy,
    through: Arc<PostgresStore>,
}

impl Broken {
    async fn start() -> Option<Self> {
        let cluster = cluster()?;
        let backing = InDirectory::start().await?;
        let proxy = BreakingProxy::start(cluster.address()).unwrap();
        let url = backing.url.replace(&cluster.address().to_string(), &proxy.address().to_string());
        // One connection for what is acknowledged, so that a test knows which it is.
        let config = PostgresConfig { connections: 2, ..config(&url, backing.blobs()) };
        let through = Arc::new(PostgresStore::open(config).await.unwrap());
        Some(Self { backing, proxy, through })
    }

    fn direct(&self) -> Arc<PostgresStore> {
        self.backing.store.clone().unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_are_cut_are_made_again() {
    let Some(broken) = Broken::start().await else { return };
    let store = &broken.through;
    let program = program(&**store, 1).await;
    for _ in 0..5 {
        let id = task(&**store, &program).await.id;
        broken.proxy.cut_all();
        // Reading is simply done again, admitting too.
        assert_eq!(store.task(id).await.unwrap().unwrap().state, TaskState::Queued);
        broken.proxy.cut_all();
        admitted(store.admit(new_task(&program), ROOM).await.unwrap());
    }
    assert_eq!(broken.direct().task_counts().await.unwrap().0[0], (TaskState::Queued, 10));
    store.health().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_gone_is_told_and_found_again() {
    let Some(broken) = Broken::start().await else { return };
    let store = &broken.through;
    let program = program(&**store, 1).await;
    let id = task(&**store, &program).await.id;
    let held = claim(&**store, Stage::Execute).await;
    broken.proxy.refuse(true);
    broken.proxy.cut_all();
    assert!(matches!(store.task(id).await, Err(StoreError::Unavailable(_))));
    assert!(matches!(store.health().await, Err(StoreError::Unavailable(_))));
    assert!(matches!(store.admit(new_task(&program), ROOM).await, Err(StoreError::Unavailable(_))));
    assert!(matches!(store.heartbeat(&[(id, held.task.fence)], HOUR).await, Err(StoreError::Unavailable(_))));
    assert!(matches!(store.volume_snapshot(program.id).map(drop), Err(StoreError::Unavailable(_))));
    broken.proxy.refuse(false);
    store.health().await.unwrap();
    assert_eq!(store.heartbeat(&[(id, held.task.fence)], HOUR).await.unwrap(), []);
    store.finish_step(id, held.task.fence, executed()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_admission_whose_answer_is_lost_is_one_task() {
    let Some(broken) = Broken::start().await else { return };
    let (store, direct) = (&broken.through, broken.direct());
    let program = program(&**store, 1).await;
    for _ in 0..3 {
        // The statement is prepared by then.
        task(&**store, &program).await;
        broken.proxy.stall_answers(true);
        let new = NewTask { id: TaskId::now(), ..new_task(&program) };
        let admitting = tokio::spawn({
            let (store, new) = (store.clone(), new.clone());
            async move { store.admit(new, ROOM).await }
        });
        // It is in, and nobody has been told.
        while direct.task(new.id).await.unwrap().is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        broken.proxy.cut_all();
        broken.proxy.stall_answers(false);
        assert_eq!(admitted(admitting.await.unwrap().unwrap()).id, new.id);
        assert_eq!(event_names(&*direct, new.id).await, ["admitted"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_begun_goes_on_when_the_runtime_of_its_caller_has_ended() {
    let Some(broken) = Broken::start().await else { return };
    let (store, direct) = (broken.through.clone(), broken.direct());
    let id = task(&*store, &program(&*store, 1).await).await.id;
    broken.proxy.stall_answers(true);
    let calling = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        // Several statements, and the answer to the first does not come while this runtime is there.
        let called = runtime.block_on(async { timeout(Duration::from_millis(300), store.cancel(id)).await });
        assert!(called.is_err(), "{called:?}");
    });
    tokio::task::spawn_blocking(|| calling.join().unwrap()).await.unwrap();
    broken.proxy.stall_answers(false);
    let cancelled = async {
        while direct.task(id).await.unwrap().unwrap().state != TaskState::Cancelled {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, cancelled).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_cut_off_is_told_to_look() {
    let Some(broken) = Broken::start().await else { return };
    let direct = broken.direct();
    let program = program(&*direct, 1).await;
    let mut changes = broken.through.changes();
    broken.proxy.refuse(true);
    broken.proxy.cut_all();
    // Told to nobody.
    let id = task(&*direct, &program).await.id;
    broken.proxy.refuse(false);
    for expected in [Change::Work(Stage::Execute), Change::Accounts, Change::Provers, Change::Delivery] {
        let told = async { while changes.recv().await.unwrap() != expected {} };
        timeout(PATIENCE, told).await.expect("whoever is back is told to look");
    }
    assert_eq!(claim(&*broken.through, Stage::Execute).await.task.id, id);
    // And from then on it hears again.
    let mut changes = broken.through.changes();
    task(&*direct, &program).await;
    let told = async { while changes.recv().await.unwrap() != Change::Work(Stage::Execute) {} };
    timeout(PATIENCE, told).await.expect("it hears again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_goes_away_leaves_no_connection_in_the_middle_of_something() {
    let Some(backing) = InDirectory::start().await else { return };
    let store = backing.store.clone().unwrap();
    let program = program(&*store, 1).await;
    for round in 0..40u32 {
        let id = task(&*store, &program).await.id;
        // Somewhere on the way, a little further each time.
        let _ = timeout(Duration::from_micros(u64::from(round) * 50), store.cancel(id)).await;
        let ended = async {
            while store.task(id).await.unwrap().unwrap().state != TaskState::Cancelled {
                store.cancel(id).await.unwrap();
            }
        };
        timeout(PATIENCE, ended).await.expect("it can be cancelled still");
        assert_eq!(event_names(&*store, id).await, ["admitted", "cancelled"]);
    }
}
