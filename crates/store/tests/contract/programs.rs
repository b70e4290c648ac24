//! Programs.

use super::{
    Backing,
    fixture::{self, claim, event_names, executed, new_program, new_task, owner, program, task, write},
};
use bytes::Bytes;
use coprocessor_store::{
    Admission, DeleteProgram, Idempotency, InsertProgram, NewProgram, Stage, StoreError, TaskFilter,
};
use coprocessor_types::{Backend, BlobDigest, ProgramId};

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
    let InsertProgram::Inserted(inserted) = store.insert_program(new.clone()).await.unwrap() else {
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
        name: found.name,
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
    assert_eq!(store.insert_program(other).await.unwrap(), InsertProgram::Exists(first.clone()));
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
        let got = store.insert_program(incomplete).await;
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

    let replaced = store.set_controller(program.id, controller).await.unwrap().unwrap();
    assert_eq!((replaced.controller, replaced.created_at), (controller, program.created_at));
    assert!(replaced.updated_at > program.updated_at);
    assert_eq!(store.program(program.id).await.unwrap(), Some(replaced));
    assert_eq!(store.task(old.id).await.unwrap().unwrap().controller, program.controller);

    let missing = BlobDigest([1; 32]);
    assert_eq!(store.set_controller(ProgramId([9; 32]), missing).await.unwrap(), None);
    let got = store.set_controller(program.id, missing).await;
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
    let gone_task = fixture::admitted(store.admit(keyed.clone()).await.unwrap());
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
    assert!(matches!(store.volume_snapshot(gone.id).map(drop), Err(StoreError::UnknownProgram(_))));
    assert!(matches!(store.admit(new_task(&gone)).await, Err(StoreError::UnknownProgram(_))));

    // Deployed again it begins anew, and its events' numbers go on.
    let again = program(&*store, 1).await;
    assert_eq!(store.volume_snapshot(again.id).unwrap().version(), 0);
    assert_eq!(store.volume_snapshot(again.id).unwrap().read_page(0).unwrap(), None);
    let admission = store.admit(coprocessor_store::NewTask { id: coprocessor_types::TaskId::now(), ..keyed }).await;
    let Admission::Admitted(again_task) = admission.unwrap() else { panic!("its key went with the program") };
    assert!(fixture::events(&*store, again_task.id).await[0].seq > last_event);

    assert_eq!(store.task(kept_task.id).await.unwrap(), Some(kept_task.clone()));
    assert_eq!(store.volume_snapshot(kept.id).unwrap().read_page(0).unwrap().unwrap(), b"kept");
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
        let page = store.programs(after, 3).await.unwrap();
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
