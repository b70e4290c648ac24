//! A volume as its users see it: files and directories by path.

use std::time::SystemTime;

use crate::directory::{self, Directory, Found, Lookup, Record, Vacancy};
use crate::disk::Disk;
use crate::path::Name;
use crate::time::DosTime;
use crate::{Corruption, FatPath, MAX_PATH_DEPTH, PageSource, PathError, VfsError};

/// What a directory holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A file.
    File,
    /// A directory.
    Directory,
}

/// A file or a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name in lower case, without its path; `/` for the root directory.
    ///
    /// A name that another writer made from characters no path here can have shows them as U+FFFD.
    pub name: String,
    /// What it is.
    pub kind: EntryKind,
    /// Size of a file in bytes; 0 for a directory.
    pub size: u64,
    /// When it was made, to the second. FAT has no time zone; times are read and written as UTC. `None`, as for the two
    /// below, for the root directory, and where another writer left no date.
    pub created: Option<SystemTime>,
    /// When a file was written last, in steps of two seconds; for a directory, when it was made.
    pub modified: Option<SystemTime>,
    /// The day, at its beginning, when it was used last. Writing counts as use; reading changes nothing in a volume, so it
    /// is not noted here, though other implementations may have done so.
    pub accessed: Option<SystemTime>,
    /// What other implementations set or go by.
    pub attributes: Attributes,
}

/// FAT's marks of a file or directory. They are kept and shown; nothing is refused here because of one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Not to be written to.
    pub read_only: bool,
    /// Not to be listed.
    pub hidden: bool,
    /// A part of an operating system.
    pub system: bool,
    /// Written since it was backed up last; set by every write.
    pub archive: bool,
}

impl From<&Record> for Entry {
    fn from(record: &Record) -> Self {
        let (kind, size) = match record.is_directory() {
            true => (EntryKind::Directory, 0),
            false => (EntryKind::File, record.size().into()),
        };
        Self {
            name: record.name().to_string(),
            kind,
            size,
            created: record.created().to_system(),
            modified: record.modified().to_system(),
            accessed: record.accessed().to_system(),
            attributes: record.attributes(),
        }
    }
}

/// How much a volume holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Bytes for files and directories, used or not.
    pub total: u64,
    /// Bytes of these that are free. A file uses whole clusters, and a directory at least one.
    pub free: u64,
}

/// A FAT-16 filesystem.
///
/// It keeps what it read of directories and of the allocation table, so while it is in use nothing else may change its
/// pages. Whoever lets several write to one volume has to let them take turns, each with a volume opened anew.
///
/// ```
/// use coprocessor_vfs::{PageSource, PageSourceError, Volume, DEFAULT_VOLUME_SIZE};
/// struct Empty;
/// impl PageSource for Empty {
///     fn read_page(&self, _: u32) -> Result<Option<Vec<u8>>, PageSourceError> {
///         Ok(None)
///     }
/// }
/// let mut volume = Volume::format(Empty, DEFAULT_VOLUME_SIZE)?;
/// volume.write("/var/share/proofs/1a2b3c4d.bin", b"a proof")?;
/// assert_eq!(volume.read("VAR/SHARE/PROOFS/1A2B3C4D.BIN")?, b"a proof");
/// assert_eq!(volume.list("/var")?[0].name, "share");
/// for (index, content) in volume.take_dirty() {
///     // Store the page, or delete it where the content is `None`.
/// #   let _ = (index, content);
/// }
/// # Ok::<(), coprocessor_vfs::VfsError>(())
/// ```
#[derive(Debug)]
pub struct Volume<S: PageSource> {
    disk: Disk<S>,
    now: Option<SystemTime>,
}

impl<S: PageSource> Volume<S> {
    /// An empty filesystem of `size` bytes, the same bytes each time. Its pages are in memory and wait for
    /// [`Self::take_dirty`]; no page of `source` is expected to exist yet.
    ///
    /// # Errors
    /// [`VfsError::Size`].
    pub fn format(source: S, size: u64) -> Result<Self, VfsError> {
        Ok(Self { disk: Disk::format(source, size)?, now: None })
    }

    /// The filesystem of `size` bytes that `source` has. Reads one page.
    ///
    /// # Errors
    /// [`VfsError::Size`], [`VfsError::BootSector`], [`VfsError::Source`], [`VfsError::PageLength`].
    pub fn open(source: S, size: u64) -> Result<Self, VfsError> {
        Ok(Self { disk: Disk::open(source, size)?, now: None })
    }

    /// Sets the moment that what is written from now on is dated; `None`, as at first, is the system's clock.
    pub fn set_now(&mut self, now: Option<SystemTime>) {
        self.now = now;
    }

    /// The content of a file. [`Self::stat`] says beforehand how large it is.
    ///
    /// # Errors
    /// [`VfsError::Path`], [`VfsError::NotFound`], [`VfsError::IsADirectory`], [`VfsError::NotADirectory`] where a
    /// file is used as a directory, [`VfsError::Corrupt`], [`VfsError::Source`], [`VfsError::PageLength`].
    pub fn read(&mut self, path: &str) -> Result<Vec<u8>, VfsError> {
        let path = FatPath::parse(path)?;
        match self.find(&path)? {
            Some(found) if !found.record.is_directory() => self.read_content(&found.record),
            _ => Err(VfsError::IsADirectory { path: path.to_string() }),
        }
    }

    /// Makes `content` the content of a file, which is created if it is not there, as are the directories it is in.
    ///
    /// A file keeps its place: what it had is overwritten. Should anything fail, it still has what it had.
    ///
    /// # Errors
    /// [`VfsError::Path`], [`VfsError::IsADirectory`], [`VfsError::NotADirectory`], [`VfsError::NoSpace`],
    /// [`VfsError::RootDirectoryFull`], [`VfsError::DirectoryFull`], [`VfsError::Corrupt`], [`VfsError::Source`],
    /// [`VfsError::PageLength`].
    pub fn write(&mut self, path: &str, content: &[u8]) -> Result<(), VfsError> {
        let path = FatPath::parse(path)?;
        let now = self.dos_now();
        let Some((name, above)) = path.names().split_last() else {
            return Err(VfsError::IsADirectory { path: path.to_string() });
        };
        self.disk.change(|disk| {
            let parent = descend(disk, &path, above.len(), now)?;
            match directory::look_up(disk, parent, name)? {
                Lookup::Found(found) if found.record.is_directory() => {
                    Err(VfsError::IsADirectory { path: path.to_string() })
                }
                Lookup::Found(found) => replace_file(disk, found, content, now),
                Lookup::Missing(vacancy) => create_file(disk, parent, vacancy, name, content, now),
            }
        })
    }

    /// Makes a directory, and those it is in. One that is there stays as it is.
    ///
    /// # Errors
    /// [`VfsError::Path`], [`VfsError::NotADirectory`], [`VfsError::NoSpace`], [`VfsError::RootDirectoryFull`],
    /// [`VfsError::DirectoryFull`], [`VfsError::Corrupt`], [`VfsError::Source`], [`VfsError::PageLength`].
    pub fn make_directory(&mut self, path: &str) -> Result<(), VfsError> {
        let path = FatPath::parse(path)?;
        let now = self.dos_now();
        self.disk.change(|disk| descend(disk, &path, path.names().len(), now).map(drop))
    }

    /// Gives a file or directory another path, with the directories that this one needs. A file takes the place of another
    /// file; nothing takes the place of a directory. What it holds is not touched, and neither are its dates.
    ///
    /// Names that differ in case alone are one name here, so such a move succeeds and changes nothing. A long name, which
    /// another writer may have given, does not move along.
    ///
    /// # Errors
    /// [`VfsError::Path`], also where something in a moved directory would get too deep; [`VfsError::NotFound`],
    /// [`VfsError::NotADirectory`], [`VfsError::MoveRoot`], [`VfsError::MoveIntoItself`], [`VfsError::InTheWay`],
    /// [`VfsError::NoSpace`], [`VfsError::RootDirectoryFull`], [`VfsError::DirectoryFull`], [`VfsError::Corrupt`],
    /// [`VfsError::Source`], [`VfsError::PageLength`].
    pub fn rename(&mut self, from: &str, to: &str) -> Result<(), VfsError> {
        let (from, to) = (FatPath::parse(from)?, FatPath::parse(to)?);
        let now = self.dos_now();
        let moved = self.find(&from)?.ok_or(VfsError::MoveRoot)?;
        if from == to {
            return Ok(());
        }
        let Some((name, above)) = to.names().split_last() else {
            return Err(VfsError::InTheWay { path: to.to_string() });
        };
        if moved.record.is_directory() {
            if to.names().starts_with(from.names()) {
                return Err(VfsError::MoveIntoItself { from: from.to_string(), to: to.to_string() });
            }
            self.check_depth(&moved, &to)?;
        }
        self.disk.change(|disk| {
            let parent = descend(disk, &to, above.len(), now)?;
            // First, so that there is a place for it in a directory that is full.
            directory::remove(disk, &moved)?;
            match directory::look_up(disk, parent, name)? {
                Lookup::Found(there) if there.record.is_directory() || moved.record.is_directory() => {
                    return Err(VfsError::InTheWay { path: to.to_string() });
                }
                Lookup::Found(there) => {
                    let chain = clusters_of(disk, &there.record)?;
                    disk.resize(chain, 0)?;
                    directory::update(disk, there.at, &moved.record.named_as(&there.record))?;
                }
                Lookup::Missing(vacancy) => directory::insert(disk, parent, vacancy, &moved.record.named(name))?,
            }
            if moved.record.is_directory() {
                let first = disk.checked_first(moved.record.first())?;
                directory::set_parent(disk, first, parent)?;
            }
            Ok(())
        })
    }

    /// Removes a file or an empty directory.
    ///
    /// # Errors
    /// [`VfsError::Path`], [`VfsError::NotFound`], [`VfsError::NotADirectory`], [`VfsError::DirectoryNotEmpty`],
    /// [`VfsError::RemoveRoot`], [`VfsError::Corrupt`], [`VfsError::Source`], [`VfsError::PageLength`].
    pub fn remove(&mut self, path: &str) -> Result<(), VfsError> {
        let path = FatPath::parse(path)?;
        let found = self.find(&path)?.ok_or(VfsError::RemoveRoot)?;
        self.disk.change(|disk| {
            if found.record.is_directory() {
                let first = disk.checked_first(found.record.first())?;
                if !directory::list(disk, Directory::At(first))?.is_empty() {
                    return Err(VfsError::DirectoryNotEmpty { path: path.to_string() });
                }
            }
            let chain = clusters_of(disk, &found.record)?;
            disk.resize(chain, 0)?;
            directory::remove(disk, &found)
        })
    }

    /// What a directory holds, in the order of the names.
    ///
    /// # Errors
    /// [`VfsError::Path`], [`VfsError::NotFound`], [`VfsError::NotADirectory`], [`VfsError::Corrupt`],
    /// [`VfsError::Source`], [`VfsError::PageLength`].
    pub fn list(&mut self, path: &str) -> Result<Vec<Entry>, VfsError> {
        let path = FatPath::parse(path)?;
        let directory = match self.find(&path)? {
            None => Directory::Root,
            Some(found) => enter(&self.disk, &found, &path, path.names().len() - 1)?,
        };
        let mut entries: Vec<Entry> = directory::list(&mut self.disk, directory)?.iter().map(Entry::from).collect();
        entries.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(entries)
    }

    /// What is known of a file or directory without reading it.
    ///
    /// # Errors
    /// [`VfsError::Path`], [`VfsError::NotFound`], [`VfsError::NotADirectory`], [`VfsError::Corrupt`],
    /// [`VfsError::Source`], [`VfsError::PageLength`].
    pub fn stat(&mut self, path: &str) -> Result<Entry, VfsError> {
        let path = FatPath::parse(path)?;
        Ok(match self.find(&path)? {
            Some(found) => Entry::from(&found.record),
            None => Entry {
                name: path.to_string(),
                kind: EntryKind::Directory,
                size: 0,
                created: None,
                modified: None,
                accessed: None,
                attributes: Attributes::default(),
            },
        })
    }

    /// How much room there is. Reads the whole allocation table, at most 32 pages.
    ///
    /// # Errors
    /// [`VfsError::Source`], [`VfsError::PageLength`].
    pub fn space(&mut self) -> Result<Space, VfsError> {
        let free = self.disk.count_free()?;
        let geometry = self.disk.geometry();
        let bytes = |clusters: usize| (clusters * geometry.cluster_size) as u64;
        Ok(Space { total: bytes(geometry.clusters().into()), free: bytes(free) })
    }

    /// The pages that changed since the volume was formatted or opened, or since the last call of this, in ascending
    /// order: their content, or `None` where a page is all zeros and need not be kept.
    ///
    /// The volume still sees its changes afterwards, wherever the caller puts the pages and whenever.
    pub fn take_dirty(&mut self) -> Vec<(u32, Option<Vec<u8>>)> {
        self.disk.pages().take_dirty()
    }

    /// The pages that [`Self::take_dirty`] would hand over, without taking them: over those of the source they are the
    /// volume as it is now.
    pub fn dirty(&self) -> impl Iterator<Item = (u32, Option<&[u8]>)> {
        self.disk.dirty()
    }

    /// Replaces pages, of which each is [`PAGE_SIZE`](crate::PAGE_SIZE) bytes or all zeros (`None`), and goes on with the
    /// filesystem that they make with those that stay. What they make is for the caller to know: see
    /// [`check`](crate::check()).
    ///
    /// # Errors
    /// [`VfsError::BootSector`], [`VfsError::PageLength`], [`VfsError::Source`]; the volume is then as it was.
    ///
    /// # Panics
    /// On a page beyond [`Self::page_count`].
    pub fn overwrite(&mut self, pages: impl IntoIterator<Item = (u32, Option<Vec<u8>>)>) -> Result<(), VfsError> {
        self.disk.overwrite(pages)
    }

    /// How many pages the volume has, absent ones included.
    pub fn page_count(&self) -> u32 {
        self.disk.page_count()
    }

    fn dos_now(&self) -> DosTime {
        DosTime::from_system(self.now.unwrap_or_else(SystemTime::now))
    }

    /// Whether everything in a directory still has a path when the directory has the path `to`.
    fn check_depth(&mut self, moved: &Found, to: &FatPath) -> Result<(), VfsError> {
        let first = self.disk.checked_first(moved.record.first())?;
        let got = to.names().len() + directory::height(&mut self.disk, first)?;
        if got > MAX_PATH_DEPTH { Err(PathError::TooDeep { got }.into()) } else { Ok(()) }
    }

    /// What is at a path; `None` for the root directory, which no entry describes.
    fn find(&mut self, path: &FatPath) -> Result<Option<Found>, VfsError> {
        let mut found: Option<Found> = None;
        for (depth, name) in path.names().iter().enumerate() {
            let directory = match &found {
                None => Directory::Root,
                Some(above) => enter(&self.disk, above, path, depth - 1)?,
            };
            match directory::look_up(&mut self.disk, directory, name)? {
                Lookup::Found(entry) => found = Some(entry),
                Lookup::Missing(_) => return Err(VfsError::NotFound { path: path.to_string() }),
            }
        }
        Ok(found)
    }

    fn read_content(&mut self, record: &Record) -> Result<Vec<u8>, VfsError> {
        let size = record.size();
        if size == 0 {
            return Ok(Vec::new());
        }
        let needed = self.disk.geometry().clusters_for(size as usize);
        let chain = self.disk.chain(record.first(), needed)?;
        if chain.len() < needed {
            return Err(Corruption::ChainShort { size, clusters: chain.len() }.into());
        }
        // The chain has no cluster twice, so this is at most the volume's size.
        let mut content = vec![0; size as usize];
        self.disk.read(&chain, &mut content)?;
        Ok(content)
    }
}

/// The directory that an entry describes, which is the name at `depth` of `path`.
fn enter<S: PageSource>(disk: &Disk<S>, found: &Found, path: &FatPath, depth: usize) -> Result<Directory, VfsError> {
    if !found.record.is_directory() {
        return Err(VfsError::NotADirectory { path: path.prefix(depth + 1) });
    }
    Ok(Directory::At(disk.checked_first(found.record.first())?))
}

/// The directory of the first `depth` names of a path, made where it is missing.
fn descend<S: PageSource>(
    disk: &mut Disk<S>,
    path: &FatPath,
    depth: usize,
    now: DosTime,
) -> Result<Directory, VfsError> {
    let mut directory = Directory::Root;
    for (depth, name) in path.names()[..depth].iter().enumerate() {
        directory = match directory::look_up(disk, directory, name)? {
            Lookup::Found(found) => enter(disk, &found, path, depth)?,
            Lookup::Missing(vacancy) => directory::create(disk, directory, vacancy, name, now)?,
        };
    }
    Ok(directory)
}

fn clusters_of<S: PageSource>(disk: &mut Disk<S>, record: &Record) -> Result<Vec<u16>, VfsError> {
    match record.first() {
        0 => Ok(Vec::new()),
        first => disk.chain(first, usize::MAX),
    }
}

fn replace_file<S: PageSource>(
    disk: &mut Disk<S>,
    mut found: Found,
    content: &[u8],
    now: DosTime,
) -> Result<(), VfsError> {
    let chain = clusters_of(disk, &found.record)?;
    store(disk, &mut found.record, chain, content, now)?;
    directory::update(disk, found.at, &found.record)
}

fn create_file<S: PageSource>(
    disk: &mut Disk<S>,
    parent: Directory,
    vacancy: Option<Vacancy>,
    name: &Name,
    content: &[u8],
    now: DosTime,
) -> Result<(), VfsError> {
    let mut record = Record::file(name, now);
    store(disk, &mut record, Vec::new(), content, now)?;
    directory::insert(disk, parent, vacancy, &record)
}

/// Puts `content` into the clusters of `chain`, as many as it needs, and notes them in `record`.
fn store<S: PageSource>(
    disk: &mut Disk<S>,
    record: &mut Record,
    chain: Vec<u16>,
    content: &[u8],
    now: DosTime,
) -> Result<(), VfsError> {
    let chain = disk.resize(chain, disk.geometry().clusters_for(content.len()))?;
    disk.fill(&chain, content)?;
    // A volume holds at most 2 GiB, and this fitted.
    record.set_content(chain.first().copied().unwrap_or(0), content.len() as u32, now);
    Ok(())
}
