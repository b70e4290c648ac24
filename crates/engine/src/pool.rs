//! The prover nodes a service knows: flags', the API's, and the mock prover inside.

use coprocessor_prover::{NodeError, NodeInfo, ProverNode, remote::RemoteNode};
use coprocessor_store::{ProverRecord, Store};
use coprocessor_types::{Backend, OwnerId, ProofKind};
use futures::future::join_all;
use jiff::Timestamp;
use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use crate::EngineError;

/// How long a node may take to say how busy it is.
const PATIENCE: Duration = Duration::from_secs(3);

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

#[derive(Clone)]
struct Entry {
    node: Arc<dyn ProverNode>,
    source: ProverSource,
    owner: Option<OwnerId>,
    added_at: Option<Timestamp>,
}

/// A node and how it answered just now.
pub struct NodeView {
    /// Its address.
    pub address: String,
    /// Where its registration comes from.
    pub source: ProverSource,
    /// When it was registered through the API.
    pub added_at: Option<Timestamp>,
    /// What it said of itself.
    pub info: Result<NodeInfo, NodeError>,
}

/// The nodes. Cheap to clone.
#[derive(Clone)]
pub struct ProverPool {
    nodes: Arc<RwLock<Vec<Entry>>>,
    store: Arc<dyn Store>,
    insecure: bool,
}

impl ProverPool {
    /// The nodes of `configured`, and those that the store remembers. `insecure` lets secrets travel in clear text.
    ///
    /// # Errors
    /// The store's.
    pub async fn load(
        store: Arc<dyn Store>,
        configured: Vec<(Arc<dyn ProverNode>, ProverSource)>,
        insecure: bool,
    ) -> Result<Self, EngineError> {
        let mut nodes: Vec<Entry> =
            configured.into_iter().map(|(node, source)| Entry { node, source, owner: None, added_at: None }).collect();
        for record in store.provers().await? {
            match RemoteNode::new(&record.address, record.secret.clone(), insecure) {
                Ok(node) => nodes.push(registered(node, record)),
                Err(error) => {
                    tracing::warn!(address = record.address, %error, "a registered prover node is left out");
                }
            }
        }
        Ok(Self { nodes: Arc::new(RwLock::new(nodes)), store, insecure })
    }

    /// Registers a node. False when it is there already.
    ///
    /// # Errors
    /// Not an address of a node, or one that its secret must not be sent to.
    pub async fn add(&self, record: ProverRecord) -> Result<bool, EngineError> {
        let node =
            RemoteNode::new(&record.address, record.secret.clone(), self.insecure).map_err(|error| match error {
                // Nothing was asked of the node yet: it is the request that cannot be used.
                NodeError::Failed { reason } => EngineError::InvalidRequest(reason),
                other => other.into(),
            })?;
        if self.entries().iter().any(|entry| entry.node.address() == node.address()) {
            return Ok(false);
        }
        let record = ProverRecord { address: node.address().to_owned(), ..record };
        if !self.store.add_prover(record.clone()).await? {
            return Ok(false);
        }
        self.nodes.write().unwrap_or_else(PoisonError::into_inner).push(registered(node, record));
        Ok(true)
    }

    /// Forgets a node that was registered through the API.
    ///
    /// # Errors
    /// [`EngineError::UnknownProver`].
    pub async fn remove(&self, owner: &OwnerId, address: &str) -> Result<(), EngineError> {
        if !self.store.remove_prover(owner, address).await? {
            return Err(EngineError::UnknownProver(address.to_owned()));
        }
        self.nodes.write().unwrap_or_else(PoisonError::into_inner).retain(|entry| {
            entry.source != ProverSource::Registered
                || entry.owner.as_ref() != Some(owner)
                || entry.node.address() != address
        });
        Ok(())
    }

    /// Every node, asked just now.
    pub async fn view(&self) -> Vec<NodeView> {
        let asked = self.entries().into_iter().map(|entry| async move {
            let info = ask(&entry.node).await;
            NodeView { address: entry.node.address().to_owned(), source: entry.source, added_at: entry.added_at, info }
        });
        join_all(asked).await
    }

    /// The least loaded node that makes that kind of proof for circuits of that backend.
    ///
    /// # Errors
    /// Why there is none, for people.
    pub async fn choose(&self, backend: Backend, kind: ProofKind) -> Result<Arc<dyn ProverNode>, String> {
        let entries = self.entries();
        let able = |entry: &Entry| kind == ProofKind::Mock || entry.source != ProverSource::InProcess;
        let mut asked = join_all(entries.into_iter().filter(able).map(|entry| async move {
            let info = ask(&entry.node).await;
            (entry.node, info)
        }))
        .await;
        asked.sort_by(|(_, a), (_, b)| load(a).total_cmp(&load(b)));
        let fits = asked.iter().find(|(_, info)| info.as_ref().is_ok_and(|info| info.offers(backend, kind)));
        fits.map(|(node, _)| Arc::clone(node)).ok_or_else(|| why_none(&asked, kind))
    }

    /// The kind of proof where a request names none: core (groth16 for a Groth16 circuit) where a real prover is known,
    /// else mock.
    pub fn default_kind(&self, backend: Backend) -> ProofKind {
        let real = self.entries().iter().any(|entry| entry.source != ProverSource::InProcess);
        match (real, backend) {
            (false, _) => ProofKind::Mock,
            (true, Backend::Sp1) => ProofKind::Core,
            (true, Backend::Groth16) => ProofKind::Groth16,
        }
    }

    /// Every node, for what must be asked of all of them.
    pub(crate) fn nodes(&self) -> Vec<(Arc<dyn ProverNode>, ProverSource)> {
        self.entries().into_iter().map(|entry| (entry.node, entry.source)).collect()
    }

    fn entries(&self) -> Vec<Entry> {
        self.nodes.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn registered(node: RemoteNode, record: ProverRecord) -> Entry {
    Entry {
        node: Arc::new(node),
        source: ProverSource::Registered,
        owner: Some(record.owner),
        added_at: Some(record.added_at),
    }
}

/// A node, and what it said of itself.
type Asked = (Arc<dyn ProverNode>, Result<NodeInfo, NodeError>);

async fn ask(node: &Arc<dyn ProverNode>) -> Result<NodeInfo, NodeError> {
    tokio::time::timeout(PATIENCE, node.describe()).await.unwrap_or_else(|_| {
        let reason = format!("no answer within {} s", PATIENCE.as_secs());
        Err(NodeError::Unreachable { address: node.address().to_owned(), reason })
    })
}

/// Jobs per slot; a node that does not answer comes last.
fn load(info: &Result<NodeInfo, NodeError>) -> f64 {
    info.as_ref().map_or(f64::INFINITY, |info| {
        f64::from(info.slots.running + info.slots.waiting) / f64::from(info.slots.slots.max(1))
    })
}

fn why_none(asked: &[Asked], kind: ProofKind) -> String {
    if asked.is_empty() {
        return format!("no prover node is configured for {kind} proofs; start one and name it with --prover");
    }
    let reasons: Vec<String> = asked
        .iter()
        .map(|(node, info)| match info {
            Err(error) => error.to_string(),
            Ok(info) => {
                let missing = info.backends.iter().flat_map(|backend| &backend.missing).find(|(of, _)| *of == kind);
                let why = missing.map_or_else(|| "it does not make them".to_owned(), |(_, reason)| reason.clone());
                format!("{}: no {kind} proofs: {why}", node.address())
            }
        })
        .collect();
    reasons.join("; ")
}
