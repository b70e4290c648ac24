//! What was proved, by the block's hash: that never changes.

use coprocessor_ethereum::{Address, B256, Slot, json::StateJson};
use lru::LruCache;
use std::sync::{Arc, Mutex, PoisonError};

/// A final block takes next to nothing, and chains make some ten thousand a day.
const FINAL_BLOCKS: usize = 100_000;
/// What an answer takes beside its nodes.
const OVERHEAD: usize = 1024;

/// What was asked, of a block.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Question {
    pub(crate) chain: String,
    pub(crate) block: B256,
    pub(crate) address: Address,
    pub(crate) slots: Vec<Slot>,
}

/// Answers up to a number of bytes, those not used for longest dropped first; and blocks known to be final.
#[derive(Debug)]
pub(crate) struct Cache(Mutex<Kept>);

#[derive(Debug)]
struct Kept {
    answers: LruCache<Question, Arc<StateJson>>,
    bytes: usize,
    limit: usize,
    finals: LruCache<(String, B256), ()>,
}

impl Cache {
    pub(crate) fn new(limit: usize) -> Self {
        let finals = LruCache::new(FINAL_BLOCKS.try_into().expect("not zero"));
        Self(Mutex::new(Kept { answers: LruCache::unbounded(), bytes: 0, limit, finals }))
    }

    pub(crate) fn get(&self, question: &Question) -> Option<Arc<StateJson>> {
        self.with(|kept| kept.answers.get(question).cloned())
    }

    pub(crate) fn put(&self, question: Question, answer: Arc<StateJson>) {
        self.with(|kept| {
            kept.bytes += size(&question, &answer);
            if let Some((question, old)) = kept.answers.push(question, answer) {
                kept.bytes -= size(&question, &old);
            }
            while kept.bytes > kept.limit
                && let Some((question, old)) = kept.answers.pop_lru()
            {
                kept.bytes -= size(&question, &old);
            }
        });
    }

    pub(crate) fn is_final(&self, chain: &str, block: B256) -> bool {
        self.with(|kept| kept.finals.get(&(chain.to_owned(), block)).is_some())
    }

    pub(crate) fn set_final(&self, chain: &str, block: B256) {
        self.with(|kept| kept.finals.put((chain.to_owned(), block), ()));
    }

    fn with<R>(&self, act: impl FnOnce(&mut Kept) -> R) -> R {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn size(question: &Question, answer: &StateJson) -> usize {
    let paths = answer.storage.iter().flat_map(|slot| &slot.proof).chain(&answer.account_proof);
    let nodes: usize = paths.map(|node| node.0.len() + size_of_val(node)).sum();
    OVERHEAD + nodes + answer.block.header.0.len() + 64 * (question.slots.len() + answer.storage.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use coprocessor_ethereum::{HexBytes, json::BlockJson};

    fn question(block: u8) -> Question {
        Question { chain: "c".into(), block: B256::repeat_byte(block), address: Address::ZERO, slots: vec![] }
    }

    fn answer(bytes: usize) -> Arc<StateJson> {
        Arc::new(StateJson {
            chain: "c".into(),
            chain_id: 1,
            block: BlockJson {
                number: 1,
                hash: B256::ZERO,
                timestamp: 1,
                state_root: B256::ZERO,
                header: HexBytes(vec![0; bytes]),
            },
            address: Address::ZERO,
            account: None,
            account_proof: vec![],
            storage: vec![],
        })
    }

    #[test]
    fn it_is_bounded_and_drops_what_was_not_used_for_longest() {
        let cache = Cache::new(10 * OVERHEAD);
        for block in 0..4 {
            cache.put(question(block), answer(OVERHEAD));
        }
        assert!(cache.get(&question(0)).is_some());
        cache.put(question(4), answer(OVERHEAD));
        cache.put(question(5), answer(OVERHEAD));
        let kept: Vec<_> = (0..6).filter(|block| cache.get(&question(*block)).is_some()).collect();
        assert_eq!(kept, [0, 2, 3, 4, 5]);
        // One that alone is too much is not kept, and takes the others' place for nothing.
        cache.put(question(6), answer(11 * OVERHEAD));
        assert!(cache.get(&question(6)).is_none());
        assert_eq!(cache.with(|kept| kept.bytes), 0);
        cache.put(question(1), answer(1));
        cache.put(question(1), answer(2));
        assert_eq!(cache.with(|kept| kept.bytes), OVERHEAD + 2);
    }
}
