//! Reading programs, tasks and events, and ending tasks.

use bytes::Bytes;
use coprocessor_store::{
    Cancelled, Cursor, Event, Page, Program, Retried, Scope, StoreError, Task, TaskCounts, TaskFilter,
};
use coprocessor_types::{OwnerId, ProgramId, TaskId};

use crate::{Caller, Engine, EngineError, lasting::Of};

impl Engine {
    /// A program.
    ///
    /// # Errors
    /// No such program, or none that the caller sees.
    pub async fn program(&self, caller: &Caller, id: ProgramId) -> Result<Program, EngineError> {
        self.visible(caller, Scope::Read, id).await
    }

    /// Programs, newest first: those that `reader` sees (its own and public ones), for an administrator everybody's when
    /// nobody is named. Others see what they see themselves.
    ///
    /// # Errors
    /// Another reader without being an administrator; a cursor of another list.
    pub async fn programs(
        &self,
        caller: &Caller,
        reader: Option<OwnerId>,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Page<Program>, EngineError> {
        caller.require(Scope::Read)?;
        Ok(self.inner.store.programs(caller.lists(reader)?, after, limit).await?)
    }

    /// A program with its circuit.
    ///
    /// # Errors
    /// No such program, or none that the caller sees.
    pub async fn circuit(&self, caller: &Caller, id: ProgramId) -> Result<(Program, Bytes), EngineError> {
        let program = self.visible(caller, Scope::Read, id).await?;
        let content = self.inner.store.blob(program.circuit).await?;
        Ok((program, content))
    }

    /// A task. When it says that the task has finished, that is there to stay.
    ///
    /// # Errors
    /// No such task, or another owner's.
    pub async fn task(&self, caller: &Caller, id: TaskId) -> Result<Task, EngineError> {
        self.own_task(caller, Scope::Read, id).await
    }

    /// Tasks, newest first, as they are at this moment: the caller's owner's; for an administrator those of the filter's owner, or everybody's.
    ///
    /// # Errors
    /// Another owner's without being an administrator; a cursor of another list.
    pub async fn tasks(
        &self,
        caller: &Caller,
        filter: TaskFilter,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Page<Task>, EngineError> {
        caller.require(Scope::Read)?;
        let filter = TaskFilter { owner: caller.lists(filter.owner)?, ..filter };
        Ok(self.inner.store.tasks(filter, after, limit).await?)
    }

    /// A task's events with a sequence number above `after`, oldest first; at most `limit`. What is told is there to stay.
    ///
    /// # Errors
    /// No such task, or another owner's.
    pub async fn events(
        &self,
        caller: &Caller,
        task: TaskId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Event>, EngineError> {
        self.own_task(caller, Scope::Read, task).await?;
        Ok(self.inner.lasting_events(&Of::Task(task), after, limit).await?)
    }

    /// Events of all tasks of the caller's owner with a sequence number above `after`, oldest first; at most `limit`. For an
    /// administrator those of `owner`'s tasks, or of everybody's. Whoever goes on from the last one's number misses none, and
    /// what is told is there to stay.
    ///
    /// # Errors
    /// Another owner's without being an administrator.
    pub async fn owner_events(
        &self,
        caller: &Caller,
        owner: Option<OwnerId>,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Event>, EngineError> {
        caller.require(Scope::Read)?;
        Ok(self.inner.lasting_events(&Of::Owner(caller.lists(owner)?), after, limit).await?)
    }

    /// The highest sequence number of [`owner_events`](Self::owner_events) now; zero before the first event. The same for
    /// every caller: it tells how much happens, not what.
    ///
    /// # Errors
    /// The store's.
    pub async fn last_event(&self, caller: &Caller) -> Result<u64, EngineError> {
        caller.require(Scope::Read)?;
        Ok(self.inner.store.last_event().await?)
    }

    /// Checks that the store can be read and written.
    ///
    /// # Errors
    /// It cannot.
    pub async fn health(&self) -> Result<(), StoreError> {
        self.inner.store.health().await
    }

    /// How many tasks of all owners are in each state.
    ///
    /// # Errors
    /// The store's.
    pub async fn task_counts(&self) -> Result<TaskCounts, StoreError> {
        self.inner.store.task_counts().await
    }

    /// Cancels an unfinished task, whatever is being done for it.
    ///
    /// # Errors
    /// No such task, or another owner's; one that has finished otherwise. Cancelling a cancelled task is none.
    pub async fn cancel(&self, caller: &Caller, id: TaskId) -> Result<Task, EngineError> {
        self.own_task(caller, Scope::Prove, id).await?;
        match self.inner.store.cancel(id).await? {
            Cancelled::Cancelled(task) => {
                self.inner.claims.end(id);
                self.inner.stop_job(&task);
                tracing::info!(task = %id, "task cancelled");
                Ok(task)
            }
            Cancelled::Finished(task) if task.state == coprocessor_store::TaskState::Cancelled => Ok(task),
            Cancelled::Finished(task) => Err(EngineError::TaskFinished(id, task.state)),
            Cancelled::Unknown => Err(EngineError::UnknownTask(id)),
        }
    }

    /// Puts a failed task back to the stage it failed in, with as much time to finish as it had.
    ///
    /// # Errors
    /// No such task, or another owner's; one that has not failed, or would fail the same way again.
    pub async fn retry(&self, caller: &Caller, id: TaskId) -> Result<Task, EngineError> {
        let task = self.own_task(caller, Scope::Prove, id).await?;
        let deadline = self.inner.renewed_deadline(&task).await?;
        match self.inner.store.retry(id, deadline).await? {
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

    /// A task of the caller's, for what needs `scope`.
    pub(crate) async fn own_task(&self, caller: &Caller, scope: Scope, id: TaskId) -> Result<Task, EngineError> {
        caller.require(scope)?;
        let task = self.inner.lasting_task(id).await?;
        task.filter(|task| caller.owns(&task.owner)).ok_or(EngineError::UnknownTask(id))
    }
}
