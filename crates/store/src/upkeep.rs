//! What keeps a store from growing for ever, and how large it is.

use crate::StoreError;
use async_trait::async_trait;
use jiff::Timestamp;
use std::time::Duration;

/// How long things are kept; `None`: for ever.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Retention {
    /// Witnesses of delivered and cancelled tasks, since the task finished. Failed tasks keep theirs, to be retried.
    pub witnesses: Option<Duration>,
    /// Proofs of delivered and cancelled tasks, since the task finished. Failed tasks keep theirs too.
    pub proofs: Option<Duration>,
    /// Recordings, since they were made.
    pub recordings: Option<Duration>,
    /// Finished tasks with their events, witness, proof, recordings, logs and idempotency keys, since they finished.
    pub tasks: Option<Duration>,
    /// Deliveries of webhooks that are not pending, since they were taken up.
    pub deliveries: Option<Duration>,
    /// Blobs that nothing names, and pages that are no volume's, since they were put last. Longer than any request takes from putting
    /// a blob to naming it, and from one part of a volume to the next.
    pub unnamed_blobs: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        const DAY: Duration = Duration::from_secs(24 * 3600);
        Self {
            witnesses: Some(DAY),
            proofs: Some(30 * DAY),
            recordings: Some(7 * DAY),
            tasks: Some(90 * DAY),
            deliveries: Some(30 * DAY),
            unnamed_blobs: Duration::from_secs(3600),
        }
    }
}

/// What one pass removed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Collected {
    /// Witnesses no longer named by their tasks.
    pub witnesses: u64,
    /// Proofs no longer named by their tasks.
    pub proofs: u64,
    /// Recordings of tasks' runs.
    pub recordings: u64,
    /// Tasks with their events.
    pub tasks: u64,
    /// Deliveries of webhooks.
    pub deliveries: u64,
    /// Pages of volumes that were replaced or are gone, where they don't go at once.
    pub pages: u64,
    /// Blobs that nothing named.
    pub blobs: u64,
    /// Bytes of those blobs.
    pub blob_bytes: u64,
    /// Whether there was more than the pass's limit.
    pub more: bool,
}

/// How large a store is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StorageUsage {
    /// Bytes of the database, with its log and the blobs inside it.
    pub database_bytes: u64,
    /// Number of blobs.
    pub blobs: u64,
    /// Bytes of all blobs, wherever they are.
    pub blob_bytes: u64,
    /// Bytes left on the disk that fills first, where the store knows its disk.
    pub free_bytes: Option<u64>,
}

/// Ageing out, and measuring.
#[async_trait]
pub trait Upkeep {
    /// How large the store is. Cheap enough to be asked every few seconds.
    async fn usage(&self) -> Result<StorageUsage, StoreError>;

    /// One pass of ageing out: of each kind of thing at most `limit` are removed, oldest first. Safe beside everything else,
    /// and beside another process's pass. A blob named by a program (of its present or an earlier controller), by a task, or
    /// by a lease is never removed.
    async fn collect(&self, retention: &Retention, now: Timestamp, limit: usize) -> Result<Collected, StoreError>;

    /// What the store's rows say that cannot all be true, a sentence for each kind of contradiction: none in a sound store. Looks
    /// at all of them in one view, so that work that goes on is no contradiction; blobs' contents it does not read. For an
    /// operator who asks, not for every day.
    async fn contradictions(&self) -> Result<Vec<String>, StoreError>;
}
