//! One node of the pool: what it said of itself, what it was given, how it does.

use coprocessor_prover::{JobKey, NodeError, NodeInfo, ProverNode};
use coprocessor_store::ProverRecord;
use coprocessor_types::{BlobDigest, OwnerId};
use jiff::Timestamp;
use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

use super::{
    ProverSource,
    health::{Fault, Health, Standing, Turn},
};

/// How long a node may take to say how busy it is.
const PATIENCE: Duration = Duration::from_secs(3);

/// An answer is asked for again when it is older than this, or than the second where the node gave none.
const FRESH: Duration = Duration::from_millis(250);
const FRESH_FAILURE: Duration = Duration::from_secs(1);

/// An answer up to this old will do while a newer one is on its way.
const USABLE: Duration = Duration::from_secs(5);

/// How long no other job is offered to a node that had no place for one, or that is about to stop.
const FULL: Duration = Duration::from_millis(500);
const DRAINING: Duration = Duration::from_secs(5);

/// Circuits remembered as held by a node.
const CIRCUITS: usize = 4096;

/// A node.
pub(super) struct Member {
    pub(super) node: Arc<dyn ProverNode>,
    pub(super) source: ProverSource,
    /// Who brought it; `None` for the service's own.
    pub(super) owner: Option<OwnerId>,
    pub(super) shared: bool,
    pub(super) added_at: Option<Timestamp>,
    /// Held while the node is asked, so that it is asked once.
    asking: tokio::sync::Mutex<()>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    answer: Option<Answer>,
    /// Jobs that this process waits for.
    jobs: u32,
    /// Takes nothing before.
    busy: Option<(Instant, String)>,
    circuits: HashSet<BlobDigest>,
    health: Health,
}

#[derive(Clone)]
struct Answer {
    at: Instant,
    info: Result<NodeInfo, NodeError>,
    /// [`State::jobs`] when it was given.
    jobs: u32,
}

/// How a member stands when a node is chosen.
pub(super) enum Offer {
    /// It could take a job; the lower the better.
    Able(f64),
    /// It could not, and why.
    Unable(String),
    /// It has to be asked first.
    Unknown,
}

/// For people.
pub(super) struct HealthView {
    pub(super) set_aside_until: Option<Timestamp>,
    pub(super) failures: u32,
    pub(super) last_error: Option<String>,
}

impl Member {
    pub(super) fn new(node: Arc<dyn ProverNode>, source: ProverSource) -> Self {
        let (asking, state) = Default::default();
        Self { node, source, owner: None, shared: true, added_at: None, asking, state }
    }

    pub(super) fn registered(node: Arc<dyn ProverNode>, record: &ProverRecord) -> Self {
        Self {
            owner: Some(record.owner.clone()),
            shared: record.shared,
            added_at: Some(record.added_at),
            ..Self::new(node, ProverSource::Registered)
        }
    }

    /// Whether it is the node of that record, as it is in the store now.
    pub(super) fn is(&self, record: &ProverRecord) -> bool {
        self.source == ProverSource::Registered
            && self.owner.as_ref() == Some(&record.owner)
            && self.node.address() == record.address
            && self.shared == record.shared
            && self.added_at == Some(record.added_at)
    }

    /// Whether it may prove tasks of that owner.
    pub(super) fn serves(&self, owner: &OwnerId) -> bool {
        self.shared || self.owner.as_ref() == Some(owner)
    }

    /// Whether it should be asked again: its last answer is old, and it is not set aside.
    pub(super) fn is_to_be_asked(&self) -> bool {
        let state = self.state();
        let aside = state.health.standing(Instant::now()) == Standing::Aside;
        !aside
            && state.answer.as_ref().is_none_or(|answer| {
                let fresh = if answer.info.is_ok() { FRESH } else { FRESH_FAILURE };
                answer.at.elapsed() > fresh
            })
    }

    /// Asks the node what it can do and how busy it is, unless somebody just has.
    pub(super) async fn ask(&self) {
        let _asking = self.asking.lock().await;
        if self.is_to_be_asked() {
            // The answer is kept.
            let _ = self.ask_now().await;
        }
    }

    /// The same, however fresh the last answer is.
    pub(super) async fn ask_now(&self) -> Result<NodeInfo, NodeError> {
        let (began, jobs) = (Instant::now(), self.state().jobs);
        let info = tokio::time::timeout(PATIENCE, self.node.describe()).await.unwrap_or_else(|_| {
            let reason = format!("no answer within {} s", PATIENCE.as_secs());
            Err(NodeError::Unreachable { address: self.node.address().to_owned(), reason })
        });
        let turn = {
            let mut state = self.state();
            state.answer = Some(Answer { at: Instant::now(), info: info.clone(), jobs });
            match &info {
                Ok(_) => state.health.answered(),
                Err(error) => state.health.failed(Fault::Away, error.to_string(), began, Instant::now()),
            }
        };
        self.tell(turn);
        info
    }

    /// Whether it could take a job that `fits`, by its last answer.
    pub(super) fn offer(&self, fits: impl Fn(&NodeInfo) -> Result<(), String>) -> Offer {
        let state = self.state();
        let now = Instant::now();
        let address = self.node.address();
        let standing = if self.source == ProverSource::InProcess { Standing::Good } else { state.health.standing(now) };
        if standing == Standing::Aside {
            let error = state.health.last_error().unwrap_or("it failed");
            return Offer::Unable(format!(
                "{address} is set aside after {} failures: {error}",
                state.health.failures()
            ));
        }
        let Some(answer) = state.answer.as_ref().filter(|answer| now - answer.at < USABLE) else {
            return Offer::Unknown;
        };
        let info = match &answer.info {
            Ok(info) => info,
            Err(error) => return Offer::Unable(error.to_string()),
        };
        if let Err(reason) = fits(info) {
            return Offer::Unable(format!("{address}: {reason}"));
        }
        if let Some((_, reason)) = state.busy.as_ref().filter(|(until, _)| now < *until) {
            return Offer::Unable(format!("{address}: {reason}"));
        }
        if standing == Standing::OnTrial && state.jobs > 0 {
            return Offer::Unable(format!("{address} failed, and is tried with one job first"));
        }
        Offer::Able(load(info, answer.jobs, state.jobs))
    }

    pub(super) fn health(&self) -> HealthView {
        let state = self.state();
        let now = Instant::now();
        HealthView {
            set_aside_until: state.health.set_aside_until(now).map(|until| Timestamp::now() + (until - now)),
            failures: state.health.failures(),
            last_error: state.health.last_error().map(str::to_owned),
        }
    }

    /// Moves what is known of it into the past.
    #[cfg(test)]
    pub(super) fn grow_older(&self, by: Duration) {
        let mut state = self.state();
        state.health.grow_older(by);
        if let Some(answer) = &mut state.answer {
            answer.at -= by;
        }
        if let Some((until, _)) = &mut state.busy {
            *until -= by;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self, fault: Fault, error: String, began: Instant) {
        if self.source == ProverSource::InProcess {
            return;
        }
        let turn = self.state().health.failed(fault, error, began, Instant::now());
        self.tell(turn);
    }

    fn tell(&self, turn: Option<Turn>) {
        let address = self.node.address();
        match turn {
            Some(Turn::SetAside(pause)) => {
                let (failures, error) = {
                    let state = self.state();
                    (state.health.failures(), state.health.last_error().unwrap_or_default().to_owned())
                };
                tracing::warn!(address, failures, error, seconds = pause.as_secs(), "prover node set aside");
            }
            Some(Turn::Back) => tracing::info!(address, "prover node is back"),
            None => {}
        }
    }
}

/// Jobs per slot: what the node said, and what this process gave it since.
fn load(info: &NodeInfo, jobs_then: u32, jobs_now: u32) -> f64 {
    let said = u64::from(info.slots.running) + u64::from(info.slots.waiting);
    let now = (said + u64::from(jobs_now)).saturating_sub(u64::from(jobs_then)).max(u64::from(jobs_now));
    #[allow(clippy::cast_precision_loss)] // Numbers of jobs are small.
    let jobs = now as f64;
    // A slot whose process is getting ready does nothing yet: what it is given waits.
    (jobs + f64::from(info.slots.starting)) / f64::from(info.slots.slots.max(1))
}

/// A node that was chosen for a job. Counts as one of its jobs until dropped.
pub(crate) struct Chosen {
    member: Arc<Member>,
    began: Instant,
}

impl Chosen {
    pub(super) fn new(member: Arc<Member>) -> Self {
        member.state().jobs += 1;
        Self { member, began: Instant::now() }
    }

    pub(crate) fn node(&self) -> &Arc<dyn ProverNode> {
        &self.member.node
    }

    pub(crate) fn address(&self) -> &str {
        self.member.node.address()
    }

    /// Whether it lives and dies with this process.
    pub(crate) fn is_in_process(&self) -> bool {
        self.member.source == ProverSource::InProcess
    }

    /// Whether the circuit was given to it, or found there, before.
    pub(crate) fn knows(&self, circuit: &BlobDigest) -> bool {
        self.member.state().circuits.contains(circuit)
    }

    pub(crate) fn set_known(&self, circuit: BlobDigest) {
        let mut state = self.member.state();
        if state.circuits.len() >= CIRCUITS {
            state.circuits.clear();
        }
        state.circuits.insert(circuit);
    }

    /// It does not hold the circuit, or does no longer.
    pub(crate) fn forget(&self, circuit: &BlobDigest) {
        self.member.state().circuits.remove(circuit);
    }

    /// It did not take the job. Others are offered to it a moment later.
    pub(crate) fn refused(&self, error: &NodeError) {
        let pause = match error {
            NodeError::Unreachable { .. } | NodeError::Unauthorized { .. } => {
                self.member.failed(Fault::Away, error.to_string(), self.began);
                FULL
            }
            NodeError::QueueFull { .. } => FULL,
            _ => DRAINING,
        };
        self.member.state().busy = Some((Instant::now() + pause, error.to_string()));
    }

    /// It lost the job, or let it wait or run for too long.
    pub(crate) fn lost(&self, error: String) {
        self.member.failed(Fault::Job, error, self.began);
    }

    /// It sent a proof that does not hold.
    pub(crate) fn rejected(&self, error: String) {
        self.member.failed(Fault::Rejected, error, self.began);
    }

    /// It made a proof that holds.
    pub(crate) fn proved(&self) {
        let turn = self.member.state().health.proved();
        self.member.tell(turn);
    }

    /// Tells it that nobody waits for the job any more. Does not wait for its answer.
    pub(crate) fn abandon(&self, key: JobKey) {
        let node = Arc::clone(&self.member.node);
        tokio::spawn(async move {
            if let Err(error) = node.cancel(key).await {
                let node = node.address();
                tracing::warn!(task = %key.task, node, %error, "a job could not be cancelled on its node");
            }
        });
    }
}

impl Drop for Chosen {
    fn drop(&mut self) {
        self.member.state().jobs -= 1;
    }
}
