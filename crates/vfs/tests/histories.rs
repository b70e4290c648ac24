//! Random histories of operations on one image in a file, some done here and some by mtools, against a plain map of paths to
//! bytes.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use common::{noise, run, tool};
use coprocessor_vfs::{
    DEFAULT_VOLUME_SIZE, EntryKind, MIN_VOLUME_SIZE, PAGE_SIZE, PageSource, PageSourceError, VfsError, Volume, check,
};
use proptest::prelude::*;

const MIB: u64 = 1 << 20;

/// Where something about a volume changes: the smallest, more and larger clusters, one more page of the table, the sector
/// count in 16 bits and in 32.
fn sizes() -> Vec<u64> {
    let near = |size: u64| [size - 4096, size, size + 4096];
    [MIN_VOLUME_SIZE, MIN_VOLUME_SIZE + 4096, DEFAULT_VOLUME_SIZE]
        .into_iter()
        .chain([4, 8, 16, 24, 32, 256].into_iter().flat_map(|size| near(size * MIB)))
        .collect()
}

/// Who does it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Here,
    Mtools,
}

#[derive(Clone, Debug)]
enum Deed {
    Write { path: String, seed: u64, length: usize },
    Remove { path: String },
    MakeDirectory { path: String },
    Rename { from: String, to: String },
}

fn path() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec!["A", "B.TXT", "C~1", "LONG8888.EXT"]);
    prop::collection::vec(name, 1..=3).prop_map(|names| format!("/{}", names.join("/")))
}

fn length() -> impl Strategy<Value = usize> {
    let near = |size: usize| vec![size - 1, size, size + 1];
    let edges: Vec<usize> = [512, 1024, 4096, 8192, 65_536].into_iter().flat_map(near).chain([0, 1]).collect();
    prop_oneof![4 => prop::sample::select(edges), 1 => 100_000..600_000_usize]
}

fn deed() -> impl Strategy<Value = (Who, Deed)> {
    let deed = prop_oneof![
        6 => (path(), any::<u64>(), length()).prop_map(|(path, seed, length)| Deed::Write { path, seed, length }),
        2 => path().prop_map(|path| Deed::Remove { path }),
        3 => path().prop_map(|path| Deed::MakeDirectory { path }),
        3 => (path(), path()).prop_map(|(from, to)| Deed::Rename { from, to }),
    ];
    (prop::sample::select(vec![Who::Here, Who::Mtools]), deed)
}

/// What the image should hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Tree {
    files: BTreeMap<String, Vec<u8>>,
    directories: BTreeSet<String>,
}

impl Tree {
    fn is_free(&self, path: &str) -> bool {
        !self.files.contains_key(path) && !self.directories.contains(path)
    }

    /// Whether the directory that a path is in is there.
    fn has_parent(&self, path: &str) -> bool {
        match path.rsplit_once('/') {
            Some(("", _)) => true,
            Some((parent, _)) => self.directories.contains(parent),
            None => false,
        }
    }

    fn is_empty(&self, directory: &str) -> bool {
        let inside = format!("{directory}/");
        !self.files.keys().chain(&self.directories).any(|path| path.starts_with(&inside))
    }

    /// Whether both here and elsewhere it is done, with this outcome; then it is noted. What either makes of the rest is for
    /// tests of their own.
    fn note(&mut self, deed: &Deed) -> bool {
        match deed {
            Deed::Write { path, seed, length } => {
                let possible = self.has_parent(path) && !self.directories.contains(path);
                if possible {
                    self.files.insert(path.clone(), noise(*seed, *length));
                }
                possible
            }
            Deed::Remove { path } => {
                self.files.remove(path).is_some() || self.is_empty(path) && self.directories.remove(path)
            }
            Deed::MakeDirectory { path } => {
                self.has_parent(path) && self.is_free(path) && self.directories.insert(path.clone())
            }
            Deed::Rename { from, to } => {
                let inside = format!("{from}/");
                let possible =
                    !self.is_free(from) && self.is_free(to) && self.has_parent(to) && !to.starts_with(&inside);
                if possible {
                    let moved = |path: &String| match path.strip_prefix(from.as_str()) {
                        Some(rest) if rest.is_empty() || rest.starts_with('/') => format!("{to}{rest}"),
                        _ => path.clone(),
                    };
                    self.files = self.files.iter().map(|(path, file)| (moved(path), file.clone())).collect();
                    self.directories = self.directories.iter().map(moved).collect();
                }
                possible
            }
        }
    }
}

/// The pages of an image in a file.
struct Pages(File);

impl PageSource for Pages {
    fn read_page(&self, index: u32) -> Result<Option<Vec<u8>>, PageSourceError> {
        let mut page = vec![0; PAGE_SIZE];
        self.0.read_exact_at(&mut page, u64::from(index) * PAGE_SIZE as u64).map_err(PageSourceError::new)?;
        Ok(page.iter().any(|&byte| byte != 0).then_some(page))
    }
}

/// An image in a file, with holes where nothing but zeros was ever written.
struct Image {
    directory: tempfile::TempDir,
    size: u64,
    mtools: Mtools,
}

struct Mtools {
    mcopy: PathBuf,
    mdel: PathBuf,
    mrd: PathBuf,
    mmd: PathBuf,
    mmove: PathBuf,
    mdir: PathBuf,
}

impl Mtools {
    fn find() -> Option<Self> {
        Some(Self {
            mcopy: tool("mcopy")?,
            mdel: tool("mdel")?,
            mrd: tool("mrd")?,
            mmd: tool("mmd")?,
            mmove: tool("mmove")?,
            mdir: tool("mdir")?,
        })
    }
}

impl Image {
    fn new(size: u64) -> Option<Self> {
        let image = Self { directory: tempfile::tempdir().unwrap(), size, mtools: Mtools::find()? };
        File::create(image.path()).unwrap().set_len(size).unwrap();
        let mut volume = Volume::format(image.pages(), size).unwrap();
        image.store(&mut volume);
        Some(image)
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("image")
    }

    fn pages(&self) -> Pages {
        Pages(File::options().read(true).write(true).open(self.path()).unwrap())
    }

    fn open(&self) -> Volume<Pages> {
        Volume::open(self.pages(), self.size).unwrap()
    }

    fn store(&self, volume: &mut Volume<Pages>) {
        let pages = self.pages();
        for (index, content) in volume.take_dirty() {
            // What is a hole stays one.
            if content.is_some() || pages.read_page(index).unwrap().is_some() {
                let content = content.unwrap_or_else(|| vec![0; PAGE_SIZE]);
                pages.0.write_all_at(&content, u64::from(index) * PAGE_SIZE as u64).unwrap();
            }
        }
    }

    fn by_mtools(&self, tool: &Path, arguments: &[&str]) -> String {
        let image = self.path();
        run(tool, &[&["-i", image.to_str().unwrap()], arguments].concat())
    }

    fn do_here(&self, deed: &Deed) {
        let mut volume = self.open();
        match deed {
            Deed::Write { path, seed, length } => volume.write(path, &noise(*seed, *length)),
            Deed::Remove { path } => volume.remove(path),
            Deed::MakeDirectory { path } => volume.make_directory(path),
            Deed::Rename { from, to } => volume.rename(from, to),
        }
        .unwrap_or_else(|error| panic!("{deed:?}: {error}"));
        self.store(&mut volume);
    }

    fn do_by_mtools(&self, deed: &Deed, is_directory: bool) {
        let at = |path: &str| format!("::{path}");
        match deed {
            Deed::Write { path, seed, length } => {
                let file = self.directory.path().join("in");
                std::fs::write(&file, noise(*seed, *length)).unwrap();
                self.by_mtools(&self.mtools.mcopy, &["-n", "-o", file.to_str().unwrap(), &at(path)])
            }
            Deed::Remove { path } if is_directory => self.by_mtools(&self.mtools.mrd, &[&at(path)]),
            Deed::Remove { path } => self.by_mtools(&self.mtools.mdel, &[&at(path)]),
            Deed::MakeDirectory { path } => self.by_mtools(&self.mtools.mmd, &[&at(path)]),
            Deed::Rename { from, to } => self.by_mtools(&self.mtools.mmove, &[&at(from), &at(to)]),
        };
    }

    /// What is read here.
    fn read_here(&self) -> Tree {
        let mut volume = self.open();
        let (mut tree, mut ahead) = (Tree::default(), vec![String::new()]);
        while let Some(directory) = ahead.pop() {
            for entry in volume.list(&directory).unwrap() {
                let path = format!("{directory}/{}", entry.name.to_uppercase());
                if entry.kind == EntryKind::Directory {
                    ahead.push(path.clone());
                    tree.directories.insert(path);
                } else {
                    let content = volume.read(&path).unwrap();
                    tree.files.insert(path, content);
                }
            }
        }
        tree
    }

    /// What mtools reads.
    fn read_by_mtools(&self) -> Tree {
        let mut tree = Tree::default();
        // Says so, and fails, where there is nothing at all.
        if self.open().list("/").unwrap().is_empty() {
            return tree;
        }
        let listed = self.by_mtools(&self.mtools.mdir, &["-b", "-a", "-/", "::"]);
        for path in listed.lines().filter_map(|line| line.strip_prefix("::")) {
            let path = path.to_uppercase();
            match path.strip_suffix('/') {
                Some(directory) => {
                    tree.directories.insert(directory.to_owned());
                }
                None => {
                    let out = self.directory.path().join("out");
                    let from = format!("::{path}");
                    self.by_mtools(&self.mtools.mcopy, &["-n", "-o", &from, out.to_str().unwrap()]);
                    tree.files.insert(path, std::fs::read(&out).unwrap());
                }
            }
        }
        tree
    }

    fn check(&self, tree: &Tree) {
        let checked = check(self.pages(), self.size).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(checked.files as usize, tree.files.len());
        assert_eq!(checked.directories as usize, tree.directories.len());
        if let Some(fsck) = tool("fsck.fat") {
            run(&fsck, &["-n", self.path().to_str().unwrap()]);
        }
    }
}

fn live(size: u64, history: &[(Who, Deed)]) {
    let Some(image) = Image::new(size) else { return };
    let mut tree = Tree::default();
    for (who, deed) in history {
        let is_directory = matches!(deed, Deed::Remove { path } if tree.directories.contains(path));
        if tree.note(deed) {
            match who {
                Who::Here => image.do_here(deed),
                Who::Mtools => image.do_by_mtools(deed, is_directory),
            }
        }
    }
    assert!(image.read_here() == tree, "read here, {history:?}");
    assert!(image.read_by_mtools() == tree, "read by mtools, {history:?}");
    image.check(&tree);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn an_image_is_shared_with_mtools(
        size in prop::sample::select(sizes()),
        history in prop::collection::vec(deed(), 1..20),
    ) {
        live(size, &history);
    }
}

/// Each a hundred deeds long, on the default volume and on one of 512 MiB, which takes no more room on the disk than is in use.
#[test]
fn long_histories_on_large_volumes() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    for size in [DEFAULT_VOLUME_SIZE, 512 * MIB] {
        let history = prop::collection::vec(deed(), 100).new_tree(&mut runner).unwrap().current();
        live(size, &history);
    }
}

/// Up to the last cluster, now by one and now by the other; what is free is said alike by both.
#[test]
fn a_full_volume_is_filled_by_both() {
    let Some(image) = Image::new(DEFAULT_VOLUME_SIZE) else { return };
    let mut tree = Tree::default();
    let mut number = 0;
    loop {
        let (seed, length) = (number, 3_000_001);
        let deed = Deed::Write { path: format!("/F{number}"), seed, length };
        let free = image.open().space().unwrap().free;
        if free < length as u64 + 4096 {
            break;
        }
        assert!(tree.note(&deed));
        if number % 2 == 0 {
            image.do_here(&deed);
        } else {
            image.do_by_mtools(&deed, false);
        }
        number += 1;
    }
    assert!(number > 15);
    let free = image.open().space().unwrap().free;
    let rest = Deed::Write { path: "/REST".to_owned(), seed: 99, length: free as usize };
    assert!(tree.note(&rest));
    image.do_by_mtools(&rest, false);
    let mut volume = image.open();
    assert_eq!(volume.space().unwrap().free, 0);
    assert!(matches!(volume.write("/more", &[1]), Err(VfsError::NoSpace { needed: 4096, free: 0 })));
    assert!(matches!(volume.make_directory("/more"), Err(VfsError::NoSpace { .. })));
    volume.rename("/rest", "/last").unwrap();
    image.store(&mut volume);
    assert!(tree.note(&Deed::Rename { from: "/REST".to_owned(), to: "/LAST".to_owned() }));
    assert!(image.read_by_mtools() == tree, "the files are others");
    image.check(&tree);
}
