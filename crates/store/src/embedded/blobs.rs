//! Blobs: small ones are rows, written with the row that names them; large ones are files, durable before it.

use super::{
    fault::{Fault, blob_error},
    readers::{Readers, off_thread},
    row::to_bits,
};
use crate::StoreError;
use bytes::Bytes;
use coprocessor_types::BlobDigest;
use object_store::{ObjectStoreExt, PutPayload, local::LocalFileSystem, path::Path as Key};
use rusqlite::{Connection, OptionalExtension, params};
use std::{path::Path, sync::Arc, time::SystemTime};

/// Where large blobs are, and what is large.
#[derive(Debug)]
pub(super) struct Blobs {
    files: LocalFileSystem,
    readers: Arc<Readers>,
    inline_limit: usize,
}

/// A blob on its way into the store: its row is still to be written. A large one's file is there and durable.
#[derive(Debug)]
pub(super) struct StagedBlob {
    pub(super) digest: BlobDigest,
    size: usize,
    inline: Option<Bytes>,
}

/// What a row says of a blob.
struct BlobRow {
    size: u64,
    inline: Option<Vec<u8>>,
}

impl Blobs {
    pub(super) fn open(directory: &Path, readers: Arc<Readers>, inline_limit: usize) -> Result<Self, StoreError> {
        let files = LocalFileSystem::new_with_prefix(directory).map_err(blob_error)?.with_fsync(true);
        Ok(Self { files, readers, inline_limit })
    }

    /// Whether a content of that size is kept in a file.
    pub(super) fn is_large(&self, size: usize) -> bool {
        size > self.inline_limit
    }

    /// A content's digest, without keeping an async thread busy.
    pub(super) async fn digest(&self, content: &Bytes) -> Result<BlobDigest, StoreError> {
        if !self.is_large(content.len()) {
            return Ok(BlobDigest::of(content));
        }
        let content = content.clone();
        off_thread(move || Ok(BlobDigest::of(&content))).await
    }

    /// Makes a blob ready for [`insert`].
    pub(super) async fn stage(&self, content: Bytes) -> Result<StagedBlob, StoreError> {
        let (digest, size) = (self.digest(&content).await?, content.len());
        if !self.is_large(size) {
            return Ok(StagedBlob { digest, size, inline: Some(content) });
        }
        // Without a row it may be the file of a put that is not durable yet, so the file's being there is not enough.
        if !self.has(digest).await? {
            self.files.put(&key(digest), PutPayload::from_bytes(content)).await.map_err(blob_error)?;
        }
        Ok(StagedBlob { digest, size, inline: None })
    }

    /// Whether a blob is kept already: its row, and a file of its size where it has one.
    pub(super) async fn has(&self, digest: BlobDigest) -> Result<bool, StoreError> {
        let Some(row) = self.row(digest).await? else { return Ok(false) };
        if row.inline.is_some() {
            return Ok(true);
        }
        match self.files.head(&key(digest)).await {
            Ok(file) => Ok(file.size == row.size),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(blob_error(error)),
        }
    }

    /// A blob's content, checked.
    pub(super) async fn read(&self, digest: BlobDigest) -> Result<Bytes, StoreError> {
        let row = self.row(digest).await?.ok_or(StoreError::BlobMissing(digest))?;
        let content = match row.inline {
            Some(content) => Bytes::from(content),
            None => match self.files.get(&key(digest)).await {
                Ok(file) => file.bytes().await.map_err(blob_error)?,
                Err(object_store::Error::NotFound { .. }) => return Err(StoreError::BlobMissing(digest)),
                Err(error) => return Err(blob_error(error)),
            },
        };
        let got = self.digest(&content).await?;
        if got == digest { Ok(content) } else { Err(StoreError::BlobCorrupt { expected: digest, got }) }
    }

    async fn row(&self, digest: BlobDigest) -> Result<Option<BlobRow>, StoreError> {
        let readers = self.readers.clone();
        off_thread(move || Ok(find(&*readers.take()?, digest)?)).await
    }
}

/// Writes a staged blob's row.
pub(super) fn insert(db: &Connection, blob: &StagedBlob) -> Result<(), Fault> {
    db.prepare_cached("INSERT INTO blobs (digest, size, content) VALUES (?1, ?2, ?3) ON CONFLICT (digest) DO NOTHING")?
        .execute(params![blob.digest.as_bytes(), blob.size as i64, blob.inline.as_deref()])?;
    Ok(())
}

/// Refuses a digest that names nothing.
pub(super) fn require(db: &Connection, digest: BlobDigest) -> Result<(), Fault> {
    let mut statement = db.prepare_cached("SELECT 1 FROM blobs WHERE digest = ?1")?;
    if statement.exists([digest.as_bytes()])? { Ok(()) } else { Err(StoreError::BlobMissing(digest).into()) }
}

/// Removes what puts that were cut off have left under `directory`; those that run now are younger than `started`.
pub(super) fn sweep(directory: &Path, started: SystemTime) -> std::io::Result<usize> {
    let mut removed = 0;
    for shard in std::fs::read_dir(directory)? {
        let shard = shard?;
        if !shard.file_type()?.is_dir() {
            continue;
        }
        for file in std::fs::read_dir(shard.path())? {
            let file = file?;
            // The local file system of `object_store` writes to `name#number` and renames it when it is whole.
            let unfinished = file.file_name().as_encoded_bytes().contains(&b'#');
            if unfinished && file.metadata()?.modified()? < started {
                std::fs::remove_file(file.path())?;
                removed += 1;
            }
        }
    }
    Ok(removed)
}

fn find(db: &Connection, digest: BlobDigest) -> Result<Option<BlobRow>, Fault> {
    let row = db
        .prepare_cached("SELECT size, content FROM blobs WHERE digest = ?1")?
        .query_row([digest.as_bytes()], |row| Ok(BlobRow { size: to_bits(row.get(0)?), inline: row.get(1)? }))
        .optional()?;
    Ok(row)
}

fn key(digest: BlobDigest) -> Key {
    let name = digest.to_string();
    let (shard, rest) = name.split_at(2);
    Key::from_iter([shard, rest])
}
