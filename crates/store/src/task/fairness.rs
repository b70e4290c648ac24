//! Whose task is claimed next: owners take turns, in the order of their names and around the end.
//!
//! A turn is up to the owner's weight of claims in a row. An owner that has nothing ready is not asked for, and what is left
//! of a turn is lost when it has nothing more, so nobody saves up. Whoever comes anew waits for one round at most, however
//! long the others' queues are. Nothing of this is kept: after a restart the first turn is the first owner's.

use coprocessor_types::OwnerId;

/// The turns of one stage. Knows only whose turn it is: what is ready, the store says.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Turns {
    /// Who had the last turn, or has it.
    owner: Option<OwnerId>,
    /// What is left of it.
    left: usize,
}

impl Turns {
    /// Whose turn it is and how much is left of it; `None` when the next one's begins.
    pub(crate) fn current(&self) -> Option<(&OwnerId, usize)> {
        self.owner.as_ref().filter(|_| self.left > 0).map(|owner| (owner, self.left))
    }

    /// Who had the last turn: the next one's name is the first after it that has something ready, or the first of all.
    pub(crate) fn last(&self) -> Option<&OwnerId> {
        self.owner.as_ref()
    }

    /// Begins a turn.
    pub(crate) fn begin(&mut self, owner: OwnerId, weight: u32) {
        self.owner = Some(owner);
        self.left = weight.max(1) as usize;
    }

    /// Notes that of `asked` tasks of the current owner `got` were ready and claimed. Its turn ends when it has no more.
    pub(crate) fn served(&mut self, asked: usize, got: usize) {
        self.left = if got < asked { 0 } else { self.left.saturating_sub(got) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    type Queues = BTreeMap<OwnerId, usize>;

    fn owner(name: &str) -> OwnerId {
        name.parse().unwrap()
    }

    fn queues(of: &[(&str, usize)]) -> Queues {
        of.iter().map(|&(name, tasks)| (owner(name), tasks)).collect()
    }

    /// One claim, as a store makes it: the owners it is given to.
    fn claim(turns: &mut Turns, queues: &mut Queues, weight: impl Fn(&OwnerId) -> u32, limit: usize) -> Vec<String> {
        let mut claimed = Vec::new();
        while claimed.len() < limit {
            if let Some((owner, left)) = turns.current() {
                let asked = left.min(limit - claimed.len());
                let ready = queues.get_mut(owner).unwrap();
                let got = asked.min(*ready);
                *ready -= got;
                claimed.extend(std::iter::repeat_n(owner.to_string(), got));
                turns.served(asked, got);
            } else {
                let mut ready = queues.iter().filter(|(_, tasks)| **tasks > 0).map(|(owner, _)| owner);
                let after = ready.clone().find(|owner| turns.last().is_none_or(|last| *owner > last));
                let Some(next) = after.or_else(|| ready.next()).cloned() else { break };
                let weight = weight(&next);
                turns.begin(next, weight);
            }
        }
        claimed
    }

    #[test]
    fn owners_take_turns_whatever_the_size_of_the_claims() {
        for limit in [1, 2, 7] {
            let (mut turns, mut queues) = (Turns::default(), queues(&[("a", 100), ("b", 3), ("c", 2)]));
            let mut order = Vec::new();
            while order.len() < 14 {
                order.extend(claim(&mut turns, &mut queues, |_| 1, limit));
            }
            assert_eq!(order[..14].concat(), "abcabcabaaaaaa", "{limit} at once");
        }
    }

    #[test]
    fn weights_are_shares() {
        let (mut turns, mut queues) = (Turns::default(), queues(&[("a", 100), ("b", 100)]));
        let weight = |of: &OwnerId| if of.as_str() == "a" { 3 } else { 1 };
        let order: String = (0..6).flat_map(|_| claim(&mut turns, &mut queues, weight, 2)).collect();
        assert_eq!(order, "aaabaaabaaab");
    }

    #[test]
    fn what_is_left_of_a_turn_is_not_saved() {
        let (mut turns, mut queues) = (Turns::default(), queues(&[("a", 1), ("b", 9)]));
        let weight = |of: &OwnerId| if of.as_str() == "a" { 5 } else { 1 };
        assert_eq!(claim(&mut turns, &mut queues, weight, 3).concat(), "abb");
        queues.insert(owner("a"), 9);
        assert_eq!(claim(&mut turns, &mut queues, weight, 7).concat(), "aaaaaba");
    }

    #[test]
    fn whoever_comes_waits_for_one_round() {
        let (mut turns, mut queues) = (Turns::default(), queues(&[("a", 1000), ("c", 1000)]));
        claim(&mut turns, &mut queues, |_| 1, 501);
        queues.insert(owner("b"), 1);
        assert!(claim(&mut turns, &mut queues, |_| 1, 3).contains(&"b".to_owned()));
    }

    #[test]
    fn nothing_ready_gives_nothing() {
        let (mut turns, mut queues) = (Turns::default(), queues(&[("a", 2)]));
        assert_eq!(claim(&mut turns, &mut queues, |_| 1, 9).concat(), "aa");
        assert!(claim(&mut turns, &mut queues, |_| 1, 9).is_empty());
        queues.insert(owner("b"), 1);
        assert_eq!(claim(&mut turns, &mut queues, |_| 1, 9).concat(), "b");
    }
}
