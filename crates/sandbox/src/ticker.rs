//! The clock that interrupts controllers: a thread that advances the engine's epoch while anything runs.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use wasmtime::Engine;

/// How often a running controller looks at the clock, and so how much longer than its limit it may take.
const TICK: Duration = Duration::from_millis(5);

/// Sleeps while nothing runs. Its thread ends when it is dropped.
pub(crate) struct Ticker {
    state: Arc<State>,
    thread: Option<JoinHandle<()>>,
}

/// Keeps the clock going while it lives.
pub(crate) struct Ticking<'a>(&'a State);

#[derive(Default)]
struct State {
    running: AtomicUsize,
    stopped: AtomicBool,
}

impl Ticker {
    pub(crate) fn start(engine: Engine) -> io::Result<Self> {
        let state = Arc::new(State::default());
        let shared = state.clone();
        let thread = thread::Builder::new().name("sandbox-clock".into()).spawn(move || tick(&engine, &shared))?;
        Ok(Self { state, thread: Some(thread) })
    }

    pub(crate) fn ticking(&self) -> Ticking<'_> {
        if self.state.running.fetch_add(1, Ordering::SeqCst) == 0 {
            self.wake();
        }
        Ticking(&self.state)
    }

    /// A wake-up between the thread's last look and its sleep is not lost: `park` then returns at once.
    fn wake(&self) {
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }
}

impl Drop for Ticking<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.state.stopped.store(true, Ordering::SeqCst);
        self.wake();
        if let Some(thread) = self.thread.take() {
            // It does nothing that could panic.
            let _ = thread.join();
        }
    }
}

fn tick(engine: &Engine, state: &State) {
    while !state.stopped.load(Ordering::SeqCst) {
        if state.running.load(Ordering::SeqCst) == 0 {
            thread::park();
        } else {
            thread::sleep(TICK);
            engine.increment_epoch();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_thread_ends_with_it() {
        for busy in [false, true] {
            let ticker = Ticker::start(Engine::default()).unwrap();
            let state = Arc::downgrade(&ticker.state);
            if busy {
                std::mem::forget(ticker.ticking());
            }
            drop(ticker);
            assert!(state.upgrade().is_none(), "the thread still holds its state");
        }
    }
}
