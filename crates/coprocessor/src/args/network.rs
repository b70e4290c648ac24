//! Flags for what controllers may reach.

use clap::Args as ClapArgs;
use coprocessor_engine::{AllowedHost, HttpRule};
use std::path::PathBuf;

#[derive(ClapArgs, Debug, Clone)]
#[command(next_help_heading = "Network of controllers")]
pub(crate) struct NetworkArgs {
    /// HTTP requests that controllers may send: a host, *.example.com for all names below one, or * for any; all methods and
    /// ports unless named; may be given several times. Default: none.
    #[arg(long, env = "COPROCESSOR_HTTP_ALLOW", value_name = "[METHOD@]HOST[:PORT]", value_delimiter = ',')]
    pub(crate) http_allow: Vec<HttpRule>,
    /// A host of those that may be inside this network (loopback, private or link-local); may be given several times.
    #[arg(long, env = "COPROCESSOR_HTTP_ALLOW_PRIVATE", value_name = "HOST[:PORT]", value_delimiter = ',')]
    pub(crate) http_allow_private: Vec<AllowedHost>,
    /// RPC endpoints for controllers, in TOML: lines of chain = "URL", or tables [chain] with url, headers, and methods: the
    /// only ones that may be called, such as ["eth_getProof", "eth_getBlock*"]. Without methods, all but those that use a node's
    /// keys or change the node. More of them, or others in their place, are read from the environment variable
    /// COPROCESSOR_RPC, in TOML or JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) rpc_file: Option<PathBuf>,
    /// Network calls of one controller call.
    #[arg(long, value_name = "N")]
    pub(crate) network_calls: Option<u64>,
    /// Milliseconds that each network call may take.
    #[arg(long, value_name = "MS")]
    pub(crate) network_call_ms: Option<u64>,
    /// What network calls of one controller call may send, in MiB.
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) network_sent_mib: Option<u32>,
    /// What network calls of one controller call may receive, in MiB.
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) network_received_mib: Option<u32>,
    /// Controllers that wait for network calls at once, beside those that compute.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(0..=4096))]
    pub(crate) controllers_waiting: Option<u16>,
}
