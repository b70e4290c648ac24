//! Programs that are started for a test, watched, and ended whatever happens.

use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs::{self, File},
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    time::{Duration, Instant},
};

/// How long anything may take before a test gives up; far longer than it ever takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// The secret of every node here, unless a test is about secrets.
pub(crate) const SECRET: &str = "hush-in-a-test";

/// A program that listens; killed when dropped.
pub(crate) struct Process {
    child: Child,
    /// `host:port`.
    pub(crate) address: String,
    log: PathBuf,
}

impl Process {
    /// Starts a program and waits until it says where it listens. `directory` takes its log and its port file.
    pub(crate) fn start(mut command: Command, directory: &Path, name: &str) -> Self {
        let (port_file, log) = (directory.join(format!("{name}.port")), directory.join(format!("{name}.log")));
        let _ = fs::remove_file(&port_file);
        // A program that is started again goes on in the same log.
        let output = File::options().create(true).append(true).open(&log).unwrap();
        let child = command.arg("--port-file").arg(&port_file).stdout(Stdio::null()).stderr(output).spawn().unwrap();
        let mut process = Self { child, address: String::new(), log };
        let began = Instant::now();
        while !port_file.exists() {
            assert!(process.child.try_wait().unwrap().is_none(), "{name} ended: {}", process.log());
            assert!(began.elapsed() < PATIENCE, "{name} never listens: {}", process.log());
            std::thread::sleep(Duration::from_millis(5));
        }
        fs::read_to_string(&port_file).unwrap().trim().clone_into(&mut process.address);
        process
    }

    /// All it wrote to standard error, with that of the processes of the same name before it.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Ends it as a power cut would: it gets no chance to do anything.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to end, and waits until it has.
    pub(crate) fn terminate(mut self) -> ExitStatus {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        wait(&mut self.child)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A command of the coprocessor in an environment of its own.
pub(crate) fn coprocessor() -> Command {
    clean(Path::new(env!("CARGO_BIN_EXE_coprocessor")))
}

/// A prover node that makes mock proofs. It keeps its circuits below `directory`.
pub(crate) fn node(directory: &Path, listen: &str, flags: &[&str]) -> Process {
    let mut command = clean(&prover_binary());
    command.args(["--backend", "mock", "--listen", listen, "--data-dir"]).arg(directory.join("node")).args(flags);
    command.env("VALENCE_PROVER_SECRET", SECRET);
    Process::start(command, directory, "node")
}

/// As [`node`], with another secret.
pub(crate) fn node_with_secret(directory: &Path, listen: &str, secret: &str) -> Process {
    let mut command = clean(&prover_binary());
    command.args(["--backend", "mock", "--listen", listen, "--data-dir"]).arg(directory.join("node"));
    command.env("VALENCE_PROVER_SECRET", secret);
    Process::start(command, directory, "node")
}

/// A loopback address where nobody listens.
pub(crate) fn free_address() -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().to_string()
}

/// Runs a command that ends by itself.
pub(crate) fn run(mut command: Command) -> Output {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // What these commands say fits into a pipe.
    wait(&mut child);
    child.wait_with_output().unwrap()
}

fn wait(child: &mut Child) -> ExitStatus {
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if began.elapsed() > PATIENCE {
            child.kill().unwrap();
            panic!("a process does not end");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn clean(executable: &Path) -> Command {
    let mut command = Command::new(executable);
    command.env_clear().env("NO_COLOR", "1").stdin(Stdio::null());
    command
}

/// The node's executable, which lies beside the service's.
fn prover_binary() -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_coprocessor")).with_file_name("coprocessor-prover");
    assert!(
        path.is_file(),
        "{} is missing; run `cargo xtask test`, or build the binaries first with `cargo build --workspace --bins`",
        path.display()
    );
    path
}

/// Makes a key directly in the store of a service that does not run, and answers it.
pub(crate) fn offline_key(data: &Path, flags: &[&str]) -> String {
    let mut command = coprocessor();
    command.args(["keys", "create", "--data-dir"]).arg(data).args(flags);
    let output = run(command);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let key = String::from_utf8(output.stdout).unwrap();
    assert!(key.starts_with("cpk_") && key.ends_with('\n') && key.lines().count() == 1, "nothing but the key");
    key.trim().to_owned()
}

/// Says that a test looked at less than it could, and why.
#[allow(clippy::print_stderr)] // For whoever runs the tests with --nocapture.
pub(crate) fn skipped(reason: &str) {
    eprintln!("SKIPPED: {reason}");
}
