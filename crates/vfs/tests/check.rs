//! Images that are wrong in one way each: what is said of them, and that whatever is found whole is.

mod common;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use common::{Pages, noise};
use coprocessor_vfs::{
    BootSectorError, EntryKind, Fault, ImageError, MIN_VOLUME_SIZE, PAGE_SIZE, VfsError, Volume, check,
};
use proptest::prelude::*;

const SIZE: u64 = MIN_VOLUME_SIZE;
/// Where the parts of a volume of this size begin, in bytes.
const TABLE: usize = 4096;
const TABLE_SIZE: usize = 8192;
const ROOT: usize = TABLE + 2 * TABLE_SIZE;
const DATA: usize = ROOT + 16384;
const CLUSTER: usize = 512;
const LAST: u16 = ((SIZE as usize - DATA) / CLUSTER) as u16 + 1;

fn image() -> Vec<u8> {
    static IMAGE: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let pages = Pages::default();
        let mut volume = Volume::format(pages.clone(), SIZE).unwrap();
        volume.write("/file", &noise(1, 5 * CLUSTER)).unwrap();
        volume.write("/empty", &[]).unwrap();
        volume.write("/dir/sub/deep.bin", &noise(2, 3000)).unwrap();
        volume.write("/dir/other", &noise(3, 10)).unwrap();
        for count in 0..40 {
            volume.write(&format!("/many/{count}"), &noise(count, 100)).unwrap();
        }
        pages.store(&mut volume);
        pages.image(SIZE)
    });
    IMAGE.clone()
}

fn put(image: &mut [u8], at: usize, value: u16) {
    image[at..at + 2].copy_from_slice(&value.to_le_bytes());
}

fn get(image: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([image[at], image[at + 1]])
}

/// Sets a cluster's entry in both copies of the table.
fn chain(image: &mut [u8], cluster: u16, next: u16) {
    for copy in [0, TABLE_SIZE] {
        put(image, TABLE + copy + usize::from(cluster) * 2, next);
    }
}

/// Where the directory entry of a name is.
fn record(image: &[u8], name: &str) -> usize {
    let stored = format!("{:<11}", name.to_uppercase());
    image.windows(11).position(|bytes| bytes == stored.as_bytes()).unwrap()
}

/// Where it is in [`image`].
fn at(name: &str) -> usize {
    record(&image(), name)
}

fn first(image: &[u8], name: &str) -> u16 {
    get(image, record(image, name) + 26)
}

fn start(cluster: u16) -> usize {
    DATA + usize::from(cluster - 2) * CLUSTER
}

/// All that is said of an image with one change, none of which may be of another change's kind.
fn faults(change: impl FnOnce(&mut Vec<u8>)) -> Vec<Fault> {
    let mut image = image();
    change(&mut image);
    match check(Pages::from_image(&image), SIZE) {
        Err(ImageError::Faults(faults)) => {
            assert_eq!(faults.first().len().min(8) as u64, faults.count().min(8));
            faults.first().to_vec()
        }
        other => panic!("{other:?}"),
    }
}

fn text(path: &str) -> String {
    path.to_owned()
}

#[test]
fn what_is_whole_is_counted() {
    let checked = check(Pages::from_image(&image()), SIZE).unwrap();
    assert_eq!((checked.files, checked.directories), (44, 3));
    assert_eq!(checked.space, Volume::open(Pages::from_image(&image()), SIZE).unwrap().space().unwrap());
}

#[test]
fn images_that_do_not_begin_as_one() {
    let refused = |size: u64, change: &dyn Fn(&mut Vec<u8>)| {
        let mut image = image();
        change(&mut image);
        check(Pages::from_image(&image), size).unwrap_err()
    };
    for size in [0, SIZE - PAGE_SIZE as u64, SIZE + 1, u64::MAX] {
        assert!(matches!(refused(size, &|_| ()), ImageError::Size { got } if got == size));
    }
    let boot = |error| match error {
        ImageError::BootSector(error) => error,
        other => panic!("{other}"),
    };
    // One that ends within a page is as long as it says, not as its page.
    let cut = BootSectorError::TotalSize { got: SIZE, max: SIZE - 512 };
    assert_eq!(boot(refused(SIZE - 512, &|_| ())), cut);
    let mut short = image();
    put(&mut short, 19, (SIZE / 512) as u16 - 1);
    assert!(check(Pages::from_image(&short), SIZE - 512).is_ok());
    assert_eq!(boot(refused(SIZE, &|image| image[510] = 0)), BootSectorError::Signature { got: [0, 0xaa] });
    assert_eq!(
        boot(refused(SIZE, &|image| put(image, 19, (SIZE / 512) as u16 + 1))),
        BootSectorError::TotalSize { got: SIZE + 512, max: SIZE }
    );
    assert_eq!(boot(refused(SIZE, &|image| image[16] = 0)), BootSectorError::Tables { got: 0 });
    assert!(matches!(boot(refused(SIZE, &|image| put(image, 22, 3))), BootSectorError::TableSize { .. }));
}

#[test]
fn tables_that_contradict() {
    assert_eq!(
        faults(|image| put(image, TABLE, 0xfff0)),
        [
            Fault::TableStart { expected: 0xfff8, got: 0xfff0 },
            Fault::TablesDiffer { cluster: 0, first: 0xfff0, second: 0xfff8 },
        ]
    );
    assert_eq!(faults(|image| image[37] = 1), [Fault::Dirty]);
    assert_eq!(faults(|image| chain(image, 1, 0x7fff)), [Fault::Dirty]);
    assert_eq!(
        faults(|image| put(image, TABLE + TABLE_SIZE + 4000, 7)),
        [Fault::TablesDiffer { cluster: 2000, first: 0, second: 7 }]
    );
    for got in [1, LAST + 1, 0xfff6] {
        assert_eq!(
            faults(|image| chain(image, 2000, got)),
            [Fault::TableEntry { cluster: 2000, got }, Fault::Lost { clusters: 1, first: 2000 }][..1]
        );
    }
    assert_eq!(
        faults(|image| (2000..2003).for_each(|cluster| chain(image, cluster, 0xffff))),
        [Fault::Lost { clusters: 3, first: 2000 }]
    );
    // What is marked as bad is nobody's, and no fault.
    let mut image = image();
    chain(&mut image, 2000, 0xfff7);
    assert_eq!(check(Pages::from_image(&image), SIZE).unwrap().files, 44);
}

#[test]
fn chains_that_lead_astray() {
    let file = first(&image(), "file");
    assert_eq!(
        faults(|image| chain(image, file + 1, file)),
        [Fault::ChainLoops { path: text("/file"), cluster: file }]
    );
    for next in [0, 1, LAST + 1, 0xfff7] {
        let broken = Fault::ChainBroken { path: text("/file"), cluster: file, next, last: LAST };
        assert!(faults(|image| chain(image, file, next)).contains(&broken), "{next:#x}");
    }
    let short = Fault::ChainLength { path: text("/file"), size: 5 * 512, clusters: 2, needed: 5 };
    assert_eq!(faults(|image| chain(image, file + 1, 0xffff)), [short]);
    for got in [1, LAST + 1, 0xffff] {
        let nowhere = Fault::FirstCluster { path: text("/file"), got, last: LAST };
        assert_eq!(faults(|image| put(image, at("file") + 26, got)), [nowhere]);
    }
    let size = |size: u16| move |image: &mut Vec<u8>| put(image, at("file") + 28, size);
    for (given, needed) in [(0, 0), (4 * 512, 4), (5 * 512 + 1, 6)] {
        let length = Fault::ChainLength { path: text("/file"), size: given.into(), clusters: 5, needed };
        assert_eq!(faults(size(given)), [length]);
    }
    let none = Fault::ChainLength { path: text("/empty"), size: 1, clusters: 0, needed: 1 };
    assert_eq!(faults(|image| put(image, at("empty") + 28, 1)), [none]);
    let none = Fault::FirstCluster { path: text("/dir"), got: 0, last: LAST };
    assert_eq!(faults(|image| put(image, at("dir") + 26, 0)), [none]);
}

#[test]
fn clusters_with_two_owners() {
    let (file, other, dir) = (first(&image(), "file"), first(&image(), "other"), first(&image(), "dir"));
    let shared =
        |path: &str, other: &str, cluster| Fault::CrossLinked { path: text(path), other: text(other), cluster };
    // The root is looked at first; a directory's content after all that is beside it.
    assert_eq!(faults(|image| put(image, at("other") + 26, file)), [shared("/dir/other", "/file", file)]);
    assert_eq!(faults(|image| chain(image, other, file + 2)), [shared("/dir/other", "/file", file + 2)]);
    let long = Fault::ChainLength { path: text("/file"), size: 5 * 512, clusters: 6, needed: 5 };
    assert_eq!(faults(|image| chain(image, file + 4, dir)), [long, shared("/dir", "/file", dir)]);
    // A directory that is in itself is one with two owners: nothing is walked twice.
    let twice = faults(|image| put(image, at("sub") + 26, dir));
    assert_eq!(twice, [shared("/dir/sub", "/dir", dir)]);
}

#[test]
fn directories_that_are_none() {
    let (dir, sub) = (first(&image(), "dir"), first(&image(), "sub"));
    let dots = |directory: &str| Fault::Dots { directory: text(directory) };
    assert_eq!(faults(|image| put(image, start(dir) + 26, sub)), [dots("/dir")]);
    assert_eq!(faults(|image| put(image, start(sub) + 32 + 26, 0)), [dots("/dir/sub")]);
    assert_eq!(faults(|image| image[start(sub) + 11] = 0x20), [dots("/dir/sub")]);
    assert_eq!(faults(|image| image[start(sub)] = 0), [dots("/dir/sub")]);
    let sized = Fault::DirectorySize { path: text("/dir"), size: 512 };
    assert_eq!(faults(|image| put(image, at("dir") + 28, 512)), [sized]);
    // A file that becomes a directory has neither.
    let file = faults(|image| image[at("other") + 11] = 0x10);
    assert_eq!(file[0], Fault::DirectorySize { path: text("/dir/other"), size: 10 });
}

#[test]
fn names_that_no_path_has() {
    let name = |stored: &str| Fault::Name { directory: text("/dir"), stored: text(stored) };
    for (place, byte, stored) in [
        (0, b'.', ".THER      "),
        (0, 0x05, "\\x05THER      "),
        (2, b' ', "OT ER      "),
        (4, b'r', "OTHEr      "),
        (7, b'*', "OTHER  *   "),
        (1, 0x8e, "O\\x8eHER      "),
        (9, b'x', "OTHER    x "),
    ] {
        assert_eq!(faults(|image| image[at("other") + place] = byte), [name(stored)]);
    }
    let twice = faults(|image| {
        let (from, to) = (at("7"), at("8"));
        image.copy_within(from..from + 11, to);
    });
    assert_eq!(twice, [Fault::DuplicateName { path: text("/many/7") }]);
    let label = faults(|image| image[at("other") + 11] = 0x08);
    assert_eq!(label, [Fault::Label { directory: text("/dir") }]);
    let long = faults(|image| image[at("other") + 11] = 0x0f);
    assert_eq!(long[0], Fault::LongName { directory: text("/dir") });
}

#[test]
fn what_is_too_deep_for_a_path() {
    let pages = Pages::default();
    let mut volume = Volume::format(pages.clone(), SIZE).unwrap();
    let deepest = "/d".repeat(19);
    volume.write(&format!("{deepest}/file"), b"x").unwrap();
    pages.store(&mut volume);
    let mut image = pages.image(SIZE);
    let at = record(&image, "file");
    // A directory in its place, with nothing in it, and one file put there.
    image[at + 11] = 0x10;
    put(&mut image, at + 28, 0);
    let (own, above) = (get(&image, at + 26), get(&image, at - 64 + 26));
    let mut entries = [[0; 32]; 3];
    for (entry, (name, attributes, first)) in
        entries.iter_mut().zip([(b".          ", 0x10, own), (b"..         ", 0x10, above), (b"DEEP       ", 0x20, 0)])
    {
        entry[..11].copy_from_slice(name);
        entry[11] = attributes;
        put(entry, 26, first);
    }
    image[start(own)..][..96].copy_from_slice(&entries.concat());
    match check(Pages::from_image(&image), SIZE) {
        Err(ImageError::Faults(faults)) => {
            assert_eq!(faults.first(), [Fault::TooDeep { path: format!("{deepest}/file/deep") }]);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn says_all_that_fits_and_how_much_more_there_is() {
    let mut image = image();
    for count in 0..40 {
        let at = record(&image, &count.to_string());
        image[at + 1] = b'?';
    }
    let error = check(Pages::from_image(&image), SIZE).unwrap_err().to_string();
    assert!(error.starts_with("/many has an entry `0?         `, a name that no path can have; /many"), "{error}");
    assert!(error.ends_with("; and 32 more; repair it with fsck.fat"), "{error}");
}

#[test]
fn a_source_that_fails_is_no_fault_of_the_image() {
    let error = check(common::Broken(Pages::from_image(&image())), SIZE).unwrap_err();
    assert!(matches!(error, ImageError::Read(VfsError::Source { page: 1, .. })), "{error}");
}

/// Bytes that matter are few; most changes go there.
fn place() -> impl Strategy<Value = usize> {
    prop_oneof![
        1 => 0..64_usize,
        4 => TABLE..TABLE + 300,
        4 => ROOT..ROOT + 160,
        4 => DATA..DATA + 64 * CLUSTER,
    ]
}

/// Reads all there is; gives every path and, of files, the content.
fn all(volume: &mut Volume<Pages>) -> BTreeMap<String, Option<Vec<u8>>> {
    let mut found = BTreeMap::new();
    let mut ahead = vec![String::new()];
    while let Some(directory) = ahead.pop() {
        for entry in volume.list(&directory).unwrap() {
            let path = format!("{directory}/{}", entry.name);
            let content = match entry.kind {
                EntryKind::File => Some(volume.read(&path).unwrap()),
                EntryKind::Directory => {
                    ahead.push(path.clone());
                    None
                }
            };
            assert!(found.insert(path, content).is_none());
        }
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    /// The other side of every fault above: in what is let pass everything works, and nothing of it breaks other things.
    #[test]
    fn what_passes_works(changes in prop::collection::vec((place(), any::<u8>()), 0..4)) {
        let mut image = image();
        for (at, change) in changes {
            image[at] ^= change;
        }
        let pages = Pages::from_image(&image);
        if let Ok(checked) = check(&pages, SIZE) {
            let mut volume = Volume::open(pages.clone(), SIZE).unwrap();
            let before = all(&mut volume);
            prop_assert_eq!(before.len() as u64, checked.files + checked.directories);
            prop_assert_eq!(volume.space().unwrap(), checked.space);
            volume.write("/new/file", &noise(9, 20_000)).unwrap();
            for (path, content) in &before {
                if content.is_some() {
                    volume.rename(path, "/new/moved").unwrap();
                    prop_assert_eq!(&volume.read("/new/moved").unwrap(), content.as_ref().unwrap());
                    volume.rename("/new/moved", path).unwrap();
                }
            }
            let mut after = all(&mut volume);
            prop_assert_eq!(after.remove("/new/file").unwrap().unwrap(), noise(9, 20_000));
            after.remove("/new");
            prop_assert_eq!(after, before);
            pages.store(&mut volume);
            check(&pages, SIZE).unwrap();
        }
    }

    #[test]
    fn nothing_but_chance_is_refused(seed in any::<u64>(), parts in 1..4_usize) {
        let mut image = noise(seed, SIZE as usize);
        let whole = [512, TABLE, ROOT][parts - 1];
        image[..whole].copy_from_slice(&self::image()[..whole]);
        prop_assert!(check(Pages::from_image(&image), SIZE).is_err());
    }
}
