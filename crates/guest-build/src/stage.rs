//! The folder a guest is built in: a copy of its sources, outside the checkout.

use crate::{
    error::{At, GuestBuildError},
    recipe,
    sources::Sources,
};
use sha2::{Digest, Sha256};
use std::{
    env,
    fs::{self, File},
    path::{Path, PathBuf},
};
use walkdir::WalkDir;

/// Held by one build at a time.
pub(crate) struct Stage {
    pub(crate) sources: PathBuf,
    pub(crate) target: PathBuf,
    _lock: File,
}

impl Stage {
    /// The folder for the guest in `dir`, after any other build of the same guest. Kept between builds, so a second
    /// build compiles only what changed.
    pub(crate) fn open(cache: &Path, dir: &Path) -> Result<Self, GuestBuildError> {
        let dir = dir.canonicalize().at(dir)?;
        let name = dir.file_name().map_or("guest".into(), |name| name.to_string_lossy());
        let digest = hex::encode(Sha256::digest(dir.as_os_str().as_encoded_bytes()));
        let stage = cache.join("guests").join(format!("{name}-{}", &digest[..12]));
        fs::create_dir_all(&stage).at(&stage)?;
        // Paths in the compiler's output are mapped away by prefix, and the compiler sees no links.
        let stage = stage.canonicalize().at(&stage)?;
        let lock_path = stage.join("lock");
        let lock = File::create(&lock_path).at(&lock_path)?;
        lock.lock().at(&lock_path)?;
        Ok(Self { sources: stage.join("src"), target: stage.join("target"), _lock: lock })
    }

    /// Makes the folder hold exactly these sources. Files that are the same keep their time, by which cargo knows them.
    pub(crate) fn fill(&self, sources: &Sources) -> Result<(), GuestBuildError> {
        let target_file = format!("{}.json", recipe::CIRCUIT_TARGET);
        let mut wanted: Vec<(PathBuf, &[u8])> =
            sources.0.iter().map(|(path, content)| (self.sources.join(path), content.as_slice())).collect();
        wanted.push((self.sources.join(target_file), recipe::CIRCUIT_TARGET_FILE.as_bytes()));
        for (path, content) in &wanted {
            if fs::read(path).is_ok_and(|present| present == *content) {
                continue;
            }
            let parent = path.parent().expect("a file in the stage");
            fs::create_dir_all(parent).at(parent)?;
            fs::write(path, content).at(path)?;
        }
        for entry in WalkDir::new(&self.sources) {
            let entry = entry.map_err(std::io::Error::from).at(&self.sources)?;
            if entry.file_type().is_file() && !wanted.iter().any(|(path, _)| path == entry.path()) {
                fs::remove_file(entry.path()).at(entry.path())?;
            }
        }
        Ok(())
    }
}

/// Where builds go that are no part of a checkout.
pub(crate) fn default_cache() -> Result<PathBuf, GuestBuildError> {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("COPROCESSOR_CACHE_DIR")
        .or_else(|| set("XDG_CACHE_HOME").map(|cache| cache.join("coprocessor")))
        .or_else(|| set("HOME").map(|home| home.join(".cache/coprocessor")))
        .ok_or(GuestBuildError::NoCache)
}
