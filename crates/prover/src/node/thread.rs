//! Blocking calls of backends, each on a thread of its own: proving systems start runtimes and pools of their own, which
//! must not find themselves inside this one.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    thread,
};
use tokio::sync::oneshot;

use crate::{BackendError, NodeError};

/// Runs a backend's call and waits for it. When the waiting is given up, the call goes on.
pub(super) async fn run<T: Send + 'static>(
    name: &str,
    call: impl FnOnce() -> Result<T, BackendError> + Send + 'static,
) -> Result<T, NodeError> {
    let (sender, receiver) = oneshot::channel();
    spawn(name, move || {
        // Nobody may be waiting any more.
        let _ = sender.send(catch(call));
    })?;
    receiver.await.unwrap_or_else(|_| Err(failed("its thread ended without an answer")))
}

/// Starts a thread.
pub(super) fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), NodeError> {
    let spawned = thread::Builder::new().name(name.to_owned()).spawn(work);
    spawned.map(drop).map_err(|error| failed(format!("no thread for it: {error}")))
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
