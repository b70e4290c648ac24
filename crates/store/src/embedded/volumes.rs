//! Volumes: their pages, their versions, and raw storage.

use super::{
    fault::Fault,
    readers::Reader,
    row::{from_bits, owner, to_bits},
};
use crate::{StoreError, VolumeContent, VolumeSnapshot, VolumeWrite};
use coprocessor_types::{OwnerId, ProgramId};
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::{collections::BTreeMap, ops::Range};

/// A view of a volume: a read transaction that stays open, on a connection of its own.
#[derive(Debug)]
pub(super) struct Snapshot {
    db: Reader,
    volume: Volume,
}

#[derive(Clone, Debug)]
struct Volume {
    seq: i64,
    owner: OwnerId,
    size: u64,
    version: u64,
    /// What its pages and raw storage take.
    bytes: u64,
}

impl Snapshot {
    pub(super) fn open(db: Reader, program: ProgramId) -> Result<Self, Fault> {
        // The view begins with the first read after this, and ends when the connection goes back to its pool.
        db.prepare_cached("BEGIN")?.execute([])?;
        let volume = find(&db, program)?;
        Ok(Self { db, volume })
    }
}

impl VolumeSnapshot for Snapshot {
    fn size(&self) -> u64 {
        self.volume.size
    }

    fn version(&self) -> u64 {
        self.volume.version
    }

    fn read_page(&self, index: u32) -> Result<Option<Vec<u8>>, StoreError> {
        let read = || {
            let mut statement = self.db.prepare_cached("SELECT content FROM pages WHERE key = ?1")?;
            Ok(statement.query_row([page_key(self.volume.seq, index)], |row| row.get(0)).optional()?)
        };
        read().map_err(|fault: Fault| fault.into())
    }

    fn read_pages(&self, range: Range<u32>) -> Result<Vec<(u32, Vec<u8>)>, StoreError> {
        let read = || {
            let sql = "SELECT key, content FROM pages WHERE key >= ?1 AND key < ?2 ORDER BY key";
            let mut statement = self.db.prepare_cached(sql)?;
            let keys = [range.start, range.end].map(|index| page_key(self.volume.seq, index));
            // The lower half of a key is the page's number.
            let rows = statement.query_map(keys, |row| Ok((row.get::<_, i64>(0)? as u32, row.get(1)?)))?;
            Ok(rows.collect::<Result<_, _>>()?)
        };
        read().map_err(|fault: Fault| fault.into())
    }

    fn raw(&self) -> Result<Option<Vec<u8>>, StoreError> {
        let read = || {
            let mut statement = self.db.prepare_cached("SELECT content FROM raw_storage WHERE program = ?1")?;
            Ok(statement.query_row([self.volume.seq], |row| row.get(0)).optional()?)
        };
        read().map_err(|fault: Fault| fault.into())
    }
}

/// Applies a write; the version there is then. One that changes nothing is always accepted.
pub(super) fn apply(db: &Connection, program: ProgramId, write: &VolumeWrite) -> Result<u64, Fault> {
    let volume = find(db, program)?;
    if write.is_empty() {
        return Ok(volume.version);
    }
    if write.based_on != volume.version {
        return Err(StoreError::VolumeConflict { program, expected: write.based_on, got: volume.version }.into());
    }
    // Refused before anything is written, as there may be no savepoint.
    let bytes = bytes_after(db, &volume, write)?;
    if bytes > volume.bytes {
        Room::of(db, &volume, write.quota)?.check(bytes)?;
    }
    charge(db, &volume, bytes)?;
    let mut put = db.prepare_cached(
        "INSERT INTO pages (key, content) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET content = excluded.content",
    )?;
    let mut clear = db.prepare_cached("DELETE FROM pages WHERE key = ?1")?;
    for (index, content) in &write.pages {
        let key = page_key(volume.seq, *index);
        match content {
            Some(content) => put.execute(params![key, content])?,
            None => clear.execute([key])?,
        };
    }
    if let Some(raw) = &write.raw {
        db.prepare_cached(
            "INSERT INTO raw_storage (program, content) VALUES (?1, ?2) \
             ON CONFLICT (program) DO UPDATE SET content = excluded.content",
        )?
        .execute(params![volume.seq, raw.as_ref()])?;
    }
    db.prepare_cached("UPDATE programs SET volume_version = volume_version + 1, volume_bytes = ?2 WHERE seq = ?1")?
        .execute([volume.seq, from_bits(bytes)])?;
    Ok(volume.version + 1)
}

/// Replaces all pages; the version there is then. What stays as it was is not written again.
pub(super) fn replace(db: &Connection, program: ProgramId, content: &VolumeContent) -> Result<u64, Fault> {
    let volume = find(db, program)?;
    let mut put = db.prepare_cached(
        "INSERT INTO pages (key, content) VALUES (?1, ?2) \
         ON CONFLICT (key) DO UPDATE SET content = excluded.content WHERE content != excluded.content",
    )?;
    let mut clear = db.prepare_cached("DELETE FROM pages WHERE key >= ?1 AND key < ?2")?;
    let mut next = page_key(volume.seq, 0);
    let room = Room::of(db, &volume, content.quota)?;
    let mut bytes = raw_len(db, volume.seq)?;
    for page in (content.pages)() {
        let (index, page) = page.map_err(StoreError::Content)?;
        let key = page_key(volume.seq, index);
        bytes += page.len() as u64;
        room.check(bytes)?;
        clear.execute([next, key])?;
        put.execute(params![key, page])?;
        next = key + 1;
    }
    clear.execute([next, page_key(volume.seq + 1, 0)])?;
    charge(db, &volume, bytes)?;
    db.prepare_cached(
        "UPDATE programs SET volume_size = ?2, volume_version = volume_version + 1, volume_bytes = ?3 WHERE seq = ?1",
    )?
    .execute([volume.seq, from_bits(content.size), from_bits(bytes)])?;
    Ok(volume.version + 1)
}

/// Removes all of a program's volume but its version.
pub(super) fn delete(db: &Connection, program: ProgramId) -> Result<(), Fault> {
    let volume = find(db, program)?;
    charge(db, &volume, 0)?;
    db.prepare_cached("DELETE FROM raw_storage WHERE program = ?1")?.execute([volume.seq])?;
    db.prepare_cached("DELETE FROM pages WHERE key BETWEEN ?1 AND ?2")?
        .execute([page_key(volume.seq, 0), page_key(volume.seq, u32::MAX)])?;
    Ok(())
}

/// What the volumes of an owner's programs hold together.
pub(super) fn of_owner(db: &Connection, owner: &OwnerId) -> Result<u64, Fault> {
    let mut statement = db.prepare_cached("SELECT bytes FROM owner_volumes WHERE owner = ?1")?;
    Ok(statement.query_row([owner.as_str()], |row| row.get(0)).optional()?.map_or(0, to_bits))
}

/// What a volume will hold after a write.
fn bytes_after(db: &Connection, volume: &Volume, write: &VolumeWrite) -> Result<u64, Fault> {
    // Of several writes of one page, the last counts.
    let pages: BTreeMap<u32, usize> =
        write.pages.iter().map(|(index, content)| (*index, content.as_ref().map_or(0, Vec::len))).collect();
    let mut length = db.prepare_cached("SELECT length(content) FROM pages WHERE key = ?1")?;
    let mut bytes = volume.bytes;
    for (index, after) in pages {
        let before: Option<i64> = length.query_row([page_key(volume.seq, index)], |row| row.get(0)).optional()?;
        bytes = bytes + after as u64 - before.map_or(0, to_bits);
    }
    match &write.raw {
        Some(raw) => Ok(bytes + raw.len() as u64 - raw_len(db, volume.seq)?),
        None => Ok(bytes),
    }
}

fn raw_len(db: &Connection, seq: i64) -> Result<u64, Fault> {
    let mut statement = db.prepare_cached("SELECT length(content) FROM raw_storage WHERE program = ?1")?;
    Ok(statement.query_row([seq], |row| row.get(0)).optional()?.map_or(0, to_bits))
}

/// What a volume may come to hold.
struct Room<'a> {
    volume: &'a Volume,
    /// What the other volumes of its owner hold.
    others: u64,
    /// What all of them may hold.
    limit: u64,
}

impl<'a> Room<'a> {
    fn of(db: &Connection, volume: &'a Volume, quota: Option<u64>) -> Result<Self, Fault> {
        let others = of_owner(db, &volume.owner)?.saturating_sub(volume.bytes);
        Ok(Self { volume, others, limit: quota.unwrap_or(u64::MAX) })
    }

    /// # Errors
    /// [`StoreError::VolumeQuota`]. Where there is too much already, what does not add to it is allowed.
    fn check(&self, bytes: u64) -> Result<(), StoreError> {
        let got = self.others.saturating_add(bytes);
        if bytes > self.volume.bytes && got > self.limit {
            return Err(StoreError::VolumeQuota { owner: self.volume.owner.clone(), got, limit: self.limit });
        }
        Ok(())
    }
}

/// Counts the volume as of that many bytes among its owner's.
fn charge(db: &Connection, volume: &Volume, bytes: u64) -> Result<(), Fault> {
    if bytes != volume.bytes {
        db.prepare_cached(
            "INSERT INTO owner_volumes (owner, bytes) VALUES (?1, ?2) \
             ON CONFLICT (owner) DO UPDATE SET bytes = bytes + excluded.bytes",
        )?
        .execute(params![volume.owner.as_str(), from_bits(bytes) - from_bits(volume.bytes)])?;
    }
    Ok(())
}

fn find(db: &Connection, program: ProgramId) -> Result<Volume, Fault> {
    let mut statement =
        db.prepare_cached("SELECT seq, owner, volume_size, volume_version, volume_bytes FROM programs WHERE id = ?1")?;
    let read = |row: &Row<'_>| -> Result<Volume, Fault> {
        Ok(Volume {
            seq: row.get("seq")?,
            owner: owner(row)?,
            size: to_bits(row.get("volume_size")?),
            version: to_bits(row.get("volume_version")?),
            bytes: to_bits(row.get("volume_bytes")?),
        })
    };
    let found = statement.query_and_then([program.as_bytes()], read)?.next().transpose()?;
    found.ok_or_else(|| StoreError::UnknownProgram(program).into())
}

/// Programs are numbered from 1 and can't reach 2^31 in the life of a database.
fn page_key(seq: i64, index: u32) -> i64 {
    seq << 32 | i64::from(index)
}
