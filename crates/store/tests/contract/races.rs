//! Everything at once: workers, some of them slow, on one program's tasks, and somebody who cancels.

use super::{
    Backing,
    fixture::{
        HOUR, ROOM, admitted, blocking, event, events, new_task, owner, postponed, program, success, volume, write,
    },
};
use bytes::Bytes;
use coprocessor_store::{
    Claim, Event, NewTask, Stage, StepOutcome, Store, StoreError, TaskFilter, TaskState, VolumeWrite,
};
use coprocessor_types::{ProgramId, TaskId};
use jiff::Timestamp;
use serde_json::json;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

const TASKS: usize = 30;
const WORKERS: usize = 6;
/// Longer than it ever takes.
const PATIENCE: Duration = Duration::from_secs(100);

/// Steps that end at the same moment are each what they would be alone, whether their content is the same or not; and those
/// that may not end don't.
pub(crate) async fn steps_that_end_at_once_are_each_their_own<B: Backing>() {
    let backing = B::new().await;
    let store = backing.store();
    let program = program(&*store, 1).await;
    for _ in 0..TASKS {
        admitted(store.admit(new_task(&program), ROOM).await.unwrap());
    }
    for (stage, before) in [(Stage::Execute, TaskState::Executing), (Stage::Prove, TaskState::Proving)] {
        let claims = store.claim(stage, "worker", HOUR, TASKS).await.unwrap();
        assert_eq!(claims.len(), TASKS);
        let mut ending = tokio::task::JoinSet::new();
        for (number, claim) in claims.iter().enumerate() {
            // Twice each, and once under a fence that never was. Every third has the content of the first.
            let own = Bytes::from(format!("{stage:?} {}", if number % 3 == 0 { 0 } else { number }));
            for (turn, fence) in [(0, claim.task.fence), (1, claim.task.fence + 1), (2, claim.task.fence)] {
                let (store, id, own) = (Arc::clone(&store), claim.task.id, own.clone());
                let outcome = match stage {
                    Stage::Execute => StepOutcome::Executed {
                        witness: own,
                        volume: VolumeWrite::default(),
                        event: event(&format!("executed_{number}")),
                    },
                    _ => StepOutcome::Proved {
                        proof: own,
                        output: Bytes::from(format!("output {number}")),
                        event: event(&format!("proved_{number}")),
                    },
                };
                ending.spawn(async move { (number, turn, store.finish_step(id, fence, outcome).await) });
            }
        }
        let mut ended = [0; TASKS];
        while let Some(done) = ending.join_next().await {
            let (number, turn, done) = done.unwrap();
            match done {
                Ok(task) => {
                    assert_ne!(turn, 1, "a fence that never was");
                    assert_eq!(task.id, claims[number].task.id);
                    assert_ne!(task.state, before);
                    assert_eq!(task.output.is_some(), stage == Stage::Prove);
                    ended[number] += 1;
                }
                Err(StoreError::StaleFence { task, .. }) => assert_eq!(task, claims[number].task.id),
                Err(error) => panic!("task {number}: {error:?}"),
            }
        }
        assert_eq!(ended, [1; TASKS], "each once");
        for (number, claim) in claims.iter().enumerate() {
            let task = store.task(claim.task.id).await.unwrap().unwrap();
            let named = if number % 3 == 0 { 0 } else { number };
            let content = Bytes::from(format!("{stage:?} {named}"));
            let blob = if stage == Stage::Execute { task.witness } else { task.proof };
            assert_eq!(store.blob(blob.unwrap()).await.unwrap(), content);
            if stage == Stage::Prove {
                assert_eq!(task.output, Some(Bytes::from(format!("output {number}"))));
                assert_eq!(task.state, TaskState::Delivering);
            }
            let last = events(&*store, task.id).await.pop().unwrap();
            assert!(last.kind.name.ends_with(&format!("ed_{number}")), "{last:?}");
            assert_eq!(last.state, task.state);
        }
    }
    assert_eq!(store.contradictions().await.unwrap(), Vec::<String>::new());
}

/// Of those that end at the same moment on one volume's version one writes, all of what it writes and nothing else; and nobody
/// is in the way of another volume's.
pub(crate) async fn deliveries_that_end_at_once_write_each_volume_once<B: Backing>() {
    const PROGRAMS: usize = 6;
    const EACH: usize = 3;
    let backing = B::new().await;
    let store = backing.store();
    let mut programs = Vec::new();
    for nonce in 0..PROGRAMS {
        let program = program(&*store, nonce as u64).await;
        store.write_volume(program.id, write(0, &[(0, b"before"), (5, b"to be cleared")])).await.unwrap();
        for _ in 0..EACH {
            admitted(store.admit(new_task(&program), ROOM).await.unwrap());
        }
        programs.push(program.id);
    }
    for stage in [Stage::Execute, Stage::Prove] {
        for claim in store.claim(stage, "worker", HOUR, PROGRAMS * EACH).await.unwrap() {
            store.finish_step(claim.task.id, claim.task.fence, success(stage)).await.unwrap();
        }
    }
    let claims = store.claim(Stage::Deliver, "worker", HOUR, PROGRAMS * EACH).await.unwrap();
    assert_eq!(claims.len(), PROGRAMS * EACH);
    let deliver = |task: TaskId, program: ProgramId, based_on| {
        let mut volume = write(based_on, &[(1, task.to_string().as_bytes())]);
        volume.pages.push((5, None));
        volume.raw = (program != programs[0]).then(|| Bytes::from(task.to_string()));
        StepOutcome::Delivered { volume, result: json!({ "by": task.to_string() }), event: event("delivered") }
    };
    let mut open: Vec<_> = claims.into_iter().map(|claim| claim.task).collect();
    for version in 1..=EACH as u64 {
        let mut ending = tokio::task::JoinSet::new();
        for task in open.drain(..) {
            let (store, outcome) = (Arc::clone(&store), deliver(task.id, task.program, version));
            ending.spawn(async move { (store.finish_step(task.id, task.fence, outcome).await, task) });
        }
        let mut writers = BTreeMap::new();
        while let Some(ended) = ending.join_next().await {
            let (ended, task) = ended.unwrap();
            match ended {
                Ok(delivered) => {
                    assert_eq!(delivered.result, Some(json!({ "by": task.id.to_string() })));
                    assert_eq!(writers.insert(task.program, task.id), None, "two wrote on one version");
                }
                Err(StoreError::VolumeConflict { program, expected, got }) => {
                    assert_eq!((program, expected, got), (task.program, version, version + 1));
                    assert_eq!(store.task(task.id).await.unwrap().unwrap(), task);
                    open.push(task);
                }
                Err(error) => panic!("{error:?}"),
            }
        }
        for program in &programs {
            let writer = writers[program].to_string();
            let page = Some(writer.clone().into_bytes());
            assert_eq!(volume(&*store, *program, [0, 1, 5]), (version + 1, [Some(b"before".to_vec()), page, None]));
            let raw = blocking(|| store.volume_snapshot(*program).unwrap().raw().unwrap());
            assert_eq!(raw, (*program != programs[0]).then(|| writer.into_bytes()));
        }
    }
    assert_eq!(open, []);
    assert_eq!(store.contradictions().await.unwrap(), Vec::<String>::new());
}

/// Small numbers that differ each time, for who does what.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        // A step of a linear congruential generator; its upper bits are good enough for this.
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// What a controller's run adds to the volume: once for each run that counted.
fn mark(task: TaskId, stage: Stage) -> String {
    format!("{task}/{};", stage.as_str())
}

async fn is_over(store: &dyn Store) -> bool {
    let counts = store.task_counts().await.unwrap().0;
    counts.iter().all(|(state, count)| state.is_finished() || *count == 0)
}

async fn work(store: Arc<dyn Store>, program: ProgramId, mut dice: Dice) {
    let begun = Instant::now();
    while !is_over(&*store).await {
        assert!(begun.elapsed() < PATIENCE, "tasks are left that nobody finishes");
        let stage = Stage::ALL[dice.roll(3) as usize];
        // Whoever is slow has lost its leases before it begins.
        let slow = dice.roll(4) == 0;
        let lease = if slow { Duration::ZERO } else { HOUR };
        for claim in store.claim(stage, "worker", lease, 1 + dice.roll(3) as usize).await.unwrap() {
            match dice.roll(8) {
                0 if slow => {}
                1 => {
                    let outcome = postponed(Timestamp::UNIX_EPOCH, true);
                    ends(store.finish_step(claim.task.id, claim.task.fence, outcome).await.map(drop), &claim);
                }
                _ => run(&*store, program, &claim).await,
            }
        }
    }
}

/// Does a step as the engine does: what a controller wrote is written again on top of what came between.
async fn run(store: &dyn Store, program: ProgramId, claim: &Claim) {
    let (id, fence) = (claim.task.id, claim.task.fence);
    loop {
        let outcome = match success(claim.stage) {
            StepOutcome::Executed { witness, event, .. } => {
                StepOutcome::Executed { witness, volume: add(store, program, claim), event }
            }
            StepOutcome::Delivered { result, event, .. } => {
                StepOutcome::Delivered { volume: add(store, program, claim), result, event }
            }
            other => other,
        };
        match store.finish_step(id, fence, outcome).await {
            Err(StoreError::VolumeConflict { .. }) => {}
            ended => return ends(ended.map(drop), claim),
        }
    }
}

fn add(store: &dyn Store, program: ProgramId, claim: &Claim) -> VolumeWrite {
    let (based_on, [page]) = volume(store, program, [0]);
    let page = [page.unwrap_or_default(), mark(claim.task.id, claim.stage).into_bytes()].concat();
    VolumeWrite { based_on, pages: vec![(0, Some(page))], ..VolumeWrite::default() }
}

/// A step ends, or its claim is over.
fn ends(ended: Result<(), StoreError>, claim: &Claim) {
    match ended {
        Ok(()) => {}
        Err(StoreError::StaleFence { task, fence }) => assert_eq!((task, fence), (claim.task.id, claim.task.fence)),
        Err(other) => panic!("{other}"),
    }
}

/// Cancels every so manieth task, some of them before they are claimed and some under a worker's hands.
async fn cancel(store: Arc<dyn Store>, tasks: Vec<TaskId>) {
    for id in tasks.into_iter().step_by(7) {
        store.cancel(id).await.unwrap();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub(crate) async fn workers_that_race_keep_every_promise<B: Backing>() {
    let backing = B::new().await;
    let second = backing.second().await.unwrap_or_else(|| backing.store());
    let stores = [backing.store(), second];
    let program = program(&*stores[0], 1).await;
    let mut tasks = Vec::new();
    for index in 0..TASKS {
        let new = NewTask { owner: owner(["alice", "bob", "carol"][index % 3]), ..new_task(&program) };
        tasks.push(admitted(stores[0].admit(new, ROOM).await.unwrap()).id);
    }
    let seed = Timestamp::now().as_microsecond() as u64;
    let mut running: Vec<_> = (0..WORKERS)
        .map(|worker| tokio::spawn(work(stores[worker % 2].clone(), program.id, Dice(seed + worker as u64))))
        .collect();
    running.push(tokio::spawn(cancel(stores[1].clone(), tasks.clone())));
    for part in running {
        part.await.unwrap();
    }

    let store = &*stores[1];
    let listed = store.tasks(TaskFilter::default(), None, usize::MAX).await.unwrap().items;
    assert_eq!(listed.iter().rev().map(|task| task.id).collect::<Vec<_>>(), tasks);
    let mut marks = BTreeSet::new();
    let mut all = Vec::new();
    for task in listed {
        assert!(matches!(task.state, TaskState::Delivered | TaskState::Cancelled), "{task:?}");
        let events = events(store, task.id).await;
        check_history(&events, task.state, task.fence);
        for (name, stage) in [("executed", Stage::Execute), ("delivered", Stage::Deliver)] {
            let times = events.iter().filter(|event| event.kind.name == name).count();
            assert!(times <= 1, "{} was {name} {times} times", task.id);
            marks.extend((times == 1).then(|| mark(task.id, stage)));
        }
        all.extend(events);
    }
    all.sort_by_key(|event| event.seq);
    assert_eq!(store.owner_events(None, 0, usize::MAX).await.unwrap(), all);

    // Each run that counted has left its mark, once, and no other has.
    let (version, [page]) = volume(store, program.id, [0]);
    let page = String::from_utf8(page.unwrap_or_default()).unwrap();
    let found: Vec<_> = page.split_inclusive(';').map(str::to_owned).collect();
    assert_eq!((version, found.len()), (marks.len() as u64, marks.len()));
    assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), marks);
    for stage in Stage::ALL {
        assert_eq!(store.claim(stage, "worker", HOUR, 1).await.unwrap(), []);
        assert_eq!(store.next_ready(stage).await.unwrap(), None);
    }
}

/// Events follow one another as the states of a task's life do, and claims' fences grow.
fn check_history(events: &[Event], state: TaskState, fence: u64) {
    use TaskState::{Cancelled, Delivered, Delivering, Executing, Proving, Queued};
    assert_eq!((events[0].kind.name.as_str(), events[0].state), ("admitted", Queued));
    for pair in events.windows(2) {
        let [before, after] = [&pair[0], &pair[1]].map(|event| event.state);
        let follows = match pair[1].kind.name.as_str() {
            "claimed" => matches!(
                (before, after),
                (Queued | Executing, Executing) | (Proving, Proving) | (Delivering, Delivering)
            ),
            "executed" => (before, after) == (Executing, Proving),
            "proved" => (before, after) == (Proving, Delivering),
            "delivered" => (before, after) == (Delivering, Delivered),
            "postponed" => {
                matches!((before, after), (Executing, Queued) | (Proving, Proving) | (Delivering, Delivering))
            }
            "cancelled" => !before.is_finished() && after == Cancelled,
            _ => false,
        };
        assert!(follows, "{} after {before}: {events:?}", pair[1].kind.name);
    }
    assert_eq!(events.last().map(|event| event.state), Some(state));
    let fences: Vec<_> = events.iter().filter_map(|event| event.kind.detail["fence"].as_u64()).collect();
    assert!(fences.is_sorted_by(|one, next| one < next), "{fences:?}");
    assert!(fences.last().is_none_or(|last| *last <= fence), "{fences:?}, {fence}");
}
