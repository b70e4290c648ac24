//! Webhooks and their deliveries.

use super::{
    Inner,
    connect::Session,
    cursor::{self, Numbered},
    fault::Fault,
    row::{
        self, bits, bounded, corrupt, from_bits, from_deadline, from_span, from_time, get, latest, owner, small,
        task_id, text_json, time, time_or_none, uuid,
    },
};
use crate::{
    Change, Cursor, Delivery, DeliveryAttempt, DeliveryId, DeliveryOutcome, DeliveryState, Event, EventKind, Page,
    Webhook, WebhookId,
};
use coprocessor_types::OwnerId;
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use std::time::Duration;
use tokio_postgres::Row;
use uuid::Uuid;

/// Makes deliveries of the events that $1 to $2 number, each once for each webhook that wants it.
const QUEUE: &str = "
WITH wanted AS (
    SELECT events.*, webhooks.id AS webhook, row_number() OVER (ORDER BY events.seq, webhooks.seq) AS nth
    FROM events JOIN webhooks ON webhooks.owner = events.owner AND webhooks.after < events.seq
        AND events.name = ANY (webhooks.events)
    WHERE events.seq > $1 AND events.seq <= $2
)
SELECT webhook, seq, task, at, state, name, detail FROM wanted ORDER BY nth";

const DELIVER: &str = "
INSERT INTO deliveries (id, webhook, event, task, event_at, event_state, event_name, event_detail, next_at, created_at)
SELECT new.*, micros(), micros() FROM unnest($1::bytea[], $2::bytea[], $3::bigint[], $4::bytea[], $5::bigint[],
    $6::text[], $7::text[], $8::text[]) AS new";

/// Claims what is due. Each webhook's first few are looked at, so that one with very many holds up nobody else.
const CLAIM: &str = "
WITH due AS MATERIALIZED (
    SELECT first.id, first.next_at, first.seq FROM webhooks, LATERAL (
        SELECT id, next_at, seq FROM deliveries
        WHERE deliveries.webhook = webhooks.id AND next_at <= micros() ORDER BY next_at, seq LIMIT $4
    ) AS first
    WHERE webhooks.id <> ALL ($3::bytea[])
    ORDER BY next_at, seq LIMIT $4
), locked AS MATERIALIZED (
    SELECT due.* FROM due, LATERAL (
        SELECT FROM deliveries WHERE deliveries.id = due.id AND deliveries.next_at + 0 <= micros()
        FOR UPDATE SKIP LOCKED
    ) AS free LIMIT $5
), claimed AS (
    UPDATE deliveries SET next_at = least(micros() + $1, $2), claimed = true,
        fence = greatest(fence + 1, ((SELECT epoch FROM uncrashed) << 32) + 1)
    WHERE deliveries.id = ANY (ARRAY(SELECT id FROM locked)) RETURNING deliveries.*
)
SELECT claimed.* FROM claimed JOIN locked ON locked.id = claimed.id ORDER BY locked.next_at, locked.seq";

impl Inner {
    pub(super) async fn add_webhook(&self, webhook: &Webhook) -> Result<bool, Fault> {
        let added = self
            .durable
            .take()
            .await?
            .execute(
                "INSERT INTO webhooks (id, owner, url, events, secret, after, created_at) \
                 SELECT $1, $2, $3, $4, $5, CASE WHEN is_called THEN last_value ELSE 0 END, $6 FROM events_seq \
                 ON CONFLICT DO NOTHING",
                &[
                    &webhook.id.0.as_bytes().as_slice(),
                    &webhook.owner.as_str(),
                    &webhook.url,
                    &webhook.events,
                    &webhook.secret.expose_secret(),
                    &from_time(webhook.created_at),
                ],
            )
            .await?;
        Ok(added > 0)
    }

    pub(super) async fn webhook(&self, id: WebhookId) -> Result<Option<Webhook>, Fault> {
        let sql = "SELECT * FROM webhooks WHERE id = $1";
        let row = self.quick.take().await?.query_opt(sql, &[&id.0.as_bytes().as_slice()]).await?;
        row.as_ref().map(read_webhook).transpose()
    }

    pub(super) async fn webhooks(
        &self,
        owner: Option<&OwnerId>,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<Page<Webhook>, Fault> {
        let (below, rows) = (Numbered::Webhooks.below(after)?, cursor::rows_for(limit));
        let session = self.quick.take().await?;
        let rows = match owner {
            None => {
                let sql = "SELECT * FROM webhooks WHERE seq < $1 ORDER BY seq DESC LIMIT $2";
                session.query(sql, &[&below, &rows]).await?
            }
            Some(owner) => {
                let sql = "SELECT * FROM webhooks WHERE owner = $3 AND seq < $1 ORDER BY seq DESC LIMIT $2";
                session.query(sql, &[&below, &rows, &owner.as_str()]).await?
            }
        };
        let items = rows.iter().map(|row| Ok((Numbered::Webhooks.after(get(row, "seq")?), read_webhook(row)?)));
        Ok(cursor::page(items.collect::<Result<_, Fault>>()?, limit))
    }

    pub(super) async fn remove_webhook(&self, id: WebhookId) -> Result<bool, Fault> {
        let session = self.durable.take().await?;
        let key = id.0.as_bytes().as_slice();
        // Deliveries that are being made refer to it: none can come from here on.
        let found = session.begin_with("", "SELECT 1 FROM webhooks WHERE id = $1 FOR UPDATE", &[&key]).await?;
        if found.is_empty() {
            session.rollback().await?;
            return Ok(false);
        }
        session.execute("DELETE FROM deliveries WHERE webhook = $1", &[&key]).await?;
        session.execute("DELETE FROM webhooks WHERE id = $1", &[&key]).await?;
        session.commit().await?;
        Ok(true)
    }

    pub(super) async fn queue_deliveries(&self, limit: usize) -> Result<(usize, bool), Fault> {
        let session = self.quick.take().await?;
        let settled = bounded(self.horizon.settle(&session).await?);
        // One at a time, whichever process it is.
        let rows = session.begin_with("", "SELECT seq FROM looked_at FOR UPDATE", &[]).await?;
        let looked_at: i64 = rows.first().map_or(Ok(0), |row| get(row, "seq"))?;
        // Nobody wants what came before the oldest webhook, or while there was none.
        let oldest = "SELECT min(after) AS seq FROM webhooks";
        let oldest: Option<i64> = get(&session.query_one(oldest, &[]).await?, "seq")?;
        let from = looked_at.max(oldest.unwrap_or(settled).min(settled));
        let last = "SELECT coalesce(max(seq), 0) AS last, count(*) AS events FROM \
             (SELECT seq FROM events WHERE seq > $1 AND seq <= $2 ORDER BY seq LIMIT $3) AS looked";
        let window = session.query_one(last, &[&from, &settled, &bounded(limit as u64)]).await?;
        let more = get::<i64>(&window, "events")? == bounded(limit as u64);
        let to = if more { get(&window, "last")? } else { settled.max(from) };
        let rows = session.query(QUEUE, &[&from, &to]).await?;
        deliver(&session, &rows).await?;
        if to != looked_at {
            session.execute("UPDATE looked_at SET seq = $1", &[&to]).await?;
        }
        session.commit().await?;
        self.tell((!rows.is_empty()).then_some(Change::Delivery));
        Ok((rows.len(), more))
    }

    pub(super) async fn claim_deliveries(
        &self,
        lease: Duration,
        limit: usize,
        except: &[WebhookId],
    ) -> Result<Vec<(Delivery, Webhook)>, Fault> {
        if limit == 0 {
            return Ok(Vec::new());
        }
        let _alone = self.deliveries.lock().await;
        let except: Vec<_> = except.iter().map(|webhook| webhook.0.as_bytes().as_slice()).collect();
        let session = self.quick.take().await?;
        let (lease, limit) = (from_span(lease), bounded(limit as u64));
        let rows = session.query(CLAIM, &[&lease, &latest(), &except, &limit.saturating_mul(4), &limit]).await?;
        let claimed = rows.iter().map(read_delivery).collect::<Result<Vec<_>, _>>()?;
        let ids: Vec<_> = claimed.iter().map(|delivery| delivery.webhook.0.as_bytes().to_vec()).collect();
        let webhooks = session.query("SELECT * FROM webhooks WHERE id = ANY ($1)", &[&ids]).await?;
        let webhooks = webhooks.iter().map(read_webhook).collect::<Result<Vec<_>, _>>()?;
        let with_webhook = claimed.into_iter().filter_map(|delivery| {
            // One that was removed at this moment took its deliveries with it.
            let webhook = webhooks.iter().find(|webhook| webhook.id == delivery.webhook)?.clone();
            Some((delivery, webhook))
        });
        Ok(with_webhook.collect())
    }

    pub(super) async fn next_delivery(&self) -> Result<Option<Timestamp>, Fault> {
        let sql = "SELECT min(next_at) AS at FROM deliveries WHERE next_at IS NOT NULL";
        time_or_none(&self.quick.take().await?.query_one(sql, &[]).await?, "at")
    }

    pub(super) async fn finish_delivery(
        &self,
        id: DeliveryId,
        fence: u64,
        outcome: &DeliveryOutcome,
    ) -> Result<bool, Fault> {
        let (state, attempt, next_at) = match outcome {
            DeliveryOutcome::Delivered(attempt) => (DeliveryState::Delivered, attempt, None),
            DeliveryOutcome::Retry { attempt, at } => (DeliveryState::Pending, attempt, Some(from_deadline(*at))),
            DeliveryOutcome::Failed(attempt) => (DeliveryState::Failed, attempt, None),
        };
        let finished = self
            .durable
            .take()
            .await?
            .execute(
                "UPDATE deliveries SET state = $3, next_at = $4, claimed = false, attempts = attempts + 1, \
                 last_at = $5, last_status = $6, last_error = $7, last_took = $8 \
                 WHERE id = $1 AND fence = $2 AND claimed",
                &[
                    &id.0.as_bytes().as_slice(),
                    &from_bits(fence),
                    &state.as_str(),
                    &next_at,
                    &from_time(attempt.at),
                    &attempt.status.map(i32::from),
                    &attempt.error.as_ref().map(|error| error.as_bytes()),
                    &from_span(attempt.took),
                ],
            )
            .await?;
        Ok(finished > 0)
    }

    pub(super) async fn deliveries(
        &self,
        webhook: WebhookId,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<Page<Delivery>, Fault> {
        let (below, rows) = (Numbered::Deliveries.below(after)?, cursor::rows_for(limit));
        let sql = "SELECT * FROM deliveries WHERE webhook = $1 AND seq < $2 ORDER BY seq DESC LIMIT $3";
        let session = self.quick.take().await?;
        let rows = session.query(sql, &[&webhook.0.as_bytes().as_slice(), &below, &rows]).await?;
        let items = rows.iter().map(|row| Ok((Numbered::Deliveries.after(get(row, "seq")?), read_delivery(row)?)));
        Ok(cursor::page(items.collect::<Result<_, Fault>>()?, limit))
    }

    pub(super) async fn redeliver(&self, webhook: WebhookId, delivery: DeliveryId) -> Result<Option<Delivery>, Fault> {
        // An attempt that runs counts no more.
        let sql = "UPDATE deliveries SET state = 'pending', claimed = false, next_at = micros() \
             WHERE webhook = $1 AND id = $2 RETURNING *";
        let keys = [webhook.0.as_bytes().as_slice(), delivery.0.as_bytes().as_slice()];
        let row = self.durable.take().await?.query_opt(sql, &[&keys[0], &keys[1]]).await?;
        let due = row.as_ref().map(read_delivery).transpose()?;
        self.tell(due.is_some().then_some(Change::Delivery));
        Ok(due)
    }
}

/// Writes a delivery for each row of [`QUEUE`].
async fn deliver(session: &Session, wanted: &[Row]) -> Result<(), Fault> {
    if wanted.is_empty() {
        return Ok(());
    }
    let ids: Vec<_> = wanted.iter().map(|_| Uuid::now_v7().as_bytes().to_vec()).collect();
    let bytes = |column| wanted.iter().map(|row| get::<&[u8]>(row, column)).collect::<Result<Vec<_>, _>>();
    let numbers = |column| wanted.iter().map(|row| get::<i64>(row, column)).collect::<Result<Vec<_>, _>>();
    let texts = |column| wanted.iter().map(|row| get::<&str>(row, column)).collect::<Result<Vec<_>, _>>();
    let (webhooks, tasks) = (bytes("webhook")?, bytes("task")?);
    let (seqs, times) = (numbers("seq")?, numbers("at")?);
    let (states, names, details) = (texts("state")?, texts("name")?, texts("detail")?);
    session.execute(DELIVER, &[&ids, &webhooks, &seqs, &tasks, &times, &states, &names, &details]).await.map(drop)
}

fn read_webhook(row: &Row) -> Result<Webhook, Fault> {
    Ok(Webhook {
        id: WebhookId(uuid(row, "id")?),
        owner: owner(row)?,
        url: get(row, "url")?,
        events: get(row, "events")?,
        secret: SecretString::from(get::<String>(row, "secret")?),
        created_at: time(row, "created_at")?,
    })
}

fn read_delivery(row: &Row) -> Result<Delivery, Fault> {
    let state = get::<&str>(row, "state")?;
    let last = time_or_none(row, "last_at")?.map(|at| {
        let status = get::<Option<i32>>(row, "last_status")?;
        let error = get::<Option<Vec<u8>>>(row, "last_error")?;
        Ok::<_, Fault>(DeliveryAttempt {
            at,
            status: status.map(u16::try_from).transpose().map_err(|error| corrupt("a status", error))?,
            error: error.map(String::from_utf8).transpose().map_err(|error| corrupt("a text", error))?,
            took: Duration::from_micros(get::<i64>(row, "last_took")?.unsigned_abs()),
        })
    });
    Ok(Delivery {
        id: DeliveryId(uuid(row, "id")?),
        webhook: WebhookId(uuid(row, "webhook")?),
        event: Event {
            seq: bits(row, "event")?,
            task: task_id(row, "task")?,
            at: time(row, "event_at")?,
            state: row::state(row, "event_state")?,
            kind: EventKind {
                name: get(row, "event_name")?,
                detail: text_json("an event's detail", row, "event_detail")?,
            },
        },
        state: DeliveryState::from_name(state).ok_or_else(|| corrupt("a delivery's state", state))?,
        attempts: small(row, "attempts")?,
        fence: bits(row, "fence")?,
        next_at: time_or_none(row, "next_at")?,
        last: last.transpose()?,
        created_at: time(row, "created_at")?,
    })
}
