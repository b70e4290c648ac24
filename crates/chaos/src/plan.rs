//! Which faults come when: drawn from a seed before anything is started.

use serde::Serialize;
use std::{fmt, time::Duration};

use crate::random::Random;

/// A part of the system that can be harmed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Part {
    /// A coprocessor's process.
    Coprocessor,
    /// A prover node's process.
    Node,
    /// PostgreSQL.
    Database,
    /// Connections of callers to a coprocessor.
    CallerLink,
    /// Connections of coprocessors to a node.
    NodeLink,
    /// A coprocessor's connections to PostgreSQL.
    DatabaseLink,
    /// A coprocessor's connections to the blob server.
    BlobLink,
    /// The embedded store's disk.
    Disk,
    /// The receiver of webhooks.
    Receiver,
}

/// What is done to it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Harm {
    /// SIGKILL; started again.
    Kill,
    /// SIGTERM; started again.
    Stop,
    /// SIGSTOP for longer than a lease; then SIGCONT.
    Pause,
    /// Every connection is broken; new ones are taken at once.
    Cut,
    /// Every connection is broken, and none is taken for a while.
    Refuse,
    /// Connections stay, and carry nothing for a while.
    Stall,
    /// Requests arrive and their answers do not; then the connections are broken.
    Swallow,
    /// Not a byte is left free for a while.
    Fill,
    /// Every request is answered with an error for a while.
    Fail,
}

impl Part {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Coprocessor => "coprocessor",
            Self::Node => "node",
            Self::Database => "database",
            Self::CallerLink => "caller link",
            Self::NodeLink => "node link",
            Self::DatabaseLink => "database link",
            Self::BlobLink => "blob link",
            Self::Disk => "disk",
            Self::Receiver => "receiver",
        }
    }
}

impl Harm {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Stop => "stop",
            Self::Pause => "pause",
            Self::Cut => "cut",
            Self::Refuse => "refuse",
            Self::Stall => "stall",
            Self::Swallow => "swallow",
            Self::Fill => "fill",
            Self::Fail => "fail",
        }
    }
}

/// A part and what is done to it, such as `node link cut`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
pub(crate) struct Kind {
    /// The part.
    pub(crate) part: Part,
    /// What is done to it.
    pub(crate) harm: Harm,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.part.as_str(), self.harm.as_str())
    }
}

/// One fault.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub(crate) struct Fault {
    /// Its place in the plan, from 0.
    pub(crate) number: usize,
    /// When, from the start of the load.
    pub(crate) at: Duration,
    /// What.
    pub(crate) kind: Kind,
    /// Which of the parts of that sort.
    pub(crate) index: usize,
    /// How long it lasts.
    pub(crate) hold: Duration,
}

/// What there is to harm, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) coprocessors: usize,
    pub(crate) nodes: usize,
    /// The store is PostgreSQL.
    pub(crate) postgres: bool,
    /// The embedded store is on a disk that can be filled.
    pub(crate) disk: bool,
    /// How long a claim holds: pauses are longer.
    pub(crate) lease: Duration,
}

/// Time that a part is left alone after a fault, to be started again and do something.
const REST: Duration = Duration::from_millis(700);

/// Draws `count` faults over `span`: each kind once while the count allows, the others by weight. No two at once on the
/// same part; on different parts they fall together as they like.
pub(crate) fn draw(seed: u64, count: usize, span: Duration, shape: &Shape) -> Vec<Fault> {
    let mut random = Random::new(seed);
    let weights = weights(shape);
    let mut kinds: Vec<Kind> = weights.iter().map(|(kind, _)| *kind).collect();
    shuffle(&mut kinds, &mut random);
    let total: usize = weights.iter().map(|(_, weight)| weight).sum();
    while kinds.len() < count {
        let mut place = random.below(total);
        let drawn = weights.iter().find(|(_, weight)| match place.checked_sub(*weight) {
            Some(rest) => {
                place = rest;
                false
            }
            None => true,
        });
        kinds.extend(drawn.map(|(kind, _)| *kind));
    }
    kinds.truncate(count);
    shuffle(&mut kinds, &mut random);
    let mut times: Vec<Duration> = (0..count).map(|_| random.between(Duration::ZERO, span)).collect();
    times.sort_unstable();
    let mut busy: Vec<(Part, usize, Duration)> = Vec::new();
    let mut faults: Vec<Fault> = Vec::with_capacity(count);
    for (at, kind) in times.into_iter().zip(kinds) {
        let (index, at) = place(kind, at, shape, &busy, &mut random);
        let hold = hold(kind, shape, &mut random);
        busy.retain(|(part, which, _)| (*part, *which) != (kind.part, index));
        busy.push((kind.part, index, at + hold + REST));
        faults.push(Fault { number: 0, at, kind, index, hold });
    }
    faults.sort_by_key(|fault| fault.at);
    faults.iter_mut().enumerate().for_each(|(number, fault)| fault.number = number);
    faults
}

/// How many parts of that sort there are.
const fn parts(part: Part, shape: &Shape) -> usize {
    match part {
        Part::Coprocessor | Part::CallerLink | Part::DatabaseLink | Part::BlobLink => shape.coprocessors,
        Part::Node | Part::NodeLink => shape.nodes,
        Part::Database | Part::Disk | Part::Receiver => 1,
    }
}

/// One that is free at that time; else the one that is free first, and when.
fn place(
    kind: Kind,
    at: Duration,
    shape: &Shape,
    busy: &[(Part, usize, Duration)],
    random: &mut Random,
) -> (usize, Duration) {
    let free_at = |index: usize| {
        let taken = busy.iter().find(|(part, which, _)| (*part, *which) == (kind.part, index));
        taken.map_or(Duration::ZERO, |(_, _, until)| *until)
    };
    let all: Vec<usize> = (0..parts(kind.part, shape)).collect();
    let free: Vec<usize> = all.iter().copied().filter(|index| free_at(*index) <= at).collect();
    if !free.is_empty() {
        return (*random.of(&free), at);
    }
    let first = all.into_iter().min_by_key(|index| free_at(*index)).unwrap_or(0);
    (first, free_at(first).max(at))
}

fn hold(kind: Kind, shape: &Shape, random: &mut Random) -> Duration {
    let ms = Duration::from_millis;
    match kind.harm {
        // A part that is gone is mostly back soon, and sometimes later than a lease.
        Harm::Kill | Harm::Stop if random.percent(20) => random.between(shape.lease, shape.lease + ms(1500)),
        Harm::Kill | Harm::Stop => random.between(ms(0), ms(600)),
        Harm::Pause => random.between(shape.lease + ms(500), shape.lease + ms(2500)),
        Harm::Cut => Duration::ZERO,
        Harm::Refuse | Harm::Fail => random.between(ms(200), ms(2500)),
        Harm::Swallow => random.between(ms(20), ms(800)),
        Harm::Stall => random.between(ms(300), shape.lease + ms(2500)),
        Harm::Fill => random.between(ms(500), ms(3000)),
    }
}

fn weights(shape: &Shape) -> Vec<(Kind, usize)> {
    let mut weights = vec![
        (Part::Coprocessor, Harm::Kill, 12),
        (Part::Coprocessor, Harm::Stop, 5),
        (Part::Coprocessor, Harm::Pause, 6),
        (Part::Node, Harm::Kill, 8),
        (Part::Node, Harm::Stop, 4),
        (Part::Node, Harm::Pause, 5),
        (Part::NodeLink, Harm::Cut, 6),
        (Part::NodeLink, Harm::Refuse, 4),
        (Part::NodeLink, Harm::Stall, 4),
        (Part::NodeLink, Harm::Swallow, 3),
        (Part::CallerLink, Harm::Cut, 4),
        (Part::CallerLink, Harm::Swallow, 6),
        (Part::CallerLink, Harm::Refuse, 2),
        (Part::CallerLink, Harm::Stall, 3),
        (Part::Receiver, Harm::Fail, 2),
    ];
    if shape.postgres {
        weights.extend([
            (Part::Database, Harm::Kill, 6),
            (Part::DatabaseLink, Harm::Cut, 6),
            (Part::DatabaseLink, Harm::Swallow, 6),
            (Part::DatabaseLink, Harm::Refuse, 5),
            (Part::DatabaseLink, Harm::Stall, 5),
            (Part::BlobLink, Harm::Cut, 4),
            (Part::BlobLink, Harm::Swallow, 3),
            (Part::BlobLink, Harm::Refuse, 3),
            (Part::BlobLink, Harm::Stall, 3),
        ]);
    }
    if shape.disk {
        weights.push((Part::Disk, Harm::Fill, 8));
    }
    weights.into_iter().map(|(part, harm, weight)| (Kind { part, harm }, weight)).collect()
}

fn shuffle<T>(items: &mut [T], random: &mut Random) {
    for end in (1..items.len()).rev() {
        items.swap(end, random.below(end + 1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const SHAPE: Shape =
        Shape { coprocessors: 2, nodes: 2, postgres: true, disk: false, lease: Duration::from_secs(2) };

    #[test]
    fn a_seed_determines_the_plan() {
        let span = Duration::from_secs(600);
        assert_eq!(draw(7, 500, span, &SHAPE), draw(7, 500, span, &SHAPE));
        assert_ne!(draw(7, 500, span, &SHAPE), draw(8, 500, span, &SHAPE));
    }

    #[test]
    fn a_plan_has_every_kind_in_order_of_time() {
        let plan = draw(3, 40, Duration::from_secs(30), &SHAPE);
        assert_eq!(plan.len(), 40);
        let kinds: BTreeSet<_> = plan.iter().map(|fault| fault.kind).collect();
        let all: BTreeSet<_> = weights(&SHAPE).into_iter().map(|(kind, _)| kind).collect();
        assert_eq!(kinds, all);
        assert!(plan.is_sorted_by_key(|fault| fault.at));
        assert!(plan.iter().enumerate().all(|(number, fault)| fault.number == number));
    }

    #[test]
    fn no_part_is_harmed_while_it_still_is() {
        let plan = draw(5, 500, Duration::from_secs(120), &SHAPE);
        for (at, fault) in plan.iter().enumerate() {
            assert!(fault.index < parts(fault.kind.part, &SHAPE));
            for later in &plan[at + 1..] {
                let same = (later.kind.part, later.index) == (fault.kind.part, fault.index);
                assert!(!same || later.at >= fault.at + fault.hold, "{fault:?} and {later:?}");
            }
        }
    }

    #[test]
    fn pauses_outlast_leases() {
        let plan = draw(11, 500, Duration::from_secs(600), &SHAPE);
        let mut pauses = plan.iter().filter(|fault| fault.kind.harm == Harm::Pause).peekable();
        assert!(pauses.peek().is_some());
        assert!(pauses.all(|fault| fault.hold > SHAPE.lease));
    }
}
