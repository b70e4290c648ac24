//! A step's place among those of its stage.

use coprocessor_store::Stage;
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::runner::{Pace, Wakers, wake};

/// Held while a step is done, but not while its controller waits for the network: whoever waits keeps nobody from working.
pub(crate) struct Place {
    stage: Stage,
    /// Those of the stage.
    places: Arc<Semaphore>,
    pace: Arc<Pace>,
    wakers: Wakers,
    held: Mutex<Held>,
}

struct Held {
    /// `None` once it was left.
    permit: Option<OwnedSemaphorePermit>,
    /// Time that was spent waiting and not working.
    waited: Duration,
}

impl Place {
    pub(crate) fn new(
        stage: Stage,
        permit: OwnedSemaphorePermit,
        places: Arc<Semaphore>,
        pace: Arc<Pace>,
        wakers: Wakers,
    ) -> Self {
        let held = Mutex::new(Held { permit: Some(permit), waited: Duration::ZERO });
        Self { stage, places, pace, wakers, held }
    }

    /// Whether all places of the stage are taken: tasks may wait for this one.
    pub(crate) fn is_wanted(&self) -> bool {
        self.places.available_permits() == 0
    }

    /// Gives the place to another task, for good: how many of those that come back compute at once is bounded elsewhere.
    pub(crate) fn leave(&self) {
        let left = self.held().permit.take();
        // While steps are slow, the dispatcher waits for this and not for a place.
        if left.is_some() && !self.pace.is_quick() {
            drop(left);
            wake(&self.wakers, self.stage);
        }
    }

    /// So much of the step's time was spent waiting.
    pub(crate) fn waited(&self, time: Duration) {
        self.held().waited += time;
    }

    /// The step has ended, and took that long.
    pub(crate) fn end(self, took: Duration) {
        let Held { permit, waited } = self.held.into_inner().unwrap_or_else(PoisonError::into_inner);
        drop(permit);
        let was_quick = self.pace.is_quick();
        self.pace.add(took.saturating_sub(waited));
        if !was_quick || !self.pace.is_quick() {
            wake(&self.wakers, self.stage);
        }
    }

    /// Nothing panics while it holds the lock.
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
