//! Prover nodes.

use super::{Backing, fixture::owner};
use coprocessor_store::ProverRecord;
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};

pub(crate) async fn provers_are_kept_with_their_secrets<B: Backing>() {
    let mut backing = B::new().await;
    let record = |address: &str, name: &str, secret: Option<&str>| ProverRecord {
        address: address.to_owned(),
        owner: owner(name),
        shared: name == "bob",
        trusted: name == "alice",
        secret: secret.map(SecretString::from),
        added_at: Timestamp::from_second(1_700_000_000).unwrap(),
    };
    let store = backing.store();
    assert!(store.add_prover(record("http://a", "alice", Some("swordfish"))).await.unwrap());
    assert!(store.add_prover(record("http://a", "bob", None)).await.unwrap());
    assert!(!store.add_prover(record("http://a", "alice", Some("other"))).await.unwrap());
    drop(store);
    backing.reopen().await;
    let store = backing.store();

    let kept = store.provers().await.unwrap();
    let secrets: Vec<_> = kept
        .iter()
        .map(|prover| (prover.owner.as_str(), prover.secret.as_ref().map(|secret| secret.expose_secret().to_owned())))
        .collect();
    assert_eq!(secrets, [("alice", Some("swordfish".to_owned())), ("bob", None)]);
    assert_eq!(kept.iter().map(|prover| prover.shared).collect::<Vec<_>>(), [false, true]);
    assert_eq!(kept.iter().map(|prover| prover.trusted).collect::<Vec<_>>(), [true, false]);
    assert_eq!(kept[0].added_at, record("", "alice", None).added_at);
    assert!(!format!("{kept:?}").contains("swordfish"));

    assert!(store.remove_prover(&owner("alice"), "http://a").await.unwrap());
    assert!(!store.remove_prover(&owner("alice"), "http://a").await.unwrap());
    let left: Vec<_> = store.provers().await.unwrap().into_iter().map(|prover| prover.owner).collect();
    assert_eq!(left, [owner("bob")]);
}
