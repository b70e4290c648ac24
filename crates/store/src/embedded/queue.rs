//! The queue: who is given which task, and for how long. The rules are in [`transition`] and [`fairness`].
//!
//! [`fairness`]: crate::task::fairness

use super::{
    fault::Fault,
    row::{from_bits, from_deadline, from_time, to_bits, to_time},
    tasks::{self, append_event, parse_state, select_tasks, stage_number},
};
use crate::{
    Change, Claim, EventKind, Stage, StoreError, Task,
    task::{
        fairness::Turns,
        transition::{self, Standing},
    },
};
use coprocessor_types::{OwnerId, TaskId};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};
use serde_json::json;
use std::time::Duration;

/// What a claim is for.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) stage: Stage,
    pub(super) worker: String,
    pub(super) lease: Duration,
    pub(super) limit: usize,
}

pub(super) fn claim(
    db: &Connection,
    wanted: &Wanted,
    turns: &mut Turns,
    now: Timestamp,
    changes: &mut Vec<Change>,
) -> Result<Vec<Claim>, Fault> {
    // Those whose time has come join the ready ones. Each does so once, so the index of the ready is all a claim reads.
    db.prepare_cached("UPDATE tasks SET ready_at = 0 WHERE stage = ?1 AND ready_at > 0 AND ready_at <= ?2")?
        .execute(params![stage_number(wanted.stage), from_time(now)])?;
    let mut claims = Vec::new();
    while claims.len() < wanted.limit {
        let open = wanted.limit - claims.len();
        let Some((owner, left)) = turns.current() else {
            let Some(owner) = next_owner(db, wanted.stage, turns.last())? else { break };
            let weight = weight(db, &owner)?;
            turns.begin(owner, weight);
            continue;
        };
        let asked = left.min(open);
        let ready = ready(db, wanted.stage, owner, asked)?;
        turns.served(asked, ready.len());
        for task in ready {
            claims.push(take(db, task, wanted, now, changes)?);
        }
    }
    Ok(claims)
}

pub(super) fn next_ready(db: &Connection, stage: Stage) -> Result<Option<Timestamp>, Fault> {
    let next: Option<i64> = db
        .prepare_cached("SELECT min(ready_at) FROM tasks WHERE stage = ?1 AND ready_at > 0")?
        .query_row([stage_number(stage)], |row| row.get(0))?;
    next.map(to_time).transpose()
}

/// Gives back every lease. Only for who knows that nobody else is alive.
pub(super) fn void_leases(db: &Connection) -> Result<usize, Fault> {
    let mut voided = 0;
    for stage in Stage::ALL {
        voided += db
            .prepare_cached(
                "UPDATE tasks SET worker = NULL, ready_at = 0 WHERE stage = ?1 AND ready_at > 0 AND worker IS NOT NULL",
            )?
            .execute([stage_number(stage)])?;
        // Leases that ran out and were seen to.
        voided += db
            .prepare_cached("UPDATE tasks SET worker = NULL WHERE stage = ?1 AND ready_at = 0 AND worker IS NOT NULL")?
            .execute([stage_number(stage)])?;
    }
    Ok(voided)
}

/// Prolongs leases; those that are over.
pub(super) fn heartbeat(
    db: &Connection,
    claims: &[(TaskId, u64)],
    lease: Duration,
    now: Timestamp,
) -> Result<Vec<(TaskId, u64)>, Fault> {
    let mut prolong =
        db.prepare_cached("UPDATE tasks SET ready_at = ?3 WHERE id = ?1 AND fence = ?2 AND worker IS NOT NULL")?;
    let until = ready_at(lease_end(now, lease));
    let mut over = Vec::new();
    for &(task, fence) in claims {
        if prolong.execute(params![task.0.as_bytes(), from_bits(fence), until])? == 0 {
            over.push((task, fence));
        }
    }
    Ok(over)
}

/// Appends an event to a claimed task, which goes to `node` from now on, if one is named.
pub(super) fn progress(
    db: &Connection,
    (task, fence): (TaskId, u64),
    node: Option<&str>,
    event: &EventKind,
    now: Timestamp,
    changes: &mut Vec<Change>,
) -> Result<(), Fault> {
    let (standing, owner) = standing(db, task)?;
    transition::check_claim(&standing, fence)?;
    if let Some(node) = node {
        db.prepare_cached("UPDATE tasks SET node = ?2 WHERE id = ?1")?.execute(params![task.0.as_bytes(), node])?;
    }
    append_event(db, (task, &owner), standing.state, event, now, changes)
}

/// Whether a step may still be written, to find out before anything large is.
pub(super) fn check_claim(db: &Connection, task: TaskId, fence: u64) -> Result<(), Fault> {
    Ok(transition::check_claim(&standing(db, task)?.0, fence)?)
}

/// A time as the column `ready_at` has it, where zero has another meaning.
pub(super) fn ready_at(time: Timestamp) -> i64 {
    from_deadline(time).max(1)
}

/// The next owner in turn that has something ready.
fn next_owner(db: &Connection, stage: Stage, last: Option<&OwnerId>) -> Result<Option<OwnerId>, Fault> {
    let mut statement = db.prepare_cached(
        "SELECT owner FROM tasks WHERE stage = ?1 AND ready_at = 0 AND owner > ?2 ORDER BY owner LIMIT 1",
    )?;
    let mut after = |name: &str| -> Result<Option<OwnerId>, Fault> {
        let mut rows = statement.query(params![stage_number(stage), name])?;
        rows.next()?.map(super::row::owner).transpose()
    };
    match after(last.map_or("", OwnerId::as_str))? {
        None if last.is_some() => after(""),
        found => Ok(found),
    }
}

fn weight(db: &Connection, owner: &OwnerId) -> Result<u32, Fault> {
    let mut statement = db.prepare_cached("SELECT weight FROM owners WHERE owner = ?1")?;
    Ok(statement.query_row([owner.as_str()], |row| row.get(0)).optional()?.unwrap_or(1))
}

fn ready(db: &Connection, stage: Stage, owner: &OwnerId, limit: usize) -> Result<Vec<Task>, Fault> {
    let mut statement = db.prepare_cached(select_tasks!(
        "WHERE stage = ?1 AND owner = ?2 AND ready_at = 0 ORDER BY priority DESC, id LIMIT ?3"
    ))?;
    let rows = statement.query_and_then(params![stage_number(stage), owner.as_str(), limit as i64], tasks::read)?;
    rows.map(|found| found.map(|found| found.task)).collect()
}

fn take(
    db: &Connection,
    mut task: Task,
    wanted: &Wanted,
    now: Timestamp,
    changes: &mut Vec<Change>,
) -> Result<Claim, Fault> {
    let expires_at = lease_end(now, wanted.lease);
    task.state = transition::claimed_state(wanted.stage);
    task.fence += 1;
    task.not_before = None;
    task.updated_at = now;
    db.prepare_cached(
        "UPDATE tasks SET state = ?2, worker = ?3, ready_at = ?4, fence = ?5, not_before = NULL, updated_at = ?6 \
         WHERE id = ?1",
    )?
    .execute(params![
        task.id.0.as_bytes(),
        task.state.as_str(),
        wanted.worker,
        ready_at(expires_at),
        from_bits(task.fence),
        from_time(now),
    ])?;
    let detail = json!({ "worker": wanted.worker, "stage": wanted.stage.as_str(), "fence": task.fence });
    let event = EventKind { name: "claimed".to_owned(), detail };
    append_event(db, (task.id, &task.owner), task.state, &event, now, changes)?;
    Ok(Claim { task, stage: wanted.stage, expires_at })
}

/// What the rules need of a task, and its owner.
fn standing(db: &Connection, task: TaskId) -> Result<(Standing, OwnerId), Fault> {
    let mut statement =
        db.prepare_cached("SELECT state, fence, attempts, worker IS NOT NULL, owner FROM tasks WHERE id = ?1")?;
    let mut rows = statement.query_and_then([task.0.as_bytes()], |row| {
        let standing = Standing {
            task,
            state: parse_state(row, 0)?,
            fence: to_bits(row.get(1)?),
            attempts: row.get(2)?,
            claimed: row.get(3)?,
        };
        Ok::<_, Fault>((standing, super::row::owner(row)?))
    })?;
    rows.next().unwrap_or_else(|| Err(StoreError::UnknownTask(task).into()))
}

fn lease_end(now: Timestamp, lease: Duration) -> Timestamp {
    now.saturating_add(lease).unwrap_or(Timestamp::MAX)
}
