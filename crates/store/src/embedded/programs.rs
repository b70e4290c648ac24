//! Programs.

use super::{
    blobs, controllers, cursor,
    fault::Fault,
    row::{from_bits, from_time, owner, parse, to_bits, to_time},
    volumes,
};
use crate::{Cursor, DeleteProgram, InsertProgram, NewProgram, Page, Program, Setter, StoreError};
use coprocessor_types::{BlobDigest, OwnerId, ProgramId};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};

pub(super) fn insert(db: &Connection, new: &NewProgram, quota: u64, now: Timestamp) -> Result<InsertProgram, Fault> {
    if let Some(program) = find(db, new.id)? {
        return Ok(InsertProgram::Exists(program));
    }
    let of_owner: i64 = db
        .prepare_cached("SELECT count(*) FROM programs WHERE owner = ?1")?
        .query_row([new.owner.as_str()], |row| row.get(0))?;
    if to_bits(of_owner) >= quota {
        return Ok(InsertProgram::QuotaFull);
    }
    for digest in [new.controller, new.circuit].into_iter().chain(new.verifying_key) {
        blobs::require(db, digest)?;
    }
    let seq = db
        .prepare_cached(
            "INSERT INTO programs (id, owner, name, backend, controller, circuit, verifying_key, nonce, volume_size, \
         created_at, updated_at, public) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?10, ?11)",
        )?
        .insert(params![
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
            new.public,
        ])?;
    for digest in [new.controller, new.circuit].into_iter().chain(new.verifying_key) {
        blobs::name_for_program(db, seq, digest)?;
    }
    let by = Setter { owner: new.owner.clone(), key: new.key };
    controllers::make_current(db, seq, new.controller, &by, now)?;
    Ok(InsertProgram::Inserted(require(db, new.id)?))
}

pub(super) fn find(db: &Connection, id: ProgramId) -> Result<Option<Program>, Fault> {
    let mut statement = db.prepare_cached("SELECT * FROM programs WHERE id = ?1")?;
    statement.query_and_then([id.as_bytes()], read)?.next().transpose()
}

pub(super) fn require(db: &Connection, id: ProgramId) -> Result<Program, Fault> {
    find(db, id)?.ok_or_else(|| StoreError::UnknownProgram(id).into())
}

/// Programs that `reader` may see, or all.
pub(super) fn list(
    db: &Connection,
    reader: Option<&OwnerId>,
    after: Option<&Cursor>,
    limit: usize,
) -> Result<Page<Program>, Fault> {
    let below = after.map(cursor::to_program).transpose()?.unwrap_or(i64::MAX);
    let rows = cursor::rows_for(limit);
    let found: Vec<(i64, Program)> = match reader {
        None => db
            .prepare_cached("SELECT * FROM programs WHERE seq < ?1 ORDER BY seq DESC LIMIT ?2")?
            .query_and_then(params![below, rows], read_with_seq)?
            .collect::<Result<_, _>>()?,
        // Each half is read from its index, so that others' programs are not.
        Some(reader) => db
            .prepare_cached(
                "SELECT * FROM (SELECT * FROM programs WHERE owner = ?3 AND seq < ?1 ORDER BY seq DESC LIMIT ?2) \
                 UNION ALL \
                 SELECT * FROM (SELECT * FROM programs WHERE public = 1 AND owner <> ?3 AND seq < ?1 \
                 ORDER BY seq DESC LIMIT ?2) \
                 ORDER BY seq DESC LIMIT ?2",
            )?
            .query_and_then(params![below, rows, reader.as_str()], read_with_seq)?
            .collect::<Result<_, _>>()?,
    };
    let page = cursor::page(found, limit, |(seq, _)| cursor::after_program(*seq));
    Ok(Page { items: page.items.into_iter().map(|(_, program)| program).collect(), next: page.next })
}

pub(super) fn set_controller(
    db: &Connection,
    id: ProgramId,
    controller: BlobDigest,
    by: &Setter,
    keep: u64,
    now: Timestamp,
) -> Result<Option<Program>, Fault> {
    let (Some(seq), Some(program)) = (seq(db, id)?, find(db, id)?) else { return Ok(None) };
    if program.controller == controller {
        return Ok(Some(program));
    }
    blobs::name_for_program(db, seq, controller)?;
    db.prepare_cached("UPDATE programs SET controller = ?2, updated_at = ?3 WHERE id = ?1")?.execute(params![
        id.as_bytes(),
        controller.as_bytes(),
        from_time(now)
    ])?;
    controllers::make_current(db, seq, controller, by, now)?;
    controllers::drop_old(db, seq, keep)?;
    find(db, id)
}

pub(super) fn set_verifying_key(db: &Connection, id: ProgramId, key: BlobDigest) -> Result<Option<Program>, Fault> {
    match find(db, id)? {
        Some(program) if program.verifying_key.is_none() => {
            let seq = seq(db, id)?.ok_or(StoreError::UnknownProgram(id))?;
            blobs::name_for_program(db, seq, key)?;
            db.prepare_cached("UPDATE programs SET verifying_key = ?2 WHERE id = ?1")?
                .execute(params![id.as_bytes(), key.as_bytes()])?;
            find(db, id)
        }
        unchanged => Ok(unchanged),
    }
}

pub(super) fn delete(db: &Connection, id: ProgramId) -> Result<DeleteProgram, Fault> {
    let key = id.as_bytes();
    let Some(seq) = seq(db, id)? else { return Ok(DeleteProgram::Unknown) };
    let unfinished: i64 = db
        .prepare_cached("SELECT count(*) FROM tasks WHERE program = ?1 AND stage IS NOT NULL")?
        .query_row([key], |row| row.get(0))?;
    if unfinished > 0 {
        return Ok(DeleteProgram::Busy { unfinished: to_bits(unfinished) });
    }
    for sql in [
        "SELECT witness FROM tasks WHERE program = ?1 AND witness IS NOT NULL",
        "SELECT proof FROM tasks WHERE program = ?1 AND proof IS NOT NULL",
        "SELECT digest FROM recordings WHERE task IN (SELECT id FROM tasks WHERE program = ?1)",
        "SELECT digest FROM program_blobs JOIN programs ON programs.seq = program_blobs.program WHERE programs.id = ?1",
    ] {
        let mut named = db.prepare_cached(sql)?;
        let mut rows = named.query([key])?;
        // Read and changed are different tables.
        while let Some(row) = rows.next()? {
            blobs::unname(db, BlobDigest(row.get(0)?))?;
        }
    }
    for sql in [
        "DELETE FROM events WHERE task IN (SELECT id FROM tasks WHERE program = ?1)",
        "DELETE FROM recordings WHERE task IN (SELECT id FROM tasks WHERE program = ?1)",
        "DELETE FROM task_content WHERE task IN (SELECT id FROM tasks WHERE program = ?1)",
        "DELETE FROM idempotency WHERE program = ?1",
        "DELETE FROM tasks WHERE program = ?1",
    ] {
        db.prepare_cached(sql)?.execute([key])?;
    }
    volumes::delete(db, id)?;
    db.prepare_cached("DELETE FROM controller_versions WHERE program = ?1")?.execute([seq])?;
    db.prepare_cached("DELETE FROM program_blobs WHERE program = ?1")?.execute([seq])?;
    db.prepare_cached("DELETE FROM programs WHERE seq = ?1")?.execute([seq])?;
    Ok(DeleteProgram::Deleted)
}

fn seq(db: &Connection, id: ProgramId) -> Result<Option<i64>, Fault> {
    let mut statement = db.prepare_cached("SELECT seq FROM programs WHERE id = ?1")?;
    Ok(statement.query_row([id.as_bytes()], |row| row.get(0)).optional()?)
}

fn read_with_seq(row: &Row<'_>) -> Result<(i64, Program), Fault> {
    Ok((row.get("seq")?, read(row)?))
}

fn read(row: &Row<'_>) -> Result<Program, Fault> {
    Ok(Program {
        id: ProgramId(row.get("id")?),
        owner: owner(row)?,
        name: row.get("name")?,
        public: row.get("public")?,
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
