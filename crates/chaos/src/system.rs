//! The system under test: its processes, the servers they use, and the links between them.

use anyhow::{Context, Result, bail};
use coprocessor_test_servers::{BreakingProxy, Postgres, PostgresSettings, S3Server};
use secrecy::SecretString;
use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};
use tokio::sync::Mutex;

use crate::{
    args::{Args, Programs, StoreName},
    disk::SmallDisk,
    plan::Shape,
    process::{self, Process, Recipe},
    receiver::Receiver,
    terminal,
};

/// What coprocessors show to nodes.
const NODE_SECRET: &str = "hush-between-machines";
/// The bucket that blobs are in.
const BUCKET: &str = "chaos";
/// Disk space below which the service takes nothing new, in MiB. Small, as the disk is.
const MIN_FREE_MIB: u32 = 4;
/// Milliseconds that a mock proof takes: long enough to be killed in.
const PROOF_MS: u32 = 120;
/// Milliseconds that it may take beyond that.
const PROOF_JITTER_MS: u32 = 200;
/// Percentage of mock proofs that fail on purpose, and how. Not with a wrong root: a mock proof holds whatever it is of, so
/// that is taken for the circuit's own doing.
const PROOF_FAILURES: &str = "4";
const PROOF_FAILURE_KINDS: &str = "error,wrong-proof,lost-stream";

/// How long a process may outlive the one that started it.
const LAST_BREATH: Duration = Duration::from_secs(5);

/// Everything that runs. Ends with it.
#[derive(Debug)]
pub(crate) struct System {
    pub(crate) coprocessors: Vec<Mutex<Process>>,
    pub(crate) nodes: Vec<Mutex<Process>>,
    /// Callers to each coprocessor.
    pub(crate) caller_links: Vec<BreakingProxy>,
    /// All coprocessors to each node.
    pub(crate) node_links: Vec<BreakingProxy>,
    /// Each coprocessor to PostgreSQL.
    pub(crate) database_links: Vec<BreakingProxy>,
    /// Each coprocessor to the blob server.
    pub(crate) blob_links: Vec<BreakingProxy>,
    pub(crate) database: Option<Mutex<Postgres>>,
    pub(crate) disk: Option<SmallDisk>,
    pub(crate) receiver: Receiver,
    /// What there is to harm.
    pub(crate) shape: Shape,
    directory: PathBuf,
    store: Place,
    program: PathBuf,
    _blobs: Option<S3Server>,
}

/// How the store is named to a coprocessor.
#[derive(Debug)]
struct Place {
    arguments: Vec<OsString>,
    environment: Vec<(String, String)>,
}

impl System {
    /// Starts all of it but the coprocessors: they want a key to be made first.
    pub(crate) async fn start(args: &Args, seed: u64, directory: &Path) -> Result<Self> {
        let programs = args.programs()?;
        let receiver = Receiver::start().await?;
        let (nodes, node_links) = start_nodes(args, &programs, seed, directory).await?;
        let store = Stores::start(args, directory)?;
        let shape = Shape {
            coprocessors: args.coprocessors()?,
            nodes: nodes.len(),
            postgres: args.store == StoreName::Postgres,
            disk: store.disk.is_some(),
            lease: args.lease(),
        };
        let (mut coprocessors, mut caller_links) = (Vec::new(), Vec::new());
        for (at, place) in store.places.iter().enumerate() {
            let name = format!("coprocessor-{at}");
            let mut arguments = place.arguments.clone();
            arguments.extend(["--worker".into(), name.clone().into()]);
            arguments.extend(["--lease-seconds".into(), args.lease_seconds.to_string().into()]);
            arguments.extend(["--stop-seconds", "2", "--owner-requests-per-second", "10000"].map(OsString::from));
            arguments.extend(["--owner-burst", "10000", "--backlog", "100000"].map(OsString::from));
            arguments.extend(["--owner-backlog", "100000", "--min-free-mib"].map(OsString::from));
            arguments.push(MIN_FREE_MIB.to_string().into());
            arguments.extend(["--webhook-allow".into(), receiver.address().to_string().into()]);
            for link in &node_links {
                arguments.extend(["--prover".into(), format!("http://{}", link.address()).into()]);
            }
            let mut environment = place.environment.clone();
            environment.push(("VALENCE_PROVER_SECRET".into(), NODE_SECRET.into()));
            let recipe = Recipe { name, program: &programs.coprocessor, arguments, environment, directory };
            let process = Process::new(recipe)?;
            caller_links.push(BreakingProxy::start(process.address())?);
            coprocessors.push(Mutex::new(process));
        }
        let place = store.places.into_iter().next().context("there is no coprocessor")?;
        Ok(Self {
            coprocessors,
            nodes,
            caller_links,
            node_links,
            database_links: store.database_links,
            blob_links: store.blob_links,
            database: store.database.map(Mutex::new),
            disk: store.disk,
            receiver,
            shape,
            directory: directory.to_owned(),
            store: place,
            program: programs.coprocessor,
            _blobs: store.blobs,
        })
    }

    /// Makes a key that may do everything, as an operator does: with the program itself, on the store.
    pub(crate) async fn make_admin_key(&self) -> Result<SecretString> {
        let made =
            self.offline(&["keys", "create", "--owner", "operator", "--name", "chaos", "--scope", "admin"]).await?;
        let key = made.split_whitespace().find(|word| word.starts_with("cpk_"));
        let key = key.with_context(|| format!("`coprocessor keys create` printed no key: {made}"))?;
        Ok(SecretString::from(key.to_owned()))
    }

    /// Runs a command of the coprocessor on the store, and returns what it printed.
    ///
    /// # Errors
    /// It fails; the error has what it said.
    pub(crate) async fn offline(&self, command: &[&str]) -> Result<String> {
        let mut offline = tokio::process::Command::new(&self.program);
        offline.args(command).args(&self.store.arguments);
        offline.env_clear().envs(self.store.environment.iter().cloned()).env("NO_COLOR", "1").stdin(Stdio::null());
        let output = offline.kill_on_drop(true).output().await?;
        if !output.status.success() {
            let (found, why) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            bail!("`coprocessor {}` failed ({}): {} {}", command.join(" "), output.status, found.trim(), why.trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Every process by name and how it ended, of those that ended though nobody harmed them. Those under a fault are
    /// left out.
    pub(crate) async fn start_the_fallen(&self) -> Vec<String> {
        let mut fallen = Vec::new();
        for process in self.coprocessors.iter().chain(&self.nodes) {
            let Ok(mut process) = process.try_lock() else { continue };
            let Some(status) = process.ended() else { continue };
            fallen.push(format!(
                "{} ended by itself ({status}); its log is {}",
                process.name(),
                process.log().display()
            ));
            if let Err(error) = process.revive().await {
                fallen.push(format!("{error:#}"));
            }
        }
        fallen
    }

    /// Processes that this run has started, or that those have, and that still run a moment after all were ended: their
    /// command lines.
    pub(crate) async fn left_over(&self) -> Vec<String> {
        let began = Instant::now();
        loop {
            let left = running(&self.directory);
            if left.is_empty() || began.elapsed() > LAST_BREATH {
                return left;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Logs of all processes.
    pub(crate) async fn logs(&self) -> Vec<PathBuf> {
        let mut logs = Vec::new();
        for process in self.coprocessors.iter().chain(&self.nodes) {
            logs.push(process.lock().await.log().to_owned());
        }
        logs
    }

    /// How often processes were started in all.
    pub(crate) async fn starts(&self) -> u32 {
        let mut starts = 0;
        for process in self.coprocessors.iter().chain(&self.nodes) {
            starts += process.lock().await.starts();
        }
        starts
    }
}

/// Command lines of the processes whose temporary files are to be in the run's directory: those started here, and those
/// that they have started.
fn running(directory: &Path) -> Vec<String> {
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let mark = format!("{}={}\0", process::MARK, directory.display());
    let marked = |process: &Path| {
        let environment = fs::read(process.join("environ")).unwrap_or_default();
        environment.windows(mark.len()).any(|window| window == mark.as_bytes())
    };
    let processes = processes.flatten().map(|process| process.path()).filter(|process| marked(process));
    let command = |process: PathBuf| {
        let line = fs::read(process.join("cmdline")).unwrap_or_default();
        format!("{}: {}", process.display(), String::from_utf8_lossy(&line).replace('\0', " "))
    };
    processes.map(command).collect()
}

async fn start_nodes(
    args: &Args,
    programs: &Programs,
    seed: u64,
    directory: &Path,
) -> Result<(Vec<Mutex<Process>>, Vec<BreakingProxy>)> {
    let (mut nodes, mut links) = (Vec::new(), Vec::new());
    for at in 0..usize::from(args.nodes) {
        let name = format!("node-{at}");
        let mut arguments: Vec<OsString> =
            ["--backend", "mock", "--slots", "4", "--drain-seconds", "2"].map(OsString::from).to_vec();
        arguments.extend(["--data-dir".into(), directory.join(&name).into()]);
        arguments.extend(["--mock-latency-ms".into(), PROOF_MS.to_string().into()]);
        arguments.extend(["--mock-jitter-ms".into(), PROOF_JITTER_MS.to_string().into()]);
        arguments.extend(["--mock-failures", PROOF_FAILURES].map(OsString::from));
        arguments.extend(["--mock-failure-kinds", PROOF_FAILURE_KINDS].map(OsString::from));
        // Of two nodes one proves in processes of their own, which must not outlive it.
        if at % 2 == 0 {
            arguments.push("--isolate-mock".into());
        }
        arguments.extend(["--mock-seed".into(), seed.wrapping_add(at as u64).to_string().into()]);
        let environment = vec![("VALENCE_PROVER_SECRET".to_owned(), NODE_SECRET.to_owned())];
        let recipe = Recipe { name, program: &programs.prover, arguments, environment, directory };
        let mut node = Process::new(recipe)?;
        node.start().await?;
        links.push(BreakingProxy::start(node.address())?);
        nodes.push(Mutex::new(node));
    }
    Ok((nodes, links))
}

/// What keeps the tasks, and how each coprocessor reaches it.
struct Stores {
    places: Vec<Place>,
    database: Option<Postgres>,
    blobs: Option<S3Server>,
    database_links: Vec<BreakingProxy>,
    blob_links: Vec<BreakingProxy>,
    disk: Option<SmallDisk>,
}

impl Stores {
    fn start(args: &Args, directory: &Path) -> Result<Self> {
        match args.store {
            StoreName::Embedded => Self::embedded(args, directory),
            StoreName::Postgres => Self::postgres(args),
        }
    }

    fn embedded(args: &Args, directory: &Path) -> Result<Self> {
        let disk = SmallDisk::mount(&directory.join("disk"), args.disk_mib.into())?;
        if disk.is_none() {
            terminal::note("SKIPPED: full disks; mounting a small file system takes root");
        }
        let data = disk.as_ref().map_or_else(|| directory.join("data"), |disk| disk.path().join("data"));
        let place = Place { arguments: vec!["--data-dir".into(), data.into()], environment: Vec::new() };
        let none = || Vec::new();
        Ok(Self { places: vec![place], database: None, blobs: None, database_links: none(), blob_links: none(), disk })
    }

    fn postgres(args: &Args) -> Result<Self> {
        let database = Postgres::start(PostgresSettings::default())?;
        let url = database.create_database("chaos")?;
        let blobs = S3Server::start(BUCKET)?;
        let blob_address = blobs.endpoint().trim_start_matches("http://").parse().context("the S3 server's address")?;
        let (mut places, mut database_links, mut blob_links) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..args.coprocessors()? {
            let database_link = BreakingProxy::start(database.address())?;
            let blob_link = BreakingProxy::start(blob_address)?;
            let mut arguments: Vec<OsString> = vec!["--blobs".into(), format!("s3://{BUCKET}/chaos").into()];
            arguments.extend(["--s3-endpoint".into(), format!("http://{}", blob_link.address()).into()]);
            let url = url.replace(&database.address().to_string(), &database_link.address().to_string());
            let environment = [
                ("COPROCESSOR_DATABASE_URL", url.as_str()),
                ("AWS_ACCESS_KEY_ID", blobs.access_key()),
                ("AWS_SECRET_ACCESS_KEY", blobs.secret_key()),
                ("AWS_REGION", "us-east-1"),
            ];
            let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
            places.push(Place { arguments, environment });
            database_links.push(database_link);
            blob_links.push(blob_link);
        }
        Ok(Self { places, database: Some(database), blobs: Some(blobs), database_links, blob_links, disk: None })
    }
}
