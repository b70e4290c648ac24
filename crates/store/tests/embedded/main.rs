//! The embedded store: the contract every store keeps, and what only this one has.

#[path = "../contract/mod.rs"]
mod contract;

mod backup;
mod check;
mod crash;
mod directory;
mod full;
mod process;
mod upgrade;

use async_trait::async_trait;
use coprocessor_store::{EmbeddedConfig, EmbeddedStore, Store};
use std::{
    fs,
    sync::{Arc, LazyLock},
};
use tempfile::TempDir;

/// A store in a directory of its own.
struct Embedded {
    directory: TempDir,
    store: Option<Arc<dyn Store>>,
}

impl Embedded {
    fn within(directory: TempDir) -> Self {
        let mut backing = Self { directory, store: None };
        backing.open();
        backing
    }

    fn open(&mut self) {
        let store = EmbeddedStore::open(self.directory.path(), EmbeddedConfig::default()).unwrap();
        self.store = Some(Arc::new(store));
    }
}

#[async_trait]
impl contract::Backing for Embedded {
    const VOIDS_LEASES: bool = true;
    const HISTORIES: u64 = 2000;

    async fn new() -> Self {
        Self::within(TempDir::new().unwrap())
    }

    async fn quick() -> Self {
        // In memory where there is such a file system.
        Self::within(TempDir::new_in("/dev/shm").unwrap_or_else(|_| TempDir::new().unwrap()))
    }

    async fn clear(&mut self) {
        // Made once: that takes longer than most histories.
        static EMPTY: LazyLock<Vec<u8>> = LazyLock::new(|| {
            let directory = TempDir::new().unwrap();
            drop(EmbeddedStore::open(directory.path(), EmbeddedConfig::default()).unwrap());
            fs::read(directory.path().join("coprocessor.db")).unwrap()
        });
        drop(self.store.take());
        // With SQLite's files beside it, which stay when somebody was still reading.
        for file in ["coprocessor.db", "coprocessor.db-wal", "coprocessor.db-shm"] {
            let _ = fs::remove_file(self.directory.path().join(file));
        }
        fs::write(self.directory.path().join("coprocessor.db"), &*EMPTY).unwrap();
        self.open();
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
