//! Flags and environment.

use clap::{Parser, ValueEnum};
use std::{net::SocketAddr, num::NonZeroU32, path::PathBuf, time::Duration};

/// A prover node of the coprocessor: takes circuits and jobs over gRPC and makes proofs.
///
/// The shared secret is read from the environment variable VALENCE_PROVER_SECRET or from --secret-file.
#[derive(Parser, Debug)]
#[command(name = "coprocessor-prover", version)]
pub(crate) struct Args {
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
    /// Milliseconds that a mock proof takes.
    #[arg(long, default_value_t = 0)]
    pub(crate) mock_latency_ms: u64,
    /// Share of mock proofs that fail on purpose, from 0 to 1.
    #[arg(long, default_value_t = 0.0, value_parser = parse_share)]
    pub(crate) mock_failure_rate: f64,
    /// Chooses which mock proofs fail.
    #[arg(long, default_value_t = 0)]
    pub(crate) mock_failure_seed: u64,
    /// Where SP1 proves.
    #[cfg(feature = "sp1")]
    #[arg(long, value_enum, default_value_t = DeviceName::Cpu)]
    pub(crate) device: DeviceName,
    /// Directory with SP1's groth16 and plonk circuit artifacts.
    #[cfg(feature = "sp1")]
    #[arg(long)]
    pub(crate) sp1_artifacts: Option<PathBuf>,
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
    /// Real outputs, no proofs: for development and load tests.
    Mock,
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

fn parse_share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("expected a number from 0 to 1".into()),
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
    fn shares_are_between_none_and_all() {
        assert_eq!(parse_share("0.25"), Ok(0.25));
        for wrong in ["1.1", "-0.1", "NaN", "half"] {
            assert!(parse_share(wrong).is_err(), "{wrong}");
        }
    }
}
