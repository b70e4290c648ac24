//! What must be true of the rows together.

use super::{
    fault::Fault,
    roots,
    row::{corrupt, to_sorted},
};
use crate::{
    StoreError,
    domain::trees::{Cache, FOLLOWED, REBUILT, Rebuilt, not_followed, other_root},
};
use coprocessor_merkle::block_value;
use coprocessor_types::{DomainId, TrustId};
use rusqlite::Connection;

/// Sentences for people, and how many rows each is true of: none in a sound store.
const CONTRADICTIONS: &[(&str, &str)] = &[
    (
        "tasks are finished and in the queue, or neither",
        "SELECT count(*) FROM tasks WHERE (stage IS NULL) <> (state IN ('delivered', 'failed', 'cancelled'))",
    ),
    ("finished tasks are held by a worker", "SELECT count(*) FROM tasks WHERE stage IS NULL AND worker IS NOT NULL"),
    (
        "tasks are in another state than their last event says",
        "SELECT count(*) FROM tasks WHERE state IS NOT \
         (SELECT events.state FROM events WHERE events.task = tasks.id ORDER BY events.seq DESC LIMIT 1)",
    ),
    (
        "tasks have no arguments",
        "SELECT count(*) FROM tasks WHERE NOT EXISTS (SELECT 1 FROM task_content WHERE task = tasks.id)",
    ),
    (
        "tasks were delivered without an output",
        "SELECT count(*) FROM tasks JOIN task_content ON task = id WHERE state = 'delivered' AND output IS NULL",
    ),
    (
        "blobs are named by more or fewer rows than they count",
        "SELECT count(*) FROM blobs LEFT JOIN (SELECT digest, count(*) AS rows FROM ( \
             SELECT digest FROM program_blobs \
             UNION ALL SELECT digest FROM domain_blobs \
             UNION ALL SELECT digest FROM recordings \
             UNION ALL SELECT witness FROM tasks WHERE witness IS NOT NULL \
             UNION ALL SELECT proof FROM tasks WHERE proof IS NOT NULL) GROUP BY digest) AS found USING (digest) \
         WHERE names <> coalesce(rows, 0)",
    ),
    (
        "programs have a controller that is none of their versions",
        "SELECT count(*) FROM programs WHERE NOT EXISTS (SELECT 1 FROM controller_versions \
         WHERE program = seq AND digest = controller AND number <= versions)",
    ),
    (
        "versions of controllers are not named by their programs",
        "SELECT count(*) FROM controller_versions WHERE NOT EXISTS (SELECT 1 FROM program_blobs \
         WHERE program_blobs.program = controller_versions.program AND program_blobs.digest = controller_versions.digest)",
    ),
    (
        "states have more or fewer tasks than they count",
        "SELECT (SELECT count(*) FROM task_counts \
                 WHERE tasks <> (SELECT count(*) FROM tasks WHERE tasks.state = task_counts.state)) \
              + (SELECT count(DISTINCT state) FROM tasks WHERE state NOT IN (SELECT state FROM task_counts))",
    ),
    (
        "owners have more or fewer unfinished tasks than they count",
        "SELECT (SELECT count(*) FROM unfinished_tasks WHERE tasks <> (SELECT count(*) FROM tasks \
                 WHERE tasks.owner = unfinished_tasks.owner AND stage IS NOT NULL)) \
              + (SELECT count(DISTINCT owner) FROM tasks \
                 WHERE stage IS NOT NULL AND owner NOT IN (SELECT owner FROM unfinished_tasks))",
    ),
    (
        "counts of all blobs are wrong",
        "SELECT count(*) FROM blob_totals \
         WHERE blobs <> (SELECT count(*) FROM blobs) OR bytes <> (SELECT coalesce(sum(size), 0) FROM blobs)",
    ),
    (
        "volumes hold more or fewer bytes than they count",
        "SELECT count(*) FROM programs WHERE volume_bytes <> \
             coalesce((SELECT sum(length(content)) FROM pages WHERE key BETWEEN seq << 32 AND seq << 32 | 0xFFFFFFFF), 0) \
             + coalesce((SELECT length(content) FROM raw_storage WHERE program = seq), 0)",
    ),
    (
        "owners have volumes with more or fewer bytes than they count",
        "SELECT count(*) FROM (SELECT owner FROM (SELECT owner, bytes, 0 AS held FROM owner_volumes \
             UNION ALL SELECT owner, 0, volume_bytes FROM programs) GROUP BY owner HAVING sum(bytes) <> sum(held))",
    ),
    ("roots are missing from their line", "SELECT coalesce(max(version), 0) - count(*) FROM roots"),
    (
        "blocks are missing from their domains' trees",
        "SELECT coalesce(sum(newest - blocks), 0) FROM \
         (SELECT max(key) & 0xFFFFFFFFFF AS newest, count(*) AS blocks FROM blocks GROUP BY domain)",
    ),
    (
        "blocks and roots do not name each other",
        "SELECT (SELECT count(*) FROM roots \
                 WHERE version IS NOT (SELECT made FROM blocks WHERE key = roots.block AND domain = key >> 40)) \
              + (SELECT count(*) FROM blocks WHERE key IS NOT (SELECT block FROM roots WHERE version = made))",
    ),
    (
        "blocks name another highest number than there is",
        "SELECT count(*) FROM \
         (SELECT latest, max(number) OVER (PARTITION BY domain ORDER BY key) AS highest FROM blocks) \
         WHERE latest <> highest",
    ),
    (
        "line of roots begins after its end",
        "SELECT count(*) FROM instance WHERE oldest_root > (SELECT coalesce(max(version), 0) FROM roots)",
    ),
];

/// What SQLite itself finds wrong with the file, then what these rows contradict each other in; all in one view.
pub(super) fn contradictions(db: &Connection) -> Result<Vec<String>, Fault> {
    let view = db.unchecked_transaction()?;
    let mut found: Vec<String> = view
        .prepare("PRAGMA integrity_check")?
        .query_map([], |row| row.get(0))?
        .filter(|line| !matches!(line, Ok(line) if line == "ok"))
        .collect::<Result<_, _>>()?;
    let dangling: i64 = view.query_row("SELECT count(*) FROM pragma_foreign_key_check", [], |row| row.get(0))?;
    if dangling > 0 {
        found.push(format!("{dangling} rows name rows that are not there"));
    }
    for (sentence, count) in CONTRADICTIONS {
        let rows: i64 = view.query_row(count, [], |row| row.get(0))?;
        if rows > 0 {
            found.push(format!("{rows} {sentence}"));
        }
    }
    found.extend(of_roots(&view)?);
    Ok(found)
}

/// Follows the newest roots from block to block, and builds the newest from all blocks where there are not too many. Nothing that
/// is in memory counts.
fn of_roots(view: &Connection) -> Result<Vec<String>, Fault> {
    let instance = super::instance(view)?;
    let newest = roots::current(view, &instance)?;
    let mut found = Vec::new();
    let from = newest.version.saturating_sub(FOLLOWED).max(roots::oldest(view)?);
    let followed = roots::transitions(view, &instance, &Cache::new(instance), (from, newest.version), usize::MAX);
    match followed.map_err(StoreError::from) {
        Ok(_) => {}
        Err(error @ StoreError::Corrupt { .. }) => found.push(not_followed(from, newest.version, &error)),
        Err(error) => return Err(error.into()),
    }
    if newest.version <= REBUILT {
        let mut rebuilt = Rebuilt::default();
        let mut statement = view.prepare(
            "SELECT domains.id, number, state_root, payload, trust FROM blocks JOIN domains ON domains.seq = domain",
        )?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let payload = row.get_ref(3)?.as_blob().map_err(|error| corrupt("a payload", error))?;
            let number = to_sorted(row.get(1)?);
            let value = block_value(number, &row.get(2)?, payload, &TrustId(row.get(4)?));
            rebuilt.add(DomainId(row.get(0)?), number, value);
        }
        found.extend(other_root(&newest.root, &rebuilt.root(&instance)));
    }
    Ok(found)
}
