//! Roots: the newest one, those before it, and what each commits to.

use coprocessor_merkle::BlockAppend;
use coprocessor_store::{OpenedBlock, RootRecord, Scope};
use coprocessor_types::{BlockNumber, DomainId, InstanceId, Root};
use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::{Caller, Engine, EngineError, Inner};

/// How long the newest root is taken for that without a look: another coprocessor may have made one, and its announcement may
/// have been lost.
const FRESH: Duration = Duration::from_secs(1);

/// A step from one root to the next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Transition {
    /// The root before.
    pub from: Root,
    /// The root with one more block.
    pub to: RootRecord,
    /// What shows it; see [`BlockAppend::verify`].
    pub append: BlockAppend,
}

/// The instance, shown at a root of its own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OpenedInstance {
    /// The identity.
    pub instance: InstanceId,
    /// The siblings that lead from its leaf to the root; see [`coprocessor_merkle::verify_instance`].
    pub siblings: Vec<Root>,
}

/// What a root commits to under a number of a domain, shown at that root.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Opened {
    /// The root.
    pub root: Root,
    /// The domain.
    pub domain: DomainId,
    /// The number.
    pub number: BlockNumber,
    /// What is there.
    pub held: OpenedBlock,
}

/// The newest root, as this process knows it.
#[derive(Default)]
pub(crate) struct Newest(Mutex<Known>);

#[derive(Default)]
struct Known {
    root: Option<(RootRecord, Instant)>,
    /// Grows whenever there may be a newer one.
    changes: u64,
}

impl Engine {
    /// This instance's identity.
    pub fn instance(&self) -> InstanceId {
        self.inner.store.instance()
    }

    /// The newest root: what requests are pinned to that name none. One that was made by another coprocessor a moment ago may
    /// not be known here yet.
    ///
    /// # Errors
    /// The store's.
    pub async fn current_root(&self, caller: &Caller) -> Result<RootRecord, EngineError> {
        caller.require(Scope::Read)?;
        self.inner.current_root().await
    }

    /// A root of this instance.
    ///
    /// # Errors
    /// [`EngineError::UnknownRoot`].
    pub async fn root(&self, caller: &Caller, root: Root) -> Result<RootRecord, EngineError> {
        caller.require(Scope::Read)?;
        self.inner.known_root(root).await
    }

    /// Roots with versions above `after`, oldest first; from version 0 on with `None`.
    ///
    /// # Errors
    /// The store's.
    pub async fn roots(
        &self,
        caller: &Caller,
        after: Option<u64>,
        limit: usize,
    ) -> Result<Vec<RootRecord>, EngineError> {
        caller.require(Scope::Read)?;
        Ok(self.inner.store.roots(after, limit).await?)
    }

    /// What a root commits to under a number of a domain: the block, or that there is none. A domain that was never registered
    /// is as good as any: no root commits to it.
    ///
    /// # Errors
    /// [`EngineError::UnknownRoot`], [`EngineError::RootPruned`].
    pub async fn open_block(
        &self,
        caller: &Caller,
        root: Root,
        domain: DomainId,
        number: BlockNumber,
    ) -> Result<Opened, EngineError> {
        caller.require(Scope::Read)?;
        let held = self.inner.store.open_block(root, domain, number).await?;
        Ok(Opened { root, domain, number, held })
    }

    /// That a root is this instance's.
    ///
    /// # Errors
    /// [`EngineError::UnknownRoot`], [`EngineError::RootPruned`].
    pub async fn open_instance(&self, caller: &Caller, root: Root) -> Result<OpenedInstance, EngineError> {
        caller.require(Scope::Read)?;
        let siblings = self.inner.store.open_instance(root).await?;
        Ok(OpenedInstance { instance: self.instance(), siblings })
    }

    /// The steps from one root to a later one, the current one by default: at most `limit` of them, from the first on.
    ///
    /// # Errors
    /// [`EngineError::UnknownRoot`]; roots in the wrong order; [`EngineError::RootPruned`].
    pub async fn transitions(
        &self,
        caller: &Caller,
        from: Root,
        to: Option<Root>,
        limit: usize,
    ) -> Result<Vec<Transition>, EngineError> {
        caller.require(Scope::Read)?;
        let inner = &self.inner;
        let first = inner.known_root(from).await?;
        let last = match to {
            Some(to) => inner.known_root(to).await?,
            None => inner.current_root().await?,
        };
        if first.version > last.version {
            let message = format!(
                "roots follow each other from old to new: {} has version {}, {} has version {}",
                first.root, first.version, last.root, last.version
            );
            return Err(EngineError::InvalidRequest(message));
        }
        let steps = usize::try_from(last.version - first.version).unwrap_or(usize::MAX).min(limit);
        if steps == 0 {
            return Ok(Vec::new());
        }
        let roots = inner.store.roots(Some(first.version), steps).await?;
        let to = first.version + roots.len() as u64;
        let appends = inner.store.transitions(first.version, to, steps).await?;
        let mut before = first.root;
        let step = |(to, append): (RootRecord, BlockAppend)| {
            let from = std::mem::replace(&mut before, to.root);
            Transition { from, to, append }
        };
        Ok(roots.into_iter().zip(appends).map(step).collect())
    }
}

impl Inner {
    /// The newest root, from memory where it was looked up a moment ago and nothing has been announced since.
    pub(crate) async fn current_root(&self) -> Result<RootRecord, EngineError> {
        let changes = match self.newest.get() {
            Ok(root) => return Ok(root),
            Err(changes) => changes,
        };
        let asked = Instant::now();
        let root = self.store.current_root().await?;
        self.newest.put(&root, asked, changes);
        Ok(root)
    }

    /// The root that a request is pinned to: the one it asks for, which must still be whole, or the newest.
    pub(crate) async fn pin(&self, asked: Option<Root>) -> Result<Root, EngineError> {
        let current = self.current_root().await?.root;
        match asked {
            Some(root) if root != current => {
                self.store.open_instance(root).await?;
                Ok(root)
            }
            _ => Ok(current),
        }
    }

    pub(crate) async fn known_root(&self, root: Root) -> Result<RootRecord, EngineError> {
        self.store.root(root).await?.ok_or(EngineError::UnknownRoot(root))
    }

    /// The root before the one of that version.
    pub(crate) async fn root_before(&self, version: u64) -> Result<Root, EngineError> {
        let before = self.store.roots(version.checked_sub(2), 1).await?;
        let before = before.into_iter().next().filter(|before| before.version + 1 == version);
        before
            .map(|before| before.root)
            .ok_or_else(|| EngineError::Internal(format!("no root before version {version}")))
    }
}

impl Newest {
    /// There may be a newer one from here on.
    pub(crate) fn forget(&self) {
        let mut known = self.known();
        known.root = None;
        known.changes += 1;
    }

    /// The root, or how many changes there have been.
    fn get(&self) -> Result<RootRecord, u64> {
        let known = self.known();
        match &known.root {
            Some((root, at)) if at.elapsed() < FRESH => Ok(root.clone()),
            _ => Err(known.changes),
        }
    }

    /// Keeps a root that was the newest at a moment after `changes` changes, unless there have been more since.
    fn put(&self, root: &RootRecord, at: Instant, changes: u64) {
        let mut known = self.known();
        let newer = known.root.as_ref().is_none_or(|(there, _)| there.version <= root.version);
        if known.changes == changes && newer {
            known.root = Some((root.clone(), at));
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;

    fn record(version: u64) -> RootRecord {
        let root = Root([u8::try_from(version).unwrap(); 32]);
        RootRecord { version, root, block: None, at: Timestamp::UNIX_EPOCH }
    }

    #[test]
    fn the_newest_root_is_known_until_something_changes_or_a_moment_has_passed() {
        let newest = Newest::default();
        let changes = newest.get().unwrap_err();
        newest.put(&record(1), Instant::now(), changes);
        assert_eq!(newest.get(), Ok(record(1)));
        newest.forget();
        let changes = newest.get().unwrap_err();
        newest.put(&record(2), Instant::now().checked_sub(FRESH).unwrap(), changes);
        assert!(newest.get().is_err(), "it is too long ago");
    }

    #[test]
    fn an_answer_from_before_a_change_is_not_kept() {
        let newest = Newest::default();
        let changes = newest.get().unwrap_err();
        newest.forget();
        newest.put(&record(1), Instant::now(), changes);
        let changes = newest.get().unwrap_err();
        newest.put(&record(3), Instant::now(), changes);
        newest.put(&record(2), Instant::now(), changes);
        assert_eq!(newest.get(), Ok(record(3)), "of two answers the newer stays, whichever came first");
    }
}
