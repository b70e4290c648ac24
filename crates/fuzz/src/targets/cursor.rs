//! Cursors: where a caller says that a list goes on.

use crate::{Input, Seed, Target, Writer};
use coprocessor_store::{
    Accounts, Cursor, Domains, EmbeddedConfig, EmbeddedStore, Page, Store, StoreError, TaskFilter, WebhookId, Webhooks,
};
use coprocessor_types::DomainId;
use std::sync::LazyLock;
use tokio::runtime::Runtime;

pub(crate) const TARGET: Target = Target { name: "cursor", about: "store: cursors of lists", run, seeds };

/// An empty store: what a cursor leads to in a list that has nothing is nothing, and never a fault.
static STORE: LazyLock<EmbeddedStore> = LazyLock::new(|| {
    // Kept until the process ends; then the system takes it back with its temporary folders.
    let directory = tempfile::tempdir().expect("a temporary folder").keep();
    EmbeddedStore::open(&directory, EmbeddedConfig::default()).expect("a new store")
});

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime on this thread")
});

fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let list = input.below(7);
    let Ok(text) = std::str::from_utf8(input.rest()) else { return };
    let (store, after) = (&*STORE, Some(Cursor(text.to_owned())));
    RUNTIME.block_on(async {
        match list {
            0 => nothing(store.programs(None, after, 10).await),
            1 => nothing(store.tasks(TaskFilter::default(), after, 10).await),
            2 => nothing(store.owners(after, 10).await),
            3 => nothing(store.keys(None, after, 10).await),
            4 => nothing(store.domains(after, 10).await),
            5 => nothing(store.blocks(DomainId([7; 32]), after, 10).await),
            _ => {
                nothing(store.webhooks(None, after.clone(), 10).await);
                nothing(store.deliveries(WebhookId(Default::default()), after, 10).await);
            }
        }
    });
}

fn nothing<T>(listed: Result<Page<T>, StoreError>) {
    match listed {
        Ok(page) => assert!(page.items.is_empty() && page.next.is_none(), "an empty list has something"),
        Err(StoreError::BadCursor) => {}
        Err(other) => panic!("a cursor makes the store fail: {other}"),
    }
}

fn seeds() -> Vec<Seed> {
    let cursors = [
        (0, "program", "p12"),
        (1, "task", "t0193e4a07b1c7000800000000000002a"),
        (2, "owner", "oalice"),
        (3, "key", "k1700000000000000-0123456789abcdef"),
        (4, "domain", "c3"),
        (5, "block", "b18446744073709551615"),
        (6, "webhook", "w7"),
        (6, "delivery", "d-9223372036854775808"),
    ];
    cursors.map(|(list, name, text)| Writer::new().byte(list).bytes(text.as_bytes()).seed(name)).into()
}
