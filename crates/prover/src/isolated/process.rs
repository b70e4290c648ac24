//! A worker's process as its node sees it.

use std::{
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::{
            net::UnixStream,
            process::{CommandExt, ExitStatusExt},
        },
    },
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::node::machine;

/// Between two looks at whether a killed process is gone. Giving back tens of gigabytes takes the kernel seconds.
const NAP: Duration = Duration::from_millis(5);

/// For a process that has hung up to end by itself, so that it is known how it ended.
const GRACE: Duration = Duration::from_secs(1);

/// A process that was started; reaped, or killed and reaped, by its keeper.
pub(super) struct Process {
    child: Mutex<Child>,
    pid: u32,
    connection: UnixStream,
    /// Peak resident memory when last looked at, in bytes.
    peak: AtomicU64,
    /// When what it does has to be done.
    deadline: Mutex<Option<Instant>>,
    /// It was killed from here.
    doomed: AtomicBool,
    /// It was killed from here because it took too long.
    overdue: AtomicBool,
    /// Orders it has brought to an end.
    pub(super) ended_orders: AtomicU32,
}

impl Process {
    /// Starts it, with one end of a connection as its standard input. Its standard output goes where its standard error goes:
    /// what libraries print there must not get in among its words. Signals from the terminal are not for it.
    pub(super) fn start(command: &mut Command) -> io::Result<(Self, UnixStream)> {
        let (ours, theirs) = UnixStream::pair()?;
        let connection = ours.try_clone()?;
        let child = command
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::from(io::stderr().as_fd().try_clone_to_owned()?))
            .process_group(0)
            .spawn()?;
        let process = Self {
            pid: child.id(),
            child: Mutex::new(child),
            connection,
            peak: AtomicU64::new(0),
            deadline: Mutex::default(),
            doomed: AtomicBool::new(false),
            overdue: AtomicBool::new(false),
            ended_orders: AtomicU32::new(0),
        };
        Ok((process, ours))
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// Kills it, and ends the connection for whoever waits for its word. Returns at once.
    pub(super) fn kill(&self) {
        self.doomed.store(true, Ordering::Release);
        self.end();
    }

    /// Whether it was killed from here.
    pub(super) fn is_doomed(&self) -> bool {
        self.doomed.load(Ordering::Acquire)
    }

    /// Whether it was killed from here for taking too long.
    pub(super) fn is_overdue(&self) -> bool {
        self.overdue.load(Ordering::Acquire)
    }

    /// From now on it has to be done by then.
    pub(super) fn set_deadline(&self, deadline: Option<Instant>) {
        *self.deadline.lock().unwrap_or_else(PoisonError::into_inner) = deadline;
    }

    /// Looks at it: notes its memory, kills it when it takes too long. Gives whether it has ended.
    pub(super) fn look(&self) -> bool {
        if self.status().is_some() {
            // Something that it started may hold its end of the connection.
            self.end();
            return true;
        }
        if let Some(peak) = machine::peak_memory_of(self.pid) {
            self.peak.fetch_max(peak, Ordering::Relaxed);
        }
        let deadline = *self.deadline.lock().unwrap_or_else(PoisonError::into_inner);
        if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            self.overdue.store(true, Ordering::Release);
            self.kill();
        }
        false
    }

    /// Waits until it and its memory are gone, and gives how it ended, for people. One that does not end is killed.
    pub(super) fn bury(&self) -> String {
        let end = Instant::now() + GRACE;
        loop {
            if let Some(status) = self.status() {
                return epitaph(status, self.peak.load(Ordering::Relaxed));
            }
            if Instant::now() > end {
                self.end();
            }
            thread::sleep(NAP);
        }
    }

    /// Killing what has ended does nothing; its number is not another's before it is reaped.
    fn end(&self) {
        // An error says that it has ended, or that the connection has.
        let _ = self.child().kill();
        let _ = self.connection.shutdown(std::net::Shutdown::Both);
    }

    fn status(&self) -> Option<ExitStatus> {
        self.child().try_wait().ok().flatten()
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

/// How a process ended.
fn epitaph(status: ExitStatus, peak: u64) -> String {
    let how = match (status.signal(), status.code()) {
        (Some(9), _) => "it was killed by SIGKILL, as the kernel does when memory runs out".into(),
        (Some(signal), _) => format!("it was ended by {}", signal_name(signal)),
        (None, Some(code)) => format!("it exited with status {code}"),
        (None, None) => format!("it ended: {status}"),
    };
    let gib = peak as f64 / f64::from(1 << 30);
    if peak == 0 { how } else { format!("{how}; its memory had reached {gib:.2} GiB") }
}

fn signal_name(signal: i32) -> String {
    let name = match signal {
        4 => "SIGILL",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        11 => "SIGSEGV",
        15 => "SIGTERM",
        _ => return format!("signal {signal}"),
    };
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_told_with_signal_and_memory() {
        let told = |raw, peak| epitaph(ExitStatus::from_raw(raw), peak);
        assert_eq!(
            told(9, 3 << 29),
            "it was killed by SIGKILL, as the kernel does when memory runs out; its memory had reached 1.50 GiB"
        );
        assert_eq!(told(6, 0), "it was ended by SIGABRT");
        assert_eq!(told(40, 0), "it was ended by signal 40");
        assert_eq!(told(101 << 8, 0), "it exited with status 101");
    }

    #[test]
    fn a_process_that_takes_too_long_is_killed() {
        let (process, _connection) = Process::start(Command::new("sleep").arg("600")).unwrap();
        process.set_deadline(Some(Instant::now() + Duration::from_secs(600)));
        assert!(!process.look() && !process.is_doomed());
        process.set_deadline(Some(Instant::now()));
        assert!(!process.look());
        assert!(process.bury().contains("SIGKILL") && process.is_overdue() && process.look());
    }
}
