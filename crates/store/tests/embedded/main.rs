//! The embedded store: the contract every store keeps, and what only this one has.

#[path = "../contract/mod.rs"]
mod contract;
mod crash;
mod directory;
mod full;
mod process;

use async_trait::async_trait;
use coprocessor_store::{EmbeddedConfig, EmbeddedStore, Store};
use std::sync::Arc;
use tempfile::TempDir;

/// A store in a directory of its own.
struct Embedded {
    directory: TempDir,
    store: Option<Arc<dyn Store>>,
}

impl Embedded {
    fn open(&mut self) {
        let store = EmbeddedStore::open(self.directory.path(), EmbeddedConfig::default()).unwrap();
        self.store = Some(Arc::new(store));
    }
}

#[async_trait]
impl contract::Backing for Embedded {
    async fn new() -> Self {
        let mut backing = Self { directory: TempDir::new().unwrap(), store: None };
        backing.open();
        backing
    }

    fn store(&self) -> Arc<dyn Store> {
        self.store.clone().expect("it is open but for the moment of reopening")
    }

    async fn reopen(&mut self) {
        let store = self.store.take().expect("it is open");
        assert_eq!(Arc::strong_count(&store), 1, "somebody else holds the store that is to be reopened");
        drop(store);
        self.open();
    }
}

contract!(Embedded);
