//! The program as its operator and its callers meet it: a process, flags, signals, a socket.
#![cfg(unix)]

mod groth16;
#[cfg(target_os = "linux")]
mod worker;

use bytes::Bytes;
use coprocessor_prover::{Job, JobEvent, JobKey, NodeError, Proof, ProverNode, mock, remote::RemoteNode, testing};
use coprocessor_types::{Backend, BlobDigest, CircuitInput, OpenedWitness, ProofKind, Root, TaskId};
use futures::{StreamExt, stream::BoxStream};
use rustix::process::{Pid, Signal, kill_process};
use secrecy::SecretString;
use std::{
    fs,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};
use tempfile::TempDir;
use tonic::transport::Endpoint;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

const SECRET: &str = "hush-in-a-test";
const PATIENCE: Duration = Duration::from_secs(20);
/// The root of every input.
const ROOT: Root = Root([3; 32]);

type Events = BoxStream<'static, Result<JobEvent, NodeError>>;

/// A node process; killed when dropped.
struct Process {
    child: Child,
    address: String,
    log: std::path::PathBuf,
}

fn command(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_coprocessor-prover"));
    command.env_clear().env("VALENCE_PROVER_SECRET", SECRET).stdin(Stdio::null());
    command.args(["--backend", "mock", "--listen", "127.0.0.1:0", "--data-dir"]).arg(directory.join("data"));
    command
}

impl Process {
    fn start(directory: &Path, flags: &[&str]) -> Self {
        let (port_file, log) = (directory.join("port"), directory.join("log"));
        let _ = fs::remove_file(&port_file);
        let mut child = command(directory)
            .arg("--port-file")
            .arg(&port_file)
            .args(flags)
            .stderr(fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let began = Instant::now();
        while !port_file.exists() {
            assert!(child.try_wait().unwrap().is_none(), "{}", fs::read_to_string(&log).unwrap());
            assert!(began.elapsed() < PATIENCE, "it never listens");
            std::thread::sleep(Duration::from_millis(5));
        }
        let address = format!("http://{}", fs::read_to_string(&port_file).unwrap().trim());
        Self { child, address, log }
    }

    fn node(&self) -> RemoteNode {
        RemoteNode::new(&self.address, Some(SecretString::from(SECRET)), false).unwrap()
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn wait(&mut self) -> ExitStatus {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(began.elapsed() < PATIENCE, "it never ends: {}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn input(data: &[u8]) -> Bytes {
    CircuitInput { root: ROOT, witnesses: vec![OpenedWitness::Data(data.to_vec())] }.to_bytes().into()
}

async fn start(node: &RemoteNode, circuit: BlobDigest, key: JobKey) -> Result<Events, NodeError> {
    node.prove(Job { key, circuit, kind: ProofKind::Mock, input: input(b"Ada") }).await
}

fn fresh() -> JobKey {
    JobKey { task: TaskId::now(), fence: 1 }
}

async fn end(mut events: Events) -> Result<Proof, NodeError> {
    while let Some(event) = events.next().await {
        if let JobEvent::Done(proof) = event? {
            return Ok(proof);
        }
    }
    panic!("no end")
}

async fn started(events: &mut Events) {
    while events.next().await.expect("it goes on").unwrap() != JobEvent::Started {}
}

async fn health(address: &str) -> ServingStatus {
    let channel = Endpoint::from_shared(address.to_owned()).unwrap().connect().await.unwrap();
    HealthClient::new(channel).check(HealthCheckRequest::default()).await.unwrap().into_inner().status()
}

async fn wait_for_health(address: &str, status: ServingStatus) {
    let began = Instant::now();
    while health(address).await != status {
        assert!(began.elapsed() < PATIENCE, "never {status:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn it_proves_for_who_has_the_secret_and_says_what_it_is() {
    let directory = TempDir::new().unwrap();
    let process = Process::start(directory.path(), &["--memory", "3GiB", "--log", "json"]);
    wait_for_health(&process.address, ServingStatus::Serving).await;
    let stranger = RemoteNode::new(&process.address, Some(SecretString::from("guess")), false).unwrap();
    assert!(matches!(stranger.describe().await, Err(NodeError::Unauthorized { .. })));

    let node = process.node();
    let info = node.describe().await.unwrap();
    assert!(info.offers(Backend::Sp1, ProofKind::Mock) && !info.offers(Backend::Sp1, ProofKind::Core));
    assert_eq!(info.memory, 3 << 30);
    let circuit = node.upload_circuit(Backend::Sp1, testing::echo()).await.unwrap();
    let proof = end(start(&node, circuit, fresh()).await.unwrap()).await.unwrap();
    assert_eq!(proof.public_inputs, [&[3; 32][..], b"Ada"].concat());
    assert_eq!(mock::proof::matches(&proof.bytes, circuit, &proof.public_inputs), Ok(true));

    let log = process.log();
    for expected in ["coprocessor-prover 0.1.0", "3.0 GiB", "proves nothing", "native: ", "ready", "proof made"] {
        assert!(log.contains(expected) || (expected == "native: " && log.contains("portable")), "{expected} in {log}");
    }
    assert!(log.lines().all(|line| line.starts_with('{')), "{log}");
    assert!(!log.contains(SECRET), "{log}");
}

#[tokio::test]
async fn circuits_outlive_kill_9() {
    let directory = TempDir::new().unwrap();
    let mut process = Process::start(directory.path(), &[]);
    let circuit = process.node().upload_circuit(Backend::Sp1, testing::echo()).await.unwrap();
    process.signal(Signal::KILL);
    process.wait();
    let process = Process::start(directory.path(), &[]);
    assert_eq!(process.node().has_circuit(circuit).await, Ok(true));
    end(start(&process.node(), circuit, fresh()).await.unwrap()).await.unwrap();
}

#[tokio::test]
async fn a_death_is_told_to_who_follows_a_job() {
    let directory = TempDir::new().unwrap();
    let process = Process::start(directory.path(), &["--mock-latency-ms", "600000"]);
    let node = process.node();
    let circuit = node.upload_circuit(Backend::Sp1, testing::echo()).await.unwrap();
    let mut events = start(&node, circuit, fresh()).await.unwrap();
    started(&mut events).await;
    process.signal(Signal::KILL);
    let end = tokio::time::timeout(PATIENCE, end(events)).await.unwrap();
    assert!(matches!(end, Err(NodeError::Unreachable { .. })), "{end:?}");
}

#[tokio::test]
async fn the_queue_is_bounded_and_jobs_can_be_cancelled() {
    let directory = TempDir::new().unwrap();
    let process = Process::start(directory.path(), &["--queue", "1", "--mock-latency-ms", "600000"]);
    let node = process.node();
    let circuit = node.upload_circuit(Backend::Sp1, testing::echo()).await.unwrap();
    let (first, second) = (fresh(), fresh());
    let mut running = start(&node, circuit, first).await.unwrap();
    started(&mut running).await;
    let waiting = start(&node, circuit, second).await.unwrap();
    let refused = start(&node, circuit, fresh()).await.map(drop);
    assert_eq!(refused, Err(NodeError::QueueFull { waiting: 1 }));
    for (key, events) in [(first, running), (second, waiting)] {
        node.cancel(key).await.unwrap();
        assert_eq!(end(events).await, Err(NodeError::Cancelled));
    }
}

#[tokio::test]
async fn what_dies_with_a_node_is_told_and_begins_anew() {
    let directory = TempDir::new().unwrap();
    let mut process = Process::start(directory.path(), &["--mock-latency-ms", "600000"]);
    let node = process.node();
    let circuit = node.upload_circuit(Backend::Sp1, testing::echo()).await.unwrap();
    let keys = [fresh(), fresh(), fresh()];
    let mut streams = Vec::new();
    for key in keys {
        streams.push(start(&node, circuit, key).await.unwrap());
    }
    started(&mut streams[0]).await;
    for key in keys {
        assert_eq!(node.has_job(key.task).await, Ok(true));
    }
    process.signal(Signal::KILL);
    process.wait();
    for events in streams {
        let end = tokio::time::timeout(PATIENCE, end(events)).await.unwrap();
        assert!(matches!(end, Err(NodeError::Unreachable { .. })), "{end:?}");
    }
    assert!(matches!(node.has_job(keys[0].task).await, Err(NodeError::Unreachable { .. })));
    let process = Process::start(directory.path(), &[]);
    for key in keys {
        assert_eq!(process.node().has_job(key.task).await, Ok(false));
        end(start(&process.node(), circuit, JobKey { fence: 2, ..key }).await.unwrap()).await.unwrap();
        assert_eq!(process.node().has_job(key.task).await, Ok(true));
    }
}

#[tokio::test]
async fn a_broken_circuit_directory_costs_the_broken_circuits() {
    let directory = TempDir::new().unwrap();
    let circuits = directory.path().join("data/circuits");
    let mut process = Process::start(directory.path(), &[]);
    let whole = process.node().upload_circuit(Backend::Sp1, testing::echo()).await.unwrap();
    let damaged = process.node().upload_circuit(Backend::Sp1, testing::endless()).await.unwrap();
    process.signal(Signal::KILL);
    process.wait();
    fs::write(circuits.join(format!("{damaged}.sp1")), b"\x7fELF").unwrap();
    fs::write(circuits.join(".unfinished-1-0"), b"half").unwrap();
    fs::write(circuits.join("not a circuit.sp1"), b"").unwrap();
    fs::create_dir(circuits.join(format!("{}.sp1", BlobDigest([9; 32])))).unwrap();
    let process = Process::start(directory.path(), &[]);
    let node = process.node();
    assert_eq!((node.has_circuit(whole).await, node.has_circuit(damaged).await), (Ok(true), Ok(false)));
    assert!(!circuits.join(".unfinished-1-0").exists());
    assert_eq!(node.upload_circuit(Backend::Sp1, testing::endless()).await, Ok(damaged));
    end(start(&node, whole, fresh()).await.unwrap()).await.unwrap();
}

#[tokio::test]
async fn circuits_on_the_disk_are_bounded() {
    let directory = TempDir::new().unwrap();
    let circuit = |number: u8| {
        let mut elf = testing::echo().to_vec();
        elf.resize(700 << 10, number);
        Bytes::from(elf)
    };
    let flags = ["--circuit-disk-mib", "1"];
    let mut process = Process::start(directory.path(), &flags);
    let first = process.node().upload_circuit(Backend::Sp1, circuit(1)).await.unwrap();
    let second = process.node().upload_circuit(Backend::Sp1, circuit(2)).await.unwrap();
    process.signal(Signal::TERM);
    process.wait();
    let process = Process::start(directory.path(), &flags);
    assert_eq!(process.node().has_circuit(first).await, Ok(false), "it made room");
    end(start(&process.node(), second, fresh()).await.unwrap()).await.unwrap();
}

#[tokio::test]
async fn told_to_stop_it_gives_back_what_waits_at_once() {
    let directory = TempDir::new().unwrap();
    let mut process = Process::start(directory.path(), &["--mock-latency-ms", "1500"]);
    let node = process.node();
    let circuit = node.upload_circuit(Backend::Sp1, testing::echo()).await.unwrap();
    let mut running = start(&node, circuit, fresh()).await.unwrap();
    started(&mut running).await;
    let waiting = fresh();
    let mut events = start(&node, circuit, waiting).await.unwrap();
    while events.next().await.unwrap().unwrap() != (JobEvent::Step { name: "executing".into() }) {}
    process.signal(Signal::TERM);
    assert_eq!(end(events).await, Err(NodeError::Draining));
    assert_eq!(health(&process.address).await, ServingStatus::NotServing);
    assert_eq!(node.has_job(waiting.task).await, Ok(false));
    assert_eq!(start(&node, circuit, waiting).await.map(drop), Err(NodeError::Draining));
    assert!(process.child.try_wait().unwrap().is_none(), "what runs is finished first");
    end(running).await.unwrap();
    drop(node);
    assert!(process.wait().success(), "{}", process.log());
}

#[tokio::test]
async fn told_to_stop_it_finishes_what_runs() {
    let directory = TempDir::new().unwrap();
    let mut process = Process::start(directory.path(), &["--mock-latency-ms", "300"]);
    let node = process.node();
    let circuit = node.upload_circuit(Backend::Sp1, testing::echo()).await.unwrap();
    let mut running = start(&node, circuit, fresh()).await.unwrap();
    started(&mut running).await;
    process.signal(Signal::TERM);
    wait_for_health(&process.address, ServingStatus::NotServing).await;
    assert_eq!(start(&node, circuit, fresh()).await.map(drop), Err(NodeError::Draining));
    end(running).await.unwrap();
    drop(node);
    assert!(process.wait().success(), "{}", process.log());
}

#[tokio::test]
async fn told_to_stop_it_does_so_in_its_time_or_at_once() {
    for (flags, signals) in [(["--drain-seconds", "0"], 1), (["--drain-seconds", "600"], 2)] {
        let directory = TempDir::new().unwrap();
        let latency = ["--mock-latency-ms", "600000"];
        let mut process = Process::start(directory.path(), &[&flags[..], &latency[..]].concat());
        let node = process.node();
        let circuit = node.upload_circuit(Backend::Sp1, testing::echo()).await.unwrap();
        let mut running = start(&node, circuit, fresh()).await.unwrap();
        started(&mut running).await;
        for _ in 0..signals {
            process.signal(Signal::INT);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert!(process.wait().success(), "{}", process.log());
        let end = end(running).await;
        assert!(matches!(end, Err(NodeError::Draining | NodeError::Unreachable { .. })), "{end:?}");
    }
}

#[tokio::test]
async fn mock_failures_are_as_configured() {
    let directory = TempDir::new().unwrap();
    let process = Process::start(directory.path(), &["--mock-failures", "100"]);
    let node = process.node();
    let circuit = node.upload_circuit(Backend::Sp1, testing::echo()).await.unwrap();
    let failed = end(start(&node, circuit, fresh()).await.unwrap()).await;
    assert!(matches!(&failed, Err(NodeError::Failed { reason }) if reason.contains("on purpose")), "{failed:?}");
    assert_eq!(process.log().matches("job failed").count(), 1);
    drop(process);

    let kinds = |kind| ["--mock-failures", "100", "--mock-failure-kinds", kind];
    let process = Process::start(directory.path(), &kinds("wrong-proof"));
    let wrong = end(start(&process.node(), circuit, fresh()).await.unwrap()).await.unwrap();
    assert_eq!(mock::proof::matches(&wrong.bytes, circuit, &wrong.public_inputs), Ok(false));
    drop(process);

    let process = Process::start(directory.path(), &kinds("lost-stream"));
    let (node, key) = (process.node(), fresh());
    let lost = match start(&node, circuit, key).await {
        Ok(events) => end(events).await,
        Err(error) => Err(error),
    };
    assert!(matches!(&lost, Err(NodeError::Unreachable { reason, .. }) if reason.contains("on purpose")), "{lost:?}");
    assert_eq!(node.has_job(key.task).await, Ok(true), "the proof is made all the same");
    drop(process);

    let process = Process::start(directory.path(), &kinds("hang"));
    let (node, key) = (process.node(), fresh());
    let mut hanging = start(&node, circuit, key).await.unwrap();
    started(&mut hanging).await;
    node.cancel(key).await.unwrap();
    assert_eq!(end(hanging).await, Err(NodeError::Cancelled));
}

#[test]
fn what_cannot_be_run_is_said() {
    let directory = TempDir::new().unwrap();
    let blocked = directory.path().join("file");
    fs::write(&blocked, "").unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let blocked = blocked.to_str().unwrap();
    let cases: [(&[&str], &str); 7] = [
        (&["--listen", "0.0.0.0:0"], "--tls-cert"),
        (&["--listen", &taken], "another prover node"),
        (&["--secret-file", blocked], "two secrets"),
        (&["--data-dir", blocked], "--data-dir"),
        (&["--tls-cert", blocked, "--tls-key", blocked], "TLS certificate"),
        (&["--tls-cert", blocked], "--tls-key"),
        (&["--backend", "mock"], "twice"),
    ];
    for (flags, expected) in cases {
        // A flag can be given once, --backend excepted.
        let mut command = Command::new(env!("CARGO_BIN_EXE_coprocessor-prover"));
        command.env_clear().env("VALENCE_PROVER_SECRET", SECRET).args(["--backend", "mock"]).args(flags);
        for (flag, value) in [("--listen", "127.0.0.1:0"), ("--data-dir", directory.path().to_str().unwrap())] {
            if !flags.contains(&flag) {
                command.args([flag, value]);
            }
        }
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(expected), "{flags:?}: {said}");
        assert!(!said.contains(SECRET), "{said}");
    }
}

#[test]
fn without_a_secret_it_stays_on_loopback() {
    let directory = TempDir::new().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_coprocessor-prover"))
        .env_clear()
        .args(["--backend", "mock", "--listen", "0.0.0.0:0", "--insecure", "--data-dir"])
        .arg(directory.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("VALENCE_PROVER_SECRET"), "{said}");
}
