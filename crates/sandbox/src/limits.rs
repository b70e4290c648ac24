//! What a run may use, and the account of what it used. The one place where a limit is compared with anything.

use crate::abi::MAX_BUFFER;
use crate::error::RunError;
use crate::host::HostError;
use crate::network::{NetworkAllowance, NetworkReply};
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};
use wasmtime::ResourceLimiter;

/// How a [`crate::Sandbox`] is built.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SandboxConfig {
    /// What a run may use when its [`crate::Call`] says nothing else.
    pub limits: Limits,
    /// Runs that compute at once.
    pub threads: usize,
    /// Runs that wait for network calls at once, beside those that compute. There is room for as many again of both, for
    /// runs that a host starts from within one.
    pub waiting: usize,
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
    /// Time from the start of the run to its end, host calls and waiting for the network included, but not waiting for a
    /// thread to go on afterwards. Milliseconds in configuration, as `wall_clock_ms`.
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
    /// Network calls: `http` and `alchemy`.
    pub network_calls: u64,
    /// Time for each network call, redirects included. Milliseconds in configuration, as `network_call_ms`.
    #[serde(rename = "network_call_ms", with = "milliseconds")]
    pub network_call: Duration,
    /// All that network calls send, in bytes: addresses, headers and bodies.
    pub network_sent_bytes: u64,
    /// All that network calls receive, in bytes: headers and bodies. No single body can be longer than
    /// [`crate::MAX_BUFFER`].
    pub network_received_bytes: u64,
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
    /// Network calls made, the one that hit a limit included.
    #[serde(default)]
    pub network_calls: u64,
    /// Those of them that got no answer, for reasons that may pass: what the controller made of that may be otherwise
    /// another time.
    #[serde(default)]
    pub network_failures: u64,
    /// Microseconds of the time that it waited for network calls.
    #[serde(default)]
    pub network_micros: u64,
    /// What network calls sent, in bytes.
    #[serde(default)]
    pub network_sent_bytes: u64,
    /// What network calls received, in bytes.
    #[serde(default)]
    pub network_received_bytes: u64,
}

impl Default for SandboxConfig {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            waiting: 128,
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
            network_calls: 100,
            network_call: Duration::from_secs(10),
            network_sent_bytes: 4 * 1024 * 1024,
            network_received_bytes: 32 * 1024 * 1024,
        }
    }
}

impl SandboxConfig {
    /// Runs that can be under way at once, computing or waiting.
    pub fn rooms(&self) -> usize {
        self.threads.saturating_add(self.waiting)
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
    network: NetworkMeter,
}

/// What network calls have used.
#[derive(Default)]
struct NetworkMeter {
    calls: u64,
    failures: u64,
    waited: Duration,
    /// Of the time since the start: nobody computed or answered, all threads were busy with others.
    queued: Duration,
    sent_bytes: u64,
    received_bytes: u64,
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
            network: NetworkMeter::default(),
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
        if self.elapsed() < self.limits.wall_clock {
            return Ok(());
        }
        Err(RunError::WallClock { limit: self.limits.wall_clock })
    }

    /// When the time is up, if it is all spent working and waiting.
    pub(crate) fn wall_clock_end(&self) -> Instant {
        Instant::now() + self.limits.wall_clock.saturating_sub(self.elapsed())
    }

    fn elapsed(&self) -> Duration {
        self.started.elapsed().saturating_sub(self.network.queued)
    }

    /// Counts a network call before it is made, and says what it may use.
    pub(crate) fn network_call(&mut self) -> Result<NetworkAllowance, RunError> {
        self.network.calls += 1;
        if self.network.calls > self.limits.network_calls {
            return Err(RunError::NetworkCalls { limit: self.limits.network_calls });
        }
        Ok(NetworkAllowance {
            time: self.limits.network_call,
            sent_bytes: self.limits.network_sent_bytes.saturating_sub(self.network.sent_bytes),
            received_bytes: self.limits.network_received_bytes.saturating_sub(self.network.received_bytes),
        })
    }

    /// What is left for a run that this one asks for, which has `fuel`. Memory is each run's own.
    pub(crate) fn left(&self, fuel: u64) -> Limits {
        let (own, used) = (&self.limits, &self.network);
        Limits {
            fuel,
            wall_clock: own.wall_clock.saturating_sub(self.elapsed()),
            log_bytes: own.log_bytes.saturating_sub(self.log_bytes),
            host_calls: own.host_calls.saturating_sub(self.host_calls),
            network_calls: own.network_calls.saturating_sub(used.calls),
            network_sent_bytes: own.network_sent_bytes.saturating_sub(used.sent_bytes),
            network_received_bytes: own.network_received_bytes.saturating_sub(used.received_bytes),
            ..own.clone()
        }
    }

    /// Counts what a run used that this one asked for, but for its fuel.
    pub(crate) fn used_by_other(&mut self, usage: &Usage) {
        self.host_calls = self.host_calls.saturating_add(usage.host_calls);
        self.network.calls = self.network.calls.saturating_add(usage.network_calls);
        self.network.failures = self.network.failures.saturating_add(usage.network_failures);
        self.network.sent_bytes = self.network.sent_bytes.saturating_add(usage.network_sent_bytes);
        self.network.received_bytes = self.network.received_bytes.saturating_add(usage.network_received_bytes);
    }

    /// Counts a wait that began at `asked` and was over at `resumed`: since then the run waited for a thread.
    pub(crate) fn waited(&mut self, asked: Instant, resumed: Instant) {
        self.network.waited += resumed.saturating_duration_since(asked);
        self.network.queued += resumed.elapsed();
    }

    /// Counts what a network call used.
    pub(crate) fn network_reply<T>(&mut self, reply: &NetworkReply<T>) -> Result<(), RunError> {
        self.network.sent_bytes = self.network.sent_bytes.saturating_add(reply.sent_bytes);
        self.network.received_bytes = self.network.received_bytes.saturating_add(reply.received_bytes);
        self.network.failures += u64::from(matches!(reply.answer, Err(HostError::Unanswered { .. })));
        let Limits { network_sent_bytes: sent, network_received_bytes: received, .. } = self.limits;
        if self.network.sent_bytes > sent {
            return Err(RunError::NetworkBytes { direction: "sent", limit: sent });
        }
        if self.network.received_bytes > received {
            return Err(RunError::NetworkBytes { direction: "received", limit: received });
        }
        Ok(())
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
            wall_clock_micros: micros(self.elapsed()),
            memory_bytes: self.memory_bytes as u64,
            host_calls: self.host_calls,
            output_bytes: self.output_bytes as u64,
            log_bytes: self.log_bytes as u64,
            network_calls: self.network.calls,
            network_failures: self.network.failures,
            network_micros: micros(self.network.waited),
            network_sent_bytes: self.network.sent_bytes,
            network_received_bytes: self.network.received_bytes,
        }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
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
    fn what_network_calls_use_adds_up_and_what_is_left_is_what_the_next_may_use() {
        let limits =
            Limits { network_calls: 3, network_sent_bytes: 100, network_received_bytes: 50, ..Limits::default() };
        let mut meter = Meter::new(limits);
        let reply = |sent_bytes, received_bytes| NetworkReply { answer: Ok(()), sent_bytes, received_bytes };
        assert!(meter.network_call().is_ok());
        assert!(meter.network_reply(&reply(60, 50)).is_ok());
        let allowance = meter.network_call().unwrap();
        assert_eq!((allowance.sent_bytes, allowance.received_bytes), (40, 0));
        assert_eq!(meter.network_reply(&reply(0, 1)), Err(RunError::NetworkBytes { direction: "received", limit: 50 }));
        assert_eq!(meter.network_reply(&reply(41, 0)), Err(RunError::NetworkBytes { direction: "sent", limit: 100 }));
        assert!(meter.network_call().is_ok());
        assert_eq!(meter.network_call(), Err(RunError::NetworkCalls { limit: 3 }));
        let usage = meter.usage(0);
        assert_eq!((usage.network_calls, usage.network_sent_bytes, usage.network_received_bytes), (4, 101, 51));
    }

    #[test]
    fn waiting_for_a_thread_is_not_the_runs_time() {
        let mut meter = Meter::new(Limits { wall_clock: Duration::from_secs(1000), ..Limits::default() });
        let ago = |seconds| Instant::now().checked_sub(Duration::from_secs(seconds)).unwrap();
        meter.started = ago(1500);
        assert!(meter.wall_clock().is_err());
        meter.waited(ago(1400), ago(900));
        assert!(meter.wall_clock().is_ok());
        let usage = meter.usage(0);
        assert_eq!((usage.wall_clock_micros / 1_000_000, usage.network_micros / 1_000_000), (600, 500));
        let left = meter.wall_clock_end().saturating_duration_since(Instant::now()).as_secs();
        assert!((398..=400).contains(&left), "{left}");
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
