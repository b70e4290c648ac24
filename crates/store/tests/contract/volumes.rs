//! Volumes.

use super::{
    Backing,
    fixture::{blocking, program, volume, volume_is_unknown, write},
};
use bytes::Bytes;
use coprocessor_store::{Store, StoreError, VolumeContent, VolumeWrite};
use coprocessor_types::ProgramId;
use std::io;

pub(crate) async fn pages_and_raw_storage_read_back<B: Backing>() {
    let mut backing = B::new().await;
    let store = backing.store();
    let program = program(&*store, 1).await;
    blocking(|| {
        let fresh = store.volume_snapshot(program.id).unwrap();
        assert_eq!((fresh.size(), fresh.version()), (program.volume_size, 0));
        assert_eq!((fresh.read_page(0).unwrap(), fresh.raw().unwrap()), (None, None));
    });
    let raw = |store: &dyn Store| blocking(|| store.volume_snapshot(program.id).unwrap().raw().unwrap());

    let page = vec![7; 64 * 1024];
    let first = VolumeWrite {
        based_on: 0,
        pages: vec![(0, Some(page.clone())), (1, Some(vec![1])), (u32::MAX, Some(page.clone()))],
        raw: Some(Bytes::new()),
        quota: None,
    };
    assert_eq!(store.write_volume(program.id, first).await.unwrap(), 1);
    assert_eq!(raw(&*store), Some(Vec::new()));
    let second = VolumeWrite {
        based_on: 1,
        pages: vec![(0, None), (2, None)],
        raw: Some(Bytes::from_static(b"raw")),
        quota: None,
    };
    assert_eq!(store.write_volume(program.id, second).await.unwrap(), 2);
    drop(store);
    backing.reopen().await;

    assert_eq!(raw(&*backing.store()), Some(b"raw".to_vec()));
    let kept = volume(&*backing.store(), program.id, [0, 1, 2, u32::MAX]);
    assert_eq!(kept, (2, [None, Some(vec![1]), None, Some(page)]));
}

pub(crate) async fn a_snapshot_sees_no_later_write<B: Backing>() {
    let backing = B::new().await;
    let store = backing.store();
    let program = program(&*store, 1).await;
    store.write_volume(program.id, write(0, &[(0, b"old")])).await.unwrap();
    let before = blocking(|| store.volume_snapshot(program.id).unwrap());
    let raw = Some(Bytes::from_static(b"new"));
    store.write_volume(program.id, VolumeWrite { raw, ..write(1, &[(0, b"new"), (1, b"new")]) }).await.unwrap();
    blocking(|| {
        let after = store.volume_snapshot(program.id).unwrap();
        assert_eq!((before.version(), before.raw().unwrap()), (1, None));
        assert_eq!(before.read_page(0).unwrap().unwrap(), b"old");
        assert_eq!(before.read_page(1).unwrap(), None);
        assert_eq!((after.version(), after.raw().unwrap()), (2, Some(b"new".to_vec())));
        assert_eq!(after.read_page(0).unwrap().unwrap(), b"new");
        drop(before);
    });
    // The connection it held is fit for the next.
    assert_eq!(volume(&*store, program.id, []).0, 2);
}

pub(crate) async fn a_snapshot_moves_between_threads<B: Backing>() {
    let backing = B::new().await;
    let store = backing.store();
    let program = program(&*store, 1).await;
    store.write_volume(program.id, write(0, &[(3, b"page")])).await.unwrap();
    let mut snapshot = blocking(|| store.volume_snapshot(program.id).unwrap());
    for _ in 0..3 {
        let reading = tokio::task::spawn_blocking(move || {
            assert_eq!(snapshot.read_page(3).unwrap().unwrap(), b"page");
            snapshot
        });
        snapshot = reading.await.unwrap();
    }
    blocking(|| drop(snapshot));
}

pub(crate) async fn a_write_on_an_old_version_conflicts<B: Backing>() {
    let backing = B::new().await;
    let store = backing.store();
    let program = program(&*store, 1).await;
    store.write_volume(program.id, write(0, &[(0, b"first")])).await.unwrap();
    for based_on in [0, 2, u64::MAX] {
        let got = store.write_volume(program.id, write(based_on, &[(0, b"late"), (1, b"late")])).await;
        assert!(
            matches!(got, Err(StoreError::VolumeConflict { program: id, expected, got: 1 })
                if id == program.id && expected == based_on),
            "{got:?}"
        );
    }
    assert_eq!(volume(&*store, program.id, [0, 1]), (1, [Some(b"first".to_vec()), None]));
}

/// Of writers that all saw the same version, one wins; whoever lost reads again, and no write is lost.
pub(crate) async fn writers_take_turns_by_version<B: Backing>() {
    const WRITERS: u32 = 6;
    let backing = B::new().await;
    let program = program(&*backing.store(), 1).await;
    let writers: Vec<_> = (0..WRITERS)
        .map(|page| {
            let (store, program) = (backing.store(), program.id);
            tokio::spawn(async move {
                loop {
                    let (version, _) = volume(&*store, program, []);
                    match store.write_volume(program, write(version, &[(page, b"mine")])).await {
                        Ok(next) => break assert_eq!(next, version + 1),
                        Err(StoreError::VolumeConflict { expected, got, .. }) => {
                            assert!(expected == version && got > version);
                        }
                        Err(other) => panic!("{other}"),
                    }
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let (version, pages) = volume(&*backing.store(), program.id, [0, 1, 2, 3, 4, 5]);
    assert_eq!((version, pages), (u64::from(WRITERS), [0; 6].map(|_| Some(b"mine".to_vec()))));
}

pub(crate) async fn an_empty_write_needs_no_version<B: Backing>() {
    let backing = B::new().await;
    let store = backing.store();
    let program = program(&*store, 1).await;
    store.write_volume(program.id, write(0, &[(0, b"first")])).await.unwrap();
    assert_eq!(store.write_volume(program.id, VolumeWrite::default()).await.unwrap(), 1);
    assert_eq!(volume(&*store, program.id, []).0, 1);
    let unknown = ProgramId([9; 32]);
    for change in [VolumeWrite::default(), write(0, &[(0, b"x")])] {
        let got = store.write_volume(unknown, change).await;
        assert!(matches!(got, Err(StoreError::UnknownProgram(id)) if id == unknown), "{got:?}");
    }
    assert!(volume_is_unknown(&*store, unknown));
}

pub(crate) async fn volumes_are_apart<B: Backing>() {
    let backing = B::new().await;
    let store = backing.store();
    let (one, two) = (program(&*store, 1).await, program(&*store, 2).await);
    store.write_volume(one.id, write(0, &[(0, b"one"), (u32::MAX, b"end")])).await.unwrap();
    store.write_volume(two.id, write(0, &[(0, b"two")])).await.unwrap();
    let end = Some(b"end".to_vec());
    assert_eq!(volume(&*store, one.id, [0, u32::MAX]), (1, [Some(b"one".to_vec()), end]));
    assert_eq!(volume(&*store, two.id, [0, u32::MAX]), (1, [Some(b"two".to_vec()), None]));
}

pub(crate) async fn many_pages_are_read_at_once<B: Backing>() {
    let backing = B::new().await;
    let store = backing.store();
    let (one, two) = (program(&*store, 1).await, program(&*store, 2).await);
    let pages: Vec<(u32, Vec<u8>)> = (0..40).map(|index| (index * 3, vec![index as u8 + 1; 100])).collect();
    let written = VolumeWrite {
        pages: pages.iter().map(|(index, content)| (*index, Some(content.clone()))).collect(),
        ..VolumeWrite::default()
    };
    store.write_volume(one.id, written).await.unwrap();
    store.write_volume(two.id, write(0, &[(0, b"two"), (3, b"two")])).await.unwrap();
    blocking(|| {
        let snapshot = store.volume_snapshot(one.id).unwrap();
        assert_eq!(snapshot.read_pages(0..u32::MAX).unwrap(), pages);
        assert_eq!(snapshot.read_pages(3..10).unwrap(), pages[1..4]);
        assert_eq!(snapshot.read_pages(1..3).unwrap(), []);
        assert_eq!(snapshot.read_pages(100..100).unwrap(), []);
    });
}

/// Pages that are read from wherever, or from a disk that fails after some.
fn content(size: u64, pages: Vec<(u32, Vec<u8>)>, fails: bool) -> VolumeContent {
    let pages = move || -> coprocessor_store::VolumePages {
        let failure = fails.then(|| Err(io::Error::other("the disk is gone")));
        Box::new(pages.clone().into_iter().map(Ok).chain(failure))
    };
    VolumeContent { size, quota: None, pages: Box::new(pages) }
}

/// More than one statement's worth of pages, with gaps where there were some.
pub(crate) async fn a_volume_is_replaced_whole_or_not_at_all<B: Backing>() {
    let mut backing = B::new().await;
    let store = backing.store();
    let (one, two) = (program(&*store, 1).await, program(&*store, 2).await);
    let before = VolumeWrite {
        pages: (0..1000).map(|index| (index, Some(vec![1; 64]))).chain([(u32::MAX, Some(vec![9]))]).collect(),
        raw: Some(Bytes::from_static(b"raw")),
        ..VolumeWrite::default()
    };
    store.write_volume(one.id, before.clone()).await.unwrap();
    store.write_volume(two.id, before).await.unwrap();
    let pages: Vec<(u32, Vec<u8>)> = (0..600).map(|index| (index * 2, vec![(index % 2) as u8 + 1; 64])).collect();

    let failed = store.replace_volume(one.id, content(8 << 20, pages.clone(), true)).await;
    assert!(matches!(failed, Err(StoreError::Content(_))), "{failed:?}");
    assert_eq!(volume(&*store, one.id, [1, u32::MAX]), (1, [Some(vec![1; 64]), Some(vec![9])]));
    assert_eq!(store.program(one.id).await.unwrap().unwrap().volume_size, one.volume_size);

    assert_eq!(store.replace_volume(one.id, content(8 << 20, pages.clone(), false)).await.unwrap(), 2);
    let late = store.write_volume(one.id, write(1, &[(0, b"late")])).await;
    assert!(matches!(late, Err(StoreError::VolumeConflict { expected: 1, got: 2, .. })), "{late:?}");
    drop(store);
    backing.reopen().await;

    let store = backing.store();
    blocking(|| {
        let replaced = store.volume_snapshot(one.id).unwrap();
        assert_eq!((replaced.size(), replaced.version()), (8 << 20, 2));
        assert_eq!(replaced.read_pages(0..u32::MAX).unwrap(), pages);
        assert_eq!((replaced.read_page(u32::MAX).unwrap(), replaced.raw().unwrap()), (None, Some(b"raw".to_vec())));
        let other = store.volume_snapshot(two.id).unwrap();
        assert_eq!(
            (other.size(), other.version(), other.read_pages(0..u32::MAX).unwrap().len()),
            (two.volume_size, 1, 1000)
        );
    });
    assert_eq!(store.program(one.id).await.unwrap().unwrap().volume_size, 8 << 20);
    assert_eq!(store.replace_volume(one.id, content(4 << 20, Vec::new(), false)).await.unwrap(), 3);
    blocking(|| assert_eq!(store.volume_snapshot(one.id).unwrap().read_pages(0..u32::MAX).unwrap(), []));
    let unknown = ProgramId([9; 32]);
    let got = store.replace_volume(unknown, content(8 << 20, pages, false)).await;
    assert!(matches!(got, Err(StoreError::UnknownProgram(id)) if id == unknown), "{got:?}");
}

/// Replacing takes its turn with those who write and with those who replace: what came last is there whole.
pub(crate) async fn replacing_takes_its_turn<B: Backing>() {
    let backing = B::new().await;
    let program = program(&*backing.store(), 1).await.id;
    let replacing: Vec<_> = (1..=4_u8)
        .map(|who| {
            let store = backing.store();
            tokio::spawn(async move {
                let pages = (0..300).map(|index| (index, vec![who; 32])).collect();
                store.replace_volume(program, content(4 << 20, pages, false)).await.unwrap()
            })
        })
        .collect();
    let mut versions = Vec::new();
    for one in replacing {
        versions.push(one.await.unwrap());
    }
    versions.sort_unstable();
    assert_eq!(versions, [1, 2, 3, 4]);
    blocking(|| {
        let pages = backing.store().volume_snapshot(program).unwrap().read_pages(0..u32::MAX).unwrap();
        assert_eq!(pages.len(), 300);
        assert!(pages.iter().all(|(_, content)| *content == pages[0].1));
    });
}
