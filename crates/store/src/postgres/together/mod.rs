//! What is written at the same moment, written by one statement.
//!
//! Most of what a statement costs is setting it up, so under load it pays to let what arrives while another statement runs
//! wait for it and share the next. An idle database gets each at once. What a shared statement leaves out (a stale claim, a
//! row that somebody else holds just now, a full backlog) is done by itself, and says then what is the matter.

pub(super) mod admissions;
pub(super) mod steps;

use super::{
    connect::{Session, Sessions},
    fault::Fault,
};
use coprocessor_types::TaskId;
use std::{
    collections::HashMap,
    future::Future,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{Notify, oneshot},
    time::Instant,
};

/// Tasks in one statement.
const MOST: usize = 64;

/// Bytes that one task may add to a statement; what is larger is written by itself.
const LARGE: usize = 64 * 1024;

/// After a statement that was shared, the next one waits for so many times as long as that one took for each that shared it: the
/// dearer statements are, the more share one. Who writes alone is not held up by it.
const GATHER: u32 = 4;
const LONGEST_GATHER: Duration = Duration::from_millis(10);

/// What may share a statement with others of its kind: each writes to one task.
pub(super) trait Shared: Send + Sync + Sized {
    /// What is told of each that was written.
    type Written: Send;

    fn task(&self) -> TaskId;

    /// Whether the two can't be in one statement.
    fn clashes(&self, other: &Self) -> bool;

    /// Whether others can't begin before it is written.
    fn hurries(&self) -> bool;

    /// Writes those of `all` that can be written.
    fn write(
        session: &Session,
        all: &[&Self],
    ) -> impl Future<Output = Result<HashMap<TaskId, Self::Written>, Fault>> + Send;
}

/// Who waits for what. The answer is `None` when nothing was written.
struct Waiting<S: Shared> {
    what: S,
    answer: oneshot::Sender<Option<S::Written>>,
}

/// Where those of one kind wait for each other.
pub(super) struct Together<S: Shared> {
    waiting: Mutex<Vec<Waiting<S>>>,
    /// Held by whoever writes what waits: when the next statement may begin.
    leading: tokio::sync::Mutex<Instant>,
    /// Somebody came who can't wait for that.
    hurry: Notify,
}

impl<S: Shared> Default for Together<S> {
    fn default() -> Self {
        Self { waiting: Mutex::default(), leading: tokio::sync::Mutex::new(Instant::now()), hurry: Notify::new() }
    }
}

impl<S: Shared> Together<S> {
    /// Writes it with those that come just now. `None` when it was not written and is to be tried by itself.
    ///
    /// # Errors
    /// [`Fault::Unanswered`] when somebody else's connection was lost with the answer.
    pub(super) async fn write(&self, sessions: &Sessions, what: S) -> Result<Option<S::Written>, Fault> {
        let (answer, mut answered) = oneshot::channel();
        if what.hurries() {
            self.hurry.notify_one();
        }
        self.waiting().push(Waiting { what, answer });
        loop {
            let mut next = tokio::select! {
                biased;
                answered = &mut answered => return answered.map_err(|_| Fault::Unanswered),
                next = self.leading.lock() => next,
            };
            // Those that are about to come, come along.
            tokio::select! {
                () = self.hurry.notified() => {}
                () = tokio::time::sleep_until(*next) => {}
            }
            tokio::task::yield_now().await;
            let taken = self.take();
            if taken.is_empty() {
                continue;
            }
            let (shared, began) = (u32::try_from(taken.len()).unwrap_or(u32::MAX), Instant::now());
            write(sessions, taken).await?;
            if shared > 1 {
                let ended = Instant::now();
                *next = ended + ((ended - began) * GATHER / shared).min(LONGEST_GATHER);
            }
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Waiting<S>>> {
        // Nothing that is done under the lock can leave it half changed.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those to write now.
    fn take(&self) -> Vec<Waiting<S>> {
        let mut waiting = self.waiting();
        let mut taken: Vec<Waiting<S>> = Vec::new();
        let mut left = Vec::new();
        for next in waiting.drain(..) {
            // Whoever no longer waits has given up.
            if next.answer.is_closed() {
                continue;
            }
            let room = taken.len() < MOST && !taken.iter().any(|other| other.what.clashes(&next.what));
            if room { taken.push(next) } else { left.push(next) }
        }
        *waiting = left;
        taken
    }
}

/// Answers all of them, but where nobody knows whether they were written.
async fn write<S: Shared>(sessions: &Sessions, taken: Vec<Waiting<S>>) -> Result<(), Fault> {
    let session = sessions.take().await?;
    let all: Vec<_> = taken.iter().map(|waiting| &waiting.what).collect();
    let mut written = match S::write(&session, &all).await {
        Ok(written) => written,
        Err(fault) if fault.is_lost() => return Err(fault),
        // Nothing was written. Whose fault it is shows when each is tried.
        Err(fault) => {
            tracing::debug!(?fault, all = all.len(), "what shared a statement is written one by one");
            HashMap::new()
        }
    };
    drop(session);
    for Waiting { what, answer } in taken {
        // Whoever has given up meanwhile finds it done when it asks.
        let _ = answer.send(written.remove(&what.task()));
    }
    Ok(())
}

/// A part of each, as a statement takes it.
fn each<'a, S, T>(all: &[&'a S], part: impl Fn(&'a S) -> T) -> Vec<T> {
    all.iter().map(|one| part(one)).collect()
}
