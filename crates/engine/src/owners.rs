//! Owners: what each may use.

use coprocessor_store::{Change, Cursor, MAX_WEIGHT, Owner, Page, Quotas, Scope};
use coprocessor_types::OwnerId;
use std::sync::Arc;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use crate::{Caller, Engine, EngineError, Inner, keys::KnownKeys, recent::Recent};

/// What one owner may use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OwnerLimits {
    /// Its share of each stage's work while others wait too, 1 to [`MAX_WEIGHT`].
    pub weight: u32,
    /// Tasks that are not finished.
    pub unfinished_tasks: u64,
    /// Registered programs.
    pub programs: u64,
    /// Requests a second that change something, sustained.
    pub requests_per_second: u32,
    /// Requests that change something at once.
    pub burst: u32,
}

impl Default for OwnerLimits {
    /// Plenty for anybody who means well.
    fn default() -> Self {
        Self { weight: 1, unfinished_tasks: 10_000, programs: 1000, requests_per_second: 1000, burst: 2000 }
    }
}

impl OwnerLimits {
    /// These, but for what was set for the owner.
    fn with(self, owner: &Owner) -> Self {
        let Quotas { unfinished_tasks, programs, requests_per_second, burst } = owner.quotas;
        Self {
            weight: owner.weight,
            unfinished_tasks: unfinished_tasks.unwrap_or(self.unfinished_tasks),
            programs: programs.unwrap_or(self.programs),
            requests_per_second: requests_per_second.unwrap_or(self.requests_per_second),
            burst: burst.unwrap_or(self.burst),
        }
    }
}

/// What is asked about owners and keys with every request.
#[derive(Default)]
pub(crate) struct Accounts {
    pub(crate) keys: KnownKeys,
    limits: Recent<OwnerId, OwnerLimits>,
}

impl Accounts {
    /// Looks everything up again from now on.
    pub(crate) fn forget(&self) {
        self.keys.forget();
        self.limits.forget();
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
        let known = &self.inner.accounts.limits;
        match known.get(owner) {
            Ok(limits) => Ok(limits),
            Err(look) => {
                let defaults = self.inner.config.limits;
                let limits = self.inner.store.owner(owner).await?.map_or(defaults, |owner| defaults.with(&owner));
                known.put(look, owner.clone(), limits);
                Ok(limits)
            }
        }
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
    use jiff::Timestamp;

    #[test]
    fn what_was_set_goes_before_the_defaults() {
        let quotas = Quotas { unfinished_tasks: Some(0), burst: Some(7), ..Quotas::default() };
        let owner = Owner { id: OwnerId::anonymous(), weight: 5, quotas, created_at: Timestamp::UNIX_EPOCH };
        let defaults = OwnerLimits::default();
        let expected = OwnerLimits { weight: 5, unfinished_tasks: 0, burst: 7, ..defaults };
        assert_eq!(defaults.with(&owner), expected);
    }
}
