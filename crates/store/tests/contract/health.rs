//! The store itself.

use super::{
    Backing,
    fixture::{program, task},
};

pub(crate) async fn an_instance_stays_the_same<B: Backing>() {
    let mut backing = B::new().await;
    let instance = backing.store().instance();
    backing.reopen().await;
    assert_eq!(backing.store().instance(), instance);
    assert_ne!(B::new().await.store().instance(), instance);
}

pub(crate) async fn a_store_that_works_says_so<B: Backing>() {
    let mut backing = B::new().await;
    for _ in 0..2 {
        let store = backing.store();
        store.health().await.unwrap();
        store.flush().await.unwrap();
        drop(store);
        backing.reopen().await;
    }
    // Being asked leaves nothing behind that anybody sees.
    let store = backing.store();
    let before = store.last_event().await.unwrap();
    store.health().await.unwrap();
    assert_eq!(store.last_event().await.unwrap(), before);
    task(&*store, &program(&*store, 1).await).await;
    store.health().await.unwrap();
}
