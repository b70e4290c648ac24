//! What controllers may ask of other chains, at the root that their run is pinned to.

use coprocessor_sandbox::{Export, HostError, LatestBlock, Limits, StateProofReply};
use coprocessor_store::Domain;
use coprocessor_types::{DomainId, Root, StateProof};
use serde_json::Value;
use std::sync::Arc;

use crate::{
    EngineError, Inner,
    controllers::{ControllerCall, ControllerRun, Subject},
    domains::told,
    volumes::chain,
};

impl Inner {
    /// Has a domain's controller prove state, within what the asking run has left.
    pub(crate) async fn state_proof(
        self: &Arc<Self>,
        domain: &str,
        args: Value,
        root: Root,
        limits: Limits,
    ) -> StateProofReply {
        let known = match self.named(domain).await {
            Ok(known) => known,
            Err(error) => return StateProofReply { answer: Err(error), usage: Default::default() },
        };
        let call = ControllerCall {
            subject: Subject::Domain(known.id),
            controller: known.controller,
            export: Export::GetStateProof,
            args: told(&known, args),
            root,
        };
        let ControllerRun { run, .. } = match self.run_asked(call, limits).await {
            Ok(run) => run,
            Err(error) => {
                let answer = Err(HostError::Failed { reason: chain(&error) });
                return StateProofReply { answer, usage: Default::default() };
            }
        };
        let said = |reason: String| format!("domain {domain}: {reason}");
        let answer = match run.result {
            Ok(result) => proof(&known, result).map_err(|reason| HostError::Refused { reason: said(reason) }),
            Err(error) => {
                let reason = said(error.to_string());
                let passes = run.usage.network_failures > 0 || !error.is_deterministic();
                Err(if passes { HostError::Unanswered { reason } } else { HostError::Refused { reason } })
            }
        };
        StateProofReply { answer, usage: run.usage }
    }

    /// The highest block of a domain that a root commits to.
    pub(crate) async fn latest_block_at(&self, domain: &str, root: Root) -> Result<Option<LatestBlock>, HostError> {
        let known = self.named(domain).await?;
        let block = self.store.latest_block(known.id, root).await;
        let block = block.map_err(|error| HostError::Failed { reason: chain(&error) })?;
        Ok(block.map(|block| LatestBlock {
            domain: block.domain,
            number: block.number,
            state_root: block.state_root,
            payload: block.payload.to_vec(),
        }))
    }

    async fn named(&self, name: &str) -> Result<Domain, HostError> {
        self.known_domain(DomainId::derive(name)).await.map_err(|error| match error {
            EngineError::UnknownDomain(_) => HostError::Refused { reason: format!("there is no domain `{name}` here") },
            other => HostError::Failed { reason: chain(&other) },
        })
    }
}

/// What a domain's controller returned, if that is a proof of its own domain's state.
fn proof(domain: &Domain, result: Option<Value>) -> Result<StateProof, String> {
    let result = result.ok_or("its controller returned nothing; expected a state proof")?;
    let proof: StateProof =
        serde_json::from_value(result).map_err(|error| format!("its controller returned no state proof: {error}"))?;
    if proof.domain != domain.id {
        return Err(format!("its controller returned a proof of domain {}", proof.domain));
    }
    Ok(proof)
}
