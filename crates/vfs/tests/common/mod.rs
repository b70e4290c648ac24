//! What the tests share: pages in memory, and the tools other people read FAT with.

#![allow(dead_code, unreachable_pub, reason = "each test takes what it needs")]

use std::collections::BTreeMap;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use coprocessor_vfs::{Image, PAGE_SIZE, PageSource, PageSourceError, Volume};

/// Pages as a store would keep them. Clones are the same store.
#[derive(Clone, Debug, Default)]
pub struct Pages {
    pages: Arc<Mutex<BTreeMap<u32, Vec<u8>>>>,
    reads: Arc<AtomicUsize>,
}

impl Pages {
    pub fn from_image(image: &[u8]) -> Self {
        let pages = Self::default();
        pages.replace(image);
        pages
    }

    /// Makes these the pages of `image`.
    pub fn replace(&self, image: &[u8]) {
        let mut pages = self.pages.lock().unwrap();
        pages.clear();
        for (index, page) in (0..).zip(image.chunks(PAGE_SIZE)) {
            if page.iter().any(|&byte| byte != 0) {
                pages.insert(index, page.to_vec());
            }
        }
    }

    /// Stores what changed in `volume`; gives the numbers of those pages.
    pub fn store(&self, volume: &mut Volume<Self>) -> Vec<u32> {
        let mut pages = self.pages.lock().unwrap();
        let dirty = volume.take_dirty().into_iter().map(|(index, content)| {
            match content {
                Some(content) => pages.insert(index, content),
                None => pages.remove(&index),
            };
            index
        });
        dirty.collect()
    }

    /// How many pages were read since this was asked last.
    pub fn take_reads(&self) -> usize {
        self.reads.swap(0, Ordering::Relaxed)
    }

    /// How many pages are kept.
    pub fn kept(&self) -> usize {
        self.pages.lock().unwrap().len()
    }

    pub fn image(&self, size: u64) -> Vec<u8> {
        Image::new(self, (size / PAGE_SIZE as u64) as u32).collect::<Result<Vec<_>, _>>().unwrap().concat()
    }

    /// Writes the image to a file, leaving holes where pages are absent.
    pub fn write_image(&self, path: &Path, size: u64) {
        let mut file = std::fs::File::create(path).unwrap();
        file.set_len(size).unwrap();
        for (&index, page) in self.pages.lock().unwrap().iter() {
            file.seek(SeekFrom::Start(u64::from(index) * PAGE_SIZE as u64)).unwrap();
            file.write_all(page).unwrap();
        }
    }
}

impl PageSource for Pages {
    fn read_page(&self, index: u32) -> Result<Option<Vec<u8>>, PageSourceError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        Ok(self.pages.lock().unwrap().get(&index).cloned())
    }
}

/// Fails on all pages but the first.
#[derive(Debug)]
pub struct Broken(pub Pages);

impl PageSource for Broken {
    fn read_page(&self, index: u32) -> Result<Option<Vec<u8>>, PageSourceError> {
        if index > 0 { Err(PageSourceError::new("the disk is gone")) } else { self.0.read_page(index) }
    }
}

/// A command of dosfstools or mtools. Without it a test can't run, which is a failure where `CI` is set.
#[expect(clippy::print_stderr, reason = "tells whoever runs the tests what was not tested")]
pub fn tool(name: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    let found = which::which_in(name, Some(path), "/").ok();
    if found.is_none() {
        assert!(std::env::var_os("CI").is_none(), "{name} is missing: apt-get install dosfstools mtools");
        eprintln!("not tested, {name} is missing: apt-get install dosfstools mtools");
    }
    found
}

/// Runs a tool; gives what it printed.
pub fn run(tool: &Path, arguments: &[&str]) -> String {
    let output = Command::new(tool).args(arguments).env("TZ", "UTC").env("MTOOLSRC", "/dev/null").output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{} {arguments:?}: {}\n{printed}", tool.display(), output.status);
    printed
}

/// Checks the filesystem with `fsck.fat`, if it is there.
pub fn check(pages: &Pages, size: u64) {
    let Some(fsck) = tool("fsck.fat") else { return };
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("image");
    pages.write_image(&image, size);
    run(&fsck, &["-n", "-v", image.to_str().unwrap()]);
}

/// Bytes that compress badly and differ with `seed`.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.flatten().take(length).collect()
}
