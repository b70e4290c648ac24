//! What can happen to a store, as plain data. Numbers that name tasks or claims count around the end of those there are, so
//! that any part of a history is a history too.

use coprocessor_store::Stage;
use proptest::prelude::*;

pub(super) const OWNERS: usize = 3;
pub(super) const PROGRAMS: usize = 2;
pub(super) const WORKERS: usize = 3;
/// Idempotency keys of each owner and program.
pub(super) const KEYS: u8 = 2;

#[derive(Clone, Debug)]
pub(super) enum Operation {
    /// Somebody asks for a proof.
    Submit(Submit),
    /// A worker claims a batch. With `lapsed`, its leases have run out by the next operation.
    Claim { worker: usize, stage: Which, limit: usize, lapsed: bool },
    /// A worker prolongs all it holds, or thinks it holds.
    Heartbeat { worker: usize, lapsed: bool },
    /// A worker is gone, and all it knew: its leases run out.
    Crash { worker: usize },
    /// A worker gives its claim to a node.
    Assign { claim: ClaimOf, node: u8 },
    /// A worker says how far it is.
    Progress { claim: ClaimOf },
    /// A worker ends a step.
    Finish { claim: ClaimOf, how: How },
    /// Somebody cancels a task.
    Cancel { task: usize },
    /// Somebody retries a task, one that has failed or any, with a deadline in so many hours.
    Retry { task: usize, failed: bool, deadline: Option<u8> },
    /// So many hours have passed, for deadlines.
    Expire { hours: u8, limit: usize },
    /// Deploys a program that is not there.
    Deploy { program: usize },
    /// Gives a program another controller.
    SetController { program: usize, version: u8 },
    /// Deletes a program.
    Delete { program: usize },
    /// Writes to a volume outside of any step.
    WriteVolume { program: usize, outdated: bool },
    /// Sets an owner's weight.
    SetWeight { owner: usize, weight: u32 },
    /// Ages out what belongs to tasks that finished no later than this one.
    Collect { what: Aged, up_to: usize },
    /// The process ends, and another begins.
    Reopen,
}

#[derive(Clone, Debug)]
pub(super) struct Submit {
    pub(super) owner: usize,
    pub(super) program: usize,
    /// An idempotency key and which request it is for.
    pub(super) key: Option<(u8, u8)>,
    pub(super) priority: i16,
    /// In so many hours.
    pub(super) deadline: Option<u8>,
    pub(super) total: Option<u64>,
    pub(super) of_owner: Option<u64>,
}

/// A stage to claim for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Which {
    /// One where something is ready, the latest or the earliest.
    Ready { latest: bool },
    /// That one.
    Of(Stage),
}

/// One of the claims that workers remember, the newest being the first, and the fence that is given for it.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClaimOf {
    pub(super) claim: usize,
    pub(super) fence: Fence,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Fence {
    Its,
    OneLess,
    OneMore,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum How {
    /// What the task's stage asks for. A volume is written on top of what is there, or on something outdated.
    Succeed { writes: bool, outdated: bool },
    /// What that stage would ask for.
    As(Stage),
    /// To be tried again at once or much later; the loss of a node counts.
    Postpone { later: bool, counts: bool },
    /// It is over.
    Fail { retryable: bool },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Aged {
    Witnesses,
    Proofs,
    Tasks,
    /// Only what nothing names.
    Blobs,
}

/// A short history. Most of what happens is work.
pub(super) fn history() -> impl Strategy<Value = Vec<Operation>> {
    prop::collection::vec(operation(), 1..60)
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        8 => submit().prop_map(Operation::Submit),
        12 => (0..WORKERS, which(), 1..4usize, prop::bool::weighted(0.15))
            .prop_map(|(worker, stage, limit, lapsed)| Operation::Claim { worker, stage, limit, lapsed }),
        14 => (claim(), how()).prop_map(|(claim, how)| Operation::Finish { claim, how }),
        2 => (0..WORKERS, prop::bool::weighted(0.5)).prop_map(|(worker, lapsed)| Operation::Heartbeat { worker, lapsed }),
        2 => (0..WORKERS).prop_map(|worker| Operation::Crash { worker }),
        2 => (claim(), 0..3u8).prop_map(|(claim, node)| Operation::Assign { claim, node }),
        1 => claim().prop_map(|claim| Operation::Progress { claim }),
        2 => any_task().prop_map(|task| Operation::Cancel { task }),
        3 => (any_task(), prop::bool::weighted(0.8), hours())
            .prop_map(|(task, failed, deadline)| Operation::Retry { task, failed, deadline }),
        2 => (0..6u8, 0..4usize).prop_map(|(hours, limit)| Operation::Expire { hours, limit }),
        1 => (0..PROGRAMS).prop_map(|program| Operation::Deploy { program }),
        1 => (0..PROGRAMS, 0..3u8).prop_map(|(program, version)| Operation::SetController { program, version }),
        1 => (0..PROGRAMS).prop_map(|program| Operation::Delete { program }),
        1 => (0..PROGRAMS, any::<bool>()).prop_map(|(program, outdated)| Operation::WriteVolume { program, outdated }),
        1 => (0..OWNERS, 1..4u32).prop_map(|(owner, weight)| Operation::SetWeight { owner, weight }),
        2 => (prop::sample::select(vec![Aged::Witnesses, Aged::Proofs, Aged::Tasks, Aged::Blobs]), any_task())
            .prop_map(|(what, up_to)| Operation::Collect { what, up_to }),
        2 => Just(Operation::Reopen),
    ]
}

fn submit() -> impl Strategy<Value = Submit> {
    let key = prop::option::weighted(0.3, (0..KEYS, 0..2u8));
    let bound = || prop::option::weighted(0.15, 0..6u64);
    (0..OWNERS, 0..PROGRAMS, key, -1..2i16, hours(), bound(), bound()).prop_map(
        |(owner, program, key, priority, deadline, total, of_owner)| Submit {
            owner,
            program,
            key,
            priority,
            deadline,
            total,
            of_owner,
        },
    )
}

fn claim() -> impl Strategy<Value = ClaimOf> {
    let fence = prop_oneof![10 => Just(Fence::Its), 1 => Just(Fence::OneLess), 1 => Just(Fence::OneMore)];
    let claim = prop_oneof![5 => 0..2usize, 3 => 0..10usize];
    (claim, fence).prop_map(|(claim, fence)| ClaimOf { claim, fence })
}

fn how() -> impl Strategy<Value = How> {
    prop_oneof![
        8 => (any::<bool>(), prop::bool::weighted(0.2)).prop_map(|(writes, outdated)| How::Succeed { writes, outdated }),
        1 => stage().prop_map(How::As),
        2 => (prop::bool::weighted(0.3), any::<bool>()).prop_map(|(later, counts)| How::Postpone { later, counts }),
        2 => prop::bool::weighted(0.7).prop_map(|retryable| How::Fail { retryable }),
    ]
}

fn which() -> impl Strategy<Value = Which> {
    prop_oneof![4 => any::<bool>().prop_map(|latest| Which::Ready { latest }), 1 => stage().prop_map(Which::Of)]
}

fn stage() -> impl Strategy<Value = Stage> {
    prop::sample::select(Stage::ALL.to_vec())
}

fn any_task() -> impl Strategy<Value = usize> {
    0..12usize
}

fn hours() -> impl Strategy<Value = Option<u8>> {
    prop::option::weighted(0.4, 0..5u8)
}
