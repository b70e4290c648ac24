//! Images of volumes that come from outside: received, looked at in full, and only then put in a volume's place.

#[cfg(test)]
mod tests;

use bytes::Bytes;
use coprocessor_store::{Scope, VolumeContent, VolumePages};
use coprocessor_types::ProgramId;
use coprocessor_vfs::{
    Checked, ImageError, PAGE_SIZE, PageSource, PageSourceError, PartitionError, check, find_filesystem,
};
use std::{
    fs::File,
    io,
    ops::Range,
    os::unix::fs::FileExt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{Caller, Engine, EngineError, Inner, controllers::blocking};

/// Images of the largest size that may be on their way in at once, all owners' together.
const LARGEST_AT_ONCE: u64 = 2;

/// Why an image is not put in a volume's place. Nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum ImageRefusal {
    /// It is no whole filesystem.
    #[error("the image is not taken: {0}")]
    Image(#[from] ImageError),
    /// It has a partition table, and no partition to take.
    #[error("the image is not taken: {0}")]
    Partition(#[from] PartitionError),
    /// It has nothing in it, or ends within a sector.
    #[error("the image is not taken: it has {got} bytes, expected whole sectors of 512")]
    Length {
        /// How many bytes came.
        got: u64,
    },
}

/// What a volume holds after its image was replaced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NewImage {
    /// The volume's size in bytes, which is the image's.
    pub size: u64,
    /// What is in it.
    pub checked: Checked,
}

/// An image on its way in. What came lies in a file without a name, of which zeros take no room; it goes with this.
pub struct ImageUpload {
    inner: Arc<Inner>,
    program: ProgramId,
    /// What the volumes of the program's owner may hold together.
    quota: u64,
    file: Arc<File>,
    received: u64,
    limit: u64,
}

impl Engine {
    /// Begins to receive an image that is to take the place of a program's volume.
    ///
    /// # Errors
    /// A program that is unknown or not the caller's; a full store.
    pub async fn receive_image(&self, caller: &Caller, program: ProgramId) -> Result<ImageUpload, EngineError> {
        let owner = self.owned(caller, Scope::Deploy, program).await?.owner;
        self.inner.check_room()?;
        let file = blocking(tempfile::tempfile).await?.map_err(failed)?;
        // With room for a partition table before the volume, wherever other writers put that.
        let limit = self.inner.config.max_volume_size.saturating_add(1 << 20);
        let quota = self.inner.limits(&owner).await?.volume_bytes;
        Ok(ImageUpload { inner: Arc::clone(&self.inner), program, quota, file: Arc::new(file), received: 0, limit })
    }
}

impl ImageUpload {
    /// Takes the next bytes.
    ///
    /// # Errors
    /// [`EngineError::ImageTooLarge`]; [`EngineError::StorageLow`] while too much of others' images is on its way.
    pub async fn write(&mut self, chunk: Bytes) -> Result<(), EngineError> {
        let length = chunk.len() as u64;
        if self.received + length > self.limit {
            return Err(EngineError::ImageTooLarge { limit: self.inner.config.max_volume_size });
        }
        let bound = self.limit.saturating_mul(LARGEST_AT_ONCE);
        if self.inner.arriving.fetch_add(length, Ordering::Relaxed) + length > bound {
            self.inner.arriving.fetch_sub(length, Ordering::Relaxed);
            let reason = "too many images are being uploaded; try again when some have arrived".to_owned();
            return Err(EngineError::StorageLow { free: None, reason });
        }
        let (file, at) = (Arc::clone(&self.file), self.received);
        self.received += length;
        blocking(move || write_sparsely(&file, at, &chunk)).await?.map_err(failed)
    }

    /// Looks at all that came, and puts it in the volume's place in one transaction. Whoever writes to the volume meanwhile comes
    /// before or after; a controller that runs sees the old volume, and runs again on the new one if it wrote.
    ///
    /// # Errors
    /// [`EngineError::InvalidImage`] says what is wrong with it and where; [`EngineError::ImageTooLarge`];
    /// [`EngineError::VolumeQuota`]; a program that is gone.
    pub async fn finish(self) -> Result<NewImage, EngineError> {
        let (file, received) = (Arc::clone(&self.file), self.received);
        let limit = self.inner.config.max_volume_size;
        let (image, checked) = blocking(move || -> Result<_, EngineError> {
            let image = ImageFile::open(file, received)?;
            if image.volume_size() > limit {
                return Err(EngineError::ImageTooLarge { limit });
            }
            let checked = check(&image, image.part.end - image.part.start).map_err(refused)?;
            Ok((image, checked))
        })
        .await??;
        let size = image.volume_size();
        let pages = move || -> VolumePages { Box::new(image.clone().pages()) };
        let _turn = self.inner.turns.take_soon(self.program).await;
        let content = VolumeContent { size, quota: Some(self.quota), pages: Box::new(pages) };
        self.inner.store.replace_volume(self.program, content).await.map_err(|error| match error {
            coprocessor_store::StoreError::UnknownProgram(id) => EngineError::UnknownProgram(id),
            other => other.into(),
        })?;
        tracing::info!(program = %self.program, size, files = checked.files, "volume replaced by an image");
        Ok(NewImage { size, checked })
    }
}

impl Drop for ImageUpload {
    fn drop(&mut self) {
        self.inner.arriving.fetch_sub(self.received, Ordering::Relaxed);
    }
}

/// Bytes of images that are on their way in.
pub(crate) type Arriving = AtomicU64;

/// An image that has come, and the part of it that is a filesystem.
#[derive(Clone)]
struct ImageFile {
    file: Arc<File>,
    part: Range<u64>,
}

impl ImageFile {
    fn open(file: Arc<File>, length: u64) -> Result<Self, EngineError> {
        const SECTOR: usize = 512;
        if length == 0 || !length.is_multiple_of(SECTOR as u64) {
            return Err(EngineError::InvalidImage(Box::new(ImageRefusal::Length { got: length })));
        }
        // Zeros at its end were not written.
        file.set_len(length).map_err(failed)?;
        let mut first = [0; SECTOR];
        file.read_exact_at(&mut first, 0).map_err(failed)?;
        let part =
            find_filesystem(&first, length).map_err(|error| EngineError::InvalidImage(Box::new(error.into())))?;
        Ok(Self { file, part })
    }

    /// A volume has whole pages; what the filesystem lacks to the last one are zeros.
    fn volume_size(&self) -> u64 {
        (self.part.end - self.part.start).next_multiple_of(PAGE_SIZE as u64)
    }

    fn read(&self, index: u32) -> io::Result<Option<Vec<u8>>> {
        let start = self.part.start + u64::from(index) * PAGE_SIZE as u64;
        let mut page = vec![0; PAGE_SIZE];
        let there = self.part.end.saturating_sub(start).min(PAGE_SIZE as u64) as usize;
        self.file.read_exact_at(&mut page[..there], start)?;
        Ok(page.iter().any(|&byte| byte != 0).then_some(page))
    }

    fn pages(self) -> impl Iterator<Item = io::Result<(u32, Vec<u8>)>> {
        // The largest volume has 2^19 pages.
        let count = (self.volume_size() / PAGE_SIZE as u64) as u32;
        (0..count).filter_map(move |index| self.read(index).transpose().map(|page| Ok((index, page?))))
    }
}

impl PageSource for ImageFile {
    fn read_page(&self, index: u32) -> Result<Option<Vec<u8>>, PageSourceError> {
        self.read(index).map_err(PageSourceError::new)
    }
}

/// Zeros are left out: where nothing was written a file has them anyway.
fn write_sparsely(file: &File, at: u64, chunk: &[u8]) -> io::Result<()> {
    let mut at = at;
    for part in chunk.chunks(PAGE_SIZE) {
        if part.iter().any(|&byte| byte != 0) {
            file.write_all_at(part, at)?;
        }
        at += part.len() as u64;
    }
    Ok(())
}

/// The image's fault, unless it is the file's that it lies in.
fn refused(error: ImageError) -> EngineError {
    match error {
        ImageError::Read(error) => EngineError::Volume(error),
        error => EngineError::InvalidImage(Box::new(error.into())),
    }
}

fn failed(error: io::Error) -> EngineError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => EngineError::StorageLow {
            free: None,
            reason: "there is no room for the image among the service's temporary files".to_owned(),
        },
        _ => EngineError::Internal(format!("an image that is uploaded can't be kept: {error}")),
    }
}
