//! All files that enter a guest's build, under the paths they have where it is built.

use crate::{
    error::{At, GuestBuildError},
    recipe, sdk,
    toolchain::GuestKind,
};
use sha2::{Digest, Sha256};
use std::{collections::BTreeMap, fs, path::Path};
use walkdir::{DirEntry, WalkDir};

/// How this repository's own guests name the SDK; elsewhere it lies in the project's `sdk/`.
const SDK_IN_REPOSITORY: &str = "../../crates/";

/// Relative path with `/` → content.
pub(crate) struct Sources(pub(crate) BTreeMap<String, Vec<u8>>);

/// SHA-256 over everything that decides a guest's artifacts but the compiler: its sources and `Cargo.lock`, the SDK's
/// sources, the compiler flags. In hex. The guest's README, `artifacts/`, `target/` and hidden files don't count.
///
/// # Errors
/// Not a guest, or a file that can't be read.
pub fn source_digest(dir: &Path) -> Result<String, GuestBuildError> {
    Sources::read(dir).map(|sources| sources.digest())
}

impl Sources {
    pub(crate) fn read(dir: &Path) -> Result<Self, GuestBuildError> {
        Self::read_with(dir, &GuestKind::ALL)
    }

    /// Those of a guest that needs to have no other halves.
    pub(crate) fn read_with(dir: &Path, halves: &[GuestKind]) -> Result<Self, GuestBuildError> {
        let not_a_guest = |missing| GuestBuildError::NotAGuest { dir: dir.to_owned(), missing };
        let mut files = BTreeMap::new();
        for entry in WalkDir::new(dir).sort_by_file_name().into_iter().filter_entry(enters_the_build) {
            let entry = entry.map_err(std::io::Error::from).at(dir)?;
            if entry.file_type().is_file() {
                let relative = entry.path().strip_prefix(dir).expect("walked from there");
                let parts: Vec<_> = relative.iter().map(|part| part.to_string_lossy()).collect();
                files.insert(parts.join("/"), fs::read(entry.path()).at(entry.path())?);
            }
        }
        for kind in halves {
            if !files.contains_key(&format!("{kind}/Cargo.toml")) {
                return Err(not_a_guest(match kind {
                    GuestKind::Controller => "controller/Cargo.toml",
                    GuestKind::Circuit => "circuit/Cargo.toml",
                }));
            }
        }
        let manifest = files.get_mut("Cargo.toml").ok_or_else(|| not_a_guest("Cargo.toml"))?;
        let text = String::from_utf8_lossy(manifest).into_owned();
        if text.contains(SDK_IN_REPOSITORY) {
            *manifest = moved_sdk(&text).into_bytes();
            files.extend(sdk::files().map(|(path, content)| (format!("sdk/{path}"), content.into_bytes())));
        }
        Ok(Self(files))
    }

    pub(crate) fn digest(&self) -> String {
        let mut hasher = Sha256::new();
        let mut field = |bytes: &[u8]| {
            hasher.update((bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        };
        field(recipe::fingerprint().as_bytes());
        for (path, content) in &self.0 {
            field(path.as_bytes());
            field(content);
        }
        hex::encode(hasher.finalize())
    }
}

/// The SDK lies inside the workspace's folder where a guest is built: cargo hashes a crate's path into its name, and
/// only inside is that path a relative one. The SDK is a workspace of its own.
fn moved_sdk(manifest: &str) -> String {
    manifest.replace(SDK_IN_REPOSITORY, "sdk/").replacen("[workspace]\n", "[workspace]\nexclude = [\"sdk\"]\n", 1)
}

fn enters_the_build(entry: &DirEntry) -> bool {
    let name = entry.file_name().to_string_lossy();
    match entry.depth() {
        0 => true,
        1 => !matches!(&*name, "target" | "artifacts" | "README.md" | "coprocessor.toml") && !name.starts_with('.'),
        _ => !name.starts_with('.') && name != "target",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guest() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        crate::template::write(&dir.path().join("guest"), "guest").unwrap();
        dir
    }

    #[test]
    fn the_digest_covers_what_is_built_and_nothing_else() {
        let temp = guest();
        let dir = temp.path().join("guest");
        let before = source_digest(&dir).unwrap();
        for (path, counts) in [
            ("README.md", false),
            ("artifacts/circuit.elf", false),
            ("target/debug/x", false),
            (".git/HEAD", false),
            ("Cargo.lock", true),
            ("circuit/src/more.rs", true),
            ("sdk/types/src/lib.rs", true),
        ] {
            let file = dir.join(path);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            let old = fs::read(&file).ok();
            fs::write(&file, "changed").unwrap();
            assert_eq!(source_digest(&dir).unwrap() != before, counts, "{path}");
            match old {
                Some(old) => fs::write(&file, old).unwrap(),
                None => fs::remove_file(&file).unwrap(),
            }
        }
        assert_eq!(source_digest(&dir).unwrap(), before);
    }

    #[test]
    fn a_file_may_not_pass_for_two() {
        let one = Sources([("a".to_owned(), b"bc".to_vec())].into());
        let two = Sources([("ab".to_owned(), b"c".to_vec())].into());
        assert_ne!(one.digest(), two.digest());
    }

    #[test]
    fn a_folder_that_is_no_guest_says_what_it_lacks() {
        let temp = tempfile::tempdir().unwrap();
        let error = source_digest(temp.path()).unwrap_err();
        assert!(error.to_string().contains("has no controller/Cargo.toml"), "{error}");
    }
}
