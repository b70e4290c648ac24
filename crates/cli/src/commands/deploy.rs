//! `deploy`: a guest's controller and circuit to the coprocessor.

use crate::{
    config,
    context::{Context, current_folder, program_id},
    error::CliError,
    local, text,
};
use coprocessor_api::{
    Code, ProgramView,
    client::{Client, ClientError, Deployed, Deployment},
};
use coprocessor_guest_build::{GuestBuildError, read_artifacts, source_digest};
use coprocessor_types::{Backend, ProgramId};
use serde::Serialize;
use std::path::{Path, PathBuf};

#[derive(clap::Args, Debug)]
pub(crate) struct Deploy {
    /// The guest's folder
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// The controller, where it is not what `build` made
    #[arg(long, value_name = "FILE")]
    controller: Option<PathBuf>,
    /// The circuit, where it is not what `build` made
    #[arg(long, value_name = "FILE")]
    circuit: Option<PathBuf>,
    /// A name for people [default: the folder's]
    #[arg(long)]
    name: Option<String>,
    /// Tells apart programs of one circuit
    #[arg(long, default_value_t = 0)]
    nonce: u64,
    /// What proves the circuit: sp1 or groth16 [default: what the file is of]
    #[arg(long)]
    backend: Option<Backend>,
    /// Size of the program's volume in MiB [default: the coprocessor's]
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u64).range(1..=2048))]
    volume_mib: Option<u64>,
    /// Let others see it and ask for its proofs
    #[arg(long)]
    public: bool,
    /// Where the program is there with another controller, give it this one
    #[arg(long)]
    replace_controller: bool,
}

/// What the command prints as JSON.
#[derive(Serialize)]
struct Report {
    #[serde(flatten)]
    program: ProgramView,
    outcome: Outcome,
    /// Whether the guest's sources have changed since it was built.
    stale: bool,
    /// The folder whose commands now mean this program.
    remembered_in: PathBuf,
}

#[derive(Serialize, Clone, Copy)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    Created,
    Unchanged,
    ControllerReplaced,
}

/// A controller, a circuit, and whether they are older than their sources.
struct Pair {
    controller: Vec<u8>,
    circuit: Vec<u8>,
    stale: bool,
}

impl Deploy {
    pub(crate) async fn run(self, context: &Context) -> Result<(), CliError> {
        let folder = std::fs::canonicalize(&self.dir).map_err(CliError::file(&self.dir, "opened"))?;
        let client = context.client_near(&folder)?;
        let Pair { controller, circuit, stale } = self.pair(&folder)?;
        if stale {
            context.out.note("note: the sources have changed since the build; `cargo coprocessor build` builds them");
        }
        let is_bundle = coprocessor_groth16::Bundle::is_one(&circuit);
        let backend = self.backend.or_else(|| is_bundle.then_some(Backend::Groth16));
        let name = folder.file_name().map(|name| name.to_string_lossy().into_owned());
        let deployment = Deployment {
            name: self.name.clone().or(name).unwrap_or_default(),
            controller: controller.into(),
            circuit: circuit.into(),
            backend,
            nonce: self.nonce,
            volume_size: self.volume_mib.map(|mib| mib << 20),
            public: self.public,
        };
        let (program, outcome) = self.send(&client, deployment).await?;
        config::remember(&folder, client.base_url(), program_id(&program.id)?)?;
        let report = Report { program, outcome, stale, remembered_in: folder };
        context.out.result(&report, || report.describe(client.base_url()))
    }

    /// The files that were named, and what `build` made for those that were not.
    fn pair(&self, folder: &Path) -> Result<Pair, CliError> {
        let named = |file: &Option<PathBuf>| file.as_deref().map(local::read).transpose();
        let (controller, circuit) = (named(&self.controller)?, named(&self.circuit)?);
        match (controller, circuit) {
            (Some(controller), Some(circuit)) => Ok(Pair { controller, circuit, stale: false }),
            (controller, circuit) => {
                let built = read_artifacts(folder).map_err(|error| match error {
                    GuestBuildError::File { path, error } if error.kind() == std::io::ErrorKind::NotFound => {
                        CliError::NotBuilt { path }
                    }
                    other => other.into(),
                })?;
                // Artifacts without their sources are as good as any.
                let stale = source_digest(folder).is_ok_and(|digest| digest != built.provenance.sources);
                let controller = controller.unwrap_or(built.controller);
                Ok(Pair { controller, circuit: circuit.unwrap_or(built.circuit), stale })
            }
        }
    }

    async fn send(&self, client: &Client, deployment: Deployment) -> Result<(ProgramView, Outcome), CliError> {
        let controller = deployment.controller.clone();
        let id = ProgramId::derive(&deployment.circuit, deployment.nonce);
        match client.deploy(deployment).await {
            Ok(Deployed { program, created: true }) => Ok((program, Outcome::Created)),
            Ok(Deployed { program, created: false }) => Ok((program, Outcome::Unchanged)),
            Err(ClientError::Problem(problem))
                if self.replace_controller && problem.code == Code::ProgramExists.as_str() =>
            {
                Ok((client.set_controller(&id, controller).await?, Outcome::ControllerReplaced))
            }
            Err(error) => Err(error.into()),
        }
    }
}

impl Report {
    fn describe(&self, server: &str) -> String {
        let program = &self.program;
        let name = text::printable(&program.name);
        let what = match self.outcome {
            Outcome::Created => format!("deployed {name} to {server}"),
            Outcome::Unchanged => format!("{name} is at {server} already; nothing has changed"),
            Outcome::ControllerReplaced => format!("replaced the controller of {name} at {server}"),
        };
        let here = current_folder().is_ok_and(|current| current.starts_with(&self.remembered_in));
        let place = if here { "in this folder".to_owned() } else { format!("in {}", self.remembered_in.display()) };
        format!("{what}\nprogram {}\n\nnext, {place}: cargo coprocessor prove --args JSON", program.id,)
    }
}
