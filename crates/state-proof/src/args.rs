//! Flags and environment.

use crate::prove::Limits;
use clap::{Parser, ValueEnum};
use std::{net::SocketAddr, path::PathBuf, time::Duration};

/// Serves Ethereum state with its proofs, checked, in the JSON that controllers take in.
///
/// Chains are read from --rpc-file, or from the environment variable COPROCESSOR_RPC, which holds the same as inline TOML or
/// JSON: `eth-mainnet = "https://…"`, or a table with `url` and `headers` for each chain.
#[derive(Parser, Debug)]
#[command(name = "state-proof", version)]
pub(crate) struct Args {
    /// Address to listen on.
    #[arg(long, env = "STATE_PROOF_LISTEN", default_value = "127.0.0.1:37283")]
    pub(crate) listen: SocketAddr,
    /// Listen where others reach it, though it asks nobody for a key.
    #[arg(long)]
    pub(crate) allow_beyond_loopback: bool,
    /// File with the chains and the nodes that are asked about them, in TOML.
    #[arg(long, value_name = "FILE")]
    pub(crate) rpc_file: Option<PathBuf>,
    /// Seconds that one question to a node may take, and a request with all its retries three times as long.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=300))]
    pub(crate) rpc_seconds: u64,
    /// How often a question is put to a node that does not answer, or answers that it is too busy.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=10))]
    pub(crate) attempts: u32,
    /// Most MiB of answers that are kept.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=1 << 16))]
    pub(crate) cache_mib: u64,
    /// Most requests that ask nodes at once; more are refused.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1 << 16))]
    pub(crate) concurrent: u32,
    /// Most slots of one request.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) max_slots: u32,
    /// File to write the address to once requests are taken.
    #[arg(long, value_name = "FILE")]
    pub(crate) port_file: Option<PathBuf>,
    /// How log lines look.
    #[arg(long, env = "STATE_PROOF_LOG", value_enum, default_value = "text")]
    pub(crate) log: LogFormat,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Args {
    pub(crate) fn limits(&self) -> Limits {
        Limits {
            rpc_timeout: Duration::from_secs(self.rpc_seconds),
            attempts: self.attempts,
            cache_bytes: usize::try_from(self.cache_mib << 20).unwrap_or(usize::MAX),
            concurrent: self.concurrent as usize,
            max_slots: self.max_slots as usize,
        }
    }
}
