//! Clusters and the table that chains them: what a volume has below its directories.

use crate::geometry::{BOOT_SECTOR_SIZE, BootSector, FIRST_CLUSTER, Geometry, MEDIA, check_size};
use crate::pages::Pages;
use crate::{Corruption, PAGE_SIZE, PageSource, VfsError};

pub(crate) const FREE: u16 = 0;
pub(crate) const BAD: u16 = 0xfff7;
const END: u16 = 0xffff;

/// Where a volume formatted here notes in which part of the table to look for free clusters: the second sector, which
/// is reserved. FAT-32 has such a note, FAT-16 has not; without it each search would begin at the volume's start, and
/// writing would cost the more the fuller the volume is. Other writers neither know nor change it: it is a hint.
const SEARCH_NOTE: u64 = BOOT_SECTOR_SIZE as u64;
const SEARCH_NOTE_MARK: &[u8; 8] = b"NEXTFREE";
/// The note is only as fine as this, one page of the table, so that it changes rarely.
const ENTRIES_PER_PAGE: u16 = PAGE_SIZE as u16 / 2;

/// Where the search for free clusters begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Search {
    /// The cluster to look at first.
    next: u16,
    /// What the note in the volume says, if it has one.
    noted: Option<u16>,
}

/// The clusters of a volume.
#[derive(Debug)]
pub(crate) struct Disk<S> {
    pages: Pages<S>,
    geometry: Geometry,
    search: Search,
}

impl<S: PageSource> Disk<S> {
    /// An empty filesystem, nothing of which comes from `source`: as if all its pages were absent.
    pub(crate) fn format(source: S, size: u64) -> Result<Self, VfsError> {
        let boot = BootSector::for_size(size)?;
        let geometry = boot.geometry(size)?;
        let mut pages = Pages::new(source, page_count(size));
        // The pages before the first cluster are written whole, so that no old content of theirs is left.
        pages.write(0, &[], geometry.cluster_start(FIRST_CLUSTER) as usize)?;
        pages.write(0, &boot.encode(), BOOT_SECTOR_SIZE)?;
        pages.write(SEARCH_NOTE, SEARCH_NOTE_MARK, SEARCH_NOTE_MARK.len() + 2)?;
        let mut disk = Self { pages, geometry, search: Search { next: FIRST_CLUSTER, noted: Some(0) } };
        disk.set_entry(0, u16::from_le_bytes([MEDIA, 0xff]))?;
        disk.set_entry(1, END)?;
        disk.pages.commit();
        Ok(disk)
    }

    /// A filesystem that is there. Reads one page.
    pub(crate) fn open(source: S, size: u64) -> Result<Self, VfsError> {
        check_size(size)?;
        let mut pages = Pages::new(source, page_count(size));
        let (geometry, search) = layout(&mut pages, size)?;
        Ok(Self { pages, geometry, search })
    }

    /// Replaces pages, and goes on with the filesystem that is there then.
    pub(crate) fn overwrite(
        &mut self,
        pages: impl IntoIterator<Item = (u32, Option<Vec<u8>>)>,
    ) -> Result<(), VfsError> {
        let size = u64::from(self.pages.count()) * PAGE_SIZE as u64;
        let written = pages.into_iter().try_for_each(|(page, content)| {
            if let Some(got) = content.as_ref().map(Vec::len).filter(|&length| length != PAGE_SIZE) {
                return Err(VfsError::PageLength { page, got });
            }
            self.pages.write(u64::from(page) * PAGE_SIZE as u64, content.as_deref().unwrap_or_default(), PAGE_SIZE)
        });
        match written.and_then(|()| layout(&mut self.pages, size)) {
            Ok((geometry, search)) => {
                self.pages.commit();
                (self.geometry, self.search) = (geometry, search);
                Ok(())
            }
            Err(error) => {
                self.pages.roll_back();
                Err(error)
            }
        }
    }

    /// The changed pages, in ascending order.
    pub(crate) fn dirty(&self) -> impl Iterator<Item = (u32, Option<&[u8]>)> {
        self.pages.dirty()
    }

    pub(crate) fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    pub(crate) fn pages(&mut self) -> &mut Pages<S> {
        &mut self.pages
    }

    pub(crate) fn page_count(&self) -> u32 {
        self.pages.count()
    }

    /// Runs an operation that changes the volume: it happens as a whole, or not at all.
    pub(crate) fn change<T>(
        &mut self,
        operation: impl FnOnce(&mut Self) -> Result<T, VfsError>,
    ) -> Result<T, VfsError> {
        let search = self.search;
        let result = operation(self).and_then(|value| self.note_search().map(|()| value));
        match result {
            Ok(_) => self.pages.commit(),
            Err(_) => {
                self.pages.roll_back();
                self.search = search;
            }
        }
        result
    }

    /// The cluster after this one; `None` at the end of its chain.
    pub(crate) fn next(&mut self, cluster: u16) -> Result<Option<u16>, VfsError> {
        let mut entry = [0; 2];
        self.pages.read(self.geometry.table_entry(cluster), &mut entry)?;
        match u16::from_le_bytes(entry) {
            next if self.geometry.is_cluster(next) => Ok(Some(next)),
            next if next > BAD => Ok(None),
            next => Err(Corruption::ChainBroken { cluster, next, last: self.geometry.last_cluster }.into()),
        }
    }

    /// The chain that begins at `first`, at most `limit` clusters of it.
    pub(crate) fn chain(&mut self, first: u16, limit: usize) -> Result<Vec<u16>, VfsError> {
        let mut seen = vec![0_u64; usize::from(self.geometry.last_cluster) / 64 + 1];
        let mut chain = Vec::new();
        let mut next = Some(self.checked_first(first)?);
        while let Some(cluster) = next
            && chain.len() < limit
        {
            let (word, bit) = (usize::from(cluster / 64), 1 << (cluster % 64));
            if seen[word] & bit != 0 {
                return Err(Corruption::ChainLoops { cluster }.into());
            }
            seen[word] |= bit;
            chain.push(cluster);
            next = self.next(cluster)?;
        }
        Ok(chain)
    }

    /// A number from a directory entry, if it is a cluster.
    pub(crate) fn checked_first(&self, first: u16) -> Result<u16, VfsError> {
        let last = self.geometry.last_cluster;
        if self.geometry.is_cluster(first) {
            Ok(first)
        } else {
            Err(Corruption::FirstCluster { got: first, last }.into())
        }
    }

    /// Makes a chain `count` clusters long: releases what it has too many, appends what it lacks.
    pub(crate) fn resize(&mut self, mut chain: Vec<u16>, count: usize) -> Result<Vec<u16>, VfsError> {
        if chain.len() > count {
            let freed = chain.split_off(count);
            freed.iter().try_for_each(|&cluster| self.set_entry(cluster, FREE))?;
            self.fill(&freed, &[])?;
        }
        let missing = count - chain.len();
        let new = self.find_free(missing)?;
        if new.len() < missing {
            let bytes = |clusters: usize| (clusters * self.geometry.cluster_size) as u64;
            return Err(VfsError::NoSpace { needed: bytes(missing), free: bytes(new.len()) });
        }
        if let Some(&last) = new.last() {
            self.search.next = if last < self.geometry.last_cluster { last + 1 } else { FIRST_CLUSTER };
        }
        chain.extend(new);
        for (index, &cluster) in chain.iter().enumerate() {
            self.set_entry(cluster, chain.get(index + 1).copied().unwrap_or(END))?;
        }
        Ok(chain)
    }

    /// Gives clusters their content: at most their size, zeros after it.
    pub(crate) fn fill(&mut self, chain: &[u16], mut content: &[u8]) -> Result<(), VfsError> {
        for run in runs(chain) {
            let size = run.len() * self.geometry.cluster_size;
            let (part, rest) = content.split_at(size.min(content.len()));
            self.pages.write(self.geometry.cluster_start(run[0]), part, size)?;
            content = rest;
        }
        Ok(())
    }

    /// Reads the content of clusters, at most their size, without keeping it in memory.
    pub(crate) fn read(&self, chain: &[u16], mut out: &mut [u8]) -> Result<(), VfsError> {
        for run in runs(chain) {
            let size = run.len() * self.geometry.cluster_size;
            let (part, rest) = out.split_at_mut(size.min(out.len()));
            self.pages.read_through(self.geometry.cluster_start(run[0]), part)?;
            out = rest;
        }
        Ok(())
    }

    /// How many clusters are free. Reads the whole table.
    pub(crate) fn count_free(&mut self) -> Result<usize, VfsError> {
        Ok(self.find_free(usize::MAX)?.len())
    }

    /// Free clusters, at most `limit`, in the order in which they should be used. Goes around the table once.
    fn find_free(&mut self, limit: usize) -> Result<Vec<u16>, VfsError> {
        let mut found = Vec::new();
        if limit == 0 {
            return Ok(found);
        }
        let (start, last) = (u32::from(self.search.next), u32::from(self.geometry.last_cluster));
        for (mut cluster, end) in [(start, last + 1), (FIRST_CLUSTER.into(), start)] {
            while cluster < end {
                // Clusters are 16 bits wide; the sums here are not only because of `end`.
                let entry = self.geometry.table_entry(cluster as u16);
                let page = self.pages.page((entry / PAGE_SIZE as u64) as u32)?;
                let entries = page[(entry % PAGE_SIZE as u64) as usize..].chunks_exact(2).zip(cluster..end);
                for (entry, cluster) in entries.clone() {
                    if entry == FREE.to_le_bytes() {
                        found.push(cluster as u16);
                        if found.len() == limit {
                            return Ok(found);
                        }
                    }
                }
                cluster += entries.len() as u32;
            }
        }
        Ok(found)
    }

    /// Writes an entry of the table, in all its copies.
    fn set_entry(&mut self, cluster: u16, value: u16) -> Result<(), VfsError> {
        let first = self.geometry.table_entry(cluster);
        for table in 0..u64::from(self.geometry.tables) {
            self.pages.write(first + table * self.geometry.table_size, &value.to_le_bytes(), 2)?;
        }
        Ok(())
    }

    fn note_search(&mut self) -> Result<(), VfsError> {
        let part = self.search.next / ENTRIES_PER_PAGE * ENTRIES_PER_PAGE;
        if self.search.noted.is_some_and(|noted| noted != part) {
            self.pages.write(SEARCH_NOTE + SEARCH_NOTE_MARK.len() as u64, &part.to_le_bytes(), 2)?;
            self.search.noted = Some(part);
        }
        Ok(())
    }
}

/// Where the parts of the filesystem are by its boot sector, and where to look for free clusters.
fn layout<S: PageSource>(pages: &mut Pages<S>, size: u64) -> Result<(Geometry, Search), VfsError> {
    let mut boot = [0; BOOT_SECTOR_SIZE];
    pages.read(0, &mut boot)?;
    let geometry = BootSector::decode(&boot)?.geometry(size)?;
    let mut search = Search { next: FIRST_CLUSTER, noted: None };
    if geometry.table_start >= SEARCH_NOTE + BOOT_SECTOR_SIZE as u64 {
        let mut note = [0; SEARCH_NOTE_MARK.len() + 2];
        pages.read(SEARCH_NOTE, &mut note)?;
        if let Some(&[low, high]) = note.strip_prefix(SEARCH_NOTE_MARK) {
            let noted = u16::from_le_bytes([low, high]);
            search.noted = Some(noted);
            search.next = if geometry.is_cluster(noted) { noted } else { FIRST_CLUSTER };
        }
    }
    Ok((geometry, search))
}

/// The parts of a chain that lie side by side in the volume. Taken together, each of their pages is touched once,
/// however small a cluster is.
fn runs(chain: &[u16]) -> impl Iterator<Item = &[u16]> {
    chain.chunk_by(|cluster, next| cluster + 1 == *next)
}

fn page_count(size: u64) -> u32 {
    // The largest volume has 2^19 pages.
    (size / PAGE_SIZE as u64) as u32
}
