//! What a volume promises beyond holding files: what it touches, when it changes, how it dates.

mod common;

use std::time::{Duration, SystemTime};

use common::{Broken, Pages, check, noise};
use coprocessor_vfs::{
    Attributes, DEFAULT_VOLUME_SIZE, Entry, EntryKind, MIN_VOLUME_SIZE, PAGE_SIZE, PageSource, PathError, VfsError,
    Volume,
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
    let day = |seconds: u64| Some(moment(seconds / 86_400 * 86_400));
    let directory = Entry {
        name: "dir".to_owned(),
        kind: EntryKind::Directory,
        size: 0,
        created: Some(moment(1_000_000_001)),
        modified: Some(moment(1_000_000_000)),
        accessed: day(1_000_000_000),
        attributes: Attributes::default(),
    };
    let attributes = Attributes { archive: true, ..Attributes::default() };
    let modified = Some(moment(1_000_000_100));
    let file = Entry {
        name: "file.txt".to_owned(),
        kind: EntryKind::File,
        size: 3,
        modified,
        attributes,
        ..directory.clone()
    };
    let zebra = Entry { name: "zebra".to_owned(), size: 0, created: modified, ..file.clone() };
    assert_eq!(volume.list("/").unwrap(), [directory.clone(), zebra]);
    assert_eq!(volume.list("dir").unwrap(), std::slice::from_ref(&file));
    assert_eq!(volume.stat("/dir").unwrap(), directory);
    assert_eq!(volume.stat("/dir/file.txt").unwrap(), file);
    volume.set_now(Some(moment(1_000_100_000)));
    volume.write("/dir/file.txt", b"123").unwrap();
    assert_eq!(volume.stat("/dir/file.txt").unwrap().accessed, day(1_000_100_000));
    assert_eq!(volume.stat("/dir/file.txt").unwrap().created, file.created);
    let root = Entry { name: "/".to_owned(), created: None, modified: None, accessed: None, ..directory };
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

#[test]
fn directories_are_made_with_those_above_them() {
    let mut volume = Volume::format(Pages::default(), MIN_VOLUME_SIZE).unwrap();
    volume.make_directory("/a/b/c").unwrap();
    assert_eq!(volume.list("/a/b/c").unwrap(), []);
    assert_eq!(volume.stat("/A/B").unwrap().kind, EntryKind::Directory);
    volume.take_dirty();
    for there in ["/a/b/c", "/a", "/"] {
        volume.make_directory(there).unwrap();
        assert_eq!(volume.take_dirty(), [], "{there}");
    }
    volume.write("/a/file", b"x").unwrap();
    volume.take_dirty();
    for path in ["/a/file", "/a/file/d"] {
        let error = volume.make_directory(path).unwrap_err();
        assert!(matches!(&error, VfsError::NotADirectory { path } if path == "/a/file"), "{error}");
    }
    assert!(matches!(volume.remove("/a/b"), Err(VfsError::DirectoryNotEmpty { .. })));
    assert_eq!(volume.take_dirty(), []);
    volume.remove("/a/b/c").unwrap();
    volume.remove("/a/b").unwrap();
}

#[test]
fn a_move_keeps_what_is_moved() {
    let pages = Pages::default();
    let mut volume = Volume::format(pages.clone(), MIN_VOLUME_SIZE).unwrap();
    let content = noise(1, 3000);
    volume.set_now(Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000)));
    volume.write("/dir/sub/file", &content).unwrap();
    volume.write("/other", b"other").unwrap();
    let before = volume.stat("/dir/sub/file").unwrap();
    let free = volume.space().unwrap().free;
    volume.set_now(Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_100_000_000)));
    volume.rename("/dir/sub/file", "/dir/named.txt").unwrap();
    assert_eq!(volume.stat("/dir/named.txt").unwrap(), Entry { name: "named.txt".to_owned(), ..before });
    assert_eq!(volume.read("/dir/named.txt").unwrap(), content);
    assert!(matches!(volume.read("/dir/sub/file"), Err(VfsError::NotFound { .. })));

    // A directory with all that is in it, which knows where it is now.
    volume.write("/dir/sub/deep/x", b"x").unwrap();
    volume.rename("/DIR", "/new/place/moved").unwrap();
    assert_eq!(volume.read("/new/place/moved/sub/deep/x").unwrap(), b"x");
    volume.rename("/new/place/moved/sub", "/sub").unwrap();
    pages.store(&mut volume);
    check(&pages, MIN_VOLUME_SIZE);
    volume = Volume::open(pages.clone(), MIN_VOLUME_SIZE).unwrap();

    // A file takes another's place, which is free then.
    volume.rename("/new/place/moved/named.txt", "/other").unwrap();
    assert_eq!(volume.read("/other").unwrap(), content);
    volume.remove("/sub/deep/x").unwrap();
    volume.remove("/sub/deep").unwrap();
    volume.rename("/sub", "/new/place/sub").unwrap();
    pages.store(&mut volume);
    check(&pages, MIN_VOLUME_SIZE);
    for path in ["/new/place/sub", "/new/place/moved", "/new/place", "/new"] {
        volume.remove(path).unwrap();
    }
    assert_eq!(volume.space().unwrap().free, free + 2 * 512 + 512);
}

#[test]
fn a_move_that_is_refused_changes_nothing() {
    let mut volume = Volume::format(Pages::default(), MIN_VOLUME_SIZE).unwrap();
    volume.write("/dir/sub/file", b"x").unwrap();
    volume.write("/file", b"y").unwrap();
    volume.make_directory("/empty").unwrap();
    volume.take_dirty();
    let refused = |volume: &mut Volume<Pages>, from: &str, to: &str| {
        let error = volume.rename(from, to).unwrap_err();
        assert_eq!(volume.take_dirty(), [], "{from} to {to}");
        error
    };
    for to in ["/dir/x", "/dir/sub", "/dir/sub/dir/new"] {
        let error = refused(&mut volume, "/dir", to);
        assert!(matches!(&error, VfsError::MoveIntoItself { from, .. } if from == "/dir"), "{error}");
    }
    for (from, to) in
        [("/dir", "/empty"), ("/file", "/dir"), ("/dir/sub", "/file"), ("/dir/sub", "/dir"), ("/file", "/")]
    {
        let error = refused(&mut volume, from, to);
        assert!(matches!(&error, VfsError::InTheWay { path } if path == to), "{error}");
    }
    assert!(matches!(refused(&mut volume, "/", "/x"), VfsError::MoveRoot));
    assert!(matches!(refused(&mut volume, "/none", "/x"), VfsError::NotFound { .. }));
    assert!(matches!(refused(&mut volume, "/none", "/NONE"), VfsError::NotFound { .. }));
    assert!(matches!(refused(&mut volume, "/file", "/file/x"), VfsError::NotADirectory { .. }));
    assert!(matches!(refused(&mut volume, "/dir", "/file/x"), VfsError::NotADirectory { .. }));
    assert!(matches!(refused(&mut volume, "/dir", "/long.json"), VfsError::Path(PathError::LongExtension { .. })));
    // Not even the directories that the new path would have needed are left.
    assert!(matches!(refused(&mut volume, "/dir", "/made/for/file.json"), VfsError::Path(_)));
    assert!(matches!(refused(&mut volume, "/file", "/empty/made/file/../x"), VfsError::Path(_)));
    assert_eq!(volume.list("/").unwrap().len(), 3);
}

#[test]
fn what_is_moved_can_still_be_reached() {
    let mut volume = Volume::format(Pages::default(), MIN_VOLUME_SIZE).unwrap();
    volume.write("/dir/sub/file", b"x").unwrap();
    volume.take_dirty();
    let deep = |names: usize| "/d".repeat(names);
    let error = volume.rename("/dir", &deep(19)).unwrap_err();
    assert!(matches!(error, VfsError::Path(PathError::TooDeep { got: 21 })), "{error}");
    assert_eq!(volume.take_dirty(), []);
    volume.rename("/dir", &deep(18)).unwrap();
    assert_eq!(volume.read(&(deep(18) + "/sub/file")).unwrap(), b"x");
}

#[test]
fn names_that_differ_in_case_are_one() {
    let mut volume = Volume::format(Pages::default(), MIN_VOLUME_SIZE).unwrap();
    volume.write("/dir/file", b"x").unwrap();
    volume.take_dirty();
    volume.rename("/dir/file", "/DIR/File").unwrap();
    volume.rename("/dir", "/Dir").unwrap();
    assert_eq!(volume.take_dirty(), []);
    assert_eq!(volume.read("/dir/file").unwrap(), b"x");
}

#[test]
fn a_move_finds_a_place_in_a_full_directory() {
    let mut volume = Volume::format(Pages::default(), MIN_VOLUME_SIZE).unwrap();
    volume.make_directory("/dir").unwrap();
    for count in 1..512 {
        volume.write(&count.to_string(), &[]).unwrap();
    }
    volume.rename("/7", "/seven").unwrap();
    volume.write("/dir/x", b"x").unwrap();
    assert!(matches!(volume.rename("/dir/x", "/x"), Err(VfsError::RootDirectoryFull { .. })));
    volume.rename("/dir/x", "/8").unwrap();
    assert_eq!(volume.read("/8").unwrap(), b"x");
}

#[test]
fn pages_are_replaced_together_or_not_at_all() {
    let pages = Pages::default();
    let mut volume = Volume::format(pages.clone(), MIN_VOLUME_SIZE).unwrap();
    volume.write("/old", b"old").unwrap();
    let other = Pages::default();
    let mut elsewhere = Volume::format(other.clone(), MIN_VOLUME_SIZE).unwrap();
    elsewhere.write("/new", &noise(1, 100_000)).unwrap();
    other.store(&mut elsewhere);
    let all = || (0..volume_pages()).map(|page| (page, other.read_page(page).unwrap()));
    let broken = all().map(|(page, content)| (page, content.filter(|_| page > 0)));
    let before: Vec<_> = volume.dirty().map(|(page, content)| (page, content.map(<[u8]>::to_vec))).collect();
    assert!(matches!(volume.overwrite(broken), Err(VfsError::BootSector(_))));
    assert!(matches!(volume.overwrite([(3, Some(vec![1; 7]))]), Err(VfsError::PageLength { page: 3, got: 7 })));
    assert_eq!(volume.read("/old").unwrap(), b"old");
    assert!(volume.dirty().map(|(page, content)| (page, content.map(<[u8]>::to_vec))).eq(before));

    volume.overwrite(all()).unwrap();
    assert_eq!(volume.read("/new").unwrap(), noise(1, 100_000));
    assert_eq!(volume.list("/").unwrap().len(), 1);
    volume.write("/more", b"more").unwrap();
    pages.store(&mut volume);
    check(&pages, MIN_VOLUME_SIZE);
    assert_eq!(Volume::open(pages, MIN_VOLUME_SIZE).unwrap().read("/more").unwrap(), b"more");
}

const fn volume_pages() -> u32 {
    (MIN_VOLUME_SIZE / PAGE_SIZE as u64) as u32
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
