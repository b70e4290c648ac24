//! Tasks and their events: reading them, and appending events.

use super::{
    cursor,
    fault::Fault,
    row::{corrupt, from_json, from_time, json, parse, text, to_bits, to_limit, to_task, to_time},
};
use crate::{
    Change, Cursor, Event, EventKind, Page, Stage, StoreError, Task, TaskCounts, TaskFilter, TaskState,
    task::transition::Standing,
};
use bytes::Bytes;
use coprocessor_types::{BlobDigest, OwnerId, ProgramId, Root, TaskId};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, ToSql, params};

/// Whole tasks, to be read by [`read`]; a condition on `tasks` follows.
macro_rules! select_tasks {
    ($rest:expr) => {
        concat!(
            "SELECT id, program, owner, controller, circuit, kind, root, state, fence, attempts, priority, deadline, \
             node, created_at, updated_at, not_before, witness, proof, args, payload, output, result, failure, \
             worker IS NOT NULL, record FROM tasks JOIN task_content ON task_content.task = tasks.id ",
            $rest
        )
    };
}
pub(super) use select_tasks;

/// A task, and whether somebody holds it.
pub(super) struct Found {
    pub(super) task: Task,
    pub(super) claimed: bool,
}

impl Found {
    pub(super) fn standing(&self) -> Standing {
        let task = &self.task;
        Standing { task: task.id, state: task.state, fence: task.fence, attempts: task.attempts, claimed: self.claimed }
    }
}

pub(super) fn find(db: &Connection, id: TaskId) -> Result<Option<Found>, Fault> {
    let mut statement = db.prepare_cached(select_tasks!("WHERE id = ?1"))?;
    statement.query_and_then([id.0.as_bytes()], read)?.next().transpose()
}

pub(super) fn require(db: &Connection, id: TaskId) -> Result<Found, Fault> {
    find(db, id)?.ok_or_else(|| StoreError::UnknownTask(id).into())
}

pub(super) fn list(
    db: &Connection,
    filter: &TaskFilter,
    after: Option<&Cursor>,
    limit: usize,
) -> Result<Page<Task>, Fault> {
    let after = after.map(cursor::to_task).transpose()?;
    let mut conditions = Vec::new();
    let mut values: Vec<&dyn ToSql> = Vec::new();
    let mut condition = |sql: &'static str, value| {
        conditions.push(sql);
        values.push(value);
    };
    let program = filter.program.map(|program| program.0);
    if let Some(program) = &program {
        condition("program = ?", program);
    }
    let owner = filter.owner.as_ref().map(|owner| owner.as_str().to_owned());
    if let Some(owner) = &owner {
        condition("owner = ?", owner);
    }
    let state = filter.state.map(TaskState::as_str);
    if let Some(state) = &state {
        condition("state = ?", state);
    }
    let below = after.map(|task| *task.0.as_bytes());
    if let Some(below) = &below {
        condition("id < ?", below);
    }
    let rows = cursor::rows_for(limit);
    values.push(&rows);
    let wanted = if conditions.is_empty() { String::new() } else { format!("WHERE {}", conditions.join(" AND ")) };
    let mut statement = db.prepare_cached(&format!("{} {wanted} ORDER BY id DESC LIMIT ?", select_tasks!("")))?;
    let found = statement.query_and_then(values.as_slice(), read)?.map(|found| found.map(|found| found.task));
    Ok(cursor::page(found.collect::<Result<_, _>>()?, limit, |task: &Task| cursor::after_task(task.id)))
}

pub(super) fn counts(db: &Connection) -> Result<TaskCounts, Fault> {
    let mut statement = db.prepare_cached("SELECT tasks FROM task_counts WHERE state = ?1")?;
    let mut count = |state: TaskState| {
        let count: Option<i64> = statement.query_row([state.as_str()], |row| row.get(0)).optional()?;
        Ok((state, to_bits(count.unwrap_or(0))))
    };
    TaskState::ALL.into_iter().map(&mut count).collect::<Result<_, Fault>>().map(TaskCounts)
}

/// A task's events.
pub(super) fn events(db: &Connection, task: TaskId, after: u64, limit: usize) -> Result<Vec<Event>, Fault> {
    let mut statement = db.prepare_cached(
        "SELECT seq, task, at, state, name, detail FROM events WHERE task = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3",
    )?;
    statement.query_and_then(params![task.0.as_bytes(), after_event(after), to_limit(limit)], read_event)?.collect()
}

/// Everybody's events, or an owner's. One connection writes, so what has a lower number was committed before.
pub(super) fn owner_events(
    db: &Connection,
    owner: Option<&OwnerId>,
    after: u64,
    limit: usize,
) -> Result<Vec<Event>, Fault> {
    let (after, limit) = (after_event(after), to_limit(limit));
    match owner {
        None => {
            let mut statement = db.prepare_cached(
                "SELECT seq, task, at, state, name, detail FROM events WHERE seq > ?1 ORDER BY seq LIMIT ?2",
            )?;
            statement.query_and_then(params![after, limit], read_event)?.collect()
        }
        Some(owner) => {
            let mut statement = db.prepare_cached(
                "SELECT seq, task, at, state, name, detail FROM events WHERE owner = ?1 AND seq > ?2 \
                 ORDER BY seq LIMIT ?3",
            )?;
            statement.query_and_then(params![owner.as_str(), after, limit], read_event)?.collect()
        }
    }
}

pub(super) fn last_event(db: &Connection) -> Result<u64, Fault> {
    let last: Option<i64> = db.prepare_cached("SELECT max(seq) FROM events")?.query_row([], |row| row.get(0))?;
    Ok(to_bits(last.unwrap_or(0)))
}

pub(super) fn append_event(
    db: &Connection,
    (task, owner): (TaskId, &OwnerId),
    state: TaskState,
    event: &EventKind,
    now: Timestamp,
    changes: &mut Vec<Change>,
) -> Result<(), Fault> {
    let seq = db
        .prepare_cached("INSERT INTO events (task, owner, at, state, name, detail) VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?
        .insert(params![
            task.0.as_bytes(),
            owner.as_str(),
            from_time(now),
            state.as_str(),
            event.name,
            from_json(&event.detail)?
        ])?;
    changes.push(Change::Event { task, owner: owner.clone(), seq: to_bits(seq), state });
    Ok(())
}

pub(super) fn parse_state(row: &Row<'_>, column: usize) -> Result<TaskState, Fault> {
    let name = text("a task's state", row, column)?;
    TaskState::from_name(name).ok_or_else(|| corrupt("a task's state", name))
}

/// A stage as the column `stage` has it.
pub(super) const fn stage_number(stage: Stage) -> i64 {
    match stage {
        Stage::Execute => 0,
        Stage::Prove => 1,
        Stage::Deliver => 2,
    }
}

/// A row of [`select_tasks`]: columns by number, as this is read most and looking names up shows.
pub(super) fn read(row: &Row<'_>) -> Result<Found, Fault> {
    let time = |column: usize| row.get::<_, Option<i64>>(column)?.map(to_time).transpose();
    let digest = |column: usize| Ok::<_, Fault>(row.get::<_, Option<_>>(column)?.map(BlobDigest));
    let task = Task {
        id: to_task(row.get(0)?),
        program: ProgramId(row.get(1)?),
        owner: parse("an owner", row, 2)?,
        controller: BlobDigest(row.get(3)?),
        circuit: BlobDigest(row.get(4)?),
        kind: parse("a proof kind", row, 5)?,
        root: Root(row.get(6)?),
        state: parse_state(row, 7)?,
        fence: to_bits(row.get(8)?),
        attempts: row.get(9)?,
        priority: row.get(10)?,
        deadline: time(11)?,
        record: row.get(24)?,
        node: row.get(12)?,
        created_at: to_time(row.get(13)?)?,
        updated_at: to_time(row.get(14)?)?,
        not_before: time(15)?,
        witness: digest(16)?,
        proof: digest(17)?,
        args: json("a task's arguments", row, 18)?.unwrap_or_default(),
        payload: json("a task's payload", row, 19)?.unwrap_or_default(),
        output: row.get::<_, Option<Vec<u8>>>(20)?.map(Bytes::from),
        result: json("a task's result", row, 21)?,
        failure: json("a task's failure", row, 22)?,
    };
    Ok(Found { task, claimed: row.get(23)? })
}

fn read_event(row: &Row<'_>) -> Result<Event, Fault> {
    Ok(Event {
        seq: to_bits(row.get(0)?),
        task: to_task(row.get(1)?),
        at: to_time(row.get(2)?)?,
        state: parse_state(row, 3)?,
        kind: EventKind { name: row.get(4)?, detail: json("an event's detail", row, 5)?.unwrap_or_default() },
    })
}

fn after_event(seq: u64) -> i64 {
    i64::try_from(seq).unwrap_or(i64::MAX)
}
