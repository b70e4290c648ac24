//! Lists, events and counts.

use super::{
    Backing,
    fixture::{ROOM, claim, events, executed, new_task, owner, program, task},
};
use coprocessor_store::{Cursor, NewTask, Stage, StoreError, Task, TaskCounts, TaskFilter, TaskState};
use coprocessor_types::{ProgramId, TaskId};

async fn all(store: &dyn coprocessor_store::Store, filter: TaskFilter, limit: usize) -> Vec<Task> {
    let (mut listed, mut after) = (Vec::new(), None);
    loop {
        let page = store.tasks(filter.clone(), after, limit).await.unwrap();
        assert!(page.items.len() <= limit);
        listed.extend(page.items);
        match page.next {
            Some(next) => after = Some(next),
            None => return listed,
        }
    }
}

pub(crate) async fn tasks_are_filtered_and_newest_first<B: Backing>() {
    let backing = B::new().await;
    let store = backing.store();
    let programs = [program(&*store, 1).await, program(&*store, 2).await];
    let owners = [owner("alice"), owner("bob")];
    let mut tasks = Vec::new();
    for index in 0..12 {
        let new = NewTask { owner: owners[index % 2].clone(), ..new_task(&programs[index / 2 % 2]) };
        let id = new.id;
        store.admit(new, ROOM).await.unwrap();
        if index % 3 == 0 {
            store.cancel(id).await.unwrap();
        }
        tasks.insert(0, store.task(id).await.unwrap().unwrap());
    }
    let some_program = [None, Some(programs[0].id), Some(programs[1].id), Some(ProgramId([0; 32]))];
    let some_owner = [None, Some(owners[0].clone()), Some(owner("nobody"))];
    let some_state = [None, Some(TaskState::Queued), Some(TaskState::Cancelled), Some(TaskState::Failed)];
    for program in some_program {
        for owner in &some_owner {
            for state in some_state {
                let filter = TaskFilter { program, owner: owner.clone(), state };
                let wanted = |task: &&Task| {
                    program.is_none_or(|program| program == task.program)
                        && owner.as_ref().is_none_or(|owner| *owner == task.owner)
                        && state.is_none_or(|state| state == task.state)
                };
                let expected: Vec<Task> = tasks.iter().filter(wanted).cloned().collect();
                for limit in [1, 5, 100] {
                    assert_eq!(all(&*store, filter.clone(), limit).await, expected, "{filter:?}");
                }
            }
        }
    }
    let none = store.tasks(TaskFilter::default(), None, 0).await.unwrap();
    assert_eq!(none.items, []);
}

pub(crate) async fn pages_hold_while_tasks_are_admitted<B: Backing>() {
    let backing = B::new().await;
    let store = backing.store();
    let program = program(&*store, 1).await;
    let mut before = Vec::new();
    for _ in 0..10 {
        before.insert(0, task(&*store, &program).await.id);
    }
    let (mut listed, mut after) = (Vec::new(), None);
    loop {
        let page = store.tasks(TaskFilter::default(), after, 3).await.unwrap();
        listed.extend(page.items.iter().map(|task| task.id));
        task(&*store, &program).await;
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    assert_eq!(listed, before);
}

/// Cursors that no store made.
pub(crate) fn strange_cursors() -> impl Iterator<Item = Cursor> {
    ["", "0", "t", "p", "' OR 1=1", "ÿ"].into_iter().map(|text| Cursor(text.to_owned()))
}

pub(crate) async fn cursors_of_others_are_refused<B: Backing>() {
    let backing = B::new().await;
    let store = backing.store();
    for nonce in 0..2 {
        task(&*store, &program(&*store, nonce).await).await;
    }
    let of_tasks = store.tasks(TaskFilter::default(), None, 1).await.unwrap().next.unwrap();
    let of_programs = store.programs(None, None, 1).await.unwrap().next.unwrap();
    for cursor in strange_cursors().chain([of_programs]) {
        let got = store.tasks(TaskFilter::default(), Some(cursor.clone()), 1).await;
        assert!(matches!(got, Err(StoreError::BadCursor)), "{cursor:?}");
    }
    for cursor in strange_cursors().chain([of_tasks]) {
        let got = store.programs(None, Some(cursor.clone()), 1).await;
        assert!(matches!(got, Err(StoreError::BadCursor)), "{cursor:?}");
    }
}

pub(crate) async fn events_are_read_on_from_a_number<B: Backing>() {
    let backing = B::new().await;
    let store = backing.store();
    let program = program(&*store, 1).await;
    let (one, other) = (task(&*store, &program).await, task(&*store, &program).await);
    store.cancel(other.id).await.unwrap();
    let held = claim(&*store, Stage::Execute).await;
    store.finish_step(one.id, held.task.fence, executed()).await.unwrap();

    let events = events(&*store, one.id).await;
    let names: Vec<_> = events.iter().map(|event| (event.kind.name.as_str(), event.state)).collect();
    let expected =
        [("admitted", TaskState::Queued), ("claimed", TaskState::Executing), ("executed", TaskState::Proving)];
    assert_eq!(names, expected);
    assert!(events.iter().all(|event| event.task == one.id));
    assert!(events.is_sorted_by(|one, next| one.seq < next.seq && one.at <= next.at));
    assert_eq!(store.events(one.id, events[0].seq, 1).await.unwrap(), events[1..2]);
    assert_eq!(store.events(one.id, events[1].seq, 10).await.unwrap(), events[2..]);
    assert_eq!(store.events(one.id, u64::MAX, 10).await.unwrap(), []);
    assert_eq!(store.events(TaskId::now(), 0, 10).await.unwrap(), []);
}

pub(crate) async fn counts_follow_every_change<B: Backing>() {
    let mut backing = B::new().await;
    let store = backing.store();
    let program = program(&*store, 1).await;
    let zero = TaskCounts(TaskState::ALL.map(|state| (state, 0)).to_vec());
    assert_eq!(store.task_counts().await.unwrap(), zero);
    for _ in 0..4 {
        task(&*store, &program).await;
    }
    let held = claim(&*store, Stage::Execute).await;
    store.finish_step(held.task.id, held.task.fence, executed()).await.unwrap();
    let held = claim(&*store, Stage::Execute).await;
    store.cancel(held.task.id).await.unwrap();
    drop(store);
    backing.reopen().await;
    let counts = backing.store().task_counts().await.unwrap();
    let expected = TaskState::ALL.map(|state| match state {
        TaskState::Queued => (state, 2),
        TaskState::Proving | TaskState::Cancelled => (state, 1),
        _ => (state, 0),
    });
    assert_eq!(counts, TaskCounts(expected.to_vec()));
}
