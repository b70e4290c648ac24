//! Flags and environment.

use clap::{Parser, Subcommand, ValueEnum};
use std::{ffi::OsString, net::SocketAddr, num::NonZeroU32, path::PathBuf, time::Duration};

/// A prover node of the coprocessor: takes circuits and jobs over gRPC and makes proofs.
///
/// The shared secret is read from the environment variable VALENCE_PROVER_SECRET or from --secret-file.
#[derive(Parser, Debug)]
#[command(name = "coprocessor-prover", version, args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    /// Address to listen on. Beyond loopback it takes a secret, and TLS unless --insecure.
    #[arg(long, env = "COPROCESSOR_PROVER_LISTEN", default_value = "127.0.0.1:37282")]
    pub(crate) listen: SocketAddr,
    /// File with the shared secret; else the environment variable VALENCE_PROVER_SECRET.
    #[arg(long)]
    pub(crate) secret_file: Option<PathBuf>,
    /// Directory where circuits are kept. Default: $XDG_DATA_HOME/coprocessor-prover or
    /// ~/.local/share/coprocessor-prover.
    #[arg(long, env = "COPROCESSOR_PROVER_DATA_DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// What makes proofs; may be given several times. Default: sp1.
    #[arg(long = "backend", env = "COPROCESSOR_PROVER_BACKENDS", value_enum, value_delimiter = ',')]
    pub(crate) backends: Vec<BackendName>,
    /// Proofs made at once. One SP1 proof uses the whole machine.
    #[arg(long, default_value = "1")]
    pub(crate) slots: NonZeroU32,
    /// Jobs that may wait; more are refused.
    #[arg(long, default_value_t = 64)]
    pub(crate) queue: u32,
    /// Memory for proofs, such as 24GiB. Default: what is available at start, in this control group.
    #[arg(long, value_parser = parse_bytes)]
    pub(crate) memory: Option<u64>,
    /// Largest circuit in MiB.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) max_circuit_mib: u32,
    /// Largest input of a circuit in MiB.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) max_input_mib: u32,
    /// Minutes for which results are kept, for callers who lost the answer.
    #[arg(long, default_value_t = 15)]
    pub(crate) keep_minutes: u32,
    /// Most MiB of circuits kept in the data directory; beyond that, those not used for longest are removed.
    #[arg(long, default_value_t = 8192, value_parser = clap::value_parser!(u64).range(1..=1 << 30))]
    pub(crate) circuit_disk_mib: u64,
    /// Make SP1 proofs in this process, not in one of their own. A proof that runs can then not be stopped, and one that dies
    /// takes the node with it.
    #[arg(long)]
    pub(crate) in_process: bool,
    /// Make mock proofs in a process of their own as well: for tests.
    #[arg(long, hide = true, conflicts_with = "in_process")]
    pub(crate) isolate_mock: bool,
    /// Seconds after which a proof is given up. Default: no limit, since coprocessors have one of their own.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..), conflicts_with = "in_process")]
    pub(crate) max_proof_seconds: Option<u32>,
    /// A variable that proving processes inherit beside those that SP1, CUDA and the log are set up with; may be given
    /// several times.
    #[arg(long = "worker-env", value_name = "NAME")]
    pub(crate) worker_env: Vec<String>,
    #[command(flatten)]
    pub(crate) proving: ProvingArgs,
    /// Certificate chain for TLS, PEM.
    #[arg(long, requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// Private key of the certificate, PEM.
    #[arg(long, requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
    /// Listen beyond loopback without TLS: secret, witnesses and proofs travel in clear text.
    #[arg(long)]
    pub(crate) insecure: bool,
    /// Seconds that running proofs may take to end when the node is told to stop.
    #[arg(long, default_value_t = 30)]
    pub(crate) drain_seconds: u32,
    /// Write the bound address to this file once the node listens.
    #[arg(long)]
    pub(crate) port_file: Option<PathBuf>,
    /// How the log is written. What is logged: RUST_LOG, `info` by default.
    #[arg(long, value_enum, default_value_t = LogFormat::Text, env = "COPROCESSOR_LOG")]
    pub(crate) log: LogFormat,
}

/// What is not for people.
#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// A process that proves for the node that started it.
    #[command(hide = true)]
    Worker(WorkerArgs),
}

/// Flags of a worker process.
#[derive(clap::Args, Debug)]
pub(crate) struct WorkerArgs {
    /// What makes proofs.
    #[arg(long, value_enum)]
    pub(crate) backend: BackendName,
    /// How the log is written.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log: LogFormat,
    #[command(flatten)]
    pub(crate) proving: ProvingArgs,
}

/// How backends prove: for the node and for its workers.
#[derive(clap::Args, Clone, Debug, PartialEq)]
pub(crate) struct ProvingArgs {
    /// Milliseconds that a mock proof takes at least.
    #[arg(long, default_value_t = 0)]
    pub(crate) mock_latency_ms: u64,
    /// Milliseconds that a mock proof may take beyond that; how many is drawn for each.
    #[arg(long, default_value_t = 0)]
    pub(crate) mock_jitter_ms: u64,
    /// Percentage of mock proofs that fail on purpose, from 0 to 100.
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0, value_parser = parse_percentage)]
    pub(crate) mock_failures: f64,
    /// How they fail, each in one of these ways.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "error")]
    pub(crate) mock_failure_kinds: Vec<FailureName>,
    /// Chooses which mock proofs fail, how, and how long each takes: the same ones for the same seed.
    #[arg(long, default_value_t = 0)]
    pub(crate) mock_seed: u64,
    /// Where SP1 proves.
    #[cfg(feature = "sp1")]
    #[arg(long, value_enum, default_value_t = DeviceName::Cpu)]
    pub(crate) device: DeviceName,
    /// Directory with SP1's groth16 and plonk circuit artifacts.
    #[cfg(feature = "sp1")]
    #[arg(long)]
    pub(crate) sp1_artifacts: Option<PathBuf>,
}

impl ProvingArgs {
    /// The flags that say the same.
    pub(crate) fn to_flags(&self) -> Vec<OsString> {
        let kinds: Vec<_> = self.mock_failure_kinds.iter().map(|kind| name(*kind)).collect();
        let flags: Vec<(&str, OsString)> = vec![
            ("--mock-latency-ms", self.mock_latency_ms.to_string().into()),
            ("--mock-jitter-ms", self.mock_jitter_ms.to_string().into()),
            ("--mock-failures", self.mock_failures.to_string().into()),
            ("--mock-failure-kinds", kinds.join(",").into()),
            ("--mock-seed", self.mock_seed.to_string().into()),
        ];
        let flags = flags.into_iter().chain(self.sp1_flags());
        flags.flat_map(|(flag, value)| [flag.into(), value]).collect()
    }

    #[cfg(feature = "sp1")]
    fn sp1_flags(&self) -> Vec<(&'static str, OsString)> {
        let artifacts = self.sp1_artifacts.iter().map(|path| ("--sp1-artifacts", path.into()));
        artifacts.chain([("--device", name(self.device).into())]).collect()
    }

    #[cfg(not(feature = "sp1"))]
    fn sp1_flags(&self) -> Vec<(&'static str, OsString)> {
        Vec::new()
    }
}

/// A value's name in flags.
pub(crate) fn name(value: impl ValueEnum) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

impl Args {
    /// Time for running proofs at the end.
    pub(crate) fn drain(&self) -> Duration {
        Duration::from_secs(self.drain_seconds.into())
    }
}

/// What makes proofs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum BackendName {
    /// Real proofs of SP1 circuits.
    Sp1,
    /// Real proofs of circom circuits.
    Groth16,
    /// Real outputs, no proofs: for development and load tests.
    Mock,
}

/// Ways for a mock proof to fail on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FailureName {
    /// An error: trying again may help.
    Error,
    /// It never ends.
    Hang,
    /// A proof of something else.
    WrongProof,
    /// A proof at another root.
    WrongRoot,
    /// It is made, and the caller loses the connection.
    LostStream,
}

/// Where SP1 proves.
#[cfg(feature = "sp1")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DeviceName {
    /// This machine's CPU.
    Cpu,
    /// This machine's NVIDIA GPU.
    #[cfg(feature = "cuda")]
    Cuda,
    /// Succinct's prover network or a cluster that speaks its protocol (NETWORK_RPC_URL, NETWORK_PRIVATE_KEY).
    #[cfg(feature = "network")]
    Network,
}

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// `24GiB`, `24G`, `512MiB`, or a number of bytes.
fn parse_bytes(text: &str) -> Result<u64, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let shift = match unit.trim() {
        "" | "B" => 0,
        "K" | "KiB" => 10,
        "M" | "MiB" => 20,
        "G" | "GiB" => 30,
        "T" | "TiB" => 40,
        _ => return Err("expected a number of bytes, or one with KiB, MiB, GiB or TiB".into()),
    };
    let number: u64 = number.parse().map_err(|_| "expected a whole number such as 24GiB".to_owned())?;
    number.checked_mul(1 << shift).ok_or_else(|| "more bytes than there can be".into())
}

fn parse_percentage(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(percentage) if (0.0..=100.0).contains(&percentage) => Ok(percentage),
        _ => Err("expected a number from 0 to 100".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_flags_are_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn sizes_are_read() {
        assert_eq!(parse_bytes("24GiB"), Ok(24 << 30));
        assert_eq!(parse_bytes("24G"), Ok(24 << 30));
        assert_eq!(parse_bytes("1 MiB"), Ok(1 << 20));
        assert_eq!(parse_bytes("17"), Ok(17));
        for wrong in ["", "GiB", "1.5GiB", "-1", "24GB", "99999999999TiB"] {
            assert!(parse_bytes(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn percentages_are_between_none_and_all() {
        assert_eq!(parse_percentage("2.5"), Ok(2.5));
        for wrong in ["100.1", "-0.1", "NaN", "half"] {
            assert!(parse_percentage(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_worker_is_told_what_the_node_was_told() {
        let told = ["--mock-latency-ms=7", "--mock-jitter-ms=9", "--mock-failures=2.5", "--mock-seed=3"];
        for more in [&[][..], &["--mock-failure-kinds=hang,lost-stream"]] {
            let node = Args::parse_from([&["coprocessor-prover"], &told[..], more].concat());
            let start = ["coprocessor-prover", "worker", "--backend", "mock"].map(OsString::from);
            let worker = Args::parse_from(start.into_iter().chain(node.proving.to_flags()));
            let Some(Command::Worker(worker)) = worker.command else { panic!("{worker:?}") };
            assert_eq!(worker.proving, node.proving);
        }
    }
}
