//! Proofs in a process of their own, as flags, signals and the system's list of processes show them.

use super::*;

/// The processes that a node has started.
fn workers(process: &Process) -> Vec<u32> {
    let parent = process.child.id().to_string();
    let numbers = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    numbers.filter(|pid| parent_of(*pid).as_deref() == Some(&parent)).collect()
}

/// What follows the program's name in brackets is a state and the parent's number. A dead one that nobody has reaped yet
/// does not count.
fn parent_of(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    if matches!(fields.next()?, "Z" | "X") { None } else { fields.next().map(str::to_owned) }
}

fn lives(pid: u32) -> bool {
    parent_of(pid).is_some()
}

async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < PATIENCE, "never {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn send(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), signal).unwrap();
}

/// A node with one worker that is ready, and a circuit.
async fn isolated(directory: &TempDir, flags: &[&str]) -> (Process, u32, RemoteNode, BlobDigest) {
    let process = Process::start(directory.path(), &[&["--isolate-mock"], flags].concat());
    wait_for_health(&process.address, ServingStatus::Serving).await;
    let workers = workers(&process);
    assert_eq!(workers.len(), 1, "{}", process.log());
    let node = process.node();
    let circuit = node.upload_circuit(Backend::Sp1, testing::echo()).await.unwrap();
    (process, workers[0], node, circuit)
}

async fn proving(events: &mut Events) {
    while events.next().await.expect("it goes on").unwrap() != (JobEvent::Step { name: "proving".into() }) {}
}

#[tokio::test]
async fn cancelling_kills_the_worker_and_the_next_proof_has_another() {
    let directory = TempDir::new().unwrap();
    let latency = ["--mock-failures", "100", "--mock-failure-kinds", "hang", "--log", "json"];
    let (process, first, node, circuit) = isolated(&directory, &latency).await;
    let key = fresh();
    let mut events = start(&node, circuit, key).await.unwrap();
    proving(&mut events).await;
    node.cancel(key).await.unwrap();
    assert_eq!(end(events).await, Err(NodeError::Cancelled));
    until("killed", || !lives(first)).await;
    let key = fresh();
    let mut events = start(&node, circuit, key).await.unwrap();
    proving(&mut events).await;
    let second = workers(&process);
    assert!(second.len() == 1 && second[0] != first, "{second:?}");
    node.cancel(key).await.unwrap();
    wait_for_health(&process.address, ServingStatus::Serving).await;
    let log = process.log();
    assert!(log.contains("the prover process was killed; another is started"), "{log}");
    assert!(log.lines().all(|line| line.starts_with('{')), "{log}");
}

#[tokio::test]
async fn a_worker_that_dies_costs_its_proof_alone() {
    let directory = TempDir::new().unwrap();
    let (process, first, node, circuit) = isolated(&directory, &["--mock-latency-ms", "1000"]).await;
    let mut events = start(&node, circuit, fresh()).await.unwrap();
    proving(&mut events).await;
    send(first, Signal::KILL);
    let Err(NodeError::Failed { reason }) = end(events).await else { panic!("no worker, no proof") };
    assert!(reason.contains("SIGKILL") && reason.contains("memory"), "{reason}");
    let proof = end(start(&node, circuit, fresh()).await.unwrap()).await.unwrap();
    assert_eq!(mock::proof::matches(&proof.bytes, circuit, &proof.public_inputs), Ok(true));
    assert!(proof.peak_memory > 1 << 20 && proof.cycles > 0);
    assert!(process.log().contains("the prover process has ended"), "{}", process.log());
}

#[tokio::test]
async fn a_worker_has_no_secret_and_dies_with_its_node() {
    let directory = TempDir::new().unwrap();
    let (mut process, worker, node, circuit) = isolated(&directory, &["--mock-latency-ms", "600000"]).await;
    let environment = fs::read(format!("/proc/{worker}/environ")).unwrap();
    assert!(!String::from_utf8_lossy(&environment).contains(SECRET));
    let arguments = fs::read(format!("/proc/{worker}/cmdline")).unwrap();
    let arguments = String::from_utf8_lossy(&arguments);
    assert!(arguments.starts_with("coprocessor-prover\0worker\0") && !arguments.contains(SECRET), "{arguments}");
    let mut events = start(&node, circuit, fresh()).await.unwrap();
    proving(&mut events).await;
    process.signal(Signal::KILL);
    process.wait();
    until("gone", || !lives(worker)).await;
}

#[tokio::test]
async fn what_stops_a_whole_service_lets_the_proof_that_runs_finish() {
    let directory = TempDir::new().unwrap();
    let (mut process, worker, node, circuit) = isolated(&directory, &["--mock-latency-ms", "700"]).await;
    let mut events = start(&node, circuit, fresh()).await.unwrap();
    proving(&mut events).await;
    for signal in [Signal::TERM, Signal::INT] {
        send(worker, signal);
    }
    process.signal(Signal::TERM);
    end(events).await.unwrap();
    drop(node);
    assert!(process.wait().success(), "{}", process.log());
    until("gone", || !lives(worker)).await;
}

#[tokio::test]
async fn a_proof_that_takes_too_long_is_given_up() {
    let directory = TempDir::new().unwrap();
    let flags = ["--mock-latency-ms", "600000", "--max-proof-seconds", "1"];
    let (_process, worker, node, circuit) = isolated(&directory, &flags).await;
    let Err(NodeError::Failed { reason }) = end(start(&node, circuit, fresh()).await.unwrap()).await else {
        panic!("it has no end")
    };
    assert!(reason.contains("longer than 1s"), "{reason}");
    assert!(!lives(worker));
}

#[test]
fn a_worker_is_not_started_by_hand() {
    let output = Command::new(env!("CARGO_BIN_EXE_coprocessor-prover"))
        .args(["worker", "--backend", "mock"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("own use"), "{said}");
}
