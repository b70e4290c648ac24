//! Programs.

use super::{
    Inner, blobs,
    connect::Session,
    controllers,
    cursor::{self, Numbered},
    fault::Fault,
    row::{bits, bytes, digest_or_none, from_bits, get, owner, parse, text, time},
    upkeep::suspect,
};
use crate::{Cursor, DeleteProgram, InsertProgram, NewProgram, Page, Program, Setter};
use coprocessor_types::{BlobDigest, OwnerId, ProgramId};
use tokio_postgres::Row;

impl Inner {
    pub(super) async fn insert_program(&self, new: &NewProgram, quota: u64) -> Result<InsertProgram, Fault> {
        let session = self.durable.take().await?;
        // One deployment of an owner at a time, so that its programs can be counted.
        let lock = "SELECT pg_advisory_xact_lock(1668247667, hashtext($1))";
        session.begin_with("", lock, &[&new.owner.as_str()]).await?;
        let inserted = insert(&session, new, quota).await;
        if matches!(inserted, Ok(InsertProgram::Inserted(_))) {
            session.commit().await?;
        } else if !inserted.as_ref().is_err_and(Fault::is_lost) {
            session.rollback().await?;
        }
        inserted
    }

    pub(super) async fn program(&self, id: ProgramId) -> Result<Option<Program>, Fault> {
        find(&self.quick.take().await?, id).await
    }

    pub(super) async fn programs(
        &self,
        reader: Option<&OwnerId>,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<Page<Program>, Fault> {
        let below = Numbered::Programs.below(after)?;
        let rows = cursor::rows_for(limit);
        let session = self.quick.take().await?;
        let rows = match reader {
            None => {
                let sql = "SELECT * FROM programs WHERE seq < $1 ORDER BY seq DESC LIMIT $2";
                session.query(sql, &[&below, &rows]).await?
            }
            Some(reader) => {
                // Each part is one walk along an index.
                let sql = "SELECT * FROM (\
                     (SELECT * FROM programs WHERE owner = $3 AND seq < $1 ORDER BY seq DESC LIMIT $2) UNION \
                     (SELECT * FROM programs WHERE public AND seq < $1 ORDER BY seq DESC LIMIT $2)) AS visible \
                     ORDER BY seq DESC LIMIT $2";
                session.query(sql, &[&below, &rows, &reader.as_str()]).await?
            }
        };
        let items = rows.iter().map(|row| Ok((Numbered::Programs.after(get(row, "seq")?), read(row)?)));
        Ok(cursor::page(items.collect::<Result<_, Fault>>()?, limit))
    }

    pub(super) async fn set_controller(
        &self,
        id: ProgramId,
        controller: BlobDigest,
        by: &Setter,
        keep: u64,
    ) -> Result<Option<Program>, Fault> {
        let sql = "UPDATE programs SET controller = $2, updated_at = micros() WHERE id = $1";
        let wanted = |program: &Program| program.controller != controller;
        let versions = async |session: &Session| {
            controllers::make_current(session, id, controller, by).await?;
            controllers::drop_old(session, id, keep).await
        };
        self.name_blob(id, controller, sql, wanted, versions).await
    }

    pub(super) async fn set_verifying_key(&self, id: ProgramId, key: BlobDigest) -> Result<Option<Program>, Fault> {
        let sql = "UPDATE programs SET verifying_key = $2 WHERE id = $1";
        self.name_blob(id, key, sql, |program| program.verifying_key.is_none(), async |_| Ok(())).await
    }

    /// Gives a program a blob with `sql`, if it is `wanted`, and does what goes `with` that.
    async fn name_blob(
        &self,
        id: ProgramId,
        digest: BlobDigest,
        sql: &str,
        wanted: impl FnOnce(&Program) -> bool,
        with: impl AsyncFnOnce(&Session) -> Result<(), Fault>,
    ) -> Result<Option<Program>, Fault> {
        let session = self.durable.take().await?;
        let key = id.as_bytes().as_slice();
        let found = session.begin_with("", "SELECT * FROM programs WHERE id = $1 FOR NO KEY UPDATE", &[&key]).await?;
        let found = found.first().map(read).transpose()?;
        let Some(program) = found.filter(wanted) else {
            let unchanged = find(&session, id).await?;
            session.rollback().await?;
            return Ok(unchanged);
        };
        let changed = async {
            blobs::require(&session, &[digest]).await?;
            name(&session, program.id, &[digest]).await?;
            session.execute(sql, &[&key, &digest.as_bytes().as_slice()]).await?;
            with(&session).await?;
            find(&session, id).await
        };
        match changed.await {
            Ok(program) => {
                session.commit().await?;
                Ok(program)
            }
            Err(fault) => {
                if matches!(fault, Fault::Store(_)) {
                    session.rollback().await?;
                }
                Err(fault)
            }
        }
    }

    pub(super) async fn delete_program(&self, id: ProgramId) -> Result<DeleteProgram, Fault> {
        let session = self.durable.take().await?;
        let key = id.as_bytes().as_slice();
        // Admissions lock the row, so none of its tasks can come from here on.
        let found = session.begin_with("", "SELECT 1 FROM programs WHERE id = $1 FOR UPDATE", &[&key]).await?;
        if found.is_empty() {
            session.rollback().await?;
            return Ok(DeleteProgram::Unknown);
        }
        let rows = session
            .query(
                "SELECT id, stage IS NOT NULL AS unfinished, witness, proof FROM task_content \
                 JOIN tasks ON tasks.id = task_content.task WHERE task_content.program = $1",
                &[&key],
            )
            .await?;
        let unfinished = rows.iter().map(|row| get(row, "unfinished")).collect::<Result<Vec<bool>, _>>()?;
        let unfinished = unfinished.into_iter().filter(|unfinished| *unfinished).count() as u64;
        if unfinished > 0 {
            session.rollback().await?;
            return Ok(DeleteProgram::Busy { unfinished });
        }
        let tasks = rows.iter().map(|row| get(row, "id")).collect::<Result<Vec<&[u8]>, _>>()?;
        let of_tasks = |column| rows.iter().filter_map(move |row| get::<Option<&[u8]>>(row, column).transpose());
        let mut digests = of_tasks("witness").chain(of_tasks("proof")).collect::<Result<Vec<_>, _>>()?;
        let unnamed = "DELETE FROM task_blobs WHERE digest = ANY ($1) AND task = ANY ($2)";
        session.execute(unnamed, &[&digests, &tasks]).await?;
        let unrecorded = "DELETE FROM recordings WHERE task = ANY ($1) RETURNING digest";
        let recordings = session.query(unrecorded, &[&tasks]).await?;
        for row in &recordings {
            digests.push(get(row, "digest")?);
        }
        let named = session.query("DELETE FROM program_blobs WHERE program = $1 RETURNING digest", &[&key]).await?;
        for row in &named {
            digests.push(get(row, "digest")?);
        }
        for sql in [
            "DELETE FROM events WHERE task = ANY ($1)",
            "DELETE FROM task_content WHERE task = ANY ($1)",
            "DELETE FROM tasks WHERE id = ANY ($1)",
        ] {
            session.execute(sql, &[&tasks]).await?;
        }
        for sql in [
            "DELETE FROM idempotency WHERE program = $1",
            // Whoever writes to it has come to an end then, or finds it gone; and what it holds changes no more.
            "SELECT FROM volumes WHERE program = $1 FOR UPDATE",
            // The pages go with upkeep: there may be more than can be removed while somebody waits.
            "INSERT INTO loose_volumes (number, at) SELECT number, 0 FROM volumes WHERE program = $1",
            "UPDATE owner_volumes SET bytes = owner_volumes.bytes - volumes.bytes FROM volumes JOIN programs \
                 ON programs.id = volumes.program WHERE program = $1 AND owner_volumes.owner = programs.owner",
            "DELETE FROM volumes WHERE program = $1",
            "DELETE FROM controller_versions WHERE program = $1",
            "DELETE FROM programs WHERE id = $1",
        ] {
            session.execute(sql, &[&key]).await?;
        }
        suspect(&session, &digests).await?;
        session.commit().await?;
        Ok(DeleteProgram::Deleted)
    }
}

async fn insert(session: &Session, new: &NewProgram, quota: u64) -> Result<InsertProgram, Fault> {
    if let Some(program) = find(session, new.id).await? {
        return Ok(InsertProgram::Exists(program));
    }
    let digests: Vec<_> = [new.controller, new.circuit].into_iter().chain(new.verifying_key).collect();
    blobs::require(session, &digests).await?;
    let count = "SELECT count(*) AS programs FROM programs WHERE owner = $1";
    if bits(&session.query_one(count, &[&new.owner.as_str()]).await?, "programs")? >= quota {
        return Ok(InsertProgram::QuotaFull);
    }
    let added = session
        .execute(
            "WITH added AS (INSERT INTO programs (id, owner, name, public, backend, controller, circuit, verifying_key, \
             nonce, volume_size, created_at, updated_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, micros(), micros()) ON CONFLICT DO NOTHING RETURNING id) \
             INSERT INTO volumes (program, size) SELECT id, $10 FROM added",
            &[
                &new.id.as_bytes().as_slice(),
                &new.owner.as_str(),
                &new.name.as_bytes(),
                &new.public,
                &new.backend.as_str(),
                &new.controller.as_bytes().as_slice(),
                &new.circuit.as_bytes().as_slice(),
                &new.verifying_key.as_ref().map(|digest| digest.as_bytes().as_slice()),
                &from_bits(new.nonce),
                &from_bits(new.volume_size),
            ],
        )
        .await?;
    let program = find(session, new.id).await?;
    let program = program.ok_or_else(|| super::row::corrupt("a program", "it is not there after it was written"))?;
    if added == 0 {
        // Another owner deployed the same a moment before.
        return Ok(InsertProgram::Exists(program));
    }
    let account = "INSERT INTO owner_volumes (owner, bytes) VALUES ($1, 0) ON CONFLICT DO NOTHING";
    session.execute(account, &[&new.owner.as_str()]).await?;
    name(session, new.id, &digests).await?;
    let by = Setter { owner: new.owner.clone(), key: new.key };
    controllers::make_current(session, new.id, new.controller, &by).await?;
    Ok(InsertProgram::Inserted(program))
}

/// Notes that a program names blobs.
async fn name(session: &Session, program: ProgramId, digests: &[BlobDigest]) -> Result<(), Fault> {
    let digests: Vec<_> = digests.iter().map(|digest| digest.as_bytes().as_slice()).collect();
    let sql = "INSERT INTO program_blobs (program, digest) SELECT $1, digest FROM unnest($2::bytea[]) AS digest \
         ON CONFLICT DO NOTHING";
    session.execute(sql, &[&program.as_bytes().as_slice(), &digests]).await.map(drop)
}

async fn find(session: &Session, id: ProgramId) -> Result<Option<Program>, Fault> {
    let row = session.query_opt("SELECT * FROM programs WHERE id = $1", &[&id.as_bytes().as_slice()]).await?;
    row.as_ref().map(read).transpose()
}

fn read(row: &Row) -> Result<Program, Fault> {
    Ok(Program {
        id: ProgramId(bytes(row, "id")?),
        owner: owner(row)?,
        name: text(row, "name")?,
        public: get(row, "public")?,
        backend: parse("a backend", row, "backend")?,
        controller: BlobDigest(bytes(row, "controller")?),
        circuit: BlobDigest(bytes(row, "circuit")?),
        verifying_key: digest_or_none(row, "verifying_key")?,
        nonce: bits(row, "nonce")?,
        volume_size: bits(row, "volume_size")?,
        created_at: time(row, "created_at")?,
        updated_at: time(row, "updated_at")?,
    })
}
