//! Images that nobody in their right mind would make. None may panic, hang, or be believed.

mod common;

use std::sync::LazyLock;

use common::{Pages, noise};
use coprocessor_vfs::{BootSectorError, Corruption, EntryKind, MIN_VOLUME_SIZE, VfsError, Volume};
use proptest::prelude::*;

const SIZE: u64 = MIN_VOLUME_SIZE;
/// Where the parts of a volume of this size begin, in bytes.
const TABLE: usize = 4096;
const ROOT: usize = TABLE + 2 * 8192;
const DATA: usize = ROOT + 16384;
const CLUSTER: usize = 512;

/// A volume with files, directories and a file of several clusters, the last written in two pieces.
fn image() -> Vec<u8> {
    static IMAGE: LazyLock<Vec<u8>> = LazyLock::new(make_image);
    IMAGE.clone()
}

fn make_image() -> Vec<u8> {
    let pages = Pages::default();
    let mut volume = Volume::format(pages.clone(), SIZE).unwrap();
    volume.write("/file", &noise(1, 5 * CLUSTER)).unwrap();
    volume.write("/dir/sub/deep.bin", &noise(2, 3000)).unwrap();
    for count in 0..40 {
        volume.write(&format!("/many/{count}"), &noise(count, 100)).unwrap();
    }
    volume.write("/file", &noise(3, 12 * CLUSTER)).unwrap();
    pages.store(&mut volume);
    pages.image(SIZE)
}

fn open(image: &[u8]) -> Result<Volume<Pages>, VfsError> {
    Volume::open(Pages::from_image(image), SIZE)
}

/// Tries everything on an image; whatever comes of it, it must come.
fn use_all(image: &[u8]) {
    let Ok(mut volume) = open(image) else { return };
    let mut found = vec![String::new()];
    let mut next = 0;
    while next < found.len().min(200) {
        let directory = found[next].clone();
        next += 1;
        for entry in volume.list(&directory).unwrap_or_default() {
            let path = format!("{directory}/{}", entry.name);
            match entry.kind {
                EntryKind::Directory => found.push(path),
                EntryKind::File => {
                    if let Ok(content) = volume.read(&path) {
                        assert_eq!(content.len() as u64, entry.size);
                    }
                    // Refused or done; both are fine.
                    let _ = volume.write(&path, &noise(4, 1500));
                    let _ = volume.remove(&path);
                }
            }
        }
    }
    for path in ["/file", "/many/7", "/many/new", "/dir/sub/deep.bin", "/dir/new/new", "/new"] {
        let content = noise(5, 2500);
        if volume.write(path, &content).is_ok() {
            // A table or a directory that is part of a file can still make this unreadable.
            let _ = volume.read(path);
        }
        let _ = volume.remove(path);
    }
    let _ = volume.space();
    let _ = volume.take_dirty();
}

fn corruption(result: Result<impl std::fmt::Debug, VfsError>) -> Corruption {
    match result {
        Err(VfsError::Corrupt(corruption)) => corruption,
        other => panic!("{other:?}"),
    }
}

fn put(image: &mut [u8], at: usize, value: u16) {
    image[at..at + 2].copy_from_slice(&value.to_le_bytes());
}

fn entry_of(cluster: u16) -> usize {
    TABLE + usize::from(cluster) * 2
}

/// Where the directory entry of a name is.
fn record_of(image: &[u8], name: &[u8; 11]) -> usize {
    image.windows(11).position(|bytes| bytes == name).unwrap()
}

fn first_cluster(image: &[u8], name: &[u8; 11]) -> u16 {
    let at = record_of(image, name) + 26;
    u16::from_le_bytes([image[at], image[at + 1]])
}

const FILE: &[u8; 11] = b"FILE       ";

#[test]
fn boot_sectors_that_are_none() {
    let good = image();
    assert!(matches!(open(&[]), Err(VfsError::BootSector(BootSectorError::Signature { got: [0, 0] }))));
    for length in [0, 3, 11, 24, 62, 510, 511] {
        let mut truncated = good.clone();
        truncated[length..].fill(0);
        assert!(matches!(open(&truncated), Err(VfsError::BootSector(_))), "{length}");
    }
    // A FAT-12 and a FAT-32 by their numbers of clusters.
    let mut small = good.clone();
    put(&mut small, 19, 4000);
    assert!(matches!(open(&small), Err(VfsError::BootSector(BootSectorError::Clusters { .. }))));
    let mut large = good;
    put(&mut large, 17, 0);
    assert!(matches!(open(&large), Err(VfsError::BootSector(BootSectorError::RootEntries))));
}

#[test]
fn a_volume_larger_than_its_pages_is_refused() {
    let image = image();
    let error = Volume::open(Pages::from_image(&image), SIZE - 4096).unwrap_err();
    assert!(matches!(error, VfsError::Size { .. }), "below the smallest volume");
    let mut larger = Volume::format(Pages::default(), SIZE + 4096).unwrap();
    let pages = Pages::default();
    pages.store(&mut larger);
    let error = Volume::open(pages, SIZE).unwrap_err();
    assert!(matches!(error, VfsError::BootSector(BootSectorError::TotalSize { .. })), "{error}");
}

#[test]
fn a_file_whose_chain_is_a_loop() {
    let mut image = image();
    let first = first_cluster(&image, FILE);
    put(&mut image, entry_of(first), first);
    let mut volume = open(&image).unwrap();
    let loops = Corruption::ChainLoops { cluster: first };
    assert_eq!(corruption(volume.read("/file")), loops);
    assert_eq!(corruption(volume.write("/file", b"x")), loops);
    assert_eq!(corruption(volume.remove("/file")), loops);
    assert_eq!(volume.take_dirty(), []);
    assert_eq!(volume.read("/dir/sub/deep.bin").unwrap(), noise(2, 3000));
}

#[test]
fn a_chain_that_leaves_the_clusters() {
    let good = image();
    let first = first_cluster(&good, FILE);
    let last = ((SIZE as usize - DATA) / CLUSTER) as u16 + 1;
    for next in [0, 1, last + 1, 0xfff0, 0xfff7] {
        let mut image = good.clone();
        put(&mut image, entry_of(first), next);
        let broken = Corruption::ChainBroken { cluster: first, next, last };
        assert_eq!(corruption(open(&image).unwrap().read("/file")), broken);
        assert_eq!(corruption(open(&image).unwrap().remove("/file")), broken);
    }
    let mut image = good;
    put(&mut image, entry_of(first), 0xfff8);
    let short = Corruption::ChainShort { size: 12 * CLUSTER as u32, clusters: 1 };
    assert_eq!(corruption(open(&image).unwrap().read("/file")), short);
}

#[test]
fn entries_that_begin_nowhere() {
    let good = image();
    let last = ((SIZE as usize - DATA) / CLUSTER) as u16 + 1;
    for got in [0, 1, last + 1, 0xffff] {
        for (name, path) in [(FILE, "/file"), (b"DIR        ", "/dir/sub")] {
            let mut image = good.clone();
            let at = record_of(&image, name) + 26;
            put(&mut image, at, got);
            assert_eq!(corruption(open(&image).unwrap().read(path)), Corruption::FirstCluster { got, last });
        }
    }
}

#[test]
fn a_size_beyond_the_chain_takes_no_memory() {
    let mut image = image();
    let at = record_of(&image, FILE) + 28;
    image[at..at + 4].fill(0xff);
    let short = Corruption::ChainShort { size: u32::MAX, clusters: 12 };
    assert_eq!(corruption(open(&image).unwrap().read("/file")), short);
}

#[test]
fn a_directory_whose_chain_is_a_loop() {
    let mut image = image();
    // Its first cluster is full, so a walk goes on to the next: itself.
    let first = first_cluster(&image, b"MANY       ");
    put(&mut image, entry_of(first), first);
    let mut volume = open(&image).unwrap();
    let long = Corruption::DirectoryLong { max: (2 << 20) / CLUSTER };
    assert_eq!(corruption(volume.list("/many")), long);
    assert_eq!(corruption(volume.read("/many/none")), long);
    assert_eq!(corruption(volume.write("/many/none", b"x")), long);
    assert_eq!(corruption(volume.remove("/many")), long);
    assert_eq!(volume.take_dirty(), []);
}

#[test]
fn a_directory_in_itself_is_as_deep_as_a_path() {
    let mut image = image();
    let at = record_of(&image, b"SUB        ") + 26;
    let first = first_cluster(&image, b"DIR        ");
    put(&mut image, at, first);
    let mut volume = open(&image).unwrap();
    assert_eq!(volume.list("/dir/sub/sub/sub/sub").unwrap().len(), 1);
    use_all(&image);
}

#[test]
fn garbage_after_the_last_entry_stays_unused() {
    let mut image = image();
    // "After the first unused entry all are unused", whatever is in them.
    let end = (ROOT..DATA).step_by(32).find(|&at| image[at] == 0).unwrap();
    let garbage: [u8; 32] = image[record_of(&image, FILE)..][..32].try_into().unwrap();
    for at in (end + 32..DATA).step_by(32) {
        image[at..at + 32].copy_from_slice(&garbage);
        image[at..at + 8].copy_from_slice(b"GARBAGE ");
    }
    let pages = Pages::from_image(&image);
    let mut volume = Volume::open(pages.clone(), SIZE).unwrap();
    volume.write("/new", b"new").unwrap();
    let names: Vec<_> = volume.list("/").unwrap().into_iter().map(|entry| entry.name).collect();
    assert_eq!(names, ["dir", "file", "many", "new"]);
    pages.store(&mut volume);
    let mut image = pages.image(SIZE);
    let elsewhere = fatfs::FileSystem::new(std::io::Cursor::new(&mut image[..]), fatfs::FsOptions::new()).unwrap();
    assert_eq!(elsewhere.root_dir().iter().count(), names.len());
}

/// Bytes that matter are few; most changes go there.
fn place() -> impl Strategy<Value = usize> {
    prop_oneof![
        2 => 0..64_usize,
        1 => 512..522_usize,
        4 => TABLE..TABLE + 300,
        4 => ROOT..ROOT + 128,
        4 => DATA..DATA + 64 * CLUSTER,
        1 => 0..SIZE as usize,
    ]
}

proptest! {
    #[test]
    fn flipped_bits(changes in prop::collection::vec((place(), any::<u8>()), 1..30)) {
        let mut image = image();
        for (at, change) in changes {
            image[at] ^= change;
        }
        use_all(&image);
    }

    #[test]
    fn a_table_of_chance(seed in any::<u64>(), clusters in 2..200_u16) {
        let mut image = image();
        for (cluster, bytes) in (2..200).zip(noise(seed, 400).chunks_exact(2)) {
            put(&mut image, entry_of(cluster), u16::from_le_bytes([bytes[0], bytes[1]]) % clusters);
        }
        use_all(&image);
    }

    #[test]
    fn directories_of_chance(seed in any::<u64>()) {
        let mut image = image();
        image[ROOT..DATA].copy_from_slice(&noise(seed, DATA - ROOT));
        use_all(&image);
    }

    #[test]
    fn nothing_but_chance(seed in any::<u64>(), boot in any::<bool>()) {
        let mut image = noise(seed, SIZE as usize);
        if boot {
            image[..512].copy_from_slice(&self::image()[..512]);
        }
        use_all(&image);
    }
}
