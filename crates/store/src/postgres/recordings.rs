//! Recordings of what tasks' controllers asked and were answered.

use super::{
    Inner, blobs,
    connect::Session,
    fault::Fault,
    row::{bits, bytes, corrupt, from_bits, get, stage_number, time},
    steps::find,
    upkeep::suspect,
};
use crate::{Stage, TaskRecording, task::transition};
use ::bytes::Bytes;
use coprocessor_types::{BlobDigest, TaskId};
use tokio_postgres::Row;

impl Inner {
    /// Keeps a recording in the place of the stage's earlier one.
    pub(super) async fn keep_recording(
        &self,
        (task, fence): (TaskId, u64),
        stage: Stage,
        recording: &Bytes,
    ) -> Result<(), Fault> {
        let digest = self.put_blob(recording).await?;
        let session = self.quick.take().await?;
        let held = "SELECT 1 FROM tasks WHERE id = $1 AND fence = $2 AND worker IS NOT NULL FOR NO KEY UPDATE";
        let held = session.begin_with("", held, &[&task.0.as_bytes().as_slice(), &from_bits(fence)]).await?;
        let kept = async {
            if held.is_empty() {
                transition::check_claim(&find(&session, task, "").await?.standing, fence)?;
                return Err(super::steps::changing(task));
            }
            keep(&session, task, stage, digest).await
        };
        match kept.await {
            Ok(()) => session.commit().await,
            Err(fault) => {
                if matches!(fault, Fault::Store(_)) {
                    session.rollback().await?;
                }
                Err(fault)
            }
        }
    }

    /// That of a stage, or of the last that has one.
    pub(super) async fn recording(&self, task: TaskId, stage: Option<Stage>) -> Result<Option<TaskRecording>, Fault> {
        let sql = "SELECT stage, digest, size, made_at FROM recordings JOIN blobs USING (digest) \
             WHERE task = $1 AND ($2::smallint IS NULL OR stage = $2) ORDER BY made_at DESC, stage DESC LIMIT 1";
        let session = self.quick.take().await?;
        let row = session.query_opt(sql, &[&task.0.as_bytes().as_slice(), &stage.map(stage_number)]).await?;
        row.as_ref().map(read).transpose()
    }
}

async fn keep(session: &Session, task: TaskId, stage: Stage, digest: BlobDigest) -> Result<(), Fault> {
    blobs::require(session, &[digest]).await?;
    let (id, stage, digest) = (task.0.as_bytes().as_slice(), stage_number(stage), digest.as_bytes().as_slice());
    let earlier = "SELECT digest FROM recordings WHERE task = $1 AND stage = $2";
    let earlier = session.query_opt(earlier, &[&id, &stage]).await?;
    let put = "INSERT INTO recordings (task, stage, digest, made_at) VALUES ($1, $2, $3, micros()) \
         ON CONFLICT (task, stage) DO UPDATE SET digest = excluded.digest, made_at = excluded.made_at";
    session.execute(put, &[&id, &stage, &digest]).await?;
    match earlier {
        Some(row) => suspect(session, &[get(&row, "digest")?]).await,
        None => Ok(()),
    }
}

fn read(row: &Row) -> Result<TaskRecording, Fault> {
    let number: i16 = get(row, "stage")?;
    let stage = Stage::ALL.into_iter().find(|stage| stage_number(*stage) == number);
    Ok(TaskRecording {
        stage: stage.ok_or_else(|| corrupt("a recording's stage", number))?,
        digest: BlobDigest(bytes(row, "digest")?),
        bytes: bits(row, "size")?,
        made_at: time(row, "made_at")?,
    })
}
