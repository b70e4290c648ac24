//! Recordings of runs: all that a run got from outside, and what became of it.
//!
//! A run depends on its module, its arguments, its limits and the answers to its host calls, and on nothing else: so a recording of
//! these can be run again anywhere, without the host it met, and comes to the same result with the same fuel. Time is the one
//! exception: where a run was ended by the clock, its fuel is not compared.
//!
//! # What is not in it
//! What a controller proves its right to ask with: `bearer` and `basic_auth`, headers, query parameters and passwords in addresses
//! whose names say that they are secret. They are hidden, in the recording and in the replay. Bodies that a controller
//! sends, and what it writes, are there as their digest. Endpoints of the operator's, which a [`crate::Host`] knows and a
//! controller does not, never come so far. What a controller was *given* is there, whole: its arguments, the files it read, the
//! answers it got. Whoever hands a recording on hands on that.
//!
//! # The format
//! Lines of JSON, each an object of one field:
//!
//! ```text
//! {"header": {"version": 1, …}}    what ran: export, controller, program, root, limits, arguments
//! {"call": {…}}                    each host call in its order: what was asked, what was answered
//! {"end": {…}}                     result or failure, log, usage
//! {"sha256": "…"}                  of all lines before, with their ends
//! {"wasm": "…"}                    the controller, in base64; may be left out, and be added later
//! ```
//!
//! JSON that a controller was given is a string: a number in it that is no integer is written as `{"$f64": "…"}`, the 16
//! hexadecimal digits of its bits, as parsing decimals can be off by the last bit.

mod call;
mod format;
mod recorder;
mod redact;
mod replay;

pub use call::{Answer, Asked, Exchange};
pub use recorder::Recorder;
pub use replay::{Difference, ReplayError, Replayed, replay};

pub(crate) use recorder::Begun;

use crate::limits::{Limits, Usage};
use crate::run::{Export, Run};
use coprocessor_types::{BlobDigest, ProgramId, Root};

/// The format that is written, and read.
pub const RECORDING_VERSION: u32 = 1;

/// A run that can be run again.
#[derive(Clone, Debug, PartialEq)]
pub struct Recording {
    /// What made it: name and version.
    pub made_by: String,
    /// Where the run began.
    pub export: Export,
    /// SHA-256 of the controller's WebAssembly.
    pub controller: BlobDigest,
    /// What it got from `get_controller`.
    pub program: ProgramId,
    /// What it got from `get_historical`.
    pub root: Root,
    /// What it could use.
    pub limits: Limits,
    /// What it got from `args`, to the byte.
    pub args: String,
    /// Its host calls, in order.
    pub calls: Vec<Exchange>,
    /// What became of it.
    pub end: End,
    /// The controller's WebAssembly, where it is at hand.
    pub wasm: Option<Vec<u8>>,
}

/// How a recorded run ended.
#[derive(Clone, Debug, PartialEq)]
pub struct End {
    /// What it gave, as JSON; or why it failed.
    pub result: Result<Option<String>, Failed>,
    /// What it logged.
    pub log: Vec<String>,
    /// What it used.
    pub usage: Usage,
}

/// Why a recorded run failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// That of [`crate::RunError::code`].
    pub code: String,
    /// What was said of it.
    pub message: String,
}

/// Why there is no recording.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordingError {
    /// The run met more than is recorded.
    #[error("the run met more than the {limit} bytes that a recording may have; ask for less, or raise the limit")]
    TooLarge {
        /// The most that is recorded, in bytes.
        limit: usize,
    },
    /// No run was begun with the recorder.
    #[error("nothing was run with this recorder")]
    Nothing,
    /// The bytes do not begin like a recording.
    #[error("this is no recording of a run: {reason}")]
    NotARecording {
        /// What is wrong with its beginning.
        reason: String,
    },
    /// A recording of another version.
    #[error("the recording has format {got}, expected {RECORDING_VERSION}; replay it with the version that made it")]
    Version {
        /// Its version.
        got: u64,
    },
    /// A line that can't be read.
    #[error("line {line} of the recording is damaged: {reason}; fetch it again")]
    Line {
        /// Its number, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// It ends too early.
    #[error("the recording is cut off after line {lines}; fetch it again")]
    CutOff {
        /// Lines there are.
        lines: usize,
    },
    /// It is not what it was when it was made.
    #[error("the recording is damaged: its lines have SHA-256 {got}, expected {expected}; fetch it again")]
    Damaged {
        /// What it says of itself.
        expected: BlobDigest,
        /// What it is.
        got: BlobDigest,
    },
    /// The WebAssembly in it is another controller's.
    #[error("the controller in the recording has SHA-256 {got}, expected {expected}; fetch it again")]
    OtherController {
        /// That of the controller that ran.
        expected: BlobDigest,
        /// That of the one in it.
        got: BlobDigest,
    },
}

impl End {
    /// How a run ended.
    pub fn of(run: &Run) -> Self {
        let result = match &run.result {
            Ok(given) => Ok(given.as_ref().map(ToString::to_string)),
            Err(error) => Err(Failed { code: error.code().to_owned(), message: error.to_string() }),
        };
        Self { result, log: run.log.clone(), usage: run.usage.clone() }
    }

    /// Whether the clock had a part in it.
    pub(crate) fn was_timed(&self) -> bool {
        self.result.as_ref().is_err_and(|failed| failed.code == "wall_clock_limit")
    }
}
