//! Histories of a volume of any size, against a map of paths to bytes.

use crate::{Input, Seed, Target, Writer, pages::Pages};
use coprocessor_vfs::{EntryKind, MIN_VOLUME_SIZE, PAGE_SIZE, VfsError, Volume, check};
use std::collections::{BTreeMap, BTreeSet};

pub(crate) const TARGET: Target =
    Target { name: "volume", about: "vfs: histories of files, against a map", run, seeds };

/// Few, so that histories meet themselves: files replaced, files where directories are.
const NAMES: [&str; 6] = ["a", "B.TXT", "c~1", "long8888.ext", "d", "e"];
/// Around the sizes of sectors, clusters and pages.
const LENGTHS: [usize; 12] = [0, 1, 511, 512, 513, 4095, 4096, 4097, 8192, 32_768, 70_000, 700_000];
/// Most operations.
const MOST: usize = 40;

/// What a volume should hold.
#[derive(Clone, Debug, Default)]
struct Model {
    files: BTreeMap<String, (u8, usize)>,
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

fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let size = size(&mut input);
    let pages = Pages::default();
    let mut volume = Volume::format(pages.clone(), size).expect("a size in pages within the bounds");
    let space = volume.space().expect("pages in memory");
    assert_eq!(space.total, space.free, "a new volume is empty");
    let mut model = Model::default();
    for _ in 0..input.below(MOST) {
        match input.below(10) {
            8 => {
                let path = path(&mut input);
                let done = volume.make_directory(&path).map_err(|error| refusal(&error));
                if done != Err(Refusal::NoSpace) {
                    assert_eq!(done, model.make_directory(&path.to_lowercase()), "make {path}");
                }
            }
            9 => {
                let (from, to) = (path(&mut input), path(&mut input));
                let done = volume.rename(&from, &to).map_err(|error| refusal(&error));
                if done != Err(Refusal::NoSpace) {
                    let expected = model.rename(&from.to_lowercase(), &to.to_lowercase());
                    assert_eq!(done, expected, "move {from} to {to}");
                }
            }
            0..=4 => {
                let (path, seed, length) = (path(&mut input), input.byte(), length(&mut input));
                let done = volume.write(&path, &content(seed, length)).map_err(|error| refusal(&error));
                if done != Err(Refusal::NoSpace) {
                    assert_eq!(done, model.write(&path.to_lowercase(), seed, length), "write {path}");
                }
            }
            5 | 6 => {
                let path = path(&mut input);
                let done = volume.remove(&path).map_err(|error| refusal(&error));
                assert_eq!(done, model.remove(&path.to_lowercase()), "remove {path}");
            }
            _ => {
                pages.store(&mut volume);
                volume = Volume::open(pages.clone(), size).expect("what was stored opens");
            }
        }
    }
    pages.store(&mut volume);
    let held = check(pages.clone(), size).unwrap_or_else(|error| panic!("its image is not whole: {error}"));
    assert_eq!((held.files, held.directories), (model.files.len() as u64, model.directories.len() as u64));
    compare(&mut Volume::open(pages, size).expect("what was stored opens"), &model);
    compare(&mut volume, &model);
    clear(&mut volume, &model);
    assert_eq!(volume.space().expect("pages in memory"), space, "an emptied volume is as it was");
}

fn size(input: &mut Input<'_>) -> u64 {
    // Where the size of a cluster or of the table changes, and around it.
    let pages = match input.below(4) {
        0 => MIN_VOLUME_SIZE / PAGE_SIZE as u64 + u64::from(input.byte()),
        1 => u64::from(input.short()).max(MIN_VOLUME_SIZE / PAGE_SIZE as u64),
        2 => (1_u64 << (10 + input.below(10))) - 2 + u64::from(input.byte() % 4),
        _ => 4096 + u64::from(input.byte()),
    };
    pages.min(1 << 19) * PAGE_SIZE as u64
}

fn path(input: &mut Input<'_>) -> String {
    (0..=input.below(3)).map(|_| format!("/{}", input.one(&NAMES))).collect()
}

fn length(input: &mut Input<'_>) -> usize {
    match input.below(8) {
        7 => usize::from(input.short()) * 32,
        _ => *input.one(&LENGTHS),
    }
}

/// Differs from byte to byte and from seed to seed.
fn content(seed: u8, length: usize) -> Vec<u8> {
    (0..length).map(|at| seed.wrapping_add((at ^ at >> 8) as u8)).collect()
}

fn refusal(error: &VfsError) -> Refusal {
    match error {
        VfsError::NotFound { .. } => Refusal::NotFound,
        VfsError::IsADirectory { .. } => Refusal::IsADirectory,
        VfsError::NotADirectory { .. } => Refusal::NotADirectory,
        VfsError::DirectoryNotEmpty { .. } => Refusal::DirectoryNotEmpty,
        VfsError::MoveIntoItself { .. } => Refusal::MoveIntoItself,
        VfsError::InTheWay { .. } => Refusal::InTheWay,
        VfsError::NoSpace { needed, free } => {
            assert!(needed > free, "{error}");
            Refusal::NoSpace
        }
        _ => panic!("{error}"),
    }
}

impl Model {
    fn write(&mut self, path: &str, seed: u8, length: usize) -> Result<(), Refusal> {
        if parents(path).any(|parent| self.files.contains_key(parent)) {
            return Err(Refusal::NotADirectory);
        }
        if self.directories.contains(path) {
            return Err(Refusal::IsADirectory);
        }
        self.directories.extend(parents(path).map(str::to_owned));
        self.files.insert(path.to_owned(), (seed, length));
        Ok(())
    }

    fn make_directory(&mut self, path: &str) -> Result<(), Refusal> {
        let above = parents(path).chain([path]);
        if above.clone().any(|above| self.files.contains_key(above)) {
            return Err(Refusal::NotADirectory);
        }
        self.directories.extend(above.map(str::to_owned));
        Ok(())
    }

    /// What is wrong is looked for in the order in which the volume does.
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
        if is_directory && to.strip_prefix(from).is_some_and(|rest| rest.starts_with('/')) {
            return Err(Refusal::MoveIntoItself);
        }
        if parents(to).any(|parent| self.files.contains_key(parent)) {
            return Err(Refusal::NotADirectory);
        }
        if self.directories.contains(to) || is_directory && self.files.contains_key(to) {
            return Err(Refusal::InTheWay);
        }
        self.directories.extend(parents(to).map(str::to_owned));
        self.files.remove(to);
        let moved = |path: &String| {
            path.strip_prefix(from)
                .filter(|rest| rest.is_empty() || rest.starts_with('/'))
                .map(|rest| format!("{to}{rest}"))
        };
        self.files = std::mem::take(&mut self.files)
            .into_iter()
            .map(|(path, file)| (moved(&path).unwrap_or(path), file))
            .collect();
        self.directories =
            std::mem::take(&mut self.directories).into_iter().map(|path| moved(&path).unwrap_or(path)).collect();
        Ok(())
    }

    fn remove(&mut self, path: &str) -> Result<(), Refusal> {
        if parents(path).any(|parent| self.files.contains_key(parent)) {
            return Err(Refusal::NotADirectory);
        }
        if !self.names_in(path).is_empty() {
            return Err(Refusal::DirectoryNotEmpty);
        }
        match self.files.remove(path).is_some() || self.directories.remove(path) {
            true => Ok(()),
            false => Err(Refusal::NotFound),
        }
    }

    fn names_in(&self, directory: &str) -> BTreeSet<String> {
        let paths = self.files.keys().chain(&self.directories);
        let inside = paths.filter_map(|path| path.strip_prefix(directory)?.strip_prefix('/'));
        inside.filter(|rest| !rest.contains('/')).map(str::to_owned).collect()
    }
}

/// All directories above a path but the root.
fn parents(path: &str) -> impl Iterator<Item = &str> + Clone {
    path.match_indices('/').skip(1).map(|(at, _)| &path[..at])
}

fn compare(volume: &mut Volume<Pages>, model: &Model) {
    for (path, (seed, length)) in &model.files {
        assert!(volume.read(path).expect("a file that is there") == content(*seed, *length), "{path}");
        assert_eq!(volume.stat(path).expect("a file that is there").size, *length as u64, "{path}");
    }
    for directory in model.directories.iter().map(String::as_str).chain([""]) {
        let listed = volume.list(directory).expect("a directory that is there");
        for entry in &listed {
            let path = format!("{directory}/{}", entry.name);
            assert_eq!(entry.kind == EntryKind::Directory, model.directories.contains(&path), "{path}");
        }
        let names: BTreeSet<_> = listed.into_iter().map(|entry| entry.name).collect();
        assert_eq!(names, model.names_in(directory), "{directory}");
    }
}

/// Removes everything, what is deepest first.
fn clear(volume: &mut Volume<Pages>, model: &Model) {
    let mut paths: Vec<&String> = model.files.keys().chain(&model.directories).collect();
    paths.sort_by_key(|path| std::cmp::Reverse(path.matches('/').count()));
    for path in paths {
        volume.remove(path).unwrap_or_else(|error| panic!("{path}: {error}"));
    }
}

fn seeds() -> Vec<Seed> {
    // The operations' codes are those of `run`, the paths and lengths places in the lists above.
    let small = |operations: u8| Writer::new().byte(0).byte(0).byte(operations);
    let write = |writer: Writer, names: &[u8], seed, length| {
        writer.byte(0).byte(names.len() as u8 - 1).bytes(names).byte(seed).byte(0).byte(length)
    };
    let remove = |writer: Writer, names: &[u8]| writer.byte(5).byte(names.len() as u8 - 1).bytes(names);
    let replaced = write(write(small(4), &[0, 1], 1, 10), &[0, 1], 2, 2).byte(7);
    let move_to = |writer: Writer, from: &[u8], to: &[u8]| {
        let writer = writer.byte(9).byte(from.len() as u8 - 1).bytes(from);
        writer.byte(to.len() as u8 - 1).bytes(to)
    };
    let moved = move_to(write(small(3), &[0, 1], 1, 10), &[0], &[4, 5]).byte(7);
    vec![
        moved.seed("a-directory-moved"),
        move_to(write(small(2), &[0, 1], 1, 10), &[0], &[0, 2]).seed("a-directory-moved-into-itself"),
        move_to(write(write(small(3), &[0], 1, 10), &[1], 2, 3), &[0], &[1]).seed("a-file-over-a-file"),
        write(small(2).byte(8).byte(1).bytes(&[0, 1]), &[0], 1, 1).seed("a-directory-made"),
        remove(replaced, &[0, 1]).seed("replaced-and-removed"),
        write(write(small(3), &[0], 1, 1), &[0, 1], 2, 2).byte(7).seed("a-file-where-a-directory-is-asked-for"),
        write(write(write(small(3), &[0], 1, 11), &[1], 2, 11), &[2], 3, 11).seed("full"),
        write(Writer::new().byte(2).byte(9).byte(2).byte(1), &[3], 1, 11).seed("the-largest"),
        write(Writer::new().byte(3).byte(0).byte(1), &[3, 3, 3], 1, 9).seed("clusters-of-a-page"),
    ]
}
