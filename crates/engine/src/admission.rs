//! Admission: a request becomes a task, durable before it is acknowledged.

use coprocessor_prover::verify::ProofVerifier;
use coprocessor_store::{Admission, Backlog, Idempotency, MAX_PRIORITY, NewTask, Scope, StoreError, Task};
use coprocessor_types::{Backend, BlobDigest, ProgramId, ProofKind, Root, TaskId};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::time::Duration;

use crate::{Caller, Engine, EngineError};

/// When to ask again after the backlog was full: by then some of it will have been worked off.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// The shortest deadline.
const SHORTEST_DEADLINE: Duration = Duration::from_secs(1);

/// Events read at once.
const EVENTS: usize = 1000;

/// A request to prove.
#[derive(Clone, PartialEq, Debug)]
pub struct TaskRequest {
    /// The program.
    pub program: ProgramId,
    /// Who asks.
    pub caller: Caller,
    /// Arguments for `get_witnesses`.
    pub args: Value,
    /// Handed to `entrypoint` with the proof.
    pub payload: Value,
    /// The form of proof; by default core where a real prover is known, else mock.
    pub kind: Option<ProofKind>,
    /// The root to pin to; the current one by default.
    pub root: Option<Root>,
    /// Its place among its owner's tasks: higher goes first; -[`MAX_PRIORITY`] to [`MAX_PRIORITY`].
    pub priority: i16,
    /// The time it has from now on; the service's default where there is none.
    pub deadline: Option<Duration>,
    /// Whether its controller's runs are to be recorded.
    pub record: bool,
    /// Makes a repeated request the same task.
    pub idempotency_key: Option<String>,
}

impl Engine {
    /// Checks a request and writes it as a task. When this returns, the task survives anything.
    ///
    /// # Errors
    /// A program that there is not or that the caller does not see; recording what is not the caller's to look into; a root that is unknown or was pruned; a kind of proof that this service could not
    /// verify; a priority or a deadline outside its bounds; an idempotency key that belongs to another request; a full backlog,
    /// the service's or the owner's; no room in the store.
    pub async fn admit(&self, request: TaskRequest) -> Result<Task, EngineError> {
        let inner = &self.inner;
        let program = self.visible(&request.caller, Scope::Prove, request.program).await?;
        inner.check_room()?;
        if request.record {
            inner.may_record(&request.caller, &program.owner)?;
        }
        let owner = request.caller.owner.clone();
        let kind = request.kind.unwrap_or_else(|| inner.provers.default_kind(&owner, program.backend));
        self.check_kind(program.backend, kind)?;
        if !(-MAX_PRIORITY..=MAX_PRIORITY).contains(&request.priority) {
            return Err(EngineError::Priority { got: request.priority });
        }
        let (root, is_named) = (inner.pin(request.root).await?, request.root.is_some());
        let deadline = inner.deadline(request.deadline)?;
        let idempotency = idempotency(&request);
        let limits = self.limits(&owner).await?;
        let mut task = NewTask {
            id: TaskId::now(),
            program: program.id,
            owner,
            controller: program.controller,
            circuit: program.circuit,
            kind,
            root,
            args: request.args,
            payload: request.payload,
            priority: request.priority,
            deadline: Some(deadline),
            record: request.record,
            idempotency,
        };
        let backlog = Backlog { total: inner.config.backlog, owner: limits.unfinished_tasks };
        let mut admission = inner.store.admit(task.clone(), backlog).await;
        if !is_named && matches!(admission, Err(StoreError::RootPruned { .. })) {
            // There is a newer one since then, and nothing older is kept.
            inner.newest.forget();
            task.root = inner.pin(None).await?;
            admission = inner.store.admit(task, backlog).await;
        }
        match admission {
            Ok(Admission::Admitted(task)) => {
                tracing::debug!(task = %task.id, program = %task.program, kind = %task.kind, "task admitted");
                Ok(task)
            }
            Ok(Admission::Repeated(task)) => Ok(task),
            Ok(Admission::KeyReused(task)) => Err(EngineError::IdempotencyKeyReused(task)),
            Ok(Admission::BacklogFull) => Err(EngineError::BacklogFull { retry_after: RETRY_AFTER }),
            Ok(Admission::OwnerBacklogFull) => {
                Err(EngineError::OwnerBacklogFull { limit: backlog.owner, retry_after: RETRY_AFTER })
            }
            Err(StoreError::UnknownProgram(id)) => Err(EngineError::UnknownProgram(id)),
            Err(StoreError::Full) => {
                inner.storage_is_full();
                inner.check_room()?;
                Err(StoreError::Full.into())
            }
            Err(error) => Err(error.into()),
        }
    }

    fn check_kind(&self, backend: Backend, kind: ProofKind) -> Result<(), EngineError> {
        let unsupported = |reason: &str| EngineError::UnsupportedKind { backend, kind, reason: reason.to_owned() };
        if !backend.offers(kind) {
            return Err(unsupported("the proving system has no such form"));
        }
        if (backend, kind) == (Backend::Groth16, ProofKind::Mock) {
            return Err(unsupported(
                "real ones take a fraction of a second, so there are no mock ones: ask for groth16",
            ));
        }
        if !self.inner.verifiers.verifies(backend, kind) {
            return Err(unsupported(
                "this build could not verify them; core proofs need the cargo feature `sp1-core` (on by default)",
            ));
        }
        Ok(())
    }
}

/// The request's key with a digest of all that it asks for, as the client said it.
fn idempotency(request: &TaskRequest) -> Option<Idempotency> {
    let key = request.idempotency_key.clone()?;
    let mut asked = json!([
        request.args,
        request.payload,
        request.kind,
        request.root.map(|root| root.to_string()),
        request.priority,
        request.deadline.map(|deadline| deadline.as_secs_f64()),
    ]);
    // What an older version admitted has the digest it had.
    if request.record
        && let Some(asked) = asked.as_array_mut()
    {
        asked.push("record".into());
    }
    Some(Idempotency { key, request: BlobDigest::of(asked.to_string().as_bytes()) })
}

impl crate::Inner {
    /// When a task that is admitted now has to be finished.
    fn deadline(&self, asked: Option<Duration>) -> Result<Timestamp, EngineError> {
        let limit = self.config.max_deadline;
        match asked {
            Some(asked) if asked > limit => return Err(EngineError::DeadlineTooLong { limit }),
            Some(asked) if asked < SHORTEST_DEADLINE => {
                return Err(EngineError::InvalidRequest("a deadline is at least one second from now".into()));
            }
            _ => {}
        }
        let length = asked.unwrap_or_else(|| self.config.default_deadline.min(limit));
        Ok(Timestamp::now().saturating_add(length).unwrap_or(Timestamp::MAX))
    }

    /// When a failed task that is retried now has to be finished: it gets as much time as it had.
    pub(crate) async fn renewed_deadline(&self, task: &Task) -> Result<Option<Timestamp>, StoreError> {
        let Some(deadline) = task.deadline else { return Ok(None) };
        let (mut since, mut after) = (task.created_at, 0);
        loop {
            let events = self.store.events(task.id, after, EVENTS).await?;
            since = events.iter().rfind(|event| event.kind.name == "retried").map_or(since, |event| event.at);
            match events.last() {
                Some(last) if events.len() == EVENTS => after = last.seq,
                _ => break,
            }
        }
        let length = deadline.duration_since(since).unsigned_abs().min(self.config.max_deadline);
        Ok(Some(Timestamp::now().saturating_add(length).unwrap_or(Timestamp::MAX)))
    }
}
