//! How far a node can be relied upon: set aside when it keeps failing, tried again later.
//!
//! Two ways to fail are told apart. A node that cannot be reached (or refuses the secret) is healthy again as soon as it
//! answers. One that answers but loses jobs, takes too long or sends proofs that don't hold has to make a good proof first:
//! it is given one job at a time until it has.

use std::time::Duration;
use tokio::time::Instant;

/// Failures in a row that a node is set aside for.
const FAILURES: u32 = 3;

/// How long at first; doubles each time it fails again right after.
const FIRST: Duration = Duration::from_secs(10);

/// How long at most.
const LONGEST: Duration = Duration::from_secs(5 * 60);

/// How long at most a node that just cannot be reached: asking whether it is back costs nothing, and nobody should have to wait
/// long for a node that was started again.
const LONGEST_AWAY: Duration = Duration::from_secs(20);

/// Something that counts against a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fault {
    /// It could not be reached, or refused the secret.
    Away,
    /// It lost a job, or took too long.
    Job,
    /// It sent a proof that does not hold.
    Rejected,
}

/// Whether a node may be given jobs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Standing {
    /// As any other.
    Good,
    /// One at a time.
    OnTrial,
    /// None.
    Aside,
}

/// A node's record.
#[derive(Default, Debug)]
pub(super) struct Health {
    /// In a row.
    failures: u32,
    last_error: Option<String>,
    /// It failed a job since it last made a proof.
    owes_a_proof: bool,
    aside: Option<Aside>,
}

#[derive(Clone, Copy, Debug)]
struct Aside {
    since: Instant,
    pause: Duration,
}

impl Aside {
    fn until(&self) -> Instant {
        self.since + self.pause
    }
}

/// What changed, to be logged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Turn {
    /// It was set aside for this long.
    SetAside(Duration),
    /// It is as good as any other again.
    Back,
}

impl Health {
    pub(super) fn standing(&self, now: Instant) -> Standing {
        match &self.aside {
            None => Standing::Good,
            Some(aside) if now < aside.until() => Standing::Aside,
            Some(_) => Standing::OnTrial,
        }
    }

    pub(super) fn failures(&self) -> u32 {
        self.failures
    }

    pub(super) fn last_error(&self) -> Option<&str> {
        self.last_error.as_deref()
    }

    /// Until when nothing is given to it.
    pub(super) fn set_aside_until(&self, now: Instant) -> Option<Instant> {
        self.aside.map(|aside| aside.until()).filter(|until| *until > now)
    }

    /// It failed at something that began at `began`.
    pub(super) fn failed(&mut self, fault: Fault, error: String, began: Instant, now: Instant) -> Option<Turn> {
        self.last_error = Some(error);
        self.failures = self.failures.saturating_add(1);
        self.owes_a_proof |= fault != Fault::Away;
        let longest = if self.owes_a_proof { LONGEST } else { LONGEST_AWAY };
        let pause = match self.aside {
            // Many jobs can be lost by one accident: it is set aside once for it.
            Some(aside) if now < aside.until() || began < aside.until() => return None,
            Some(aside) => (aside.pause * 2).min(longest),
            None if self.failures >= FAILURES || fault == Fault::Rejected => FIRST,
            None => return None,
        };
        self.aside = Some(Aside { since: now, pause });
        Some(Turn::SetAside(pause))
    }

    /// It answered.
    pub(super) fn answered(&mut self) -> Option<Turn> {
        if self.owes_a_proof { None } else { self.recover() }
    }

    /// It made a proof that holds.
    pub(super) fn proved(&mut self) -> Option<Turn> {
        self.owes_a_proof = false;
        self.recover()
    }

    #[cfg(test)]
    pub(super) fn grow_older(&mut self, by: Duration) {
        if let Some(aside) = &mut self.aside {
            aside.since -= by;
        }
    }

    fn recover(&mut self) -> Option<Turn> {
        self.failures = 0;
        self.aside.take().map(|_| Turn::Back)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    fn fail(health: &mut Health, fault: Fault, now: Instant) -> Option<Turn> {
        health.failed(fault, "no".into(), now, now)
    }

    #[test]
    fn the_third_failure_in_a_row_sets_a_node_aside_for_a_while() {
        let (mut health, now) = (Health::default(), Instant::now());
        assert_eq!(fail(&mut health, Fault::Job, now), None);
        assert_eq!(fail(&mut health, Fault::Job, now), None);
        assert_eq!(health.standing(now), Standing::Good);
        assert_eq!(fail(&mut health, Fault::Job, now), Some(Turn::SetAside(FIRST)));
        assert_eq!(health.standing(at(now, 9)), Standing::Aside);
        assert_eq!(health.standing(at(now, 10)), Standing::OnTrial);
        assert_eq!((health.failures(), health.last_error()), (3, Some("no")));
    }

    #[test]
    fn a_proof_between_failures_starts_the_count_again() {
        let (mut health, now) = (Health::default(), Instant::now());
        for _ in 0..10 {
            fail(&mut health, Fault::Job, now);
            fail(&mut health, Fault::Job, now);
            assert_eq!(health.proved(), None);
        }
        assert_eq!(health.standing(now), Standing::Good);
    }

    #[test]
    fn one_rejected_proof_is_enough() {
        let (mut health, now) = (Health::default(), Instant::now());
        assert_eq!(fail(&mut health, Fault::Rejected, now), Some(Turn::SetAside(FIRST)));
    }

    #[test]
    fn who_fails_on_trial_waits_twice_as_long_up_to_a_limit() {
        let (mut health, mut now) = (Health::default(), Instant::now());
        let mut pauses = Vec::new();
        for _ in 0..8 {
            while health.standing(now) != Standing::Aside {
                fail(&mut health, Fault::Job, now);
            }
            let until = health.set_aside_until(now).unwrap();
            pauses.push((until - now).as_secs());
            now = until;
        }
        assert_eq!(pauses, [10, 20, 40, 80, 160, 300, 300, 300]);
    }

    #[test]
    fn jobs_lost_together_count_as_one_accident() {
        let (mut health, start) = (Health::default(), Instant::now());
        for _ in 0..64 {
            fail(&mut health, Fault::Job, start);
        }
        assert_eq!(health.set_aside_until(start), Some(at(start, 10)));
        // One that was begun before the node was set aside ends after its time is over.
        assert_eq!(health.failed(Fault::Job, "late".into(), start, at(start, 11)), None);
        assert_eq!(health.standing(at(start, 11)), Standing::OnTrial);
    }

    #[test]
    fn a_node_that_was_away_is_back_when_it_answers_and_never_waits_long() {
        let (mut health, mut now) = (Health::default(), Instant::now());
        for _ in 0..8 {
            while health.standing(now) != Standing::Aside {
                fail(&mut health, Fault::Away, now);
            }
            let until = health.set_aside_until(now).unwrap();
            assert!(until - now <= LONGEST_AWAY);
            now = until;
        }
        assert_eq!(health.answered(), Some(Turn::Back));
        assert_eq!((health.standing(now), health.failures()), (Standing::Good, 0));
    }

    #[test]
    fn a_node_that_loses_jobs_is_not_back_because_it_answers() {
        let (mut health, now) = (Health::default(), Instant::now());
        for _ in 0..3 {
            fail(&mut health, Fault::Job, now);
        }
        assert_eq!(health.answered(), None);
        assert_eq!(health.standing(at(now, 10)), Standing::OnTrial);
        assert_eq!(health.proved(), Some(Turn::Back));
        assert_eq!(health.standing(at(now, 10)), Standing::Good);
    }
}
