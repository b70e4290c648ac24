//! What must be true of the rows together.

use super::fault::Fault;
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
             UNION ALL SELECT witness FROM tasks WHERE witness IS NOT NULL \
             UNION ALL SELECT proof FROM tasks WHERE proof IS NOT NULL) GROUP BY digest) AS found USING (digest) \
         WHERE names <> coalesce(rows, 0)",
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
    Ok(found)
}
