//! What a mock proof costs in a node of this process: prints CPU time by part.
//!
//! `mock_load <circuit.elf> [proofs]`
#![allow(clippy::print_stdout)]

use bytes::Bytes;
use coprocessor_prover::{
    Cancellation, ExecutionLimits, Job, JobEvent, JobKey, Progress, ProverNode, ProvingBackend,
    mock::{MockBackend, MockConfig},
    node::{Node, NodeConfig},
};
use coprocessor_types::{Backend, CircuitInput, OpenedWitness, ProofKind, Root, TaskId};
use futures::{StreamExt, stream};
use std::{fs, num::NonZeroU32, sync::Arc, time::Instant};

fn main() {
    let mut args = std::env::args().skip(1);
    let Some(path) = args.next() else {
        println!("usage: mock_load <circuit.elf> [proofs]");
        std::process::exit(2);
    };
    let count: u32 = args.next().map_or(20_000, |count| count.parse().expect("a number of proofs"));
    let circuit = Bytes::from(fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}")));
    let witnesses = vec![OpenedWitness::Data(b"Ada".to_vec())];
    let input = Bytes::from(CircuitInput { root: Root([3; 32]), witnesses }.to_bytes());
    let backend = MockBackend::new(MockConfig::default());
    let execution = backend.execute(&circuit, &input, ExecutionLimits::default()).expect("an execution");
    println!("{} cycles", execution.cycles);
    measure("execute", count, || {
        for _ in 0..count {
            backend.execute(&circuit, &input, ExecutionLimits::default()).expect("an execution");
        }
    });
    measure("prove", count, || {
        for _ in 0..count {
            let cancellation = Cancellation::default();
            backend.prove(&circuit, &input, ProofKind::Mock, &Progress(&|_| ()), &cancellation).expect("a proof");
        }
    });
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let slots = NonZeroU32::new(64).expect("more than none");
    let config = NodeConfig { slots, queue: 1 << 16, ..NodeConfig::default() };
    let node = runtime.block_on(async { Node::new(vec![Arc::new(backend)], config) });
    let circuit = runtime.block_on(node.upload_circuit(Backend::Sp1, circuit)).expect("a circuit");
    measure("node", count, || {
        runtime.block_on(stream::iter(0..count).for_each_concurrent(64, |_| async {
            let key = JobKey { task: TaskId::now(), fence: 1 };
            let job = Job { key, circuit, kind: ProofKind::Mock, input: input.clone() };
            let last = node.prove(job).await.expect("a job").collect::<Vec<_>>().await.pop();
            assert!(matches!(last, Some(Ok(JobEvent::Done(_)))));
        }));
    });
}

fn measure(what: &str, count: u32, work: impl FnOnce()) {
    let (began, cpu) = (Instant::now(), cpu_micros());
    work();
    let each = |micros: u64| micros as f64 / f64::from(count);
    let wall = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
    println!("{what}: {:.1} µs of CPU each, {:.1} µs of wall time", each(cpu_micros() - cpu), each(wall));
}

/// This process's CPU time, user and system, in microseconds; clock ticks are hundredths of a second.
fn cpu_micros() -> u64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit_once(") ").map_or("", |(_, rest)| rest).split(' ');
    fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum::<u64>() * 10_000
}
