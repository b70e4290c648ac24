//! Versions of a program's controller.

use super::{
    Backing,
    fixture::{self, HOUR, admitted, by, claim, failed, owner, program, task},
};
use bytes::Bytes;
use coprocessor_store::{ControllerVersion, KeyId, NewTask, Program, Retention, Setter, Stage, Store, StoreError};
use coprocessor_types::{BlobDigest, ProgramId};
use jiff::{SignedDuration, Timestamp};

async fn put(store: &dyn Store, number: usize) -> BlobDigest {
    store.put_blob(Bytes::from(format!("controller {number}"))).await.unwrap()
}

async fn set(store: &dyn Store, program: &Program, digest: BlobDigest, keep: u64) -> Program {
    store.set_controller(program.id, digest, by("alice"), keep).await.unwrap().unwrap()
}

async fn versions(store: &dyn Store, program: ProgramId) -> Vec<ControllerVersion> {
    let page = store.controller_versions(program, None, 1000).await.unwrap();
    assert_eq!(page.next, None);
    for version in &page.items {
        assert_eq!(store.controller_version(program, version.number).await.unwrap().as_ref(), Some(version));
        assert_eq!(store.blob(version.digest).await.unwrap().len() as u64, version.bytes);
    }
    page.items
}

async fn numbers(store: &dyn Store, program: ProgramId) -> Vec<u64> {
    versions(store, program).await.iter().map(|version| version.number).collect()
}

pub(crate) async fn versions_are_listed_with_who_set_them<B: Backing>() {
    let mut backing = B::new().await;
    let store = backing.store();
    let program = program(&*store, 1).await;
    let first = versions(&*store, program.id).await;
    let deployed = ControllerVersion {
        number: 1,
        digest: program.controller,
        bytes: 10,
        set_at: program.created_at,
        set_by: by("alice"),
        current: true,
    };
    assert_eq!(first, std::slice::from_ref(&deployed));

    let setter = Setter { owner: owner("bob"), key: Some(KeyId([7; 8])) };
    let second = put(&*store, 2).await;
    let changed = store.set_controller(program.id, second, setter.clone(), 32).await.unwrap().unwrap();
    drop(store);
    backing.reopen().await;
    let store = backing.store();
    let set = ControllerVersion {
        number: 2,
        digest: second,
        bytes: 12,
        set_at: changed.updated_at,
        set_by: setter,
        current: true,
    };
    assert_eq!(versions(&*store, program.id).await, [set, ControllerVersion { current: false, ..deployed }]);
    for unknown in [0, 3, u64::MAX] {
        assert_eq!(store.controller_version(program.id, unknown).await.unwrap(), None);
    }
    assert_eq!(versions(&*store, ProgramId([9; 32])).await, []);
    assert_eq!(store.controller_version(ProgramId([9; 32]), 1).await.unwrap(), None);
}

pub(crate) async fn a_controller_that_was_there_before_is_no_new_version<B: Backing>() {
    let backing = B::new().await;
    let store = backing.store();
    let program = program(&*store, 1).await;
    let second = put(&*store, 2).await;
    let changed = set(&*store, &program, second, 32).await;
    let before = versions(&*store, program.id).await;
    // The current one again is nothing at all, whoever asks.
    let same = store.set_controller(program.id, second, by("bob"), 32).await.unwrap().unwrap();
    assert_eq!((same, versions(&*store, program.id).await), (changed.clone(), before));

    let back = store.set_controller(program.id, program.controller, by("bob"), 32).await.unwrap().unwrap();
    assert_eq!(back.controller, program.controller);
    assert!(back.updated_at > changed.updated_at);
    let after = versions(&*store, program.id).await;
    assert_eq!(
        after.iter().map(|version| (version.number, version.current)).collect::<Vec<_>>(),
        [(2, false), (1, true)]
    );
    assert_eq!((&after[1].set_by, after[1].set_at), (&by("bob"), back.updated_at));
    assert_eq!((&after[0].set_by, after[0].set_at), (&by("alice"), changed.updated_at));
}

pub(crate) async fn pages_of_versions_go_on<B: Backing>() {
    let backing = B::new().await;
    let store = backing.store();
    let program = program(&*store, 1).await;
    for number in 2..=7 {
        let digest = put(&*store, number).await;
        set(&*store, &program, digest, 32).await;
    }
    let (mut listed, mut after) = (Vec::new(), None);
    loop {
        let page = store.controller_versions(program.id, after, 3).await.unwrap();
        assert!(page.items.len() <= 3);
        listed.extend(page.items);
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    assert_eq!(listed, versions(&*store, program.id).await);
    assert_eq!(listed.len(), 7);
    let tasks = store.programs(None, None, 0).await.unwrap().next;
    let of_programs = coprocessor_store::Cursor("p1".to_owned());
    for other in [tasks.unwrap_or(of_programs.clone()), of_programs] {
        let refused = store.controller_versions(program.id, Some(other), 3).await;
        assert!(matches!(refused, Err(StoreError::BadCursor)), "{refused:?}");
    }
}

pub(crate) async fn the_oldest_that_nobody_needs_are_dropped<B: Backing>() {
    let backing = B::new().await;
    let store = backing.store();
    let program = program(&*store, 1).await;
    // Version 1 is what a task waits for, 2 what one failed with, 3 what one was delivered to long ago.
    let waiting = task(&*store, &program).await;
    let digests = [put(&*store, 2).await, put(&*store, 3).await];
    let with = async |controller| {
        let new = NewTask { controller, priority: 1, ..fixture::new_task(&program) };
        let task = admitted(store.admit(new, fixture::ROOM).await.unwrap());
        let held = claim(&*store, Stage::Execute).await;
        assert_eq!(held.task.id, task.id);
        held.task
    };
    set(&*store, &program, digests[0], 32).await;
    let lost = with(digests[0]).await;
    store.finish_step(lost.id, lost.fence, failed(Stage::Execute, true)).await.unwrap();
    set(&*store, &program, digests[1], 32).await;
    let done = with(digests[1]).await;
    store.cancel(done.id).await.unwrap();
    for number in 4..=6 {
        let digest = put(&*store, number).await;
        set(&*store, &program, digest, 32).await;
    }
    assert_eq!(numbers(&*store, program.id).await, [6, 5, 4, 3, 2, 1]);

    // One above the bound goes with each that comes, and more where the bound is lower now.
    let digest = put(&*store, 7).await;
    set(&*store, &program, digest, 6).await;
    assert_eq!(numbers(&*store, program.id).await, [7, 6, 5, 4, 2, 1]);
    // What was current lately is younger than its number.
    let fourth = put(&*store, 4).await;
    set(&*store, &program, fourth, 6).await;
    let digest = put(&*store, 8).await;
    set(&*store, &program, digest, 4).await;
    assert_eq!(numbers(&*store, program.id).await, [8, 4, 2, 1]);
    // The current one stays whatever is asked for, and so do those that tasks need.
    let digest = put(&*store, 9).await;
    set(&*store, &program, digest, 0).await;
    assert_eq!(numbers(&*store, program.id).await, [9, 2, 1]);
    store.cancel(waiting.id).await.unwrap();
    let digest = put(&*store, 10).await;
    let last = set(&*store, &program, digest, 2).await;
    assert_eq!(numbers(&*store, program.id).await, [10, 2]);

    // What is no version any more goes, in an hour and with the next that is set.
    let digest = put(&*store, 11).await;
    set(&*store, &last, digest, 2).await;
    let retention = Retention {
        witnesses: None,
        proofs: None,
        recordings: None,
        tasks: None,
        deliveries: None,
        unnamed_blobs: HOUR,
    };
    let later = Timestamp::now() + SignedDuration::from_hours(2);
    while store.collect(&retention, later, 100).await.unwrap().more {}
    for number in [3, 5, 6, 7, 8, 9] {
        let gone = BlobDigest::of(format!("controller {number}").as_bytes());
        let got = store.blob(gone).await;
        assert!(matches!(got, Err(StoreError::BlobMissing(_))), "{number}: {got:?}");
    }
    assert_eq!(numbers(&*store, program.id).await, [11, 2]);
    assert_eq!(store.contradictions().await.unwrap(), Vec::<String>::new());
}

pub(crate) async fn a_version_that_was_dropped_is_a_new_one<B: Backing>() {
    let backing = B::new().await;
    let store = backing.store();
    let program = program(&*store, 1).await;
    for number in 2..=3 {
        let digest = put(&*store, number).await;
        set(&*store, &program, digest, 2).await;
    }
    assert_eq!(numbers(&*store, program.id).await, [3, 2]);
    set(&*store, &program, program.controller, 2).await;
    let listed = versions(&*store, program.id).await;
    assert_eq!(listed.iter().map(|version| version.number).collect::<Vec<_>>(), [4, 3]);
    assert_eq!(listed[0].digest, program.controller);
    // The highest number is not given again, even when it is gone.
    let second = put(&*store, 2).await;
    set(&*store, &program, second, 1).await;
    assert_eq!(numbers(&*store, program.id).await, [5]);
}

pub(crate) async fn racing_setters_number_each_version_once<B: Backing>() {
    let backing = B::new().await;
    let program = program(&*backing.store(), 1).await;
    let mut racers = Vec::new();
    for racer in 0..8 {
        let (store, id) = (backing.store(), program.id);
        racers.push(tokio::spawn(async move {
            for round in 0..4 {
                // Two set the same in each round.
                let digest = put(&*store, 10 * round + racer / 2).await;
                store.set_controller(id, digest, by("alice"), u64::MAX).await.unwrap().unwrap();
            }
        }));
    }
    for racer in racers {
        racer.await.unwrap();
    }
    let store = backing.store();
    let listed = versions(&*store, program.id).await;
    assert_eq!(listed.iter().map(|version| version.number).collect::<Vec<_>>(), (1..=17).rev().collect::<Vec<_>>());
    let current: Vec<_> = listed.iter().filter(|version| version.current).collect();
    assert_eq!(current.len(), 1);
    assert_eq!(current[0].digest, store.program(program.id).await.unwrap().unwrap().controller);
    assert_eq!(store.contradictions().await.unwrap(), Vec::<String>::new());
}

pub(crate) async fn versions_go_with_their_program<B: Backing>() {
    let backing = B::new().await;
    let store = backing.store();
    let (gone, kept) = (program(&*store, 1).await, program(&*store, 2).await);
    let second = put(&*store, 2).await;
    set(&*store, &gone, second, 32).await;
    store.delete_program(gone.id).await.unwrap();
    assert_eq!(versions(&*store, gone.id).await, []);
    assert_eq!(numbers(&*store, kept.id).await, [1]);
    // Deployed again it has one.
    let again = program(&*store, 1).await;
    assert_eq!(numbers(&*store, again.id).await, [1]);
    assert_eq!(store.contradictions().await.unwrap(), Vec::<String>::new());
}
