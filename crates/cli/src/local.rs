//! Files on this machine: written whole or not at all.

use crate::{error::CliError, output::Output};
use coprocessor_api::client::Download;
use std::{
    io::{Read, Write},
    path::Path,
};

/// Reads a file, or standard input for `-`.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, CliError> {
    if path == Path::new("-") {
        let mut content = Vec::new();
        std::io::stdin().lock().read_to_end(&mut content).map_err(CliError::file(path, "read"))?;
        return Ok(content);
    }
    std::fs::read(path).map_err(CliError::file(path, "read"))
}

/// Reads a secret from a file, or from standard input for `-`; without the end of its line.
pub(crate) fn read_secret(path: &Path) -> Result<String, CliError> {
    let text = String::from_utf8(read(path)?).map_err(|_| CliError::Content {
        path: path.to_owned(),
        expected: "secret",
        reason: "it is not UTF-8".to_owned(),
    })?;
    Ok(text.trim().to_owned())
}

/// Writes a file, replacing what was there.
pub(crate) fn write(path: &Path, content: &[u8]) -> Result<(), CliError> {
    let mut file = Replacement::begin(path)?;
    file.write(content)?;
    file.finish()
}

/// Writes a download to a file, or to standard output for `-`. Returns its size.
pub(crate) async fn save(mut download: Download, path: &Path, out: &Output) -> Result<u64, CliError> {
    let mut size = 0;
    if path == Path::new("-") {
        while let Some(chunk) = download.chunk().await? {
            size += chunk.len() as u64;
            out.raw(&chunk)?;
        }
        return Ok(size);
    }
    let mut file = Replacement::begin(path)?;
    while let Some(chunk) = download.chunk().await? {
        size += chunk.len() as u64;
        file.write(&chunk)?;
    }
    file.finish()?;
    Ok(size)
}

/// A file in the making, beside the one it will replace.
struct Replacement<'a> {
    path: &'a Path,
    file: tempfile::NamedTempFile,
}

impl<'a> Replacement<'a> {
    fn begin(path: &'a Path) -> Result<Self, CliError> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut builder = tempfile::Builder::new();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            // What any new file gets, less the umask; the default of temporary files is to be the owner's alone.
            builder.permissions(std::fs::Permissions::from_mode(0o666));
        }
        let file = builder.tempfile_in(folder).map_err(CliError::file(path, "written"))?;
        Ok(Self { path, file })
    }

    fn write(&mut self, content: &[u8]) -> Result<(), CliError> {
        self.file.write_all(content).map_err(CliError::file(self.path, "written"))
    }

    fn finish(self) -> Result<(), CliError> {
        let path = self.path;
        self.file.persist(path).map(drop).map_err(|error| CliError::file(path, "written")(error.error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_and_nothing_is_left_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        write(&path, b"one").unwrap();
        write(&path, b"two").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);

        let error = write(&folder.path().join("missing/a.json"), b"x").unwrap_err();
        assert!(error.to_string().contains("missing/a.json"), "{error}");
    }
}
