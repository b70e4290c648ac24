//! Directories: lists of entries of 32 bytes each.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use crate::disk::Disk;
use crate::geometry::ENTRY_SIZE;
use crate::path::Name;
use crate::time::DosTime;
use crate::{Attributes, Corruption, MAX_PATH_DEPTH, PAGE_SIZE, PageSource, VfsError};

/// Most bytes in a directory: 65,536 entries, which is what other implementations can read.
pub(crate) const MAX_SIZE: usize = MAX_ENTRIES as usize * ENTRY_SIZE;
const MAX_ENTRIES: u32 = 1 << 16;
/// Most entries that the long name of one file fills.
pub(crate) const MAX_LONG_NAME: usize = 20;

/// First byte of a name: this entry and all after it are unused.
const UNUSED: u8 = 0;
/// First byte of a name: this entry was removed.
const REMOVED: u8 = 0xe5;

const ATTRIBUTE_READ_ONLY: u8 = 0x01;
const ATTRIBUTE_HIDDEN: u8 = 0x02;
const ATTRIBUTE_SYSTEM: u8 = 0x04;
const ATTRIBUTE_LABEL: u8 = 0x08;
const ATTRIBUTE_DIRECTORY: u8 = 0x10;
const ATTRIBUTE_ARCHIVE: u8 = 0x20;
/// The attributes that together mark a part of a long name.
const ATTRIBUTES_LONG_NAME: u8 = 0x0f;

/// Where an entry says which parts of its name others show in lower case.
const CASE: usize = 12;

/// Where a directory's entries are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Directory {
    /// In the root directory's own place, which has a fixed size.
    Root,
    /// In the chain of clusters that begins here.
    At(u16),
}

impl Directory {
    /// How the entry `..` of a directory in this one names it.
    pub(crate) fn as_parent(self) -> u16 {
        match self {
            Self::Root => 0,
            Self::At(first) => first,
        }
    }
}

/// An entry of a directory, as it is stored. What other writers keep in it stays in it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record([u8; ENTRY_SIZE]);

impl Record {
    pub(crate) fn file(name: &Name, now: DosTime) -> Self {
        Self::new(name, ATTRIBUTE_ARCHIVE, now)
    }

    fn new(name: &Name, attributes: u8, now: DosTime) -> Self {
        let mut record = Self([0; ENTRY_SIZE]);
        record.0[..11].copy_from_slice(name.as_stored());
        record.0[11] = attributes;
        record.0[13] = now.fine;
        record.put(14, now.time);
        record.put(16, now.date);
        record.touch(now);
        record
    }

    pub(crate) fn name(&self) -> Name {
        let mut stored = [0; 11];
        stored.copy_from_slice(&self.0[..11]);
        Name::from_stored(stored)
    }

    pub(crate) fn is_directory(&self) -> bool {
        self.0[11] & ATTRIBUTE_DIRECTORY != 0
    }

    /// The first cluster's number, 0 where there is none.
    pub(crate) fn first(&self) -> u16 {
        self.short(26)
    }

    /// The size of a file, in bytes.
    pub(crate) fn size(&self) -> u32 {
        u32::from(self.short(28)) | u32::from(self.short(30)) << 16
    }

    pub(crate) fn created(&self) -> DosTime {
        DosTime { date: self.short(16), time: self.short(14), fine: self.0[13] }
    }

    pub(crate) fn modified(&self) -> DosTime {
        DosTime { date: self.short(24), time: self.short(22), fine: 0 }
    }

    /// A day; its time is the day's beginning.
    pub(crate) fn accessed(&self) -> DosTime {
        DosTime { date: self.short(18), time: 0, fine: 0 }
    }

    pub(crate) fn attributes(&self) -> Attributes {
        let has = |attribute: u8| self.0[11] & attribute != 0;
        Attributes {
            read_only: has(ATTRIBUTE_READ_ONLY),
            hidden: has(ATTRIBUTE_HIDDEN),
            system: has(ATTRIBUTE_SYSTEM),
            archive: has(ATTRIBUTE_ARCHIVE),
        }
    }

    /// The same file or directory under another name.
    pub(crate) fn named(mut self, name: &Name) -> Self {
        self.0[..11].copy_from_slice(name.as_stored());
        self.0[CASE] = 0;
        self
    }

    /// The same file under the name of another one, in the form that one has it in.
    pub(crate) fn named_as(self, other: &Self) -> Self {
        let mut named = self.named(&other.name());
        named.0[CASE] = other.0[CASE];
        named
    }

    /// Says where a file's content is from now on.
    pub(crate) fn set_content(&mut self, first: u16, size: u32, now: DosTime) {
        self.put(26, first);
        self.0[28..32].copy_from_slice(&size.to_le_bytes());
        self.0[11] |= ATTRIBUTE_ARCHIVE;
        self.touch(now);
    }

    fn touch(&mut self, now: DosTime) {
        self.put(18, now.date); // last read; a file that is written counts as read
        self.put(22, now.time);
        self.put(24, now.date);
    }

    pub(crate) fn is_dots(&self) -> bool {
        self.0[0] == b'.'
    }

    fn short(&self, at: usize) -> u16 {
        u16::from_le_bytes([self.0[at], self.0[at + 1]])
    }

    fn put(&mut self, at: usize, value: u16) {
        self.0[at..at + 2].copy_from_slice(&value.to_le_bytes());
    }
}

/// An entry that was looked for and is there.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    /// Where it is, in bytes from the volume's start.
    pub(crate) at: u64,
    pub(crate) record: Record,
    /// Where the parts of its long name are, if another writer gave it one.
    long_name: Vec<u64>,
}

/// A place for a new entry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Vacancy {
    at: u64,
    /// Where the unused entry after this one is, if it has to be marked as such first.
    mark_unused: Option<u64>,
}

/// What looking for a name gave.
#[derive(Clone, Debug)]
pub(crate) enum Lookup {
    Found(Found),
    /// It is not there; the place for it is, unless the directory is full.
    Missing(Option<Vacancy>),
}

/// Looks for a name.
pub(crate) fn look_up<S: PageSource>(
    disk: &mut Disk<S>,
    directory: Directory,
    name: &Name,
) -> Result<Lookup, VfsError> {
    let mut found = None;
    let mut vacancy: Option<Vacancy> = None;
    let mut at_end = false;
    let mut long_name = Vec::new();
    scan(disk, directory, |at, slot| {
        if at_end {
            if let (Some(vacancy), true) = (&mut vacancy, slot[0] != UNUSED) {
                vacancy.mark_unused = Some(at);
            }
            return ControlFlow::Break(());
        }
        match Slot::of(slot) {
            Slot::Unused if vacancy.is_some() => return ControlFlow::Break(()),
            Slot::Unused => {
                vacancy = Some(Vacancy { at, mark_unused: None });
                at_end = true;
            }
            Slot::Removed => {
                vacancy.get_or_insert(Vacancy { at, mark_unused: None });
                long_name.clear();
            }
            Slot::LongName if long_name.len() < MAX_LONG_NAME => long_name.push(at),
            Slot::LongName | Slot::Label => long_name.clear(),
            Slot::Entry(record) if record.name().same_as(name) => {
                found = Some(Found { at, record, long_name: std::mem::take(&mut long_name) });
                return ControlFlow::Break(());
            }
            Slot::Entry(_) => long_name.clear(),
        }
        ControlFlow::Continue(())
    })?;
    Ok(found.map_or(Lookup::Missing(vacancy), Lookup::Found))
}

/// All files and directories in a directory.
pub(crate) fn list<S: PageSource>(disk: &mut Disk<S>, directory: Directory) -> Result<Vec<Record>, VfsError> {
    let mut records = Vec::new();
    scan(disk, directory, |_, slot| {
        match Slot::of(slot) {
            Slot::Unused => return ControlFlow::Break(()),
            Slot::Entry(record) if !record.is_dots() => records.push(record),
            _ => {}
        }
        ControlFlow::Continue(())
    })?;
    Ok(records)
}

/// Adds an entry where [`look_up`] found a place for it, or at the end of a directory that grows for it.
pub(crate) fn insert<S: PageSource>(
    disk: &mut Disk<S>,
    directory: Directory,
    vacancy: Option<Vacancy>,
    record: &Record,
) -> Result<(), VfsError> {
    let vacancy = match vacancy {
        Some(vacancy) => vacancy,
        None => grow(disk, directory)?,
    };
    if let Some(at) = vacancy.mark_unused {
        disk.pages().write(at, &[UNUSED], 1)?;
    }
    update(disk, vacancy.at, record)
}

/// Writes an entry over the one at `at`.
pub(crate) fn update<S: PageSource>(disk: &mut Disk<S>, at: u64, record: &Record) -> Result<(), VfsError> {
    disk.pages().write(at, &record.0, ENTRY_SIZE)
}

/// Removes an entry and its long name. What it points at stays in use.
pub(crate) fn remove<S: PageSource>(disk: &mut Disk<S>, found: &Found) -> Result<(), VfsError> {
    found.long_name.iter().chain([&found.at]).try_for_each(|&at| disk.pages().write(at, &[REMOVED], 1))
}

/// Makes an empty directory in another one.
pub(crate) fn create<S: PageSource>(
    disk: &mut Disk<S>,
    parent: Directory,
    vacancy: Option<Vacancy>,
    name: &Name,
    now: DosTime,
) -> Result<Directory, VfsError> {
    let chain = disk.resize(Vec::new(), 1)?;
    let entry = |name: &Name, first: u16| {
        let mut record = Record::new(name, ATTRIBUTE_DIRECTORY, now);
        record.put(26, first);
        record
    };
    let first = chain[0];
    disk.fill(&chain, &[entry(&Name::DOT, first).0, entry(&Name::DOT_DOT, parent.as_parent()).0].concat())?;
    insert(disk, parent, vacancy, &entry(name, first))?;
    Ok(Directory::At(first))
}

/// Says in the directory at `first` that it is in `parent` from now on.
pub(crate) fn set_parent<S: PageSource>(disk: &mut Disk<S>, first: u16, parent: Directory) -> Result<(), VfsError> {
    let Lookup::Found(mut dots) = look_up(disk, Directory::At(first), &Name::DOT_DOT)? else {
        return Err(Corruption::NoParent { cluster: first }.into());
    };
    dots.record.put(26, parent.as_parent());
    update(disk, dots.at, &dots.record)
}

/// How many names the longest path below the directory at `first` has, not counted beyond what a path can have.
pub(crate) fn height<S: PageSource>(disk: &mut Disk<S>, first: u16) -> Result<usize, VfsError> {
    // In a damaged volume a directory can be in itself; each is looked at once.
    let mut seen = BTreeSet::from([first]);
    let mut level = vec![first];
    for height in 0..=MAX_PATH_DEPTH {
        let mut empty = true;
        let mut below = Vec::new();
        for &directory in &level {
            let records = list(disk, Directory::At(directory))?;
            empty &= records.is_empty();
            for record in records.iter().filter(|record| record.is_directory()) {
                let first = disk.checked_first(record.first())?;
                if seen.insert(first) {
                    below.push(first);
                }
            }
        }
        if empty {
            return Ok(height);
        }
        level = below;
    }
    Ok(MAX_PATH_DEPTH + 1)
}

/// Makes room for one more entry.
fn grow<S: PageSource>(disk: &mut Disk<S>, directory: Directory) -> Result<Vacancy, VfsError> {
    let Directory::At(first) = directory else {
        return Err(VfsError::RootDirectoryFull { entries: disk.geometry().root_entries });
    };
    let chain = disk.chain(first, usize::MAX)?;
    let count = chain.len() + 1;
    if count * disk.geometry().cluster_size > MAX_SIZE {
        return Err(VfsError::DirectoryFull { entries: MAX_ENTRIES });
    }
    let new = disk.resize(chain, count)?[count - 1];
    disk.fill(&[new], &[])?;
    Ok(Vacancy { at: disk.geometry().cluster_start(new), mark_unused: None })
}

/// What an entry is.
pub(crate) enum Slot {
    Unused,
    Removed,
    LongName,
    /// The volume's name, in the root directory.
    Label,
    Entry(Record),
}

impl Slot {
    pub(crate) fn of(bytes: &[u8; ENTRY_SIZE]) -> Self {
        match (bytes[0], bytes[11]) {
            (UNUSED, _) => Self::Unused,
            (REMOVED, _) => Self::Removed,
            (_, attributes) if attributes & 0x3f == ATTRIBUTES_LONG_NAME => Self::LongName,
            (_, attributes) if attributes & ATTRIBUTE_LABEL != 0 => Self::Label,
            _ => Self::Entry(Record(*bytes)),
        }
    }
}

/// Shows a directory's entries to `visit`, with where they are, until it breaks or there are no more.
fn scan<S: PageSource>(
    disk: &mut Disk<S>,
    directory: Directory,
    mut visit: impl FnMut(u64, &[u8; ENTRY_SIZE]) -> ControlFlow<()>,
) -> Result<(), VfsError> {
    let Directory::At(first) = directory else {
        let (start, size) = (disk.geometry().root_start, disk.geometry().root_entries as usize * ENTRY_SIZE);
        return scan_extent(disk, start, size, &mut visit).map(|_| ());
    };
    let size = disk.geometry().cluster_size;
    let max = MAX_SIZE / size;
    let mut next = Some(first);
    for _ in 0..max {
        let Some(cluster) = next else { return Ok(()) };
        let start = disk.geometry().cluster_start(cluster);
        if scan_extent(disk, start, size, &mut visit)?.is_break() {
            return Ok(());
        }
        next = disk.next(cluster)?;
    }
    if next.is_none() { Ok(()) } else { Err(Corruption::DirectoryLong { max }.into()) }
}

fn scan_extent<S: PageSource>(
    disk: &mut Disk<S>,
    start: u64,
    size: usize,
    visit: &mut impl FnMut(u64, &[u8; ENTRY_SIZE]) -> ControlFlow<()>,
) -> Result<ControlFlow<()>, VfsError> {
    let mut buffer = [0; PAGE_SIZE];
    for done in (0..size).step_by(PAGE_SIZE) {
        let start = start + done as u64;
        let part = &mut buffer[..PAGE_SIZE.min(size - done)];
        disk.pages().read(start, part)?;
        for (index, slot) in part.as_chunks().0.iter().enumerate() {
            if visit(start + (index * ENTRY_SIZE) as u64, slot).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
    }
    Ok(ControlFlow::Continue(()))
}
