//! Admission.

use super::{
    Backing,
    fixture::{admitted, event_names, events, new_task, owner, program},
};
use coprocessor_store::{Admission, Idempotency, NewTask, StoreError, Task, TaskFilter, TaskState};
use coprocessor_types::{BlobDigest, ProgramId, TaskId};
use serde_json::json;

pub(crate) async fn an_admitted_task_is_queued_with_its_first_event<B: Backing>() {
    let mut backing = B::new().await;
    let store = backing.store();
    let new = new_task(&program(&*store, 1).await);
    let task = admitted(store.admit(new.clone()).await.unwrap());
    let expected = Task {
        id: new.id,
        program: new.program,
        owner: new.owner,
        controller: new.controller,
        circuit: new.circuit,
        kind: new.kind,
        root: new.root,
        args: new.args,
        payload: new.payload,
        state: TaskState::Queued,
        fence: 0,
        attempts: 0,
        created_at: task.created_at,
        updated_at: task.created_at,
        not_before: None,
        witness: None,
        proof: None,
        output: None,
        result: None,
        failure: None,
    };
    assert_eq!(task, expected);
    drop(store);
    backing.reopen().await;
    assert_eq!(backing.store().task(new.id).await.unwrap(), Some(expected));
    let events = events(&*backing.store(), new.id).await;
    assert_eq!(events.len(), 1);
    assert_eq!((events[0].kind.name.as_str(), &events[0].kind.detail), ("admitted", &json!({})));
    assert_eq!((events[0].state, events[0].at, events[0].task), (TaskState::Queued, task.created_at, task.id));
}

pub(crate) async fn an_unknown_program_or_blob_is_refused<B: Backing>() {
    let backing = B::new().await;
    let store = backing.store();
    let new = new_task(&program(&*store, 1).await);
    let unknown = ProgramId([1; 32]);
    let got = store.admit(NewTask { program: unknown, ..new.clone() }).await;
    assert!(matches!(got, Err(StoreError::UnknownProgram(id)) if id == unknown), "{got:?}");
    for incomplete in [
        NewTask { controller: BlobDigest([1; 32]), ..new.clone() },
        NewTask { circuit: BlobDigest([1; 32]), ..new.clone() },
    ] {
        let got = store.admit(incomplete).await;
        assert!(matches!(got, Err(StoreError::BlobMissing(_))), "{got:?}");
    }
    assert_eq!(store.task(new.id).await.unwrap(), None);
    assert_eq!(event_names(&*store, new.id).await, Vec::<String>::new());
    // An id that is taken is the caller's mistake, and the task that has it stays.
    let task = admitted(store.admit(new.clone()).await.unwrap());
    assert!(matches!(store.admit(NewTask { args: json!(0), ..new }).await, Err(StoreError::Database(_))));
    assert_eq!(store.task(task.id).await.unwrap(), Some(task));
}

fn keyed(new: NewTask, key: &str, request: u8) -> NewTask {
    let idempotency = Some(Idempotency { key: key.to_owned(), request: BlobDigest([request; 32]) });
    NewTask { id: TaskId::now(), idempotency, ..new }
}

pub(crate) async fn a_key_makes_a_repeated_request_the_same_task<B: Backing>() {
    let mut backing = B::new().await;
    let store = backing.store();
    let new = new_task(&program(&*store, 1).await);
    let task = admitted(store.admit(keyed(new.clone(), "key", 1)).await.unwrap());
    store.cancel(task.id).await.unwrap();
    drop(store);
    backing.reopen().await;
    let store = backing.store();
    let now = store.task(task.id).await.unwrap().unwrap();
    assert_eq!(store.admit(keyed(new.clone(), "key", 1)).await.unwrap(), Admission::Repeated(now));
    assert_eq!(store.admit(keyed(new.clone(), "key", 2)).await.unwrap(), Admission::KeyReused(task.id));
    assert!(matches!(store.admit(keyed(new, "other key", 1)).await.unwrap(), Admission::Admitted(_)));
    assert_eq!(store.tasks(TaskFilter::default(), None, 10).await.unwrap().items.len(), 2);
}

pub(crate) async fn keys_are_apart_by_owner_and_program<B: Backing>() {
    let backing = B::new().await;
    let store = backing.store();
    let (one, two) = (program(&*store, 1).await, program(&*store, 2).await);
    let bob = NewTask { owner: owner("bob"), ..new_task(&one) };
    for new in [new_task(&one), new_task(&two), bob] {
        assert!(matches!(store.admit(keyed(new, "key", 1)).await.unwrap(), Admission::Admitted(_)));
    }
}

pub(crate) async fn racing_requests_with_one_key_make_one_task<B: Backing>() {
    let backing = B::new().await;
    let new = new_task(&program(&*backing.store(), 1).await);
    let racers: Vec<_> = (0..32)
        .map(|_| {
            let (store, new) = (backing.store(), keyed(new.clone(), "key", 1));
            tokio::spawn(async move { store.admit(new).await.unwrap() })
        })
        .collect();
    let (mut tasks, mut winners) = (Vec::new(), 0);
    for racer in racers {
        match racer.await.unwrap() {
            Admission::Admitted(task) => {
                winners += 1;
                tasks.push(task.id);
            }
            Admission::Repeated(task) => tasks.push(task.id),
            Admission::KeyReused(task) => panic!("the same request was taken for another than that of {task}"),
        }
    }
    tasks.dedup();
    assert_eq!((winners, tasks.len()), (1, 1));
}

pub(crate) async fn many_at_once_are_all_kept<B: Backing>() {
    let mut backing = B::new().await;
    let program = program(&*backing.store(), 1).await;
    let admissions: Vec<_> = (0..64)
        .map(|_| {
            let (store, new) = (backing.store(), new_task(&program));
            tokio::spawn(async move { admitted(store.admit(new).await.unwrap()) })
        })
        .collect();
    let mut tasks = Vec::new();
    for admission in admissions {
        tasks.push(admission.await.unwrap());
    }
    backing.reopen().await;
    for task in tasks {
        assert_eq!(backing.store().task(task.id).await.unwrap(), Some(task));
    }
}
