//! Admitting a task: its row, its first event and its idempotency key.

use super::{
    blobs,
    fault::Fault,
    roots,
    row::{from_deadline, from_json, from_time, kept, to_bits, to_task},
    tasks::{self, append_event, stage_number},
};
use crate::{Admission, Backlog, Change, EventKind, Idempotency, NewTask, Stage, StoreError, Task, TaskState};
use coprocessor_types::{BlobDigest, InstanceId};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};
use serde_json::json;

pub(super) fn admit(
    db: &Connection,
    instance: &InstanceId,
    new: NewTask,
    backlog: Backlog,
    now: Timestamp,
    changes: &mut Vec<Change>,
) -> Result<Admission, Fault> {
    let Some(ground) = ground(db, &new)? else { return Err(StoreError::UnknownProgram(new.program).into()) };
    if let Some(idempotency) = &new.idempotency
        && let Some(admission) = admitted_before(db, &new, idempotency)?
    {
        return Ok(admission);
    }
    if ground.unfinished >= backlog.total {
        return Ok(Admission::BacklogFull);
    }
    if ground.unfinished_of_owner >= backlog.owner {
        return Ok(Admission::OwnerBacklogFull);
    }
    let named = [(new.controller, ground.controller_named), (new.circuit, ground.circuit_named)];
    let unnamed: Vec<_> = named.into_iter().filter(|(_, named)| !named).map(|(digest, _)| digest).collect();
    // All of it before anything is written, as every refusal.
    unnamed.iter().try_for_each(|&digest| blobs::require(db, digest))?;
    roots::require_whole(db, instance, new.root)?;
    unnamed.iter().try_for_each(|&digest| blobs::name_for_program(db, ground.program, digest))?;
    insert(db, &new, now)?;
    let event = EventKind { name: "admitted".to_owned(), detail: json!({}) };
    append_event(db, (new.id, &new.owner), TaskState::Queued, &event, now, changes)?;
    changes.push(Change::Work(Stage::Execute));
    Ok(Admission::Admitted(admitted(new, now)))
}

/// What admission looks at, read at once.
struct Ground {
    program: i64,
    controller_named: bool,
    circuit_named: bool,
    unfinished: u64,
    unfinished_of_owner: u64,
}

fn ground(db: &Connection, new: &NewTask) -> Result<Option<Ground>, Fault> {
    let mut statement = db.prepare_cached(
        "SELECT seq, \
         EXISTS (SELECT 1 FROM program_blobs WHERE program = seq AND digest = ?2), \
         EXISTS (SELECT 1 FROM program_blobs WHERE program = seq AND digest = ?3), \
         (SELECT coalesce(sum(tasks), 0) FROM task_counts \
          WHERE state IN ('queued', 'executing', 'proving', 'delivering')), \
         coalesce((SELECT tasks FROM unfinished_tasks WHERE owner = ?4), 0) \
         FROM programs WHERE id = ?1",
    )?;
    let values = params![new.program.as_bytes(), new.controller.as_bytes(), new.circuit.as_bytes(), new.owner.as_str()];
    let read = |row: &rusqlite::Row<'_>| {
        Ok(Ground {
            program: row.get(0)?,
            controller_named: row.get(1)?,
            circuit_named: row.get(2)?,
            unfinished: to_bits(row.get(3)?),
            unfinished_of_owner: to_bits(row.get(4)?),
        })
    };
    Ok(statement.query_row(values, read).optional()?)
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
    if BlobDigest(request) == idempotency.request {
        Ok(Some(Admission::Repeated(tasks::require(db, task)?.task)))
    } else {
        Ok(Some(Admission::KeyReused(task)))
    }
}

fn insert(db: &Connection, new: &NewTask, now: Timestamp) -> Result<(), Fault> {
    db.prepare_cached(
        "INSERT INTO tasks (id, program, owner, controller, circuit, kind, root, state, stage, ready_at, fence, \
         attempts, priority, deadline, created_at, updated_at, record) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 0, 0, 0, ?10, ?11, ?12, ?12, ?13)",
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
        new.priority,
        new.deadline.map(from_deadline),
        from_time(now),
        new.record,
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

/// The task as it would be read back.
fn admitted(new: NewTask, now: Timestamp) -> Task {
    Task {
        id: new.id,
        program: new.program,
        owner: new.owner,
        controller: new.controller,
        circuit: new.circuit,
        kind: new.kind,
        root: new.root,
        args: new.args,
        payload: new.payload,
        state: TaskState::Queued,
        fence: 0,
        attempts: 0,
        priority: new.priority,
        deadline: new.deadline.map(|deadline| kept(deadline, from_deadline)),
        record: new.record,
        node: None,
        created_at: now,
        updated_at: now,
        not_before: None,
        witness: None,
        proof: None,
        output: None,
        result: None,
        failure: None,
    }
}
