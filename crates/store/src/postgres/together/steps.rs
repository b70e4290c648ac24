//! Steps that end well: the task goes on, a small blob comes with it, a volume is written.

use super::{LARGE, Shared, each};
use crate::{
    StepOutcome, Task, TaskState, VolumeWrite,
    postgres::{
        connect::{Session, Values},
        fault::Fault,
        row::{bits, bounded, from_bits, from_json, stage_number},
        steps::Pages,
        tasks,
    },
    task::transition::Next,
};
use bytes::Bytes;
use coprocessor_types::{BlobDigest, TaskId};
use std::collections::HashMap;

const HELD: &str = "
WITH held AS MATERIALIZED (
    SELECT step.*, tasks.program
    FROM unnest($1::bytea[], $2::bigint[], $3::text[], $4::text[], $5::smallint[], $6::text[], $7::text[], $8::bytea[],
            $9::bytea[], $10::boolean[], $11::bytea[], $12::text[], $13::bigint[], $14::bytea[], $15::bigint[])
        AS step (id, fence, expected, state, stage, name, detail, digest, content, proof, output, result, based_on, raw,
            quota)
    JOIN tasks ON tasks.id = step.id
    WHERE tasks.fence = step.fence AND tasks.worker IS NOT NULL AND tasks.state = step.expected
    FOR NO KEY UPDATE OF tasks SKIP LOCKED
)";

/// Steps of which none writes to a volume.
const ALL: &str = ", going AS (SELECT * FROM held)";

/// One writer to a volume goes on, if the volume is as it was when its controller began, and if there is room for it in its
/// owner's quota whatever others of the owner write here. Nobody waits for another statement that holds some of the rows and waits
/// for others.
const WRITERS: &str = ", free AS MATERIALIZED (
    SELECT held.id, held.quota, volumes.number, programs.owner,
        CASE WHEN held.raw IS NULL THEN 0 ELSE octet_length(held.raw) - coalesce(octet_length(volumes.raw), 0) END AS raw
    FROM held JOIN volumes ON volumes.program = held.program JOIN programs ON programs.id = held.program
    WHERE held.based_on IS NOT NULL AND volumes.version = held.based_on
    FOR NO KEY UPDATE OF volumes SKIP LOCKED
), one_each AS MATERIALIZED (
    SELECT DISTINCT ON (number) * FROM free ORDER BY number, id
), growth AS MATERIALIZED (
    SELECT id, number, owner, quota, raw
        + coalesce((SELECT sum(octet_length(page.content)) FROM unnest($16::bytea[], $18::bytea[]) AS page (id, content)
            WHERE page.id = one_each.id), 0)
        - coalesce((SELECT sum(octet_length(pages.content)) FROM pages
            WHERE pages.volume = one_each.number AND pages.index = ANY (ARRAY(
                SELECT page.index FROM unnest($16::bytea[] || $19::bytea[], $17::bigint[] || $20::bigint[]) AS page (id, index)
                WHERE page.id = one_each.id))), 0) AS bytes
    FROM one_each
), accounts AS MATERIALIZED (
    SELECT owner, bytes FROM owner_volumes WHERE owner = ANY (ARRAY(SELECT owner FROM growth WHERE bytes <> 0))
    FOR NO KEY UPDATE SKIP LOCKED
), writers AS MATERIALIZED (
    SELECT number, id, owner, all_growth.bytes
    FROM (SELECT *, sum(greatest(bytes, 0)) OVER (PARTITION BY owner ORDER BY number) AS so_far FROM growth) AS all_growth
    LEFT JOIN accounts USING (owner)
    WHERE all_growth.bytes = 0 OR (accounts.bytes IS NOT NULL
        AND (all_growth.bytes < 0 OR quota IS NULL OR accounts.bytes + so_far <= quota))
), charged AS (
    UPDATE owner_volumes SET bytes = owner_volumes.bytes + of_owner.bytes
    FROM (SELECT owner, sum(bytes)::bigint AS bytes FROM writers GROUP BY owner) AS of_owner
    WHERE owner_volumes.owner = of_owner.owner AND of_owner.bytes <> 0
), volume AS (
    UPDATE volumes SET version = version + 1, raw = coalesce(held.raw, volumes.raw), bytes = volumes.bytes + writers.bytes
    FROM writers JOIN held ON held.id = writers.id WHERE volumes.number = writers.number
), put AS (
    INSERT INTO pages (volume, index, content)
    SELECT writers.number, page.index, page.content
    FROM unnest($16::bytea[], $17::bigint[], $18::bytea[]) AS page (id, index, content)
    JOIN writers ON writers.id = page.id
    ON CONFLICT (volume, index) DO UPDATE SET content = excluded.content
), cleared AS (
    DELETE FROM pages USING unnest($19::bytea[], $20::bigint[]) AS page (id, index) JOIN writers ON writers.id = page.id
    WHERE pages.volume = writers.number AND pages.index = page.index
), going AS (
    SELECT held.* FROM held LEFT JOIN writers ON writers.id = held.id
    WHERE held.based_on IS NULL OR writers.id IS NOT NULL
)";

const MOVED: &str = ", moved AS (
    UPDATE tasks SET state = going.state, stage = going.stage, worker = NULL, attempts = 0, not_before = NULL,
        ready_at = CASE WHEN going.stage IS NULL THEN NULL ELSE 0 END,
        witness = CASE WHEN going.proof OR going.digest IS NULL THEN tasks.witness ELSE going.digest END,
        proof = CASE WHEN going.proof THEN going.digest ELSE tasks.proof END, updated_at = micros()
    FROM going WHERE tasks.id = going.id RETURNING tasks.*
), stored AS (
    INSERT INTO blobs (digest, size, content, put_at, suspect)
    SELECT DISTINCT ON (digest) digest, octet_length(content), content, micros(), false
    FROM going WHERE digest IS NOT NULL ORDER BY digest
    ON CONFLICT (digest) DO NOTHING
), named AS (
    INSERT INTO task_blobs (digest, task, proof) SELECT digest, id, proof FROM going WHERE digest IS NOT NULL
    ON CONFLICT DO NOTHING
), content AS (
    UPDATE task_content SET output = coalesce(going.output, task_content.output),
        result = coalesce(going.result, task_content.result)
    FROM going WHERE task_content.task = going.id AND (going.output IS NOT NULL OR going.result IS NOT NULL)
), told AS (
    INSERT INTO events (task, owner, at, state, name, detail)
    SELECT going.id, moved.owner, moved.updated_at, moved.state, going.name, going.detail
    FROM going JOIN moved USING (id)
    RETURNING seq, task
)
SELECT moved.*, args, payload, task_content.output, task_content.result, failure, told.seq
FROM moved JOIN told ON told.task = moved.id JOIN task_content ON task_content.task = moved.id";

/// A step that may share a statement.
#[derive(Debug)]
pub(in crate::postgres) struct Step {
    task: TaskId,
    fence: u64,
    expected: TaskState,
    next: Next,
    name: String,
    detail: String,
    /// A witness or a proof.
    blob: Option<(BlobDigest, Bytes)>,
    /// Of a proof.
    output: Option<Bytes>,
    /// Of a delivery, and as it is written.
    result: Option<(serde_json::Value, String)>,
    volume: Option<VolumeWrite>,
}

impl Step {
    /// `None` when the outcome has to be written by itself.
    pub(in crate::postgres) fn of(
        (task, fence, expected): (TaskId, u64, TaskState),
        next: Next,
        outcome: &StepOutcome,
        inline: impl Fn(usize) -> bool,
    ) -> Result<Option<Self>, Fault> {
        let (blob, event, output, result, volume) = match outcome {
            StepOutcome::Executed { witness, volume, event } => (Some(witness), event, None, None, Some(volume)),
            StepOutcome::Proved { proof, output, event } => (Some(proof), event, Some(output.clone()), None, None),
            StepOutcome::Delivered { result, volume, event } => {
                (None, event, None, Some((result.clone(), from_json(result)?)), Some(volume))
            }
            StepOutcome::Postponed { .. } | StepOutcome::Failed { .. } => return Ok(None),
        };
        let volume = volume.filter(|volume| !volume.is_empty());
        let size = output.as_ref().map_or(0, Bytes::len)
            + result.as_ref().map_or(0, |(_, text)| text.len())
            + volume.map_or(0, size_of_write);
        if size > LARGE || blob.is_some_and(|blob| !inline(blob.len()) || size + blob.len() > LARGE) {
            return Ok(None);
        }
        let (name, detail) = (event.name.clone(), from_json(&event.detail)?);
        let blob = blob.map(|blob| (BlobDigest::of(blob), blob.clone()));
        Ok(Some(Self { task, fence, expected, next, name, detail, blob, output, result, volume: volume.cloned() }))
    }
}

fn size_of_write(write: &VolumeWrite) -> usize {
    let pages = write.pages.iter().map(|(_, content)| content.as_ref().map_or(0, Vec::len));
    pages.sum::<usize>() + write.raw.as_ref().map_or(0, Bytes::len)
}

impl Shared for Step {
    /// The task as it is then with its event's number.
    type Written = (Task, u64);

    fn task(&self) -> TaskId {
        self.task
    }

    fn clashes(&self, other: &Self) -> bool {
        self.task == other.task
    }

    /// The volume's next writer reads what this one writes.
    fn hurries(&self) -> bool {
        self.volume.is_some()
    }

    async fn write(session: &Session, all: &[&Self]) -> Result<HashMap<TaskId, (Task, u64)>, Fault> {
        let pages: Vec<_> = all.iter().map(|step| (step.task, step.volume.as_ref().map(Pages::of))).collect();
        let pages: Vec<_> =
            pages.iter().filter_map(|(task, pages)| Some((task.0.as_bytes().as_slice(), pages.as_ref()?))).collect();
        let put = pages.iter().flat_map(|(task, pages)| pages.put().map(|(index, content)| (*task, index, content)));
        let put: (Vec<_>, (Vec<_>, Vec<_>)) = put.map(|(task, index, content)| (task, (index, content))).unzip();
        let cleared = pages.iter().flat_map(|(task, pages)| pages.cleared().iter().map(|index| (*task, *index)));
        let cleared: (Vec<_>, Vec<_>) = cleared.unzip();
        let values: Values<'_> = &[
            &each(all, |step| step.task.0.as_bytes().as_slice()),
            &each(all, |step| from_bits(step.fence)),
            &each(all, |step| step.expected.as_str()),
            &each(all, |step| step.next.state.as_str()),
            &each(all, |step| step.next.state.stage().map(stage_number)),
            &each(all, |step| step.name.as_str()),
            &each(all, |step| step.detail.as_str()),
            &each(all, |step| step.blob.as_ref().map(|(digest, _)| digest.as_bytes().as_slice())),
            &each(all, |step| step.blob.as_ref().map(|(_, content)| content.as_ref())),
            &each(all, |step| step.output.is_some()),
            &each(all, |step| step.output.as_deref()),
            &each(all, |step| step.result.as_ref().map(|(_, text)| text.as_str())),
            &each(all, |step| step.volume.as_ref().map(|volume| from_bits(volume.based_on))),
            &each(all, |step| step.volume.as_ref().and_then(|volume| volume.raw.as_deref())),
            &each(all, |step| step.volume.as_ref().and_then(|volume| volume.quota.map(bounded))),
            &put.0,
            &put.1.0,
            &put.1.1,
            &cleared.0,
            &cleared.1,
        ];
        let rows = if pages.is_empty() {
            session.query(&format!("{HELD}{ALL}{MOVED}"), &values[..15]).await?
        } else {
            session.query(&format!("{HELD}{WRITERS}{MOVED}"), values).await?
        };
        let mut written = HashMap::new();
        for row in rows {
            let mut task = tasks::read(&row)?;
            // The statement shows the content as it was before it.
            if let Some(step) = all.iter().find(|step| step.task == task.id) {
                task.output = step.output.clone().or(task.output);
                task.result = step.result.as_ref().map(|(result, _)| result.clone()).or(task.result);
            }
            written.insert(task.id, (task, bits(&row, "seq")?));
        }
        Ok(written)
    }
}
