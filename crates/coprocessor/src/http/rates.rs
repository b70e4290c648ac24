//! How often an owner may change something: a token bucket for each, counted by this process.
//!
//! What is left is told in the header fields `RateLimit-Policy` and `RateLimit` of draft-ietf-httpapi-ratelimit-headers: `q`
//! requests fill the bucket within `w` seconds; `r` are left, and it is full again in `t` seconds.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use coprocessor_engine::OwnerLimits;
use coprocessor_types::OwnerId;
use governor::{
    NotUntil, Quota, RateLimiter,
    clock::{Clock, DefaultClock},
    middleware::{StateInformationMiddleware, StateSnapshot},
    nanos::Nanos,
    state::{InMemoryState, NotKeyed},
};
use std::{
    collections::HashMap,
    num::NonZeroU32,
    sync::{Mutex, PoisonError},
    time::Duration,
};

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const STANDING: HeaderName = HeaderName::from_static("ratelimit");

/// What full buckets do not need to be kept for: those of owners who were quiet for a while. Looked through when there are
/// this many, and then each time their number has doubled.
const FIRST_SWEEP: usize = 1024;

/// More than this is no limit, and less than a nanosecond for each request is not counted.
const MOST: u32 = 1_000_000;

/// Every owner's bucket.
pub(crate) struct Rates<C: Clock = DefaultClock> {
    clock: C,
    buckets: Mutex<Buckets<C>>,
}

struct Buckets<C: Clock> {
    by_owner: HashMap<OwnerId, Bucket<C>>,
    sweep_at: usize,
}

struct Bucket<C: Clock> {
    rate: Rate,
    limiter: RateLimiter<NotKeyed, InMemoryState, C, StateInformationMiddleware>,
    full_at: C::Instant,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Rate {
    per_second: NonZeroU32,
    burst: NonZeroU32,
}

/// How an owner stands after a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Standing {
    rate: Rate,
    left: u32,
    full_in: Duration,
}

/// A request too many.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct TooMany {
    pub(crate) standing: Standing,
    /// When the next one will be taken.
    pub(crate) retry_after: Duration,
}

impl Default for Rates {
    fn default() -> Self {
        Self::with_clock(DefaultClock::default())
    }
}

impl<C: Clock + Clone> Rates<C> {
    fn with_clock(clock: C) -> Self {
        Self { clock, buckets: Mutex::new(Buckets { by_owner: HashMap::new(), sweep_at: FIRST_SWEEP }) }
    }

    /// Takes one request out of an owner's bucket. Other limits than before make a new bucket, which is full.
    pub(crate) fn take(&self, owner: &OwnerId, limits: &OwnerLimits) -> Result<Standing, TooMany> {
        let rate = Rate::of(limits);
        let now = self.clock.now();
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.by_owner.len() >= buckets.sweep_at {
            buckets.sweep(now);
        }
        let known = buckets.by_owner.get_mut(owner).filter(|bucket| bucket.rate == rate);
        if let Some(bucket) = known {
            return bucket.take(now);
        }
        let mut bucket = Bucket::new(rate, &self.clock, now);
        let taken = bucket.take(now);
        buckets.by_owner.insert(owner.clone(), bucket);
        taken
    }
}

impl<C: Clock> Buckets<C> {
    fn sweep(&mut self, now: C::Instant) {
        self.by_owner.retain(|_, bucket| bucket.full_at > now);
        self.sweep_at = FIRST_SWEEP.max(self.by_owner.len() * 2);
    }
}

impl<C: Clock + Clone> Bucket<C> {
    fn new(rate: Rate, clock: &C, now: C::Instant) -> Self {
        let quota = Quota::per_second(rate.per_second).allow_burst(rate.burst);
        let limiter = RateLimiter::direct_with_clock(quota, clock.clone()).with_middleware();
        Self { rate, limiter, full_at: now }
    }

    fn take(&mut self, now: C::Instant) -> Result<Standing, TooMany> {
        let (outcome, left) = match self.limiter.check() {
            Ok(state) => (Ok(()), StateSnapshot::remaining_burst_capacity(&state)),
            Err(too_many) => (Err(NotUntil::wait_time_from(&too_many, now)), 0),
        };
        let standing = Standing { rate: self.rate, left, full_in: self.rate.fill(self.rate.burst.get() - left) };
        self.full_at = now + Nanos::from(standing.full_in);
        outcome.map(|()| standing).map_err(|retry_after| TooMany { standing, retry_after })
    }
}

impl Rate {
    fn of(limits: &OwnerLimits) -> Self {
        let bounded = |rate: u32| NonZeroU32::new(rate.min(MOST)).unwrap_or(NonZeroU32::MIN);
        Self { per_second: bounded(limits.requests_per_second), burst: bounded(limits.burst) }
    }

    /// How long so many take to come back.
    fn fill(self, requests: u32) -> Duration {
        Duration::from_secs(1) * requests / self.per_second.get()
    }
}

impl Standing {
    /// Tells the client.
    pub(crate) fn write(&self, headers: &mut HeaderMap) {
        let Self { rate, left, full_in } = self;
        let window = whole_seconds(rate.fill(rate.burst.get()));
        let texts = [
            (POLICY, format!("\"writes\";q={};w={window}", rate.burst)),
            (STANDING, format!("\"writes\";r={left};t={}", whole_seconds(*full_in))),
        ];
        for (name, text) in texts {
            if let Ok(value) = HeaderValue::try_from(text) {
                headers.insert(name, value);
            }
        }
    }
}

/// Rounded up: who waits so long has waited long enough.
pub(crate) fn whole_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use governor::clock::FakeRelativeClock;

    fn limits(requests_per_second: u32, burst: u32) -> OwnerLimits {
        OwnerLimits { requests_per_second, burst, ..OwnerLimits::default() }
    }

    fn owner(name: &str) -> OwnerId {
        name.parse().unwrap()
    }

    fn told(standing: Standing) -> [String; 2] {
        let mut headers = HeaderMap::new();
        standing.write(&mut headers);
        ["ratelimit-policy", "ratelimit"].map(|name| headers[name].to_str().unwrap().to_owned())
    }

    #[test]
    fn a_bucket_empties_and_fills() {
        let clock = FakeRelativeClock::default();
        let rates = Rates::with_clock(clock.clone());
        let (alice, few) = (owner("alice"), limits(2, 4));
        let lefts: Vec<String> = (0..4).map(|_| told(rates.take(&alice, &few).unwrap())[1].clone()).collect();
        let expected = ["r=3;t=1", "r=2;t=1", "r=1;t=2", "r=0;t=2"].map(|text| format!("\"writes\";{text}"));
        assert_eq!(lefts, expected);
        let refused = rates.take(&alice, &few).unwrap_err();
        assert_eq!(refused.retry_after, Duration::from_millis(500));
        assert_eq!(told(refused.standing), ["\"writes\";q=4;w=2", "\"writes\";r=0;t=2"]);
        assert!(rates.take(&owner("bob"), &few).is_ok(), "another's bucket is its own");
        clock.advance(Duration::from_millis(500));
        assert!(rates.take(&alice, &few).is_ok());
        assert!(rates.take(&alice, &few).is_err());
    }

    #[test]
    fn other_limits_count_at_once() {
        let rates = Rates::with_clock(FakeRelativeClock::default());
        let alice = owner("alice");
        assert!(rates.take(&alice, &limits(1, 1)).is_ok());
        assert!(rates.take(&alice, &limits(1, 1)).is_err());
        assert!(rates.take(&alice, &limits(1, 2)).is_ok());
        assert!(rates.take(&alice, &limits(1, 2)).is_ok());
        assert!(rates.take(&alice, &limits(1, 2)).is_err());
    }

    #[test]
    fn limits_beyond_what_is_counted_are_taken_for_the_most_and_the_least() {
        let rates = Rates::with_clock(FakeRelativeClock::default());
        for (name, limits) in [("most", limits(u32::MAX, u32::MAX)), ("least", limits(0, 0))] {
            assert!(rates.take(&owner(name), &limits).is_ok(), "{name}");
        }
    }

    #[test]
    fn full_buckets_take_no_memory_for_ever() {
        let clock = FakeRelativeClock::default();
        let rates = Rates::with_clock(clock.clone());
        let busy = owner("busy");
        for round in 0..4 {
            for number in 0..FIRST_SWEEP {
                rates.take(&owner(&format!("owner-{round}-{number}")), &limits(1, 5)).unwrap();
            }
            clock.advance(Duration::from_secs(1));
            let _ = rates.take(&busy, &limits(1, 100));
            let _ = rates.take(&busy, &limits(1, 100));
        }
        let buckets = rates.buckets.lock().unwrap();
        assert!(buckets.by_owner.len() <= 2 * FIRST_SWEEP, "{}", buckets.by_owner.len());
        assert!(buckets.by_owner.contains_key(&busy), "one that is not full is kept");
    }
}
