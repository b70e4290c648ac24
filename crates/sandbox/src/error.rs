//! Every way in which building a sandbox, taking a module and running it can fail.

use std::time::Duration;

/// Of a longer panic message the rest is dropped. In bytes.
pub(crate) const MAX_PANIC: usize = 64 * 1024;

/// Why there is no sandbox.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// A setting that can't work.
    #[error("sandbox setting `{name}` is {got}, expected {expected}")]
    Setting {
        /// The field of [`crate::SandboxConfig`] or [`crate::Limits`].
        name: &'static str,
        /// Its value.
        got: u64,
        /// What it may be.
        expected: String,
    },
    /// wasmtime can't be set up on this machine.
    #[error(
        "the WebAssembly engine does not start: {message}; each of {slots} slots reserves 4 GiB of address space, so a lower `threads` or `waiting` may help"
    )]
    Engine {
        /// What wasmtime said.
        message: String,
        /// Runs that were to be possible at once.
        slots: u32,
    },
    /// No thread for the clock.
    #[error("no thread can be started for the sandbox's clock: {0}")]
    Clock(#[source] std::io::Error),
}

/// Why a module is not accepted, or an artifact not loaded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModuleError {
    /// Larger than [`crate::SandboxConfig::module_bytes`].
    #[error("the controller has {got} bytes, at most {limit} are accepted")]
    TooLarge {
        /// Its size in bytes.
        got: usize,
        /// The most accepted.
        limit: usize,
    },
    /// Does not begin like WebAssembly.
    #[error(
        "the controller is not WebAssembly: it does not begin with the bytes 00 61 73 6d; upload the .wasm file that \
         was built for wasm32-unknown-unknown"
    )]
    NotWasm,
    /// WebAssembly of another layer or version.
    #[error(
        "the controller is WebAssembly of an unknown version ({version:#010x}); expected a core module (0x00000001) or a \
         component (0x0001000d)"
    )]
    Version {
        /// The four bytes after the magic ones.
        version: u32,
    },
    /// Malformed, or it uses a feature that controllers don't have, or needs more memory or tables than any run may have.
    #[error("the controller is malformed, or needs what this service does not offer: {message}")]
    Invalid {
        /// What is wrong, and where.
        message: String,
    },
    /// It does not export what every controller must.
    #[error(
        "the controller does not export `{name}`; a program's must export `memory`, `get_witnesses` and `entrypoint`, a \
         domain's `memory`, `validate_block` and `get_state_proof`"
    )]
    MissingExport {
        /// What is missing.
        name: &'static str,
    },
    /// It is a component and does not export what every controller must.
    #[error(
        "the controller, a component, does not export `{name}`; a program's must export `get-witnesses` and `entrypoint`, a \
         domain's `validate-block` and `get-state-proof`: see the worlds that `cargo coprocessor wit` prints"
    )]
    MissingComponentExport {
        /// What is missing.
        name: &'static str,
    },
    /// It exports a name as something else.
    #[error("the controller exports `{name}` as {got}, expected {expected}")]
    ExportType {
        /// The export.
        name: &'static str,
        /// What it is.
        got: String,
        /// What it must be.
        expected: &'static str,
    },
    /// It imports what no host can give.
    #[error("the controller imports {kind} `{module}.{name}`; only functions can be imported")]
    ImportKind {
        /// What is imported.
        kind: &'static str,
        /// The import's module.
        module: String,
        /// The import's name.
        name: String,
    },
    /// It imports a host call with other parameters or results.
    #[error("the controller's imports don't fit the host calls: {message}")]
    ImportType {
        /// Which import, expected and got.
        message: String,
    },
    /// An artifact of another engine version, configuration or processor. Compile the module again.
    #[error("the artifact was made for {got}, this sandbox is {expected}; compile the controller again")]
    Foreign {
        /// Its fingerprint.
        got: String,
        /// This sandbox's.
        expected: String,
    },
    /// An artifact of another module. Compile the module again.
    #[error("the artifact is that of controller {got}, expected {expected}; compile the controller again")]
    OtherModule {
        /// SHA-256 of the module it was made from.
        got: String,
        /// SHA-256 of the module asked for.
        expected: String,
    },
    /// Bytes that no longer are what [`crate::Sandbox::compile`] returned. Compile the module again.
    #[error("the artifact is damaged ({reason}); compile the controller again")]
    Damaged {
        /// What does not fit.
        reason: String,
    },
}

impl ModuleError {
    /// A stable name for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "controller_too_large",
            Self::NotWasm => "controller_not_wasm",
            Self::Version { .. } => "controller_version",
            Self::Invalid { .. } => "controller_invalid",
            Self::MissingExport { .. } | Self::MissingComponentExport { .. } => "controller_missing_export",
            Self::ExportType { .. } => "controller_export_type",
            Self::ImportKind { .. } => "controller_import_kind",
            Self::ImportType { .. } => "controller_import_type",
            Self::Foreign { .. } => "artifact_foreign",
            Self::OtherModule { .. } => "artifact_other_module",
            Self::Damaged { .. } => "artifact_damaged",
        }
    }

    /// Whether only the artifact is at fault, so that compiling the module again helps.
    pub fn wants_recompiling(&self) -> bool {
        matches!(self, Self::Foreign { .. } | Self::OtherModule { .. } | Self::Damaged { .. })
    }
}

/// Why a run has no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RunError {
    /// The controller panicked.
    #[error("the controller panicked: {message}")]
    Guest {
        /// What it said, at most 64 KiB of it.
        message: String,
    },
    /// The controller did what WebAssembly forbids.
    #[error("the controller trapped: {message}{}", location(frames))]
    Trap {
        /// A stable name: `unreachable`, `memory_out_of_bounds`, `integer_division_by_zero`, …
        kind: &'static str,
        /// In words.
        message: String,
        /// The functions it was in, innermost first, as far as the module names them; at most 20.
        frames: Vec<String>,
    },
    /// It computed more than it may.
    #[error("the controller used all its fuel, {limit}")]
    OutOfFuel {
        /// The most it could use.
        limit: u64,
    },
    /// It took longer than it may.
    #[error("the controller ran longer than {limit:?}")]
    WallClock {
        /// The longest it could take.
        limit: Duration,
    },
    /// It was refused memory, and then aborted.
    #[error("the controller needed more memory than {limit} bytes{}", said(message))]
    Memory {
        /// The most it could have, in bytes.
        limit: usize,
        /// What it said when it aborted.
        message: Option<String>,
    },
    /// It was refused a larger table, and then aborted.
    #[error("the controller needed a table of more than {limit} elements{}", said(message))]
    Table {
        /// The most elements it could have.
        limit: usize,
        /// What it said when it aborted.
        message: Option<String>,
    },
    /// It called too deep.
    #[error("the controller's stack grew beyond {limit} bytes")]
    Stack {
        /// The most it could use, in bytes.
        limit: usize,
    },
    /// Its result is too long.
    #[error("the controller's result has {got} bytes, at most {limit} are allowed")]
    Output {
        /// The length it gave, in bytes.
        got: usize,
        /// The most it could give.
        limit: usize,
    },
    /// It logged too much.
    #[error("the controller logged more than {limit} bytes")]
    Log {
        /// The most it could log, in bytes.
        limit: usize,
    },
    /// It made too many host calls.
    #[error("the controller made more than {limit} host calls")]
    HostCalls {
        /// The most it could make.
        limit: u64,
    },
    /// It made too many network calls.
    #[error("the controller made more than {limit} network calls")]
    NetworkCalls {
        /// The most it could make.
        limit: u64,
    },
    /// Its network calls took too much.
    #[error("the controller's network calls {direction} more than {limit} bytes")]
    NetworkBytes {
        /// `sent` or `received`.
        direction: &'static str,
        /// The most they could, in bytes.
        limit: u64,
    },
    /// It called a function that no host offers.
    #[error("the controller called `{module}.{name}`, which this service does not offer")]
    UnknownImport {
        /// The import's module.
        module: String,
        /// The import's name.
        name: String,
    },
    /// What it gave as its result is not JSON.
    #[error("the controller's result is not JSON: {reason}")]
    BadResult {
        /// Where it stops being JSON.
        reason: String,
    },
    /// Its arguments are longer than it could take. Nothing ran.
    #[error("the arguments have {got} bytes as JSON, at most {limit} are allowed")]
    ArgsTooLarge {
        /// Their length in bytes.
        got: usize,
        /// The most a controller can take.
        limit: usize,
    },
    /// The host failed in a host call.
    #[error("`{call}` failed: {reason}")]
    Host {
        /// The host call.
        call: &'static str,
        /// What failed.
        reason: String,
    },
    /// More runs at once than there is room for. Nothing ran.
    #[error("no room for another run; try again")]
    Busy,
    /// The module can't be given memory and started here. Nothing ran.
    #[error("the controller can't be started: {message}")]
    Start {
        /// What the engine said.
        message: String,
    },
}

impl RunError {
    /// A stable name for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Guest { .. } => "guest_panic",
            Self::Trap { .. } => "guest_trap",
            Self::OutOfFuel { .. } => "out_of_fuel",
            Self::WallClock { .. } => "wall_clock_limit",
            Self::Memory { .. } => "memory_limit",
            Self::Table { .. } => "table_limit",
            Self::Stack { .. } => "stack_limit",
            Self::Output { .. } => "output_limit",
            Self::Log { .. } => "log_limit",
            Self::HostCalls { .. } => "host_call_limit",
            Self::NetworkCalls { .. } => "network_call_limit",
            Self::NetworkBytes { .. } => "network_byte_limit",
            Self::UnknownImport { .. } => "unknown_import",
            Self::BadResult { .. } => "bad_result",
            Self::ArgsTooLarge { .. } => "args_too_large",
            Self::Host { .. } => "host_failed",
            Self::Busy => "sandbox_busy",
            Self::Start { .. } => "sandbox_start",
        }
    }

    /// A panic with that message.
    pub(crate) fn panicked(message: &str) -> Self {
        let end = message.floor_char_boundary(MAX_PANIC);
        Self::Guest { message: message[..end].into() }
    }

    /// Whether the same call would fail in the same way again, so that trying again can't help.
    pub fn is_deterministic(&self) -> bool {
        !matches!(self, Self::WallClock { .. } | Self::Host { .. } | Self::Busy | Self::Start { .. })
    }
}

fn said(message: &Option<String>) -> String {
    message.as_ref().map(|message| format!("; it then said: {message}")).unwrap_or_default()
}

fn location(frames: &[String]) -> String {
    if frames.is_empty() { String::new() } else { format!(" (in {})", frames.join(" < ")) }
}
