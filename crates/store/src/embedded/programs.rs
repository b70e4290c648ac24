//! Programs.

use super::{
    blobs, cursor,
    fault::Fault,
    row::{from_bits, from_time, owner, parse, to_bits, to_time},
    volumes,
};
use crate::{Cursor, DeleteProgram, InsertProgram, NewProgram, Page, Program, StoreError};
use coprocessor_types::{BlobDigest, ProgramId};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};

pub(super) fn insert(db: &Connection, new: &NewProgram, now: Timestamp) -> Result<InsertProgram, Fault> {
    if let Some(program) = find(db, new.id)? {
        return Ok(InsertProgram::Exists(program));
    }
    for digest in [new.controller, new.circuit].into_iter().chain(new.verifying_key) {
        blobs::require(db, digest)?;
    }
    db.prepare_cached(
        "INSERT INTO programs (id, owner, name, backend, controller, circuit, verifying_key, nonce, volume_size, \
         created_at, updated_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?10)",
    )?
    .execute(params![
        new.id.as_bytes(),
        new.owner.as_str(),
        new.name,
        new.backend.as_str(),
        new.controller.as_bytes(),
        new.circuit.as_bytes(),
        new.verifying_key.as_ref().map(BlobDigest::as_bytes),
        from_bits(new.nonce),
        from_bits(new.volume_size),
        from_time(now),
    ])?;
    Ok(InsertProgram::Inserted(require(db, new.id)?))
}

pub(super) fn find(db: &Connection, id: ProgramId) -> Result<Option<Program>, Fault> {
    let mut statement = db.prepare_cached("SELECT * FROM programs WHERE id = ?1")?;
    statement.query_and_then([id.as_bytes()], read)?.next().transpose()
}

pub(super) fn require(db: &Connection, id: ProgramId) -> Result<Program, Fault> {
    find(db, id)?.ok_or_else(|| StoreError::UnknownProgram(id).into())
}

pub(super) fn list(db: &Connection, after: Option<&Cursor>, limit: usize) -> Result<Page<Program>, Fault> {
    let below = after.map(cursor::to_program).transpose()?.unwrap_or(i64::MAX);
    let mut statement = db.prepare_cached("SELECT * FROM programs WHERE seq < ?1 ORDER BY seq DESC LIMIT ?2")?;
    let rows = statement.query_and_then(params![below, cursor::rows_for(limit)], |row| {
        Ok::<_, Fault>((row.get::<_, i64>("seq")?, read(row)?))
    })?;
    let page = cursor::page(rows.collect::<Result<Vec<_>, _>>()?, limit, |(seq, _)| cursor::after_program(*seq));
    Ok(Page { items: page.items.into_iter().map(|(_, program)| program).collect(), next: page.next })
}

pub(super) fn set_controller(
    db: &Connection,
    id: ProgramId,
    controller: BlobDigest,
    now: Timestamp,
) -> Result<Option<Program>, Fault> {
    if find(db, id)?.is_none() {
        return Ok(None);
    }
    blobs::require(db, controller)?;
    db.prepare_cached("UPDATE programs SET controller = ?2, updated_at = ?3 WHERE id = ?1")?.execute(params![
        id.as_bytes(),
        controller.as_bytes(),
        from_time(now)
    ])?;
    find(db, id)
}

pub(super) fn set_verifying_key(db: &Connection, id: ProgramId, key: BlobDigest) -> Result<Option<Program>, Fault> {
    match find(db, id)? {
        Some(program) if program.verifying_key.is_none() => {
            blobs::require(db, key)?;
            db.prepare_cached("UPDATE programs SET verifying_key = ?2 WHERE id = ?1")?
                .execute(params![id.as_bytes(), key.as_bytes()])?;
            find(db, id)
        }
        unchanged => Ok(unchanged),
    }
}

pub(super) fn delete(db: &Connection, id: ProgramId) -> Result<DeleteProgram, Fault> {
    let key = id.as_bytes();
    let seq: Option<i64> =
        db.prepare_cached("SELECT seq FROM programs WHERE id = ?1")?.query_row([key], |row| row.get(0)).optional()?;
    let Some(seq) = seq else { return Ok(DeleteProgram::Unknown) };
    let unfinished: i64 = db
        .prepare_cached("SELECT count(*) FROM tasks WHERE program = ?1 AND stage IS NOT NULL")?
        .query_row([key], |row| row.get(0))?;
    if unfinished > 0 {
        return Ok(DeleteProgram::Busy { unfinished: to_bits(unfinished) });
    }
    for sql in [
        "DELETE FROM events WHERE task IN (SELECT id FROM tasks WHERE program = ?1)",
        "DELETE FROM task_content WHERE task IN (SELECT id FROM tasks WHERE program = ?1)",
        "DELETE FROM idempotency WHERE program = ?1",
        "DELETE FROM tasks WHERE program = ?1",
    ] {
        db.prepare_cached(sql)?.execute([key])?;
    }
    volumes::delete(db, seq)?;
    db.prepare_cached("DELETE FROM programs WHERE seq = ?1")?.execute([seq])?;
    Ok(DeleteProgram::Deleted)
}

fn read(row: &Row<'_>) -> Result<Program, Fault> {
    Ok(Program {
        id: ProgramId(row.get("id")?),
        owner: owner(row)?,
        name: row.get("name")?,
        backend: parse("a backend", row, "backend")?,
        controller: BlobDigest(row.get("controller")?),
        circuit: BlobDigest(row.get("circuit")?),
        verifying_key: row.get::<_, Option<_>>("verifying_key")?.map(BlobDigest),
        nonce: to_bits(row.get("nonce")?),
        volume_size: to_bits(row.get("volume_size")?),
        created_at: to_time(row.get("created_at")?)?,
        updated_at: to_time(row.get("updated_at")?)?,
    })
}
