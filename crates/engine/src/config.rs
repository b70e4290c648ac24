//! Settings of the engine.

use bytes::Bytes;
use coprocessor_prover::{BackendError, ExecutionLimits, Setup};
use coprocessor_store::Retention;
use coprocessor_types::ProofKind;
use std::time::Duration;

use crate::{CompiledSettings, NetworkSettings, OwnerLimits, WebhookSettings};

/// Makes verifying keys of one backend's circuits in this process. Blocks.
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
    /// Whether to work on tasks at all; if not, other processes on the same store do, and this one answers requests.
    pub works: bool,
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
    /// Unfinished tasks of all owners together, at most; more are refused.
    pub backlog: u64,
    /// What an owner may use where nothing else was set for it.
    pub limits: OwnerLimits,
    /// The longest deadline a request may ask for.
    pub max_deadline: Duration,
    /// A task's deadline where its request names none; [`Self::max_deadline`] where that is shorter.
    pub default_deadline: Duration,
    /// How long a node may take for a proof.
    pub proof_deadlines: ProofDeadlines,
    /// How long things are kept.
    pub retention: Retention,
    /// How long roots can be opened after there is a newer one; `None`: for ever.
    pub keep_roots: Option<Duration>,
    /// Versions of a program's controller that are kept, the current one among them. Those that tasks may yet need stay beyond that.
    pub keep_controllers: u64,
    /// With less free on the store's disk, nothing new is taken.
    pub min_free_bytes: u64,
    /// With a store larger than this, nothing new is taken.
    pub max_store_bytes: Option<u64>,
    /// Where compiled controllers are kept; `None`: in memory alone.
    pub compiled: Option<CompiledSettings>,
    /// Which runs of controllers are recorded.
    pub recordings: RecordingSettings,
    /// How webhooks are sent.
    pub webhooks: WebhookSettings,
    /// What controllers may reach.
    pub network: NetworkSettings,
}

/// How long a node may let a job wait, and then how long it may work on it, by kind of proof. A node that takes longer is
/// told to stop, and the task goes to another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProofDeadlines {
    /// Of mock proofs.
    pub mock: Duration,
    /// Of core proofs.
    pub core: Duration,
    /// Of compressed proofs.
    pub compressed: Duration,
    /// Of Groth16 proofs.
    pub groth16: Duration,
    /// Of PLONK proofs.
    pub plonk: Duration,
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
    /// Attempts of a controller that used all of its wall-clock time: less, since each costs that time again.
    pub slow_attempts: u32,
    /// Wait after the first failure; doubles with each further one.
    pub first: Duration,
    /// Longest wait.
    pub longest: Duration,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            worker: format!("coprocessor-{}", std::process::id()),
            works: true,
            workers: Workers::default(),
            lease: Duration::from_secs(30),
            retry: RetryPolicy::default(),
            execution: ExecutionLimits::default(),
            volume_size: coprocessor_vfs::DEFAULT_VOLUME_SIZE,
            max_volume_size: coprocessor_vfs::MAX_VOLUME_SIZE,
            witness_bytes: 64 << 20,
            backlog: 100_000,
            limits: OwnerLimits::default(),
            max_deadline: Duration::from_secs(7 * DAY),
            default_deadline: Duration::from_secs(DAY),
            proof_deadlines: ProofDeadlines::default(),
            retention: Retention::default(),
            keep_roots: None,
            keep_controllers: 32,
            min_free_bytes: 512 << 20,
            max_store_bytes: None,
            compiled: None,
            recordings: RecordingSettings::default(),
            webhooks: WebhookSettings::default(),
            network: NetworkSettings::default(),
        }
    }
}

/// Which runs of controllers are recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordingSettings {
    /// Which.
    pub which: Recordings,
    /// The longest recording that is kept, in bytes.
    pub bytes: usize,
}

/// Whose runs are recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recordings {
    /// Nobody's.
    Never,
    /// Those of tasks and dry runs that ask for it.
    Asked,
    /// These, and of the other tasks of programs' owners those that fail.
    Failed,
}

impl Default for RecordingSettings {
    fn default() -> Self {
        Self { which: Recordings::Asked, bytes: 16 << 20 }
    }
}

/// In seconds.
const DAY: u64 = 24 * 3600;

impl Default for ProofDeadlines {
    fn default() -> Self {
        const MINUTE: u64 = 60;
        Self {
            mock: Duration::from_secs(MINUTE),
            core: Duration::from_secs(30 * MINUTE),
            compressed: Duration::from_secs(120 * MINUTE),
            groth16: Duration::from_secs(120 * MINUTE),
            plonk: Duration::from_secs(120 * MINUTE),
        }
    }
}

impl ProofDeadlines {
    /// That of a kind.
    pub const fn of(&self, kind: ProofKind) -> Duration {
        match kind {
            ProofKind::Core => self.core,
            ProofKind::Compressed => self.compressed,
            ProofKind::Groth16 => self.groth16,
            ProofKind::Plonk => self.plonk,
            ProofKind::Mock => self.mock,
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
        Self { attempts: 6, slow_attempts: 2, first: Duration::from_secs(1), longest: Duration::from_secs(60) }
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
        let policy =
            RetryPolicy { first: Duration::from_secs(1), longest: Duration::from_secs(10), ..RetryPolicy::default() };
        assert_eq!(policy.wait(1, 1.0), Duration::from_secs(1));
        assert_eq!(policy.wait(2, 1.0), Duration::from_secs(2));
        assert_eq!(policy.wait(3, 0.0), Duration::from_secs(2));
        assert_eq!(policy.wait(30, 1.0), Duration::from_secs(10));
        assert_eq!(policy.wait(u32::MAX, 0.0), Duration::from_secs(5));
    }
}
