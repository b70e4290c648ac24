//! What can be wrong with an image.

use std::fmt;

use crate::{BootSectorError, MAX_PATH_DEPTH, MAX_VOLUME_SIZE, MIN_VOLUME_SIZE, VfsError};

/// Faults told of one image; of more, only how many.
const SHOWN: usize = 8;

/// Why an image is not taken.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// No volume has this size.
    #[error(
        "an image of {got} bytes is not possible: expected whole sectors of 512 bytes, {MIN_VOLUME_SIZE} to \
         {MAX_VOLUME_SIZE} in all"
    )]
    Size {
        /// The image's size, in bytes.
        got: u64,
    },
    /// It does not begin as a FAT-16 filesystem that fits it.
    #[error("its boot sector is not that of a FAT-16 filesystem: {0}")]
    BootSector(#[from] BootSectorError),
    /// Its table or its directories are wrong.
    #[error("{0}; repair it with fsck.fat")]
    Faults(Faults),
    /// The image could not be read.
    #[error(transparent)]
    Read(VfsError),
}

impl From<VfsError> for ImageError {
    fn from(error: VfsError) -> Self {
        match error {
            VfsError::BootSector(error) => Self::BootSector(error),
            VfsError::Size { got } => Self::Size { got },
            other => Self::Read(other),
        }
    }
}

/// What is wrong with an image's table and directories: the first of it, and how much there is in all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    first: Vec<Fault>,
    count: u64,
}

impl Faults {
    /// The first faults met.
    pub fn first(&self) -> &[Fault] {
        &self.first
    }

    /// How many there are in all.
    pub fn count(&self) -> u64 {
        self.count
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(super) fn add(&mut self, fault: Fault) {
        self.count += 1;
        if self.first.len() < SHOWN {
            self.first.push(fault);
        }
    }

    pub(super) fn none_or<T>(&self, value: impl FnOnce() -> T) -> Result<T, ImageError> {
        if self.is_empty() { Ok(value()) } else { Err(ImageError::Faults(self.clone())) }
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.first.iter().enumerate() {
            write!(f, "{}{fault}", if index > 0 { "; " } else { "" })?;
        }
        match self.count - self.first.len() as u64 {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
}

/// One thing that is wrong with an image's table or directories.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The table does not begin with the kind of medium that the boot sector names.
    #[error("the allocation table begins with {got:#06x}, expected {expected:#06x}")]
    TableStart {
        /// What the boot sector asks for.
        expected: u16,
        /// What is there.
        got: u16,
    },
    /// It was not closed by whoever wrote it, or says that it met errors.
    #[error("it is marked as not closed properly; unmount it before it is uploaded")]
    Dirty,
    /// The copies of the table say different things.
    #[error("the copies of the allocation table differ: cluster {cluster} has {first:#06x} and {second:#06x}")]
    TablesDiffer {
        /// The first cluster where they do.
        cluster: u16,
        /// The first copy's entry.
        first: u16,
        /// The second copy's entry.
        second: u16,
    },
    /// An entry of the table that means nothing.
    #[error("the allocation table has {got:#06x} for cluster {cluster}, which is no cluster and no mark")]
    TableEntry {
        /// The cluster.
        cluster: u16,
        /// Its entry.
        got: u16,
    },
    /// A file or directory begins at something that is no cluster.
    #[error("{path} begins at cluster {got}, expected 2 to {last}")]
    FirstCluster {
        /// The file or directory.
        path: String,
        /// The number found.
        got: u16,
        /// The last cluster.
        last: u16,
    },
    /// A chain goes on to something that is no cluster.
    #[error("{path}: cluster {cluster} is followed by {next:#06x}, expected 2 to {last} or the end of the chain")]
    ChainBroken {
        /// The file or directory.
        path: String,
        /// The last valid cluster of its chain.
        cluster: u16,
        /// What the table says follows.
        next: u16,
        /// The last cluster.
        last: u16,
    },
    /// A chain comes back to itself.
    #[error("{path}: its clusters come back to cluster {cluster}")]
    ChainLoops {
        /// The file or directory.
        path: String,
        /// The cluster met twice.
        cluster: u16,
    },
    /// A cluster belongs to two files or directories.
    #[error("{path} and {other} share cluster {cluster}")]
    CrossLinked {
        /// One of them.
        path: String,
        /// The other.
        other: String,
        /// The first cluster they share.
        cluster: u16,
    },
    /// A file has more or fewer clusters than its size needs.
    #[error("{path} of {size} bytes has {clusters} clusters, expected {needed}")]
    ChainLength {
        /// The file.
        path: String,
        /// Its size by its directory entry, in bytes.
        size: u32,
        /// How many clusters its chain has.
        clusters: usize,
        /// How many its size needs.
        needed: usize,
    },
    /// A directory has a size, which FAT does not give it.
    #[error("{path} is a directory of {size} bytes, expected 0")]
    DirectorySize {
        /// The directory.
        path: String,
        /// The size in its entry.
        size: u32,
    },
    /// A directory has more clusters than a directory can have.
    #[error("{path} is a directory of {clusters} clusters, expected at most {max}")]
    DirectoryLong {
        /// The directory.
        path: String,
        /// How many clusters it has.
        clusters: usize,
        /// How many it can have.
        max: usize,
    },
    /// A directory does not begin with itself and the one it is in.
    #[error("{directory} does not begin with the entries `.` and `..` for itself and the directory it is in")]
    Dots {
        /// The directory.
        directory: String,
    },
    /// A name that no path can have.
    #[error("{directory} has an entry `{stored}`, a name that no path can have")]
    Name {
        /// The directory.
        directory: String,
        /// The eleven bytes of the name, those that are not printable escaped.
        stored: String,
    },
    /// Two entries of a directory have one name.
    #[error("{path} is there twice")]
    DuplicateName {
        /// The path of both.
        path: String,
    },
    /// Something is deeper than a path can reach.
    #[error("{path} is deeper than the {MAX_PATH_DEPTH} names that a path can have")]
    TooDeep {
        /// Its path.
        path: String,
    },
    /// The volume has a second label, or one that is not in its root directory.
    #[error("{directory} has a volume label that does not belong there")]
    Label {
        /// The directory.
        directory: String,
    },
    /// Parts of a long name that belong to no entry.
    #[error("{directory} has a part of a long name that belongs to no file")]
    LongName {
        /// The directory.
        directory: String,
    },
    /// Clusters are in use and belong to nothing.
    #[error("{clusters} clusters from {first} on are in use and belong to no file")]
    Lost {
        /// How many.
        clusters: usize,
        /// The first of them.
        first: u16,
    },
}
