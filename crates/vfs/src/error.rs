//! Why an operation on a volume failed.

use crate::{MAX_VOLUME_SIZE, MIN_VOLUME_SIZE, PAGE_SIZE, PageSourceError, PathError};

/// Why an operation on a volume failed. The volume is as it was before the operation.
#[derive(Debug, thiserror::Error)]
pub enum VfsError {
    /// The path is not one that FAT can store.
    #[error(transparent)]
    Path(#[from] PathError),
    /// Nothing has this name.
    #[error("{path}: no such file or directory")]
    NotFound {
        /// The path asked for.
        path: String,
    },
    /// A file is needed, and this is a directory.
    #[error("{path} is a directory, and a file is needed")]
    IsADirectory {
        /// The directory.
        path: String,
    },
    /// A directory is needed, and this is a file.
    #[error("{path} is a file, and a directory is needed")]
    NotADirectory {
        /// The file.
        path: String,
    },
    /// Only empty directories can be removed.
    #[error("{path} is not empty; remove what is in it first")]
    DirectoryNotEmpty {
        /// The directory.
        path: String,
    },
    /// The root directory can't be removed.
    #[error("the root directory can't be removed; name a file or a directory in it")]
    RemoveRoot,
    /// The root directory can't be moved.
    #[error("the root directory can't be moved; name a file or a directory in it")]
    MoveRoot,
    /// A directory can't be in itself.
    #[error("{from} can't be moved to {to}, which is in it; choose a path outside of it")]
    MoveIntoItself {
        /// The directory.
        from: String,
        /// Where it was to go.
        to: String,
    },
    /// What is at the new path can't be replaced.
    #[error(
        "{path} is in the way: a move takes the place of a file, with a file; remove it first or choose another path"
    )]
    InTheWay {
        /// The path that is taken.
        path: String,
    },
    /// There are not enough free clusters.
    #[error(
        "the volume is full: {needed} bytes more are needed and {free} are free; remove files or use a larger volume"
    )]
    NoSpace {
        /// Bytes needed beyond what is in use, in whole clusters.
        needed: u64,
        /// Bytes free before the operation, in whole clusters.
        free: u64,
    },
    /// The root directory has a fixed number of entries, and all are used.
    #[error("the root directory is full, FAT-16 gives it {entries} entries; put the file into a directory of its own")]
    RootDirectoryFull {
        /// How many entries it has.
        entries: u32,
    },
    /// A directory can't grow further.
    #[error("a directory is full, FAT gives it at most {entries} entries; use another directory")]
    DirectoryFull {
        /// How many entries it can have.
        entries: u32,
    },
    /// No FAT-16 volume has this size.
    #[error(
        "a volume of {got} bytes is not possible: expected a multiple of {PAGE_SIZE} from {MIN_VOLUME_SIZE} to \
         {MAX_VOLUME_SIZE}"
    )]
    Size {
        /// The size asked for, in bytes.
        got: u64,
    },
    /// The source could not give a page.
    #[error("can't read page {page} of the volume")]
    Source {
        /// The page.
        page: u32,
        /// What the source said.
        source: PageSourceError,
    },
    /// The source gave a page of a wrong length.
    #[error("page {page} of the volume: expected {PAGE_SIZE} bytes, got {got}")]
    PageLength {
        /// The page.
        page: u32,
        /// The length given, in bytes.
        got: usize,
    },
    /// The boot sector is not that of a FAT-16 filesystem which fits the volume.
    #[error("this is not a FAT-16 volume: {0}")]
    BootSector(#[from] BootSectorError),
    /// The allocation table or a directory contradicts itself.
    #[error("the volume is damaged: {0}; download its image and repair it with fsck.fat")]
    Corrupt(#[from] Corruption),
}

/// What is wrong with a boot sector.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BootSectorError {
    /// The two bytes at its end are missing.
    #[error("expected the signature 55 aa at byte 510, got {:02x} {:02x}", got[0], got[1])]
    Signature {
        /// The bytes found.
        got: [u8; 2],
    },
    /// Bytes in a sector.
    #[error("expected 512, 1024, 2048 or 4096 bytes per sector, got {got}")]
    SectorSize {
        /// The number found.
        got: u16,
    },
    /// Sectors in a cluster.
    #[error("expected a power of two of sectors per cluster, at most 64 KiB in all, got {got} sectors")]
    ClusterSize {
        /// The number found.
        got: u8,
    },
    /// Sectors before the first table.
    #[error("expected at least 1 reserved sector, got 0")]
    ReservedSectors,
    /// Copies of the table.
    #[error("expected 1 or 2 allocation tables, got {got}")]
    Tables {
        /// The number found.
        got: u8,
    },
    /// The root directory has no entries, as in FAT-32.
    #[error("expected a root directory of its own, got 0 entries (FAT-32?)")]
    RootEntries,
    /// The root directory ends within a sector.
    #[error("expected a root directory of whole sectors of {sector} bytes, got {got} entries of 32 bytes")]
    RootSize {
        /// Its entries.
        got: u16,
        /// Bytes of a sector.
        sector: u16,
    },
    /// The filesystem is larger than the volume it is in.
    #[error("expected at most {max} bytes, which is the volume's size, got {got}")]
    TotalSize {
        /// The filesystem's size, in bytes.
        got: u64,
        /// The volume's size, in bytes.
        max: u64,
    },
    /// Too few or too many clusters for FAT-16.
    #[error("expected 4085 to 65524 clusters, got {got}")]
    Clusters {
        /// The number found.
        got: u64,
    },
    /// The table has no room for all clusters.
    #[error("expected a table of at least {needed} bytes, got {got}")]
    TableSize {
        /// The table's size, in bytes.
        got: u64,
        /// What it needs, in bytes.
        needed: u64,
    },
}

/// What is wrong in the allocation table or in a directory.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Corruption {
    /// A chain of clusters comes back to a cluster it had before.
    #[error("a chain of clusters comes back to cluster {cluster}")]
    ChainLoops {
        /// The cluster met twice.
        cluster: u16,
    },
    /// A chain goes on to something that is no cluster: free, bad, reserved, or beyond the volume's last one.
    #[error("cluster {cluster} is followed by {next:#06x}, expected 2 to {last} or the end of the chain")]
    ChainBroken {
        /// The last valid cluster of the chain.
        cluster: u16,
        /// What the table says follows.
        next: u16,
        /// The volume's last cluster.
        last: u16,
    },
    /// A file or directory begins at something that is no cluster.
    #[error("an entry of a directory begins at cluster {got}, expected 2 to {last}")]
    FirstCluster {
        /// The number found.
        got: u16,
        /// The volume's last cluster.
        last: u16,
    },
    /// A file is longer than its clusters.
    #[error("a file of {size} bytes has only {clusters} clusters")]
    ChainShort {
        /// The file's size by its directory entry, in bytes.
        size: u32,
        /// How many clusters its chain has.
        clusters: usize,
    },
    /// A directory does not say which one it is in.
    #[error("the directory at cluster {cluster} has no entry `..`")]
    NoParent {
        /// The directory's first cluster.
        cluster: u16,
    },
    /// A directory has more clusters than a directory can have.
    #[error("a directory has more than {max} clusters")]
    DirectoryLong {
        /// How many it can have.
        max: usize,
    },
}
