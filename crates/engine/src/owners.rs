//! Owners: what each may use.

use coprocessor_sandbox::Limits;
use coprocessor_store::{Change, ControllerQuotas, Cursor, MAX_WEIGHT, Owner, Page, Quotas, Scope};
use coprocessor_types::OwnerId;
use std::{sync::Arc, time::Duration};
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use crate::{Caller, Engine, EngineError, Inner, controllers::Subject, keys::KnownKeys, recent::Recent};

/// What one owner may use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OwnerLimits {
    /// Its share of each stage's work while others wait too, 1 to [`MAX_WEIGHT`].
    pub weight: u32,
    /// Tasks that are not finished.
    pub unfinished_tasks: u64,
    /// Registered programs.
    pub programs: u64,
    /// Bytes that its programs' volumes hold together: pages that are not all zeros, and raw storage.
    pub volume_bytes: u64,
    /// Requests a second that change something, sustained.
    pub requests_per_second: u32,
    /// Requests that change something at once.
    pub burst: u32,
    /// What each call of its controllers may use, where that differs from the sandbox's limits.
    pub controllers: ControllerQuotas,
}

impl Default for OwnerLimits {
    /// Plenty for anybody who means well.
    fn default() -> Self {
        Self {
            weight: 1,
            unfinished_tasks: 10_000,
            programs: 1000,
            volume_bytes: 16 << 30,
            requests_per_second: 1000,
            burst: 2000,
            controllers: ControllerQuotas::default(),
        }
    }
}

impl OwnerLimits {
    /// These, but for what was set for the owner.
    fn with(self, owner: &Owner) -> Self {
        let Quotas { unfinished_tasks, programs, volume_bytes, requests_per_second, burst, controllers } = owner.quotas;
        Self {
            weight: owner.weight,
            unfinished_tasks: unfinished_tasks.unwrap_or(self.unfinished_tasks),
            programs: programs.unwrap_or(self.programs),
            volume_bytes: volume_bytes.unwrap_or(self.volume_bytes),
            requests_per_second: requests_per_second.unwrap_or(self.requests_per_second),
            burst: burst.unwrap_or(self.burst),
            controllers,
        }
    }
}

/// The sandbox's limits, but for what was set for an owner; `None` where nothing was.
fn run_limits(usual: &Limits, own: &ControllerQuotas) -> Option<Limits> {
    if *own == ControllerQuotas::default() {
        return None;
    }
    let bytes = |own: Option<u64>, usual| own.map_or(usual, |own| usize::try_from(own).unwrap_or(usize::MAX));
    let time = |own: Option<u64>, usual| own.map_or(usual, Duration::from_millis);
    Some(Limits {
        fuel: own.fuel.unwrap_or(usual.fuel),
        wall_clock: time(own.wall_clock_ms, usual.wall_clock),
        memory_bytes: bytes(own.memory_bytes, usual.memory_bytes),
        output_bytes: bytes(own.output_bytes, usual.output_bytes),
        log_bytes: bytes(own.log_bytes, usual.log_bytes),
        host_calls: own.host_calls.unwrap_or(usual.host_calls),
        network_calls: own.network_calls.unwrap_or(usual.network_calls),
        network_call: time(own.network_call_ms, usual.network_call),
        network_sent_bytes: own.network_sent_bytes.unwrap_or(usual.network_sent_bytes),
        network_received_bytes: own.network_received_bytes.unwrap_or(usual.network_received_bytes),
        ..usual.clone()
    })
}

/// What was set for whoever owns the program or the domain whose controller runs.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct RunBounds {
    /// What the run may use; `None`: the sandbox's limits.
    pub(crate) limits: Option<Limits>,
    /// What the owner's volumes may hold; `None`: nothing is written, as nobody owns it any more.
    pub(crate) volume_bytes: Option<u64>,
}

/// What is asked about owners and keys with every request.
#[derive(Default)]
pub(crate) struct Accounts {
    pub(crate) keys: KnownKeys,
    limits: Recent<OwnerId, OwnerLimits>,
    runs: Recent<Subject, RunBounds>,
}

impl Accounts {
    /// Looks everything up again from now on.
    pub(crate) fn forget(&self) {
        self.keys.forget();
        self.limits.forget();
        self.runs.forget();
    }
}

impl Engine {
    /// What was set for an owner: the caller itself (scope read), or anybody for an administrator.
    ///
    /// # Errors
    /// Nothing was set, or it is another owner.
    pub async fn owner(&self, caller: &Caller, id: &OwnerId) -> Result<Owner, EngineError> {
        caller.require(Scope::Read)?;
        let owner = if caller.owns(id) { self.inner.store.owner(id).await? } else { None };
        owner.ok_or_else(|| EngineError::UnknownOwner(id.clone()))
    }

    /// Every owner for whom something was set, by name; for administrators.
    ///
    /// # Errors
    /// The store's.
    pub async fn owners(
        &self,
        caller: &Caller,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Page<Owner>, EngineError> {
        caller.require(Scope::Admin)?;
        Ok(self.inner.store.owners(after, limit).await?)
    }

    /// Sets what an owner may use; for administrators.
    ///
    /// # Errors
    /// A weight or a rate outside its bounds.
    pub async fn set_owner(&self, caller: &Caller, owner: Owner) -> Result<Owner, EngineError> {
        caller.require(Scope::Admin)?;
        if !(1..=MAX_WEIGHT).contains(&owner.weight) {
            let message = format!("a weight is 1 to {MAX_WEIGHT}, got {}", owner.weight);
            return Err(EngineError::InvalidRequest(message));
        }
        let rates = [("requests_per_second", owner.quotas.requests_per_second), ("burst", owner.quotas.burst)];
        if let Some((name, _)) = rates.iter().find(|(_, rate)| *rate == Some(0)) {
            let message = format!("{name} is at least 1; to lock an owner out, revoke its keys");
            return Err(EngineError::InvalidRequest(message));
        }
        let owner = self.inner.store.put_owner(owner).await?;
        self.inner.accounts.forget();
        tracing::info!(owner = %owner.id, weight = owner.weight, quotas = ?owner.quotas, "owner set");
        Ok(owner)
    }

    /// What an owner may use: what was set for it, and the service's defaults for the rest. No more than a few seconds old.
    ///
    /// # Errors
    /// The store's.
    pub async fn limits(&self, owner: &OwnerId) -> Result<OwnerLimits, EngineError> {
        self.inner.limits(owner).await
    }

    /// Bytes that an owner's volumes hold together, to be compared with [`OwnerLimits::volume_bytes`].
    ///
    /// # Errors
    /// The store's.
    pub async fn volume_bytes(&self, owner: &OwnerId) -> Result<u64, EngineError> {
        Ok(self.inner.store.volume_bytes(owner).await?)
    }
}

impl Inner {
    pub(crate) async fn limits(&self, owner: &OwnerId) -> Result<OwnerLimits, EngineError> {
        let known = &self.accounts.limits;
        match known.get(owner) {
            Ok(limits) => Ok(limits),
            Err(look) => {
                let defaults = self.config.limits;
                let limits = self.store.owner(owner).await?.map_or(defaults, |owner| defaults.with(&owner));
                known.put(look, owner.clone(), limits);
                Ok(limits)
            }
        }
    }

    /// What bounds a run of a controller: what was set for whoever owns the program or the domain.
    pub(crate) async fn run_bounds(&self, subject: Subject) -> Result<RunBounds, EngineError> {
        let known = &self.accounts.runs;
        let look = match known.get(&subject) {
            Ok(bounds) => return Ok(bounds),
            Err(look) => look,
        };
        let owner = match subject {
            Subject::Program(id) => self.store.program(id).await?.map(|program| program.owner),
            Subject::Domain(id) => self.store.domain(id).await?.map(|domain| domain.owner),
        };
        let bounds = match owner {
            Some(owner) => {
                let own = self.limits(&owner).await?;
                let limits = run_limits(&self.sandbox.config().limits, &own.controllers);
                RunBounds { limits, volume_bytes: Some(own.volume_bytes) }
            }
            None => RunBounds::default(),
        };
        known.put(look, subject, bounds.clone());
        Ok(bounds)
    }
}

/// Forgets what is known of accounts whenever one changes, by whichever process, until `stop`.
pub(crate) fn watch_accounts(inner: Arc<Inner>, stop: CancellationToken) {
    let mut changes = inner.store.changes();
    tokio::spawn(stop.run_until_cancelled_owned(async move {
        loop {
            match changes.recv().await {
                Ok(Change::Accounts) | Err(RecvError::Lagged(_)) => inner.accounts.forget(),
                Ok(_) => {}
                Err(RecvError::Closed) => return,
            }
        }
    }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Bench, FakeNode, config};
    use jiff::Timestamp;
    use serde_json::json;

    #[test]
    fn what_was_set_goes_before_the_defaults() {
        let quotas = Quotas { unfinished_tasks: Some(0), burst: Some(7), ..Quotas::default() };
        let owner = Owner { id: OwnerId::anonymous(), weight: 5, quotas, created_at: Timestamp::UNIX_EPOCH };
        let defaults = OwnerLimits::default();
        let expected = OwnerLimits { weight: 5, unfinished_tasks: 0, burst: 7, ..defaults };
        assert_eq!(defaults.with(&owner), expected);
    }

    #[test]
    fn a_run_has_the_sandboxs_limits_but_for_what_was_set() {
        let usual = Limits::default();
        assert_eq!(run_limits(&usual, &ControllerQuotas::default()), None);
        let own = ControllerQuotas { fuel: Some(5), network_call_ms: Some(20), ..ControllerQuotas::default() };
        let expected = Limits { fuel: 5, network_call: Duration::from_millis(20), ..usual.clone() };
        assert_eq!(run_limits(&usual, &own), Some(expected));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_owners_controllers_have_what_was_set_for_it() {
        let turns = r#"(module (memory (export "memory") 1) (func (export "get_witnesses")) (func (export "entrypoint")
            (local $turns i32) (local.set $turns (i32.const 10000))
            (loop $again (br_if $again (local.tee $turns (i32.sub (local.get $turns) (i32.const 1)))))))"#;
        let bench = Bench::running(turns, config(), &[&FakeNode::new("a")]).await;
        let (engine, caller, program) = (&bench.engine, Caller::anonymous(), bench.program.id);
        let call = async || engine.call(&caller, program, json!({})).await;
        assert!(call().await.is_ok());
        let owner = |controllers| Owner {
            id: bench.program.owner.clone(),
            weight: 1,
            quotas: Quotas { controllers, ..Quotas::default() },
            created_at: Timestamp::UNIX_EPOCH,
        };
        let little = ControllerQuotas { fuel: Some(1000), ..ControllerQuotas::default() };
        engine.set_owner(&caller, owner(little)).await.unwrap();
        let refused = call().await;
        assert!(matches!(refused, Err(EngineError::Guest { code: "out_of_fuel", .. })), "{refused:?}");
        engine.set_owner(&caller, owner(ControllerQuotas::default())).await.unwrap();
        assert!(call().await.is_ok());
    }
}
