//! After the last fault: waits until nothing is unfinished, and has what failed in passing tried again, as its owner would.

use coprocessor_api::{TaskState, TaskView};
use coprocessor_types::TaskId;
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::{
    book::{Book, Breach, Class},
    owners::{Miss, Owner, answer},
    terminal,
};

/// Wait between two looks.
const LOOK: Duration = Duration::from_secs(1);
/// How often an owner has one task tried again.
const RETRIES: u32 = 3;
/// Unfinished tasks that are named when time is up.
const NAMED: usize = 20;

/// How waiting ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settled {
    pub(crate) took: Duration,
    /// Nothing is unfinished.
    pub(crate) all: bool,
}

/// Waits until every task has finished and none of those that could be delivered has failed in passing; writes down what
/// is left when `patience` is over. Returns how long it took.
pub(crate) async fn settle(owners: &[Owner], book: &Book, patience: Duration) -> Settled {
    let began = Instant::now();
    let mut said = Instant::now();
    loop {
        let missing = match look(owners, book).await {
            Ok(unfinished) if unfinished.is_empty() => return Settled { took: began.elapsed(), all: true },
            Ok(unfinished) => Ok(unfinished),
            Err(miss) => Err(miss),
        };
        if began.elapsed() > patience {
            match missing {
                Ok(unfinished) => give_up(&unfinished, book, patience),
                Err(miss) => {
                    book.violate(Breach::Other, format!("tasks cannot be listed after everything is healed: {miss}"));
                }
            }
            return Settled { took: began.elapsed(), all: false };
        }
        if said.elapsed() > Duration::from_secs(10) {
            said = Instant::now();
            let left = missing.as_ref().map_or_else(Miss::to_string, |left| format!("{} unfinished", left.len()));
            terminal::line(format!("  settling for {}: {left}", terminal::duration(began.elapsed())));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Unfinished tasks of all owners; those that failed in passing are put back to work.
async fn look(owners: &[Owner], book: &Book) -> Result<Vec<TaskView>, Miss> {
    let mut unfinished = Vec::new();
    for owner in owners {
        for state in [TaskState::Queued, TaskState::Executing, TaskState::Proving, TaskState::Delivering] {
            unfinished.extend(owner.tasks(Some(state)).await?);
        }
        for task in owner.tasks(Some(TaskState::Failed)).await? {
            if try_again(owner, book, &task).await? {
                unfinished.push(task);
            }
        }
    }
    Ok(unfinished)
}

/// Whether it was put back to work. A deadline that has passed is an end.
async fn try_again(owner: &Owner, book: &Book, task: &TaskView) -> Result<bool, Miss> {
    let Some(entry) = book.entry_of(&task.id) else { return Ok(false) };
    let passing = task.failure.as_ref().is_some_and(|failure| failure.retryable);
    let hurried = matches!(entry.wish.class, Class::Hurried(_));
    if !passing || hurried || entry.retries == RETRIES {
        return Ok(false);
    }
    let Ok(id) = task.id.parse::<TaskId>() else { return Ok(false) };
    match answer(owner.doors[0].retry(&id)).await {
        Ok(_) => {
            book.update(entry.wish.number, |entry| entry.retries += 1);
            Ok(true)
        }
        // An answer that was lost: it is at work already.
        Err(Miss::Refused(problem)) if problem.code == "task_not_retryable" => Ok(true),
        Err(miss) => Err(miss),
    }
}

fn give_up(unfinished: &[TaskView], book: &Book, patience: Duration) {
    let mut states: BTreeMap<&str, usize> = BTreeMap::new();
    for task in unfinished {
        *states.entry(task.state.as_str()).or_default() += 1;
    }
    let what = format!(
        "{} tasks are unfinished {} after the last fault: {states:?}",
        unfinished.len(),
        terminal::duration(patience)
    );
    book.violate(Breach::Lost, what);
    for task in unfinished.iter().take(NAMED) {
        let what = format!(
            "task {} is {} after {} attempts, not to be tried before {:?}, last changed {}, node {:?}",
            task.id,
            task.state.as_str(),
            task.attempts,
            task.not_before,
            task.updated_at,
            task.node
        );
        book.violate(Breach::Lost, what);
    }
}
