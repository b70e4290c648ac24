//! One job in the node: what it is, and what has happened to it.

use bytes::Bytes;
use coprocessor_types::{BlobDigest, ProofKind, TaskId};
use futures::{StreamExt, stream, stream::BoxStream};
use std::sync::atomic::AtomicBool;
use tokio::sync::watch;

use crate::{Cancellation, JobEvent, NodeError};

/// Steps that are kept for callers who join later.
const MAX_EVENTS: usize = 256;

pub(super) struct Record {
    pub(super) task: TaskId,
    pub(super) circuit: BlobDigest,
    pub(super) kind: ProofKind,
    pub(super) input_digest: BlobDigest,
    /// Index of the backend that makes it.
    pub(super) backend: usize,
    /// Memory set aside for it, in bytes.
    pub(super) memory: u64,
    pub(super) cancellation: Cancellation,
    /// It has a slot, or had one.
    pub(super) on_slot: AtomicBool,
    log: watch::Sender<Log>,
}

#[derive(Default)]
struct Log {
    events: Vec<JobEvent>,
    /// Set once; a job that ended well has its proof as the last event.
    end: Option<Result<(), NodeError>>,
}

impl Record {
    pub(super) fn new(
        task: TaskId,
        circuit: BlobDigest,
        kind: ProofKind,
        input: &Bytes,
        backend: usize,
        memory: u64,
    ) -> Self {
        Self {
            task,
            circuit,
            kind,
            input_digest: BlobDigest::of(input),
            backend,
            memory,
            cancellation: Cancellation::default(),
            on_slot: AtomicBool::new(false),
            log: watch::Sender::new(Log::default()),
        }
    }

    /// Whether it is the same work.
    pub(super) fn is(&self, circuit: BlobDigest, kind: ProofKind, input_digest: BlobDigest) -> bool {
        (self.circuit, self.kind, self.input_digest) == (circuit, kind, input_digest)
    }

    /// Tells what happens. Nothing does after the end.
    pub(super) fn tell(&self, event: JobEvent) {
        self.log.send_modify(|log| {
            if log.end.is_none() && log.events.len() < MAX_EVENTS {
                log.events.push(event);
            }
        });
    }

    /// Ends it; gives false when it had ended before.
    pub(super) fn end(&self, result: Result<JobEvent, NodeError>) -> bool {
        self.log.send_if_modified(|log| {
            if log.end.is_some() {
                return false;
            }
            log.end = Some(result.map(|event| log.events.push(event)));
            true
        })
    }

    /// Whether it has ended with an error that another attempt may not meet.
    pub(super) fn has_failed_by_chance(&self) -> bool {
        matches!(&self.log.borrow().end, Some(Err(error)) if !error.is_deterministic())
    }

    pub(super) fn has_ended(&self) -> bool {
        self.log.borrow().end.is_some()
    }

    /// Bytes of the proof it holds.
    pub(super) fn held(&self) -> usize {
        match self.log.borrow().events.last() {
            Some(JobEvent::Done(proof)) => proof.bytes.len() + proof.public_inputs.len(),
            _ => 0,
        }
    }

    /// All that has happened and will happen.
    pub(super) fn follow(&self) -> BoxStream<'static, Result<JobEvent, NodeError>> {
        stream::unfold(Some((self.log.subscribe(), 0)), |state| async move {
            let (mut log, next) = state?;
            loop {
                {
                    let seen = log.borrow_and_update();
                    if let Some(event) = seen.events.get(next) {
                        let (event, last) = (event.clone(), seen.end.is_some() && next + 1 == seen.events.len());
                        let failed = matches!(seen.end, Some(Err(_)));
                        drop(seen);
                        return Some((Ok(event), (!last || failed).then_some((log, next + 1))));
                    }
                    match &seen.end {
                        Some(Err(error)) => return Some((Err(error.clone()), None)),
                        Some(Ok(())) => return None,
                        None => {}
                    }
                }
                if log.changed().await.is_err() {
                    // The job's record was dropped without an end: its process is going down.
                    return Some((Err(NodeError::Draining), None));
                }
            }
        })
        .boxed()
    }
}
