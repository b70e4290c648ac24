//! The load: tasks asked for at a steady rate, by callers that ask again with the same key until they have an answer.

use coprocessor_api::{Problem, TaskRequest, TaskState};
use coprocessor_types::TaskId;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{sync::Semaphore, task::JoinSet};

use crate::{
    book::{Book, Breach, Cancel, Class, Wish},
    owners::{Miss, Owner, PROGRAMS, answer},
    random::Random,
};

/// Callers at once; more wait for their turn.
const CALLERS: usize = 256;
/// Wait between two looks at a task.
const LOOK: Duration = Duration::from_millis(40);
/// Longest wait before a caller asks again.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// What to ask for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// Tasks a second.
    pub(crate) rate: u32,
    /// How long.
    pub(crate) span: Duration,
    /// How long callers go on asking for an answer after that.
    pub(crate) patience: Duration,
}

/// Asks for tasks over the load's span; returns when every caller has its answer or has given up.
pub(crate) async fn ask(load: Load, owners: Arc<Vec<Owner>>, book: Arc<Book>, mut random: Random) {
    let began = Instant::now();
    let end = began + load.span + load.patience;
    let interval = Duration::from_secs(1) / load.rate;
    let turns = Arc::new(Semaphore::new(CALLERS));
    let mut callers = JoinSet::new();
    let count = usize::try_from(load.span.as_secs()).unwrap_or(usize::MAX).saturating_mul(load.rate as usize);
    for number in 0..count {
        let due = interval.saturating_mul(u32::try_from(number).unwrap_or(u32::MAX));
        tokio::time::sleep(due.saturating_sub(began.elapsed())).await;
        // Behind by much: the callers' answers are slow, and asking for more would not be a steady rate.
        if began.elapsed() > load.span {
            break;
        }
        let wish = wish(number, owners.len(), &mut random);
        book.wish(wish.clone());
        let caller =
            Caller { wish, owners: Arc::clone(&owners), book: Arc::clone(&book), end, random: random.branch() };
        let Ok(turn) = Arc::clone(&turns).acquire_owned().await else { break };
        callers.spawn(async move {
            caller.live().await;
            drop(turn);
        });
        while callers.try_join_next().is_some() {}
    }
    while callers.join_next().await.is_some() {}
}

/// Looks at acknowledged tasks at random until it is aborted: none may be unknown, and none may leave a final state.
pub(crate) async fn look(owners: Arc<Vec<Owner>>, book: Arc<Book>, mut random: Random) {
    loop {
        tokio::time::sleep(LOOK).await;
        let acknowledged = book.acknowledged();
        if acknowledged == 0 {
            continue;
        }
        let Some(entry) = book.nth_acknowledged(random.below(acknowledged)) else { continue };
        let (Some(id), owner) = (entry.task.clone(), &owners[entry.wish.owner]) else { continue };
        let Ok(task) = id.parse::<TaskId>() else { continue };
        match answer(owner.door(&mut random).task(&task)).await {
            Ok(view) => match entry.seen {
                // A failed task goes on when its owner has it tried again.
                Some(seen) if seen != view.state && seen != TaskState::Failed => {
                    let what = format!("task {id} was {}, and is {}", seen.as_str(), view.state.as_str());
                    book.violate(Breach::Lost, what);
                }
                _ if view.state.is_finished() => book.update(entry.wish.number, |entry| entry.seen = Some(view.state)),
                _ => {}
            },
            Err(Miss::Refused(problem)) => book.violate(Breach::Lost, format!("acknowledged task {id}: {problem}")),
            Err(Miss::Bug(error)) => book.violate(Breach::Other, format!("looking at task {id}: {error}")),
            Err(Miss::Passing(_)) => {}
        }
    }
}

fn wish(number: usize, owners: usize, random: &mut Random) -> Wish {
    let ms = Duration::from_millis;
    let class = match random.below(100) {
        0..7 => Class::Cancelled(random.between(ms(0), ms(1500))),
        7..11 => Class::Hurried(Duration::from_secs(1 + random.next() % 3)),
        11..14 => Class::WitnessTraps,
        14..17 => Class::CircuitPanics,
        17..20 => Class::DeliveryTraps,
        _ => Class::Plain,
    };
    Wish { number, owner: random.below(owners), program: random.below(PROGRAMS), class }
}

/// Somebody who wants one task.
struct Caller {
    wish: Wish,
    owners: Arc<Vec<Owner>>,
    book: Arc<Book>,
    /// When it gives up.
    end: Instant,
    random: Random,
}

impl Caller {
    async fn live(mut self) {
        let Some(task) = self.submit().await else { return };
        if let Class::Cancelled(after) = self.wish.class {
            tokio::time::sleep(after).await;
            self.cancel(task).await;
        }
    }

    /// Asks until the task is acknowledged.
    async fn submit(&mut self) -> Option<TaskId> {
        let (number, key) = (self.wish.number, self.wish.key());
        let deadline_seconds = match self.wish.class {
            Class::Hurried(deadline) => Some(deadline.as_secs()),
            _ => None,
        };
        let request = TaskRequest {
            args: self.wish.args(),
            payload: self.wish.payload(),
            kind: Some("mock".to_owned()),
            priority: i16::try_from(self.random.below(5)).unwrap_or(0) - 2,
            deadline_seconds,
            ..TaskRequest::default()
        };
        let owners = Arc::clone(&self.owners);
        let owner = &owners[self.wish.owner];
        let program = owner.programs[self.wish.program];
        for asked in 0.. {
            self.book.update(number, |entry| entry.requests += 1);
            let door = owner.door(&mut self.random);
            match answer(door.create_task(&program, &request, Some(&key))).await {
                Ok(view) => {
                    self.book.acknowledge(number, &view.id);
                    return view.id.parse().ok();
                }
                Err(miss) => self.missed(miss, "asking for a task").ok()?,
            }
            if Instant::now() >= self.end {
                self.book.violate(Breach::Other, format!("wish {number} was never answered"));
                return None;
            }
            self.pause(asked).await;
        }
        None
    }

    /// Asks until the task is cancelled or known to have finished.
    async fn cancel(&mut self, task: TaskId) {
        let number = self.wish.number;
        let owners = Arc::clone(&self.owners);
        let owner = &owners[self.wish.owner];
        for asked in 0.. {
            let door = owner.door(&mut self.random);
            let told = match answer(door.cancel(&task)).await {
                Ok(_) => Some(Cancel::Accepted),
                // Where an earlier request went unanswered, that may be what finished it.
                Err(Miss::Refused(problem)) if problem.code == "task_finished" && asked == 0 => Some(Cancel::TooLate),
                Err(Miss::Refused(problem)) if problem.code == "task_finished" => Some(Cancel::Unanswered),
                Err(miss) => match self.missed(miss, "cancelling") {
                    Ok(()) => None,
                    Err(Reported) => return,
                },
            };
            self.book.update(number, |entry| entry.cancel = told.unwrap_or(Cancel::Unanswered));
            if told.is_some() || Instant::now() >= self.end {
                return;
            }
            self.pause(asked).await;
        }
    }

    /// What to do about a missing answer: go on asking, or (as an error) not. What should not be is written down.
    fn missed(&self, miss: Miss, doing: &str) -> Result<(), Reported> {
        let number = self.wish.number;
        match miss {
            Miss::Passing(_) => Ok(()),
            // It is a bug that is told once; the caller is patient all the same.
            Miss::Bug(error) => {
                self.book.violate(Breach::Other, format!("{doing} (wish {number}): {error}"));
                Ok(())
            }
            Miss::Refused(problem) => {
                self.refused(&problem, doing);
                Err(Reported)
            }
        }
    }

    fn refused(&self, problem: &Problem, doing: &str) {
        self.book.violate(Breach::Other, format!("{doing} (wish {}) was refused: {problem}", self.wish.number));
    }

    async fn pause(&mut self, asked: u32) {
        let longest = Duration::from_millis(100).saturating_mul(1 << asked.min(6)).min(LONGEST_PAUSE);
        tokio::time::sleep(self.random.between(longest / 2, longest)).await;
    }
}

/// What went wrong is in the book.
struct Reported;
