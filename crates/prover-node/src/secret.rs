//! The shared secret.

use anyhow::{Context, bail};
use secrecy::SecretString;
use std::{env, fs, path::Path};

const VARIABLE: &str = "VALENCE_PROVER_SECRET";

/// The secret from the file or the environment, when there is one. Not a flag: flags show in the list of processes.
pub(crate) fn read(file: Option<&Path>) -> anyhow::Result<Option<SecretString>> {
    let variable = match env::var(VARIABLE) {
        Ok(secret) => Some(secret),
        Err(env::VarError::NotPresent) => None,
        Err(env::VarError::NotUnicode(_)) => bail!("{VARIABLE} is not text"),
    };
    choose(file, variable)
}

fn choose(file: Option<&Path>, variable: Option<String>) -> anyhow::Result<Option<SecretString>> {
    let (secret, source) = match (file, variable) {
        (Some(_), Some(_)) => bail!("there are two secrets: {VARIABLE} and --secret-file; give one"),
        (Some(file), None) => {
            let text =
                fs::read_to_string(file).with_context(|| format!("cannot read the secret {}", file.display()))?;
            (text.trim_end_matches(['\r', '\n']).to_owned(), file.display().to_string())
        }
        (None, Some(secret)) => (secret, VARIABLE.to_owned()),
        (None, None) => return Ok(None),
    };
    if secret.is_empty() {
        bail!("the secret in {source} is empty; unset it to do without one");
    }
    if !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
        bail!("the secret in {source} holds more than visible ASCII characters, which callers cannot send");
    }
    Ok(Some(secret.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;

    #[test]
    fn one_source_and_no_doubt() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("secret");
        fs::write(&file, "hush\n").unwrap();
        let missing = directory.path().join("none");
        let read = |file, variable: Option<&str>| choose(file, variable.map(str::to_owned));
        assert_eq!(read(Some(file.as_path()), None).unwrap().unwrap().expose_secret(), "hush");
        assert_eq!(read(None, Some("hush")).unwrap().unwrap().expose_secret(), "hush");
        assert!(read(None, None).unwrap().is_none());
        assert!(read(Some(&file), Some("other")).is_err());
        assert!(read(Some(&missing), None).is_err());
        for wrong in ["", "two words", "hüsh", "a\nb"] {
            let error = read(None, Some(wrong)).unwrap_err().to_string();
            assert!(wrong.is_empty() || !error.contains(wrong), "{error}");
        }
    }
}
