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

/// How long a reader waits for transactions that may still write a number it would pass over. All of them are short;
/// whichever is not holds up the events after it, and no more.
const SETTLING: Duration = Duration::from_millis(200);

/// The last event number drawn by anybody.
const LAST_NUMBER: &str = "SELECT CASE WHEN is_called THEN last_value ELSE 0 END AS seq FROM events_seq";

/// The transactions of this database that write events, or have and have not ended: they hold the table's lock. Their ids
/// would not tell: a snapshot knows none above the last one that has ended.
const WRITERS: &str = "SELECT DISTINCT virtualtransaction AS writer FROM pg_locks \
     WHERE locktype = 'relation' AND relation = 'events'::regclass AND mode = 'RowExclusiveLock' \
     AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";

/// The number up to which no event can appear any more.
#[derive(Debug, Default)]
pub(super) struct Horizon(AtomicU64);

impl Horizon {
    /// Looks how far the events are settled. All that was committed before the call is, unless a transaction is stuck.
    ///
    /// Numbers are drawn in order, but transactions end in any. Who draws one holds the table's lock by then, until its end. So
    /// once everybody has ended who held it after the last number was read, all numbers up to that one are in their rows,
    /// or never will be.
    pub(super) async fn settle(&self, session: &Session) -> Result<u64, Fault> {
        // In this order, and each with a view of its own.
        let [last, writing] = session.query_all([(LAST_NUMBER, &[]), (WRITERS, &[])]).await?;
        let Some(last) = last.first() else {
            return Err(row::corrupt("the sequence of events", "it is not there"));
        };
        let (last, mut waiting_for) = (bits(last, "seq")?, writers(&writing)?);
        let give_up = Instant::now() + SETTLING;
        while !waiting_for.is_empty() {
            if Instant::now() > give_up {
                return Ok(self.0.load(Ordering::Relaxed));
            }
            sleep(Duration::from_millis(1)).await;
            let writing = writers(&session.query(WRITERS, &[]).await?)?;
            waiting_for.retain(|writer| writing.contains(writer));
        }
        // Another reader may have come further meanwhile.
        Ok(self.0.fetch_max(last, Ordering::Relaxed).max(last))
    }
}

fn writers(rows: &[Row]) -> Result<BTreeSet<String>, Fault> {
    rows.iter().map(|row| get(row, "writer")).collect()
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
