//! Flags and environment.

use clap::{Args as ClapArgs, Parser, Subcommand};
use std::{net::SocketAddr, path::PathBuf};

/// The Valence ZK coprocessor: registers guest programs and proves them.
#[derive(Parser, Debug)]
#[command(name = "coprocessor", version, args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) serve: ServeArgs,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Run the service (the default).
    Serve(Box<ServeArgs>),
    /// Verify a proof from its JSON, in this process, without any service. Exit code 0: valid, 1: not, 2: unreadable.
    Verify(VerifyArgs),
    /// Print the OpenAPI document.
    Openapi,
}

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

#[derive(ClapArgs, Debug, Clone)]
pub(crate) struct ServeArgs {
    /// Address to listen on. Without keys for callers the service only takes loopback, unless --insecure.
    #[arg(long, env = "COPROCESSOR_LISTEN", default_value = "127.0.0.1:37281")]
    pub(crate) listen: SocketAddr,
    /// Directory of the embedded store. Default: $XDG_DATA_HOME/coprocessor or ~/.local/share/coprocessor.
    #[arg(long, env = "COPROCESSOR_DATA_DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// A prover node, such as http://127.0.0.1:37282; may be given several times. Its secret is read from
    /// VALENCE_PROVER_SECRET or --prover-secret-file. Without any node, mock proofs are made in this process.
    #[arg(long = "prover", env = "COPROCESSOR_PROVERS", value_delimiter = ',')]
    pub(crate) provers: Vec<String>,
    /// File with the prover nodes' shared secret; else the environment variable VALENCE_PROVER_SECRET.
    #[arg(long)]
    pub(crate) prover_secret_file: Option<PathBuf>,
    /// Offer mock proofs from this process even where prover nodes are configured.
    #[arg(long)]
    pub(crate) mock: bool,
    /// Listen beyond loopback without authentication, and send prover secrets without TLS.
    #[arg(long)]
    pub(crate) insecure: bool,
    /// Write the bound address to this file once the service listens.
    #[arg(long)]
    pub(crate) port_file: Option<PathBuf>,
    /// Largest request body in MiB.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) max_body_mib: u32,
    /// Controllers running at once. Default: the number of cores.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) controllers: Option<u16>,
    /// Fuel of one controller call: about one per WebAssembly instruction.
    #[arg(long)]
    pub(crate) controller_fuel: Option<u64>,
    /// Wall-clock limit of one controller call in milliseconds.
    #[arg(long)]
    pub(crate) controller_ms: Option<u64>,
    /// Memory limit of one controller call in MiB.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) controller_memory_mib: Option<u32>,
    /// Size of a new program's volume in MiB.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(3..=2047))]
    pub(crate) volume_mib: u32,
    /// Seconds that running steps may take to end when the service is told to stop.
    #[arg(long, default_value_t = 5)]
    pub(crate) stop_seconds: u64,
    /// How the log is written. What is logged: RUST_LOG, `info` by default.
    #[arg(long, value_enum, default_value_t = LogFormat::Text, env = "COPROCESSOR_LOG")]
    pub(crate) log: LogFormat,
}

#[derive(ClapArgs, Debug)]
pub(crate) struct VerifyArgs {
    /// The proof as `GET /api/v1/tasks/{id}/proof` answers it.
    pub(crate) proof: PathBuf,
    /// The form it must have: core, compressed, groth16, plonk or mock. Default: what the file says, but mock only when
    /// asked for here.
    #[arg(long)]
    pub(crate) kind: Option<coprocessor_types::ProofKind>,
    /// Verify against this key (a file in the backend's encoding) instead of the one in the proof's JSON.
    #[arg(long)]
    pub(crate) verifying_key: Option<PathBuf>,
    /// The root it must be bound to, in hex.
    #[arg(long)]
    pub(crate) root: Option<coprocessor_types::Root>,
}
