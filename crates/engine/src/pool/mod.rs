//! The prover nodes a service knows: flags', the API's, and the mock prover inside.

mod health;
mod member;

use coprocessor_outbound::{AllowedHost, Dialer, Target};
use coprocessor_prover::{NodeError, NodeInfo, ProverNode, remote::RemoteNode};
use coprocessor_store::{ProverRecord, Store};
use coprocessor_types::{Backend, OwnerId, ProofKind, TaskId};
use futures::{StreamExt, future::join_all, stream::FuturesUnordered};
use jiff::Timestamp;
use std::{
    collections::HashSet,
    io,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};
use tokio::sync::Notify;

use crate::EngineError;
use member::{HealthView, Member, Offer};

pub(crate) use member::Chosen;

/// How often the store is asked which nodes are registered, even when no change was announced.
const RELOAD: Duration = Duration::from_secs(10);

/// How long the other nodes may take to answer once one of them could take the job.
const GRACE: Duration = Duration::from_millis(100);

/// How long finding and reaching a node that an owner brought may take.
const DIAL: Duration = Duration::from_secs(5);

/// How long a node may take to say whether it has a job.
const JOIN: Duration = Duration::from_secs(3);

/// Where a node's registration comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProverSource {
    /// The service's flags.
    Configured,
    /// The API.
    Registered,
    /// The mock prover inside the service.
    InProcess,
}

/// A node and how it answered just now.
pub struct NodeView {
    /// Its address.
    pub address: String,
    /// Where its registration comes from.
    pub source: ProverSource,
    /// Who brought it; `None` for the service's own.
    pub owner: Option<OwnerId>,
    /// Whether it proves for everybody; else for its owner alone.
    pub shared: bool,
    /// When it was registered through the API.
    pub added_at: Option<Timestamp>,
    /// Until when it is given nothing, because it kept failing. It is tried again then.
    pub set_aside_until: Option<Timestamp>,
    /// How often it failed in a row.
    pub failures: u32,
    /// What it failed with last, even if it has done well since.
    pub last_error: Option<String>,
    /// What it said of itself.
    pub info: Result<NodeInfo, NodeError>,
}

/// A job to find a node for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    /// Whose task it is.
    pub(crate) owner: &'a OwnerId,
    pub(crate) backend: Backend,
    pub(crate) kind: ProofKind,
}

/// How nodes are reached.
#[derive(Clone, Debug, Default)]
pub struct PoolSettings {
    /// Whether secrets may travel in clear text.
    pub insecure: bool,
    /// Where nodes that are not an administrator's may be, beside public addresses.
    pub allow: Vec<AllowedHost>,
}

/// The nodes. Cheap to clone.
#[derive(Clone)]
pub struct ProverPool(Arc<Pool>);

struct Pool {
    members: RwLock<Vec<Arc<Member>>>,
    store: Arc<dyn Store>,
    insecure: bool,
    dialer: Dialer,
    /// Another process, or this one, has registered or forgotten a node.
    changed: Notify,
    /// Registered addresses that cannot be used: said once.
    left_out: Mutex<HashSet<String>>,
}

impl ProverPool {
    /// The nodes of `configured`, and those that the store remembers.
    ///
    /// # Errors
    /// The store's.
    pub async fn load(
        store: Arc<dyn Store>,
        configured: Vec<(Arc<dyn ProverNode>, ProverSource)>,
        settings: PoolSettings,
    ) -> Result<Self, EngineError> {
        let PoolSettings { insecure, allow } = settings;
        let dialer = Dialer::new(allow, DIAL);
        let members = configured.into_iter().map(|(node, source)| Arc::new(Member::new(node, source))).collect();
        let (changed, left_out) = Default::default();
        let pool = Self(Arc::new(Pool { members: RwLock::new(members), store, insecure, dialer, changed, left_out }));
        pool.reload().await?;
        Ok(pool)
    }

    /// Registers a node. False when its owner has it already, or when it is the service's own.
    ///
    /// # Errors
    /// Not an address of a node, or one that its secret must not be sent to, or where such a node must not be.
    pub async fn add(&self, record: ProverRecord) -> Result<bool, EngineError> {
        let node = self.connect(&record).map_err(|error| match error {
            // Nothing was asked of the node yet: it is the request that cannot be used.
            NodeError::Failed { reason } => EngineError::InvalidRequest(reason),
            other => other.into(),
        })?;
        if self.members().iter().any(|member| member.owner.is_none() && member.node.address() == node.address()) {
            return Ok(false);
        }
        let record = ProverRecord { address: node.address().to_owned(), ..record };
        if !record.trusted {
            let invalid = |reason: String| EngineError::InvalidRequest(format!("the node's address: {reason}"));
            let target: Target = record.address.parse().map_err(|error| invalid(format!("{error}")))?;
            self.0.dialer.vet(&target).await.map_err(|error| invalid(error.to_string()))?;
        }
        let added = self.0.store.add_prover(record).await?;
        self.reload().await?;
        Ok(added)
    }

    /// Forgets a node that was registered through the API.
    ///
    /// # Errors
    /// [`EngineError::UnknownProver`].
    pub async fn remove(&self, owner: &OwnerId, address: &str) -> Result<(), EngineError> {
        if !self.0.store.remove_prover(owner, address).await? {
            return Err(EngineError::UnknownProver(address.to_owned()));
        }
        self.reload().await?;
        Ok(())
    }

    /// The nodes that `reader` may see, each asked just now: its own, shared ones and the service's own; all where nobody is named.
    pub async fn view(&self, reader: Option<&OwnerId>) -> Vec<NodeView> {
        let seen = self.members().into_iter().filter(|member| reader.is_none_or(|reader| member.serves(reader)));
        let asked = seen.map(|member| async move {
            let info = member.ask_now().await;
            let HealthView { set_aside_until, failures, last_error } = member.health();
            NodeView {
                address: member.node.address().to_owned(),
                source: member.source,
                owner: member.owner.clone(),
                shared: member.shared,
                added_at: member.added_at,
                set_aside_until,
                failures,
                last_error,
                info,
            }
        });
        join_all(asked).await
    }

    /// The kind of proof where a request of `owner` names none: groth16 for a Groth16 circuit, for others core where a real prover
    /// is known, else mock.
    pub fn default_kind(&self, owner: &OwnerId, backend: Backend) -> ProofKind {
        let real =
            || self.members().iter().any(|member| member.source != ProverSource::InProcess && member.serves(owner));
        match backend {
            Backend::Groth16 => ProofKind::Groth16,
            Backend::Sp1 if real() => ProofKind::Core,
            Backend::Sp1 => ProofKind::Mock,
        }
    }

    /// The least loaded node that makes such a proof and may be given the job, none of `avoid`.
    ///
    /// # Errors
    /// Why there is none, for people.
    pub(crate) async fn choose(&self, wanted: Wanted<'_>, avoid: &[String]) -> Result<Chosen, String> {
        let candidates: Vec<Arc<Member>> = self
            .members()
            .into_iter()
            .filter(|member| wanted.may_use(member) && !avoid.iter().any(|avoided| avoided == member.node.address()))
            .collect();
        let mut asked: FuturesUnordered<_> = candidates
            .iter()
            .filter(|member| member.is_to_be_asked())
            .map(|member| {
                // Apart from this call, so that a node's answer is not lost when nobody waits for it any more.
                let member = Arc::clone(member);
                tokio::spawn(async move { member.ask().await })
            })
            .collect();
        if !candidates.iter().any(|member| matches!(wanted.offer(member), Offer::Able(_))) {
            while asked.next().await.is_some() {
                if candidates.iter().any(|member| matches!(wanted.offer(member), Offer::Able(_))) {
                    // Whoever answers a little later may be less loaded.
                    let others = async { while asked.next().await.is_some() {} };
                    let _ = tokio::time::timeout(GRACE, others).await;
                    break;
                }
            }
        }
        wanted.best(&candidates)
    }

    /// The node at `address` if it has a job of that task: to be joined before anything is proved elsewhere, whatever else
    /// is known of the node.
    pub(crate) async fn holder(&self, address: &str, owner: &OwnerId, task: TaskId) -> Option<Chosen> {
        let member = self.find(address, owner)?;
        match tokio::time::timeout(JOIN, member.node.has_job(task)).await {
            Ok(Ok(true)) => Some(Chosen::new(member)),
            Ok(Ok(false)) => None,
            Ok(Err(error)) => {
                tracing::debug!(%task, address, %error, "the node that had the task's job does not say whether it still has");
                None
            }
            Err(_) => {
                tracing::debug!(%task, address, "the node that had the task's job does not answer");
                None
            }
        }
    }

    /// The node at `address` that serves `owner`.
    pub(crate) fn at(&self, address: &str, owner: &OwnerId) -> Option<Arc<dyn ProverNode>> {
        self.find(address, owner).map(|member| Arc::clone(&member.node))
    }

    /// Nodes that may see circuits of `owner`.
    pub(crate) fn nodes(&self, owner: &OwnerId) -> Vec<(Arc<dyn ProverNode>, ProverSource)> {
        let serving = self.members().into_iter().filter(|member| member.serves(owner));
        serving.map(|member| (Arc::clone(&member.node), member.source)).collect()
    }

    /// Follows what is registered, by this process or another, for ever.
    pub(crate) async fn keep_fresh(self) {
        loop {
            tokio::select! {
                () = self.0.changed.notified() => {}
                () = tokio::time::sleep(RELOAD) => {}
            }
            if let Err(error) = self.reload().await {
                tracing::debug!(%error, "the registered prover nodes could not be looked up");
            }
        }
    }

    /// Somebody has registered or forgotten a node.
    pub(crate) fn reload_soon(&self) {
        self.0.changed.notify_one();
    }

    /// Takes over what the store has. Nodes that stay keep what is known of them.
    async fn reload(&self) -> Result<(), EngineError> {
        let records = self.0.store.provers().await?;
        let mut members = self.0.members.write().unwrap_or_else(PoisonError::into_inner);
        members.retain(|member| {
            member.source != ProverSource::Registered || records.iter().any(|record| member.is(record))
        });
        for record in &records {
            if members.iter().any(|member| member.is(record)) {
                continue;
            }
            match self.connect(record) {
                Ok(node) => members.push(Arc::new(Member::registered(Arc::new(node), record))),
                Err(error) => {
                    let mut left_out = self.0.left_out.lock().unwrap_or_else(PoisonError::into_inner);
                    if left_out.insert(record.address.clone()) {
                        tracing::warn!(address = record.address, %error, "a registered prover node is left out");
                    }
                }
            }
        }
        Ok(())
    }

    /// A node is told its own secret and no other. One that is not an administrator's is looked up and judged with every
    /// connection: a name that leads elsewhere later would have the service ask its own network.
    fn connect(&self, record: &ProverRecord) -> Result<RemoteNode, NodeError> {
        let node = RemoteNode::new(&record.address, record.secret.clone(), self.0.insecure)?;
        if record.trusted {
            return Ok(node);
        }
        let target: Target = node.address().parse().map_err(|error| NodeError::BadAddress {
            address: node.address().to_owned(),
            reason: format!("{error}"),
        })?;
        let dialer = self.0.dialer.clone();
        Ok(node.through(Arc::new(move || {
            let (dialer, target) = (dialer.clone(), target.clone());
            Box::pin(async move { dialer.connect(&target).await.map_err(io::Error::other) })
        })))
    }

    fn members(&self) -> Vec<Arc<Member>> {
        self.0.members.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn find(&self, address: &str, owner: &OwnerId) -> Option<Arc<Member>> {
        self.members().into_iter().find(|member| member.node.address() == address && member.serves(owner))
    }
}

impl Wanted<'_> {
    fn may_use(&self, member: &Member) -> bool {
        // What is inside makes no SP1 proofs: not even worth a word.
        let real = self.kind == ProofKind::Mock
            || self.backend == Backend::Groth16
            || member.source != ProverSource::InProcess;
        real && member.serves(self.owner)
    }

    fn offer(&self, member: &Member) -> Offer {
        member.offer(|info| {
            if info.offers(self.backend, self.kind) {
                return Ok(());
            }
            let missing = info.backends.iter().flat_map(|backend| &backend.missing).find(|(of, _)| *of == self.kind);
            let why = missing.map_or("it does not make them", |(_, reason)| reason.as_str());
            Err(format!("no {} proofs: {why}", self.kind))
        })
    }

    /// The least loaded; an owner's own before others.
    fn best(&self, candidates: &[Arc<Member>]) -> Result<Chosen, String> {
        if candidates.is_empty() {
            let kind = self.kind;
            return Err(format!("no prover node is there for {kind} proofs; start one and name it with --prover"));
        }
        let mut reasons = Vec::new();
        let mut best: Option<((f64, bool), &Arc<Member>)> = None;
        for member in candidates {
            match self.offer(member) {
                Offer::Able(load) => {
                    let rank = (load, member.owner.as_ref() != Some(self.owner));
                    if best.as_ref().is_none_or(|(best, _)| rank < *best) {
                        best = Some((rank, member));
                    }
                }
                Offer::Unable(reason) => reasons.push(reason),
                Offer::Unknown => reasons.push(format!("{} has not answered yet", member.node.address())),
            }
        }
        best.map(|(_, member)| Chosen::new(Arc::clone(member))).ok_or_else(|| reasons.join("; "))
    }
}

#[cfg(test)]
mod tests;
