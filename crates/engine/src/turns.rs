//! One writer at a time for each program's volume within this process.
//!
//! The store refuses a write that is based on an old version, so this is no matter of safety: it spares controllers from
//! being run again because two of them wrote at once. Whoever wrote from another process is met by running again, after a
//! pause that is long enough for the other to get through.

use coprocessor_types::ProgramId;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};
use tokio::sync::OwnedMutexGuard;

/// Entries of programs that nobody writes to any more are dropped when there are more than this.
const TIDY_ABOVE: usize = 1024;

/// How long a client's write waits for whoever has the turn: a controller may wait for the network in its own, even for an answer
/// that comes only once the write is there. It is run again then.
const PATIENCE: Duration = Duration::from_secs(1);

/// The first pause after a conflict, at most; doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(4);

/// The longest pause after a conflict.
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// Waits before a volume is written to again, after `conflicts` of them (at least one): by chance, so that two processes that
/// met once don't meet again.
pub(crate) async fn conflict_pause(conflicts: u32) {
    let doubled = FIRST_PAUSE.saturating_mul(1u32.checked_shl(conflicts.saturating_sub(1)).unwrap_or(u32::MAX));
    tokio::time::sleep(doubled.min(LONGEST_PAUSE).mul_f64(jitter())).await;
}

/// From 0 to 1, different for those who ask at the same time.
pub(crate) fn jitter() -> f64 {
    use std::hash::{BuildHasher, RandomState};
    let random = RandomState::new().hash_one(0);
    #[allow(clippy::cast_precision_loss)] // 53 of 64 random bits are plenty.
    let fraction = random as f64 / u64::MAX as f64;
    fraction
}

/// Whose turn it is, by program.
#[derive(Default)]
pub(crate) struct Turns(Mutex<HashMap<ProgramId, Weak<tokio::sync::Mutex<()>>>>);

impl Turns {
    /// Waits until nobody else writes to the program's volume; in order of arrival.
    pub(crate) async fn take(&self, program: ProgramId) -> OwnedMutexGuard<()> {
        let turn = {
            let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if turns.len() > TIDY_ABOVE {
                turns.retain(|_, turn| turn.strong_count() > 0);
            }
            let known = turns.get(&program).and_then(Weak::upgrade);
            known.unwrap_or_else(|| {
                let turn = Arc::default();
                turns.insert(program, Arc::downgrade(&turn));
                turn
            })
        };
        turn.lock_owned().await
    }

    /// As [`Self::take`], but goes before whoever has had the turn for long: `None`.
    pub(crate) async fn take_soon(&self, program: ProgramId) -> Option<OwnedMutexGuard<()>> {
        tokio::time::timeout(PATIENCE, self.take(program)).await.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_program_waits_and_another_does_not() {
        let turns = Turns::default();
        let (a, b) = (ProgramId([1; 32]), ProgramId([2; 32]));
        let held = turns.take(a).await;
        drop(turns.take(b).await);
        let mut second = Box::pin(turns.take(a));
        assert!(futures::poll!(second.as_mut()).is_pending());
        drop(held);
        second.await;
    }

    #[tokio::test]
    async fn a_client_goes_before_whoever_keeps_the_turn() {
        let (turns, program) = (Turns::default(), ProgramId([1; 32]));
        let held = turns.take(program).await;
        assert!(turns.take_soon(program).await.is_none());
        drop(held);
        assert!(turns.take_soon(program).await.is_some());
    }
}
