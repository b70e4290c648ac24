//! Volumes: their pages, their versions, and raw storage.
//!
//! A view is a transaction that stays open on a connection of its own, as long as a controller runs: what it reads is one
//! moment's, whatever is written meanwhile. Keeping old versions of pages instead would cost every write a row and somebody
//! to collect them, and reading on the condition that nothing has changed would make long controllers start over for ever.

use super::{
    Inner,
    connect::{Session, Values},
    fault::Fault,
    row::{bits, get, owner},
    steps::Pages,
};
use crate::{StoreError, VolumeSnapshot, VolumeWrite};
use coprocessor_types::ProgramId;
use std::{collections::HashMap, future::Future, ops::Range, time::Duration};
use tokio::{runtime::Handle, time::timeout};
use tokio_postgres::Row;

/// Pages that come with a volume's view: those with the lowest numbers, of those that are there. A FAT volume has its boot sector,
/// tables and root directory first, and of one with little in it these are all.
const FIRST_PAGES: i64 = 8;

/// Raw storage up to so many bytes comes with the view. It comes with each of the first pages.
const RAW_ALONG: i32 = 1024;

/// A view of a volume.
pub(super) struct Snapshot {
    runtime: Handle,
    patience: Duration,
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
        blocking((&self.runtime, self.patience), async {
            let unknown = || StoreError::UnknownProgram(program);
            let session = self.snapshots.take().await?;
            let values: Values<'_> = &[&program.as_bytes().as_slice(), &FIRST_PAGES, &RAW_ALONG];
            let mode = "ISOLATION LEVEL REPEATABLE READ, READ ONLY";
            match Start::read(&session.begin_with(mode, START, values).await?)? {
                Some(start) => Ok(Snapshot {
                    runtime: self.runtime.clone(),
                    patience: self.patience,
                    session: Some(session),
                    start,
                }),
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
        if write.is_empty() {
            let row = session.query_opt("SELECT version FROM volumes WHERE program = $1", &[&key]).await?;
            return bits(&row.ok_or(StoreError::UnknownProgram(program))?, "version");
        }
        let sql = format!("WITH {} SELECT version FROM volume", written_sql("$1", 1));
        let pages = Pages::of(write);
        let [based_on, raw, written, contents, cleared, quota] = pages.values();
        loop {
            let values: Values<'_> = &[&key, based_on, raw, written, contents, cleared, quota];
            if let Some(row) = session.query_opt(&sql, values).await? {
                return bits(&row, "version");
            }
            if let Some(refusal) = refusal(&session, program, write).await? {
                return Err(refusal.into());
            }
            // There is room for it since a moment ago.
        }
    }
}

/// Counts what volumes grow by (rows of `growth`) among what their owners' hold. Where that would be beyond a quota, `charged` has
/// nothing. Whoever waited for another's commit here looks at what there is since then.
pub(super) const CHARGED: &str = "charged AS (
    UPDATE owner_volumes SET bytes = owner_volumes.bytes + growth.bytes FROM growth
    WHERE owner_volumes.owner = growth.owner AND growth.bytes <> 0
        AND (growth.bytes < 0 OR growth.quota IS NULL OR owner_volumes.bytes + growth.bytes <= growth.quota)
    RETURNING owner_volumes.owner
)";

/// The parts of a statement that write to the volume of `program`, an expression: `volume` has its number and its new version, or
/// nothing where the volume has another version or its owner's quota is full. [`Pages::values`] come after `before` other parameters.
///
/// What was committed under the version that the write is based on shows in the statement, and nothing later counts: so `growth` is
/// exact, though `pages` is not locked.
pub(super) fn written_sql(program: &str, before: usize) -> String {
    let [based_on, raw, written, contents, cleared, quota] = places(before);
    let growth = growth_sql(before);
    format!(
        "locked AS MATERIALIZED (
    SELECT volumes.number, volumes.raw, programs.owner FROM volumes JOIN programs ON programs.id = volumes.program
    WHERE volumes.program = {program} AND volumes.version = {based_on} FOR NO KEY UPDATE OF volumes
), growth AS MATERIALIZED (
    SELECT number, owner, {growth} AS bytes, {quota}::bigint AS quota FROM locked
), {CHARGED}, volume AS (
    UPDATE volumes SET version = version + 1, raw = coalesce({raw}, volumes.raw), bytes = volumes.bytes + growth.bytes
    FROM growth WHERE volumes.number = growth.number AND (growth.bytes = 0 OR EXISTS (SELECT FROM charged))
    RETURNING volumes.number, volumes.version
), put AS (
    INSERT INTO pages (volume, index, content)
    SELECT number, page.index, page.content FROM volume, unnest({written}::bigint[], {contents}::bytea[]) AS page (index, content)
    ON CONFLICT (volume, index) DO UPDATE SET content = excluded.content
), cleared AS (
    DELETE FROM pages WHERE volume = (SELECT number FROM volume) AND index = ANY ({cleared}::bigint[])
)"
    )
}

/// By how many bytes a write makes a row of `locked`, a volume, larger.
fn growth_sql(before: usize) -> String {
    let [_, raw, written, contents, cleared, _] = places(before);
    format!(
        "(coalesce((SELECT sum(octet_length(page)) FROM unnest({contents}::bytea[]) AS page), 0)
        - coalesce((SELECT sum(octet_length(content)) FROM pages
            WHERE volume = locked.number AND index = ANY ({written}::bigint[] || {cleared}::bigint[])), 0)
        + CASE WHEN {raw}::bytea IS NULL THEN 0 ELSE octet_length({raw}::bytea) - coalesce(octet_length(locked.raw), 0) END)"
    )
}

/// Where a write's values are in a statement.
fn places(before: usize) -> [String; 6] {
    [1, 2, 3, 4, 5, 6].map(|place| format!("${}", before + place))
}

/// Why a write, not an empty one, was refused a moment ago; `None`: it would not be now.
pub(super) async fn refusal(
    session: &Session,
    program: ProgramId,
    write: &VolumeWrite,
) -> Result<Option<StoreError>, Fault> {
    let [based_on, .., quota] = places(1);
    // Not another moment's than the one it conflicted with.
    let sql = format!(
        "WITH locked AS MATERIALIZED (
    SELECT number, volumes.version, raw, owner FROM volumes JOIN programs ON programs.id = volumes.program
    WHERE volumes.program = $1 FOR SHARE OF volumes
)
SELECT version, version = {based_on} AS is_based_on, owner, {quota}::bigint AS quota, {} AS growth,
    coalesce((SELECT bytes FROM owner_volumes WHERE owner_volumes.owner = locked.owner), 0) AS held FROM locked",
        growth_sql(1)
    );
    let key = program.as_bytes().as_slice();
    let pages = Pages::of(write);
    let [based_on, raw, written, contents, cleared, quota] = pages.values();
    let row = session.query_opt(&sql, &[&key, based_on, raw, written, contents, cleared, quota]).await?;
    let row = row.ok_or(StoreError::UnknownProgram(program))?;
    if !get::<bool>(&row, "is_based_on")? {
        let got = bits(&row, "version")?;
        return Ok(Some(StoreError::VolumeConflict { program, expected: write.based_on, got }));
    }
    let (growth, held): (i64, i64) = (get(&row, "growth")?, get(&row, "held")?);
    let got = held.saturating_add(growth).max(0).unsigned_abs();
    let refused = write.quota.filter(|&limit| growth > 0 && got > limit);
    refused.map(|limit| Ok(StoreError::VolumeQuota { owner: owner(&row)?, got, limit })).transpose()
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
        let read = blocking((&self.runtime, self.patience), async {
            let sql = "SELECT content FROM pages WHERE volume = $1 AND index = $2";
            let row = self.session()?.query_opt(sql, &[&self.start.number, &i64::from(index)]).await?;
            row.map(|row| get(&row, "content")).transpose()
        });
        Ok(read?)
    }

    fn read_pages(&self, range: Range<u32>) -> Result<Vec<(u32, Vec<u8>)>, StoreError> {
        let read = blocking((&self.runtime, self.patience), async {
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
        let read = blocking((&self.runtime, self.patience), async {
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
        let patience = self.patience;
        self.runtime.spawn(async move {
            let _ = timeout(patience, session.rollback()).await;
        });
    }
}

/// Waits on this thread for what happens in the store's runtime. Unlike the runtime's own way, it may be called from threads
/// of another runtime too.
fn blocking<T>(
    (runtime, patience): (&Handle, Duration),
    work: impl Future<Output = Result<T, Fault>>,
) -> Result<T, Fault> {
    let _context = runtime.enter();
    // Made inside: a timer belongs to the runtime it is made in.
    let timed = async { timeout(patience, work).await };
    match futures::executor::block_on(timed) {
        Ok(done) => done,
        Err(error) => Err(StoreError::Unavailable(Box::new(error)).into()),
    }
}
