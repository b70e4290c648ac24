use super::*;
use crate::{
    EngineConfig,
    testing::{Act, Bench, FakeNode, config, until},
};
use coprocessor_store::Cancelled;
use coprocessor_types::OwnerId;

async fn prove(bench: &Bench, task: &Task) -> Result<StepOutcome, StepError> {
    let inner = &bench.engine.inner;
    let held = inner.claims.hold(task.id, task.fence);
    inner.prove(task, &held).await
}

fn code(outcome: Result<StepOutcome, StepError>) -> String {
    match outcome {
        Err(StepError::Deterministic(reason)) => format!("deterministic {}", reason.code),
        Err(StepError::Transient(reason)) => format!("transient {}", reason.code),
        Err(StepError::Waiting(reason)) => format!("waiting {}", reason.code),
        Err(StepError::Superseded) => "superseded".into(),
        Ok(StepOutcome::Proved { .. }) => "proved".into(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_node_that_refuses_is_passed_over_in_the_same_step() {
    let (a, b) = (FakeNode::new("a"), FakeNode::new("b"));
    let bench = Bench::new(&[&a, &b]).await;
    b.state().running = 2;
    a.act(Act::Refuse(NodeError::QueueFull { waiting: 64 }));
    let task = bench.to_be_proved().await;
    assert_eq!(code(prove(&bench, &task).await), "proved");
    assert_eq!((a.state().jobs.len(), b.state().jobs.len()), (1, 1));
    let task = bench.task(task.id).await;
    assert_eq!((task.node.as_deref(), task.attempts), (Some("b"), 0));
}

#[tokio::test]
async fn where_every_node_refuses_the_task_waits_without_counting() {
    let (a, b) = (FakeNode::new("a"), FakeNode::new("b"));
    let bench = Bench::new(&[&a, &b]).await;
    a.act(Act::Refuse(NodeError::Draining));
    b.state().offline = true;
    let task = bench.to_be_proved().await;
    assert_eq!(code(prove(&bench, &task).await), "waiting no_prover");
}

#[tokio::test]
async fn the_node_that_has_the_job_is_asked_first_however_it_stands() {
    let (a, b) = (FakeNode::new("a"), FakeNode::new("b"));
    let bench = Bench::new(&[&a, &b]).await;
    a.act(Act::Lose);
    b.state().running = 1;
    let task = bench.to_be_proved().await;
    assert_eq!(code(prove(&bench, &task).await), "transient prover_unreachable");
    assert_eq!(bench.task(task.id).await.node.as_deref(), Some("a"));
    a.state().running = 4;
    a.state().held.insert(task.id);
    let again = bench.claimed_again(&task).await;
    assert_eq!(code(prove(&bench, &again).await), "proved");
    let key = |task: &Task| JobKey { task: task.id, fence: task.fence };
    assert_eq!(a.state().jobs, [key(&task), key(&again)]);
    assert_eq!(b.state().jobs, []);
}

#[tokio::test]
async fn a_job_that_only_waited_on_a_lost_node_does_not_count() {
    let a = FakeNode::new("a");
    let bench = Bench::new(&[&a]).await;
    a.act(Act::LoseWaiting);
    let task = bench.to_be_proved().await;
    assert_eq!(code(prove(&bench, &task).await), "waiting prover_unreachable");
    assert_eq!(bench.engine.inner.provers.view(None).await[0].failures, 1);
}

#[tokio::test]
async fn a_job_that_its_node_no_longer_has_is_given_to_the_least_loaded() {
    let (a, b) = (FakeNode::new("a"), FakeNode::new("b"));
    let bench = Bench::new(&[&a, &b]).await;
    b.state().running = 1;
    a.act(Act::Lose);
    let task = bench.to_be_proved().await;
    assert_eq!(code(prove(&bench, &task).await), "transient prover_unreachable");
    a.state().offline = true;
    let again = bench.claimed_again(&task).await;
    assert_eq!(code(prove(&bench, &again).await), "proved");
    assert_eq!(b.state().jobs.len(), 1);
}

#[tokio::test]
async fn a_node_that_forgot_the_circuit_is_given_it_again() {
    let a = FakeNode::new("a");
    let bench = Bench::new(&[&a]).await;
    assert_eq!(code(prove(&bench, &bench.to_be_proved().await).await), "proved");
    a.state().circuits.clear();
    assert_eq!(code(prove(&bench, &bench.to_be_proved().await).await), "proved");
    assert_eq!(a.state().circuits.len(), 1);
}

#[tokio::test]
async fn a_node_that_takes_too_long_is_told_to_stop() {
    let a = FakeNode::new("a");
    let mut config = config();
    config.proof_deadlines.mock = Duration::from_millis(50);
    let bench = Bench::with(config, &[&a]).await;
    a.act(Act::Hang);
    let task = bench.to_be_proved().await;
    assert_eq!(code(prove(&bench, &task).await), "transient proof_deadline");
    until(|| a.state().cancelled == [JobKey { task: task.id, fence: task.fence }]).await;
    let view = bench.engine.inner.provers.view(None).await;
    assert_eq!(view[0].failures, 1);
}

#[tokio::test]
async fn a_cancelled_task_is_cancelled_on_its_node() {
    let a = FakeNode::new("a");
    let bench = Bench::new(&[&a]).await;
    a.act(Act::Hang);
    let task = bench.to_be_proved().await;
    let inner = &bench.engine.inner;
    let held = inner.claims.hold(task.id, task.fence);
    let cancel = async {
        until(|| !a.state().jobs.is_empty()).await;
        assert!(matches!(bench.store.cancel(task.id).await.unwrap(), Cancelled::Cancelled(_)));
        inner.claims.end(task.id);
    };
    let (outcome, ()) = tokio::join!(inner.prove(&task, &held), cancel);
    assert_eq!(code(outcome), "superseded");
    until(|| !a.state().cancelled.is_empty()).await;
}

#[tokio::test]
async fn a_superseded_claim_leaves_the_job_to_the_next() {
    let a = FakeNode::new("a");
    let bench = Bench::new(&[&a]).await;
    a.act(Act::Hang);
    let task = bench.to_be_proved().await;
    let inner = &bench.engine.inner;
    let held = inner.claims.hold(task.id, task.fence);
    let supersede = async {
        until(|| !a.state().jobs.is_empty()).await;
        bench.claimed_again(&task).await;
        inner.claims.end(task.id);
    };
    let (outcome, ()) = tokio::join!(inner.prove(&task, &held), supersede);
    assert_eq!(code(outcome), "superseded");
    // Whatever is sent to a node is sent before this.
    assert_eq!(code(prove(&bench, &bench.to_be_proved().await).await), "proved");
    assert_eq!(a.state().cancelled, []);
}

#[tokio::test]
async fn a_proof_that_does_not_hold_sets_its_node_aside_and_is_forgotten_there() {
    let a = FakeNode::new("a");
    let bench = Bench::new(&[&a]).await;
    a.act(Act::Forge);
    let task = bench.to_be_proved().await;
    assert_eq!(code(prove(&bench, &task).await), "transient proof_rejected");
    until(|| a.state().cancelled == [JobKey { task: task.id, fence: task.fence }]).await;
    let view = bench.engine.inner.provers.view(None).await;
    assert!(view[0].set_aside_until.is_some() && view[0].last_error.is_some());
    assert_eq!(code(prove(&bench, &bench.to_be_proved().await).await), "waiting no_prover");
}

#[tokio::test]
async fn a_circuit_that_commits_another_root_is_at_fault_itself() {
    let a = FakeNode::new("a");
    let bench = Bench::new(&[&a]).await;
    a.act(Act::WrongRoot);
    assert_eq!(code(prove(&bench, &bench.to_be_proved().await).await), "deterministic circuit_wrong_root");
    assert_eq!(bench.engine.inner.provers.view(None).await[0].failures, 0);
}

#[tokio::test]
async fn one_answer_about_a_node_serves_many_tasks() {
    let a = FakeNode::new("a");
    let bench = Bench::with(EngineConfig { backlog: 100, ..config() }, &[&a]).await;
    let wanted = Wanted { owner: &OwnerId::anonymous(), backend: Backend::Sp1, kind: ProofKind::Mock };
    let chosen = bench.engine.inner.provers.choose(wanted, &[]).await.unwrap();
    let asked = a.state().described;
    for _ in 0..100 {
        bench.engine.inner.provers.choose(wanted, &[]).await.unwrap();
    }
    drop(chosen);
    assert!(a.state().described <= asked + 2, "{}", a.state().described);
}
