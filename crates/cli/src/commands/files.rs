//! `files` and `image`: a program's volume.

use crate::{
    context::{Context, ProgramArg, ProgramOption},
    error::CliError,
    local, text,
};
use clap::Subcommand;
use coprocessor_api::{
    Base64, Directory, DirectoryEntry, EntryKind, VolumeView,
    client::{Client, Download, PathContent},
};
use coprocessor_types::ProgramId;
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
    /// Make a directory, with the directories on its way
    Mkdir {
        /// Path from the volume's root
        path: String,
    },
    /// Give a file or a directory another path
    Mv {
        /// Path from the volume's root
        from: String,
        /// The new path; a file that is there is replaced by a file
        to: String,
    },
    /// Show what is known of a file or directory
    Stat {
        /// Path from the volume's root
        path: String,
    },
    /// Show how much of the volume is free
    Df,
    /// Replace the whole volume by a FAT-16 image
    UploadImage {
        /// The image, such as `cargo coprocessor image` saved it, or one made by mkfs.fat and mtools
        file: PathBuf,
    },
    /// Read the raw storage, which a program has beside its volume
    GetRaw {
        /// Write it to this file, or - for standard output
        #[arg(long, short, value_name = "FILE", default_value = "-")]
        output: PathBuf,
    },
    /// Replace the raw storage
    PutRaw {
        /// The file to read, or - for standard input
        file: PathBuf,
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
        let (out, volume) = (&context.out, Volume { context, client: &client, program: &program });
        match self.command {
            FilesCommand::Ls { path } => volume.ls(&path).await,
            FilesCommand::Get { path, output } => volume.get(&path, &output).await,
            FilesCommand::Put { file, path } => volume.put(&file, &path).await,
            FilesCommand::Rm { path } => {
                client.delete_file(&program, &path).await?;
                out.result(&json!({"path": path, "removed": true}), || format!("removed {path}"))
            }
            FilesCommand::Mkdir { path } => {
                client.make_directory(&program, &path).await?;
                out.result(&json!({"path": path, "kind": EntryKind::Directory}), || format!("{path} is a directory"))
            }
            FilesCommand::Mv { from, to } => {
                let entry = client.rename(&program, &from, &to).await?;
                out.result(&entry, || format!("moved {from} to {to}"))
            }
            FilesCommand::Stat { path } => {
                let entry = client.stat(&program, &path).await?;
                out.result(&entry, || describe(&path, &entry))
            }
            FilesCommand::Df => {
                let volume = client.volume(&program).await?;
                out.result(&volume, || room(&volume))
            }
            FilesCommand::UploadImage { file } => volume.upload(&file).await,
            FilesCommand::GetRaw { output } => volume.get_raw(&output).await,
            FilesCommand::PutRaw { file } => {
                let content = local::read(&file)?;
                let size = content.len() as u64;
                client.set_raw_storage(&program, content.into()).await?;
                out.result(&json!({"bytes": size}), || format!("raw storage has {} now", text::size(size)))
            }
        }
    }
}

/// A program's volume, and where to tell of it.
struct Volume<'a> {
    context: &'a Context,
    client: &'a Client,
    program: &'a ProgramId,
}

impl Volume<'_> {
    async fn ls(&self, path: &str) -> Result<(), CliError> {
        match self.client.read(self.program, path).await? {
            PathContent::Directory(directory) => list(self.context, &directory),
            PathContent::File(file) => {
                let size = file.size();
                let document = json!({"path": path, "kind": EntryKind::File, "size": size});
                let line = || format!("{path}  {}", size.map(text::size).unwrap_or_default());
                self.context.out.result(&document, line)
            }
        }
    }

    async fn get(&self, path: &str, output: &Path) -> Result<(), CliError> {
        let PathContent::File(file) = self.client.read(self.program, path).await? else {
            return Err(CliError::usage(format!("{path} is a directory: cargo coprocessor files ls {path}")));
        };
        self.save(path, file, output).await
    }

    async fn put(&self, file: &Path, path: &str) -> Result<(), CliError> {
        let content = local::read(file)?;
        let size = content.len() as u64;
        self.client.write_file(self.program, path, content.into()).await?;
        self.context.out.result(&json!({"path": path, "bytes": size}), || {
            format!("wrote {path} ({}) on the volume", text::size(size))
        })
    }

    async fn upload(&self, file: &Path) -> Result<(), CliError> {
        let image = tokio::fs::File::open(file).await.map_err(CliError::file(file, "read"))?;
        let new = self.client.upload_image(self.program, image).await?;
        self.context.out.result(&new, || {
            let (files, directories) = (new.files, new.directories);
            format!("the volume has {files} files and {directories} directories now\n{}", room(&new.volume))
        })
    }

    async fn get_raw(&self, output: &Path) -> Result<(), CliError> {
        let content = self.client.raw_storage(self.program).await?;
        self.save("raw", content, output).await
    }

    async fn save(&self, what: &str, content: Download, output: &Path) -> Result<(), CliError> {
        if output == Path::new("-") && self.context.out.is_json() {
            let content = Base64(content.bytes().await?.into());
            return self.context.out.result(&json!({"path": what, "content": content}), String::new);
        }
        let size = local::save(content, output, &self.context.out).await?;
        saved(self.context, what, output, size)
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

fn describe(path: &str, entry: &DirectoryEntry) -> String {
    let what = match entry.kind {
        EntryKind::File => format!("file, {}", text::size(entry.size)),
        EntryKind::Directory => "directory".to_owned(),
    };
    let mut lines = vec![format!("{}  {what}", text::printable(path))];
    lines.extend(entry.created.map(|time| format!("created   {time}")));
    lines.extend(entry.modified.map(|time| format!("modified  {time}")));
    lines.extend(entry.accessed.map(|day| format!("accessed  {day}")));
    if !entry.attributes.is_empty() {
        let marks: Vec<_> = entry.attributes.iter().map(|mark| mark.as_str()).collect();
        lines.push(format!("marks     {}", marks.join(", ")));
    }
    lines.join("\n")
}

fn room(volume: &VolumeView) -> String {
    let [size, total, free] = [volume.size, volume.total, volume.free].map(text::size);
    format!("{free} of {total} are free; the volume's image has {size}")
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
