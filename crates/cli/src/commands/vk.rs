//! `vk`: a program's verifying key.

use crate::{
    context::{Context, ProgramArg},
    error::CliError,
    local, text,
};
use std::path::PathBuf;

#[derive(clap::Args, Debug)]
pub(crate) struct Vk {
    #[command(flatten)]
    program: ProgramArg,
    /// Write the key, in its backend's encoding, to this file
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Vk {
    pub(crate) async fn run(self, context: &Context) -> Result<(), CliError> {
        let client = context.client()?;
        let program = self.program.find(context, &client).await?;
        let view = client.verifying_key(&program).await?;
        if let Some(path) = &self.output {
            local::write(path, &view.verifying_key.0)?;
        }
        context.out.result(&view, || {
            let mut fields = vec![("backend", view.backend.clone()), ("digest", view.digest.clone())];
            fields.extend(view.sp1_vkey_hash.clone().map(|hash| ("sp1 hash", hash)));
            fields.push(("size", text::size(view.verifying_key.0.len() as u64)));
            fields.extend(self.output.as_ref().map(|path| ("written to", path.display().to_string())));
            context.out.fields(fields)
        })
    }
}
