//! `export`: what others verify a program's proofs with.

use crate::{
    context::{Context, ProgramArg},
    error::CliError,
    local, text,
};
use clap::Subcommand;
use coprocessor_api::VerifyingKeyView;
use coprocessor_solidity::{ContractName, SolidityError, VerifyingKey, Word, sp1_contract};
use coprocessor_types::Backend;
use serde::Serialize;
use std::path::{Path, PathBuf};

#[derive(clap::Args, Debug)]
pub(crate) struct Export {
    #[command(subcommand)]
    command: ExportCommand,
}

#[derive(Subcommand, Debug)]
enum ExportCommand {
    /// Write the Solidity contract that verifies a program's proofs on chain
    Solidity(Solidity),
}

#[derive(clap::Args, Debug)]
struct Solidity {
    #[command(flatten)]
    program: ProgramArg,
    /// Groth16: the verifying key, as snarkjs writes verification_key.json; no coprocessor is asked then
    #[arg(long, value_name = "FILE", conflicts_with = "program")]
    verification_key: Option<PathBuf>,
    /// What the contract is called [default: Groth16Verifier, or Sp1Program]
    #[arg(long, value_name = "NAME")]
    name: Option<ContractName>,
    /// Write it to this file, or - for standard output [default: the contract's name with .sol]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// A contract, and what it has to be used with.
struct Written {
    backend: Backend,
    name: ContractName,
    source: String,
    /// What names the circuit on chain.
    program: Word,
    signals: Option<usize>,
    gas: Option<u64>,
}

/// What the command prints as JSON.
#[derive(Serialize)]
struct Report<'a> {
    contract: String,
    backend: &'static str,
    /// What names the circuit on chain.
    program: String,
    /// Groth16: how many public signals there are, the root's two included.
    signals: Option<usize>,
    /// Groth16: the gas to give a call.
    gas: Option<u64>,
    file: &'a Path,
    bytes: usize,
}

impl Export {
    pub(crate) async fn run(self, context: &Context) -> Result<(), CliError> {
        let ExportCommand::Solidity(solidity) = self.command;
        solidity.run(context).await
    }
}

impl Solidity {
    async fn run(self, context: &Context) -> Result<(), CliError> {
        let written = match &self.verification_key {
            Some(path) => self.of_file(path)?,
            None => {
                let client = context.client()?;
                let program = self.program.find(context, &client).await?;
                self.of_view(&client.verifying_key(&program).await?)?
            }
        };
        let file = self.output.unwrap_or_else(|| PathBuf::from(format!("{}.sol", written.name)));
        if file == Path::new("-") {
            return context.out.raw(written.source.as_bytes());
        }
        local::write(&file, written.source.as_bytes())?;
        written.show(context, &file)
    }

    fn of_file(&self, path: &Path) -> Result<Written, CliError> {
        let key = VerifyingKey::from_snarkjs(&local::read(path)?).map_err(|error| CliError::Content {
            path: path.to_owned(),
            expected: "verifying key that a contract can be written for",
            reason: error.to_string(),
        })?;
        Ok(self.groth16(&key))
    }

    fn of_view(&self, view: &VerifyingKeyView) -> Result<Written, CliError> {
        let refused = |error: SolidityError| CliError::NotOnChain { reason: format!("its verifying key: {error}") };
        match view.backend.parse() {
            Ok(Backend::Groth16) => {
                Ok(self.groth16(&VerifyingKey::from_snarkjs(&view.verifying_key.0).map_err(refused)?))
            }
            Ok(Backend::Sp1) => {
                let hash = view.sp1_vkey_hash.as_deref().and_then(Word::from_hex);
                let program = hash.ok_or_else(|| CliError::NotOnChain {
                    reason: "the coprocessor does not say its verifying key's hash".to_owned(),
                })?;
                let name = self.named("Sp1Program");
                let source = sp1_contract(&name, &program);
                Ok(Written { backend: Backend::Sp1, name, source, program, signals: None, gas: None })
            }
            Err(_) => {
                Err(CliError::NotOnChain { reason: format!("its backend is {}", text::printable(&view.backend)) })
            }
        }
    }

    fn groth16(&self, key: &VerifyingKey) -> Written {
        let name = self.named("Groth16Verifier");
        Written {
            backend: Backend::Groth16,
            source: key.contract(&name),
            name,
            program: key.hash(),
            signals: Some(key.signals()),
            gas: Some(key.gas()),
        }
    }

    fn named(&self, default: &str) -> ContractName {
        self.name.clone().unwrap_or_else(|| default.parse().expect("it is a name"))
    }
}

impl Written {
    fn show(&self, context: &Context, file: &Path) -> Result<(), CliError> {
        let report = Report {
            contract: self.name.to_string(),
            backend: self.backend.as_str(),
            program: self.program.to_string(),
            signals: self.signals,
            gas: self.gas,
            file,
            bytes: self.source.len(),
        };
        context.out.result(&report, || {
            let mut fields = vec![("contract", report.contract.clone()), ("program", report.program.clone())];
            fields.extend(self.signals.map(|signals| ("signals", signals.to_string())));
            fields.extend(self.gas.map(|gas| ("gas of a call", text::thousands(gas))));
            fields.push(("written to", file.display().to_string()));
            let next = match self.signals {
                Some(signals) => format!("Groth16Adapter(verifier, {signals}, program)"),
                None => format!("{}(SP1's verifier on that chain)", self.name),
            };
            format!(
                "{}\nan application checks its proofs through {next}: see docs/ONCHAIN.md",
                context.out.fields(fields)
            )
        })
    }
}
