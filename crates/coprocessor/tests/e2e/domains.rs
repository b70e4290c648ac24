//! Domains, their blocks, and roots that commit to them: shown over HTTP and checked by who asks, with nothing of the service's.

use crate::{
    guests::{echo, hello_circuit, hello_controller},
    service::{Service, json_of, problem_of, until},
};
use coprocessor_api::{
    AppendRequest, AppendView, Base64, BlockView, DomainRequest, OpeningView, TaskState, TransitionView, TrustPolicy,
    client::{Client, ClientError, Page},
};
use coprocessor_merkle::{Tree, block_key, block_value, domain_key, domain_value, instance_key};
use coprocessor_types::{BlobDigest, DomainId, InstanceId, Root, TrustId};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

pub(crate) const NAME: &str = "chain";

fn args(number: u64) -> Value {
    json!({"number": number, "root": state_root(number), "payload": payload(number)})
}

fn state_root(number: u64) -> [u8; 32] {
    *BlobDigest::of(&number.to_be_bytes()).as_bytes()
}

fn payload(number: u64) -> Vec<u8> {
    format!("block {number}").into_bytes()
}

/// What a controller says of a block's state.
pub(crate) fn state_proof(number: u64) -> Value {
    let (domain, root, payload) = (DomainId::derive(NAME), state_root(number), payload(number));
    json!({"domain": domain.0, "number": number, "state_root": root, "payload": payload, "proof": []})
}

/// What a controller's witness says of a block.
fn witness(number: u64) -> Value {
    json!([{"StateProof": state_proof(number)}])
}

/// Registers the domain [`NAME`], which takes every block.
pub(crate) async fn register(service: &Service) {
    let request = DomainRequest {
        name: NAME.into(),
        controller: Base64(echo()),
        owner: None,
        settings: Value::Null,
        trust: TrustPolicy::ControllerOnly,
    };
    assert!(service.client().add_domain(&request).await.unwrap().created);
}

/// A request to append a block to it.
pub(crate) fn one_block(number: u64) -> AppendRequest {
    AppendRequest { args: Some(args(number)), ..AppendRequest::default() }
}

async fn append(service: &Service, numbers: impl IntoIterator<Item = u64>) -> AppendView {
    let request = AppendRequest { blocks: Some(numbers.into_iter().map(args).collect()), ..AppendRequest::default() };
    service.client().append(NAME, &request).await.unwrap()
}

async fn current(client: &Client) -> Root {
    client.current_root().await.unwrap().root.parse().unwrap()
}

/// The root of an instance with one domain of these blocks, by the plainest code there is.
fn root_by_the_rules(instance: InstanceId, domain: DomainId, numbers: &[u64]) -> Root {
    let leaf = |number: &u64| {
        let value = block_value(*number, &state_root(*number), &payload(*number), &TrustId::default());
        (block_key(*number), value)
    };
    let blocks: Tree = numbers.iter().map(leaf).collect();
    let mut top = Tree::from_iter([(instance_key(), coprocessor_merkle::Value(instance.0))]);
    top.insert(domain_key(&domain), domain_value(&blocks.root()));
    top.root()
}

fn code(error: ClientError) -> (u16, String) {
    match error {
        ClientError::Problem(problem) => (problem.status, problem.code),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn blocks_are_appended_and_shown_at_roots_by_the_rules() {
    let mut service = Service::start(&[]);
    register(&service).await;
    let client = service.client();
    let (id, empty) = (DomainId::derive(NAME), current(&client).await);
    let instance: InstanceId = client.info().await.unwrap().instance.parse().unwrap();

    let appended = append(&service, [5, 2]).await;
    assert_eq!((appended.previous_root.as_str(), appended.blocks.len()), (empty.to_string().as_str(), 2));
    assert_eq!(appended.blocks[0].log, ["looking at it"]);
    let one = client.append(NAME, &one_block(9)).await.unwrap();
    assert_eq!(one.previous_root, appended.root);
    let root = current(&client).await;
    assert_eq!((one.root, root), (root.to_string(), root_by_the_rules(instance, id, &[2, 5, 9])));

    let verified = |opening: &OpeningView, root: Root, number: u64| -> Option<BlockView> {
        let block = opening.verify(&root, id, number).unwrap_or_else(|error| panic!("{number} at {root}: {error}"));
        assert!(opening.verify(&Root([1; 32]), id, number).is_err());
        block.cloned()
    };
    for number in [2, 5, 9] {
        let opening = client.opening(&root, NAME, number).await.unwrap();
        let block = verified(&opening, root, number).expect("it is there");
        assert_eq!((block.state_root, block.payload.0), (Root(state_root(number)).to_string(), payload(number)));
        assert_eq!(opening, client.opening(&root, &id.to_string(), number).await.unwrap(), "by id as by name");
        assert_eq!(client.block(NAME, number, None).await.unwrap().number, number);
    }
    assert_eq!(verified(&client.opening(&root, NAME, 3).await.unwrap(), root, 3), None);
    assert_eq!(verified(&client.opening(&empty, NAME, 2).await.unwrap(), empty, 2), None);
    assert_eq!(client.instance_opening(&root).await.unwrap().verify(&root).unwrap(), instance);

    let steps: Vec<TransitionView> = client.transitions(&empty, None, None).await.unwrap().items;
    let mut at = empty;
    for step in &steps {
        let to = step.to.parse().unwrap();
        step.verify(&at, &to).unwrap();
        assert!(step.verify(&to, &at).is_err());
        at = to;
    }
    assert_eq!((at, steps.len()), (root, 3));
    let page = client.transitions(&empty, Some(&root), Some(2)).await.unwrap();
    let next: Root = page.next.unwrap().parse().unwrap();
    let rest = client.transitions(&next, Some(&root), Some(2)).await.unwrap();
    assert_eq!((rest.items.as_slice(), rest.next), (&steps[2..], None));

    // Nothing of that is lost, and past roots are told from the current one.
    let roots = client.roots(None, None).await.unwrap();
    service.kill();
    service.restart(&[]);
    let client = service.client();
    assert_eq!(client.roots(None, None).await.unwrap(), roots);
    assert_eq!(roots.items.iter().map(|root| root.version).collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert_eq!(client.roots(Some(1), Some(1)).await.unwrap().next, Some(2));
    let before: Root = roots.items[1].root.parse().unwrap();
    assert_eq!(client.latest_block(NAME, Some(&before)).await.unwrap().number, 5);
    assert_eq!(client.latest_block(NAME, None).await.unwrap().number, 9);
    assert_eq!(code(client.block(NAME, 9, Some(&before)).await.unwrap_err()), (404, "unknown_block".into()));
    let blocks = client.blocks(NAME, &Page { cursor: None, limit: Some(2) }).await.unwrap();
    assert_eq!(blocks.items.iter().map(|block| block.number).collect::<Vec<_>>(), [9, 5]);
    let blocks = client.blocks(NAME, &Page { cursor: blocks.next, limit: None }).await.unwrap();
    assert_eq!((blocks.items[0].number, blocks.items.len(), blocks.next), (2, 1, None));
    let domain = client.domain(NAME).await.unwrap();
    assert_eq!((domain.blocks, domain.latest, domain.id), (3, Some(9), id.to_string()));
}

#[tokio::test]
async fn two_instances_with_the_same_blocks_share_no_root() {
    let (one, two) = (Service::start(&[]), Service::start(&[]));
    let mut seen = Vec::new();
    for service in [&one, &two] {
        register(service).await;
        append(service, [0, 1]).await;
        seen.extend(service.client().roots(None, None).await.unwrap().items.into_iter().map(|root| root.root));
    }
    assert_eq!(seen.len(), 6);
    assert!(seen[3..].iter().all(|root| !seen[..3].contains(root)), "{seen:?}");
    let foreign: Root = seen[5].parse().unwrap();
    assert_eq!(code(one.client().opening(&foreign, NAME, 1).await.unwrap_err()), (404, "unknown_root".into()));
}

#[tokio::test]
async fn what_cannot_be_is_refused_and_changes_nothing() {
    let service = Service::start(&[]);
    register(&service).await;
    append(&service, [1]).await;
    let root = current(&service.client()).await;
    let blocks = format!("/api/v1/domains/{NAME}/blocks");
    let refuses = async |what: &str, body: Value, status: u16, code: &str| {
        let problem = service.refuses(what, service.post(&blocks, &body), status, code).await;
        assert_eq!(current(&service.client()).await, root, "{what}");
        problem
    };
    let taken = refuses("a number that is taken", json!({"args": args(1)}), 409, "block_taken").await;
    assert_eq!(taken.block.unwrap().state_root, Root(state_root(1)).to_string());
    let twice = refuses("a number twice", json!({"blocks": [args(2), args(2)]}), 409, "block_taken").await;
    assert!(twice.block.is_none() && twice.detail.contains("twice"), "{twice}");
    let refused = refuses("what the controller refuses", json!({"args": 7}), 422, "block_refused").await;
    assert!(refused.detail.contains("no such block on this chain") && refused.log == ["looking at it"], "{refused:?}");
    refuses("what is no block", json!({"args": {"number": "seven"}}), 422, "block_refused").await;
    let mut long = args(2);
    long["payload"] = vec![0; 65_537].into();
    refuses("a payload too long", json!({"args": long}), 422, "payload_too_large").await;
    refuses("one of three refused", json!({"blocks": [args(2), 7, args(3)]}), 422, "block_refused").await;
    refuses("both", json!({"args": 1, "blocks": []}), 400, "invalid_body").await;
    refuses("neither", json!({}), 400, "invalid_body").await;
    refuses("none", json!({"blocks": []}), 400, "invalid_body").await;
    refuses("too many", json!({"blocks": vec![0; 1001]}), 400, "invalid_body").await;

    let domain = |name: &str, controller: Vec<u8>, settings: Value| {
        let body = json!({"name": name, "controller": Base64(controller), "settings": settings});
        service.post("/api/v1/domains", &body)
    };
    assert_eq!(domain(NAME, echo(), Value::Null).send().await.unwrap().status(), StatusCode::OK, "the very same");
    service.refuses("other settings", domain(NAME, echo(), json!(1)), 409, "domain_exists").await;
    service.refuses("no name", domain("a/b", echo(), Value::Null), 400, "domain_name").await;
    service.refuses("an id for a name", domain(&"ab".repeat(32), echo(), Value::Null), 400, "domain_name").await;
    let programs = domain("other", hello_controller(), Value::Null);
    service.refuses("a program's controller", programs, 422, "invalid_controller").await;
    service.refuses("no controller", domain("other", b"x".to_vec(), Value::Null), 422, "invalid_controller").await;
    // And a domain's is no program's, unless it is both.
    let client = service.client();
    assert_eq!(client.domains(&Page::default()).await.unwrap().items.len(), 1);
}

#[tokio::test]
async fn paths_and_queries_are_read_with_care() {
    let service = Service::start(&[]);
    register(&service).await;
    let root = current(&service.client()).await;
    let zeros = Root::default();
    for (path, status, code) in [
        ("/api/v1/domains/elsewhere".to_owned(), 404, "unknown_domain"),
        (format!("/api/v1/domains/{zeros}/blocks"), 404, "unknown_domain"),
        ("/api/v1/domains/-x".into(), 400, "invalid_parameter"),
        (format!("/api/v1/domains/{NAME}/latest"), 404, "unknown_block"),
        (format!("/api/v1/domains/{NAME}/blocks/1"), 404, "unknown_block"),
        (format!("/api/v1/domains/{NAME}/blocks/-1"), 400, "invalid_parameter"),
        (format!("/api/v1/domains/{NAME}/blocks/18446744073709551616"), 400, "invalid_parameter"),
        (format!("/api/v1/domains/{NAME}/blocks?cursor=x"), 400, "invalid_cursor"),
        (format!("/api/v1/domains/{NAME}/latest?root={zeros}"), 404, "unknown_root"),
        (format!("/api/v1/domains/{NAME}/latest?root=x"), 400, "invalid_parameter"),
        ("/api/v1/roots/x".into(), 400, "invalid_parameter"),
        (format!("/api/v1/roots/{zeros}"), 404, "unknown_root"),
        (format!("/api/v1/roots/{zeros}/instance"), 404, "unknown_root"),
        (format!("/api/v1/roots/{zeros}/openings/{NAME}/1"), 404, "unknown_root"),
        (format!("/api/v1/roots/{root}/openings/{NAME}/x"), 400, "invalid_parameter"),
        ("/api/v1/roots/transitions".into(), 400, "invalid_parameter"),
        (format!("/api/v1/roots/transitions?from={zeros}"), 404, "unknown_root"),
        (format!("/api/v1/roots/transitions?from={root}&to={zeros}"), 404, "unknown_root"),
        (format!("/api/v1/roots/transitions?from={root}&limit=0"), 400, "invalid_parameter"),
        ("/api/v1/roots?after=-1".into(), 400, "invalid_parameter"),
    ] {
        problem_of(&path, service.request(Method::GET, &path), status, code).await;
    }
    let opening = service.get(&format!("/api/v1/roots/{root}/openings/elsewhere/1")).await;
    assert_eq!(opening["shows"], "no_domain", "no root commits to a domain that nobody registered");
}

#[tokio::test]
async fn owners_append_and_others_read() {
    let mut service = Service::start(&[]);
    let admin = service.key_for("ops", &["admin"]).await;
    service.act_as(&admin);
    let scopes = ["read", "deploy", "prove"];
    let (alice, bob) = (service.key_for("alice", &scopes).await, service.key_for("bob", &scopes).await);
    let body = json!({"name": NAME, "controller": Base64(echo()), "owner": "alice"});
    service.act_as(&alice);
    service.refuses("registering", service.post("/api/v1/domains", &body), 403, "forbidden").await;
    service.act_as(&admin);
    let made = json_of(service.post("/api/v1/domains", &body), StatusCode::CREATED).await;
    assert_eq!(made["owner"], "alice");
    service.act_as(&bob);
    let blocks = format!("/api/v1/domains/{NAME}/blocks");
    let problem =
        service.refuses("appending", service.post(&blocks, &json!({"args": args(1)})), 403, "forbidden").await;
    assert!(problem.detail.contains("its owner"), "{problem}");
    service.act_as(&alice);
    append(&service, [1]).await;
    service.act_as(&admin);
    append(&service, [2]).await;
    service.act_as(&bob);
    let root = current(&service.client()).await;
    let opening = service.client().opening(&root, NAME, 2).await.unwrap();
    assert!(opening.verify(&root, DomainId::derive(NAME), 2).unwrap().is_some());
}

#[tokio::test]
async fn a_witness_meets_its_circuit_at_the_pinned_root() {
    let service = Service::start(&[]);
    register(&service).await;
    append(&service, 0..4).await;
    let pinned = current(&service.client()).await;
    append(&service, 4..8).await;
    let program = service.deploy(&echo(), &hello_circuit()).await;
    let prove = |args: Value, root: Option<Root>| {
        let body = json!({"args": args, "kind": "mock", "root": root});
        service.post(&format!("/api/v1/programs/{program}/tasks"), &body)
    };
    let ended = async |args: Value, root: Option<Root>| {
        let task = json_of(prove(args, root), StatusCode::ACCEPTED).await;
        service.finished(task["id"].as_str().unwrap()).await
    };
    // The circuit SDK checks openings before a circuit sees anything. This circuit wants no state proof, and says so only then.
    for root in [None, Some(pinned)] {
        let task = ended(witness(3), root).await;
        let failure = task.failure.unwrap();
        assert_eq!((task.state, failure.stage.as_str()), (TaskState::Failed, "prove"), "{failure:?}");
        assert!(failure.message.contains("expected data, got a state proof"), "{failure:?}");
    }
    let task = ended(json!([{"Data": b"Ada"}]), Some(pinned)).await;
    assert_eq!((task.state, task.root), (TaskState::Delivered, pinned.to_string()), "{:?}", task.failure);
    let proof = service.client().proof(&task.id.parse().unwrap()).await.unwrap();
    assert_eq!(proof.public_inputs.0[..32], pinned.0);
    let claim = json!({"program": program, "kind": "mock", "proof": proof.proof, "public_inputs": proof.public_inputs});
    let verdict = json_of(service.post("/api/v1/verify", &claim), StatusCode::OK).await;
    assert_eq!((&verdict["valid"], &verdict["own_root"]), (&json!(true), &json!(true)), "a past root is its own too");

    let mut other_root = witness(3);
    other_root[0]["StateProof"]["state_root"][0] = json!(1);
    let mut other_payload = witness(3);
    other_payload[0]["StateProof"]["payload"] = json!([]);
    let mut other_domain = witness(3);
    other_domain[0]["StateProof"]["domain"] = json!("elsewhere");
    for (args, root, says) in [
        (other_root, None, "its state root is"),
        (other_payload, None, "its payload is 7 bytes"),
        (other_domain, None, "not registered here"),
        (witness(8), None, "no block of that number"),
        (witness(5), Some(pinned), "no block of that number"),
    ] {
        let task = ended(args.clone(), root).await;
        let failure = task.failure.unwrap();
        assert_eq!((failure.stage.as_str(), failure.code.as_str()), ("execute", "state_not_in_root"), "{failure:?}");
        assert!(!failure.retryable && failure.message.contains(says), "{says}: {failure:?}");
        let dry = service.post(&format!("/api/v1/programs/{program}/execute"), &json!({"args": args, "root": root}));
        problem_of(says, dry, 422, "state_not_in_root").await;
    }
    service.refuses("a foreign root", prove(json!([]), Some(Root([1; 32]))), 404, "unknown_root").await;
}

#[tokio::test]
async fn roots_that_were_pruned_are_gone() {
    let mut service = Service::start(&[]);
    register(&service).await;
    append(&service, 0..3).await;
    let roots = service.client().roots(None, None).await.unwrap().items;
    service.stop();
    service.restart(&["--keep-roots", "0s", "--keep-tasks", "0s"]);
    let (old, new): (Root, Root) = (roots[1].root.parse().unwrap(), roots[3].root.parse().unwrap());
    // The first pass comes some seconds after the start.
    until("old roots are pruned", async || service.client().opening(&old, NAME, 0).await.is_err()).await;
    let program = service.deploy(&echo(), &hello_circuit()).await;
    let gone = |path: String| service.request(Method::GET, &path);
    problem_of("an opening", gone(format!("/api/v1/roots/{old}/openings/{NAME}/0")), 410, "root_pruned").await;
    problem_of("the instance", gone(format!("/api/v1/roots/{old}/instance")), 410, "root_pruned").await;
    problem_of("a transition", gone(format!("/api/v1/roots/transitions?from={old}")), 410, "root_pruned").await;
    let task =
        service.post(&format!("/api/v1/programs/{program}/tasks"), &json!({"args": [], "root": old, "kind": "mock"}));
    service.refuses("a task", task, 410, "root_pruned").await;
    let client = service.client();
    assert_eq!(client.root(&old).await.unwrap(), roots[1], "it is known still");
    let opening = client.opening(&new, NAME, 0).await.unwrap();
    assert!(opening.verify(&new, DomainId::derive(NAME), 0).unwrap().is_some(), "the current root opens all");
    assert_eq!(client.storage().await.unwrap().retention.roots, Some(0));
}
