//! What was asked for, and what was answered: the run's own record, that the service's is compared with.

use coprocessor_api::TaskState;
use jiff::Timestamp;
use serde::Serialize;
use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::guest::{self, Verb};

/// How a task is to end.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Class {
    /// Delivered.
    Plain,
    /// Cancelled after that time, if that is before its delivery.
    Cancelled(Duration),
    /// Failed at its deadline, if that is before its delivery.
    Hurried(Duration),
    /// Failed: its controller traps while making the witness.
    WitnessTraps,
    /// Failed: its circuit panics.
    CircuitPanics,
    /// Failed: its controller traps after it wrote to the volume.
    DeliveryTraps,
}

impl Class {
    /// The name in the report.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Cancelled(_) => "cancelled on the way",
            Self::Hurried(_) => "with a short deadline",
            Self::WitnessTraps => "controller traps",
            Self::CircuitPanics => "circuit panics",
            Self::DeliveryTraps => "delivery traps",
        }
    }

    const fn verb(self) -> Verb {
        match self {
            Self::WitnessTraps => Verb::Trap,
            Self::CircuitPanics => Verb::Refuse,
            _ => Verb::Greet,
        }
    }
}

/// A task that is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    /// Its place in the load, from 0.
    pub(crate) number: usize,
    /// Which owner asks.
    pub(crate) owner: usize,
    /// Which of the owner's programs.
    pub(crate) program: usize,
    /// How it is to end.
    pub(crate) class: Class,
}

impl Wish {
    /// The name that its circuit greets: no other task's.
    pub(crate) fn name(&self) -> String {
        guest::name_of(self.number as u64)
    }

    /// Its idempotency key.
    pub(crate) fn key(&self) -> String {
        format!("chaos-{}", self.number)
    }

    /// Arguments for `get_witnesses`.
    pub(crate) fn args(&self) -> serde_json::Value {
        guest::args(self.class.verb(), &self.name())
    }

    /// The payload for `entrypoint`.
    pub(crate) fn payload(&self) -> serde_json::Value {
        guest::payload(self.class == Class::DeliveryTraps)
    }
}

/// What was answered to a request to cancel.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Cancel {
    /// Nobody asked.
    #[default]
    NotAsked,
    /// It was asked, and no answer came: it may have happened.
    Unanswered,
    /// It was cancelled.
    Accepted,
    /// It had finished before the first request.
    TooLate,
}

/// A wish and what became of it, as far as callers were told.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) wish: Wish,
    /// The acknowledged task.
    pub(crate) task: Option<String>,
    /// When its acknowledgement came.
    pub(crate) acknowledged_at: Option<Timestamp>,
    /// Requests until then.
    pub(crate) requests: u32,
    pub(crate) cancel: Cancel,
    /// How often its owner had it tried again.
    pub(crate) retries: u32,
    /// A state that was seen to be final: it must stay.
    pub(crate) seen: Option<TaskState>,
}

/// What sort of promise was broken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Breach {
    /// Something acknowledged is gone, or never ended.
    Lost,
    /// Something was done twice.
    Doubled,
    /// Another.
    Other,
}

/// A broken promise.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(crate) struct Violation {
    /// The sort.
    pub(crate) breach: Breach,
    /// What happened, and to which task.
    pub(crate) what: String,
}

/// All entries, and what went wrong so far.
#[derive(Debug, Default)]
pub(crate) struct Book {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    entries: Vec<Entry>,
    by_task: BTreeMap<String, usize>,
    violations: Vec<Violation>,
}

impl Book {
    /// Writes down a wish before it is asked for.
    pub(crate) fn wish(&self, wish: Wish) {
        let entry = Entry {
            wish,
            task: None,
            acknowledged_at: None,
            requests: 0,
            cancel: Cancel::default(),
            retries: 0,
            seen: None,
        };
        let mut inner = self.lock();
        assert_eq!(entry.wish.number, inner.entries.len(), "wishes come in their order");
        inner.entries.push(entry);
    }

    /// Changes the entry of a wish.
    pub(crate) fn update(&self, number: usize, change: impl FnOnce(&mut Entry)) {
        change(&mut self.lock().entries[number]);
    }

    /// Writes down an acknowledgement. The same wish acknowledged as two tasks is a violation.
    pub(crate) fn acknowledge(&self, number: usize, task: &str) {
        let mut inner = self.lock();
        let entry = &mut inner.entries[number];
        let violation = match &entry.task {
            Some(before) if before != task => {
                let what = format!("wish {number} was acknowledged as {before} and as {task}");
                Some(Violation { breach: Breach::Doubled, what })
            }
            _ => None,
        };
        entry.task.get_or_insert_with(|| task.to_owned());
        entry.acknowledged_at.get_or_insert_with(Timestamp::now);
        inner.by_task.insert(task.to_owned(), number);
        inner.violations.extend(violation);
    }

    /// Writes down a broken promise.
    pub(crate) fn violate(&self, breach: Breach, what: impl Into<String>) {
        self.lock().violations.push(Violation { breach, what: what.into() });
    }

    /// How many promises were broken.
    pub(crate) fn broken(&self) -> usize {
        self.lock().violations.len()
    }

    /// Promises that were broken.
    pub(crate) fn violations(&self) -> Vec<Violation> {
        self.lock().violations.clone()
    }

    /// A copy of all entries.
    pub(crate) fn entries(&self) -> Vec<Entry> {
        self.lock().entries.clone()
    }

    /// The entry of an acknowledged task.
    pub(crate) fn entry_of(&self, task: &str) -> Option<Entry> {
        let inner = self.lock();
        inner.by_task.get(task).map(|number| inner.entries[*number].clone())
    }

    /// How many wishes were acknowledged.
    pub(crate) fn acknowledged(&self) -> usize {
        self.lock().by_task.len()
    }

    /// The `nth` acknowledged task, by id; for looking at one at random.
    pub(crate) fn nth_acknowledged(&self, nth: usize) -> Option<Entry> {
        let inner = self.lock();
        inner.by_task.values().nth(nth).map(|number| inner.entries[*number].clone())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(number: usize) -> Wish {
        Wish { number, owner: 0, program: 0, class: Class::Plain }
    }

    #[test]
    fn a_wish_with_two_tasks_is_noticed() {
        let book = Book::default();
        book.wish(plain(0));
        book.acknowledge(0, "a");
        book.acknowledge(0, "a");
        assert_eq!(book.broken(), 0);
        book.acknowledge(0, "b");
        assert_eq!(book.broken(), 1);
        assert_eq!(book.entries()[0].task.as_deref(), Some("a"));
    }

    #[test]
    fn wishes_differ_in_key_and_name() {
        assert_ne!(plain(1).key(), plain(2).key());
        assert_ne!(plain(1).name(), plain(2).name());
    }
}
