//! What belongs to one run: the wasmtime store's data.

use crate::abi::{Code, Stop};
use crate::error::RunError;
use crate::host::{HostError, Line};
use crate::limits::Meter;
use coprocessor_types::{ProgramId, Root};
use serde_json::Value;
use std::sync::Arc;
use wasmtime::{Caller, Extern};

pub(crate) struct Guest {
    /// JSON.
    pub(crate) args: Arc<Vec<u8>>,
    pub(crate) program: ProgramId,
    pub(crate) root: Root,
    pub(crate) line: Line,
    pub(crate) meter: Meter,
    pub(crate) log: Vec<String>,
    /// Why its last host call came to a code, where there is more to say than the code does.
    pub(crate) reason: Option<String>,
    /// What it gave last, or why that is not JSON.
    pub(crate) ret: Option<Result<Value, String>>,
    /// It is instantiated; what fails from now on is its own doing.
    pub(crate) started: bool,
}

impl Guest {
    /// Keeps a line, or ends the run.
    pub(crate) fn log(&mut self, line: String) -> Result<(), RunError> {
        self.meter.log_line(line.len())?;
        self.log.push(line);
        Ok(())
    }

    /// What a host call comes to that the host did not do; `refused` is the controller's code for that.
    pub(crate) fn failed(&mut self, call: &'static str, error: &HostError, refused: Code) -> Stop {
        if let Err(error) = self.note(call, error) {
            return error.into();
        }
        self.reason = Some(error.to_string());
        match error {
            HostError::TooLarge { .. } => Code::BufferTooLarge,
            _ => refused,
        }
        .into()
    }

    /// Logs why the host did not do what it was asked, for the controller's author; or ends the run, where the host itself failed.
    pub(crate) fn note(&mut self, call: &'static str, error: &HostError) -> Result<(), RunError> {
        let verb = match error {
            HostError::Failed { reason } => return Err(RunError::Host { call, reason: reason.clone() }),
            HostError::Refused { .. } | HostError::TooLarge { .. } => "refused",
            HostError::Unanswered { .. } => "failed",
        };
        self.log(format!("{call} {verb}: {error}"))
    }

    /// What a host call comes to that never reaches the host.
    pub(crate) fn refused(&mut self, call: &'static str, reason: impl Into<String>, code: Code) -> Stop {
        self.coded(call, "refused", reason.into(), code)
    }

    /// A code says little: the reason is in the log for the controller's author, and kept for the controller itself.
    pub(crate) fn coded(&mut self, call: &'static str, verb: &str, reason: String, code: Code) -> Stop {
        if let Err(error) = self.log(format!("{call} {verb}: {reason}")) {
            return error.into();
        }
        self.reason = Some(reason);
        code.into()
    }
}

/// The beginning of every host call: counts it, and opens the controller's memory.
pub(crate) fn enter<'a>(caller: &'a mut Caller<'_, Guest>) -> Result<(&'a mut [u8], &'a mut Guest), Stop> {
    caller.data_mut().reason = None;
    enter_after(caller)
}

/// The same for a host call about the one before.
pub(crate) fn enter_after<'a>(caller: &'a mut Caller<'_, Guest>) -> Result<(&'a mut [u8], &'a mut Guest), Stop> {
    caller.data_mut().meter.host_call()?;
    reenter(caller)
}

/// The controller's memory again, after a host call was suspended.
pub(crate) fn reenter<'a>(caller: &'a mut Caller<'_, Guest>) -> Result<(&'a mut [u8], &'a mut Guest), Stop> {
    let Some(Extern::Memory(memory)) = caller.get_export("memory") else {
        return Err(Code::NoMemory.into());
    };
    Ok(memory.data_and_store_mut(caller))
}
