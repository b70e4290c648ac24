//! A proof by the SDK itself, without the service: the measure for what the service costs.
//!
//! `direct <circuit.elf> <input file> [core|compressed] [times]` prints one JSON object per proof.
#![allow(clippy::print_stdout)]

use sp1_sdk::{
    Elf, SP1ProofMode, SP1Stdin,
    blocking::{CpuProver, ProveRequest, Prover},
};
use std::time::Instant;

fn main() {
    let mut args = std::env::args().skip(1);
    let (Some(elf), Some(input)) = (args.next(), args.next()) else {
        println!("usage: direct <circuit.elf> <input file> [core|compressed] [times]");
        std::process::exit(2);
    };
    let mode = match args.next().as_deref() {
        None | Some("core") => SP1ProofMode::Core,
        Some("compressed") => SP1ProofMode::Compressed,
        Some(other) => panic!("{other}: expected core or compressed"),
    };
    let times: u32 = args.next().map_or(1, |times| times.parse().expect("a number"));
    let elf = std::fs::read(&elf).unwrap_or_else(|error| panic!("{elf}: {error}"));
    let input = std::fs::read(&input).unwrap_or_else(|error| panic!("{input}: {error}"));

    let began = Instant::now();
    let prover = CpuProver::new();
    let load_s = began.elapsed().as_secs_f64();
    let began = Instant::now();
    let key = prover.setup(Elf::from(elf)).expect("a circuit");
    let setup_s = began.elapsed().as_secs_f64();
    for _ in 0..times {
        let mut stdin = SP1Stdin::new();
        stdin.write_slice(&input);
        let began = Instant::now();
        let proof = prover.prove(&key, stdin).mode(mode).run().expect("a proof");
        let prove_s = began.elapsed().as_secs_f64();
        let bytes = bincode::serialize(&proof).expect("bytes").len();
        println!(
            "{}",
            serde_json::json!({"load_s": load_s, "setup_s": setup_s, "prove_s": prove_s, "proof_bytes": bytes})
        );
    }
}
