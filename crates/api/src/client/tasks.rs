//! Tasks: asking for proofs, waiting for them, what became of them.

use super::{
    Client, ClientError, Download, Follow, FollowAll, Page, TaskFilter, Whose,
    exchange::{self, Patience},
};
use crate::{EventList, ProofView, TaskList, TaskRequest, TaskView};
use coprocessor_types::{ProgramId, TaskId};
use reqwest::Method;
use std::time::{Duration, Instant};

/// How often a request with an idempotency key is sent again when its answer was lost.
const RESENDS: u32 = 3;

/// How long one request waits for a task to finish.
const WAIT_SLICE: Duration = Duration::from_secs(30);

impl Client {
    /// Asks for a proof. With an idempotency key, a request whose answer was lost on the way is sent again.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn create_task(
        &self,
        program: &ProgramId,
        request: &TaskRequest,
        idempotency_key: Option<&str>,
    ) -> Result<TaskView, ClientError> {
        let path = ["programs", &program.to_string(), "tasks"];
        let mut resends = 0;
        loop {
            let mut post = self.exchange.request(Method::POST, &path, Patience::Answer)?.json(request);
            if let Some(key) = idempotency_key {
                post = post.header("idempotency-key", key);
            }
            let answer = match self.exchange.send(post).await {
                Ok(response) => exchange::json(response).await,
                Err(error) => Err(error),
            };
            match answer {
                Err(ClientError::Interrupted { .. }) if idempotency_key.is_some() && resends < RESENDS => {
                    resends += 1;
                    tokio::time::sleep(Duration::from_millis(250) * resends).await;
                }
                answer => return answer,
            }
        }
    }

    /// A page of tasks, newest first.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn tasks(&self, filter: &TaskFilter, page: &Page) -> Result<TaskList, ClientError> {
        let mut query = page.query();
        query.extend(filter.program.map(|program| ("program", program.to_string())));
        query.extend(filter.state.map(|state| ("state", state.as_str().to_owned())));
        self.exchange.get(&["tasks"], &query).await
    }

    /// The recording of a run of a task's controller: of the stage `execute` or `deliver`, or the last one made.
    ///
    /// # Errors
    /// See [`ClientError`]; problem `no_recording` where there is none.
    pub async fn recording(&self, task: &TaskId, stage: Option<&str>) -> Result<Download, ClientError> {
        let query: Vec<_> = stage.map(|stage| ("stage", stage.to_owned())).into_iter().collect();
        self.exchange.download(&["tasks", &task.to_string(), "recording"], &query).await
    }

    /// A task.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn task(&self, task: &TaskId) -> Result<TaskView, ClientError> {
        self.exchange.get(&["tasks", &task.to_string()], &[]).await
    }

    /// Waits until a task has finished, or `patience` is over: the task as it is then. Asks again over lost connections.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn wait(&self, task: &TaskId, patience: Duration) -> Result<TaskView, ClientError> {
        let began = Instant::now();
        loop {
            let left = patience.saturating_sub(began.elapsed());
            let seconds = left.min(WAIT_SLICE).as_secs_f64().ceil();
            let asked = self.exchange.get(&["tasks", &task.to_string()], &[("wait", seconds.to_string())]).await;
            match asked {
                Err(error) if ClientError::may_pass(&error) && !left.is_zero() => {
                    tokio::time::sleep(left.min(Duration::from_secs(1))).await;
                }
                Ok(task) if !TaskView::is_finished(&task) && !left.is_zero() => {}
                answer => return answer,
            }
        }
    }

    /// What has happened to a task so far: events after sequence number `after`, oldest first.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn events(
        &self,
        task: &TaskId,
        after: Option<u64>,
        limit: Option<u32>,
    ) -> Result<EventList, ClientError> {
        let mut query = Vec::new();
        query.extend(after.map(|after| ("after", after.to_string())));
        query.extend(limit.map(|limit| ("limit", limit.to_string())));
        self.exchange.get(&["tasks", &task.to_string(), "events"], &query).await
    }

    /// Follows a task's events as they happen, from after sequence number `after`, over lost connections, to its end.
    pub fn follow(&self, task: TaskId, after: Option<u64>) -> Follow {
        Follow::new(self.clone(), task, after)
    }

    /// What has happened to all tasks of an owner: events after sequence number `after`, oldest first.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn all_events(
        &self,
        whose: &Whose,
        after: Option<u64>,
        limit: Option<u32>,
    ) -> Result<EventList, ClientError> {
        let mut query = whose.query();
        query.extend(after.map(|after| ("after", after.to_string())));
        query.extend(limit.map(|limit| ("limit", limit.to_string())));
        self.exchange.get(&["events"], &query).await
    }

    /// Follows all tasks of an owner as things happen, over lost connections: from after sequence number `after`, or from now on.
    pub fn follow_all(&self, whose: &Whose, after: Option<u64>) -> FollowAll {
        FollowAll::new(self.clone(), whose, after)
    }

    /// A task's verified proof and all that a verifier needs.
    ///
    /// # Errors
    /// See [`ClientError`]; problem `no_proof` while there is none.
    pub async fn proof(&self, task: &TaskId) -> Result<ProofView, ClientError> {
        self.exchange.get(&["tasks", &task.to_string(), "proof"], &[]).await
    }

    /// A task's proof alone, in its backend's encoding.
    ///
    /// # Errors
    /// See [`ClientError`]; problem `no_proof` while there is none.
    pub async fn proof_bytes(&self, task: &TaskId) -> Result<Download, ClientError> {
        self.exchange.download(&["tasks", &task.to_string(), "proof"], &[]).await
    }

    /// Has a failed task tried again.
    ///
    /// # Errors
    /// See [`ClientError`]; problem `task_not_retryable`.
    pub async fn retry(&self, task: &TaskId) -> Result<TaskView, ClientError> {
        let path = ["tasks", &task.to_string(), "retry"];
        exchange::json(self.exchange.send(self.exchange.request(Method::POST, &path, Patience::Answer)?).await?).await
    }

    /// Cancels a task.
    ///
    /// # Errors
    /// See [`ClientError`]; problem `task_finished`.
    pub async fn cancel(&self, task: &TaskId) -> Result<TaskView, ClientError> {
        let path = ["tasks", &task.to_string()];
        exchange::json(self.exchange.send(self.exchange.request(Method::DELETE, &path, Patience::Answer)?).await?).await
    }
}
