//! Random histories of operations, against a plain map of paths to bytes, with another FAT implementation taking part.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Cursor, Read, Write};

use common::{Pages, check, noise};
use coprocessor_vfs::{EntryKind, MIN_VOLUME_SIZE, VfsError, Volume};
use proptest::prelude::*;

/// With clusters smaller than a page, and of a page.
const SIZES: [u64; 2] = [MIN_VOLUME_SIZE, 17 << 20];

#[derive(Clone, Debug)]
enum Operation {
    Write {
        path: String,
        seed: u64,
        length: usize,
    },
    Remove {
        path: String,
    },
    MakeDirectory {
        path: String,
    },
    Rename {
        from: String,
        to: String,
    },
    /// Stores the changes, and goes on with a volume that has nothing in memory.
    Reopen,
    /// Drops the changes since they were stored last.
    Abandon,
    /// A write by the other implementation, into a directory that is there: those it makes itself are not clean (it
    /// gives `.` a long name), which `fsck.fat` would say.
    WriteElsewhere {
        path: String,
        seed: u64,
        length: usize,
    },
}

fn path() -> impl Strategy<Value = String> {
    // Few names, so that histories meet themselves: files replaced, files where directories are, and so on.
    let name = prop::sample::select(vec!["a", "b.txt", "c~1", "long8888.ext"]);
    prop::collection::vec(name, 1..=3).prop_map(|names| format!("/{}", names.join("/")))
}

fn length() -> impl Strategy<Value = usize> {
    prop_oneof![
        3 => prop::sample::select(vec![0, 1, 511, 512, 513, 4095, 4096, 4097, 8192, 70_000]),
        2 => 0..20_000_usize,
        1 => 300_000..1_500_000_usize,
    ]
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        8 => (path(), any::<u64>(), length()).prop_map(|(path, seed, length)| Operation::Write { path, seed, length }),
        4 => path().prop_map(|path| Operation::Remove { path }),
        2 => path().prop_map(|path| Operation::MakeDirectory { path }),
        4 => (path(), path()).prop_map(|(from, to)| Operation::Rename { from, to }),
        2 => Just(Operation::Reopen),
        1 => Just(Operation::Abandon),
        1 => (path(), any::<u64>(), length())
            .prop_map(|(path, seed, length)| Operation::WriteElsewhere { path, seed, length }),
    ]
}

/// What a volume should hold.
#[derive(Clone, Debug, Default)]
struct Model {
    files: BTreeMap<String, Vec<u8>>,
    directories: BTreeSet<String>,
}

/// The kind of a refusal.
#[derive(Debug, PartialEq, Eq)]
enum Refusal {
    NotFound,
    IsADirectory,
    NotADirectory,
    DirectoryNotEmpty,
    MoveIntoItself,
    InTheWay,
    NoSpace,
}

impl Refusal {
    fn of(error: &VfsError) -> Self {
        match error {
            VfsError::NotFound { .. } => Self::NotFound,
            VfsError::IsADirectory { .. } => Self::IsADirectory,
            VfsError::NotADirectory { .. } => Self::NotADirectory,
            VfsError::DirectoryNotEmpty { .. } => Self::DirectoryNotEmpty,
            VfsError::MoveIntoItself { .. } => Self::MoveIntoItself,
            VfsError::InTheWay { .. } => Self::InTheWay,
            VfsError::NoSpace { needed, free } => {
                assert!(needed > free, "{error}");
                Self::NoSpace
            }
            _ => panic!("{error}"),
        }
    }
}

impl Model {
    fn write(&mut self, path: &str, content: Vec<u8>) -> Result<(), Refusal> {
        if parents(path).any(|parent| self.files.contains_key(parent)) {
            return Err(Refusal::NotADirectory);
        }
        if self.directories.contains(path) {
            return Err(Refusal::IsADirectory);
        }
        self.directories.extend(parents(path).map(str::to_owned));
        self.files.insert(path.to_owned(), content);
        Ok(())
    }

    fn remove(&mut self, path: &str) -> Result<(), Refusal> {
        if parents(path).any(|parent| self.files.contains_key(parent)) {
            return Err(Refusal::NotADirectory);
        }
        if !self.children(path).is_empty() {
            return Err(Refusal::DirectoryNotEmpty);
        }
        let removed = self.files.remove(path).is_some() || self.directories.remove(path);
        if removed { Ok(()) } else { Err(Refusal::NotFound) }
    }

    fn make_directory(&mut self, path: &str) -> Result<(), Refusal> {
        if parents(path).chain([path]).any(|above| self.files.contains_key(above)) {
            return Err(Refusal::NotADirectory);
        }
        self.directories.extend(parents(path).chain([path]).map(str::to_owned));
        Ok(())
    }

    fn rename(&mut self, from: &str, to: &str) -> Result<(), Refusal> {
        if parents(from).any(|parent| self.files.contains_key(parent)) {
            return Err(Refusal::NotADirectory);
        }
        let is_directory = self.directories.contains(from);
        if !is_directory && !self.files.contains_key(from) {
            return Err(Refusal::NotFound);
        }
        if from == to {
            return Ok(());
        }
        if is_directory && to.starts_with(&format!("{from}/")) {
            return Err(Refusal::MoveIntoItself);
        }
        if parents(to).any(|parent| self.files.contains_key(parent)) {
            return Err(Refusal::NotADirectory);
        }
        if self.directories.contains(to) || is_directory && self.files.contains_key(to) {
            return Err(Refusal::InTheWay);
        }
        self.directories.extend(parents(to).map(str::to_owned));
        let moved = |path: &str| match path.strip_prefix(from) {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => format!("{to}{rest}"),
            _ => path.to_owned(),
        };
        // A file that is replaced goes first.
        self.files.remove(to);
        self.files = std::mem::take(&mut self.files).into_iter().map(|(path, file)| (moved(&path), file)).collect();
        self.directories = self.directories.iter().map(|path| moved(path)).collect();
        Ok(())
    }

    /// Names in a directory, sorted.
    fn children(&self, directory: &str) -> BTreeSet<String> {
        let paths = self.files.keys().chain(&self.directories);
        let inside = paths.filter_map(|path| path.strip_prefix(directory)?.strip_prefix('/'));
        inside.filter(|rest| !rest.contains('/')).map(str::to_owned).collect()
    }
}

/// All directories above a path, but for the root.
fn parents(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').skip(1).map(|(at, _)| &path[..at])
}

fn compare(volume: &mut Volume<Pages>, model: &Model) {
    for (path, content) in &model.files {
        assert_eq!(volume.read(path).unwrap(), *content, "{path}");
        assert_eq!(volume.stat(path).unwrap().size, content.len() as u64, "{path}");
    }
    for directory in model.directories.iter().map(String::as_str).chain([""]) {
        let listed = volume.list(directory).unwrap();
        assert!(listed.is_sorted_by_key(|entry| entry.name.clone()));
        for entry in &listed {
            let is_directory = model.directories.contains(&format!("{directory}/{}", entry.name));
            assert_eq!(entry.kind == EntryKind::Directory, is_directory, "{directory}/{}", entry.name);
        }
        let names: BTreeSet<_> = listed.into_iter().map(|entry| entry.name).collect();
        assert_eq!(names, model.children(directory), "{directory}");
    }
}

/// What `fatfs` finds in an image is what the model has.
fn compare_elsewhere(image: &mut [u8], model: &Model) {
    let filesystem = fatfs::FileSystem::new(Cursor::new(image), fatfs::FsOptions::new()).unwrap();
    assert_eq!(filesystem.fat_type(), fatfs::FatType::Fat16);
    let root = filesystem.root_dir();
    for (path, content) in &model.files {
        let mut read = Vec::new();
        root.open_file(path).unwrap().read_to_end(&mut read).unwrap();
        assert_eq!(read, *content, "{path}");
    }
    for directory in &model.directories {
        let names = root.open_dir(directory).unwrap().iter().map(|entry| entry.unwrap().file_name().to_lowercase());
        let names: BTreeSet<_> = names.filter(|name| !name.starts_with('.')).collect();
        assert_eq!(names, model.children(directory), "{directory}");
    }
}

/// `fatfs` writes a file; if it can't, as it runs out of space, nothing changes.
fn write_elsewhere(pages: &Pages, size: u64, path: &str, content: &[u8]) -> bool {
    let mut image = pages.image(size);
    let written = {
        let filesystem = fatfs::FileSystem::new(Cursor::new(&mut image[..]), fatfs::FsOptions::new()).unwrap();
        let root = filesystem.root_dir();
        let written = root.create_file(path).and_then(|mut file| {
            file.truncate()?;
            file.write_all(content)
        });
        drop(root);
        written.is_ok() && filesystem.unmount().is_ok()
    };
    if written {
        pages.replace(&image);
    }
    written
}

fn run(size: u64, history: Vec<Operation>) {
    let pages = Pages::default();
    let mut volume = Volume::format(pages.clone(), size).unwrap();
    pages.store(&mut volume);
    let mut model = Model::default();
    let mut stored = model.clone();
    for operation in history {
        match operation {
            Operation::Write { path, seed, length } => {
                let content = noise(seed, length);
                let done = volume.write(&path.to_uppercase(), &content).map_err(|error| Refusal::of(&error));
                if done != Err(Refusal::NoSpace) {
                    assert_eq!(done, model.write(&path, content), "write {path}");
                }
            }
            Operation::Remove { path } => {
                let done = volume.remove(&path).map_err(|error| Refusal::of(&error));
                assert_eq!(done, model.remove(&path), "remove {path}");
            }
            Operation::MakeDirectory { path } => {
                let done = volume.make_directory(&path).map_err(|error| Refusal::of(&error));
                if done != Err(Refusal::NoSpace) {
                    assert_eq!(done, model.make_directory(&path), "make {path}");
                }
            }
            Operation::Rename { from, to } => {
                let done = volume.rename(&from, &to.to_uppercase()).map_err(|error| Refusal::of(&error));
                if done != Err(Refusal::NoSpace) {
                    assert_eq!(done, model.rename(&from, &to), "move {from} to {to}");
                }
            }
            Operation::Reopen => {
                pages.store(&mut volume);
                stored = model.clone();
                volume = Volume::open(pages.clone(), size).unwrap();
            }
            Operation::Abandon => {
                model = stored.clone();
                volume = Volume::open(pages.clone(), size).unwrap();
            }
            Operation::WriteElsewhere { path, seed, length } => {
                pages.store(&mut volume);
                let content = noise(seed, length);
                let mut next = model.clone();
                let possible = parents(&path).all(|parent| model.directories.contains(parent));
                if possible
                    && next.write(&path, content.clone()).is_ok()
                    && write_elsewhere(&pages, size, &path, &content)
                {
                    model = next;
                }
                stored = model.clone();
                volume = Volume::open(pages.clone(), size).unwrap();
            }
        }
        compare(&mut volume, &model);
    }
    pages.store(&mut volume);
    compare(&mut Volume::open(pages.clone(), size).unwrap(), &model);
    compare_elsewhere(&mut pages.image(size), &model);
    let checked = coprocessor_vfs::check(&pages, size).unwrap();
    assert_eq!(checked.files as usize, model.files.len());
    assert_eq!(checked.directories as usize, model.directories.len());
    assert_eq!(checked.space, Volume::open(pages.clone(), size).unwrap().space().unwrap());
    check(&pages, size);
}

proptest! {
    #[test]
    fn a_volume_is_a_map_of_paths_to_bytes(
        size in prop::sample::select(SIZES.to_vec()),
        history in prop::collection::vec(operation(), 1..40),
    ) {
        run(size, history);
    }
}

#[test]
fn directories_grow_and_shrink() {
    let size = 17 << 20;
    let pages = Pages::default();
    let mut volume = Volume::format(pages.clone(), size).unwrap();
    // 128 entries of 32 bytes are a cluster of a page; two of them are `.` and `..`.
    for count in 0..1000 {
        volume.write(&format!("/dir/{count}"), b"x").unwrap();
    }
    assert_eq!(volume.list("/dir").unwrap().len(), 1000);
    pages.store(&mut volume);
    check(&pages, size);
    for count in 0..1000 {
        volume.remove(&format!("/dir/{count}")).unwrap();
    }
    volume.remove("/dir").unwrap();
    let space = volume.space().unwrap();
    assert_eq!(space.free, space.total);
    pages.store(&mut volume);
    check(&pages, size);
}

#[test]
fn the_root_directory_has_512_entries() {
    let mut volume = Volume::format(Pages::default(), MIN_VOLUME_SIZE).unwrap();
    for count in 0..512 {
        volume.write(&count.to_string(), &[]).unwrap();
    }
    let space = volume.space().unwrap();
    for path in ["/more", "/more/file"] {
        assert!(matches!(volume.write(path, b"x"), Err(VfsError::RootDirectoryFull { entries: 512 })));
        assert!(matches!(volume.stat(path), Err(VfsError::NotFound { .. })));
    }
    assert_eq!(volume.space().unwrap(), space);
    volume.remove("/99").unwrap();
    volume.write("/more", b"x").unwrap();
}

#[test]
fn a_directory_has_at_most_65536_entries() {
    let mut volume = Volume::format(Pages::default(), 64 << 20).unwrap();
    volume.write("/dir/file", &[]).unwrap();
    let pages = Pages::default();
    pages.store(&mut volume);
    // Written by hand, as so many writes would take long: a chain of 512 clusters, and all entries in use.
    let mut image = pages.image(64 << 20);
    let at = image.windows(11).position(|bytes| bytes == b"FILE       ").unwrap();
    let entry = image[at..at + 32].to_vec();
    let cluster = at - 64;
    let first = 2_u16;
    let table = 4096;
    for index in 0..512_u16 {
        let next: u16 = if index == 511 { 0xffff } else { first + index + 1 };
        for copy in [0, 32 << 10] {
            let place = table + copy + usize::from(first + index) * 2;
            image[place..place + 2].copy_from_slice(&next.to_le_bytes());
        }
    }
    for index in 3..65_536 {
        let mut entry = entry.clone();
        entry[..8].copy_from_slice(format!("{index:<8}").as_bytes());
        image[cluster + index * 32..][..32].copy_from_slice(&entry);
    }
    let mut volume = Volume::open(Pages::from_image(&image), 64 << 20).unwrap();
    assert_eq!(volume.list("/dir").unwrap().len(), 65_534);
    assert!(matches!(volume.write("/dir/more", b"x"), Err(VfsError::DirectoryFull { entries: 65_536 })));
    volume.remove("/dir/40000").unwrap();
    volume.write("/dir/more", b"x").unwrap();
    assert_eq!(volume.read("/dir/more").unwrap(), b"x");
}
