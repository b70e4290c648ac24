//! A run that can be left while it waits, and gone on with on another thread.

use crate::host::{Host, Line, Served};
use crate::network::Remote;
use crate::run::Run;
use crate::sandbox::Sandbox;
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Instant;

/// A run between two stretches on a thread. Dropping it ends it where it is; nothing of it lasts.
pub struct Execution {
    sandbox: Sandbox,
    run: Remote<Run>,
    line: Line,
}

/// How far a run came.
#[derive(Debug)]
pub enum Progress {
    /// To its end.
    Ended(Run),
    /// To something that takes time and no thread.
    Waiting(Waiting),
}

/// A run that waits. Its memory is kept meanwhile; a thread is not.
pub struct Waiting {
    execution: Execution,
    /// `None` once the answer is there.
    answer: Option<Remote<()>>,
    until: Instant,
}

impl Execution {
    pub(crate) fn new(sandbox: Sandbox, run: Remote<Run>, line: Line) -> Self {
        Self { sandbox, run, line }
    }

    /// Runs on the calling thread, whatever the size of its stack, until the run ends or has to wait.
    ///
    /// Blocks, for as long as [`crate::Limits::wall_clock`] and no longer, but for a host call that does not return.
    ///
    /// # Panics
    /// As `host` does.
    pub fn advance(mut self, host: &mut dyn Host) -> Progress {
        let (answer, until) = {
            let Self { sandbox, run, line } = &mut self;
            let _ticking = sandbox.ticking();
            let mut context = Context::from_waker(Waker::noop());
            loop {
                match run.as_mut().poll(&mut context) {
                    Poll::Ready(run) => return Progress::Ended(run),
                    Poll::Pending => match line.serve(host) {
                        Served::Answered => {}
                        Served::Begun(answer, until) => break (answer, until),
                    },
                }
            }
        };
        Progress::Waiting(Waiting { execution: self, answer: Some(answer), until })
    }
}

impl Waiting {
    /// When the run's time is up: to wait longer is of no use.
    pub fn until(&self) -> Instant {
        self.until
    }

    /// Waits for the answer. Can be given up and asked again.
    pub async fn answered(&mut self) {
        if let Some(answer) = &mut self.answer {
            answer.await;
            self.answer = None;
        }
    }

    /// The run, to be gone on with. From now on it waits for a thread, which is not counted as its time. Without an answer it
    /// ends as soon as it goes on, with [`crate::RunError::WallClock`].
    pub fn resume(self) -> Execution {
        self.execution.line.resume();
        self.execution
    }

    /// Waits on the calling thread, until the answer is there or the time is up.
    pub(crate) fn block(mut self) -> Execution {
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        let mut context = Context::from_waker(&waker);
        let until = self.until;
        {
            let mut answered = std::pin::pin!(self.answered());
            while answered.as_mut().poll(&mut context).is_pending() {
                let left = until.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break;
                }
                thread::park_timeout(left);
            }
        }
        self.resume()
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

impl fmt::Debug for Execution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Execution").finish_non_exhaustive()
    }
}

impl fmt::Debug for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiting").field("until", &self.until).finish_non_exhaustive()
    }
}
