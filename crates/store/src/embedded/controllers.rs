//! A program's controllers by number: one is current, the others can be gone back to.

use super::{
    blobs, cursor,
    fault::Fault,
    row::{from_bits, from_time, owner, to_bits, to_time},
};
use crate::{ControllerVersion, Cursor, KeyId, Page, Setter};
use coprocessor_types::{BlobDigest, ProgramId};
use jiff::Timestamp;
use rusqlite::{Connection, Row, params};

/// Whole versions, to be read by [`read`]; a condition follows.
macro_rules! select_versions {
    ($rest:expr) => {
        concat!(
            "SELECT number, digest, blobs.size, set_at, controller_versions.owner, key, digest = programs.controller \
             FROM controller_versions JOIN programs ON programs.seq = program JOIN blobs USING (digest) \
             WHERE programs.id = ?1 AND ",
            $rest
        )
    };
}

/// Controllers that tasks of program ?1 may yet run: those of unfinished ones, and of failed ones, which may be retried.
const IN_USE: &str = "SELECT controller FROM tasks WHERE program = (SELECT id FROM programs WHERE seq = ?1) \
     AND stage IS NOT NULL UNION \
     SELECT controller FROM tasks WHERE program = (SELECT id FROM programs WHERE seq = ?1) AND state = 'failed'";

/// Notes that a controller is the current one from now on: as a new version, unless it is one.
pub(super) fn make_current(
    db: &Connection,
    program: i64,
    controller: BlobDigest,
    by: &Setter,
    now: Timestamp,
) -> Result<(), Fault> {
    let (digest, key) = (controller.as_bytes(), by.key.map(|key| key.0));
    let again = db
        .prepare_cached(
            "UPDATE controller_versions SET set_at = ?3, owner = ?4, key = ?5 WHERE program = ?1 AND digest = ?2",
        )?
        .execute(params![program, digest, from_time(now), by.owner.as_str(), key])?;
    if again > 0 {
        return Ok(());
    }
    db.prepare_cached("UPDATE programs SET versions = versions + 1 WHERE seq = ?1")?.execute([program])?;
    db.prepare_cached(
        "INSERT INTO controller_versions (program, number, digest, set_at, owner, key) \
         SELECT ?1, versions, ?2, ?3, ?4, ?5 FROM programs WHERE seq = ?1",
    )?
    .execute(params![program, digest, from_time(now), by.owner.as_str(), key])?;
    Ok(())
}

/// Drops the versions above `keep` that were current longest ago and that no task needs.
pub(super) fn drop_old(db: &Connection, program: i64, keep: u64) -> Result<(), Fault> {
    let versions: i64 = db
        .prepare_cached("SELECT count(*) FROM controller_versions WHERE program = ?1")?
        .query_row([program], |row| row.get(0))?;
    let excess = to_bits(versions).saturating_sub(keep.max(1));
    if excess == 0 {
        return Ok(());
    }
    unname_dropped(db, program)?;
    let old = format!(
        "DELETE FROM controller_versions WHERE program = ?1 AND number IN (\
         SELECT number FROM controller_versions WHERE program = ?1 \
         AND digest <> (SELECT controller FROM programs WHERE seq = ?1) AND digest NOT IN ({IN_USE}) \
         ORDER BY set_at, number LIMIT ?2)"
    );
    db.prepare_cached(&old)?.execute(params![program, from_bits(excess)])?;
    Ok(())
}

/// Has the program name what was dropped before no more. Not what is dropped now: a task that is on its way in may still
/// bring the controller that was the program's a moment ago.
fn unname_dropped(db: &Connection, program: i64) -> Result<(), Fault> {
    let unused = format!(
        "DELETE FROM program_blobs WHERE program = ?1 \
         AND digest NOT IN (SELECT digest FROM controller_versions WHERE program = ?1) AND digest NOT IN ({IN_USE}) \
         AND NOT EXISTS (SELECT 1 FROM programs WHERE seq = ?1 AND digest IN (circuit, verifying_key)) \
         RETURNING digest"
    );
    let mut statement = db.prepare_cached(&unused)?;
    let digests = statement.query_map([program], |row| row.get(0).map(BlobDigest))?.collect::<Result<Vec<_>, _>>()?;
    digests.into_iter().try_for_each(|digest| blobs::unname(db, digest))
}

/// A program's versions, the highest number first.
pub(super) fn list(
    db: &Connection,
    program: ProgramId,
    after: Option<&Cursor>,
    limit: usize,
) -> Result<Page<ControllerVersion>, Fault> {
    let below = after.map(cursor::to_version).transpose()?.unwrap_or(i64::MAX);
    let mut statement = db.prepare_cached(select_versions!("number < ?2 ORDER BY number DESC LIMIT ?3"))?;
    let rows = cursor::rows_for(limit);
    let found = statement.query_and_then(params![program.as_bytes(), below, rows], read)?.collect::<Result<_, _>>()?;
    Ok(cursor::page(found, limit, |version: &ControllerVersion| cursor::after_version(version.number)))
}

pub(super) fn find(db: &Connection, program: ProgramId, number: u64) -> Result<Option<ControllerVersion>, Fault> {
    let mut statement = db.prepare_cached(select_versions!("number = ?2"))?;
    // A number above all that there can be names none.
    let number = i64::try_from(number).unwrap_or(i64::MAX);
    statement.query_and_then(params![program.as_bytes(), number], read)?.next().transpose()
}

fn read(row: &Row<'_>) -> Result<ControllerVersion, Fault> {
    Ok(ControllerVersion {
        number: to_bits(row.get(0)?),
        digest: BlobDigest(row.get(1)?),
        bytes: to_bits(row.get(2)?),
        set_at: to_time(row.get(3)?)?,
        set_by: Setter { owner: owner(row)?, key: row.get::<_, Option<_>>(5)?.map(KeyId) },
        current: row.get(6)?,
    })
}
