//! The process that proves, from within.

use std::{
    io,
    os::{fd::AsFd, unix::net::UnixStream},
    sync::mpsc,
    thread,
};

use super::{
    frame,
    message::{self, Ordered, PROTOCOL, Report},
};
use crate::{
    BackendError, Cancellation, Progress, Proof, ProvingBackend,
    node::{machine, thread::catch_panic},
};

/// Why a process cannot be a worker, or cannot go on as one.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// It was not started by a node.
    #[error("this is for the prover node's own use: it starts its workers itself ({0})")]
    NotConnected(#[source] io::Error),
    /// The node is gone, or speaks in another way.
    #[error("the connection to the prover node: {0}")]
    Connection(String),
    /// No thread.
    #[error("no thread to listen to the prover node: {0}")]
    Thread(#[source] io::Error),
    /// The backend cannot prove. The node was told.
    #[error("the backend cannot be made ready: {0}")]
    Unfit(#[source] BackendError),
    /// The backend panicked. The node was told, and starts another process.
    #[error("the backend panicked; another process takes over")]
    Panicked,
}

/// Makes this process a worker: proves with `backend` what the node that started it orders, one proof after the other, until
/// the node hangs up. Then, and whenever the node dies, this process ends at once, whatever it is doing.
///
/// # Errors
/// [`WorkerError`].
pub fn run_worker(backend: &dyn ProvingBackend) -> Result<(), WorkerError> {
    settle_in();
    let stdin = io::stdin().as_fd().try_clone_to_owned().map_err(WorkerError::NotConnected)?;
    let connection = UnixStream::from(stdin);
    // Fails for what is no socket.
    connection.local_addr().map_err(WorkerError::NotConnected)?;
    serve(backend, &connection, end_process)
}

/// Answers the orders on a connection. `hung_up` is called on a thread of its own, once there will be no more.
pub(super) fn serve(
    backend: &dyn ProvingBackend,
    connection: &UnixStream,
    hung_up: impl FnOnce() + Send + 'static,
) -> Result<(), WorkerError> {
    let say = |report: &Report| frame::write(&mut &*connection, report, &[]).map_err(lost);
    say(&Report::Hello { protocol: PROTOCOL })?;
    let orders = listen(connection, hung_up)?;
    let warmed = catch_panic(|| backend.warm_up());
    if let Err(error) = warmed.unwrap_or_else(|reason| Err(BackendError::Failed { reason })) {
        say(&Report::Unfit { reason: message::end_of(&error.to_string()) })?;
        return Err(WorkerError::Unfit(error));
    }
    say(&Report::Ready)?;
    for order in orders {
        let (result, panicked) = prove(backend, connection, &order);
        message::write_end(&mut &*connection, &result, panicked).map_err(lost)?;
        if panicked {
            return Err(WorkerError::Panicked);
        }
    }
    Ok(())
}

/// Proves an order; gives whether the backend panicked.
fn prove(
    backend: &dyn ProvingBackend,
    connection: &UnixStream,
    Ordered { kind, circuit, input }: &Ordered,
) -> (Result<Proof, BackendError>, bool) {
    machine::forget_peak_memory();
    let step = |name: &str| {
        // When the node is gone, whoever listens to it ends this process.
        let _ = frame::write(&mut &*connection, &Report::Step { name: name.chars().take(256).collect() }, &[]);
    };
    let caught = catch_panic(|| backend.prove(circuit, input, *kind, &Progress(&step), &Cancellation::default()));
    match caught {
        Ok(Ok(mut proof)) => {
            proof.peak_memory = proof.peak_memory.max(machine::peak_memory());
            (Ok(proof), false)
        }
        Ok(Err(error)) => (Err(error), false),
        Err(reason) => (Err(BackendError::Failed { reason }), true),
    }
}

/// Reads orders on a thread of its own, so that it is known at once when the node hangs up.
fn listen(
    connection: &UnixStream,
    hung_up: impl FnOnce() + Send + 'static,
) -> Result<mpsc::Receiver<Ordered>, WorkerError> {
    let mut connection = connection.try_clone().map_err(WorkerError::NotConnected)?;
    let (sender, orders) = mpsc::channel();
    let listening = move || {
        loop {
            match message::read_order(&mut connection) {
                Ok(Some(order)) => {
                    if sender.send(order).is_err() {
                        break;
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    tracing::error!(%error, "the prover node cannot be understood");
                    break;
                }
            }
        }
        drop(sender);
        hung_up();
    };
    thread::Builder::new().name("orders".into()).spawn(listening).map_err(WorkerError::Thread)?;
    Ok(orders)
}

fn lost(error: impl ToString) -> WorkerError {
    WorkerError::Connection(error.to_string())
}

/// Where the system knows it: this process dies with the node, and before it when memory runs out.
#[cfg(target_os = "linux")]
fn settle_in() {
    // What fails here is made up for by listening to the node, or only makes the kernel's choice worse.
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    let _ = std::fs::write("/proc/self/oom_score_adj", "500");
}

#[cfg(not(target_os = "linux"))]
fn settle_in() {}

/// Without the farewells of libraries, which a proof in the making could hold up.
fn end_process() {
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        isolated::message::{Word, read_word, write_order},
        mock::{MockBackend, MockConfig},
        testing,
    };
    use coprocessor_types::ProofKind;
    use std::{io::Write, net::Shutdown, time::Duration};

    fn start(backend: MockBackend) -> (UnixStream, mpsc::Receiver<()>, thread::JoinHandle<Result<(), WorkerError>>) {
        let (node, worker) = UnixStream::pair().unwrap();
        let (sender, hung_up) = mpsc::channel();
        let serving = thread::spawn(move || serve(&backend, &worker, move || sender.send(()).unwrap()));
        (node, hung_up, serving)
    }

    #[test]
    fn it_says_hello_proves_and_ends_when_the_node_hangs_up() {
        let (mut node, hung_up, serving) = start(MockBackend::default());
        let Some(Word::Other(Report::Hello { protocol: PROTOCOL })) = read_word(&mut node).unwrap() else {
            panic!("no hello")
        };
        let Some(Word::Other(Report::Ready)) = read_word(&mut node).unwrap() else { panic!("not ready") };
        for _ in 0..2 {
            write_order(&mut node, ProofKind::Mock, &testing::calls(1), b"").unwrap();
            let Some(Word::Step(name)) = read_word(&mut node).unwrap() else { panic!("no step") };
            assert_eq!(name, "proving");
            let Some(Word::Ended { result: Err(_), ends: false }) = read_word(&mut node).unwrap() else {
                panic!("a circuit that commits nothing")
            };
        }
        node.shutdown(Shutdown::Write).unwrap();
        serving.join().unwrap().unwrap();
        hung_up.recv().unwrap();
        assert!(read_word(&mut node).unwrap().is_none());
    }

    #[test]
    fn it_learns_at_once_that_the_node_is_gone_or_talks_nonsense() {
        for nonsense in [&b""[..], b"\xff\xff\xff\xffnonsense"] {
            let latency = Duration::from_secs(600);
            let (mut node, hung_up, _) = start(MockBackend::new(MockConfig { latency, ..MockConfig::default() }));
            write_order(&mut node, ProofKind::Mock, &testing::endless(), b"").unwrap();
            node.write_all(nonsense).unwrap();
            node.shutdown(Shutdown::Write).unwrap();
            hung_up.recv().unwrap();
        }
    }
}
