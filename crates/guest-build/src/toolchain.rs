//! Finding a compiler for either kind of guest.

use crate::{error::GuestBuildError, recipe};
use serde::{Deserialize, Serialize};
use std::{
    env,
    ffi::OsString,
    fmt,
    path::{Path, PathBuf},
    process::Command,
};

/// The two halves of a guest.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum GuestKind {
    /// A WebAssembly module.
    Controller,
    /// An ELF for SP1's zkVM.
    Circuit,
}

/// How a toolchain comes by the target's standard library.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Flavour {
    /// It was installed with the target: by `rustup target add`, or Succinct's `sp1up`.
    Installed,
    /// It is compiled from the library's source: Debian's `rust-web-src`, or rustup's `rust-src`.
    LibrarySource,
}

/// What compiles a guest. Equal sources and equal compilers give equal bits.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Compiler {
    /// How the standard library was come by.
    pub flavour: Flavour,
    /// Version, commit and host, as `rustc -vV` says.
    pub rustc: String,
    /// As `cargo -V` says: cargo names the crates, and names take part in the order of code.
    pub cargo: String,
    /// As the linker's `--version` says; empty for the linker that comes with the compiler.
    pub linker: String,
}

/// A compiler found on this machine.
#[derive(Clone, Debug)]
pub struct Toolchain {
    /// What it is.
    pub compiler: Compiler,
    pub(crate) rustc: PathBuf,
    pub(crate) sysroot: PathBuf,
    pub(crate) linker: Option<PathBuf>,
}

impl GuestKind {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Controller, Self::Circuit];

    /// Folder of the guest that holds its crate.
    pub const fn folder(self) -> &'static str {
        match self {
            Self::Controller => "controller",
            Self::Circuit => "circuit",
        }
    }

    /// File name among the artifacts.
    pub const fn artifact(self) -> &'static str {
        match self {
            Self::Controller => "controller.wasm",
            Self::Circuit => "circuit.elf",
        }
    }

    pub(crate) const fn product(self) -> &'static str {
        match self {
            Self::Controller => "WebAssembly module (crate-type \"cdylib\")",
            Self::Circuit => "binary",
        }
    }

    pub(crate) const fn how_to_install(self) -> &'static str {
        match self {
            Self::Controller => {
                "install one with `rustup target add wasm32-unknown-unknown`, or on Debian with \
                 `apt-get install rustc-web rust-web-src lld`"
            }
            Self::Circuit => {
                "install one with Succinct's `sp1up`, or on Debian with `apt-get install rustc-web rust-web-src lld`"
            }
        }
    }

    const fn target(self) -> &'static str {
        match self {
            Self::Controller => recipe::CONTROLLER_TARGET,
            Self::Circuit => recipe::CIRCUIT_TARGET,
        }
    }

    const fn linker(self) -> &'static str {
        match self {
            Self::Controller => "wasm-ld",
            Self::Circuit => "ld.lld",
        }
    }
}

impl fmt::Display for GuestKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.folder())
    }
}

impl fmt::Display for Flavour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Installed => "installed-target",
            Self::LibrarySource => "library-source",
        })
    }
}

impl fmt::Display for Compiler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let library = match self.flavour {
            Flavour::Installed => "with the installed target",
            Flavour::LibrarySource => "with the standard library built from source",
        };
        write!(f, "{} {library}", self.rustc)
    }
}

impl Toolchain {
    /// A toolchain that builds `kind`: one with the target installed before one with the library's source, or the
    /// flavour asked for.
    ///
    /// # Errors
    /// None here, with the command that installs one.
    pub fn find(kind: GuestKind, wanted: Option<Flavour>) -> Result<Self, GuestBuildError> {
        let candidates = candidates(kind);
        let mut looked = Vec::new();
        for flavour in [Flavour::Installed, Flavour::LibrarySource] {
            if wanted.is_some_and(|wanted| wanted != flavour) {
                continue;
            }
            for candidate in &candidates {
                match candidate.with(kind, flavour) {
                    Ok(toolchain) => return Ok(toolchain),
                    Err(lacks) => looked.push(format!("{} has no {lacks}", candidate.rustc.display())),
                }
            }
        }
        let looked = if looked.is_empty() { "there is no rustc".to_owned() } else { looked.join("; ") };
        Err(match wanted {
            Some(flavour) => GuestBuildError::NoFlavour { kind, flavour, looked },
            None => GuestBuildError::NoToolchain { kind, looked },
        })
    }

    /// A compiler with the library's source, whatever the target.
    pub(crate) fn with_library_source() -> Option<Self> {
        candidates(GuestKind::Controller).into_iter().find(Candidate::has_source).map(|candidate| Self {
            compiler: candidate.compiler(Flavour::LibrarySource, String::new()),
            rustc: candidate.rustc,
            sysroot: candidate.sysroot,
            linker: None,
        })
    }
}

/// The cargo that runs this process, or the one on the path.
pub(crate) fn cargo() -> OsString {
    env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

struct Candidate {
    rustc: PathBuf,
    sysroot: PathBuf,
}

impl Candidate {
    fn has_source(&self) -> bool {
        self.sysroot.join("lib/rustlib/src/rust/library/std/Cargo.toml").is_file()
    }

    /// The toolchain, or what it lacks.
    fn with(&self, kind: GuestKind, flavour: Flavour) -> Result<Toolchain, String> {
        let linker = match flavour {
            Flavour::Installed => {
                let library = self.sysroot.join("lib/rustlib").join(kind.target()).join("lib");
                if !library.is_dir() {
                    return Err(format!("target {}", kind.target()));
                }
                None
            }
            Flavour::LibrarySource => {
                if !self.has_source() {
                    return Err("library source".to_owned());
                }
                self.linker(kind)?
            }
        };
        let version = linker.as_deref().and_then(|linker| output(Command::new(linker).arg("--version")));
        let compiler = self.compiler(flavour, version.unwrap_or_default());
        Ok(Toolchain { compiler, rustc: self.rustc.clone(), sysroot: self.sysroot.clone(), linker })
    }

    /// The linker to name: none when the compiler brings its own.
    fn linker(&self, kind: GuestKind) -> Result<Option<PathBuf>, String> {
        let bundled = self.sysroot.join("lib/rustlib").join(host(&self.rustc)).join("bin/rust-lld");
        if bundled.is_file() {
            return Ok(None);
        }
        which::which(kind.linker()).map(Some).map_err(|_| format!("linker {}", kind.linker()))
    }

    fn compiler(&self, flavour: Flavour, linker: String) -> Compiler {
        let verbose = output(Command::new(&self.rustc).arg("-vV")).unwrap_or_default();
        let first = verbose.lines().next().unwrap_or_default();
        Compiler {
            flavour,
            rustc: format!("{first} on {}", field(&verbose, "host: ")),
            cargo: output(Command::new(cargo()).arg("-V")).unwrap_or_default(),
            linker,
        }
    }
}

/// Compilers worth a look, best first. A name is resolved to the compiler behind rustup's proxy, so that what is found
/// is what is run.
fn candidates(kind: GuestKind) -> Vec<Candidate> {
    let mut candidates: Vec<Candidate> = Vec::new();
    let mut add = |command: &mut Command| {
        let Some(sysroot) = output(command.args(["--print", "sysroot"])).map(PathBuf::from) else { return };
        let rustc = sysroot.join("bin/rustc");
        if rustc.is_file() && !candidates.iter().any(|known| known.sysroot == sysroot) {
            candidates.push(Candidate { rustc, sysroot });
        }
    };
    if kind == GuestKind::Circuit {
        // Only rustup's proxy understands `+`, and another rustc takes it for a file: then there is no such toolchain.
        add(Command::new("rustc").arg("+succinct"));
    }
    add(&mut Command::new("rustc"));
    // Debian's, beside a rustup that comes first on the path.
    add(&mut Command::new("/usr/bin/rustc"));
    candidates
}

fn host(rustc: &Path) -> String {
    field(&output(Command::new(rustc).arg("-vV")).unwrap_or_default(), "host: ").to_owned()
}

fn field<'a>(verbose: &'a str, name: &str) -> &'a str {
    verbose.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default()
}

/// What a command prints, without the line's end; `None` if it can't be run or fails.
fn output(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_toolchain_names_the_command_that_installs_it() {
        let error = GuestBuildError::NoToolchain { kind: GuestKind::Circuit, looked: "there is no rustc".into() };
        let text = error.to_string();
        assert!(text.contains("no toolchain here builds circuits (there is no rustc)"), "{text}");
        assert!(text.contains("`apt-get install rustc-web rust-web-src lld`") && text.contains("`sp1up`"), "{text}");
    }

    #[test]
    fn what_is_lacking_is_said() {
        let none = Candidate { rustc: "/nowhere/bin/rustc".into(), sysroot: "/nowhere".into() };
        let lacks = |flavour| none.with(GuestKind::Controller, flavour).unwrap_err();
        assert_eq!(lacks(Flavour::Installed), "target wasm32-unknown-unknown");
        assert_eq!(lacks(Flavour::LibrarySource), "library source");
    }
}
