//! `/api/v1/programs/{program}/files` and what else a program keeps: its volume, the volume's image, raw storage.

use jiff::{Timestamp, civil::Date};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a directory entry is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum EntryKind {
    /// A file.
    File,
    /// A directory.
    Directory,
}

/// A file or directory of a volume.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct DirectoryEntry {
    /// Its 8.3 name, in lower case; `/` for the root directory.
    pub name: String,
    /// What it is.
    pub kind: EntryKind,
    /// Size in bytes; 0 for a directory.
    pub size: u64,
    /// When it was made. Missing, as are the other times, for the root directory and where whoever wrote it left none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<Timestamp>,
    /// When a file was written last, in steps of two seconds; a directory: when it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modified: Option<Timestamp>,
    /// The day it was written last, or used by whoever wrote the image it came with. Reading it here does not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accessed: Option<Date>,
    /// FAT's marks that it has: `read_only`, `hidden`, `system`, `archive`. They are shown and kept, and nothing is refused
    /// because of one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attributes: Vec<FileAttribute>,
}

/// One of FAT's marks of a file or directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FileAttribute {
    /// Not to be written to.
    ReadOnly,
    /// Not to be listed.
    Hidden,
    /// A part of an operating system.
    System,
    /// Written since it was backed up last; every write sets it.
    Archive,
}

impl FileAttribute {
    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ReadOnly => "read_only",
            Self::Hidden => "hidden",
            Self::System => "system",
            Self::Archive => "archive",
        }
    }
}

/// A new path for a file or directory.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RenameRequest {
    /// The path from the volume's root. A file there is replaced if this is one too; a directory never is.
    pub rename_to: String,
}

/// How large a volume is, and how much of it is free.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct VolumeView {
    /// Size in bytes: that of its image.
    pub size: u64,
    /// Bytes for files and directories, used or not.
    pub total: u64,
    /// Bytes of these that are free. A file uses whole clusters, and a directory at least one.
    pub free: u64,
}

/// What a volume holds after an image was put in its place.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct NewImageView {
    /// The volume.
    #[serde(flatten)]
    pub volume: VolumeView,
    /// How many files it has.
    pub files: u64,
    /// How many directories, without the root.
    pub directories: u64,
}

/// A directory of a volume.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Directory {
    /// Its path from the volume's root.
    pub path: String,
    /// Its entries, by name.
    pub entries: Vec<DirectoryEntry>,
}
