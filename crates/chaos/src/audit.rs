//! What must be true once everything is healed and finished, read through the public API.

use coprocessor_api::{
    EventView, TaskState, TaskView, VerifyRequest,
    client::{PathContent, Whose},
};
use coprocessor_types::{ProgramId, TaskId};
use futures::{StreamExt, stream};
use jiff::Timestamp;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::{
    book::{Book, Breach, Entry},
    endings, guest,
    owners::{Miss, Owner, PAGE, answer},
    receiver::Received,
    watch::Watcher,
};

/// Requests at once.
const AT_ONCE: usize = 8;

/// What was looked at, beside what was found to be wrong, which is in the book.
#[derive(Clone, Debug, Default)]
pub(crate) struct Audit {
    /// Tasks by class and by how they ended.
    pub(crate) endings: BTreeMap<(&'static str, String), usize>,
    /// When tasks were delivered, in order.
    pub(crate) delivered_at: Vec<Timestamp>,
    /// From acknowledgement to delivery.
    pub(crate) latencies: Vec<Duration>,
    /// Lines in all ledgers.
    pub(crate) effects: usize,
    /// Proofs fetched and verified.
    pub(crate) proofs: usize,
    /// Events that the watchers had to see.
    pub(crate) events: usize,
    /// Tasks tried again by their owners.
    pub(crate) retried: usize,
    /// Wishes that needed more than one request.
    pub(crate) asked_again: usize,
    /// Claims that ended otherwise than they were to: tasks claimed more often than their stages need.
    pub(crate) claims_repeated: usize,
}

/// Looks at everything. What is wrong is written into the book.
pub(crate) async fn audit(owners: &[Owner], book: &Book, watchers: &[Watcher], received: &Received) -> Audit {
    let mut audit = Audit::default();
    for (at, owner) in owners.iter().enumerate() {
        let inspection = Inspection { owner, at, book };
        if let Err(miss) = inspection.run(&watchers[at], received, &mut audit).await {
            book.violate(Breach::Other, format!("{}'s tasks could not be inspected: {miss}", owner.name));
        }
    }
    for bad in &received.bad {
        book.violate(Breach::Other, bad);
    }
    audit.delivered_at.sort_unstable();
    audit.latencies.sort_unstable();
    audit
}

/// One owner's tasks.
struct Inspection<'a> {
    owner: &'a Owner,
    at: usize,
    book: &'a Book,
}

impl Inspection<'_> {
    async fn run(&self, watcher: &Watcher, received: &Received, audit: &mut Audit) -> Result<(), Miss> {
        let entries: Vec<Entry> = self.book.entries().into_iter().filter(|entry| entry.wish.owner == self.at).collect();
        let tasks: BTreeMap<String, TaskView> =
            self.owner.tasks(None).await?.into_iter().map(|task| (task.id.clone(), task)).collect();
        let events = self.events().await?;
        let ledgers = self.ledgers().await?;
        audit.effects += ledgers.values().map(|(_, count)| count).sum::<usize>();
        self.one_task_a_wish(&entries, &tasks);
        let mut by_task: BTreeMap<&str, Vec<&EventView>> = BTreeMap::new();
        for event in &events {
            by_task.entry(&event.task).or_default().push(event);
        }
        for entry in &entries {
            let Some(id) = &entry.task else { continue };
            let Some(task) = tasks.get(id) else {
                self.book.violate(Breach::Lost, format!("acknowledged task {id} is unknown to the service"));
                continue;
            };
            let history = by_task.get(id.as_str()).map_or(&[][..], Vec::as_slice);
            self.task(entry, task, history, audit);
            self.effect(task, &ledgers);
        }
        self.webhooks(&tasks, received).await?;
        self.ledgers_hold_nothing_else(&tasks, &ledgers);
        audit.events += events.len();
        self.watched(&events, watcher);
        audit.proofs += self.proofs(&entries, &tasks).await;
        Ok(())
    }

    /// How a task ended, and whether it may have ended so.
    fn task(&self, entry: &Entry, task: &TaskView, history: &[&EventView], audit: &mut Audit) {
        match endings::judge(entry, task) {
            Ok(ending) => *audit.endings.entry((entry.wish.class.as_str(), ending)).or_default() += 1,
            Err((breach, what)) => {
                *audit.endings.entry((entry.wish.class.as_str(), "NOT AS PROMISED".to_owned())).or_default() += 1;
                self.book.violate(breach, format!("task {}: {what}", task.id));
            }
        }
        for (breach, what) in endings::judge_history(task, history) {
            self.book.violate(breach, format!("task {}: {what}", task.id));
        }
        let claims = history.iter().filter(|event| event.name == "claimed").count();
        audit.claims_repeated += usize::from(task.state == TaskState::Delivered && claims > 3);
        audit.retried += usize::from(entry.retries > 0);
        audit.asked_again += usize::from(entry.requests > 1);
        if let Some(delivered) = history.iter().find(|event| event.name == "delivered") {
            audit.delivered_at.push(delivered.at);
            audit.latencies.push(delivered.at.duration_since(task.created_at).unsigned_abs());
        }
    }

    /// Each wish is one task, whatever became of its answers.
    fn one_task_a_wish(&self, entries: &[Entry], tasks: &BTreeMap<String, TaskView>) {
        let acknowledged: BTreeSet<&str> = entries.iter().filter_map(|entry| entry.task.as_deref()).collect();
        for id in tasks.keys().filter(|id| !acknowledged.contains(id.as_str())) {
            let what = format!("task {id} of {} is there, and nobody was told of it", self.owner.name);
            self.book.violate(Breach::Doubled, what);
        }
        let mut by_args: BTreeMap<String, &str> = BTreeMap::new();
        for task in tasks.values() {
            if let Some(other) = by_args.insert(task.args.to_string(), &task.id) {
                self.book.violate(Breach::Doubled, format!("tasks {other} and {} are of one wish", task.id));
            }
        }
    }

    /// The entrypoint's write is in the volume once for a delivered task, and else not at all.
    fn effect(&self, task: &TaskView, ledgers: &BTreeMap<String, (String, usize)>) {
        let (program, count) = ledgers.get(&task.id).map_or(("no program", 0), |(program, count)| (program, *count));
        let expected = usize::from(task.state == TaskState::Delivered);
        if count != expected {
            let breach = if count > expected { Breach::Doubled } else { Breach::Lost };
            let what =
                format!("task {} is {}, and its effect is in its volume {count} times", task.id, task.state.as_str());
            self.book.violate(breach, what);
        } else if count > 0 && program != task.program {
            self.book.violate(
                Breach::Other,
                format!("the effect of task {} is in the volume of program {program}", task.id),
            );
        }
    }

    fn ledgers_hold_nothing_else(
        &self,
        tasks: &BTreeMap<String, TaskView>,
        ledgers: &BTreeMap<String, (String, usize)>,
    ) {
        for (id, (program, _)) in ledgers.iter().filter(|(id, _)| !tasks.contains_key(*id)) {
            let what = format!(
                "the volume of program {program} has an effect of {id}, which is no task of {}",
                self.owner.name
            );
            self.book.violate(Breach::Doubled, what);
        }
    }

    /// The last event of each finished task came to the receiver.
    async fn webhooks(&self, tasks: &BTreeMap<String, TaskView>, received: &Received) -> Result<(), Miss> {
        let untold = |task: &&TaskView| {
            let event = (task.id.clone(), task.state.as_str().to_owned());
            task.is_finished() && !received.events.contains_key(&event)
        };
        let mut untold = tasks.values().filter(untold).peekable();
        if untold.peek().is_none() {
            return Ok(());
        }
        let deliveries = self.owner.deliveries().await?;
        for task in untold {
            let name = task.state.as_str();
            let of_it =
                deliveries.iter().find(|delivery| delivery.event.task == task.id && delivery.event.name == name);
            let fate = match of_it {
                None => "it has no delivery".to_owned(),
                Some(it) => format!(
                    "its delivery {} is {:?} after {} attempts, made {}, due {:?}, last {:?}",
                    it.id, it.state, it.attempts, it.created_at, it.next_at, it.last
                ),
            };
            self.book.violate(Breach::Lost, format!("task {} is {name}, and no webhook said so: {fate}", task.id));
        }
        Ok(())
    }

    /// The watcher saw what the service lists: each event once, in order.
    fn watched(&self, events: &[EventView], watcher: &Watcher) {
        let listed: Vec<u64> = events.iter().map(|event| event.seq).collect();
        let seen = watcher.events();
        if seen == listed {
            return;
        }
        let (listed_set, seen_set): (BTreeSet<_>, BTreeSet<_>) = (listed.iter().collect(), seen.iter().collect());
        let missed: Vec<_> = listed_set.difference(&seen_set).take(10).collect();
        let strange: Vec<_> = seen_set.difference(&listed_set).take(10).collect();
        let what = format!(
            "{}'s stream gave {} events, the service lists {}; missed {missed:?}, not listed {strange:?}",
            self.owner.name,
            seen.len(),
            listed.len()
        );
        self.book.violate(Breach::Lost, what);
    }

    /// All events of the owner, oldest first.
    async fn events(&self) -> Result<Vec<EventView>, Miss> {
        let mut events: Vec<EventView> = Vec::new();
        loop {
            let after = events.last().map_or(0, |event| event.seq);
            let page = answer(self.owner.doors[0].all_events(&Whose::Mine, Some(after), Some(PAGE))).await?.items;
            if page.is_empty() {
                return Ok(events);
            }
            events.extend(page);
        }
    }

    /// How often each task's id is in the volumes of the owner's programs, and in that of which.
    async fn ledgers(&self) -> Result<BTreeMap<String, (String, usize)>, Miss> {
        let mut found: BTreeMap<String, (String, usize)> = BTreeMap::new();
        for program in &self.owner.programs {
            for digit in guest::LEDGERS {
                let Some(ledger) = self.ledger(program, digit).await? else { continue };
                match guest::ids_of(&ledger) {
                    Ok(ids) => {
                        for id in ids {
                            found.entry(id).or_insert_with(|| (program.to_string(), 0)).1 += 1;
                        }
                    }
                    Err(torn) => self.book.violate(Breach::Other, format!("program {program}, {digit}: {torn}")),
                }
            }
        }
        Ok(found)
    }

    async fn ledger(&self, program: &ProgramId, digit: char) -> Result<Option<Vec<u8>>, Miss> {
        let path = guest::ledger_path(digit);
        match answer(self.owner.doors[0].read(program, &path)).await {
            Ok(PathContent::File(file)) => Ok(Some(answer(file.bytes()).await?.to_vec())),
            Ok(PathContent::Directory(_)) => {
                self.book.violate(Breach::Other, format!("{path} of program {program} is a directory"));
                Ok(None)
            }
            Err(Miss::Refused(problem)) if problem.code == "unknown_file" => Ok(None),
            Err(miss) => Err(miss),
        }
    }

    /// Every proof of a delivered task can be fetched, holds, and is of that task's own witness.
    async fn proofs(&self, entries: &[Entry], tasks: &BTreeMap<String, TaskView>) -> usize {
        let delivered = entries.iter().filter_map(|entry| {
            let task = tasks.get(entry.task.as_ref()?)?;
            (task.state == TaskState::Delivered).then_some((entry, task))
        });
        let checks = stream::iter(delivered).map(|(entry, task)| async move {
            let checked = self.proof(entry, task).await;
            checked
                .map_err(|(breach, what)| self.book.violate(breach, format!("the proof of task {}: {what}", task.id)))
        });
        checks.buffer_unordered(AT_ONCE).filter(|checked| std::future::ready(checked.is_ok())).count().await
    }

    async fn proof(&self, entry: &Entry, task: &TaskView) -> Result<(), (Breach, String)> {
        let door = &self.owner.doors[entry.wish.number % self.owner.doors.len()];
        let id: TaskId = task.id.parse().map_err(|_| (Breach::Other, "its task's id is none".to_owned()))?;
        let missing = |miss: Miss| (Breach::Lost, miss.to_string());
        let proof = answer(door.proof(&id)).await.map_err(missing)?;
        let expected = guest::greeting(&entry.wish.name());
        if proof.output.0 != expected {
            let what = format!("its output is {:?}", String::from_utf8_lossy(&proof.output.0));
            return Err((Breach::Other, what));
        }
        let request = VerifyRequest {
            program: Some(task.program.clone()),
            backend: None,
            verifying_key: None,
            kind: proof.kind,
            proof: proof.proof,
            public_inputs: proof.public_inputs,
        };
        let verdict = answer(door.verify(&request)).await.map_err(missing)?;
        if verdict.valid && verdict.own_root && verdict.root == task.root {
            Ok(())
        } else {
            Err((Breach::Other, format!("it does not hold: {verdict:?}")))
        }
    }
}
