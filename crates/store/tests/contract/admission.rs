//! Admission.

use super::{
    Backing,
    fixture::{ROOM, admitted, claim, event_names, events, failed, held_at, in_an_hour, new_task, owner, program},
};
use coprocessor_store::{
    Admission, Backlog, Idempotency, MAX_PRIORITY, NewTask, Stage, Store, StoreError, Task, TaskCounts, TaskFilter,
    TaskState,
};
use coprocessor_types::{BlobDigest, ProgramId, TaskId};
use serde_json::json;

pub(crate) async fn an_admitted_task_is_queued_with_its_first_event<B: Backing>() {
    let mut backing = B::new().await;
    let store = backing.store();
    let new = new_task(&program(&*store, 1).await);
    let task = admitted(store.admit(new.clone(), ROOM).await.unwrap());
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
        record: new.record,
        state: TaskState::Queued,
        fence: 0,
        attempts: 0,
        priority: new.priority,
        deadline: new.deadline,
        node: None,
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
    let got = store.admit(NewTask { program: unknown, ..new.clone() }, ROOM).await;
    assert!(matches!(got, Err(StoreError::UnknownProgram(id)) if id == unknown), "{got:?}");
    for incomplete in [
        NewTask { controller: BlobDigest([1; 32]), ..new.clone() },
        NewTask { circuit: BlobDigest([1; 32]), ..new.clone() },
    ] {
        let got = store.admit(incomplete, ROOM).await;
        assert!(matches!(got, Err(StoreError::BlobMissing(_))), "{got:?}");
    }
    assert_eq!(store.task(new.id).await.unwrap(), None);
    assert_eq!(event_names(&*store, new.id).await, Vec::<String>::new());
    // An id that is taken is the caller's mistake, and the task that has it stays.
    let task = admitted(store.admit(new.clone(), ROOM).await.unwrap());
    assert!(matches!(store.admit(NewTask { args: json!(0), ..new }, ROOM).await, Err(StoreError::Database(_))));
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
    let task = admitted(store.admit(keyed(new.clone(), "key", 1), ROOM).await.unwrap());
    store.cancel(task.id).await.unwrap();
    drop(store);
    backing.reopen().await;
    let store = backing.store();
    let now = store.task(task.id).await.unwrap().unwrap();
    assert_eq!(store.admit(keyed(new.clone(), "key", 1), ROOM).await.unwrap(), Admission::Repeated(now));
    assert_eq!(store.admit(keyed(new.clone(), "key", 2), ROOM).await.unwrap(), Admission::KeyReused(task.id));
    assert!(matches!(store.admit(keyed(new, "other key", 1), ROOM).await.unwrap(), Admission::Admitted(_)));
    assert_eq!(store.tasks(TaskFilter::default(), None, 10).await.unwrap().items.len(), 2);
}

pub(crate) async fn keys_are_apart_by_owner_and_program<B: Backing>() {
    let backing = B::new().await;
    let store = backing.store();
    let (one, two) = (program(&*store, 1).await, program(&*store, 2).await);
    let bob = NewTask { owner: owner("bob"), ..new_task(&one) };
    for new in [new_task(&one), new_task(&two), bob] {
        assert!(matches!(store.admit(keyed(new, "key", 1), ROOM).await.unwrap(), Admission::Admitted(_)));
    }
}

pub(crate) async fn racing_requests_with_one_key_make_one_task<B: Backing>() {
    let backing = B::new().await;
    let new = new_task(&program(&*backing.store(), 1).await);
    let racers: Vec<_> = (0..32)
        .map(|_| {
            let (store, new) = (backing.store(), keyed(new.clone(), "key", 1));
            tokio::spawn(async move { store.admit(new, ROOM).await.unwrap() })
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
            other => panic!("the same request is neither new nor repeated but {other:?}"),
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
            tokio::spawn(async move { admitted(store.admit(new, ROOM).await.unwrap()) })
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

/// Requests that come at the same moment are each answered as they would be alone.
pub(crate) async fn those_that_come_at_once_are_each_their_own<B: Backing>() {
    const EACH: usize = 8;
    let backing = B::new().await;
    let store = backing.store();
    let known = program(&*store, 1).await;
    let keyed = |key: &str, request: u8| Some(Idempotency { key: key.to_owned(), request: BlobDigest([request; 32]) });
    let first =
        admitted(store.admit(NewTask { idempotency: keyed("old", 1), ..new_task(&known) }, ROOM).await.unwrap());
    let mut coming = tokio::task::JoinSet::new();
    for number in 0..EACH {
        for kind in 0..6 {
            let (store, plain) = (backing.store(), new_task(&known));
            let (new, backlog) = match kind {
                0 => (NewTask { args: json!(number), ..plain }, ROOM),
                1 => (NewTask { idempotency: keyed(&format!("new {number}"), 1), ..plain }, ROOM),
                2 => (NewTask { idempotency: keyed("old", 1), ..plain }, ROOM),
                3 => (NewTask { idempotency: keyed("old", 2), ..plain }, ROOM),
                4 => (NewTask { program: ProgramId([9; 32]), ..plain }, ROOM),
                _ => (NewTask { owner: owner("bob"), ..plain }, Backlog { owner: 2, ..ROOM }),
            };
            coming.spawn(async move { (kind, new.clone(), store.admit(new, backlog).await) });
        }
    }
    let mut of_bob = 0;
    while let Some(answered) = coming.join_next().await {
        let (kind, new, answer) = answered.unwrap();
        match (kind, answer) {
            (0 | 1, Ok(Admission::Admitted(task))) => {
                assert_eq!((task.id, &task.args), (new.id, &new.args));
                assert_eq!(store.task(new.id).await.unwrap(), Some(task));
                assert_eq!(event_names(&*store, new.id).await, ["admitted"]);
            }
            (2, Ok(Admission::Repeated(task))) => assert_eq!(task.id, first.id),
            (3, Ok(Admission::KeyReused(task))) => assert_eq!(task, first.id),
            (4, Err(StoreError::UnknownProgram(program))) => assert_eq!(program, new.program),
            (5, Ok(Admission::Admitted(_))) => of_bob += 1,
            (5, Ok(Admission::OwnerBacklogFull)) => assert_eq!(store.task(new.id).await.unwrap(), None),
            (kind, answer) => panic!("kind {kind}: {answer:?}"),
        }
    }
    assert_eq!(of_bob, 2);
    assert_eq!(store.contradictions().await.unwrap(), Vec::<String>::new());
}

/// What a refused request must leave as it was.
async fn standing(store: &dyn Store) -> (TaskCounts, u64, Vec<TaskId>) {
    let listed = store.tasks(TaskFilter::default(), None, usize::MAX).await.unwrap().items;
    let ids = listed.into_iter().map(|task| task.id).collect();
    (store.task_counts().await.unwrap(), store.last_event().await.unwrap(), ids)
}

pub(crate) async fn the_backlog_is_bounded_exactly<B: Backing>() {
    let backing = B::new().await;
    let store = backing.store();
    let program = program(&*store, 1).await;
    let of = |name: &str| NewTask { owner: owner(name), ..new_task(&program) };
    assert_eq!(store.admit(of("alice"), Backlog { total: 0, ..ROOM }).await.unwrap(), Admission::BacklogFull);
    assert_eq!(store.admit(of("alice"), Backlog { owner: 0, ..ROOM }).await.unwrap(), Admission::OwnerBacklogFull);

    // Three tasks in three states, none of them finished; a fourth that is.
    let held = held_at(&*store, 2, Stage::Prove).await;
    let two = [of("alice"), of("bob")];
    for new in two {
        admitted(store.admit(new, ROOM).await.unwrap());
    }
    store.cancel(admitted(store.admit(of("alice"), ROOM).await.unwrap()).id).await.unwrap();
    claim(&*store, Stage::Execute).await;

    let before = standing(&*store).await;
    let refused = keyed(of("alice"), "key", 1);
    for bounds in [Backlog { total: 3, ..ROOM }, Backlog { total: 2, ..ROOM }] {
        assert_eq!(store.admit(refused.clone(), bounds).await.unwrap(), Admission::BacklogFull);
        assert_eq!(store.admit(of("carol"), bounds).await.unwrap(), Admission::BacklogFull);
    }
    for bounds in [Backlog { owner: 2, ..ROOM }, Backlog { owner: 1, ..ROOM }] {
        assert_eq!(store.admit(refused.clone(), bounds).await.unwrap(), Admission::OwnerBacklogFull);
    }
    assert_eq!(standing(&*store).await, before);
    assert_eq!(store.task(refused.id).await.unwrap(), None);
    assert_eq!(event_names(&*store, refused.id).await, Vec::<String>::new());
    // The refused request has not used its key up, and there is room for one more where the bound is one higher.
    let other = keyed(of("alice"), "key", 2);
    admitted(store.admit(other, Backlog { total: 4, owner: 3 }).await.unwrap());
    admitted(store.admit(of("bob"), Backlog { owner: 2, ..ROOM }).await.unwrap());
    // Whatever finishes makes room.
    let full = Backlog { total: 5, owner: 3 };
    assert!(!matches!(store.admit(of("alice"), full).await.unwrap(), Admission::Admitted(_)));
    store.finish_step(held.task.id, held.task.fence, failed(Stage::Prove, true)).await.unwrap();
    admitted(store.admit(of("alice"), full).await.unwrap());
    assert!(!matches!(store.admit(of("alice"), full).await.unwrap(), Admission::Admitted(_)));
}

pub(crate) async fn a_repeated_request_passes_a_full_backlog<B: Backing>() {
    let backing = B::new().await;
    let store = backing.store();
    let program = program(&*store, 1).await;
    let first = admitted(store.admit(keyed(new_task(&program), "key", 1), ROOM).await.unwrap());
    for full in [Backlog { total: 1, ..ROOM }, Backlog { owner: 1, ..ROOM }, Backlog { total: 0, owner: 0 }] {
        let again = store.admit(keyed(new_task(&program), "key", 1), full).await.unwrap();
        assert_eq!(again, Admission::Repeated(first.clone()));
        let other = store.admit(keyed(new_task(&program), "key", 2), full).await.unwrap();
        assert_eq!(other, Admission::KeyReused(first.id));
    }
}

pub(crate) async fn racing_requests_stop_at_the_bound<B: Backing>() {
    let backing = B::new().await;
    let program = program(&*backing.store(), 1).await;
    for (backlog, bound) in [(Backlog { owner: 3, ..ROOM }, 3), (Backlog { total: 7, ..ROOM }, 7)] {
        let racers: Vec<_> = (0..24)
            .map(|_| {
                let (store, new) = (backing.store(), new_task(&program));
                tokio::spawn(async move { store.admit(new, backlog).await.unwrap() })
            })
            .collect();
        for racer in racers {
            racer.await.unwrap();
        }
        let listed = backing.store().tasks(TaskFilter::default(), None, usize::MAX).await.unwrap().items;
        assert_eq!(listed.len(), bound);
    }
}

pub(crate) async fn priority_and_deadline_read_back<B: Backing>() {
    let mut backing = B::new().await;
    let program = program(&*backing.store(), 1).await;
    let mut tasks = Vec::new();
    for (priority, deadline) in [(MAX_PRIORITY, None), (-MAX_PRIORITY, Some(in_an_hour())), (1, Some(in_an_hour()))] {
        let new = NewTask { priority, deadline, ..new_task(&program) };
        let task = admitted(backing.store().admit(new, ROOM).await.unwrap());
        assert_eq!((task.priority, task.deadline), (priority, deadline));
        tasks.push(task);
    }
    backing.reopen().await;
    for task in tasks {
        assert_eq!(backing.store().task(task.id).await.unwrap(), Some(task));
    }
}
