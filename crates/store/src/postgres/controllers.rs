//! A program's controllers by number: one is current, the others can be gone back to.

use super::{
    Inner,
    connect::Session,
    cursor::{self, Numbered},
    fault::Fault,
    row::{bits, bounded, bytes, get, owner, time},
    upkeep::suspect,
};
use crate::{ControllerVersion, Cursor, KeyId, Page, Setter};
use coprocessor_types::{BlobDigest, ProgramId};
use tokio_postgres::Row;

/// Whole versions of program $1, to be read by [`read`]; a condition follows.
const VERSIONS: &str = "SELECT number, digest, size, set_at, controller_versions.owner, key, \
     digest = programs.controller AS current \
     FROM controller_versions JOIN programs ON programs.id = program JOIN blobs USING (digest) \
     WHERE program = $1 AND";

/// Controllers that tasks of program $1 may yet run: those of unfinished ones, which are in the two indexes of the queue, and of
/// failed ones, which may be retried.
const IN_USE: &str = "SELECT controller FROM tasks WHERE program = $1 AND stage >= 0 AND ready_at = 0 UNION \
     SELECT controller FROM tasks WHERE program = $1 AND stage >= 0 AND ready_at > 0 UNION \
     SELECT controller FROM tasks WHERE program = $1 AND state = 'failed'";

impl Inner {
    pub(super) async fn controller_versions(
        &self,
        program: ProgramId,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<Page<ControllerVersion>, Fault> {
        let (below, rows) = (Numbered::Versions.below(after)?, cursor::rows_for(limit));
        let session = self.quick.take().await?;
        let sql = format!("{VERSIONS} number < $2 ORDER BY number DESC LIMIT $3");
        let rows = session.query(&sql, &[&program.as_bytes().as_slice(), &below, &rows]).await?;
        let items = rows.iter().map(|row| Ok((Numbered::Versions.after(get(row, "number")?), read(row)?)));
        Ok(cursor::page(items.collect::<Result<_, Fault>>()?, limit))
    }

    pub(super) async fn controller_version(
        &self,
        program: ProgramId,
        number: u64,
    ) -> Result<Option<ControllerVersion>, Fault> {
        let session = self.quick.take().await?;
        // A number above all that there can be names none.
        let sql = format!("{VERSIONS} number = $2");
        let row = session.query_opt(&sql, &[&program.as_bytes().as_slice(), &bounded(number)]).await?;
        row.as_ref().map(read).transpose()
    }
}

/// Notes that a controller is the current one from now on: as a new version, unless it is one. Whoever calls holds the
/// program's row.
pub(super) async fn make_current(
    session: &Session,
    program: ProgramId,
    controller: BlobDigest,
    by: &Setter,
) -> Result<(), Fault> {
    let (id, digest) = (program.as_bytes().as_slice(), controller.as_bytes().as_slice());
    let key = by.key.as_ref().map(|key| key.0.as_slice());
    let again =
        "UPDATE controller_versions SET set_at = micros(), owner = $3, key = $4 WHERE program = $1 AND digest = $2";
    if session.execute(again, &[&id, &digest, &by.owner.as_str(), &key]).await? > 0 {
        return Ok(());
    }
    let new = "WITH counted AS (UPDATE programs SET versions = versions + 1 WHERE id = $1 RETURNING versions) \
         INSERT INTO controller_versions (program, number, digest, set_at, owner, key) \
         SELECT $1, versions, $2, micros(), $3, $4 FROM counted";
    session.execute(new, &[&id, &digest, &by.owner.as_str(), &key]).await.map(drop)
}

/// Drops the versions above `keep` that were current longest ago and that no task needs. Whoever calls holds the program's row.
pub(super) async fn drop_old(session: &Session, program: ProgramId, keep: u64) -> Result<(), Fault> {
    let id = program.as_bytes().as_slice();
    let count = "SELECT count(*) AS versions FROM controller_versions WHERE program = $1";
    let versions = bits(&session.query_one(count, &[&id]).await?, "versions")?;
    let excess = versions.saturating_sub(keep.max(1));
    if excess == 0 {
        return Ok(());
    }
    unname_dropped(session, program).await?;
    let old = format!(
        "DELETE FROM controller_versions WHERE program = $1 AND number = ANY (ARRAY(\
         SELECT number FROM controller_versions WHERE program = $1 \
         AND digest <> (SELECT controller FROM programs WHERE id = $1) AND digest NOT IN ({IN_USE}) \
         ORDER BY set_at, number LIMIT $2))"
    );
    session.execute(&old, &[&id, &bounded(excess)]).await.map(drop)
}

/// Has the program name what was dropped before no more. Not what is dropped now: a task that is on its way in may still
/// bring the controller that was the program's a moment ago.
async fn unname_dropped(session: &Session, program: ProgramId) -> Result<(), Fault> {
    let unused = format!(
        "DELETE FROM program_blobs WHERE program = $1 \
         AND digest NOT IN (SELECT digest FROM controller_versions WHERE program = $1) AND digest NOT IN ({IN_USE}) \
         AND NOT EXISTS (SELECT FROM programs WHERE id = $1 AND (digest = circuit OR digest = verifying_key)) \
         RETURNING digest"
    );
    let rows = session.query(&unused, &[&program.as_bytes().as_slice()]).await?;
    let digests = rows.iter().map(|row| get(row, "digest")).collect::<Result<Vec<&[u8]>, _>>()?;
    if digests.is_empty() { Ok(()) } else { suspect(session, &digests).await }
}

fn read(row: &Row) -> Result<ControllerVersion, Fault> {
    let key: Option<&[u8]> = get(row, "key")?;
    Ok(ControllerVersion {
        number: bits(row, "number")?,
        digest: BlobDigest(bytes(row, "digest")?),
        bytes: bits(row, "size")?,
        set_at: time(row, "set_at")?,
        set_by: Setter { owner: owner(row)?, key: key.map(super::row::array).transpose()?.map(KeyId) },
        current: get(row, "current")?,
    })
}
