//! Tasks: admitting and reading them.

use super::{
    Inner,
    connect::Session,
    cursor,
    fault::Fault,
    roots,
    row::{
        self, array, bits, bounded, bytes, corrupt, digest_or_none, from_deadline, from_json, get, json_or_none, owner,
        parse, small, task_id, text_json, time, time_or_none,
    },
    together::admissions::Admit,
};
use crate::{
    Admission, Backlog, Change, Cursor, NewTask, Page, Stage, StoreError, Task, TaskCounts, TaskFilter, TaskState,
};
use bytes::Bytes;
use coprocessor_merkle::instance_root;
use coprocessor_types::{BlobDigest, OwnerId, ProgramId, Root, TaskId};
use jiff::Timestamp;
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
};
use tokio::sync::{RwLock, RwLockReadGuard};
use tokio_postgres::{Row, types::ToSql};

/// A task and its content.
pub(super) const TASK: &str = "SELECT tasks.*, args, payload, output, result, failure \
     FROM tasks JOIN task_content ON task_content.task = tasks.id";

/// One statement: what must be known, the same request before, the backlog; and where all of it is as it should be, the
/// task with its first event. What `pin` found out holds until the statement is committed.
const ADMIT: &str = "
WITH known AS (
    SELECT EXISTS (SELECT FROM programs WHERE id = $2) AS program,
           EXISTS (SELECT FROM blobs WHERE digest = $4) AS controller,
           EXISTS (SELECT FROM blobs WHERE digest = $5) AS circuit,
           pin($7, $17) AS root
), before AS (
    SELECT request, task FROM idempotency WHERE program = $2 AND owner = $3 AND key = $12
), load AS (
    SELECT (SELECT coalesce(sum(unfinished), 0)::bigint FROM tallies) AS total,
           (SELECT coalesce(sum(unfinished), 0)::bigint FROM owner_tallies WHERE owner = $3) AS owner
), added AS (
    INSERT INTO tasks (id, program, owner, controller, circuit, kind, root, state, stage, ready_at, fence, attempts,
        priority, deadline, created_at, updated_at, record)
    SELECT $1, $2, $3, $4, $5, $6, $7, 'queued', 0, 0, 0, 0, $10, $11, micros(), micros(), $16 FROM known, load
    WHERE known.program AND known.controller AND known.circuit AND known.root AND NOT EXISTS (SELECT FROM before)
        AND load.total < $14 AND load.owner < $15
    RETURNING id, owner, created_at
), content AS (
    INSERT INTO task_content (task, program, owner, args, payload) SELECT id, $2, owner, $8, $9 FROM added
), named AS (
    INSERT INTO idempotency (program, owner, key, request, task)
    SELECT $2, owner, $12, $13, id FROM added WHERE $12::bytea IS NOT NULL
), told AS (
    INSERT INTO events (task, owner, at, state, name, detail)
    SELECT id, owner, created_at, 'queued', 'admitted', '{}' FROM added
    RETURNING seq
)
SELECT known.*, load.total, load.owner, (SELECT request FROM before) AS request, (SELECT task FROM before) AS task,
    (SELECT created_at FROM added) AS created_at, (SELECT seq FROM told) AS seq
FROM known, load";

/// Keeps this process's admissions from passing the bounds together.
///
/// An admission counts those that run beside it as if they were all in already. Where only that makes it too many, it is tried
/// again alone, so what is refused is refused by what is there.
#[derive(Debug, Default)]
pub(super) struct Admissions {
    alone: RwLock<()>,
    running: Mutex<HashMap<OwnerId, u64>>,
}

/// An admission that runs; it counts until it is dropped.
struct Running<'a> {
    admissions: &'a Admissions,
    owner: &'a OwnerId,
    /// Those of everybody and of this owner that ran before this one began.
    others: Backlog,
    _shared: RwLockReadGuard<'a, ()>,
}

impl Admissions {
    async fn begin<'a>(&'a self, owner: &'a OwnerId) -> Running<'a> {
        let shared = self.alone.read().await;
        let mut running = self.running();
        let others = Backlog { total: running.values().sum(), owner: running.get(owner).copied().unwrap_or(0) };
        *running.entry(owner.clone()).or_default() += 1;
        drop(running);
        Running { admissions: self, owner, others, _shared: shared }
    }

    fn running(&self) -> MutexGuard<'_, HashMap<OwnerId, u64>> {
        // Nothing that is done under the lock can leave the counts half changed.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Running<'_> {
    /// What the bounds leave when the others are counted in.
    fn leave(&self, backlog: Backlog) -> Backlog {
        Backlog {
            total: backlog.total.saturating_sub(self.others.total),
            owner: backlog.owner.saturating_sub(self.others.owner),
        }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let mut running = self.admissions.running();
        if let Some(count) = running.get_mut(self.owner) {
            *count -= 1;
            if *count == 0 {
                running.remove(self.owner);
            }
        }
    }
}

impl Inner {
    pub(super) async fn admit(&self, new: &NewTask, backlog: Backlog) -> Result<Admission, Fault> {
        let tried = {
            let running = self.admissions.begin(&new.owner).await;
            let most = running.leave(backlog);
            match Admit::of(new, most, &self.instance)? {
                Some(admit) => match self.admits.write(&self.durable, admit).await? {
                    Some((created_at, seq)) => Some(self.admitted(new, created_at, seq)?),
                    None => self.try_admit(new, backlog, most).await?,
                },
                None => self.try_admit(new, backlog, most).await?,
            }
        };
        if let Some(admission) = tried {
            return Ok(admission);
        }
        let _alone = self.admissions.alone.write().await;
        let alone = self.try_admit(new, backlog, backlog).await?;
        alone.ok_or_else(|| corrupt("the backlog", "nobody runs beside this admission, and yet it is crowded"))
    }

    /// One statement; `None`: refused, but perhaps only for those that ran beside it, which `most` leaves room for.
    async fn try_admit(&self, new: &NewTask, backlog: Backlog, most: Backlog) -> Result<Option<Admission>, Fault> {
        let session = self.durable.take().await?;
        let (args, payload) = (from_json(&new.args)?, from_json(&new.payload)?);
        let key = new.idempotency.as_ref().map(|idempotency| idempotency.key.as_bytes());
        let request = new.idempotency.as_ref().map(|idempotency| idempotency.request.as_bytes().as_slice());
        let id = new.id.0.as_bytes().as_slice();
        let admitted = session
            .query_one(
                ADMIT,
                &[
                    &id,
                    &new.program.as_bytes().as_slice(),
                    &new.owner.as_str(),
                    &new.controller.as_bytes().as_slice(),
                    &new.circuit.as_bytes().as_slice(),
                    &new.kind.as_str(),
                    &new.root.as_bytes().as_slice(),
                    &args,
                    &payload,
                    &new.priority,
                    &new.deadline.map(from_deadline),
                    &key,
                    &request,
                    &bounded(most.total),
                    &bounded(most.owner),
                    &new.record,
                    &(new.root == instance_root(&self.instance)),
                ],
            )
            .await;
        let found = match admitted {
            Ok(row) => row,
            // Another with the same key was first: it is there now.
            Err(fault) if fault.breaks("idempotency_pkey") => {
                // Not while holding a connection that others may be waiting for, who hold one themselves.
                drop(session);
                return Box::pin(self.try_admit(new, backlog, most)).await;
            }
            // The answer to the same admission was lost, or somebody else's task has that id.
            Err(fault) if fault.breaks("tasks_pkey") => {
                let task = require(&session, new.id).await?;
                return if is_of(&task, new)? { Ok(Some(Admission::Admitted(task))) } else { Err(fault) };
            }
            Err(fault) if fault.breaks("task_content_program_fkey") => {
                return Err(StoreError::UnknownProgram(new.program).into());
            }
            Err(fault) => return Err(fault),
        };
        match time_or_none(&found, "created_at")? {
            Some(created_at) => self.admitted(new, created_at, bits(&found, "seq")?).map(Some),
            None => self.refused(&session, &found, new, backlog).await,
        }
    }

    /// Why an admission was refused; `None`: only for others that ran beside it.
    async fn refused(
        &self,
        session: &Session,
        found: &Row,
        new: &NewTask,
        backlog: Backlog,
    ) -> Result<Option<Admission>, Fault> {
        if !get::<bool>(found, "program")? {
            return Err(StoreError::UnknownProgram(new.program).into());
        }
        if let (Some(before), Some(idempotency)) = (get::<Option<&[u8]>>(found, "request")?, &new.idempotency) {
            let task = task_id(found, "task")?;
            return Ok(Some(if task == new.id {
                // The answer to this very admission was lost.
                Admission::Admitted(require(session, task).await?)
            } else if before == idempotency.request.as_bytes() {
                Admission::Repeated(require(session, task).await?)
            } else {
                Admission::KeyReused(task)
            }));
        }
        for (column, digest) in [("controller", new.controller), ("circuit", new.circuit)] {
            if !get::<bool>(found, column)? {
                return Err(StoreError::BlobMissing(digest).into());
            }
        }
        if !get::<bool>(found, "root")? {
            let oldest = roots::place(session, &self.instance, new.root).await?.oldest;
            return Err(StoreError::RootPruned { root: new.root, oldest }.into());
        }
        let load = Backlog { total: bits(found, "total")?, owner: bits(found, "owner")? };
        Ok(if load.total >= backlog.total {
            Some(Admission::BacklogFull)
        } else if load.owner >= backlog.owner {
            Some(Admission::OwnerBacklogFull)
        } else {
            None
        })
    }

    /// Tells of a task that has just been admitted.
    fn admitted(&self, new: &NewTask, created_at: Timestamp, seq: u64) -> Result<Admission, Fault> {
        self.tell([
            Change::Event { task: new.id, owner: new.owner.clone(), seq, state: TaskState::Queued },
            Change::Work(Stage::Execute),
        ]);
        Ok(Admission::Admitted(Task {
            id: new.id,
            program: new.program,
            owner: new.owner.clone(),
            controller: new.controller,
            circuit: new.circuit,
            kind: new.kind,
            root: new.root,
            args: new.args.clone(),
            payload: new.payload.clone(),
            state: TaskState::Queued,
            fence: 0,
            attempts: 0,
            priority: new.priority,
            deadline: new.deadline.map(|deadline| row::to_time(from_deadline(deadline))).transpose()?,
            record: new.record,
            node: None,
            created_at,
            updated_at: created_at,
            not_before: None,
            witness: None,
            proof: None,
            output: None,
            result: None,
            failure: None,
        }))
    }

    pub(super) async fn task(&self, id: TaskId) -> Result<Option<Task>, Fault> {
        find(&self.quick.take().await?, id).await
    }

    pub(super) async fn tasks(
        &self,
        filter: &TaskFilter,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<Page<Task>, Fault> {
        let below = after.map(cursor::to_task).transpose()?;
        let (program, below) = (filter.program.map(|program| program.0), below.map(|task| *task.0.as_bytes()));
        let (program, below) = (program.as_ref().map(<[u8; 32]>::as_slice), below.as_ref().map(<[u8; 16]>::as_slice));
        let (owner, state) = (filter.owner.as_ref().map(OwnerId::as_str), filter.state.map(TaskState::as_str));
        let rows = cursor::rows_for(limit);
        let mut values: Vec<&(dyn ToSql + Sync)> = vec![&rows];
        let mut conditions = Vec::new();
        let mut among = String::new();
        let mut condition = |sql: &str, value| {
            values.push(value);
            conditions.push(format!("{sql} ${}", values.len()));
        };
        if let Some(program) = &program {
            condition("task_content.program =", program);
        }
        if let Some(owner) = &owner {
            condition("task_content.owner =", owner);
        }
        if let Some(state) = &state {
            condition("state =", state);
        }
        if let Some(below) = &below {
            condition("id <", below);
        }
        match filter.state.map(TaskState::stage) {
            None => {}
            Some(None) => conditions.push("stage IS NULL".to_owned()),
            // Those that still change are in the queue's indexes only: all of the stage are looked at.
            Some(Some(stage)) => {
                among = format!(
                    "WITH unfinished AS MATERIALIZED (\
                     SELECT id FROM tasks WHERE stage = {0} AND ready_at = 0 UNION ALL \
                     SELECT id FROM tasks WHERE stage = {0} AND ready_at > 0) ",
                    row::stage_number(stage)
                );
                conditions.push("id IN (SELECT id FROM unfinished)".to_owned());
            }
        }
        let wanted = if conditions.is_empty() { String::new() } else { format!("WHERE {}", conditions.join(" AND ")) };
        let session = self.quick.take().await?;
        let rows = session.query(&format!("{among}{TASK} {wanted} ORDER BY id DESC LIMIT $1"), &values).await?;
        let tasks = rows.iter().map(|row| read(row).map(|task| (cursor::after_task(task.id), task)));
        Ok(cursor::page(tasks.collect::<Result<_, _>>()?, limit))
    }

    pub(super) async fn task_counts(&self) -> Result<TaskCounts, Fault> {
        // The two indexes of the queue have all that is unfinished.
        let sql = "
SELECT state, count(*) AS tasks FROM tasks WHERE stage >= 0 AND ready_at = 0 GROUP BY state
UNION ALL SELECT state, count(*) FROM tasks WHERE stage >= 0 AND ready_at > 0 GROUP BY state
UNION ALL SELECT 'delivered', coalesce(sum(delivered), 0)::bigint FROM tallies
UNION ALL SELECT 'failed', coalesce(sum(failed), 0)::bigint FROM tallies
UNION ALL SELECT 'cancelled', coalesce(sum(cancelled), 0)::bigint FROM tallies";
        let mut found: BTreeMap<TaskState, u64> = BTreeMap::new();
        for row in self.quick.take().await?.query(sql, &[]).await? {
            *found.entry(row::state(&row, "state")?).or_default() += bits(&row, "tasks")?;
        }
        let counts = TaskState::ALL.into_iter().map(|state| Ok((state, found.get(&state).copied().unwrap_or(0))));
        counts.collect::<Result<_, Fault>>().map(TaskCounts)
    }
}

/// Whether a task is the one that was asked for, however far it has come.
fn is_of(task: &Task, new: &NewTask) -> Result<bool, Fault> {
    let deadline = new.deadline.map(|deadline| row::to_time(from_deadline(deadline))).transpose()?;
    Ok((task.program, &task.owner, task.controller, task.circuit, task.kind, task.root)
        == (new.program, &new.owner, new.controller, new.circuit, new.kind, new.root)
        && (&task.args, &task.payload, task.priority, task.deadline)
            == (&new.args, &new.payload, new.priority, deadline))
}

pub(super) async fn find(session: &Session, id: TaskId) -> Result<Option<Task>, Fault> {
    let row = session.query_opt(&format!("{TASK} WHERE id = $1"), &[&id.0.as_bytes().as_slice()]).await?;
    row.as_ref().map(read).transpose()
}

pub(super) async fn require(session: &Session, id: TaskId) -> Result<Task, Fault> {
    find(session, id).await?.ok_or_else(|| StoreError::UnknownTask(id).into())
}

pub(super) fn read(row: &Row) -> Result<Task, Fault> {
    Ok(Task {
        id: task_id(row, "id")?,
        program: ProgramId(bytes(row, "program")?),
        owner: owner(row)?,
        controller: BlobDigest(bytes(row, "controller")?),
        circuit: BlobDigest(bytes(row, "circuit")?),
        kind: parse("a proof kind", row, "kind")?,
        root: Root(array(get(row, "root")?)?),
        args: text_json("a task's arguments", row, "args")?,
        payload: text_json("a task's payload", row, "payload")?,
        state: row::state(row, "state")?,
        fence: bits(row, "fence")?,
        attempts: small(row, "attempts")?,
        priority: get(row, "priority")?,
        deadline: time_or_none(row, "deadline")?,
        record: get(row, "record")?,
        node: get(row, "node")?,
        created_at: time(row, "created_at")?,
        updated_at: time(row, "updated_at")?,
        not_before: time_or_none(row, "not_before")?,
        witness: digest_or_none(row, "witness")?,
        proof: digest_or_none(row, "proof")?,
        output: get::<Option<Vec<u8>>>(row, "output")?.map(Bytes::from),
        result: json_or_none("a task's result", row, "result")?,
        failure: json_or_none("a task's failure", row, "failure")?,
    })
}
