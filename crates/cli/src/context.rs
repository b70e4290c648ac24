//! What a command works with: the output, the coprocessor, the program meant.

use crate::{args::Global, config, error::CliError, local, output::Output};
use coprocessor_api::client::{Client, Page};
use coprocessor_types::{ProgramId, TaskId};
use secrecy::SecretString;
use std::path::{Path, PathBuf};

/// What a command works with.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) out: Output,
    server: Option<String>,
    key_file: Option<PathBuf>,
    insecure: bool,
}

/// Where the key is, unless a file is named. A flag would show it to every process of the machine.
const KEY_VARIABLE: &str = "COPROCESSOR_KEY";

/// Which program is meant.
#[derive(clap::Args, Debug, Clone)]
pub(crate) struct ProgramArg {
    /// The program's id or name [default: the one deployed last from this folder]
    program: Option<String>,
}

/// Which program is meant, where other arguments are positional.
#[derive(clap::Args, Debug, Clone)]
pub(crate) struct ProgramOption {
    /// The program's id or name [default: the one deployed last from this folder]
    #[arg(short, long = "program", global = true)]
    program: Option<String>,
}

impl Context {
    pub(crate) fn new(global: Global, out: Output) -> Self {
        Self { out, server: global.server, key_file: global.key_file, insecure: global.insecure }
    }

    /// The coprocessor. Nothing is sent yet.
    pub(crate) fn client(&self) -> Result<Client, CliError> {
        self.client_near(&current_folder()?)
    }

    /// The coprocessor that the settings nearest to `folder` name.
    pub(crate) fn client_near(&self, folder: &Path) -> Result<Client, CliError> {
        let url = config::server(self.server.as_deref(), folder, config::config_home().as_deref())?;
        let client = Client::new(&url)?;
        Ok(match self.key()? {
            Some(key) if self.insecure => client.with_key_in_clear(&key)?,
            Some(key) => client.with_key(&key)?,
            None => client,
        })
    }

    fn key(&self) -> Result<Option<SecretString>, CliError> {
        let key = match &self.key_file {
            Some(path) => Some(local::read_secret(path)?),
            None => std::env::var(KEY_VARIABLE).ok().filter(|key| !key.is_empty()),
        };
        Ok(key.map(SecretString::from))
    }

    /// The program that an id or a name means, or the one deployed last from this folder.
    pub(crate) async fn program(&self, client: &Client, given: Option<&str>) -> Result<ProgramId, CliError> {
        let Some(given) = given else {
            let server = client.base_url();
            return config::deployed_program(&current_folder()?, server)?.ok_or_else(|| {
                CliError::usage(format!(
                    "no program was given, and none was deployed from this folder to {server}; \
                     name one (`cargo coprocessor programs` lists them) or deploy one (`cargo coprocessor deploy`)"
                ))
            });
        };
        match given.strip_prefix("0x").unwrap_or(given).parse() {
            Ok(id) => Ok(id),
            Err(_) => self.program_called(client, given).await,
        }
    }

    async fn program_called(&self, client: &Client, name: &str) -> Result<ProgramId, CliError> {
        let mut ids = Vec::new();
        let mut page = Page::default();
        loop {
            let list = client.programs(&page).await?;
            ids.extend(list.items.into_iter().filter(|program| program.name == name).map(|program| program.id));
            match list.next {
                Some(next) => page.cursor = Some(next),
                None => break,
            }
        }
        let server = client.base_url().to_owned();
        match ids.as_slice() {
            [] => Err(CliError::UnknownName { name: name.to_owned(), server }),
            [id] => program_id(id),
            _ => Err(CliError::AmbiguousName { name: name.to_owned(), server, ids }),
        }
    }
}

impl ProgramArg {
    pub(crate) async fn find(&self, context: &Context, client: &Client) -> Result<ProgramId, CliError> {
        context.program(client, self.program.as_deref()).await
    }
}

impl ProgramOption {
    pub(crate) async fn find(&self, context: &Context, client: &Client) -> Result<ProgramId, CliError> {
        context.program(client, self.program.as_deref()).await
    }
}

/// An id that the service handed out.
pub(crate) fn program_id(text: &str) -> Result<ProgramId, CliError> {
    text.parse().map_err(|error| CliError::usage(format!("{text:?} is no program id: {error}")))
}

/// An id that the service handed out.
pub(crate) fn task_id(text: &str) -> Result<TaskId, CliError> {
    text.parse().map_err(|error| CliError::usage(format!("{text:?} is no task id: {error}")))
}

/// The folder the command was started in.
pub(crate) fn current_folder() -> Result<PathBuf, CliError> {
    std::env::current_dir().map_err(CliError::file(Path::new("."), "found"))
}
