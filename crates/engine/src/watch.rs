//! Waiting for something to happen to a task, or to any task of an owner.
//!
//! One listener reads the store's announcements and wakes those who wait for just that. An announcement can be lost (this
//! process lagged, a connection to the database broke), so once a second the listener compares what was announced with
//! what the store says it has, and wakes everybody when they differ: one look for all, however many wait.

use coprocessor_store::{Change, Store, Task};
use coprocessor_types::{OwnerId, TaskId};
use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak},
    time::Duration,
};
use tokio::{
    sync::{
        broadcast::{self, error::RecvError},
        watch,
    },
    time::{Instant, MissedTickBehavior},
};

use crate::{Caller, Engine, EngineError};

/// How long a lost announcement stays unnoticed, at most.
const CHECK: Duration = Duration::from_secs(1);

/// Longest time between two looks at a task that [`Engine::wait`] waits for, whatever is announced.
const PATIENCE: Duration = Duration::from_secs(10);

/// Waits for events. What happens between two calls of [`changed`](Self::changed) is not missed.
pub struct Watch {
    signal: watch::Receiver<Signal>,
    /// Leaves the board when dropped, after the receiver.
    _place: Place,
}

/// What those who wait are told.
#[derive(Clone, Copy, Default, Debug)]
struct Signal {
    /// The last event finished its task.
    finished: bool,
    /// Grows when events may have been missed.
    doubts: u64,
}

/// Everybody who waits.
#[derive(Default)]
pub(crate) struct Watchers {
    tasks: Board<TaskId>,
    /// `None`: every owner's events.
    owners: Board<Option<OwnerId>>,
    listening: OnceLock<()>,
}

struct Board<K>(Mutex<HashMap<K, watch::Sender<Signal>>>);

struct Place {
    watchers: Arc<Watchers>,
    what: What,
}

enum What {
    Task(TaskId),
    Owner(Option<OwnerId>),
}

impl Watch {
    /// Returns once there may be new events since the last call, or since the watch was made. Now and then there are none.
    pub async fn changed(&mut self) {
        // The sender lives on the board as long as somebody waits there.
        let _ = self.signal.changed().await;
    }

    /// Returns once the task may have finished.
    async fn may_have_finished(&mut self) {
        let doubts = self.signal.borrow().doubts;
        loop {
            self.changed().await;
            let signal = *self.signal.borrow();
            if signal.finished || signal.doubts != doubts {
                return;
            }
        }
    }
}

impl Engine {
    /// Waits for events of one task. Whether there is such a task, and whose it is, is not looked at.
    pub fn watch_task(&self, task: TaskId) -> Watch {
        let watchers = self.watchers();
        let signal = watchers.tasks.join(task);
        Watch { signal, _place: Place { watchers: Arc::clone(watchers), what: What::Task(task) } }
    }

    /// Waits for events of an owner's tasks, or of everybody's.
    pub fn watch_owner(&self, owner: Option<OwnerId>) -> Watch {
        let watchers = self.watchers();
        let signal = watchers.owners.join(owner.clone());
        Watch { signal, _place: Place { watchers: Arc::clone(watchers), what: What::Owner(owner) } }
    }

    /// A task, once it has finished or `limit` is over.
    ///
    /// # Errors
    /// No such task, or none that the caller sees.
    pub async fn wait(&self, caller: &Caller, id: TaskId, limit: Duration) -> Result<Task, EngineError> {
        let end = Instant::now() + limit;
        let mut watch = self.watch_task(id);
        loop {
            let task = self.task(caller, id).await?;
            let left = end.saturating_duration_since(Instant::now());
            if task.state.is_finished() || left.is_zero() {
                return Ok(task);
            }
            // Whichever comes first, the task is looked at again.
            let _ = tokio::time::timeout(left.min(PATIENCE), watch.may_have_finished()).await;
        }
    }

    fn watchers(&self) -> &Arc<Watchers> {
        let watchers = &self.inner.watchers;
        watchers.listening.get_or_init(|| {
            let changes = self.inner.store.changes();
            tokio::spawn(listen(Arc::downgrade(watchers), Arc::clone(&self.inner.store), changes));
        });
        watchers
    }
}

impl Watchers {
    fn announce(&self, task: TaskId, owner: OwnerId, finished: bool) {
        let tell = |signal: &mut Signal| signal.finished = finished;
        self.tasks.tell(&task, tell);
        self.owners.tell(&Some(owner), tell);
        self.owners.tell(&None, tell);
    }

    fn doubt(&self) {
        self.tasks.tell_all(|signal| signal.doubts += 1);
        self.owners.tell_all(|signal| signal.doubts += 1);
    }

    fn anybody(&self) -> bool {
        !self.tasks.lock().is_empty() || !self.owners.lock().is_empty()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        match &self.what {
            What::Task(task) => self.watchers.tasks.leave(task),
            What::Owner(owner) => self.watchers.owners.leave(owner),
        }
    }
}

impl<K> Default for Board<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash> Board<K> {
    fn join(&self, key: K) -> watch::Receiver<Signal> {
        self.lock().entry(key).or_default().subscribe()
    }

    /// For who has dropped its receiver: whoever is the last takes the place away.
    fn leave(&self, key: &K) {
        let mut board = self.lock();
        if board.get(key).is_some_and(|sender| sender.receiver_count() == 0) {
            board.remove(key);
        }
    }

    fn tell(&self, key: &K, change: impl Fn(&mut Signal)) {
        if let Some(sender) = self.lock().get(key) {
            sender.send_modify(change);
        }
    }

    fn tell_all(&self, change: impl Fn(&mut Signal)) {
        self.lock().values().for_each(|sender| sender.send_modify(&change));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, watch::Sender<Signal>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Hands announcements on until nobody can ask for them any more.
async fn listen(watchers: Weak<Watchers>, store: Arc<dyn Store>, mut changes: broadcast::Receiver<Change>) {
    let mut ledger = Ledger::default();
    let mut check = tokio::time::interval(CHECK);
    check.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let change = tokio::select! {
            change = changes.recv() => Some(change),
            _ = check.tick() => None,
        };
        let Some(watchers) = watchers.upgrade() else { return };
        match change {
            Some(Ok(Change::Event { task, owner, seq, state })) => {
                ledger.announced.push(seq);
                watchers.announce(task, owner, state.is_finished());
            }
            Some(Ok(_)) => {}
            Some(Err(RecvError::Lagged(_))) => watchers.doubt(),
            Some(Err(RecvError::Closed)) => return,
            None if watchers.anybody() => match store.last_event().await {
                Ok(last) if ledger.settle(last) => {}
                Ok(_) => watchers.doubt(),
                Err(error) => tracing::debug!(%error, "the last event could not be looked up"),
            },
            None => ledger = Ledger::default(),
        }
    }
}

/// Which events were announced since the store was last asked.
#[derive(Default)]
struct Ledger {
    announced: Vec<u64>,
    /// The store's last event when it was last asked.
    settled: Option<u64>,
}

impl Ledger {
    /// Whether every event up to `last` was announced. Numbers that were never given to an event count as lost: better to
    /// look once too often.
    fn settle(&mut self, last: u64) -> bool {
        let first = self.settled.replace(last);
        let announced = self.announced.iter().filter(|seq| **seq <= last && first.is_some_and(|first| **seq > first));
        let complete = first.is_some_and(|first| last.saturating_sub(first) <= announced.count() as u64);
        self.announced.retain(|seq| *seq > last);
        complete
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Bench, FakeNode};

    #[tokio::test]
    async fn a_watch_wakes_for_its_task_and_for_no_other() {
        let bench = Bench::new(&[]).await;
        let (one, two) = (bench.admit().await, bench.admit().await);
        let (mut first, mut second) = (bench.engine.watch_task(one.id), bench.engine.watch_task(two.id));
        let mut owner = bench.engine.watch_owner(Some(one.owner.clone()));
        let mut other = bench.engine.watch_owner(Some("somebody-else".parse().unwrap()));
        bench.engine.watchers().announce(one.id, one.owner.clone(), false);
        first.changed().await;
        owner.changed().await;
        assert!(!second.signal.has_changed().unwrap() && !other.signal.has_changed().unwrap());
        bench.engine.watchers().doubt();
        second.changed().await;
        other.changed().await;
    }

    #[tokio::test]
    async fn places_are_given_up_with_the_last_watch() {
        let bench = Bench::new(&[]).await;
        let task = TaskId::now();
        let (first, second) = (bench.engine.watch_task(task), bench.engine.watch_task(task));
        drop(first);
        assert!(bench.engine.watchers().anybody());
        drop(second);
        assert!(!bench.engine.watchers().anybody());
    }

    #[tokio::test]
    async fn a_listener_that_lagged_wakes_everybody() {
        let bench = Bench::new(&[]).await;
        let (announce, changes) = broadcast::channel(1);
        for _ in 0..3 {
            announce.send(Change::Accounts).unwrap();
        }
        let watchers = Arc::new(Watchers::default());
        let mut signal = watchers.tasks.join(TaskId::now());
        tokio::spawn(listen(Arc::downgrade(&watchers), Arc::clone(&bench.store), changes));
        signal.wait_for(|signal| signal.doubts > 0).await.unwrap();
    }

    #[tokio::test]
    async fn an_event_that_nobody_announced_is_noticed() {
        let bench = Bench::new(&[]).await;
        let (_silent, changes) = broadcast::channel(1);
        let watchers = Arc::new(Watchers::default());
        let mut signal = watchers.tasks.join(TaskId::now());
        tokio::spawn(listen(Arc::downgrade(&watchers), Arc::clone(&bench.store), changes));
        signal.wait_for(|signal| signal.doubts == 1).await.unwrap();
        bench.admit().await;
        signal.wait_for(|signal| signal.doubts == 2).await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn who_waits_for_a_task_gets_it_when_it_has_finished() {
        let bench = Bench::new(&[&FakeNode::new("a")]).await;
        let task = bench.admit().await;
        let waiting = bench.engine.wait(&Caller::anonymous(), task.id, Duration::ZERO).await.unwrap();
        assert!(!waiting.state.is_finished(), "nobody works yet, and the time was up");
        let running = bench.engine.start().unwrap();
        let done = bench.engine.wait(&Caller::anonymous(), task.id, Duration::from_secs(30)).await.unwrap();
        assert!(done.state.is_finished());
        running.stop(Duration::from_secs(5)).await;
    }

    #[test]
    fn a_ledger_is_complete_when_every_number_was_announced() {
        let mut ledger = Ledger::default();
        assert!(!ledger.settle(10), "what was before it began is not known");
        ledger.announced.extend([11, 12, 14]);
        assert!(ledger.settle(12));
        assert!(!ledger.settle(14), "13 was not announced");
        ledger.announced.extend([14, 15]);
        assert!(ledger.settle(15), "14 is settled");
        assert!(ledger.settle(15), "nothing happened");
    }
}
