use super::*;
use crate::testing::{Bench, FakeNode};

fn owner(name: &str) -> OwnerId {
    name.parse().unwrap()
}

fn own(node: &Arc<FakeNode>, owner: OwnerId, shared: bool) -> Member {
    let mut member = Member::new(Arc::clone(node) as Arc<dyn ProverNode>, ProverSource::Registered);
    (member.owner, member.shared) = (Some(owner), shared);
    member
}

fn configured(node: &Arc<FakeNode>) -> Member {
    Member::new(Arc::clone(node) as Arc<dyn ProverNode>, ProverSource::Configured)
}

/// A pool of those, over a store that knows none of them.
async fn pool(members: Vec<Member>) -> (Bench, ProverPool) {
    let bench = Bench::new(&[]).await;
    let pool = bench.engine.inner.provers.clone();
    *pool.0.members.write().unwrap() = members.into_iter().map(Arc::new).collect();
    (bench, pool)
}

/// As if that many seconds had passed for the nodes.
fn pass(pool: &ProverPool, seconds: u64) {
    pool.members().iter().for_each(|member| member.grow_older(Duration::from_secs(seconds)));
}

async fn choose(pool: &ProverPool, owner: &OwnerId) -> Result<Chosen, String> {
    pool.choose(Wanted { owner, backend: Backend::Sp1, kind: ProofKind::Mock }, &[]).await
}

#[tokio::test]
async fn the_least_loaded_is_chosen_and_what_it_was_given_counts_at_once() {
    let (a, b) = (FakeNode::new("a"), FakeNode::new("b"));
    a.state().running = 1;
    let (_bench, pool) = pool(vec![configured(&a), configured(&b)]).await;
    let anybody = owner("anybody");
    let mut given = Vec::new();
    for _ in 0..7 {
        given.push(choose(&pool, &anybody).await.unwrap());
    }
    let of = |address| given.iter().filter(|chosen| chosen.address() == address).count();
    assert_eq!((of("a"), of("b")), (3, 4));
}

#[tokio::test]
async fn an_owners_own_node_is_used_for_its_tasks_and_no_others() {
    let (alices, shared) = (FakeNode::new("alices"), FakeNode::new("shared"));
    shared.state().running = 1;
    let (_bench, pool) = pool(vec![own(&alices, owner("alice"), false), own(&shared, owner("operator"), true)]).await;
    for _ in 0..20 {
        assert_eq!(choose(&pool, &owner("alice")).await.unwrap().address(), "alices");
        assert_eq!(choose(&pool, &owner("bob")).await.unwrap().address(), "shared");
    }
    assert!(pool.at("alices", &owner("bob")).is_none() && pool.at("alices", &owner("alice")).is_some());
    shared.state().offline = true;
    pool.view(None).await;
    assert!(choose(&pool, &owner("bob")).await.is_err());
    let task = TaskId::now();
    alices.state().held.insert(task);
    assert!(pool.holder("alices", &owner("bob"), task).await.is_none());
    assert!(pool.holder("alices", &owner("alice"), task).await.is_some());
    assert_eq!(pool.nodes(&owner("bob")).len(), 1);
}

#[tokio::test]
async fn the_default_kind_follows_the_nodes_that_serve_the_owner() {
    let alices = FakeNode::new("alices");
    let (_bench, pool) = pool(vec![own(&alices, owner("alice"), false)]).await;
    assert_eq!(pool.default_kind(&owner("alice"), Backend::Sp1), ProofKind::Core);
    assert_eq!(pool.default_kind(&owner("bob"), Backend::Sp1), ProofKind::Mock);
}

#[tokio::test]
async fn a_node_that_is_away_is_set_aside_and_found_again() {
    let a = FakeNode::new("a");
    let (_bench, pool) = pool(vec![configured(&a)]).await;
    let anybody = owner("anybody");
    a.state().offline = true;
    for _ in 0..3 {
        assert!(choose(&pool, &anybody).await.is_err());
        pass(&pool, 2);
    }
    let described = a.state().described;
    a.state().offline = false;
    let why = choose(&pool, &anybody).await.err().unwrap();
    assert!(why.contains("set aside after 3 failures"), "{why}");
    assert_eq!(a.state().described, described, "it is left alone");
    pass(&pool, 10);
    assert_eq!(choose(&pool, &anybody).await.unwrap().address(), "a");
}

#[tokio::test]
async fn a_node_that_loses_jobs_is_tried_with_one_job() {
    let a = FakeNode::new("a");
    let (_bench, pool) = pool(vec![configured(&a)]).await;
    let anybody = owner("anybody");
    for _ in 0..3 {
        choose(&pool, &anybody).await.unwrap().lost("it broke".into());
    }
    assert!(choose(&pool, &anybody).await.is_err());
    assert!(pool.view(None).await[0].set_aside_until.is_some(), "that it answers is not enough");
    pass(&pool, 11);
    let trial = choose(&pool, &anybody).await.unwrap();
    assert!(choose(&pool, &anybody).await.is_err(), "one at a time");
    trial.proved();
    assert!(choose(&pool, &anybody).await.is_ok());
    assert_eq!(pool.view(None).await[0].failures, 0);
}

#[tokio::test]
async fn nodes_registered_elsewhere_are_known_here_and_their_history_stays() {
    let (bench, pool) = pool(Vec::new()).await;
    let record = ProverRecord {
        address: "http://127.0.0.1:9".into(),
        owner: owner("alice"),
        shared: false,
        trusted: true,
        secret: None,
        added_at: Timestamp::UNIX_EPOCH,
    };
    assert!(bench.store.add_prover(record.clone()).await.unwrap());
    pool.reload().await.unwrap();
    pool.view(None).await;
    pool.reload().await.unwrap();
    let seen = pool.view(None).await;
    assert_eq!((seen.len(), seen[0].failures, seen[0].owner.as_ref()), (1, 2, Some(&owner("alice"))));
    assert!(bench.store.remove_prover(&owner("alice"), &record.address).await.unwrap());
    pool.reload().await.unwrap();
    assert!(pool.view(None).await.is_empty());
}

#[tokio::test]
async fn two_owners_may_bring_a_node_at_the_same_address() {
    let (_bench, pool) = pool(Vec::new()).await;
    let record = |owner: OwnerId| ProverRecord {
        address: "127.0.0.1:9".into(),
        owner,
        shared: false,
        trusted: true,
        secret: None,
        added_at: Timestamp::now(),
    };
    assert!(pool.add(record(owner("alice"))).await.unwrap());
    assert!(pool.add(record(owner("bob"))).await.unwrap());
    assert!(!pool.add(record(owner("bob"))).await.unwrap());
    let address = pool.view(None).await[0].address.clone();
    pool.remove(&owner("alice"), &address).await.unwrap();
    let left = pool.view(None).await;
    assert_eq!((left.len(), left[0].owner.as_ref()), (1, Some(&owner("bob"))));
    assert!(pool.remove(&owner("alice"), &address).await.is_err());
}

#[tokio::test]
async fn a_node_that_nobody_vouches_for_is_not_reached_inside_the_services_network() {
    let (bench, pool) = pool(Vec::new()).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    // As if both names had led elsewhere when they were registered.
    let record = |host: &str, trusted| ProverRecord {
        address: format!("http://{host}:{port}"),
        owner: owner("alice"),
        shared: false,
        trusted,
        secret: None,
        added_at: Timestamp::UNIX_EPOCH,
    };
    for host in ["localhost", "127.0.0.1"] {
        assert!(bench.store.add_prover(record(host, false)).await.unwrap());
    }
    pool.reload().await.unwrap();
    let seen = pool.view(None).await;
    assert_eq!(seen.len(), 2);
    for node in seen {
        let error = node.info.map(drop).unwrap_err().to_string();
        assert!(error.contains("no public address"), "{error}");
    }
    let connected = tokio::time::timeout(Duration::from_millis(200), listener.accept()).await;
    assert!(connected.is_err(), "somebody connected");
    // One that an administrator brought is.
    assert!(bench.store.remove_prover(&owner("alice"), &record("127.0.0.1", false).address).await.unwrap());
    pool.reload().await.unwrap();
    assert!(bench.store.add_prover(record("127.0.0.1", true)).await.unwrap());
    pool.reload().await.unwrap();
    tokio::select! {
        connected = listener.accept() => drop(connected.unwrap()),
        _ = pool.view(None) => panic!("nothing was asked of it"),
    }
}
