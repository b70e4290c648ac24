//! Every method of the engine that has to do with somebody's things, asked by everybody.

use bytes::Bytes;
use coprocessor_engine::{
    Caller, ClaimKey, Deployed, DomainRequest, DryRun, Engine, EngineError, NodeRegistration, ProofClaim, Scopes,
    new_key,
};
use coprocessor_store::{DeliveryId, KeyId, Owner, Quotas, Scope, TaskFilter, TrustPolicy, Webhook, WebhookId};
use coprocessor_types::{DomainId, OwnerId, ProgramId, ProofKind, Root, TaskId};
use futures::future::{BoxFuture, FutureExt};
use serde_json::json;
use std::{
    collections::{BTreeSet, HashMap},
    fs,
    path::Path,
    time::Duration,
};

use crate::fixture::{Fixture, admin, caller, request, user};

/// What is asked for, all of it Alice's.
struct Things {
    owner: OwnerId,
    private: ProgramId,
    public: ProgramId,
    task: TaskId,
    webhook: WebhookId,
    key: KeyId,
    node: String,
}

/// How a method treats whoever asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Rule {
    /// Its own, another's if public, anybody's for an administrator.
    ReadsProgram,
    /// Its own, anybody's for an administrator. Another's public one is seen, so it is refused openly.
    ChangesProgram,
    /// Its own, anybody's for an administrator; another's does not exist.
    Own,
    /// Lists its own; another's only for an administrator.
    Lists,
    /// For administrators.
    Admin,
    /// About nobody's things, or about the caller's own in any case.
    Anybody,
}

#[derive(PartialEq, Eq, Debug)]
enum Verdict {
    /// Let through, whatever came of it then.
    Allowed,
    /// As if it did not exist.
    Hidden,
    /// Told which scope is missing.
    Forbidden(Scope),
}

fn verdict<T>(result: Result<T, EngineError>) -> Verdict {
    match result {
        Err(EngineError::Forbidden { scope }) => Verdict::Forbidden(scope),
        Err(
            EngineError::UnknownProgram(_)
            | EngineError::UnknownTask(_)
            | EngineError::UnknownKey(_)
            | EngineError::UnknownOwner(_)
            | EngineError::UnknownWebhook(_)
            | EngineError::UnknownProver(_),
        ) => Verdict::Hidden,
        Ok(_) | Err(_) => Verdict::Allowed,
    }
}

/// Asks for a method: the engine, who asks, Alice's things, and which of her programs.
type Ask = for<'a> fn(&'a Engine, &'a Caller, &'a Things, ProgramId) -> BoxFuture<'a, Verdict>;

struct Row {
    method: &'static str,
    scope: Scope,
    rule: Rule,
    ask: Ask,
}

macro_rules! rows {
    ($( $method:ident $scope:ident $rule:ident |$engine:ident, $caller:ident, $things:ident, $program:ident| $call:expr; )*) => {
        vec![$(Row {
            method: stringify!($method),
            scope: Scope::$scope,
            rule: Rule::$rule,
            ask: {
                #[allow(unused_variables)]
                fn ask<'a>($engine: &'a Engine, $caller: &'a Caller, $things: &'a Things, $program: ProgramId) -> BoxFuture<'a, Verdict> {
                    async move { verdict($call.await) }.boxed()
                }
                ask
            },
        }),*]
    };
}

#[rustfmt::skip]
fn rows() -> Vec<Row> {
    rows! {
        program Read ReadsProgram |e, c, t, p| e.program(c, p);
        controller Read ReadsProgram |e, c, t, p| e.controller(c, p, None);
        controller_versions Read ReadsProgram |e, c, t, p| e.controller_versions(c, p, None, 10);
        circuit Read ReadsProgram |e, c, t, p| e.circuit(c, p);
        verifying_key Read ReadsProgram |e, c, t, p| e.verifying_key(c, p);
        read_path Read ReadsProgram |e, c, t, p| e.read_path(c, p, "/".into());
        image Read ReadsProgram |e, c, t, p| e.image(c, p);
        stat_path Read ReadsProgram |e, c, t, p| e.stat_path(c, p, "/".into());
        volume_space Read ReadsProgram |e, c, t, p| e.volume_space(c, p);
        raw_storage Read ReadsProgram |e, c, t, p| e.raw_storage(c, p);
        verify Read ReadsProgram |e, c, t, p| e.verify(c, claim(p));
        admit Prove ReadsProgram |e, c, t, p| e.admit(request(c, p));
        witness Prove ReadsProgram |e, c, t, p| e.witness(c, p, dry());
        execute Prove ReadsProgram |e, c, t, p| e.execute(c, p, dry());
        call Deploy ChangesProgram |e, c, t, p| e.call(c, p, json!({}));
        write_file Deploy ChangesProgram |e, c, t, p| e.write_file(c, p, "a.txt".into(), Bytes::from_static(b"a"));
        remove_path Deploy ChangesProgram |e, c, t, p| e.remove_path(c, p, "a.txt".into());
        make_directory Deploy ChangesProgram |e, c, t, p| e.make_directory(c, p, "d".into());
        rename_path Deploy ChangesProgram |e, c, t, p| e.rename_path(c, p, "a.txt".into(), "b.txt".into());
        set_raw_storage Deploy ChangesProgram |e, c, t, p| e.set_raw_storage(c, p, Bytes::from_static(b"raw"));
        receive_image Deploy ChangesProgram |e, c, t, p| e.receive_image(c, p);
        recorded_call Deploy ChangesProgram |e, c, t, p| e.recorded_call(c, p, json!({}));
        set_controller Deploy ChangesProgram |e, c, t, p| e.set_controller(c, p, Bytes::new());
        set_controller_version Deploy ChangesProgram |e, c, t, p| e.set_controller_version(c, p, 1);
        delete_program Deploy ChangesProgram |e, c, t, p| e.delete_program(c, p);
        task Read Own |e, c, t, p| e.task(c, t.task);
        wait Read Own |e, c, t, p| e.wait(c, t.task, Duration::ZERO);
        events Read Own |e, c, t, p| e.events(c, t.task, 0, 10);
        proof Read Own |e, c, t, p| e.proof(c, t.task);
        recording Read Own |e, c, t, p| e.recording(c, t.task, None);
        cancel Prove Own |e, c, t, p| e.cancel(c, t.task);
        retry Prove Own |e, c, t, p| e.retry(c, t.task);
        webhook Read Own |e, c, t, p| e.webhook(c, t.webhook);
        deliveries Read Own |e, c, t, p| e.deliveries(c, t.webhook, None, 10);
        redeliver Deploy Own |e, c, t, p| e.redeliver(c, t.webhook, DeliveryId(t.webhook.0));
        remove_webhook Deploy Own |e, c, t, p| e.remove_webhook(c, t.webhook);
        owner Read Own |e, c, t, p| e.owner(c, &t.owner);
        remove_prover Deploy Own |e, c, t, p| e.remove_prover(c, Some(&t.owner), &t.node);
        programs Read Lists |e, c, t, p| e.programs(c, Some(t.owner.clone()), None, 10);
        tasks Read Lists |e, c, t, p| e.tasks(c, TaskFilter { owner: Some(t.owner.clone()), ..TaskFilter::default() }, None, 10);
        owner_events Read Lists |e, c, t, p| e.owner_events(c, Some(t.owner.clone()), 0, 10);
        webhooks Read Lists |e, c, t, p| e.webhooks(c, Some(t.owner.clone()), None, 10);
        keys Read Lists |e, c, t, p| e.keys(c, Some(t.owner.clone()), None, 10);
        owners Admin Admin |e, c, t, p| e.owners(c, None, 10);
        set_owner Admin Admin |e, c, t, p| e.set_owner(c, owner(&t.owner));
        create_key Admin Admin |e, c, t, p| e.create_key(c, t.owner.clone(), "", Scopes::ALL, None);
        deploy Deploy Anybody |e, c, t, p| e.deploy(c, deployment());
        provers Read Anybody |e, c, t, p| e.provers(c);
        add_prover Deploy Anybody |e, c, t, p| e.add_prover(c, node("http://127.0.0.1:9", false));
        add_webhook Deploy Anybody |e, c, t, p| e.add_webhook(c, "https://127.0.0.1/", Vec::new(), None);
        last_event Read Anybody |e, c, t, p| e.last_event(c);
        add_domain Admin Admin |e, c, t, p| e.add_domain(c, domain());
        set_domain_controller Admin Admin |e, c, t, p| e.set_domain_controller(c, DOMAIN, Bytes::new());
        domain Read Anybody |e, c, t, p| e.domain(c, DOMAIN);
        domains Read Anybody |e, c, t, p| e.domains(c, None, 10);
        domain_controller Read Anybody |e, c, t, p| e.domain_controller(c, DOMAIN);
        block Read Anybody |e, c, t, p| e.block(c, DOMAIN, 1, None);
        blocks Read Anybody |e, c, t, p| e.blocks(c, DOMAIN, None, 10);
        latest_block Read Anybody |e, c, t, p| e.latest_block(c, DOMAIN, None);
        current_root Read Anybody |e, c, t, p| e.current_root(c);
        root Read Anybody |e, c, t, p| e.root(c, Root([9; 32]));
        roots Read Anybody |e, c, t, p| e.roots(c, None, 10);
        open_block Read Anybody |e, c, t, p| e.open_block(c, Root([9; 32]), DOMAIN, 1);
        open_instance Read Anybody |e, c, t, p| e.open_instance(c, Root([9; 32]));
        transitions Read Anybody |e, c, t, p| e.transitions(c, Root([9; 32]), None, 10);
    }
}

/// Methods that take a caller and follow a rule of their own, each with a test below.
const OWN_RULES: [&str; 4] = ["revoke_key", "append_blocks", "recorded_append", "prove_state"];

/// Methods about nobody's things, or for the service itself.
const FOR_THE_SERVICE: [&str; 12] = [
    "new",
    "start",
    "instance",
    "health",
    "task_counts",
    "storage",
    "watch_task",
    "watch_owner",
    "authenticate",
    "has_keys",
    "limits",
    "volume_bytes",
];

/// One that is not there: what is refused is refused before that shows.
const DOMAIN: DomainId = DomainId([9; 32]);

fn dry() -> DryRun {
    DryRun { args: json!({"name": "World"}), ..DryRun::default() }
}

fn domain() -> DomainRequest {
    let policy = TrustPolicy::ControllerOnly;
    DomainRequest {
        name: "chain".parse().unwrap(),
        owner: None,
        controller: Bytes::new(),
        settings: json!(null),
        policy,
    }
}

fn claim(program: ProgramId) -> ProofClaim {
    let public_inputs = Bytes::from_static(&[0; 32]);
    ProofClaim { key: ClaimKey::Program(program), kind: ProofKind::Mock, proof: Bytes::new(), public_inputs }
}

fn owner(id: &OwnerId) -> Owner {
    Owner { id: id.clone(), weight: 2, quotas: Quotas::default(), created_at: jiff::Timestamp::now() }
}

fn node(address: &str, shared: bool) -> NodeRegistration {
    NodeRegistration { address: address.into(), secret: None, shared }
}

fn deployment() -> coprocessor_engine::Deployment {
    coprocessor_engine::Deployment {
        name: String::new(),
        public: false,
        backend: coprocessor_types::Backend::Sp1,
        controller: Bytes::new(),
        circuit: Bytes::new(),
        nonce: 0,
        volume_size: None,
    }
}

async fn things(fixture: &Fixture) -> Things {
    let (engine, alice) = (&fixture.engine, user("alice"));
    let private = fixture.deploy(&alice, false).await.id;
    let public = fixture.deploy(&alice, true).await.id;
    let task = fixture.ask(&alice, private).await.unwrap().id;
    let Webhook { id: webhook, .. } =
        engine.add_webhook(&alice, "http://127.0.0.1:9/", Vec::new(), None).await.unwrap();
    let (key, _) = engine.create_key(&admin(), alice.owner.clone(), "", Scopes::ALL, None).await.unwrap();
    engine.set_owner(&admin(), owner(&alice.owner)).await.unwrap();
    let node = format!("http://127.0.0.1:{}", 10_000 + (private.0[0] as u16) * 100 + u16::from(private.0[1]) % 100);
    engine.add_prover(&alice, self::node(&node, false)).await.unwrap();
    engine.cancel(&alice, task).await.unwrap();
    Things { owner: alice.owner, private, public, task, webhook, key: key.id, node }
}

fn expected(row: &Row, who: &str, public: bool) -> Verdict {
    match (row.rule, who) {
        (_, "root") | (Rule::Anybody, _) => Verdict::Allowed,
        (Rule::Admin, _) | (Rule::Lists, "bob") => Verdict::Forbidden(Scope::Admin),
        (_, "alice") => Verdict::Allowed,
        (Rule::ReadsProgram, _) if public => Verdict::Allowed,
        (Rule::ChangesProgram, _) if public => Verdict::Forbidden(Scope::Admin),
        _ => Verdict::Hidden,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_reaches_their_own_and_what_is_public_and_nobody_else_does() {
    let fixture = Fixture::new().await;
    for row in rows() {
        // Whoever is refused asks first, so that nothing is gone by then.
        for who in ["bob", "root", "alice"] {
            let asks = if who == "root" { admin() } else { user(who) };
            let things = things(&fixture).await;
            for (program, public) in [(things.private, false), (things.public, true)] {
                let got = (row.ask)(&fixture.engine, &asks, &things, program).await;
                assert_eq!(got, expected(&row, who, public), "{} asked by {who}, public: {public}", row.method);
                if !matches!(row.rule, Rule::ReadsProgram | Rule::ChangesProgram) {
                    break;
                }
            }
            // Of some things an owner may have only so many. They may be gone by now.
            let _ = fixture.engine.remove_webhook(&admin(), things.webhook).await;
            let _ = fixture.engine.remove_prover(&admin(), Some(&things.owner), &things.node).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_lacks_the_scope_is_told_so_even_about_what_is_not_there() {
    let fixture = Fixture::new().await;
    let mut things = things(&fixture).await;
    let gone = Things {
        private: ProgramId([9; 32]),
        task: TaskId::now(),
        webhook: WebhookId(TaskId::now().0),
        ..Things { owner: things.owner.clone(), node: things.node.clone(), ..things }
    };
    for (things, program) in [(&mut things, None), (&mut { gone }, Some(ProgramId([9; 32])))] {
        for row in rows() {
            for held in [Scope::Read, Scope::Deploy, Scope::Prove].into_iter().filter(|held| *held != row.scope) {
                let alice = caller("alice", &[held]);
                let got = (row.ask)(&fixture.engine, &alice, things, program.unwrap_or(things.private)).await;
                assert_eq!(got, Verdict::Forbidden(row.scope), "{} with {held:?}", row.method);
            }
        }
    }
}

/// Whoever is refused learns no more than from an id that names nothing.
#[tokio::test]
async fn what_is_anothers_and_what_is_not_there_are_refused_in_the_same_words() {
    let fixture = Fixture::new().await;
    let (engine, bob) = (&fixture.engine, user("bob"));
    let things = things(&fixture).await;
    let (program, task) = (ProgramId([9; 32]), TaskId::now());
    let said = |error: EngineError, id: String| error.to_string().replace(&id, "ID");
    assert_eq!(
        said(engine.program(&bob, things.private).await.unwrap_err(), things.private.to_string()),
        said(engine.program(&bob, program).await.unwrap_err(), program.to_string()),
    );
    assert_eq!(
        said(engine.task(&bob, things.task).await.unwrap_err(), things.task.to_string()),
        said(engine.task(&bob, task).await.unwrap_err(), task.to_string()),
    );
    let webhook = WebhookId(task.0);
    assert_eq!(
        said(engine.webhook(&bob, things.webhook).await.unwrap_err(), things.webhook.0.to_string()),
        said(engine.webhook(&bob, webhook).await.unwrap_err(), webhook.0.to_string()),
    );
}

#[tokio::test]
async fn a_list_shows_ones_own_unless_an_administrator_asks() {
    let fixture = Fixture::new().await;
    let engine = &fixture.engine;
    let things = things(&fixture).await;
    let own = fixture.deploy(&user("bob"), false).await;
    let asked = fixture.ask(&user("bob"), things.public).await.unwrap();
    let programs = async |caller: &Caller| {
        let page = engine.programs(caller, None, None, 10).await.unwrap();
        page.items.into_iter().map(|program| program.id).collect::<BTreeSet<_>>()
    };
    assert_eq!(programs(&user("bob")).await, [own.id, things.public].into());
    assert_eq!(programs(&user("carol")).await, [things.public].into());
    assert_eq!(programs(&admin()).await, [own.id, things.public, things.private].into());
    let tasks = async |caller: &Caller| {
        let page = engine.tasks(caller, TaskFilter::default(), None, 10).await.unwrap();
        page.items.into_iter().map(|task| task.id).collect::<BTreeSet<_>>()
    };
    assert_eq!(tasks(&user("bob")).await, [asked.id].into());
    assert_eq!(tasks(&user("alice")).await, [things.task].into(), "a program's owner does not see who asks for it");
    assert_eq!(tasks(&admin()).await, [asked.id, things.task].into());
    let events = async |caller: &Caller| engine.owner_events(caller, None, 0, 100).await.unwrap();
    assert!(events(&user("bob")).await.iter().all(|event| event.task == asked.id));
    assert!(events(&admin()).await.iter().any(|event| event.task == things.task));
    assert!(engine.webhooks(&user("bob"), None, None, 10).await.unwrap().items.is_empty());
    assert_eq!(engine.webhooks(&admin(), None, None, 10).await.unwrap().items.len(), 1);
    assert!(engine.keys(&user("bob"), None, None, 10).await.unwrap().items.is_empty());
    assert_eq!(engine.keys(&user("alice"), None, None, 10).await.unwrap().items[0].id, things.key);
}

#[tokio::test]
async fn a_key_is_revoked_by_an_administrator_or_by_itself() {
    let fixture = Fixture::new().await;
    let (engine, things) = (&fixture.engine, things(&fixture).await);
    let verdict = async |caller: &Caller| verdict(engine.revoke_key(caller, things.key).await);
    assert_eq!(verdict(&user("bob")).await, Verdict::Hidden);
    assert_eq!(verdict(&user("alice")).await, Verdict::Forbidden(Scope::Admin));
    let (other, _) = new_key("alice".parse().unwrap(), "", Scopes::ALL, None).unwrap();
    let with_another = Caller { key: Some(other.id), ..user("alice") };
    assert_eq!(verdict(&with_another).await, Verdict::Forbidden(Scope::Admin));
    let itself = Caller { key: Some(things.key), ..caller("alice", &[Scope::Read]) };
    assert_eq!(verdict(&itself).await, Verdict::Allowed);
    assert_eq!(verdict(&admin()).await, Verdict::Allowed);
}

#[tokio::test]
async fn blocks_are_appended_by_the_domains_owner_or_an_administrator() {
    let fixture = Fixture::new().await;
    let engine = &fixture.engine;
    let controller = wat::parse_str(
        r#"(module (memory (export "memory") 1) (func (export "validate_block")) (func (export "get_state_proof")))"#,
    );
    let owner = Some("alice".parse().unwrap());
    let request = DomainRequest { owner, controller: controller.unwrap().into(), ..domain() };
    engine.add_domain(&admin(), request).await.unwrap();
    let id = DomainId::derive("chain");
    let verdict = async |caller: &Caller| verdict(engine.append_blocks(caller, id, vec![json!({})]).await);
    let bobs = engine.append_blocks(&user("bob"), id, vec![json!({})]).await;
    assert!(matches!(bobs, Err(EngineError::NotDomainOwner { .. })), "everybody may know of a domain");
    assert_eq!(verdict(&caller("alice", &[Scope::Read, Scope::Prove])).await, Verdict::Forbidden(Scope::Deploy));
    assert_eq!(verdict(&user("alice")).await, Verdict::Allowed);
    assert_eq!(verdict(&admin()).await, Verdict::Allowed);
    let bobs = engine.recorded_append(&user("bob"), id, json!({})).await;
    assert!(matches!(bobs, Err(EngineError::NotDomainOwner { .. })), "{bobs:?}");
    for (who, expected) in [
        (caller("alice", &[Scope::Read, Scope::Prove]), Verdict::Forbidden(Scope::Deploy)),
        (user("bob"), Verdict::Forbidden(Scope::Admin)),
        (user("alice"), Verdict::Allowed),
        (admin(), Verdict::Allowed),
    ] {
        let run = DryRun { record: true, ..DryRun::default() };
        assert_eq!(self::verdict(engine.prove_state(&who, id, run).await), expected, "{who:?}");
    }
    assert_eq!(self::verdict(engine.recorded_append(&user("alice"), id, json!({})).await), Verdict::Allowed);
}

#[tokio::test]
async fn deploying_again_is_the_same_for_its_owner_alone() {
    let fixture = Fixture::new().await;
    let (engine, alice, bob) = (&fixture.engine, user("alice"), user("bob"));
    for public in [false, true] {
        let deployment = fixture.deployment(public);
        assert!(matches!(engine.deploy(&alice, deployment.clone()).await, Ok(Deployed::New(_))));
        assert!(matches!(engine.deploy(&alice, deployment.clone()).await, Ok(Deployed::Same(_))));
        let refused = engine.deploy(&bob, deployment).await.unwrap_err();
        assert!(!refused.to_string().contains("alice"), "{refused}");
        match refused {
            EngineError::ProgramExists(_, "owner") => assert!(public),
            EngineError::NonceTaken { .. } => assert!(!public),
            other => panic!("{other}"),
        }
    }
}

/// A method that is added without a place in the tables above fails here.
#[test]
fn every_method_of_the_engine_is_in_a_table() {
    let methods = methods();
    let tested: BTreeSet<String> = rows().iter().map(|row| row.method.to_owned()).collect();
    for (name, signature) in &methods {
        // The request of `admit` says who asks.
        let asks = signature.contains("caller: &Caller") || signature.contains("request: TaskRequest");
        let listed = tested.contains(name) || OWN_RULES.contains(&name.as_str());
        let service = FOR_THE_SERVICE.contains(&name.as_str());
        assert!(asks == listed && asks != service, "`{name}` {signature}: is in no table, or in the wrong one");
    }
    for name in tested.iter().map(String::as_str).chain(OWN_RULES).chain(FOR_THE_SERVICE) {
        assert!(methods.contains_key(name), "there is no `{name}` any more");
    }
}

/// Public methods of `Engine`: name and parameters, from the sources.
fn methods() -> HashMap<String, String> {
    let mut found = HashMap::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
                continue;
            }
            let source = fs::read_to_string(entry.path()).unwrap();
            for block in source.split("\nimpl Engine {\n").skip(1) {
                let block = block.split("\n}\n").next().unwrap();
                for method in block.split("\n    pub ").skip(1).chain(block.strip_prefix("    pub ")) {
                    let method = method.strip_prefix("async ").unwrap_or(method);
                    if let Some(method) = method.strip_prefix("fn ") {
                        let (name, rest) = method.split_once('(').unwrap();
                        found.insert(name.to_owned(), rest.split(") -> ").next().unwrap().to_owned());
                    }
                }
            }
        }
    }
    assert!(found.len() > 30, "the sources look different now");
    found
}
