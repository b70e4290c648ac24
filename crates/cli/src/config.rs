//! Where the coprocessor is, and which program a folder deployed to it.

use crate::{error::CliError, local};
use coprocessor_types::ProgramId;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// Where a coprocessor listens unless told otherwise.
const DEFAULT_SERVER: &str = "http://127.0.0.1:37281";
/// A guest's settings.
const GUEST_FILE: &str = "coprocessor.toml";
/// What `deploy` remembers in a guest's folder.
const DEPLOYED_FILE: &str = ".coprocessor.toml";

/// The part of a settings file that names the coprocessor; the rest is others'.
#[derive(Debug, Deserialize)]
struct Settings {
    server: Option<String>,
}

/// Programs deployed from a folder, by the address of the coprocessor.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Deployed(BTreeMap<String, DeployedProgram>);

#[derive(Debug, Serialize, Deserialize)]
struct DeployedProgram {
    program: ProgramId,
}

/// The coprocessor's address: as given, else from the settings files nearest to `start`, else the default.
pub(crate) fn server(given: Option<&str>, start: &Path, config_home: Option<&Path>) -> Result<String, CliError> {
    if let Some(url) = given {
        return Ok(url.to_owned());
    }
    let own = config_home.map(|home| home.join("coprocessor/config.toml"));
    for path in start.ancestors().map(|folder| folder.join(GUEST_FILE)).chain(own) {
        if let Some(Settings { server: Some(url) }) = read::<Settings>(&path, "settings file")? {
            return Ok(url);
        }
    }
    Ok(DEFAULT_SERVER.to_owned())
}

/// `$XDG_CONFIG_HOME`, or what it stands for.
pub(crate) fn config_home() -> Option<PathBuf> {
    let given = std::env::var_os("XDG_CONFIG_HOME").filter(|value| !value.is_empty()).map(PathBuf::from);
    given.or_else(|| std::env::home_dir().map(|home| home.join(".config")))
}

/// The program deployed last to `server` from `start` or the nearest folder above it that deployed one.
pub(crate) fn deployed_program(start: &Path, server: &str) -> Result<Option<ProgramId>, CliError> {
    for folder in start.ancestors() {
        let deployed = read::<Deployed>(&folder.join(DEPLOYED_FILE), "record of deployed programs")?;
        if let Some(entry) = deployed.and_then(|mut deployed| deployed.0.remove(server)) {
            return Ok(Some(entry.program));
        }
    }
    Ok(None)
}

/// Notes in `folder` that `program` was deployed from it to `server`.
pub(crate) fn remember(folder: &Path, server: &str, program: ProgramId) -> Result<(), CliError> {
    let path = folder.join(DEPLOYED_FILE);
    let mut deployed = read::<Deployed>(&path, "record of deployed programs")?.unwrap_or_default();
    deployed.0.insert(server.to_owned(), DeployedProgram { program });
    let table = toml::to_string(&deployed).expect("addresses and ids can be written as TOML");
    let text = format!("# Programs deployed from here; written by `cargo coprocessor deploy`.\n\n{table}");
    local::write(&path, text.as_bytes())
}

fn read<T: serde::de::DeserializeOwned>(path: &Path, expected: &'static str) -> Result<Option<T>, CliError> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(CliError::file(path, "read")(error)),
    };
    toml::from_str(&text).map(Some).map_err(|error| CliError::Content {
        path: path.to_owned(),
        expected,
        reason: error.message().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_on_the_server_counts() {
        let root = tempfile::tempdir().unwrap();
        let (home, guest) = (root.path().join("home"), root.path().join("guest"));
        let below = guest.join("controller/src");
        std::fs::create_dir_all(&below).unwrap();
        std::fs::create_dir_all(home.join("coprocessor")).unwrap();

        let find = |given| server(given, &below, Some(&home)).unwrap();
        assert_eq!(find(None), DEFAULT_SERVER);
        std::fs::write(home.join("coprocessor/config.toml"), "server = \"http://home\"").unwrap();
        assert_eq!(find(None), "http://home");
        std::fs::write(guest.join("coprocessor.toml"), "name = \"x\"").unwrap();
        assert_eq!(find(None), "http://home");
        std::fs::write(guest.join("coprocessor.toml"), "name = \"x\"\nserver = \"http://guest\"").unwrap();
        assert_eq!(find(None), "http://guest");
        assert_eq!(find(Some("http://given")), "http://given");
    }

    #[test]
    fn a_settings_file_that_is_none_is_named() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("coprocessor.toml"), "server = 7").unwrap();
        let error = server(None, root.path(), None).unwrap_err();
        assert!(error.to_string().contains("coprocessor.toml"), "{error}");
        assert_eq!(error.exit_code(), 2);
    }

    #[test]
    fn a_folder_remembers_one_program_for_each_server() {
        let root = tempfile::tempdir().unwrap();
        let (one, other) = (ProgramId([1; 32]), ProgramId([2; 32]));
        remember(root.path(), "http://a", one).unwrap();
        remember(root.path(), "http://b", other).unwrap();
        remember(root.path(), "http://a", other).unwrap();
        let below = root.path().join("controller");
        assert_eq!(deployed_program(&below, "http://a").unwrap(), Some(other));
        assert_eq!(deployed_program(&below, "http://b").unwrap(), Some(other));
        assert_eq!(deployed_program(&below, "http://c").unwrap(), None);
    }
}
