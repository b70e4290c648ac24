//! Asking for the end of a proof.

use std::{
    fmt,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// Raised once; backends look at it between the steps they can stop at, wait for it, or have something done when it comes.
#[derive(Clone, Default)]
pub struct Cancellation(Arc<Signal>);

#[derive(Default)]
struct Signal {
    raised: AtomicBool,
    hooks: Mutex<Hooks>,
    changed: Condvar,
}

#[derive(Default)]
struct Hooks {
    next: u64,
    hooks: Vec<(u64, Box<dyn Fn() + Send>)>,
}

/// What was to be done at a cancellation; dropped, it is done no more.
#[must_use = "dropped, the hook is gone"]
pub struct OnCancel {
    signal: Arc<Signal>,
    number: u64,
}

impl Cancellation {
    /// Asks for the end. What is to be done at it has been done when this returns.
    pub fn cancel(&self) {
        if self.0.raised.swap(true, Ordering::AcqRel) {
            return;
        }
        let hooks = self.0.hooks();
        for (_, hook) in &hooks.hooks {
            hook();
        }
        drop(hooks);
        self.0.changed.notify_all();
    }

    /// Whether the end was asked for.
    pub fn is_cancelled(&self) -> bool {
        self.0.raised.load(Ordering::Acquire)
    }

    /// Waits until the end is asked for, for at most `limit`; without one, as long as it takes. Gives whether it was.
    pub fn wait(&self, limit: Option<Duration>) -> bool {
        let end = limit.and_then(|limit| Instant::now().checked_add(limit));
        let mut hooks = self.0.hooks();
        while !self.is_cancelled() {
            let Some(end) = end else {
                hooks = self.0.changed.wait(hooks).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            (hooks, _) = self.0.changed.wait_timeout(hooks, left).unwrap_or_else(PoisonError::into_inner);
        }
        true
    }

    /// Has `hook` called when the end is asked for; at once, when it was. Once what this gives is dropped, the hook does not
    /// run and will not. It must be quick, and must not ask for anything of this cancellation.
    pub fn on_cancel(&self, hook: impl Fn() + Send + 'static) -> OnCancel {
        let mut hooks = self.0.hooks();
        let number = hooks.next;
        hooks.next += 1;
        if self.is_cancelled() {
            hook();
        } else {
            hooks.hooks.push((number, Box::new(hook)));
        }
        drop(hooks);
        OnCancel { signal: Arc::clone(&self.0), number }
    }
}

impl Signal {
    fn hooks(&self) -> MutexGuard<'_, Hooks> {
        self.hooks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for OnCancel {
    fn drop(&mut self) {
        self.signal.hooks().hooks.retain(|(number, _)| *number != self.number);
    }
}

impl fmt::Debug for Cancellation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Cancellation").field(&self.is_cancelled()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{sync::atomic::AtomicU32, thread};

    #[test]
    fn hooks_run_once_and_only_while_they_are_wanted() {
        let cancellation = Cancellation::default();
        let count = Arc::new(AtomicU32::new(0));
        let hook = |by: u32| {
            let count = Arc::clone(&count);
            move || {
                count.fetch_add(by, Ordering::SeqCst);
            }
        };
        let kept = cancellation.on_cancel(hook(1));
        drop(cancellation.on_cancel(hook(10)));
        cancellation.clone().cancel();
        cancellation.cancel();
        assert!(cancellation.is_cancelled());
        assert_eq!(count.load(Ordering::SeqCst), 1);
        let _late = cancellation.on_cancel(hook(100));
        assert_eq!(count.load(Ordering::SeqCst), 101, "at once");
        drop(kept);
    }

    #[test]
    fn it_is_waited_for_with_and_without_an_end() {
        let cancellation = Cancellation::default();
        assert!(!cancellation.wait(Some(Duration::from_millis(1))));
        thread::scope(|scope| {
            let waiting = [Some(Duration::MAX), None].map(|limit| {
                let cancellation = cancellation.clone();
                scope.spawn(move || cancellation.wait(limit))
            });
            cancellation.cancel();
            assert!(waiting.into_iter().all(|waiting| waiting.join().unwrap()));
        });
        assert!(cancellation.wait(Some(Duration::ZERO)));
    }
}
