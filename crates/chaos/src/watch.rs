//! Follows all events of an owner through everything that happens, as a client would: from where it was, at whichever
//! coprocessor answers.

use coprocessor_api::client::{Client, OwnerUpdate, Whose};
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use crate::book::{Book, Breach};

/// Longest wait for the next event before the watcher moves on to another coprocessor by itself: a stalled link says nothing.
const SILENCE: Duration = Duration::from_secs(4);
/// Wait between two connections.
const PAUSE: Duration = Duration::from_millis(100);

/// A watcher at work; ends when dropped.
#[derive(Debug)]
pub(crate) struct Watcher {
    seen: Arc<Seen>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Seen {
    /// Sequence numbers, in the order they came.
    events: Mutex<Vec<u64>>,
    connections: AtomicU32,
}

impl Watcher {
    /// Begins to follow the owner whose clients these are, one for each coprocessor.
    pub(crate) fn start(doors: Vec<Client>, owner: String, book: Arc<Book>) -> Self {
        let seen = Arc::new(Seen::default());
        let task = tokio::spawn(follow(doors, owner, Arc::clone(&seen), book));
        Self { seen, task }
    }

    /// Sequence numbers of all events so far, in the order they came.
    pub(crate) fn events(&self) -> Vec<u64> {
        self.seen.events.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How often it connected.
    pub(crate) fn connections(&self) -> u32 {
        self.seen.connections.load(Ordering::Relaxed)
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn follow(doors: Vec<Client>, owner: String, seen: Arc<Seen>, book: Arc<Book>) {
    let mut after = 0;
    for door in doors.iter().cycle() {
        seen.connections.fetch_add(1, Ordering::Relaxed);
        let mut stream = door.follow_all(&Whose::Mine, Some(after));
        loop {
            match tokio::time::timeout(SILENCE, stream.next()).await {
                Ok(Ok(OwnerUpdate::Event(event))) => {
                    if event.seq <= after {
                        let what = format!("{owner}'s stream gave event {} after event {after}", event.seq);
                        book.violate(Breach::Other, what);
                    }
                    after = event.seq;
                    seen.events.lock().unwrap_or_else(PoisonError::into_inner).push(event.seq);
                }
                Ok(Err(error)) if !error.may_pass() => {
                    book.violate(Breach::Other, format!("{owner}'s stream was refused: {error}"));
                    break;
                }
                // Elsewhere, from where it was.
                Ok(Ok(OwnerUpdate::Disconnected { .. }) | Err(_)) | Err(_) => break,
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}
