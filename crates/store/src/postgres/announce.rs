//! Changes: told here at once, and through the database to other processes.
//!
//! A notification takes a lock of the whole database at its commit, so none is sent by a transaction that does work. One task
//! sends what was told in the meantime, in one go; another listens.

use super::{connect::Connector, fault::Fault};
use crate::{Change, Stage, TaskState};
use coprocessor_types::{InstanceId, OwnerId, TaskId};
use futures::StreamExt;
use std::{fmt::Write, sync::Mutex, time::Duration};
use tokio::{
    sync::{broadcast, mpsc},
    task::AbortHandle,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_postgres::{AsyncMessage, Client};
use uuid::Uuid;

/// How long changes are gathered before they are sent.
const GATHER: Duration = Duration::from_millis(5);

/// PostgreSQL takes less than 8000 bytes.
const PAYLOAD: usize = 7900;

/// Payloads in one statement.
const PAYLOADS: usize = 32;

/// Pauses before connecting again: they double up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How often a silent connection is asked whether it is still there, and how long it may take to answer.
const ASK: Duration = Duration::from_secs(5);

/// Tells changes.
#[derive(Debug)]
pub(super) struct Announcer {
    local: broadcast::Sender<Change>,
    remote: mpsc::UnboundedSender<Change>,
    tasks: Mutex<Vec<AbortHandle>>,
}

/// What the two tasks share.
#[derive(Clone)]
struct Wire {
    connector: Connector,
    channel: String,
    /// Tells this process's notifications from others'.
    sender: String,
}

impl Announcer {
    /// Connects, and begins to listen: what is told elsewhere after this returns is heard.
    pub(super) async fn start(
        connector: Connector,
        instance: InstanceId,
        local: broadcast::Sender<Change>,
    ) -> Result<Self, Fault> {
        let channel = format!("coprocessor_{}", &instance.to_string()[..16]);
        let wire = Wire { connector, channel, sender: Uuid::now_v7().simple().to_string() };
        let (remote, waiting) = mpsc::unbounded_channel();
        let first = wire.listen().await?;
        let listening = tokio::spawn(wire.clone().hear(first, local.clone())).abort_handle();
        let sending = tokio::spawn(wire.send(waiting)).abort_handle();
        Ok(Self { local, remote, tasks: Mutex::new(vec![listening, sending]) })
    }

    pub(super) fn subscribe(&self) -> broadcast::Receiver<Change> {
        self.local.subscribe()
    }

    pub(super) fn tell(&self, change: Change) {
        // After the end nobody is left to be told elsewhere; here nobody may be listening.
        let _ = self.remote.send(change.clone());
        let _ = self.local.send(change);
    }

    pub(super) fn stop(&self) {
        for task in self.tasks.lock().unwrap_or_else(std::sync::PoisonError::into_inner).drain(..) {
            task.abort();
        }
    }
}

/// A connection that notifications come from.
struct Listening {
    client: Client,
    messages: mpsc::UnboundedReceiver<String>,
}

impl Wire {
    async fn connect(&self) -> Result<Listening, Fault> {
        let (client, mut driver) = self.connector.connect().await?;
        let (heard, messages) = mpsc::unbounded_channel();
        // Ends with the connection, and that with the client.
        tokio::spawn(async move {
            while let Some(Ok(message)) = driver.next().await {
                if let AsyncMessage::Notification(notification) = message
                    && heard.send(notification.payload().to_owned()).is_err()
                {
                    return;
                }
            }
        });
        Ok(Listening { client, messages })
    }

    async fn listen(&self) -> Result<Listening, Fault> {
        let listening = self.connect().await?;
        listening.client.batch_execute(&format!("LISTEN {}", self.channel)).await?;
        Ok(listening)
    }

    /// Passes on what others tell, for ever.
    async fn hear(self, mut listening: Listening, local: broadcast::Sender<Change>) {
        loop {
            loop {
                match timeout(ASK, listening.messages.recv()).await {
                    Ok(Some(payload)) => {
                        for change in read(&payload, &self.sender) {
                            let _ = local.send(change);
                        }
                    }
                    Ok(None) => break,
                    Err(_) => match timeout(ASK, listening.client.batch_execute("")).await {
                        Ok(Ok(())) => {}
                        Ok(Err(_)) | Err(_) => break,
                    },
                }
            }
            tracing::warn!("the connection that tells of other coprocessors' changes is lost; connecting again");
            let mut pause = FIRST_PAUSE;
            listening = loop {
                sleep(pause).await;
                match timeout(ASK, self.listen()).await {
                    Ok(Ok(listening)) => break listening,
                    Ok(Err(_)) | Err(_) => pause = (pause * 2).min(LONGEST_PAUSE),
                }
            };
            tracing::info!("the connection that tells of other coprocessors' changes is back");
            // Whatever was told meanwhile: look.
            for change in look() {
                let _ = local.send(change);
            }
        }
    }

    /// Sends what is told, for ever. What can't be sent is lost: others look now and then without it.
    async fn send(self, mut waiting: mpsc::UnboundedReceiver<Change>) {
        let mut connection = None;
        let mut gathered = Vec::new();
        let mut sent_at: Option<Instant> = None;
        while waiting.recv_many(&mut gathered, usize::MAX).await > 0 {
            // The first after a quiet moment goes at once.
            if let Some(sent_at) = sent_at {
                sleep_until(sent_at + GATHER).await;
            }
            sent_at = Some(Instant::now());
            while let Ok(change) = waiting.try_recv() {
                gathered.push(change);
            }
            let payloads = write(&self.sender, gathered.drain(..));
            for payloads in payloads.chunks(PAYLOADS) {
                if connection.is_none() {
                    connection = self.connect_to_send().await;
                }
                let Some(Listening { client, .. }) = &connection else { break };
                let sql = "SELECT pg_notify($1, payload) FROM unnest($2::text[]) AS payload";
                let sent = timeout(ASK, client.execute(sql, &[&self.channel, &payloads])).await;
                if !matches!(sent, Ok(Ok(_))) {
                    connection = None;
                    break;
                }
            }
        }
    }

    async fn connect_to_send(&self) -> Option<Listening> {
        let connecting = async {
            let connection = self.connect().await?;
            // Its commits hold the lock: not for as long as the disk takes.
            connection.client.batch_execute("SET synchronous_commit = off; SET jit = off").await?;
            Ok::<_, Fault>(connection)
        };
        timeout(ASK, connecting).await.ok()?.ok()
    }
}

/// What may have happened while nobody listened.
fn look() -> impl Iterator<Item = Change> {
    let works = Stage::ALL.into_iter().map(Change::Work);
    works.chain([Change::Accounts, Change::Provers, Change::Delivery, Change::Domains])
}

/// Payloads that say the changes: the sender, then each change after a space. What is said more than once and is the same
/// each time is said once.
fn write(sender: &str, changes: impl Iterator<Item = Change>) -> Vec<String> {
    let mut payloads = vec![sender.to_owned()];
    let mut said = Vec::new();
    for change in changes {
        let mut text = String::new();
        // Writing to memory doesn't fail.
        let _ = match &change {
            Change::Work(stage) => write!(text, " w:{}", stage.as_str()),
            Change::Event { task, owner, seq, state } => {
                write!(text, " e:{}:{owner}:{seq}:{state}", task.0.as_simple())
            }
            Change::Accounts => write!(text, " a"),
            Change::Provers => write!(text, " p"),
            Change::Delivery => write!(text, " d"),
            Change::Domains => write!(text, " r"),
        };
        if !matches!(change, Change::Event { .. }) {
            if said.contains(&change) {
                continue;
            }
            said.push(change);
        }
        if payloads.last().is_some_and(|payload| payload.len() + text.len() > PAYLOAD) {
            payloads.push(sender.to_owned());
        }
        if let Some(payload) = payloads.last_mut() {
            payload.push_str(&text);
        }
    }
    payloads
}

/// The changes that a payload of another sender says; those of later versions are left out.
fn read(payload: &str, own: &str) -> Vec<Change> {
    let mut words = payload.split(' ');
    if words.next().is_none_or(|sender| sender == own) {
        return Vec::new();
    }
    words.filter_map(read_change).collect()
}

fn read_change(word: &str) -> Option<Change> {
    let mut parts = word.split(':');
    match parts.next()? {
        "w" => {
            let name = parts.next()?;
            Stage::ALL.into_iter().find(|stage| stage.as_str() == name).map(Change::Work)
        }
        "e" => Some(Change::Event {
            task: TaskId(Uuid::try_parse(parts.next()?).ok()?),
            owner: parts.next()?.parse::<OwnerId>().ok()?,
            seq: parts.next()?.parse().ok()?,
            state: TaskState::from_name(parts.next()?)?,
        }),
        "a" => Some(Change::Accounts),
        "p" => Some(Change::Provers),
        "d" => Some(Change::Delivery),
        "r" => Some(Change::Domains),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(seq: u64) -> Change {
        let owner = "a".repeat(64).parse().unwrap();
        Change::Event { task: TaskId::now(), owner, seq, state: TaskState::Delivering }
    }

    #[test]
    fn what_is_written_reads_back_in_order_and_fits() {
        let mut changes: Vec<_> = (0..500).map(event).collect();
        changes.splice(250..250, look());
        let payloads = write("me", changes.iter().cloned());
        assert!(payloads.len() > 1 && payloads.iter().all(|payload| payload.len() < 8000));
        let heard: Vec<_> = payloads.iter().flat_map(|payload| read(payload, "another")).collect();
        assert_eq!(heard, changes);
        assert!(payloads.iter().all(|payload| read(payload, "me").is_empty()));
    }

    #[test]
    fn hints_are_said_once() {
        let payloads =
            write("me", [Change::Work(Stage::Prove), Change::Accounts, Change::Work(Stage::Prove)].into_iter());
        assert_eq!(payloads, ["me w:prove a"]);
    }

    #[test]
    fn what_is_not_understood_is_left_out() {
        for payload in ["", "x", "x ", "x w", "x w:no", "x e:1", "x z:1", "x e:0:a:1:queued"] {
            assert_eq!(read(payload, "me"), []);
        }
        assert_eq!(read("x later:1 a", "me"), [Change::Accounts]);
    }
}
