//! Keys, from their making to their end.

use coprocessor_engine::{EngineError, OwnerLimits, Scopes, new_key};
use coprocessor_store::{ApiKey, Owner, Quotas, Scope};
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use std::time::Duration;

use crate::fixture::{Fixture, admin, eventually, user};

#[tokio::test]
async fn a_key_says_who_holds_it_until_it_is_revoked() {
    let fixture = Fixture::new().await;
    let engine = &fixture.engine;
    assert!(!engine.has_keys().await.unwrap());
    let scopes = Scopes::NONE.with(Scope::Read).with(Scope::Prove);
    let (key, text) = engine.create_key(&admin(), "alice".parse().unwrap(), "ci", scopes, None).await.unwrap();
    assert!(engine.has_keys().await.unwrap());
    for _ in 0..2 {
        let caller = engine.authenticate(&text).await.unwrap();
        assert_eq!((caller.owner.as_str(), caller.key, caller.scopes), ("alice", Some(key.id), scopes));
    }
    // It is known by now, and is not known at once after this.
    engine.revoke_key(&admin(), key.id).await.unwrap();
    assert!(matches!(engine.authenticate(&text).await, Err(EngineError::Unauthenticated)));
    assert!(engine.has_keys().await.unwrap());
}

#[tokio::test]
async fn whatever_is_no_good_key_is_refused_in_the_same_words() {
    let fixture = Fixture::new().await;
    let engine = &fixture.engine;
    let owner = || "alice".parse().unwrap();
    let (key, text) = engine.create_key(&admin(), owner(), "", Scopes::ALL, None).await.unwrap();
    let (_, stranger) = new_key(owner(), "", Scopes::ALL, None).unwrap();
    // The id of a key there is with the secret of another.
    let mixed = format!("{}{}", &text.expose_secret()[..21], &stranger.expose_secret()[21..]);
    let (expired, late) = new_key(owner(), "", Scopes::ALL, None).unwrap();
    let expires_at = Some(Timestamp::now());
    assert!(fixture.store.add_key(ApiKey { expires_at, ..expired }).await.unwrap());
    let upper = format!("cpk_{}{}", key.id.to_string().to_uppercase(), &text.expose_secret()[20..]);
    let whole = text.expose_secret();
    for refused in
        ["", "cpk_", "Bearer x", &mixed, stranger.expose_secret(), late.expose_secret(), &upper, &whole[..63]]
    {
        if refused == whole {
            continue; // An id of digits alone has no other case.
        }
        for _ in 0..2 {
            let error = engine.authenticate(&SecretString::from(refused)).await.unwrap_err();
            assert!(matches!(error, EngineError::Unauthenticated), "{refused}: {error:?}");
        }
    }
    engine.authenticate(&text).await.unwrap();
}

#[tokio::test]
async fn a_key_revoked_by_another_process_ends_here_too() {
    let fixture = Fixture::new().await;
    let engine = &fixture.engine;
    let running = engine.start().unwrap();
    let (key, text) = engine.create_key(&admin(), "alice".parse().unwrap(), "", Scopes::ALL, None).await.unwrap();
    engine.authenticate(&text).await.unwrap();
    fixture.store.revoke_key(key.id, Timestamp::now()).await.unwrap();
    eventually("the end of the key", || async {
        matches!(engine.authenticate(&text).await, Err(EngineError::Unauthenticated)).then_some(())
    })
    .await;
    running.stop(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn what_an_owner_may_use_is_the_default_until_it_is_set() {
    let defaults = OwnerLimits { programs: 7, ..OwnerLimits::default() };
    let fixture = Fixture::with(|config| config.limits = defaults).await;
    let (engine, alice) = (&fixture.engine, user("alice"));
    assert_eq!(engine.limits(&alice.owner).await.unwrap(), defaults);
    assert!(matches!(engine.owner(&alice, &alice.owner).await, Err(EngineError::UnknownOwner(_))));
    let quotas = Quotas { unfinished_tasks: Some(3), ..Quotas::default() };
    let owner = Owner { id: alice.owner.clone(), weight: 4, quotas, created_at: Timestamp::now() };
    engine.set_owner(&admin(), owner).await.unwrap();
    let expected = OwnerLimits { weight: 4, unfinished_tasks: 3, ..defaults };
    assert_eq!(engine.limits(&alice.owner).await.unwrap(), expected);
    assert_eq!(engine.owner(&alice, &alice.owner).await.unwrap().weight, 4);
    assert_eq!(engine.limits(&"bob".parse().unwrap()).await.unwrap(), defaults);
}

#[tokio::test]
async fn settings_that_would_lock_an_owner_out_or_in_are_refused() {
    let fixture = Fixture::new().await;
    let owner = |weight, quotas| Owner { id: "alice".parse().unwrap(), weight, quotas, created_at: Timestamp::now() };
    let zero_rate = Quotas { requests_per_second: Some(0), ..Quotas::default() };
    let zero_burst = Quotas { burst: Some(0), ..Quotas::default() };
    for refused in
        [owner(0, Quotas::default()), owner(1001, Quotas::default()), owner(1, zero_rate), owner(1, zero_burst)]
    {
        let result = fixture.engine.set_owner(&admin(), refused).await;
        assert!(matches!(result, Err(EngineError::InvalidRequest(_))), "{result:?}");
    }
    assert!(fixture.store.owner(&"alice".parse().unwrap()).await.unwrap().is_none());
}
