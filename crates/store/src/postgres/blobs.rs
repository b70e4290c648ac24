//! Blobs: small ones are rows, large ones objects, durable before their row.
//!
//! No two puts use the same object's name, and a row says which one is its own. So a put of a blob that is being collected at
//! the same moment has nothing to do with the object that goes. Objects that are in no row are swept after a while.

use super::{
    BlobPlace, Inner,
    connect::Session,
    fault::{Fault, blob_error},
    row::{bits, get},
};
use crate::StoreError;
use bytes::Bytes;
use coprocessor_types::BlobDigest;
use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use object_store::{
    ObjectMeta, ObjectStore, ObjectStoreExt, PutPayload, aws::AmazonS3Builder, local::LocalFileSystem,
    path::Path as Key, prefix::PrefixStore,
};
use secrecy::ExposeSecret;
use std::sync::Arc;
use uuid::Uuid;

/// Says whose objects they are: the instance's identity is in it.
const MARKER: &str = "instance";

/// Objects that are looked up in the database at once.
const LOOKED_UP: usize = 500;

/// Where large blobs are, and what is large.
#[derive(Debug)]
pub(super) struct Blobs {
    objects: Arc<dyn ObjectStore>,
    inline_limit: usize,
    /// The disk it is on, where that is known.
    directory: Option<std::path::PathBuf>,
}

/// A blob on its way into the store: its row is still to be written. A large one's object is there and durable; or it has
/// a row already, and then neither content nor object.
#[derive(Debug)]
pub(super) struct StagedBlob {
    pub(super) digest: BlobDigest,
    size: i64,
    content: Option<Bytes>,
    object: Option<String>,
}

/// A staged blob's columns.
pub(super) struct BlobValues<'a> {
    pub(super) size: i64,
    pub(super) content: Option<&'a [u8]>,
    pub(super) object: Option<&'a str>,
}

impl StagedBlob {
    pub(super) fn values(&self) -> BlobValues<'_> {
        BlobValues { size: self.size, content: self.content.as_deref(), object: self.object.as_deref() }
    }
}

impl Blobs {
    pub(super) fn open(place: &BlobPlace, inline_limit: usize) -> Result<Self, StoreError> {
        let (objects, directory): (Arc<dyn ObjectStore>, _) = match place {
            BlobPlace::Directory(path) => {
                let io_error = |source| StoreError::Io { path: path.clone(), source };
                std::fs::create_dir_all(path).map_err(io_error)?;
                let files = LocalFileSystem::new_with_prefix(path).map_err(blob_error)?.with_fsync(true);
                (Arc::new(files), Some(path.clone()))
            }
            BlobPlace::S3 { bucket, prefix, endpoint, region, access_key_id, secret_access_key, allow_http } => {
                // The client wants a cryptography to be chosen; one that the process has chosen before stays.
                let _ = rustls::crypto::ring::default_provider().install_default();
                let mut builder = AmazonS3Builder::new()
                    .with_bucket_name(bucket)
                    .with_region(region)
                    .with_access_key_id(access_key_id)
                    .with_secret_access_key(secret_access_key.expose_secret())
                    .with_allow_http(*allow_http);
                if let Some(endpoint) = endpoint {
                    builder = builder.with_endpoint(endpoint);
                }
                let bucket = builder.build().map_err(blob_error)?;
                (Arc::new(PrefixStore::new(bucket, prefix.trim_matches('/'))), None)
            }
        };
        Ok(Self { objects, inline_limit, directory })
    }

    /// Whether a content of that size is kept as an object.
    pub(super) fn is_large(&self, size: usize) -> bool {
        size > self.inline_limit
    }

    /// Bytes left on its disk, where that is known.
    pub(super) fn free_bytes(&self) -> Result<Option<u64>, StoreError> {
        let Some(directory) = &self.directory else { return Ok(None) };
        let disk = rustix::fs::statvfs(directory)
            .map_err(|error| StoreError::Io { path: directory.clone(), source: error.into() })?;
        Ok(Some(disk.f_bavail.saturating_mul(disk.f_frsize)))
    }

    /// A content's digest, without keeping an async thread busy.
    async fn digest(&self, content: &Bytes) -> Result<BlobDigest, StoreError> {
        if !self.is_large(content.len()) {
            return Ok(BlobDigest::of(content));
        }
        let content = content.clone();
        tokio::task::spawn_blocking(move || BlobDigest::of(&content)).await.map_err(|_| StoreError::Closed)
    }

    /// Makes content durable under a name of its own.
    async fn upload(&self, digest: BlobDigest, content: Bytes) -> Result<String, StoreError> {
        let name = digest.to_string();
        let (shard, rest) = name.split_at(2);
        let object = format!("{shard}/{rest}-{}", Uuid::now_v7().simple());
        self.objects.put(&Key::from(object.as_str()), PutPayload::from_bytes(content)).await.map_err(blob_error)?;
        Ok(object)
    }

    /// Removes objects that are in no row any more. Those that can't be removed now are swept later.
    pub(super) async fn remove(&self, objects: Vec<String>) {
        let keys = objects.into_iter().map(|object| Ok(Key::from(object)));
        let removed = self.objects.delete_stream(futures::stream::iter(keys).boxed());
        removed
            .for_each(|removed| async move {
                match removed {
                    Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
                    Err(error) => tracing::warn!(%error, "an object that nothing names could not be removed yet"),
                }
            })
            .await;
    }
}

impl Inner {
    /// Refuses a place that has another store's blobs, or none while this store has some: then it is not where they are.
    pub(super) async fn check_blob_place(&self) -> Result<(), Fault> {
        let (marker, own) = (Key::from(MARKER), self.instance.to_string());
        let wrong = |reason: &str| Fault::from(StoreError::Blobs(reason.to_owned().into()));
        match self.blobs.objects.get(&marker).await {
            Ok(found) => {
                let found = found.bytes().await.map_err(blob_error)?;
                if found.as_ref() != own.as_bytes() {
                    return Err(wrong("the place for blobs is another database's; give this one a place of its own"));
                }
            }
            Err(object_store::Error::NotFound { .. }) => {
                let session = self.quick.take().await?;
                let sql = "SELECT 1 FROM blobs WHERE object IS NOT NULL LIMIT 1";
                if session.query_opt(sql, &[]).await?.is_some() {
                    return Err(wrong(
                        "the place for blobs is not where this database's are; \
                         every coprocessor of a database must be given the same",
                    ));
                }
                self.blobs.objects.put(&marker, PutPayload::from(own)).await.map_err(blob_error)?;
            }
            Err(error) => return Err(blob_error(error).into()),
        }
        Ok(())
    }

    pub(super) async fn put_blob(&self, content: &Bytes) -> Result<BlobDigest, Fault> {
        let digest = self.blobs.digest(content).await?;
        let name = digest.as_bytes().as_slice();
        let session = self.durable.take().await?;
        // Its time is renewed in the row, which a collection that has come first keeps waiting.
        let renew = "UPDATE blobs SET put_at = greatest(put_at, micros()) WHERE digest = $1";
        if session.execute(renew, &[&name]).await? > 0 {
            return Ok(digest);
        }
        drop(session);
        let staged = self.stage_new(digest, content.clone()).await?;
        let values = staged.values();
        let row = self
            .durable
            .take()
            .await?
            .query_one(
                "INSERT INTO blobs (digest, size, content, object, put_at, suspect) \
                 VALUES ($1, $2, $3, $4, micros(), true) \
                 ON CONFLICT (digest) DO UPDATE SET put_at = greatest(blobs.put_at, excluded.put_at) \
                 RETURNING object IS NOT DISTINCT FROM $4 AS stored",
                &[&name, &values.size, &values.content, &values.object],
            )
            .await?;
        let stored = get(&row, "stored")?;
        self.settle_blob(staged, stored).await;
        Ok(digest)
    }

    pub(super) async fn blob(&self, digest: BlobDigest) -> Result<Bytes, Fault> {
        // An object that is gone may have been another's when the row was read.
        let mut before = None;
        loop {
            let sql = "SELECT content, object FROM blobs WHERE digest = $1";
            let session = self.quick.take().await?;
            let row = session.query_opt(sql, &[&digest.as_bytes().as_slice()]).await?;
            drop(session);
            let row = row.ok_or(StoreError::BlobMissing(digest))?;
            let content = match (get::<Option<Vec<u8>>>(&row, "content")?, get::<Option<String>>(&row, "object")?) {
                (Some(content), _) => Bytes::from(content),
                (None, None) => return Err(StoreError::BlobMissing(digest).into()),
                (None, object) if object == before => return Err(StoreError::BlobMissing(digest).into()),
                (None, Some(object)) => match self.blobs.objects.get(&Key::from(object.as_str())).await {
                    Ok(found) => found.bytes().await.map_err(blob_error)?,
                    Err(object_store::Error::NotFound { .. }) => {
                        before = Some(object);
                        continue;
                    }
                    Err(error) => return Err(blob_error(error).into()),
                },
            };
            let got = self.blobs.digest(&content).await?;
            return if got == digest {
                Ok(content)
            } else {
                Err(StoreError::BlobCorrupt { expected: digest, got }.into())
            };
        }
    }

    /// Makes a blob ready for its row. A large one that has a row already is not uploaded again.
    pub(super) async fn stage_blob(&self, content: Bytes) -> Result<StagedBlob, Fault> {
        let digest = self.blobs.digest(&content).await?;
        if self.blobs.is_large(content.len()) {
            let sql = "SELECT 1 FROM blobs WHERE digest = $1";
            let session = self.quick.take().await?;
            if session.query_opt(sql, &[&digest.as_bytes().as_slice()]).await?.is_some() {
                return Ok(StagedBlob { digest, size: content.len() as i64, content: None, object: None });
            }
        }
        self.stage_new(digest, content).await
    }

    async fn stage_new(&self, digest: BlobDigest, content: Bytes) -> Result<StagedBlob, Fault> {
        let size = content.len() as i64;
        if self.blobs.is_large(content.len()) {
            let object = self.blobs.upload(digest, content).await?;
            Ok(StagedBlob { digest, size, content: None, object: Some(object) })
        } else {
            Ok(StagedBlob { digest, size, content: Some(content), object: None })
        }
    }

    /// Removes what was staged for nothing.
    pub(super) async fn settle_blob(&self, staged: StagedBlob, stored: bool) {
        if let Some(object) = staged.object.filter(|_| !stored) {
            self.blobs.remove(vec![object]).await;
        }
    }

    /// Removes up to `limit` objects that are in no row and older than `before`. Whether there may be more.
    pub(super) async fn sweep_objects(&self, before: Timestamp, limit: usize) -> Result<bool, Fault> {
        let old = |object: &ObjectMeta| {
            let modified = object.last_modified;
            object.location.as_ref() != MARKER
                && Timestamp::new(modified.timestamp(), 0).is_ok_and(|modified| modified < before)
        };
        let mut listed = self.blobs.objects.list(None).try_chunks(LOOKED_UP);
        let mut removed = 0;
        while let Some(chunk) = listed.next().await {
            let chunk = chunk.map_err(|error| blob_error(error.1))?;
            let names: Vec<_> =
                chunk.iter().filter(|object| old(object)).map(|object| object.location.as_ref()).collect();
            if names.is_empty() {
                continue;
            }
            let digests = names.iter().filter_map(|name| digest_of(name)).collect::<Vec<_>>();
            let session = self.quick.take().await?;
            let sql = "SELECT object FROM blobs WHERE digest = ANY ($1) AND object IS NOT NULL";
            let digests: Vec<_> = digests.iter().map(|digest| digest.as_bytes().as_slice()).collect();
            let rows = session.query(sql, &[&digests]).await?;
            drop(session);
            let kept = rows.iter().map(|row| get::<&str>(row, "object")).collect::<Result<Vec<_>, _>>()?;
            let orphans = names.into_iter().filter(|name| digest_of(name).is_some() && !kept.contains(name));
            let orphans: Vec<_> = orphans.take(limit - removed).map(str::to_owned).collect();
            removed += orphans.len();
            self.blobs.remove(orphans).await;
            if removed == limit {
                return Ok(true);
            }
        }
        if removed > 0 {
            tracing::info!(removed, "objects that were never named have been removed");
        }
        Ok(false)
    }
}

/// The digest in an object's name; `None` of one that is not a blob's.
fn digest_of(object: &str) -> Option<BlobDigest> {
    let (digest, _) = object.split_once('-')?;
    digest.replacen('/', "", 1).parse().ok()
}

/// Refuses a digest that names nothing, and keeps the blob from being collected while the transaction lasts.
pub(super) async fn require(session: &Session, digests: &[BlobDigest]) -> Result<(), Fault> {
    for digest in digests {
        let sql = "SELECT 1 FROM blobs WHERE digest = $1 FOR KEY SHARE";
        if session.query_opt(sql, &[&digest.as_bytes().as_slice()]).await?.is_none() {
            return Err(StoreError::BlobMissing(*digest).into());
        }
    }
    Ok(())
}

/// Blobs' number and bytes.
pub(super) async fn totals(session: &Session) -> Result<(u64, u64), Fault> {
    let sql = "SELECT sum(blobs)::bigint AS blobs, sum(blob_bytes)::bigint AS bytes FROM tallies";
    let row = session.query_one(sql, &[]).await?;
    Ok((bits(&row, "blobs")?, bits(&row, "bytes")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_s_name_tells_its_digest() {
        let digest = BlobDigest::of(b"x");
        let name = digest.to_string();
        assert_eq!(digest_of(&format!("{}/{}-{}", &name[..2], &name[2..], Uuid::now_v7().simple())), Some(digest));
        for other in ["instance", "", "a-b", "ab/cd-", "README-first"] {
            assert_eq!(digest_of(other), None);
        }
    }
}
