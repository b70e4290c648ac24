//! Events: of one task, and of all of an owner's.

use super::{
    Inner,
    connect::Session,
    fault::Fault,
    row::{self, bits, bounded, get, task_id, text_json, time},
};
use crate::{Event, EventKind};
use coprocessor_types::{OwnerId, TaskId};
use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};
use tokio::time::{Instant, sleep};
use tokio_postgres::Row;

/// How long a reader waits for transactions that may still write a number it would pass over: for any, then for those that
/// write events. All of these are short; whichever is not holds up the events after it, and no more.
const SETTLING: Duration = Duration::from_millis(5);
const SETTLING_WRITERS: Duration = Duration::from_millis(200);

/// The last event number drawn by anybody. It is read before the transaction ids are: see [`Horizon::settle`].
const LAST_NUMBER: &str = "SELECT CASE WHEN is_called THEN last_value ELSE 0 END AS seq FROM events_seq";

/// The id that the next transaction will get, and the lowest of one that has not ended.
const RUNNING: &str = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS next, \
     pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS lowest";

/// The transactions of this database that write events, or have. Dear to ask: it looks at every lock of the server.
const WRITERS: &str = "SELECT DISTINCT virtualtransaction AS writer FROM pg_locks \
     WHERE locktype = 'relation' AND relation = 'events'::regclass AND mode = 'RowExclusiveLock' \
     AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";

/// The number below which no event can appear any more.
#[derive(Debug, Default)]
pub(super) struct Horizon(AtomicU64);

impl Horizon {
    /// Looks how far the events are settled. All that was committed before the call is, unless a transaction is stuck.
    ///
    /// Numbers are drawn in order, but transactions end in any. Who draws one has its transaction's id by then (the schema sees
    /// to it). So once every transaction with an id below the one that was next after the last number was read has ended,
    /// all numbers up to that one are in their rows, or never will be. That waits for others' transactions too, of any
    /// database of the server; where those take long, the ones that hold the table's lock are told from them.
    pub(super) async fn settle(&self, session: &Session) -> Result<u64, Fault> {
        let (last, running) = session.query_both((LAST_NUMBER, &[]), (RUNNING, &[])).await?;
        let (Some(last), Some(running)) = (last.first(), running.first()) else {
            return Err(row::corrupt("the sequence of events", "it is not there"));
        };
        let (last, next): (u64, i64) = (bits(last, "seq")?, get(running, "next")?);
        let mut lowest: i64 = get(running, "lowest")?;
        let give_up = Instant::now() + SETTLING;
        while lowest < next {
            if Instant::now() > give_up {
                if writers_end(session).await? {
                    break;
                }
                return Ok(self.0.load(Ordering::Relaxed));
            }
            sleep(Duration::from_millis(1)).await;
            lowest = get(&session.query_one(RUNNING, &[]).await?, "lowest")?;
        }
        // Another reader may have come further meanwhile.
        Ok(self.0.fetch_max(last, Ordering::Relaxed).max(last))
    }
}

/// Waits until all that write events now have ended; false when that takes too long.
async fn writers_end(session: &Session) -> Result<bool, Fault> {
    let writers = async || {
        let rows = session.query(WRITERS, &[]).await?;
        rows.iter().map(|row| get::<String>(row, "writer")).collect::<Result<BTreeSet<_>, _>>()
    };
    let give_up = Instant::now() + SETTLING_WRITERS;
    let mut waiting_for = writers().await?;
    while !waiting_for.is_empty() {
        if Instant::now() > give_up {
            return Ok(false);
        }
        sleep(Duration::from_millis(2)).await;
        let now = writers().await?;
        waiting_for.retain(|writer| now.contains(writer));
    }
    Ok(true)
}

impl Inner {
    pub(super) async fn events(&self, task: TaskId, after: u64, limit: usize) -> Result<Vec<Event>, Fault> {
        let session = self.quick.take().await?;
        let rows = session
            .query(
                "SELECT * FROM events WHERE task = $1 AND seq > $2 ORDER BY seq LIMIT $3",
                &[&task.0.as_bytes().as_slice(), &bounded(after), &bounded(limit as u64)],
            )
            .await?;
        rows.iter().map(read).collect()
    }

    pub(super) async fn owner_events(
        &self,
        owner: Option<&OwnerId>,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Event>, Fault> {
        let session = self.quick.take().await?;
        let settled = bounded(self.horizon.settle(&session).await?);
        let (after, limit) = (bounded(after), bounded(limit as u64));
        let rows = match owner {
            Some(owner) => {
                let sql = "SELECT * FROM events WHERE owner = $1 AND seq > $2 AND seq <= $3 ORDER BY seq LIMIT $4";
                session.query(sql, &[&owner.as_str(), &after, &settled, &limit]).await?
            }
            None => {
                let sql = "SELECT * FROM events WHERE seq > $1 AND seq <= $2 ORDER BY seq LIMIT $3";
                session.query(sql, &[&after, &settled, &limit]).await?
            }
        };
        rows.iter().map(read).collect()
    }

    pub(super) async fn last_event(&self) -> Result<u64, Fault> {
        let session = self.quick.take().await?;
        let settled = bounded(self.horizon.settle(&session).await?);
        let sql = "SELECT coalesce(max(seq), 0) AS seq FROM events WHERE seq <= $1";
        bits(&session.query_one(sql, &[&settled]).await?, "seq")
    }
}

pub(super) fn read(row: &Row) -> Result<Event, Fault> {
    Ok(Event {
        seq: bits(row, "seq")?,
        task: task_id(row, "task")?,
        at: time(row, "at")?,
        state: row::state(row, "state")?,
        kind: EventKind { name: get(row, "name")?, detail: text_json("an event's detail", row, "detail")? },
    })
}
