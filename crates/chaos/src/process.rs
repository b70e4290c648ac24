//! Processes that are started, killed, paused, asked to end and started again, all by their id.

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    ffi::OsString,
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::{Duration, Instant},
};
use tokio::process::{Child, Command};

/// How long a process may take until it listens; far longer than it ever takes.
const START: Duration = Duration::from_secs(60);
/// How long a process that ends while it starts is started again: what it needs may be gone for a while too.
const REVIVAL: Duration = Duration::from_secs(60);
/// Wait between two starts.
const PAUSE: Duration = Duration::from_millis(300);

/// The variable by which processes of a run, and those that they start, are known: where temporary files go, which is the
/// run's directory.
pub(crate) const MARK: &str = "TMPDIR";

/// A program that listens, and how to start it again. Its process is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    program: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(String, String)>,
    address: SocketAddr,
    directory: PathBuf,
    log: PathBuf,
    port_file: PathBuf,
    child: Option<Child>,
    starts: u32,
}

/// What a program is started with.
#[derive(Debug)]
pub(crate) struct Recipe<'a> {
    /// Names its log.
    pub(crate) name: String,
    /// Its executable.
    pub(crate) program: &'a Path,
    /// Its arguments; `--listen` and `--port-file` are added.
    pub(crate) arguments: Vec<OsString>,
    /// Its whole environment.
    pub(crate) environment: Vec<(String, String)>,
    /// Where its log and its temporary files go.
    pub(crate) directory: &'a Path,
}

impl Process {
    /// Prepares a program that will always listen at one loopback address; nothing is started.
    pub(crate) fn new(recipe: Recipe<'_>) -> Result<Self> {
        let Recipe { name, program, arguments, environment, directory } = recipe;
        Ok(Self {
            directory: directory.to_owned(),
            log: directory.join(format!("{name}.log")),
            port_file: directory.join(format!("{name}.port")),
            address: free_address()?,
            program: program.to_owned(),
            name,
            arguments,
            environment,
            child: None,
            starts: 0,
        })
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Where it listens whenever it runs.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// How often it was started.
    pub(crate) fn starts(&self) -> u32 {
        self.starts
    }

    /// Starts it and waits until it listens. It goes on in the same log.
    ///
    /// # Errors
    /// It ends, or does not listen within a minute.
    pub(crate) async fn start(&mut self) -> Result<()> {
        let _ = fs::remove_file(&self.port_file);
        let log = File::options().create(true).append(true).open(&self.log);
        let log = log.with_context(|| format!("cannot write {}", self.log.display()))?;
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).args(["--listen", &self.address.to_string(), "--port-file"]).arg(&self.port_file);
        command.env_clear().envs(self.environment.iter().cloned()).env("NO_COLOR", "1");
        command.env(MARK, &self.directory);
        // A process group of its own: a Ctrl-C reaches this run, which then ends them in order.
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).process_group(0).kill_on_drop(true);
        self.child = Some(command.spawn().with_context(|| format!("cannot start {}", self.program.display()))?);
        self.starts += 1;
        let began = Instant::now();
        while !self.port_file.exists() {
            if let Some(status) = self.ended() {
                bail!("{} ended while it started ({status}); its log is {}", self.name, self.log.display());
            }
            if began.elapsed() > START {
                self.kill().await;
                bail!("{} does not listen after {} s; its log is {}", self.name, START.as_secs(), self.log.display());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// Starts it, again and again while it ends before it listens, as an operator's supervisor does.
    ///
    /// # Errors
    /// It never listens.
    pub(crate) async fn revive(&mut self) -> Result<()> {
        let began = Instant::now();
        loop {
            match self.start().await {
                Err(_) if began.elapsed() < REVIVAL => tokio::time::sleep(PAUSE).await,
                outcome => return outcome,
            }
        }
    }

    /// How it ended, if it was started and has ended without being waited for: by itself.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.child.as_mut()?.try_wait().ok().flatten()?;
        self.child = None;
        Some(status)
    }

    /// Ends it as a power cut would.
    pub(crate) async fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill().await;
        }
    }

    /// Asks it to end and waits; `None`, and it is killed, when it takes longer than `patience`.
    pub(crate) async fn terminate(&mut self, patience: Duration) -> Option<ExitStatus> {
        self.signal(Signal::TERM);
        let mut child = self.child.take()?;
        match tokio::time::timeout(patience, child.wait()).await {
            Ok(status) => status.ok(),
            Err(_) => {
                let _ = child.kill().await;
                None
            }
        }
    }

    /// Stops it where it stands; it does not notice.
    pub(crate) fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub(crate) fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Where it writes its log.
    pub(crate) fn log(&self) -> &Path {
        &self.log
    }

    fn signal(&self, signal: Signal) {
        let pid = self.child.as_ref().and_then(Child::id).and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // A child that has ended is a zombie until it is waited for: its id is still its own.
            let _ = kill_process(pid, signal);
        }
    }
}

/// A loopback address below the range that the kernel gives to outgoing connections: nobody takes it while its process is
/// down.
pub(crate) fn free_address() -> Result<SocketAddr> {
    use std::hash::{BuildHasher, RandomState};
    for _ in 0..1000 {
        let port = 12_000 + u16::try_from(RandomState::new().hash_one(0) % 20_000).expect("below 20000");
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            return Ok(listener.local_addr()?);
        }
    }
    bail!("no loopback port from 12000 to 32000 is free")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn sleeper(directory: &Path, script: &str) -> Process {
        let program = directory.join("program");
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let environment = vec![("PATH".to_owned(), std::env::var("PATH").unwrap_or_default())];
        let recipe =
            Recipe { name: "sleeper".into(), program: &program, arguments: Vec::new(), environment, directory };
        Process::new(recipe).unwrap()
    }

    #[tokio::test]
    async fn a_process_is_started_paused_ended_and_started_again() {
        let directory = tempfile::tempdir().unwrap();
        // Arguments: --listen ADDRESS --port-file FILE
        let mut process = sleeper(directory.path(), "echo $2 > $4; exec sleep 600");
        process.start().await.unwrap();
        assert_eq!(process.ended(), None);
        process.pause();
        process.resume();
        let status = process.terminate(Duration::from_secs(30)).await.expect("it ends when it is told to");
        assert!(!status.success());
        process.start().await.unwrap();
        assert_eq!(process.starts(), 2);
        process.kill().await;
        assert_eq!(process.ended(), None, "it was ended, and did not end by itself");
    }

    #[tokio::test]
    async fn a_process_that_ends_at_once_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let error = sleeper(directory.path(), "exit 3").start().await.unwrap_err();
        assert!(error.to_string().contains("exit status: 3"), "{error}");
    }
}
