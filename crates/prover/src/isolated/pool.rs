//! The workers: starting them, lending them to proofs, and replacing those that ended.

use std::{
    num::NonZeroU32,
    process::Command,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, atomic::Ordering},
    thread,
    time::{Duration, Instant},
};
use tokio::sync::watch;

use super::{
    IsolatedConfig,
    message::{self, PROTOCOL, Report, Word},
    process::Process,
};
use crate::{BackendError, BackendState, Cancellation};
use std::os::unix::net::UnixStream;

/// How often a worker is looked at: its memory, its deadline, whether it still lives. Whoever waits for its word learns of its
/// end at once.
const LOOK: Duration = Duration::from_millis(500);

/// Makes the command that starts a worker.
pub(super) type Starter = Box<dyn Fn() -> Command + Send + Sync>;

pub(super) struct Pool {
    starter: Starter,
    config: IsolatedConfig,
    state: Mutex<State>,
    /// A seat has changed, or somebody waits no more.
    changed: Condvar,
    told: watch::Sender<BackendState>,
}

#[derive(Default)]
struct State {
    seats: Vec<Seat>,
    /// By seat: the worker that was started last.
    processes: Vec<Option<Arc<Process>>>,
    closing: bool,
}

/// The place of one worker.
enum Seat {
    /// One is being started.
    Starting,
    /// It has nothing to do.
    Idle(Worker),
    /// It proves.
    Busy(Arc<Process>),
    /// The last one could not be started; another attempt follows after a pause.
    Down(String),
}

/// A process that takes orders, and the connection to it.
pub(super) struct Worker {
    pub(super) process: Arc<Process>,
    pub(super) connection: UnixStream,
}

impl Pool {
    pub(super) fn new(config: IsolatedConfig, starter: Starter) -> Arc<Self> {
        Arc::new(Self {
            starter,
            config,
            state: Mutex::default(),
            changed: Condvar::new(),
            told: watch::Sender::new(BackendState::default()),
        })
    }

    pub(super) fn told(&self) -> watch::Receiver<BackendState> {
        self.told.subscribe()
    }

    /// Starts the workers, unless that has been done, and waits until one can prove.
    pub(super) fn warm_up(self: &Arc<Self>) -> Result<(), BackendError> {
        self.begin()?;
        let mut state = self.state();
        loop {
            if state.closing {
                return Err(closing());
            }
            if state.seats.iter().any(|seat| matches!(seat, Seat::Idle(_) | Seat::Busy(_))) {
                return Ok(());
            }
            if let Some(reason) = state.down() {
                return Err(BackendError::Failed { reason });
            }
            state = self.wait(state);
        }
    }

    /// A worker for one proof; waits while all of them prove or start. `waiting` is called before the first wait.
    pub(super) fn take(
        self: &Arc<Self>,
        cancellation: &Cancellation,
        waiting: impl FnOnce(),
    ) -> Result<Worker, BackendError> {
        self.begin()?;
        let pool = Arc::clone(self);
        let _wake = cancellation.on_cancel(move || {
            // The lock, so that nobody is between looking and waiting.
            drop(pool.state());
            pool.changed.notify_all();
        });
        let mut waiting = Some(waiting);
        let mut state = self.state();
        loop {
            if cancellation.is_cancelled() {
                return Err(BackendError::Cancelled);
            }
            if state.closing {
                return Err(closing());
            }
            if let Some(worker) = state.lend() {
                self.tell(&state);
                return Ok(worker);
            }
            if let Some(reason) = state.down() {
                return Err(BackendError::Failed { reason });
            }
            match waiting.take() {
                Some(waiting) => {
                    drop(state);
                    waiting();
                    state = self.state();
                }
                None => state = self.wait(state),
            }
        }
    }

    /// Gives a worker back that has brought its order to an end.
    pub(super) fn give_back(&self, worker: Worker) {
        worker.process.ended_orders.fetch_add(1, Ordering::Relaxed);
        let mut state = self.state();
        let process = Arc::clone(&worker.process);
        let lent = |seat: &&mut Seat| matches!(seat, Seat::Busy(busy) if Arc::ptr_eq(busy, &process));
        // Else it has ended, and its seat is another's by now.
        if let Some(seat) = state.seats.iter_mut().find(lent) {
            *seat = Seat::Idle(worker);
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Has the keepers look at their workers now: one has ended.
    pub(super) fn look(&self) {
        self.changed.notify_all();
    }

    /// Ends all workers. Their keepers end with them.
    pub(super) fn close(&self) {
        let mut state = self.state();
        state.closing = true;
        for process in state.processes.iter().flatten() {
            process.kill();
        }
        drop(state);
        self.changed.notify_all();
    }

    fn begin(self: &Arc<Self>) -> Result<(), BackendError> {
        let mut state = self.state();
        if !state.seats.is_empty() {
            return Ok(());
        }
        let seats = self.config.workers.get() as usize;
        state.seats.extend((0..seats).map(|_| Seat::Starting));
        state.processes.resize(seats, None);
        self.tell(&state);
        for seat in 0..seats {
            let pool = Arc::clone(self);
            let keeper = thread::Builder::new().name("worker-keeper".into()).spawn(move || pool.keep(seat));
            keeper.map_err(|error| BackendError::Failed { reason: format!("no thread for it: {error}") })?;
        }
        Ok(())
    }

    /// Keeps a seat: starts a worker, and another when that has ended. One thread does it for as long as there are workers,
    /// since a process dies with the thread that started it.
    fn keep(&self, seat: usize) {
        let mut failures = 0;
        while !self.state().closing {
            match self.employ(seat) {
                Ok(useful) => {
                    self.put(seat, Seat::Starting);
                    failures = if useful { 0 } else { failures + 1 };
                }
                Err(reason) => {
                    failures += 1;
                    tracing::error!(reason, failures, "the prover process cannot be started; trying again");
                    self.put(seat, Seat::Down(reason));
                }
            }
            self.pause(self.config.pause(failures));
        }
    }

    /// Starts a worker and waits until it has ended; gives whether it was of use. An error says why it never was ready.
    fn employ(&self, seat: usize) -> Result<bool, String> {
        let mut command = (self.starter)();
        let (process, connection) = Process::start(&mut command)
            .map_err(|error| format!("the program {} cannot be started: {error}", command.get_program().display()))?;
        let process = Arc::new(process);
        process.set_deadline(Instant::now().checked_add(self.config.start_limit));
        self.state().processes[seat] = Some(Arc::clone(&process));
        let worker = Worker { process: Arc::clone(&process), connection };
        let (greeted, end) = thread::scope(|scope| {
            let greeting = scope.spawn(|| self.greet(seat, worker));
            let end = self.watch_over(&process);
            (greeting.join().unwrap_or_else(|_| Err(Some("greeting it panicked".into()))), end)
        });
        let pid = process.pid();
        match greeted {
            Ok(()) if process.is_doomed() => tracing::info!(pid, "the prover process was killed; another is started"),
            Ok(()) => tracing::warn!(pid, end, "the prover process has ended; another is started"),
            Err(_) if process.is_overdue() => {
                return Err(format!("the prover process was not ready within {:?}", self.config.start_limit));
            }
            Err(Some(reason)) => return Err(reason),
            Err(None) => return Err(format!("the prover process died before it was ready: {end}")),
        }
        Ok(process.is_doomed() || process.ended_orders.load(Ordering::Relaxed) > 0)
    }

    /// Waits until a worker is warm, and has it take orders. An error without a reason: it hung up.
    fn greet(&self, seat: usize, worker: Worker) -> Result<(), Option<String>> {
        let began = Instant::now();
        let greeted = worker.greet();
        match &greeted {
            Ok(()) => {
                let (pid, seconds) = (worker.process.pid(), began.elapsed().as_secs_f32());
                tracing::info!(pid, seconds, "the prover process is ready");
                worker.process.set_deadline(None);
                self.put(seat, Seat::Idle(worker));
            }
            Err(_) => {
                worker.process.bury();
                self.look();
            }
        }
        greeted
    }

    /// Waits until a process has ended, and gives how.
    fn watch_over(&self, process: &Process) -> String {
        let mut state = self.state();
        while !process.look() {
            if state.closing {
                process.kill();
            }
            (state, _) = self.changed.wait_timeout(state, LOOK).unwrap_or_else(PoisonError::into_inner);
        }
        drop(state);
        process.bury()
    }

    fn put(&self, seat: usize, value: Seat) {
        let mut state = self.state();
        state.seats[seat] = value;
        self.tell(&state);
        drop(state);
        self.changed.notify_all();
    }

    fn pause(&self, pause: Duration) {
        let end = Instant::now() + pause;
        let mut state = self.state();
        while !state.closing {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            (state, _) = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn tell(&self, state: &State) {
        let now = state.told();
        self.told.send_if_modified(|told| {
            let changes = *told != now;
            if changes {
                *told = now;
            }
            changes
        });
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing under the lock can panic in the middle of a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn lend(&mut self) -> Option<Worker> {
        let idle = |seat: &&mut Seat| matches!(seat, Seat::Idle(worker) if !worker.process.look());
        let seat = self.seats.iter_mut().find(idle)?;
        let Seat::Idle(worker) = std::mem::replace(seat, Seat::Starting) else { return None };
        *seat = Seat::Busy(Arc::clone(&worker.process));
        Some(worker)
    }

    /// Why there is no worker and none to be expected soon.
    fn down(&self) -> Option<String> {
        let mut reasons = self.seats.iter().map(|seat| match seat {
            Seat::Down(reason) => Some(reason),
            _ => None,
        });
        // All of them, or there is hope.
        let first = reasons.next().flatten()?;
        reasons.all(|reason| reason.is_some()).then(|| first.clone())
    }

    fn told(&self) -> BackendState {
        let count = |wanted: fn(&Seat) -> bool| {
            u32::try_from(self.seats.iter().filter(|seat| wanted(seat)).count()).unwrap_or(u32::MAX)
        };
        BackendState {
            ready: count(|seat| matches!(seat, Seat::Idle(_) | Seat::Busy(_))),
            starting: count(|seat| matches!(seat, Seat::Starting)),
            down: self.down(),
        }
    }
}

impl Worker {
    /// Waits until it is warm. An error without a reason: it hung up.
    fn greet(&self) -> Result<(), Option<String>> {
        match self.word()? {
            Report::Hello { protocol: PROTOCOL } => {}
            Report::Hello { protocol } => {
                return Err(Some(format!(
                    "the prover process is of another version (its protocol is {protocol}, this one's {PROTOCOL}); \
                     restart the node"
                )));
            }
            other => return Err(Some(unexpected(&other))),
        }
        match self.word()? {
            Report::Ready => Ok(()),
            Report::Unfit { reason } => Err(Some(reason)),
            other => Err(Some(unexpected(&other))),
        }
    }

    fn word(&self) -> Result<Report, Option<String>> {
        match message::read_word(&mut &self.connection) {
            Ok(Some(Word::Other(report))) => Ok(report),
            Ok(Some(Word::Step(_) | Word::Ended { .. })) => Err(Some(unexpected(&"news of a proof"))),
            Ok(None) => Err(None),
            Err(error) => Err(Some(format!("the prover process is not understood: {error}"))),
        }
    }
}

impl IsolatedConfig {
    /// Before the next start, after that many in a row that were of no use.
    fn pause(&self, failures: u32) -> Duration {
        match failures.checked_sub(1) {
            None => Duration::ZERO,
            Some(doublings) => self.first_pause.saturating_mul(1 << doublings.min(16)).min(self.longest_pause),
        }
    }
}

impl Default for IsolatedConfig {
    fn default() -> Self {
        Self {
            workers: NonZeroU32::MIN,
            start_limit: Duration::from_secs(15 * 60),
            proof_limit: None,
            first_pause: Duration::from_secs(1),
            longest_pause: Duration::from_secs(60),
        }
    }
}

fn unexpected(what: &impl std::fmt::Debug) -> String {
    format!("the prover process says what does not belong here: {what:?}")
}

fn closing() -> BackendError {
    BackendError::Failed { reason: "the node is stopping".into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_a_limit() {
        let config = IsolatedConfig::default();
        let pauses = [0, 1, 2, 3, 6, 7, 100].map(|failures| config.pause(failures).as_secs());
        assert_eq!(pauses, [0, 1, 2, 4, 32, 60, 60]);
    }
}
