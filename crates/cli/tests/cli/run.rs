//! Runs the program and makes its output comparable.

use std::{
    path::Path,
    process::{Command, Output},
};
use tempfile::TempDir;

/// A place to run the program in: a folder and a home of its own.
pub(crate) struct Place {
    folder: TempDir,
    server: Option<String>,
}

/// What a run came to.
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Place {
    /// A place whose server is named by the environment.
    pub(crate) fn with_server(url: &str) -> Self {
        Self { server: Some(url.to_owned()), ..Self::bare() }
    }

    /// A place that knows no server.
    pub(crate) fn bare() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("home")).unwrap();
        std::fs::create_dir(folder.path().join("greeter")).unwrap();
        Self { folder, server: None }
    }

    /// The folder that the program is started in.
    pub(crate) fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("greeter")
    }

    pub(crate) fn write(&self, name: &str, content: &[u8]) {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        let output = self.command(arguments).output().unwrap();
        self.ran(&output)
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cargo-coprocessor"));
        // Cargo adds the subcommand's own name.
        command.arg("coprocessor").args(arguments).current_dir(self.path());
        command.env("HOME", self.folder.path().join("home")).env("COLUMNS", "120");
        for variable in [
            "COPROCESSOR_URL",
            "COPROCESSOR_KEY",
            "COPROCESSOR_WEBHOOK_SECRET",
            "XDG_CONFIG_HOME",
            "VALENCE_PROVER_SECRET",
            "NO_COLOR",
            "CLICOLOR_FORCE",
        ] {
            command.env_remove(variable);
        }
        if let Some(url) = &self.server {
            command.env("COPROCESSOR_URL", url);
        }
        command
    }

    pub(crate) fn ran(&self, output: &Output) -> Ran {
        Ran {
            code: output.status.code().expect("it ends by itself"),
            stdout: self.comparable(&output.stdout),
            stderr: self.comparable(&output.stderr),
        }
    }

    /// Without what differs from run to run: the folder and the port.
    fn comparable(&self, text: &[u8]) -> String {
        let mut text = String::from_utf8(text.to_vec()).unwrap();
        let real = |path: &Path| path.canonicalize().unwrap().display().to_string();
        text = text.replace(&real(&self.path()), "FOLDER").replace(&real(self.folder.path()), "PLACE");
        match &self.server {
            Some(url) => text.replace(url.as_str(), "http://SERVER"),
            None => text,
        }
    }
}

impl Ran {
    /// All of it, for a snapshot.
    pub(crate) fn all(&self) -> String {
        let mut all = format!("exit code {}\n", self.code);
        for (name, text) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            if !text.is_empty() {
                all += &format!("--- {name}\n{text}");
            }
        }
        all
    }

    /// What it printed as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}", self.all()))
    }

    /// The problem it printed.
    pub(crate) fn problem(&self) -> serde_json::Value {
        assert_eq!(self.stdout, "", "nothing but the problem: {}", self.all());
        serde_json::from_str(&self.stderr).unwrap_or_else(|error| panic!("{error}: {}", self.all()))
    }
}
