//! Following tasks, over lost connections and restarts of the service: one to its end, or all of them for ever.

use super::{
    Client, ClientError,
    source::{EventSource, News},
};
use crate::{EventView, TaskState, TaskView};
use coprocessor_types::{OwnerId, TaskId};
use std::time::Duration;

/// News of a task.
#[derive(Clone, Debug)]
pub enum Update {
    /// Something happened to it. Each event comes once, in order.
    Event(EventView),
    /// The connection was lost; another follows.
    Disconnected {
        /// How it ended.
        reason: String,
        /// When the next attempt is made.
        retry_in: Duration,
    },
    /// Nothing more will happen: the task as it ended. The last update.
    Finished(Box<TaskView>),
}

/// A task being followed; see [`Client::follow`].
#[derive(Debug)]
pub struct Follow {
    source: EventSource,
    task: TaskId,
    last_state: Option<TaskState>,
}

impl Follow {
    pub(super) fn new(client: Client, task: TaskId, after: Option<u64>) -> Self {
        let path = ["tasks", &task.to_string(), "events"].map(str::to_owned).to_vec();
        Self { source: EventSource::new(client, path, Vec::new(), after), task, last_state: None }
    }

    /// Gives up when the service stays away this long. A first connection that fails is given up at once.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.source.set_patience(patience);
        self
    }

    /// The sequence number of the last event handed out: where another follower can go on.
    pub fn position(&self) -> Option<u64> {
        self.source.position()
    }

    /// The next update; `None` after [`Update::Finished`].
    ///
    /// # Errors
    /// See [`ClientError`]. There is nothing more after an error.
    pub async fn next(&mut self) -> Result<Option<Update>, ClientError> {
        let result = self.advance().await;
        if result.is_err() {
            self.source.close();
        }
        result
    }

    async fn advance(&mut self) -> Result<Option<Update>, ClientError> {
        loop {
            match self.source.next().await? {
                News::Event(event) => {
                    self.last_state = Some(event.state);
                    return Ok(Some(Update::Event(event)));
                }
                News::Lost { reason, retry_in } => return Ok(Some(Update::Disconnected { reason, retry_in })),
                News::Closed => return Ok(None),
                News::Ended { delivered } => {
                    if let Some(update) = self.stream_ended(delivered).await? {
                        return Ok(Some(update));
                    }
                }
            }
        }
    }

    /// A task that ended, was retried and goes on has a terminal event in the middle, so the task itself is asked. `None`:
    /// connect again at once.
    async fn stream_ended(&mut self, delivered: bool) -> Result<Option<Update>, ClientError> {
        let saw_end = self.last_state.is_some_and(TaskState::is_finished);
        let error = match self.source.client.task(&self.task).await {
            Ok(task) if task.state.is_finished() && (saw_end || !delivered) => {
                self.source.close();
                return Ok(Some(Update::Finished(Box::new(task))));
            }
            Ok(_) if delivered => return Ok(None),
            Ok(_) => self.source.broke("the stream ended before the task did".to_owned()),
            Err(error) if error.may_pass() => error,
            Err(error) => return Err(error),
        };
        Ok(match self.source.lost(error)? {
            News::Lost { reason, retry_in } => Some(Update::Disconnected { reason, retry_in }),
            _ => None,
        })
    }
}

/// Whose tasks to follow.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Whose {
    /// The key's owner's.
    #[default]
    Mine,
    /// Another owner's; takes the scope `admin`.
    Owner(OwnerId),
    /// Everybody's; takes the scope `admin`.
    All,
}

impl Whose {
    pub(super) fn query(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Mine => Vec::new(),
            Self::Owner(owner) => vec![("owner", owner.to_string())],
            Self::All => vec![("all", "true".to_owned())],
        }
    }
}

/// News of many tasks.
#[derive(Clone, Debug)]
pub enum OwnerUpdate {
    /// Something happened to one of them. Each event comes once, in order.
    Event(EventView),
    /// The connection was lost; another follows.
    Disconnected {
        /// How it ended.
        reason: String,
        /// When the next attempt is made.
        retry_in: Duration,
    },
}

/// All tasks of an owner being followed; see [`Client::follow_all`]. Goes on until it is dropped.
#[derive(Debug)]
pub struct FollowAll {
    source: EventSource,
}

impl FollowAll {
    pub(super) fn new(client: Client, whose: &Whose, after: Option<u64>) -> Self {
        Self { source: EventSource::new(client, vec!["events".to_owned()], whose.query(), after) }
    }

    /// Gives up when the service stays away this long. A first connection that fails is given up at once.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.source.set_patience(patience);
        self
    }

    /// The sequence number of the last event handed out, or where the stream began: where another follower can go on.
    pub fn position(&self) -> Option<u64> {
        self.source.position()
    }

    /// The next update.
    ///
    /// # Errors
    /// See [`ClientError`]. The same follower may be asked again: it connects anew.
    pub async fn next(&mut self) -> Result<OwnerUpdate, ClientError> {
        loop {
            match self.source.next().await? {
                News::Event(event) => return Ok(OwnerUpdate::Event(event)),
                News::Lost { reason, retry_in } => return Ok(OwnerUpdate::Disconnected { reason, retry_in }),
                // A service that stops ends its streams.
                News::Ended { .. } | News::Closed => {
                    let error = self.source.broke("the service ended the stream".to_owned());
                    if let News::Lost { reason, retry_in } = self.source.lost(error)? {
                        return Ok(OwnerUpdate::Disconnected { reason, retry_in });
                    }
                }
            }
        }
    }
}
