//! Every way in which a witness generator and its inputs can fail.

use std::time::Duration;

/// Why a witness generator is not accepted, or gives no witness.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GeneratorError {
    /// Larger than [`crate::SandboxConfig::module_bytes`].
    #[error("the witness generator has {got} bytes, at most {limit} are accepted")]
    TooLarge {
        /// Its size in bytes.
        got: usize,
        /// The most accepted.
        limit: usize,
    },
    /// Not a WebAssembly core module, malformed, or it needs what is not offered.
    #[error("the witness generator is not one that circom writes with --wasm: {message}")]
    Invalid {
        /// What is wrong.
        message: String,
    },
    /// Of another version of circom.
    #[error("the witness generator is of version {got} of circom, expected 2")]
    Version {
        /// Its version.
        got: u32,
    },
    /// The inputs are not JSON that circom expects.
    #[error("the circuit's inputs are not an object of signals: {reason}")]
    Inputs {
        /// What they are instead.
        reason: String,
    },
    /// A signal that the circuit does not have as an input.
    #[error("the circuit has no input signal `{signal}`")]
    UnknownSignal {
        /// Its name.
        signal: String,
    },
    /// Fewer or more values than a signal has.
    #[error("input signal `{signal}` has {got} values, expected {expected}")]
    SignalLength {
        /// Its name.
        signal: String,
        /// How many were given.
        got: usize,
        /// How many it has.
        expected: u32,
    },
    /// A value that is no element of the field.
    #[error("input signal `{signal}`: {reason}")]
    SignalValue {
        /// Its name, with the place of the value.
        signal: String,
        /// What is wrong with the value.
        reason: String,
    },
    /// Signals without values. A generator knows its signals by hashes of their names alone.
    #[error("{got} of the circuit's {expected} input values were given: signals are missing beside {}", names(given))]
    MissingSignals {
        /// How many values were given.
        got: u64,
        /// How many the circuit takes.
        expected: u32,
        /// The signals that were given.
        given: Vec<String>,
    },
    /// The circuit has no witness for these inputs: an assertion or a constraint fails.
    #[error("the circuit has no witness for these inputs: {message}")]
    Unsatisfied {
        /// Where it fails, as the generator says.
        message: String,
    },
    /// The generator gave up for another reason.
    #[error("the witness generator failed with code {code}: {message}")]
    Failed {
        /// Its code.
        code: u32,
        /// What it said.
        message: String,
    },
    /// It did what WebAssembly forbids.
    #[error("the witness generator trapped: {message}")]
    Trap {
        /// In words.
        message: String,
    },
    /// It computed more than it may.
    #[error("the witness generator used all its fuel, {limit}")]
    OutOfFuel {
        /// The most it could use.
        limit: u64,
    },
    /// It took longer than it may.
    #[error("the witness generator ran longer than {limit:?}")]
    WallClock {
        /// The longest it could take.
        limit: Duration,
    },
    /// It needs more memory than it may have, or its witness does.
    #[error("the witness generator needs more memory than {limit} bytes")]
    Memory {
        /// The most it could have, in bytes.
        limit: usize,
    },
    /// It needs a larger table than it may have.
    #[error("the witness generator needs a table of more than {limit} elements")]
    Table {
        /// The most elements it could have.
        limit: usize,
    },
    /// It called too deep.
    #[error("the witness generator's stack grew beyond {limit} bytes")]
    Stack {
        /// The most it could use, in bytes.
        limit: usize,
    },
    /// It logged too much.
    #[error("the witness generator logged more than {limit} bytes")]
    Log {
        /// The most it could log, in bytes.
        limit: usize,
    },
    /// More of them at once than there is room for. Nothing ran.
    #[error("no room for another witness generator; try again")]
    Busy,
    /// The system has no thread for it. Nothing ran.
    #[error("the witness generator can't be started: {message}")]
    Start {
        /// What the system said.
        message: String,
    },
}

impl GeneratorError {
    /// Whether the same inputs would fail in the same way again, so that trying again can't help.
    pub fn is_deterministic(&self) -> bool {
        !matches!(self, Self::WallClock { .. } | Self::Busy | Self::Start { .. })
    }
}

fn names(given: &[String]) -> String {
    if given.is_empty() { "none".into() } else { given.join(", ") }
}
