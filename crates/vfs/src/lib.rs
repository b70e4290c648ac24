//! FAT-16 volumes over a sparse array of pages.
//!
//! A [`Volume`] is a filesystem whose bytes come from a [`PageSource`]: numbered pages of [`PAGE_SIZE`] bytes, of
//! which only those that are not all zeros need to exist anywhere. A volume reads the pages an operation needs and
//! keeps changed ones in memory until [`Volume::take_dirty`] hands them over, so that the caller can store all changes
//! of several operations at once, or none of them. Taken in order, with zeros where a page is absent, the pages are a
//! plain FAT-16 image ([`Image`]) which `fsck.fat` accepts and mtools reads and writes.
//!
//! # What an operation costs
//!
//! - Reading a file: the pages of the directories on its path, of its part of the allocation table, and of its content.
//! - Writing a file: the same, and one table page in which clusters are free. Where to look for those is noted in the
//!   reserved area next to the boot sector, so that the search does not begin at the volume's start each time.
//!   Only when that part is full does it go on, through at most the 32 pages which the largest table has.
//! - [`Volume::space`], and the report of a full volume, read the whole table: at most those 32 pages.
//! - Freed clusters are zeroed, so their pages vanish from the store as the file does.
//!
//! # Damage and malice
//!
//! An image may come from anywhere. The boot sector is checked in full before anything else is read, every number in
//! the table or in a directory is checked before it is followed, and every walk is bounded by the volume's geometry: a
//! damaged image gives [`VfsError::Corrupt`] or [`VfsError::BootSector`], not a panic and not a loop without an end.
//! An operation that fails, for whatever reason, leaves the volume as it was before. Using an image reads no more of it than
//! an operation needs; [`check()`] reads all of its tables and directories, and tells what is wrong and where, before it is
//! let in place of another.
//!
//! # Why this is not the `fatfs` crate
//!
//! The `fatfs` crate (0.3.6) was tried first. Its filesystem can't be kept between calls here (it is not `Send`), and
//! opened for each call it looks for free clusters from the volume's beginning: in memory, writing a 4 KiB file took
//! it 6 µs and 5 pages with 1 MiB used, 312 µs and 12 pages with 60 MiB used; here it is 2 to 4 µs and the same pages at
//! both. It gives each file a long name, even `.`, which `fsck.fat` takes for damage; its clock is a `static`; it
//! underflows on an entry whose first cluster is 1; it does not say which clusters it freed. It serves in the tests, as
//! an independent reader and writer.

mod check;
mod directory;
mod disk;
mod error;
mod geometry;
mod image;
mod pages;
mod partition;
mod path;
mod time;
mod volume;

pub use check::{Checked, Fault, Faults, ImageError, check};
pub use error::{BootSectorError, Corruption, VfsError};
pub use image::{Image, read_image_page};
pub use pages::{PageSource, PageSourceError};
pub use partition::{PARTITION_START, PartitionError, find_filesystem, partition_table};
pub use path::{FatPath, MAX_PATH_DEPTH, MAX_PATH_LENGTH, PathError};
pub use volume::{Attributes, Entry, EntryKind, Space, Volume};

/// Bytes in a page.
pub const PAGE_SIZE: usize = 4096;

/// Size of a volume where nothing else is asked for, in bytes: 64 MiB.
pub const DEFAULT_VOLUME_SIZE: u64 = 64 << 20;

/// Smallest volume, in bytes: 520 pages, about 2 MiB.
///
/// Anything with fewer than 4085 clusters is FAT-12 by definition, and this is the smallest number of pages that
/// holds 4085 clusters of one sector beside the boot sector, two tables and a root directory of 512 entries.
pub const MIN_VOLUME_SIZE: u64 = 520 * PAGE_SIZE as u64;

/// Largest volume, in bytes: 2 GiB, which is what 65,524 clusters of 32 KiB fit in.
pub const MAX_VOLUME_SIZE: u64 = 2 << 30;
