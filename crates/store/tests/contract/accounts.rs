//! Owners and keys.

use super::{Backing, fixture::owner, lists::strange_cursors};
use coprocessor_store::{
    ApiKey, ControllerQuotas, Cursor, KeyId, MAX_WEIGHT, Owner, Page, Quotas, Scope, Store, StoreError,
};
use coprocessor_types::OwnerId;
use jiff::Timestamp;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn settings(name: &str) -> Owner {
    Owner { id: owner(name), weight: 1, quotas: Quotas::default(), created_at: at(1_700_000_000) }
}

pub(crate) async fn an_owner_s_settings_are_kept<B: Backing>() {
    let mut backing = B::new().await;
    let store = backing.store();
    assert_eq!(store.owner(&owner("alice")).await.unwrap(), None);
    let quotas = Quotas {
        unfinished_tasks: Some(u64::MAX),
        programs: Some(0),
        volume_bytes: Some(1 << 40),
        requests_per_second: Some(u32::MAX),
        burst: None,
        controllers: ControllerQuotas { fuel: Some(u64::MAX), network_calls: Some(0), ..ControllerQuotas::default() },
    };
    let first = Owner { weight: MAX_WEIGHT, quotas, ..settings("alice") };
    assert_eq!(store.put_owner(first.clone()).await.unwrap(), first);
    store.put_owner(settings("bob")).await.unwrap();
    drop(store);
    backing.reopen().await;
    let store = backing.store();
    assert_eq!(store.owner(&owner("alice")).await.unwrap(), Some(first.clone()));

    let other = Owner { weight: 2, quotas: Quotas::default(), created_at: at(1_800_000_000), ..first.clone() };
    let kept = Owner { created_at: first.created_at, ..other.clone() };
    assert_eq!(store.put_owner(other).await.unwrap(), kept);
    assert_eq!(store.owner(&owner("alice")).await.unwrap(), Some(kept));
    assert_eq!(store.owner(&owner("bob")).await.unwrap(), Some(settings("bob")));
}

pub(crate) async fn owners_are_listed_by_name<B: Backing>() {
    let backing = B::new().await;
    let store = backing.store();
    let mut names = ["b", "a-1", "carol", "a", "b2", "aa", "z"];
    for name in names {
        store.put_owner(settings(name)).await.unwrap();
    }
    names.sort();
    for limit in [1, 3, 100] {
        let (mut listed, mut after) = (Vec::new(), None);
        loop {
            let page = store.owners(after, limit).await.unwrap();
            assert!(page.items.len() <= limit);
            listed.extend(page.items);
            match page.next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        assert_eq!(listed, names.map(settings));
    }
}

fn key(number: u8, name: &str) -> ApiKey {
    ApiKey {
        id: KeyId([number; 8]),
        owner: owner(name),
        name: "naïve \"key\"".to_owned(),
        hash: [number; 32],
        scopes: vec![Scope::Read, Scope::Prove],
        created_at: at(1_700_000_000),
        expires_at: None,
        revoked_at: None,
    }
}

pub(crate) async fn a_key_is_kept_and_revoked_once<B: Backing>() {
    let mut backing = B::new().await;
    let store = backing.store();
    assert!(!store.has_keys().await.unwrap());
    let first = ApiKey { scopes: Scope::ALL.to_vec(), expires_at: Some(at(1_900_000_000)), ..key(0xff, "alice") };
    assert!(store.add_key(first.clone()).await.unwrap());
    assert!(store.has_keys().await.unwrap());
    assert!(!store.add_key(ApiKey { hash: [9; 32], ..key(0xff, "bob") }).await.unwrap());
    assert!(store.add_key(ApiKey { scopes: Vec::new(), name: String::new(), ..key(2, "bob") }).await.unwrap());
    drop(store);
    backing.reopen().await;
    let store = backing.store();
    assert_eq!(store.key(first.id).await.unwrap(), Some(first.clone()));
    assert_eq!(store.key(KeyId([2; 8])).await.unwrap().unwrap().scopes, []);
    assert_eq!(store.key(KeyId([3; 8])).await.unwrap(), None);

    let revoked = ApiKey { revoked_at: Some(at(1_750_000_000)), ..first.clone() };
    for now in [1_750_000_000, 1_760_000_000] {
        assert_eq!(store.revoke_key(first.id, at(now)).await.unwrap().as_ref(), Some(&revoked));
        assert_eq!(store.key(first.id).await.unwrap().as_ref(), Some(&revoked));
    }
    assert_eq!(store.revoke_key(KeyId([3; 8]), at(0)).await.unwrap(), None);
    assert_eq!(store.key(KeyId([2; 8])).await.unwrap().unwrap().revoked_at, None);
}

pub(crate) async fn whether_there_ever_were_keys_is_not_forgotten<B: Backing>() {
    let mut backing = B::new().await;
    backing.store().add_key(key(1, "alice")).await.unwrap();
    backing.store().revoke_key(KeyId([1; 8]), at(1_750_000_000)).await.unwrap();
    assert!(backing.store().has_keys().await.unwrap());
    backing.reopen().await;
    assert!(backing.store().has_keys().await.unwrap());
}

async fn all_keys(store: &dyn Store, of: Option<OwnerId>, limit: usize) -> Vec<ApiKey> {
    let (mut listed, mut after) = (Vec::new(), None);
    loop {
        let page = store.keys(of.clone(), after, limit).await.unwrap();
        assert!(page.items.len() <= limit);
        listed.extend(page.items);
        match page.next {
            Some(next) => after = Some(next),
            None => return listed,
        }
    }
}

pub(crate) async fn keys_are_listed_newest_first<B: Backing>() {
    let backing = B::new().await;
    let store = backing.store();
    // Some were made in the same moment, and numbers above i64's are numbers too.
    let mut keys = Vec::new();
    for (number, second) in [(1, 5), (0xf0, 5), (2, 7), (0x80, 1), (3, 5), (4, 9)] {
        let key = ApiKey { created_at: at(second), ..key(number, ["alice", "bob"][usize::from(number) % 2]) };
        assert!(store.add_key(key.clone()).await.unwrap());
        keys.push(key);
    }
    store.revoke_key(KeyId([3; 8]), at(10)).await.unwrap();
    keys[4].revoked_at = Some(at(10));
    keys.sort_by_key(|key| std::cmp::Reverse((key.created_at, key.id)));
    for of in [None, Some(owner("alice")), Some(owner("nobody"))] {
        let expected: Vec<_> =
            keys.iter().filter(|key| of.as_ref().is_none_or(|of| *of == key.owner)).cloned().collect();
        for limit in [1, 2, 100] {
            assert_eq!(all_keys(&*store, of.clone(), limit).await, expected);
        }
    }
}

pub(crate) async fn cursors_of_other_account_lists_are_refused<B: Backing>() {
    let backing = B::new().await;
    let store = backing.store();
    for name in ["alice", "bob"] {
        store.put_owner(settings(name)).await.unwrap();
        store.add_key(key(name.len() as u8, name)).await.unwrap();
    }
    let cursor = |next: Option<Cursor>| next.expect("there is another page");
    let Page { next: of_owners, .. } = store.owners(None, 1).await.unwrap();
    let Page { next: of_keys, .. } = store.keys(None, None, 1).await.unwrap();
    for cursor in strange_cursors().chain([cursor(of_keys)]) {
        let got = store.owners(Some(cursor.clone()), 1).await;
        assert!(matches!(got, Err(StoreError::BadCursor)), "{cursor:?}");
    }
    for cursor in strange_cursors().chain([cursor(of_owners)]) {
        let got = store.keys(None, Some(cursor.clone()), 1).await;
        assert!(matches!(got, Err(StoreError::BadCursor)), "{cursor:?}");
    }
}
