//! A guest's artifacts, and the record of what made them.

use crate::{
    error::{At, GuestBuildError},
    sources::source_digest,
    toolchain::{Compiler, GuestKind},
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{
    fs,
    path::{Path, PathBuf},
};

const FOLDER: &str = "artifacts";
const RECORD: &str = "artifacts.json";

/// What a build gives.
#[derive(Clone, Debug)]
pub struct Artifacts {
    /// The WebAssembly module.
    pub controller: Vec<u8>,
    /// The ELF.
    pub circuit: Vec<u8>,
    /// What made them.
    pub provenance: Provenance,
}

/// `artifacts.json`: what the artifacts beside it were made from and by.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Provenance {
    /// [`source_digest`] of the guest.
    pub sources: String,
    /// The WebAssembly module.
    pub controller: Made,
    /// The ELF.
    pub circuit: Made,
}

/// One artifact and its compiler.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Made {
    /// SHA-256 in hex.
    pub sha256: String,
    /// Length.
    pub bytes: usize,
    /// What compiled it.
    pub compiler: Compiler,
}

/// A rebuilt artifact beside the recorded one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Comparison {
    /// The same bits.
    Same,
    /// Other bits from another compiler: nothing follows; run it through the same tests.
    OtherCompiler,
    /// Other bits from the same compiler and sources: the record is wrong or the build is not reproducible.
    Different,
}

impl Made {
    pub(crate) fn of(bytes: &[u8], compiler: Compiler) -> Self {
        Self { sha256: sha256(bytes), bytes: bytes.len(), compiler }
    }

    /// Compares this, rebuilt, with what was recorded.
    pub fn compare(&self, recorded: &Self) -> Comparison {
        if self.sha256 == recorded.sha256 {
            Comparison::Same
        } else if self.compiler == recorded.compiler {
            Comparison::Different
        } else {
            Comparison::OtherCompiler
        }
    }
}

impl Provenance {
    /// One half's record.
    pub fn made(&self, kind: GuestKind) -> &Made {
        match kind {
            GuestKind::Controller => &self.controller,
            GuestKind::Circuit => &self.circuit,
        }
    }
}

/// Keeps a build in the guest's `artifacts/`: `controller.wasm`, `circuit.elf`, `artifacts.json`. Gives that folder.
///
/// # Errors
/// A file that can't be written.
pub fn write_artifacts(dir: &Path, artifacts: &Artifacts) -> Result<PathBuf, GuestBuildError> {
    let folder = dir.join(FOLDER);
    fs::create_dir_all(&folder).at(&folder)?;
    let mut record = serde_json::to_string_pretty(&artifacts.provenance).expect("strings and numbers have JSON");
    record.push('\n');
    let files = [
        (GuestKind::Controller.artifact(), artifacts.controller.as_slice()),
        (GuestKind::Circuit.artifact(), artifacts.circuit.as_slice()),
        (RECORD, record.as_bytes()),
    ];
    for (name, content) in files {
        let path = folder.join(name);
        fs::write(&path, content).at(path)?;
    }
    Ok(folder)
}

/// Keeps a controller that was built alone as `artifacts/controller.wasm`. Gives that file. A record that is there of an
/// earlier build no longer fits then, and whoever reads both is told so.
///
/// # Errors
/// A file that can't be written.
pub fn write_controller(dir: &Path, controller: &[u8]) -> Result<PathBuf, GuestBuildError> {
    let folder = dir.join(FOLDER);
    fs::create_dir_all(&folder).at(&folder)?;
    let path = folder.join(GuestKind::Controller.artifact());
    fs::write(&path, controller).at(&path)?;
    Ok(path)
}

/// Reads what [`write_artifacts`] wrote, and checks that each file is the recorded one.
///
/// # Errors
/// A file that is missing, damaged or not the recorded one.
pub fn read_artifacts(dir: &Path) -> Result<Artifacts, GuestBuildError> {
    let folder = dir.join(FOLDER);
    let path = folder.join(RECORD);
    let record = fs::read(&path).at(&path)?;
    let provenance: Provenance =
        serde_json::from_slice(&record).map_err(|error| GuestBuildError::Record { path, error })?;
    let read = |kind: GuestKind| {
        let path = folder.join(kind.artifact());
        let bytes = fs::read(&path).at(&path)?;
        let (got, recorded) = (sha256(&bytes), provenance.made(kind).sha256.clone());
        if got == recorded { Ok(bytes) } else { Err(GuestBuildError::Altered { path, recorded, got }) }
    };
    Ok(Artifacts { controller: read(GuestKind::Controller)?, circuit: read(GuestKind::Circuit)?, provenance })
}

/// Checks, without any compiler, that a guest's artifacts are the recorded ones and were built from its present sources.
///
/// # Errors
/// What does not fit, and that the guest wants rebuilding.
pub fn check_guest(dir: &Path) -> Result<Provenance, GuestBuildError> {
    let Artifacts { provenance, .. } = read_artifacts(dir)?;
    let got = source_digest(dir)?;
    if got != provenance.sources {
        return Err(GuestBuildError::Stale { dir: dir.to_owned(), recorded: provenance.sources, got });
    }
    Ok(provenance)
}

fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{template, toolchain::Flavour};

    fn compiler(rustc: &str) -> Compiler {
        Compiler {
            flavour: Flavour::LibrarySource,
            rustc: rustc.into(),
            cargo: "cargo 1".into(),
            linker: String::new(),
        }
    }

    fn written() -> (tempfile::TempDir, PathBuf) {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("guest");
        template::write(&dir, "guest").unwrap();
        let provenance = Provenance {
            sources: source_digest(&dir).unwrap(),
            controller: Made::of(b"wasm", compiler("a")),
            circuit: Made::of(b"elf", compiler("a")),
        };
        let artifacts = Artifacts { controller: b"wasm".into(), circuit: b"elf".into(), provenance };
        write_artifacts(&dir, &artifacts).unwrap();
        (temp, dir)
    }

    #[test]
    fn what_was_just_built_fits() {
        let (_temp, dir) = written();
        assert_eq!(check_guest(&dir).unwrap().circuit.bytes, 3);
        assert_eq!(read_artifacts(&dir).unwrap().controller, b"wasm");
    }

    #[test]
    fn changed_sources_and_altered_artifacts_are_seen() {
        let (_temp, dir) = written();
        fs::write(dir.join("artifacts/circuit.elf"), b"elg").unwrap();
        assert!(matches!(check_guest(&dir), Err(GuestBuildError::Altered { .. })));
        fs::write(dir.join("artifacts/circuit.elf"), b"elf").unwrap();
        check_guest(&dir).unwrap();
        fs::write(dir.join("circuit/src/lib.rs"), b"// other").unwrap();
        assert!(matches!(check_guest(&dir), Err(GuestBuildError::Stale { .. })));
        fs::write(dir.join("artifacts/artifacts.json"), b"{").unwrap();
        assert!(matches!(check_guest(&dir), Err(GuestBuildError::Record { .. })));
    }

    #[test]
    fn only_the_same_compiler_owes_the_same_bits() {
        let recorded = Made::of(b"elf", compiler("a"));
        assert_eq!(Made::of(b"elf", compiler("b")).compare(&recorded), Comparison::Same);
        assert_eq!(Made::of(b"other", compiler("b")).compare(&recorded), Comparison::OtherCompiler);
        assert_eq!(Made::of(b"other", compiler("a")).compare(&recorded), Comparison::Different);
    }
}
