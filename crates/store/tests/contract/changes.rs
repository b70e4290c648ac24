//! What a store tells those who wait.

use super::{
    Backing,
    fixture::{
        HOUR, ROOM, admitted, claim, event, events, executed, in_an_hour, new_task, owner, postponed, program, task,
    },
};
use coprocessor_store::{
    ApiKey, Change, Claim, DeliveryAttempt, DeliveryOutcome, Event, KeyId, NewTask, Owner, ProverRecord, Quotas, Stage,
    Store, Task, Webhook, WebhookId,
};
use coprocessor_types::{OwnerId, TaskId};
use jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;
use std::{sync::Arc, time::Duration};
use tokio::{sync::broadcast, time::timeout};
use uuid::Uuid;

/// Longer than any change takes to be told, through a database and back.
const PATIENCE: Duration = Duration::from_secs(20);

/// Listens to one store.
pub(crate) struct Listener {
    store: Arc<dyn Store>,
    changes: broadcast::Receiver<Change>,
    mark: Claim,
}

impl Listener {
    /// Listens from now on. To be made while no task is ready to be executed: it claims one of its own.
    pub(crate) async fn new(store: Arc<dyn Store>) -> Self {
        let program = program(&*store, u64::MAX).await;
        let new = NewTask { owner: owner("mark"), ..new_task(&program) };
        let id = admitted(store.admit(new, ROOM).await.unwrap()).id;
        let mark = claim(&*store, Stage::Execute).await;
        assert_eq!(mark.task.id, id);
        let mut listener = Self { changes: store.changes(), store, mark };
        listener.told().await;
        listener
    }

    /// All that was told up to now: changes are told in order, so it is what comes before one that is made now.
    pub(crate) async fn told(&mut self) -> Vec<Change> {
        let Task { id, ref owner, .. } = self.mark.task;
        self.store.progress(id, self.mark.task.fence, event("mark")).await.unwrap();
        let mark = told_of(events(&*self.store, id).await.last().unwrap(), owner);
        let mut told = Vec::new();
        loop {
            let change = timeout(PATIENCE, self.changes.recv()).await.expect("a change is told").unwrap();
            match change {
                change if change == mark => break told,
                Change::Event { task, .. } if task == id => {}
                change => told.push(change),
            }
        }
    }

    /// Waits for a change, past others.
    pub(crate) async fn expect(&mut self, wanted: &Change) {
        while timeout(PATIENCE, self.changes.recv()).await.expect("the change is told").unwrap() != *wanted {}
    }
}

pub(crate) fn told_of(event: &Event, owner: &OwnerId) -> Change {
    Change::Event { task: event.task, owner: owner.clone(), seq: event.seq, state: event.state }
}

/// The stages of which work was told, and the other changes, each once.
fn sorted(told: Vec<Change>) -> (Vec<Stage>, Vec<Change>) {
    let (mut stages, mut others) = (Vec::new(), Vec::new());
    for change in told {
        match change {
            Change::Work(stage) => stages.push(stage),
            other => others.push(other),
        }
    }
    stages.sort();
    stages.dedup();
    others.dedup();
    (stages, others)
}

pub(crate) async fn steps_are_told_after_the_commit<B: Backing>() {
    let backing = B::new().await;
    let store = backing.store();
    let mut listener = Listener::new(store.clone()).await;
    let program = program(&*store, 1).await;
    let task = task(&*store, &program).await;
    let id = task.id;
    let mut seen = 0;
    let mut expect = async |work: Option<Stage>| {
        let (works, others) = sorted(listener.told().await);
        let events = events(&*store, id).await;
        let expected: Vec<_> = events[seen..].iter().map(|event| told_of(event, &task.owner)).collect();
        seen = events.len();
        assert_eq!((works, others), (work.into_iter().collect(), expected.clone()));
        assert!(!expected.is_empty());
    };
    expect(Some(Stage::Execute)).await;
    let held = claim(&*store, Stage::Execute).await;
    expect(None).await;
    store.progress(id, held.task.fence, event("progress")).await.unwrap();
    expect(None).await;
    store.finish_step(id, held.task.fence, executed()).await.unwrap();
    expect(Some(Stage::Prove)).await;
    let held = claim(&*store, Stage::Prove).await;
    expect(None).await;
    store.assign(id, held.task.fence, "http://node", event("assigned")).await.unwrap();
    expect(None).await;
    store.finish_step(id, held.task.fence, postponed(in_an_hour(), true)).await.unwrap();
    expect(None).await;
    store.cancel(id).await.unwrap();
    expect(None).await;
}

pub(crate) async fn what_fails_tells_nothing<B: Backing>() {
    let backing = B::new().await;
    let store = backing.store();
    let mut listener = Listener::new(store.clone()).await;
    let waiting = task(&*store, &program(&*store, 1).await).await;
    listener.told().await;
    store.finish_step(waiting.id, 9, executed()).await.unwrap_err();
    store.progress(waiting.id, 9, event("progress")).await.unwrap_err();
    store.assign(waiting.id, 9, "http://node", event("assigned")).await.unwrap_err();
    store.cancel(TaskId::now()).await.unwrap();
    store.retry(waiting.id, None).await.unwrap();
    store.expire(in_an_hour(), 10).await.unwrap();
    assert_eq!(listener.told().await, []);
}

pub(crate) async fn a_deadline_and_a_retry_are_told<B: Backing>() {
    let backing = B::new().await;
    let store = backing.store();
    let mut listener = Listener::new(store.clone()).await;
    let new = NewTask { deadline: Some(in_an_hour()), ..new_task(&program(&*store, 1).await) };
    let task = admitted(store.admit(new, ROOM).await.unwrap());
    listener.told().await;
    store.expire(in_an_hour() + SignedDuration::from_secs(1), 10).await.unwrap();
    let last = async || told_of(events(&*store, task.id).await.last().unwrap(), &task.owner);
    assert_eq!(sorted(listener.told().await), (Vec::new(), vec![last().await]));
    store.retry(task.id, None).await.unwrap();
    assert_eq!(sorted(listener.told().await), (vec![Stage::Execute], vec![last().await]));
}

pub(crate) async fn accounts_and_provers_are_told<B: Backing>() {
    let backing = B::new().await;
    let store = backing.store();
    let mut listener = Listener::new(store.clone()).await;
    let settings = Owner {
        id: owner("alice"),
        weight: 2,
        quotas: Quotas::default(),
        created_at: Timestamp::from_second(1).unwrap(),
    };
    store.put_owner(settings).await.unwrap();
    assert_eq!(sorted(listener.told().await).1, [Change::Accounts]);
    let key = ApiKey {
        id: KeyId([1; 8]),
        owner: owner("alice"),
        name: String::new(),
        hash: [1; 32],
        scopes: Vec::new(),
        created_at: Timestamp::from_second(1).unwrap(),
        expires_at: None,
        revoked_at: None,
    };
    store.add_key(key.clone()).await.unwrap();
    assert_eq!(sorted(listener.told().await).1, [Change::Accounts]);
    store.revoke_key(key.id, Timestamp::from_second(2).unwrap()).await.unwrap();
    assert_eq!(sorted(listener.told().await).1, [Change::Accounts]);

    let node = ProverRecord {
        address: "http://node".to_owned(),
        owner: owner("alice"),
        shared: true,
        trusted: true,
        secret: None,
        added_at: Timestamp::from_second(1).unwrap(),
    };
    store.add_prover(node.clone()).await.unwrap();
    assert_eq!(sorted(listener.told().await).1, [Change::Provers]);
    store.remove_prover(&node.owner, &node.address).await.unwrap();
    assert_eq!(sorted(listener.told().await).1, [Change::Provers]);
}

pub(crate) async fn deliveries_that_are_due_are_told<B: Backing>() {
    let backing = B::new().await;
    let store = backing.store();
    let mut listener = Listener::new(store.clone()).await;
    let hook = Webhook {
        id: WebhookId(Uuid::now_v7()),
        owner: owner("alice"),
        url: "https://example.org".to_owned(),
        events: vec!["admitted".to_owned()],
        secret: SecretString::from("whsec_"),
        created_at: Timestamp::now(),
    };
    store.add_webhook(hook.clone()).await.unwrap();
    task(&*store, &program(&*store, 1).await).await;
    listener.told().await;
    assert_eq!(store.queue_deliveries(100).await.unwrap(), (1, false));
    assert_eq!(sorted(listener.told().await), (Vec::new(), vec![Change::Delivery]));
    let (held, _) = store.claim_deliveries(HOUR, 1, &[]).await.unwrap().pop().unwrap();
    let attempt =
        DeliveryAttempt { at: Timestamp::UNIX_EPOCH, status: Some(200), error: None, took: Duration::from_millis(1) };
    store.finish_delivery(held.id, held.fence, DeliveryOutcome::Delivered(attempt)).await.unwrap();
    listener.told().await;
    store.redeliver(hook.id, held.id).await.unwrap().unwrap();
    assert_eq!(sorted(listener.told().await), (Vec::new(), vec![Change::Delivery]));
}
