//! Settings of the engine.

use bytes::Bytes;
use coprocessor_prover::{BackendError, ExecutionLimits, Setup};
use std::time::Duration;

/// Makes a circuit's verifying key in this process. Blocks.
pub trait CircuitSetup: Send + Sync + 'static {
    /// Checks the circuit and makes its verifying key.
    ///
    /// # Errors
    /// [`BackendError::BadCircuit`].
    fn set_up(&self, circuit: &Bytes) -> Result<Setup, BackendError>;
}

/// How the engine works.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// Names this process in claims.
    pub worker: String,
    /// How much is done at once.
    pub workers: Workers,
    /// How long a claim holds without a heartbeat.
    pub lease: Duration,
    /// How failures that may pass are tried again.
    pub retry: RetryPolicy,
    /// Bounds of a circuit's execution.
    pub execution: ExecutionLimits,
    /// Size of a new program's volume, in bytes.
    pub volume_size: u64,
    /// Largest volume a program may ask for, in bytes.
    pub max_volume_size: u64,
    /// Largest witness, in bytes of the circuit's encoded input.
    pub witness_bytes: usize,
}

/// How much is done at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Workers {
    /// Controllers running at once, whoever asks for them.
    pub controllers: usize,
    /// Tasks being proved or waiting at a node at once.
    pub proofs: usize,
}

/// Exponential backoff with jitter, up to a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Attempts of one stage before the task fails.
    pub attempts: u32,
    /// Wait after the first failure; doubles with each further one.
    pub first: Duration,
    /// Longest wait.
    pub longest: Duration,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            worker: format!("coprocessor-{}", std::process::id()),
            workers: Workers::default(),
            lease: Duration::from_secs(30),
            retry: RetryPolicy::default(),
            execution: ExecutionLimits::default(),
            volume_size: coprocessor_vfs::DEFAULT_VOLUME_SIZE,
            max_volume_size: coprocessor_vfs::MAX_VOLUME_SIZE,
            witness_bytes: 64 << 20,
        }
    }
}

impl Default for Workers {
    fn default() -> Self {
        Self { controllers: std::thread::available_parallelism().map_or(2, usize::from).max(2), proofs: 64 }
    }
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { attempts: 6, first: Duration::from_secs(1), longest: Duration::from_secs(60) }
    }
}

impl RetryPolicy {
    /// The wait before the next attempt, after `failed` failures (at least one); `jitter` from 0 to 1 spreads it over
    /// the upper half.
    pub fn wait(&self, failed: u32, jitter: f64) -> Duration {
        let doubled = self.first.saturating_mul(1u32.checked_shl(failed.saturating_sub(1)).unwrap_or(u32::MAX));
        doubled.min(self.longest).mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_stay_within_the_upper_half() {
        let policy = RetryPolicy { attempts: 5, first: Duration::from_secs(1), longest: Duration::from_secs(10) };
        assert_eq!(policy.wait(1, 1.0), Duration::from_secs(1));
        assert_eq!(policy.wait(2, 1.0), Duration::from_secs(2));
        assert_eq!(policy.wait(3, 0.0), Duration::from_secs(2));
        assert_eq!(policy.wait(30, 1.0), Duration::from_secs(10));
        assert_eq!(policy.wait(u32::MAX, 0.0), Duration::from_secs(5));
    }
}
