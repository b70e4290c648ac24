//! `new`: a guest to begin with.

use crate::{context::Context, error::CliError};
use coprocessor_guest_build::template;
use serde_json::json;
use std::path::PathBuf;

#[derive(clap::Args, Debug)]
pub(crate) struct New {
    /// Its name: a-z, 0-9 and '-'
    name: String,
    /// The folder to write it to; it must be empty or not there [default: a new one of that name]
    #[arg(long)]
    dir: Option<PathBuf>,
}

impl New {
    pub(crate) fn run(self, context: &Context) -> Result<(), CliError> {
        let dir = self.dir.unwrap_or_else(|| PathBuf::from(&self.name));
        template::write(&dir, &self.name)?;
        context.out.result(&json!({"name": self.name, "dir": dir}), || {
            let dir = dir.display();
            format!(
                "wrote the guest {} to {dir}/ (its README.md says what is where)\n\n  cd {dir}\n  cargo test\n  \
                 cargo coprocessor build\n  cargo coprocessor deploy\n  cargo coprocessor prove --args '{{\"p\": 3, \"q\": 5}}'",
                self.name
            )
        })
    }
}
