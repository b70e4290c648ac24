//! Blocking calls of backends, each on a thread of its own: proving systems start runtimes and pools of their own, which
//! must not find themselves inside this one.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Mutex, MutexGuard, PoisonError, mpsc},
    thread::{self, ThreadId},
    time::Duration,
};
use tokio::sync::oneshot;

use crate::{BackendError, NodeError};

/// Runs a backend's call and waits for it. When the waiting is given up, the call goes on.
pub(super) async fn run<T: Send + 'static>(
    name: &'static str,
    call: impl FnOnce() -> Result<T, BackendError> + Send + 'static,
) -> Result<T, NodeError> {
    let (sender, receiver) = oneshot::channel();
    spawn(name, move || {
        // Nobody may be waiting any more.
        let _ = sender.send(catch(call));
    })?;
    receiver.await.unwrap_or_else(|_| Err(failed("its thread ended without an answer")))
}

/// Does work on a thread that has nothing else to do: one that has just finished, or a new one.
pub(super) fn spawn(name: &'static str, work: impl FnOnce() + Send + 'static) -> Result<(), NodeError> {
    let mut work: Work = Box::new(work);
    let waiting = idle().pop();
    if let Some((_, thread)) = waiting {
        match thread.send(work) {
            Ok(()) => return Ok(()),
            // It does not end while it can be found, but this costs nothing.
            Err(mpsc::SendError(back)) => work = back,
        }
    }
    let spawned = thread::Builder::new().name(name.into()).spawn(move || live(work));
    spawned.map(drop).map_err(|error| failed(format!("no thread for it: {error}")))
}

/// Starting a thread costs more than many a mock proof: those that have finished wait here for more.
static IDLE: Mutex<Vec<(ThreadId, mpsc::Sender<Work>)>> = Mutex::new(Vec::new());
/// How long they do.
const PATIENCE: Duration = Duration::from_secs(5);
/// How many do.
const MAX_IDLE: usize = 64;

type Work = Box<dyn FnOnce() + Send>;

/// Does one work after the other, until there is none for a while.
fn live(mut work: Work) {
    let own = thread::current().id();
    loop {
        work();
        let (sender, more) = mpsc::channel();
        {
            let mut idle = idle();
            if idle.len() >= MAX_IDLE {
                return;
            }
            idle.push((own, sender));
        }
        let next = more.recv_timeout(PATIENCE).or_else(|_| {
            let mut idle = idle();
            match idle.iter().position(|(thread, _)| *thread == own) {
                Some(place) => drop(idle.remove(place)),
                // Somebody has found it, and work is on its way.
                None => drop(idle),
            }
            more.recv()
        });
        match next {
            Ok(next) => work = next,
            Err(mpsc::RecvError) => return,
        }
    }
}

fn idle() -> MutexGuard<'static, Vec<(ThreadId, mpsc::Sender<Work>)>> {
    IDLE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Calls a backend; a panic becomes [`NodeError::Failed`].
pub(super) fn catch<T>(call: impl FnOnce() -> Result<T, BackendError>) -> Result<T, NodeError> {
    catch_panic(call).map_err(failed)?.map_err(NodeError::from)
}

/// Calls a backend; a panic becomes a reason for people.
pub(crate) fn catch_panic<T>(call: impl FnOnce() -> T) -> Result<T, String> {
    // What the call works on belongs to it, or is a backend, which answers for its own state.
    let caught = catch_unwind(AssertUnwindSafe(call));
    caught.map_err(|panic| format!("the backend panicked: {}", message(&*panic)))
}

/// Runs what reads or writes files.
pub(super) async fn run_io<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, NodeError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| failed(error.to_string()))
}

fn failed(reason: impl Into<String>) -> NodeError {
    NodeError::Failed { reason: reason.into() }
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}
