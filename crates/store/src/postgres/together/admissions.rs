//! Admissions of new tasks.

use super::{LARGE, Shared, each};
use crate::{
    Backlog, NewTask,
    postgres::{
        connect::{Session, Values},
        fault::Fault,
        row::{bits, bounded, from_deadline, from_json, task_id, time},
    },
};
use coprocessor_merkle::instance_root;
use coprocessor_types::{InstanceId, TaskId};
use jiff::Timestamp;
use std::collections::HashMap;

/// Admits those for which all is as it should be. `most` and `owner_most` count those of the same statement in already.
const ADMIT: &str = "
WITH wanted AS MATERIALIZED (
    SELECT * FROM unnest($1::bytea[], $2::bytea[], $3::text[], $4::bytea[], $5::bytea[], $6::text[], $7::bytea[], $8::text[],
            $9::text[], $10::smallint[], $11::bigint[], $12::bytea[], $13::bytea[], $14::bigint[], $15::bigint[],
            $16::boolean[], $17::boolean[])
        AS wanted (id, program, owner, controller, circuit, kind, root, args, payload, priority, deadline, key, request,
            most, owner_most, record, is_first_root)
), pinned AS MATERIALIZED (
    SELECT root, pin(root, is_first_root) AS can_be FROM (SELECT DISTINCT root, is_first_root FROM wanted) AS roots
), load AS MATERIALIZED (
    SELECT coalesce(sum(unfinished), 0)::bigint AS total FROM tallies
), owner_load AS MATERIALIZED (
    SELECT owner, (SELECT coalesce(sum(unfinished), 0)::bigint FROM owner_tallies
                   WHERE owner_tallies.owner = listed.owner COLLATE \"C\") AS unfinished
    FROM (SELECT DISTINCT owner FROM wanted) AS listed
), fine AS MATERIALIZED (
    SELECT wanted.* FROM wanted
    WHERE (SELECT total FROM load) < most
        AND (SELECT unfinished FROM owner_load WHERE owner_load.owner = wanted.owner) < owner_most
        AND (SELECT true FROM programs WHERE programs.id = wanted.program)
        AND (SELECT true FROM blobs WHERE blobs.digest = wanted.controller)
        AND (SELECT true FROM blobs WHERE blobs.digest = wanted.circuit)
        AND (SELECT can_be FROM pinned WHERE pinned.root = wanted.root)
        AND (SELECT true FROM tasks WHERE tasks.id = wanted.id) IS NULL
        AND (wanted.key IS NULL OR (SELECT true FROM idempotency WHERE idempotency.program = wanted.program
            AND idempotency.owner = wanted.owner COLLATE \"C\" AND idempotency.key = wanted.key) IS NULL)
), added AS (
    INSERT INTO tasks (id, program, owner, controller, circuit, kind, root, state, stage, ready_at, fence, attempts,
        priority, deadline, created_at, updated_at, record)
    SELECT id, program, owner, controller, circuit, kind, root, 'queued', 0, 0, 0, 0, priority, deadline, micros(), micros(),
        record
    FROM fine RETURNING id, owner, created_at
), content AS (
    INSERT INTO task_content (task, program, owner, args, payload) SELECT id, program, owner, args, payload FROM fine
), named AS (
    -- In one order, so that of two statements with the same keys one waits for the other, and not each for the other.
    INSERT INTO idempotency (program, owner, key, request, task)
    SELECT program, owner, key, request, id FROM fine WHERE key IS NOT NULL ORDER BY program, owner, key
), told AS (
    INSERT INTO events (task, owner, at, state, name, detail)
    SELECT id, owner, created_at, 'queued', 'admitted', '{}' FROM added
    RETURNING task, seq
)
SELECT added.id, added.created_at, told.seq FROM added JOIN told ON told.task = added.id";

/// An admission that may share a statement.
#[derive(Debug)]
pub(in crate::postgres) struct Admit {
    new: NewTask,
    args: String,
    payload: String,
    /// Whether its root is the one without blocks, which has no row.
    is_first_root: bool,
    /// How many unfinished tasks there may be at most before it, those that run beside it included.
    most: Backlog,
}

impl Admit {
    /// `None` when it has to be written by itself.
    pub(in crate::postgres) fn of(new: &NewTask, most: Backlog, instance: &InstanceId) -> Result<Option<Self>, Fault> {
        let (args, payload) = (from_json(&new.args)?, from_json(&new.payload)?);
        let small = args.len() + payload.len() <= LARGE;
        let is_first_root = new.root == instance_root(instance);
        Ok(small.then(|| Self { new: new.clone(), args, payload, is_first_root, most }))
    }
}

impl Shared for Admit {
    /// When, with its event's number.
    type Written = (Timestamp, u64);

    fn task(&self) -> TaskId {
        self.new.id
    }

    fn clashes(&self, other: &Self) -> bool {
        let key = |new: &NewTask| new.idempotency.as_ref().map(|idempotency| idempotency.key.clone());
        let (this, that) = (&self.new, &other.new);
        this.id == that.id
            || (this.program == that.program
                && this.owner == that.owner
                && key(this).is_some_and(|this| Some(this) == key(that)))
    }

    fn hurries(&self) -> bool {
        false
    }

    async fn write(session: &Session, all: &[&Self]) -> Result<HashMap<TaskId, (Timestamp, u64)>, Fault> {
        let values: Values<'_> = &[
            &each(all, |admit| admit.new.id.0.as_bytes().as_slice()),
            &each(all, |admit| admit.new.program.as_bytes().as_slice()),
            &each(all, |admit| admit.new.owner.as_str()),
            &each(all, |admit| admit.new.controller.as_bytes().as_slice()),
            &each(all, |admit| admit.new.circuit.as_bytes().as_slice()),
            &each(all, |admit| admit.new.kind.as_str()),
            &each(all, |admit| admit.new.root.as_bytes().as_slice()),
            &each(all, |admit| admit.args.as_str()),
            &each(all, |admit| admit.payload.as_str()),
            &each(all, |admit| admit.new.priority),
            &each(all, |admit| admit.new.deadline.map(from_deadline)),
            &each(all, |admit| admit.new.idempotency.as_ref().map(|idempotency| idempotency.key.as_bytes())),
            &each(all, |admit| {
                admit.new.idempotency.as_ref().map(|idempotency| idempotency.request.as_bytes().as_slice())
            }),
            &each(all, |admit| bounded(admit.most.total)),
            &each(all, |admit| bounded(admit.most.owner)),
            &each(all, |admit| admit.new.record),
            &each(all, |admit| admit.is_first_root),
        ];
        let rows = session.query(ADMIT, values).await?;
        rows.iter().map(|row| Ok((task_id(row, "id")?, (time(row, "created_at")?, bits(row, "seq")?)))).collect()
    }
}
