//! Sends what is due: claims deliveries, posts them, and writes what came of each.
//!
//! Several coprocessors may do so on one store: a claim has a fence, and an attempt under an old one is not written.

use bytes::Bytes;
use coprocessor_outbound::{Answer, GuardedClient, Target};
use coprocessor_store::{Change, Delivery, DeliveryAttempt, DeliveryOutcome, StoreError, Task, Webhook, WebhookId};
use jiff::{SignedDuration, Timestamp, fmt::rfc2822};
use secrecy::ExposeSecret;
use serde_json::json;
use standardwebhooks::{HEADER_WEBHOOK_ID, HEADER_WEBHOOK_SIGNATURE, HEADER_WEBHOOK_TIMESTAMP};
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::{
    sync::{
        broadcast::{self, error::RecvError},
        mpsc,
    },
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{EngineError, Inner, turns::jitter};

/// Events that come within this are taken up together.
const GATHER: Duration = Duration::from_millis(50);

/// Events taken up at once.
const EVENTS: usize = 500;

/// Longest sleep with nothing to do: work is announced, this is for announcements that were lost.
const LOST_WAKE_UP: Duration = Duration::from_secs(5);

/// Wait after the store failed, and while what is due may be for receivers that have all they may.
const PAUSE: Duration = Duration::from_secs(1);

/// Shortest sleep: what is due and cannot be claimed is being claimed by another coprocessor.
const LEAST_PAUSE: Duration = Duration::from_millis(10);

/// Beyond the time a receiver has: to write what came of it.
const LEASE_MARGIN: Duration = Duration::from_secs(15);

/// Longest wait that a receiver may ask for.
const MOST_PATIENCE: SignedDuration = SignedDuration::from_hours(6);

/// What a receiver answers when it wants nothing more of this.
const GONE: u16 = 410;

/// Begins to send; until `stop`. `steps` has what is under way then.
///
/// # Errors
/// No client for outgoing requests could be made.
pub(crate) fn spawn_webhooks(
    inner: &Arc<Inner>,
    stop: CancellationToken,
    steps: TaskTracker,
) -> Result<(), EngineError> {
    let client = inner.outbound()?.clone();
    let (done, finished) = mpsc::unbounded_channel();
    let sender = Sender {
        inner: Arc::clone(inner),
        client,
        steps,
        under_way: HashMap::new(),
        done,
        finished,
        events_waiting: true,
    };
    let changes = inner.store.changes();
    tokio::spawn(stop.run_until_cancelled_owned(sender.run(changes)));
    Ok(())
}

struct Sender {
    inner: Arc<Inner>,
    client: GuardedClient,
    steps: TaskTracker,
    under_way: HashMap<WebhookId, usize>,
    done: mpsc::UnboundedSender<WebhookId>,
    finished: mpsc::UnboundedReceiver<WebhookId>,
    /// There may be events that were not taken up.
    events_waiting: bool,
}

impl Sender {
    async fn run(mut self, mut changes: broadcast::Receiver<Change>) {
        loop {
            let pause = match self.work().await {
                Ok(pause) => pause,
                Err(error) => {
                    tracing::warn!(%error, "webhooks wait for the store; will try again");
                    PAUSE
                }
            };
            self.wait(&mut changes, pause).await;
        }
    }

    /// Takes events up and begins to send what is due. Returns how long there is nothing more to do by itself.
    async fn work(&mut self) -> Result<Duration, StoreError> {
        self.take_up_events().await?;
        let lease = self.inner.config.webhooks.timeout + LEASE_MARGIN;
        // In small helpings, so that no receiver gets all places at once.
        while self.room() > 0 {
            let limit = self.room().min(self.inner.config.webhooks.in_flight_each.max(1));
            let busy = self.busy();
            let claimed = self.inner.store.claim_deliveries(lease, limit, &busy).await?;
            let all = claimed.len() < limit;
            for (delivery, webhook) in claimed {
                self.send(delivery, webhook);
            }
            if all && busy.is_empty() {
                return Ok(until(self.inner.store.next_delivery().await?));
            }
            if all {
                // What is due may be a busy receiver's: whichever finishes next makes room for it.
                return Ok(PAUSE);
            }
        }
        Ok(LOST_WAKE_UP)
    }

    async fn take_up_events(&mut self) -> Result<(), StoreError> {
        while self.events_waiting {
            let (made, more) = self.inner.store.queue_deliveries(EVENTS).await?;
            if made > 0 {
                tracing::debug!(made, "deliveries of webhooks queued");
            }
            self.events_waiting = more;
        }
        Ok(())
    }

    /// Returns when there may be something to do, at the latest after `pause`.
    async fn wait(&mut self, changes: &mut broadcast::Receiver<Change>, pause: Duration) {
        let mut end = Instant::now() + pause;
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(end) => {
                    // Announcements can be lost.
                    self.events_waiting = true;
                    return;
                }
                () = self.inner.outgoing.changed.notified() => return,
                Some(webhook) = self.finished.recv() => {
                    self.landed(webhook);
                    return;
                }
                change = changes.recv() => match change {
                    Ok(Change::Delivery) => return,
                    Ok(Change::Event { .. }) if !self.events_waiting => {
                        self.events_waiting = true;
                        // Others are gathered for a moment.
                        end = end.min(Instant::now() + GATHER);
                    }
                    Ok(_) => {}
                    Err(RecvError::Lagged(_)) => {
                        self.events_waiting = true;
                        return;
                    }
                    // The store is closing, and with it this process.
                    Err(RecvError::Closed) => std::future::pending().await,
                },
            }
        }
    }

    fn room(&self) -> usize {
        self.inner.config.webhooks.in_flight.saturating_sub(self.under_way.values().sum())
    }

    fn busy(&self) -> Vec<WebhookId> {
        let most = self.inner.config.webhooks.in_flight_each;
        self.under_way.iter().filter(|(_, count)| **count >= most).map(|(webhook, _)| *webhook).collect()
    }

    fn landed(&mut self, webhook: WebhookId) {
        if let Some(count) = self.under_way.get_mut(&webhook) {
            *count -= 1;
            if *count == 0 {
                self.under_way.remove(&webhook);
            }
        }
    }

    fn send(&mut self, delivery: Delivery, webhook: Webhook) {
        *self.under_way.entry(webhook.id).or_default() += 1;
        let (inner, client, done) = (Arc::clone(&self.inner), self.client.clone(), self.done.clone());
        self.steps.spawn(async move {
            let (id, fence) = (delivery.id, delivery.fence);
            let outcome = attempt(&inner, &client, &delivery, &webhook).await;
            if let Some(outcome) = outcome {
                match inner.store.finish_delivery(id, fence, outcome).await {
                    Ok(true) => {}
                    Ok(false) => {
                        tracing::debug!(delivery = %id.0, "a delivery was claimed by another; nothing written");
                    }
                    Err(error) => tracing::warn!(delivery = %id.0, %error, "a delivery will be sent again"),
                }
            }
            // Nobody listens any more when the service stops.
            let _ = done.send(webhook.id);
        });
    }
}

/// Sends a delivery once. `None` when it could not even be tried, for reasons of our own: its lease will run out.
async fn attempt(
    inner: &Inner,
    client: &GuardedClient,
    delivery: &Delivery,
    webhook: &Webhook,
) -> Option<DeliveryOutcome> {
    let task = match inner.lasts(&delivery.event).await {
        Ok(true) => inner.store.task(delivery.event.task).await,
        Ok(false) => {
            // The database lost it, and the delivery with it.
            tracing::debug!(delivery = %delivery.id.0, "an event was taken back before it was sent");
            return None;
        }
        Err(error) => Err(error),
    };
    let task = match task {
        Ok(task) => task,
        Err(error) => {
            tracing::warn!(delivery = %delivery.id.0, %error, "a delivery waits for the store");
            return None;
        }
    };
    let (at, began) = (Timestamp::now(), Instant::now());
    let answer = post(client, delivery, webhook, task.as_ref(), at).await;
    let status = answer.as_ref().ok().map(|answer| answer.status);
    let error = match &answer {
        Ok(answer) if (200..300).contains(&answer.status) => None,
        Ok(answer) if (300..400).contains(&answer.status) => {
            Some(format!("answered {}; redirects are not followed", answer.status))
        }
        Ok(answer) => Some(format!("answered {}", answer.status)),
        Err(error) => Some(error.clone()),
    };
    let attempt = DeliveryAttempt { at, status, error, took: began.elapsed() };
    let waits = &inner.config.webhooks.waits;
    let outcome = judge(attempt, delivery.attempts, answer.ok().and_then(|answer| asked_wait(&answer, at)), waits);
    report(delivery, webhook, &outcome);
    Some(outcome)
}

async fn post(
    client: &GuardedClient,
    delivery: &Delivery,
    webhook: &Webhook,
    task: Option<&Task>,
    at: Timestamp,
) -> Result<Answer, String> {
    let target: Target = webhook.url.parse().map_err(|error| format!("the URL is no longer taken: {error}"))?;
    let signer = standardwebhooks::Webhook::new(webhook.secret.expose_secret());
    // What went wrong with a secret is nothing to show.
    let signer = signer.map_err(|_| "the webhook's secret cannot be read; make the webhook anew".to_owned())?;
    let (id, seconds) = (delivery.id.0.to_string(), at.as_second());
    let body = body(delivery, task);
    let signature = signer.sign(&id, seconds, body.as_bytes()).map_err(|error| error.to_string())?;
    let seconds = seconds.to_string();
    let headers = [
        ("content-type", "application/json"),
        (HEADER_WEBHOOK_ID, &id),
        (HEADER_WEBHOOK_TIMESTAMP, &seconds),
        (HEADER_WEBHOOK_SIGNATURE, &signature),
    ];
    client.post(&target, &headers, Bytes::from(body)).await.map_err(|error| error.to_string())
}

/// What is sent: the same at each attempt, but for a task that has been removed meanwhile.
fn body(delivery: &Delivery, task: Option<&Task>) -> String {
    let event = &delivery.event;
    json!({
        "type": format!("task.{}", event.kind.name),
        "timestamp": event.at.to_string(),
        "data": {
            "task": event.task.to_string(),
            "program": task.map(|task| task.program.to_string()),
            "kind": task.map(|task| task.kind.to_string()),
            "seq": event.seq,
            "event": event.kind.name,
            "state": event.state.as_str(),
            "detail": event.kind.detail,
        },
    })
    .to_string()
}

/// What an attempt comes to, after `failed` that failed before it.
fn judge(attempt: DeliveryAttempt, failed: u32, asked: Option<SignedDuration>, waits: &[Duration]) -> DeliveryOutcome {
    if attempt.error.is_none() {
        return DeliveryOutcome::Delivered(attempt);
    }
    let wait = usize::try_from(failed).ok().and_then(|failed| waits.get(failed));
    match wait {
        Some(wait) if attempt.status != Some(GONE) => {
            // Spread by a tenth, so that what failed together is not sent together again.
            let own = SignedDuration::try_from(wait.mul_f64(0.9 + jitter() / 5.0)).unwrap_or(MOST_PATIENCE);
            let wait = asked.map_or(own, |asked| own.max(asked.min(MOST_PATIENCE)));
            DeliveryOutcome::Retry { at: attempt.at.saturating_add(wait).unwrap_or(Timestamp::MAX), attempt }
        }
        _ => DeliveryOutcome::Failed(attempt),
    }
}

/// How long a receiver asks to be left alone: `Retry-After` in seconds or as a date.
fn asked_wait(answer: &Answer, now: Timestamp) -> Option<SignedDuration> {
    parse_wait(answer.header("retry-after")?, now)
}

fn parse_wait(text: &str, now: Timestamp) -> Option<SignedDuration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<u32>() {
        return Some(SignedDuration::from_secs(seconds.into()));
    }
    let at = rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    Some(at.duration_since(now))
}

fn until(due: Option<Timestamp>) -> Duration {
    let Some(due) = due else { return LOST_WAKE_UP };
    let left = due.duration_since(Timestamp::now());
    if left.is_negative() { LEAST_PAUSE } else { left.unsigned_abs().clamp(LEAST_PAUSE, LOST_WAKE_UP) }
}

fn report(delivery: &Delivery, webhook: &Webhook, outcome: &DeliveryOutcome) {
    let (delivery, webhook, owner) = (delivery.id.0, webhook.id.0, &webhook.owner);
    match outcome {
        DeliveryOutcome::Delivered(_) => tracing::debug!(%delivery, %webhook, "webhook delivered"),
        DeliveryOutcome::Retry { attempt, at } => {
            tracing::debug!(%delivery, %webhook, error = attempt.error, %at, "webhook not delivered; will be tried again");
        }
        DeliveryOutcome::Failed(attempt) => {
            tracing::info!(%delivery, %webhook, %owner, error = attempt.error, "webhook not delivered; given up");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAITS: [Duration; 2] = [Duration::from_secs(10), Duration::from_secs(100)];

    fn attempt(status: u16) -> DeliveryAttempt {
        let error = (!(200..300).contains(&status)).then(|| format!("answered {status}"));
        DeliveryAttempt { at: Timestamp::UNIX_EPOCH, status: Some(status), error, took: Duration::ZERO }
    }

    fn retried_after(failed: u32, asked: Option<i64>) -> SignedDuration {
        match judge(attempt(503), failed, asked.map(SignedDuration::from_secs), &WAITS) {
            DeliveryOutcome::Retry { at, .. } => at.duration_since(Timestamp::UNIX_EPOCH),
            other => panic!("expected a retry, got {other:?}"),
        }
    }

    #[test]
    fn what_was_taken_is_delivered_and_what_is_gone_is_given_up() {
        for status in [200, 202, 204] {
            assert_eq!(judge(attempt(status), 9, None, &WAITS), DeliveryOutcome::Delivered(attempt(status)));
        }
        assert_eq!(judge(attempt(410), 0, None, &WAITS), DeliveryOutcome::Failed(attempt(410)));
    }

    #[test]
    fn what_failed_waits_longer_each_time_and_not_for_ever() {
        for (failed, expected) in [(0, 10.0), (1, 100.0)] {
            let wait = retried_after(failed, None).as_secs_f64();
            assert!((expected * 0.9..=expected * 1.1).contains(&wait), "{wait}");
        }
        for failed in [2, u32::MAX] {
            assert_eq!(judge(attempt(302), failed, None, &WAITS), DeliveryOutcome::Failed(attempt(302)));
        }
    }

    #[test]
    fn a_receiver_may_ask_for_a_longer_wait_within_bounds() {
        assert_eq!(retried_after(0, Some(60)), SignedDuration::from_secs(60));
        assert!(retried_after(0, Some(1)) >= SignedDuration::from_secs(9));
        assert!(retried_after(0, Some(-5)) >= SignedDuration::from_secs(9));
        assert_eq!(retried_after(0, Some(1 << 40)), MOST_PATIENCE);
    }

    #[test]
    fn a_wait_is_read_as_seconds_or_as_a_date() {
        let now: Timestamp = "1994-11-06T08:49:07Z".parse().unwrap();
        assert_eq!(parse_wait(" 120 ", now), Some(SignedDuration::from_secs(120)));
        assert_eq!(parse_wait("Sun, 06 Nov 1994 08:49:37 GMT", now), Some(SignedDuration::from_secs(30)));
        for bad in ["", "-1", "soon", "1.5", "99999999999"] {
            assert_eq!(parse_wait(bad, now), None, "{bad}");
        }
    }
}
