//! Volumes: their pages, their versions, and raw storage.

use super::{
    fault::Fault,
    readers::Reader,
    row::{from_bits, to_bits},
};
use crate::{StoreError, VolumeContent, VolumeSnapshot, VolumeWrite};
use coprocessor_types::ProgramId;
use rusqlite::{Connection, OptionalExtension, params};
use std::ops::Range;

/// A view of a volume: a read transaction that stays open, on a connection of its own.
#[derive(Debug)]
pub(super) struct Snapshot {
    db: Reader,
    volume: Volume,
}

#[derive(Clone, Copy, Debug)]
struct Volume {
    seq: i64,
    size: u64,
    version: u64,
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
    db.prepare_cached("UPDATE programs SET volume_version = volume_version + 1 WHERE seq = ?1")?
        .execute([volume.seq])?;
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
    for page in (content.pages)() {
        let (index, content) = page.map_err(StoreError::Content)?;
        let key = page_key(volume.seq, index);
        clear.execute([next, key])?;
        put.execute(params![key, content])?;
        next = key + 1;
    }
    clear.execute([next, page_key(volume.seq + 1, 0)])?;
    db.prepare_cached("UPDATE programs SET volume_size = ?2, volume_version = volume_version + 1 WHERE seq = ?1")?
        .execute([volume.seq, from_bits(content.size)])?;
    Ok(volume.version + 1)
}

/// Removes all of a program's volume but its version.
pub(super) fn delete(db: &Connection, seq: i64) -> Result<(), Fault> {
    db.prepare_cached("DELETE FROM raw_storage WHERE program = ?1")?.execute([seq])?;
    db.prepare_cached("DELETE FROM pages WHERE key BETWEEN ?1 AND ?2")?
        .execute([page_key(seq, 0), page_key(seq, u32::MAX)])?;
    Ok(())
}

fn find(db: &Connection, program: ProgramId) -> Result<Volume, Fault> {
    db.prepare_cached("SELECT seq, volume_size, volume_version FROM programs WHERE id = ?1")?
        .query_row([program.as_bytes()], |row| {
            Ok(Volume { seq: row.get(0)?, size: to_bits(row.get(1)?), version: to_bits(row.get(2)?) })
        })
        .optional()?
        .ok_or_else(|| StoreError::UnknownProgram(program).into())
}

/// Programs are numbered from 1 and can't reach 2^31 in the life of a database.
fn page_key(seq: i64, index: u32) -> i64 {
    seq << 32 | i64::from(index)
}
