//! What must be true of the rows together.

use super::{
    Inner,
    connect::Session,
    fault::Fault,
    roots,
    row::{bytes, get, sorted},
};
use crate::{
    StoreError,
    domain::trees::{Cache, FOLLOWED, REBUILT, Rebuilt, not_followed, other_root},
};
use coprocessor_merkle::block_value;
use coprocessor_types::{DomainId, Root, TrustId};

/// Blocks fetched at once.
const ROWS: i64 = 1000;

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
         AND NOT EXISTS (SELECT FROM recordings WHERE recordings.digest = blobs.digest) \
         AND NOT EXISTS (SELECT FROM task_blobs WHERE task_blobs.digest = blobs.digest)",
    ),
    (
        "programs have a controller that is none of their versions",
        "SELECT count(*) AS rows FROM programs WHERE NOT EXISTS (SELECT FROM controller_versions \
         WHERE program = programs.id AND digest = programs.controller AND number <= programs.versions)",
    ),
    (
        "versions of controllers are not named by their programs",
        "SELECT count(*) AS rows FROM controller_versions WHERE NOT EXISTS (SELECT FROM program_blobs \
         WHERE program_blobs.program = controller_versions.program AND program_blobs.digest = controller_versions.digest)",
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
    (
        "volumes hold more or fewer bytes than they count",
        "SELECT count(*) AS rows FROM volumes LEFT JOIN \
             (SELECT volume, sum(octet_length(content)) AS held FROM pages GROUP BY volume) AS found ON volume = number \
         WHERE bytes <> coalesce(held, 0) + coalesce(octet_length(raw), 0)",
    ),
    (
        "owners have volumes with more or fewer bytes than they count",
        "SELECT count(*) AS rows FROM owner_volumes FULL JOIN \
             (SELECT owner, sum(bytes) AS held FROM programs JOIN volumes ON volumes.program = programs.id GROUP BY owner) \
             AS found USING (owner) WHERE coalesce(bytes, 0) <> coalesce(held, 0)",
    ),
    (
        "pages are of no volume and will stay",
        "SELECT count(*) AS rows FROM pages WHERE NOT EXISTS (SELECT FROM volumes WHERE number = pages.volume) \
         AND NOT EXISTS (SELECT FROM loose_volumes WHERE number = pages.volume)",
    ),
    ("roots are missing from their line", "SELECT coalesce(max(version), 0) - count(*) AS rows FROM roots"),
    (
        "blocks are missing from their domains' trees",
        "SELECT coalesce(sum(newest - blocks), 0)::bigint AS rows FROM \
         (SELECT max(version) AS newest, count(*) AS blocks FROM blocks GROUP BY domain) AS trees",
    ),
    (
        "blocks and roots do not name each other",
        "SELECT (SELECT count(*) FROM roots WHERE version IS DISTINCT FROM (SELECT made FROM blocks \
                 WHERE blocks.domain = roots.domain AND blocks.version = roots.domain_version)) \
              + (SELECT count(*) FROM blocks WHERE NOT EXISTS (SELECT FROM roots WHERE roots.version = made \
                 AND roots.domain = blocks.domain AND roots.domain_version = blocks.version)) AS rows",
    ),
    (
        "blocks name another highest number than there is",
        "SELECT count(*) AS rows FROM \
         (SELECT latest, max(number) OVER (PARTITION BY domain ORDER BY version) AS highest FROM blocks) AS domains \
         WHERE latest <> highest",
    ),
    (
        "line of roots begins after its end",
        "SELECT count(*) AS rows FROM line WHERE oldest_root > (SELECT coalesce(max(version), 0) FROM roots)",
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
        found.extend(self.contradictions_of_roots(&session).await?);
        session.commit().await?;
        Ok(found)
    }

    /// Follows the newest roots from block to block, and builds the newest from all blocks where there are not too many. Nothing
    /// that is in memory counts.
    async fn contradictions_of_roots(&self, session: &Session) -> Result<Vec<String>, Fault> {
        let newest = roots::current(session, &self.instance).await?;
        let mut found = Vec::new();
        let oldest = roots::place(session, &self.instance, newest.root).await?.oldest;
        let from = newest.version.saturating_sub(FOLLOWED).max(oldest);
        let cache = Cache::new(self.instance);
        let followed = self.transitions_on(session, &cache, (from, newest.version), usize::MAX).await;
        match followed.map_err(StoreError::from) {
            Ok(_) => {}
            Err(error @ StoreError::Corrupt { .. }) => found.push(not_followed(from, newest.version, &error)),
            Err(error) => return Err(error.into()),
        }
        if newest.version <= REBUILT {
            found.extend(other_root(&newest.root, &self.rebuilt_root(session).await?));
        }
        Ok(found)
    }

    async fn rebuilt_root(&self, session: &Session) -> Result<Root, Fault> {
        let sql = "SELECT blocks.made, domains.id, number, state_root, payload, trust \
             FROM roots JOIN blocks ON blocks.domain = roots.domain AND blocks.version = roots.domain_version \
             JOIN domains ON domains.seq = roots.domain WHERE roots.version > $1 ORDER BY roots.version LIMIT $2";
        let mut rebuilt = Rebuilt::default();
        let mut after = 0_i64;
        loop {
            let rows = session.query(sql, &[&after, &ROWS]).await?;
            for row in &rows {
                let number = sorted(row, "number")?;
                let (state_root, trust) = (bytes(row, "state_root")?, TrustId(bytes(row, "trust")?));
                let value = block_value(number, &state_root, get(row, "payload")?, &trust);
                rebuilt.add(DomainId(bytes(row, "id")?), number, value);
                after = get(row, "made")?;
            }
            if (rows.len() as i64) < ROWS {
                return Ok(rebuilt.root(&self.instance));
            }
        }
    }
}
