//! Recordings of controllers' runs: made where they are asked for, kept beside the task, handed to whoever debugs.

use bytes::Bytes;
use coprocessor_sandbox::{Recorder, Recording, RecordingError, Run};
use coprocessor_store::{Scope, Stage, StoreError, Task, TaskRecording};
use coprocessor_types::{BlobDigest, OwnerId, TaskId};

use crate::{Caller, Engine, EngineError, Inner, Recordings};

impl Engine {
    /// The recording of a run of a task's controller, with the controller in it where that is kept still: that of `stage`, or the
    /// last one made.
    ///
    /// # Errors
    /// No such task, or another owner's; none that was recorded, or is kept.
    pub async fn recording(
        &self,
        caller: &Caller,
        id: TaskId,
        stage: Option<Stage>,
    ) -> Result<(TaskRecording, Bytes), EngineError> {
        let task = self.own_task(caller, Scope::Read, id).await?;
        let store = &self.inner.store;
        let kept = store.recording(id, stage).await?.ok_or(EngineError::NoRecording(id))?;
        let recording = match store.blob(kept.digest).await {
            // It aged out this moment.
            Err(StoreError::BlobMissing(_)) => return Err(EngineError::NoRecording(id)),
            recording => recording?,
        };
        Ok((kept, self.inner.with_controller(recording.to_vec(), task.controller).await?))
    }
}

impl Inner {
    /// Refuses recording what is not the caller's to look into: a run reads what only the program's or the domain's owner may.
    pub(crate) fn may_record(&self, caller: &Caller, owner: &OwnerId) -> Result<(), EngineError> {
        if self.config.recordings.which == Recordings::Never {
            return Err(EngineError::RecordingsOff);
        }
        if caller.owns(owner) { Ok(()) } else { Err(EngineError::Forbidden { scope: Scope::Admin }) }
    }

    /// For the next run of a task's controller, if any of it may be kept.
    pub(crate) fn recorder(&self, task: &Task) -> Option<Recorder> {
        let wanted = match self.config.recordings.which {
            Recordings::Never => false,
            Recordings::Asked => task.record,
            Recordings::Failed => true,
        };
        wanted.then(|| self.new_recorder())
    }

    /// For a run that is no task's, if it is to be recorded and may be.
    pub(crate) fn dry_recorder(
        &self,
        caller: &Caller,
        owner: &OwnerId,
        record: bool,
    ) -> Result<Option<Recorder>, EngineError> {
        if !record {
            return Ok(None);
        }
        self.may_record(caller, owner).map(|()| Some(self.new_recorder()))
    }

    fn new_recorder(&self) -> Recorder {
        Recorder::new(self.config.recordings.bytes)
    }

    /// Keeps what was recorded of a run, where it is wanted. A task does not fail for its recording.
    pub(crate) async fn keep_recording(&self, task: &Task, stage: Stage, recorder: Option<Recorder>, run: &Run) {
        let Some(recorder) = recorder else { return };
        if !task.record && run.result.is_ok() {
            return;
        }
        if let Err(error) = self.try_keep(task, stage, &recorder, run).await {
            tracing::warn!(task = %task.id, stage = stage.as_str(), %error, "a run's recording was not kept");
        }
    }

    async fn try_keep(&self, task: &Task, stage: Stage, recorder: &Recorder, run: &Run) -> Result<(), EngineError> {
        self.check_room()?;
        if !task.record && !self.is_the_programs_owners(task).await? {
            return Ok(());
        }
        let recording = recorder.finish(run).map_err(|error| EngineError::InvalidRequest(error.to_string()))?;
        let bytes = recording.to_bytes().into();
        match self.store.keep_recording(task.id, task.fence, stage, bytes).await {
            // Another has the task now, and records for itself.
            Err(StoreError::StaleFence { .. } | StoreError::UnknownTask(_)) => Ok(()),
            kept => Ok(kept?),
        }
    }

    async fn is_the_programs_owners(&self, task: &Task) -> Result<bool, EngineError> {
        Ok(self.store.program(task.program).await?.is_some_and(|program| program.owner == task.owner))
    }

    /// What such a run recorded, with the controller that ran.
    pub(crate) async fn dry_recording(
        &self,
        recorder: Option<&Recorder>,
        run: &Run,
        controller: BlobDigest,
    ) -> Result<Option<Bytes>, EngineError> {
        let Some(recorder) = recorder else { return Ok(None) };
        let recording = recorder.finish(run).map_err(|error| too_large(&error, &run.log))?;
        self.with_controller(recording.to_bytes(), controller).await.map(Some)
    }

    /// A recording with its controller in it, where that is kept.
    async fn with_controller(&self, mut recording: Vec<u8>, controller: BlobDigest) -> Result<Bytes, EngineError> {
        match self.store.blob(controller).await {
            Ok(wasm) => Recording::attach(&mut recording, &wasm),
            Err(StoreError::BlobMissing(_)) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(recording.into())
    }
}

fn too_large(error: &RecordingError, log: &[String]) -> EngineError {
    let (message, log) = (error.to_string(), log.to_vec());
    EngineError::Guest { code: "recording_too_large", message, log, recording: None }
}
