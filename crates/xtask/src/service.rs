//! The service as two processes of its own: a coprocessor and a prover node, on free loopback ports.

use crate::{
    cargo::Programs,
    process::Program,
    terminal::{self, Step},
};
use anyhow::{Context, Result, bail};
use coprocessor_api::{ProverView, client::Client};
use serde_json::{Value, json};
use std::{
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
    time::Duration,
};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

/// How long a program may take until it listens. Opening a store takes milliseconds; a machine under load more.
const LISTEN_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a prover node may take to warm up: 25 s when built for the CPU, 130 s when not, more under load.
const WARM_UP_TIMEOUT: Duration = Duration::from_secs(600);

/// What proves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Backend {
    /// SP1 on this machine's CPU.
    Sp1,
    /// Groth16 over circuits of circom.
    Groth16,
    /// Nothing: proofs of kind `mock`.
    Mock,
}

impl Backend {
    /// As the prover node's `--backend` has it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Sp1 => "sp1",
            Self::Groth16 => "groth16",
            Self::Mock => "mock",
        }
    }
}

/// Where a service keeps what it has.
#[derive(Clone, Debug)]
pub(crate) struct Folders {
    /// Data of both programs; each has a folder in it.
    pub(crate) data: PathBuf,
    /// Their logs.
    pub(crate) logs: PathBuf,
}

/// A service being run.
pub(crate) struct Service<'a> {
    programs: &'a Programs,
    backend: Backend,
    folders: Folders,
    secret: String,
    prover: Option<Program>,
    coprocessor: Option<Program>,
    prover_url: String,
    flags: Vec<OsString>,
}

impl<'a> Service<'a> {
    /// A service that is yet to be started, with a secret nobody else knows.
    pub(crate) fn new(programs: &'a Programs, backend: Backend, folders: Folders) -> Result<Self> {
        std::fs::create_dir_all(&folders.logs)?;
        std::fs::create_dir_all(&folders.data)?;
        let secret = random_secret()?;
        Ok(Self {
            programs,
            backend,
            folders,
            secret,
            prover: None,
            coprocessor: None,
            prover_url: String::new(),
            flags: Vec::new(),
        })
    }

    /// With more flags for the coprocessor.
    pub(crate) fn with_flags(self, flags: impl IntoIterator<Item = OsString>) -> Self {
        Self { flags: flags.into_iter().collect(), ..self }
    }

    /// Other flags for the coprocessor, from its next start on.
    pub(crate) fn set_flags(&mut self, flags: impl IntoIterator<Item = OsString>) {
        self.flags = flags.into_iter().collect();
    }

    /// Starts the prover node; returns its address once it listens. It may still have to warm up.
    pub(crate) async fn start_prover(&mut self) -> Result<String> {
        let data = self.folders.data.join("prover");
        let arguments: [&OsStr; 4] =
            ["--backend".as_ref(), self.backend.as_str().as_ref(), "--data-dir".as_ref(), data.as_os_str()];
        let (name, executable) = ("coprocessor-prover", &self.programs.prover);
        let program = Program::start(name, executable, &self.folders.logs, arguments, &self.secret)?;
        let address = self.prover.insert(program).listening(LISTEN_TIMEOUT).await?;
        self.prover_url = format!("http://{address}");
        Ok(self.prover_url.clone())
    }

    /// Starts the coprocessor; returns a client of it once it is ready.
    pub(crate) async fn start_coprocessor(&mut self) -> Result<Client> {
        let data = self.folders.data.join("coprocessor");
        let mut arguments: Vec<OsString> = vec!["serve".into(), "--data-dir".into(), data.into()];
        if !self.prover_url.is_empty() {
            arguments.extend(["--prover".into(), self.prover_url.clone().into()]);
        }
        arguments.extend(self.flags.iter().cloned());
        let (name, executable) = ("coprocessor", &self.programs.coprocessor);
        let program = Program::start(name, executable, &self.folders.logs, arguments, &self.secret)?;
        let program = self.coprocessor.insert(program);
        let client = Client::new(&format!("http://{}", program.listening(LISTEN_TIMEOUT).await?))?;
        loop {
            program.check_alive()?;
            let (ready, health) = client.ready().await?;
            if ready {
                return Ok(client);
            }
            if program.started().elapsed() > LISTEN_TIMEOUT {
                bail!("the coprocessor is not ready after {} s: {}", LISTEN_TIMEOUT.as_secs(), health.status);
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Waits until the prover node is warm and the coprocessor knows that it makes proofs of that kind; shows how far it is.
    pub(crate) async fn wait_for_prover(&mut self, client: &Client, kind: &str, step: &mut Step) -> Result<ProverView> {
        loop {
            self.check_alive()?;
            let node = client.provers().await?.items.into_iter().find(|node| node.address == self.prover_url);
            let node =
                node.with_context(|| format!("the coprocessor does not know the prover node {}", self.prover_url))?;
            let offers = node.kinds.iter().any(|offered| offered == kind);
            if node.reachable && offers && self.is_prover_warm().await? {
                return Ok(node);
            }
            if let Some(reason) = node.missing.get(kind) {
                bail!("the prover node makes no {kind} proofs: {reason}");
            }
            if step.elapsed() > WARM_UP_TIMEOUT {
                let reason = node.error.unwrap_or_else(|| format!("it offers {:?}, and is not warm", node.kinds));
                bail!("the prover node is not ready after {} s: {reason}", WARM_UP_TIMEOUT.as_secs());
            }
            step.doing("warming up: the prover makes its tables, once per process (25 s or more)");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// What the node's standard health service says: a node that still warms up takes jobs, and lets them wait.
    async fn is_prover_warm(&self) -> Result<bool> {
        let channel = tonic::transport::Endpoint::from_shared(self.prover_url.clone())?.connect().await?;
        let health = HealthClient::new(channel).check(HealthCheckRequest::default()).await;
        let status = health.context("the prover node does not say how it is")?.into_inner().status();
        Ok(status == ServingStatus::Serving)
    }

    /// Fails when one of the programs has ended.
    pub(crate) fn check_alive(&mut self) -> Result<()> {
        self.prover.iter_mut().chain(&mut self.coprocessor).try_for_each(Program::check_alive)
    }

    /// The prover node, while it runs.
    pub(crate) fn prover(&self) -> Result<&Program> {
        self.prover.as_ref().context("the prover node does not run")
    }

    /// The coprocessor, while it runs.
    pub(crate) fn coprocessor(&self) -> Result<&Program> {
        self.coprocessor.as_ref().context("the coprocessor does not run")
    }

    /// The prover node's address, once it was started.
    pub(crate) fn prover_url(&self) -> &str {
        &self.prover_url
    }

    /// Ends the coprocessor alone.
    pub(crate) async fn stop_coprocessor(&mut self) -> Result<()> {
        match self.coprocessor.take() {
            Some(program) => program.stop().await,
            None => Ok(()),
        }
    }

    /// Ends both.
    pub(crate) async fn stop(mut self) -> Result<()> {
        self.stop_coprocessor().await?;
        match self.prover.take() {
            Some(program) => program.stop().await,
            None => Ok(()),
        }
    }

    /// Shows the last lines that the programs wrote.
    pub(crate) fn show_logs(&self) {
        for program in self.prover.iter().chain(&self.coprocessor) {
            terminal::heading(&format!("The end of {}", program.log().display()));
            let tail = program.log_tail();
            terminal::line(if tail.is_empty() { "(it wrote nothing)" } else { &tail });
        }
    }
}

/// Runs `work` with a service and ends it in every case: success, failure, Ctrl-C. After a failure its logs are shown.
pub(crate) fn with_service<T>(
    mut service: Service<'_>,
    work: impl AsyncFnOnce(&mut Service<'_>) -> Result<T>,
) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let outcome = tokio::select! {
            // Work that itself waits for Ctrl-C ends well by it.
            biased;
            outcome = work(&mut service) => outcome,
            interrupted = crate::process::interruption() => interrupted.and_then(|interrupted| Err(interrupted.into())),
        };
        if outcome.as_ref().is_err_and(|error| !error.is::<crate::process::Interrupted>()) {
            service.show_logs();
        }
        service.stop().await?;
        outcome
    })
}

/// A guest's built artifacts, and what its demo asks for.
#[derive(Clone, Debug)]
pub(crate) struct Guest {
    /// Its name: that of its folder in `guests/`, or in `examples/`.
    pub(crate) name: String,
    /// `circuit.elf`, or a bundle.
    pub(crate) circuit: Vec<u8>,
    /// Where that lies.
    pub(crate) circuit_path: PathBuf,
    /// `controller.wasm`.
    pub(crate) controller: Vec<u8>,
    /// Arguments that show what it does; null for one that is not known here.
    pub(crate) example: Value,
    /// What proves its circuit; the service's own choice if none.
    pub(crate) backend: Option<coprocessor_types::Backend>,
}

impl Guest {
    /// Reads a guest of this checkout, with the artifacts committed with it or those of another build.
    pub(crate) fn read(root: &Path, name: &str, artifacts: Option<&Path>) -> Result<Self> {
        let dir = root.join("guests").join(name);
        if !dir.is_dir() {
            bail!("there is no guest called {name:?}: the guests are the folders of {}", root.join("guests").display());
        }
        let artifacts = artifacts.map_or_else(|| dir.join("artifacts"), Path::to_owned);
        let read = |path: &Path| {
            let hint = "`cargo xtask guests` builds it";
            std::fs::read(path).with_context(|| format!("cannot read {}; {hint}", path.display()))
        };
        let circuit_path = artifacts.join("circuit.elf");
        Ok(Self {
            name: name.to_owned(),
            circuit: read(&circuit_path)?,
            circuit_path,
            controller: read(&artifacts.join("controller.wasm"))?,
            example: example(name),
            backend: None,
        })
    }

    /// The example over a circuit of circom, with the controller and the bundle committed with it.
    pub(crate) fn threshold(root: &Path) -> Result<Self> {
        let name = "threshold";
        let circuit_path = root.join("crates/groth16/circom/built/threshold.bundle");
        let controller = root.join("examples/threshold/artifacts/controller.wasm");
        let read = |path: &Path| std::fs::read(path).with_context(|| format!("cannot read {}", path.display()));
        Ok(Self {
            name: name.to_owned(),
            circuit: read(&circuit_path)?,
            circuit_path,
            controller: read(&controller)?,
            example: example(name),
            backend: Some(coprocessor_types::Backend::Groth16),
        })
    }

    /// What is deployed of it.
    pub(crate) fn deployment(&self) -> coprocessor_api::client::Deployment {
        coprocessor_api::client::Deployment {
            name: self.name.clone(),
            controller: self.controller.clone().into(),
            circuit: self.circuit.clone().into(),
            backend: self.backend,
            ..Default::default()
        }
    }
}

fn example(guest: &str) -> Value {
    match guest {
        "hello" => json!({"name": "world"}),
        "solvency" => json!({"accounts": [
            {"id": "alice", "balance": 120_000},
            {"id": "bob", "balance": 45_500},
            {"id": "carol", "balance": "340282366920938463463374607431"},
        ]}),
        "threshold" => json!({"amount": 2500, "salt": "0x5a17", "at_least": 1000}),
        _ => Value::Null,
    }
}

fn random_secret() -> Result<String> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).context("the kernel gives no random numbers")?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_differ() {
        let (one, other) = (random_secret().unwrap(), random_secret().unwrap());
        assert_eq!(one.len(), 64);
        assert_ne!(one, other);
    }

    #[test]
    fn an_unknown_guest_is_named() {
        let error = Guest::read(Path::new("/nowhere"), "ghost", None).unwrap_err();
        assert!(error.to_string().contains("\"ghost\""), "{error}");
    }
}
