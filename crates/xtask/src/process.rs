//! Programs that are started here, watched, and ended whatever happens.

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    ffi::OsStr,
    fs::File,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};
use tokio::{
    process::{Child, Command},
    signal::unix::{SignalKind, signal},
};

/// How long a program may take to end after it was asked to.
const GRACE: Duration = Duration::from_secs(10);

/// How many lines of a log are shown when something fails.
const TAIL: usize = 30;

/// Somebody asked for the end: Ctrl-C, a hang-up or SIGTERM.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Interrupted;

impl std::fmt::Display for Interrupted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}

/// Waits until somebody asks for the end.
pub(crate) async fn interruption() -> Result<Interrupted> {
    let (mut interrupt, mut terminate, mut hangup) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, signal(SignalKind::hangup())?);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
    Ok(Interrupted)
}

/// A program that was started; killed when dropped.
pub(crate) struct Program {
    name: String,
    child: Child,
    pid: u32,
    started: Instant,
    log: PathBuf,
    port_file: PathBuf,
}

impl Program {
    /// Starts `executable`, which listens on a free loopback port and says which in a file. Its output goes to
    /// `<dir>/<name>.log`.
    ///
    /// It gets a process group of its own: a Ctrl-C reaches only this program, which then ends the others in order.
    pub(crate) fn start<A: AsRef<OsStr>>(
        name: &str,
        executable: &Path,
        dir: &Path,
        arguments: impl IntoIterator<Item = A>,
        secret: &str,
    ) -> Result<Self> {
        let (log, port_file) = (dir.join(format!("{name}.log")), dir.join(format!("{name}.port")));
        let output = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        // Left by the run before, it would name a port that is gone.
        match std::fs::remove_file(&port_file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        let started = Instant::now();
        let mut command = Command::new(executable);
        // Settings meant for a service of the caller's own.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"COPROCESSOR_")) {
            command.env_remove(name);
        }
        let child = command
            .args(arguments)
            .args([OsStr::new("--listen"), OsStr::new("127.0.0.1:0"), OsStr::new("--port-file"), port_file.as_os_str()])
            .env("VALENCE_PROVER_SECRET", secret)
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}", executable.display()))?;
        let pid = child.id().context("the program ended before it had begun")?;
        Ok(Self { name: name.to_owned(), child, pid, started, log, port_file })
    }

    /// Waits until it says which port it listens on.
    pub(crate) async fn listening(&mut self, timeout: Duration) -> Result<SocketAddr> {
        loop {
            if let Ok(text) = std::fs::read_to_string(&self.port_file)
                && let Some(address) = text.strip_suffix('\n')
            {
                return address.parse().with_context(|| format!("{} listens on {address:?}", self.name));
            }
            self.check_alive()?;
            if self.started.elapsed() > timeout {
                bail!("{} does not listen after {} s", self.name, timeout.as_secs());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Fails when it has ended.
    pub(crate) fn check_alive(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            Some(status) => bail!("{} ended by itself: {status}", self.name),
            None => Ok(()),
        }
    }

    /// When it was started.
    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    /// Peak resident memory in bytes, as the kernel counts it, with that of the processes it has started and that still run: a prover
    /// node proves in one.
    pub(crate) fn peak_memory(&self) -> Result<u64> {
        let mut peak = self.memory("VmHWM:")?;
        for process in std::fs::read_dir("/proc")? {
            // Those that ended meanwhile have no status.
            let Ok(status) = std::fs::read_to_string(process?.path().join("status")) else { continue };
            if entry(&status, "PPid:").and_then(|parent| parent.parse().ok()) == Some(self.pid) {
                peak += memory_entry(&status, "VmHWM:").unwrap_or(0);
            }
        }
        Ok(peak)
    }

    /// Resident memory in bytes.
    pub(crate) fn resident_memory(&self) -> Result<u64> {
        self.memory("VmRSS:")
    }

    fn memory(&self, entry: &str) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid))?;
        memory_entry(&status, entry).with_context(|| format!("/proc/{}/status has no {entry}", self.pid))
    }

    /// The last lines it wrote.
    pub(crate) fn log_tail(&self) -> String {
        let log = std::fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(TAIL)..].join("\n")
    }

    /// Where it writes its log.
    pub(crate) fn log(&self) -> &Path {
        &self.log
    }

    /// Asks it to end and waits; kills it when it does not.
    pub(crate) async fn stop(mut self) -> Result<()> {
        if self.child.try_wait()?.is_none() {
            let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw).context("no process has such an id")?;
            kill_process(pid, Signal::TERM)?;
            if tokio::time::timeout(GRACE, self.child.wait()).await.is_err() {
                self.child.kill().await?;
            }
        }
        Ok(())
    }
}

fn memory_entry(status: &str, name: &str) -> Option<u64> {
    let kibibytes = entry(status, name)?.strip_suffix(" kB")?;
    Some(kibibytes.parse::<u64>().ok()? * 1024)
}

fn entry<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    Some(status.lines().find_map(|line| line.strip_prefix(name))?.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_from_the_kernels_text() {
        let status = "Name:\tx\nPPid:\t7\nVmPeak:\t  900 kB\nVmHWM:\t  123 kB\nVmRSS:\t   45 kB\n";
        assert_eq!(memory_entry(status, "VmHWM:"), Some(123 * 1024));
        assert_eq!(memory_entry(status, "VmRSS:"), Some(45 * 1024));
        assert_eq!(memory_entry(status, "VmSwap:"), None);
        assert_eq!(entry(status, "PPid:"), Some("7"));
    }

    fn script(dir: &Path, text: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let path = dir.join("program");
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    #[tokio::test]
    async fn a_program_that_listens_is_found_and_ended() {
        let dir = tempfile::tempdir().unwrap();
        // Arguments: --listen 127.0.0.1:0 --port-file FILE
        let executable = script(dir.path(), "echo 127.0.0.1:4711 > $4; exec sleep 600");
        let mut program = Program::start("sleeper", &executable, dir.path(), [""; 0], "secret").unwrap();
        let address = program.listening(Duration::from_secs(20)).await.unwrap();
        assert_eq!(address.port(), 4711);
        assert!(program.resident_memory().unwrap() > 0);
        assert!(program.peak_memory().unwrap() > 0);
        let pid = program.pid;
        program.stop().await.unwrap();
        assert!(!Path::new(&format!("/proc/{pid}")).exists(), "it still runs");
    }

    #[tokio::test]
    async fn a_program_that_ends_early_is_an_error_with_its_log() {
        let dir = tempfile::tempdir().unwrap();
        let executable = script(dir.path(), "echo no such disk; exit 3");
        let mut program = Program::start("failing", &executable, dir.path(), [""; 0], "secret").unwrap();
        let error = program.listening(Duration::from_secs(20)).await.unwrap_err();
        assert!(error.to_string().contains("failing ended by itself: exit status: 3"), "{error}");
        assert_eq!(program.log_tail(), "no such disk");
    }
}
