//! `wit`: the interface of controllers that are components.

use crate::{context::Context, error::CliError, local};
use coprocessor_sandbox::WIT;
use serde_json::json;
use std::path::PathBuf;

#[derive(clap::Args, Debug)]
pub(crate) struct Wit {
    /// Write it to this file instead
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Wit {
    pub(crate) fn run(self, context: &Context) -> Result<(), CliError> {
        match self.output {
            None => context.out.result(&json!({ "wit": WIT }), || WIT.to_owned()),
            Some(path) => {
                local::write(&path, WIT.as_bytes())?;
                context.out.result(&json!({ "written_to": path }), || format!("written to {}", path.display()))
            }
        }
    }
}
