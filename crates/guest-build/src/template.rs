//! A new guest: small, complete, tested, and buildable without this repository.

use crate::{
    error::{At, GuestBuildError},
    sdk,
};
use std::{fs, path::Path};

/// Files of the template that would be taken for this repository's own under their real names end in this.
const SUFFIX: &str = ".in";

/// Writes a new guest called `name` to `dir`, which must not exist or be empty: a controller, a circuit, their tests, and
/// the SDK's sources under `sdk/`.
///
/// # Errors
/// A name that is no crate name, a folder that is in use, or a file that can't be written.
pub fn write(dir: &Path, name: &str) -> Result<(), GuestBuildError> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let fits = (1..=40).contains(&name.len()) && name.starts_with(|c: char| c.is_ascii_lowercase());
    if !fits || !name.chars().all(allowed) || name.ends_with('-') {
        return Err(GuestBuildError::Name { name: name.to_owned() });
    }
    if dir.read_dir().is_ok_and(|mut entries| entries.next().is_some()) || dir.is_file() {
        return Err(GuestBuildError::Occupied { dir: dir.to_owned() });
    }
    for (path, content) in sdk::template_files() {
        let path = path.strip_suffix(SUFFIX).unwrap_or(path);
        put(dir, if path == "gitignore" { ".gitignore" } else { path }, &filled(content, name))?;
    }
    for (path, content) in sdk::files() {
        put(dir, &format!("sdk/{path}"), &content)?;
    }
    Ok(())
}

fn filled(content: &str, name: &str) -> String {
    content.replace("{{name}}", name).replace("{{crate}}", &name.replace('-', "_"))
}

fn put(dir: &Path, path: &str, content: &str) -> Result<(), GuestBuildError> {
    let file = dir.join(path);
    let parent = file.parent().expect("a file below the guest's folder");
    fs::create_dir_all(parent).at(parent)?;
    fs::write(&file, content).at(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_placeholder_is_left() {
        let temp = tempfile::tempdir().unwrap();
        write(temp.path(), "my-guest").unwrap();
        for entry in walkdir::WalkDir::new(temp.path()) {
            let entry = entry.unwrap();
            if entry.file_type().is_file() && !entry.path().starts_with(temp.path().join("sdk")) {
                let content = fs::read_to_string(entry.path()).unwrap();
                assert!(!content.contains("{{"), "{}", entry.path().display());
            }
        }
        let main = fs::read_to_string(temp.path().join("circuit/src/main.rs")).unwrap();
        assert!(main.contains("my_guest_circuit::circuit"), "{main}");
    }

    #[test]
    fn nothing_is_written_over() {
        let temp = tempfile::tempdir().unwrap();
        fs::write(temp.path().join("mine"), "").unwrap();
        assert!(matches!(write(temp.path(), "guest"), Err(GuestBuildError::Occupied { .. })));
        assert_eq!(temp.path().read_dir().unwrap().count(), 1);
    }

    #[test]
    fn a_name_is_a_crates_name() {
        let temp = tempfile::tempdir().unwrap();
        for bad in ["", "Guest", "1st", "a b", "a/b", "..", "-a", "a-", "a_b", &"a".repeat(41)] {
            assert!(matches!(write(temp.path(), bad), Err(GuestBuildError::Name { .. })), "{bad:?}");
        }
    }
}
