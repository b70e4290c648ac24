//! Whether an image is whole, and if not, what is wrong and where.
//!
//! Everything that a boot sector, the table and the directories say is looked at once: each cluster belongs to one file or
//! directory or is free, each chain is as long as its file, each name can be reached by a path. What passes is a filesystem
//! that `fsck.fat` finds nothing wrong with, in which no operation meets damage.

mod fault;
mod names;

use std::ops::ControlFlow;

use crate::directory::{MAX_SIZE, Record};
use crate::disk::{BAD, FREE};
use crate::geometry::{BOOT_SECTOR_SIZE, BootSector, ENTRY_SIZE, FIRST_CLUSTER, Geometry, check_size};
use crate::pages::Pages;
use crate::path::Name;
use crate::{MAX_PATH_DEPTH, PAGE_SIZE, PageSource, Space, VfsError};
use names::Names;

pub use fault::{Fault, Faults, ImageError};

/// The smallest sector there is.
const SECTOR_SIZE: u64 = 512;

/// What an image holds that was found to be whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checked {
    /// Files.
    pub files: u64,
    /// Directories, without the root.
    pub directories: u64,
    /// Its room.
    pub space: Space,
}

/// Looks at all of an image's structure. Reads the tables and the directories, each once, and no file; keeps no pages but
/// the numbers of the clusters in memory. `size` is the image's in bytes; one that ends within a page has zeros after it there.
///
/// # Errors
/// [`ImageError::Size`], [`ImageError::BootSector`], [`ImageError::Faults`] with what is wrong in the table and the
/// directories; [`ImageError::Read`] when the source fails.
pub fn check<S: PageSource>(source: S, size: u64) -> Result<Checked, ImageError> {
    let whole = size.checked_next_multiple_of(PAGE_SIZE as u64).filter(|_| size.is_multiple_of(SECTOR_SIZE));
    let whole = whole.filter(|&whole| check_size(whole).is_ok()).ok_or(ImageError::Size { got: size })?;
    let pages = Pages::new(source, (whole / PAGE_SIZE as u64) as u32);
    let mut boot = [0; BOOT_SECTOR_SIZE];
    pages.read_through(0, &mut boot)?;
    let boot = BootSector::decode(&boot)?;
    let geometry = boot.geometry(size)?;
    let table = read_table(&pages, &geometry, 0)?;
    let mut check = Check {
        owners: vec![0; table.len()],
        pages,
        geometry,
        table,
        paths: Vec::new(),
        faults: Faults::default(),
        files: 0,
        directories: 0,
    };
    check.tables(&boot)?;
    check.tree()?;
    check.lost();
    check.faults.none_or(|| Checked { files: check.files, directories: check.directories, space: check.space() })
}

/// The entries of one copy of the table, from 0 to the last cluster's.
fn read_table<S: PageSource>(pages: &Pages<S>, geometry: &Geometry, copy: u8) -> Result<Vec<u16>, VfsError> {
    let mut bytes = vec![0; (usize::from(geometry.last_cluster) + 1) * 2];
    pages.read_through(geometry.table_start + u64::from(copy) * geometry.table_size, &mut bytes)?;
    Ok(bytes.as_chunks().0.iter().map(|&entry| u16::from_le_bytes(entry)).collect())
}

struct Check<S> {
    pages: Pages<S>,
    geometry: Geometry,
    table: Vec<u16>,
    /// For each cluster whose it is: a place in `paths`, counted from 1.
    owners: Vec<u32>,
    /// Of whatever has clusters.
    paths: Vec<String>,
    faults: Faults,
    files: u64,
    directories: u64,
}

/// A directory yet to be looked at.
struct Ahead {
    path: String,
    depth: usize,
    /// None for the root.
    chain: Vec<u16>,
    /// What its `..` has to name.
    parent: u16,
}

impl<S: PageSource> Check<S> {
    /// The parts of the table that belong to no file, and whether its copies agree.
    fn tables(&mut self, boot: &BootSector) -> Result<(), VfsError> {
        let expected = 0xff00 | u16::from(boot.media);
        if self.table[0] != expected {
            self.faults.add(Fault::TableStart { expected, got: self.table[0] });
        }
        // The two highest bits of the second entry: closed, without errors.
        if boot.dirty || self.table[1] & 0xc000 != 0xc000 {
            self.faults.add(Fault::Dirty);
        }
        for (cluster, &got) in (0..).zip(&self.table).skip(FIRST_CLUSTER.into()) {
            if got != FREE && got < BAD && !self.geometry.is_cluster(got) {
                self.faults.add(Fault::TableEntry { cluster, got });
            }
        }
        if self.geometry.tables > 1 {
            let second = read_table(&self.pages, &self.geometry, 1)?;
            let mut entries = (0..).zip(self.table.iter().zip(&second));
            if let Some((cluster, (&first, &second))) = entries.find(|(_, (first, second))| first != second) {
                self.faults.add(Fault::TablesDiffer { cluster, first, second });
            }
        }
        Ok(())
    }

    /// All directories. Each that is entered has clusters of its own, so there are no more than these.
    fn tree(&mut self) -> Result<(), VfsError> {
        let mut ahead = vec![Ahead { path: String::new(), depth: 0, chain: Vec::new(), parent: 0 }];
        while let Some(directory) = ahead.pop() {
            self.directory(&directory, &mut ahead)?;
        }
        Ok(())
    }

    fn directory(&mut self, directory: &Ahead, ahead: &mut Vec<Ahead>) -> Result<(), VfsError> {
        let mut names = Names::new(directory.depth == 0);
        for (start, size) in self.extents(&directory.chain) {
            let mut buffer = [0; PAGE_SIZE];
            for done in (0..size).step_by(PAGE_SIZE) {
                let part = &mut buffer[..PAGE_SIZE.min(size - done)];
                self.pages.read_through(start + done as u64, part)?;
                for slot in part.as_chunks::<ENTRY_SIZE>().0 {
                    let found = match names.next(slot) {
                        Ok(ControlFlow::Continue(found)) => found,
                        Ok(ControlFlow::Break(())) => {
                            self.missing_dots(directory, &names);
                            return Ok(());
                        }
                        Err(fault) => {
                            self.faults.add(fault.at(&directory.path));
                            continue;
                        }
                    };
                    if let Some(record) = found {
                        self.entry(directory, &mut names, &record, ahead);
                    }
                }
            }
        }
        if names.is_within_long_name() {
            self.faults.add(Fault::LongName { directory: shown(&directory.path) });
        }
        self.missing_dots(directory, &names);
        Ok(())
    }

    /// The root has its own place; whatever else is a directory has clusters.
    fn extents(&self, chain: &[u16]) -> Vec<(u64, usize)> {
        if chain.is_empty() {
            return vec![(self.geometry.root_start, self.geometry.root_entries as usize * ENTRY_SIZE)];
        }
        let size = self.geometry.cluster_size;
        chain.iter().map(|&cluster| (self.geometry.cluster_start(cluster), size)).collect()
    }

    fn missing_dots(&mut self, directory: &Ahead, names: &Names) {
        if directory.depth > 0 && names.records() < 2 {
            self.faults.add(Fault::Dots { directory: shown(&directory.path) });
        }
    }

    fn entry(&mut self, directory: &Ahead, names: &mut Names, record: &Record, ahead: &mut Vec<Ahead>) {
        // The first two entries of a directory that is not the root are itself and the one it is in.
        let dots = if directory.depth == 0 { 0 } else { 2 };
        if names.records() <= dots {
            let (name, first) = match names.records() {
                1 => (Name::DOT, directory.chain[0]),
                _ => (Name::DOT_DOT, directory.parent),
            };
            if record.name() != name || !record.is_directory() || record.first() != first {
                self.faults.add(Fault::Dots { directory: shown(&directory.path) });
            }
            return;
        }
        let name = record.name();
        if !name.is_reachable() {
            let stored = name.as_stored().escape_ascii().to_string();
            self.faults.add(Fault::Name { directory: shown(&directory.path), stored });
            return;
        }
        let path = format!("{}/{name}", directory.path);
        if !names.insert(name) {
            self.faults.add(Fault::DuplicateName { path });
        } else if directory.depth == MAX_PATH_DEPTH {
            self.faults.add(Fault::TooDeep { path });
        } else if record.is_directory() {
            self.enter(directory, record, path, ahead);
        } else {
            self.file(record, path);
        }
    }

    fn enter(&mut self, above: &Ahead, record: &Record, path: String, ahead: &mut Vec<Ahead>) {
        self.directories += 1;
        if record.size() != 0 {
            self.faults.add(Fault::DirectorySize { path: path.clone(), size: record.size() });
        }
        let Some(chain) = self.claim(&path, record.first()) else { return };
        let max = MAX_SIZE / self.geometry.cluster_size;
        if chain.len() > max {
            self.faults.add(Fault::DirectoryLong { path, clusters: chain.len(), max });
            return;
        }
        let parent = above.chain.first().copied().unwrap_or(0);
        ahead.push(Ahead { path, depth: above.depth + 1, chain, parent });
    }

    fn file(&mut self, record: &Record, path: String) {
        self.files += 1;
        let (size, needed) = (record.size(), self.geometry.clusters_for(record.size() as usize));
        let clusters = match record.first() {
            0 => 0,
            first => match self.claim(&path, first) {
                Some(chain) => chain.len(),
                None => return,
            },
        };
        if clusters != needed {
            self.faults.add(Fault::ChainLength { path, size, clusters, needed });
        }
    }

    /// Makes the clusters of a chain those of `path`; `None` where they can't be.
    fn claim(&mut self, path: &str, first: u16) -> Option<Vec<u16>> {
        let (last, path) = (self.geometry.last_cluster, path.to_owned());
        if !self.geometry.is_cluster(first) {
            self.faults.add(Fault::FirstCluster { path, got: first, last });
            return None;
        }
        self.paths.push(path.clone());
        let owner = self.paths.len() as u32;
        let mut chain = Vec::new();
        let mut cluster = first;
        loop {
            match self.owners[usize::from(cluster)] {
                0 => self.owners[usize::from(cluster)] = owner,
                other if other == owner => {
                    self.faults.add(Fault::ChainLoops { path, cluster });
                    return None;
                }
                other => {
                    let other = self.paths[other as usize - 1].clone();
                    if chain.is_empty() {
                        // It has no cluster, so there are no more paths than clusters, however many entries there are.
                        self.paths.pop();
                    }
                    self.faults.add(Fault::CrossLinked { path, other, cluster });
                    return None;
                }
            }
            chain.push(cluster);
            match self.table[usize::from(cluster)] {
                next if self.geometry.is_cluster(next) => cluster = next,
                next if next > BAD => return Some(chain),
                next => {
                    self.faults.add(Fault::ChainBroken { path, cluster, next, last });
                    return None;
                }
            }
        }
    }

    /// Clusters in use that nothing has. After another fault they are its consequence, and say nothing.
    fn lost(&mut self) {
        if !self.faults.is_empty() {
            return;
        }
        let entries = (0_u16..).zip(self.table.iter().zip(&self.owners)).skip(FIRST_CLUSTER.into());
        let mut lost = entries.filter(|(_, (entry, owner))| !matches!(**entry, FREE | BAD) && **owner == 0);
        if let Some((first, _)) = lost.next() {
            let clusters = lost.count() + 1;
            self.faults.add(Fault::Lost { clusters, first });
        }
    }

    fn space(&self) -> Space {
        let free = self.table[FIRST_CLUSTER.into()..].iter().filter(|&&entry| entry == FREE).count();
        let bytes = |clusters: usize| (clusters * self.geometry.cluster_size) as u64;
        Space { total: bytes(self.geometry.clusters().into()), free: bytes(free) }
    }
}

/// A directory's path for people.
fn shown(path: &str) -> String {
    if path.is_empty() { "/".to_owned() } else { path.to_owned() }
}
