//! Replacing a volume as a whole.
//!
//! The new pages are written under a number that no volume has, part by part, and each part has the time of an operation: how
//! large the volume is does not matter. Then the volume gets that number, in one short transaction; until then everybody goes on
//! with what was there. Pages under numbers that are no volume's are upkeep's to remove: what was there before, and what
//! somebody began to write and never came to the end of.

use super::{
    Inner, PostgresStore,
    connect::{Session, Values},
    fault::Fault,
    row::{bits, bounded, from_bits, get, owner},
    volumes::CHARGED,
};
use crate::{StoreError, VolumeContent, VolumePages};
use coprocessor_types::{OwnerId, ProgramId};
use std::{io, sync::Arc};

/// Pages written by one statement: 1 MiB.
const AT_ONCE: usize = 256;

/// What a volume and those of its owner hold.
const HOLDINGS: &str = "SELECT owner, volumes.bytes, coalesce(octet_length(raw), 0) AS raw, \
         coalesce((SELECT bytes FROM owner_volumes WHERE owner_volumes.owner = programs.owner), 0) AS all_bytes \
     FROM volumes JOIN programs ON programs.id = volumes.program WHERE volumes.program = $1";

/// A new number, whose pages are yet to come.
const BEGIN: &str = "INSERT INTO loose_volumes (number, at) \
     VALUES (nextval(pg_get_serial_sequence('volumes', 'number')), micros()) RETURNING number";

/// Nothing, once upkeep has taken the number for given up.
const PUT: &str = "
WITH loose AS (
    UPDATE loose_volumes SET at = micros() WHERE number = $1 RETURNING number
)
INSERT INTO pages (volume, index, content)
SELECT loose.number, page.index, page.content FROM loose, unnest($2::bigint[], $3::bytea[]) AS page (index, content)
ON CONFLICT (volume, index) DO UPDATE SET content = excluded.content";

const GIVE_UP: &str = "UPDATE loose_volumes SET at = 0 WHERE number = $1";

impl PostgresStore {
    pub(super) async fn replace(&self, program: ProgramId, content: VolumeContent) -> Result<u64, StoreError> {
        let staged = self.call(move |inner| async move { inner.begin_staging(program).await }).await?;
        let number = staged.number;
        let replaced = match self.stage(staged, &content).await {
            Ok(staged) => {
                let staged = Arc::new(staged);
                let (size, quota) = (content.size, content.quota);
                self.call(move |inner| {
                    let staged = Arc::clone(&staged);
                    async move { inner.put_in_place(program, &staged, size, quota).await }
                })
                .await
            }
            Err(error) => Err(error),
        };
        if replaced.is_err() {
            // So that nobody has to wait until it has grown old. Does nothing where only the answer was lost.
            let given_up = self.call_again(move |inner| async move { inner.give_up(number).await }).await;
            given_up.unwrap_or_else(|error| tracing::debug!(%error, number, "pages of no volume stay for a while"));
        }
        replaced
    }

    /// Writes all pages under the staged number.
    async fn stage(&self, mut staged: Staged, content: &VolumeContent) -> Result<Staged, StoreError> {
        let mut pages = (content.pages)();
        loop {
            let part;
            (part, pages) = self.read_part(pages).await?;
            let part = part.map_err(StoreError::Content)?;
            let is_last = part.len() < AT_ONCE;
            staged.bytes += part.iter().map(|(_, content)| content.len() as u64).sum::<u64>();
            staged.check(content.quota)?;
            let (part, number) = (Arc::new(part), staged.number);
            self.call_again(move |inner| {
                let part = Arc::clone(&part);
                async move { inner.stage_part(number, &part).await }
            })
            .await?;
            if is_last {
                return Ok(staged);
            }
        }
    }

    /// Reads the next pages, on a thread that may block.
    async fn read_part(
        &self,
        mut pages: VolumePages,
    ) -> Result<(io::Result<Vec<(u32, Vec<u8>)>>, VolumePages), StoreError> {
        let read = move || (pages.by_ref().take(AT_ONCE).collect(), pages);
        match self.inner.runtime.spawn_blocking(read).await {
            Ok(read) => Ok(read),
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => Err(StoreError::Closed),
        }
    }
}

/// Pages under a number of their own, and what they are to take the place of.
#[derive(Debug)]
struct Staged {
    number: i64,
    /// What they are.
    bytes: u64,
    owner: OwnerId,
    /// What the volume holds now.
    held: u64,
    /// What the owner's volumes hold besides the volume's pages.
    others: u64,
}

impl Staged {
    /// # Errors
    /// [`StoreError::VolumeQuota`], as far as it can be said before the pages are the volume's.
    fn check(&self, quota: Option<u64>) -> Result<(), StoreError> {
        let got = self.others.saturating_add(self.bytes);
        match quota {
            Some(limit) if got > limit && self.bytes > self.held => {
                Err(StoreError::VolumeQuota { owner: self.owner.clone(), got, limit })
            }
            _ => Ok(()),
        }
    }
}

impl Inner {
    async fn begin_staging(&self, program: ProgramId) -> Result<Staged, Fault> {
        let session = self.quick.take().await?;
        let mut staged = holdings(&session, program).await?;
        staged.number = get(&session.query_one(BEGIN, &[]).await?, "number")?;
        Ok(staged)
    }

    async fn stage_part(&self, number: i64, part: &[(u32, Vec<u8>)]) -> Result<(), Fault> {
        let indexes: Vec<i64> = part.iter().map(|(index, _)| i64::from(*index)).collect();
        let contents: Vec<&[u8]> = part.iter().map(|(_, content)| content.as_slice()).collect();
        let put = self.quick.take().await?.execute(PUT, &[&number, &indexes, &contents]).await?;
        if put < part.len() as u64 { Err(taken(number)) } else { Ok(()) }
    }

    /// In one transaction, which locks the volume, its program's row and what its owner's volumes hold. All pages were committed
    /// before, so they are durable when this is.
    async fn put_in_place(
        &self,
        program: ProgramId,
        staged: &Staged,
        size: u64,
        quota: Option<u64>,
    ) -> Result<u64, Fault> {
        let session = self.durable.take().await?;
        let (key, size) = (program.as_bytes().as_slice(), from_bits(size));
        let sql = "UPDATE programs SET volume_size = $2 WHERE id = $1 RETURNING 1 AS found";
        let found = session.begin_with("", sql, &[&key, &size]).await?;
        if found.is_empty() {
            session.rollback().await?;
            return Err(StoreError::UnknownProgram(program).into());
        }
        let sql = format!(
            "WITH staged AS (DELETE FROM loose_volumes WHERE number = $2 RETURNING number), \
             old AS MATERIALIZED (SELECT volumes.number, volumes.bytes, coalesce(octet_length(raw), 0) AS raw, owner \
                 FROM volumes JOIN programs ON programs.id = volumes.program WHERE volumes.program = $1 \
                 FOR NO KEY UPDATE OF volumes), \
             growth AS MATERIALIZED (SELECT staged.number, old.number AS old, owner, $3::bigint + raw - bytes AS bytes, \
                 $5::bigint AS quota FROM old, staged), \
             {CHARGED}, \
             volume AS (UPDATE volumes SET number = growth.number, version = version + 1, size = $4, \
                     bytes = volumes.bytes + growth.bytes \
                 FROM growth WHERE volumes.program = $1 AND (growth.bytes = 0 OR EXISTS (SELECT FROM charged)) \
                 RETURNING version, old), \
             loose AS (INSERT INTO loose_volumes (number, at) SELECT old, 0 FROM volume) \
             SELECT version FROM volume"
        );
        let values: Values<'_> = &[&key, &staged.number, &from_bits(staged.bytes), &size, &quota.map(bounded)];
        if let Some(row) = session.query_opt(&sql, values).await? {
            let version = bits(&row, "version")?;
            session.commit().await?;
            return Ok(version);
        }
        let mut now = holdings(&session, program).await?;
        session.rollback().await?;
        now.bytes = staged.bytes;
        now.check(quota)?;
        Err(taken(staged.number))
    }

    async fn give_up(&self, number: i64) -> Result<(), Fault> {
        self.quick.take().await?.execute(GIVE_UP, &[&number]).await.map(drop)
    }
}

/// What there is before anything is staged.
async fn holdings(session: &Session, program: ProgramId) -> Result<Staged, Fault> {
    let row = session.query_opt(HOLDINGS, &[&program.as_bytes().as_slice()]).await?;
    let row = row.ok_or(StoreError::UnknownProgram(program))?;
    let (bytes, raw, all): (u64, i32, u64) = (bits(&row, "bytes")?, get(&row, "raw")?, bits(&row, "all_bytes")?);
    let held = bytes - u64::from(raw.unsigned_abs());
    Ok(Staged { number: 0, bytes: 0, owner: owner(&row)?, held, others: all.saturating_sub(held) })
}

/// It took so long that upkeep had the pages for nobody's, or the quota had room again a moment after it had not.
fn taken(number: i64) -> Fault {
    let reason = format!("the pages under number {number} were not put in the volume's place; ask again");
    StoreError::Unavailable(reason.into()).into()
}
