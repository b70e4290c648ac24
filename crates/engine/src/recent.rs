//! What was read from the store a moment ago, for what is asked with every request.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// How long something is taken for true without another look: how late a change made by another process is noticed when
/// its announcement is lost.
const GOOD_FOR: Duration = Duration::from_secs(5);

/// Most entries. More are not kept, so that nobody can fill the memory by asking.
const MOST: usize = 16 * 1024;

/// A bounded memory of answers, dropped as a whole when something has changed.
pub(crate) struct Recent<K, V>(Mutex<Known<K, V>>);

struct Known<K, V> {
    entries: HashMap<K, (Instant, V)>,
    /// Grows whenever everything is forgotten.
    age: u64,
}

/// When a look at the store began. What was forgotten since then is not remembered by it.
#[derive(Clone, Copy)]
pub(crate) struct Look(u64);

impl<K, V> Default for Recent<K, V> {
    fn default() -> Self {
        Self(Mutex::new(Known { entries: HashMap::new(), age: 0 }))
    }
}

impl<K: Eq + Hash, V: Clone> Recent<K, V> {
    /// What is known, or a look to begin.
    pub(crate) fn get(&self, key: &K) -> Result<V, Look> {
        let known = self.known();
        match known.entries.get(key) {
            Some((since, value)) if since.elapsed() < GOOD_FOR => Ok(value.clone()),
            _ => Err(Look(known.age)),
        }
    }

    /// Remembers what was found, unless everything was forgotten since the look began.
    pub(crate) fn put(&self, look: Look, key: K, value: V) {
        let mut known = self.known();
        if known.age != look.0 {
            return;
        }
        if known.entries.len() >= MOST {
            known.entries.retain(|_, (since, _)| since.elapsed() < GOOD_FOR);
        }
        if known.entries.len() < MOST {
            known.entries.insert(key, (Instant::now(), value));
        }
    }

    /// Forgets everything, and what is being looked up just now.
    pub(crate) fn forget(&self) {
        let mut known = self.known();
        known.entries.clear();
        known.age += 1;
    }

    fn known(&self) -> MutexGuard<'_, Known<K, V>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_is_known_until_it_is_forgotten() {
        let recent = Recent::default();
        let Err(look) = recent.get(&1) else { panic!("nothing is known yet") };
        recent.put(look, 1, "one");
        assert_eq!(recent.get(&1).ok(), Some("one"));
        recent.forget();
        assert!(recent.get(&1).is_err());
    }

    #[test]
    fn what_was_looked_up_before_a_change_is_not_remembered_after_it() {
        let recent = Recent::default();
        let Err(look) = recent.get(&1) else { panic!("nothing is known yet") };
        recent.forget();
        recent.put(look, 1, "stale");
        assert!(recent.get(&1).is_err());
    }

    #[test]
    fn it_never_holds_more_than_it_may() {
        let recent = Recent::default();
        for key in 0..MOST + 10 {
            if let Err(look) = recent.get(&key) {
                recent.put(look, key, ());
            }
        }
        assert_eq!(recent.known().entries.len(), MOST);
    }
}
