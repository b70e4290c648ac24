//! Random histories of a store, followed by a small model of what it must say.

mod operation;
mod reference;
mod replay;

use super::Backing;
use operation::{Operation, history};
use proptest::{
    strategy::{Strategy, ValueTree},
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use replay::{Deviation, replay};
use std::{
    fmt::Write,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};
use tokio::{runtime::Handle, task::JoinSet};

/// Does that history only, as it was printed with a failure.
const SEED: &str = "COPROCESSOR_STORE_SEED";
/// Tries so many histories instead of the store's own number.
const HISTORIES: &str = "COPROCESSOR_STORE_HISTORIES";

/// Histories done at once: a store waits for its disk most of the time.
const AT_ONCE: usize = 4;
/// Histories tried to make a failing one shorter.
const SHRINKING: usize = 500;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|error| panic!("{variable}={text}: {error}")))
}

/// The seeds' order differs each time, so that many runs find what one doesn't.
pub(crate) async fn random_histories_follow_the_model<B: Backing + 'static>() {
    if let Some(seed) = number(SEED) {
        return follow(&mut B::quick().await, seed).await;
    }
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_nanos() as u64;
    let (first, count) = (clock % 1_000_000_000, number(HISTORIES).unwrap_or(B::HISTORIES));
    let next = Arc::new(AtomicU64::new(0));
    let mut followers = JoinSet::new();
    for _ in 0..AT_ONCE {
        let (next, runtime) = (next.clone(), Handle::current());
        // Proptest's trees stay on their thread.
        followers.spawn_blocking(move || {
            runtime.block_on(async {
                let mut backing = B::quick().await;
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= count {
                        break;
                    }
                    follow(&mut backing, first + index).await;
                }
            });
        });
    }
    let mut failed = None;
    while let Some(followed) = followers.join_next().await {
        if let Err(failure) = followed {
            // The others stop after the history they are at.
            next.store(count, Ordering::Relaxed);
            failed.get_or_insert(failure);
        }
    }
    if let Some(failure) = failed {
        std::panic::resume_unwind(failure.into_panic());
    }
}

/// Does the history of a seed.
///
/// # Panics
/// Where the store and the model part, with as short a history as can be found that makes them.
async fn follow<B: Backing>(backing: &mut B, seed: u64) {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    // Operations are async, so proptest only draws histories and makes them shorter.
    let mut tree = history().new_tree(&mut runner).expect("nothing drawn is thrown away");
    let Err(mut deviation) = replay(backing, &tree.current()).await else { return };
    let mut shortest = tree.current();
    let mut shrinks = tree.simplify();
    for _ in 0..SHRINKING {
        if !shrinks {
            break;
        }
        shrinks = match replay(backing, &tree.current()).await {
            Ok(()) => tree.complicate(),
            Err(closer) => {
                (deviation, shortest) = (closer, tree.current());
                tree.simplify()
            }
        };
    }
    panic!("{}", told(seed, &shortest, &deviation));
}

fn told(seed: u64, history: &[Operation], Deviation(what): &Deviation) -> String {
    let mut told = format!("{what}\nThe history, to be done again with {SEED}={seed}:");
    for (index, operation) in history.iter().enumerate() {
        let _ = write!(told, "\n  {index}: {operation:?}");
    }
    told
}
