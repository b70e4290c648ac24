//! Flags of the service.

use super::{Keep, LogFormat, NetworkArgs, StoreArgs, duration};
use clap::Args as ClapArgs;
use coprocessor_engine::AllowedHost;
use std::{net::SocketAddr, path::PathBuf, time::Duration};

#[derive(ClapArgs, Debug, Clone)]
pub(crate) struct ServeArgs {
    /// Address to listen on. Beyond loopback only once there is a key for callers (`coprocessor keys create`), unless
    /// --insecure.
    #[arg(long, env = "COPROCESSOR_LISTEN", default_value = "127.0.0.1:37281")]
    pub(crate) listen: SocketAddr,
    #[command(flatten)]
    pub(crate) store: StoreArgs,
    /// A prover node, such as http://127.0.0.1:37282; may be given several times. Its secret is read from
    /// VALENCE_PROVER_SECRET or --prover-secret-file. Without any node, mock proofs of SP1 circuits and real proofs of Groth16
    /// circuits are made in this process.
    #[arg(long = "prover", env = "COPROCESSOR_PROVERS", value_delimiter = ',')]
    pub(crate) provers: Vec<String>,
    /// File with the prover nodes' shared secret; else the environment variable VALENCE_PROVER_SECRET.
    #[arg(long)]
    pub(crate) prover_secret_file: Option<PathBuf>,
    /// Listen beyond loopback without keys for callers, and send prover secrets and webhooks without TLS.
    #[arg(long)]
    pub(crate) insecure: bool,
    /// Refuse what is for development only: mock proofs, proofs made in this process, and Groth16 circuits with a key that was made
    /// for development.
    #[arg(long, conflicts_with = "mock")]
    pub(crate) production: bool,
    /// Once there are keys, let callers without one read, deploy and prove as the owner `anonymous`.
    #[arg(long)]
    pub(crate) anonymous: bool,
    /// Write the bound address to this file once the service listens.
    #[arg(long)]
    pub(crate) port_file: Option<PathBuf>,
    /// Largest request body in MiB.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) max_body_mib: u32,
    /// Seconds that running steps may take to end when the service is told to stop.
    #[arg(long, default_value_t = 5)]
    pub(crate) stop_seconds: u64,
    /// How the log is written. What is logged: RUST_LOG, `info` by default.
    #[arg(long, value_enum, default_value_t = LogFormat::Text, env = "COPROCESSOR_LOG")]
    pub(crate) log: LogFormat,
    #[command(flatten)]
    pub(crate) work: WorkArgs,
    #[command(flatten)]
    pub(crate) network: NetworkArgs,
    #[command(flatten)]
    pub(crate) limits: LimitArgs,
    #[command(flatten)]
    pub(crate) keep: KeepArgs,
    #[command(flatten)]
    pub(crate) mock: MockArgs,
}

#[derive(ClapArgs, Debug, Clone)]
#[command(next_help_heading = "Work")]
pub(crate) struct WorkArgs {
    /// Answer requests, and leave the work on tasks to other coprocessors of the same store.
    #[arg(long)]
    pub(crate) api_only: bool,
    /// Names this process in claims. Default: the machine's name and the process id.
    #[arg(long, value_name = "NAME")]
    pub(crate) worker: Option<String>,
    /// Seconds that a claim of a task holds without a sign of life of its worker.
    #[arg(long, default_value_t = 30, value_name = "SECONDS", value_parser = clap::value_parser!(u16).range(1..=3600))]
    pub(crate) lease_seconds: u16,
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
    /// Elements of each table of one controller.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub(crate) controller_table: Option<u32>,
    /// Stack of one controller call in KiB.
    #[arg(long, value_name = "KIB", value_parser = clap::value_parser!(u32).range(16..=16_384))]
    pub(crate) controller_stack_kib: Option<u32>,
    /// Result of one controller call in KiB of JSON.
    #[arg(long, value_name = "KIB", value_parser = clap::value_parser!(u32).range(1..=16_384))]
    pub(crate) controller_output_kib: Option<u32>,
    /// Log of one controller call in KiB.
    #[arg(long, value_name = "KIB", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub(crate) controller_log_kib: Option<u32>,
    /// Host calls of one controller call.
    #[arg(long, value_name = "N")]
    pub(crate) controller_host_calls: Option<u64>,
    /// Size of a new program's volume in MiB.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(3..=2048))]
    pub(crate) volume_mib: u32,
    /// Largest volume in MiB: that a program may be deployed with, and that an image which is uploaded may bring.
    #[arg(long, default_value_t = 2048, value_parser = clap::value_parser!(u32).range(3..=2048))]
    pub(crate) max_volume_mib: u32,
    /// Which runs of controllers are recorded, to be replayed by their programs' owners.
    #[arg(long, value_enum, default_value_t = Record::Asked)]
    pub(crate) record: Record,
    /// Longest recording that is kept in MiB.
    #[arg(long, default_value_t = 16, value_name = "MIB", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) record_mib: u32,
    /// A host that webhooks, and prover nodes that owners bring, may be at though it is inside this network; may be given several
    /// times.
    #[arg(long, env = "COPROCESSOR_WEBHOOK_ALLOW", value_name = "HOST[:PORT]", value_delimiter = ',')]
    pub(crate) webhook_allow: Vec<AllowedHost>,
}

/// Which runs of controllers are recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Record {
    /// None, whoever asks.
    Never,
    /// Those of tasks and dry runs that ask for it.
    Asked,
    /// These, and of other tasks of a program's owner those that fail.
    Failed,
}

#[derive(ClapArgs, Debug, Clone)]
#[command(next_help_heading = "Limits")]
pub(crate) struct LimitArgs {
    /// Unfinished tasks of all owners; more are refused.
    #[arg(long, default_value_t = 100_000, value_name = "TASKS")]
    pub(crate) backlog: u64,
    /// Unfinished tasks of one owner that has no quota of its own.
    #[arg(long, default_value_t = 10_000, value_name = "TASKS")]
    pub(crate) owner_backlog: u64,
    /// Requests a second of one owner that change something, sustained, counted by this process.
    #[arg(long, default_value_t = 1000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) owner_requests_per_second: u32,
    /// Requests at once of one owner that change something.
    #[arg(long, default_value_t = 2000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) owner_burst: u32,
    /// Programs of one owner.
    #[arg(long, default_value_t = 1000, value_name = "N")]
    pub(crate) owner_programs: u64,
    /// MiB that the volumes of one owner's programs hold together: pages that are not all zeros, and raw storage.
    #[arg(long, default_value_t = 16_384, value_name = "MIB")]
    pub(crate) owner_volumes_mib: u32,
    /// Longest time to a task's deadline that a client may ask for, such as 7d.
    #[arg(long, default_value = "7d", value_name = "TIME", value_parser = duration)]
    pub(crate) max_deadline: Duration,
    /// Take nothing new while less than this is free on the disk.
    #[arg(long, default_value_t = 512, value_name = "MIB")]
    pub(crate) min_free_mib: u64,
    /// Take nothing new while the store is larger than this.
    #[arg(long, value_name = "MIB")]
    pub(crate) max_store_mib: Option<u64>,
}

#[derive(ClapArgs, Debug, Clone)]
#[command(next_help_heading = "Keeping")]
pub(crate) struct KeepArgs {
    /// How long finished tasks are kept, with their events: a time such as 90d, or forever.
    #[arg(long, default_value = "90d", value_name = "TIME")]
    pub(crate) keep_tasks: Keep,
    /// How long proofs of finished tasks are kept.
    #[arg(long, default_value = "30d", value_name = "TIME")]
    pub(crate) keep_proofs: Keep,
    /// How long witnesses of delivered and cancelled tasks are kept.
    #[arg(long, default_value = "1d", value_name = "TIME")]
    pub(crate) keep_witnesses: Keep,
    /// How long past roots can be opened, so that tasks can be pinned to them and blocks shown at them: a time such as 90d, or forever. The
    /// current root always can.
    #[arg(long, default_value = "forever", value_name = "TIME")]
    pub(crate) keep_roots: Keep,
    /// How long recordings of controllers' runs are kept.
    #[arg(long, default_value = "7d", value_name = "TIME")]
    pub(crate) keep_recordings: Keep,
    /// Versions of each program's controller that are kept, the current one among them. Those of unfinished and of failed tasks stay
    /// beyond that.
    #[arg(long, default_value_t = 32, value_name = "VERSIONS", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) keep_controllers: u32,
    /// Compiled controllers that are kept in MiB, in `compiled` in --data-dir, so that they are not compiled again after a restart;
    /// those not used for longest go first. 0: none.
    #[arg(long, default_value_t = 1024, value_name = "MIB", value_parser = clap::value_parser!(u32).range(0..=1_048_576))]
    pub(crate) keep_compiled_mib: u32,
}

#[derive(ClapArgs, Debug, Clone)]
#[command(next_help_heading = "Mock proofs")]
pub(crate) struct MockArgs {
    /// Offer mock proofs from this process even where prover nodes are configured.
    #[arg(long)]
    pub(crate) mock: bool,
    /// Milliseconds that a mock proof of this process takes.
    #[arg(long, default_value_t = 0, value_name = "MS")]
    pub(crate) mock_latency_ms: u64,
    /// Percent of this process's mock proofs that fail on purpose.
    #[arg(long, default_value_t = 0, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(0..=100))]
    pub(crate) mock_failures: u8,
}
