//! What a step of a task costs must not grow with what is finished and what is registered: measured in steps of SQLite's
//! virtual machine, which are the same on every machine.

use super::{
    EmbeddedConfig, admission, blobs, connect, programs, queue, queue::Wanted, row::now, schema, steps, tasks, upkeep,
    webhooks,
};
use crate::{
    Admission, Backlog, EventKind, NewProgram, NewTask, Program, Retention, Stage, StepOutcome, TaskFilter, TaskState,
    VolumeWrite, task::fairness::Turns,
};
use bytes::Bytes;
use coprocessor_types::{Backend, BlobDigest, InstanceId, OwnerId, ProgramId, ProofKind, Root, TaskId};
use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, ffi};
use serde_json::json;
use std::{collections::BTreeMap, ffi::CStr, ptr, time::Duration};
use tempfile::TempDir;

const ROOM: Backlog = Backlog { total: u64::MAX, owner: u64::MAX };

struct Scene {
    db: Connection,
    programs: Vec<Program>,
    turns: [Turns; 3],
    _directory: TempDir,
}

impl Scene {
    /// A store with so many programs and finished tasks.
    fn new(programs: u64, finished: usize) -> Self {
        let directory = TempDir::new().unwrap();
        std::fs::write(directory.path().join("db"), "").unwrap();
        let mut db = connect(&directory.path().join("db"), EmbeddedConfig::default()).unwrap();
        schema::migrate(&mut db, directory.path()).unwrap();
        db.execute_batch("BEGIN; INSERT INTO blobs (digest, size, content) VALUES (zeroblob(32), 0, x'')").unwrap();
        let blob = BlobDigest([0; 32]);
        let programs = (0..programs).map(|nonce| {
            let new = NewProgram {
                id: ProgramId::derive(b"circuit", nonce),
                owner: owner(nonce),
                key: None,
                name: String::new(),
                public: nonce % 100 == 0,
                backend: Backend::Sp1,
                controller: blob,
                circuit: blob,
                verifying_key: None,
                nonce,
                volume_size: 0,
            };
            programs::insert(&db, &new, u64::MAX, now()).unwrap();
            programs::require(&db, new.id).unwrap()
        });
        let programs: Vec<_> = programs.collect();
        let mut scene = Self { db, programs, turns: Default::default(), _directory: directory };
        for number in 0..finished {
            let task = scene.admit(number);
            steps::cancel(&scene.db, task, now(), &mut Vec::new()).unwrap();
        }
        scene.db.execute_batch("COMMIT").unwrap();
        scene
    }

    fn admit(&mut self, number: usize) -> TaskId {
        let program = &self.programs[number % self.programs.len()];
        let new = NewTask {
            id: TaskId::now(),
            program: program.id,
            owner: owner(number as u64),
            controller: program.controller,
            circuit: program.circuit,
            kind: ProofKind::Mock,
            root: Root([7; 32]),
            args: json!({}),
            payload: json!(null),
            priority: (number % 3) as i16,
            deadline: Some(now() + SignedDuration::from_hours(1)),
            record: false,
            idempotency: None,
        };
        match admission::admit(&self.db, &InstanceId([1; 32]), new, ROOM, now(), &mut Vec::new()).unwrap() {
            Admission::Admitted(task) => task.id,
            other => panic!("{other:?}"),
        }
    }

    /// Everything that is done for each task, or every second.
    fn work(&mut self) {
        let db = &self.db;
        assert!(steps::overdue(db, now(), 10).unwrap().is_empty());
        let ids: Vec<_> = (0..10).map(|number| self.admit(number)).collect();
        let db = &self.db;
        for stage in Stage::ALL {
            let wanted = Wanted { stage, worker: "worker".to_owned(), lease: Duration::from_secs(60), limit: 10 };
            let claims = queue::claim(db, &wanted, &mut self.turns[stage as usize], now(), &mut Vec::new()).unwrap();
            assert_eq!(claims.len(), 10);
            let held: Vec<_> = claims.iter().map(|claim| (claim.task.id, claim.task.fence)).collect();
            assert!(queue::heartbeat(db, &held, wanted.lease, now()).unwrap().is_empty());
            queue::next_ready(db, stage).unwrap().unwrap();
            for (task, fence) in held {
                queue::progress(db, (task, fence), Some("node"), &event(), now(), &mut Vec::new()).unwrap();
                let outcome = match stage {
                    Stage::Execute => {
                        let volume = VolumeWrite::default();
                        StepOutcome::Executed { witness: Bytes::new(), volume, event: event() }
                    }
                    Stage::Prove => StepOutcome::Proved { proof: Bytes::new(), output: Bytes::new(), event: event() },
                    Stage::Deliver => {
                        let volume = VolumeWrite::default();
                        StepOutcome::Delivered { volume, result: json!(null), event: event() }
                    }
                };
                steps::finish(db, (task, fence), outcome, None, now(), &mut Vec::new()).unwrap();
            }
        }
        for id in ids {
            assert_eq!(tasks::find(db, id).unwrap().unwrap().task.state, TaskState::Delivered);
            assert_eq!(tasks::events(db, id, 0, 100).unwrap().len(), 10);
        }
        steps::next_deadline(db).unwrap();
        tasks::counts(db).unwrap();
        let last = tasks::last_event(db).unwrap();
        tasks::owner_events(db, Some(&owner(3)), last - 5, 100).unwrap();
        tasks::owner_events(db, None, last - 5, 100).unwrap();
        for state in [None, Some(TaskState::Queued), Some(TaskState::Delivered)] {
            let filter = TaskFilter { state, ..TaskFilter::default() };
            tasks::list(db, &filter, None, 5).unwrap();
        }
        let of = TaskFilter { owner: Some(owner(3)), ..TaskFilter::default() };
        tasks::list(db, &of, None, 1).unwrap();
        programs::find(db, self.programs[0].id).unwrap();
        programs::list(db, Some(&owner(3)), None, 1).unwrap();
        programs::list(db, None, None, 1).unwrap();
        let none = Retention::default();
        upkeep::collect(db, &none, now(), 10, Vec::new()).unwrap();
        blobs::renew(db, BlobDigest([0; 32]), now()).unwrap();
        webhooks::collect(db, Timestamp::UNIX_EPOCH, 10).unwrap();
    }

    /// Steps by statement since this was asked last. None is prepared more than once.
    fn steps(&self) -> BTreeMap<String, i32> {
        let mut steps = BTreeMap::new();
        let mut statement = ptr::null_mut();
        loop {
            // SAFETY: the handle is that of an open connection which only this thread uses; `sqlite3_next_stmt` takes null or
            // one of its statements, of which none is finalized in this loop, and the text of a statement lives as long as it.
            #[allow(unsafe_code)]
            let (next, text, ran) = unsafe {
                statement = ffi::sqlite3_next_stmt(self.db.handle(), statement);
                if statement.is_null() {
                    return steps;
                }
                let text = CStr::from_ptr(ffi::sqlite3_sql(statement)).to_string_lossy().into_owned();
                let count = |what| ffi::sqlite3_stmt_status(statement, what, 1);
                let prepared_again = count(ffi::SQLITE_STMTSTATUS_REPREPARE);
                assert_eq!(prepared_again, 0, "prepared again and again: {text}");
                (statement, text, count(ffi::SQLITE_STMTSTATUS_VM_STEP))
            };
            statement = next;
            *steps.entry(text).or_default() += ran;
        }
    }
}

fn owner(number: u64) -> OwnerId {
    format!("owner-{}", number % 10).parse().unwrap()
}

fn event() -> EventKind {
    EventKind { name: "done".to_owned(), detail: json!({}) }
}

#[test]
fn a_task_costs_the_same_whatever_is_finished_and_registered() {
    let cost = |programs, finished| {
        let mut scene = Scene::new(programs, finished);
        scene.steps();
        scene.work();
        scene.steps()
    };
    let (few, many) = (cost(20, 30), cost(600, 1500));
    let all = |steps: &BTreeMap<String, i32>| steps.values().map(|&steps| i64::from(steps)).sum::<i64>();
    for (statement, &steps) in &many {
        let before = few.get(statement).copied().unwrap_or_default();
        assert!(steps <= before + before / 3 + 100, "{before} steps became {steps}: {statement}");
    }
    let (before, after) = (all(&few), all(&many));
    assert!(after * 10 <= before * 11, "{before} steps became {after}");
}
