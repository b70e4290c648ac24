//! The queue: claims and leases. The rules are in [`transition`] and [`crate::task::fairness`].

use super::{
    Inner,
    connect::{Session, Values},
    fault::Fault,
    row::{
        self, bits, bounded, from_bits, from_json, from_span, get, latest, stage_number, task_id, time, time_or_none,
    },
    steps::{changing, find},
    tasks,
};
use crate::{
    Change, Claim, EventKind, Stage,
    task::{fairness::Turns, transition},
};
use coprocessor_types::TaskId;
use jiff::Timestamp;
use std::time::Duration;

/// Tasks that one statement claims at most.
const BATCH: usize = 256;

/// How often a claim looks again when others were quicker with what it had found.
const OVERTAKEN: usize = 20;

/// Those whose time has come join the ready ones. Each does so once, so the index of the ready is all a claim reads.
const WAKE: &str = "UPDATE tasks SET ready_at = 0 WHERE id = ANY (ARRAY(\
     SELECT id FROM tasks WHERE stage = $1 AND ready_at > 0 AND ready_at <= micros() \
     ORDER BY ready_at LIMIT 1000 FOR UPDATE SKIP LOCKED))";

/// Claims, in the order that fairness gives.
///
/// `turns` are the owners with something ready, beginning with $2; each is one look into the index. `found` are the first
/// tasks of each, a few more than are wanted, as others may take some at the same moment: as many rounds of turns as it
/// takes, where $3 is what is left of the first owner's turn. They are locked one by one, in their order, until there are
/// enough; the sums keep the planner from looking for each among all that is ready, which it may take for a good idea as
/// long as nothing is.
const CLAIM: &str = "
WITH RECURSIVE onward (owner, place) AS (
    (SELECT owner, 1::bigint FROM tasks WHERE stage = $1 AND ready_at = 0 AND owner >= $2 ORDER BY owner LIMIT 1)
    UNION ALL
    SELECT (SELECT tasks.owner FROM tasks WHERE stage = $1 AND ready_at = 0 AND tasks.owner > onward.owner
            ORDER BY tasks.owner LIMIT 1), place + 1
    FROM onward WHERE onward.owner IS NOT NULL
), around (owner, place) AS (
    (SELECT owner, 1000000000::bigint FROM tasks WHERE stage = $1 AND ready_at = 0 AND owner < $2
     ORDER BY owner LIMIT 1)
    UNION ALL
    SELECT (SELECT tasks.owner FROM tasks WHERE stage = $1 AND ready_at = 0 AND tasks.owner > around.owner
            AND tasks.owner < $2 ORDER BY tasks.owner LIMIT 1), place + 1
    FROM around WHERE around.owner IS NOT NULL
), turns AS MATERIALIZED (
    SELECT listed.owner, listed.place, greatest(coalesce(owners.weight, 1), 1)::bigint AS weight,
           CASE WHEN listed.owner = $2 THEN $3::bigint ELSE 0 END AS left_over
    FROM (SELECT * FROM (
              SELECT * FROM onward WHERE owner IS NOT NULL UNION ALL SELECT * FROM around WHERE owner IS NOT NULL
          ) AS listed LIMIT $4) AS listed
    LEFT JOIN owners ON owners.owner = listed.owner
), found AS MATERIALIZED (
    SELECT first.id, turns.place, turns.weight, first.nth,
           CASE WHEN first.nth <= turns.left_over THEN 0
                WHEN turns.left_over > 0 THEN (first.nth - turns.left_over - 1) / turns.weight + 1
                ELSE (first.nth - 1) / turns.weight END AS round
    FROM turns, (SELECT sum(weight)::bigint AS weight FROM turns) AS whole, LATERAL (
        SELECT id, row_number() OVER (ORDER BY priority DESC, id) AS nth
        FROM (SELECT id, priority FROM tasks
              WHERE tasks.stage = $1 AND tasks.owner = turns.owner AND ready_at = 0 ORDER BY priority DESC, id
              LIMIT turns.left_over + turns.weight * (($4 + whole.weight - 1) / whole.weight)) AS ready
    ) AS first
    ORDER BY round, place, nth LIMIT $4
), locked AS MATERIALIZED (
    SELECT found.* FROM found, LATERAL (
        SELECT FROM tasks WHERE tasks.id = found.id AND tasks.stage + 0 = $1 AND tasks.ready_at + 0 = 0
        FOR UPDATE SKIP LOCKED
    ) AS free LIMIT $5
), claimed AS (
    UPDATE tasks SET state = $6, worker = $7, ready_at = greatest(least(micros() + $8, $9), 1), not_before = NULL,
        fence = greatest(fence + 1, ((SELECT epoch FROM uncrashed) << 32) + 1), updated_at = micros()
    WHERE tasks.id = ANY (ARRAY(SELECT id FROM locked))
    RETURNING tasks.*
), told AS (
    INSERT INTO events (task, owner, at, state, name, detail)
    SELECT claimed.id, owner, updated_at, state, 'claimed', $10 || fence || '}'
    FROM claimed JOIN locked ON locked.id = claimed.id ORDER BY round, place, nth
    RETURNING seq, task
)
SELECT claimed.*, locked.round, locked.weight, content.*, told.seq
FROM claimed JOIN locked ON locked.id = claimed.id JOIN told ON told.task = claimed.id, LATERAL (
    SELECT args, payload, output, result, failure FROM task_content WHERE task_content.task = claimed.id OFFSET 0
) AS content
ORDER BY round, place, nth";

/// Whether anything is ready still: others may have been quicker with what a claim had found.
const READY: &str = "SELECT 1 FROM tasks WHERE stage = $1 AND ready_at = 0 LIMIT 1";

impl Inner {
    pub(super) async fn claim(
        &self,
        stage: Stage,
        worker: &str,
        lease: Duration,
        limit: usize,
    ) -> Result<Vec<Claim>, Fault> {
        let mut turns = self.turns(stage).lock().await;
        let session = self.quick.take().await?;
        let mut claims = Vec::new();
        let mut overtaken = 0;
        while claims.len() < limit {
            let wanted = (limit - claims.len()).min(BATCH);
            let (got, ready) = claim_once(&session, &mut turns, (stage, worker, lease), wanted).await?;
            let changes = got.iter().map(|(claim, seq)| Change::Event {
                task: claim.task.id,
                owner: claim.task.owner.clone(),
                seq: *seq,
                state: claim.task.state,
            });
            self.tell(changes.collect::<Vec<_>>());
            let full = got.len() == wanted;
            overtaken = if got.is_empty() { overtaken + 1 } else { 0 };
            claims.extend(got.into_iter().map(|(claim, _)| claim));
            if !full {
                if !ready {
                    // Whoever had the last turn has nothing more.
                    turns.served(1, 0);
                }
                if !ready || overtaken == OVERTAKEN {
                    break;
                }
            }
        }
        Ok(claims)
    }

    pub(super) async fn next_ready(&self, stage: Stage) -> Result<Option<Timestamp>, Fault> {
        let sql = "SELECT min(ready_at) AS at FROM tasks WHERE stage = $1 AND ready_at > 0";
        time_or_none(&self.quick.take().await?.query_one(sql, &[&stage_number(stage)]).await?, "at")
    }

    pub(super) async fn heartbeat(
        &self,
        claims: &[(TaskId, u64)],
        lease: Duration,
    ) -> Result<Vec<(TaskId, u64)>, Fault> {
        if claims.is_empty() {
            return Ok(Vec::new());
        }
        let tasks: Vec<_> = claims.iter().map(|(task, _)| task.0.as_bytes().as_slice()).collect();
        let fences: Vec<_> = claims.iter().map(|(_, fence)| from_bits(*fence)).collect();
        let rows = self
            .heartbeats
            .take()
            .await?
            .query(
                "UPDATE tasks SET ready_at = greatest(least(micros() + $3, $4), 1) \
                 FROM unnest($1::bytea[], $2::bigint[]) AS held (task, fence) \
                 WHERE tasks.id = ANY ($1) AND tasks.id = held.task AND tasks.fence = held.fence AND worker IS NOT NULL \
                 RETURNING tasks.id, tasks.fence",
                &[&tasks, &fences, &from_span(lease), &latest()],
            )
            .await?;
        let kept = rows.iter().map(|row| Ok((task_id(row, "id")?, bits(row, "fence")?)));
        let kept = kept.collect::<Result<Vec<_>, Fault>>()?;
        Ok(claims.iter().filter(|claim| !kept.contains(claim)).copied().collect())
    }

    pub(super) async fn assign(&self, task: TaskId, fence: u64, node: &str, event: &EventKind) -> Result<(), Fault> {
        let session = self.durable.take().await?;
        let sql = "
WITH held AS (
    UPDATE tasks SET node = $5, updated_at = micros() WHERE id = $1 AND fence = $2 AND worker IS NOT NULL
    RETURNING id, owner, state
), told AS (
    INSERT INTO events (task, owner, at, state, name, detail)
    SELECT id, owner, micros(), state, $3, $4 FROM held RETURNING seq
)
SELECT owner, state, seq FROM held, told";
        let detail = from_json(&event.detail)?;
        let values: Values<'_> = &[&task.0.as_bytes().as_slice(), &from_bits(fence), &event.name, &detail, &node];
        self.append(&session, task, fence, sql, values).await
    }

    pub(super) async fn progress(&self, task: TaskId, fence: u64, event: &EventKind) -> Result<(), Fault> {
        let session = self.quick.take().await?;
        // Locked, so that no event of a claim comes after the claim has ended.
        let sql = "
WITH held AS MATERIALIZED (
    SELECT id, owner, state FROM tasks WHERE id = $1 AND fence = $2 AND worker IS NOT NULL FOR NO KEY UPDATE
), told AS (
    INSERT INTO events (task, owner, at, state, name, detail)
    SELECT id, owner, micros(), state, $3, $4 FROM held RETURNING seq
)
SELECT owner, state, seq FROM held, told";
        let detail = from_json(&event.detail)?;
        let values: Values<'_> = &[&task.0.as_bytes().as_slice(), &from_bits(fence), &event.name, &detail];
        self.append(&session, task, fence, sql, values).await
    }

    /// Appends an event to a claimed task with a statement that returns nothing when it is not claimed under that fence.
    async fn append(
        &self,
        session: &Session,
        task: TaskId,
        fence: u64,
        sql: &str,
        values: Values<'_>,
    ) -> Result<(), Fault> {
        let Some(row) = session.query_opt(sql, values).await? else {
            transition::check_claim(&find(session, task, "").await?.standing, fence)?;
            return Err(changing(task));
        };
        self.tell([Change::Event {
            task,
            owner: row::owner(&row)?,
            seq: bits(&row, "seq")?,
            state: row::state(&row, "state")?,
        }]);
        Ok(())
    }

    pub(super) async fn next_deadline(&self) -> Result<Option<Timestamp>, Fault> {
        let sql = "SELECT min(deadline) AS at FROM tasks WHERE stage IS NOT NULL AND deadline IS NOT NULL";
        time_or_none(&self.quick.take().await?.query_one(sql, &[]).await?, "at")
    }
}

/// One statement's claims, each with its event's number, in order; and whether anything is ready still.
async fn claim_once(
    session: &Session,
    turns: &mut Turns,
    (stage, worker, lease): (Stage, &str, Duration),
    wanted: usize,
) -> Result<(Vec<(Claim, u64)>, bool), Fault> {
    // Names have no character below a space: whoever is first after a name is first from this on.
    let (first, left) = match (turns.current(), turns.last()) {
        (Some((owner, left)), _) => (owner.to_string(), left),
        (None, Some(last)) => (format!("{last} "), 0),
        (None, None) => (String::new(), 0),
    };
    let detail = format!("{{\"worker\":{},\"stage\":\"{}\",\"fence\":", from_json(&worker)?, stage.as_str());
    let values: Values<'_> = &[
        &stage_number(stage),
        &first,
        &bounded(left as u64),
        &bounded((2 * wanted).max(16) as u64),
        &bounded(wanted as u64),
        &transition::claimed_state(stage).as_str(),
        &worker,
        &from_span(lease),
        &latest(),
        &detail,
    ];
    let this: Values<'_> = &[&stage_number(stage)];
    let [_, rows, ready] = session.query_all([(WAKE, this), (CLAIM, values), (READY, this)]).await?;
    let mut claims = Vec::with_capacity(rows.len());
    let mut turn = None;
    for row in &rows {
        let task = tasks::read(row)?;
        let (round, weight): (i64, i64) = (get(row, "round")?, get(row, "weight")?);
        // A turn that was begun before goes on, as its owner's round zero.
        let goes_on = turn.is_none() && left > 0 && round == 0 && task.owner.as_str() == first;
        if turn.as_ref() != Some(&(round, task.owner.clone())) {
            if !goes_on {
                turns.begin(task.owner.clone(), u32::try_from(weight).unwrap_or(u32::MAX));
            }
            turn = Some((round, task.owner.clone()));
        }
        turns.served(1, 1);
        // The lease's end is what the task waits for.
        let expires_at = time(row, "ready_at")?;
        claims.push((Claim { task, stage, expires_at }, bits(row, "seq")?));
    }
    Ok((claims, !ready.is_empty()))
}
