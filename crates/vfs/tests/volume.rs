//! What a volume promises beyond holding files: what it touches, when it changes, how it dates.

mod common;

use std::time::{Duration, SystemTime};

use common::{Pages, noise};
use coprocessor_vfs::{
    DEFAULT_VOLUME_SIZE, Entry, EntryKind, MIN_VOLUME_SIZE, PAGE_SIZE, PageSource, PageSourceError, PathError,
    VfsError, Volume,
};

const fn is_send<T: Send + 'static>() {}
const _: () = is_send::<Volume<Pages>>();

#[test]
fn formatting_gives_the_same_bytes_and_hides_old_ones() {
    let mut one = Volume::format(Pages::default(), MIN_VOLUME_SIZE).unwrap();
    let old = Pages::from_image(&noise(1, MIN_VOLUME_SIZE as usize));
    let mut other = Volume::format(old, MIN_VOLUME_SIZE).unwrap();
    assert_eq!(other.list("/").unwrap(), []);
    assert_eq!(one.take_dirty(), other.take_dirty());
}

#[test]
fn an_operation_touches_what_it_needs_however_full_the_volume_is() {
    let pages = Pages::default();
    let mut volume = Volume::format(pages.clone(), DEFAULT_VOLUME_SIZE).unwrap();
    let mut used = 0;
    for target in [0, 1, 30, 60] {
        for index in used..target {
            volume.write(&format!("/fill/{index}"), &noise(index, 1 << 20)).unwrap();
        }
        used = target;
        pages.store(&mut volume);
        let path = format!("/dir/new{target}");
        let content = noise(target, 4096);
        for attempt in ["create", "replace"] {
            volume = Volume::open(pages.clone(), DEFAULT_VOLUME_SIZE).unwrap();
            pages.take_reads();
            volume.write(&path, &content).unwrap();
            // The root directory, the directory, one page of each copy of the table.
            assert!(pages.take_reads() <= 4, "{attempt} with {target} MiB used");
            let written = pages.store(&mut volume);
            // The same, the content, and now and then the note of where to look for free clusters.
            assert!(written.len() <= 6, "{attempt} with {target} MiB used: {written:?}");
        }
        volume = Volume::open(pages.clone(), DEFAULT_VOLUME_SIZE).unwrap();
        pages.take_reads();
        assert_eq!(volume.read(&path).unwrap(), content);
        assert_eq!(pages.take_reads(), 4, "two directories, the table, the content, with {target} MiB used");
    }
}

#[test]
fn reading_a_file_of_small_clusters_reads_each_page_once() {
    let pages = Pages::default();
    let mut volume = Volume::format(pages.clone(), MIN_VOLUME_SIZE).unwrap();
    volume.write("/file", &noise(1, 64 << 10)).unwrap();
    pages.store(&mut volume);
    let mut volume = Volume::open(pages.clone(), MIN_VOLUME_SIZE).unwrap();
    pages.take_reads();
    volume.read("/file").unwrap();
    assert_eq!(pages.take_reads(), 1 + 1 + (64 << 10) / PAGE_SIZE, "the root directory, the table, the content");
}

#[test]
fn a_removed_file_leaves_no_pages() {
    let pages = Pages::default();
    let mut volume = Volume::format(pages.clone(), DEFAULT_VOLUME_SIZE).unwrap();
    volume.write("/small", b"stays").unwrap();
    pages.store(&mut volume);
    let before = pages.kept();
    volume.write("/large", &noise(1, 5 << 20)).unwrap();
    pages.store(&mut volume);
    assert_eq!(pages.kept(), before + (5 << 20) / PAGE_SIZE + 2 - 2);
    volume.write("/large", &noise(1, 10)).unwrap();
    pages.store(&mut volume);
    assert_eq!(pages.kept(), before + 1);
    volume.remove("/large").unwrap();
    pages.store(&mut volume);
    assert_eq!(pages.kept(), before);
}

#[test]
fn a_refused_write_changes_nothing() {
    let pages = Pages::default();
    let mut volume = Volume::format(pages.clone(), MIN_VOLUME_SIZE).unwrap();
    let old = noise(1, 1_000_000);
    volume.write("/dir/file", &old).unwrap();
    pages.store(&mut volume);
    let too_much = noise(2, 3_000_000);
    for path in ["/dir/file", "/dir/other", "/new/sub/file"] {
        assert!(matches!(volume.write(path, &too_much), Err(VfsError::NoSpace { .. })));
        assert_eq!(volume.take_dirty(), [], "{path}");
    }
    assert_eq!(volume.read("/dir/file").unwrap(), old);
    assert_eq!(volume.list("/").unwrap().len(), 1);
    assert!(matches!(
        volume.write("/dir/name.json", b"x"),
        Err(VfsError::Path(PathError::LongExtension { got: 4, .. }))
    ));
    assert_eq!(volume.take_dirty(), []);
}

#[test]
fn changes_stay_visible_after_they_were_taken() {
    let mut volume = Volume::format(Pages::default(), MIN_VOLUME_SIZE).unwrap();
    volume.write("/file", b"content").unwrap();
    assert!(!volume.take_dirty().is_empty());
    assert_eq!(volume.read("/file").unwrap(), b"content");
    assert_eq!(volume.take_dirty(), []);
}

#[test]
fn a_file_written_again_as_it_was_changes_only_its_date() {
    let pages = Pages::default();
    let mut volume = Volume::format(pages.clone(), DEFAULT_VOLUME_SIZE).unwrap();
    volume.set_now(Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000)));
    volume.write("/file", b"content").unwrap();
    pages.store(&mut volume);
    volume.write("/file", b"content").unwrap();
    assert_eq!(pages.store(&mut volume), []);
    volume.set_now(Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_002)));
    volume.write("/file", b"content").unwrap();
    assert_eq!(pages.store(&mut volume).len(), 1);
}

#[test]
fn entries_say_what_they_are() {
    let mut volume = Volume::format(Pages::default(), MIN_VOLUME_SIZE).unwrap();
    let moment = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    volume.set_now(Some(moment(1_000_000_001)));
    volume.write("Dir/FILE.TXT", b"12345").unwrap();
    volume.set_now(Some(moment(1_000_000_100)));
    volume.write("/zebra", b"").unwrap();
    volume.write("/DIR/file.txt", b"123").unwrap();
    let entry =
        |name: &str, kind, size, seconds| Entry { name: name.to_owned(), kind, size, modified: Some(moment(seconds)) };
    let directory = entry("dir", EntryKind::Directory, 0, 1_000_000_000);
    let file = entry("file.txt", EntryKind::File, 3, 1_000_000_100);
    assert_eq!(volume.list("/").unwrap(), [directory.clone(), entry("zebra", EntryKind::File, 0, 1_000_000_100)]);
    assert_eq!(volume.list("dir").unwrap(), std::slice::from_ref(&file));
    assert_eq!(volume.stat("/dir").unwrap(), directory);
    assert_eq!(volume.stat("/dir/file.txt").unwrap(), file);
    let root = Entry { name: "/".to_owned(), kind: EntryKind::Directory, size: 0, modified: None };
    assert_eq!(volume.stat("/").unwrap(), root);
    volume.set_now(None);
    volume.write("/now", b"").unwrap();
    let age = SystemTime::now().duration_since(volume.stat("/now").unwrap().modified.unwrap()).unwrap();
    assert!(age < Duration::from_secs(60), "{age:?}");
}

#[test]
fn says_which_part_of_a_path_is_wrong() {
    let mut volume = Volume::format(Pages::default(), MIN_VOLUME_SIZE).unwrap();
    volume.write("/dir/file", b"x").unwrap();
    let text = |error: VfsError| error.to_string();
    assert_eq!(text(volume.read("/dir/none").unwrap_err()), "/dir/none: no such file or directory");
    assert_eq!(text(volume.read("/none/file").unwrap_err()), "/none/file: no such file or directory");
    assert_eq!(text(volume.read("DIR").unwrap_err()), "/dir is a directory, and a file is needed");
    assert_eq!(text(volume.read("/").unwrap_err()), "/ is a directory, and a file is needed");
    assert_eq!(text(volume.write("/dir", b"").unwrap_err()), "/dir is a directory, and a file is needed");
    assert_eq!(text(volume.write("/", b"").unwrap_err()), "/ is a directory, and a file is needed");
    for result in [
        volume.read("/dir/file/deep/er").map(|_| ()),
        volume.write("/dir/file/deep", b""),
        volume.remove("/dir/file/deep"),
        volume.list("/dir/file").map(|_| ()),
        volume.stat("/dir/file/deep").map(|_| ()),
    ] {
        assert_eq!(text(result.unwrap_err()), "/dir/file is a file, and a directory is needed");
    }
    assert!(matches!(volume.remove("/dir"), Err(VfsError::DirectoryNotEmpty { path }) if path == "/dir"));
    assert!(matches!(volume.remove("/"), Err(VfsError::RemoveRoot)));
}

/// Fails on all pages but the first.
struct Broken(Pages);

impl PageSource for Broken {
    fn read_page(&self, index: u32) -> Result<Option<Vec<u8>>, PageSourceError> {
        if index > 0 { Err(PageSourceError::new("the disk is gone")) } else { self.0.read_page(index) }
    }
}

#[test]
fn a_failing_source_fails_the_operation() {
    let pages = Pages::default();
    pages.store(&mut Volume::format(pages.clone(), MIN_VOLUME_SIZE).unwrap());
    let mut volume = Volume::open(Broken(pages), MIN_VOLUME_SIZE).unwrap();
    for result in [volume.write("/file", b"x"), volume.remove("/file"), volume.space().map(|_| ())] {
        let error = result.unwrap_err();
        assert!(matches!(error, VfsError::Source { .. }), "{error}");
        assert_eq!(std::error::Error::source(&error).unwrap().to_string(), "the disk is gone");
    }
    assert_eq!(volume.take_dirty(), []);
}
