//! Tasks and their events: admitting and reading them.

use super::{
    blobs, cursor,
    fault::Fault,
    row::{corrupt, from_json, from_time, owner, parse, to_bits, to_json, to_task, to_time},
};
use crate::{
    Admission, Change, Cursor, Event, EventKind, Idempotency, NewTask, Page, Stage, StoreError, Task, TaskCounts,
    TaskFilter, TaskState,
};
use bytes::Bytes;
use coprocessor_types::{BlobDigest, ProgramId, Root, TaskId};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, ToSql, params};
use serde_json::json;

pub(super) fn admit(
    db: &Connection,
    new: &NewTask,
    now: Timestamp,
    changes: &mut Vec<Change>,
) -> Result<Admission, Fault> {
    let known = db.prepare_cached("SELECT 1 FROM programs WHERE id = ?1")?.exists([new.program.as_bytes()])?;
    if !known {
        return Err(StoreError::UnknownProgram(new.program).into());
    }
    if let Some(idempotency) = &new.idempotency
        && let Some(admission) = admitted_before(db, new, idempotency)?
    {
        return Ok(admission);
    }
    blobs::require(db, new.controller)?;
    blobs::require(db, new.circuit)?;
    insert(db, new, now)?;
    let event = EventKind { name: "admitted".to_owned(), detail: json!({}) };
    append_event(db, new.id, TaskState::Queued, &event, now, changes)?;
    changes.push(Change::Work(Stage::Execute));
    Ok(Admission::Admitted(require(db, new.id)?))
}

pub(super) fn find(db: &Connection, id: TaskId) -> Result<Option<Task>, Fault> {
    let mut statement =
        db.prepare_cached("SELECT * FROM tasks JOIN task_content ON task_content.task = tasks.id WHERE id = ?1")?;
    statement.query_and_then([id.0.as_bytes()], read)?.next().transpose()
}

pub(super) fn require(db: &Connection, id: TaskId) -> Result<Task, Fault> {
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
    let mut statement = db.prepare_cached(&format!(
        "SELECT * FROM tasks JOIN task_content ON task_content.task = tasks.id {wanted} ORDER BY id DESC LIMIT ?"
    ))?;
    let tasks = statement.query_and_then(values.as_slice(), read)?.collect::<Result<_, _>>()?;
    Ok(cursor::page(tasks, limit, |task: &Task| cursor::after_task(task.id)))
}

pub(super) fn counts(db: &Connection) -> Result<TaskCounts, Fault> {
    let mut statement = db.prepare_cached("SELECT tasks FROM task_counts WHERE state = ?1")?;
    let mut count = |state: TaskState| {
        let count: Option<i64> = statement.query_row([state.as_str()], |row| row.get(0)).optional()?;
        Ok((state, to_bits(count.unwrap_or(0))))
    };
    TaskState::ALL.into_iter().map(&mut count).collect::<Result<_, Fault>>().map(TaskCounts)
}

pub(super) fn events(db: &Connection, task: TaskId, after: u64, limit: usize) -> Result<Vec<Event>, Fault> {
    let after = i64::try_from(after).unwrap_or(i64::MAX);
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut statement = db.prepare_cached("SELECT * FROM events WHERE task = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3")?;
    statement.query_and_then(params![task.0.as_bytes(), after, limit], read_event)?.collect()
}

pub(super) fn append_event(
    db: &Connection,
    task: TaskId,
    state: TaskState,
    event: &EventKind,
    now: Timestamp,
    changes: &mut Vec<Change>,
) -> Result<(), Fault> {
    db.prepare_cached("INSERT INTO events (task, at, state, name, detail) VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute(params![task.0.as_bytes(), from_time(now), state.as_str(), event.name, from_json(&event.detail)?])?;
    changes.push(Change::Event { task, seq: to_bits(db.last_insert_rowid()) });
    Ok(())
}

pub(super) fn parse_state(row: &Row<'_>) -> Result<TaskState, Fault> {
    let name = row.get_ref("state")?.as_str().map_err(|error| corrupt("a task's state", error))?;
    TaskState::from_name(name).ok_or_else(|| corrupt("a task's state", name))
}

fn admitted_before(db: &Connection, new: &NewTask, idempotency: &Idempotency) -> Result<Option<Admission>, Fault> {
    let before: Option<([u8; 32], [u8; 16])> = db
        .prepare_cached("SELECT request, task FROM idempotency WHERE program = ?1 AND owner = ?2 AND key = ?3")?
        .query_row(params![new.program.as_bytes(), new.owner.as_str(), idempotency.key], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()?;
    let Some((request, task)) = before else { return Ok(None) };
    let task = to_task(task);
    if request == idempotency.request.0 {
        Ok(Some(Admission::Repeated(require(db, task)?)))
    } else {
        Ok(Some(Admission::KeyReused(task)))
    }
}

fn insert(db: &Connection, new: &NewTask, now: Timestamp) -> Result<(), Fault> {
    db.prepare_cached(
        "INSERT INTO tasks (id, program, owner, controller, circuit, kind, root, state, stage, ready_at, fence, \
         attempts, created_at, updated_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 0, 0, 0, ?10, ?10)",
    )?
    .execute(params![
        new.id.0.as_bytes(),
        new.program.as_bytes(),
        new.owner.as_str(),
        new.controller.as_bytes(),
        new.circuit.as_bytes(),
        new.kind.as_str(),
        new.root.as_bytes(),
        TaskState::Queued.as_str(),
        stage_number(Stage::Execute),
        from_time(now),
    ])?;
    db.prepare_cached("INSERT INTO task_content (task, args, payload) VALUES (?1, ?2, ?3)")?.execute(params![
        new.id.0.as_bytes(),
        from_json(&new.args)?,
        from_json(&new.payload)?
    ])?;
    if let Some(idempotency) = &new.idempotency {
        db.prepare_cached("INSERT INTO idempotency (program, owner, key, request, task) VALUES (?1, ?2, ?3, ?4, ?5)")?
            .execute(params![
                new.program.as_bytes(),
                new.owner.as_str(),
                idempotency.key,
                idempotency.request.as_bytes(),
                new.id.0.as_bytes(),
            ])?;
    }
    Ok(())
}

/// A stage as the column `stage` has it.
pub(super) const fn stage_number(stage: Stage) -> i64 {
    match stage {
        Stage::Execute => 0,
        Stage::Prove => 1,
        Stage::Deliver => 2,
    }
}

fn read(row: &Row<'_>) -> Result<Task, Fault> {
    let json = |what, column| {
        let text: Option<String> = row.get(column)?;
        text.map(|text| to_json(what, &text)).transpose()
    };
    let failure: Option<String> = row.get("failure")?;
    Ok(Task {
        id: to_task(row.get("id")?),
        program: ProgramId(row.get("program")?),
        owner: owner(row)?,
        controller: BlobDigest(row.get("controller")?),
        circuit: BlobDigest(row.get("circuit")?),
        kind: parse("a proof kind", row, "kind")?,
        root: Root(row.get("root")?),
        args: json("a task's arguments", "args")?.unwrap_or_default(),
        payload: json("a task's payload", "payload")?.unwrap_or_default(),
        state: parse_state(row)?,
        fence: to_bits(row.get("fence")?),
        attempts: row.get("attempts")?,
        created_at: to_time(row.get("created_at")?)?,
        updated_at: to_time(row.get("updated_at")?)?,
        not_before: row.get::<_, Option<i64>>("not_before")?.map(to_time).transpose()?,
        witness: row.get::<_, Option<_>>("witness")?.map(BlobDigest),
        proof: row.get::<_, Option<_>>("proof")?.map(BlobDigest),
        output: row.get::<_, Option<Vec<u8>>>("output")?.map(Bytes::from),
        result: json("a task's result", "result")?,
        failure: failure.map(|text| to_json("a task's failure", &text)).transpose()?,
    })
}

fn read_event(row: &Row<'_>) -> Result<Event, Fault> {
    Ok(Event {
        seq: to_bits(row.get("seq")?),
        task: to_task(row.get("task")?),
        at: to_time(row.get("at")?)?,
        state: parse_state(row)?,
        kind: EventKind {
            name: row.get("name")?,
            detail: to_json(
                "an event's detail",
                row.get_ref("detail")?.as_str().map_err(|error| corrupt("an event", error))?,
            )?,
        },
    })
}
