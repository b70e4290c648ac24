//! Blobs.

use super::Backing;
use bytes::Bytes;
use coprocessor_store::StoreError;
use coprocessor_types::BlobDigest;

const SIZES: [usize; 6] = [0, 1, 32 * 1024, 32 * 1024 + 1, 100_000, 3_000_000];

fn content(size: usize) -> Bytes {
    (0..size).map(|index| (index % 251) as u8).collect()
}

pub(crate) async fn content_reads_back_whatever_its_size<B: Backing>() {
    let backing = B::new().await;
    let store = backing.store();
    for size in SIZES {
        let digest = store.put_blob(content(size)).await.unwrap();
        assert_eq!(digest, BlobDigest::of(&content(size)));
        assert_eq!(store.blob(digest).await.unwrap(), content(size), "{size}");
    }
}

pub(crate) async fn putting_again_is_no_error<B: Backing>() {
    let backing = B::new().await;
    let store = backing.store();
    for size in SIZES {
        let puts = (0..4).map(|_| {
            let store = store.clone();
            tokio::spawn(async move { store.put_blob(content(size)).await.unwrap() })
        });
        for put in puts.collect::<Vec<_>>() {
            assert_eq!(put.await.unwrap(), BlobDigest::of(&content(size)));
        }
        assert_eq!(store.blob(store.put_blob(content(size)).await.unwrap()).await.unwrap(), content(size));
    }
}

pub(crate) async fn a_digest_that_names_nothing_is_missing<B: Backing>() {
    let backing = B::new().await;
    let missing = BlobDigest([1; 32]);
    let got = backing.store().blob(missing).await;
    assert!(matches!(got, Err(StoreError::BlobMissing(digest)) if digest == missing), "{got:?}");
}

pub(crate) async fn blobs_survive_a_restart<B: Backing>() {
    let mut backing = B::new().await;
    for size in SIZES {
        backing.store().put_blob(content(size)).await.unwrap();
    }
    backing.reopen().await;
    for size in SIZES {
        assert_eq!(backing.store().blob(BlobDigest::of(&content(size))).await.unwrap(), content(size));
    }
}
