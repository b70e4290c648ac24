//! Domains, blocks and roots as callers and tasks meet them. Tests only.

use circuit_sdk::{CONTROLLER_ONLY, StateProof, Witnesses, run_native};
use coprocessor_merkle::{
    DOMAIN_DEPTH, ROOT_DEPTH, block_key, domain_key, domain_value, verify_block, verify_instance,
};
use coprocessor_store::{
    Block, Domain, InsertProgram, MAX_PAYLOAD, NewProgram, OpenedBlock, Program, Scope, Stage, Task, TaskState,
    TrustPolicy,
};
use coprocessor_types::{Backend, BlobDigest, CircuitInput, DomainId, OwnerId, ProgramId, Root};
use serde_json::{Value, json};
use std::time::Duration;

use crate::{
    Appended, Caller, DomainRequest, DryRun, EngineConfig, EngineError, MAX_APPEND, Registered, TaskRequest,
    testing::{Bench, FakeNode, config},
};

/// Every export gives back what it is called with; but `validate_block` has no good word for an argument of less than ten bytes.
const ECHO: &str = r#"(module
    (import "valence" "args" (func $args (param i32) (result i32)))
    (import "valence" "ret" (func $ret (param i32 i32) (result i32)))
    (import "valence" "log" (func $log (param i32 i32) (result i32)))
    (import "valence" "panic" (func $panic (param i32 i32)))
    (import "valence" "set_raw_storage" (func $set_raw (param i32 i32) (result i32)))
    (memory (export "memory") 300)
    (data (i32.const 0) "looking at it")
    (data (i32.const 16) "no such block on this chain")
    (func $echo (drop (call $ret (i32.const 64) (call $args (i32.const 64)))))
    (func (export "get_witnesses") (call $echo))
    (func (export "entrypoint"))
    (func (export "get_state_proof") (call $echo))
    (func (export "validate_block")
        (drop (call $log (i32.const 0) (i32.const 13)))
        (drop (call $set_raw (i32.const 0) (i32.const 13)))
        (if (i32.lt_s (call $args (i32.const 64)) (i32.const 10))
            (then (call $panic (i32.const 16) (i32.const 27)) (unreachable)))
        (call $echo)))"#;

struct Chain {
    bench: Bench,
    /// Its `get_witnesses` gives back its arguments.
    echo: Program,
    domain: Domain,
}

fn wasm() -> bytes::Bytes {
    wat::parse_str(ECHO).unwrap().into()
}

fn request(name: &str) -> DomainRequest {
    DomainRequest {
        name: name.parse().unwrap(),
        owner: None,
        controller: wasm(),
        settings: Value::Null,
        policy: TrustPolicy::ControllerOnly,
    }
}

fn dry(args: Value, root: Option<Root>) -> DryRun {
    DryRun { args, root, record: false }
}

fn caller(owner: &str, scopes: &[Scope]) -> Caller {
    Caller { owner: owner.parse().unwrap(), key: None, scopes: scopes.iter().copied().collect() }
}

/// The arguments that make a block of that number; its state root and payload follow from it.
fn args(number: u64) -> Value {
    json!({"number": number, "root": state_root(number), "payload": payload(number)})
}

fn state_root(number: u64) -> [u8; 32] {
    *BlobDigest::of(&number.to_be_bytes()).as_bytes()
}

fn payload(number: u64) -> Vec<u8> {
    format!("block {number}").into_bytes()
}

/// What a controller says of a block.
fn state_proof(domain: DomainId, number: u64) -> StateProof {
    let proof = b"the way to a state".to_vec();
    StateProof { domain, number, state_root: state_root(number), payload: payload(number), proof }
}

fn witness(proof: &StateProof) -> Value {
    json!([{"StateProof": proof}])
}

impl Chain {
    async fn new(nodes: &[&std::sync::Arc<FakeNode>]) -> Self {
        Self::with(config(), nodes).await
    }

    /// With a domain called `chain`, without blocks.
    async fn with(config: EngineConfig, nodes: &[&std::sync::Arc<FakeNode>]) -> Self {
        let bench = Bench::with(config, nodes).await;
        let controller = bench.store.put_blob(wasm()).await.unwrap();
        let program = NewProgram {
            id: ProgramId([9; 32]),
            owner: OwnerId::anonymous(),
            key: None,
            name: "echo".into(),
            public: false,
            backend: Backend::Sp1,
            controller,
            circuit: bench.program.circuit,
            verifying_key: None,
            nonce: 9,
            volume_size: coprocessor_vfs::DEFAULT_VOLUME_SIZE,
        };
        let InsertProgram::Inserted(echo) = bench.store.insert_program(program, 10).await.unwrap() else {
            panic!("the store is new")
        };
        let Registered::New(domain) = bench.engine.add_domain(&Caller::anonymous(), request("chain")).await.unwrap()
        else {
            panic!("the store is new")
        };
        Self { bench, echo, domain }
    }

    async fn try_append(&self, args: Vec<Value>) -> Result<Appended, EngineError> {
        self.bench.engine.append_blocks(&Caller::anonymous(), self.domain.id, args).await
    }

    async fn append(&self, numbers: impl IntoIterator<Item = u64>) -> Vec<Block> {
        let appended = self.try_append(numbers.into_iter().map(args).collect()).await.unwrap();
        appended.blocks.into_iter().map(|appended| appended.block).collect()
    }

    async fn current(&self) -> Root {
        self.bench.engine.current_root(&Caller::anonymous()).await.unwrap().root
    }

    /// A task whose witness is `args`, executed.
    async fn executed(&self, args: Value, root: Option<Root>) -> Task {
        let request = TaskRequest { program: self.echo.id, args, root, ..self.bench.request() };
        let id = self.bench.engine.admit(request).await.unwrap().id;
        let running = self.bench.engine.start().unwrap();
        let task = self.bench.engine.wait(&Caller::anonymous(), id, Duration::from_secs(30)).await.unwrap();
        running.stop(Duration::from_secs(5)).await;
        task
    }

    async fn failure(&self, proof: &StateProof) -> String {
        let task = self.executed(witness(proof), None).await;
        let failure = task.failure.unwrap_or_else(|| panic!("{proof:?} was taken"));
        assert_eq!(
            (failure.stage, failure.code.as_str(), failure.retryable),
            (Stage::Execute, "state_not_in_root", false)
        );
        failure.message
    }
}

#[tokio::test]
async fn a_domain_is_registered_once_and_by_administrators() {
    let bench = Bench::new(&[]).await;
    let engine = &bench.engine;
    let (alice, admin) = (caller("alice", &[Scope::Read, Scope::Deploy, Scope::Prove]), caller("ops", &[Scope::Admin]));
    let refused = engine.add_domain(&alice, request("chain")).await;
    assert!(matches!(refused, Err(EngineError::Forbidden { scope: Scope::Admin })));
    let asked = DomainRequest { owner: Some(alice.owner.clone()), settings: json!({"chain": 1}), ..request("chain") };
    let Registered::New(domain) = engine.add_domain(&admin, asked.clone()).await.unwrap() else { panic!("it is new") };
    assert_eq!((domain.id, &domain.owner), (DomainId::derive("chain"), &alice.owner));
    assert_eq!(engine.add_domain(&admin, asked.clone()).await.unwrap(), Registered::Same(domain.clone()));
    let other_controller = wat::parse_str(ECHO.replace("looking at it", "looking at IT")).unwrap();
    for (other, request) in [
        ("another owner", DomainRequest { owner: None, ..asked.clone() }),
        ("other settings", DomainRequest { settings: json!({"chain": 2}), ..asked.clone() }),
        ("another controller", DomainRequest { controller: other_controller.clone().into(), ..asked.clone() }),
    ] {
        let refused = engine.add_domain(&admin, request).await.unwrap_err();
        assert!(matches!(&refused, EngineError::DomainExists { other: differs, .. } if *differs == other), "{refused}");
    }
    let programs = bench.store.blob(bench.program.controller).await.unwrap();
    let refused =
        engine.add_domain(&admin, DomainRequest { controller: programs, ..request("other") }).await.unwrap_err();
    assert!(
        matches!(&refused, EngineError::InvalidController(reason) if reason.contains("validate_block")),
        "{refused}"
    );
    let settings = json!("x".repeat(65 << 10));
    let refused = engine.add_domain(&admin, DomainRequest { settings, ..request("other") }).await.unwrap_err();
    assert!(matches!(refused, EngineError::InvalidRequest(_)));
    assert_eq!(engine.domains(&alice, None, 10).await.unwrap().items, std::slice::from_ref(&domain));
    assert_eq!(engine.domain_controller(&alice, domain.id).await.unwrap().1, wasm());

    let refused = engine.set_domain_controller(&alice, domain.id, wasm()).await;
    assert!(matches!(refused, Err(EngineError::Forbidden { scope: Scope::Admin })));
    let replaced = engine.set_domain_controller(&admin, domain.id, other_controller.clone().into()).await.unwrap();
    assert_eq!(replaced.controller, BlobDigest::of(&other_controller));
    let unknown = engine.set_domain_controller(&admin, DomainId([1; 32]), wasm()).await;
    assert!(matches!(unknown, Err(EngineError::UnknownDomain(_))));
}

#[tokio::test]
async fn blocks_are_appended_by_the_owner_or_an_administrator() {
    let bench = Bench::new(&[]).await;
    let engine = &bench.engine;
    let alice = caller("alice", &[Scope::Read, Scope::Deploy]);
    let asked = DomainRequest { owner: Some(alice.owner.clone()), ..request("chain") };
    engine.add_domain(&Caller::anonymous(), asked).await.unwrap();
    let id = DomainId::derive("chain");
    let bob = caller("bob", &[Scope::Read, Scope::Deploy, Scope::Prove]);
    let refused = engine.append_blocks(&bob, id, vec![args(0)]).await.unwrap_err();
    assert!(matches!(&refused, EngineError::NotDomainOwner { domain } if domain == "chain"), "{refused}");
    let reader = caller("alice", &[Scope::Read, Scope::Prove]);
    let refused = engine.append_blocks(&reader, id, vec![args(0)]).await;
    assert!(matches!(refused, Err(EngineError::Forbidden { scope: Scope::Deploy })));
    engine.append_blocks(&alice, id, vec![args(0)]).await.unwrap();
    engine.append_blocks(&caller("ops", &[Scope::Admin]), id, vec![args(1)]).await.unwrap();
    // Everybody reads.
    assert_eq!(engine.latest_block(&bob, id, None).await.unwrap().number, 1);
    let nobody = caller("bob", &[Scope::Prove]);
    assert!(matches!(engine.current_root(&nobody).await, Err(EngineError::Forbidden { scope: Scope::Read })));
    let unknown = engine.append_blocks(&alice, DomainId([1; 32]), vec![args(0)]).await;
    assert!(matches!(unknown, Err(EngineError::UnknownDomain(_))));
}

#[tokio::test]
async fn what_the_controller_does_not_let_pass_is_refused_with_its_log() {
    let chain = Chain::new(&[]).await;
    let before = chain.current().await;
    let refused = chain.try_append(vec![json!(1)]).await.unwrap_err();
    let EngineError::BlockRefused { domain, reason, log, .. } = &refused else { panic!("{refused}") };
    assert_eq!((domain.as_str(), reason.as_str()), ("chain", "no such block on this chain"));
    assert_eq!(log[0], "looking at it");
    assert!(log[1].contains("set_raw_storage refused") && log[1].contains("no files"), "{log:?}");

    let refused = chain.try_append(vec![json!({"number": 1, "root": "0x00"})]).await.unwrap_err();
    let EngineError::BlockRefused { reason, .. } = &refused else { panic!("{refused}") };
    assert!(reason.contains("returned something else") && reason.contains("expected {\"number\""), "{reason}");

    let mut long = args(1);
    long["payload"] = json!(vec![0; MAX_PAYLOAD + 1]);
    let refused = chain.try_append(vec![long]).await.unwrap_err();
    assert!(matches!(refused, EngineError::PayloadTooLarge { number: 1, .. }), "{refused}");

    // One that is refused refuses all, and says which it is.
    let refused = chain.try_append(vec![args(0), json!(1), args(2)]).await.unwrap_err();
    assert!(
        matches!(&refused, EngineError::BlockRefused { reason, .. } if reason.starts_with("block 1 of")),
        "{refused}"
    );
    for count in [0, MAX_APPEND + 1] {
        let refused = chain.try_append(vec![args(0); count]).await;
        assert!(matches!(refused, Err(EngineError::InvalidRequest(_))), "{count}");
    }
    assert_eq!(chain.current().await, before);
}

#[tokio::test]
async fn settings_go_along_with_the_arguments() {
    let bench = Bench::new(&[]).await;
    let settings = json!({"chain": 17});
    let asked = DomainRequest { settings: settings.clone(), ..request("chain") };
    bench.engine.add_domain(&Caller::anonymous(), asked).await.unwrap();
    // The echo gives back what it was called with, which is then no block.
    let appended = bench.engine.append_blocks(&Caller::anonymous(), DomainId::derive("chain"), vec![args(0)]).await;
    let refused = appended.unwrap_err();
    assert!(
        matches!(&refused, EngineError::BlockRefused { reason, .. } if reason.contains("unknown field `args`")),
        "{refused}"
    );
}

#[tokio::test]
async fn each_block_makes_a_root_and_none_is_replaced() {
    let chain = Chain::new(&[]).await;
    let engine = &chain.bench.engine;
    let (reader, id) = (Caller::anonymous(), chain.domain.id);
    let first = engine.current_root(&reader).await.unwrap();
    assert_eq!((first.version, first.block), (0, None));
    let appended = chain.try_append(vec![args(7), args(3)]).await.unwrap();
    assert_eq!(appended.previous, first.root);
    let numbers: Vec<_> = appended.blocks.iter().map(|appended| appended.block.number).collect();
    assert_eq!(numbers, [7, 3], "in the order given");
    assert!(appended.blocks.iter().all(|appended| appended.log[0] == "looking at it" && appended.usage.fuel > 0));
    let next = chain.try_append(vec![args(9)]).await.unwrap();
    assert_eq!(next.previous, appended.blocks[1].block.root);
    assert_eq!(chain.current().await, next.blocks[0].block.root);

    for (again, there) in [(vec![args(1), args(7)], true), (vec![args(1), args(1)], false)] {
        let before = chain.current().await;
        let taken = chain.try_append(again).await.unwrap_err();
        let EngineError::BlockTaken { number, block, .. } = &taken else { panic!("{taken}") };
        assert_eq!((block.as_deref().map(|block| block.number), block.is_some()), (there.then_some(*number), there));
        assert_eq!(chain.current().await, before);
    }

    let roots = engine.roots(&reader, None, 10).await.unwrap();
    assert_eq!(roots.iter().map(|root| root.version).collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert_eq!(roots[2].block, Some((id, 3)));
    // At each root what was there then, and nothing of later.
    assert_eq!(engine.latest_block(&reader, id, Some(roots[2].root)).await.unwrap().number, 7);
    assert!(engine.block(&reader, id, 9, Some(roots[3].root)).await.is_ok());
    let missing = engine.block(&reader, id, 9, Some(roots[2].root)).await.unwrap_err();
    assert!(matches!(missing, EngineError::UnknownBlock { number: Some(9), .. }), "{missing}");
    let missing = engine.latest_block(&reader, id, Some(roots[0].root)).await.unwrap_err();
    assert!(matches!(missing, EngineError::UnknownBlock { number: None, .. }), "{missing}");
    let unknown = engine.block(&reader, id, 9, Some(Root([1; 32]))).await;
    assert!(matches!(unknown, Err(EngineError::UnknownRoot(_))));
}

#[tokio::test]
async fn what_is_shown_at_a_root_holds_at_that_root() {
    let chain = Chain::new(&[]).await;
    let engine = &chain.bench.engine;
    let (reader, id) = (Caller::anonymous(), chain.domain.id);
    let empty = chain.current().await;
    chain.append(0..10).await;
    let root = chain.current().await;

    let shown = engine.open_block(&reader, root, id, 4).await.unwrap();
    let OpenedBlock::Member(block, opening) = &shown.held else { panic!("{shown:?}") };
    verify_block(&root, &state_proof(id, 4), opening).unwrap();
    assert_eq!((block.number, opening.trust), (4, CONTROLLER_ONLY));
    let absent = engine.open_block(&reader, root, id, 10).await.unwrap();
    let OpenedBlock::Absent { root: in_root, domain, domain_root } = absent.held else { panic!("{absent:?}") };
    assert_eq!(in_root.verify(&root, &domain_key(&id), ROOT_DEPTH), Ok(Some(domain_value(&domain_root))));
    assert_eq!(domain.verify(&domain_root, &block_key(10), DOMAIN_DEPTH), Ok(None));
    for (at, domain) in [(empty, id), (root, DomainId([1; 32]))] {
        let nothing = engine.open_block(&reader, at, domain, 4).await.unwrap();
        let OpenedBlock::NoDomain(opening) = nothing.held else { panic!("{nothing:?}") };
        assert_eq!(opening.verify(&at, &domain_key(&domain), ROOT_DEPTH), Ok(None));
    }
    let instance = engine.open_instance(&reader, root).await.unwrap();
    verify_instance(&root, &engine.instance(), &instance.siblings).unwrap();

    let steps = engine.transitions(&reader, empty, None, 100).await.unwrap();
    assert_eq!(steps.len(), 10);
    let mut at = empty;
    for step in &steps {
        step.append.verify(&at, &step.to.root).unwrap();
        assert_eq!(step.from, at);
        at = step.to.root;
    }
    assert_eq!(at, root);
    let some = engine.transitions(&reader, steps[2].from, Some(steps[8].to.root), 3).await.unwrap();
    assert_eq!(some, steps[2..5]);
    assert_eq!(engine.transitions(&reader, root, Some(root), 3).await.unwrap(), []);
    let backwards = engine.transitions(&reader, root, Some(empty), 3).await;
    assert!(matches!(backwards, Err(EngineError::InvalidRequest(_))));
    for unknown in [
        engine.open_block(&reader, Root([1; 32]), id, 4).await.map(drop),
        engine.open_instance(&reader, Root([1; 32])).await.map(drop),
        engine.transitions(&reader, Root([1; 32]), None, 3).await.map(drop),
        engine.root(&reader, Root([1; 32])).await.map(drop),
    ] {
        assert!(matches!(unknown, Err(EngineError::UnknownRoot(_))), "{unknown:?}");
    }
}

#[tokio::test]
async fn another_coprocessors_block_is_seen_soon() {
    let chain = Chain::new(&[]).await;
    let other = chain.bench.another(config(), &[]).await;
    assert_eq!(other.engine.current_root(&Caller::anonymous()).await.unwrap().root, chain.current().await);
    let appended = chain.append([5]).await;
    let seen = async {
        while other.engine.current_root(&Caller::anonymous()).await.unwrap().root != appended[0].root {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    // Nothing listens to announcements there: the engine was not started.
    tokio::time::timeout(Duration::from_secs(30), seen).await.expect("it looks now and then");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_witness_is_opened_at_the_pinned_root_and_a_circuit_finds_it_there() {
    let node = FakeNode::new("a");
    let chain = Chain::new(&[&node]).await;
    chain.append(0..5).await;
    let pinned = chain.current().await;
    chain.append(5..9).await;
    let (id, proof) = (chain.domain.id, state_proof(chain.domain.id, 3));
    let task = chain.executed(witness(&proof), Some(pinned)).await;
    assert_eq!((task.state, task.root), (TaskState::Delivered, pinned), "{:?}", task.failure);
    let input = chain.bench.store.blob(task.witness.unwrap()).await.unwrap();
    let input = CircuitInput::from_bytes(&input).unwrap();
    let circuit = |mut witnesses: Witnesses| witnesses.state_proof(id, CONTROLLER_ONLY).payload;
    let outputs = run_native(circuit, &input).unwrap();
    assert_eq!((outputs.root, outputs.output), (pinned, payload(3)));
    let elsewhere = CircuitInput { root: chain.current().await, ..input };
    assert!(run_native(circuit, &elsewhere).is_err(), "the opening is at the pinned root and at no other");

    // A dry run is pinned as a task is.
    let report = chain
        .bench
        .engine
        .witness(&Caller::anonymous(), chain.echo.id, dry(witness(&proof), Some(pinned)))
        .await
        .unwrap();
    assert_eq!(report.root, pinned);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_witness_that_the_root_does_not_hold_fails_at_once_and_says_what_differs() {
    let node = FakeNode::new("a");
    let chain = Chain::new(&[&node]).await;
    let before = chain.current().await;
    chain.append([3]).await;
    let good = state_proof(chain.domain.id, 3);
    let says = |message: String, words: &[&str]| {
        assert!(words.iter().all(|word| message.contains(word)), "{words:?}: {message}");
    };
    let wrong_root = StateProof { state_root: [1; 32], ..good.clone() };
    says(
        chain.failure(&wrong_root).await,
        &[
            "witness 0, block 3 of domain chain",
            "its state root is",
            &Root(state_root(3)).to_string(),
            &"01".repeat(32),
        ],
    );
    let wrong_payload = StateProof { payload: vec![1], ..good.clone() };
    says(chain.failure(&wrong_payload).await, &["its payload is 7 bytes 0x", "the witness says 1 bytes 0x01"]);
    says(chain.failure(&StateProof { number: 4, ..good.clone() }).await, &["block 4", "no block of that number"]);
    let elsewhere = StateProof { domain: DomainId::derive("elsewhere"), ..good.clone() };
    says(chain.failure(&elsewhere).await, &["not registered here", "no block of that domain"]);
    // The instance's own place is no domain's.
    let instance = StateProof { domain: DomainId(coprocessor_merkle::instance_key().0), ..good.clone() };
    says(chain.failure(&instance).await, &["no block of that domain"]);

    // The root before the block does not hold it either, for a task or for a dry run.
    let task = chain.executed(witness(&good), Some(before)).await;
    assert_eq!(task.failure.unwrap().code, "state_not_in_root");
    let engine = &chain.bench.engine;
    let refused = engine.execute(&Caller::anonymous(), chain.echo.id, dry(witness(&good), Some(before))).await;
    assert!(matches!(refused, Err(EngineError::Guest { code: "state_not_in_root", .. })), "{refused:?}");
    assert_eq!(node.state().jobs.len(), 0, "nothing was proved of all that");
}

#[tokio::test]
async fn a_witness_is_bounded_with_its_openings() {
    let chain = Chain::with(EngineConfig { witness_bytes: 2000, ..config() }, &[]).await;
    chain.append(0..8).await;
    let proof = json!({"StateProof": state_proof(chain.domain.id, 3)});
    let many = Value::Array(vec![proof; 20]);
    let engine = &chain.bench.engine;
    let refused = engine.execute(&Caller::anonymous(), chain.echo.id, dry(many, None)).await;
    assert!(matches!(refused, Err(EngineError::Guest { code: "witness_too_large", .. })), "{refused:?}");
}

#[tokio::test]
async fn pruned_roots_open_nothing_but_the_current_one_does() {
    let chain = Chain::with(EngineConfig { keep_roots: Some(Duration::ZERO), ..config() }, &[]).await;
    let old = chain.current().await;
    chain.append(0..3).await;
    let (engine, id) = (&chain.bench.engine, chain.domain.id);
    // What a task is pinned to stays.
    let middle = engine.roots(&Caller::anonymous(), Some(0), 1).await.unwrap().remove(0).root;
    let task = TaskRequest { root: Some(middle), ..chain.bench.request() };
    let task = engine.admit(task).await.unwrap();
    assert_eq!(engine.inner.prune_roots().await.unwrap(), 1);
    let reader = Caller::anonymous();
    for refused in [
        engine.open_block(&reader, old, id, 0).await.map(drop),
        engine.open_instance(&reader, old).await.map(drop),
        engine.admit(TaskRequest { root: Some(old), ..chain.bench.request() }).await.map(drop),
        engine.witness(&reader, chain.echo.id, dry(json!([]), Some(old))).await.map(drop),
    ] {
        assert!(matches!(refused, Err(EngineError::RootPruned { root, oldest: 1 }) if root == old), "{refused:?}");
    }
    // It is known still.
    assert_eq!(engine.root(&reader, old).await.unwrap().version, 0);
    assert!(engine.open_block(&reader, middle, id, 0).await.is_ok());
    engine.cancel(&reader, task.id).await.unwrap();
    assert_eq!(engine.inner.prune_roots().await.unwrap(), 2);
    assert!(matches!(engine.open_block(&reader, middle, id, 0).await, Err(EngineError::RootPruned { .. })));
    assert!(engine.open_block(&reader, chain.current().await, id, 0).await.is_ok());
    assert!(engine.block(&reader, id, 0, None).await.is_ok(), "blocks stay");
}
