//! Every way a command can fail, its exit code, and what to do next.

use coprocessor_api::{FailureView, Problem, TaskState, client::ClientError};
use coprocessor_guest_build::GuestBuildError;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Why a command did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    /// Arguments that cannot be.
    #[error("{0}")]
    Usage(String),
    /// A file on this machine.
    #[error("{} cannot be {action}: {source}", path.display())]
    File { path: PathBuf, action: &'static str, source: std::io::Error },
    /// A file on this machine with other content than expected.
    #[error("{} is no {expected}: {reason}", path.display())]
    Content { path: PathBuf, expected: &'static str, reason: String },
    /// A guest that cannot be written, built or read.
    #[error("{0}")]
    Guest(#[from] GuestBuildError),
    /// A guest that was not built yet.
    #[error("there is no {}", path.display())]
    NotBuilt { path: PathBuf },
    /// Standard output cannot be written.
    #[error("standard output cannot be written: {source}")]
    Output { source: std::io::Error },
    /// The process cannot do asynchronous work.
    #[error("the runtime cannot be started: {source}")]
    Runtime { source: std::io::Error },
    /// The service, or the way to it.
    #[error("{0}")]
    Client(#[from] ClientError),
    /// A name that no program has.
    #[error("no program at {server} is called {name:?}")]
    UnknownName { name: String, server: String },
    /// A name that several programs have.
    #[error("{} programs at {server} are called {name:?}: {}", ids.len(), ids.join(", "))]
    AmbiguousName { name: String, server: String, ids: Vec<String> },
    /// A task that ended otherwise than delivered.
    #[error("the task {}", ending(*state, failure.as_ref()))]
    TaskEnded { task: String, state: TaskState, failure: Option<FailureView> },
    /// A proof that does not hold.
    #[error("the proof does not hold: {reason}")]
    ProofInvalid { reason: String },
    /// Something that the service showed at a root, and that is not so.
    #[error("what the coprocessor shows does not hold: {reason}")]
    NotShown { reason: String },
    /// A program or a proof that contracts have no use for.
    #[error("it is not for a chain: {reason}")]
    NotOnChain { reason: String },
    /// A replay that is not as it was recorded.
    #[error("the replay differs: {difference}")]
    Differs { difference: String },
    /// A recording, or a controller, that can't be run here.
    #[error("the recording cannot be replayed: {reason}")]
    NotReplayed { reason: String },
    /// The service answers, but it cannot work.
    #[error("the coprocessor at {server} is not ready: {status}")]
    NotReady { server: String, status: String },
    /// The user stopped following a task.
    #[error("stopped following; task {task} goes on")]
    Detached { task: String },
}

impl CliError {
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::Usage(message.into())
    }

    pub(crate) fn file(path: &Path, action: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { path, action, source }
    }

    /// As `--help` documents them.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::TaskEnded { .. } | Self::ProofInvalid { .. } | Self::NotShown { .. } | Self::NotReady { .. } => 1,
            Self::Differs { .. } | Self::NotOnChain { .. } => 1,
            Self::NotReplayed { .. } => 2,
            Self::Guest(GuestBuildError::Cargo { .. } | GuestBuildError::NoProduct { .. }) => 1,
            Self::Guest(_) => 2,
            Self::Usage(_) | Self::File { .. } | Self::Content { .. } | Self::AmbiguousName { .. } => 2,
            Self::Client(ClientError::BadUrl { .. } | ClientError::BadPath { .. } | ClientError::Tls { .. }) => 2,
            Self::Client(ClientError::KeyInClear { .. } | ClientError::BadKey) => 2,
            Self::NotBuilt { .. } | Self::Output { .. } | Self::Runtime { .. } => 2,
            Self::Client(
                ClientError::Unreachable { .. } | ClientError::Interrupted { .. } | ClientError::EventsLost { .. },
            ) => 3,
            Self::Client(ClientError::Problem(problem)) if problem.status < 500 => 4,
            Self::UnknownName { .. } => 4,
            Self::Client(ClientError::Problem(_) | ClientError::UnexpectedAnswer { .. }) => 5,
            Self::Detached { .. } => 130,
        }
    }

    /// What to do next, where there is something.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::Client(ClientError::Unreachable { .. }) => Some(
                "start one with `coprocessor` (or `cargo xtask demo --keep` in its checkout), or say where it is with --server"
                    .to_owned(),
            ),
            Self::Client(ClientError::Interrupted { .. } | ClientError::EventsLost { .. }) => {
                Some("see `cargo coprocessor status`; tasks that were accepted go on".to_owned())
            }
            Self::Client(ClientError::Problem(problem)) => problem_hint(problem).map(str::to_owned),
            Self::NotBuilt { .. } => {
                Some("build the guest with `cargo coprocessor build`, or name --controller and --circuit".to_owned())
            }
            Self::UnknownName { .. } => Some("`cargo coprocessor programs` lists them".to_owned()),
            Self::AmbiguousName { .. } => Some("name it by its id".to_owned()),
            Self::TaskEnded { task, failure: Some(failure), .. } if failure.retryable => {
                Some(format!("trying again can help: cargo coprocessor tasks retry {task}"))
            }
            Self::Detached { task } => Some(format!("cargo coprocessor tasks follow {task}")),
            _ => None,
        }
    }

    /// The guest's log, where a guest failed.
    pub(crate) fn guest_log(&self) -> &[String] {
        match self {
            Self::Client(ClientError::Problem(problem)) => &problem.log,
            _ => &[],
        }
    }

    /// As a problem document: the service's own where there is one.
    pub(crate) fn to_problem(&self) -> Value {
        let mut problem = match self {
            Self::Client(ClientError::Problem(problem)) => json!(problem),
            other => {
                let (code, title) = other.code_and_title();
                json!({
                    "type": format!("urn:coprocessor:problem:{code}"),
                    "title": title,
                    "detail": other.to_string(),
                    "code": code,
                })
            }
        };
        problem["exit_code"] = self.exit_code().into();
        if let Some(hint) = self.hint() {
            problem["hint"] = hint.into();
        }
        problem
    }

    fn code_and_title(&self) -> (&str, &'static str) {
        match self {
            Self::Usage(_) => ("usage", "The command line is malformed"),
            Self::File { .. } => ("local_file", "A file on this machine is in the way"),
            Self::Content { .. } => ("local_file_content", "A file on this machine has other content than expected"),
            Self::Guest(GuestBuildError::Cargo { .. } | GuestBuildError::NoProduct { .. }) => {
                ("build_failed", "The guest does not build")
            }
            Self::Guest(GuestBuildError::NoToolchain { .. } | GuestBuildError::NoFlavour { .. }) => {
                ("no_toolchain", "No toolchain here builds the guest")
            }
            Self::Guest(_) => ("guest", "The guest's folder is not as it should be"),
            Self::NotBuilt { .. } => ("not_built", "The guest is not built"),
            Self::Output { .. } => ("output", "The output cannot be written"),
            Self::Runtime { .. } => ("runtime", "The process cannot start"),
            Self::UnknownName { .. } => ("unknown_program", "There is no such program"),
            Self::AmbiguousName { .. } => ("ambiguous_name", "Several programs have that name"),
            Self::TaskEnded { failure: Some(failure), .. } => (&failure.code, "The task failed"),
            Self::TaskEnded { .. } => ("cancelled", "The task was cancelled"),
            Self::ProofInvalid { .. } => ("proof_invalid", "The proof does not hold"),
            Self::NotShown { .. } => ("not_shown", "What the coprocessor shows does not hold"),
            Self::NotOnChain { .. } => ("not_on_chain", "No chain takes it"),
            Self::Differs { .. } => ("replay_differs", "The replay is not as it was recorded"),
            Self::NotReplayed { .. } => ("not_replayed", "The recording cannot be replayed"),
            Self::NotReady { .. } => ("not_ready", "The coprocessor is not ready"),
            Self::Detached { .. } => ("detached", "The task is no longer followed"),
            Self::Client(error) => match error {
                ClientError::BadUrl { .. } => ("bad_url", "The address is malformed"),
                ClientError::BadPath { .. } => ("invalid_path", "The path is malformed"),
                ClientError::KeyInClear { .. } => ("key_in_clear", "The key would be readable on the way"),
                ClientError::BadKey => ("bad_key", "The key is malformed"),
                ClientError::Tls { .. } => ("tls", "TLS cannot be set up"),
                ClientError::Unreachable { .. } => ("unreachable", "No coprocessor answers"),
                ClientError::Interrupted { .. } => ("interrupted", "The connection broke"),
                ClientError::EventsLost { .. } => ("events_lost", "The events could not be followed"),
                ClientError::UnexpectedAnswer { .. } => ("unexpected_answer", "What answers is no coprocessor"),
                ClientError::Problem(problem) => (&problem.code, "The coprocessor answered a problem"),
            },
        }
    }
}

fn ending(state: TaskState, failure: Option<&FailureView>) -> String {
    match failure {
        Some(failure) => format!("failed in stage {}: {} ({})", failure.stage, failure.message, failure.code),
        None => format!("was {}", state.as_str()),
    }
}

fn problem_hint(problem: &Problem) -> Option<&'static str> {
    Some(match problem.code.as_str() {
        "unknown_program" => {
            "deploy it with `cargo coprocessor deploy`; `cargo coprocessor programs` lists what is there"
        }
        "unknown_version" => "`cargo coprocessor controller versions` lists those that are kept",
        "unknown_task" => "`cargo coprocessor tasks` lists them",
        "unknown_domain" => "`cargo coprocessor domains` lists them",
        "unknown_root" => "`cargo coprocessor roots list` lists them",
        "root_pruned" => {
            "the coprocessor's flag --keep-roots says for how long roots can be opened; ask at a newer one"
        }
        "no_recording" => "`cargo coprocessor prove --record` has a task's runs recorded",
        "unknown_file" => "`cargo coprocessor files ls` lists them",
        "no_proof" => "`cargo coprocessor tasks follow` shows how far it is",
        "no_verifying_key" => "it is known after the program's first proof",
        "program_exists" => "to give it this controller: cargo coprocessor deploy --replace-controller",
        "idempotency_key_reused" => "leave --idempotency-key out, or choose another",
        "unauthenticated" => "give a key: COPROCESSOR_KEY or --key-file; who runs the coprocessor makes them",
        "forbidden" => "`cargo coprocessor whoami` shows what your key may do",
        "storage_low" => "who runs the coprocessor has to free some; `cargo coprocessor storage` shows what it holds",
        "no_prover" => "`cargo coprocessor provers` shows the prover nodes and what they can do",
        "too_large" => "the coprocessor's flag --max-body-mib raises the limit",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use coprocessor_api::Code;

    #[test]
    fn every_problem_of_the_service_has_an_exit_code_that_fits_its_status() {
        for &code in Code::ALL {
            let error = CliError::from(ClientError::Problem(Box::new(Problem::new(code, "x"))));
            assert_eq!(error.exit_code(), if code.status() < 500 { 4 } else { 5 }, "{code:?}");
            assert_eq!(error.to_problem()["code"], code.as_str());
        }
    }

    #[test]
    fn hints_are_for_codes_that_exist() {
        for code in Code::ALL {
            if let Some(hint) = problem_hint(&Problem::new(*code, "x")) {
                assert!(!hint.is_empty());
            }
        }
        let known = Code::ALL.iter().filter(|code| problem_hint(&Problem::new(**code, "x")).is_some()).count();
        assert_eq!(known, 17, "a hint is for a code that the service does not have");
    }
}
