//! Volumes that are replaced while the database has little time for each operation, and what is left of that.

use super::{
    InDirectory, cluster, config,
    contract::fixture::{blocking, owner, program, write},
};
use coprocessor_store::{
    Accounts, Retention, Store, StoreError, Upkeep, VolumeContent, VolumePages, VolumeWrite,
    postgres::{PostgresConfig, PostgresStore},
};
use jiff::{SignedDuration, Timestamp};
use std::{
    io,
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, channel},
    },
    thread,
    time::Duration,
};

/// What each operation gets.
const PATIENCE: Duration = Duration::from_secs(3);

/// Pages of one part.
const PART: u32 = 256;

async fn hasty(backing: &InDirectory) -> Arc<PostgresStore> {
    let config = PostgresConfig { patience: PATIENCE, ..config(&backing.url, backing.blobs()) };
    Arc::new(PostgresStore::open(config).await.unwrap())
}

fn content(pages: impl Fn() -> VolumePages + Send + Sync + 'static) -> VolumeContent {
    VolumeContent { size: 8 << 20, quota: None, pages: Box::new(pages) }
}

async fn loose(backing: &InDirectory) -> (u64, u64) {
    let count = |sql: &str| cluster().unwrap().sql(&backing.url, sql).unwrap().trim().parse().unwrap();
    let held = "SELECT count(*) FROM pages WHERE volume IN (SELECT number FROM loose_volumes)";
    (count("SELECT count(*) FROM loose_volumes"), count(held))
}

async fn collect(store: &PostgresStore, limit: usize, later: SignedDuration) -> u64 {
    let pass = store.collect(&Retention::default(), Timestamp::now() + later, limit).await.unwrap();
    assert!(pass.pages <= limit as u64, "{pass:?}");
    pass.pages
}

/// Each part has the time of an operation, so a volume may take as long as it is large.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_volume_that_takes_longer_than_an_operation_may_is_replaced() {
    let Some(backing) = InDirectory::start().await else { return };
    let store = hasty(&backing).await;
    let program = program(&*store, 1).await;
    store.write_volume(program.id, write(0, &[(3, b"before")])).await.unwrap();
    let slow = || -> VolumePages {
        Box::new((0..5 * PART).map(|index| {
            if index % PART == 0 {
                thread::sleep(PATIENCE / 4);
            }
            Ok((index, vec![9; 100]))
        }))
    };
    assert_eq!(store.replace_volume(program.id, content(slow)).await.unwrap(), 2);
    blocking(|| {
        let pages = store.volume_snapshot(program.id).unwrap().read_pages(0..u32::MAX).unwrap();
        assert_eq!(pages.len() as u32, 5 * PART);
        assert!(pages.iter().all(|(_, page)| *page == vec![9; 100]));
    });
    assert_eq!(store.contradictions().await.unwrap(), Vec::<String>::new());
}

/// Pages that come as they are sent.
fn arriving(pages: Receiver<(u32, Vec<u8>)>) -> VolumeContent {
    let pages = Arc::new(Mutex::new(pages));
    content(move || {
        let pages = pages.clone();
        Box::new(std::iter::from_fn(move || pages.lock().unwrap().recv().ok().map(Ok)))
    })
}

/// Until the last part is there nobody sees anything of it, and who writes comes before; who reads keeps what was there after.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn others_go_on_with_what_is_there_while_pages_arrive() {
    let Some(backing) = InDirectory::start().await else { return };
    let store = backing.store.clone().unwrap();
    let program = program(&*store, 1).await;
    store.write_volume(program.id, write(0, &[(0, b"one"), (4000, b"far")])).await.unwrap();
    let (send, pages) = channel();
    let replacing = tokio::spawn({
        let store = store.clone();
        async move { store.replace_volume(program.id, arriving(pages)).await }
    });
    for index in 0..2 * PART {
        send.send((index, vec![1; 10])).unwrap();
    }
    while loose(&backing).await.1 < u64::from(2 * PART) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    store.write_volume(program.id, write(1, &[(0, b"two")])).await.unwrap();
    let before = blocking(|| store.volume_snapshot(program.id).unwrap());
    // Neither given up nor a volume's yet.
    assert_eq!(collect(&store, 1000, SignedDuration::ZERO).await, 0);
    assert_eq!(store.contradictions().await.unwrap(), Vec::<String>::new());
    send.send((2 * PART, vec![2; 10])).unwrap();
    drop(send);
    assert_eq!(replacing.await.unwrap().unwrap(), 3);

    assert_eq!(store.volume_bytes(&owner("alice")).await.unwrap(), u64::from(2 * PART + 1) * 10);
    assert_eq!(loose(&backing).await, (1, 2));
    assert_eq!(collect(&store, 1, SignedDuration::ZERO).await, 1);
    assert_eq!(collect(&store, 1000, SignedDuration::ZERO).await, 1);
    assert_eq!((loose(&backing).await, collect(&store, 1000, SignedDuration::ZERO).await), ((0, 0), 0));
    blocking(|| {
        assert_eq!((before.version(), before.read_page(0).unwrap()), (2, Some(b"two".to_vec())));
        assert_eq!(before.read_pages(4000..4001).unwrap(), [(4000, b"far".to_vec())]);
    });
    assert_eq!(store.contradictions().await.unwrap(), Vec::<String>::new());
}

/// What was begun and never came to its end goes: at once where that is known, and after a while where its process is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_that_never_became_a_volume_are_removed() {
    let Some(backing) = InDirectory::start().await else { return };
    let store = backing.store.clone().unwrap();
    let program = program(&*store, 1).await;
    let broken = || -> VolumePages {
        let failure = Err(io::Error::other("the disk is gone"));
        Box::new((0..PART).map(|index| Ok((index, vec![1]))).chain([failure]))
    };
    let failed = store.replace_volume(program.id, content(broken)).await;
    assert!(matches!(failed, Err(StoreError::Content(_))), "{failed:?}");
    assert_eq!((loose(&backing).await, collect(&store, 1000, SignedDuration::ZERO).await), ((1, 256), 256));

    // Nobody waits for this one any more.
    let (send, pages) = channel();
    for index in 0..PART {
        send.send((index, vec![1])).unwrap();
    }
    let replacing = tokio::spawn({
        let store = store.clone();
        async move { store.replace_volume(program.id, arriving(pages)).await }
    });
    while loose(&backing).await != (1, 256) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    replacing.abort();
    drop(send);
    assert_eq!(collect(&store, 1000, SignedDuration::ZERO).await, 0);
    assert_eq!(collect(&store, 1000, SignedDuration::from_hours(2)).await, 256);

    // Who was that slow is told, and the volume is as it was.
    let (send, pages) = channel();
    for index in 0..PART {
        send.send((index, vec![1])).unwrap();
    }
    let replacing = tokio::spawn({
        let store = store.clone();
        async move { store.replace_volume(program.id, arriving(pages)).await }
    });
    while loose(&backing).await != (1, 256) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(collect(&store, 1000, SignedDuration::from_hours(2)).await, 256);
    send.send((PART, vec![1])).unwrap();
    drop(send);
    let late = replacing.await.unwrap();
    assert!(matches!(late, Err(StoreError::Unavailable(_))), "{late:?}");
    assert_eq!(blocking(|| store.volume_snapshot(program.id).unwrap().version()), 0);
    assert_eq!((loose(&backing).await, store.contradictions().await.unwrap()), ((0, 0), Vec::new()));
}

/// A program's pages are counted no more once it is gone, and go a part at a time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_programs_pages_go_little_by_little() {
    let Some(backing) = InDirectory::start().await else { return };
    let store = backing.store.clone().unwrap();
    let program = program(&*store, 1).await;
    let pages = (0..10).map(|index| (index, Some(vec![1; 10]))).collect();
    store.write_volume(program.id, VolumeWrite { pages, ..VolumeWrite::default() }).await.unwrap();
    store.delete_program(program.id).await.unwrap();
    assert_eq!(store.volume_bytes(&owner("alice")).await.unwrap(), 0);
    assert_eq!(loose(&backing).await, (1, 10));
    assert_eq!(collect(&store, 7, SignedDuration::ZERO).await, 7);
    assert_eq!(collect(&store, 7, SignedDuration::ZERO).await, 3);
    assert_eq!((loose(&backing).await, store.contradictions().await.unwrap()), ((0, 0), Vec::new()));
}
