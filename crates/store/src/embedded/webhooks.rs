//! Webhooks, and the deliveries of their events.

use super::{
    EmbeddedStore, cursor,
    fault::Fault,
    row::{
        corrupt, from_bits, from_deadline, from_json, from_time, json, now, owner, text, to_bits, to_limit, to_task,
        to_time,
    },
    tasks,
    writer::Durability::{Committed, Synced},
};
use crate::{
    Change, Cursor, Delivery, DeliveryAttempt, DeliveryId, DeliveryOutcome, DeliveryState, Event, EventKind, Page,
    StoreError, TaskState, Webhook, WebhookId, Webhooks,
};
use async_trait::async_trait;
use coprocessor_types::OwnerId;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};
use secrecy::{ExposeSecret, SecretString};
use std::time::Duration;
use uuid::Uuid;

#[async_trait]
impl Webhooks for EmbeddedStore {
    async fn add_webhook(&self, webhook: Webhook) -> Result<bool, StoreError> {
        self.write(Synced, move |db, _| insert(db, &webhook)).await
    }

    async fn webhook(&self, id: WebhookId) -> Result<Option<Webhook>, StoreError> {
        self.read(move |db| find(db, id)).await
    }

    async fn webhooks(
        &self,
        owner: Option<OwnerId>,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Page<Webhook>, StoreError> {
        self.read(move |db| list(db, owner.as_ref(), after.as_ref(), limit)).await
    }

    async fn remove_webhook(&self, id: WebhookId) -> Result<bool, StoreError> {
        self.write(Synced, move |db, _| remove(db, id)).await
    }

    async fn queue_deliveries(&self, limit: usize) -> Result<(usize, bool), StoreError> {
        // Asked for often, and mostly for nothing: the writer is asked only when there is something to do.
        if self.read(|db| Ok(unseen(db, 1)?.is_none())).await? {
            return Ok((0, false));
        }
        let queue = move |db: &Connection, changes: &mut Vec<Change>| {
            let (made, more) = queue(db, limit, now())?;
            changes.extend((made > 0).then_some(Change::Delivery));
            Ok((made, more))
        };
        self.write(Committed, queue).await
    }

    async fn claim_deliveries(
        &self,
        lease: Duration,
        limit: usize,
        except: &[WebhookId],
    ) -> Result<Vec<(Delivery, Webhook)>, StoreError> {
        let except = except.to_vec();
        self.write(Committed, move |db, _| claim(db, lease, limit, &except, now())).await
    }

    async fn next_delivery(&self) -> Result<Option<Timestamp>, StoreError> {
        let next = |db: &Connection| {
            let mut statement = db.prepare_cached("SELECT min(next_at) FROM deliveries WHERE next_at IS NOT NULL")?;
            let next: Option<i64> = statement.query_row([], |row| row.get(0))?;
            next.map(to_time).transpose()
        };
        self.read(next).await
    }

    async fn finish_delivery(&self, id: DeliveryId, fence: u64, outcome: DeliveryOutcome) -> Result<bool, StoreError> {
        self.write(Committed, move |db, _| finish(db, id, fence, &outcome)).await
    }

    async fn deliveries(
        &self,
        webhook: WebhookId,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Page<Delivery>, StoreError> {
        self.read(move |db| deliveries(db, webhook, after.as_ref(), limit)).await
    }

    async fn redeliver(&self, webhook: WebhookId, delivery: DeliveryId) -> Result<Option<Delivery>, StoreError> {
        let redeliver = move |db: &Connection, changes: &mut Vec<Change>| {
            let delivery = redeliver(db, webhook, delivery, now())?;
            changes.extend(delivery.is_some().then_some(Change::Delivery));
            Ok(delivery)
        };
        self.write(Synced, redeliver).await
    }
}

/// Removes up to `limit` deliveries that ended and were taken up at `before` or earlier, the oldest first.
pub(super) fn collect(db: &Connection, before: Timestamp, limit: usize) -> Result<u64, Fault> {
    let removed = db
        .prepare_cached(
            "DELETE FROM deliveries WHERE seq IN (SELECT seq FROM deliveries \
             WHERE next_at IS NULL AND created_at <= ?1 ORDER BY created_at LIMIT ?2)",
        )?
        .execute(params![from_time(before), to_limit(limit)])?;
    Ok(removed as u64)
}

fn insert(db: &Connection, webhook: &Webhook) -> Result<bool, Fault> {
    let last = from_bits(tasks::last_event(db)?);
    if !db.prepare_cached("SELECT 1 FROM webhooks")?.exists([])? {
        db.prepare_cached("UPDATE instance SET looked_at = max(looked_at, ?1)")?.execute([last])?;
    }
    let added = db
        .prepare_cached(
            "INSERT INTO webhooks (id, owner, url, events, secret, after, created_at) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (id) DO NOTHING",
        )?
        .execute(params![
            webhook.id.0.as_bytes(),
            webhook.owner.as_str(),
            webhook.url,
            from_json(&webhook.events)?,
            webhook.secret.expose_secret(),
            last,
            from_time(webhook.created_at),
        ])?;
    Ok(added > 0)
}

fn find(db: &Connection, id: WebhookId) -> Result<Option<Webhook>, Fault> {
    let mut statement = db.prepare_cached("SELECT * FROM webhooks WHERE id = ?1")?;
    statement.query_and_then([id.0.as_bytes()], read)?.next().transpose()
}

fn list(
    db: &Connection,
    owner: Option<&OwnerId>,
    after: Option<&Cursor>,
    limit: usize,
) -> Result<Page<Webhook>, Fault> {
    let below = after.map(cursor::to_webhook).transpose()?.unwrap_or(i64::MAX);
    let rows = cursor::rows_for(limit);
    let read = |row: &Row<'_>| Ok::<_, Fault>((row.get::<_, i64>("seq")?, read(row)?));
    let found: Vec<(i64, Webhook)> = match owner {
        None => db
            .prepare_cached("SELECT * FROM webhooks WHERE seq < ?1 ORDER BY seq DESC LIMIT ?2")?
            .query_and_then(params![below, rows], read)?
            .collect::<Result<_, _>>()?,
        Some(owner) => db
            .prepare_cached("SELECT * FROM webhooks WHERE owner = ?3 AND seq < ?1 ORDER BY seq DESC LIMIT ?2")?
            .query_and_then(params![below, rows, owner.as_str()], read)?
            .collect::<Result<_, _>>()?,
    };
    let page = cursor::page(found, limit, |(seq, _)| cursor::after_webhook(*seq));
    Ok(Page { items: page.items.into_iter().map(|(_, webhook)| webhook).collect(), next: page.next })
}

fn remove(db: &Connection, id: WebhookId) -> Result<bool, Fault> {
    db.prepare_cached("DELETE FROM deliveries WHERE webhook = ?1")?.execute([id.0.as_bytes()])?;
    Ok(db.prepare_cached("DELETE FROM webhooks WHERE id = ?1")?.execute([id.0.as_bytes()])? > 0)
}

/// Events that webhooks have not seen: the numbers of the last one looked at and of the last of the next `limit`. `None`
/// when there are none, or nobody who would see them.
fn unseen(db: &Connection, limit: usize) -> Result<Option<(i64, i64)>, Fault> {
    let (seen, last): (i64, Option<i64>) = db
        .prepare_cached(
            "SELECT looked_at, (SELECT max(seq) FROM (SELECT seq FROM events WHERE seq > looked_at \
             ORDER BY seq LIMIT ?1)) FROM instance WHERE EXISTS (SELECT 1 FROM webhooks)",
        )?
        .query_row([to_limit(limit)], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?
        .unwrap_or((0, None));
    Ok(last.map(|last| (seen, last)))
}

fn queue(db: &Connection, limit: usize, now: Timestamp) -> Result<(usize, bool), Fault> {
    let Some((seen, last)) = unseen(db, limit)? else { return Ok((0, false)) };
    let wanted: Vec<([u8; 16], i64)> = db
        .prepare_cached(
            "SELECT webhooks.id, events.seq FROM events JOIN webhooks ON webhooks.owner = events.owner \
             WHERE events.seq > ?1 AND events.seq <= ?2 AND events.seq > webhooks.after \
             AND EXISTS (SELECT 1 FROM json_each(webhooks.events) WHERE value = events.name) \
             ORDER BY events.seq, webhooks.seq",
        )?
        .query_map([seen, last], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    let mut insert = db.prepare_cached(
        "INSERT INTO deliveries (id, webhook, event, task, event_at, event_state, event_name, event_detail, state, \
         next_at, created_at) SELECT ?1, ?2, seq, task, at, state, name, detail, ?4, ?5, ?5 FROM events WHERE seq = ?3",
    )?;
    for (webhook, event) in &wanted {
        let id = Uuid::now_v7();
        insert.execute(params![id.as_bytes(), webhook, event, DeliveryState::Pending.as_str(), from_time(now)])?;
    }
    db.prepare_cached("UPDATE instance SET looked_at = ?1")?.execute([last])?;
    Ok((wanted.len(), unseen(db, 1)?.is_some()))
}

fn claim(
    db: &Connection,
    lease: Duration,
    limit: usize,
    except: &[WebhookId],
    now: Timestamp,
) -> Result<Vec<(Delivery, Webhook)>, Fault> {
    let mut due = due(db, limit, except, now)?;
    due.sort_unstable();
    due.truncate(limit);
    let until = from_deadline(now.saturating_add(lease).unwrap_or(Timestamp::MAX));
    let mut claim =
        db.prepare_cached("UPDATE deliveries SET fence = fence + 1, claimed = 1, next_at = ?2 WHERE seq = ?1")?;
    let mut claimed = Vec::with_capacity(due.len());
    for (_, seq) in due {
        claim.execute([seq, until])?;
        let delivery = db
            .prepare_cached("SELECT * FROM deliveries WHERE seq = ?1")?
            .query_and_then([seq], read_delivery)?
            .next()
            .ok_or_else(|| corrupt("a delivery", "it is gone once claimed"))??;
        let webhook = find(db, delivery.webhook)?.ok_or_else(|| corrupt("a delivery", "its webhook is gone"))?;
        claimed.push((delivery, webhook));
    }
    Ok(claimed)
}

/// Deliveries that are due, by when they became so, of each webhook up to `limit`. A webhook that is left out costs one look,
/// however much it has waiting.
fn due(db: &Connection, limit: usize, except: &[WebhookId], now: Timestamp) -> Result<Vec<(i64, i64)>, Fault> {
    let mut next = db.prepare_cached(
        "SELECT webhook, next_at FROM deliveries WHERE next_at IS NOT NULL AND webhook > ?1 \
         ORDER BY webhook, next_at LIMIT 1",
    )?;
    let mut of = db.prepare_cached(
        "SELECT next_at, seq FROM deliveries WHERE webhook = ?1 AND next_at IS NOT NULL AND next_at <= ?2 \
         ORDER BY next_at, seq LIMIT ?3",
    )?;
    let now = from_time(now);
    let mut found = Vec::new();
    let mut last: Vec<u8> = Vec::new();
    while let Some((webhook, at)) =
        next.query_row([&last], |row| Ok((row.get::<_, [u8; 16]>(0)?, row.get::<_, i64>(1)?))).optional()?
    {
        if at <= now && !except.iter().any(|except| *except.0.as_bytes() == webhook) {
            let rows = of.query_map(params![webhook, now, to_limit(limit)], |row| Ok((row.get(0)?, row.get(1)?)))?;
            for row in rows {
                found.push(row?);
            }
        }
        last = webhook.to_vec();
    }
    Ok(found)
}

fn finish(db: &Connection, id: DeliveryId, fence: u64, outcome: &DeliveryOutcome) -> Result<bool, Fault> {
    let (state, attempt, next) = match outcome {
        DeliveryOutcome::Delivered(attempt) => (DeliveryState::Delivered, attempt, None),
        DeliveryOutcome::Retry { attempt, at } => (DeliveryState::Pending, attempt, Some(*at)),
        DeliveryOutcome::Failed(attempt) => (DeliveryState::Failed, attempt, None),
    };
    let finished = db
        .prepare_cached(
            "UPDATE deliveries SET state = ?3, next_at = ?4, claimed = 0, attempts = attempts + 1, last_at = ?5, \
             last_status = ?6, last_error = ?7, last_took = ?8 WHERE id = ?1 AND fence = ?2 AND claimed = 1",
        )?
        .execute(params![
            id.0.as_bytes(),
            from_bits(fence),
            state.as_str(),
            next.map(from_deadline),
            from_time(attempt.at),
            attempt.status,
            attempt.error,
            i64::try_from(attempt.took.as_micros()).unwrap_or(i64::MAX),
        ])?;
    Ok(finished > 0)
}

fn deliveries(
    db: &Connection,
    webhook: WebhookId,
    after: Option<&Cursor>,
    limit: usize,
) -> Result<Page<Delivery>, Fault> {
    let below = after.map(cursor::to_delivery).transpose()?.unwrap_or(i64::MAX);
    let mut statement =
        db.prepare_cached("SELECT * FROM deliveries WHERE webhook = ?1 AND seq < ?2 ORDER BY seq DESC LIMIT ?3")?;
    let rows = statement.query_and_then(params![webhook.0.as_bytes(), below, cursor::rows_for(limit)], |row| {
        Ok::<_, Fault>((row.get::<_, i64>("seq")?, read_delivery(row)?))
    })?;
    let page = cursor::page(rows.collect::<Result<Vec<_>, _>>()?, limit, |(seq, _)| cursor::after_delivery(*seq));
    Ok(Page { items: page.items.into_iter().map(|(_, delivery)| delivery).collect(), next: page.next })
}

/// The fence is raised, so that an attempt that is under way can't take this one back when it ends.
fn redeliver(
    db: &Connection,
    webhook: WebhookId,
    delivery: DeliveryId,
    now: Timestamp,
) -> Result<Option<Delivery>, Fault> {
    db.prepare_cached(
        "UPDATE deliveries SET state = ?3, next_at = ?4, fence = fence + 1, claimed = 0 WHERE id = ?1 AND webhook = ?2",
    )?
    .execute(params![
        delivery.0.as_bytes(),
        webhook.0.as_bytes(),
        DeliveryState::Pending.as_str(),
        from_time(now)
    ])?;
    let mut statement = db.prepare_cached("SELECT * FROM deliveries WHERE id = ?1 AND webhook = ?2")?;
    statement.query_and_then([delivery.0.as_bytes(), webhook.0.as_bytes()], read_delivery)?.next().transpose()
}

fn read(row: &Row<'_>) -> Result<Webhook, Fault> {
    Ok(Webhook {
        id: WebhookId(Uuid::from_bytes(row.get("id")?)),
        owner: owner(row)?,
        url: row.get("url")?,
        events: json("a webhook's events", row, "events")?.unwrap_or_default(),
        secret: SecretString::from(row.get::<_, String>("secret")?),
        created_at: to_time(row.get("created_at")?)?,
    })
}

fn read_delivery(row: &Row<'_>) -> Result<Delivery, Fault> {
    let last = match row.get::<_, Option<i64>>("last_at")? {
        None => None,
        Some(at) => Some(DeliveryAttempt {
            at: to_time(at)?,
            status: row.get("last_status")?,
            error: row.get("last_error")?,
            took: Duration::from_micros(to_bits(row.get("last_took")?)),
        }),
    };
    let (state, event_state) = (text("a delivery's state", row, "state")?, text("an event", row, "event_state")?);
    Ok(Delivery {
        id: DeliveryId(Uuid::from_bytes(row.get("id")?)),
        webhook: WebhookId(Uuid::from_bytes(row.get("webhook")?)),
        event: Event {
            seq: to_bits(row.get("event")?),
            task: to_task(row.get("task")?),
            at: to_time(row.get("event_at")?)?,
            state: TaskState::from_name(event_state).ok_or_else(|| corrupt("an event", event_state))?,
            kind: EventKind {
                name: row.get("event_name")?,
                detail: json("an event's detail", row, "event_detail")?.unwrap_or_default(),
            },
        },
        state: DeliveryState::from_name(state).ok_or_else(|| corrupt("a delivery's state", state))?,
        attempts: row.get("attempts")?,
        fence: to_bits(row.get("fence")?),
        next_at: row.get::<_, Option<i64>>("next_at")?.map(to_time).transpose()?,
        last,
        created_at: to_time(row.get("created_at")?)?,
    })
}
