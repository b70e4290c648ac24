//! Webhooks, and what became of each event.

use super::{
    Backing,
    fixture::{HOUR, ROOM, admitted, claim, events, executed, in_an_hour, new_task, owner, program, success, task},
    lists::strange_cursors,
};
use coprocessor_store::{
    DeleteProgram, Delivery, DeliveryAttempt, DeliveryId, DeliveryOutcome, DeliveryState, Event, NewTask, Program,
    Stage, Store, StoreError, Task, Webhook, WebhookId,
};
use coprocessor_types::OwnerId;
use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret, SecretString};
use std::{collections::BTreeSet, time::Duration};
use uuid::Uuid;

pub(crate) fn hook(name: &str, events: &[&str]) -> Webhook {
    Webhook {
        id: WebhookId(Uuid::now_v7()),
        owner: owner(name),
        url: "https://example.org/hook?a=b".to_owned(),
        events: events.iter().map(|&event| event.to_owned()).collect(),
        secret: SecretString::from("whsec_c3dvcmRmaXNo"),
        created_at: Timestamp::from_microsecond(Timestamp::now().as_microsecond()).unwrap(),
    }
}

async fn added(store: &dyn Store, name: &str, events: &[&str]) -> Webhook {
    let hook = hook(name, events);
    assert!(store.add_webhook(hook.clone()).await.unwrap());
    hook
}

/// A webhook without its secret's wrapping, to compare.
fn plain(hook: &Webhook) -> (WebhookId, OwnerId, String, Vec<String>, String, Timestamp) {
    let Webhook { id, owner, url, events, secret, created_at } = hook.clone();
    (id, owner, url, events, secret.expose_secret().to_owned(), created_at)
}

async fn of(store: &dyn Store, program: &Program, name: &str) -> Task {
    admitted(store.admit(NewTask { owner: owner(name), ..new_task(program) }, ROOM).await.unwrap())
}

/// Queues until there are no more events to look at; how many deliveries that made.
async fn queue(store: &dyn Store, limit: usize) -> usize {
    let mut made = 0;
    loop {
        let (more_made, more) = store.queue_deliveries(limit).await.unwrap();
        made += more_made;
        if !more {
            return made;
        }
    }
}

async fn deliveries(store: &dyn Store, hook: &Webhook, limit: usize) -> Vec<Delivery> {
    let (mut listed, mut after) = (Vec::new(), None);
    loop {
        let page = store.deliveries(hook.id, after, limit).await.unwrap();
        assert!(page.items.len() <= limit);
        listed.extend(page.items);
        match page.next {
            Some(next) => after = Some(next),
            None => return listed,
        }
    }
}

/// The numbers of the events a webhook gets, in their order.
async fn seqs(store: &dyn Store, hook: &Webhook) -> Vec<u64> {
    let mut seqs: Vec<_> = deliveries(store, hook, 100).await.iter().map(|delivery| delivery.event.seq).collect();
    seqs.sort_unstable();
    seqs
}

/// The numbers of `task`'s events with one of these names.
async fn named(store: &dyn Store, task: &Task, names: &[&str]) -> Vec<u64> {
    let named = |event: &Event| names.contains(&event.kind.name.as_str());
    events(store, task.id).await.iter().filter(|event| named(event)).map(|event| event.seq).collect()
}

fn attempt(status: Option<u16>, error: Option<&str>) -> DeliveryAttempt {
    DeliveryAttempt {
        at: Timestamp::from_second(1_700_000_000).unwrap(),
        status,
        error: error.map(str::to_owned),
        took: Duration::from_millis(1234),
    }
}

/// The next delivery, held for `lease`.
async fn claim_delivery(store: &dyn Store, lease: Duration) -> Option<(Delivery, Webhook)> {
    let mut claimed = store.claim_deliveries(lease, 1, &[]).await.unwrap();
    assert!(claimed.len() <= 1);
    claimed.pop()
}

pub(crate) async fn webhooks_are_kept_with_their_secrets<B: Backing>() {
    let mut backing = B::new().await;
    let store = backing.store();
    let mut hooks = Vec::new();
    for name in ["alice", "bob", "alice", "alice"] {
        hooks.insert(0, added(&*store, name, &["delivered", "failed"]).await);
    }
    let taken = Webhook { url: "https://other".to_owned(), ..hooks[0].clone() };
    assert!(!store.add_webhook(taken).await.unwrap());
    drop(store);
    backing.reopen().await;
    let store = backing.store();
    for hook in &hooks {
        let kept = store.webhook(hook.id).await.unwrap().unwrap();
        assert_eq!(plain(&kept), plain(hook));
        assert!(!format!("{kept:?}").contains("c3dvcmRmaXNo"));
    }
    for (of, limit) in [(None, 1), (None, 100), (Some("alice"), 2), (Some("nobody"), 2)] {
        let of = of.map(owner);
        let (mut listed, mut after) = (Vec::new(), None);
        loop {
            let page = store.webhooks(of.clone(), after, limit).await.unwrap();
            assert!(page.items.len() <= limit);
            listed.extend(page.items);
            match page.next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        let wanted = hooks.iter().filter(|hook| of.as_ref().is_none_or(|of| *of == hook.owner));
        assert_eq!(listed.iter().map(plain).collect::<Vec<_>>(), wanted.map(plain).collect::<Vec<_>>());
    }
    assert!(store.remove_webhook(hooks[0].id).await.unwrap());
    assert!(!store.remove_webhook(hooks[0].id).await.unwrap());
    assert!(store.webhook(hooks[0].id).await.unwrap().is_none());
    assert_eq!(store.webhooks(None, None, 100).await.unwrap().items.len(), 3);
}

pub(crate) async fn a_webhook_gets_later_events_of_its_owner_that_it_names<B: Backing>() {
    let backing = B::new().await;
    let store = backing.store();
    let program = program(&*store, 1).await;
    // Before any webhook, and between the two: none of it is for whoever came later.
    of(&*store, &program, "alice").await;
    let first = added(&*store, "alice", &["admitted", "cancelled"]).await;
    let between = of(&*store, &program, "alice").await;
    let second = added(&*store, "alice", &["admitted"]).await;
    let other = added(&*store, "bob", &["admitted", "executed", "claimed"]).await;
    let deaf = added(&*store, "alice", &[]).await;

    let (later, bob) = (of(&*store, &program, "alice").await, of(&*store, &program, "bob").await);
    store.cancel(between.id).await.unwrap();
    for held in store.claim(Stage::Execute, "worker", HOUR, 10).await.unwrap() {
        store.finish_step(held.task.id, held.task.fence, executed()).await.unwrap();
    }
    let expected_first = [
        named(&*store, &between, &["admitted"]).await,
        named(&*store, &later, &["admitted"]).await,
        named(&*store, &between, &["cancelled"]).await,
    ]
    .concat();
    let expected_bob = events(&*store, bob.id).await;

    assert_eq!(queue(&*store, 100).await, 3 + 1 + 3);
    assert_eq!(store.queue_deliveries(100).await.unwrap(), (0, false));
    assert_eq!(seqs(&*store, &first).await, expected_first);
    assert_eq!(seqs(&*store, &second).await, named(&*store, &later, &["admitted"]).await);
    assert_eq!(seqs(&*store, &deaf).await, Vec::<u64>::new());
    let mut of_bob = deliveries(&*store, &other, 2).await;
    of_bob.sort_by_key(|delivery| delivery.event.seq);
    assert_eq!(of_bob.iter().map(|delivery| delivery.event.clone()).collect::<Vec<_>>(), expected_bob);
    assert_eq!(of_bob.iter().map(|delivery| delivery.id).collect::<BTreeSet<_>>().len(), 3);
    for delivery in of_bob {
        assert_eq!((delivery.webhook, delivery.state, delivery.attempts), (other.id, DeliveryState::Pending, 0));
        assert_eq!(delivery.last, None);
    }
}

pub(crate) async fn deliveries_are_queued_little_by_little<B: Backing>() {
    let mut backing = B::new().await;
    let store = backing.store();
    let hook = added(&*store, "alice", &["admitted"]).await;
    let program = program(&*store, 1).await;
    let mut expected = Vec::new();
    for index in 0..9 {
        let task = of(&*store, &program, ["alice", "bob", "alice"][index % 3]).await;
        if task.owner == hook.owner {
            expected.extend(named(&*store, &task, &["admitted"]).await);
        }
    }
    let (made, more) = store.queue_deliveries(2).await.unwrap();
    assert!(made <= 2 && more, "{made} {more}");
    drop(store);
    // What has been looked at is known after a restart too.
    backing.reopen().await;
    let store = backing.store();
    assert_eq!(made + queue(&*store, 2).await, expected.len());
    assert_eq!(seqs(&*store, &hook).await, expected);
}

pub(crate) async fn an_event_is_queued_once_however_many_queue<B: Backing>() {
    let backing = B::new().await;
    let second = backing.second().await.unwrap_or_else(|| backing.store());
    let stores = [backing.store(), second];
    let hooks = [added(&*stores[0], "alice", &["admitted"]).await, added(&*stores[0], "alice", &["admitted"]).await];
    let program = program(&*stores[0], 1).await;
    let mut writers = Vec::new();
    let mut queuers = Vec::new();
    for index in 0..24 {
        let (store, program) = (stores[index % 2].clone(), program.clone());
        writers.push(tokio::spawn(async move { task(&*store, &program).await.id }));
        let store = stores[index / 2 % 2].clone();
        queuers.push(tokio::spawn(async move { store.queue_deliveries(3).await.unwrap().0 }));
    }
    let (mut tasks, mut made) = (BTreeSet::new(), 0);
    for writer in writers {
        tasks.insert(writer.await.unwrap());
    }
    for queuer in queuers {
        made += queuer.await.unwrap();
    }
    assert_eq!(made + queue(&*stores[1], 5).await, 48);
    for hook in hooks {
        let listed = deliveries(&*stores[0], &hook, 100).await;
        assert_eq!(listed.len(), 24);
        assert_eq!(listed.into_iter().map(|delivery| delivery.event.task).collect::<BTreeSet<_>>(), tasks);
    }
}

pub(crate) async fn due_deliveries_are_claimed_oldest_first<B: Backing>() {
    let backing = B::new().await;
    let store = backing.store();
    let hook = added(&*store, "alice", &["admitted"]).await;
    let program = program(&*store, 1).await;
    assert_eq!(store.next_delivery().await.unwrap(), None);
    let mut tasks = Vec::new();
    for _ in 0..4 {
        tasks.push(task(&*store, &program).await.id);
        queue(&*store, 10).await;
    }
    assert!(store.claim_deliveries(HOUR, 0, &[]).await.unwrap().is_empty());
    let mut claimed = store.claim_deliveries(HOUR, 3, &[]).await.unwrap();
    claimed.extend(store.claim_deliveries(HOUR, 3, &[]).await.unwrap());
    assert!(store.claim_deliveries(HOUR, 3, &[]).await.unwrap().is_empty());
    let order: Vec<_> = claimed.iter().map(|(delivery, _)| delivery.event.task).collect();
    assert_eq!(order, tasks);
    for (delivery, of) in &claimed {
        assert_eq!((delivery.fence, delivery.state), (1, DeliveryState::Pending));
        assert_eq!(plain(of), plain(&hook));
    }
    // Newest first, in pages of any size.
    let mut newest_first: Vec<_> = claimed.into_iter().map(|(delivery, _)| delivery.id).collect();
    newest_first.reverse();
    for limit in [1, 3, 100] {
        let listed: Vec<_> = deliveries(&*store, &hook, limit).await.into_iter().map(|delivery| delivery.id).collect();
        assert_eq!(listed, newest_first);
    }
}

pub(crate) async fn claims_of_deliveries_race_for_different_ones<B: Backing>() {
    let backing = B::new().await;
    let second = backing.second().await.unwrap_or_else(|| backing.store());
    let stores = [backing.store(), second];
    added(&*stores[0], "alice", &["admitted"]).await;
    let program = program(&*stores[0], 1).await;
    for _ in 0..20 {
        task(&*stores[0], &program).await;
    }
    assert_eq!(queue(&*stores[0], 100).await, 20);
    let claimers: Vec<_> = (0..8)
        .map(|index| {
            let store = stores[index % 2].clone();
            tokio::spawn(async move {
                let mut claimed = Vec::new();
                // One that finds nothing may have come while another was about to take the rest.
                for _ in 0..10 {
                    let claims = store.claim_deliveries(HOUR, 1 + index % 3, &[]).await.unwrap();
                    claimed.extend(claims.into_iter().map(|(delivery, _)| (delivery.id, delivery.fence)));
                }
                claimed
            })
        })
        .collect();
    let mut claimed = Vec::new();
    for claimer in claimers {
        claimed.extend(claimer.await.unwrap());
    }
    assert_eq!(claimed.len(), 20);
    assert!(claimed.iter().all(|(_, fence)| *fence == 1));
    assert_eq!(claimed.into_iter().collect::<BTreeSet<_>>().len(), 20);
}

pub(crate) async fn webhooks_that_are_busy_are_passed_over<B: Backing>() {
    let backing = B::new().await;
    let store = backing.store();
    let hooks = [
        added(&*store, "alice", &["admitted"]).await,
        added(&*store, "alice", &["admitted"]).await,
        added(&*store, "bob", &["admitted"]).await,
    ];
    let program = program(&*store, 1).await;
    for name in ["alice", "bob", "alice"] {
        of(&*store, &program, name).await;
    }
    assert_eq!(queue(&*store, 10).await, 5);
    let claimed = async |limit, except: &[usize]| {
        let except: Vec<_> = except.iter().map(|&index| hooks[index].id).collect();
        let claimed = store.claim_deliveries(HOUR, limit, &except).await.unwrap();
        let position = |of: WebhookId| hooks.iter().position(|hook| hook.id == of).unwrap();
        let mut claimed: Vec<_> = claimed.iter().map(|(delivery, _)| position(delivery.webhook)).collect();
        claimed.sort_unstable();
        claimed
    };
    assert!(claimed(10, &[0, 1, 2]).await.is_empty());
    assert_eq!(claimed(1, &[0, 1]).await, [2]);
    assert_eq!(claimed(10, &[1]).await, [0, 0]);
    assert_eq!(claimed(10, &[0]).await, [1, 1]);
    assert!(claimed(10, &[]).await.is_empty());
}

/// A webhook and one delivery of it, due.
async fn one_due(store: &dyn Store) -> (Webhook, DeliveryId) {
    let hook = added(store, "alice", &["admitted"]).await;
    task(store, &program(store, 1).await).await;
    assert_eq!(queue(store, 10).await, 1);
    let id = deliveries(store, &hook, 10).await[0].id;
    (hook, id)
}

pub(crate) async fn an_attempt_ends_one_of_three_ways<B: Backing>() {
    let mut backing = B::new().await;
    let store = backing.store();
    let (hook, id) = one_due(&*store).await;
    let (held, _) = claim_delivery(&*store, HOUR).await.unwrap();
    let at = in_an_hour();
    let outcome = DeliveryOutcome::Retry { attempt: attempt(Some(503), Some("busy")), at };
    assert!(store.finish_delivery(id, held.fence, outcome).await.unwrap());
    drop(store);
    backing.reopen().await;
    let store = backing.store();
    let kept = deliveries(&*store, &hook, 10).await.pop().unwrap();
    assert_eq!((kept.state, kept.attempts, kept.next_at), (DeliveryState::Pending, 1, Some(at)));
    assert_eq!(kept.last, Some(attempt(Some(503), Some("busy"))));
    assert_eq!((kept.event.clone(), kept.created_at), (held.event, held.created_at));
    assert!(claim_delivery(&*store, HOUR).await.is_none());
    assert_eq!(store.next_delivery().await.unwrap(), Some(at));

    for (state, outcome) in [
        (DeliveryState::Failed, DeliveryOutcome::Failed(attempt(None, Some("no such host")))),
        (DeliveryState::Delivered, DeliveryOutcome::Delivered(attempt(Some(204), None))),
    ] {
        let (DeliveryOutcome::Failed(attempt) | DeliveryOutcome::Delivered(attempt)) = outcome.clone() else {
            unreachable!("neither is to be tried again")
        };
        let due = store.redeliver(hook.id, id).await.unwrap().unwrap();
        assert_eq!((due.id, due.state), (id, DeliveryState::Pending));
        let (held, _) = claim_delivery(&*store, HOUR).await.unwrap();
        assert!(held.id == id && held.fence > kept.fence);
        assert!(store.finish_delivery(id, held.fence, outcome).await.unwrap());
        let kept = deliveries(&*store, &hook, 10).await.pop().unwrap();
        assert_eq!((kept.state, kept.next_at, kept.last), (state, None, Some(attempt)));
        assert!(claim_delivery(&*store, HOUR).await.is_none());
        assert_eq!(store.next_delivery().await.unwrap(), None);
    }
}

pub(crate) async fn a_delivery_that_is_not_ended_is_due_again<B: Backing>() {
    let backing = B::new().await;
    let store = backing.store();
    let (hook, id) = one_due(&*store).await;
    let (first, _) = claim_delivery(&*store, Duration::ZERO).await.unwrap();
    let now = Timestamp::now();
    assert!(store.next_delivery().await.unwrap().is_none_or(|due| due <= now));
    let (second, _) = claim_delivery(&*store, HOUR).await.unwrap();
    assert_eq!((second.id, second.fence), (id, first.fence + 1));
    assert!(claim_delivery(&*store, HOUR).await.is_none());
    let lease_end = store.next_delivery().await.unwrap().unwrap();
    assert!(lease_end >= now + SignedDuration::from_secs(3599), "{lease_end}");

    let before = deliveries(&*store, &hook, 10).await;
    let delivered = || DeliveryOutcome::Delivered(attempt(Some(200), None));
    for stale in [0, first.fence, second.fence + 1] {
        assert!(!store.finish_delivery(id, stale, delivered()).await.unwrap());
    }
    assert!(!store.finish_delivery(DeliveryId(Uuid::now_v7()), 1, delivered()).await.unwrap());
    assert_eq!(deliveries(&*store, &hook, 10).await, before);
    assert!(store.finish_delivery(id, second.fence, delivered()).await.unwrap());
    assert!(!store.finish_delivery(id, second.fence, delivered()).await.unwrap());
}

pub(crate) async fn only_a_webhook_s_own_deliveries_are_sent_again<B: Backing>() {
    let backing = B::new().await;
    let store = backing.store();
    let (hook, id) = one_due(&*store).await;
    let other = added(&*store, "alice", &["admitted"]).await;
    assert_eq!(store.redeliver(other.id, id).await.unwrap(), None);
    assert_eq!(store.redeliver(hook.id, DeliveryId(Uuid::now_v7())).await.unwrap(), None);
    assert_eq!(store.redeliver(WebhookId(Uuid::now_v7()), id).await.unwrap(), None);
    // One that waits for its next attempt need not wait any longer.
    let (held, _) = claim_delivery(&*store, HOUR).await.unwrap();
    let outcome = DeliveryOutcome::Retry { attempt: attempt(None, Some("refused")), at: in_an_hour() };
    store.finish_delivery(id, held.fence, outcome).await.unwrap();
    store.redeliver(hook.id, id).await.unwrap().unwrap();
    assert_eq!(claim_delivery(&*store, HOUR).await.unwrap().0.id, id);
}

pub(crate) async fn a_webhook_goes_with_its_deliveries<B: Backing>() {
    let backing = B::new().await;
    let store = backing.store();
    let (gone, id) = one_due(&*store).await;
    let kept = added(&*store, "alice", &["admitted"]).await;
    let (held, _) = claim_delivery(&*store, HOUR).await.unwrap();
    let program = program(&*store, 2).await;
    task(&*store, &program).await;
    assert!(store.remove_webhook(gone.id).await.unwrap());
    assert!(!store.finish_delivery(id, held.fence, DeliveryOutcome::Delivered(attempt(None, None))).await.unwrap());
    assert_eq!(deliveries(&*store, &gone, 10).await, []);
    assert_eq!(store.redeliver(gone.id, id).await.unwrap(), None);
    assert_eq!(queue(&*store, 10).await, 1);
    let (delivery, hook) = claim_delivery(&*store, HOUR).await.unwrap();
    assert_eq!((delivery.webhook, plain(&hook)), (kept.id, plain(&kept)));
    assert!(claim_delivery(&*store, HOUR).await.is_none());
}

pub(crate) async fn deliveries_do_not_keep_a_program<B: Backing>() {
    let backing = B::new().await;
    let store = backing.store();
    let hook = added(&*store, "alice", &["admitted", "executed", "proved", "delivered"]).await;
    let program = program(&*store, 1).await;
    let gone = task(&*store, &program).await;
    for stage in Stage::ALL {
        let held = claim(&*store, stage).await;
        store.finish_step(gone.id, held.task.fence, success(stage)).await.unwrap();
        if stage == Stage::Execute {
            queue(&*store, 10).await;
        }
    }
    assert_eq!(store.delete_program(program.id).await.unwrap(), DeleteProgram::Deleted);
    queue(&*store, 10).await;
    // Those that are left are whole.
    for (delivery, of) in store.claim_deliveries(HOUR, 10, &[]).await.unwrap() {
        assert_eq!((delivery.event.task, plain(&of)), (gone.id, plain(&hook)));
        let outcome = DeliveryOutcome::Delivered(attempt(Some(200), None));
        assert!(store.finish_delivery(delivery.id, delivery.fence, outcome).await.unwrap());
    }
    deliveries(&*store, &hook, 2).await;
    // And the webhook gets what comes after.
    let program = self::program(&*store, 2).await;
    let next = task(&*store, &program).await;
    assert_eq!(queue(&*store, 10).await, 1);
    assert_eq!(claim_delivery(&*store, HOUR).await.unwrap().0.event.task, next.id);
}

pub(crate) async fn cursors_of_other_webhook_lists_are_refused<B: Backing>() {
    let backing = B::new().await;
    let store = backing.store();
    let (hook, _) = one_due(&*store).await;
    added(&*store, "alice", &[]).await;
    task(&*store, &program(&*store, 2).await).await;
    queue(&*store, 10).await;
    let of_webhooks = store.webhooks(None, None, 1).await.unwrap().next.unwrap();
    let of_deliveries = store.deliveries(hook.id, None, 1).await.unwrap().next.unwrap();
    for cursor in strange_cursors().chain([of_deliveries]) {
        let got = store.webhooks(None, Some(cursor.clone()), 1).await.map(drop);
        assert!(matches!(got, Err(StoreError::BadCursor)), "{cursor:?}");
    }
    for cursor in strange_cursors().chain([of_webhooks]) {
        let got = store.deliveries(hook.id, Some(cursor.clone()), 1).await.map(drop);
        assert!(matches!(got, Err(StoreError::BadCursor)), "{cursor:?}");
    }
}
