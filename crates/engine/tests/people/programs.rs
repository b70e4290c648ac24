//! Quotas of programs, and proofs that have aged out.

use coprocessor_engine::{EngineError, OwnerLimits};
use coprocessor_store::{Retention, TaskState};
use jiff::Timestamp;
use std::time::Duration;

use crate::fixture::{Fixture, admin, user};

#[tokio::test]
async fn an_owner_has_as_many_programs_as_it_may() {
    let fixture = Fixture::with(|config| config.limits = OwnerLimits { programs: 2, ..OwnerLimits::default() }).await;
    let alice = user("alice");
    let first = fixture.deploy(&alice, false).await;
    fixture.deploy(&alice, true).await;
    let refused = fixture.engine.deploy(&alice, fixture.deployment(false)).await;
    assert!(matches!(refused, Err(EngineError::ProgramQuota { limit: 2 })), "{refused:?}");
    fixture.deploy(&user("bob"), false).await;
    fixture.engine.delete_program(&alice, first.id).await.unwrap();
    fixture.deploy(&alice, false).await;
}

#[tokio::test]
async fn a_public_program_is_asked_for_by_others_and_its_owner_waits_for_them() {
    let fixture = Fixture::new().await;
    let program = fixture.deploy(&user("alice"), true).await;
    let task = fixture.ask(&user("bob"), program.id).await.unwrap();
    assert_eq!(task.owner.as_str(), "bob");
    let refused = fixture.engine.delete_program(&user("alice"), program.id).await;
    assert!(matches!(refused, Err(EngineError::ProgramBusy { unfinished: 1, .. })), "{refused:?}");
    fixture.engine.cancel(&admin(), task.id).await.unwrap();
    fixture.engine.delete_program(&user("alice"), program.id).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_that_has_aged_out_is_told_from_one_that_never_was() {
    let fixture = Fixture::new().await;
    let (engine, alice) = (&fixture.engine, user("alice"));
    let running = engine.start().unwrap();
    let program = fixture.deploy(&alice, false).await;
    let task = fixture.ask(&alice, program.id).await.unwrap();
    let done = engine.wait(&alice, task.id, Duration::from_secs(60)).await.unwrap();
    assert_eq!(done.state, TaskState::Delivered, "{:?}", done.failure);
    engine.proof(&alice, task.id).await.unwrap();
    let retention = Retention { proofs: Some(Duration::ZERO), ..Retention::default() };
    let collected = fixture.store.collect(&retention, Timestamp::now() + Duration::from_secs(1), 100).await.unwrap();
    assert_eq!(collected.proofs, 1);
    assert!(matches!(engine.proof(&alice, task.id).await, Err(EngineError::ProofExpired(id)) if id == task.id));
    running.stop(Duration::from_secs(5)).await;
    let waiting = fixture.ask(&alice, program.id).await.unwrap();
    assert!(matches!(engine.proof(&alice, waiting.id).await, Err(EngineError::NoProof(..))));
}
