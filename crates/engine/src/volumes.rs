//! Volumes as controllers and the file API see them: a filesystem over a snapshot, and the write that comes of it.

use coprocessor_store::{Store, StoreError, VolumeSnapshot, VolumeWrite};
use coprocessor_types::ProgramId;
use coprocessor_vfs::{PAGE_SIZE, PageSource, PageSourceError, Volume};
use std::{
    collections::BTreeMap,
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

impl PageSource for Pages {
    fn read_page(&self, index: u32) -> Result<Option<Vec<u8>>, PageSourceError> {
        let snapshot = self.snapshot();
        let snapshot = snapshot.as_ref().ok_or_else(|| PageSourceError::new(LeftError))?;
        snapshot.read_page(index).map_err(|error| {
            if failure::passes(&error) {
                self.away.store(true, Ordering::Relaxed);
            }
            PageSourceError::new(error)
        })
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

    /// A page's bytes, zeros where it is absent.
    pub(crate) fn page(&self, index: u32) -> Result<Vec<u8>, EngineError> {
        match self {
            Self::Stored { pages, .. } => Ok(coprocessor_vfs::read_image_page(pages, index)?),
            Self::Fresh { pages, .. } => Ok(pages.get(&index).cloned().unwrap_or_else(|| vec![0; PAGE_SIZE])),
        }
    }
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
        Ok(Self { volume, based_on, stored_raw, new_raw: None, pages })
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

    /// The changes, for the store.
    pub(crate) fn into_write(mut self) -> VolumeWrite {
        let pages = self.volume.take_dirty();
        VolumeWrite { based_on: self.based_on, pages, raw: self.new_raw.map(Into::into) }
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
