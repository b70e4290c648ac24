//! From a build to a verified proof, with each stage shown as it happens.

mod by_hand;
mod chain;
mod claim;
mod stages;

use crate::{
    cargo::{Cargo, Programs, Sp1},
    process::{Interrupted, interruption},
    service::{Backend, Folders, Guest, Service, with_service},
    terminal::{self, Step},
    tools,
};
use anyhow::{Context, Result, bail};
use chain::Chain;
use claim::ProofFile;
use coprocessor_api::{
    ProofView, ProverView, TaskRequest, TaskState, TaskView,
    client::{Client, PathContent, Update},
};
use coprocessor_solidity::{Proof, PublicSignals};
use coprocessor_types::{ProgramId, TaskId};
use serde_json::json;
use stages::Stages;
use std::path::{Path, PathBuf};

/// Where the controller of the demo stores the proof on its volume.
const STORED: &str = "/var/share/proofs/demo.bin";

/// Start a coprocessor and a prover node, have a program proved, and verify the proof.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Without SP1: it is neither compiled nor run, and the proof proves nothing.
    #[arg(long)]
    mock: bool,
    /// A circuit of circom instead: a real proof in a fraction of a second, also without SP1.
    #[arg(long, conflicts_with_all = ["mock", "guest", "artifacts", "kind"])]
    groth16: bool,
    /// Which guest: a folder of `guests/`.
    #[arg(long, default_value = "hello")]
    guest: String,
    /// Arguments for its controller, as JSON; an example by default.
    #[arg(long, value_parser = |text: &str| serde_json::from_str::<serde_json::Value>(text))]
    args: Option<serde_json::Value>,
    /// Folder with `controller.wasm` and `circuit.elf` to use instead of those committed with the guest.
    #[arg(long)]
    artifacts: Option<PathBuf>,
    /// The form of proof: core (about a minute), compressed (several, and 18 GB of memory), or mock.
    #[arg(long, value_parser = ["core", "compressed", "mock"])]
    kind: Option<String>,
    /// Keep both programs running afterwards, until Ctrl-C.
    #[arg(long)]
    keep: bool,
}

impl Options {
    /// A demo of `hello` that proves for real, or not.
    pub(crate) fn of_hello(mock: bool) -> Self {
        let (args, artifacts, kind) = (None, None, None);
        Self { mock, groth16: false, guest: "hello".into(), args, artifacts, kind, keep: false }
    }

    /// A demo of a circuit of circom.
    pub(crate) fn of_groth16() -> Self {
        Self { groth16: true, ..Self::of_hello(false) }
    }

    /// A demo that proves something of a chain, with a chain of its own and without a real proof.
    pub(crate) fn of_a_chain() -> Self {
        Self { guest: chain::GUEST.into(), ..Self::of_hello(true) }
    }

    /// A demo of a guest rebuilt into another folder, without a real proof.
    pub(crate) fn of_rebuilt(guest: &str, artifacts: PathBuf) -> Self {
        Self { guest: guest.into(), artifacts: Some(artifacts), ..Self::of_hello(true) }
    }

    fn kind(&self) -> Result<&str> {
        if self.groth16 {
            return Ok("groth16");
        }
        match (self.mock, self.kind.as_deref()) {
            (true, Some(kind)) if kind != "mock" => bail!("--mock makes no {kind} proofs; leave --mock or --kind out"),
            (true, _) => Ok("mock"),
            (false, kind) => Ok(kind.unwrap_or("core")),
        }
    }

    fn backend(&self) -> Result<Backend> {
        Ok(match self.kind()? {
            "mock" => Backend::Mock,
            "groth16" => Backend::Groth16,
            _ => Backend::Sp1,
        })
    }
}

/// Runs the command.
pub(crate) fn run(options: &Options) -> Result<()> {
    let (kind, backend) = (options.kind()?, options.backend()?);
    let cargo = Cargo::new()?;
    let mut guest = match backend {
        Backend::Groth16 => Guest::threshold(cargo.root())?,
        _ => Guest::read(cargo.root(), &options.guest, options.artifacts.as_deref())?,
    };
    guest.example = options.args.clone().unwrap_or(guest.example);
    match backend {
        Backend::Sp1 => {
            terminal::heading(&format!("{}: one {kind} proof by SP1 on this machine's CPU", guest.name));
            check_memory(kind)?;
        }
        Backend::Groth16 => {
            terminal::heading(&format!(
                "{}: one Groth16 proof of a circuit of circom, by this machine's CPU",
                guest.name
            ));
        }
        Backend::Mock => {
            terminal::heading(&format!(
                "{}: the way of one request, with a mock proof that proves nothing",
                guest.name
            ));
        }
    }
    let programs = build(&cargo, if backend == Backend::Sp1 { Sp1::With } else { Sp1::Without })?;

    let data = tempfile::Builder::new().prefix("coprocessor-demo-").tempdir()?;
    let kept = cargo.target().join("demo").join(kind);
    let folders = Folders { data: data.path().to_owned(), logs: kept.clone() };
    let mut service = Service::new(&programs, backend, folders)?;
    let mut chain = None;
    if guest.name == chain::GUEST && options.args.is_none() {
        let started = Chain::start(cargo.root())?;
        service = service.with_flags(["--rpc-file".into(), started.write_rpc_file(data.path())?.into()]);
        guest.example = started.example();
        chain = Some((started, chain::domain_controller(cargo.root())?));
    }
    with_service(service, async |service| {
        let demo = Demo { programs: &programs, guest: &guest, kind, kept: &kept, chain: chain.as_ref() };
        let client = demo.show(service).await?;
        if options.keep {
            by_hand::show_running(&programs, client.base_url(), service.prover_url(), &guest, &kept);
            let Interrupted = interruption().await?;
            terminal::line("\nending both programs");
        } else if chain.is_some() {
            by_hand::show_how_to_keep(&guest, backend);
        } else {
            by_hand::show_how_to_start(&programs, backend, &guest);
        }
        Ok(())
    })
}

/// Builds the two programs, with a word beforehand where it takes long.
fn build(cargo: &Cargo, sp1: Sp1) -> Result<Programs> {
    if sp1 == Sp1::With && !has_compiled_sp1(cargo.target()) {
        terminal::line(
            "The first build compiles the SP1 SDK with its proving system: some 600 crates, optimised for this CPU\n\
             because a proof then takes a quarter of the time. On two cores that is 10 to 20 minutes; it is kept.",
        );
    }
    terminal::line("Building coprocessor and coprocessor-prover …");
    let started = std::time::Instant::now();
    let programs = cargo.build_service(sp1)?;
    let size = |path: &Path| std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    terminal::line(format!(
        "{} {:13} coprocessor ({}), coprocessor-prover ({}) in {}",
        terminal::mark(true),
        "Built",
        terminal::bytes(size(&programs.coprocessor)),
        terminal::bytes(size(&programs.prover)),
        terminal::duration(started.elapsed())
    ));
    Ok(programs)
}

fn has_compiled_sp1(target: &Path) -> bool {
    let Ok(artifacts) = std::fs::read_dir(target.join("debug/deps")) else { return false };
    artifacts.flatten().any(|file| {
        let name = file.file_name();
        let name = name.to_string_lossy();
        name.starts_with("libsp1_sdk-") && name.ends_with(".rlib")
    })
}

/// A node with too little memory refuses the job, and the task would wait for another node for ever.
fn check_memory(kind: &str) -> Result<()> {
    let needed = if kind == "compressed" { 18 << 30 } else { tools::CORE_PROOF_MEMORY };
    match tools::available_memory() {
        Some(available) if available < needed => bail!(
            "a {kind} proof needs {} of memory, and {} are available; `cargo xtask demo --mock` needs next to none",
            terminal::bytes(needed),
            terminal::bytes(available)
        ),
        _ => Ok(()),
    }
}

/// One run through everything.
struct Demo<'a> {
    programs: &'a Programs,
    guest: &'a Guest,
    kind: &'a str,
    kept: &'a Path,
    /// The chain that the guest reads, and the controller of its domain.
    chain: Option<&'a (Chain, Vec<u8>)>,
}

/// What a task came to.
struct Proved {
    task: TaskView,
    stages: Stages,
}

impl Demo<'_> {
    async fn show(&self, service: &mut Service<'_>) -> Result<Client> {
        let (client, program) = self.start(service).await?;
        let proved = self.prove(service, &client, program).await?;
        let proof = client.proof(&proved.task.id.parse()?).await?;
        let file = ProofFile::write(&self.kept.join("proof.json"), &proof)?;
        self.verify(&file, &proof).await?;
        if let Some((chain, _)) = self.chain {
            tokio::task::block_in_place(|| chain.compare(&proof.output.0))?;
        }
        let stored = self.read_stored(&client, program).await?;
        self.report(service, &proved, &proof, stored)?;
        terminal::field("proof", file.path().display());
        if self.kind == "groth16" {
            show_calldata(&proof)?;
        }
        Ok(client)
    }

    /// Starts both programs and deploys the guest while the prover node warms up.
    async fn start(&self, service: &mut Service<'_>) -> Result<(Client, ProgramId)> {
        let mut prover = Step::begin("Prover node", "starting");
        let prover_url = service.start_prover().await?;
        prover.doing("starting the coprocessor");
        let client = service.start_coprocessor().await?;
        let node = service.wait_for_prover(&client, self.kind, &mut prover).await?;
        prover.done(describe_node(&prover_url, &node));
        terminal::line(format!("{} {:13} {}", terminal::mark(true), "Coprocessor", client.base_url()));

        let deploying = Step::begin("Deployed", "sending controller and circuit");
        let deployed = client.deploy(self.guest.deployment()).await.context("the program was not deployed")?;
        let (name, id) = (&self.guest.name, &deployed.program.id);
        deploying.done(format!("{name} as program {id}"));
        let id = id.parse()?;
        if let Some((chain, controller)) = self.chain {
            chain.append(&client, controller.clone()).await?;
        }
        Ok((client, id))
    }

    /// Has the guest's example proved, and shows each event as it comes.
    async fn prove(&self, service: &mut Service<'_>, client: &Client, program: ProgramId) -> Result<Proved> {
        let request = TaskRequest {
            args: self.guest.example.clone(),
            payload: json!({"cmd": "store", "path": STORED}),
            kind: Some(self.kind.to_owned()),
            ..TaskRequest::default()
        };
        let mut step = Step::begin("Task", "submitting");
        let task = client.create_task(&program, &request, Some("demo")).await.context("the task was not admitted")?;
        let id: TaskId = task.id.parse()?;
        step.leave(&format!("  {:13} {id}, asked for with {}", "Task", request.args));

        let mut stages = Stages::default();
        let mut follow = client.follow(id, None);
        loop {
            let update = tokio::select! {
                update = follow.next() => update?.context("the task's events ended before the task")?,
                () = tokio::time::sleep(std::time::Duration::from_secs(1)) => {
                    service.check_alive()?;
                    step.doing(stages.now());
                    continue;
                }
            };
            match update {
                Update::Event(event) => {
                    step.leave(&stages.take(event));
                    step.doing(stages.now());
                }
                Update::Disconnected { reason, .. } => step.leave(&format!("  {reason}; connecting again")),
                Update::Finished(task) => return finished(*task, stages, step),
            }
        }
    }

    /// Has the proof verified by a process of its own, and then four times with one bit changed.
    async fn verify(&self, file: &ProofFile, proof: &ProofView) -> Result<()> {
        let coprocessor = &self.programs.coprocessor;
        let step = Step::begin("Verified", "in a process of its own");
        let verdict = file.verify(coprocessor, self.kind).await?;
        if !verdict.valid {
            bail!("`coprocessor verify` refuses the proof: {}", verdict.said);
        }
        step.done("by `coprocessor verify`, a process of its own that knows nothing but the file");

        let mut step = Step::begin("Refused", "proofs with one bit changed");
        let mut refused = Vec::new();
        for (part, forged) in claim::forgeries(proof) {
            step.doing(&format!("one bit changed in the {part}"));
            let forged = ProofFile::write(&self.kept.join("forged.json"), &forged)?;
            if forged.verify(coprocessor, self.kind).await?.valid {
                bail!("the proof is accepted with one bit changed in its {part}: see {}", forged.path().display());
            }
            forged.remove()?;
            refused.push(part);
        }
        step.done(format!("with one bit changed in the {}", refused.join(", in the ")));
        Ok(())
    }

    /// Reads back what the controller stored on its volume when it was given the proof; returns its size.
    async fn read_stored(&self, client: &Client, program: ProgramId) -> Result<usize> {
        let step = Step::begin("Stored", STORED);
        let PathContent::File(file) = client.read(&program, STORED).await? else { bail!("{STORED} is a directory") };
        let content = file.bytes().await?;
        let stored: serde_json::Value =
            serde_json::from_slice(&content).context("what the controller stored is not JSON")?;
        if stored["success"] != true {
            bail!("the controller stored a failure: {stored}");
        }
        step.done(format!("{STORED}, {} on the program's volume", terminal::bytes(content.len() as u64)));
        Ok(content.len())
    }

    fn report(&self, service: &Service<'_>, proved: &Proved, proof: &ProofView, stored: usize) -> Result<()> {
        terminal::heading("Result");
        terminal::field("root", &proof.root);
        terminal::field("output", claim::readable(&proof.output.0));
        if let Some(cycles) = proved.stages.cycles() {
            terminal::field("cycles", terminal::thousands(cycles));
        }
        for line in proved.stages.report(self.kind) {
            terminal::field("time", line);
        }
        terminal::field(
            "size",
            format!(
                "proof {}, stored file {}",
                terminal::bytes(proof.proof.0.len() as u64),
                terminal::bytes(stored as u64)
            ),
        );
        let peak = |program: &crate::process::Program| program.peak_memory().map(terminal::bytes);
        terminal::field(
            "peak memory",
            format!(
                "prover node with its workers {}, coprocessor {}",
                peak(service.prover()?)?,
                peak(service.coprocessor()?)?
            ),
        );
        Ok(())
    }
}

/// What the contract that `cargo coprocessor export solidity` writes is called with.
fn show_calldata(proof: &ProofView) -> Result<()> {
    let (signals, snarkjs) =
        (PublicSignals::from_public_values(&proof.public_inputs.0)?, Proof::from_snarkjs(&proof.proof.0)?);
    let call = snarkjs.call(&signals);
    terminal::heading("On chain");
    terminal::field("function", signals.signature());
    terminal::field("calldata", format!("0x{}", call.iter().map(|byte| format!("{byte:02x}")).collect::<String>()));
    terminal::field("gas", terminal::thousands(signals.gas()));
    terminal::line(
        "\nThe contract: cargo coprocessor export solidity, of the program or of its verifying key. See docs/ONCHAIN.md.",
    );
    Ok(())
}

fn finished(task: TaskView, stages: Stages, step: Step) -> Result<Proved> {
    if task.state == TaskState::Delivered {
        step.done("delivered");
        return Ok(Proved { task, stages });
    }
    step.failed(task.state.as_str());
    match task.failure {
        Some(failure) => bail!("the task failed in stage {}: {} ({})", failure.stage, failure.message, failure.code),
        None => bail!("the task ended as {}", task.state.as_str()),
    }
}

fn describe_node(url: &str, node: &ProverView) -> String {
    let version = node.version.as_deref().unwrap_or("of unknown version");
    format!("{url}, {version}, makes {}", node.kinds.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn options(mock: bool, kind: Option<&str>) -> Options {
        Options { kind: kind.map(Into::into), ..Options::of_hello(mock) }
    }

    #[test]
    fn a_mock_demo_makes_mock_proofs_only() {
        assert_eq!(options(false, None).kind().unwrap(), "core");
        assert_eq!(options(false, Some("mock")).backend().unwrap(), Backend::Mock);
        assert_eq!(options(true, None).kind().unwrap(), "mock");
        assert!(options(true, Some("core")).kind().unwrap_err().to_string().contains("no core proofs"));
    }

    #[test]
    fn a_demo_of_groth16_needs_no_sp1() {
        let options = Options::of_groth16();
        assert_eq!((options.kind().unwrap(), options.backend().unwrap()), ("groth16", Backend::Groth16));
    }

    #[test]
    fn arguments_are_json() {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            options: Options,
        }
        let parse = |args: &str| Line::try_parse_from(["demo", "--args", args]);
        assert_eq!(parse(r#"{"name": "you"}"#).unwrap().options.args, Some(json!({"name": "you"})));
        assert!(parse("{name: you}").is_err());
    }

    #[test]
    fn a_target_folder_without_sp1_is_told_apart() {
        let target = tempfile::tempdir().unwrap();
        assert!(!has_compiled_sp1(target.path()));
        std::fs::create_dir_all(target.path().join("debug/deps")).unwrap();
        assert!(!has_compiled_sp1(target.path()));
        std::fs::write(target.path().join("debug/deps/libsp1_sdk-0123.rlib"), "").unwrap();
        assert!(has_compiled_sp1(target.path()));
    }
}
