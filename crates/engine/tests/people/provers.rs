//! Prover nodes that owners bring.

use coprocessor_engine::{Caller, EngineError, NodeRegistration};
use coprocessor_store::Scope;

use crate::fixture::{Fixture, admin, user};

const NODE: &str = "http://127.0.0.1:9";

fn node(address: &str, shared: bool) -> NodeRegistration {
    NodeRegistration { address: address.into(), secret: None, shared }
}

async fn seen(fixture: &Fixture, caller: &Caller) -> Vec<String> {
    let nodes = fixture.engine.provers(caller).await.unwrap();
    nodes.into_iter().filter_map(|node| node.owner.map(|_| node.address)).collect()
}

#[tokio::test]
async fn a_node_is_its_owners_and_a_shared_one_everybodys() {
    let fixture = Fixture::new().await;
    let (engine, alice, bob) = (&fixture.engine, user("alice"), user("bob"));
    assert!(engine.add_prover(&alice, node(NODE, false)).await.unwrap());
    assert!(!engine.add_prover(&alice, node(NODE, false)).await.unwrap());
    // Another owner learns nothing of it, not even by bringing the same.
    assert!(seen(&fixture, &bob).await.is_empty());
    assert!(engine.add_prover(&bob, node(NODE, false)).await.unwrap());
    assert_eq!(seen(&fixture, &bob).await.len(), 1);
    assert_eq!(seen(&fixture, &alice).await.len(), 1);
    assert_eq!(seen(&fixture, &admin()).await.len(), 2);
    engine.remove_prover(&bob, None, NODE).await.unwrap();
    let gone = engine.remove_prover(&bob, Some(&alice.owner), NODE).await;
    assert!(matches!(gone, Err(EngineError::UnknownProver(_))), "{gone:?}");
    let shared = engine.add_prover(&alice, node("http://127.0.0.1:10", true)).await;
    assert!(matches!(shared, Err(EngineError::Forbidden { scope: Scope::Admin })), "{shared:?}");
    assert!(engine.add_prover(&admin(), node("http://127.0.0.1:10", true)).await.unwrap());
    assert_eq!(seen(&fixture, &bob).await, ["http://127.0.0.1:10"]);
}

#[tokio::test]
async fn a_node_inside_the_services_network_is_an_administrators_to_bring() {
    let fixture = Fixture::with(|config| config.webhooks.allow.clear()).await;
    for inside in [NODE, "http://localhost:9", "http://169.254.169.254", "http://[::1]:9", "http://2130706433:9"] {
        let refused = fixture.engine.add_prover(&user("alice"), node(inside, false)).await;
        assert!(matches!(refused, Err(EngineError::InvalidRequest(_))), "{inside}: {refused:?}");
    }
    assert!(fixture.engine.add_prover(&admin(), node(NODE, true)).await.unwrap());
}
