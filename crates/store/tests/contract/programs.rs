//! Programs.

use super::{
    Backing,
    fixture::{self, by, claim, event_names, executed, new_program, new_task, owner, program, task, write},
};
use bytes::Bytes;
use coprocessor_store::{
    Admission, DeleteProgram, Idempotency, InsertProgram, NewProgram, Stage, Store, StoreError, TaskFilter,
};
use coprocessor_types::{Backend, BlobDigest, OwnerId, ProgramId};

pub(crate) async fn a_program_reads_back<B: Backing>() {
    let mut backing = B::new().await;
    let store = backing.store();
    let key = store.put_blob(Bytes::from_static(b"verifying key")).await.unwrap();
    let new = NewProgram {
        nonce: u64::MAX,
        volume_size: u64::MAX,
        verifying_key: Some(key),
        backend: Backend::Groth16,
        name: "naïve \0 \"name\"".to_owned(),
        ..new_program(&*store, 1).await
    };
    let InsertProgram::Inserted(inserted) = store.insert_program(new.clone(), u64::MAX).await.unwrap() else {
        panic!("it is new");
    };
    assert_eq!(inserted.created_at, inserted.updated_at);
    drop(store);
    backing.reopen().await;
    let found = backing.store().program(new.id).await.unwrap().unwrap();
    assert_eq!(found, inserted);
    let back = NewProgram {
        id: found.id,
        owner: found.owner,
        key: None,
        name: found.name,
        public: found.public,
        backend: found.backend,
        controller: found.controller,
        circuit: found.circuit,
        verifying_key: found.verifying_key,
        nonce: found.nonce,
        volume_size: found.volume_size,
    };
    assert_eq!(back, new);
    assert_eq!(backing.store().program(ProgramId([0; 32])).await.unwrap(), None);
}

pub(crate) async fn inserting_again_changes_nothing<B: Backing>() {
    let backing = B::new().await;
    let store = backing.store();
    let first = program(&*store, 1).await;
    let other = NewProgram { name: "other".to_owned(), owner: owner("bob"), ..new_program(&*store, 1).await };
    assert_eq!(store.insert_program(other, u64::MAX).await.unwrap(), InsertProgram::Exists(first.clone()));
    assert_eq!(store.program(first.id).await.unwrap(), Some(first));
}

pub(crate) async fn a_program_needs_its_blobs<B: Backing>() {
    let backing = B::new().await;
    let store = backing.store();
    let missing = BlobDigest([1; 32]);
    let new = new_program(&*store, 1).await;
    for incomplete in [
        NewProgram { controller: missing, ..new.clone() },
        NewProgram { circuit: missing, ..new.clone() },
        NewProgram { verifying_key: Some(missing), ..new.clone() },
    ] {
        let got = store.insert_program(incomplete, u64::MAX).await;
        assert!(matches!(got, Err(StoreError::BlobMissing(digest)) if digest == missing), "{got:?}");
    }
    assert_eq!(store.program(new.id).await.unwrap(), None);
}

pub(crate) async fn the_controller_can_be_replaced_and_tasks_keep_theirs<B: Backing>() {
    let backing = B::new().await;
    let store = backing.store();
    let program = program(&*store, 1).await;
    let old = task(&*store, &program).await;
    let controller = store.put_blob(Bytes::from_static(b"better controller")).await.unwrap();

    let replaced = store.set_controller(program.id, controller, by("alice"), 32).await.unwrap().unwrap();
    assert_eq!((replaced.controller, replaced.created_at), (controller, program.created_at));
    assert!(replaced.updated_at > program.updated_at);
    assert_eq!(store.program(program.id).await.unwrap(), Some(replaced));
    assert_eq!(store.task(old.id).await.unwrap().unwrap().controller, program.controller);

    let missing = BlobDigest([1; 32]);
    assert_eq!(store.set_controller(ProgramId([9; 32]), missing, by("alice"), 32).await.unwrap(), None);
    let got = store.set_controller(program.id, missing, by("alice"), 32).await;
    assert!(matches!(got, Err(StoreError::BlobMissing(_))), "{got:?}");
    assert_eq!(store.program(program.id).await.unwrap().unwrap().controller, controller);
}

pub(crate) async fn a_verifying_key_is_recorded_once<B: Backing>() {
    let backing = B::new().await;
    let store = backing.store();
    let program = program(&*store, 1).await;
    let (first, second) = (Bytes::from_static(b"first key"), Bytes::from_static(b"second key"));
    let (first, second) = (store.put_blob(first).await.unwrap(), store.put_blob(second).await.unwrap());

    let got = store.set_verifying_key(program.id, BlobDigest([1; 32])).await;
    assert!(matches!(got, Err(StoreError::BlobMissing(_))), "{got:?}");
    assert_eq!(store.program(program.id).await.unwrap().unwrap().verifying_key, None);
    for key in [first, second] {
        let now = store.set_verifying_key(program.id, key).await.unwrap().unwrap();
        assert_eq!(now.verifying_key, Some(first));
        assert_eq!(store.program(program.id).await.unwrap(), Some(now));
    }
    assert_eq!(store.set_verifying_key(ProgramId([9; 32]), first).await.unwrap(), None);
}

pub(crate) async fn deleting_takes_everything_and_waits_for_tasks<B: Backing>() {
    let backing = B::new().await;
    let store = backing.store();
    let (gone, kept) = (program(&*store, 1).await, program(&*store, 2).await);
    let kept_task = task(&*store, &kept).await;
    let idempotency = Idempotency { key: "key".to_owned(), request: BlobDigest([5; 32]) };
    let keyed = coprocessor_store::NewTask { idempotency: Some(idempotency), ..new_task(&gone) };
    let gone_task = fixture::admitted(store.admit(keyed.clone(), fixture::ROOM).await.unwrap());
    store.write_volume(gone.id, write(0, &[(0, b"gone")])).await.unwrap();
    store.write_volume(kept.id, write(0, &[(0, b"kept")])).await.unwrap();
    let last_event = fixture::events(&*store, gone_task.id).await.last().unwrap().seq;

    assert_eq!(store.delete_program(gone.id).await.unwrap(), DeleteProgram::Busy { unfinished: 1 });
    assert_eq!(store.program(gone.id).await.unwrap(), Some(gone.clone()));
    store.cancel(gone_task.id).await.unwrap();
    assert_eq!(store.delete_program(gone.id).await.unwrap(), DeleteProgram::Deleted);
    assert_eq!(store.delete_program(gone.id).await.unwrap(), DeleteProgram::Unknown);

    assert_eq!(store.program(gone.id).await.unwrap(), None);
    assert_eq!(store.task(gone_task.id).await.unwrap(), None);
    assert_eq!(event_names(&*store, gone_task.id).await, Vec::<String>::new());
    assert!(fixture::volume_is_unknown(&*store, gone.id));
    assert!(matches!(store.admit(new_task(&gone), fixture::ROOM).await, Err(StoreError::UnknownProgram(_))));

    // Deployed again it begins anew, and its events' numbers go on.
    let again = program(&*store, 1).await;
    assert_eq!(fixture::volume(&*store, again.id, [0]), (0, [None]));
    let admission =
        store.admit(coprocessor_store::NewTask { id: coprocessor_types::TaskId::now(), ..keyed }, fixture::ROOM).await;
    let Admission::Admitted(again_task) = admission.unwrap() else { panic!("its key went with the program") };
    assert!(fixture::events(&*store, again_task.id).await[0].seq > last_event);

    assert_eq!(store.task(kept_task.id).await.unwrap(), Some(kept_task.clone()));
    assert_eq!(fixture::volume(&*store, kept.id, [0]), (1, [Some(b"kept".to_vec())]));
    let held = claim(&*store, Stage::Execute).await;
    assert_eq!(held.task.id, kept_task.id);
    store.finish_step(held.task.id, held.task.fence, executed()).await.unwrap();
    assert_eq!(store.tasks(TaskFilter::default(), None, 10).await.unwrap().items.len(), 2);
}

pub(crate) async fn programs_are_listed_newest_first<B: Backing>() {
    let backing = B::new().await;
    let store = backing.store();
    let mut all = Vec::new();
    for nonce in 0..7 {
        all.insert(0, program(&*store, nonce).await);
    }
    let (mut listed, mut after) = (Vec::new(), None);
    loop {
        let page = store.programs(None, after, 3).await.unwrap();
        assert!(page.items.len() <= 3);
        listed.extend(page.items);
        // Newer ones don't disturb who reads on.
        program(&*store, 100 + listed.len() as u64).await;
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    assert_eq!(listed, all);
}

async fn all_programs(store: &dyn Store, reader: Option<OwnerId>, limit: usize) -> Vec<ProgramId> {
    let (mut listed, mut after) = (Vec::new(), None);
    loop {
        let page = store.programs(reader.clone(), after, limit).await.unwrap();
        assert!(page.items.len() <= limit);
        listed.extend(page.items.into_iter().map(|program| program.id));
        match page.next {
            Some(next) => after = Some(next),
            None => return listed,
        }
    }
}

pub(crate) async fn a_reader_lists_its_own_programs_and_public_ones<B: Backing>() {
    let backing = B::new().await;
    let store = backing.store();
    let mut programs = Vec::new();
    for nonce in 0..12 {
        let (name, public) = (["alice", "bob", "carol"][nonce % 3], nonce / 3 % 2 == 0);
        let new = NewProgram { owner: owner(name), public, ..new_program(&*store, nonce as u64).await };
        assert!(matches!(store.insert_program(new.clone(), u64::MAX).await.unwrap(), InsertProgram::Inserted(_)));
        programs.insert(0, new);
    }
    for reader in [None, Some("alice"), Some("bob"), Some("nobody")] {
        let reader = reader.map(owner);
        let visible = |new: &&NewProgram| new.public || reader.as_ref().is_none_or(|reader| *reader == new.owner);
        let expected: Vec<_> = programs.iter().filter(visible).map(|new| new.id).collect();
        for limit in [1, 4, 100] {
            assert_eq!(all_programs(&*store, reader.clone(), limit).await, expected, "{reader:?}");
        }
    }
}

pub(crate) async fn an_owner_has_no_more_programs_than_its_quota<B: Backing>() {
    let backing = B::new().await;
    let store = backing.store();
    let new = async |nonce, name: &str| NewProgram { owner: owner(name), ..new_program(&*store, nonce).await };
    let insert = async |nonce, name: &str, quota| store.insert_program(new(nonce, name).await, quota).await.unwrap();

    assert_eq!(insert(1, "alice", 0).await, InsertProgram::QuotaFull);
    let InsertProgram::Inserted(first) = insert(1, "alice", 2).await else { panic!("there is room") };
    assert!(matches!(insert(2, "alice", 2).await, InsertProgram::Inserted(_)));
    for quota in [0, 1, 2] {
        assert_eq!(insert(3, "alice", quota).await, InsertProgram::QuotaFull);
    }
    let refused = new(3, "alice").await.id;
    assert_eq!(store.program(refused).await.unwrap(), None);
    assert!(fixture::volume_is_unknown(&*store, refused));
    // What is there already is told all the same, and others have a quota of their own.
    assert_eq!(insert(1, "alice", 2).await, InsertProgram::Exists(first.clone()));
    assert!(matches!(insert(3, "bob", 1).await, InsertProgram::Inserted(_)));
    assert_eq!(store.delete_program(first.id).await.unwrap(), DeleteProgram::Deleted);
    assert!(matches!(insert(4, "alice", 2).await, InsertProgram::Inserted(_)));
    assert_eq!(insert(5, "alice", 2).await, InsertProgram::QuotaFull);
}

pub(crate) async fn racing_deployments_stop_at_the_quota<B: Backing>() {
    let backing = B::new().await;
    let mut racers = Vec::new();
    for nonce in 0..16 {
        let (store, new) = (backing.store(), new_program(&*backing.store(), nonce).await);
        racers.push(tokio::spawn(async move { store.insert_program(new, 3).await.unwrap() }));
    }
    let mut inserted = 0;
    for racer in racers {
        match racer.await.unwrap() {
            InsertProgram::Inserted(_) => inserted += 1,
            other => assert_eq!(other, InsertProgram::QuotaFull),
        }
    }
    assert_eq!((inserted, all_programs(&*backing.store(), None, 100).await.len()), (3, 3));
}
