//! Flags that say where the store is.

use clap::Args as ClapArgs;
use std::path::PathBuf;

/// The embedded store in a directory, or PostgreSQL with blobs in a directory or in S3.
#[derive(ClapArgs, Debug, Clone)]
pub(crate) struct StoreArgs {
    /// Directory of the embedded store. Default: $XDG_DATA_HOME/coprocessor or ~/.local/share/coprocessor.
    #[arg(long, env = "COPROCESSOR_DATA_DIR", value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Keep everything in this PostgreSQL database, which many coprocessors can share, instead of the embedded store. A
    /// password in it is better in the environment or in a file: flags show in the list of processes.
    #[arg(long, env = "COPROCESSOR_DATABASE_URL", hide_env_values = true, value_name = "URL")]
    pub(crate) database_url: Option<String>,
    /// File with the database's URL.
    #[arg(long, env = "COPROCESSOR_DATABASE_URL_FILE", value_name = "FILE", conflicts_with = "database_url")]
    pub(crate) database_url_file: Option<PathBuf>,
    /// Connections to the database.
    #[arg(long, default_value_t = 16, value_name = "N", value_parser = clap::value_parser!(u16).range(2..=1000))]
    pub(crate) database_connections: u16,
    /// Where blobs are beside PostgreSQL: a directory that every coprocessor shares, or s3://bucket/prefix with credentials in
    /// AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION. Default: `blobs` in --data-dir, for one machine.
    #[arg(long, env = "COPROCESSOR_BLOBS", value_name = "DIR|s3://BUCKET/PREFIX")]
    pub(crate) blobs: Option<String>,
    /// Where an S3-compatible server that is not AWS listens.
    #[arg(long, env = "COPROCESSOR_S3_ENDPOINT", value_name = "URL")]
    pub(crate) s3_endpoint: Option<String>,
}
