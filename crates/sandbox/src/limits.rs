//! What a run may use, and the account of what it used. The one place where a limit is compared with anything.

use crate::abi::MAX_BUFFER;
use crate::error::RunError;
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};
use wasmtime::ResourceLimiter;

/// How a [`crate::Sandbox`] is built.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SandboxConfig {
    /// What a run may use when its [`crate::Call`] says nothing else.
    pub limits: Limits,
    /// Runs to have room for at once. There is room for as many again, for runs that a host starts from within one.
    pub threads: usize,
    /// The largest module accepted, in bytes of WebAssembly.
    pub module_bytes: usize,
    /// Machine code of loaded modules kept in memory, in bytes. The least recently used goes first.
    pub cache_bytes: usize,
}

/// What one run may use. Every run ends by itself or at the first of these.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// WebAssembly instructions, roughly one each.
    pub fuel: u64,
    /// Time from the start of the run to its end, host calls included. Milliseconds in configuration, as `wall_clock_ms`.
    #[serde(rename = "wall_clock_ms", with = "milliseconds")]
    pub wall_clock: Duration,
    /// Linear memory, in bytes.
    pub memory_bytes: usize,
    /// Elements of each table.
    pub table_elements: usize,
    /// The WebAssembly stack, in bytes. Fixed when the sandbox is built: a call's own limits can't change it.
    pub stack_bytes: usize,
    /// The result, in bytes of JSON.
    pub output_bytes: usize,
    /// All log lines, in bytes, one more for each line.
    pub log_bytes: usize,
    /// Host calls of any kind.
    pub host_calls: u64,
}

/// What one run used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// WebAssembly instructions, roughly one each. The same run uses the same fuel on every machine. What a run that
    /// the clock interrupted had used since it last called or returned is not counted.
    pub fuel: u64,
    /// Microseconds from start to end.
    pub wall_clock_micros: u64,
    /// The most linear memory it had, in bytes.
    pub memory_bytes: u64,
    /// Host calls made, the one that hit a limit included.
    pub host_calls: u64,
    /// Its result, in bytes of JSON.
    pub output_bytes: u64,
    /// Its log, in bytes, one more for each line.
    pub log_bytes: u64,
}

impl Default for SandboxConfig {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            module_bytes: 16 * 1024 * 1024,
            cache_bytes: 128 * 1024 * 1024,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            fuel: 20_000_000_000,
            wall_clock: Duration::from_secs(30),
            memory_bytes: 256 * 1024 * 1024,
            table_elements: 100_000,
            stack_bytes: 1024 * 1024,
            output_bytes: MAX_BUFFER,
            log_bytes: 1024 * 1024,
            host_calls: 100_000,
        }
    }
}

impl Limits {
    /// These, but no more memory, table and stack than the sandbox has set apart for each run.
    pub(crate) fn within(&self, ceiling: &Self) -> Self {
        Self {
            memory_bytes: self.memory_bytes.min(ceiling.memory_bytes),
            table_elements: self.table_elements.min(ceiling.table_elements),
            stack_bytes: ceiling.stack_bytes,
            ..self.clone()
        }
    }
}

/// One run's limits and what it has used of them.
pub(crate) struct Meter {
    limits: Limits,
    started: Instant,
    host_calls: u64,
    memory_bytes: usize,
    memory_refused: bool,
    table_refused: bool,
    output_bytes: usize,
    log_bytes: usize,
}

impl Meter {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            started: Instant::now(),
            host_calls: 0,
            memory_bytes: 0,
            memory_refused: false,
            table_refused: false,
            output_bytes: 0,
            log_bytes: 0,
        }
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Counts a host call before it does anything.
    pub(crate) fn host_call(&mut self) -> Result<(), RunError> {
        self.host_calls += 1;
        if self.host_calls > self.limits.host_calls {
            return Err(RunError::HostCalls { limit: self.limits.host_calls });
        }
        // Code without a loop or a call is not interrupted, however many host calls it makes.
        self.wall_clock()
    }

    pub(crate) fn wall_clock(&self) -> Result<(), RunError> {
        if self.started.elapsed() < self.limits.wall_clock {
            return Ok(());
        }
        Err(RunError::WallClock { limit: self.limits.wall_clock })
    }

    /// A result replaces the one before it.
    pub(crate) fn output(&mut self, len: usize) -> Result<(), RunError> {
        if len > self.limits.output_bytes {
            return Err(RunError::Output { got: len, limit: self.limits.output_bytes });
        }
        self.output_bytes = len;
        Ok(())
    }

    /// Counts a log line before it is kept. An empty one takes space too.
    pub(crate) fn log_line(&mut self, len: usize) -> Result<(), RunError> {
        let total = self.log_bytes.saturating_add(len).saturating_add(1);
        if total > self.limits.log_bytes {
            return Err(RunError::Log { limit: self.limits.log_bytes });
        }
        self.log_bytes = total;
        Ok(())
    }

    /// The limit behind an abort that does not name one: a controller that is refused memory gets −1 and goes on, and
    /// what it then makes of it is a trap or a panic about something else.
    pub(crate) fn refused(&self, message: Option<String>) -> Option<RunError> {
        if self.memory_refused {
            return Some(RunError::Memory { limit: self.limits.memory_bytes, message });
        }
        self.table_refused.then_some(RunError::Table { limit: self.limits.table_elements, message })
    }

    pub(crate) fn usage(&self, fuel: u64) -> Usage {
        Usage {
            fuel,
            wall_clock_micros: u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX),
            memory_bytes: self.memory_bytes as u64,
            host_calls: self.host_calls,
            output_bytes: self.output_bytes as u64,
            log_bytes: self.log_bytes as u64,
        }
    }
}

impl ResourceLimiter for Meter {
    fn memory_growing(&mut self, _: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        if desired > self.limits.memory_bytes {
            self.memory_refused = true;
            return Ok(false);
        }
        // Beyond the maximum that the module itself declares.
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        self.memory_bytes = self.memory_bytes.max(desired);
        Ok(true)
    }

    fn table_growing(&mut self, _: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        if desired > self.limits.table_elements {
            self.table_refused = true;
            return Ok(false);
        }
        Ok(maximum.is_none_or(|maximum| desired <= maximum))
    }
}

mod milliseconds {
    use serde::{Deserialize, Deserializer, Serializer};
    use std::time::Duration;

    pub(super) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configuration_names_only_what_differs() {
        let limits: Limits = serde_json::from_str(r#"{"fuel": 5, "wall_clock_ms": 250}"#).unwrap();
        assert_eq!(limits, Limits { fuel: 5, wall_clock: Duration::from_millis(250), ..Limits::default() });
        assert_eq!(serde_json::from_str::<Limits>(&serde_json::to_string(&limits).unwrap()).unwrap(), limits);
        assert!(serde_json::from_str::<Limits>(r#"{"feul": 5}"#).is_err());
    }

    #[test]
    fn a_call_gets_no_more_memory_than_was_set_apart() {
        let ceiling = Limits { memory_bytes: 100, table_elements: 10, stack_bytes: 7, ..Limits::default() };
        let asked = Limits { memory_bytes: 200, table_elements: 5, stack_bytes: 9, fuel: 3, ..Limits::default() };
        let given = asked.within(&ceiling);
        assert_eq!((given.memory_bytes, given.table_elements, given.stack_bytes, given.fuel), (100, 5, 7, 3));
    }

    #[test]
    fn log_lines_fill_the_log_to_the_byte() {
        let mut meter = Meter::new(Limits { log_bytes: 6, ..Limits::default() });
        assert!(meter.log_line(3).is_ok());
        assert!(meter.log_line(2).is_err());
        assert!(meter.log_line(1).is_ok());
        assert!(meter.log_line(0).is_err());
        assert_eq!(meter.usage(0).log_bytes, 6);
    }
}
