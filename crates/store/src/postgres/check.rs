//! What must be true of the rows together.

use super::{Inner, fault::Fault, row::get};

/// Sentences for people, and how many rows each is true of: none in a sound store.
const CONTRADICTIONS: &[(&str, &str)] = &[
    (
        "tasks are finished and in the queue, or neither",
        "SELECT count(*) AS rows FROM tasks \
         WHERE (stage IS NULL) <> (state IN ('delivered', 'failed', 'cancelled')) OR (stage IS NULL) <> (ready_at IS NULL)",
    ),
    (
        "finished tasks are held by a worker",
        "SELECT count(*) AS rows FROM tasks WHERE stage IS NULL AND worker IS NOT NULL",
    ),
    (
        "tasks are in another state than their last event says",
        "SELECT count(*) AS rows FROM tasks WHERE state IS DISTINCT FROM \
         (SELECT events.state FROM events WHERE events.task = tasks.id ORDER BY events.seq DESC LIMIT 1)",
    ),
    (
        "tasks have no arguments",
        "SELECT count(*) AS rows FROM tasks WHERE NOT EXISTS (SELECT FROM task_content WHERE task = tasks.id)",
    ),
    (
        "tasks were delivered without an output",
        "SELECT count(*) AS rows FROM tasks JOIN task_content ON task = id WHERE state = 'delivered' AND output IS NULL",
    ),
    (
        "witnesses and proofs of tasks are not known to be named",
        "SELECT count(*) AS rows FROM \
         (SELECT id, witness AS digest, false AS proof FROM tasks UNION ALL SELECT id, proof, true FROM tasks) AS named \
         WHERE digest IS NOT NULL AND NOT EXISTS (SELECT FROM task_blobs \
             WHERE task_blobs.digest = named.digest AND task = id AND task_blobs.proof = named.proof)",
    ),
    (
        "blobs are in two places, or in none",
        "SELECT count(*) AS rows FROM blobs WHERE (content IS NULL) = (object IS NULL)",
    ),
    (
        "blobs will stay though nothing names them",
        "SELECT count(*) AS rows FROM blobs WHERE NOT suspect \
         AND NOT EXISTS (SELECT FROM program_blobs WHERE program_blobs.digest = blobs.digest) \
         AND NOT EXISTS (SELECT FROM domain_blobs WHERE domain_blobs.digest = blobs.digest) \
         AND NOT EXISTS (SELECT FROM task_blobs WHERE task_blobs.digest = blobs.digest)",
    ),
    (
        "states have more or fewer tasks than they count",
        "SELECT count(*) AS rows FROM (SELECT key AS state, sum(value::bigint) AS counted \
             FROM tallies, jsonb_each_text(to_jsonb(tallies) - 'shard' - 'blobs' - 'blob_bytes') GROUP BY key) AS tally \
         WHERE counted <> (SELECT count(*) FROM tasks \
             WHERE CASE tally.state WHEN 'unfinished' THEN stage IS NOT NULL ELSE tasks.state = tally.state END)",
    ),
    (
        "owners have more or fewer unfinished tasks than they count",
        "SELECT count(*) AS rows FROM \
         (SELECT owner, sum(unfinished) AS counted FROM owner_tallies GROUP BY owner) AS tally FULL JOIN \
         (SELECT owner, count(*) AS found FROM tasks WHERE stage IS NOT NULL GROUP BY owner) AS unfinished USING (owner) \
         WHERE coalesce(counted, 0) <> coalesce(found, 0)",
    ),
    (
        "counts of all blobs are wrong",
        "SELECT count(*) AS rows FROM (SELECT sum(blobs) AS counted, sum(blob_bytes) AS bytes FROM tallies) AS tally, \
         (SELECT count(*) AS found, coalesce(sum(size), 0) AS bytes FROM blobs) AS there \
         WHERE counted <> found OR tally.bytes <> there.bytes",
    ),
];

impl Inner {
    /// What the rows contradict each other in, in one view.
    pub(super) async fn contradictions(&self) -> Result<Vec<String>, Fault> {
        let session = self.quick.take().await?;
        session.begin_with("ISOLATION LEVEL REPEATABLE READ READ ONLY", "SELECT", &[]).await?;
        let mut found = Vec::new();
        for (sentence, count) in CONTRADICTIONS {
            let rows: i64 = get(&session.query_one(count, &[]).await?, "rows")?;
            if rows > 0 {
                found.push(format!("{rows} {sentence}"));
            }
        }
        session.commit().await?;
        Ok(found)
    }
}
