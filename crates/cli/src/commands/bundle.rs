//! `bundle`: a circuit of circom in one file.

use crate::{context::Context, error::CliError, local, text};
use coprocessor_groth16::{Bundle as Files, Contribution, ProvingKey, R1cs, ZKey};
use coprocessor_types::BlobDigest;
use serde::Serialize;
use std::{
    fmt::Display,
    path::{Path, PathBuf},
};

#[derive(clap::Args, Debug)]
pub(crate) struct Bundle {
    /// The constraints, as `circom --r1cs` writes them
    #[arg(long, value_name = "FILE")]
    r1cs: PathBuf,
    /// The proving key, as snarkjs makes it
    #[arg(long, value_name = "FILE")]
    zkey: PathBuf,
    /// The witness generator, as `circom --wasm` writes it
    #[arg(long, value_name = "FILE")]
    wasm: PathBuf,
    /// Where to write the bundle
    #[arg(long, short, value_name = "FILE", default_value = "circuit.bundle")]
    output: PathBuf,
}

/// What the command prints as JSON.
#[derive(Serialize)]
struct Report<'a> {
    written_to: &'a Path,
    bytes: usize,
    sha256: String,
    constraints: usize,
    public_values: usize,
    contributions: Vec<Contributed>,
    /// Whether anybody may know the key's secrets.
    development: bool,
}

#[derive(Serialize)]
struct Contributed {
    name: Option<String>,
    beacon: bool,
}

impl Bundle {
    pub(crate) fn run(self, context: &Context) -> Result<(), CliError> {
        let [r1cs, zkey, generator] = [&self.r1cs, &self.zkey, &self.wasm].map(|path| local::read(path));
        let (r1cs, zkey, generator) = (r1cs?, zkey?, generator?);
        let constraints = R1cs::read(&r1cs).map_err(no(&self.r1cs, "circuit"))?;
        let key = ZKey::read(&zkey).map_err(no(&self.zkey, "proving key"))?;
        let (contributions, development) =
            (key.contributions().iter().map(contributed).collect(), key.is_for_development());
        let key = ProvingKey::new(constraints, key).map_err(no(&self.zkey, "proving key of this circuit"))?;
        let bundle = Files { r1cs: &r1cs, zkey: &zkey, generator: &generator }.to_bytes();
        local::write(&self.output, &bundle)?;
        let report = Report {
            written_to: &self.output,
            bytes: bundle.len(),
            sha256: BlobDigest::of(&bundle).to_string(),
            constraints: key.r1cs().constraints(),
            public_values: key.r1cs().public_values(),
            contributions,
            development,
        };
        context.out.result(&report, || report.describe(context))
    }
}

impl Report<'_> {
    fn describe(&self, context: &Context) -> String {
        let mut fields = vec![
            ("written to", format!("{}  {}", self.written_to.display(), text::size(self.bytes as u64))),
            ("constraints", self.constraints.to_string()),
            ("public values", format!("{}, the first two of them the root's", self.public_values)),
        ];
        for (index, Contributed { name, beacon }) in self.contributions.iter().enumerate() {
            let name = name.as_deref().map_or_else(|| "(no name)".into(), text::printable);
            let beacon = if *beacon { ", a beacon" } else { "" };
            fields.push((if index == 0 { "contributions" } else { "" }, format!("{name}{beacon}")));
        }
        if self.contributions.is_empty() {
            fields.push(("contributions", "none".to_owned()));
        }
        let fields = context.out.fields(fields);
        let warning = if self.development {
            "\nThis key is for development: anybody may know its secrets, and prove what is not so. A service that runs with \
             --production refuses it.\n"
        } else {
            ""
        };
        let next = format!("next: cargo coprocessor deploy --controller FILE --circuit {}", self.written_to.display());
        format!("{}\n{warning}\n{next}", fields.trim_end())
    }
}

fn contributed(contribution: &Contribution) -> Contributed {
    Contributed { name: contribution.name.clone(), beacon: contribution.beacon }
}

fn no<E: Display>(path: &Path, expected: &'static str) -> impl FnOnce(E) -> CliError {
    let path = path.to_owned();
    move |error| CliError::Content { path, expected, reason: error.to_string() }
}
