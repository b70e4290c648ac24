//! What is told stays true: nothing is shown to anybody outside that losing power, or the database, could still take back.
//!
//! The steps of a task are committed before they are on the disk (see the store's durability), so that a task's life takes no
//! fsync of its own. Whoever looks at what happened a moment ago has that brought to the disk first, together with everybody
//! else who looks just then; what is older was brought there long since.

use coprocessor_store::{Event, StoreError, Task};
use coprocessor_types::{OwnerId, TaskId};
use jiff::{SignedDuration, Timestamp};
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::Mutex;

use crate::Inner;

/// Age at which anything committed is on the disk: stores take less than a second, commits that hang have ended by then, and
/// clocks agree within a second or so.
const SETTLED: SignedDuration = SignedDuration::from_secs(30);

/// How often a task is looked at again while it changes under the look.
const LOOKS: u32 = 3;

/// Flushes that many share.
#[derive(Default)]
pub(crate) struct Flushes {
    asked: AtomicU64,
    /// Requests up to this one are done.
    done: Mutex<u64>,
}

/// Whose events.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Of {
    /// One task's.
    Task(TaskId),
    /// All of an owner's tasks, or everybody's.
    Owner(Option<OwnerId>),
}

impl Flushes {
    /// Returns after a flush that began after this was called.
    async fn flush<E, F: Future<Output = Result<(), E>>>(&self, flush: impl FnOnce() -> F) -> Result<(), E> {
        let mine = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        let mut done = self.done.lock().await;
        if *done < mine {
            let all = self.asked.load(Ordering::SeqCst);
            flush().await?;
            *done = all;
        }
        Ok(())
    }
}

impl Inner {
    /// Events above `after`, oldest first; at most `limit`. Those of the last moment that are not on the disk by now are left out,
    /// and come with the next look.
    pub(crate) async fn lasting_events(&self, of: &Of, after: u64, limit: usize) -> Result<Vec<Event>, StoreError> {
        let events = self.read_events(of, after, limit).await?;
        let Some(last) = events.last().filter(|event| is_fresh(event.at)).map(|event| event.seq) else {
            return Ok(events);
        };
        self.flushes.flush(|| self.store.flush()).await?;
        // The flush may have been another database's than the first look: only what is there still was brought to the disk.
        let mut lasting = self.read_events(of, after, limit).await?;
        lasting.retain(|event| event.seq <= last);
        Ok(lasting)
    }

    /// Whether an event of the store is there to stay; false when it has been taken back.
    pub(crate) async fn lasts(&self, event: &Event) -> Result<bool, StoreError> {
        if !is_fresh(event.at) {
            return Ok(true);
        }
        self.flushes.flush(|| self.store.flush()).await?;
        let found = self.store.events(event.task, event.seq.saturating_sub(1), 1).await?;
        Ok(found.first().is_some_and(|found| found.seq == event.seq))
    }

    /// A task. An end is told only once it is there to stay; the states on the way may be come to again.
    pub(crate) async fn lasting_task(&self, id: TaskId) -> Result<Option<Task>, StoreError> {
        let mut task = self.store.task(id).await?;
        for _ in 0..LOOKS {
            if !task.as_ref().is_some_and(|task| task.state.is_finished() && is_fresh(task.updated_at)) {
                break;
            }
            self.flushes.flush(|| self.store.flush()).await?;
            let again = self.store.task(id).await?;
            if again == task {
                break;
            }
            task = again;
        }
        Ok(task)
    }

    async fn read_events(&self, of: &Of, after: u64, limit: usize) -> Result<Vec<Event>, StoreError> {
        match of {
            Of::Task(task) => self.store.events(*task, after, limit).await,
            Of::Owner(owner) => self.store.owner_events(owner.clone(), after, limit).await,
        }
    }
}

fn is_fresh(at: Timestamp) -> bool {
    Timestamp::now().duration_since(at) < SETTLED
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Bench;
    use std::{sync::Arc, time::Duration};
    use tokio::sync::Notify;

    #[tokio::test]
    async fn those_who_wait_share_a_flush_that_began_after_they_came() {
        let (flushes, go) = (Arc::new(Flushes::default()), Arc::new(Notify::new()));
        let begun = Arc::new(AtomicU64::new(0));
        let ask = || {
            let (flushes, begun, go) = (Arc::clone(&flushes), Arc::clone(&begun), Arc::clone(&go));
            tokio::spawn(async move {
                let flush = || async {
                    begun.fetch_add(1, Ordering::SeqCst);
                    go.notified().await;
                    Ok::<_, ()>(())
                };
                flushes.flush(flush).await
            })
        };
        let first = ask();
        while begun.load(Ordering::SeqCst) < 1 {
            tokio::task::yield_now().await;
        }
        // The one under way is not theirs.
        let others: Vec<_> = (0..10).map(|_| ask()).collect();
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(others.iter().all(|other| !other.is_finished()));
        go.notify_one();
        first.await.unwrap().unwrap();
        while begun.load(Ordering::SeqCst) < 2 {
            tokio::task::yield_now().await;
        }
        assert!(others.iter().all(|other| !other.is_finished()));
        go.notify_one();
        for other in others {
            other.await.unwrap().unwrap();
        }
        assert_eq!(begun.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn a_flush_that_fails_is_nobody_elses() {
        let flushes = Flushes::default();
        assert_eq!(flushes.flush(|| async { Err("the database is away") }).await, Err("the database is away"));
        assert_eq!(flushes.flush(|| async { Ok::<_, ()>(()) }).await, Ok(()));
    }

    #[tokio::test]
    async fn what_was_taken_back_is_not_told() {
        let bench = Bench::new(&[]).await;
        let task = bench.admit().await;
        let inner = &bench.engine.inner;
        let event = inner.lasting_events(&Of::Task(task.id), 0, 10).await.unwrap().remove(0);
        assert!(inner.lasts(&event).await.unwrap());
        let lost = Event { seq: event.seq + 1, at: Timestamp::now(), ..event.clone() };
        assert!(!inner.lasts(&lost).await.unwrap());
        let old = Event { at: Timestamp::now() - SETTLED, ..lost };
        assert!(inner.lasts(&old).await.unwrap(), "that it is looked at no more is not to say that it was lost");
    }
}
