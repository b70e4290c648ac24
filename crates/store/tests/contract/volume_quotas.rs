//! What an owner's volumes may hold together.

use super::{
    Backing,
    fixture::{
        HOUR, ROOM, admitted, blocking, claim, delivered_with, executed_with, held_at, new_program, new_task, owner,
        picture, program, proved, volume, write,
    },
};
use bytes::Bytes;
use coprocessor_store::{
    DeleteProgram, InsertProgram, NewProgram, Program, Stage, Store, StoreError, TaskState, VolumeContent, VolumePages,
    VolumeWrite,
};
use coprocessor_types::ProgramId;
use std::{io, sync::Arc};

/// A write of pages of 100 bytes each.
fn pages(based_on: u64, indexes: impl IntoIterator<Item = u32>, quota: u64) -> VolumeWrite {
    let pages = indexes.into_iter().map(|index| (index, Some(vec![1; 100]))).collect();
    VolumeWrite { based_on, pages, quota: Some(quota), raw: None }
}

fn image(pages: u32, quota: u64, fails: bool) -> VolumeContent {
    let pages = move || -> VolumePages {
        let failure = fails.then(|| Err(io::Error::other("the disk is gone")));
        Box::new((0..pages).map(|index| Ok((index, vec![2; 100]))).chain(failure))
    };
    VolumeContent { size: 4 << 20, quota: Some(quota), pages: Box::new(pages) }
}

async fn of(store: &dyn Store, name: &str) -> u64 {
    store.volume_bytes(&owner(name)).await.unwrap()
}

/// The rows agree with what they count.
async fn is_sound(store: &dyn Store) {
    assert_eq!(store.contradictions().await.unwrap(), Vec::<String>::new());
}

#[track_caller]
fn is_refused<T: std::fmt::Debug>(got: Result<T, StoreError>, wanted: u64, most: u64) {
    match got {
        Err(StoreError::VolumeQuota { owner: whose, got, limit }) => {
            assert_eq!((whose, got, limit), (owner("alice"), wanted, most));
        }
        other => panic!("not refused but {other:?}"),
    }
}

async fn program_of(store: &dyn Store, nonce: u64, name: &str) -> Program {
    let new = NewProgram { owner: owner(name), ..new_program(store, nonce).await };
    match store.insert_program(new, u64::MAX).await.unwrap() {
        InsertProgram::Inserted(program) => program,
        other => panic!("not inserted but {other:?}"),
    }
}

pub(crate) async fn what_volumes_hold_is_counted<B: Backing>() {
    let mut backing = B::new().await;
    let store = backing.store();
    let (one, two) = (program(&*store, 1).await, program(&*store, 2).await);
    let other = program_of(&*store, 3, "bob").await;
    assert_eq!((of(&*store, "alice").await, of(&*store, "nobody").await), (0, 0));

    store.write_volume(one.id, pages(0, 0..10, u64::MAX)).await.unwrap();
    store.write_volume(two.id, pages(0, 5..7, u64::MAX)).await.unwrap();
    store.write_volume(other.id, pages(0, [1], u64::MAX)).await.unwrap();
    assert_eq!((of(&*store, "alice").await, of(&*store, "bob").await), (1200, 100));
    // One that grows, one that shrinks, one that goes, one that was not there, one twice; and raw storage.
    let change = VolumeWrite {
        based_on: 1,
        pages: vec![
            (0, Some(vec![1; 150])),
            (1, Some(vec![1; 30])),
            (2, None),
            (50, None),
            (60, Some(vec![1; 999])),
            (60, Some(vec![1; 20])),
        ],
        raw: Some(Bytes::from_static(b"12345")),
        quota: None,
    };
    store.write_volume(one.id, change).await.unwrap();
    assert_eq!(of(&*store, "alice").await, 1200 + 50 - 70 - 100 + 20 + 5);
    let raw = VolumeWrite { based_on: 2, raw: Some(Bytes::from_static(b"1")), ..VolumeWrite::default() };
    store.write_volume(one.id, raw).await.unwrap();
    assert_eq!(of(&*store, "alice").await, 1101);
    is_sound(&*store).await;
    drop(store);
    backing.reopen().await;

    let store = backing.store();
    assert_eq!(of(&*store, "alice").await, 1101);
    store.replace_volume(one.id, image(600, u64::MAX, false)).await.unwrap();
    assert_eq!(of(&*store, "alice").await, 60_000 + 1 + 200);
    store.replace_volume(one.id, image(0, u64::MAX, false)).await.unwrap();
    assert_eq!(of(&*store, "alice").await, 201);
    assert_eq!(store.delete_program(one.id).await.unwrap(), DeleteProgram::Deleted);
    assert_eq!((of(&*store, "alice").await, of(&*store, "bob").await), (200, 100));
    is_sound(&*store).await;
}

pub(crate) async fn a_write_beyond_the_quota_changes_nothing<B: Backing>() {
    let backing = B::new().await;
    let store = backing.store();
    let (one, two) = (program(&*store, 1).await, program(&*store, 2).await);
    store.write_volume(one.id, pages(0, 0..6, 1000)).await.unwrap();
    is_refused(store.write_volume(two.id, pages(0, 0..5, 1000)).await, 1100, 1000);
    let raw = VolumeWrite { raw: Some(vec![0; 401].into()), quota: Some(1000), ..VolumeWrite::default() };
    is_refused(store.write_volume(two.id, raw).await, 1001, 1000);
    assert_eq!((volume(&*store, two.id, [0]), of(&*store, "alice").await), ((0, [None]), 600));
    // To the last byte; and a conflict is told before the quota.
    store.write_volume(two.id, pages(0, 0..4, 1000)).await.unwrap();
    let late = store.write_volume(two.id, pages(0, 10..20, 1000)).await;
    assert!(matches!(late, Err(StoreError::VolumeConflict { expected: 0, got: 1, .. })), "{late:?}");
    is_refused(store.write_volume(two.id, pages(1, [4], 1000)).await, 1100, 1000);
    // What one makes room for, the other may take.
    let less = VolumeWrite { based_on: 1, pages: vec![(0, None)], ..VolumeWrite::default() };
    store.write_volume(one.id, less).await.unwrap();
    store.write_volume(two.id, pages(1, [4], 1000)).await.unwrap();
    assert_eq!(of(&*store, "alice").await, 1000);
    is_sound(&*store).await;
}

/// After a quota was lowered, or before there was one.
pub(crate) async fn beyond_the_quota_what_does_not_grow_is_taken<B: Backing>() {
    let backing = B::new().await;
    let store = backing.store();
    let program = program(&*store, 1).await;
    store.write_volume(program.id, pages(0, 0..10, u64::MAX)).await.unwrap();
    store.write_volume(program.id, pages(1, 0..10, 500)).await.unwrap();
    let swapped = VolumeWrite { pages: vec![(0, None), (20, Some(vec![3; 100]))], ..pages(2, [], 500) };
    store.write_volume(program.id, swapped).await.unwrap();
    is_refused(store.write_volume(program.id, pages(3, [30], 500)).await, 1100, 500);
    let fewer = VolumeWrite { pages: vec![(20, None)], ..pages(3, [], 500) };
    store.write_volume(program.id, fewer).await.unwrap();
    store.replace_volume(program.id, image(8, 500, false)).await.unwrap();
    is_refused(store.replace_volume(program.id, image(9, 500, false)).await, 900, 500);
    assert_eq!(of(&*store, "alice").await, 800);
    is_sound(&*store).await;
}

/// Small steps are written together with others, large ones by themselves.
pub(crate) async fn a_step_beyond_the_quota_stays_open<B: Backing>() {
    let backing = B::new().await;
    let store = backing.store();
    let held = held_at(&*store, 1, Stage::Execute).await;
    let (id, fence, program) = (held.task.id, held.task.fence, held.task.program);
    for many in [11, 2000] {
        let before = picture(&*store, program, id).await;
        let wanted = u64::from(many) * 100;
        is_refused(store.finish_step(id, fence, executed_with(pages(0, 0..many, 1000))).await, wanted, 1000);
        assert_eq!(picture(&*store, program, id).await, before);
    }
    let task = store.finish_step(id, fence, executed_with(pages(0, 0..5, 1000))).await.unwrap();
    assert_eq!((task.state, of(&*store, "alice").await), (TaskState::Proving, 500));

    let held = claim(&*store, Stage::Prove).await;
    store.finish_step(id, held.task.fence, proved()).await.unwrap();
    let held = claim(&*store, Stage::Deliver).await;
    let before = picture(&*store, program, id).await;
    is_refused(store.finish_step(id, held.task.fence, delivered_with(pages(1, 0..11, 1000))).await, 1100, 1000);
    assert_eq!(picture(&*store, program, id).await, before);
    let task = store.finish_step(id, held.task.fence, delivered_with(pages(1, 5..10, 1000))).await.unwrap();
    assert_eq!((task.state, of(&*store, "alice").await), (TaskState::Delivered, 1000));
    is_sound(&*store).await;
}

pub(crate) async fn an_image_beyond_the_quota_changes_nothing<B: Backing>() {
    let backing = B::new().await;
    let store = backing.store();
    let (one, two) = (program(&*store, 1).await, program(&*store, 2).await);
    store.write_volume(one.id, pages(0, 0..10, u64::MAX)).await.unwrap();
    store.write_volume(two.id, write(0, &[(0, b"two")])).await.unwrap();
    is_refused(store.replace_volume(one.id, image(600, 60_002, false)).await, 60_003, 60_002);
    let failed = store.replace_volume(one.id, image(600, u64::MAX, true)).await;
    assert!(matches!(failed, Err(StoreError::Content(_))), "{failed:?}");
    assert_eq!(volume(&*store, one.id, [0, 11]), (1, [Some(vec![1; 100]), None]));
    assert_eq!(
        (store.program(one.id).await.unwrap().unwrap().volume_size, of(&*store, "alice").await),
        (1 << 20, 1003)
    );
    is_sound(&*store).await;
    assert_eq!(store.replace_volume(one.id, image(600, 60_003, false)).await.unwrap(), 2);
    assert_eq!(of(&*store, "alice").await, 60_003);
    // Raw storage stays, and counts.
    let raw = VolumeWrite { based_on: 2, raw: Some(vec![0; 500].into()), ..VolumeWrite::default() };
    store.write_volume(one.id, raw).await.unwrap();
    is_refused(store.replace_volume(one.id, image(601, 60_602, false)).await, 60_603, 60_602);
    store.replace_volume(one.id, image(601, 60_603, false)).await.unwrap();
    blocking(|| assert_eq!(store.volume_snapshot(one.id).unwrap().raw().unwrap(), Some(vec![0; 500])));
    is_sound(&*store).await;
}

/// Both processes' views of a store, or one twice.
async fn both<B: Backing>(backing: &B) -> [Arc<dyn Store>; 2] {
    [backing.store(), backing.second().await.unwrap_or_else(|| backing.store())]
}

/// Writes one page after the other until it is told that there is no room, or that nothing more is wanted of it.
async fn fill(store: Arc<dyn Store>, program: ProgramId, quota: u64) -> u64 {
    for written in 0..100_u32 {
        match store.write_volume(program, pages(written.into(), [written], quota)).await {
            Ok(_) => {}
            Err(StoreError::VolumeQuota { .. }) => return written.into(),
            Err(other) => panic!("{other}"),
        }
    }
    panic!("the quota was never reached")
}

/// Programs of one owner that grow at once, in two processes, share one quota to the last byte.
pub(crate) async fn racing_writes_stop_at_the_quota<B: Backing>() {
    let backing = B::new().await;
    let stores = both(&backing).await;
    let mut filling = Vec::new();
    for nonce in 0..6 {
        let program = program(&*stores[0], nonce).await;
        filling.push(tokio::spawn(fill(stores[nonce as usize % 2].clone(), program.id, 5050)));
    }
    let mut written = 0;
    for one in filling {
        written += one.await.unwrap();
    }
    assert_eq!((written, of(&*stores[1], "alice").await), (50, 5000));
    is_sound(&*stores[1]).await;
}

/// A program that is deleted while it is written to takes along exactly what it has.
pub(crate) async fn deleting_while_it_grows_counts_right<B: Backing>() {
    let backing = B::new().await;
    let stores = both(&backing).await;
    let mut writing = Vec::new();
    let mut programs = Vec::new();
    for nonce in 0..4 {
        let (store, id) = (stores[0].clone(), program(&*stores[0], nonce).await.id);
        programs.push(id);
        writing.push(tokio::spawn(async move {
            for written in 0_u32.. {
                match store.write_volume(id, pages(written.into(), [written], u64::MAX)).await {
                    Ok(_) => {}
                    Err(StoreError::UnknownProgram(_)) => return,
                    Err(other) => panic!("{other}"),
                }
            }
        }));
    }
    for id in programs {
        while volume(&*stores[0], id, []).0 < 10 {
            tokio::task::yield_now().await;
        }
        assert_eq!(stores[1].delete_program(id).await.unwrap(), DeleteProgram::Deleted);
    }
    for one in writing {
        one.await.unwrap();
    }
    assert_eq!(of(&*stores[1], "alice").await, 0);
    is_sound(&*stores[1]).await;
}

/// As [`racing_writes_stop_at_the_quota`], where each write is a task's step: those of one statement share it too.
pub(crate) async fn racing_steps_stop_at_the_quota<B: Backing>() {
    const TASKS: usize = 40;
    let backing = B::new().await;
    let stores = both(&backing).await;
    for nonce in 0..TASKS as u64 {
        let program = program_of(&*stores[0], nonce, ["alice", "bob"][nonce as usize % 2]).await;
        admitted(stores[0].admit(new_task(&program), ROOM).await.unwrap());
    }
    let claims = stores[0].claim(Stage::Execute, "worker", HOUR, TASKS).await.unwrap();
    let ending: Vec<_> = claims
        .into_iter()
        .enumerate()
        .map(|(index, claim)| {
            let store = stores[index % 2].clone();
            tokio::spawn(async move {
                match store.finish_step(claim.task.id, claim.task.fence, executed_with(pages(0, 0..2, 2000))).await {
                    Ok(_) => true,
                    Err(StoreError::VolumeQuota { got: 2200, limit: 2000, .. }) => false,
                    Err(other) => panic!("{other}"),
                }
            })
        })
        .collect();
    let mut went_on = 0;
    for one in ending {
        went_on += usize::from(one.await.unwrap());
    }
    assert_eq!((went_on, of(&*stores[1], "alice").await, of(&*stores[0], "bob").await), (20, 2000, 2000));
    is_sound(&*stores[0]).await;
}
