//! Volumes as controllers and the file API see them: a filesystem over a snapshot, and the write that comes of it.

use coprocessor_store::{Store, StoreError, VolumeSnapshot, VolumeWrite};
use coprocessor_types::ProgramId;
use coprocessor_vfs::{PAGE_SIZE, PageSource, PageSourceError, VfsError, Volume};
use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::{EngineError, failure};

/// A snapshot's pages, as the filesystem reads them.
#[derive(Clone)]
pub(crate) struct Pages {
    /// `None` while it is left.
    snapshot: Arc<Mutex<Option<Box<dyn VolumeSnapshot>>>>,
    /// Set when a page could not be read for a reason that passes.
    away: Arc<AtomicBool>,
}

/// A page was asked for between [`OpenVolume::leave`] and [`OpenVolume::come_back`]: a bug.
#[derive(Debug, thiserror::Error)]
#[error("the volume is not open now")]
struct LeftError;

impl Pages {
    fn new(snapshot: Box<dyn VolumeSnapshot>) -> Self {
        Self { snapshot: Arc::new(Mutex::new(Some(snapshot))), away: Arc::default() }
    }

    /// A panic of the store's while it held the lock has changed nothing of what is in it.
    fn snapshot(&self) -> MutexGuard<'_, Option<Box<dyn VolumeSnapshot>>> {
        self.snapshot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pages {
    /// Those of a range that are not all zeros.
    fn read_many(&self, range: Range<u32>) -> Result<Vec<(u32, Vec<u8>)>, PageSourceError> {
        self.read(|snapshot| snapshot.read_pages(range))
    }

    fn read<T>(&self, read: impl FnOnce(&dyn VolumeSnapshot) -> Result<T, StoreError>) -> Result<T, PageSourceError> {
        let snapshot = self.snapshot();
        let snapshot = snapshot.as_ref().ok_or_else(|| PageSourceError::new(LeftError))?;
        read(&**snapshot).map_err(|error| {
            if failure::passes(&error) {
                self.away.store(true, Ordering::Relaxed);
            }
            PageSourceError::new(error)
        })
    }
}

impl PageSource for Pages {
    fn read_page(&self, index: u32) -> Result<Option<Vec<u8>>, PageSourceError> {
        self.read(|snapshot| snapshot.read_page(index))
    }
}

/// Nothing was ever written here.
pub(crate) struct NoPages;

impl PageSource for NoPages {
    fn read_page(&self, _: u32) -> Result<Option<Vec<u8>>, PageSourceError> {
        Ok(None)
    }
}

/// A volume as it lies in the store, or as it would be formatted, page by page.
pub(crate) enum VolumeImage {
    Stored { pages: Pages, size: u64 },
    Fresh { pages: BTreeMap<u32, Vec<u8>>, size: u64 },
}

impl VolumeImage {
    pub(crate) fn open(store: &dyn Store, program: ProgramId) -> Result<Self, EngineError> {
        let snapshot = snapshot(store, program)?;
        let (size, formatted) = (snapshot.size(), is_formatted(&*snapshot)?);
        let pages = Pages::new(snapshot);
        if formatted {
            return Ok(Self::Stored { pages, size });
        }
        let dirty = Volume::format(NoPages, size)?.take_dirty();
        let pages = dirty.into_iter().filter_map(|(index, page)| Some((index, page?))).collect();
        Ok(Self::Fresh { pages, size })
    }

    /// In bytes.
    pub(crate) fn size(&self) -> u64 {
        match self {
            Self::Stored { size, .. } | Self::Fresh { size, .. } => *size,
        }
    }

    /// The bytes of pages side by side, zeros where one is absent.
    pub(crate) fn pages(&self, range: Range<u32>) -> Result<Vec<u8>, EngineError> {
        match self {
            Self::Stored { pages, .. } => stored(pages, range),
            Self::Fresh { pages, .. } => {
                let there = pages.range(range.clone()).map(|(&index, page)| (index, Some(page.as_slice())));
                let mut bytes = vec![0; range.len() * PAGE_SIZE];
                lay_over(&mut bytes, range.start, there)?;
                Ok(bytes)
            }
        }
    }
}

/// Pages of the store side by side, zeros where one is absent.
fn stored(pages: &Pages, range: Range<u32>) -> Result<Vec<u8>, EngineError> {
    let mut bytes = vec![0; range.len() * PAGE_SIZE];
    let there = pages.read_many(range.clone()).map_err(|source| VfsError::Source { page: range.start, source })?;
    lay_over(&mut bytes, range.start, there.iter().map(|(index, page)| (*index, Some(page.as_slice()))))?;
    Ok(bytes)
}

/// Puts pages where they belong in bytes that begin with page `first`.
fn lay_over<'a>(
    bytes: &mut [u8],
    first: u32,
    pages: impl Iterator<Item = (u32, Option<&'a [u8]>)>,
) -> Result<(), EngineError> {
    for (index, page) in pages {
        let place = &mut bytes[(index - first) as usize * PAGE_SIZE..][..PAGE_SIZE];
        match page {
            Some(page) if page.len() == PAGE_SIZE => place.copy_from_slice(page),
            Some(page) => return Err(VfsError::PageLength { page: index, got: page.len() }.into()),
            None => place.fill(0),
        }
    }
    Ok(())
}

fn snapshot(store: &dyn Store, program: ProgramId) -> Result<Box<dyn VolumeSnapshot>, EngineError> {
    store.volume_snapshot(program).map_err(|error| match error {
        StoreError::UnknownProgram(id) => EngineError::UnknownProgram(id),
        other => EngineError::Store(other),
    })
}

/// Version 0 means that nothing was ever written; raw storage alone also raises it, so the boot page decides.
fn is_formatted(snapshot: &dyn VolumeSnapshot) -> Result<bool, EngineError> {
    Ok(snapshot.version() > 0 && snapshot.read_page(0)?.is_some())
}

/// One program's volume and raw storage at one version, with the changes made since. Blocks.
pub(crate) struct OpenVolume {
    volume: Volume<Pages>,
    based_on: u64,
    stored_raw: Option<Vec<u8>>,
    new_raw: Option<Vec<u8>>,
    /// Nothing was ever written to it.
    is_fresh: bool,
    /// Those that the volume reads.
    pages: Pages,
}

impl OpenVolume {
    /// Opens the volume as it is now, or a fresh one when nothing was ever written.
    pub(crate) fn open(store: &dyn Store, program: ProgramId) -> Result<Self, EngineError> {
        let snapshot = snapshot(store, program)?;
        let (size, based_on, stored_raw) = (snapshot.size(), snapshot.version(), snapshot.raw()?);
        let formatted = is_formatted(&*snapshot)?;
        let pages = Pages::new(snapshot);
        let source = pages.clone();
        let volume = if formatted { Volume::open(source, size)? } else { Volume::format(source, size)? };
        Ok(Self { volume, based_on, stored_raw, new_raw: None, is_fresh: !formatted, pages })
    }

    /// Gives the view of the store back: others wait for such views. What was read and changed stays.
    pub(crate) fn leave(&mut self) {
        *self.pages.snapshot() = None;
    }

    /// Opens the view again, if it was left and nobody has written meanwhile.
    ///
    /// # Errors
    /// [`EngineError::VolumeBusy`]: somebody has.
    pub(crate) fn come_back(&mut self, store: &dyn Store, program: ProgramId) -> Result<(), EngineError> {
        let mut left = self.pages.snapshot();
        if left.is_none() {
            let snapshot = snapshot(store, program)?;
            if snapshot.version() != self.based_on {
                return Err(EngineError::VolumeBusy(program));
            }
            *left = Some(snapshot);
        }
        Ok(())
    }

    /// The raw bytes, as they would be after the changes.
    pub(crate) fn raw(&self) -> Option<Vec<u8>> {
        self.new_raw.clone().or_else(|| self.stored_raw.clone())
    }

    pub(crate) fn set_raw(&mut self, raw: Vec<u8>) {
        self.new_raw = Some(raw);
    }

    /// Whether the store could not be read for a reason that passes.
    pub(crate) fn store_was_away(&self) -> bool {
        self.pages.away.load(Ordering::Relaxed)
    }

    pub(crate) fn files(&mut self) -> &mut Volume<Pages> {
        &mut self.volume
    }

    /// In bytes.
    pub(crate) fn size(&self) -> u64 {
        u64::from(self.volume.page_count()) * PAGE_SIZE as u64
    }

    /// The whole volume, as it would be after the changes. For small ones: all of it is in memory.
    pub(crate) fn image(&self) -> Result<Vec<u8>, EngineError> {
        let mut image = match self.is_fresh {
            true => vec![0; self.size() as usize],
            false => stored(&self.pages, 0..self.volume.page_count())?,
        };
        lay_over(&mut image, 0, self.volume.dirty())?;
        Ok(image)
    }

    /// Makes `image`, and zeros after it, what the volume holds. It has to be whole, and no longer than the volume.
    pub(crate) fn replace(&mut self, image: &[u8]) -> Result<(), EngineError> {
        let before = self.image()?;
        let mut after = image.to_vec();
        after.resize(before.len(), 0);
        let pages = (0..).zip(before.chunks(PAGE_SIZE).zip(after.chunks(PAGE_SIZE)));
        let changed = pages.filter(|(_, (before, after))| before != after);
        let changed =
            changed.map(|(index, (_, page))| (index, page.iter().any(|&byte| byte != 0).then(|| page.to_vec())));
        Ok(self.volume.overwrite(changed)?)
    }

    /// The changes, for the store, with what the volumes of the program's owner may hold together.
    pub(crate) fn into_write(mut self, quota: Option<u64>) -> VolumeWrite {
        let pages = self.volume.take_dirty();
        VolumeWrite { based_on: self.based_on, pages, raw: self.new_raw.map(Into::into), quota }
    }
}

/// An error with its causes, on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = error.source();
    }
    text
}
