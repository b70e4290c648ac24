//! Failures on purpose, for load and chaos tests: always the same ones for the same seed.

use sha2::{Digest, Sha256};

/// A way to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MockFailure {
    /// The proof fails by chance: trying again may help.
    Error,
    /// The proof never ends; only cancelling it does.
    Hang,
    /// A proof of something else.
    WrongProof,
    /// A proof that fits what it claims, and claims a root that nobody pinned.
    WrongRoot,
}

/// Which proofs fail on purpose, and how: a share of them, always the same ones for the same seed.
#[derive(Clone, Debug, PartialEq)]
pub struct MockFailures {
    /// Share of proofs that fail, from 0 to 1.
    pub rate: f64,
    /// How they fail: each in one of these ways, all equally likely.
    pub kinds: Vec<MockFailure>,
    /// Chooses which ones, and how: the n-th proof of a backend fails or does not by seed and n alone.
    pub seed: u64,
}

impl Default for MockFailures {
    /// None.
    fn default() -> Self {
        Self { rate: 0.0, kinds: vec![MockFailure::Error], seed: 0 }
    }
}

impl MockFailures {
    /// Whether number `n` fails.
    pub fn fails(&self, n: u64) -> bool {
        self.drawn(n, 0) < self.rate
    }

    /// How proof number `n` fails, when it does.
    pub fn draw(&self, n: u64) -> Option<MockFailure> {
        if !self.fails(n) {
            return None;
        }
        let index = (self.drawn(n, 1) * self.kinds.len() as f64) as usize;
        self.kinds.get(index).copied()
    }

    /// A share drawn for number `n`: at least 0 and less than 1.
    pub(crate) fn share(&self, n: u64) -> f64 {
        self.drawn(n, 2)
    }

    /// A number in [0, 1) for each `n` and purpose.
    fn drawn(&self, n: u64, purpose: u64) -> f64 {
        let hash =
            [self.seed, n, purpose].iter().fold(Sha256::new(), |hash, part| hash.chain_update(part.to_be_bytes()));
        let hash = hash.finalize();
        let (drawn, _) = hash.split_first_chunk().expect("SHA-256 has 32 bytes");
        // 53 bits: a number that f64 holds exactly.
        (u64::from_be_bytes(*drawn) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_and_kinds_are_as_told() {
        let kinds = [MockFailure::Error, MockFailure::Hang, MockFailure::WrongProof, MockFailure::WrongRoot];
        let failures = MockFailures { rate: 0.25, kinds: kinds.to_vec(), seed: 7 };
        let drawn: Vec<_> = (0..4000).map(|n| failures.draw(n)).collect();
        assert_eq!(drawn, (0..4000).map(|n| failures.draw(n)).collect::<Vec<_>>());
        for kind in kinds {
            let count = drawn.iter().filter(|failure| **failure == Some(kind)).count();
            assert!((180..320).contains(&count), "{kind:?}: {count}");
        }
        let other = MockFailures { seed: 8, ..failures.clone() };
        assert_ne!(drawn, (0..4000).map(|n| other.draw(n)).collect::<Vec<_>>());
        let always = |rate| MockFailures { rate, ..MockFailures::default() };
        assert!((0..1000).all(|n| !always(0.0).fails(n) && always(1.0).fails(n)));
        assert!((0..1000).all(|n| (0.0..1.0).contains(&failures.share(n))));
    }
}
