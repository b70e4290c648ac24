//! Loaded modules, the least recently used given up first.

use crate::module::Module;
use coprocessor_types::BlobDigest;
use lru::LruCache;
use std::sync::{Mutex, MutexGuard, PoisonError};

pub(crate) struct Cache {
    limit: usize,
    loaded: Mutex<Loaded>,
}

struct Loaded {
    modules: LruCache<BlobDigest, Module>,
    bytes: usize,
}

impl Cache {
    /// Keeps modules of at most `limit` bytes of machine code together.
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, loaded: Mutex::new(Loaded { modules: LruCache::unbounded(), bytes: 0 }) }
    }

    pub(crate) fn get(&self, key: &BlobDigest) -> Option<Module> {
        self.loaded().modules.get(key).cloned()
    }

    /// A module larger than the limit is not kept.
    pub(crate) fn put(&self, key: BlobDigest, module: Module) {
        let mut loaded = self.loaded();
        if module.code_bytes() > self.limit {
            return;
        }
        loaded.bytes += module.code_bytes();
        if let Some(replaced) = loaded.modules.put(key, module) {
            loaded.bytes -= replaced.code_bytes();
        }
        while loaded.bytes > self.limit {
            let Some((_, evicted)) = loaded.modules.pop_lru() else { break };
            loaded.bytes -= evicted.code_bytes();
        }
    }

    /// Nothing panics while it holds the lock, so its content is whole even where the lock says otherwise.
    fn loaded(&self) -> MutexGuard<'_, Loaded> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
