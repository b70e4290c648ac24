//! Volumes: their pages, their versions, and raw storage.
//!
//! A view is a transaction that stays open on a connection of its own, as long as a controller runs: what it reads is one
//! moment's, whatever is written meanwhile. Keeping old versions of pages instead would cost every write a row and somebody
//! to collect them, and reading on the condition that nothing has changed would make long controllers start over for ever.

use super::{
    Inner,
    connect::{Session, Values},
    fault::Fault,
    row::{bits, from_bits, get},
    steps::Pages,
};
use crate::{StoreError, VolumeContent, VolumeSnapshot, VolumeWrite};
use coprocessor_types::ProgramId;
use std::{collections::HashMap, future::Future, ops::Range};
use tokio::{runtime::Handle, time::timeout};
use tokio_postgres::Row;

/// Pages that come with a volume's view: those with the lowest numbers, of those that are there. A FAT volume has its boot sector,
/// tables and root directory first, and of one with little in it these are all.
const FIRST_PAGES: i64 = 8;

/// Raw storage up to so many bytes comes with the view. It comes with each of the first pages.
const RAW_ALONG: i32 = 1024;

/// Pages that a volume is replaced by in one statement: 1 MiB.
const REPLACED_AT_ONCE: usize = 256;

/// A view of a volume.
pub(super) struct Snapshot {
    runtime: Handle,
    /// In the transaction that the view is. `None` only while it is dropped.
    session: Option<Session>,
    start: Start,
}

/// What comes with a view.
struct Start {
    number: i64,
    size: u64,
    version: u64,
    /// The pages with numbers below `known`; those that are not there are all zeros.
    pages: HashMap<u32, Vec<u8>>,
    known: i64,
    /// Raw storage; `None` where it is too large to come along unasked.
    raw: Option<Option<Vec<u8>>>,
}

const START: &str = "SELECT volumes.number, volumes.size, volumes.version, pages.index, pages.content, \
         CASE WHEN octet_length(raw) <= $3 THEN raw END AS raw, coalesce(octet_length(raw) > $3, false) AS more \
     FROM volumes LEFT JOIN LATERAL \
         (SELECT index, content FROM pages WHERE volume = volumes.number ORDER BY index LIMIT $2) AS pages ON true \
     WHERE volumes.program = $1";

impl Start {
    fn read(rows: &[Row]) -> Result<Option<Self>, Fault> {
        let Some(volume) = rows.first() else { return Ok(None) };
        let mut pages = HashMap::new();
        for row in rows {
            if let Some(index) = get::<Option<i64>>(row, "index")? {
                pages.insert(index as u32, get(row, "content")?);
            }
        }
        let last = pages.keys().max().map_or(0, |index| i64::from(*index));
        Ok(Some(Self {
            number: get(volume, "number")?,
            size: bits(volume, "size")?,
            version: bits(volume, "version")?,
            known: if pages.len() as i64 == FIRST_PAGES { last + 1 } else { i64::MAX },
            pages,
            raw: if get(volume, "more")? { None } else { Some(get(volume, "raw")?) },
        }))
    }
}

impl Inner {
    /// Blocks, on any thread but those of a runtime that somebody needs.
    pub(super) fn volume_snapshot(&self, program: ProgramId) -> Result<Snapshot, Fault> {
        blocking(&self.runtime, async {
            let unknown = || StoreError::UnknownProgram(program);
            let (runtime, session) = (self.runtime.clone(), self.snapshots.take().await?);
            let values: Values<'_> = &[&program.as_bytes().as_slice(), &FIRST_PAGES, &RAW_ALONG];
            let mode = "ISOLATION LEVEL REPEATABLE READ, READ ONLY";
            match Start::read(&session.begin_with(mode, START, values).await?)? {
                Some(start) => Ok(Snapshot { runtime, session: Some(session), start }),
                None => {
                    session.rollback().await?;
                    Err(unknown().into())
                }
            }
        })
    }

    pub(super) async fn write_volume(&self, program: ProgramId, write: &VolumeWrite) -> Result<u64, Fault> {
        let session = self.durable.take().await?;
        let key = program.as_bytes().as_slice();
        let mut version = "SELECT version FROM volumes WHERE program = $1";
        if !write.is_empty() {
            let pages = Pages::of(write);
            let [based_on, raw, written, contents, cleared] = pages.values();
            let sql = "
WITH volume AS (
    UPDATE volumes SET version = version + 1, raw = coalesce($3, raw) WHERE program = $1 AND version = $2
    RETURNING number, version
), put AS (
    INSERT INTO pages (volume, index, content)
    SELECT number, page.index, page.content FROM volume, unnest($4::bigint[], $5::bytea[]) AS page (index, content)
    ON CONFLICT (volume, index) DO UPDATE SET content = excluded.content
), cleared AS (
    DELETE FROM pages WHERE volume = (SELECT number FROM volume) AND index = ANY ($6::bigint[])
)
SELECT version FROM volume";
            if let Some(row) = session.query_opt(sql, &[&key, based_on, raw, written, contents, cleared]).await? {
                return bits(&row, "version");
            }
            // Not another moment's than the one it conflicted with.
            version = "SELECT version FROM volumes WHERE program = $1 FOR SHARE";
        }
        let row = session.query_opt(version, &[&key]).await?.ok_or(StoreError::UnknownProgram(program))?;
        let got = bits(&row, "version")?;
        if write.is_empty() {
            Ok(got)
        } else {
            Err(StoreError::VolumeConflict { program, expected: write.based_on, got }.into())
        }
    }
}

impl Inner {
    /// In one transaction, which locks the volume and nothing else but its program's row.
    pub(super) async fn replace_volume(&self, program: ProgramId, content: &VolumeContent) -> Result<u64, Fault> {
        let session = self.durable.take().await?;
        let key = program.as_bytes().as_slice();
        let size = from_bits(content.size);
        let sql = "UPDATE programs SET volume_size = $2 WHERE id = $1";
        session.begin_with("", sql, &[&key, &size]).await?;
        match replace(&session, program, content).await {
            Ok(version) => {
                session.commit().await?;
                Ok(version)
            }
            Err(fault) => {
                if matches!(fault, Fault::Store(_)) {
                    session.rollback().await?;
                }
                Err(fault)
            }
        }
    }
}

async fn replace(session: &Session, program: ProgramId, content: &VolumeContent) -> Result<u64, Fault> {
    let sql = "UPDATE volumes SET version = version + 1, size = $2 WHERE program = $1 RETURNING number, version";
    let values: Values<'_> = &[&program.as_bytes().as_slice(), &from_bits(content.size)];
    let row = session.query_opt(sql, values).await?.ok_or(StoreError::UnknownProgram(program))?;
    let (number, version): (i64, _) = (get(&row, "number")?, bits(&row, "version")?);
    let mut pages = (content.pages)();
    let mut from = 0_i64;
    loop {
        let part = pages.by_ref().take(REPLACED_AT_ONCE).collect::<Result<Vec<_>, _>>().map_err(StoreError::Content)?;
        let indexes: Vec<i64> = part.iter().map(|(index, _)| i64::from(*index)).collect();
        let contents: Vec<&[u8]> = part.iter().map(|(_, content)| content.as_slice()).collect();
        let is_last = part.len() < REPLACED_AT_ONCE;
        let to = if is_last { i64::MAX } else { indexes.last().map_or(i64::MAX, |last| last + 1) };
        let clear = "DELETE FROM pages WHERE volume = $1 AND index >= $2 AND index < $3 AND NOT (index = ANY ($4))";
        session.execute(clear, &[&number, &from, &to, &indexes]).await?;
        let put = "INSERT INTO pages (volume, index, content) \
             SELECT $1, page.index, page.content FROM unnest($2::bigint[], $3::bytea[]) AS page (index, content) \
             ON CONFLICT (volume, index) DO UPDATE SET content = excluded.content \
             WHERE pages.content IS DISTINCT FROM excluded.content";
        session.execute(put, &[&number, &indexes, &contents]).await?;
        if is_last {
            return Ok(version);
        }
        from = to;
    }
}

impl Snapshot {
    fn session(&self) -> Result<&Session, Fault> {
        self.session.as_ref().ok_or_else(|| StoreError::Closed.into())
    }
}

impl VolumeSnapshot for Snapshot {
    fn size(&self) -> u64 {
        self.start.size
    }

    fn version(&self) -> u64 {
        self.start.version
    }

    fn read_page(&self, index: u32) -> Result<Option<Vec<u8>>, StoreError> {
        if i64::from(index) < self.start.known {
            return Ok(self.start.pages.get(&index).cloned());
        }
        let read = blocking(&self.runtime, async {
            let sql = "SELECT content FROM pages WHERE volume = $1 AND index = $2";
            let row = self.session()?.query_opt(sql, &[&self.start.number, &i64::from(index)]).await?;
            row.map(|row| get(&row, "content")).transpose()
        });
        Ok(read?)
    }

    fn read_pages(&self, range: Range<u32>) -> Result<Vec<(u32, Vec<u8>)>, StoreError> {
        let read = blocking(&self.runtime, async {
            let sql =
                "SELECT index, content FROM pages WHERE volume = $1 AND index >= $2 AND index < $3 ORDER BY index";
            let values: Values<'_> = &[&self.start.number, &i64::from(range.start), &i64::from(range.end)];
            let rows = self.session()?.query(sql, values).await?;
            rows.iter().map(|row| Ok((get::<i64>(row, "index")? as u32, get(row, "content")?))).collect()
        });
        Ok(read?)
    }

    fn raw(&self) -> Result<Option<Vec<u8>>, StoreError> {
        if let Some(raw) = &self.start.raw {
            return Ok(raw.clone());
        }
        let read = blocking(&self.runtime, async {
            let sql = "SELECT raw FROM volumes WHERE number = $1";
            get(&self.session()?.query_one(sql, &[&self.start.number]).await?, "raw")
        });
        Ok(read?)
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        let Some(session) = self.session.take() else { return };
        // One that can't be ended closes its connection. Nobody waits for it.
        self.runtime.spawn(async move {
            let _ = tokio::time::timeout(super::PATIENCE, session.rollback()).await;
        });
    }
}

/// Waits on this thread for what happens in the store's runtime. Unlike the runtime's own way, it may be called from threads
/// of another runtime too.
fn blocking<T>(runtime: &Handle, work: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    let _context = runtime.enter();
    // Made inside: a timer belongs to the runtime it is made in.
    let timed = async { timeout(super::PATIENCE, work).await };
    match futures::executor::block_on(timed) {
        Ok(done) => done,
        Err(error) => Err(StoreError::Unavailable(Box::new(error)).into()),
    }
}
