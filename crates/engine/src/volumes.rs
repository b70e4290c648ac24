//! Volumes as controllers and the file API see them: a filesystem over a snapshot, and the write that comes of it.

use coprocessor_sandbox::{Host, HostError, MAX_BUFFER};
use coprocessor_store::{Store, StoreError, VolumeSnapshot, VolumeWrite};
use coprocessor_types::ProgramId;
use coprocessor_vfs::{PAGE_SIZE, PageSource, PageSourceError, VfsError, Volume};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::{EngineError, controllers::Subject, failure};

/// A snapshot's pages, as the filesystem reads them.
pub(crate) struct Pages {
    snapshot: Box<dyn VolumeSnapshot>,
    /// Set when a page could not be read for a reason that passes.
    away: Arc<AtomicBool>,
}

impl Pages {
    fn new(snapshot: Box<dyn VolumeSnapshot>) -> Self {
        Self { snapshot, away: Arc::default() }
    }
}

impl PageSource for Pages {
    fn read_page(&self, index: u32) -> Result<Option<Vec<u8>>, PageSourceError> {
        self.snapshot.read_page(index).map_err(|error| {
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
        let (size, version) = (snapshot.size(), snapshot.version());
        let pages = Pages::new(snapshot);
        if is_formatted(&pages, version)? {
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
fn is_formatted(pages: &Pages, version: u64) -> Result<bool, EngineError> {
    Ok(version > 0 && pages.snapshot.read_page(0)?.is_some())
}

/// One program's volume and raw storage at one version, with the changes made since. Blocks.
pub(crate) struct OpenVolume {
    volume: Volume<Pages>,
    based_on: u64,
    stored_raw: Option<Vec<u8>>,
    new_raw: Option<Vec<u8>>,
    /// Set when the store could not be read for a reason that passes.
    away: Arc<AtomicBool>,
}

impl OpenVolume {
    /// Opens the volume as it is now, or a fresh one when nothing was ever written.
    pub(crate) fn open(store: &dyn Store, program: ProgramId) -> Result<Self, EngineError> {
        let snapshot = snapshot(store, program)?;
        let (size, based_on, stored_raw) = (snapshot.size(), snapshot.version(), snapshot.raw()?);
        let pages = Pages::new(snapshot);
        let away = Arc::clone(&pages.away);
        let formatted = is_formatted(&pages, based_on)?;
        let volume = if formatted { Volume::open(pages, size)? } else { Volume::format(pages, size)? };
        Ok(Self { volume, based_on, stored_raw, new_raw: None, away })
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

/// What a controller may touch: its own volume and raw storage, opened at the first call that needs them. A domain's has
/// neither.
pub(crate) struct ControllerHost<'a> {
    store: &'a dyn Store,
    subject: Subject,
    open: Option<OpenVolume>,
    wrote: bool,
    /// The store could not be opened for a reason that passes.
    away: bool,
}

impl<'a> ControllerHost<'a> {
    pub(crate) fn new(store: &'a dyn Store, subject: Subject) -> Self {
        Self { store, subject, open: None, wrote: false, away: false }
    }

    /// What the controller wrote; empty when it only read.
    pub(crate) fn into_write(self) -> VolumeWrite {
        match self.open {
            Some(open) if self.wrote => open.into_write(),
            _ => VolumeWrite::default(),
        }
    }

    /// Whether the store could not be reached, or will be able later to do what it could not.
    pub(crate) fn store_was_away(&self) -> bool {
        self.away || self.open.as_ref().is_some_and(|open| open.away.load(Ordering::Relaxed))
    }

    fn volume(&mut self) -> Result<&mut OpenVolume, HostError> {
        let Subject::Program(program) = self.subject else {
            let reason =
                "a domain's controller has no files and no raw storage; what it is to know is in its arguments";
            return Err(HostError::Refused { reason: reason.into() });
        };
        if self.open.is_none() {
            let open = OpenVolume::open(self.store, program).map_err(|error| {
                self.away = matches!(&error, EngineError::Store(error) if failure::passes(error));
                HostError::Failed { reason: chain(&error) }
            })?;
            self.open = Some(open);
        }
        Ok(self.open.as_mut().expect("opened above"))
    }
}

impl Host for ControllerHost<'_> {
    fn read_file(&mut self, path: &str) -> Result<Option<Vec<u8>>, HostError> {
        let files = self.volume()?.files();
        match files.stat(path) {
            Ok(entry) if entry.size > MAX_BUFFER as u64 => return Err(HostError::TooLarge { len: entry.size }),
            Ok(_) => {}
            Err(VfsError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(refused(&error)),
        }
        files.read(path).map(Some).map_err(|error| refused(&error))
    }

    fn write_file(&mut self, path: &str, content: &[u8]) -> Result<(), HostError> {
        self.volume()?.files().write(path, content).map_err(|error| refused(&error))?;
        self.wrote = true;
        Ok(())
    }

    fn raw_storage(&mut self) -> Result<Option<Vec<u8>>, HostError> {
        let open = self.volume()?;
        Ok(open.new_raw.clone().or_else(|| open.stored_raw.clone()))
    }

    fn set_raw_storage(&mut self, content: &[u8]) -> Result<(), HostError> {
        self.volume()?.new_raw = Some(content.to_vec());
        self.wrote = true;
        Ok(())
    }
}

/// A failing store is the host's failure; anything else is the controller's to read.
fn refused(error: &VfsError) -> HostError {
    match error {
        VfsError::Source { .. } | VfsError::PageLength { .. } => HostError::Failed { reason: chain(error) },
        _ => HostError::Refused { reason: error.to_string() },
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
