//! What a run came to: as a table for people and as JSON.

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde::Serialize;
use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use crate::{
    audit::Audit,
    book::{Breach, Violation},
    faults::Happened,
    receiver::Received,
    terminal,
};

/// Violations that are shown; all of them are in the JSON.
const SHOWN: usize = 25;

/// The whole of it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) store: &'static str,
    pub(crate) seed: u64,
    pub(crate) coprocessors: usize,
    pub(crate) nodes: usize,
    pub(crate) lease_seconds: u64,
    /// How long faults and load went on, and how long everything took to be finished after that.
    pub(crate) span_seconds: f64,
    pub(crate) settled_seconds: f64,
    pub(crate) tasks_per_second: u32,
    /// Acknowledged tasks that are gone, unfinished, or without their effect; what was done twice; other broken promises.
    pub(crate) lost: usize,
    pub(crate) doubled: usize,
    pub(crate) otherwise_broken: usize,
    pub(crate) violations: Vec<Violation>,
    pub(crate) faults: Vec<FaultFigures>,
    pub(crate) fault_count: usize,
    pub(crate) tasks: TaskFigures,
    /// Starts of processes, the first ones included.
    pub(crate) starts: u32,
    pub(crate) streams: StreamFigures,
    pub(crate) webhooks: WebhookFigures,
}

/// Faults of one kind.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct FaultFigures {
    pub(crate) kind: String,
    pub(crate) count: usize,
    /// From the harm to its end: the process listens again, the link carries, the disk has room.
    pub(crate) lasted_ms: Spread,
    /// From the harm to the next delivery of any task.
    pub(crate) next_delivery_ms: Spread,
}

/// The middle and the largest of some durations, in milliseconds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Spread {
    pub(crate) p50: u64,
    pub(crate) p99: u64,
    pub(crate) max: u64,
}

/// What became of the tasks.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct TaskFigures {
    pub(crate) asked: usize,
    pub(crate) acknowledged: usize,
    /// Of which the answer to the first request never came.
    pub(crate) asked_again: usize,
    pub(crate) endings: Vec<Ending>,
    pub(crate) effects: usize,
    pub(crate) proofs_verified: usize,
    /// Delivered after more than three claims: a step was begun again.
    pub(crate) steps_begun_again: usize,
    /// Failed in passing, and tried again by their owner.
    pub(crate) retried_by_owner: usize,
    pub(crate) admitted_to_delivered_ms: Spread,
}

/// Tasks of one class that ended in one way.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Ending {
    pub(crate) class: &'static str,
    pub(crate) ending: String,
    pub(crate) count: usize,
}

/// What the watchers saw.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct StreamFigures {
    pub(crate) events: usize,
    pub(crate) connections: u32,
}

/// What the receiver got.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct WebhookFigures {
    pub(crate) events: usize,
    /// Sent again though they had been taken: at least once is what is promised.
    pub(crate) repeated: u32,
    pub(crate) refused: u32,
}

impl Spread {
    /// Of durations in any order.
    pub(crate) fn of(durations: impl IntoIterator<Item = Duration>) -> Self {
        let mut ms: Vec<u64> =
            durations.into_iter().map(|duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)).collect();
        ms.sort_unstable();
        let Some(last) = ms.len().checked_sub(1) else { return Self::default() };
        Self { p50: ms[last / 2], p99: ms[last * 99 / 100], max: ms[last] }
    }
}

/// Faults by kind. `delivered` are the times of all deliveries, in order.
pub(crate) fn by_kind(happened: &[Happened], delivered: &[Timestamp]) -> Vec<FaultFigures> {
    let mut kinds: BTreeMap<_, Vec<&Happened>> = BTreeMap::new();
    for fault in happened {
        kinds.entry(fault.fault.kind).or_default().push(fault);
    }
    let figures = kinds.into_iter().map(|(kind, faults)| {
        let next = |fault: &&Happened| {
            let at = delivered.partition_point(|delivered| *delivered <= fault.harmed_at);
            delivered.get(at).map(|delivered| delivered.duration_since(fault.harmed_at).unsigned_abs())
        };
        let lasted = |fault: &&Happened| fault.healed_at.duration_since(fault.harmed_at).unsigned_abs();
        FaultFigures {
            kind: kind.to_string(),
            count: faults.len(),
            lasted_ms: Spread::of(faults.iter().map(lasted)),
            next_delivery_ms: Spread::of(faults.iter().filter_map(next)),
        }
    });
    figures.collect()
}

impl TaskFigures {
    pub(crate) fn of(asked: usize, acknowledged: usize, audit: &Audit) -> Self {
        let endings = audit.endings.iter().map(|((class, ending), count)| Ending {
            class,
            ending: ending.clone(),
            count: *count,
        });
        Self {
            asked,
            acknowledged,
            asked_again: audit.asked_again,
            endings: endings.collect(),
            effects: audit.effects,
            proofs_verified: audit.proofs,
            steps_begun_again: audit.claims_repeated,
            retried_by_owner: audit.retried,
            admitted_to_delivered_ms: Spread::of(audit.latencies.iter().copied()),
        }
    }
}

impl WebhookFigures {
    pub(crate) fn of(received: &Received) -> Self {
        let repeated = received.events.values().map(|count| count - 1).sum();
        Self { events: received.events.len(), repeated, refused: received.refused }
    }
}

/// How many violations are of that sort.
pub(crate) fn count(violations: &[Violation], breach: Breach) -> usize {
    violations.iter().filter(|violation| violation.breach == breach).count()
}

impl Report {
    /// Whether every promise held.
    pub(crate) fn good(&self) -> bool {
        self.violations.is_empty()
    }

    /// Writes it as JSON.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)? + "\n";
        fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Shows it.
    pub(crate) fn print(&self) {
        terminal::heading("Faults");
        let row = |cells: &[&str]| cells.iter().map(|cell| (*cell).to_owned()).collect::<Vec<_>>();
        let mut rows = vec![row(&["kind", "faults", "lasted p50", "max", "next delivery p50", "max"])];
        for figures in &self.faults {
            let cell = |ms: u64| terminal::duration(Duration::from_millis(ms));
            let (lasted, next) = (figures.lasted_ms, figures.next_delivery_ms);
            let mut cells = vec![figures.kind.clone(), figures.count.to_string()];
            cells.extend([lasted.p50, lasted.max, next.p50, next.max].map(cell));
            rows.push(cells);
        }
        rows.push(row(&["all", &self.fault_count.to_string()]));
        terminal::table(&rows);

        terminal::heading("Tasks");
        let mut rows = vec![row(&["asked for", "ended", "tasks"])];
        rows.extend(self.tasks.endings.iter().map(|end| row(&[end.class, &end.ending, &end.count.to_string()])));
        terminal::table(&rows);
        self.print_sums();

        terminal::heading("Promises");
        for violation in self.violations.iter().take(SHOWN) {
            terminal::verdict(false, &violation.what);
        }
        if self.violations.len() > SHOWN {
            terminal::line(format!("  … and {} more", self.violations.len() - SHOWN));
        }
        let verdict = format!(
            "{} of {} tasks acknowledged; {} lost, {} doubled, {} otherwise broken; {} faults, seed {}",
            self.tasks.acknowledged,
            self.tasks.asked,
            self.lost,
            self.doubled,
            self.otherwise_broken,
            self.fault_count,
            self.seed
        );
        terminal::verdict(self.good(), verdict);
    }

    fn print_sums(&self) {
        let Self { tasks, streams, webhooks, .. } = self;
        let ms = |ms: u64| terminal::duration(Duration::from_millis(ms));
        let spread = tasks.admitted_to_delivered_ms;
        terminal::line(format!(
            "\n  {} asked for more than once, {} with a step begun again, {} tried again by their owner",
            tasks.asked_again, tasks.steps_begun_again, tasks.retried_by_owner
        ));
        terminal::line(format!(
            "  {} effects in volumes, {} proofs fetched and verified, {} starts of processes",
            tasks.effects, tasks.proofs_verified, self.starts
        ));
        terminal::line(format!(
            "  admitted to delivered: p50 {}, p99 {}, at most {}; all finished {} after the last fault",
            ms(spread.p50),
            ms(spread.p99),
            ms(spread.max),
            terminal::duration(Duration::from_secs_f64(self.settled_seconds))
        ));
        terminal::line(format!(
            "  {} events followed over {} connections; {} webhooks taken, {} of them again, {} refused",
            streams.events, streams.connections, webhooks.events, webhooks.repeated, webhooks.refused
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Fault, Harm, Kind, Part};
    use jiff::SignedDuration;

    #[test]
    fn spreads_are_of_sorted_durations() {
        let spread = Spread::of([30, 10, 20].map(Duration::from_millis));
        assert_eq!((spread.p50, spread.max), (20, 30));
        assert_eq!(Spread::of([]).max, 0);
    }

    #[test]
    fn the_next_delivery_is_the_first_after_the_harm() {
        let start = Timestamp::now();
        let at = |ms| start + SignedDuration::from_millis(ms);
        let kind = Kind { part: Part::Node, harm: Harm::Kill };
        let fault = Fault { number: 0, at: Duration::ZERO, kind, index: 0, hold: Duration::ZERO };
        let happened = Happened { fault, harmed_at: at(100), healed_at: at(150), error: None };
        let figures = by_kind(&[happened], &[at(50), at(100), at(170), at(300)]);
        assert_eq!(figures.len(), 1);
        assert_eq!(figures[0].kind, "node kill");
        assert_eq!((figures[0].lasted_ms.max, figures[0].next_delivery_ms.max), (50, 70));
    }
}
