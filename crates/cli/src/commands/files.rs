//! `files` and `image`: a program's volume.

use crate::{
    context::{Context, ProgramArg, ProgramOption},
    error::CliError,
    local, text,
};
use clap::Subcommand;
use coprocessor_api::{Base64, Directory, EntryKind, client::PathContent};
use serde_json::json;
use std::path::{Path, PathBuf};

#[derive(clap::Args, Debug)]
pub(crate) struct Files {
    #[command(flatten)]
    program: ProgramOption,
    #[command(subcommand)]
    command: FilesCommand,
}

#[derive(Subcommand, Debug)]
enum FilesCommand {
    /// List a directory
    Ls {
        /// Path from the volume's root
        #[arg(default_value = "/")]
        path: String,
    },
    /// Read a file
    Get {
        /// Path from the volume's root
        path: String,
        /// Write it to this file, or - for standard output
        #[arg(long, short, value_name = "FILE", default_value = "-")]
        output: PathBuf,
    },
    /// Write a file, with the directories on its way
    Put {
        /// The file to read, or - for standard input
        file: PathBuf,
        /// Path from the volume's root; names are 8.3, such as /data/input.bin
        path: String,
    },
    /// Delete a file or an empty directory
    Rm {
        /// Path from the volume's root
        path: String,
    },
}

#[derive(clap::Args, Debug)]
pub(crate) struct Image {
    #[command(flatten)]
    program: ProgramArg,
    /// Write it to this file, or - for standard output
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
}

impl Files {
    pub(crate) async fn run(self, context: &Context) -> Result<(), CliError> {
        let client = context.client()?;
        let program = self.program.find(context, &client).await?;
        match self.command {
            FilesCommand::Ls { path } => match client.read(&program, &path).await? {
                PathContent::Directory(directory) => list(context, &directory),
                PathContent::File(file) => {
                    let size = file.size();
                    let document = json!({"path": path, "kind": EntryKind::File, "size": size});
                    context.out.result(&document, || format!("{path}  {}", size.map(text::size).unwrap_or_default()))
                }
            },
            FilesCommand::Get { path, output } => {
                let PathContent::File(file) = client.read(&program, &path).await? else {
                    return Err(CliError::usage(format!("{path} is a directory: cargo coprocessor files ls {path}")));
                };
                if output == Path::new("-") && context.out.is_json() {
                    let content = Base64(file.bytes().await?.into());
                    return context.out.result(&json!({"path": path, "content": content}), String::new);
                }
                let size = local::save(file, &output, &context.out).await?;
                saved(context, &path, &output, size)
            }
            FilesCommand::Put { file, path } => {
                let content = local::read(&file)?;
                let size = content.len() as u64;
                client.write_file(&program, &path, content.into()).await?;
                context.out.result(&json!({"path": path, "bytes": size}), || {
                    format!("wrote {path} ({}) on the volume", text::size(size))
                })
            }
            FilesCommand::Rm { path } => {
                client.delete_file(&program, &path).await?;
                context.out.result(&json!({"path": path, "removed": true}), || format!("removed {path}"))
            }
        }
    }
}

impl Image {
    pub(crate) async fn run(self, context: &Context) -> Result<(), CliError> {
        if self.output == Path::new("-") && context.out.is_json() {
            return Err(CliError::usage("an image is no JSON; name a file with --output"));
        }
        let client = context.client()?;
        let program = self.program.find(context, &client).await?;
        let size = local::save(client.image(&program).await?, &self.output, &context.out).await?;
        saved(context, "image", &self.output, size)
    }
}

fn list(context: &Context, directory: &Directory) -> Result<(), CliError> {
    context.out.result(directory, || {
        if directory.entries.is_empty() {
            return "empty".to_owned();
        }
        let rows = directory.entries.iter().map(|entry| match entry.kind {
            EntryKind::File => [entry.size.to_string(), text::printable(&entry.name)],
            EntryKind::Directory => [String::new(), format!("{}/", text::printable(&entry.name))],
        });
        context.out.table(["size", "name"], &[0], rows.collect())
    })
}

/// On standard output there is the content and nothing else.
fn saved(context: &Context, what: &str, output: &Path, size: u64) -> Result<(), CliError> {
    if output == Path::new("-") {
        return Ok(());
    }
    let document = json!({"path": what, "file": output, "bytes": size});
    context.out.result(&document, || format!("wrote {} ({})", output.display(), text::size(size)))
}
