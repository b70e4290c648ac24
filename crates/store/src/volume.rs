//! A program's volume: numbered pages, and a version that every write raises.

use crate::StoreError;
use bytes::Bytes;
use std::{fmt, io, ops::Range};

/// A consistent view of one program's volume. What is written later does not show in it. Blocks.
pub trait VolumeSnapshot: Send {
    /// Size of the volume in bytes.
    fn size(&self) -> u64;

    /// The version this is a view of. Zero: nothing was ever written, the volume is to be formatted.
    fn version(&self) -> u64;

    /// A page's content; `None` when it is all zeros.
    ///
    /// # Errors
    /// What the database says.
    fn read_page(&self, index: u32) -> Result<Option<Vec<u8>>, StoreError>;

    /// The pages of a range that are not all zeros, in ascending order: in one go, for whoever reads many.
    ///
    /// # Errors
    /// What the database says.
    fn read_pages(&self, range: Range<u32>) -> Result<Vec<(u32, Vec<u8>)>, StoreError>;

    /// The program's raw storage; `None` when it was never set.
    ///
    /// # Errors
    /// What the database says.
    fn raw(&self) -> Result<Option<Vec<u8>>, StoreError>;
}

/// A change of a volume and of raw storage, based on a snapshot.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct VolumeWrite {
    /// The snapshot's version; the write is refused when the volume has another by then.
    pub based_on: u64,
    /// Pages with their new content; `None` where a page is now all zeros.
    pub pages: Vec<(u32, Option<Vec<u8>>)>,
    /// New raw storage; `None` leaves it as it is.
    pub raw: Option<Bytes>,
    /// Most bytes that all volumes of the program's owner may hold together if they hold more after it than before, pages that are
    /// not all zeros and raw storage; `None`: no bound.
    pub quota: Option<u64>,
}

impl VolumeWrite {
    /// Whether it changes anything.
    pub fn is_empty(&self) -> bool {
        self.pages.is_empty() && self.raw.is_none()
    }
}

/// All that a volume is to hold instead of what it has.
pub struct VolumeContent {
    /// Its size in bytes from now on.
    pub size: u64,
    /// As [`VolumeWrite::quota`].
    pub quota: Option<u64>,
    /// Begins to read its pages: all that are not all zeros, in ascending order. Called again when the write has to begin anew.
    pub pages: Box<dyn Fn() -> VolumePages + Send + Sync>,
}

/// Pages as they are read, each with its number.
pub type VolumePages = Box<dyn Iterator<Item = io::Result<(u32, Vec<u8>)>> + Send>;

impl fmt::Debug for VolumeContent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut content = f.debug_struct("VolumeContent");
        content.field("size", &self.size).field("quota", &self.quota).finish_non_exhaustive()
    }
}
