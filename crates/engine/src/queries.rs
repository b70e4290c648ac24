//! Reading and ending tasks.

use coprocessor_store::{Cancelled, Retried, Task};
use coprocessor_types::TaskId;

use crate::{Engine, EngineError};

impl Engine {
    /// A task.
    ///
    /// # Errors
    /// No such task.
    pub async fn task(&self, id: TaskId) -> Result<Task, EngineError> {
        self.inner.store.task(id).await?.ok_or(EngineError::UnknownTask(id))
    }

    /// Cancels an unfinished task, whatever is being done for it.
    ///
    /// # Errors
    /// No such task; one that has finished otherwise. Cancelling a cancelled task is none.
    pub async fn cancel(&self, id: TaskId) -> Result<Task, EngineError> {
        match self.inner.store.cancel(id).await? {
            Cancelled::Cancelled(task) => {
                self.inner.claims.end(id);
                tracing::info!(task = %id, "task cancelled");
                Ok(task)
            }
            Cancelled::Finished(task) if task.state == coprocessor_store::TaskState::Cancelled => Ok(task),
            Cancelled::Finished(task) => Err(EngineError::TaskFinished(id, task.state)),
            Cancelled::Unknown => Err(EngineError::UnknownTask(id)),
        }
    }

    /// Puts a failed task back to the stage it failed in.
    ///
    /// # Errors
    /// No such task; one that has not failed, or would fail the same way again.
    pub async fn retry(&self, id: TaskId) -> Result<Task, EngineError> {
        match self.inner.store.retry(id).await? {
            Retried::Retried(task) => {
                tracing::info!(task = %id, state = %task.state, "task retried");
                Ok(task)
            }
            Retried::Refused(task) => {
                let reason = match &task.failure {
                    None => format!("it is {}", task.state),
                    Some(failure) => format!("it would fail the same way again ({})", failure.code),
                };
                Err(EngineError::NotRetryable(id, reason))
            }
            Retried::Unknown => Err(EngineError::UnknownTask(id)),
        }
    }
}
